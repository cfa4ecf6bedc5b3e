"""An endpoint that comes back as another network: set aside, named, alarmed; never read, and the others are used."""

import importlib
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.adapters.rpc import Rpc
from chainwatch.clock import SystemClock
from chainwatch.config.networks import spec as known_spec
from chainwatch.devnet import NODES
from chainwatch.errors import Inconsistent
from chainwatch.testing.simulated import SimHarness

pytestmark = pytest.mark.network

CLIENTS: dict[str, Callable[[Any], Rpc]] = {
    "HIVE": lambda source: source._chain.rpc,
    "ETH": lambda source: source._chain.rpc,
    "BTC": lambda source: source.rpc,
    "SOL": lambda source: source._rpc,
    "XMR": lambda source: source._node.daemon,
    "XMR without daemon": lambda source: source._node.wallets,
}
"""A chain of each adapter, and where the client is whose node proves its network."""


class Alarms(SilentObserver):
    def __init__(self) -> None:
        self.down: list[str] = []

    def endpoint(self, chain: str, endpoint: str, up: bool) -> None:
        if not up:
            self.down.append(endpoint)


async def look(source: Any) -> Any:
    return await (source.view() if hasattr(source, "view") else source.read(None, ()))


@pytest.mark.parametrize("name", CLIENTS)
async def test_it_is_set_aside_named_and_alarmed(name: str) -> None:
    observer, known = Alarms(), known_spec(name.partition(" ")[0])
    services = Services(clock=SystemClock(), random=random.Random(1), observer=observer)
    make = importlib.import_module(NODES[known.adapter]).make
    h = SimHarness(lambda: make(known, clock=SystemClock(), rng=random.Random(2)), services, can=())
    await h.start()
    await h.mine(40)
    if name == "XMR without daemon":
        h.spec = msgspec.structs.replace(h.spec, options={})
    source = h.source()
    try:
        await source.open()
        await look(source)
        (endpoint,) = CLIENTS[name](source).endpoints
        endpoint.checked = False  # as after an outage
        h.faults.wrong_chain = True
        for _ in range(2):
            with pytest.raises(Inconsistent, match=endpoint.name):
                await look(source)
        assert not endpoint.up
        assert observer.down == [endpoint.name]
    finally:
        await source.close()
        await h.stop()
