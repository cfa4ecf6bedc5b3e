"""A shop that follows a real node: a real watcher over a real adapter, into a real ledger on disk, by the real clock.

``Followed`` is the same over simulated nodes, whose clock leaps.  A test closes the shop, lets the node go on, and
opens it again on the same file.
"""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from chainwatch import adapters
from chainwatch.adapters.base import Services
from chainwatch.clock import SystemClock
from chainwatch.errors import Transient
from chainwatch.finality import Rule, Tier
from chainwatch.ledger import events, quotes, schema
from chainwatch.ledger.audit import audit
from chainwatch.ledger.context import Context, Policy
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import tickets, transfers
from chainwatch.model import ChainSpec
from chainwatch.testing.reports import Collected
from chainwatch.tickets.token import Issuer, new_ref
from chainwatch.units import format_units
from chainwatch.wallets import canonical_wallet
from chainwatch.watcher import Watcher

PATIENCE_S = 60.0
"""How long a busy node may be Transient, without a round that goes well, before a test gives it up."""
EVENT = "gala"


class Shop:
    """Sells the event ``gala`` for ``price`` base units of the native coin.  Every payment counts at depth 1.

    Use it as ``async with``; ``open`` and ``close`` it again at will, as a process that ends and starts.
    """

    def __init__(self, spec: ChainSpec, folder: Path, price: int) -> None:
        self.spec, self.price = spec, price
        self._url = f"sqlite:///{folder}/ledger.db"
        self._clock, self.reports = SystemClock(), Collected()
        issuer = Issuer(Ed25519PrivateKey.from_private_bytes(bytes(32)))
        self._context = Context(spec, Rule((Tier(depth=1),)), Policy(), issuer, canonical_wallet, new_ref)
        store = Store(self._url)
        schema.upgrade(store)
        with store.transaction() as connection:
            written = format_units(price, spec.native.decimals)
            gala = events.NewEvent(id=EVENT, title="Gala", ticket_price=written, ticket_currency=spec.native.code)
            events.create(connection, gala, {a.code: a for a in spec.assets}, 2000, self._clock.now_ms(), "test")
        store.close()

    async def __aenter__(self) -> "Shop":
        await self.open()
        await self.settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Start: a new watcher with a new source, on the ledger as it was left."""
        self._store = Store(self._url)
        services = Services(clock=self._clock, random=random.Random(5), observer=self.reports)
        source = adapters.open_source(self.spec, services)
        self._watcher = Watcher(
            self._context,
            source,
            self._store,
            clock=self._clock,
            rng=random.Random(6),
            reports=self.reports,
            holder="shop",
        )
        await self._watcher._open()

    async def close(self) -> None:
        """End."""
        await self._watcher.stop()
        self._store.close()

    async def poll(self) -> None:
        """Turn the loop once; a failure that passes by itself is an interruption like any other."""
        try:
            await self._watcher.poll()
        except Transient as error:
            self._watcher._failed(error, 1)

    async def settle(self) -> None:
        """Turn the loop until it has caught up, through failures that pass by themselves."""
        good = self._clock.monotonic()
        while True:
            try:
                if not await self._watcher.poll():
                    return
                good = self._clock.monotonic()
            except Transient as error:
                self._watcher._failed(error, 1)
                if self._clock.monotonic() - good > PATIENCE_S:
                    raise
                await asyncio.sleep(0.1)

    async def address_for(self, wallet: str) -> str:
        """Open a purchase; return the address of its own."""
        now_ms = self._clock.now_ms()
        code = self.spec.native.code
        ask = quotes.Ask(event_id=EVENT, wallet=wallet, asset=code)
        quote = await self._store.write(quotes.quote, ask, self._context, now_ms)
        return quote.address

    def sold_to(self) -> list[str]:
        """Return the wallets that hold an active ticket, one entry a ticket."""
        with self._store.reading() as connection:
            return sorted(connection.execute(select(tickets.c.wallet).where(tickets.c.state == "active")).scalars())

    def payments(self) -> Sequence[tuple[str, int, str]]:
        """Return (transaction, amount, how people see it) of every payment that the ledger holds."""
        with self._store.reading() as connection:
            rows = connection.execute(select(transfers).order_by(transfers.c.id)).all()
        return [(r.txid, r.amount, r.shown) for r in rows]

    def check_sold(self, buyers: Sequence[str], short: tuple[str, int]) -> None:
        """Assert: a ticket for each buyer, and one payment (transaction, amount) that is too short for one."""
        assert self.sold_to() == sorted(buyers)
        assert [p for p in self.payments() if p[0] == short[0]] == [(*short, "confirmed")]
        assert len(self.payments()) == len(buyers) + 1
        self.check()

    def check(self) -> None:
        """Hold the books against the payments."""
        with self._store.reading() as connection:
            differences = audit(connection)
        if differences:
            raise AssertionError(f"the audit finds {differences}")
