"""Minted payments a second: transfers of confirmed blocks through the ledger's one transaction to tickets.

    python bench/mint.py [payments]

Blocks of 100 memo payments, one transaction a block, everything flushed to disk; SQLite and, where it
is installed, PostgreSQL.
"""

import sys
import tempfile
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chainwatch.finality import Rule, Tier
from chainwatch.follower import Step
from chainwatch.ledger import events, leases, schema
from chainwatch.ledger.apply import apply
from chainwatch.ledger.context import Context, Policy
from chainwatch.ledger.store import Store
from chainwatch.model import Asset, Block, BlockRef, ChainSpec, InBlock, Transfer
from chainwatch.testing.postgres import NoPostgres, Postgres
from chainwatch.tickets.token import Issuer, new_ref

TARGETS = {"sqlite": 1500, "postgresql": 1000}
PER_BLOCK = 100
START_MS = 1_760_000_000_000

SPEC = ChainSpec("FAKE", "fake", "fake", (Asset("FAKE", "FAKE", 3),), (), receive=("till",), block_time_ms=3000)
CONTEXT = Context(
    spec=SPEC,
    rule=Rule((Tier(final=True),)),
    policy=Policy(),
    issuer=Issuer(Ed25519PrivateKey.generate()),
    canonical_wallet=lambda text: text if text.isalnum() else None,
    new_ref=new_ref,
)


def block(height: int) -> Block:
    """A block of payments, each with the memo of its own wallet."""
    ref = BlockRef(height, f"hash{height}", f"hash{height - 1}")
    time_ms = START_MS + height * 3000
    return Block(ref, time_ms, tuple(payment(ref, time_ms, i) for i in range(PER_BLOCK)))


def payment(ref: BlockRef, time_ms: int, i: int) -> Transfer:
    """One payment of exactly the price."""
    wallet = f"buyer{ref.height}x{i}"
    return Transfer(
        chain="FAKE",
        txid=f"tx{ref.height}.{i}",
        index="0",
        asset="FAKE",
        amount=5000,
        to="till",
        sender=(wallet,),
        memo=f"event:show:wallet:{wallet}".encode(),
        position=InBlock(ref, time_ms),
    )


def minted_per_second(store: Store, payments: int) -> float:
    """Apply the blocks and return tickets a second; every payment must have become one."""
    schema.upgrade(store)
    with store.transaction() as connection:
        new = events.NewEvent(id="show", title="Show", ticket_price="5", ticket_currency="FAKE", max_attendees=10**6)
        events.create(connection, new, {"FAKE": SPEC.native}, 2000, START_MS, "bench")
        fence = leases.acquire(connection, "FAKE", "bench", START_MS, 3_600_000)
    assert fence is not None
    tickets = 0
    blocks = [block(height) for height in range(1, payments // PER_BLOCK + 1)]
    before: BlockRef | None = None
    started = time.perf_counter()
    for one in blocks:
        step = Step("FAKE", before, one.ref, one.ref, one.ref, blocks=(one,))
        with store.transaction() as connection:
            tickets += len(apply(connection, step, CONTEXT, fence, one.time_ms).minted_after_ms)
        before = one.ref
    seconds = time.perf_counter() - started
    assert tickets == len(blocks) * PER_BLOCK, f"{tickets} tickets for {len(blocks) * PER_BLOCK} payments"
    return tickets / seconds


def main() -> int:
    """Measure both databases; 1 when one is below its target."""
    payments = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        missed += measure("sqlite", f"sqlite:///{Path(folder) / 'bench.db'}", payments)
    try:
        server = Postgres(durable=True)
        server.start()
    except NoPostgres as error:
        print(f"mint postgresql: skipped, {error}")
        return missed
    try:
        missed += measure("postgresql", server.create(), payments)
    finally:
        server.stop()
    return min(missed, 1)


def measure(name: str, url: str, payments: int) -> bool:
    """Print one line; return whether the target was missed."""
    store = Store(url)
    try:
        rate = minted_per_second(store, payments)
    finally:
        store.close()
    print(f"mint {name}: {rate:,.0f} payments/s in transactions of {PER_BLOCK} (target {TARGETS[name]:,})")
    return rate < TARGETS[name]


if __name__ == "__main__":
    raise SystemExit(main())
