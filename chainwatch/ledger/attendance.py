"""Who came and what was sold, as its creator may see it: lists by page, figures of a whole event.

Amounts are summed here and not by the database: base units of 78 digits are text on SQLite.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, Table, func, select

from chainwatch.ledger.tables import attendance, entries, purchases, tickets, tiers

LIVE = ("active", "used", "suspended")
DAY_MS, QUARTER_MS = 86_400_000, 900_000
STREAM = 5_000
"""Rows fetched at a time."""
PEAKS = 5
"""Busiest quarters of an hour that are named."""


class Sale(msgspec.Struct, frozen=True):
    """Tickets of one day, tier and coin.  Base units; ``day_ms``: the UTC day's begin."""

    day_ms: int
    tier: str | None
    asset: str
    tickets: int
    amount: int
    commission: int
    payout: int


class Stats(msgspec.Struct, frozen=True):
    """Figures of one event.

    ``live``: tickets that are not refunded, cancelled or revoked; ``came``: of those that entered at least once.
    ``arrivals``: first entries by quarter of an hour (UTC, its begin), in order.  ``stays``: by wallet, of which
    ``inside`` have not ended; ``minutes`` are those of the others.
    """

    states: dict[str, int]
    sales: list[Sale]
    live: int
    came: int
    entries: int
    arrivals: list[tuple[int, int]]
    stays: int
    minutes: int
    inside: int

    @property
    def peaks(self) -> list[tuple[int, int]]:
        """The busiest quarters of an hour, the busiest first."""
        return sorted(self.arrivals, key=lambda a: (-a[1], a[0]))[:PEAKS]


