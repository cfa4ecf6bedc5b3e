"""The second half of ``chainwatch demo``: every way a payment can end, each shown once, on the simulated Hive.

A row is right when the ledger says of the payment what ``chainwatch.ledger.endings`` calls by that name.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, select

from chainwatch.app import App
from chainwatch.clock import Clock
from chainwatch.devnet.network import Devnet, price_of
from chainwatch.devnet.node import Payment
from chainwatch.errors import Rejected
from chainwatch.ledger import endings, events, quotes
from chainwatch.ledger.tables import allocations, purchases, transfers
from chainwatch.model import Asset
from chainwatch.units import format_units

T = TypeVar("T")

CHAIN, COIN, OTHER_COIN = "HIVE", "HIVE", "HBD"
CLUB = "devnet-club"
"""An account that another service uses too: its memos are none of our business."""
PATIENCE_S = 180.0
TRIES = 2
"""An act that came out otherwise is played again: on a machine that stands still a purchase expires under its buyer."""


class Ending(msgspec.Struct):
    """What was played and what the ledger says of it; ``came`` is empty when that is something else."""

    name: str
    played: str
    came: str = ""


class Stage:
    """Plays the endings."""

    def __init__(self, app: App, network: Devnet, clock: Clock, assets: Mapping[str, Asset]) -> None:
        self.app, self.clock = app, clock
        self.node = network.nodes[CHAIN]
        self.assets = assets
        self.price = price_of(assets[COIN])

    def events(self, connection: Connection) -> None:
        """Put on sale what the endings need."""
        now_ms = self.clock.now_ms()
        price = format_units(self.price, self.assets[COIN].decimals)
        kinds: dict[str, dict[str, Any]] = {
            "open": {},
            "full": {"max_attendees": 1},
            "race": {"max_attendees": 1},
            "off": {},
            "soon": {"sales_start_ms": now_ms + 86_400_000},
            "past": {"event_end_ms": now_ms - 60_000},
            "one-each": {"tickets_per_wallet": 1, "prices": {OTHER_COIN: price}},
        }
        for name, more in kinds.items():
            said = {"title": f"Ending: {name}", "ticket_price": price, "ticket_currency": COIN, **more}
            events.create(connection, events.NewEvent(id=f"end-{name}", **said), self.assets, 2000, now_ms, "demo")
        events.cancel(connection, "end-off", self.app.contexts, now_ms, "demo")

    async def play(self) -> list[Ending]:
        """Play all of them side by side."""
        acts: list[tuple[str, str, Callable[[], Awaitable[str]]]] = [
            ("exact", "the price, with a memo", self._exact),
            ("under", "half of the price: waits for the rest", self._under),
            ("exact", "the other half: adds up", self._added_up),
            ("underpaid", "half of the price, and no more", self._underpaid),
            ("over", "more than the price", self._over),
            ("duplicate", "the price, twice", self._duplicate),
            ("late", "after the purchase expired, a seat is left", self._late),
            ("late_without_seat", "after it expired, the seat is gone", self._late_without_seat),
            ("sold_out", "for an event that is full", self._sold_out),
            ("wallet_limit", "a second ticket where one is allowed", self._wallet_limit),
            ("wrong_asset", "another coin", self._wrong_asset),
            ("wrong_event", "a reference of another event", self._wrong_event),
            ("unknown_event", "an event that does not exist", lambda: self._memo("nowhere")),
            ("event_cancelled", "a cancelled event", lambda: self._memo("end-off")),
            ("before_sales", "before sales begin", lambda: self._memo("end-soon")),
            ("event_over", "after the event's end", lambda: self._memo("end-past")),
            ("two_memos", "two memos in one text", self._two_memos),
            ("no_memo", "no memo", lambda: self._pay("")),
            ("foreign_memo", "a shared account, about something else", lambda: self._pay("subscription 17", to=CLUB)),
        ]
        rows = [Ending(name, played) for name, played, _ in acts]
        await asyncio.gather(*(self._act(row, act) for row, (_, _, act) in zip(rows, acts, strict=True)))
        return rows

    async def _act(self, row: Ending, act: Callable[[], Awaitable[str]]) -> None:
        for _ in range(TRIES):
            try:
                txid = await act()
            except Rejected:  # what is full now cannot be played again
                return
            if await self._comes(row.name, txid):
                row.came = row.name.replace("_", " ")
                return

    # -- the acts ----------------------------------------------------------------------------------

    async def _exact(self) -> str:
        return await self._memo("end-open")

    async def _under(self) -> str:
        return await self._pay((await self._quote("end-open")).memo, self.price // 2)

    async def _added_up(self) -> str:
        quote = await self._quote("end-open")
        first = await self._pay(quote.memo, self.price // 2)
        second = await self._pay(quote.memo, self.price - self.price // 2)
        await self._comes("exact", first)
        return second

    async def _underpaid(self) -> str:
        return await self._pay((await self._quote("end-open")).memo, self.price // 2)

    async def _over(self) -> str:
        return await self._pay((await self._quote("end-open")).memo, self.price + 100)

    async def _duplicate(self) -> str:
        quote = await self._quote("end-open")
        first = await self._pay(quote.memo, self.price)
        await self._comes("exact", first)
        return await self._pay(quote.memo, self.price)

    async def _late(self) -> str:
        quote = await self._quote("end-open")
        await self._until(lambda c: _expired(c, quote.ref))
        return await self._pay(quote.memo, self.price)

    async def _late_without_seat(self) -> str:
        quote = await self._quote("end-race")
        await self._until(lambda c: _expired(c, quote.ref))
        first = await self._memo("end-race")
        await self._comes("exact", first)
        return await self._pay(quote.memo, self.price)

    async def _sold_out(self) -> str:
        first = await self._memo("end-full")
        await self._comes("exact", first)
        return await self._memo("end-full")

    async def _wallet_limit(self) -> str:
        wallet = self.node.new_wallet()
        first = await self._memo("end-one-each", wallet)
        await self._comes("exact", first)
        return await self._memo("end-one-each", wallet, OTHER_COIN)

    async def _wrong_asset(self) -> str:
        return await self._memo("end-open", coin=OTHER_COIN)

    async def _wrong_event(self) -> str:
        quote = await self._quote("end-open")
        return await self._pay(f"event:end-full:wallet:{self.node.new_wallet()}:ref:{quote.ref}")

    async def _two_memos(self) -> str:
        wallet = self.node.new_wallet()
        return await self._pay(f"event:end-open:wallet:{wallet} event:end-full:wallet:{wallet}")

    # -- buying ------------------------------------------------------------------------------------

    async def _quote(self, event: str) -> quotes.Quote:
        ask = quotes.Ask(event_id=event, wallet=self.node.new_wallet(), asset=COIN, signed=True)
        context, now_ms = self.app.contexts[CHAIN], self.clock.now_ms()
        return await self.app.store.write_together(quotes.quote, ask, context, now_ms)

    async def _memo(self, event: str, wallet: str = "", coin: str = COIN) -> str:
        return await self._pay(f"event:{event}:wallet:{wallet or self.node.new_wallet()}", coin=coin)

    async def _pay(self, memo: str | None, amount: int = 0, to: str = "", coin: str = COIN) -> str:
        till = self.app.contexts[CHAIN].spec.receive[0]
        payment = Payment(to or till, amount or self.price, asset_id=self.assets[coin].asset_id, memo=memo)
        return self.node.pay(payment)

    async def _comes(self, name: str, txid: str) -> bool:
        """Wait until a payment has ended; was it by this name?  One that waits for the rest has not ended."""

        def ended(connection: Connection) -> set[str]:
            names = _names(connection, txid)
            return names if name in names or names - {"under"} else set()

        return name in (await self._until(ended) or ())

    async def _until(self, ask: Callable[[Connection], T]) -> T | None:
        """Ask the ledger until the answer is true."""
        end = self.clock.monotonic() + PATIENCE_S
        while self.clock.monotonic() < end:
            if answer := await self.app.store.read(ask):
                return answer
            await self.clock.sleep(0.1)
        return None


def _names(connection: Connection, txid: str) -> set[str]:
    """Return how a payment's parts have ended, by name."""
    rows = connection.execute(
        select(allocations.c.kind, allocations.c.reason)
        .join_from(allocations, transfers)
        .where(transfers.c.chain == CHAIN, transfers.c.txid == txid)
    )
    return {endings.name_of(r.kind, r.reason) for r in rows}


def _expired(connection: Connection, ref: str) -> bool:
    return bool(connection.execute(select(purchases.c.expired).where(purchases.c.ref == ref)).scalar_one())
