"""What an event sells: prices in coins or money, tiers, allotments; read from what creators write."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from chainwatch.errors import Rejected
from chainwatch.ledger.tables import allotments, event_prices, tier_prices, tiers
from chainwatch.model import Asset
from chainwatch.units import parse_units

FIAT = frozenset({"USD", "EUR", "GBP", "CHF", "JPY", "CAD", "AUD"})
"""Currencies that a price may be written in without being a coin; they need a rate at purchase."""

CODE = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)
"""Of a tier or an allotment: a tier's stands in memos as ``:tier:<code>``."""

MAX_TIERS, MAX_ALLOTMENTS, MAX_CURRENCIES = 50, 50, 100
"""Of one event: what a page can show, and what one transaction should write."""

MAX_SEATS = 10**9
MAX_TITLE = 200
_MONEY = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,8})?", re.ASCII)

Prices = dict[str, int | None]
"""Asset code to base units; None: accepted, priced by the rate when a purchase is opened."""


class NewTier(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of ticket.  ``ticket_currency``: None for the event's.  ``prices``: further coins, code to decimal text."""

    code: str
    ticket_price: str
    title: str = ""
    ticket_currency: str | None = None
    prices: Mapping[str, str] = {}
    quantity: int | None = None
    sales_start_ms: int | None = None
    sales_end_ms: int | None = None


class NewAllotment(msgspec.Struct, frozen=True, kw_only=True):
    """Seats set aside for one channel."""

    code: str
    quantity: int
    title: str = ""


def prices(
    price: str, currency: str, more: Mapping[str, str], accept: Sequence[str], assets: Mapping[str, Asset]
) -> Prices:
    """Return what is to be paid in each coin.

    A price in money is accepted in the coins of ``accept``, at the rate of the moment; a price in a coin is that, and
    ``more``.  ``Rejected``: unknown_currency, bad_price.
    """
    if len(more) + len(accept) > MAX_CURRENCIES:
        raise Rejected("unknown_currency", f"an event accepts at most {MAX_CURRENCIES} currencies")
    found: Prices = {}
    if currency in FIAT:
        if not _MONEY.fullmatch(price):
            raise Rejected("bad_price", f"price in {currency}: {price[:80]!r} is not a plain decimal number")
        found |= dict.fromkeys(accept, 0 if Decimal(price) == 0 else None)
        if not accept and not more and Decimal(price) != 0:
            raise Rejected("bad_price", f"a price in {currency} needs the coins that are accepted for it")
    elif accept:
        raise Rejected("bad_price", f"a price in {currency} names the amount of every further coin")
    wanted = dict(more) if currency in FIAT else {currency: price, **more}
    for code, amount in wanted.items():
        if code not in assets:
            continue  # refused below, with the others
        try:
            found[code] = parse_units(amount, assets[code].decimals)
        except Rejected as error:
            raise Rejected("bad_price", f"price in {code}: {error}") from error
    if unknown := sorted((found.keys() | wanted.keys()) - assets.keys()):
        raise Rejected("unknown_currency", f"{unknown[0]!r} is no configured asset; there are {', '.join(assets)}")
    if len({amount == 0 for amount in found.values()}) > 1:
        raise Rejected("bad_price", "a ticket is free in every currency or in none")
    return found


def is_free(price: str) -> bool:
    """Is this price (decimal text) nothing?"""
    return Decimal(price) == 0


def check_tiers(wanted: Sequence[NewTier]) -> None:
    """``Rejected`` ``bad_tier`` for what is wrong with tiers by themselves."""
    if len(wanted) > MAX_TIERS or len({t.code for t in wanted}) != len(wanted):
        raise Rejected("bad_tier", f"an event has at most {MAX_TIERS} tiers, each with a code of its own")
    for t in wanted:
        if not CODE.fullmatch(t.code):
            raise Rejected("bad_tier", f"tier {t.code[:40]!r}: a code is 1-32 of a-z0-9_-")
        if len(t.title) > MAX_TITLE:
            raise Rejected("bad_tier", f"tier {t.code}: a title has at most {MAX_TITLE} characters")
        if t.quantity is not None and not 1 <= t.quantity <= MAX_SEATS:
            raise Rejected("bad_tier", f"tier {t.code}: a quantity is from 1 to a thousand million")
        if t.sales_start_ms is not None and t.sales_end_ms is not None and t.sales_start_ms >= t.sales_end_ms:
            raise Rejected("bad_times", f"tier {t.code}: its sales end before they start")


def check_allotments(wanted: Sequence[NewAllotment]) -> None:
    """``Rejected`` ``bad_allotment`` for what is wrong with allotments by themselves."""
    if len(wanted) > MAX_ALLOTMENTS or len({a.code for a in wanted}) != len(wanted):
        raise Rejected("bad_allotment", f"an event has at most {MAX_ALLOTMENTS} allotments, each with its own code")
    for a in wanted:
        if not CODE.fullmatch(a.code) or len(a.title) > MAX_TITLE or not 0 <= a.quantity <= MAX_SEATS:
            raise Rejected(
                "bad_allotment", f"allotment {a.code[:40]!r}: its code is 1-32 of a-z0-9_-, and it has seats"
            )


def by_memo(admission: str, priced: Sequence[Prices]) -> bool:
    """May a memo alone buy?  Open to all, priced in coins, above zero: all else needs a purchase."""
    return admission == "open" and bool(priced) and all(p and all(p.values()) for p in priced)


def write_prices(connection: Connection, event_id: int, amounts: Prices) -> None:
    """Replace the prices of an event; open purchases keep theirs."""
    connection.execute(delete(event_prices).where(event_prices.c.event_id == event_id))
    if amounts:
        rows = [{"event_id": event_id, "asset": a, "amount": n} for a, n in amounts.items()]
        connection.execute(insert(event_prices), rows)


def write_tiers(connection: Connection, event_id: int, currency: str, wanted: Sequence[tuple[NewTier, Prices]]) -> None:
    """Make tiers, or change those whose code is there; a quantity never goes below what is sold and held."""
    known = {t.code: t for t in tiers_of(connection, event_id)}
    position = len(known)
    for tier, amounts in wanted:
        row: dict[str, Any] = {
            "title": tier.title or tier.code,
            "ticket_price": tier.ticket_price,
            "ticket_currency": tier.ticket_currency or currency,
            "quantity": tier.quantity,
            "sales_start_ms": tier.sales_start_ms,
            "sales_end_ms": tier.sales_end_ms,
        }
        if (old := known.get(tier.code)) is None:
            position += 1
            counters = {"sold": 0, "held": 0, "unsigned": 0, "position": position}
            made = insert(tiers).values(event_id=event_id, code=tier.code, **counters, **row)
            tier_id = connection.execute(made.returning(tiers.c.id)).scalar_one()
        else:
            if tier.quantity is not None and tier.quantity < old.sold + old.held:
                raise Rejected("bad_tier", f"tier {tier.code}: {old.sold + old.held} are sold or held already")
            tier_id = old.id
            connection.execute(update(tiers).where(tiers.c.id == tier_id).values(row))
            connection.execute(delete(tier_prices).where(tier_prices.c.tier_id == tier_id))
        if amounts:
            rows = [{"tier_id": tier_id, "asset": a, "amount": n} for a, n in amounts.items()]
            connection.execute(insert(tier_prices), rows)


def write_allotments(connection: Connection, event_id: int, wanted: Sequence[NewAllotment]) -> int:
    """Make allotments, or change those whose code is there; return the seats that are set aside now and not taken."""
    known = {a.code: a for a in allotments_of(connection, event_id)}
    for one in wanted:
        values = {"title": one.title or one.code, "quantity": one.quantity}
        if (old := known.get(one.code)) is None:
            counters = {"sold": 0, "held": 0, "unsigned": 0}
            connection.execute(insert(allotments).values(event_id=event_id, code=one.code, **counters, **values))
            continue
        if one.quantity < old.sold + old.held:
            raise Rejected("bad_allotment", f"allotment {one.code}: {old.sold + old.held} are sold or held already")
        connection.execute(update(allotments).where(allotments.c.id == old.id).values(values))
    return sum(a.quantity - a.sold - a.held for a in allotments_of(connection, event_id))


def prices_of(connection: Connection, event_id: int) -> Prices:
    """Return what a ticket without a tier costs in each accepted coin."""
    rows = connection.execute(select(event_prices).where(event_prices.c.event_id == event_id))
    return {r.asset: r.amount for r in rows}


def tiers_of(connection: Connection, event_id: int) -> Sequence[Row[Any]]:
    """Return the tiers of an event in their order."""
    return connection.execute(
        select(tiers).where(tiers.c.event_id == event_id).order_by(tiers.c.position, tiers.c.id)
    ).all()


def tier_prices_of(connection: Connection, event_id: int) -> dict[int, Prices]:
    """Return what each tier of an event costs in each accepted coin, by the tier's row id."""
    rows = select(tier_prices).join_from(tier_prices, tiers).where(tiers.c.event_id == event_id)
    found: dict[int, Prices] = {}
    for r in connection.execute(rows):
        found.setdefault(r.tier_id, {})[r.asset] = r.amount
    return found


def allotments_of(connection: Connection, event_id: int) -> Sequence[Row[Any]]:
    """Return the allotments of an event."""
    return connection.execute(
        select(allotments).where(allotments.c.event_id == event_id).order_by(allotments.c.id)
    ).all()
