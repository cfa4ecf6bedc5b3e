"""The contract suite over the simulated Solana node."""

import contextlib
import random
from collections.abc import AsyncIterator

import pytest

from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.adapters.rpc import Limits
from chainwatch.adapters.solana import SolanaSource
from chainwatch.config.networks import spec
from chainwatch.devnet.solana import SolanaNode, make
from chainwatch.testing.clock import LeapingClock
from chainwatch.testing.contract import CASES, missing
from chainwatch.testing.simulated import HURRIED_S, SimHarness

pytestmark = pytest.mark.network


class SolanaHarness(SimHarness):
    """What is submitted is in a confirmed block at once and reported in a block when that is final."""

    node: SolanaNode

    def __init__(self, node: SolanaNode, clock: LeapingClock) -> None:
        self.limits = Limits()
        super().__init__(
            lambda: node,
            Services(clock=clock, random=random.Random(2), observer=SilentObserver()),
            can={"memo", "token", "outputs", "fail", "mempool", "faults", "restart", "stranger", "send"},
        )

    def source(self) -> SolanaSource:
        return SolanaSource(self.spec, self.services, limits=self.limits)

    def hurry(self) -> None:
        self.limits = Limits(deadline_s=HURRIED_S, attempt_s=HURRIED_S)

    async def pay(self, amount, **more) -> str:
        txid = await super().pay(amount, **more)
        self.node.chain.mine()
        return txid

    async def send(self, amount, to, **more) -> str:
        txid = await super().send(amount, to, **more)
        self.node.chain.mine()
        return txid

    async def mine(self, n: int = 1) -> None:
        await super().mine(n + self.node.chain.final_lag)

    async def finalize(self) -> None:
        await self.mine()

    async def drop(self, txid: str) -> None:
        raise AssertionError("what is final is never dropped")

    move = drop

    async def restart(self) -> None:
        port, chain = int(self.node.url.rpartition(":")[2]), self.node.chain
        await self.node.stop()
        self.node = SolanaNode(self.node.spec, clock=chain.clock, rng=random.Random(3), chain=chain)
        await self.node.start(port)


@contextlib.asynccontextmanager
async def harness() -> AsyncIterator[SolanaHarness]:
    clock = LeapingClock()
    node = make(spec("SOL"), clock=clock, rng=random.Random(1), final_lag=3)
    for _ in range(20):
        node.chain.mine()
    made = SolanaHarness(node, clock)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
async def test_contract(case):
    async with harness() as h:
        if reason := missing(case, h):
            pytest.skip(reason)
        await case(h)
