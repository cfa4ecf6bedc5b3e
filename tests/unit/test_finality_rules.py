"""What an operator may write as a finality rule."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.config.finality import describe, is_weaker, parse_finality, stricter
from chainwatch.finality import Confirmed, Rule, Tier, state
from chainwatch.model import Asset, BlockRef, InBlock


def needed(rule: Rule, amount: int) -> float:
    """The depth for an amount; infinity for the chain's own word."""
    depth = next(t.depth for t in rule.tiers if t.below is None or amount < t.below)
    return float("inf") if depth is None else depth


def test_tiers_are_exact_base_units_of_the_native_coin() -> None:
    rule = parse_finality([{"below": "0.01", "depth": 2}, {"depth": 6}], 8)
    assert rule == Rule((Tier(1_000_000, 2), Tier(None, 6)))
    assert [needed(rule, a) for a in (999_999, 1_000_000)] == [2, 6]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("finalized", "the chain's final block"),
        (6, "depth 6"),
        ([{"below": "0.01", "depth": 2}, {"depth": 6}], "depth 2 below 0.01 BTC, else depth 6"),
        ([{"depth": 6, "final": True}], "depth 6 or the chain's final block"),
    ],
)
def test_a_rule_is_told_as_people_say_it(written: Any, told: str) -> None:
    assert describe(parse_finality(written, 8), Asset("BTC", "BTC", 8)) == told


def test_a_word_and_a_final_tier_wait_for_the_chain_itself() -> None:
    assert parse_finality("finalized", 18) == Rule((Tier(final=True),))
    assert parse_finality([{"below": "1", "depth": 12}, {"final": True}], 0) == Rule((Tier(1, 12), Tier(final=True)))


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
        [{}],
        ["6"],
        [{"depht": 2}],
    ],
    ids=repr,
)
def test_a_rule_that_would_count_too_early_or_means_nothing_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_finality(value, 8)


NEEDS = st.one_of(
    st.builds(Tier, depth=st.integers(1, 9)),
    st.just(Tier(final=True)),
    st.builds(Tier, depth=st.integers(1, 9), final=st.just(True)),
)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    limits = sorted(draw(st.sets(st.integers(1, 50), max_size=3)))
    needs = draw(st.lists(NEEDS, min_size=len(limits) + 1, max_size=len(limits) + 1))
    return Rule(tuple(Tier(b, t.depth, t.final) for b, t in zip([*limits, None], needs, strict=True)))


def confirmed(rule: Rule, amount: int, depth: int, final: bool) -> bool:
    last = BlockRef(100 if final else 99, "a")
    position = InBlock(BlockRef(100, "a"))
    return isinstance(state(position, BlockRef(99 + depth, "h"), last, rule, amount), Confirmed)


@given(rules(), rules(), st.integers(0, 60), st.integers(1, 10), st.booleans())
def test_what_the_stricter_of_two_rules_confirms_both_confirm(
    a: Rule, b: Rule, amount: int, depth: int, final: bool
) -> None:
    """One exception, by definition: the chain's own word alone stands for any depth."""
    if confirmed(stricter(a, b), amount, depth, final):
        word_alone = any(r.tier(amount).depth is None for r in (a, b))
        assert word_alone or (confirmed(a, amount, depth, final) and confirmed(b, amount, depth, final))


@given(rules(), rules())
def test_the_stricter_of_two_rules_is_a_maximum(a: Rule, b: Rule) -> None:
    top = stricter(a, b)
    assert top == stricter(b, a) == stricter(top, a)
    assert not is_weaker(top, a)


def test_weaker_by_hand() -> None:
    six, two_then_six = Rule((Tier(depth=6),)), Rule((Tier(1_000_000, 2), Tier(depth=6)))
    assert is_weaker(two_then_six, six)
    assert not is_weaker(six, two_then_six)
    assert is_weaker(six, Rule((Tier(final=True),)))
    assert is_weaker(Rule((Tier(depth=6, final=True),)), six)
    assert stricter(two_then_six, Rule((Tier(depth=3),))) == Rule((Tier(1_000_000, 3), Tier(depth=6)))
