"""Two finality rules held against each other: what a reload may apply at once."""

from hypothesis import given
from hypothesis import strategies as st

from chainwatch.finality import Confirmed, Rule, Tier, is_weaker, state, stricter
from chainwatch.model import BlockRef, InBlock


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    bounds = sorted(draw(st.sets(st.integers(1, 50), max_size=3)))
    needs = st.one_of(
        st.builds(Tier, depth=st.integers(1, 9)),
        st.just(Tier(final=True)),
        st.builds(Tier, depth=st.integers(1, 9), final=st.just(True)),
    )
    tiers = draw(st.lists(needs, min_size=len(bounds) + 1, max_size=len(bounds) + 1))
    return Rule(tuple(Tier(b, t.depth, t.final) for b, t in zip([*bounds, None], tiers, strict=True)))


def confirmed(rule: Rule, amount: int | None, depth: int, final: bool) -> bool:
    position = InBlock(BlockRef(100, "a"))
    last = BlockRef(100 if final else 99, "a")
    return isinstance(state(position, BlockRef(99 + depth, "h"), last, rule, amount), Confirmed)


amounts = st.none() | st.integers(0, 60)


@given(rules(), rules(), amounts, st.integers(1, 10), st.booleans())
def test_what_the_stricter_rule_confirms_both_confirm(
    a: Rule, b: Rule, amount: int | None, depth: int, final: bool
) -> None:
    """One exception, by definition: the chain's own word stands for any depth."""
    if confirmed(stricter(a, b), amount, depth, final):
        word_alone = any(t.depth is None for t in (a.tier(amount), b.tier(amount)))
        assert word_alone or (confirmed(a, amount, depth, final) and confirmed(b, amount, depth, final))


@given(rules(), rules())
def test_stricter_is_a_maximum(a: Rule, b: Rule) -> None:
    top = stricter(a, b)
    assert top == stricter(b, a) == stricter(top, a)
    assert not is_weaker(top, a)
    assert not is_weaker(a, a)


def test_by_hand() -> None:
    six, two_then_six = Rule((Tier(depth=6),)), Rule((Tier(1_000_000, 2), Tier(depth=6)))
    assert is_weaker(two_then_six, six)
    assert not is_weaker(six, two_then_six)
    assert is_weaker(six, Rule((Tier(final=True),)))
    assert stricter(two_then_six, Rule((Tier(depth=3),))) == Rule((Tier(1_000_000, 3), Tier(depth=6)))
