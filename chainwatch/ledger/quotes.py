"""A purchase as a buyer asks for one: what to pay, where to, until when; and a seat while it runs."""

import functools
import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import BindParameter, ColumnElement, Connection, Row, Select, and_, bindparam, func, insert, select

from chainwatch import memo
from chainwatch.errors import Rejected
from chainwatch.ledger import invites, minting, offers, pool, pricing, seats
from chainwatch.ledger.context import Context
from chainwatch.ledger.events import NUMBER
from chainwatch.ledger.orders import sale_of
from chainwatch.ledger.tables import allotments, event_prices, events, purchases, tickets, tier_prices, tiers
from chainwatch.ledger.views import PurchaseView as PurchaseView
from chainwatch.ledger.views import view as view
from chainwatch.matching import LIVE_TICKETS, forbids

SECRET_BYTES = 16
"""128 random bits: the purchase id opens the purchase to whoever holds it."""

CARRIER_BYTES = {"bitcoin": 80}
"""Memo bytes that a chain family carries: OP_RETURN as nodes relay it."""

OTHER_CARRIER_BYTES = 500
"""On every other chain: Solana's Memo fits 566 into a transaction with one signer, Hive takes 2048."""

MAX_CHAIN = 64
"""Characters of a chain's name (CAIP-2 allows 41)."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a buyer asks for.

    ``signed``: the wallet itself has signed for it.  ``wallet_chain``: the chain on which a contract wallet signs
    (EIP-1271): it counts there and nowhere else.
    """

    event_id: str
    wallet: str
    asset: str
    tier: str | None = None
    allotment: str | None = None
    invite: str | None = None
    signed: bool = False
    wallet_chain: str | None = None


class Quote(msgspec.Struct, frozen=True):
    """What the buyer is told.

    ``purchase_id`` is a bearer secret, kept only as a hash; ``ref`` is public.  ``reference``: a key that the
    transaction is to name (Solana Pay).  ``fiat_amount`` in ``fiat_currency`` at ``rate`` (one coin) when the price is
    in money.  ``ticket``: the uuid of a free ticket, which needs no payment.
    """

    purchase_id: str
    ref: str
    held: bool
    address: str
    reference: str | None
    asset: str
    amount: int
    memo: str | None
    expires_ms: int
    event_id: str
    tier: str | None = None
    fiat_currency: str | None = None
    fiat_amount: str | None = None
    rate: str | None = None
    ticket: str | None = None


def quote(connection: Connection, ask: Ask, context: Context, now_ms: int) -> Quote:
    """Open a purchase of one ticket for ``ask.wallet``, to be paid in ``ask.asset`` on the context's chain.

    An address of its own where the chain derives them, else a receiving account with a memo.  A free ticket is minted
    at once.  ``Rejected``: unknown_event, bad_wallet, bad_chain, not_for_sale (with the reason), tier_required,
    unknown_tier, unknown_allotment, approval_required, bad_invite, signature_required, purchase_open, wallet_limit,
    sold_out, no_rate, no_address.
    """
    plan = prepare(connection, ask, context, now_ms)
    if plan.free:
        return _give(connection, plan, context, now_ms)
    held = not plan.is_full and seats.hold(connection, plan.seat, context.policy.unsigned_hold_percent)
    row = plan.row
    entry = pool.next_free(connection, context.chain, context.spec.receive) if row.address_free else None
    values, told = written(plan, context, now_ms, held, entry.address if entry is not None else None)
    made = connection.execute(_INSERT, values).scalar_one()
    if entry is not None:
        pool.give(connection, entry.id, made)
    return told


class Plan(msgspec.Struct, frozen=True):
    """A purchase that may be opened: the event's row, the columns that are known, the seat that it asks for."""

    row: Any
    opened: Mapping[str, Any]
    seat: seats.Seat
    free: bool
    is_full: bool


