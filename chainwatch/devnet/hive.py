"""A simulated Hive node: the real RPC names and shapes over a ``FakeChain``.

Kinds of ``Payment``: ``transfer``, and ``recurrent``: a recurrent transfer is set up, and its first execution, a
virtual operation, is in the same block; with ``ok`` False that execution fails.  (A plain transfer that would fail is
never in a block, so there is none here.)  ``asset_id`` None is HIVE, else a NAI of the spec.

``Faults.omit`` knows: ``virtual_ops`` (the node has no account history), ``history`` (account history lags a block
behind), ``indexer`` (``block_api`` does not have the head block yet), ``transaction_ids`` (blocks name all but their
last transaction).  ``wrong_chain`` makes it a Steem node.
"""

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from chainwatch.clock import Clock
from chainwatch.devnet.hive_wire import CHAIN_ID_STEEM, Json, Rendered, legacy_op, nai, stamp, symbol, transaction_id
from chainwatch.devnet.node import Method, Payment, RpcFault, SimNode
from chainwatch.model import Asset, ChainSpec
from chainwatch.testing.fakechain import FakeBlock, FakeChain, FakeTransfer, FakeTx

FINAL_LAG = 1
"""Blocks that the irreversible one stands below the head: what fast confirmation (HF26) usually leaves."""
EXPIRES_S = 60
"""How long a payer's transaction stays valid."""
MAX_RANGE, MAX_VIRTUAL_RANGE, MAX_LIMIT = 1000, 2000, 150_000
"""The node's own bounds: blocks of one range, blocks and operations of one page of virtual operations."""
NULL_KEY = "STM1111111111111111111111111111111114T1Anm"
"""The public key that nobody has the private key of."""
VERSION = "1.28.3"


def make(
    spec: ChainSpec, *, clock: Clock, rng: random.Random, journal: Path | None = None, block_ms: int | None = None
) -> "HiveNode":
    """Build a node for the chain; without ``receive`` in the spec it makes up a receiving account."""
    chain = FakeChain(
        spec.code,
        clock=clock,
        rng=rng,
        block_ms=block_ms or spec.block_time_ms,
        final_lag=FINAL_LAG,
        first_height=1,
        hash_block=block_id,
        journal=journal,
    )
    return HiveNode(spec, clock=clock, rng=rng, chain=chain)


def block_id(height: int, parent: str, txids: Sequence[str], salt: int) -> str:
    """Return 20 bytes in hex, of which the first four are the height."""
    digest = hashlib.sha256(repr((height, parent, tuple(txids), salt)).encode()).hexdigest()
    return f"{height:08x}{digest[:32]}"


