"""A simulated monero-wallet-rpc (view-only) and the monerod beside it, at one address.

Both speak JSON-RPC at ``/json_rpc`` and share no method but ``get_version``, so one server can be both.
Kinds of payments: ``monero_wallet.KINDS``.  ``faults.omit``: ``refresh`` (the wallet cannot reach its daemon),
``ready`` (the daemon answers BUSY), ``view_only`` (the wallet could spend).
"""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from chainwatch.clock import Clock
from chainwatch.devnet.monero_wallet import KINDS, SimWallet, buyer_address, split
from chainwatch.devnet.node import Method, Payment, RpcFault, SimNode
from chainwatch.model import ChainSpec
from chainwatch.testing.fakechain import FakeBlock, FakeChain, FakeTransfer, FakeTx, sha256_block_hash

WALLET_VERSION = 65561  # 1.25, of release 0.18
LIMIT = 64
"""Subaddresses in one ``create_address``, as the real one has it."""


def make(
    spec: ChainSpec, *, clock: Clock, rng: random.Random, journal: Path | None = None, block_ms: int = 1000
) -> "MoneroNode":
    """Build the simulated node of a chain (not yet listening)."""
    genesis = spec.params.get("genesis", {}).get(spec.chain_id, "")

    def hash_block(height: int, parent: str, txids: Sequence[str], salt: int) -> str:
        return genesis if height == 0 and genesis else sha256_block_hash(height, parent, txids, salt)

    chain = FakeChain(
        spec.code, clock=clock, rng=rng, block_ms=block_ms, final_lag=10, hash_block=hash_block, journal=journal
    )
    keys = journal.with_name(journal.name + ".wallet") if journal is not None else None
    return MoneroNode(spec, clock=clock, rng=rng, chain=chain, keys=keys)


