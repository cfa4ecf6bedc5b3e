"""Encrypted Hive memos: published vectors, both ways of writing the length, hostile text."""

import secrets
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainwatch.adapters.hive_memo import ENCRYPTED, MemoKey, read_key, without_length
from chainwatch.errors import Misconfigured

ALICE = "5Jpkeq1jiNE8Pe24GxFWTsyWbcP59Qq4cD7qg3Wgd6JFJqJkoG8"
BOB = "5KR8jzysz2kbYy3TkL3x6NRxfNXwQUWyeVAF5ZagxdqKMawGgXG"

VECTORS = [  # beem, tests/beembase/test_memo.py
    (
        ALICE,
        "I am this!",
        "#FYu8pMPJxTv7q2geNLSQC8dm47uqdNtFLCoDY5yZWjAz2R4wNyHEwQ48hPWm9SuAZ6fCFmjQrFCBVQFSP7EkobrWWRGaeqH6msKkPjRsMd6"
        "UUaNva1nmtLc55RAzqPLht",
    ),
    (
        ALICE,
        "äöüß€@$²³",
        "#8vxJp5YDC1Mv7J8sShbhdyrDNyo2JFuUxMmkYvg3tREpXDxoAvZSxzJ8Yqhx6qCyKfpHVczST9ySdXQANy2XBdFpztTu29pUibJBUzoKWgK"
        "fW6Ew2qCiLrZFodoFmpQ77fg7HRGRRLN42jkJs3HxJf1",
    ),
    (
        BOB,
        "1234567890\x02\x02",
        "#D2BAH3MLo3eMbJh9nR5jy53KXf22b55fQpNLXoGD4bqkE3EkiZirwL8GWsaFJ6g1RDzgRXiYXuNFwCyDddHzuL1Sxam5KCEMYZY4E5MmvMn"
        "v46ptN1Bur7Yuo7X6tfRtU",
    ),
    (
        # The key of beem's PasswordKey("", "", role=""): SHA-256 of nothing.
        "5KYZdUEo39z3FPrtuX2QbbwGnNP5zTd7yyr2SC1j299sBCnWjss",
        "爱",
        "#HU6pdQ4Hh8cFrDVooekRPVZu4BdrhAe9RxrWrei2CwfAApAPdM4PT5mSV9cV3tTuWKotYQF6suyM4JHFBZz4pcwyezPzuZ2na7uwhRcLqFo"
        "xprno9kWoHiS766vPUKqGX",
    ),
]


def encrypt(payer: str, payee: str, text: str) -> str:
    """Encrypt as beem does: without a length before the text."""
    from beembase.memo import encode_memo
    from beemgraphenebase.account import PrivateKey

    memo: str = encode_memo(PrivateKey(payer), PrivateKey(payee).pubkey, secrets.randbits(63), text)
    return memo


@pytest.mark.parametrize(("wif", "plain", "memo"), VECTORS)
def test_published_memos_are_read(wif: str, plain: str, memo: str) -> None:
    """Among them a text that ends like padding, and one that is not ASCII."""
    assert ENCRYPTED.fullmatch(memo)
    assert MemoKey(wif).decrypt(memo) == plain.encode()


def test_a_key_that_is_neither_payers_nor_payees_reads_nothing() -> None:
    assert MemoKey(BOB).decrypt(VECTORS[0][2]) is None


def test_order_ids_that_begin_near_their_length_are_read_whole() -> None:
    """beem and nectar cut 26 of 400 such ids short: their first byte is near the number of bytes after it."""
    key = MemoKey(BOB)
    for length in range(40, 72):
        text = ("9a0b871c9" * 9)[:length]
        if length == 1 + ord("9"):
            continue  # the one length at which both readings are right
        assert key.decrypt(encrypt(ALICE, BOB, text)) == text.encode()


def test_a_length_is_taken_off_only_when_it_is_exact() -> None:
    assert without_length(b"\x05event") == b"event"
    assert without_length(b"\x04event") == b"\x04event"
    assert without_length(b"\x06event") == b"\x06event"
    assert without_length(b"\xac\x02" + b"x" * 300) == b"x" * 300
    assert without_length(b"") == b""
    assert without_length(b"\x80\x80\x80\x80") == b"\x80\x80\x80\x80"


@pytest.mark.parametrize(
    "text",
    ["#SATS", "# ", "", "#", "v4vapp.dev Deposit to #SATS v4v-CgDJC", "#" + "0OIl" * 50, "#event:1:wallet:dlux-io" * 9],
)
def test_a_plain_memo_may_hold_a_number_sign(text: str) -> None:
    assert ENCRYPTED.fullmatch(text) is None


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", min_size=0, max_size=400))
def test_hostile_text_is_not_readable_and_raises_nothing(text: str) -> None:
    assert MemoKey(ALICE).decrypt("#" + text) is None


@settings(deadline=None, max_examples=100)
@given(place=st.integers(1, 129), letter=st.sampled_from("123ABCxyz"))
def test_a_damaged_memo_never_gives_another_key_or_an_exception(place: int, letter: str) -> None:
    memo = VECTORS[0][2]
    damaged = memo[:place] + letter + memo[place + 1 :]
    read = MemoKey(ALICE).decrypt(damaged)
    assert read is None or isinstance(read, bytes)


@pytest.mark.parametrize("place", [70, 74, 77])
def test_a_memo_whose_nonce_or_check_is_damaged_is_not_readable(place: int) -> None:
    """What would come out is noise that may look like a text."""
    from beemgraphenebase.base58 import base58decode, base58encode

    raw = bytearray.fromhex(base58decode(VECTORS[0][2][1:]))
    raw[place] ^= 1
    assert MemoKey(ALICE).decrypt("#" + base58encode(raw.hex())) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "WIF"),
        ("STM7FPzbN7hnRk24T3Nh9MYM1xBaF5xyRYu8WtyTrtLoUG8cUtszM", "WIF"),
        (ALICE[:-1] + "9", "not a private key"),
        ("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "WIF"),
        ("пароль", "not text"),
    ],
)
def test_a_file_without_a_key_is_refused_and_not_quoted(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    with pytest.raises(Misconfigured, match="memo_key_file") as refused:
        read_key(str(path), "[chains.HIVE] memo_key_file")
    assert reason in str(refused.value)
    assert not text or text not in str(refused.value)


def test_a_missing_key_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read"):
        read_key(str(tmp_path / "none"), "[chains.HIVE] memo_key_file")


def test_a_key_never_shows_itself(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{ALICE}\n")
    key = read_key(path, "memo_key_file")
    assert ALICE not in repr(key)
    assert key.public == "STM7FPzbN7hnRk24T3Nh9MYM1xBaF5xyRYu8WtyTrtLoUG8cUtszM"
