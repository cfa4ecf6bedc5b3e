"""The contract suite over the simulated Solana node."""

import contextlib
import random
from collections.abc import AsyncIterator

import msgspec
import pytest

from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.adapters.rpc import Limits
from chainwatch.adapters.solana import SolanaSource
from chainwatch.clock import SystemClock
from chainwatch.config.networks import spec
from chainwatch.devnet.node import Payment
from chainwatch.devnet.solana import SolanaNode, make
from chainwatch.testing.contract import CASES, missing

pytestmark = pytest.mark.network


class SolanaHarness:
    """What is submitted is in a confirmed block at once and reported in a block when that is final."""

    can = frozenset({"memo", "token", "outputs", "fail", "mempool", "faults", "restart", "stranger", "send"})

    def __init__(self, node: SolanaNode) -> None:
        self.node = node
        self.faults = node.faults
        section = node.config()
        self.spec = msgspec.structs.replace(
            node.spec, endpoints=tuple(section["endpoints"]), receive=tuple(section["receive"])
        )

    def source(self) -> SolanaSource:
        services = Services(clock=SystemClock(), random=random.Random(2), observer=SilentObserver())
        return SolanaSource(self.spec, services, limits=Limits(deadline_s=5, attempt_s=2))

    def wallet(self) -> str:
        return self.node.new_wallet()

    async def pay(self, amount, *, to=None, asset_id=None, memo=None, ok=True, outputs=1) -> str:
        payment = Payment(to or self.spec.receive[0], amount, asset_id, memo, ok=ok)
        txid = self.node.pay_many([payment] * outputs)
        self.node.chain.mine()
        return txid

    async def send(self, amount, to, *, asset_id=None, memo=None) -> str:
        txid = self.node.pay(Payment(to, amount, asset_id, memo, sender=self.spec.receive[0]))
        self.node.chain.mine()
        return txid

    async def mine(self, n: int = 1) -> None:
        for _ in range(n + self.node.chain.final_lag):
            self.node.chain.mine()

    async def finalize(self) -> None:
        await self.mine()

    async def drop(self, txid: str) -> None:
        raise AssertionError("what is final is never dropped")

    move = drop

    async def restart(self) -> None:
        port = int(self.node.url.rpartition(":")[2])
        chain = self.node.chain
        await self.node.stop()
        self.node = SolanaNode(self.node.spec, clock=SystemClock(), rng=random.Random(3), chain=chain)
        await self.node.start(port)


@contextlib.asynccontextmanager
async def harness() -> AsyncIterator[SolanaHarness]:
    node = make(spec("SOL"), clock=SystemClock(), rng=random.Random(1), final_lag=3)
    for _ in range(20):
        node.chain.mine()
    await node.start()
    made = SolanaHarness(node)
    try:
        yield made
    finally:
        await made.node.stop()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
async def test_contract(case):
    async with harness() as h:
        if reason := missing(case, h):
            pytest.skip(reason)
        await case(h)
