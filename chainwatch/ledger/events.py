"""Events as they are sold: made, changed, found, begun, ended, cancelled.

An event is known by its slug (immutable, lower-case, with a letter, never given out twice) or by its
number; both stand in memos.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import Connection, Numeric, Row, cast, func, insert, or_, select, update

from chainwatch.errors import Rejected
from chainwatch.ledger import locks, offers, outbox, pricing, settle
from chainwatch.ledger.bulk import chunks
from chainwatch.ledger.context import Context
from chainwatch.ledger.facts import Changed
from chainwatch.ledger.offers import FIAT as FIAT
from chainwatch.ledger.offers import NewAllotment as NewAllotment
from chainwatch.ledger.offers import NewTier as NewTier
from chainwatch.ledger.offers import prices_of as prices_of
from chainwatch.ledger.tables import events, purchases, tickets, transfers
from chainwatch.model import MAX_BASE_UNITS, Asset

SLUG = re.compile(r"(?=.*[a-z])[a-z0-9_-]{1,64}", re.ASCII)
NUMBER = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)

MAX_TITLE, MAX_DESCRIPTION, MAX_WORD = offers.MAX_TITLE, 10_000, 200
"""Characters: what a page and a wallet's window can show; what a database row should hold."""

ADMISSIONS = frozenset({"open", "approval", "invite"})
ENTRY_POLICIES = frozenset({"once", "reentry", "daily"})
DOORS = frozenset({"wallet", "qr", "both"})


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What a creator says of an event.

    ``prices``: further accepted coins, asset code to decimal text; ``accept``: the coins that a price in money is taken
    in.  ``fee_on_top``: the buyer pays the commission beside the price.  ``classic_until_ms``: until when the door
    takes classic texts (None: as configured).
    """

    title: str
    ticket_price: str
    ticket_currency: str
    id: str | None = None
    prices: Mapping[str, str] = {}
    accept: Sequence[str] = ()
    tiers: Sequence[NewTier] = ()
    allotments: Sequence[NewAllotment] = ()
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
    fee_on_top: bool = False
    tickets_per_wallet: int | None = None
    open_per_wallet: int = 1
    admission: str = "open"
    entry_policy: str = "reentry"
    door: str = "both"
    anonymous: bool = False
    classic_until_ms: int | None = None


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What changes of an event; what is not named stays.

    Prices are replaced as a whole when any of ``ticket_price``, ``ticket_currency``, ``prices``, ``accept`` is named.
    Tiers and allotments are added, or changed where their code is there; none is taken away.
    """

    title: str | UnsetType = UNSET
    ticket_price: str | UnsetType = UNSET
    ticket_currency: str | UnsetType = UNSET
    prices: Mapping[str, str] | UnsetType = UNSET
    accept: Sequence[str] | UnsetType = UNSET
    tiers: Sequence[NewTier] | UnsetType = UNSET
    allotments: Sequence[NewAllotment] | UnsetType = UNSET
    description: str | UnsetType = UNSET
    space_type: str | UnsetType = UNSET
    space_id: str | UnsetType = UNSET
    max_attendees: int | UnsetType | None = UNSET
    event_start_ms: int | UnsetType | None = UNSET
    event_end_ms: int | UnsetType | None = UNSET
    sales_start_ms: int | UnsetType | None = UNSET
    sales_end_ms: int | UnsetType | None = UNSET
    require_camera: bool | UnsetType = UNSET
    require_microphone: bool | UnsetType = UNSET
    age_restriction: int | UnsetType | None = UNSET
    event_category: str | UnsetType = UNSET
    tickets_per_wallet: int | UnsetType | None = UNSET
    open_per_wallet: int | UnsetType = UNSET
    admission: str | UnsetType = UNSET
    entry_policy: str | UnsetType = UNSET
    door: str | UnsetType = UNSET
    anonymous: bool | UnsetType = UNSET
    classic_until_ms: int | UnsetType | None = UNSET


