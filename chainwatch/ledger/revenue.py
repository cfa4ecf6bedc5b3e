"""What was sold: by event, tier, currency, day, or tickets by the hour.

Sums are made here: SQLite would make them floats.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Row, select

from chainwatch.ledger.tables import events, purchases, tickets, tiers

By = Literal["event", "tier", "currency", "day", "hour"]
STREAM = 5_000
"""Rows fetched at a time."""

SOLD = ("active", "used", "suspended")


class Sold(msgspec.Struct):
    """One group and asset: live tickets, what they brought, the platform's part and the creator's; and those undone."""

    group: str
    asset: str
    tickets: int = 0
    amount: int = 0
    commission: int = 0
    payout: int = 0
    cancelled: int = 0


def revenue(
    connection: Connection, by: Sequence[By], from_ms: int | None = None, to_ms: int | None = None
) -> list[Sold]:
    """Return sales by the given groupings (``["event", "tier"]`` groups by both), tickets minted in the range.

    Cancelled and revoked tickets bring nothing: their commission is reversed; they are counted apart.  So is one that
    was revoked after somebody had come in with it, but its money stays, as in the books.
    """
    rows = (
        select(tickets, events.c.slug, events.c.status, tiers.c.code.label("tier"))
        .join_from(tickets, events, tickets.c.event_id == events.c.id)
        .join(purchases, tickets.c.purchase_id == purchases.c.id)
        .join(tiers, purchases.c.tier_id == tiers.c.id, isouter=True)
        .execution_options(yield_per=STREAM)
    )
    if from_ms is not None:
        rows = rows.where(tickets.c.created_ms >= from_ms)
    if to_ms is not None:
        rows = rows.where(tickets.c.created_ms < to_ms)
    found: dict[tuple[str, str], Sold] = {}
    for t in connection.execute(rows):
        group = " ".join(_name(t, one) for one in by)
        sold = found.setdefault((group, t.asset), Sold(group, t.asset))
        if t.state in SOLD:
            sold.tickets += 1
        else:
            sold.cancelled += 1
        if t.state in SOLD or _is_kept(t):
            sold.amount += t.amount_paid
            sold.commission += t.commission
            sold.payout += t.payout
    return [found[key] for key in sorted(found)]


def _is_kept(t: Row[Any]) -> bool:
    """Does the money of a ticket stay that is not live any more?  (``chainwatch.matching.decide``)"""
    return t.state == "revoked" and t.first_access_ms is not None and t.status != "cancelled"


def _name(t: Row[Any], by: By) -> str:
    if by == "event":
        return str(t.slug or t.event_id)
    if by == "tier":
        return str(t.tier or "-")
    if by == "currency":
        return str(t.asset)
    at = dt.datetime.fromtimestamp(t.created_ms / 1000, dt.UTC)
    return at.strftime("%Y-%m-%d" if by == "day" else "%Y-%m-%dT%H:00Z")
