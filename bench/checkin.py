"""Check-ins a second, each committed: through the guard as the API calls it, and over HTTP; and an event's manifest.

Scans of 5,000 tickets, each by one of 16 devices, at an event with 10,000.  *guard*: scans wait for each other as
requests do (256 at once) and share commits; no HTTP.  *HTTP*: the same through aiohttp, client and server in this one
process, over kept connections: the client costs as much as the server, so that this is a lower bound.  SQLite on this
disk (WAL, synchronous=FULL), and PostgreSQL (fsync on) where its binaries are found.  The best of a few rounds counts.
"""

import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp

from chainwatch.ledger import devices
from chainwatch.ledger.scans import Scan, check_in
from chainwatch.testing.doors import make_event, sell
from chainwatch.testing.postgres import NoPostgres, Postgres
from chainwatch.testing.served import NOW_MS, Served, served
from chainwatch.tickets.codes import Codes

TICKETS, SCANS, DEVICES, AT_ONCE, ROUNDS = 10_000, 5_000, 16, 256, 2
TARGET = 1000
MANIFEST_S, MANIFEST_BYTES = 1.0, 1_000_000


async def crowd(work: Iterator[Callable[[], object]], at_once: int) -> float:
    """Run ``work`` with so many under way at any time; return seconds."""

    async def one() -> None:
        for job in work:
            await job()  # type: ignore[misc]

    gc.freeze()
    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(at_once)))
    return time.perf_counter() - began


async def measure(folder: Path, url: str) -> dict[str, float]:
    """One round on a fresh database."""
    async with served(folder, url=url, chains=("HIVE",)) as api:
        with api.store.transaction() as connection:
            event = make_event(connection, "gala", NOW_MS, entry_policy="once")
            uuids = sell(connection, event, TICKETS, api.backend.issuer, NOW_MS)
            made = [devices.add(connection, event, f"Gate {i}", NOW_MS, "bench") for i in range(DEVICES)]
        codes = Codes(api.backend.issuer)
        texts = [codes.v1(uuid) for uuid in uuids]

        def by_guard(i: int) -> Callable[[], object]:
            scan = Scan(nonce=f"n{i}", at_ms=NOW_MS, gate="G", code=texts[i])
            return lambda: api.store.write_together(check_in, [scan], made[i % DEVICES][0], codes, NOW_MS)

        def by_http(i: int) -> Callable[[], object]:
            body = {"nonce": f"n{i}", "gate": "G", "code": texts[i]}
            return lambda: post(api, body, made[i % DEVICES][1])

        guard = await crowd((by_guard(i) for i in range(SCANS)), AT_ONCE)
        http = await crowd((by_http(i) for i in range(SCANS, 2 * SCANS)), 64)
        whole_s, size = await manifest(api, made[0][1])
        with api.store.reading() as connection:
            used = connection.exec_driver_sql("SELECT count(*) FROM tickets WHERE state = 'used'").scalar_one()
        assert used == 2 * SCANS, used
        return {"guard": SCANS / guard, "http": SCANS / http, "manifest_s": whole_s, "manifest_bytes": size}


async def post(api: Served, body: dict[str, str], key: str) -> None:
    """One scan over HTTP; it must be green."""
    headers = {"Authorization": f"Bearer {key}"}
    async with api.session.post(f"{api.server.url}/api/checkin", json=body, headers=headers) as response:
        assert (await response.json())["accepted"]


async def manifest(api: Served, key: str) -> tuple[float, int]:
    """Fetch the whole manifest; return seconds (best of three) and bytes."""
    took = []
    for _ in range(3):
        began = time.perf_counter()
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
            async with session.get(f"{api.server.url}/api/events/gala/manifest") as response:
                raw = await response.read()
        took.append(time.perf_counter() - began)
    return min(took), len(raw)


def report(name: str, rounds: list[dict[str, float]]) -> bool:
    """Print the lines of one database; say whether the targets were met."""
    guard, http = (max(r[key] for r in rounds) for key in ("guard", "http"))
    seconds, size = min(r["manifest_s"] for r in rounds), rounds[0]["manifest_bytes"]
    good = guard >= TARGET
    light = seconds < MANIFEST_S and size < MANIFEST_BYTES
    print(f"checkin {name:<11} {guard:8,.0f}/s   target {TARGET:,}/s   {'ok' if good else 'BELOW'}")
    print(f"  over HTTP         {http:8,.0f}/s   client and server in one process")
    print(
        f"  manifest          {seconds * 1000:8,.0f} ms, {size:,} bytes for {TICKETS:,} tickets, all of them in   "
        f"target {MANIFEST_S * 1000:,.0f} ms, {MANIFEST_BYTES:,}   {'ok' if light else 'BELOW'}"
    )
    return good and light


def rounds_on(database: Callable[[], str]) -> list[dict[str, float]]:
    """Some rounds, each on a database of its own."""
    found = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(dir=".") as folder:
            found.append(asyncio.run(measure(Path(folder).resolve(), database())))
    return found


def main() -> int:
    """Run on both databases."""
    good = report("sqlite", rounds_on(lambda: ""))
    try:
        server = Postgres(durable=True)
        server.start()
        try:
            good = report("postgresql", rounds_on(server.create)) and good
        finally:
            server.stop()
    except NoPostgres as why:
        print(f"checkin postgresql  skipped: {why}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
