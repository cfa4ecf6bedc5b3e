"""Signed EVM transactions and blocks in RLP: each type, against eth-account, and a published block."""

import subprocess
import sys
from typing import Any

import pytest
import rlp

from chainwatch.adapters.evm import decode
from chainwatch.config.networks import spec
from chainwatch.errors import Rejected
from chainwatch.model import InBlock, Transfer
from chainwatch.verifiers.curves import keccak256, kept_recursion_limit

with kept_recursion_limit():
    from eth_account import Account

PAYER = Account.from_key("0x" + "11" * 32)
OURS = "0x00000000219ab540356cBB839Cbe05303d7705Fa"
MEMO = b"event:7:wallet:0x00000000219ab540356cBB839Cbe05303d7705Fa"
COMMON = {"nonce": 1, "gas": 30_000, "to": OURS, "value": 10**16, "data": MEMO, "chainId": 1}
FEES = {"maxFeePerGas": 9, "maxPriorityFeePerGas": 1}

TYPES: dict[str, dict[str, Any]] = {
    "legacy": {"gasPrice": 1},
    "access list": {"gasPrice": 1, "accessList": [], "type": 1},
    "dynamic fee": {**FEES, "type": 2},
    "blob": {**FEES, "type": 3, "maxFeePerBlobGas": 1, "blobVersionedHashes": [b"\x01" + bytes(31)]},
    "set code": {
        **FEES,
        "type": 4,
        "authorizationList": [PAYER.sign_authorization({"chainId": 1, "address": "0x" + "00" * 20, "nonce": 0})],
    },
}


def signed(kind: str, **changes: Any) -> Any:
    return PAYER.sign_transaction({**COMMON, **TYPES[kind], **changes})


def read(document: bytes) -> list[Transfer]:
    return list(decode([document], spec("ETH")))


@pytest.mark.parametrize("form", ["bytes", "hex", "0x hex", "JSON string", "envelope"])
@pytest.mark.parametrize("kind", TYPES)
def test_a_signed_transaction_of_each_type_is_read(kind: str, form: str) -> None:
    made = signed(kind)
    raw = bytes(made.raw_transaction)
    document = {
        "bytes": raw,
        "hex": raw.hex().encode() + b"\n",
        "0x hex": b"0x" + raw.hex().encode(),
        "JSON string": b'"0x' + raw.hex().encode() + b'"',
        "envelope": b'{"jsonrpc":"2.0","id":1,"result":"0x' + raw.hex().encode() + b'"}',
    }[form]
    (found,) = read(document)
    assert found == Transfer(
        chain="ETH",
        txid="0x" + bytes(made.hash).hex(),
        index="v",
        asset="ETH",
        amount=10**16,
        to=OURS,
        sender=(PAYER.address,),
        memo=MEMO,
        ok=None,
    )


def test_a_signed_transaction_without_value_moves_nothing() -> None:
    assert read(bytes(signed("dynamic fee", value=0).raw_transaction)) == []


def test_a_block_is_read_with_all_its_transactions() -> None:
    """Legacy transactions stand in it as lists, typed ones as bytes."""
    legacy, typed = bytes(signed("legacy").raw_transaction), bytes(signed("dynamic fee").raw_transaction)
    header = [b"\x22" * 32, *[b""] * 7, b"\x07", b"", b"", b"\x65\x00\x00\x00", *[b""] * 4]
    raw = rlp.encode([header, [rlp.decode(legacy), typed], [], []])
    first, second = read(raw)
    assert [first.txid, second.txid] == ["0x" + keccak256(tx).hex() for tx in (legacy, typed)]
    assert isinstance(first.position, InBlock)
    assert first.position.block.height == 7
    assert first.position.block.hash == "0x" + keccak256(rlp.encode(header)).hex()
    assert first.position.time_ms == 0x65000000 * 1000


@pytest.mark.parametrize("kind", TYPES)
def test_a_cut_or_changed_transaction_is_refused_or_another_payers(kind: str) -> None:
    raw = bytes(signed(kind).raw_transaction)
    for n in range(1, len(raw), 7):
        with pytest.raises(Rejected):
            read(raw[:n])
        changed = bytearray(raw)
        changed[n] ^= 0x55
        try:
            found = read(bytes(changed))
        except Rejected:
            continue
        assert all(t.sender != (PAYER.address,) for t in found)


def test_reading_one_leaves_the_guard_against_nested_json_in_place() -> None:
    """py_ecc, which eth-account imports, lifts the recursion limit so far that nested brackets kill the process."""
    raw = bytes(signed("legacy").raw_transaction)
    program = (
        "from chainwatch.adapters.evm import decode; from chainwatch.config.networks import spec\n"
        "from chainwatch.errors import Rejected\n"
        f"assert len(list(decode([bytes.fromhex({raw.hex()!r})], spec('ETH')))) == 1\n"
        "try: list(decode([b'[' * 100_000], spec('ETH')))\n"
        "except Rejected: print('refused')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=False)
    assert (ended.returncode, ended.stdout) == (0, "refused\n"), ended.stderr
