"""Cost of reading a full EVM block, as a multiple of ``orjson.loads`` on the same bytes.

Usage: python bench/evm_decode.py [block.json …]   (default: the recorded blocks of CHAINWATCH_SHARED)
Reading is what the adapter does with every block of which nothing is ours: decode into the used fields, check
identities, look for our addresses among 1 and among 100,000 watched ones.
"""

import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import orjson

from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.adapters.evm_transfers import Names
from chainwatch.adapters.evm_types import FullBlock, unique
from chainwatch.adapters.evm_view import Chain, EvmView
from chainwatch.adapters.rpc import Rpc
from chainwatch.clock import SystemClock
from chainwatch.config.networks import spec
from chainwatch.model import BlockRef

BUDGET = 1.2
"""The most that reading may cost of what parsing costs."""

SECONDS = 1.0


class Answer(msgspec.Struct):
    result: FullBlock


def per_call(function: Callable[[], object]) -> float:
    """Return the best time of one call in seconds, over about a second of calls."""
    best, until = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best


def view_of(watched: int) -> EvmView:
    chance = random.Random(1)
    services = Services(clock=SystemClock(), random=chance, observer=SilentObserver())
    rpc = Rpc("ETH", ["http://127.0.0.1:1"], services)
    ours = {"0x" + chance.randbytes(20).hex() for _ in range(watched)}
    chain = Chain(names=Names.of(spec("ETH")), rpc=rpc, services=services, watched=ours)
    return EvmView(chain, rpc.endpoints[0], BlockRef(0, ""), None)


def main() -> int:
    shared = Path(os.environ.get("CHAINWATCH_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    paths = [Path(a) for a in sys.argv[1:]] or sorted(shared.glob("chaindata/*/blocks/*.block.json"))
    if not paths:
        print(f"evm_decode: skipped, no recorded blocks below {shared}")
        return 0
    decoder = msgspec.json.Decoder(Answer)
    worst = 0.0
    for path in paths:
        data = path.read_bytes()
        parse = per_call(lambda data=data: orjson.loads(data))
        for watched in (1, 100_000):
            view = view_of(watched)

            def read(data: bytes = data, view: EvmView = view) -> object:
                block = decoder.decode(data).result
                unique((tx.hash for tx in block.transactions), "transaction")
                return block.ref, view._candidates(block, (), {})

            ratio = per_call(read) / parse
            worst = max(worst, ratio)
            size = f"{len(data) // 1024} KiB"
            print(f"evm_decode {path.name:24} {size:>8}  watched {watched:7,}: {ratio:.2f} x orjson.loads")
    print(f"evm_decode: worst {worst:.2f} of {BUDGET} allowed")
    return 0 if worst <= BUDGET else 1


if __name__ == "__main__":
    sys.exit(main())
