"""The table of rates, on both databases."""

from decimal import Decimal

import pytest
from sqlalchemy import func, insert, select, update

from chainwatch.ledger import events, rates
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import event_prices, tier_prices, tiers
from chainwatch.ledger.tables import events as event_table
from chainwatch.ledger.tables import rates as rate_table
from chainwatch.model import Asset
from chainwatch.tickets.rates import Rate

pytestmark = pytest.mark.network

NOW = 1_760_000_000_000
MINUTE = 60_000
HIVE = Asset("HIVE", "HIVE", 3)


def rate(price: str, at_ms: int, asset: str = "HIVE") -> Rate:
    return Rate(asset, "USD", Decimal(price), at_ms, ("coingecko", "kraken"))


def test_the_rate_that_held_at_a_time_or_none(store: Store) -> None:
    with store.transaction() as connection:
        rates.put(connection, [rate("0.250", NOW), rate("0.26", NOW + 5 * MINUTE), rate("9", NOW, "BTC")])
        rates.put(connection, [rate("0.99", NOW)])  # what was written first for a moment stays
    with store.reading() as connection:

        def at(ms: int) -> Decimal | None:
            found = rates.current(connection, "HIVE", "USD", ms, 5 * MINUTE)
            return None if found is None else found.price

        assert at(NOW - 1) is None
        assert at(NOW) == Decimal("0.250")
        assert at(NOW + 5 * MINUTE - 1) == Decimal("0.250")
        assert at(NOW + 10 * MINUTE) == Decimal("0.26")
        assert at(NOW + 10 * MINUTE + 1) is None  # no rate, no quote; never the last one known
        assert rates.current(connection, "HIVE", "EUR", NOW, 5 * MINUTE) is None
        assert rates.current(connection, "HIVE", "USD", NOW, 5 * MINUTE) == rate("0.250", NOW)


def test_a_withheld_rate_ends_the_one_before(store: Store) -> None:
    with store.transaction() as connection:
        rates.put(connection, [rate("0.25", NOW)])
        rates.withhold(connection, [("HIVE", "USD")], NOW + MINUTE)
    with store.reading() as connection:
        assert rates.current(connection, "HIVE", "USD", NOW + MINUTE - 1, 5 * MINUTE) is not None
        assert rates.current(connection, "HIVE", "USD", NOW + MINUTE, 5 * MINUTE) is None
        last = rates.latest(connection, "HIVE", "USD")
        assert last is not None
        assert last.price == Decimal("0.25")


def test_prices_are_kept_to_the_last_digit(store: Store) -> None:
    price = "0.000000123456789012345678901234"
    with store.transaction() as connection:
        rates.put(connection, [rate(price, NOW), rate("1E+3", NOW, "BTC")])
        assert rates.current(connection, "HIVE", "USD", NOW, 1) == rate(price, NOW)
        assert connection.execute(select(rate_table.c.price).where(rate_table.c.asset == "BTC")).scalar_one() == "1000"


def test_wanted_is_what_live_events_leave_to_the_rate(store: Store) -> None:
    with store.transaction() as connection:
        for name in ("coin", "money", "over", "tiered"):
            new = events.NewEvent(id=name, title=name, ticket_price="5", ticket_currency="HIVE")
            events.create(connection, new, {"HIVE": HIVE}, 2000, NOW, "test")
        ids = {e.slug: e.id for e in connection.execute(select(event_table))}
        for name in ("money", "over"):
            connection.execute(update(event_table).where(event_table.c.slug == name).values(ticket_currency="USD"))
            connection.execute(update(event_prices).where(event_prices.c.event_id == ids[name]).values(amount=None))
        connection.execute(update(event_table).where(event_table.c.slug == "over").values(status="cancelled"))
        tier = {"event_id": ids["tiered"], "code": "vip", "title": "", "position": 1}
        price = {"ticket_price": "9", "ticket_currency": "EUR", "sold": 0, "held": 0}
        connection.execute(insert(tiers).values(**tier, **price))
        tier_id = connection.execute(select(tiers.c.id)).scalar_one()
        connection.execute(insert(tier_prices).values(tier_id=tier_id, asset="BTC", amount=None))
        assert rates.wanted(connection) == {("HIVE", "USD"), ("BTC", "EUR")}


def test_old_rows_go_and_the_last_of_a_pair_stays(store: Store) -> None:
    with store.transaction() as connection:
        rates.put(connection, [rate("1", NOW + i * MINUTE) for i in range(10)] + [rate("2", NOW, "BTC")])
        assert rates.prune(connection, NOW + 100 * MINUTE, 95 * MINUTE) == 5
        assert rates.prune(connection, NOW + 10_000 * MINUTE, MINUTE) == 4
        assert connection.execute(select(func.count()).select_from(rate_table)).scalar_one() == 2
