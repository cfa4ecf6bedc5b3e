"""Wallets are forgotten some days after their last event; who comes back is a new customer; on both databases."""

import random
from pathlib import Path

import pytest
from sqlalchemy import select, update

from chainwatch.app import App
from chainwatch.config import settings
from chainwatch.ledger import erasure, events
from chainwatch.ledger.tables import purchases, refunds, tickets, transfers
from chainwatch.testing.clock import FakeClock
from chainwatch.testing.shop import ASSETS, KEY, Shop
from chainwatch.tickets.token import Issuer

pytestmark = pytest.mark.network
DAY = 86_400_000


def forget(shop: Shop, days: int = 30) -> int:
    with shop.store.transaction() as connection:
        return erasure.forget_old(connection, Issuer(KEY), shop.now_ms - days * DAY, shop.now_ms)


def wallets(shop: Shop) -> set[str]:
    with shop.store.reading() as connection:
        return {w for w in connection.scalars(select(purchases.c.wallet)) if not w.startswith("erased:")}


def test_a_wallet_is_forgotten_days_after_its_last_event_unless_something_is_owed(shop: Shop) -> None:
    shop.event("early", event_end_ms=shop.now_ms + DAY)
    shop.event("later", event_end_ms=shop.now_ms + 9 * DAY)
    shop.event("open-ended")
    shop.mine(
        shop.buys("alice", "early"),
        shop.buys("bobby", "early"),
        shop.buys("bobby", "later"),
        shop.buys("carol", "early", 5100),  # a hundred are owed back
        shop.buys("dave1", "early"),
        shop.buys("dave1", "open-ended"),
    )
    shop.ask("erin1", event="early")  # never paid
    shop.after(31 * 1440 - 5)
    assert forget(shop) == 0
    shop.after(10)
    assert forget(shop) == 2
    assert wallets(shop) == {"bobby", "carol", "dave1"}
    with shop.store.transaction() as connection:
        assert "alice" not in str(connection.execute(select(transfers)).all())
        connection.execute(update(refunds).values(state="settled"))
    shop.after(10 * 1440)
    assert forget(shop) == 2
    assert wallets(shop) == {"dave1"}
    assert forget(shop) == 0


def test_who_was_forgotten_and_comes_back_gets_a_ticket_of_its_own(shop: Shop) -> None:
    """Under the pseudonym it would open no door.  What is scanned again of before stays forgotten."""
    shop.event("early", event_end_ms=shop.now_ms + DAY)
    shop.mine(old := shop.buys("alice", "early"))
    shop.after(40 * 1440).mine()
    assert forget(shop) == 1
    shop.after(1).event("again")
    quote = shop.ask("alice", event="again")
    long_memo = f"event:again:wallet:alice:ref:{quote.ref}".encode()
    shop.mine(shop.buys("alice", "again", 1500, asset="HBD"), shop.pays(quote, memo=long_memo))
    assert shop.wallets("again") == ["alice", "alice"]
    shop.reorg(1, old)  # the old one is told again, in another block
    with shop.store.reading() as connection:
        assert "alice" not in connection.scalars(select(tickets.c.wallet).where(tickets.c.event_id == 1)).all()


@pytest.mark.parametrize("days", [0, 30])
def test_the_daemon_forgets_when_it_is_told_to(tmp_path: Path, days: int) -> None:
    clock = FakeClock(1_760_000_000_000)
    told = settings.parse(f"[access]\naddress_days = {days}\n", environ={"STATE_DIRECTORY": str(tmp_path)})
    app = App(told, clock=clock, rng=random.Random(1))
    end = clock.now_ms()
    with app.store.transaction() as connection:
        new = events.NewEvent(id="gala", title="g", ticket_price="5", ticket_currency="HIVE", event_end_ms=end)
        events.create(connection, new, ASSETS, 2000, end, "test")
        row = {"ref": "a" * 16, "event_id": 1, "wallet": "alice", "asset": "HIVE", "signed": True, "held": False}
        connection.execute(purchases.insert().values(**row, hold_kind="", expired=True, created_ms=1, expires_ms=2))
    clock.advance(31 * 86_400)
    with app.store.transaction() as connection:
        app._tidy(connection)
    assert wallets(Shop(app.store)) == (set() if days else {"alice"})
    app.close()
