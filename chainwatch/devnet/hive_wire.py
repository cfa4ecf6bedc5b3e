"""How a block of the simulated Hive node looks: the forms of ``block_api``, ``condenser_api`` and account history.

Source: ``protocol/operations.hpp`` (numbers of operations), ``protocol/asset.hpp`` (the three forms of an amount),
``protocol/transaction.cpp`` (a transaction's id).
"""

import hashlib
import struct
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from chainwatch.model import Asset
from chainwatch.testing.fakechain import FakeBlock, FakeTransfer, FakeTx

Json = dict[str, Any]
Assets = Mapping[str | None, Asset]

CHAIN_ID_STEEM = "0" * 64
WITNESSES = ("initminer", "gtg.sim", "blocktrades.s", "witness-three")
NO_TXID = "0" * 40
_NO_TX = 2**32 - 1
"""``trx_in_block`` of an operation that belongs to no transaction."""

_TRANSFER_ID, _RECURRENT_ID = 2, 49
_BINARY_SYMBOLS = {"HIVE": b"STEEM", "HBD": b"SBD"}
"""What the coins are still called in the bytes that are hashed and signed."""

RECURRENCE_H, EXECUTIONS = 24, 2
"""A recurrent transfer of the devnet: daily, twice, the least that the chain takes."""


def stamp(time_ms: int) -> str:
    """Return a time as Hive writes it: UTC, whole seconds, without saying so."""
    return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def nai(amount: int, asset: Asset) -> Json:
    """Return an amount as ``block_api`` writes it."""
    return {"amount": str(amount), "precision": asset.decimals, "nai": asset.asset_id}


def symbol(amount: int, asset: Asset) -> str:
    """Return an amount as ``condenser_api`` writes it."""
    whole, part = divmod(amount, 10**asset.decimals)
    return f"{whole}.{part:0{asset.decimals}d} {asset.code}"


def legacy_op(op: Json, assets: Assets) -> list[Any]:
    """Return an operation as ``condenser_api`` writes it."""
    body = dict(op["value"])
    if "amount" in body:
        body["amount"] = symbol(int(body["amount"]["amount"]), assets[body["amount"]["nai"]])
    return [op["type"].removesuffix("_operation"), body]


def transaction_id(tx: FakeTx, assets: Assets) -> str:
    """Return the first 20 bytes of SHA-256 over the unsigned transaction, in hex."""
    head = struct.pack("<HII", *_references(tx))
    ops = b"".join(_binary(t, assets) for t in tx.transfers)
    return hashlib.sha256(head + bytes([len(tx.transfers)]) + ops + b"\0").hexdigest()[:40]


def _references(tx: FakeTx) -> tuple[int, int, int]:
    """Return reference block number, reference block prefix and expiration, from what makes the transaction unique."""
    prefix = tx.nonce & 0xFFFFFFFF
    return prefix & 0xFFFF, prefix, tx.nonce >> 32


def _binary(t: FakeTransfer, assets: Assets) -> bytes:
    asset = assets[t.asset_id]
    name = _BINARY_SYMBOLS.get(asset.code, asset.code.encode())
    amount = struct.pack("<qB", t.amount, asset.decimals) + name.ljust(7, b"\0")
    body = _text(t.sender.encode()) + _text(t.to.encode()) + amount + _text(t.memo or b"")
    if t.kind != "recurrent":
        return bytes([_TRANSFER_ID]) + body
    return bytes([_RECURRENT_ID]) + body + struct.pack("<HH", RECURRENCE_H, EXECUTIONS) + b"\0"


def _text(data: bytes) -> bytes:
    length, out = len(data), bytearray()
    while length >= 0x80:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([*out, length]) + data


class Rendered:
    """A block in the shapes of the RPC."""

    def __init__(self, block: FakeBlock, assets: Assets) -> None:
        self._fake, self._assets = block, assets
        parent = block.ref.parent
        self.block: Json = {
            "previous": parent if len(parent) == 40 else NO_TXID,
            "timestamp": stamp(block.time_ms),
            "witness": self.witness(block),
            "transaction_merkle_root": hashlib.sha256(block.ref.hash.encode()).hexdigest()[:40],
            "extensions": [],
            "witness_signature": "1f" + hashlib.sha512(block.ref.hash.encode()).hexdigest(),
            "transactions": [self._tx(tx) for tx in block.txs],
            "block_id": block.ref.hash,
            "signing_key": "STM1111111111111111111111111111111114T1Anm",
            "transaction_ids": [tx.txid for tx in block.txs],
        }

    @staticmethod
    def witness(block: FakeBlock) -> str:
        """Return who produced a block."""
        return WITNESSES[int(block.ref.hash[8:16], 16) % len(WITNESSES)]

    def history(self) -> Iterator[Json]:
        """Yield every operation of the block with its place, the virtual ones last, as they were applied."""
        for i, tx in enumerate(self.block["transactions"]):
            for number, op in enumerate(tx["operations"]):
                yield self._applied(op, i, number, self._fake.txs[i].txid)
        recurrent = [t for tx in self._fake.txs for t in tx.transfers if t.kind == "recurrent"]
        reward: Json = {
            "type": "producer_reward_operation",
            "value": {
                "producer": self.block["witness"],
                "vesting_shares": {"amount": "498570000", "precision": 6, "nai": "@@000000037"},
            },
        }
        for number, op in enumerate([reward, *(self._execution(t) for t in recurrent)], 1):
            yield self._applied(op, _NO_TX, number, NO_TXID)

    def _applied(self, op: Json, position: int, number: int, txid: str) -> Json:
        virtual = position == _NO_TX
        return {
            "trx_id": txid,
            "block": self._fake.ref.height,
            "trx_in_block": position,
            "op_in_trx": number,
            "virtual_op": virtual,
            "timestamp": self.block["timestamp"],
            "op": op,
            "operation_id": str(self._fake.ref.height << 32 | number << 8) if virtual else "0",
        }

    def _tx(self, tx: FakeTx) -> Json:
        number, prefix, expiration = _references(tx)
        return {
            "ref_block_num": number,
            "ref_block_prefix": prefix,
            "expiration": stamp(expiration * 1000),
            "operations": [self._operation(t) for t in tx.transfers],
            "extensions": [],
            "signatures": ["1f" + hashlib.sha512(tx.txid.encode()).hexdigest()],
        }

    def _movement(self, t: FakeTransfer) -> Json:
        amount = nai(t.amount, self._assets[t.asset_id])
        return {"from": t.sender, "to": t.to, "amount": amount, "memo": (t.memo or b"").decode()}

    def _operation(self, t: FakeTransfer) -> Json:
        body = self._movement(t)
        if t.kind != "recurrent":
            return {"type": "transfer_operation", "value": body}
        body |= {"recurrence": RECURRENCE_H, "executions": EXECUTIONS, "extensions": []}
        return {"type": "recurrent_transfer_operation", "value": body}

    def _execution(self, t: FakeTransfer) -> Json:
        body = self._movement(t)
        if t.ok:
            body["remaining_executions"] = EXECUTIONS - 1
            return {"type": "fill_recurrent_transfer_operation", "value": body}
        body |= {"consecutive_failures": 1, "remaining_executions": EXECUTIONS - 1, "deleted": False}
        return {"type": "failed_recurrent_transfer_operation", "value": body}
