"""Who waits for whom on PostgreSQL: chains' cursors first, then events in id order, so that nobody waits for the other.

A deadlock costs a second and the work of one of the two; nothing here is tried again.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text, update

from chainwatch.ledger import crowd, devices, events, locks, orders, quotes, review, scans, settle, tickets
from chainwatch.ledger.audit import audit
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import tickets as ticket_table
from chainwatch.testing.doors import make_event, order_of, sell
from chainwatch.testing.shop import ASSETS, Shop
from chainwatch.tickets.codes import Codes
from chainwatch.tickets.token import Issuer

pytestmark = pytest.mark.network


@pytest.fixture
def busy(postgres_store: Store) -> Shop:
    """A shop on PostgreSQL: SQLite has one writer."""
    return Shop(postgres_store, depth=2, check=False)


def waits(store: Store) -> bool:
    """Does a transaction of this database wait for another?"""
    asked = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with store.engine.connect() as connection:
        return connection.execute(text(asked)).first() is not None


def meet(shop: Shop, first: Callable[[], Any], second: Callable[[], Any], inside: threading.Event) -> None:
    """Run ``second`` once ``first`` is ``inside`` (there it waits until the other one waits for it)."""
    failed: list[BaseException] = []

    def run(body: Callable[[], Any]) -> None:
        try:
            body()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(b,)) for b in (first, second)]
    threads[0].start()
    assert inside.wait(60)
    threads[1].start()
    for t in threads:
        t.join(60)
    assert failed == []


def pausing(shop: Shop, inside: threading.Event, body: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``body``, which says the first time that it is there, and goes on when somebody waits."""

    def paused(*args: Any, **kwargs: Any) -> Any:
        if not inside.is_set():
            inside.set()
            until = time.monotonic() + 20
            while not waits(shop.store) and time.monotonic() < until:
                time.sleep(0.01)
        return body(*args, **kwargs)

    return paused


def test_an_event_is_cancelled_while_a_step_moves_its_payment(busy: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    busy.event()
    busy.mine(paid := busy.buys("alice"), n=2)
    inside = threading.Event()
    monkeypatch.setattr(events, "_paid_by_chain", pausing(busy, inside, events._paid_by_chain))
    meet(busy, busy.cancel, lambda: busy.reorg(2, paid), inside)
    assert busy.ends(paid) == [("refund", 5000, "event_cancelled")]


def test_a_ticket_is_revoked_while_a_step_moves_its_payment(busy: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    busy.event()
    busy.mine(paid := busy.buys("alice"), n=2)
    inside = threading.Event()
    monkeypatch.setattr(tickets.settle, "settle", pausing(busy, inside, settle.settle))
    with busy.store.reading() as connection:
        (ticket,) = tickets.of_wallet(connection, "alice")

    def revoke() -> None:
        with busy.store.transaction() as connection:
            tickets.revoke(connection, ticket.uuid, "stolen", busy.contexts, busy.now_ms, "ann")

    meet(busy, revoke, lambda: busy.reorg(2, paid), inside)
    assert busy.ends(paid) == [("refund", 5000, "ticket_revoked")]


def test_a_seat_that_a_decision_sells_is_not_given_back_by_the_step_that_ends_its_hold(
    busy: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One seat given back twice is one that is sold twice."""
    busy.event(max_attendees=10)
    quote, other = busy.ask("alice"), busy.ask("bobby")
    busy.mine(paid := busy.pays(quote, flags=("locked",)), n=2)
    with busy.store.reading() as connection:
        (item,) = review.open_items(connection)
    inside = threading.Event()
    monkeypatch.setattr(orders, "load", pausing(busy, inside, orders.load))

    def decide() -> None:
        decision = review.Decision(action="assign", ref=quote.ref)
        with busy.store.transaction() as connection:
            assert review.decide(connection, item.id, decision, busy.contexts, busy.now_ms, "ann") == "minted"

    busy.after(15.5)
    meet(busy, decide, busy.mine, inside)
    assert busy.ends(paid) == [("ticket", 5000, "")]
    with busy.store.reading() as connection:
        assert audit(connection) == []
    assert other.held
    assert (busy.seats().sold, busy.seats().held) == (1, 0)


def test_buyers_of_several_events_at_once_do_not_wait_for_each_other(
    busy: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        busy.event(name)
    inside = threading.Event()
    hive = busy.contexts[ASSETS["HIVE"].chain]

    def open_both(wallet: str, names: tuple[str, ...]) -> None:
        asks = [quotes.Ask(event_id=n, wallet=wallet, asset="HIVE", signed=True) for n in names]
        with busy.store.transaction() as connection:
            made = crowd.quote_all(connection, [crowd.Buyer(a, hive) for a in asks], busy.now_ms)
        assert all(isinstance(q, quotes.Quote) for q in made)

    def both_held() -> None:
        with busy.store.transaction() as connection:
            locks.events(connection, [1])
            inside.set()
            until = time.monotonic() + 20
            while not waits(busy.store) and time.monotonic() < until:
                time.sleep(0.01)
            locks.events(connection, [2])

    meet(busy, both_held, lambda: open_both("alice", ("two", "one")), inside)


def test_doors_of_two_events_scan_while_a_step_moves_their_tickets(busy: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    issuer, store, now_ms = Issuer(Ed25519PrivateKey.from_private_bytes(bytes(32))), busy.store, busy.now_ms
    doors, uuids = {}, {}
    with store.transaction() as connection:
        for name in ("one", "two"):
            row = make_event(connection, name, now_ms)
            uuids[name] = sell(connection, row, 2, issuer, now_ms)
            doors[name] = devices.add(connection, row, "North", now_ms, "test")[0]
    codes, inside = Codes(issuer), threading.Event()
    shown = scans.Scan(nonce="a", at_ms=now_ms, code=codes.v1(uuids["one"][0]))
    typed = scans.Scan(nonce="b", at_ms=now_ms, order_id=order_of("two", 0))
    monkeypatch.setattr(scans, "_most_orders", pausing(busy, inside, scans._most_orders))

    def scan() -> None:
        with store.transaction() as connection:
            answers = scans.check_in_all(connection, [(doors["one"], shown), (doors["two"], typed)], codes, now_ms)
        assert [getattr(a, "result", a) for a in answers] == ["accepted", "accepted"]

    def step() -> None:
        with store.transaction() as connection:
            locks.events(connection, [1, 2])
            connection.execute(update(ticket_table).values(state="suspended"))

    meet(busy, scan, step, inside)
