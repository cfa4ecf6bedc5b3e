"""The contract suite over the simulated Solana node."""

import contextlib
import random
from collections.abc import AsyncIterator

import pytest

from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.adapters.rpc import Limits
from chainwatch.adapters.solana import SolanaSource
from chainwatch.clock import SystemClock
from chainwatch.config.networks import spec
from chainwatch.devnet.solana import SolanaNode, make
from chainwatch.testing.contract import CASES, missing
from chainwatch.testing.simulated import SimHarness

pytestmark = pytest.mark.network


class SolanaHarness(SimHarness):
    """What is submitted is in a confirmed block at once and reported in a block when that is final."""

    node: SolanaNode

    def __init__(self, node: SolanaNode) -> None:
        super().__init__(
            lambda: node,
            Services(clock=SystemClock(), random=random.Random(2), observer=SilentObserver()),
            can={"memo", "token", "outputs", "fail", "mempool", "faults", "restart", "stranger", "send"},
        )

    def source(self) -> SolanaSource:
        return SolanaSource(self.spec, self.services, limits=Limits(deadline_s=5, attempt_s=2))

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
        self.node = SolanaNode(self.node.spec, clock=SystemClock(), rng=random.Random(3), chain=chain)
        await self.node.start(port)


@contextlib.asynccontextmanager
async def harness() -> AsyncIterator[SolanaHarness]:
    node = make(spec("SOL"), clock=SystemClock(), rng=random.Random(1), final_lag=3)
    for _ in range(20):
        node.chain.mine()
    made = SolanaHarness(node)
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
