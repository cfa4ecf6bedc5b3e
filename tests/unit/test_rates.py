"""Many prices to one rate or to none; money to base units, rounded up."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainwatch.errors import Rejected
from chainwatch.tickets.rates import STAYS, Breaker, Price, Rate, Rules, agree, base_units, breaker_step

NOW = 1_760_000_000_000
RULES = Rules()
HIVE = ("HIVE", "USD")


def said(source: str, price: str, coin: str = "HIVE", currency: str = "USD", age_ms: int = 0, **more: bool) -> Price:
    return Price(source, coin, currency, Decimal(price), NOW - age_ms, **more)


def rate(price: str) -> Rate:
    return Rate("HIVE", "USD", Decimal(price), NOW, ("a", "b"))


# -- base units ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "price", "decimals", "expected"),
    [
        ("25.00", "0.25", 3, 100_000),
        ("1", "3", 3, 334),  # rounded up: 333 would be short of a dollar
        ("0.01", "90000.12", 8, 12),
        ("25", "0.0000001", 18, 250_000_000 * 10**18),
        ("0", "1", 8, 0),
        ("19.99", "3512.77", 18, 5_690_665_770_887_363),
    ],
)
def test_money_becomes_base_units(amount: str, price: str, decimals: int, expected: int) -> None:
    assert base_units(Decimal(amount), rate(price), decimals) == expected


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine all is slow
@given(
    st.decimals(min_value=0, max_value=10**9, places=2),
    st.decimals(min_value="0.00000001", max_value=10**9, places=8),
    st.integers(0, 18),
)
def test_it_is_the_least_number_that_is_worth_the_amount(amount: Decimal, price: Decimal, decimals: int) -> None:
    units = base_units(amount, Rate("X", "USD", price, NOW, ()), decimals)
    worth = Fraction(price) / 10**decimals
    assert units * worth >= Fraction(amount)
    assert units == 0 or (units - 1) * worth < Fraction(amount)


@pytest.mark.parametrize("amount", ["-1", "NaN", "Infinity", "1E+999999999", "1E-999999999"])
def test_what_is_no_amount_is_refused(amount: str) -> None:
    with pytest.raises(Rejected, match="no amount"):
        base_units(Decimal(amount), rate("1"), 3)


@pytest.mark.parametrize("price", ["0", "-1", "NaN", "Infinity", "1E+999999999"])
def test_there_is_no_quote_at_no_price(price: str) -> None:
    with pytest.raises(Rejected, match="no price") as caught:
        base_units(Decimal(1), rate(price), 3)
    assert caught.value.code == "no_rate"


# -- agreement -----------------------------------------------------------------------------------------


def test_two_sources_within_five_per_cent_give_the_lower_price() -> None:
    found = agree(HIVE, [said("a", "0.2600"), said("b", "0.2500")], RULES, NOW)
    assert (found.price, found.agreeing) == (Decimal("0.2500"), ("a", "b"))


@pytest.mark.parametrize(
    ("prices", "why"),
    [
        ([], "no_source"),
        ([("a", "0.25")], "too_few"),
        ([("a", "0.25"), ("a", "0.25")], "too_few"),  # the same source twice is no second opinion
        ([("a", "0.25"), ("b", "0.27")], "disagree"),
        ([("a", "0.25"), ("b", "0.25"), ("c", "1"), ("d", "1")], "split"),
        ([("a", "0.25"), ("b", "NaN")], "too_few"),
        ([("a", "0.25"), ("b", "0")], "too_few"),
        ([("a", "0.25"), ("b", "1E+999999999")], "too_few"),
    ],
)
def test_no_rate_without_agreement(prices: list[tuple[str, str]], why: str) -> None:
    found = agree(HIVE, [said(*p) for p in prices], RULES, NOW)
    assert (found.price, found.why) == (None, why)


def test_the_largest_group_counts_and_a_liar_outside_it_does_not() -> None:
    for lie in ("0.01", "0.249", "100"):
        found = agree(HIVE, [said("liar", lie), said("b", "0.265"), said("c", "0.266"), said("d", "0.27")], RULES, NOW)
        assert found.price == Decimal("0.265")
        assert "liar" not in found.agreeing


@pytest.mark.parametrize(("age_ms", "good"), [(300_000, True), (300_001, False), (-60_000, True), (-60_001, False)])
def test_old_prices_do_not_count_and_none_from_the_future(age_ms: int, good: bool) -> None:
    """btcpayserver/btcpayserver#5550: hours-old prices were served as if they were of now."""
    found = agree(HIVE, [said("a", "0.25"), said("b", "0.25", age_ms=age_ms)], RULES, NOW)
    assert (found.price is not None) is good


