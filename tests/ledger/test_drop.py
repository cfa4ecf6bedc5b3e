"""Five hundred buyers for ten seats: two chains and the quotes of a sale at once, each over its own connections.

fossasia/eventyay#1359: the lock was left out "for performance", and a quota of one was sold twice;
alfio-event/alf.io#1421: 650 tickets in five minutes, 19 of them stuck; Attendize#473, event-espresso-core#109.
Two hundred rounds on each database, in four parts, several rounds at a time: the blocks of a chain pay for all of their
events, so that both chains lock the same rows of events in every transaction.  Nothing is tried again: a deadlock fails
the test.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import event, func, select, text

from chainwatch.errors import Rejected
from chainwatch.follower import Step
from chainwatch.ledger import quotes
from chainwatch.ledger.apply import apply
from chainwatch.ledger.audit import audit
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import events, refunds, tickets
from chainwatch.model import Block, BlockRef, InBlock, Transfer
from chainwatch.testing.shop import ASSETS, NOW_MS, SPECS, Shop

pytestmark = pytest.mark.network
PARTS, ROUNDS, AT_ONCE = 4, 50, 10
BUYERS, SEATS = 500, 10
QUOTED = 10
"""Buyers on each chain who ask before they pay: half of them signed, so that all seats are held in the end."""
PER_BLOCK = 500
PRICE = {"HIVE": 5000, "BTC": 100_000}


class Chain:
    """One chain's writer, as its own process would be: its own connections, its own cursor."""

    def __init__(self, shop: Shop, code: str) -> None:
        self.shop, self.code = shop, code
        self.store = Store(shop.store.engine.url.render_as_string(hide_password=False))
        if self.store.is_sqlite:  # this is about locks: the test's PostgreSQL does not wait for the disk either
            event.listen(self.store.engine, "connect", lambda c, _: c.execute("PRAGMA synchronous=OFF"))
        self.cursor: BlockRef | None = None

    def quote(self, name: str) -> list[quotes.Quote]:
        """Ask for the tickets of one event, each in a transaction of its own."""
        made = []
        for n in range(QUOTED):
            ask = quotes.Ask(event_id=name, wallet=f"q{self.code.lower()}-{n}", asset=self.code, signed=n % 2 == 0)
            with self.store.transaction() as connection:
                made.append(quotes.quote(connection, ask, self.shop.contexts[self.code], NOW_MS))
        return made

    def play(self, payments: Sequence[tuple[str, int]]) -> None:
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
            with self.store.transaction() as connection:
                apply(connection, step, self.shop.contexts[self.code], 1, NOW_MS)
            self.cursor = ref


def play(shop: Shop, chains: Sequence[Chain], names: Sequence[str], rng: random.Random) -> None:
    """Put events on sale and let everybody come for all of them at once."""
    for name in names:
        shop.event(name, ticket_price="5", prices={"BTC": "0.001"}, max_attendees=SEATS)
    opened: dict[str, list[quotes.Quote]] = {c.code: [] for c in chains}

    def quote(chain: Chain) -> None:
        for name in names:
            opened[chain.code] += chain.quote(name)

    together([lambda c=c: quote(c) for c in chains])
    assert sum(q.held for some in opened.values() for q in some) == SEATS * len(names)
    coming: dict[str, list[tuple[str, int]]] = {}
    for code, some in opened.items():
        wallets = [f"b{code.lower()}-{n}" for n in range((BUYERS - 2 * QUOTED) // 2)]
        coming[code] = [(f"event:{name}:wallet:{w}", PRICE[code]) for name in names for w in wallets]
        coming[code] += [(q.memo or "", q.amount) for q in some]
        rng.shuffle(coming[code])
    together([lambda c=c: c.play(coming[c.code]) for c in chains])


def together(parts: Sequence[Callable[[], None]]) -> None:
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


def learn(store: Store) -> None:
    """Let the database look at its tables, as it does by itself every minute: plans made for empty ones scan them."""
    with store.engine.begin() as connection:
        connection.execute(text("ANALYZE"))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
def test_ten_tickets_and_490_refunds_in_two_hundred_rounds(shop: Shop, part: int) -> None:
    assert ASSETS["HIVE"].decimals == 3
    chains = [Chain(shop, code) for code in ("HIVE", "BTC")]
    rng = random.Random(part)
    try:
        for n in range(0, ROUNDS, AT_ONCE):
            play(shop, chains, [f"drop-{n + i}" for i in range(AT_ONCE)], rng)
            if n == 0:
                learn(shop.store)
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
    assert len(sold) == len(due) == ROUNDS


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
            with store.transaction() as connection:
                quotes.quote(connection, asked, shop.contexts["HIVE"], NOW_MS)
            got[event] += 1
        except Rejected as no:
            got[no.code] += 1
        finally:
            store.close()

    together([lambda e=e: ask(e) for e in ("paid", "free") * 8])
    assert got == {"paid": 1, "free": 1, "purchase_open": 7, "wallet_limit": 7}
    shop.audit()
