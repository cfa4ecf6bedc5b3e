"""Five hundred buyers for ten seats: two chains and the quotes of a sale at once, each over its own connections.

fossasia/eventyay#1359: the lock was left out "for performance", and a quota of one was sold twice;
alfio-event/alf.io#1421: 650 tickets in five minutes, 19 of them stuck; Attendize#473, event-espresso-core#109.
The long proof plays two hundred rounds on each database.
"""

import os
import random
import threading
from collections import Counter
from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from chainwatch.errors import Rejected, Transient
from chainwatch.follower import Step
from chainwatch.ledger import quotes
from chainwatch.ledger.apply import apply
from chainwatch.ledger.audit import audit
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import events, refunds, tickets
from chainwatch.model import Block, BlockRef, InBlock, Transfer
from chainwatch.testing.shop import ASSETS, NOW_MS, SPECS, Shop

pytestmark = pytest.mark.network
ROUNDS = int(os.environ.get("CHAINWATCH_ROUNDS", "15"))
BUYERS, SEATS, QUOTED, PER_BLOCK = 500, 10, 30, 125


class Chain:
    """One chain's writer, as its own process would be: its own connections, its own cursor."""

    def __init__(self, shop: Shop, code: str) -> None:
        self.shop, self.code = shop, code
        self.store = Store(shop.store.engine.url.render_as_string(hide_password=False))
        self.cursor: BlockRef | None = None

    def play(self, payments: list[tuple[str, int]]) -> None:
        """Apply blocks of these payments (memo, amount)."""
        asset, till = SPECS[self.code].native.code, SPECS[self.code].receive[0]
        for i in range(0, len(payments), PER_BLOCK):
            height = self.cursor.height + 1 if self.cursor else 1
            ref = BlockRef(height, f"{self.code}{height}")
            at = InBlock(ref, NOW_MS)
            made = tuple(
                Transfer(self.code, f"t{height}-{n}", "0", asset, amount, till, memo=text.encode(), position=at)
                for n, (text, amount) in enumerate(payments[i : i + PER_BLOCK])
            )
            step = Step(self.code, self.cursor, ref, ref, None, blocks=(Block(ref, NOW_MS, made),))
            again(lambda step=step: self._apply(step))
            self.cursor = ref

    def _apply(self, step: Step) -> None:
        with self.store.transaction() as connection:
            apply(connection, step, self.shop.contexts[self.code], 1, NOW_MS)


def again(body: Callable[[], object]) -> None:
    """Do it until the database lets it through: a deadlock is Transient, and tried again."""
    for _ in range(50):
        try:
            body()
        except Transient:
            continue
        return
    raise AssertionError("fifty deadlocks in a row")


def play(shop: Shop, chains: list[Chain], name: str, rng: random.Random) -> None:
    price = {"HIVE": 5000, "BTC": 100_000}
    shop.event(name, ticket_price="5", prices={"BTC": "0.001"}, max_attendees=SEATS)
    coming: dict[str, list[tuple[str, int]]] = {
        c.code: [(f"event:{name}:wallet:b{c.code.lower()}-{n}", price[c.code])
                 for n in range((BUYERS - 2 * QUOTED) // 2)]
        for c in chains
    }  # fmt: skip
    opened: dict[str, list[quotes.Quote]] = {c.code: [] for c in chains}

    def quote(chain: Chain) -> None:
        for n in range(QUOTED):
            ask = quotes.Ask(event_id=name, wallet=f"q{chain.code.lower()}-{n}", asset=chain.code, signed=n % 2 == 0)

            def body(ask: quotes.Ask = ask) -> None:
                with chain.store.transaction() as connection:
                    made = quotes.quote(connection, ask, shop.contexts[chain.code], NOW_MS)
                opened[chain.code].append(made)

            again(body)

    together([lambda c=c: quote(c) for c in chains])
    held = sum(q.held for some in opened.values() for q in some)
    assert held == SEATS
    for code, some in opened.items():
        coming[code] += [(q.memo or "", q.amount) for q in some]
        rng.shuffle(coming[code])
    together([lambda c=c: c.play(coming[c.code]) for c in chains])


def together(parts: list[Callable[[], None]]) -> None:
    failed: list[BaseException] = []

    def run(part: Callable[[], None]) -> None:
        try:
            part()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(p,)) for p in parts]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failed:
        raise failed[0]


@pytest.mark.timeout(600)
def test_ten_tickets_and_490_refunds_in_every_round(shop: Shop) -> None:
    drop(shop, ROUNDS)


@pytest.mark.long
def test_ten_tickets_and_490_refunds_in_two_hundred_rounds(shop: Shop) -> None:
    drop(shop, 200)


def drop(shop: Shop, rounds: int) -> None:
    assert ASSETS["HIVE"].decimals == 3
    chains = [Chain(shop, code) for code in ("HIVE", "BTC")]
    rng = random.Random(1)
    try:
        for n in range(rounds):
            play(shop, chains, f"drop-{n}", rng)
        with shop.store.reading() as connection:
            sold = Counter(connection.scalars(select(tickets.c.event_id)))
            due = Counter(connection.scalars(select(refunds.c.event_id).where(refunds.c.state == "due")))
            left = select(func.count()).where(events.c.tickets_sold + events.c.tickets_held != SEATS)
            assert connection.execute(left).scalar_one() == 0
            assert audit(connection) == []
    finally:
        for chain in chains:
            chain.store.close()
    assert set(sold.values()) == {SEATS}
    assert set(due.values()) == {BUYERS - SEATS}
    assert len(sold) == len(due) == rounds


def test_one_wallet_asking_from_eight_processes_gets_one_purchase_and_one_gift(shop: Shop) -> None:
    """Two requests at once must not both see that there is none yet."""
    shop.event("paid", max_attendees=50)
    shop.event("free", ticket_price="0", max_attendees=50)
    url = shop.store.engine.url.render_as_string(hide_password=False)
    got: Counter[str] = Counter()

    def ask(event: str) -> None:
        store = Store(url)
        try:
            asked = quotes.Ask(event_id=event, wallet="alice", asset="HIVE", signed=True)

            def body() -> None:
                with store.transaction() as connection:
                    quotes.quote(connection, asked, shop.contexts["HIVE"], NOW_MS)

            again(body)
            got[event] += 1
        except Rejected as no:
            got[no.code] += 1
        finally:
            store.close()

    together([lambda e=e: ask(e) for e in ("paid", "free") * 8])
    assert got == {"paid": 1, "free": 1, "purchase_open": 7, "wallet_limit": 7}
    shop.audit()
