"""What a payment is found by, with a million purchases and payments: memo, address, wallet, transaction id, event.

Rows are written in bulk, as a year of sales would leave them.  Each question is asked many times, each time about
another payment.  The median counts: other work on the machine only ever slows one.

python bench/lookup.py [rows]
"""

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import insert, text

from chainwatch.ledger import queries, schema
from chainwatch.ledger.bulk import chunks, insert_rows
from chainwatch.ledger.facts import memo_key
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import cursors, purchases, transfers
from chainwatch.testing.postgres import NoPostgres, Postgres
from chainwatch.testing.shop import NOW_MS, Shop

ROWS = 1_000_000
ASKED = 200
TARGET_MS = 5.0
EVENTS = 50
PART = 20_000


def fill(store: Store, rows: int) -> None:
    """Write purchases and the payment of each; every third has an address of its own."""
    shop = Shop(store, check=False)
    for n in range(EVENTS):
        shop.event(f"event-{n}")
    with store.transaction() as connection:
        at = {"chain": "HIVE", "height": rows, "hash": "h", "head_height": rows, "fence": 1, "updated_ms": NOW_MS}
        connection.execute(insert(cursors).values(at))
    for part in _parts(rows):
        with store.transaction() as connection:
            for some in chunks(part, 1000):
                insert_rows(connection, purchases, [_purchase(n) for n in some])
                insert_rows(connection, transfers, [_payment(n) for n in some])
    with store.engine.connect() as connection:
        connection.execute(text("ANALYZE"))
        connection.commit()


def _parts(rows: int) -> Iterator[list[int]]:
    return (list(range(i, min(i + PART, rows))) for i in range(0, rows, PART))


def _purchase(n: int) -> dict[str, Any]:
    return {
        "ref": f"ref{n:013}",
        "event_id": n % EVENTS + 1,
        "wallet": f"wallet-{n * 7919 % 400_000}",
        "asset": "HIVE",
        "price": 5000,
        "fee": 1000,
        "held": False,
        "expired": True,
        "signed": False,
        "hold_kind": "",
        "created_ms": NOW_MS,
        "expires_ms": NOW_MS,
    }


def _payment(n: int) -> dict[str, Any]:
    memo = f"cw:ref{n:013}".encode()
    return {
        "chain": "HIVE",
        "txid": f"{n:040x}",
        "idx": "0",
        "asset": "HIVE",
        "amount": 5000,
        "recipient": f"own-{n}" if n % 3 == 0 else "till",
        "sender": "[]",
        "memo": memo,
        "memo_key": memo_key(memo),
        "height": n,
        "first_seen_ms": NOW_MS,
        "paid_ms": NOW_MS,
        "state": "confirmed",
        "shown": "minted",
        "was_confirmed": True,
        "direction": "in",
        "purchase_id": n + 1,
    }


def questions(rows: int, rng: random.Random) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what is asked, by name: each time about another payment."""
    return {
        "memo": lambda: {"memo": f"cw:ref{rng.randrange(rows):013}".encode()},
        "own address": lambda: {"address": f"own-{rng.randrange(rows // 3) * 3}"},
        "common address": lambda: {"address": "till"},
        "wallet": lambda: {"wallet": f"wallet-{rng.randrange(400_000)}"},
        "transaction": lambda: {"txid": f"{rng.randrange(rows):040x}"},
        "event": lambda: {"event": rng.randrange(EVENTS) + 1},
    }


def measure(store: Store, rows: int) -> dict[str, float]:
    """Return the milliseconds that each kind of question takes (median)."""
    taken: dict[str, float] = {}
    with store.reading() as connection:
        for name, ask in questions(rows, random.Random(1)).items():
            asked = [ask() for _ in range(ASKED)]
            queries.payments(connection, **asked[0])
            found, took = 0, []
            for one in asked:
                began = time.perf_counter()
                found += bool(queries.payments(connection, **one))
                took.append(time.perf_counter() - began)
            taken[name] = statistics.median(took) * 1000
            assert found, name
    return taken


def run(name: str, url: str, rows: int) -> bool:
    """Fill a database, ask it, print a line."""
    store = Store(url)
    schema.upgrade(store)
    fill(store, rows)
    taken = measure(store, rows)
    store.close()
    good = max(ms for what, ms in taken.items() if what != "event") < TARGET_MS  # that is a page of a hundred
    shown = ", ".join(f"{what} {ms:.2f}" for what, ms in taken.items())
    print(f"lookup {name:<11} {rows:,} payments: {shown} ms   target {TARGET_MS:.0f} ms   {'ok' if good else 'BELOW'}")
    return good


def main() -> int:
    """Run on both databases."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory(dir=".") as folder:
        good = run("sqlite", f"sqlite:///{Path(folder).resolve()}/lookup.db", rows)
    try:
        server = Postgres(durable=True)
        server.start()
        try:
            good = run("postgresql", server.create(), rows) and good
        finally:
            server.stop()
    except NoPostgres as why:
        print(f"lookup postgresql  skipped: {why}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
