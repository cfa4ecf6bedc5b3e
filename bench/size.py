"""How soon the daemon is ready, and how much memory it takes.

Usage: python bench/size.py [--minutes 60] [--speed 40]
First ``chainwatch run --devnet`` as a process: seconds from its start until ``/readyz`` says yes, and resident memory.
Then the daemon on simulated Hive and Ethereum nodes, the nodes in the same process as in ``run --devnet``, on a clock
that runs ``speed`` times as fast: resident memory after an hour of blocks, and how it grew.
"""

import argparse
import asyncio
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from chainwatch.clock import Clock, SystemClock
from chainwatch.testing.process import Daemon

READY_S = 3.0
RESIDENT_MB = 150
TICK = os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int | str = "self") -> float:
    """Resident memory of a process now (VmRSS)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024**2


def start(folder: Path) -> tuple[float, float, float]:
    """Start the daemon; return the wall and CPU seconds until it is ready, and its memory then."""
    began = time.monotonic()
    with Daemon(folder, "--devnet") as daemon:
        daemon.ready()
        wall = time.monotonic() - began
        fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
        return wall, (int(fields[11]) + int(fields[12])) / TICK, resident_mb(daemon.process.pid)


class FastClock(SystemClock):
    """A clock that runs ``speed`` times as fast."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._ms, self._monotonic = super().now_ms(), super().monotonic()

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return int(self._ms + (super().now_ms() - self._ms) * self._speed)

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self._monotonic + (super().monotonic() - self._monotonic) * self._speed

    async def sleep(self, seconds: float) -> None:
        """Sleep a part of them."""
        await super().sleep(seconds / self._speed)


async def live(folder: Path, clock: Clock, minutes: int) -> None:
    """Run the daemon on two chains for so many minutes' blocks; print its memory on the way."""
    from chainwatch import adapters
    from chainwatch.adapters.base import Services, SilentObserver
    from chainwatch.app import App
    from chainwatch.config import settings as configuration
    from chainwatch.config.chains import Checks
    from chainwatch.devnet import network
    from chainwatch.ledger import queries
    from chainwatch.parts import assets
    from chainwatch.wallets import is_address_of

    rng = random.Random(1)
    net = network.Devnet(clock=clock, rng=rng, directory=folder / "devnet", chains=("HIVE", "ETH"))
    services = Services(clock=clock, random=rng, observer=SilentObserver())
    checks = Checks(is_wallet=is_address_of, adapter=lambda spec: adapters.open_source(spec, services))
    settings = configuration.load(None, checks=checks, chains=await net.start())
    app = App(settings, clock=clock, rng=rng)
    known = assets(settings)
    await app.store.write(network.sample_events, known, settings.tickets.commission_bps, clock.now_ms())
    offers = await app.store.read(network.offers, known)
    stop, ready = asyncio.Event(), asyncio.Event()
    tasks = [asyncio.create_task(t) for t in (net.mine(), net.buy(app, offers), app.run(stop, ready))]
    await ready.wait()
    quarter = minutes * 60_000 // net.block_ms // 4
    try:
        for part in range(1, 5):
            while min(len(n.chain.best) for n in net.nodes.values()) < part * quarter:
                await clock.sleep(2)
            status = await app.store.read(queries.status)
            behind = max(c.lag for c in status.chains)
            tickets = sum(status.tickets.values())
            print(f"{part * minutes // 4} {resident_mb():.1f} {tickets} {behind}", flush=True)
    finally:
        stop.set()
        await asyncio.gather(*tasks[2:], return_exceptions=True)
        await network.gathered(*tasks[:2])
        await net.stop()


def main() -> int:
    """Print a line for each target; 1 when one is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--speed", type=float, default=40)
    parser.add_argument("--live", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.live:
        asyncio.run(live(Path.cwd(), FastClock(arguments.speed), arguments.minutes))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu, memory = min(start(Path(folder)) for _ in range(3))
    quick = wall <= READY_S
    print(f"start to ready {wall:.2f} s wall, {cpu:.2f} s CPU   target {READY_S:.0f} s   {'ok' if quick else 'BELOW'}")
    print(f"resident when ready {memory:.0f} MB (every chain)")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(Path(__file__).resolve()), "--live"]
        command += ["--minutes", str(arguments.minutes), "--speed", str(arguments.speed)]
        environ = {**os.environ, "STATE_DIRECTORY": folder, "CHAINWATCH__HTTP__LISTEN": "127.0.0.1:0"}
        done = subprocess.run(command, cwd=folder, env=environ, stdout=subprocess.PIPE, check=True, timeout=540)
    rows = [line.split() for line in done.stdout.decode().splitlines()]
    for minute, megabytes, tickets, behind in rows:
        print(f"  {minute} minutes: {megabytes} MB, {tickets} tickets, {behind} blocks behind")
    last = float(rows[-1][1])
    small = last <= RESIDENT_MB
    print(f"resident after {arguments.minutes} minutes {last:.0f} MB (two chains)   target {RESIDENT_MB} MB   ", end="")
    print("ok" if small else "BELOW")
    return 0 if quick and small else 1


if __name__ == "__main__":
    sys.exit(main())