_PRICING = frozenset({"ticket_price", "ticket_currency", "prices", "accept"})
_APART = frozenset({"id", "prices", "accept", "tiers", "allotments"})
_COPIED = tuple(f for f in NewEvent.__struct_fields__ if f not in _APART)


def create(
    connection: Connection,
    new: NewEvent,
    assets: Mapping[str, Asset],
    commission_bps: int,
    now_ms: int,
    actor: str,
    attendee_cap: int | None = None,
) -> str:
    """Make an event; return its public id.  ``Rejected`` with a code for what is wrong.

    ``attendee_cap``: the largest capacity that the platform allows this creator (None: any).
    """
    number, slug = _identity(connection, new.id)
    _check(new, attendee_cap)
    amounts, tiered = _offer(new, assets)
    _check_payable(new, commission_bps, [amounts, *(p for _, p in tiered)])
    row: dict[str, Any] = {f: getattr(new, f) for f in _COPIED}
    row |= {
        "slug": slug,
        "latest_end_ms": new.event_end_ms,
        "tickets_sold": 0,
        "tickets_held": 0,
        "last_number": 0,
        "seats_reserved": sum(a.quantity for a in new.allotments),
        "status": "active",
        "dispute": False,
        "by_memo": offers.by_memo(new.admission, [p for _, p in tiered] or [amounts]),
        "commission_bps": commission_bps,
        "created_ms": now_ms,
        "updated_ms": now_ms,
    }
    # Ids are given here, not by a sequence, so that numbers of the platform's own choosing fit in between.
    newest = connection.execute(select(func.max(events.c.id))).scalar_one_or_none()
    event_id = number or (newest or 0) + 1
    connection.execute(insert(events).values(id=event_id, **row))
    offers.write_prices(connection, event_id, amounts)
    offers.write_tiers(connection, event_id, new.ticket_currency, tiered)
    offers.write_allotments(connection, event_id, new.allotments)
    public = slug or str(event_id)
    outbox.audit(connection, now_ms, actor, "event_created", f"event:{public}")
    return public


def change(
    connection: Connection,
    public_id: str,
    changes: Changes,
    assets: Mapping[str, Asset],
    now_ms: int,
    actor: str,
    attendee_cap: int | None = None,
) -> None:
    """Change an event, also while sales run: purchases that are open keep what they were told.

    The capacity never goes below what is sold, held and set aside; after the first sale the end only moves later.
    """
    event = find(connection, public_id, lock=True)
    if event.status == "cancelled":
        raise Rejected("event_cancelled", "the event is cancelled")
    given = {f: v for f in Changes.__struct_fields__ if (v := getattr(changes, f)) is not UNSET}
    merged = NewEvent(**{f: getattr(event, f) for f in _COPIED} | {f: v for f, v in given.items() if f not in _APART})
    repriced = bool(_PRICING & given.keys())
    merged = msgspec.structs.replace(merged, **{f: given[f] for f in _APART & given.keys()})
    if "tiers" in given and "accept" not in given:
        merged = msgspec.structs.replace(merged, accept=_accepted(connection, event.id))
    _check(merged, attendee_cap)
    _check_end(event, merged, now_ms)
    values = {f: v for f, v in given.items() if f not in _APART}
    values["updated_ms"] = now_ms
    values["latest_end_ms"] = max((n for n in (event.latest_end_ms, merged.event_end_ms) if n), default=None)
    connection.execute(update(events).where(events.c.id == event.id).values(values))
    amounts, tiered = _offer(merged, assets, known=not repriced)
    _check_payable(merged, event.commission_bps, [amounts, *(p for _, p in tiered)])
    if repriced:
        offers.write_prices(connection, event.id, amounts)
    offers.write_tiers(connection, event.id, merged.ticket_currency, tiered)
    reserved = offers.write_allotments(connection, event.id, merged.allotments)
    of_tiers = offers.tier_prices_of(connection, event.id)
    all_prices = list(of_tiers.values()) or [prices_of(connection, event.id)]
    again = {"by_memo": offers.by_memo(merged.admission, all_prices), "seats_reserved": reserved}
    connection.execute(update(events).where(events.c.id == event.id).values(again))
    taken = event.tickets_sold + event.tickets_held + reserved
    if merged.max_attendees is not None and merged.max_attendees < taken:
        raise Rejected("bad_capacity", f"{taken} seats are sold, held or set aside already")
    outbox.audit(connection, now_ms, actor, "event_changed", f"event:{public_id}", {"fields": sorted(given)})


