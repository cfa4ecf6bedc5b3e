"""Events as requests and answers carry them."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy import Row

from chainwatch.api import amounts, wire
from chainwatch.api.paging import Page
from chainwatch.errors import Rejected
from chainwatch.ledger import events
from chainwatch.ledger.events import FIAT, Changes, NewAllotment, NewEvent, NewTier
from chainwatch.ledger.queries import Offer
from chainwatch.model import Asset
from chainwatch.times import format_ms

Word = Annotated[str, Meta(max_length=200)]
Amount = Annotated[str, Meta(max_length=100)] | int
"""Decimal text; a JSON number counts as its text."""
Time = Annotated[str, Meta(max_length=64)] | Annotated[int, Meta(ge=0, le=253_402_300_799_999)] | None
"""RFC 3339, or Unix milliseconds."""
Count = Annotated[int, Meta(ge=1, le=10**9)]
Admission = Literal["open", "approval", "invite"]
EntryPolicy = Literal["once", "reentry", "daily"]
DoorKind = Literal["wallet", "qr", "both"]


class TierBody(msgspec.Struct, kw_only=True):
    """A kind of ticket with a price, a number and a time of its own."""

    code: Annotated[str, Meta(max_length=32)]
    ticket_price: Amount
    title: Word = ""
    ticket_currency: Word | None = None
    prices: Annotated[dict[str, Amount], Meta(max_length=100)] = {}
    quantity: Count | None = None
    sales_start: Time = None
    sales_end: Time = None


class AllotmentBody(msgspec.Struct, kw_only=True):
    """Seats set aside for one channel: only purchases that name it take them."""

    code: Annotated[str, Meta(max_length=32)]
    quantity: Annotated[int, Meta(ge=0, le=10**9)]
    title: Word = ""


class CreateEvent(msgspec.Struct, kw_only=True):
    """A new event.

    ``ticket_currency`` is a coin, or a currency of money; then ``supported_crypto`` are the coins that are taken at the
    rate of the moment.  ``prices`` are further coins with their own price, code to decimal text.
    """

    title: Annotated[str, Meta(max_length=200)]
    ticket_price: Amount
    ticket_currency: Word
    id: Annotated[str, Meta(max_length=64)] | Annotated[int, Meta(ge=1, lt=10**18)] | None = None
    description: Annotated[str, Meta(max_length=10_000)] = ""
    supported_crypto: Annotated[list[Word], Meta(max_length=100)] = []
    prices: Annotated[dict[str, Amount], Meta(max_length=100)] = {}
    tiers: Annotated[list[TierBody], Meta(max_length=50)] = []
    allotments: Annotated[list[AllotmentBody], Meta(max_length=50)] = []
    creator_account: Word = ""
    space_type: Word = "custom"
    space_id: Word = ""
    max_attendees: Count | None = None
    event_start: Time = None
    event_end: Time = None
    sales_start: Time = None
    sales_end: Time = None
    require_camera: bool = False
    require_microphone: bool = False
    age_restriction: Annotated[int, Meta(ge=0, le=120)] | None = None
    event_category: Word = ""
    fee_on_top: bool = False
    tickets_per_wallet: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    open_per_wallet: Annotated[int, Meta(ge=1, le=1000)] = 1
    admission: Admission = "open"
    entry_policy: EntryPolicy = "reentry"
    door: DoorKind = "both"
    anonymous: bool = False
    classic_until: Time = None


class ChangeEvent(msgspec.Struct, kw_only=True):
    """What changes; what is left out stays.  Prices are replaced as a whole when any of them is named."""

    title: Annotated[str, Meta(max_length=200)] | UnsetType = UNSET
    description: Annotated[str, Meta(max_length=10_000)] | UnsetType = UNSET
    ticket_price: Amount | UnsetType = UNSET
    ticket_currency: Word | UnsetType = UNSET
    supported_crypto: Annotated[list[Word], Meta(max_length=100)] | UnsetType = UNSET
    prices: Annotated[dict[str, Amount], Meta(max_length=100)] | UnsetType = UNSET
    tiers: Annotated[list[TierBody], Meta(max_length=50)] | UnsetType = UNSET
    allotments: Annotated[list[AllotmentBody], Meta(max_length=50)] | UnsetType = UNSET
    space_type: Word | UnsetType = UNSET
    space_id: Word | UnsetType = UNSET
    max_attendees: Count | UnsetType | None = UNSET
    event_start: Time | UnsetType = UNSET
    event_end: Time | UnsetType = UNSET
    sales_start: Time | UnsetType = UNSET
    sales_end: Time | UnsetType = UNSET
    require_camera: bool | UnsetType = UNSET
    require_microphone: bool | UnsetType = UNSET
    age_restriction: Annotated[int, Meta(ge=0, le=120)] | UnsetType | None = UNSET
    event_category: Word | UnsetType = UNSET
    tickets_per_wallet: Annotated[int, Meta(ge=1, le=10_000)] | UnsetType | None = UNSET
    open_per_wallet: Annotated[int, Meta(ge=1, le=1000)] | UnsetType = UNSET
    admission: Admission | UnsetType = UNSET
    entry_policy: EntryPolicy | UnsetType = UNSET
    door: DoorKind | UnsetType = UNSET
    anonymous: bool | UnsetType = UNSET
    classic_until: Time | UnsetType = UNSET


class EventsQuery(Page, frozen=True, kw_only=True):
    """What to look for.  Prices are decimal text in ``currency``; dates bound the start of the event."""

    upcoming: bool = False
    category: Word | None = None
    creator: Word | None = None
    status: Word | None = None
    currency: Word | None = None
    min_price: Annotated[str, Meta(max_length=60)] | None = None
    max_price: Annotated[str, Meta(max_length=60)] | None = None
    starts_after: Annotated[str, Meta(max_length=64)] | None = None
    starts_before: Annotated[str, Meta(max_length=64)] | None = None


class Price(msgspec.Struct, frozen=True):
    """In one coin.  Both amounts are None where the rate of the moment of purchase says."""

    currency: str
    amount: str | None
    amount_base: str | None


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of ticket.  ``available``: None for as many as the event has."""

    code: str
    title: str
    ticket_price: str
    ticket_currency: str
    prices: list[Price]
    quantity: int | None
    available: int | None
    sales_start: str | None
    sales_end: str | None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """``live``: begun by ``start`` and not ended.  ``tickets_available``: None for unlimited."""

    id: str
    creator_account: str
    title: str
    description: str
    space_type: str
    space_id: str
    ticket_price: str
    ticket_currency: str
    supported_crypto: list[str]
    prices: list[Price]
    tiers: list[Tier]
    max_attendees: int | None
    tickets_sold: int
    tickets_held: int
    tickets_available: int | None
    sold_out: bool
    event_start: str | None
    event_end: str | None
    sales_start: str | None
    sales_end: str | None
    require_camera: bool
    require_microphone: bool
    age_restriction: int | None
    event_category: str
    status: str
    live: bool
    started_at: str | None
    ended_at: str | None
    dispute: bool
    fee_on_top: bool
    tickets_per_wallet: int | None
    admission: str
    entry_policy: str
    door: str
    anonymous: bool
    created_at: str
    updated_at: str


