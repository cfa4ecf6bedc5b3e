"""Purchases that are opened together come out as they would alone, on both databases."""

import pytest
from sqlalchemy import func, select

from chainwatch.errors import Rejected
from chainwatch.ledger.context import Policy
from chainwatch.ledger.crowd import Buyer, quote_all
from chainwatch.ledger.quotes import Ask, Quote
from chainwatch.ledger.tables import addresses, purchases
from chainwatch.testing.shop import Shop

pytestmark = pytest.mark.network


def crowd(shop: Shop, *asks: Ask) -> list[Quote | Rejected]:
    coin = {"HIVE": "HIVE", "HBD": "HIVE", "BTC": "BTC"}
    with shop.store.transaction() as connection:
        buyers = [Buyer(a, shop.contexts[coin[a.asset]]) for a in asks]
        said = quote_all(connection, buyers, shop.now_ms)
    shop.audit()
    return said


def ask(wallet: str, **more: object) -> Ask:
    return Ask(**{"event_id": "gala", "wallet": wallet, "asset": "HIVE", **more})  # type: ignore[arg-type]


def test_as_many_hold_a_seat_as_the_share_of_unsigned_purchases_has(shop: Shop) -> None:
    """Hi.Events#1195: a bucket that was reserved over its size blocked the others."""
    shop = Shop(shop.store, Policy(unsigned_hold_percent=50))
    shop.event(max_attendees=9)
    said = crowd(shop, *(ask(f"guest{i}") for i in range(12)))
    assert [s.held for s in said if isinstance(s, Quote)] == [True] * 5 + [False] * 7  # half of nine, rounded up
    assert len({s.memo for s in said if isinstance(s, Quote)}) == 12
    again = crowd(shop, ask("late"))
    assert [s.held for s in again if isinstance(s, Quote)] == [False]


def test_one_that_is_refused_refuses_nobody_else(shop: Shop) -> None:
    shop.event(max_attendees=100)
    wrong = (ask("NOT A WALLET"), ask("bob", event_id="nothing"), ask("dave", asset="BTC"))
    said = crowd(shop, ask("alice"), *wrong, ask("carol"))
    kinds = [s.code if isinstance(s, Rejected) else s.held for s in said]
    assert kinds == [True, "bad_wallet", "unknown_event", "not_for_sale", True]


def test_signed_and_unsigned_ones_in_one_crowd_each_by_its_own_rule(shop: Shop) -> None:
    shop = Shop(shop.store, Policy(unsigned_hold_percent=0))
    shop.event(max_attendees=2)
    said = crowd(shop, ask("alice"), ask("bob", signed=True), ask("bob", signed=True), ask("carol"))
    kinds = [s.code if isinstance(s, Rejected) else s.held for s in said]
    assert kinds == [False, True, "purchase_open", False]


def test_each_gets_an_address_of_its_own_while_there_are_some_then_nobody_an_empty_one(shop: Shop) -> None:
    shop.event(max_attendees=50, ticket_price="0.001", ticket_currency="BTC")
    with shop.store.transaction() as connection:
        rows = [{"chain": "BTC", "path_index": i, "address": f"own{i}", "created_ms": 1} for i in range(3)]
        connection.execute(addresses.insert(), rows)
    said = crowd(shop, *(ask(f"guest{i}", asset="BTC") for i in range(5)))
    told = [s for s in said if isinstance(s, Quote)]
    assert [q.address for q in told[:3]] == ["own0", "own1", "own2"]
    assert all(q.memo is None for q in told[:3])
    assert all(q.memo and q.address == "btc-till" for q in told[3:])
    with shop.store.reading() as connection:
        taken = connection.execute(
            select(func.count()).select_from(addresses.join(purchases, addresses.c.purchase_id == purchases.c.id))
        )
        assert taken.scalar_one() == 3
