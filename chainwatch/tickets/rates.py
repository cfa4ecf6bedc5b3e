"""What a coin costs in money: many markets' prices to one rate, or to none.  Pure.

The rules: sources that do not copy from each other, at least ``quorum`` of them within ``agree_percent``, none older
than ``max_age_ms``; of those that agree the lower price of the coin, because the buyer pays in coins; a jump breaker;
Hive's own feed, a median of days, only as a sanity bound.  There is no fallback number: no rate, no quote.  Stablecoins
have a price like everything else.  Prices are ``Decimal`` read from text.
"""

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Literal

import msgspec

from chainwatch.errors import Rejected

Pair = tuple[str, str]
"""(coin, currency), such as ``("HIVE", "USD")``."""

STAYS = 3
"""Rounds in a row that a price must stay where it jumped to before it is believed."""

CLOCK_SKEW_MS = 60_000
"""How far ahead of ours a source's clock may be: more is no time of a price."""

LEAST, MOST = Decimal("1e-12"), Decimal("1e12")
"""Prices beyond these are mistakes, and an exponent of a thousand million would fill the memory."""

DIGITS = 40
"""Digits before and behind the point of an amount of money: far more than any price has."""

BOUND_FACTOR = 2
"""How far a market may be from the chain's own feed: that is a median of three and a half days, and Hive has moved by
half in a day (2021-2024)."""


class Rate(msgspec.Struct, frozen=True):
    """One whole coin of ``asset`` costs ``price`` in ``currency``: what ``sources`` agreed on at ``at_ms``."""

    asset: str
    currency: str
    price: Decimal
    at_ms: int
    sources: tuple[str, ...]


class Price(msgspec.Struct, frozen=True):
    """What one source says: a coin of ``coin`` brings ``price`` of ``currency``, which may itself be a coin.

    ``at_ms``: when the source made it, else when it was asked.  ``bound``: no market, only a limit to believe within.
    """

    source: str
    coin: str
    currency: str
    price: Decimal
    at_ms: int
    bound: bool = False


class Rules(msgspec.Struct, frozen=True):
    """When prices become a rate (``[rates]``)."""

    quorum: int = 2
    agree_percent: int = 5
    max_age_ms: int = 300_000
    jump_percent: int = 20


Why = Literal["", "no_source", "too_few", "disagree", "split", "out_of_bounds", "jump"]


class Agreement(msgspec.Struct, frozen=True):
    """What the sources of one pair come to.

    ``price`` None: no rate, and ``why``.  ``agreeing``: the largest group that agrees, also where it is too small.
    """

    price: Decimal | None
    agreeing: tuple[str, ...] = ()
    why: Why = ""


