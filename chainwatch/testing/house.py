"""One chain over a real ledger on which money comes and leaves: payouts, refunds, exports and what settles them.

No node and no watcher: what the chain says is made up here.  After each step the audit must find nothing.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Row, Table, select

from chainwatch.config import networks
from chainwatch.finality import Rule, Tier
from chainwatch.follower import Step
from chainwatch.ledger import creators, events, exports, payouts, refunds
from chainwatch.ledger.apply import apply
from chainwatch.ledger.audit import audit
from chainwatch.ledger.books import totals
from chainwatch.ledger.context import Context, Policy
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import export_items
from chainwatch.model import Block, BlockRef, ChainSpec, InBlock, Transfer, fee_of
from chainwatch.payfiles import Options, planner
from chainwatch.tickets.token import Issuer, new_ref
from chainwatch.units import format_units
from chainwatch.wallets import canonical_wallet

NOW = 1_760_000_000_000
DAY = 86_400_000
TILLS = {
    "HIVE": "till",
    "BTC": "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
    "ETH": "0x1111111111111111111111111111111111111111",
}
CREATORS = {
    "HIVE": "carol",
    "BTC": "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
    "ETH": "0x2222222222222222222222222222222222222222",
}
BUYERS = {
    "HIVE": "alice",
    "BTC": "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
    "ETH": "0x3333333333333333333333333333333333333333",
}
OPTIONS = {
    "HIVE": Options(),
    "BTC": Options(fee_rate=2_000),
    "ETH": Options(nonce=5, max_fee_per_gas=10**9),
}
PRICE = 5_000


class House:
    """One chain, its events, and what happens to them."""

    def __init__(self, store: Store, chain: str = "HIVE", *, depth: int = 1, payout_depth: int = 2) -> None:
        self.store, self.chain = store, chain
        spec = msgspec.structs.replace(networks.spec(chain), receive=(TILLS[chain],))
        self.spec: ChainSpec = spec
        self.asset = spec.native.code
        self.context = Context(
            spec,
            Rule((Tier(depth=depth),)),
            Policy(),
            Issuer(Ed25519PrivateKey.from_private_bytes(bytes(32))),
            canonical_wallet,
            new_ref,
            Rule((Tier(depth=payout_depth),)),
        )
        self.blocks: list[Block] = []
        self.branch = 0
        self.plan = planner(spec, OPTIONS[chain])
        self.rules = exports.Rules()
        self.now = self.end = NOW

    # -- the chain -------------------------------------------------------------------------------

    def event(self, name: str = "gala", capacity: int | None = None, price: int = PRICE) -> None:
        """Put an event on sale that ends a day from now; its money is Carol's."""
        new = events.NewEvent(
            id=name,
            title=name,
            ticket_price=format_units(price * self.unit, self.spec.native.decimals),
            ticket_currency=self.asset,
            max_attendees=capacity,
            event_end_ms=self.now + DAY,
            creator_account="carol",
        )
        self.end = self.now + DAY
        with self.store.transaction() as c:
            events.create(c, new, {self.asset: self.spec.native}, 2000, NOW, "test")

    @property
    def unit(self) -> int:
        """Return what makes a price of 5,000 large enough for the chain's dust and fees."""
        return {"HIVE": 1, "BTC": 100, "ETH": 10**12}[self.chain]

    def paid(
        self, txid: str, amount: int, memo: str | None, index: str | None = None, to: str | None = None
    ) -> Transfer:
        """Return a payment to us."""
        index = index or ("v" if self.chain == "ETH" else "0")
        raw = memo.encode() if memo else None
        return Transfer(self.chain, tid(txid), index, self.asset, amount, to or TILLS[self.chain], memo=raw)

    def left(
        self,
        txid: str,
        pays: Sequence[tuple[str, int]],
        *,
        fee: int = 0,
        spends: tuple[str, ...] = (),
        memo: str | None = None,
        ok: bool = True,
        change: int = 0,
    ) -> list[Transfer]:
        """Return a transaction of ours."""
        raw = memo.encode() if memo else None
        rows = [
            Transfer(
                self.chain, tid(txid), str(i), self.asset, amount, to, memo=raw, ok=ok, direction="out", spends=spends
            )
            for i, (to, amount) in enumerate(pays)
        ]
        if change:
            till = TILLS[self.chain]
            rows.append(Transfer(self.chain, tid(txid), "9", self.asset, change, till, flags=("internal",)))
        if fee:
            rows.append(fee_of(self.chain, tid(txid), self.asset, fee, "", None, spends))
        return rows

    def mine(self, *txs: Transfer | list[Transfer], empty: int = 0) -> None:
        """Make one block of these, and ``empty`` more."""
        flat = [t for tx in txs for t in (tx if isinstance(tx, list) else [tx])]
        self._add(flat)
        for _ in range(empty):
            self._add([])

    def _add(self, moved: Sequence[Transfer], undo: int | None = None) -> None:
        before = self.blocks[-1].ref if self.blocks else None
        if undo is not None:
            self.branch += 1
            self.blocks = [b for b in self.blocks if b.ref.height <= undo]
        parent = self.blocks[-1].ref if self.blocks else BlockRef(0, "0" * 40)
        height = parent.height + 1
        digest = hashlib.sha256(f"{height} {self.branch}".encode()).hexdigest()
        ref = BlockRef(height, f"{height:08x}{digest[:32]}", parent.hash)
        self.now += 60_000
        position = InBlock(ref, self.now)
        block = Block(ref, self.now, tuple(msgspec.structs.replace(t, position=position) for t in moved))
        disconnect = parent if undo is not None else None
        step = Step(self.chain, before, ref, ref, ref, disconnect_to=disconnect, blocks=(block,))
        with self.store.transaction() as c:
            apply(c, step, self.context, 1, self.now)
        self.blocks.append(block)
        self.check()

    def reorg(self, depth: int, *txs: Transfer | list[Transfer], empty: int = 0) -> None:
        """Take the last ``depth`` blocks off; the first block in their place holds these."""
        flat = [t for tx in txs for t in (tx if isinstance(tx, list) else [tx])]
        self._add(flat, undo=len(self.blocks) - depth)
        for _ in range(empty):
            self._add([])

    def undo(self, depth: int, *, keep: bool) -> None:
        """Replace the last blocks; what was in them comes back in the first new one, or nowhere."""
        gone = [t for b in self.blocks[-depth:] for t in b.transfers]
        self.reorg(depth, *(gone if keep else ()), empty=depth)

    def sell(self, name: str, *buyers: str) -> None:
        """Mint a ticket for each buyer, and bury it."""
        amount = PRICE * self.unit
        txs = [self.paid(f"{name} {b}", amount, f"event:{name}:wallet:{b}") for b in buyers]
        self.mine(*txs, empty=3)

    # -- money that leaves -----------------------------------------------------------------------

    def over(self) -> None:
        """Let the event's end and the delay pass."""
        self.now = max(self.now, self.end + 8 * DAY)
        with self.store.transaction() as c:
            payouts.fall_due(c, self.now, self.context.policy.payout_delay_ms)
        self.check()

    def address(self, account: str = "carol", wait_ms: int = 0) -> None:
        """Say where a creator is paid."""
        with self.store.transaction() as c:
            creators.set_address(c, account, self.chain, CREATORS[self.chain], "test", self.now - 1, wait_ms)

    def export(self, kind: exports.Kind = "payouts", actor: str = "ann", **ask: Any) -> int:
        """Write an export of what is due."""
        with self.store.transaction() as c:
            wanted = exports.Ask(kind=kind, asset=self.asset, **ask)
            made = exports.make(c, wanted, self.context, self.rules, self.plan, self.now, actor)
        self.check()
        return made

    def items(self, export_id: int) -> list[Row[Any]]:
        """Return what an export pays."""
        return list(self.rows(export_items, export_items.c.export_id == export_id))

    def conflict(self, export_id: int) -> tuple[str, ...]:
        """Return what a payment of the export uses up: outpoints, or the nonce."""
        with self.store.reading() as c:
            return tuple(w for w in exports.find(c, export_id).conflict.split() if not w.startswith("expires"))

    def signed(self, export_id: int, txid: str, fee: int = 0) -> list[Transfer]:
        """Return what the operator's wallet makes of an export."""
        pays = [(i.destination, i.amount) for i in self.items(export_id)]
        return self.left(txid, pays, fee=fee, spends=self.conflict(export_id))

    def spent(self, export_id: int, txid: str) -> list[Transfer]:
        """Return the same of a Bitcoin export, with the fee and the change that its file says."""
        with self.store.reading() as c:
            file = exports.document(c, export_id)
        pays = [(i.destination, i.amount) for i in self.items(export_id)]
        fee = int(file["fee_base"])
        change = sum(int(i["amount_base"]) for i in file["inputs"]) - sum(n for _, n in pays) - fee
        return self.left(txid, pays, fee=fee, spends=self.conflict(export_id), change=change)

    def refund_id(self, state: str = "due") -> int:
        """Return the newest refund in this state."""
        with self.store.reading() as c:
            return int(refunds.listing(c, state=state)[-1].id)

    def enter(self, refund_id: int | None = None) -> None:
        """Say where a refund goes, as an operator."""
        with self.store.transaction() as c:
            refunds.enter(c, refund_id or self.refund_id(), BUYERS[self.chain], "ann", self.now)

    # -- what is there ---------------------------------------------------------------------------

    def rows(self, table: Table, *where: Any) -> list[Row[Any]]:
        """Return a table's rows, oldest first."""
        with self.store.reading() as c:
            return list(c.execute(select(table).where(*where).order_by(table.c.id)))

    def states(self, table: Table) -> list[str]:
        """Return the state of each row."""
        return [r.state for r in self.rows(table)]

    def books(self) -> dict[str, int]:
        """Return the balance of each account, without those at zero."""
        with self.store.reading() as c:
            return {account: n for (asset, account), n in totals(c).items() if n and asset == self.asset}

    def check(self) -> None:
        """Hold the books against the payments."""
        with self.store.reading() as c:
            assert audit(c) == []
            assert sum(totals(c).values()) == 0


def tid(name: str) -> str:
    """Return a transaction id for a name."""
    return hashlib.sha256(name.encode()).hexdigest()