def stats(connection: Connection, event_id: int) -> Stats:
    """Count one event."""
    states: Counter[str] = Counter()
    sums: dict[tuple[int, str | None, str], list[int]] = {}
    arrivals: Counter[int] = Counter()
    live = came = entered = 0
    rows = (
        select(
            tickets.c.state,
            tickets.c.asset,
            tickets.c.amount_paid,
            tickets.c.commission,
            tickets.c.payout,
            tickets.c.created_ms,
            tickets.c.entries,
            tickets.c.first_access_ms,
            tiers.c.code.label("tier"),
        )
        .join_from(tickets, purchases, tickets.c.purchase_id == purchases.c.id)
        .outerjoin(tiers, purchases.c.tier_id == tiers.c.id)
        .where(tickets.c.event_id == event_id)
        .execution_options(yield_per=STREAM)
    )
    for t in connection.execute(rows):
        states[t.state] += 1
        entered += t.entries
        if t.first_access_ms is not None:
            arrivals[t.first_access_ms // QUARTER_MS * QUARTER_MS] += 1
        if t.state not in LIVE:
            continue
        live += 1
        came += t.first_access_ms is not None
        held = sums.setdefault((t.created_ms // DAY_MS * DAY_MS, t.tier, t.asset), [0, 0, 0, 0])
        for i, n in enumerate((1, t.amount_paid, t.commission, t.payout)):
            held[i] += n
    stays, minutes, inside = _stays(connection, event_id)
    return Stats(
        states=dict(states),
        sales=[
            Sale(*key, *held) for key, held in sorted(sums.items(), key=lambda s: (s[0][0], s[0][1] or "", s[0][2]))
        ],
        live=live,
        came=came,
        entries=entered,
        arrivals=sorted(arrivals.items()),
        stays=stays,
        minutes=minutes,
        inside=inside,
    )


def _stays(connection: Connection, event_id: int) -> tuple[int, int, int]:
    c = attendance.c
    whole = select(func.count(), func.sum(c.total_duration_minutes)).where(c.event_id == event_id)
    stays, minutes = connection.execute(whole).one()
    inside = select(func.count()).select_from(attendance).where(c.event_id == event_id, c.left_ms.is_(None))
    return stays, int(minutes or 0), connection.execute(inside).scalar_one()


STAY, ENTRY = 0, 1
"""Kinds of attendees: who joined with a wallet and stayed a while, who came through a door."""


class Attendee(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who came, once.  ``place``: (kind, row id), which orders the list.

    A door counts no minutes and sees nobody leave.  ``wallet``: of an entry the ticket's own, whatever the event says.
    """

    place: tuple[int, int]
    number: int
    uuid: str
    wallet: str
    method: str
    gate: str
    joined_ms: int
    left_ms: int | None = None
    minutes: int = 0
    chat_messages_sent: int = 0
    voice_time_minutes: int = 0
    screen_shared: bool = False


def attendees(connection: Connection, event_id: int, limit: int, after: tuple[int, int]) -> list[Attendee]:
    """Who came, at most ``limit`` after ``after``: the stays, then the entries at doors, each by id."""
    kind, row_id = after
    found = _attended(connection, event_id, limit, row_id) if kind == STAY else []
    if len(found) < limit:
        found += _entered(connection, event_id, limit - len(found), row_id if kind == ENTRY else 0)
    return found


def _attended(connection: Connection, event_id: int, limit: int, after: int) -> list[Attendee]:
    return [
        Attendee(
            place=(STAY, r.id),
            number=r.number,
            uuid=r.uuid,
            wallet=r.wallet_address,
            method="wallet",
            gate="",
            joined_ms=r.joined_ms,
            left_ms=r.left_ms,
            minutes=r.total_duration_minutes,
            chat_messages_sent=r.chat_messages_sent,
            voice_time_minutes=r.voice_time_minutes,
            screen_shared=r.screen_shared,
        )
        for r in connection.execute(_page(attendance, event_id, limit, after))
    ]


def _entered(connection: Connection, event_id: int, limit: int, after: int) -> list[Attendee]:
    """A wallet's entry is its stay; what was a conflict is named elsewhere."""
    at_doors = (entries.c.result == "accepted", entries.c.method != "wallet")
    return [
        Attendee(
            place=(ENTRY, r.id),
            number=r.number,
            uuid=r.uuid,
            wallet=r.wallet,
            method=r.method,
            gate=r.gate,
            joined_ms=r.at_ms,
        )
        for r in connection.execute(_page(entries, event_id, limit, after).where(*at_doors))
    ]


def _page(table: Table, event_id: int, limit: int, after: int) -> Select[Any]:
    """The event's rows of ``table`` behind row ``after``, by id, each with what is said of its ticket."""
    c = table.c
    return (
        select(table, tickets.c.number, tickets.c.uuid, tickets.c.wallet)
        .join_from(table, tickets, c.ticket_id == tickets.c.id)
        .where(c.event_id == event_id, c.id > after)
        .order_by(c.id)
        .limit(limit)
    )


def sheet(connection: Connection, event_id: int, limit: int) -> Sequence[Row[Any]]:
    """One row a ticket for a table without personal data: no wallet, no transaction, no ticket's id."""
    stayed = (
        select(attendance.c.ticket_id, func.sum(attendance.c.total_duration_minutes).label("minutes"))
        .where(attendance.c.event_id == event_id)
        .group_by(attendance.c.ticket_id)
        .subquery()
    )
    order = func.row_number().over(partition_by=entries.c.ticket_id, order_by=(entries.c.at_ms, entries.c.id))
    came = (
        select(entries.c.ticket_id, entries.c.method, entries.c.gate, order.label("nth"))
        .where(entries.c.event_id == event_id, entries.c.result == "accepted")
        .subquery()
    )
    rows: Select[Any] = (
        select(
            tickets.c.number,
            tickets.c.state,
            tickets.c.asset,
            tickets.c.amount_paid,
            tickets.c.created_ms,
            tickets.c.entries,
            tickets.c.first_access_ms,
            tickets.c.last_access_ms,
            tiers.c.title.label("tier"),
            stayed.c.minutes,
            came.c.method,
            came.c.gate,
        )
        .join_from(tickets, purchases, tickets.c.purchase_id == purchases.c.id)
        .outerjoin(tiers, purchases.c.tier_id == tiers.c.id)
        .outerjoin(stayed, stayed.c.ticket_id == tickets.c.id)
        .outerjoin(came, (came.c.ticket_id == tickets.c.id) & (came.c.nth == 1))
        .where(tickets.c.event_id == event_id)
        .order_by(tickets.c.number)
        .limit(limit)
    )
    return connection.execute(rows).all()