def _offer(
    new: NewEvent, assets: Mapping[str, Asset], *, known: bool = False
) -> tuple[offers.Prices, list[tuple[NewTier, offers.Prices]]]:
    """Return the prices of an event and of its tiers.  ``known``: those of the event stay as they are."""
    tiered = [
        (
            t,
            offers.prices(
                t.ticket_price,
                t.ticket_currency or new.ticket_currency,
                t.prices,
                new.accept if (t.ticket_currency or new.ticket_currency) in FIAT else (),
                assets,
            ),
        )
        for t in new.tiers
    ]
    if known:
        return {}, tiered
    amounts = offers.prices(new.ticket_price, new.ticket_currency, new.prices, new.accept, assets)
    return amounts, tiered


def _check_payable(new: NewEvent, bps: int, priced: Sequence[offers.Prices]) -> None:
    """Refuse what with its commission on top is more than a column holds: a memo could ask for it in any step."""
    largest = max((n for amounts in priced for n in amounts.values() if n is not None), default=0)
    if pricing.priced(largest, bps, new.fee_on_top).amount > MAX_BASE_UNITS:
        raise Rejected("bad_price", "the price with its commission is more than can be stored")


def _accepted(connection: Connection, event_id: int) -> tuple[str, ...]:
    """Return the coins that an event takes by rate."""
    every = [prices_of(connection, event_id), *offers.tier_prices_of(connection, event_id).values()]
    return tuple(sorted({code for some in every for code, amount in some.items() if amount is None}))


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


def _check(new: NewEvent, attendee_cap: int | None) -> None:
    if not new.title.strip() or len(new.title) > MAX_TITLE:
        raise Rejected("bad_title", f"a title has 1 to {MAX_TITLE} characters")
    if len(new.description) > MAX_DESCRIPTION:
        raise Rejected("bad_description", f"a description has at most {MAX_DESCRIPTION} characters")
    if max(len(t) for t in (new.space_id, new.space_type, new.event_category, new.creator_account)) > MAX_WORD:
        raise Rejected("bad_description", f"names have at most {MAX_WORD} characters")
    if new.max_attendees is not None and not 1 <= new.max_attendees <= offers.MAX_SEATS:
        raise Rejected("bad_capacity", "a capacity is from 1 to a thousand million; leave it out for unlimited")
    if attendee_cap is not None and (new.max_attendees is None or new.max_attendees > attendee_cap):
        raise Rejected("over_cap", f"this creator's events have at most {attendee_cap} attendees")
    for first, last, what in (
        (new.event_start_ms, new.event_end_ms, "event"),
        (new.sales_start_ms, new.sales_end_ms, "sales"),
    ):
        if first is not None and last is not None and first >= last:
            raise Rejected("bad_times", f"the {what} end before they start")
    for value, allowed, what in (
        (new.admission, ADMISSIONS, "admission"),
        (new.entry_policy, ENTRY_POLICIES, "entry_policy"),
        (new.door, DOORS, "door"),
    ):
        if value not in allowed:
            raise Rejected("bad_policy", f"{what} is one of {', '.join(sorted(allowed))}")
    if new.tickets_per_wallet is not None and not 1 <= new.tickets_per_wallet <= 10_000:
        raise Rejected("bad_limit", "tickets_per_wallet is from 1 to 10000; leave it out for no limit")
    if not 1 <= new.open_per_wallet <= 1000:
        raise Rejected("bad_limit", "open_per_wallet is from 1 to 1000")
    offers.check_tiers(new.tiers)
    offers.check_allotments(new.allotments)
    # Hi.Events#1195: an allotment larger than the event blocked all others.
    if new.max_attendees is not None and sum(a.quantity for a in new.allotments) > new.max_attendees:
        raise Rejected("bad_allotment", "more seats are set aside than the event has")


