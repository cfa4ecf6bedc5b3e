"""verify-access end to end: signature, nonce, ticket, audit row committed, over HTTP, on both databases.

Usage: python bench/access.py [--seconds 10] [--json]
The server is a process of its own, so is the load: raw HTTP/1.1 over kept connections, requests built beforehand, so
that the load costs as little as it can.  Latency is measured from the moment a request was due (an open loop at
200/s), not from when a busy client got round to it.  Targets: p99 under 50 ms at 200/s; at least 600/s on PostgreSQL
and 300/s on SQLite with as many requests under way as the server takes.
"""

import argparse
import asyncio
import gc
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chainwatch.api import resources
from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import routes
from chainwatch.api.server import Server
from chainwatch.cli import fast_loop
from chainwatch.clock import SystemClock
from chainwatch.config import networks, settings
from chainwatch.finality import Rule, Tier
from chainwatch.ledger import schema
from chainwatch.ledger.context import Context, Policy
from chainwatch.ledger.store import Store
from chainwatch.metrics import Metrics
from chainwatch.testing.postgres import NoPostgres, Postgres
from chainwatch.testing.tickets import make_event, mint
from chainwatch.testing.wallets import BitcoinWallet, EvmWallet, SolanaWallet
from chainwatch.tickets.token import Issuer, new_ref
from chainwatch.wallets import canonical_wallet

WALLETS = 240
TILL = "0x00000000000000000000000000000000000000AA"
RATE, UNDER_WAY = 200, 32
TARGET_P99_MS = 50.0
TARGETS = {"sqlite": 300, "postgresql": 600}
CONFIG = "[http]\n" + "".join(
    f"{name} = 1000000\n" for name in ("requests_per_minute", "access_per_minute", "access_per_minute_wallet")
)


def guests() -> list[Any]:
    """Wallets as they come: mostly EVM, then Solana and Bitcoin."""
    kinds: list[Any] = [EvmWallet, EvmWallet, SolanaWallet, BitcoinWallet]
    return [kinds[i % len(kinds)](f"bench {i}") for i in range(WALLETS)]


# -- the server -----------------------------------------------------------------------------------------


async def serve(url: str, folder: str) -> None:
    """Serve the whole API over an event with a ticket for each guest; print the port; until SIGTERM."""
    clock = SystemClock()
    store = Store(url)
    schema.upgrade(store)
    issuer = Issuer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
    config = settings.parse(CONFIG, environ={"STATE_DIRECTORY": folder})
    spec = msgspec.structs.replace(networks.spec("ETH"), receive=(TILL,))
    contexts = {"ETH": Context(spec, Rule((Tier(depth=1),)), Policy(), issuer, canonical_wallet, new_ref)}
    backend = Backend(
        settings=lambda: config,
        store=store,
        contexts=contexts,
        issuer=issuer,
        metrics=Metrics(clock),
        clock=clock,
        rng=random.Random(7),
    )
    make_event(store, contexts, "gala", clock.now_ms())
    mint(store, contexts["ETH"], "gala", [w.address for w in guests()], clock.now_ms())
    served = [routes(resources.endpoints(backend), backend)]
    server = Server("127.0.0.1", 0, served, http=lambda: config.http, limits=backend.limits)
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    gc.collect()
    gc.freeze()  # as the daemon does once it has started
    print(server.port, flush=True)
    await stop.wait()
    await server.stop()
    store.close()


# -- the load -------------------------------------------------------------------------------------------


class Line:
    """One kept connection; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "Line":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, request: bytes) -> bytes:
        """Send one request; return the answer's body."""
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        lower = head.lower()
        begin = lower.index(b"content-length:") + 15
        body = await self.reader.readexactly(int(lower[begin : lower.index(b"\r\n", begin)]))
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{head!r} {body!r}")
        return body


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def post(path: str, body: Any) -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


async def requests(port: int) -> list[bytes]:
    """A signed verify-access for each guest."""
    line = await Line.open(port)
    made = []
    for wallet in guests():
        text = json.loads(await line.ask(get(f"/api/events/gala/challenge?wallet={wallet.address}")))["message"]
        sign = wallet.sign_bip322 if isinstance(wallet, BitcoinWallet) else wallet.sign_message
        body = {"walletAddress": wallet.address, "message": text, "signature": sign(text)}
        made.append(post("/api/events/gala/verify-access", body))
    line.writer.close()
    return made


