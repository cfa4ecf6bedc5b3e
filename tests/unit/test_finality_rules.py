"""What an operator may write as a finality rule."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.config.finality import FinalityRule, Tier, parse_finality, stricter


def needed(rule: FinalityRule, amount: int) -> float:
    """The depth for an amount; infinity for the chain's own word."""
    depth = next(t.depth for t in rule if t.below is None or amount < t.below)
    return float("inf") if depth is None else depth


def test_tiers_are_exact_base_units_of_the_native_coin() -> None:
    rule = parse_finality([{"below": "0.01", "depth": 2}, {"depth": 6}], 8)
    assert rule == (Tier(2, 1_000_000), Tier(6))
    assert [needed(rule, a) for a in (999_999, 1_000_000)] == [2, 6]


def test_a_word_and_a_final_tier_wait_for_the_chain_itself() -> None:
    assert parse_finality("finalized", 18) == (Tier(None),)
    assert parse_finality([{"below": "1", "depth": 12}, {"final": True}], 0) == (Tier(12, 1), Tier(None))


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        True,
        1.5,
        10**9,
        "safe",
        "latest",
        [],
        {},
        [{"below": "1", "depth": 1}],
        [{"depth": 1}, {"depth": 2}],
        [{"below": "2", "depth": 1}, {"below": "1", "depth": 2}, {"depth": 3}],
        [{"below": "1", "depth": 1}, {"below": "1", "depth": 2}, {"depth": 3}],
        [{"below": "1", "depth": 6}, {"depth": 2}],
        [{"below": "1", "final": True}, {"depth": 2}],
        [{"below": 0.01, "depth": 2}, {"depth": 6}],
        [{"below": "1e-2", "depth": 2}, {"depth": 6}],
        [{"below": "0", "depth": 2}, {"depth": 6}],
        [{"depth": 2, "final": True}],
        [{}],
        ["6"],
        [{"depht": 2}],
    ],
    ids=repr,
)
def test_a_rule_that_would_count_too_early_or_means_nothing_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_finality(value, 8)


@st.composite
def rules(draw: st.DrawFn) -> FinalityRule:
    limits = sorted(draw(st.sets(st.integers(1, 50), max_size=3)))
    depths = sorted(draw(st.lists(st.integers(1, 9), min_size=len(limits) + 1, max_size=len(limits) + 1)))
    tiers = [Tier(d, below) for d, below in zip(depths, [*limits, None], strict=True)]
    return (*tiers[:-1], Tier(None)) if draw(st.booleans()) else tuple(tiers)


@given(rules(), rules(), st.integers(0, 60))
def test_the_stricter_of_two_rules_asks_the_larger_depth_for_every_amount(
    a: FinalityRule, b: FinalityRule, amount: int
) -> None:
    assert needed(stricter(a, b), amount) == max(needed(a, amount), needed(b, amount))
