"""What a ticket costs in base units: as the creator wrote it, by a rate, with the commission inside or on top."""

from decimal import Decimal

import msgspec
from sqlalchemy import Connection

from chainwatch.ledger import rates
from chainwatch.model import Asset
from chainwatch.tickets.rates import Rate, base_units


class Price(msgspec.Struct, frozen=True):
    """``amount``: what is to be paid, in base units; ``fee``: the commission in it.  ``rate``: of a price in money."""

    amount: int
    fee: int
    rate: Rate | None = None


def priced(base: int, bps: int, on_top: bool, rate: Rate | None = None) -> Price:
    """Return what the buyer pays for a ticket of ``base``.

    The commission is ``bps`` of the ticket's price, rounded down: a part of it, or beside it when it is on top.
    """
    fee = base * bps // 10_000
    return Price(base + fee if on_top else base, fee, rate)


def in_money(
    connection: Connection, asset: Asset, currency: str, amount: str, at_ms: int, max_age_ms: int
) -> tuple[int, Rate] | None:
    """Return what an amount of money is in base units at ``at_ms``, and by which rate; None when there is none.

    There is no fallback: without a rate nothing is sold (Bitcart 0.10.1.0 sold one to one).
    """
    rate = rates.current(connection, asset.code, currency, at_ms, max_age_ms)
    return None if rate is None else (base_units(Decimal(amount), rate, asset.decimals), rate)