def prepare(
    connection: Connection, ask: Ask, context: Context, now_ms: int, known: dict[Any, Row[Any]] | None = None
) -> Plan:
    """Say what a purchase would be; ``Rejected`` as in ``quote``.

    ``known``: offers that this transaction has read already; an unsigned purchase need not read them again.
    """
    wallet = context.canonical_wallet(ask.wallet)
    if wallet is None:
        raise Rejected("bad_wallet", f"{ask.wallet[:120]!r} is no wallet of any supported chain")
    if ask.wallet_chain is not None and not 0 < len(ask.wallet_chain) <= MAX_CHAIN:
        raise Rejected("bad_chain", "the wallet's chain is a chain code or a CAIP-2 name")
    row = _offer(connection, ask, context.chain, known if known is not None and not ask.signed else {})
    if reason := forbids(sale_of(row), now_ms):
        raise Rejected("not_for_sale", reason)
    free = offers.is_free(row.tier_price if row.tier_id is not None else row.ticket_price)
    _may_buy(connection, row, wallet, ask, free)
    price = pricing.Price(0, 0) if free else _price(connection, row, ask.asset, context, now_ms)
    invite_id = _invite(connection, row, ask, wallet)
    allotment_id = _allotment(connection, row, ask)
    _sold_out(row, allotment_id)
    opened = {
        "event_id": row.id,
        "wallet": wallet,
        "asset": ask.asset,
        "price": price.amount,
        "fee": price.fee,
        "fiat_currency": price.rate and price.rate.currency,
        "fiat_amount": price.rate and _written(row),
        "rate": price.rate and str(price.rate.price),
        "rate_ms": price.rate and price.rate.at_ms,
        "tier_id": row.tier_id,
        "allotment_id": allotment_id,
        "invite_id": invite_id,
        "signed": ask.signed,
        "wallet_chain": ask.wallet_chain,
        "created_ms": now_ms,
    }
    seat = seats.Seat(0, row.id, row.tier_id, allotment_id, kind="signed" if ask.signed else "unsigned")
    return Plan(row, opened, seat, free, _is_full(row, allotment_id))


# -- what is for sale ------------------------------------------------------------------------------------


def _offer(connection: Connection, ask: Ask, chain: str, known: dict[Any, Row[Any]]) -> Row[Any]:
    """Read the event with the tier and the price that are asked for, and whether the chain has an address free."""
    key = (ask.event_id, ask.tier, ask.asset, chain)
    if key not in known:
        known[key] = _read_offer(connection, ask, chain)
    return known[key]


def _read_offer(connection: Connection, ask: Ask, chain: str) -> Row[Any]:
    numbered = NUMBER.fullmatch(ask.event_id) is not None
    # Two requests of one wallet at once: the second must see the first, so a signed one locks the event's row.
    query = _offer_query(numbered, ask.tier is not None, ask.signed)
    event = int(ask.event_id) if numbered else ask.event_id
    tier = {"tier_code": ask.tier} if ask.tier is not None else {}
    asked = {"event": event, "paid_in": ask.asset, "of_chain": chain, **tier}
    rows = connection.execute(query, asked).all()
    if not rows:
        raise Rejected("unknown_event", f"no event {ask.event_id[:80]!r}")
    if len(rows) > 1:
        raise Rejected("tier_required", "the event has several kinds of ticket: say which")
    if ask.tier is not None and rows[0].tier_id is None:
        raise Rejected("unknown_tier", f"the event has no tier {ask.tier[:40]!r}")
    return rows[0]


@functools.cache  # building a statement takes SQLAlchemy longer than the database to run it
def _offer_query(numbered: bool, with_tier: bool, lock: bool) -> Select[Any]:
    of_event: ColumnElement[bool] = tiers.c.event_id == events.c.id
    named = and_(events.c.id == bindparam("event"), events.c.slug.is_(None))
    in_coin: BindParameter[Any] = bindparam("paid_in")
    query = (
        select(*_OFFER, pool.has_free(bindparam("of_chain")).label("address_free"))
        .join_from(
            events,
            tiers,
            and_(of_event, tiers.c.code == bindparam("tier_code")) if with_tier else of_event,
            isouter=True,
        )
        .join(event_prices, and_(event_prices.c.event_id == events.c.id, event_prices.c.asset == in_coin), isouter=True)
        .join(tier_prices, and_(tier_prices.c.tier_id == tiers.c.id, tier_prices.c.asset == in_coin), isouter=True)
        .where(named if numbered else events.c.slug == bindparam("event"))
        .limit(2)
    )
    return query.with_for_update(of=events, key_share=True) if lock else query


_OFFER = (
    events.c.id,
    events.c.slug,
    events.c.status.label("sale_status"),
    events.c.sales_start_ms,
    events.c.sales_end_ms,
    events.c.event_end_ms,
    events.c.ended_ms,
    events.c.by_memo,
    events.c.commission_bps,
    events.c.fee_on_top,
    events.c.admission,
    events.c.tickets_per_wallet,
    events.c.open_per_wallet,
    events.c.max_attendees,
    events.c.tickets_sold,
    events.c.tickets_held,
    events.c.seats_reserved,
    events.c.ticket_price,
    events.c.ticket_currency,
    event_prices.c.asset.label("event_asset"),
    event_prices.c.amount.label("event_amount"),
    tiers.c.id.label("tier_id"),
    tiers.c.code.label("tier"),
    tiers.c.quantity.label("tier_quantity"),
    tiers.c.sold.label("tier_sold"),
    tiers.c.sales_start_ms.label("tier_start_ms"),
    tiers.c.sales_end_ms.label("tier_end_ms"),
    tiers.c.ticket_price.label("tier_price"),
    tiers.c.ticket_currency.label("tier_currency"),
    tier_prices.c.asset.label("tier_asset"),
    tier_prices.c.amount.label("tier_amount"),
)


