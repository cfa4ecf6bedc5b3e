"""Who came and what was sold, as its creator may see it: lists by page, figures of a whole event.

Amounts are summed here and not by the database: base units of 78 digits are text on SQLite.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, func, select

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
    ``arrivals``: first entries by quarter of an hour (UTC, its begin), in order.
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


_SHOWN = (
    attendance.c.id,
    attendance.c.wallet_address,
    attendance.c.joined_ms,
    attendance.c.left_ms,
    attendance.c.total_duration_minutes,
    attendance.c.chat_messages_sent,
    attendance.c.voice_time_minutes,
    attendance.c.screen_shared,
    tickets.c.number,
)


def attendees(connection: Connection, event_id: int, limit: int, after: int) -> Sequence[Row[Any]]:
    """Stays of an event by id, at most ``limit`` after id ``after``."""
    rows: Select[Any] = (
        select(*_SHOWN)
        .join_from(attendance, tickets, attendance.c.ticket_id == tickets.c.id)
        .where(attendance.c.event_id == event_id, attendance.c.id > after)
        .order_by(attendance.c.id)
        .limit(limit)
    )
    return connection.execute(rows).all()


def sheet(connection: Connection, event_id: int, limit: int) -> Sequence[Row[Any]]:
    """One row a ticket for a table without personal data: no wallet, no transaction, no ticket's id."""
    stayed = (
        select(attendance.c.ticket_id, func.sum(attendance.c.total_duration_minutes).label("minutes"))
        .where(attendance.c.event_id == event_id)
        .group_by(attendance.c.ticket_id)
        .subquery()
    )
    methods = (
        select(entries.c.ticket_id, func.min(entries.c.method).label("method"))
        .where(entries.c.event_id == event_id, entries.c.admitted.is_(True))
        .group_by(entries.c.ticket_id)
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
            methods.c.method,
        )
        .join_from(tickets, purchases, tickets.c.purchase_id == purchases.c.id)
        .outerjoin(tiers, purchases.c.tier_id == tiers.c.id)
        .outerjoin(stayed, stayed.c.ticket_id == tickets.c.id)
        .outerjoin(methods, methods.c.ticket_id == tickets.c.id)
        .where(tickets.c.event_id == event_id)
        .order_by(tickets.c.number)
        .limit(limit)
    )
    return connection.execute(rows).all()
