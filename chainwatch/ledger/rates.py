"""The table of agreed prices: written by whoever asks the markets, read by every purchase."""

from collections.abc import Sequence
from decimal import Decimal

from sqlalchemy import Connection, select

from chainwatch.ledger.bulk import insert_rows
from chainwatch.ledger.tables import event_prices, events, rates, tier_prices, tiers
from chainwatch.tickets.rates import Rate


def current(connection: Connection, asset: str, currency: str, at_ms: int, max_age_ms: int) -> Rate | None:
    """Return the rate in force at ``at_ms``: the latest not after it and not older than ``max_age_ms``."""
    row = connection.execute(
        select(rates)
        .where(
            rates.c.asset == asset,
            rates.c.currency == currency,
            rates.c.at_ms <= at_ms,
            rates.c.at_ms >= at_ms - max_age_ms,
        )
        .order_by(rates.c.at_ms.desc())
        .limit(1)
    ).first()
    if row is None:
        return None
    return Rate(row.asset, row.currency, Decimal(row.price), row.at_ms, tuple(row.sources.split()))


def put(connection: Connection, agreed: Sequence[Rate]) -> None:
    """Write agreed rates."""
    insert_rows(
        connection,
        rates,
        [
            {
                "asset": r.asset,
                "currency": r.currency,
                "at_ms": r.at_ms,
                "price": str(r.price),
                "sources": " ".join(r.sources),
            }
            for r in agreed
        ],
    )


def wanted(connection: Connection) -> set[tuple[str, str]]:
    """Return the (asset, currency) pairs that live events priced in money accept."""
    of_events = (
        select(event_prices.c.asset, events.c.ticket_currency)
        .join_from(event_prices, events)
        .where(event_prices.c.amount.is_(None), events.c.status == "active")
    )
    of_tiers = (
        select(tier_prices.c.asset, tiers.c.ticket_currency)
        .join_from(tier_prices, tiers)
        .join(events, tiers.c.event_id == events.c.id)
        .where(tier_prices.c.amount.is_(None), events.c.status == "active")
    )
    return {(row[0], row[1]) for query in (of_events, of_tiers) for row in connection.execute(query)}