def _written(row: Row[Any]) -> str:
    """Return the price as the creator wrote it."""
    return str(row.ticket_price if row.tier_id is None else row.tier_price)


def _price(connection: Connection, row: Row[Any], code: str, context: Context, now_ms: int) -> pricing.Price:
    tiered = row.tier_id is not None
    asset = context.assets().get(code)
    if asset is None or (row.tier_asset if tiered else row.event_asset) is None:
        raise Rejected("not_for_sale", f"the event is not sold for {code[:40]}")
    base: int | None = row.tier_amount if tiered else row.event_amount
    rate = None
    if base is None:
        currency = row.tier_currency if tiered else row.ticket_currency
        found = pricing.in_money(connection, asset, currency, _written(row), now_ms, context.policy.rate_age_ms)
        if found is None:
            raise Rejected("no_rate", f"there is no rate of {code} in {currency} now: try again later")
        base, rate = found
    return pricing.priced(base, row.commission_bps, row.fee_on_top, rate)


def _sold_out(row: Row[Any], allotment_id: int | None) -> None:
    """Refuse what cannot come free: seats that are sold, not those that are held for a while."""
    aside = 0 if allotment_id is not None else row.seats_reserved
    if row.max_attendees is not None and row.tickets_sold + aside >= row.max_attendees:
        raise Rejected("sold_out", "every seat is sold")
    if row.tier_quantity is not None and row.tier_sold >= row.tier_quantity:
        raise Rejected("sold_out", "every ticket of this kind is sold")


def _is_full(row: Row[Any], allotment_id: int | None) -> bool:
    """Was every public seat sold or held a moment ago?  Then nobody is made to wait for the row to find that out."""
    taken = row.tickets_sold + row.tickets_held + row.seats_reserved
    return allotment_id is None and row.max_attendees is not None and taken >= row.max_attendees


# -- who may buy -------------------------------------------------------------------------------------------


def _may_buy(connection: Connection, row: Row[Any], wallet: str, ask: Ask, free: bool) -> None:
    if free and not ask.signed:
        raise Rejected("signature_required", "a free ticket is given to the wallet that signs for it")
    if row.admission == "approval" and invites.state_of(connection, row.id, wallet) != "approved":
        raise Rejected("approval_required", "the event approves its guests first")
    if row.admission == "invite" and not ask.invite:
        raise Rejected("invite_required", "the event is for invited guests")
    if not ask.signed and row.tickets_per_wallet is None:
        return
    have, free_ones, waiting = connection.execute(_tickets_query(), {"event": row.id, "buyer": wallet}).one()
    if (row.tickets_per_wallet is not None and have >= row.tickets_per_wallet) or (free and free_ones):
        raise Rejected("wallet_limit", "this wallet has as many tickets as the event allows")
    if ask.signed and not free and waiting >= row.open_per_wallet:
        raise Rejected("purchase_open", "this wallet has a purchase open: pay that, or wait until it expires")


@functools.cache
def _tickets_query() -> Select[Any]:
    """Ask how many tickets a wallet has of an event, how many of them were free, and how many it has yet to pay."""
    event: BindParameter[Any] = bindparam("event")
    buyer: BindParameter[Any] = bindparam("buyer")
    mine = and_(tickets.c.event_id == event, tickets.c.wallet == buyer, tickets.c.state.in_(LIVE_TICKETS))
    minted = select(tickets.c.id).where(tickets.c.purchase_id == purchases.c.id).exists()
    is_open = and_(
        purchases.c.event_id == event,
        purchases.c.wallet == buyer,
        purchases.c.signed.is_(True),
        purchases.c.expired.is_(False),
        ~minted,
    )
    return select(
        select(func.count()).select_from(tickets).where(mine).scalar_subquery(),
        select(func.count()).select_from(tickets).where(mine, tickets.c.amount_paid == 0).scalar_subquery(),
        select(func.count()).select_from(purchases).where(is_open).scalar_subquery(),
    )


def _invite(connection: Connection, row: Row[Any], ask: Ask, wallet: str) -> int | None:
    return invites.use(connection, row.id, ask.invite, wallet) if row.admission == "invite" and ask.invite else None


