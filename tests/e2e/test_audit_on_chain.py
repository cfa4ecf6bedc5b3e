"""``audit --on-chain`` on the whole built-in network: what every chain says we hold is what came less what left."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from chainwatch.app import App
from chainwatch.clock import SystemClock
from chainwatch.config import settings as config
from chainwatch.devnet.network import Devnet
from chainwatch.devnet.node import Payment
from chainwatch.ledger import queries
from chainwatch.model import Asset
from chainwatch.terminal import BUILT_IN
from chainwatch.testing.process import command
from chainwatch.testing.simulated import bend

pytestmark = [pytest.mark.network, pytest.mark.timeout(400)]

CAME, LEFT = 5_000_000_000_000_000, 1_000_000_000_000_000
"""Of coins with 18 decimals; others get the same part of a coin."""


class House(NamedTuple):
    """The daemon over the whole network, and where its commands run."""

    app: App
    network: Devnet
    folder: Path

    async def settle(self) -> None:
        """Take what waits on every chain into a block, make that final, and let the daemon read it."""
        goals = {code: node.chain.mine().ref.height for code, node in self.network.nodes.items()}
        for code, node in self.network.nodes.items():
            while node.chain.final.ref.height < goals[code]:
                node.chain.mine()
        async with asyncio.timeout(120):
            for code, goal in goals.items():
                while await self.app.store.read(queries.scanned, code) < goal:
                    await asyncio.sleep(0.1)

    async def audit(self, *more: str) -> tuple[int, dict[str, Any]]:
        code, out, err = await asyncio.to_thread(command, self.folder, "audit", "--on-chain", "--json", *more)
        assert err == ""
        said = json.loads(out)
        assert said["differences"] == []
        return code, {row["asset"]: row for row in said["on_chain"]}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    clock, rng = SystemClock(), random.Random(8)
    network = Devnet(clock=clock, rng=rng, block_ms=500)
    sections = await network.start()
    (tmp_path / BUILT_IN).parent.mkdir()
    (tmp_path / BUILT_IN).write_bytes(msgspec.json.encode({"chains": sections, "fixed": {}}))
    (tmp_path / "c.toml").touch()
    environ = {"STATE_DIRECTORY": str(tmp_path), "CHAINWATCH__HTTP__LISTEN": "127.0.0.1:0"}
    app = App(config.load(tmp_path / "c.toml", environ=environ, chains=sections), clock=clock, rng=rng)
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(app.run(stop, ready))
    try:
        await asyncio.wait_for(ready.wait(), 60)
        yield House(app, network, tmp_path)
    finally:
        stop.set()
        await asyncio.gather(running, return_exceptions=True)
        await network.stop()


def part(asset: Asset, amount: int) -> int:
    return amount * 10**asset.decimals // 10**18


async def test_every_chain_agrees_and_what_nobody_read_is_named(house: House) -> None:
    nodes = house.network.nodes
    assets = [a for c in house.app.contexts.values() for a in c.spec.assets if a.chain != "XMR"]
    tills = {code: node.config()["receive"][0] for code, node in nodes.items()}
    for asset in assets:
        nodes[asset.chain].pay(Payment(to=tills[asset.chain], amount=part(asset, CAME), asset_id=asset.asset_id))
    await house.settle()
    for asset in assets:
        to, sender = nodes[asset.chain].new_wallet(), tills[asset.chain]
        paid = Payment(to=to, amount=part(asset, LEFT), asset_id=asset.asset_id, sender=sender)
        nodes[asset.chain].pay(paid)
    await house.settle()
    code, found = await house.audit()
    assert set(found) == {a.code for a in assets}
    assert {c: r["difference_base"] for c, r in found.items()} == dict.fromkeys(found, "0")
    assert code == 0
    for asset in assets:
        held, most = int(found[asset.code]["on_chain_base"]), part(asset, CAME) - part(asset, LEFT)
        assert 0 < held <= most, asset.code  # less what the network took

    till = tills["ETH"].lower()
    more = {"eth_getBalance": lambda honest, asked: hex(int(honest, 16) + 7 * (asked[0].lower() == till))}
    bend(nodes["ETH"], more)  # seven wei that nobody could see come
    code, found = await house.audit()
    assert (code, found["ETH"]["difference_base"]) == (1, "7")
    assert (await house.audit("--accept"))[0] == 0
    assert (await house.audit())[0] == 0