def test_a_stablecoin_is_not_taken_for_a_dollar() -> None:
    """USDC stood at 0.88 in March 2023: a market that knows only USDT is worth what USDT is worth."""
    prices = [
        said("a", "100", "BTC"),
        said("b", "113", "BTC", "USDT"),
        said("a", "0.88", "USDT"),
        said("c", "0.8805", "USDT"),
    ]
    found = agree(("BTC", "USD"), prices, RULES, NOW)
    assert found.price == Decimal("113") * Decimal("0.88")
    without = agree(("BTC", "USD"), prices[:2], RULES, NOW)
    assert (without.price, without.why) == (None, "too_few")


def test_prices_in_each_other_do_not_go_round_for_ever() -> None:
    prices = [said("a", "2", "X", "Y"), said("b", "0.5", "Y", "X"), said("c", "1", "Y", "USD")]
    assert agree(("X", "USD"), prices, RULES, NOW).price is None


def test_the_chain_s_feed_only_bounds() -> None:
    feed = said("hive", "0.25", bound=True)
    markets = [said("a", "0.40"), said("b", "0.41")]
    assert agree(HIVE, [*markets, feed], RULES, NOW).price == Decimal("0.40")  # a median of days lags behind
    assert agree(HIVE, [markets[0], feed], RULES, NOW).why == "too_few"  # it is no second source
    assert agree(HIVE, [said("a", "0.51"), said("b", "0.51"), feed], RULES, NOW).why == "out_of_bounds"
    assert agree(HIVE, [said("a", "0.12"), said("b", "0.12"), feed], RULES, NOW).why == "out_of_bounds"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine all is slow
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 400)), max_size=10))
def test_a_rate_always_has_a_quorum_within_the_limit_behind_it(prices: list[tuple[str, int]]) -> None:
    found = agree(HIVE, [said(s, str(p)) for s, p in prices], RULES, NOW)
    if found.price is not None:
        near = {s for s, p in prices if found.price <= p <= found.price * Decimal("1.05")}
        assert len(near) >= RULES.quorum
        assert set(found.agreeing) <= near


# -- the jump breaker ------------------------------------------------------------------------------------


def shown(prices: list[str | None], breaker: Breaker | None = None) -> list[bool]:
    breaker, believed = breaker or Breaker(Decimal(100)), []
    for price in prices:
        breaker, good = breaker_step(breaker, None if price is None else Decimal(price), RULES)
        believed.append(good)
    return believed


@pytest.mark.parametrize("price", ["79", "121", "1"])
def test_a_jump_is_believed_when_it_stays(price: str) -> None:
    assert shown([price] * (STAYS + 1)) == [False] * (STAYS - 1) + [True, True]


def test_a_jump_that_goes_back_was_never_believed() -> None:
    assert shown(["10", "10", "100", "10", "101"]) == [False, False, True, False, True]


def test_a_jump_that_goes_on_jumping_or_is_interrupted_is_not_believed() -> None:
    assert shown(["10", "20", "40", "80.0"]) == [False, False, False, True]  # the last is near the old one again
    assert shown(["50", "50", None, "50", "50"]) == [False] * 5


def test_small_steps_and_a_first_price_are_believed() -> None:
    assert shown(["119", "100", "81"]) == [True, True, True]
    assert shown(["5"], Breaker()) == [True]
