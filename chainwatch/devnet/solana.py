"""A simulated Solana node: the JSON-RPC methods that a payment watcher uses, over a ``FakeChain``.

Every 16th slot is skipped, as leaders fail now and then on the real chain: slots and block heights are
two counters.  ``confirmed`` is the head, ``finalized`` lies ``final_lag`` blocks below it.  Nothing is
seen before it is in a block: there is no mempool to look into.

Kinds of transfer: ``transfer``, ``inner`` (made by another program on the payer's behalf), and
``reference:<key>`` (a Solana Pay transfer that names a reference key).
``Faults.omit``: ``transactions`` (listed ones answer null), ``meta`` (null), ``blocks`` (never available).
"""

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from solders.keypair import Keypair
from solders.signature import Signature

from chainwatch.adapters.solana import token_account
from chainwatch.adapters.solana_tx import MEMO_V2, SPL, SYSTEM
from chainwatch.clock import Clock
from chainwatch.devnet.node import Method, Payment, RpcFault, SimNode
from chainwatch.devnet.solana_shapes import (
    account_info,
    block_hash,
    camel,
    error_of,
    height_of,
    memos_of,
    need_version,
    slot_of,
    token_balance,
    ui,
)
from chainwatch.model import Asset, ChainSpec
from chainwatch.testing.fakechain import FakeBlock, FakeChain, FakeTransfer, FakeTx

FINAL_LAG = 31
"""Blocks that a finalized block has on top of it: a lockout of 2^5 votes."""
FEE = 5_000
"""Lamports for one signature."""
RICH = 10**12
"""What simulated buyers have before they pay: their balance is not what is tested."""
ROUTER = "Router1111111111111111111111111111111111111"
DEVNET_GENESIS = "EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG"
MAX_LIMIT = 1_000


def make(
    spec: ChainSpec,
    *,
    clock: Clock,
    rng: random.Random,
    journal: Path | None = None,
    block_ms: int = 400,
    final_lag: int = FINAL_LAG,
) -> "SolanaNode":
    """Build a node on its own chain; it does not listen yet."""
    chain = FakeChain(
        spec.code,
        clock=clock,
        rng=rng,
        block_ms=block_ms,
        final_lag=final_lag,
        hash_block=block_hash,
        journal=journal,
    )
    return SolanaNode(spec, clock=clock, rng=rng, chain=chain)