def _check_end(event: Row[Any], merged: NewEvent, now_ms: int) -> None:
    """After the first sale the end only moves later: payouts wait for it, and buyers were told.

    An event without an end may be given one: from now on, or its payouts would be due at once.
    """
    if not event.tickets_sold or event.event_end_ms == merged.event_end_ms:
        return
    least = now_ms if event.event_end_ms is None else event.event_end_ms
    if merged.event_end_ms is None or merged.event_end_ms < least:
        raise Rejected("bad_times", "tickets are sold: the end of the event only moves later")


# -- looking -------------------------------------------------------------------------------------------


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for.  ``upcoming_ms``: not over at this time.  ``selling_ms``: neither the event nor its
    sales have ended then.  Prices are decimal text in ``currency``, dates bound the start of the event.
    """

    upcoming_ms: int | None = None
    selling_ms: int | None = None
    category: str | None = None
    creator: str | None = None
    status: str | None = None
    currency: str | None = None
    min_price: str | None = None
    max_price: str | None = None
    starts_after_ms: int | None = None
    starts_before_ms: int | None = None


def find(connection: Connection, public_id: str, *, lock: bool = False) -> Row[Any]:
    """Return an event by slug or number; ``Rejected`` when there is none.  ``lock``: it is about to be changed."""
    by = events.c.id == int(public_id) if NUMBER.fullmatch(public_id) else events.c.slug == public_id
    query = select(events).where(by)
    row = connection.execute(query.with_for_update(key_share=True) if lock else query).one_or_none()
    if row is None or (row.slug is not None and row.slug != public_id):
        raise Rejected("unknown_event", f"no event {public_id[:80]!r}")
    return row


def listing(connection: Connection, limit: int = 100, after: int = 0) -> Sequence[Row[Any]]:
    """Return events by id, at most ``limit`` after id ``after``."""
    return search(connection, Filter(), limit, after)


def search(connection: Connection, wanted: Filter, limit: int = 100, after: int = 0) -> Sequence[Row[Any]]:
    """Return the events that fit, by id, at most ``limit`` after id ``after``."""
    fits = [events.c.id > after]
    for column, value in (
        (events.c.event_category, wanted.category),
        (events.c.creator_account, wanted.creator),
        (events.c.status, wanted.status),
        (events.c.ticket_currency, wanted.currency),
    ):
        if value is not None:
            fits.append(column == value)
    if wanted.upcoming_ms is not None:
        over = func.coalesce(events.c.ended_ms, events.c.event_end_ms, events.c.event_start_ms)
        fits += [events.c.status == "active", or_(over.is_(None), over >= wanted.upcoming_ms)]
    if wanted.selling_ms is not None:
        ends = (events.c.ended_ms, events.c.event_end_ms, events.c.sales_end_ms)
        fits += [events.c.status == "active", *(or_(c.is_(None), c >= wanted.selling_ms) for c in ends)]
    price = cast(events.c.ticket_price, Numeric)
    if wanted.min_price is not None:
        fits.append(price >= _number(wanted.min_price))
    if wanted.max_price is not None:
        fits.append(price <= _number(wanted.max_price))
    if wanted.starts_after_ms is not None:
        fits.append(events.c.event_start_ms >= wanted.starts_after_ms)
    if wanted.starts_before_ms is not None:
        fits.append(events.c.event_start_ms <= wanted.starts_before_ms)
    return connection.execute(select(events).where(*fits).order_by(events.c.id).limit(limit)).all()


def _number(text: str) -> Decimal:
    if not re.fullmatch(r"[0-9]{1,30}(\.[0-9]{1,30})?", text, re.ASCII):
        raise Rejected("bad_price", f"{text[:80]!r} is not a plain decimal number")
    return Decimal(text)


# -- the live gate -------------------------------------------------------------------------------------


def start(connection: Connection, public_id: str, now_ms: int, actor: str) -> None:
    """Open the live gate; once is enough.  ``Rejected``: event_cancelled, event_over."""
    event = find(connection, public_id, lock=True)
    if event.status == "cancelled":
        raise Rejected("event_cancelled", "the event is cancelled")
    if event.ended_ms is not None:
        raise Rejected("event_over", "the event has ended")
    if event.started_ms is None:
        _set(connection, event.id, now_ms, started_ms=now_ms)
        outbox.audit(connection, now_ms, actor, "event_started", f"event:{public_id}")


def end(connection: Connection, public_id: str, now_ms: int, actor: str) -> None:
    """Close the live gate for good.  Money that is paid later goes back; what was paid before still buys."""
    event = find(connection, public_id, lock=True)
    if event.status == "cancelled":
        raise Rejected("event_cancelled", "the event is cancelled")
    if event.ended_ms is None:
        latest = now_ms if event.latest_end_ms is None else event.latest_end_ms
        _set(connection, event.id, now_ms, ended_ms=now_ms, latest_end_ms=latest)
        outbox.audit(connection, now_ms, actor, "event_ended", f"event:{public_id}")


def dispute(connection: Connection, public_id: str, now_ms: int, actor: str, disputed: bool = True) -> None:
    """Say that an event is in dispute (nothing is paid out), or that it no longer is."""
    event = find(connection, public_id, lock=True)
    if event.dispute != disputed:
        _set(connection, event.id, now_ms, dispute=disputed)
        action = "event_disputed" if disputed else "dispute_settled"
        outbox.audit(connection, now_ms, actor, action, f"event:{public_id}")


def _set(connection: Connection, event_id: int, now_ms: int, **values: Any) -> None:
    connection.execute(update(events).where(events.c.id == event_id).values(updated_ms=now_ms, **values))


def cancel(connection: Connection, public_id: str, contexts: Mapping[str, Context], now_ms: int, actor: str) -> int:
    """Cancel an event: sales end, every live ticket is cancelled and its refund is due.

    ``contexts``: of every chain (by chain or by asset).  Returns the number of tickets cancelled.
    """
    locks.chains(connection, (c.chain for c in contexts.values()))  # a step of theirs holds payments, then events
    event = find(connection, public_id, lock=True)
    if event.status == "cancelled":
        return 0
    _set(connection, event.id, now_ms, status="cancelled")
    live = tickets.c.state.in_(("active", "used", "suspended"))
    cancelled = connection.execute(
        update(tickets).where(tickets.c.event_id == event.id, live).values(state="cancelled", reason="event_cancelled")
    )
    by_chain = {c.chain: c for c in contexts.values()}
    for chain, ids in _paid_by_chain(connection, event.id).items():
        context = by_chain.get(chain)
        if context is None:
            raise Rejected("chain_not_configured", f"money came in on {chain}, and that chain is not configured")
        for part in chunks(ids):
            settle.settle(connection, Changed(again=set(part)), context, now_ms, None)
    message = outbox.Message("event.cancelled", f"event:{event.id}", {"event_id": public_id})
    outbox.post(connection, now_ms, [message])
    outbox.audit(connection, now_ms, actor, "event_cancelled", f"event:{public_id}")
    return cancelled.rowcount


def _paid_by_chain(connection: Connection, event_id: int) -> dict[str, list[int]]:
    """Return the transfers of an event's purchases, by chain."""
    rows = connection.execute(
        select(transfers.c.id, transfers.c.chain)
        .join_from(transfers, purchases, transfers.c.purchase_id == purchases.c.id)
        .where(purchases.c.event_id == event_id)
        .order_by(transfers.c.id)
    )
    found: dict[str, list[int]] = {}
    for row in rows:
        found.setdefault(row.chain, []).append(row.id)
    return found
