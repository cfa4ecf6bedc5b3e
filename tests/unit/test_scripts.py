"""Addresses of the Bitcoin family and what an OP_RETURN carries."""

import pytest
from bitcoin.core.script import OP_RETURN, CScript
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.adapters.scripts import Prefixes, carried, memo_of, prefixes, to_address, to_script
from chainwatch.config.networks import known
from chainwatch.errors import Misconfigured

BTC = Prefixes(0, (5,), "bc")

# Published: BIP-173 and BIP-350 vectors, the genesis key's address, a P2SH address of BIP-16's examples.
ADDRESSES = {
    "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa": "76a91462e907b15cbf27d5425399ebf6f0fb50ebb88f1888ac",
    "3P14159f73E4gFr7JterCCQh9QjiTjiZrG": "a914e9c3dd0c07aac76179ebc76a6c78d4d67c6c160a87",
    "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4": "0014751e76e8199196d454941c45d1b3a323f1433bd6",
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0": (
        "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
    ),
    "bc1sw50qgdz25j": "6002751e",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_its_script_and_back(address: str) -> None:
    script = bytes.fromhex(ADDRESSES[address])
    assert to_script(address, BTC) == script
    assert to_address(script, BTC) == address


def test_upper_case_bech32_is_the_same_address() -> None:
    assert (
        to_script("BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", BTC).hex()
        == ADDRESSES["bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"]
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "bc1",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",
        "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx",
        "LM2WMpR1Rp6j3Sa59cMXMs1SPzj9eXpGc1",
    ],
)
def test_what_is_no_address_of_the_network_is_misconfigured(text: str) -> None:
    with pytest.raises(Misconfigured):
        to_script(text, BTC)


@given(st.binary(max_size=60))
def test_any_script_has_an_address_that_leads_back_or_none(script: bytes) -> None:
    address = to_address(script, BTC)
    assert address is None or to_script(address, BTC) == script


@pytest.mark.parametrize("code", ["BTC", "LTC", "DOGE", "DASH"])
def test_each_networks_prefixes_are_found_by_its_genesis(code: str) -> None:
    section = known()[code]
    for name, network in section["networks"].items():
        found = prefixes(section, {}, network["genesis"])
        assert found.p2pkh == network["p2pkh"], name
    assert prefixes(section, {}, section["chain_id"]).p2pkh == section["networks"]["main"]["p2pkh"]
    assert prefixes(section, {"p2pkh": 60, "hrp": "rb"}, "00" * 32) == Prefixes(
        60, tuple(section["networks"]["main"]["p2sh"]), "rb"
    )


# -- OP_RETURN ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 20, 75, 76, 80, 83, 255, 256, 520, 9000])
def test_every_length_of_push_is_read(size: int) -> None:
    """Direct pushes up to 75 bytes, PUSHDATA1, PUSHDATA2: python-bitcoinlib chooses the form."""
    memo = bytes(range(1, 256)) * (size // 255 + 1)
    script = bytes(CScript([OP_RETURN, memo[:size]]))
    assert carried(script) == memo[:size]


@pytest.mark.parametrize(
    ("script", "memo"),
    [
        ("6a4c05" + b"hello".hex(), b"hello"),  # PUSHDATA1 where one byte would do
        ("6a4d0500" + b"hello".hex(), b"hello"),
        ("6a4e05000000" + b"hello".hex(), b"hello"),
        ("6a05" + b"event".hex() + "04" + b":1:x".hex(), b"event:1:x"),  # two pushes
        ("6a5d05" + b"runes".hex(), b"runes"),  # OP_13 marks a protocol
        ("6a0005" + b"hello".hex(), b"hello"),
        ("6a4f05" + b"hello".hex(), b"hello"),
        ("6a" + b"event:1:wallet:x".hex(), b"event:1:wallet:x"),  # written without a push
        ("6a" + b"abc".hex(), b"abc"),
        ("6a10" + b"cut".hex(), b"\x10cut"),
        ("6a04ff00fe01", b"\xff\x00\xfe\x01"),  # not UTF-8
        ("6a", b""),
        ("6a4c", b"\x4c"),
    ],
)
def test_every_form_of_op_return_is_read(script: str, memo: bytes) -> None:
    assert carried(bytes.fromhex(script)) == memo


@given(st.binary(max_size=300))
def test_no_script_breaks_the_reader(tail: bytes) -> None:
    assert isinstance(carried(b"\x6a" + tail), bytes)


def test_two_op_returns_stand_on_two_lines() -> None:
    """So that two different memos of one transaction are seen to be two."""
    assert memo_of([b"\x6a\x01a", b"\x51", b"\x6a\x01b"]) == b"a\nb"
    assert memo_of([b"\x51"]) is None
