"""Analytics for an event's creator: who came, what was sold; a table without personal data."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web
from sqlalchemy import Connection, Row

from chainwatch.access.holders import pseudonym
from chainwatch.api import amounts, paging
from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import Call, Endpoint, creator
from chainwatch.api.paging import Page
from chainwatch.api.problems import Problem
from chainwatch.ledger import attendance, events
from chainwatch.ledger.attendance import Stats
from chainwatch.spreadsheet import cell
from chainwatch.times import format_ms

MAX_SHEET = 100_000
"""Rows of a table: what a spreadsheet opens, and some 10 MB."""


class Attendee(msgspec.Struct):
    """One stay, or one entry at a door.  ``wallet_address``: a pseudonym where the event's attendance is anonymous.

    ``method``: ``wallet`` (joined, and may have left), ``qr`` or ``order`` (through a door, at ``gate``; doors see
    nobody leave and count no minutes).
    """

    ticket_number: int
    wallet_address: str
    method: str
    gate: str
    joined_at: str
    left_at: str | None
    total_duration_minutes: int
    chat_messages_sent: int
    voice_time_minutes: int
    screen_shared: bool


class Attendees(msgspec.Struct):
    """A page: all stays, then all entries at doors, each in the order in which they were recorded."""

    attendees: list[Attendee]
    next_cursor: str | None


class Sold(msgspec.Struct):
    """Tickets sold on one UTC day, of one tier, in one coin."""

    day: str
    tier: str | None
    currency: str
    tickets: int
    amount: str | None
    amount_base: str
    commission_base: str
    payout_base: str


class Total(msgspec.Struct):
    """The same over all days."""

    name: str | None
    currency: str
    tickets: int
    amount: str | None
    amount_base: str


class Arrivals(msgspec.Struct):
    """First entries in a quarter of an hour."""

    at: str
    count: int


class StatsAnswer(msgspec.Struct):
    """Figures of an event.  Rates are from 0 to 1, None while there is nobody to count.

    ``entries``: by wallet and through doors, without conflicts.  ``stays``: those by wallet; ``average_minutes`` is of
    the stays that have ended.
    ``no_shows``: live tickets that never came in, once the event is over (before it nobody is late).
    """

    event_id: str
    tickets_by_state: dict[str, int]
    tickets_live: int
    checked_in: int
    check_in_rate: float | None
    no_shows: int | None
    no_show_rate: float | None
    entries: int
    inside_now: int
    stays: int
    average_minutes: float | None
    sales: list[Sold]
    by_tier: list[Total]
    by_currency: list[Total]
    arrivals: list[Arrivals]
    peaks: list[Arrivals]


async def _event(call: Call) -> Row[Any]:
    """The event, if the caller may see it."""
    row: Row[Any] = await call.backend.store.read(events.find, call.path["id"])
    if call.caller.kind == "creator" and row.creator_account != call.caller.name:
        raise Problem("forbidden", "this is another creator's event")
    return row


async def attendees(call: Call) -> Attendees:
    """Who came, a page at a time."""
    event, page = await _event(call), call.query
    rows = await call.backend.store.read(attendance.attendees, event.id, paging.wanted(page), _place(page))
    shown, more = paging.cut(rows, page)
    found = [
        Attendee(
            ticket_number=r.number,
            wallet_address=_name(call.backend, event, r),
            method=r.method,
            gate=r.gate,
            joined_at=format_ms(r.joined_ms) or "",
            left_at=format_ms(r.left_ms),
            total_duration_minutes=r.minutes,
            chat_messages_sent=r.chat_messages_sent,
            voice_time_minutes=r.voice_time_minutes,
            screen_shared=r.screen_shared,
        )
        for r in shown
    ]
    return Attendees(found, paging.cursor_of(shown[-1].place) if more else None)


def _place(page: Page) -> tuple[int, int]:
    """Where the page begins."""
    match paging.after(page):
        case None:
            return attendance.STAY, 0
        case [attendance.STAY | attendance.ENTRY as kind, int(row_id)] if 0 <= row_id <= paging.MAX_ID:
            return kind, row_id
    raise Problem("bad_cursor", "not a cursor of ours: take next_cursor as it is")


def _name(backend: Backend, event: Row[Any], came: attendance.Attendee) -> str:
    """A stay was recorded under the name that the event gives; whoever came through a door is named now."""
    if event.anonymous and came.place[0] == attendance.ENTRY:
        return pseudonym(backend.issuer, event.id, came.uuid)
    return came.wallet


async def stats(call: Call) -> StatsAnswer:
    """Figures of the whole event."""
    event = await _event(call)
    found = await call.backend.store.read(attendance.stats, event.id)
    ends = [e for e in (event.ended_ms, event.event_end_ms) if e is not None]
    over = bool(ends) and call.now_ms >= min(ends)
    return _answer(call.backend, call.path["id"], found, over=over)


def _answer(backend: Backend, event: str, found: Stats, *, over: bool) -> StatsAnswer:
    assets = backend.assets()
    absent = found.live - found.came if over else None
    return StatsAnswer(
        event_id=event,
        tickets_by_state=found.states,
        tickets_live=found.live,
        checked_in=found.came,
        check_in_rate=_rate(found.came, found.live),
        no_shows=absent,
        no_show_rate=None if absent is None else _rate(absent, found.live),
        entries=found.entries,
        inside_now=found.inside,
        stays=found.stays,
        average_minutes=_rate(found.minutes, found.stays - found.inside),
        sales=[
            Sold(
                day=(format_ms(s.day_ms) or "")[:10],
                tier=s.tier,
                currency=s.asset,
                tickets=s.tickets,
                amount=amounts.decimal(s.amount, s.asset, assets),
                amount_base=str(s.amount),
                commission_base=str(s.commission),
                payout_base=str(s.payout),
            )
            for s in found.sales
        ],
        by_tier=_totals(backend, [(s.tier, s.asset, s.tickets, s.amount) for s in found.sales]),
        by_currency=_totals(backend, [(s.asset, s.asset, s.tickets, s.amount) for s in found.sales]),
        arrivals=[Arrivals(format_ms(at) or "", n) for at, n in found.arrivals],
        peaks=[Arrivals(format_ms(at) or "", n) for at, n in found.peaks],
    )


def _totals(backend: Backend, parts: Sequence[tuple[str | None, str, int, int]]) -> list[Total]:
    """Add up by name and coin: coins are never added to each other."""
    sums: dict[tuple[str | None, str], tuple[int, int]] = {}
    for name, asset, count, amount in parts:
        have = sums.get((name, asset), (0, 0))
        sums[name, asset] = (have[0] + count, have[1] + amount)
    assets = backend.assets()
    return [
        Total(name, asset, count, amounts.decimal(amount, asset, assets), str(amount))
        for (name, asset), (count, amount) in sums.items()
    ]


def _rate(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


COLUMNS = (
    *("ticket_number", "tier", "state", "currency", "amount", "sold_at"),
    *("entries", "first_entry_at", "last_entry_at", "entry_by", "gate", "minutes"),
)


async def sheet(call: Call) -> web.Response:
    """One line a ticket, without wallets, transactions or ids that lead to somebody."""
    event = await _event(call)
    assets = call.backend.assets()

    def body(connection: Connection) -> bytes:
        out = io.StringIO()
        lines = csv.writer(out, lineterminator="\r\n")
        lines.writerow(COLUMNS)
        for r in attendance.sheet(connection, event.id, MAX_SHEET):
            times = (format_ms(r.first_access_ms) or "", format_ms(r.last_access_ms) or "")
            place = (r.method or "", r.gate or "", "" if r.minutes is None else int(r.minutes))
            amount = amounts.decimal(r.amount_paid, r.asset, assets) or ""
            head = (r.number, r.tier or "", r.state, r.asset, amount, format_ms(r.created_ms), r.entries)
            lines.writerow([cell(v) for v in (*head, *times, *place)])
        return out.getvalue().encode()

    data = await call.backend.store.read(body)
    name = event.slug or str(event.id)
    headers = {"Content-Disposition": f'attachment; filename="attendees-{name}.csv"'}
    return web.Response(body=data, content_type="text/csv", charset="utf-8", headers=headers)


def endpoints(_backend: Backend) -> Sequence[Endpoint]:
    """The routes of analytics."""
    path = "/api/events/{id}"
    problems = ("unknown_event", "forbidden")
    return (
        Endpoint(
            method="GET",
            path=f"{path}/attendees",
            handler=attendees,
            summary="Who came, and for how long",
            tag="analytics",
            who=creator("read"),
            query=Page,
            answer=Attendees,
            problems=(*problems, "bad_cursor"),
        ),
        Endpoint(
            method="GET",
            path=f"{path}/stats",
            handler=stats,
            summary="Sales over time, by tier and currency; check-in rate, peaks, no-shows",
            tag="analytics",
            who=creator("read"),
            answer=StatsAnswer,
            problems=problems,
        ),
        Endpoint(
            method="GET",
            path=f"{path}/attendees.csv",
            handler=sheet,
            summary="A table without personal data",
            tag="analytics",
            who=creator("read"),
            content_type="text/csv",
            problems=problems,
        ),
    )
