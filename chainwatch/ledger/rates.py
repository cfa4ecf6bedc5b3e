"""Agreed prices of coins over time: written by one process, read by all, and still there when money comes late."""

from collections.abc import Sequence
from decimal import Decimal

from sqlalchemy import Connection, Row, delete, func, select
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from chainwatch.ledger.tables import event_prices, events, rates, tier_prices, tiers
from chainwatch.tickets.rates import Pair, Rate

KEEP_MS = 30 * 86_400_000
"""Late money is priced at its paid time; a chain that stood still for a month has other worries."""

WITHHELD = "0"
"""The price of a row that says: from here on nobody knows.  It ends the rate before it (the jump breaker)."""


def current(connection: Connection, asset: str, currency: str, at_ms: int, max_age_ms: int) -> Rate | None:
    """Return the rate that held at ``at_ms``: the latest until then, if not older than ``max_age_ms``.

    None: nobody knows.  There is no other answer to fall back to.
    """
    row = connection.execute(
        select(rates)
        .where(rates.c.asset == asset, rates.c.currency == currency)
        .where(rates.c.at_ms <= at_ms, rates.c.at_ms >= at_ms - max_age_ms)
        .order_by(rates.c.at_ms.desc())
        .limit(1)
    ).first()
    return None if row is None or row.price == WITHHELD else _rate(row)


def latest(connection: Connection, asset: str, currency: str) -> Rate | None:
    """Return the last rate that was believed, however old."""
    row = connection.execute(
        select(rates)
        .where(rates.c.asset == asset, rates.c.currency == currency, rates.c.price != WITHHELD)
        .order_by(rates.c.at_ms.desc())
        .limit(1)
    ).first()
    return None if row is None else _rate(row)


def _rate(row: Row[tuple[object, ...]]) -> Rate:
    return Rate(row.asset, row.currency, Decimal(row.price), row.at_ms, tuple(row.sources.split()))


def put(connection: Connection, agreed: Sequence[Rate]) -> None:
    """Write rates; what another process wrote for the same moment stays."""
    _insert(connection, [(r.asset, r.currency, r.at_ms, format(r.price, "f"), " ".join(r.sources)) for r in agreed])


def withhold(connection: Connection, pairs: Sequence[Pair], at_ms: int) -> None:
    """Say that from ``at_ms`` on nobody knows the price of ``pairs``."""
    _insert(connection, [(asset, currency, at_ms, WITHHELD, "") for asset, currency in pairs])


def _insert(connection: Connection, rows: Sequence[tuple[str, str, int, str, str]]) -> None:
    insert = pg_insert if connection.dialect.name == "postgresql" else sqlite_insert
    names = ("asset", "currency", "at_ms", "price", "sources")
    if rows:
        values = [dict(zip(names, row, strict=True)) for row in rows]
        connection.execute(insert(rates).values(values).on_conflict_do_nothing())


def wanted(connection: Connection) -> set[Pair]:
    """Return (asset, currency) of every price that a live event leaves to the rate."""
    live = events.c.status == "active"
    whole = (
        select(event_prices.c.asset, events.c.ticket_currency)
        .join_from(event_prices, events)
        .where(live, event_prices.c.amount.is_(None))
    )
    by_tier = (
        select(tier_prices.c.asset, tiers.c.ticket_currency)
        .join_from(tier_prices, tiers)
        .join(events, events.c.id == tiers.c.event_id)
        .where(live, tier_prices.c.amount.is_(None))
    )
    return {(r[0], r[1]) for question in (whole, by_tier) for r in connection.execute(question.distinct())}


def prune(connection: Connection, now_ms: int, keep_ms: int = KEEP_MS) -> int:
    """Forget what is older than ``keep_ms``, but for the last rate of each pair; return how many rows."""
    newest = select(rates.c.asset, rates.c.currency, func.max(rates.c.at_ms)).group_by(rates.c.asset, rates.c.currency)
    gone = 0
    for asset, currency, last_ms in connection.execute(newest).all():
        pair = delete(rates).where(rates.c.asset == asset, rates.c.currency == currency)
        gone += connection.execute(pair.where(rates.c.at_ms < min(now_ms - keep_ms, last_ms))).rowcount
    return gone
