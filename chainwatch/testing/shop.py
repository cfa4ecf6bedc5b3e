"""A shop for tests: events, buyers and two chains of blocks over a real ledger, without nodes or watchers.

Time stands still until it is told to go on.  After each step the audit must find nothing.
"""

import itertools
from typing import Any, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from chainwatch.finality import Rule, Tier
from chainwatch.follower import Step
from chainwatch.ledger import events, pool, quotes
from chainwatch.ledger.apply import apply
from chainwatch.ledger.audit import audit
from chainwatch.ledger.context import Context, Policy
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import allocations, refunds, tickets, transfers
from chainwatch.ledger.tables import events as event_table
from chainwatch.model import Asset, Block, BlockRef, ChainSpec, InBlock, Transfer, Unconfirmed
from chainwatch.tickets.token import Issuer, new_ref
from chainwatch.wallets import canonical_wallet

NOW_MS = 1_760_000_000_000
MINUTE = 60_000
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))

SPECS = {
    "HIVE": ChainSpec(
        "HIVE", "hive", "hive", (Asset("HIVE", "HIVE", 3, dust=5), Asset("HBD", "HIVE", 3, "hbd")), (), ("till",)
    ),
    "BTC": ChainSpec("BTC", "bitcoin", "bitcoin", (Asset("BTC", "BTC", 8),), (), ("btc-till",)),
}
ASSETS = {a.code: a for spec in SPECS.values() for a in spec.assets}


class Seats(NamedTuple):
    """The counters of an event."""

    sold: int
    held: int
    reserved: int = 0
    unsigned: int = 0
    seen: int = 0