class MoneroNode(SimNode):
    """The wallet is the shop's; buyers are only addresses."""

    def __init__(
        self, spec: ChainSpec, *, clock: Clock, rng: random.Random, chain: FakeChain, keys: Path | None = None
    ) -> None:
        super().__init__(spec, clock=clock, rng=rng, chain=chain)
        # A regtest daemon calls itself fakechain; its wallets are those of the main network.
        self.network = "mainnet" if spec.chain_id == "fakechain" else spec.chain_id
        self.wallet = SimWallet(rng.randbytes(32), self.network, keys)
        self._seen: dict[str, int] = {}

    # -- commanding it ---------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """See ``SimNode.config``."""
        return {
            "adapter": "monero",
            "chain_id": self.spec.chain_id,
            "endpoints": [self.url],
            "daemon": self.url,
            "receive": [self.wallet.addresses[0]],
        }

    def new_wallet(self) -> str:
        """Return the address of a wallet that is not the shop's."""
        return buyer_address(self.rng.randbytes(32), self.network)

    def new_subaddress(self) -> str:
        """Return a fresh subaddress of the shop's wallet."""
        (number,) = self.wallet.create(1)
        return self.wallet.addresses[number]

    def pay(self, payment: Payment) -> str:
        """See ``SimNode.pay``."""
        return self.pay_many([payment])

    def pay_many(self, payments: Sequence[Payment]) -> str:
        """Put one transaction with these payments into the pool; a memo has no place in it."""
        for payment in payments:
            split(payment.to)
            if payment.kind not in KINDS or not payment.ok or payment.asset_id is not None:
                raise ValueError("no such payment on Monero")
        transfers = tuple(FakeTransfer("", p.to, p.amount, kind=p.kind) for p in payments)
        tx = FakeTx(self.rng.randbytes(32).hex(), transfers)
        self._seen[tx.txid] = self.clock.now_ms()
        return self.chain.submit(tx)

    def pop_blocks(self, count: int) -> None:
        """Undo blocks as monerod's call of that name does: their transactions go back to the pool."""
        for tx in self.chain.rollback(count):
            self.chain.submit(tx)

    def routes(self, app: web.Application) -> None:
        """See ``SimNode.routes``."""
        app.router.add_post("/json_rpc", self._rpc)

    # -- monerod ---------------------------------------------------------------------------------

    def methods(self) -> Mapping[str, Method]:
        """See ``SimNode.methods``."""
        return {
            "get_info": self._get_info,
            "get_last_block_header": lambda: self._header_answer(self.visible_head()),
            "get_block_header_by_height": self._header_answer,
            "get_block_headers_range": self._headers_range,
            "get_version": lambda: {"release": True, "version": WALLET_VERSION},
            "get_height": lambda: {"height": len(self._wallet_blocks())},
            "refresh": self._refresh,
            "store": dict,
            "get_address": self._get_address,
            "get_address_index": self._get_address_index,
            "create_address": self._create_address,
            "validate_address": self._validate_address,
            "split_integrated_address": self._split_integrated_address,
            "sign_transfer": self._sign_transfer,
            "get_transfers": self._get_transfers,
            "get_transfer_by_txid": self._get_transfer_by_txid,
            "incoming_transfers": self._incoming_transfers,
        }

    def _status(self) -> str:
        return "BUSY" if "ready" in self.faults.omit else "OK"

    def _get_info(self) -> dict[str, Any]:
        return {
            "height": self.visible_head() + 1,
            "nettype": "testnet" if self.faults.wrong_chain else self.spec.chain_id,
            "status": self._status(),
            "synchronized": True,
            "target_height": 0,
            "top_block_hash": self._block(self.visible_head()).ref.hash,
            "untrusted": False,
            "version": "0.18.0.0",
        }

    def _block(self, height: int) -> FakeBlock:
        block = self.chain.at(height) if height <= self.visible_head() else None
        if block is None:
            raise RpcFault(-2, f"Requested block height: {height} greater than current top block height")
        return block

    def _header(self, height: int) -> dict[str, Any]:
        block = self._block(height)
        return {
            "depth": self.visible_head() - height,
            "hash": block.ref.hash,
            "height": height,
            "major_version": 16,
            "num_txes": len(block.txs),
            "orphan_status": False,
            "prev_hash": block.ref.parent,
            "timestamp": block.time_ms // 1000,
        }

    def _header_answer(self, height: int) -> dict[str, Any]:
        return {"block_header": self._header(height), "status": self._status(), "untrusted": False}

    def _headers_range(self, start_height: int, end_height: int) -> dict[str, Any]:
        headers = [self._header(h) for h in range(start_height, end_height + 1)]
        return {"headers": headers, "status": self._status(), "untrusted": False}

    # -- monero-wallet-rpc -----------------------------------------------------------------------

    def _wallet_blocks(self) -> Sequence[FakeBlock]:
        if not self.wallet.blocks:  # a wallet that was just started reads the chain before it answers
            self.wallet.refresh(self.chain.best[: self.visible_head() + 1])
        return self.wallet.blocks

    def _refresh(self) -> dict[str, Any]:
        if "refresh" in self.faults.omit:
            raise RpcFault(-38, "no connection to daemon")
        fetched = self.wallet.refresh(self.chain.best[: self.visible_head() + 1])
        return {"blocks_fetched": fetched, "received_money": False}

    def _get_address(self, account_index: int = 0, address_index: Sequence[int] = ()) -> dict[str, Any]:
        held = self.wallet.addresses
        if account_index != 0 or any(n >= len(held) for n in address_index):
            raise RpcFault(-15, "address index is out of bound")
        numbers = address_index or range(len(held))
        listed = [{"address": held[n], "address_index": n, "label": "", "used": False} for n in numbers]
        return {"address": held[0], "addresses": listed}

    def _get_address_index(self, address: str) -> dict[str, Any]:
        if address not in self.wallet.number:
            raise RpcFault(-2, "Address doesn't belong to the wallet")
        return {"index": {"major": 0, "minor": self.wallet.number[address]}}

    def _create_address(self, account_index: int = 0, count: int = 1, **_: Any) -> dict[str, Any]:
        if account_index != 0:
            raise RpcFault(-14, "Account index is out of bound")
        if not 1 <= count <= LIMIT:
            raise RpcFault(-1, f"Count must be between 1 and {LIMIT}.")
        numbers = self.wallet.create(count)
        made = [self.wallet.addresses[n] for n in numbers]
        return {"address": made[0], "address_index": numbers[0], "address_indices": [*numbers], "addresses": made}

    def _validate_address(self, address: str, any_net_type: bool = False) -> dict[str, Any]:
        network = "testnet" if self.faults.wrong_chain else self.network
        valid = address in self.wallet.number and (any_net_type or network == self.network)
        return {"integrated": False, "nettype": network if valid else "", "subaddress": False, "valid": valid}

    def _split_integrated_address(self, integrated_address: str) -> dict[str, Any]:
        standard, payment_id = split(integrated_address)
        if not payment_id:
            raise RpcFault(-2, "Address is not an integrated address")
        return {"is_subaddress": False, "payment_id": payment_id, "standard_address": standard}

    def _sign_transfer(self, **_: Any) -> dict[str, Any]:
        if "view_only" in self.faults.omit:
            raise RpcFault(-39, "cannot load unsigned_txset")
        raise RpcFault(-29, "command not supported by watch-only wallet")

    def _listed(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        blocks = self._wallet_blocks()
        top = len(blocks) - 1
        mined = [e for b in blocks for tx in b.txs for e in self.wallet.entries(tx, b, 0, top)]
        now = self.clock.now_ms()
        pool = [
            entry
            for tx in self.chain.mempool.values()
            for entry in self.wallet.entries(tx, None, self._seen.get(tx.txid, now), top)
        ]
        return mined, pool

    def _get_transfers(self, **query: Any) -> dict[str, Any]:
        mined, pool = self._listed()
        if query.get("filter_by_height"):
            low, high = query.get("min_height", 0), query.get("max_height", len(self.wallet.blocks))
            mined = [e for e in mined if low < e["height"] <= high]  # the lower bound is exclusive
        lists = {"in": mined if query.get("in") else [], "pool": pool if query.get("pool") else []}
        return {name: entries for name, entries in lists.items() if entries}

    def _get_transfer_by_txid(self, txid: str, account_index: int = 0) -> dict[str, Any]:
        mined, pool = self._listed()
        found = [e for e in (*mined, *pool) if e["txid"] == txid]
        if not found or account_index != 0:
            raise RpcFault(-8, "Transaction not found.")
        return {"transfer": found[0], "transfers": found}

    def _incoming_transfers(
        self, transfer_type: str, account_index: int = 0, subaddr_indices: Sequence[int] = ()
    ) -> dict[str, Any]:
        if transfer_type != "all" or account_index != 0:
            return {}
        self._wallet_blocks()
        found = list(self.wallet.outputs(subaddr_indices))
        return {"transfers": found} if found else {}
