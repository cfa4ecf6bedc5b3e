"""Simulated EVM nodes whose answers a test bends, and a source that follows them."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import msgspec
import pytest

from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.adapters.evm import EvmSource
from chainwatch.config.networks import spec
from chainwatch.devnet.evm import EvmNode, make
from chainwatch.devnet.node import Payment
from chainwatch.model import Transfer
from chainwatch.testing.clock import LeapingClock
from chainwatch.testing.replica import Replica
from chainwatch.testing.simulated import Twist, bend


class Counts(SilentObserver):
    """Remembers what was counted."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}

    def count(self, chain: str, what: str, n: int = 1) -> None:
        self.seen[what] = self.seen.get(what, 0) + n


class Scene:
    """Nodes of one chain, a source that follows them, and what a correct reader of the source knows."""

    def __init__(self, nodes: list[EvmNode], clock: LeapingClock, **options: Any) -> None:
        self.nodes, self.node, self.counts = nodes, nodes[0], Counts()
        self.twists: list[dict[str, Twist]] = [{} for _ in nodes]
        for node, twists in zip(nodes, self.twists, strict=True):
            bend(node, twists)
        self.spec = msgspec.structs.replace(
            spec("ETH"),
            endpoints=tuple(x.url for x in nodes),
            receive=self.node.receive,
            options=options,
        )
        services = Services(clock=clock, random=random.Random(3), observer=self.counts)
        self.source = EvmSource(self.spec, services)
        self.replica = Replica(self.source)
        self.usdc = self.spec.assets[1].asset_id or ""

    def pay(self, amount: int = 10**16, **more: Any) -> str:
        return self.node.pay(Payment(self.spec.receive[0], amount, **more))

    async def read(self) -> list[Transfer]:
        """Mine and read."""
        self.mine()
        await self.replica.sync()
        return list(self.replica.facts.values())

    def mine(self) -> None:
        self.node.chain.mine()


@asynccontextmanager
async def make_scene(count: int = 1, *, start: bool = True, **options: Any) -> AsyncIterator[Scene]:
    clock = LeapingClock()
    first = make(spec("ETH"), clock=clock, rng=random.Random(1))
    nodes = []
    for _ in range(count):  # several nodes of one chain, each with its own tongue
        node = EvmNode(spec("ETH"), clock=clock, rng=random.Random(2), chain=first.chain)
        await node.start()
        nodes.append(node)
    made = Scene(nodes, clock, **options)
    try:
        if start:
            await made.source.open()
            await made.replica.settle()
        yield made
    finally:
        await made.source.close()
        for node in nodes:
            await node.stop()


@pytest.fixture
def scene() -> Callable[..., AbstractAsyncContextManager[Scene]]:
    """Return a maker of scenes: ``async with scene(nodes, option=value) as s``."""
    return make_scene