def _allotment(connection: Connection, row: Row[Any], ask: Ask) -> int | None:
    if ask.allotment is None:
        return None
    found = connection.execute(
        select(allotments.c.id, allotments.c.sold, allotments.c.quantity).where(
            allotments.c.event_id == row.id, allotments.c.code == ask.allotment
        )
    ).one_or_none()
    if found is None:
        raise Rejected("unknown_allotment", f"the event has no allotment {ask.allotment[:40]!r}")
    if found.sold >= found.quantity:
        raise Rejected("sold_out", "every seat of this allotment is sold")
    return int(found.id)


# -- opening -------------------------------------------------------------------------------------------------


_INSERT = insert(purchases).returning(purchases.c.id)


def written(plan: Plan, context: Context, now_ms: int, held: bool, own: str | None) -> tuple[dict[str, Any], Quote]:
    """Return the row of a purchase, and what its buyer is told.

    ``own``: an address of its own, or a reference key (``pool.REFERENCE``); None: a receiving account with a memo.
    """
    row, opened = plan.row, plan.opened
    secret, ref = secrets.token_urlsafe(SECRET_BYTES), context.new_ref()
    event = row.slug or str(row.id)
    reference = own.removeprefix(pool.REFERENCE) if own and own.startswith(pool.REFERENCE) else None
    if reference:
        own = None  # it goes beside the receiving account, not in its place
    if own is None and not takes_memos(context):
        raise Rejected("no_address", f"{context.chain} has no address free now: try again later")
    address = own or context.spec.receive[0]
    text = None if own else memo_of(event, opened["wallet"], ref, context)
    expires_ms = now_ms + context.policy.hold_ms
    told = {"pay_to": address, "pay_memo": text, "pay_reference": reference}
    secret_hash = hashlib.sha256(secret.encode()).digest()
    ends = {"held": held, "hold_kind": plan.seat.kind, "expired": False, "expires_ms": expires_ms}
    values = {**opened, **told, **ends, "ref": ref, "secret_hash": secret_hash}
    return values, Quote(
        purchase_id=secret,
        ref=ref,
        held=held,
        address=address,
        reference=reference,
        asset=opened["asset"],
        amount=opened["price"],
        memo=text,
        expires_ms=expires_ms,
        event_id=event,
        tier=row.tier,
        fiat_currency=opened["fiat_currency"],
        fiat_amount=opened["fiat_amount"],
        rate=opened["rate"],
    )


def takes_memos(context: Context) -> bool:
    """Can a purchase on this chain be told by a memo, without an address of its own?"""
    return bool(context.spec.params.get("memo", True) and context.spec.receive)


def memo_of(event: str, wallet: str, ref: str, context: Context) -> str:
    """Return the memo of a purchase, in a form that its carrier takes whole.

    The short form is the default, for the long one publishes attendance for ever.
    """
    long = memo.long_form(event, wallet, ref)
    fits = len(long) <= CARRIER_BYTES.get(context.spec.family, OTHER_CARRIER_BYTES)
    return long if context.policy.long_memo and fits else memo.short_form(ref)


def _give(connection: Connection, plan: Plan, context: Context, now_ms: int) -> Quote:
    """Mint a free ticket at once: it needs no payment, and so no hold."""
    row, opened, seat = plan.row, plan.opened, plan.seat
    secret, ref = secrets.token_urlsafe(SECRET_BYTES), context.new_ref()
    event = row.slug or str(row.id)
    secret_hash = hashlib.sha256(secret.encode()).digest()
    ends = {"held": False, "hold_kind": "", "expired": True, "expires_ms": now_ms}
    values = {**opened, **ends, "ref": ref, "secret_hash": secret_hash}
    made = int(connection.execute(_INSERT, values).scalar_one())
    number = seats.take(connection, [msgspec.structs.replace(seat, purchase_id=made)], now_ms).get(made)
    if number is None:
        raise Rejected("sold_out", "every seat is taken")
    sold = minting.Sold(
        purchase_id=made,
        ref=ref,
        bought=f"purchase:{ref}",
        event_id=row.id,
        event=event,
        number=number,
        wallet=opened["wallet"],
        asset=opened["asset"],
        amount=0,
        commission=0,
        txid="",
    )
    (uuid,) = minting.write(connection, [sold], context.issuer, now_ms)
    return Quote(
        purchase_id=secret,
        ref=ref,
        held=True,
        address="",
        reference=None,
        asset=opened["asset"],
        amount=0,
        memo=None,
        expires_ms=now_ms,
        event_id=event,
        tier=row.tier,
        ticket=uuid,
    )