class HiveNode(SimNode):
    """The JSON-RPC face of one chain."""

    def __init__(self, spec: ChainSpec, *, clock: Clock, rng: random.Random, chain: FakeChain) -> None:
        super().__init__(spec, clock=clock, rng=rng, chain=chain)
        self.receive = spec.receive or ("dlux-tickets",)
        self.memo_keys: dict[str, str] = {}
        """Public memo keys of accounts, where a test needs a real one."""
        self.active_keys: dict[str, str] = {}
        self.posting_keys: dict[str, str] = {}
        self._assets: dict[str | None, Asset] = {**spec.by_asset_id(), None: spec.native}
        self._coins = {a.code: a for a in spec.assets}

    def config(self) -> dict[str, Any]:
        """Return the ``[chains.<CODE>]`` section that makes chainwatch follow this node."""
        return {"adapter": "hive", "endpoints": [self.url], "receive": list(self.receive)}

    def new_wallet(self) -> str:
        """Return a fresh account name: plain, with a dash, or with a dot."""
        word = "".join(self.rng.choices("abcdefghijklmnopqrstuvwxyz", k=9))
        return self.rng.choice((f"buyer{word}", f"{word[:5]}-{word[5:]}", f"{word[:5]}.{word[5:]}"))

    def pay(self, payment: Payment) -> str:
        """Put a payment into the mempool; return its transaction id."""
        return self.pay_many([payment])

    def pay_many(self, payments: Sequence[Payment]) -> str:
        """Put one transaction of several payments into the mempool; return its id."""
        if any(not p.ok and p.kind != "recurrent" for p in payments):
            raise ValueError("Hive takes no transfer into a block that fails")
        sender = payments[0].sender or self.new_wallet()
        transfers = tuple(
            FakeTransfer(
                sender=p.sender or sender,
                to=p.to,
                amount=p.amount,
                asset_id=p.asset_id,
                memo=(p.memo or "").encode(),
                ok=p.ok,
                kind=p.kind,
            )
            for p in payments
        )
        # What makes a transaction of the same content another one: its reference block and its expiration.
        nonce = (self.clock.now_ms() // 1000 + EXPIRES_S) << 32 | self.rng.getrandbits(32)
        draft = FakeTx("", transfers, nonce)
        return self.chain.submit(FakeTx(transaction_id(draft, self._assets), transfers, nonce))

    def methods(self) -> Mapping[str, Method]:
        """Return the RPC methods."""
        return {
            "block_api.get_block": lambda block_num: self._one(block_num, "block", self._block),
            "block_api.get_block_header": lambda block_num: self._one(block_num, "header", self._header),
            "block_api.get_block_range": self._block_range,
            "database_api.get_dynamic_global_properties": self._properties,
            "database_api.get_config": self._config,
            "database_api.get_version": self._version,
            "database_api.find_accounts": lambda accounts, **_: {"accounts": self._accounts(accounts)},
            "condenser_api.get_accounts": lambda names, *_: self._accounts(names, symbol),
            "condenser_api.get_block": self._legacy_block,
            "condenser_api.get_config": self._config,
            "condenser_api.get_version": self._version,
            "condenser_api.get_chain_properties": lambda: {"maximum_block_size": 65536},
            "condenser_api.get_dynamic_global_properties": self._legacy_properties,
            "account_history_api.enum_virtual_ops": self._enum_virtual_ops,
            "account_history_api.get_ops_in_block": self._ops_in_block,
            "account_history_api.get_transaction": self._transaction,
        }

    # -- the chain -------------------------------------------------------------------------------

    def _config(self) -> Json:
        return {
            "HIVE_CHAIN_ID": CHAIN_ID_STEEM if self.faults.wrong_chain else self.spec.chain_id,
            "HIVE_BLOCKCHAIN_VERSION": VERSION,
            "HIVE_ADDRESS_PREFIX": "STM",
            "HIVE_BLOCK_INTERVAL": max(self.chain.block_ms // 1000, 1),
            "HIVE_MAX_MEMO_SIZE": 2048,
        }

    def _version(self) -> Json:
        return {
            "blockchain_version": VERSION,
            "hive_revision": "0" * 40,
            "fc_revision": "0" * 40,
            "chain_id": self._config()["HIVE_CHAIN_ID"],
            "node_type": "testnet",
        }

    def _properties(self) -> Json:
        head = self.chain.at(self.visible_head())
        assert head is not None
        return {
            "id": 0,
            "head_block_number": head.ref.height,
            "head_block_id": head.ref.hash,
            "time": stamp(head.time_ms),
            "current_witness": Rendered.witness(head),
            "last_irreversible_block_num": self._final_height(),
            "current_supply": nai(10**12, self.spec.native),
            "hbd_interest_rate": 1500,
            "maximum_block_size": 65536,
        }

    def _legacy_properties(self) -> Json:
        return {**self._properties(), "current_supply": symbol(10**12, self.spec.native)}

    def _final_height(self) -> int:
        return min(self.chain.final.ref.height, self.visible_head())

    def _accounts(self, names: Sequence[str], write: Callable[[int, Asset], Any] = nai) -> list[Json]:
        nobody: Json = {"weight_threshold": 1, "account_auths": [], "key_auths": [[NULL_KEY, 1]]}
        return [
            {
                "name": name,
                "balance": write(self._held(name, "HIVE"), self._coins["HIVE"]),
                "hbd_balance": write(self._held(name, "HBD"), self._coins["HBD"]),
                "owner": nobody,
                "active": {**nobody, "key_auths": [[self.active_keys.get(name, NULL_KEY), 1]]},
                "posting": {**nobody, "key_auths": [[self.posting_keys.get(name, NULL_KEY), 1]]},
                "memo_key": self.memo_keys.get(name, NULL_KEY),
                "json_metadata": "",
                "posting_json_metadata": "",
            }
            for name in names
        ]

    def _held(self, name: str, code: str) -> int:
        """Return what an account received less what it sent; buyers sent what they never had."""
        blocks = (b for b in self.chain.best if b.ref.height <= self.visible_head())
        moved = (t for b in blocks for tx in b.txs for t in tx.transfers if t.ok)
        coins = (t for t in moved if self._assets[t.asset_id].code == code)
        return max(sum(t.amount * ((t.to == name) - (t.sender == name)) for t in coins), 0)

    # -- blocks ----------------------------------------------------------------------------------

    def _at(self, height: int) -> FakeBlock | None:
        """Return a block as far as this node shows it."""
        shown = self.visible_head() - ("indexer" in self.faults.omit)
        return self.chain.at(height) if height <= shown else None

    def _render(self, block: FakeBlock) -> Rendered:
        return Rendered(block, self._assets)

    def _header(self, block: FakeBlock) -> Json:
        whole = self._block(block)
        return {k: whole[k] for k in ("previous", "timestamp", "witness", "transaction_merkle_root", "extensions")}

    def _block(self, block: FakeBlock) -> Json:
        whole = self._render(block).block
        if "transaction_ids" in self.faults.omit:
            whole["transaction_ids"] = whole["transaction_ids"][:-1]
        return whole

    def _one(self, height: int, name: str, render: Any) -> Json:
        block = self._at(height)
        return {} if block is None else {name: render(block)}

    def _block_range(self, starting_block_num: int, count: int) -> Json:
        if not 0 < count <= MAX_RANGE:
            raise RpcFault(
                -32003, f"Assert Exception:args.count <= {MAX_RANGE}: You can only ask for {MAX_RANGE} blocks"
            )
        found = (self._at(h) for h in range(starting_block_num, starting_block_num + count))
        return {"blocks": [self._block(b) for b in found if b is not None]}

    def _legacy_block(self, height: int) -> Json | None:
        block = self._at(height)
        if block is None:
            return None
        whole = self._block(block)
        for tx in whole["transactions"]:
            tx["operations"] = [legacy_op(op, self._assets) for op in tx["operations"]]
        return whole

    # -- account history -------------------------------------------------------------------------

    def _history(self, first: int, end: int, *, reversible: bool) -> Iterator[tuple[int, Json]]:
        """Yield (height, operation) of blocks ``first`` to before ``end``, as far as this node has come."""
        if "virtual_ops" in self.faults.omit:
            raise RpcFault(
                -32003, "Assert Exception:itr != _registered_apis.end(): Could not find API account_history_api"
            )
        shown = self.visible_head() if reversible else self._final_height()
        shown -= "history" in self.faults.omit
        for height in range(max(first, self.chain.first_height), min(end, shown + 1)):
            block = self.chain.at(height)
            for op in self._render(block).history() if block is not None else ():
                yield height, op

    def _enum_virtual_ops(
        self,
        block_range_begin: int,
        block_range_end: int,
        include_reversible: bool = False,
        group_by_block: bool = False,
        operation_begin: int | str = 0,
        limit: int = MAX_LIMIT,
        filter: int | None = None,
    ) -> Json:
        if not 0 < block_range_end - block_range_begin <= MAX_VIRTUAL_RANGE:
            raise RpcFault(-32003, "Assert Exception:Block range distance must be less than or equal to 2000")
        if not 0 < limit <= MAX_LIMIT:
            raise RpcFault(-32003, "Assert Exception:limit is out of range")
        found: list[Json] = []
        following: tuple[int, str | int] = (block_range_end, 0)
        for height, op in self._history(block_range_begin, block_range_end, reversible=include_reversible):
            bit = VIRTUAL_BITS.get(op["op"]["type"])
            if bit is None or (filter is not None and not filter & bit):
                continue
            if height == block_range_begin and int(op["operation_id"]) < int(operation_begin):
                continue
            if len(found) == limit:
                following = (height, op["operation_id"])
                break
            found.append(op)
        answer: Json = {"ops": found, "ops_by_block": []}
        if group_by_block:
            answer = {"ops": [], "ops_by_block": [self._group(h, found) for h in sorted({o["block"] for o in found})]}
        return answer | {"next_block_range_begin": following[0], "next_operation_begin": following[1]}

    def _group(self, height: int, ops: Sequence[Json]) -> Json:
        of_block = [op for op in ops if op["block"] == height]
        return {
            "block": height,
            "irreversible": height <= self._final_height(),
            "timestamp": of_block[0]["timestamp"],
            "ops": of_block,
        }

    def _ops_in_block(self, block_num: int, only_virtual: bool = False, include_reversible: bool = False) -> Json:
        ops = self._history(block_num, block_num + 1, reversible=include_reversible)
        return {"ops": [op for _, op in ops if op["virtual_op"] or not only_virtual]}

    def _transaction(self, id: str, include_reversible: bool = False) -> Json:
        block = self.chain.find(id)
        shown = self.visible_head() if include_reversible else self._final_height()
        if block is None or block.ref.height > shown:
            raise RpcFault(-32003, f"Assert Exception:false: Unknown Transaction {id}")
        number = next(i for i, tx in enumerate(block.txs) if tx.txid == id)
        tx: Json = self._render(block).block["transactions"][number]
        return {**tx, "transaction_id": id, "block_num": block.ref.height, "transaction_num": number}


VIRTUAL_BITS: Mapping[str, int] = {
    "producer_reward_operation": 0x4000,
    "fill_recurrent_transfer_operation": 0x2_0000_0000,
    "failed_recurrent_transfer_operation": 0x4_0000_0000,
}
"""The bits of ``enum_virtual_ops``' filter."""
