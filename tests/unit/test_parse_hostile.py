"""Addresses and access texts from strangers: a reading or a reason, no other exception, no long computation."""

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chainwatch.access import AccessMessage, AccessPolicy, AccessReason
from chainwatch.errors import Rejected
from chainwatch.testing.effort import bounded
from chainwatch.testing.rows import signed_rows
from chainwatch.verifiers import detect_wallet, is_wallet
from chainwatch.verifiers.addresses import MAX_ADDRESS, find_fault

ADDRESSES = sorted({row["address"] for row in signed_rows()})
MESSAGE = AccessMessage.build(
    domain="tickets.example",
    uri="https://tickets.example/access",
    event="summit-24",
    chain="ETH",
    address="0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    nonce="k3J9xQ2mZ7aBcDeFgHiJkL",
    issued_ms=1_732_060_800_000,
)
TEXTS = [
    MESSAGE.render(),
    "Access event summit-24 at 1732060800000",
    "Access 7 at 1732060800000",
    "Access event summit-24 at 1732060800000 | tickets.example | hive:alice | nonce k3J9xQ2mZ7aBcDeFgHiJkL"
    " | exp 1732061100000",
]
POLICY = AccessPolicy("tickets.example", "https://tickets.example/", classic=True)

anything = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.text(max_size=300),
    st.binary(max_size=300),
    st.lists(st.text(), max_size=3),
)


@st.composite
def bent(draw: Any, originals: list[str]) -> str:
    """A good text, of which a part was doubled, taken out, or written over."""
    text = draw(st.sampled_from(originals))
    start, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
    middle = draw(st.one_of(st.just(""), st.just(text[start:end] * 2), st.text(max_size=8)))
    return str(text[:start] + middle + text[end:])


# --- addresses


@given(st.one_of(anything, bent(ADDRESSES)))
@example("1" * MAX_ADDRESS)
@example("z" * MAX_ADDRESS)
@example("bc1" + "q" * (MAX_ADDRESS - 3))
@example("addr1" + "q" * (MAX_ADDRESS - 5))
@example("bitcoincash:" + "q" * (MAX_ADDRESS - 12))
@example("4" + "A" * 94)
@example("4" + "A" * 105)
@example(":" * MAX_ADDRESS)
@example("a." * 8)
@example("x" * 10_000_000)
@example(b"\xff" * 10_000_000)
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_is_an_address_or_none(text: Any) -> None:
    wallets = bounded(lambda: detect_wallet(text))
    assert is_wallet(text) is bool(wallets) is (find_fault(text) is None)
    for wallet in wallets:
        assert any(found.canonical == wallet.canonical for found in detect_wallet(wallet.canonical))


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_canonical_form_is_an_address_of_its_own(address: str) -> None:
    for wallet in detect_wallet(address):
        assert any(found.payload == wallet.payload for found in detect_wallet(wallet.canonical))


# --- access texts


def read(text: Any) -> AccessMessage | None:
    try:
        return AccessMessage.parse(text)
    except Rejected as refused:
        AccessReason(refused.code)  # one of them
        return None


@given(st.one_of(anything, bent(TEXTS)))
@example("Access event " + "a" * 1_000)
@example("tickets.example wants you to sign in with your " + "A " * 480)
@example("a." * 500 + " wants you to sign in with your Ethereum account:\n")
@example(TEXTS[0].replace("tickets.example/access", "tickets.example/" + "a/" * 300))
@example(TEXTS[0] + "\n" * 500)
@example("Access event " * 70)
@example("\ud800" * 100)
@example("x" * 10_000_000)
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_is_read_or_refused_and_what_is_read_is_rendered_again(text: Any) -> None:
    message = bounded(lambda: read(text))
    if message is None:
        return
    assert message.render() == text
    reason = bounded(
        lambda: message.check(
            POLICY, event="summit-24", chain="ETH", address=MESSAGE.address or "", now_ms=MESSAGE.issued_ms
        )
    )
    assert reason in set(AccessReason)


@given(
    domain=st.text(max_size=30),
    uri=st.text(max_size=30),
    event=st.text(max_size=70),
    chain=st.one_of(st.sampled_from(["ETH", "BTC", "hive"]), st.text(max_size=20)),
    address=st.one_of(st.sampled_from(ADDRESSES), bent(ADDRESSES)),
    nonce=st.text(max_size=30),
    issued_ms=st.integers(-(10**20), 10**20),
    ttl_ms=st.integers(-(10**20), 10**20),
    form=st.sampled_from(["sign-in", "line"]),
)
@settings(max_examples=300, deadline=None)
def test_any_parts_make_a_text_that_says_them_or_are_refused(**parts: Any) -> None:
    def build() -> AccessMessage | None:
        try:
            return AccessMessage.build(**parts)
        except Rejected as refused:
            AccessReason(refused.code)
            return None

    message = bounded(build)
    assert message is None or AccessMessage.parse(message.render()) == message


def test_every_part_of_a_text_is_bound_to_the_text() -> None:
    """One part changed, and the text is another or none."""
    for text in TEXTS:
        for index in range(len(text)):
            other = read(text[:index] + ("x" if text[index] != "x" else "y") + text[index + 1 :])
            assert other is None or other != read(text)
