"""The contract suite over the EVM adapter and the simulated EVM node."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.config.networks import spec
from chainwatch.devnet import evm as devnet
from chainwatch.testing.clock import LeapingClock
from chainwatch.testing.contract import CASES, Case, missing
from chainwatch.testing.simulated import SimHarness

pytestmark = pytest.mark.network

CAN = {"memo", "token", "outputs", "fail", "reorg", "mempool", "faults", "restart", "stranger", "send"}


@pytest.fixture(params=["ETH", "MATIC", "BNB"])
async def harness(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SimHarness]:
    clock = LeapingClock()
    services = Services(clock=clock, random=random.Random(7), observer=SilentObserver())

    def make_node() -> devnet.EvmNode:
        return devnet.make(spec(request.param), clock=clock, rng=random.Random(3), journal=tmp_path / "chain.journal")

    made = SimHarness(make_node, services, can=CAN, options={"pending": True})
    await made.start()
    yield made
    await made.stop()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
async def test_contract(case: Case, harness: SimHarness) -> None:
    if reason := missing(case, harness):
        pytest.skip(reason)
    await case(harness)
