"""Purchases over HTTP during a drop: 10,000 buyers for 500 seats, ``POST /api/events/purchase``, committed.

The server is a process of its own, as the daemon serves: the whole API over SQLite on this disk (WAL,
synchronous=FULL), and over PostgreSQL (fsync on) where its binaries are found.  The load comes from another
process of this machine over kept connections, each of which sends its next request when the last is answered; so it
shares the processors with the server, and what it costs itself is printed (the same load on a route that does
nothing).  Two figures: the greatest rate, and the delays at the target rate with arrivals by the clock, each
counted from when it was due.
"""

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from chainwatch.cli import fast_loop
from chainwatch.ledger import events
from chainwatch.testing.postgres import NoPostgres, Postgres
from chainwatch.testing.served import served

BUYERS, SEATS = 10_000, 500
CONNECTIONS = 24
TARGETS = {"sqlite": 300, "postgresql": 600}
P99_MS = 100.0
ROUNDS = 3
LIMITS = """
[http]
requests_per_minute = 1000000
purchases_per_minute = 1000000
purchases_per_minute_total = 10000000
"""


# -- the server ------------------------------------------------------------------------------------------


async def serve(url: str, folder: str) -> None:
    """Serve until standard input is closed; print the address, then what the process has cost on each line read."""
    async with served(Path(folder), url=url, toml=LIMITS, chains=("HIVE",)) as api:
        assets = api.backend.assets()
        for name in ("drop", "paced"):
            new = events.NewEvent(id=name, title="Drop", ticket_price="5", ticket_currency="HIVE", max_attendees=SEATS)
            await api.store.write(events.create, new, assets, 2000, api.backend.now_ms(), "bench")
        gc.collect()
        gc.freeze()  # as the daemon does once it has started
        print(api.server.url, flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(time.process_time(), flush=True)


class Serving:
    """The server as its client sees it."""

    def __init__(self, url: str, folder: str) -> None:
        command = [sys.executable, __file__, "--serve", url, folder]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def cpu(self) -> float:
        """Processor seconds that it has used."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._line())

    def stop(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


# -- the load --------------------------------------------------------------------------------------------


class Connection:
    """One kept connection with as little around it as HTTP allows."""

    async def open(self, url: str) -> "Connection":
        host, _, port = url.removeprefix("http://").partition(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port))
        return self

    async def send(self, request: bytes) -> tuple[int, bytes]:
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return int(head[9:12]), await self._reader.readexactly(length)

    def close(self) -> None:
        self._writer.close()


def purchase(event: str, i: int) -> bytes:
    """The request of buyer ``i``, as the platform's client sends it."""
    body = json.dumps(
        {"event_id": event, "payment_method": "HIVE", "wallet_address": f"buyer-{i:05}", "user_account": f"b{i}"}
    ).encode()
    head = (
        "POST /api/events/purchase HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer :b{i}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


NOTHING = b"GET /docs/start.js HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def flood(url: str, requests: list[bytes], connections: int = CONNECTIONS) -> tuple[float, list[float], Counter]:
    """Send everything as fast as it is answered; return seconds, delays in ms, and answers by status."""
    waiting = iter(requests)
    delays: list[float] = []
    statuses: Counter = Counter()

    async def one() -> None:
        connection = await Connection().open(url)
        for request in waiting:
            began = time.perf_counter()
            status, body = await connection.send(request)
            delays.append((time.perf_counter() - began) * 1000)
            held = b'"held":true' in body
            statuses[f"{status} held" if held else str(status)] += 1
        connection.close()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    return time.perf_counter() - began, delays, statuses


async def pace(url: str, requests: list[bytes], rate: float) -> list[float]:
    """Send one request every ``1/rate`` seconds, whatever the answers do; return the delays since each was due."""
    idle: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(CONNECTIONS * 4):
        idle.put_nowait(await Connection().open(url))
    delays: list[float] = []

    async def one(request: bytes, due: float) -> None:
        connection = await idle.get()
        await connection.send(request)
        delays.append((time.perf_counter() - due) * 1000)
        idle.put_nowait(connection)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for i, request in enumerate(requests):
            due = began + i / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            group.create_task(one(request, due))
    while not idle.empty():
        idle.get_nowait().close()
    return delays


def p(delays: list[float], percent: float) -> float:
    """A percentile."""
    ordered = sorted(delays)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


def measure(name: str, url: str, folder: str) -> bool:
    """Measure one database; say whether the targets were met."""
    target = TARGETS[name]
    server = Serving(url, folder)
    try:
        nothing_s, _, _ = asyncio.run(flood(server.url, [NOTHING] * 3_000))
        busy, own = server.cpu(), time.process_time()
        requests = [purchase("drop", i) for i in range(BUYERS)]
        seconds, delays, statuses = asyncio.run(flood(server.url, requests))
        own, busy = time.process_time() - own, server.cpu() - busy
        paced = [purchase("paced", i) for i in range(target * 8)]
        calm = asyncio.run(pace(server.url, paced, target))
    finally:
        server.stop()
    rate = BUYERS / seconds
    good = rate >= target and p(calm, 99) < P99_MS
    held = sum(n for status, n in statuses.items() if status.endswith("held"))
    assert held == SEATS // 2, statuses  # what unsigned purchases may hold
    print(
        f"purchase {name:<11} {rate:6,.0f}/s over {CONNECTIONS} connections, p50 {p(delays, 50):.0f} ms, "
        f"p99 {p(delays, 99):.0f} ms   target {target}/s   {'ok' if rate >= target else 'BELOW'}"
    )
    print(
        f"         at {target}/s by the clock: p50 {p(calm, 50):.0f} ms, p99 {p(calm, 99):.0f} ms, "
        f"worst {max(calm):.0f} ms   target p99 < {P99_MS:.0f} ms   {'ok' if p(calm, 99) < P99_MS else 'BELOW'}"
    )
    print(
        f"         processor a purchase: server {busy / BUYERS * 1000:.2f} ms, load {own / BUYERS * 1000:.2f} ms; "
        f"a route that does nothing answers {3_000 / nothing_s:,.0f}/s; {held} seats held, the rest told held=false"
    )
    return good


def main() -> int:
    """Run on both databases."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", nargs=2)
    arguments = parser.parse_args()
    if arguments.serve:
        with asyncio.Runner(loop_factory=fast_loop()) as runner:  # uvloop where it is installed
            runner.run(serve(*arguments.serve))
        return 0
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = Path(folder).resolve()
        good = any(measure("sqlite", f"sqlite:///{path}/{i}.db", str(path)) for i in range(ROUNDS))
        try:
            database = Postgres(durable=True)
            database.start()
            try:
                good = any(measure("postgresql", database.create(), str(path)) for _ in range(ROUNDS)) and good
            finally:
                database.stop()
        except NoPostgres as why:
            print(f"purchase postgresql  skipped: {why}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