async def saturate(port: int, made: list[bytes], seconds: float) -> float:
    """Requests a second with ``UNDER_WAY`` at once, all granted."""
    done, stop = 0, time.perf_counter() + seconds

    async def run(first: int) -> None:
        nonlocal done
        line, i = await Line.open(port), first
        while time.perf_counter() < stop:
            answer = await line.ask(made[i % len(made)])
            if b'"access_granted":true' not in answer:
                raise RuntimeError(f"not granted: {answer!r}")
            done, i = done + 1, i + UNDER_WAY
        line.writer.close()

    await asyncio.gather(*(run(i) for i in range(UNDER_WAY)))
    return done / seconds


async def steady(port: int, made: list[bytes], seconds: float) -> list[float]:
    """Milliseconds from when each request was due to its answer, at ``RATE`` a second."""
    lines: asyncio.Queue[Line] = asyncio.Queue()
    for _ in range(64):
        lines.put_nowait(await Line.open(port))
    took: list[float] = []

    async def one(i: int, due: float) -> None:
        line = await lines.get()
        await line.ask(made[i % len(made)])
        took.append((time.perf_counter() - due) * 1000)
        lines.put_nowait(line)

    begin, running = time.perf_counter() + 0.1, []
    for i in range(int(RATE * seconds)):
        due = begin + i / RATE
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        running.append(asyncio.create_task(one(i, due)))
    await asyncio.gather(*running)
    return sorted(took)


def processor_s(pid: int) -> float:
    """Seconds of processor time that a process has used (user and system)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(name: str, url: str, folder: str, seconds: float) -> dict[str, Any]:
    """Start a server on ``url``, load it, stop it."""
    command = [sys.executable, __file__, "--serve", url, "--folder", folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())

            async def run() -> tuple[list[float], float, float]:
                made = await requests(port)
                await saturate(port, made, 1.0)  # warm
                took = await steady(port, made, seconds)
                before = processor_s(server.pid)
                rate = await saturate(port, made, seconds)
                return took, rate, (processor_s(server.pid) - before) / (rate * seconds) * 1000

            took, rate, cost = asyncio.run(run())
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(20)
    at = {p: round(took[min(int(len(took) * p / 100), len(took) - 1)], 1) for p in (50, 95, 99)}
    figures = {"database": name, "p50_ms": at[50], "p95_ms": at[95], "p99_ms": at[99], "per_second": round(rate)}
    return figures | {"server_processor_ms": round(cost, 2)}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve")
    parser.add_argument("--folder", default="")
    given = parser.parse_args()
    if given.serve:
        with asyncio.Runner(loop_factory=fast_loop()) as runner:  # uvloop where it is installed
            runner.run(serve(given.serve, given.folder))
        return 0
    found = []
    with tempfile.TemporaryDirectory() as folder:
        found.append(measure("sqlite", f"sqlite:///{Path(folder)}/bench.db", folder, given.seconds))
        try:
            postgres = Postgres(durable=True)
            postgres.start()
        except NoPostgres as error:
            print(f"no PostgreSQL: {error}", file=sys.stderr)
        else:
            try:
                found.append(measure("postgresql", postgres.create(), folder, given.seconds))
            finally:
                postgres.stop()
    if given.json:
        print(json.dumps(found))
    missed = False
    for row in found:
        met = row["p99_ms"] < TARGET_P99_MS and row["per_second"] >= TARGETS[row["database"]]
        missed |= not met
        if not given.json:
            print(
                f"{row['database']:<11} at {RATE}/s: p50 {row['p50_ms']} ms, p95 {row['p95_ms']} ms,"
                f" p99 {row['p99_ms']} ms (target < {TARGET_P99_MS:.0f}) · saturated: {row['per_second']}/s"
                f" (target {TARGETS[row['database']]}), {row['server_processor_ms']} ms of the server's processor each"
                f" {'ok' if met else 'MISSED'}"
            )
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
