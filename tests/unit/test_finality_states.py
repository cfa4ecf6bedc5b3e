"""When a payment counts."""

import pytest

from chainwatch.finality import Confirmed, Confirming, Rule, Seen, Tier, state
from chainwatch.model import BlockRef, InBlock, Unconfirmed

HEAD = BlockRef(100, "h")
AT_95 = InBlock(BlockRef(95, "x"))


@pytest.mark.parametrize(
    ("rule", "final", "amount", "expected"),
    [
        (Rule((Tier(final=True),)), BlockRef(94, "f"), 1, Confirming(6, None)),
        (Rule((Tier(final=True),)), BlockRef(95, "x"), 1, Confirmed()),
        (Rule((Tier(final=True),)), None, 1, Confirming(6, None)),  # stalled finality: never falls back to head
        (Rule((Tier(depth=6),)), None, 1, Confirmed()),
        (Rule((Tier(depth=7),)), BlockRef(100, "h"), 1, Confirming(6, 7)),
        (Rule((Tier(depth=7, final=True),)), BlockRef(95, "x"), 1, Confirmed()),  # ChainLock before six blocks
        (Rule((Tier(below=1000, depth=2), Tier(depth=7))), None, 999, Confirmed()),
        (Rule((Tier(below=1000, depth=2), Tier(depth=7))), None, 1000, Confirming(6, 7)),
        (Rule((Tier(below=1000, depth=2), Tier(depth=7))), None, None, Confirming(6, 7)),  # unpriced: the strictest
    ],
)
def test_a_payment_counts_by_its_rule_alone(rule: Rule, final: BlockRef | None, amount: int, expected: object) -> None:
    assert state(AT_95, HEAD, final, rule, amount) == expected


def test_what_is_in_no_block_is_only_seen() -> None:
    rule = Rule((Tier(depth=1),))
    assert state(Unconfirmed(1), HEAD, HEAD, rule, 1) == Seen()
    assert state(None, HEAD, HEAD, rule, 1) == Seen()


def test_a_block_above_the_head_is_not_deep() -> None:
    """A node that went back must not make a depth of what it no longer shows."""
    assert state(InBlock(BlockRef(101, "y")), HEAD, None, Rule((Tier(depth=1),)), 1) == Confirming(0, 1)
