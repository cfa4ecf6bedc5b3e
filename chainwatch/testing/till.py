"""A till on one chain: a watcher over a node, real or simulated, into a ledger in memory, and money that leaves again.

For tests that let a real wallet sign our payment files: sell a ticket, let the payout fall due, export it, and see it
settle by itself.
"""

import itertools
import random
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Row, insert, select, update

from chainwatch.adapters.base import AccountSource, BlockSource
from chainwatch.clock import SystemClock
from chainwatch.errors import Transient
from chainwatch.finality import Rule, Tier
from chainwatch.ledger import creators, events, exports, payouts, pool, settlements
from chainwatch.ledger.audit import audit
from chainwatch.ledger.context import Context, Policy
from chainwatch.ledger.tables import payouts as payout_table
from chainwatch.ledger.tables import purchases, tickets
from chainwatch.model import ChainSpec, Transfer
from chainwatch.payfiles import Options, planner
from chainwatch.testing.inline import InlineLedger
from chainwatch.testing.reports import Collected
from chainwatch.tickets.token import Issuer
from chainwatch.units import format_units
from chainwatch.wallets import canonical_wallet
from chainwatch.watcher import Watcher

LATER_MS = 30 * 86_400_000
ROUNDS = 400
"""Polls in which everything must have arrived."""


class Till:
    """``receive[0]`` of ``spec`` is an account whose key the test has, as the operator's wallet would."""

    def __init__(self, spec: ChainSpec, source: BlockSource | AccountSource, depth: int = 1) -> None:
        references = (f"reference{n:05}" for n in itertools.count())
        self.spec, self.clock = spec, SystemClock()
        self.context = Context(
            spec,
            Rule((Tier(depth=depth),)),
            Policy(),
            Issuer(Ed25519PrivateKey.from_private_bytes(bytes(32))),
            canonical_wallet,
            lambda: next(references),
            Rule((Tier(depth=depth + 1),)),
        )
        self.ledger = InlineLedger()
        self.watcher = Watcher(
            self.context,
            source,
            self.ledger,
            clock=self.clock,
            rng=random.Random(8),
            reports=Collected(),
            holder="till",
        )
        self.opened = False

    async def read(self) -> None:
        """Follow to the tip."""
        if not self.opened:
            await self.watcher.source.open()
            self.opened = True
        for _ in range(ROUNDS):
            try:
                if not await self.watcher.poll():
                    break
            except Transient:
                await self.clock.sleep(0.05)
        with self.ledger.reading() as connection:
            assert audit(connection) == []

    async def close(self) -> None:
        """Stop following and forget the ledger."""
        await self.watcher.stop()
        self.ledger.close()

    def event(self, asset: str, price: int) -> None:
        """Put ``gala`` on sale for a day; carol made it."""
        known = self.context.assets()[asset]
        now_ms = self.clock.now_ms()
        new = events.NewEvent(
            id="gala",
            title="Gala",
            ticket_price=format_units(price, known.decimals),
            ticket_currency=asset,
            event_end_ms=now_ms + 86_400_000,
            creator_account="carol",
        )
        with self.ledger.transaction() as connection:
            events.create(connection, new, self.context.assets(), 2000, now_ms, "till")

    def sold(self) -> int:
        """Return the number of tickets."""
        with self.ledger.reading() as connection:
            return len(connection.execute(select(tickets.c.id)).all())

    def own(self, wallet: str, asset: str, price: int) -> str:
        """Open a purchase of ``gala`` that is paid at an address of its own; return the address."""
        now_ms = self.clock.now_ms()
        row = {"ref": "ownaddress", "event_id": 1, "wallet": wallet, "asset": asset, "price": price}
        row |= {"created_ms": now_ms, "expires_ms": now_ms + LATER_MS}
        with self.ledger.transaction() as connection:
            purchase = connection.execute(insert(purchases).values(row).returning(purchases.c.id)).scalar_one()
            entry = pool.next_free(connection, self.spec.code)
            assert entry is not None
            pool.give(connection, entry.id, purchase)
            told = update(purchases).where(purchases.c.id == purchase).values(pay_to=entry.address)
            connection.execute(told)
        return str(entry.address)

    def export(self, asset: str, destination: str, options: Options) -> dict[str, Any]:
        """Let the payout fall due and export it to ``destination``; return the file."""
        now_ms = self.clock.now_ms() + LATER_MS
        with self.ledger.transaction() as connection:
            payouts.fall_due(connection, now_ms, self.context.policy.payout_delay_ms)
            creators.set_address(connection, "carol", self.spec.code, destination, "till", now_ms - 1, 0)
        with self.ledger.transaction() as connection:
            ask = exports.Ask(kind="payouts", asset=asset)
            plan = planner(self.spec, options)
            # What expires counts from now, not from the day on which the payout is due.
            real_ms = self.clock.now_ms()

            def planned(work: exports.Work) -> exports.Plan:
                return plan(msgspec.structs.replace(work, now_ms=real_ms))

            made = exports.make(connection, ask, self.context, exports.Rules(), planned, now_ms, "till")
        with self.ledger.reading() as connection:
            return exports.document(connection, made)

    def prove(self, proofs: list[Transfer]) -> list[settlements.Found]:
        """Settle by transaction keys."""
        with self.ledger.transaction() as connection:
            return settlements.prove(connection, proofs, self.context, self.clock.now_ms())

    def payout(self) -> Row[Any]:
        """Return the payout as it stands."""
        with self.ledger.reading() as connection:
            return connection.execute(select(payout_table)).one()
