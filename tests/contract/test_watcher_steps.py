"""How the watcher cuts what it reads: bounded rounds, batches up to the final block, one block at a time above it."""

from typing import Any

import pytest

from chainwatch.errors import Inconsistent
from chainwatch.follower import Step
from chainwatch.testing.followed import Followed

pytestmark = pytest.mark.network


async def test_batches_end_at_the_final_block_and_every_round_is_bounded(
    chain: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several blocks together only at or below what cannot be replaced; above it each may be the next fork point."""
    steps: list[Step] = []
    write = chain.store.write

    async def noted(body: Any, *args: Any, **more: Any) -> Any:
        if args and isinstance(args[0], Step):
            steps.append(args[0])
        return await write(body, *args, **more)

    monkeypatch.setattr(chain.store, "write", noted)
    start = chain.cursor()
    assert start is not None
    chain.mine(40)
    rounds = 0
    while chain.cursor() != chain.node.chain.head.ref and rounds < 100:
        before = len(steps)
        await chain.poll()
        rounds += 1
        assert sum(len(s.blocks) for s in steps[before:]) <= chain.watcher.round_blocks == 3
    final = chain.node.chain.final.ref.height
    heights = [b.ref.height for s in steps for b in s.blocks]
    assert heights == list(range(start.height + 1, start.height + 41))
    assert any(len(s.blocks) > 1 for s in steps), "what is final is read in batches"
    for step in steps:
        if step.blocks and step.blocks[-1].ref.height > final:
            assert len(step.blocks) == 1
    assert rounds >= 40 // 3


async def test_nothing_is_final_below_a_final_block_of_another_branch(eth: Followed) -> None:
    """Backends of one name on two branches: one says what is final, the other one shows the blocks."""
    start = eth.cursor()
    assert start is not None
    txid = eth.pay()
    eth.mine(8)
    final = start.height + 3

    def elsewhere(block: Any, params: Any) -> Any:
        if params[0] != "finalized":
            return block
        return {**eth.node._block_by_number(hex(final), False), "hash": "0x" + "22" * 32}  # type: ignore[attr-defined]

    eth.twists[0]["eth_getBlockByNumber"] = elsewhere
    eth.watcher._batch = 1  # as after a slow step: the first block would be written before the final one is looked at
    for _ in range(3):
        assert isinstance(await eth.poll(), Inconsistent)
        assert (eth.shown(txid), eth.tickets(), eth.cursor()) == ("", [], start)
    eth.twists[0].clear()
    await eth.arrive()
    assert eth.shown(txid) == "minted"
