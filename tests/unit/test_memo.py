"""The memo grammar: what is read, what is refused, and that nothing is ever cut short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.memo import MAX_BYTES, BadMemo, Memo, NoMemo, long_form, parse, short_form
from chainwatch.wallets import canonical_wallet

SEGWIT = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"  # BIP-173
VITALIK = "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"


def read(text: bytes | str | None) -> Memo | NoMemo | BadMemo:
    return parse(text, canonical_wallet)


@pytest.mark.parametrize(
    ("text", "event", "wallet"),
    [
        ("event:123:wallet:alice", "123", "alice"),
        ("event:premium-concert-2024:wallet:dlux-io", "premium-concert-2024", "dlux-io"),
        ("event:1:wallet:alice.smith", "1", "alice.smith"),
        (f"event:1:wallet:{VITALIK.lower()}", "1", VITALIK),
        (f"event:1:wallet:eip155:1:{VITALIK}", "1", VITALIK),
        (
            "event:1:wallet:" + SEGWIT,
            "1",
            SEGWIT,
        ),
        ("Pay for event:9:wallet:alice, thanks", "9", "alice"),
        ('{"memo":"event:9:wallet:alice"}', "9", "alice"),
        ("“event:9:wallet:alice”", "9", "alice"),
        ("event:9:wallet:alice event:9:wallet:alice", "9", "alice"),
        (b"event:9:wallet:alice \xff\xfe", "9", "alice"),
    ],
)
def test_a_memo_names_its_event_and_its_whole_wallet(text: bytes | str, event: str, wallet: str) -> None:
    memo = read(text)
    assert isinstance(memo, Memo)
    assert (memo.event_id, memo.wallet) == (event, wallet)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("event:1:wallet:alice event:2:wallet:alice", "ambiguous"),
        ("event:1:wallet:alice event:1:wallet:bobby", "ambiguous"),
        ("event:1:wallet:alice cw:abcdefgh", "ambiguous"),
        ("event:1:wallet:", "bad_wallet"),
        ("event:1:wallet:alice.", "bad_wallet"),
        ("event:1:wallet:alic\u0435", "bad_wallet"),  # a Cyrillic letter goes on where the name would be cut
        ("event:1:wallet:alice\u0301", "bad_wallet"),
        (b"event:1:wallet:alice\xff", "bad_wallet"),
        ("event:1:wallet:bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5", "bad_wallet"),
        ("event:1:wallet:-alice", "bad_wallet"),
        ("event:1:wallet:alice:tier", "bad_pairs"),
        ("event:1:wallet:alice:tier:", "bad_pairs"),
        ("event:1:wallet:alice:ref:a:ref:b", "bad_pairs"),
        ("cw:abcdefgh.x", "bad_pairs"),
        ("event:1:wallet:alice" + " " * MAX_BYTES, "too_long"),
    ],
)
def test_a_memo_that_cannot_be_followed_is_refused_with_its_reason(text: bytes | str, reason: str) -> None:
    memo = read(text)
    assert isinstance(memo, BadMemo)
    assert memo.reason == reason


@pytest.mark.parametrize(
    "text",
    [
        None,
        b"",
        "hello",
        "prevent:12:wallet:alice",  # the platform's own pattern is unanchored and takes this one
        "event:\u0663:wallet:alice",  # \\d matches Arabic digits
        "EVENT:1:WALLET:alice",
        "event:1 wallet:alice",
        "\u0435vent:1:wallet:alice",
        "event::wallet:alice",
        f"event:{'a' * 65}:wallet:alice",
        "cw:SHOUTING",
        b"\xff\xfe\x00",
    ],
)
def test_a_text_that_does_not_speak_of_us_is_no_memo(text: bytes | str | None) -> None:
    assert read(text) == NoMemo()


def test_pairs_and_the_short_form_carry_the_reference() -> None:
    memo = read("event:1:wallet:alice:ref:abcdefgh:tier:vip")
    assert memo == Memo("1", "alice", "abcdefgh", pairs={"ref": "abcdefgh", "tier": "vip"})
    assert read(f"order {short_form('abcdefgh12345678')}!") == Memo(ref="abcdefgh12345678")
    assert read(long_form("1", "alice", "abcdefgh")) == Memo("1", "alice", "abcdefgh", pairs={"ref": "abcdefgh"})


def test_an_evm_wallet_with_a_wrong_checksum_is_kept_apart_for_matching_to_decide() -> None:
    """The platform's own documentation prints such an address."""
    wrong = "0x742d35Cc6C4b35F41a5F89b2A9d0a7C97EfE5b2d"
    memo = read(f"event:1:wallet:{wrong}")
    assert isinstance(memo, Memo)
    assert (memo.wallet, memo.suspect_wallet) == (None, wrong)


@given(st.binary(max_size=300))
def test_any_bytes_give_an_answer(data: bytes) -> None:
    assert isinstance(read(data), Memo | NoMemo | BadMemo)


@given(st.text(max_size=40), st.text(max_size=40))
def test_what_stands_around_a_memo_never_changes_whom_it_names(before: str, after: str) -> None:
    memo = read(f"{before}event:7:wallet:dlux-io{after}")
    if isinstance(memo, Memo) and memo.event_id == "7":
        named = memo.wallet or ""
        assert f"wallet:{named}" in f"wallet:dlux-io{after}"
        assert named.startswith("dlux-io")
