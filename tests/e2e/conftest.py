"""The built-in network, in this process."""

import random
from collections.abc import AsyncIterator

import pytest

from chainwatch.clock import SystemClock
from chainwatch.devnet.network import Devnet


@pytest.fixture
async def network() -> AsyncIterator[Devnet]:
    """A network of simulated nodes; the test starts it."""
    net = Devnet(clock=SystemClock(), rng=random.Random(1))
    yield net
    await net.stop()
