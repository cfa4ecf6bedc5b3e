"""The contract suite over the Hive adapter and the simulated Hive node."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.config.networks import spec
from chainwatch.devnet import hive as devnet
from chainwatch.testing.clock import LeapingClock
from chainwatch.testing.contract import CASES, Case, missing
from chainwatch.testing.simulated import SimHarness

pytestmark = pytest.mark.network

CAN = {"memo", "token", "outputs", "reorg", "faults", "restart", "stranger", "send"}


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[SimHarness]:
    clock = LeapingClock()
    services = Services(clock=clock, random=random.Random(7), observer=SilentObserver())

    def make_node() -> devnet.HiveNode:
        return devnet.make(spec("HIVE"), clock=clock, rng=random.Random(3), journal=tmp_path / "chain.journal")

    made = SimHarness(make_node, services, can=CAN)
    await made.start()
    yield made
    await made.stop()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
async def test_contract(case: Case, harness: SimHarness) -> None:
    if reason := missing(case, harness):
        pytest.skip(reason)
    await case(harness)