def base_units(amount: Decimal, rate: Rate, decimals: int) -> int:
    """Return how many base units of a coin with ``decimals`` are worth ``amount`` of money, rounded up.

    Exact: integers all the way.  ``Rejected('amount')`` for what is no amount, ``Rejected('no_rate')`` for no price.
    """
    if not amount.is_finite() or amount < 0 or abs(amount.adjusted()) > DIGITS:
        raise Rejected("amount", f"{amount} is no amount of money")
    if not (rate.price.is_finite() and LEAST <= rate.price <= MOST):
        raise Rejected("no_rate", f"no price of {rate.asset} in {rate.currency}")
    above, below = amount.as_integer_ratio()
    price_above, price_below = rate.price.as_integer_ratio()
    numerator, denominator = above * price_below * 10**decimals, below * price_above
    return -(-numerator // denominator)


def agree(pair: Pair, prices: Collection[Price], rules: Rules, now_ms: int) -> Agreement:
    """Say what the price of ``pair`` is.

    Prices in another coin (``BTC`` in ``USDT``) count through that coin's own agreed price in the currency, which is
    not taken for one.
    """
    return _Round(prices, rules, now_ms).agreement(pair, frozenset())


class _Round:
    """One look at all prices; pairs that others are computed through are agreed on once."""

    def __init__(self, prices: Collection[Price], rules: Rules, now_ms: int) -> None:
        self._rules = rules
        self._prices: dict[str, list[Price]] = {}
        for price in prices:
            if _usable(price) and -CLOCK_SKEW_MS <= now_ms - price.at_ms <= rules.max_age_ms:
                self._prices.setdefault(price.coin, []).append(price)

    def agreement(self, pair: Pair, open_pairs: frozenset[Pair]) -> Agreement:
        """``open_pairs``: those that this one is computed for; never computed through themselves."""
        coin, currency = pair
        open_pairs |= {pair}
        said: dict[str, Decimal] = {}
        bounds: list[Decimal] = []
        for price in self._prices.get(coin, ()):
            worth = self._in(price, currency, open_pairs)
            if worth is None:
                continue
            if price.bound:
                bounds.append(worth)
            else:  # of two prices of one source the lower: it is still one source
                said[price.source] = min(worth, said.get(price.source, worth))
        return _judge(said, bounds, self._rules)

    def _in(self, price: Price, currency: str, open_pairs: frozenset[Pair]) -> Decimal | None:
        if price.currency == currency:
            return price.price
        through = (price.currency, currency)
        if price.bound or through in open_pairs or price.currency not in self._prices:
            return None
        other = self.agreement(through, open_pairs).price
        return None if other is None else price.price * other


def _usable(price: Price) -> bool:
    return price.price.is_finite() and LEAST <= price.price <= MOST


def _judge(said: Mapping[str, Decimal], bounds: Sequence[Decimal], rules: Rules) -> Agreement:
    if not said:
        return Agreement(None, why="no_source")
    ordered = sorted((price, source) for source, price in said.items())
    groups = [_group(ordered, i, rules.agree_percent) for i in range(len(ordered))]
    size = max(map(len, groups))
    largest = [g for g in groups if len(g) == size]
    names = tuple(sorted(source for _, source in largest[0]))
    if size < rules.quorum:
        return Agreement(None, names, "too_few" if len(said) < rules.quorum else "disagree")
    if not set(largest[0]) & set(largest[-1]):
        return Agreement(None, names, "split")  # two camps of the same size: neither is believed
    price = largest[0][0][0]
    if any(not bound / BOUND_FACTOR <= price <= bound * BOUND_FACTOR for bound in bounds):
        return Agreement(None, names, "out_of_bounds")
    return Agreement(price, names)


def _group(ordered: Sequence[tuple[Decimal, str]], first: int, percent: int) -> list[tuple[Decimal, str]]:
    """Return those from ``first`` on that are at most ``percent`` above it."""
    limit = ordered[first][0] * (100 + percent)
    return [one for one in ordered[first:] if one[0] * 100 <= limit]


class Breaker(msgspec.Struct, frozen=True):
    """The jump breaker of one pair: the last price that was believed, and a new one that must first stay."""

    last: Decimal | None = None
    candidate: Decimal | None = None
    rounds: int = 0


def breaker_step(breaker: Breaker, price: Decimal | None, rules: Rules) -> tuple[Breaker, bool]:
    """Show the breaker one round's price; return what it is now, and whether the price is believed.

    A price more than ``jump_percent`` from the last believed one is believed after ``STAYS`` rounds in a row that agree
    with each other.  A round without a price begins the count again.
    """
    if price is None:
        return Breaker(breaker.last), False
    if breaker.last is None or _near(price, breaker.last, rules.jump_percent):
        return Breaker(price), True
    if breaker.candidate is not None and _near(price, breaker.candidate, rules.agree_percent):
        rounds = breaker.rounds + 1
        if rounds >= STAYS:
            return Breaker(price), True
        return Breaker(breaker.last, breaker.candidate, rounds), False
    return Breaker(breaker.last, price, 1), False


def _near(price: Decimal, other: Decimal, percent: int) -> bool:
    return abs(price - other) * 100 <= other * percent