class Shop:
    """One database with what sells over it.  ``depth``: blocks after which a payment counts."""

    def __init__(self, store: Store, policy: Policy | None = None, *, depth: int = 1, check: bool = True) -> None:
        self.store, self.now_ms, self.check = store, NOW_MS, check
        rule = Rule((Tier(depth=depth),))
        self.contexts: dict[str, Context] = {
            code: Context(spec, rule, policy or Policy(), Issuer(KEY), canonical_wallet, new_ref)
            for code, spec in SPECS.items()
        }
        self.chains: dict[str, list[Block]] = {code: [] for code in SPECS}
        self._cursors: dict[str, BlockRef] = {}
        self._numbers = itertools.count(1)

    # -- selling -----------------------------------------------------------------------------------

    def event(self, id: str = "gala", bps: int = 2000, **more: Any) -> str:
        """Put an event on sale: 5 HIVE or 1.5 HBD where nothing else is said."""
        said = {"title": id, "ticket_price": "5", "ticket_currency": "HIVE"} | more
        if more.get("ticket_currency", "HIVE") == "HIVE" and "ticket_price" not in more:
            said.setdefault("prices", {"HBD": "1.5"})
        with self.store.transaction() as connection:
            return events.create(connection, events.NewEvent(id=id, **said), ASSETS, bps, self.now_ms, "test")

    def change(self, id: str = "gala", **changes: Any) -> None:
        """Change an event."""
        with self.store.transaction() as connection:
            events.change(connection, id, events.Changes(**changes), ASSETS, self.now_ms, "test")

    def ask(self, wallet: str = "alice", asset: str = "HIVE", event: str = "gala", **more: Any) -> quotes.Quote:
        """Open a purchase, signed where nothing else is said."""
        asked = quotes.Ask(**{"event_id": event, "wallet": wallet, "asset": asset, "signed": True} | more)
        with self.store.transaction() as connection:
            return quotes.quote(connection, asked, self.contexts[ASSETS[asset].chain], self.now_ms)

    def addresses(self, chain: str, *derived: str) -> None:
        """Put addresses into the pool."""
        with self.store.transaction() as connection:
            held = len(pool.all_of(connection, chain))
            pool.add(connection, chain, held + 1, derived, self.now_ms)

    def cancel(self, id: str = "gala") -> int:
        """Cancel an event."""
        with self.store.transaction() as connection:
            return events.cancel(connection, id, self.contexts, self.now_ms, "test")

    # -- paying ------------------------------------------------------------------------------------

    def pays(self, what: quotes.Quote | str, amount: int | None = None, **more: Any) -> Transfer:
        """Return a payment: what a quote asks for, or ``amount`` with this memo; ``more``: fields of ``Transfer``."""
        n = next(self._numbers)
        if isinstance(what, str):
            said: dict[str, Any] = {"asset": "HIVE", "amount": amount if amount is not None else 5000}
            said["memo"] = what.encode() or None
        else:
            said = {"asset": what.asset, "amount": what.amount if amount is None else amount, "to": what.address}
            said["memo"] = what.memo.encode() if what.memo else None
            said["references"] = (what.reference,) if what.reference else ()
        said |= more
        chain = said.pop("chain", None) or ASSETS[said["asset"] or "HIVE"].chain
        said.setdefault("to", SPECS[chain].receive[0])
        return Transfer(chain=chain, txid=f"tx{n}", index="0", **said)

    def buys(self, wallet: str, event: str = "gala", amount: int = 5000, **more: Any) -> Transfer:
        """Return a payment by memo alone."""
        return self.pays(f"event:{event}:wallet:{wallet}", amount, **more)

    def mine(self, *payments: Transfer, chain: str = "", n: int = 1) -> None:
        """Make a block of these payments, at the present time; then ``n - 1`` empty ones."""
        code = chain or (payments[0].chain if payments else "HIVE")
        for i in range(n):
            self._connect(code, payments if i == 0 else (), None)

    def see(self, *payments: Transfer, chain: str = "") -> None:
        """Show a mempool that holds these payments."""
        code = chain or payments[0].chain
        if not self.chains[code]:
            self._connect(code, (), None)
        at = self.chains[code][-1].ref
        sighted = tuple(_at(p, Unconfirmed(self.now_ms)) for p in payments)
        self._apply(Step(code, at, at, at, None, snapshot=sighted))

    def reorg(self, depth: int, *payments: Transfer, chain: str = "HIVE") -> None:
        """Replace the last ``depth`` blocks by one more, the first of which holds these payments."""
        del self.chains[chain][-depth:]
        undo = self.chains[chain][-1].ref if self.chains[chain] else BlockRef(0, "genesis")
        for i in range(depth + 1):
            self._connect(chain, payments if i == 0 else (), undo if i == 0 else None, behind=depth - i)

    def after(self, minutes: float) -> "Shop":
        """Let time go on."""
        self.now_ms += int(minutes * MINUTE)
        return self

    def _connect(self, code: str, payments: tuple[Transfer, ...], undo: BlockRef | None, behind: int = 0) -> None:
        chain = self.chains[code]
        parent = chain[-1].ref if chain else BlockRef(0, "genesis")
        ref = BlockRef(parent.height + 1, f"{code}-{parent.height + 1}-{next(self._numbers)}", parent.hash)
        position = InBlock(BlockRef(ref.height, ref.hash), self.now_ms)
        block = Block(ref, self.now_ms, tuple(_at(p, position) for p in payments))
        head = BlockRef(ref.height + behind, ref.hash if not behind else "head")
        self._apply(Step(code, self._cursors.get(code), ref, head, None, disconnect_to=undo, blocks=(block,)))
        chain.append(block)

    def _apply(self, step: Step) -> None:
        with self.store.transaction() as connection:
            apply(connection, step, self.contexts[step.chain], 1, self.now_ms)
        self._cursors[step.chain] = step.cursor
        self.audit()

    # -- looking -----------------------------------------------------------------------------------

    def audit(self) -> None:
        """Hold the books against the payments."""
        if self.check:
            with self.store.reading() as connection:
                found = audit(connection)
            assert found == [], found

    def seats(self, event: str = "gala") -> Seats:
        """Return the counters of an event."""
        with self.store.reading() as connection:
            e = connection.execute(select(event_table).where(event_table.c.slug == event)).one()
        return Seats(e.tickets_sold, e.tickets_held, e.seats_reserved, e.seats_unsigned, e.seats_seen)

    def ends(self, payment: Transfer) -> list[tuple[str, int, str]]:
        """Return (kind, amount, reason) of each part of a payment."""
        with self.store.reading() as connection:
            rows = connection.execute(
                select(allocations)
                .join_from(allocations, transfers)
                .where(transfers.c.chain == payment.chain, transfers.c.txid == payment.txid)
                .order_by(allocations.c.id)
            )
            return [(r.kind, r.amount, r.reason) for r in rows]

    def shown(self, payment: Transfer) -> str:
        """Return a payment's state as people see it."""
        with self.store.reading() as connection:
            rows = select(transfers.c.shown).where(
                transfers.c.chain == payment.chain, transfers.c.txid == payment.txid
            )
            return str(connection.execute(rows).scalar_one())

    def wallets(self, event: str = "gala") -> list[str]:
        """Return whose active tickets there are, in the order of their numbers."""
        with self.store.reading() as connection:
            rows = (
                select(tickets.c.wallet)
                .join_from(tickets, event_table)
                .where(event_table.c.slug == event, tickets.c.state.in_(("active", "used")))
            )
            return list(connection.scalars(rows.order_by(tickets.c.number)))

    def due(self) -> list[tuple[int, str]]:
        """Return (amount, reason) of every refund that is due, oldest first."""
        with self.store.reading() as connection:
            rows = connection.execute(select(refunds).where(refunds.c.state == "due").order_by(refunds.c.id))
            return [(r.amount, r.reason) for r in rows]

    def view(self, quote: quotes.Quote) -> quotes.PurchaseView:
        """Return a purchase as its buyer sees it."""
        rules = {code: c.rule for code, c in self.contexts.items()}
        with self.store.reading() as connection:
            return quotes.view(connection, quote.purchase_id, self.now_ms, rules)


def _at(payment: Transfer, position: InBlock | Unconfirmed) -> Transfer:
    return msgspec.structs.replace(payment, position=position)
