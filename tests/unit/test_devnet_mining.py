"""The built-in network's chains beside a program that reads them."""

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import pytest

from chainwatch.devnet.network import AHEAD, Devnet
from chainwatch.testing.clock import LeapingClock


@pytest.mark.parametrize(("lag", "grows"), [(None, True), (AHEAD, True), (AHEAD + 1, False)])
async def test_a_chain_waits_for_its_reader(lag: int | None, grows: bool) -> None:
    """On a machine that was slower than the chains no hold ever ended: the reader never came to their heads."""
    network = Devnet(clock=LeapingClock(), rng=random.Random(1), chains=("HIVE", "ETH"))
    app: Any = SimpleNamespace(watchers=[SimpleNamespace(chain="HIVE", condition=SimpleNamespace(lag=lag))])
    before = {code: node.chain.head.ref.height for code, node in network.nodes.items()}
    mining = asyncio.create_task(network.mine(app))
    for _ in range(100):
        await asyncio.sleep(0)
    mining.cancel()
    await asyncio.gather(mining, return_exceptions=True)
    grown = {code: node.chain.head.ref.height > before[code] for code, node in network.nodes.items()}
    assert grown == {"HIVE": grows, "ETH": True}
    for node in network.nodes.values():
        node.chain.close()
