"""Catch-up on Hive, end to end: HTTP, decode, match, commit; blocks a second of our own CPU.

Usage: python bench/catchup.py [--blocks 20000] [--profile]
A stub node in a process of its own serves rendered answers of 100 blocks (about 27 kB and 40 operations each, none
to us, ids linked; the reward of every producer beside them).  The real adapter, watcher and ledger (SQLite in a file,
WAL, synchronous=FULL) read them here.  The node's CPU does not count: on a loaded machine only the client's own does.
"""

import argparse
import asyncio
import cProfile
import gc
import json
import pstats
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hive_decode import BLOCKS, FIRST, answer, rewards

from chainwatch.adapters import open_source
from chainwatch.adapters.base import Services
from chainwatch.clock import SystemClock
from chainwatch.config.networks import spec
from chainwatch.finality import Rule, Tier
from chainwatch.ledger import queries, schema
from chainwatch.ledger.context import Context, Policy
from chainwatch.ledger.store import Store
from chainwatch.metrics import Metrics
from chainwatch.tickets.token import Issuer, new_ref
from chainwatch.wallets import canonical_wallet
from chainwatch.watcher import Watcher

TARGET = 4_000
"""Blocks a second of the client's own CPU."""
START_S = 30.0


# -- the node --------------------------------------------------------------------------------------------


class Node:
    """Answers what the adapter asks, from one rendered page whose heights are written in as it is sent."""

    def __init__(self, blocks: int) -> None:
        self.head = FIRST + blocks - 1
        body = answer()
        self._page = bytearray(body[body.index(b'{"blocks"') : body.rindex(b',"id"')])
        ids = re.finditer(rb'"(block_id|previous)":"([0-9a-f]{40})"', self._page)
        self._holes = [(m[1] == b"previous", m.start(2)) for m in ids]
        self._ids = [bytes(self._page[at : at + 40]).decode() for is_parent, at in self._holes if not is_parent]
        ops = rewards()
        self._ops = ops[ops.index(b'{"ops"') : ops.rindex(b',"id"')].decode()

    def id_of(self, height: int) -> str:
        """A block's id: its height, then what it has in common with every hundredth."""
        return f"{height:08x}{self._ids[(height - FIRST) % BLOCKS][8:]}"

    async def serve(self, request: web.Request) -> web.Response:
        """JSON-RPC."""
        call = json.loads(await request.read())
        result = self.result(call["method"], call["params"])
        body = b'{"jsonrpc":"2.0","result":%b,"id":%d}' % (result, call["id"])
        return web.Response(body=body, content_type="application/json")

    def result(self, method: str, params: dict) -> bytes:
        """One answer, as JSON."""
        if method == "block_api.get_block_range":
            assert params["count"] == BLOCKS, params
            return self.page(params["starting_block_num"])
        if method == "account_history_api.enum_virtual_ops":
            begin = params["block_range_begin"]
            if params["block_range_end"] - begin < BLOCKS:  # the adapter asks whether this is offered
                return b'{"ops":[],"next_block_range_begin":0,"next_operation_begin":0}'
            return re.sub(r"\b9000\d{4}\b", lambda m: str(int(m[0]) - FIRST + begin), self._ops).encode()
        height = params.get("block_num", self.head)
        answers = {
            "database_api.get_version": {"blockchain_version": "1.27.0", "chain_id": spec("HIVE").chain_id},
            "database_api.find_accounts": {"accounts": []},
            "database_api.get_dynamic_global_properties": {
                "head_block_number": self.head,
                "head_block_id": self.id_of(self.head),
                "last_irreversible_block_num": self.head,
            },
            "block_api.get_block": {"block": {"block_id": self.id_of(height), "previous": self.id_of(height - 1)}},
        }
        return json.dumps(answers[method]).encode()

    def page(self, first: int) -> bytes:
        """A hundred blocks from ``first``."""
        height = first
        for is_parent, at in self._holes:
            wanted = height - 1 if is_parent else height
            self._page[at : at + 40] = self.id_of(wanted).encode()
            height += not is_parent
        return bytes(self._page)


async def serve(blocks: int) -> None:
    """Run the node until it is ended; print its port."""
    app = web.Application()
    app.router.add_post("/", Node(blocks).serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


# -- the client ------------------------------------------------------------------------------------------


async def follow(url: str, store: Store, blocks: int) -> tuple[float, float]:
    """Catch up; return the wall and CPU seconds that it took."""
    clock, chance = SystemClock(), random.Random(1)
    chain = spec("HIVE", endpoints=(url,), receive=("dlux-tickets",), start=FIRST)
    context = Context(
        chain, Rule((Tier(final=True),)), Policy(), Issuer(Ed25519PrivateKey.generate()), canonical_wallet, new_ref
    )
    metrics = Metrics(clock)
    source = open_source(chain, Services(clock=clock, random=chance, observer=metrics))
    watcher = Watcher(context, source, store, clock=clock, rng=chance, reports=metrics, holder="bench")
    await source.open()
    gc.freeze()  # as the daemon does once it has started
    wall, cpu = time.perf_counter(), time.process_time()
    while await watcher.poll():
        pass
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    status = await store.read(queries.status)
    await watcher.stop()
    assert [c.scanned for c in status.chains] == [FIRST + blocks - 1], status
    return wall, cpu


def main() -> int:
    """Print one line; 1 when the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=20_000)
    parser.add_argument("--profile", action="store_true", help="print where the time goes (it makes all slower)")
    parser.add_argument("--node", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    blocks = arguments.blocks // BLOCKS * BLOCKS
    if arguments.node:
        asyncio.run(serve(blocks))
        return 0
    node = subprocess.Popen([sys.executable, __file__, "--node", "--blocks", str(blocks)], stdout=subprocess.PIPE)
    profile = cProfile.Profile(time.process_time)
    try:
        assert node.stdout is not None
        url = f"http://127.0.0.1:{int(node.stdout.readline())}"
        with tempfile.TemporaryDirectory(dir=".") as folder:
            store = Store(f"sqlite:///{Path(folder).resolve()}/bench.db")
            schema.upgrade(store)
            if arguments.profile:
                profile.enable()
            wall, cpu = asyncio.run(follow(url, store, blocks))
            profile.disable()
            store.close()
    finally:
        node.kill()
        node.wait(START_S)
    if arguments.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    good = blocks / cpu >= TARGET
    print(
        f"catchup HIVE {blocks / cpu:8,.0f} blocks/s of CPU, {blocks / wall:,.0f} wall   "
        f"target {TARGET:,} of CPU   {'ok' if good else 'BELOW'}"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
