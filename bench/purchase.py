"""Purchases a second while ten thousand buyers come for five hundred seats, and how long each of them waits.

In groups (``ledger.grouped``, ``ledger.crowd``), as the API opens them, a bounded number at once.  Half of the
buyers signed.  SQLite is on this disk (WAL, synchronous=FULL), PostgreSQL has fsync on.  HTTP is not in it.
"""

import asyncio
import gc
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import select

from chainwatch.ledger import events, pool, quotes, schema
from chainwatch.ledger.audit import audit
from chainwatch.ledger.crowd import Buyer, quote_all
from chainwatch.ledger.grouped import Grouped
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import events as event_table
from chainwatch.testing.postgres import NoPostgres, Postgres
from chainwatch.testing.shop import ASSETS, NOW_MS, Shop

BUYERS, SEATS, AT_ONCE = 10_000, 500, 32
SUBADDRESSES = 200
TARGETS = {"sqlite": 300, "postgresql": 600}
P99_MS = 100


async def drop(shop: Shop) -> list[float]:
    """Let everybody come; return how long each waited, in seconds."""
    waited: list[float] = []
    numbers = iter(range(BUYERS))
    crowd = Grouped(shop.store, lambda connection, buyers: quote_all(connection, buyers, NOW_MS))

    async def buyer() -> None:
        for n in numbers:
            asset = ("HIVE", "BTC")[n % 2]
            ask = quotes.Ask(event_id="drop", wallet=f"buyer-{n}", asset=asset, signed=n % 4 < 2)
            began = time.perf_counter()
            await crowd.ask(Buyer(ask, shop.contexts[ASSETS[asset].chain]))
            waited.append(time.perf_counter() - began)

    await asyncio.gather(*(buyer() for _ in range(AT_ONCE)))
    return waited


def run(name: str, url: str) -> bool:
    """Run on one database; print a line and say whether the targets were met."""
    store = Store(url)
    schema.upgrade(store)
    shop = Shop(store)
    new = events.NewEvent(
        id="drop", title="drop", ticket_price="5", ticket_currency="HIVE", prices={"BTC": "0.001"}, max_attendees=SEATS
    )
    with store.transaction() as connection:
        events.create(connection, new, ASSETS, 2000, NOW_MS, "bench")
        pool.add(connection, "BTC", 1, [f"own{n}" for n in range(SUBADDRESSES)], NOW_MS)
    gc.freeze()
    began, busy = time.perf_counter(), time.process_time()
    waited = sorted(asyncio.run(drop(shop)))
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    with store.reading() as connection:
        held = connection.execute(select(event_table.c.tickets_held)).scalar_one()
        assert audit(connection) == []
    store.close()
    assert held == SEATS, held
    rate, p99 = len(waited) / seconds, waited[len(waited) * 99 // 100] * 1000
    good = rate >= TARGETS[name] and p99 <= P99_MS
    print(
        f"purchase {name:<11} {rate:6,.0f}/s ({len(waited) / busy:,.0f} a second of CPU), p99 {p99:.0f} ms   "
        f"target {TARGETS[name]}/s, {P99_MS} ms   {'ok' if good else 'BELOW'}"
    )
    return good


def main() -> int:
    """Run on both databases."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        good = run("sqlite", f"sqlite:///{Path(folder).resolve()}/drop.db")
    try:
        server = Postgres(durable=True)
        server.start()
        try:
            good = run("postgresql", server.create()) and good
        finally:
            server.stop()
    except NoPostgres as why:
        print(f"purchase postgresql  skipped: {why}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
