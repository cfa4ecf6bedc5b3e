"""The library's promise: names, arguments and answers as code outside of chainwatch uses them."""

import asyncio
import inspect
from typing import Any

import pytest

from chainwatch.access import AccessMessage
from chainwatch.testing.wallets import BitcoinWallet, EvmWallet, HiveWallet, SolanaWallet
from chainwatch.verifiers import Policy, Unavailable, averify, detect_wallet, verify

STATUSES = {"valid", "invalid", "inconclusive", "unsupported", "unavailable", "malformed"}
ARGUMENTS = {
    *("address", "message", "signature", "chain", "scheme", "typed_data", "authorities", "role", "expect", "now"),
    "policy",
}


def test_the_arguments_are_the_promised_ones() -> None:
    both = {f: inspect.signature(f).parameters for f in (verify, averify)}
    assert both[verify].keys() >= ARGUMENTS
    assert both[averify].keys() >= ARGUMENTS | {"resolver"}
    assert both[verify]["role"].default == "posting"
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in both[verify].values())


class Contrary:
    """What an array of numbers is like: it cannot be compared to a text and then be true or false."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("neither true nor false")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_an_object_that_no_argument_is_meant_to_be_is_an_answer(name: str) -> None:
    wallet = EvmWallet("a")
    asked = {"address": wallet.address, "message": "x", "signature": wallet.sign_message("x"), name: Contrary()}
    assert verify(**asked).status in STATUSES
    assert asyncio.run(averify(**asked)).status in STATUSES


@pytest.mark.parametrize("wallet", [EvmWallet("a"), BitcoinWallet("a"), SolanaWallet("a")])
@pytest.mark.parametrize("text", ["Access event 7 at 1732060800000", b"Access event 7 at 1732060800000"])
def test_a_wallet_is_found_from_its_address(wallet: Any, text: str | bytes) -> None:
    result = verify(address=wallet.address, message=text, signature=wallet.sign_message(text))
    assert result
    assert (result.ok, result.status, result.reason) == (True, "valid", "ok")
    assert result.scheme
    assert result.method
    assert result.chain
    assert result.address == wallet.address
    assert isinstance(result.malleable, bool)
    assert isinstance(result.warnings, tuple)
    other = verify(address=wallet.address, message="something else", signature=wallet.sign_message(text))
    assert not other
    assert other.status == "invalid"
    (found,) = {w.canonical for w in detect_wallet(wallet.address)}
    assert found == wallet.address


def test_chains_are_codes_or_caip_2() -> None:
    evm, bitcoin = EvmWallet("a"), BitcoinWallet("a")
    for chain in ("ETH", "MATIC", "BNB", "eip155:1", "eip155:137"):
        assert verify(address=evm.address, message="m", signature=evm.sign_message("m"), chain=chain), chain
    signed = bitcoin.sign_message("m")
    assert verify(address=bitcoin.address, message="m", signature=signed, chain="BTC")
    assert not verify(address=bitcoin.address, message="m", signature=signed, chain="ETH")
    assert verify(address=bitcoin.address, message="m", signature=signed, chain="NOPE").status == "unsupported"


def test_a_signature_may_be_a_list() -> None:
    solana, hive = SolanaWallet("a"), HiveWallet("alice")
    several = [hive.sign_message("m")]
    assert verify(address="alice", message="m", signature=several, authorities=[hive.account])
    numbers = list(solana.key.sign(b"m").signature)
    assert len(numbers) == 64
    assert verify(address=solana.address, message="m", signature=numbers)


class Away:
    """A resolver whose node does not answer."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, _name: str) -> Any:
        async def ask(*_a: Any, **_k: Any) -> Any:
            raise self.error

        return ask


@pytest.mark.parametrize("error", [Unavailable("nobody is there"), ConnectionRefusedError(), TimeoutError()])
def test_a_node_that_is_away_is_unavailable_and_never_invalid(error: Exception) -> None:
    hive = HiveWallet("alice")
    asked = averify(address="alice", message="m", signature=hive.sign_message("m"), resolver=Away(error))  # type: ignore[arg-type]
    assert asyncio.run(asked).status == "unavailable"


@pytest.mark.parametrize("address", ["", "x", "\ud800", "0x" + "0" * 40, None, 7, b"\xff", "a" * 100_000])
@pytest.mark.parametrize("signature", ["", "0x", "\ud800", None, b"\x00" * 65, [], [None], ["x"] * 1000, 9, {}])
def test_hostile_input_is_answered(address: Any, signature: Any) -> None:
    for message in ("m", b"\xff", None, "\ud800"):
        result = verify(address=address, message=message, signature=signature)
        assert not result
        assert result.status in STATUSES
    detect_wallet(address)


def test_loosenings_are_named() -> None:
    unsafe = {name for name in Policy.__dataclass_fields__ if name.startswith("unsafe_")}
    assert {"unsafe_allow_v1", "unsafe_allow_view_key", "unsafe_follow_account_auths"} <= unsafe
    assert not any(getattr(Policy(), name) for name in unsafe)


def test_an_access_message_is_built_and_parsed() -> None:
    wallet = EvmWallet("a")
    made = AccessMessage.build(
        domain="tickets.example", uri="https://tickets.example/access", event="gala", chain="eip155:1",
        address=wallet.address, nonce="abcdefgh12345678", issued_ms=1_732_060_800_000,
    )  # fmt: skip
    text = made.render()
    assert "\n\nAccess event gala at 1732060800000\n\n" in text
    assert AccessMessage.parse(text) == made
    assert verify(address=wallet.address, message=text, signature=wallet.sign_message(text), now=1_732_060_900)