class SolanaNode(SimNode):
    """The RPC face."""

    final_only = True

    def __init__(self, spec: ChainSpec, *, clock: Clock, rng: random.Random, chain: FakeChain) -> None:
        super().__init__(spec, clock=clock, rng=rng, chain=chain)
        self._keys: dict[str, Keypair] = {}
        self._busy: list[FakeBlock] = []
        self._places: dict[str, FakeBlock] = {}
        self._named: dict[str, list[str]] = {}
        self._indexed = chain.first_height - 1
        self.house = self._wallet(hashlib.sha256(b"chainwatch devnet receiving wallet").digest())

    # -- what the devnet does with it ------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """Return the section that follows this node."""
        return {
            "adapter": "solana",
            "chain_id": self._genesis(),
            "endpoints": [self.url],
            "receive": list(self.spec.receive) or [self.house],
        }

    def _wallet(self, seed: bytes) -> str:
        pair = Keypair.from_seed(seed)
        self._keys[str(pair.pubkey())] = pair
        return str(pair.pubkey())

    def new_wallet(self) -> str:
        """Return a fresh wallet; ``sign`` can sign for it."""
        return self._wallet(self.rng.randbytes(32))

    def sign(self, wallet: str, message: bytes) -> str:
        """Sign as a wallet made by ``new_wallet``; base58."""
        return str(self._keys[wallet].sign_message(message))

    def pay(self, payment: Payment) -> str:
        """Hand a payment to the next leader."""
        return self.pay_many([payment])

    def pay_many(self, payments: Sequence[Payment]) -> str:
        """Make several payments of one buyer in one transaction, an instruction each."""
        sender = next((p.sender for p in payments if p.sender), None) or self.new_wallet()
        moved = tuple(
            FakeTransfer(
                p.sender or sender,
                p.to,
                p.amount,
                p.asset_id,
                p.memo.encode() if p.memo is not None else None,
                p.ok,
                p.kind,
            )
            for p in payments
        )
        salt = (self.rng.getrandbits(64), self.chain.head.ref.hash, len(self.chain.mempool), moved)
        return self.chain.submit(FakeTx(str(Signature(hashlib.sha512(repr(salt).encode()).digest())), moved))

    # -- the chain as this node shows it -----------------------------------------------------------

    def _genesis(self) -> str:
        return self.spec.chain_id or self.chain.best[0].ref.hash

    def _height(self, options: Mapping[str, Any] | None = None) -> int:
        """Return the newest height at a commitment; checks ``minContextSlot``."""
        options = options or {}
        head = self.visible_head()
        if options.get("commitment", "finalized") == "finalized":
            first = self.chain.first_height
            head = min(self.chain.final.ref.height, max(head - self.chain.final_lag, first))
        if slot_of(head) < options.get("minContextSlot", 0):
            raise RpcFault(-32016, "Minimum context slot has not been reached", {"contextSlot": slot_of(head)})
        return head

    def _context(self, options: Mapping[str, Any] | None, value: Any) -> dict[str, Any]:
        return {"context": {"apiVersion": "3.0.0", "slot": slot_of(self._height(options))}, "value": value}

    def _busy_blocks(self, height: int) -> list[FakeBlock]:
        """Return the blocks up to ``height`` that hold transactions, oldest first; kept up to date as blocks come."""
        while self._busy and self.chain.at(self._busy[-1].ref.height) is not self._busy[-1]:
            for tx in self._busy.pop().txs:
                self._places.pop(tx.txid, None)
            self._indexed = self._busy[-1].ref.height if self._busy else self.chain.first_height - 1
        for h in range(self._indexed + 1, self.chain.head.ref.height + 1):
            block = self.chain.at(h)
            if block is not None and block.txs:
                self._busy.append(block)
                self._places.update((tx.txid, block) for tx in block.txs)
        self._indexed = self.chain.head.ref.height
        return [b for b in self._busy if b.ref.height <= height]

    def _find(self, txid: str) -> FakeBlock | None:
        self._busy_blocks(self.chain.head.ref.height)
        return self._places.get(txid)

    def _block(self, slot: int, options: Mapping[str, Any] | None) -> FakeBlock:
        height = height_of(slot)
        if height is None and slot < slot_of(self.visible_head()):
            raise RpcFault(-32007, f"Slot {slot} was skipped, or missing due to ledger jump to recent snapshot")
        block = self.chain.at(height) if height is not None else None
        if block is None or block.ref.height > self._height(options) or "blocks" in self.faults.omit:
            raise RpcFault(-32004, f"Block not available for slot {slot}")
        return block

    # -- methods -----------------------------------------------------------------------------------

    def methods(self) -> Mapping[str, Method]:
        """Return the RPC methods."""
        named: Sequence[Callable[..., Any]] = (
            self.get_health, self.get_version, self.get_genesis_hash, self.get_slot, self.get_block_height,
            self.get_latest_blockhash, self.get_block, self.get_blocks, self.get_block_time,
            self.get_signatures_for_address, self.get_signature_statuses, self.get_transaction,
            self.get_token_accounts_by_owner, self.get_account_info, self.get_balance, self.get_multiple_accounts,
        )  # fmt: skip
        return {camel(m.__name__): m for m in named}

    def get_health(self) -> str:
        """``ok``, or -32005 with how far behind."""
        if self.faults.stale_by:
            behind = self.faults.stale_by
            raise RpcFault(-32005, f"Node is behind by {behind} slots", {"numSlotsBehind": behind})
        return "ok"

    def get_version(self) -> dict[str, Any]:
        """Return the validator's version."""
        return {"solana-core": "3.0.0", "feature-set": 0}

    def get_genesis_hash(self) -> str:
        """Return what names the network."""
        return DEVNET_GENESIS if self.faults.wrong_chain else self._genesis()

    def get_slot(self, options: Mapping[str, Any] | None = None) -> int:
        """Return the newest slot at a commitment."""
        return slot_of(self._height(options))

    def get_block_height(self, options: Mapping[str, Any] | None = None) -> int:
        """Return the number of blocks below: fewer than slots."""
        return self._height(options)

    def get_latest_blockhash(self, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the newest blockhash and until when it serves."""
        height = self._height(options)
        block = self.chain.at(height)
        assert block is not None
        return self._context(options, {"blockhash": block.ref.hash, "lastValidBlockHeight": height + 150})

    def get_block(self, slot: int, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return a block; it does not name its own slot."""
        options = options or {}
        block = self._block(slot, options)
        parent = self.chain.at(block.ref.height - 1)
        answer: dict[str, Any] = {
            "blockHeight": block.ref.height,
            "blockTime": block.time_ms // 1000,
            "blockhash": block.ref.hash,
            "parentSlot": slot_of(parent.ref.height) if parent is not None else 0,
            "previousBlockhash": block.ref.parent if parent is not None else SYSTEM,
        }
        details = options.get("transactionDetails", "full")
        if details == "signatures":
            answer["signatures"] = [t.txid for t in block.txs]
        elif details == "full":
            need_version(options)
            answer["transactions"] = [self._render(t) for t in block.txs]
        return answer

    def get_blocks(self, first: int, *rest: Any) -> list[int]:
        """Return the slots that have a block."""
        options = rest[-1] if rest and isinstance(rest[-1], dict) else {}
        newest = slot_of(self._height(options))
        last = rest[0] if rest and isinstance(rest[0], int) else newest
        return [s for s in range(max(first, 0), min(last, newest) + 1) if height_of(s) is not None]

    def get_block_time(self, slot: int) -> int:
        """Return the block's time in seconds."""
        return self._block(slot, {"commitment": "confirmed"}).time_ms // 1000

    def get_signatures_for_address(
        self, address: str, options: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Return the transactions that name ``address``, newest first."""
        options = options or {}
        limit = options.get("limit", MAX_LIMIT)
        if not 1 <= limit <= MAX_LIMIT:
            raise RpcFault(-32602, f"Invalid limit; max {MAX_LIMIT}")
        final = self._height({"commitment": "finalized"})
        listed: list[dict[str, Any]] = []
        skipping = options.get("before") is not None
        for block in reversed(self._busy_blocks(self._height(options))):
            for tx in reversed(block.txs):
                if tx.txid == options.get("until"):
                    return listed
                if not skipping and address in self._accounts(tx):
                    listed.append(self._signature(tx, block, final))
                    if len(listed) == limit:
                        return listed
                skipping = skipping and tx.txid != options.get("before")
        return listed

    def _signature(self, tx: FakeTx, block: FakeBlock, final: int) -> dict[str, Any]:
        memos = [f"[{len(m)}] {m.decode('utf-8', 'replace')}" for m in memos_of(tx)]
        return {
            "signature": tx.txid,
            "slot": slot_of(block.ref.height),
            "err": error_of(tx),
            "memo": "; ".join(memos) or None,
            "blockTime": block.time_ms // 1000,
            "confirmationStatus": "finalized" if block.ref.height <= final else "confirmed",
        }

    def get_signature_statuses(
        self, signatures: Sequence[str], options: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return how far each transaction is, null for unknown ones."""
        final = self._height({"commitment": "finalized"})
        statuses: list[dict[str, Any] | None] = []
        for signature in signatures:
            block = self._find(signature)
            if block is None or block.ref.height > self.visible_head():
                statuses.append(None)
                continue
            deep = self.visible_head() - block.ref.height
            is_final = block.ref.height <= final
            statuses.append(
                {
                    "slot": slot_of(block.ref.height),
                    "confirmations": None if is_final else deep,
                    "err": error_of(next(t for t in block.txs if t.txid == signature)),
                    "confirmationStatus": "finalized" if is_final else "confirmed",
                }
            )
        return self._context(options, statuses)

    def get_transaction(self, signature: str, options: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """Return one transaction in jsonParsed, null when it is not there at that commitment."""
        options = options or {}
        block = self._find(signature)
        if block is None or block.ref.height > self._height(options) or "transactions" in self.faults.omit:
            return None
        need_version(options)
        tx = next(t for t in block.txs if t.txid == signature)
        return {
            **self._render(tx),
            "slot": slot_of(block.ref.height),
            "blockTime": block.time_ms // 1000,
        }

    def get_token_accounts_by_owner(
        self, owner: str, which: Mapping[str, str], options: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the owner's token accounts of a mint, or of all configured mints."""
        accounts = []
        for asset in self.spec.assets[1:]:
            if which.get("mint", asset.asset_id) == asset.asset_id:
                account = self._token_account(owner, asset)
                amount = self._received(owner, asset.asset_id, options)
                parsed = {"type": "account", "info": {"mint": asset.asset_id, "owner": owner, "state": "initialized",
                          "tokenAmount": ui(amount, asset)}}  # fmt: skip
                accounts.append({"pubkey": account, "account": account_info(0, SPL, {"parsed": parsed})})
        return self._context(options, accounts)

    def get_account_info(self, address: str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return a wallet's account, null when it never received anything."""
        lamports = self._received(address, None, options)
        return self._context(options, account_info(lamports, SYSTEM, ["", "base64"]) if lamports else None)

    def get_balance(self, address: str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what a wallet received; what it spends is not simulated."""
        return self._context(options, self._received(address, None, options))

    def get_multiple_accounts(
        self, addresses: Sequence[str], options: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return accounts, wallets' and token accounts', null for those that hold nothing."""
        return self._context(options, [self._account(a, options) for a in addresses])

    def _account(self, address: str, options: Mapping[str, Any] | None) -> dict[str, Any] | None:
        owners = {t.to for block in self._busy for tx in block.txs for t in tx.transfers}
        for asset in self.spec.assets[1:]:
            owner = next((o for o in owners if self._token_account(o, asset) == address), None)
            if owner is not None and (amount := self._held(owner, asset.asset_id, options)):
                info = {"mint": asset.asset_id, "owner": owner, "tokenAmount": ui(amount, asset)}
                return account_info(0, asset.program or SPL, {"parsed": {"type": "account", "info": info}})
        lamports = self._held(address, None, options)
        return account_info(lamports, SYSTEM, ["", "base64"]) if lamports else None

    def _held(self, wallet: str, asset_id: str | None, options: Mapping[str, Any] | None) -> int:
        """Return what a wallet received less what it sent and, of lamports, paid in fees."""
        held = self._received(wallet, asset_id, options)
        for block in self._busy_blocks(self._height(options)):
            for tx in block.txs:
                if asset_id is None and tx.transfers[0].sender == wallet:
                    held -= FEE
                if error_of(tx) is None:
                    held -= sum(t.amount for t in tx.transfers if t.sender == wallet and t.asset_id == asset_id)
        return held

    # -- transactions ------------------------------------------------------------------------------

    def _received(self, wallet: str, asset_id: str | None, options: Mapping[str, Any] | None) -> int:
        return sum(
            t.amount
            for block in self._busy_blocks(self._height(options))
            for tx in block.txs
            if error_of(tx) is None
            for t in tx.transfers
            if t.to == wallet and t.asset_id == asset_id
        )

    def _asset(self, transfer: FakeTransfer) -> Asset | None:
        return next((a for a in self.spec.assets[1:] if a.asset_id == transfer.asset_id), None)

    @staticmethod
    def _token_account(owner: str, asset: Asset) -> str:
        return token_account(owner, asset.asset_id or "", asset.program or SPL)

    def _ends(self, transfer: FakeTransfer) -> tuple[str, str]:
        """Return the accounts that a transfer debits and credits."""
        asset = self._asset(transfer)
        if asset is None:
            return transfer.sender, transfer.to
        return self._token_account(transfer.sender, asset), self._token_account(transfer.to, asset)

    def _accounts(self, tx: FakeTx) -> list[str]:
        """Return every account key of a transaction, the fee payer first; worked out once."""
        if tx.txid not in self._named:
            self._named[tx.txid] = self._name_accounts(tx)
        return self._named[tx.txid]

    def _name_accounts(self, tx: FakeTx) -> list[str]:
        keys = [t.sender for t in tx.transfers]
        for t in tx.transfers:
            keys += self._ends(t)
            if t.kind.startswith("reference:"):
                keys.append(t.kind.removeprefix("reference:"))
        for t in tx.transfers:
            asset = self._asset(t)
            keys += [SYSTEM] if asset is None else [asset.asset_id or "", asset.program or SPL]
            keys += [ROUTER] if t.kind == "inner" else []
        return list(dict.fromkeys(keys + [MEMO_V2] * bool(memos_of(tx))))

    def _instruction(self, t: FakeTransfer) -> dict[str, Any]:
        source, destination = self._ends(t)
        asset = self._asset(t)
        if asset is None:
            info: dict[str, Any] = {"source": source, "destination": destination, "lamports": t.amount}
            return {"program": "system", "programId": SYSTEM, "parsed": {"type": "transfer", "info": info}}
        info = {
            "source": source,
            "destination": destination,
            "authority": t.sender,
            "mint": asset.asset_id,
            "tokenAmount": ui(t.amount, asset),
        }
        program = asset.program or SPL
        return {"program": "spl-token", "programId": program, "parsed": {"type": "transferChecked", "info": info}}

    def _render(self, tx: FakeTx) -> dict[str, Any]:
        """Return a transaction as ``getTransaction`` gives it in jsonParsed, its place in the chain aside."""
        keys = self._accounts(tx)
        instructions: list[dict[str, Any]] = []
        inner: list[dict[str, Any]] = []
        for i, t in enumerate(tx.transfers):
            if t.kind == "inner":
                instructions.append({"programId": ROUTER, "accounts": list(self._ends(t)), "data": "1"})
                inner.append({"index": i, "instructions": [{**self._instruction(t), "stackHeight": 2}]})
            else:
                instructions.append(self._instruction(t))
        instructions += [{"program": "spl-memo", "programId": MEMO_V2, "parsed": m.decode()} for m in memos_of(tx)]
        signers = {t.sender for t in tx.transfers}
        return {
            "transaction": {
                "signatures": [tx.txid],
                "message": {
                    "accountKeys": [
                        {"pubkey": k, "signer": k in signers, "writable": True, "source": "transaction"} for k in keys
                    ],
                    "instructions": [{"stackHeight": 1, **i} for i in instructions],
                    "recentBlockhash": self.chain.best[0].ref.hash,
                },
            },
            "meta": None if "meta" in self.faults.omit else self._meta(tx, keys, inner),
            "version": 0,
        }

    def _meta(self, tx: FakeTx, keys: Sequence[str], inner: Sequence[dict[str, Any]]) -> dict[str, Any]:
        error = error_of(tx)
        before = dict.fromkeys(keys, RICH)
        after = {**before, keys[0]: RICH - FEE}
        held: dict[str, list[Any]] = {}
        for t in tx.transfers:
            asset = self._asset(t)
            source, destination = self._ends(t)
            moved = t.amount if error is None else 0
            if asset is None:
                after[source] -= moved
                after[destination] += moved
                continue
            for account, owner, sign in ((source, t.sender, -1), (destination, t.to, 1)):
                entry = held.setdefault(account, [owner, asset, RICH, RICH])
                entry[3] += sign * moved
        return {
            "err": error,
            "status": {"Ok": None} if error is None else {"Err": error},
            "fee": FEE,
            "preBalances": [before[k] for k in keys],
            "postBalances": [after[k] for k in keys],
            "preTokenBalances": [token_balance(keys.index(k), e[0], e[1], e[2]) for k, e in held.items()],
            "postTokenBalances": [token_balance(keys.index(k), e[0], e[1], e[3]) for k, e in held.items()],
            "innerInstructions": list(inner),
            "logMessages": [],
            "loadedAddresses": {"writable": [], "readonly": []},
            "rewards": [],
        }