class Events(msgspec.Struct, frozen=True):
    """A page."""

    events: list[Event]
    next_cursor: str | None


class Cancelled(msgspec.Struct, frozen=True):
    """``tickets_cancelled``: their refunds are due."""

    event: Event
    tickets_cancelled: int


# -- requests --------------------------------------------------------------------------------------------


def new_event(body: CreateEvent, creator: str, assets: Mapping[str, Asset]) -> NewEvent:
    """Return the event that a request asks for."""
    currency = _currency(body.ticket_currency, assets)
    rest: dict[str, Any] = {f: getattr(body, f) for f in _SAME}
    rest |= {f"{f}_ms": wire.time_ms(getattr(body, f), f) for f in _TIMES}
    codes = [amounts.code(c, assets) for c in body.supported_crypto]
    return NewEvent(
        id=None if body.id is None else str(body.id),
        ticket_price=str(body.ticket_price),
        ticket_currency=currency,
        prices=_prices(body.prices, assets),
        accept=tuple(dict.fromkeys(c for c in codes if c != currency)),
        tiers=tuple(_tier(t, assets) for t in body.tiers),
        allotments=tuple(NewAllotment(code=a.code, quantity=a.quantity, title=a.title) for a in body.allotments),
        creator_account=creator,
        **rest,
    )


def changes(body: ChangeEvent, assets: Mapping[str, Asset]) -> Changes:
    """Return the changes that a request asks for."""
    given = {f: v for f in ChangeEvent.__struct_fields__ if (v := getattr(body, f)) is not UNSET}
    values: dict[str, Any] = {f: v for f, v in given.items() if f in _SAME}
    values |= {f"{f}_ms": wire.time_ms(v, f) for f, v in given.items() if f in _TIMES}
    if "ticket_price" in given:
        values["ticket_price"] = str(given["ticket_price"])
    if "ticket_currency" in given:
        values["ticket_currency"] = _currency(given["ticket_currency"], assets)
    if "prices" in given:
        values["prices"] = _prices(given["prices"], assets)
    if "supported_crypto" in given:
        values["accept"] = tuple(dict.fromkeys(amounts.code(c, assets) for c in given["supported_crypto"]))
    if "tiers" in given:
        values["tiers"] = tuple(_tier(t, assets) for t in given["tiers"])
    if "allotments" in given:
        made = (NewAllotment(code=a.code, quantity=a.quantity, title=a.title) for a in given["allotments"])
        values["allotments"] = tuple(made)
    if not values:
        raise Rejected("bad_request", "nothing is to be changed")
    return Changes(**values)


