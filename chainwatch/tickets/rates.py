"""Prices of coins in money, and what an amount of money is in base units.  Pure."""

from decimal import ROUND_CEILING, Decimal, localcontext

import msgspec


class Rate(msgspec.Struct, frozen=True):
    """``price``: one whole coin of ``asset`` in ``currency``, agreed at ``at_ms`` by ``sources``."""

    asset: str
    currency: str
    price: Decimal
    at_ms: int
    sources: tuple[str, ...]


def base_units(amount: Decimal, rate: Rate, decimals: int) -> int:
    """Return what ``amount`` of the rate's currency is in base units of its asset, rounded up."""
    with localcontext() as context:
        context.prec = 100  # 78 digits of base units, and room for the division
        context.rounding = ROUND_CEILING
        return int((amount.scaleb(decimals) / rate.price).to_integral_value(ROUND_CEILING))
