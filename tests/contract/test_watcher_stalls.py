"""A node that answers and is of no use leaves its place to another: nothing waits for ever beside one that could help.

bitcart/bitcart#440, vsys-host/shkeeper.io#233: a node out of step halts the scanner, and nobody says so.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from chainwatch.devnet.node import RpcFault
from chainwatch.errors import Inconsistent
from chainwatch.patience import IN_VAIN, STUCK_S
from chainwatch.testing.followed import Followed, followed
from chainwatch.testing.simulated import Twist

pytestmark = pytest.mark.network

CHAINS = ("HIVE", "ETH")


async def polls_until_minted(scene: Followed, txid: str, most: int) -> int:
    """Let time pass, a block a second; return how many polls it takes."""
    for n in range(1, most + 1):
        scene.mine(node=1)
        await scene.poll()
        if scene.shown(txid) == "minted":
            return n
    raise AssertionError(f"after {most} polls: {scene.shown(txid)!r}, {scene.watcher.condition}")


@pytest.mark.parametrize("code", CHAINS)
async def test_a_node_whose_head_stands_still_leaves_its_place_to_one_that_goes_on(code: str, tmp_path: Path) -> None:
    async with followed(code, tmp_path, nodes=2) as scene:
        scene.split(1)  # from here on the first node hears nothing any more
        tx = scene.node.chain.mempool[scene.pay()]
        scene.nodes[1].chain.submit(tx)
        patience = max(STUCK_S, 12 * scene.spec.block_time_ms / 1000)
        assert await polls_until_minted(scene, tx.txid, int(patience) + 60) > patience
        assert scene.watcher.condition.endpoint == scene.spec.endpoints[1]
        scene.check()


@pytest.mark.parametrize("code", CHAINS)
async def test_a_node_far_behind_that_comes_back_is_left_again_at_once(code: str, tmp_path: Path) -> None:
    """Head lower at failover: it undoes nothing, and nobody waits until it has caught up."""
    async with followed(code, tmp_path, nodes=2) as scene:
        behind, scene.nodes[0].chain = scene.split(0), scene.nodes[1].chain
        scene.mine(400, node=1)
        await scene.settle()
        scene.nodes[0].chain = behind
        cursor = scene.cursor()
        txid = scene.nodes[1].chain.submit(behind.mempool[scene.pay()])
        assert await polls_until_minted(scene, txid, 60) <= 60
        assert scene.reports.counts["lagging_node"] == 1
        assert cursor is not None
        scene.check()


def _refuses(_answer: Any, _params: Any) -> Any:
    raise RpcFault(-32000, "missing trie node")


def _no_full_blocks(answer: Any, params: Any) -> Any:
    return None if params[1] else answer


USELESS: Mapping[str, tuple[str, Mapping[str, Twist]]] = {
    "no old bodies": ("ETH", {"eth_getBlockByNumber": _no_full_blocks}),
    "an error for every block": ("ETH", {"eth_getBlockTransactionCountByHash": _refuses}),
    "no head at all": ("ETH", {"eth_getBlockByNumber": _refuses}),
    "receipts that never come": ("ETH", {"eth_getTransactionReceipt": lambda *_: None}),
    "no blocks in a range": ("HIVE", {"block_api.get_block_range": lambda *_: {"blocks": []}}),
    "no history": ("HIVE", {"account_history_api.enum_virtual_ops": lambda *_: {"ops": []}}),
    "no properties": ("HIVE", {"database_api.get_dynamic_global_properties": _refuses}),
}


@pytest.mark.parametrize("what", USELESS)
async def test_a_node_with_which_every_round_fails_leaves_its_place_to_another(what: str, tmp_path: Path) -> None:
    code, twists = USELESS[what]
    async with followed(code, tmp_path, nodes=2) as scene:
        scene.twists[0].update(twists)
        txid = scene.pay()
        await polls_until_minted(scene, txid, IN_VAIN + 80)
        assert scene.watcher.condition.endpoint == scene.spec.endpoints[1]
        assert len(scene.tickets()) == 1
        scene.check()


@pytest.mark.parametrize("code", CHAINS)
async def test_one_node_alone_undoes_nothing_final_while_another_one_is_in_use(code: str, tmp_path: Path) -> None:
    """A client with a fault of consensus, say: it goes its own way from below what was final."""
    async with followed(code, tmp_path, nodes=2) as scene:
        txid = scene.pay()
        await scene.arrive()
        honest = scene.nodes[1].chain
        own_way = scene.split(0)
        depth = honest.head.ref.height - honest.find(txid).ref.height + 1  # type: ignore[union-attr]
        own_way.reorg(depth, drop=[txid], extra=2)
        assert isinstance(await scene.poll(), Inconsistent)
        for _ in range(5):
            scene.mine(node=1)
            await scene.settle()
            assert (scene.shown(txid), len(scene.tickets())) == ("minted", 1)
        assert scene.watcher.condition.endpoint == scene.spec.endpoints[1]
        assert (scene.reports.reorgs, scene.status().chains[0].alarm) == ([], "")
        scene.nodes[1].chain = own_way  # now every node says so
        scene.mine(20)
        await scene.settle()
        assert scene.tickets() == []
        assert "were final" in scene.status().chains[0].alarm
        scene.check()


@pytest.mark.parametrize("code", CHAINS)
async def test_a_node_with_which_we_have_nothing_in_common_is_left_at_once(code: str, tmp_path: Path) -> None:
    async with followed(code, tmp_path, nodes=2) as scene:
        txid = scene.pay()
        await scene.arrive()
        other = scene.split(0)
        other.rollback(len(other.best) - 1)
        scene.mine(30)
        assert await scene.poll() is not None
        assert scene.watcher.condition.state == "failing"
        await scene.settle()
        assert scene.watcher.condition.endpoint == scene.spec.endpoints[1]
        assert scene.shown(txid) == "minted"
        scene.check()


@pytest.mark.parametrize("code", CHAINS)
async def test_the_only_node_is_kept_however_useless(code: str, tmp_path: Path) -> None:
    async with followed(code, tmp_path) as scene:
        _, twists = USELESS["no old bodies" if code == "ETH" else "no blocks in a range"]
        scene.twists[0].update(twists)
        txid = scene.pay()
        scene.mine()
        for _ in range(3 * IN_VAIN):
            assert await scene.poll() is not None
        assert not scene.reports.down
        scene.twists[0].clear()
        scene.finalize()
        await scene.settle()
        assert scene.shown(txid) == "minted"
