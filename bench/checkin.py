"""Check-ins a second, each committed: through the guard as the API calls it, and over HTTP; and an event's manifest.

Scans of 5,000 tickets, each by one of 16 devices, at an event with 10,000.  *guard*: 256 scans at once wait for each
other as requests do and share commits; no HTTP.  *HTTP*: the same through the whole API, over 64 kept connections,
from a bare client in the same process.  SQLite on this disk (WAL, synchronous=FULL), and PostgreSQL (fsync on) where
its binaries are found.  The best of a few rounds counts: other work on the machine only ever slows one.
"""

import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from chainwatch.api.desk import Desk
from chainwatch.ledger import devices
from chainwatch.ledger.scans import Scan
from chainwatch.testing.doors import make_event, sell
from chainwatch.testing.postgres import NoPostgres, Postgres
from chainwatch.testing.served import NOW_MS, Served, served
from chainwatch.tickets.codes import Codes

TICKETS, SCANS, DEVICES, AT_ONCE, CONNECTIONS, ROUNDS = 10_000, 5_000, 16, 256, 64, 2
TARGET = 1000
LIMITS = "[http]\nrequests_per_minute = 1000000\n"
MANIFEST_S, MANIFEST_BYTES = 1.0, 1_000_000


Took = tuple[float, float]
"""Seconds, and seconds of our own CPU."""


async def crowd(work: Iterator[Callable[[], object]], at_once: int) -> Took:
    """Run ``work`` with so many under way at any time."""

    async def one() -> None:
        for job in work:
            await job()  # type: ignore[misc]

    gc.freeze()
    began, busy = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one() for _ in range(at_once)))
    return time.perf_counter() - began, time.process_time() - busy


async def measure(folder: Path, url: str) -> dict[str, float]:
    """One round on a fresh database."""
    async with served(folder, url=url, toml=LIMITS, chains=("HIVE",)) as api:
        with api.store.transaction() as connection:
            event = make_event(connection, "gala", NOW_MS, entry_policy="once")
            uuids = sell(connection, event, TICKETS, api.backend.issuer, NOW_MS)
            made = [devices.add(connection, event, f"Gate {i}", NOW_MS, "bench") for i in range(DEVICES)]
        codes = Codes(api.backend.issuer)
        desk = Desk(api.backend, codes)
        texts = [codes.v1(uuid) for uuid in uuids]

        def by_guard(i: int) -> Callable[[], object]:
            scan = Scan(nonce=f"n{i}", at_ms=NOW_MS, gate="G", code=texts[i])
            return lambda: desk.decide(made[i % DEVICES][0], scan)

        guard = await crowd((by_guard(i) for i in range(SCANS)), AT_ONCE)
        bodies = [msgspec.json.encode({"nonce": f"n{i}", "gate": "G", "code": t}) for i, t in enumerate(texts)]
        requests = [request(api, bodies[i], made[i % DEVICES][1]) for i in range(SCANS, 2 * SCANS)]
        http = await over_http(api, iter(requests))
        whole_s, size = await manifest(api, made[0][1])
        with api.store.reading() as connection:
            used = connection.exec_driver_sql("SELECT count(*) FROM tickets WHERE state = 'used'").scalar_one()
        assert used == 2 * SCANS, used
        rates = {"guard": SCANS / guard[0], "guard_cpu": SCANS / guard[1]}
        rates |= {"http": SCANS / http[0], "http_cpu": SCANS / http[1]}
        return rates | {"manifest_s": whole_s, "manifest_bytes": size}


def request(api: Served, body: bytes, key: str) -> bytes:
    """One scan as it goes over the wire."""
    head = (
        f"POST /api/checkin HTTP/1.1\r\nHost: {api.server.host}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def over_http(api: Served, requests: Iterator[bytes]) -> Took:
    """Send all of them over CONNECTIONS connections, each after the answer to the one before."""

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(api.server.host, api.server.port)
        for sent in requests:
            writer.write(sent)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            answer = await reader.readexactly(length)
            assert b'"accepted":true' in answer, answer
        writer.close()

    gc.freeze()
    began, busy = time.perf_counter(), time.process_time()
    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return time.perf_counter() - began, time.process_time() - busy


async def manifest(api: Served, key: str) -> tuple[float, int]:
    """Fetch the whole manifest; return seconds (best of three) and bytes."""
    took = []
    for _ in range(3):
        began = time.perf_counter()
        headers = {"Authorization": f"Bearer {key}"}
        async with api.session.get(f"{api.server.url}/api/events/gala/manifest", headers=headers) as response:
            raw = await response.read()
        took.append(time.perf_counter() - began)
    return min(took), len(raw)


def report(name: str, rounds: list[dict[str, float]]) -> bool:
    """Print the lines of one database; say whether the targets were met."""
    guard, guard_cpu, http, http_cpu = (max(r[k] for r in rounds) for k in ("guard", "guard_cpu", "http", "http_cpu"))
    seconds, size = min(r["manifest_s"] for r in rounds), rounds[0]["manifest_bytes"]
    good = guard >= TARGET
    light = seconds < MANIFEST_S and size < MANIFEST_BYTES
    verdict = "ok" if good else "BELOW"
    print(f"checkin {name:<11} {guard:8,.0f}/s, {guard_cpu:,.0f} a second of CPU   target {TARGET:,}/s   {verdict}")
    print(f"  over HTTP         {http:8,.0f}/s, {http_cpu:,.0f} a second of CPU   (the client's too)")
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
