"""How the watcher cuts what it reads: bounded rounds, batches up to the final block, one block at a time above it."""

from typing import Any

import pytest

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
