"""Events as they are sold: made, listed, cancelled.

An event is known by its slug (immutable, lower-case, with a letter, never given out twice) or by its
number; both stand in memos.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, insert, select, update

from chainwatch.errors import Rejected
from chainwatch.ledger import outbox, settle
from chainwatch.ledger.bulk import chunks
from chainwatch.ledger.context import Context
from chainwatch.ledger.facts import Changed
from chainwatch.ledger.tables import event_prices, events, purchases, tickets, transfers
from chainwatch.model import Asset
from chainwatch.units import parse_units

SLUG = re.compile(r"(?=.*[a-z])[a-z0-9_-]{1,64}", re.ASCII)
NUMBER = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
FIAT = frozenset({"USD", "EUR", "GBP", "CHF", "JPY", "CAD", "AUD"})
"""Currencies that a price may be written in without being a coin; they need a rate at purchase."""

MAX_TITLE, MAX_DESCRIPTION = 200, 10_000
"""Characters: what a page and a wallet's window can show; what a database row should hold."""


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What a creator says of an event.  ``prices``: further accepted coins, asset code to decimal text."""

    title: str
    ticket_price: str
    ticket_currency: str
    id: str | None = None
    prices: Mapping[str, str] = {}
    creator_account: str = ""
    description: str = ""
    space_type: str = "custom"
    space_id: str = ""
    max_attendees: int | None = None
    event_start_ms: int | None = None
    event_end_ms: int | None = None
    sales_start_ms: int | None = None
    sales_end_ms: int | None = None
    require_camera: bool = False
    require_microphone: bool = False
    age_restriction: int | None = None
    event_category: str = ""


def create(
    connection: Connection, new: NewEvent, assets: Mapping[str, Asset], commission_bps: int, now_ms: int, actor: str
) -> str:
    """Make an event; return its public id.  ``Rejected`` with a code for what is wrong."""
    number, slug = _identity(connection, new.id)
    _check(new)
    prices = _prices(new, assets)
    by_memo = bool(prices) and all(prices.values())
    row: dict[str, Any] = {f: getattr(new, f) for f in _COPIED}
    row |= {
        "slug": slug,
        "latest_end_ms": new.event_end_ms,
        "tickets_sold": 0,
        "tickets_held": 0,
        "last_number": 0,
        "status": "active",
        "dispute": False,
        "by_memo": by_memo,
        "commission_bps": commission_bps,
        "created_ms": now_ms,
        "updated_ms": now_ms,
    }
    # Ids are given here, not by a sequence, so that numbers of the platform's own choosing fit in between.
    newest = connection.execute(select(func.max(events.c.id))).scalar_one_or_none()
    event_id = number or (newest or 0) + 1
    connection.execute(insert(events).values(id=event_id, **row))
    if prices:
        rows = [{"event_id": event_id, "asset": a, "amount": n} for a, n in prices.items()]
        connection.execute(insert(event_prices), rows)
    public = slug or str(event_id)
    outbox.audit(connection, now_ms, actor, "event_created", f"event:{public}")
    return public


_COPIED = (
    "title",
    "ticket_price",
    "ticket_currency",
    "creator_account",
    "description",
    "space_type",
    "space_id",
    "max_attendees",
    "event_start_ms",
    "event_end_ms",
    "sales_start_ms",
    "sales_end_ms",
    "require_camera",
    "require_microphone",
    "age_restriction",
    "event_category",
)


def _identity(connection: Connection, wanted: str | None) -> tuple[int | None, str | None]:
    if wanted is None:
        return None, None
    if NUMBER.fullmatch(wanted):
        if connection.execute(select(events.c.id).where(events.c.id == int(wanted))).first():
            raise Rejected("event_exists", f"event {wanted} exists already")
        return int(wanted), None
    if not SLUG.fullmatch(wanted):
        raise Rejected("bad_event_id", "an event id is a number, or 1-64 of a-z0-9_- with a letter in it")
    if connection.execute(select(events.c.id).where(events.c.slug == wanted)).first():
        raise Rejected("event_exists", f"event {wanted!r} exists already")
    return None, wanted


def _check(new: NewEvent) -> None:
    if not new.title.strip() or len(new.title) > MAX_TITLE:
        raise Rejected("bad_title", f"a title has 1 to {MAX_TITLE} characters")
    if len(new.description) > MAX_DESCRIPTION:
        raise Rejected("bad_description", f"a description has at most {MAX_DESCRIPTION} characters")
    if new.max_attendees is not None and not 1 <= new.max_attendees <= 10**9:
        raise Rejected("bad_capacity", "a capacity is from 1 to a thousand million; leave it out for unlimited")
    for first, last, what in (
        (new.event_start_ms, new.event_end_ms, "event"),
        (new.sales_start_ms, new.sales_end_ms, "sales"),
    ):
        if first is not None and last is not None and first >= last:
            raise Rejected("bad_times", f"the {what} end before they start")


def _prices(new: NewEvent, assets: Mapping[str, Asset]) -> dict[str, int]:
    wanted = dict(new.prices)
    if new.ticket_currency not in FIAT:
        wanted.setdefault(new.ticket_currency, new.ticket_price)
    prices = {}
    for code, amount in wanted.items():
        if code not in assets:
            raise Rejected("unknown_currency", f"{code!r} is no configured asset; there are {', '.join(assets)}")
        try:
            prices[code] = parse_units(amount, assets[code].decimals)
        except Rejected as error:
            raise Rejected("bad_price", f"price in {code}: {error}") from error
    return prices


def find(connection: Connection, public_id: str) -> Row[Any]:
    """Return an event by slug or number; ``Rejected`` when there is none."""
    by = events.c.id == int(public_id) if NUMBER.fullmatch(public_id) else events.c.slug == public_id
    row = connection.execute(select(events).where(by)).one_or_none()
    if row is None or (row.slug is not None and row.slug != public_id):
        raise Rejected("unknown_event", f"no event {public_id!r}")
    return row


def listing(connection: Connection, limit: int = 100, after: int = 0) -> Sequence[Row[Any]]:
    """Return events by id, at most ``limit`` after id ``after``."""
    rows = select(events).where(events.c.id > after).order_by(events.c.id).limit(limit)
    return connection.execute(rows).all()


def prices_of(connection: Connection, event_id: int) -> dict[str, int]:
    """Return what a ticket costs in each accepted coin."""
    rows = connection.execute(select(event_prices).where(event_prices.c.event_id == event_id))
    return {r.asset: r.amount for r in rows}


def cancel(connection: Connection, public_id: str, contexts: Mapping[str, Context], now_ms: int, actor: str) -> int:
    """Cancel an event: sales end, every live ticket is cancelled and its refund is due.

    ``contexts``: the chains' contexts by asset code.  Returns the number of tickets cancelled.
    """
    event = find(connection, public_id)
    if event.status == "cancelled":
        return 0
    connection.execute(update(events).where(events.c.id == event.id).values(status="cancelled", updated_ms=now_ms))
    live = tickets.c.state.in_(("active", "used", "suspended"))
    cancelled = connection.execute(
        update(tickets).where(tickets.c.event_id == event.id, live).values(state="cancelled")
    )
    for asset, ids in _paid_by_asset(connection, event.id).items():
        context = contexts.get(asset)
        if context is None:
            raise Rejected("chain_not_configured", f"money in {asset} came in, and its chain is not configured")
        for part in chunks(ids):
            settle.settle(connection, Changed(confirmed=set(part)), context, now_ms, None)
    message = outbox.Message("event.cancelled", f"event:{event.id}", {"event_id": public_id})
    outbox.post(connection, now_ms, [message])
    outbox.audit(connection, now_ms, actor, "event_cancelled", f"event:{public_id}")
    return cancelled.rowcount


def _paid_by_asset(connection: Connection, event_id: int) -> dict[str, list[int]]:
    """Return the transfers of an event's purchases, by the asset of the purchase."""
    rows = connection.execute(
        select(transfers.c.id, purchases.c.asset)
        .join_from(transfers, purchases, transfers.c.purchase_id == purchases.c.id)
        .where(purchases.c.event_id == event_id)
        .order_by(transfers.c.id)
    )
    found: dict[str, list[int]] = {}
    for row in rows:
        found.setdefault(row.asset, []).append(row.id)
    return found
