"""What the watcher does about a node of an account source that does not show what was final."""

import random
from collections.abc import Collection
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chainwatch.clock import SystemClock
from chainwatch.config.networks import spec as known_spec
from chainwatch.errors import Inconsistent, Unfollowable
from chainwatch.finality import Rule, Tier
from chainwatch.ledger.context import Context, Policy
from chainwatch.model import BlockRef, Window
from chainwatch.testing.inline import InlineLedger
from chainwatch.testing.reports import Collected
from chainwatch.tickets.token import Issuer
from chainwatch.watcher import Watcher


class Nodes:
    """An ``AccountSource`` of so many endpoints; ``blocks`` are what all of them show, the last one final."""

    def __init__(self, blocks: list[BlockRef], endpoints: int) -> None:
        self.blocks, self.endpoints, self.left = blocks, endpoints, 0

    async def read(self, position: BlockRef | None, open_ids: Collection[Any]) -> Window:
        end = self.blocks[-1]
        return Window("node", 0, end, end, end, complete=True, refs=tuple(self.blocks[:-1]))

    def leave(self, reason: str) -> bool:
        self.left += 1
        return self.left < self.endpoints


def blocks(*names: str) -> list[BlockRef]:
    return [BlockRef(height, f"{height}{name}") for height, name in enumerate(names)]


def watcher(source: Nodes) -> Watcher:
    clock, rng = SystemClock(), random.Random(1)
    context = Context(
        spec=known_spec("SOL", endpoints=("http://x",)),
        rule=Rule((Tier(final=True),)),
        policy=Policy(),
        issuer=Issuer(Ed25519PrivateKey.generate()),
        canonical_wallet=lambda text: text,
        new_ref=lambda: f"{rng.getrandbits(60):x}",
    )
    made = Watcher(context, cast(Any, source), InlineLedger(), clock=clock, rng=rng, reports=Collected(), holder="test")
    made.reports.follow("SOL")
    return made


@pytest.mark.parametrize("endpoints", [1, 2, 3])
async def test_what_was_final_is_undone_only_when_no_other_node_shows_it(endpoints: int) -> None:
    source = Nodes(blocks("a"), endpoints)
    followed = watcher(source)
    for names in ("a", "aaa"):
        source.blocks = blocks(*names)
        await followed.poll()
    source.blocks = blocks("a", "b", "b", "b")
    for _ in range(endpoints - 1):
        with pytest.raises(Inconsistent, match="without our final block"):
            await followed.poll()
    await followed.poll()
    assert cast(Collected, followed.reports).reorgs == [("SOL", 2)]


async def test_a_node_with_nothing_in_common_is_left_while_there_is_another() -> None:
    source = Nodes(blocks("a", "a"), 2)
    followed = watcher(source)
    await followed.poll()
    source.blocks = blocks("b", "b", "b")
    with pytest.raises(Inconsistent, match="no common block"):
        await followed.poll()
    with pytest.raises(Unfollowable):
        await followed.poll()