_TIMES = ("event_start", "event_end", "sales_start", "sales_end", "classic_until")
_SAME = tuple(
    f
    for f in CreateEvent.__struct_fields__
    if f in NewEvent.__struct_fields__
    and f not in ("id", "ticket_price", "ticket_currency", "prices", "tiers", "allotments", "creator_account")
)


def _currency(name: str, assets: Mapping[str, Asset]) -> str:
    return name.strip().upper() if name.strip().upper() in FIAT else amounts.code(name, assets)


def _prices(prices: Mapping[str, Any], assets: Mapping[str, Asset]) -> dict[str, str]:
    return {amounts.code(c, assets): str(n) for c, n in prices.items()}


def _tier(body: TierBody, assets: Mapping[str, Asset]) -> NewTier:
    return NewTier(
        code=body.code,
        title=body.title,
        ticket_price=str(body.ticket_price),
        ticket_currency=None if body.ticket_currency is None else _currency(body.ticket_currency, assets),
        prices=_prices(body.prices, assets),
        quantity=body.quantity,
        sales_start_ms=wire.time_ms(body.sales_start, "sales_start"),
        sales_end_ms=wire.time_ms(body.sales_end, "sales_end"),
    )


def filter_of(query: EventsQuery, assets: Mapping[str, Asset], now_ms: int) -> events.Filter:
    """Return what a query looks for."""
    return events.Filter(
        upcoming_ms=now_ms if query.upcoming else None,
        category=query.category,
        creator=query.creator,
        status=query.status,
        currency=None if query.currency is None else _currency(query.currency, assets),
        min_price=query.min_price,
        max_price=query.max_price,
        starts_after_ms=wire.time_ms(query.starts_after, "starts_after"),
        starts_before_ms=wire.time_ms(query.starts_before, "starts_before"),
    )


# -- answers ---------------------------------------------------------------------------------------------


def event_of(row: Row[Any], offer: Offer, assets: Mapping[str, Asset]) -> Event:
    """Return an event as it is shown."""
    prices = _shown(offer.prices, assets)
    tiers = [_shown_tier(t, offer.tier_prices.get(t.id, {}), assets) for t in offer.tiers]
    taken = row.tickets_sold + row.tickets_held + row.seats_reserved
    left = None if row.max_attendees is None else max(row.max_attendees - taken, 0)
    codes = dict.fromkeys([*(p.currency for p in prices), *(p.currency for t in tiers for p in t.prices)])
    return Event(
        **{f: getattr(row, f) for f in _COPIED},
        id=row.slug or str(row.id),
        supported_crypto=list(codes),
        prices=prices,
        tiers=tiers,
        tickets_available=left,
        sold_out=left is not None and row.tickets_sold + row.seats_reserved >= row.max_attendees,
        live=row.started_ms is not None and row.ended_ms is None and row.status == "active",
        started_at=format_ms(row.started_ms),
        ended_at=format_ms(row.ended_ms),
        event_start=format_ms(row.event_start_ms),
        event_end=format_ms(row.event_end_ms),
        sales_start=format_ms(row.sales_start_ms),
        sales_end=format_ms(row.sales_end_ms),
        created_at=format_ms(row.created_ms) or "",
        updated_at=format_ms(row.updated_ms) or "",
    )


_COPIED = (
    *("creator_account", "title", "description", "space_type", "space_id", "ticket_price", "ticket_currency"),
    *("max_attendees", "tickets_sold", "tickets_held", "require_camera", "require_microphone", "age_restriction"),
    *("event_category", "status", "dispute", "fee_on_top", "tickets_per_wallet", "admission", "entry_policy", "door"),
    "anonymous",
)


def _shown(prices: Mapping[str, int | None], assets: Mapping[str, Asset]) -> list[Price]:
    return [Price(c, amounts.decimal(n, c, assets), amounts.base(n)) for c, n in sorted(prices.items())]


def _shown_tier(row: Row[Any], prices: Mapping[str, int | None], assets: Mapping[str, Asset]) -> Tier:
    return Tier(
        code=row.code,
        title=row.title,
        ticket_price=row.ticket_price,
        ticket_currency=row.ticket_currency,
        prices=_shown(prices, assets),
        quantity=row.quantity,
        available=None if row.quantity is None else max(row.quantity - row.sold - row.held, 0),
        sales_start=format_ms(row.sales_start_ms),
        sales_end=format_ms(row.sales_end_ms),
    )


def shown(rows: Sequence[Row[Any]], offers: Mapping[int, Offer], assets: Mapping[str, Asset]) -> list[Event]:
    """Return events as they are shown."""
    return [event_of(r, offers[r.id], assets) for r in rows]
