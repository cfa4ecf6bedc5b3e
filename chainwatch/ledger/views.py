"""A purchase as its buyer sees it: what to pay, what came, how far it is, what it became."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from chainwatch.errors import Rejected
from chainwatch.finality import Rule
from chainwatch.ledger.orders import SALE, identity, sale_of
from chainwatch.ledger.tables import allocations, cursors, events, purchases, refunds, tickets, tiers, transfers
from chainwatch.matching import LIVE_TICKETS, forbids

MAX_PAYMENTS = 200
"""Payments of one purchase that are shown: more is somebody playing."""


class PaymentView(msgspec.Struct, frozen=True):
    """One payment.  ``confirmations``: ``1/2``, ``1`` where the chain's own word is awaited, empty outside a block."""

    chain: str
    txid: str
    index: str
    asset: str | None
    amount: int
    state: str
    reason: str
    confirmations: str


class TicketView(msgspec.Struct, frozen=True):
    """The ticket.  ``bought`` and ``unit`` are what its token is made of (``Issuer.token``)."""

    uuid: str
    number: int
    state: str
    bought: str
    unit: int


class RefundView(msgspec.Struct, frozen=True):
    """Money that is due back."""

    id: int
    kind: str
    chain: str
    asset: str | None
    amount: int
    reason: str
    state: str
    destination: str | None


class PurchaseView(msgspec.Struct, frozen=True, kw_only=True):
    """A purchase.

    ``paid``: base units of its asset that are in a block and count or may count; ``missing``: what is still to be paid.
    ``state``: open, seen, confirming, underpaid, minted, suspended, cancelled, refund_due, refunded, review, expired,
    revoked.  ``closed``: why money that came now would go back (``matching.forbids``), empty while it buys.
    """

    ref: str
    event_id: str
    event_title: str
    wallet: str
    asset: str
    tier: str | None
    amount: int | None
    paid: int
    missing: int
    address: str | None
    memo: str | None
    reference: str | None
    fiat_currency: str | None
    fiat_amount: str | None
    rate: str | None
    signed: bool
    held: bool
    created_ms: int
    expires_ms: int
    expired: bool
    closed: str
    state: str
    payments: Sequence[PaymentView]
    ticket: TicketView | None
    refunds: Sequence[RefundView]


def view(
    connection: Connection, purchase_id: str, now_ms: int, rules: Mapping[str, Rule] | None = None
) -> PurchaseView:
    """Return the purchase that this secret id opens; ``Rejected`` ``unknown_purchase``.

    ``rules``: by chain, for the depth that confirmations are counted against.
    """
    digest = hashlib.sha256(purchase_id.encode()).digest()
    return _view(connection, purchases.c.secret_hash == digest, now_ms, rules or {})


def by_ref(connection: Connection, ref: str, now_ms: int, rules: Mapping[str, Rule] | None = None) -> PurchaseView:
    """Return a purchase by its public reference: for operators only, a reference opens nothing over HTTP."""
    return _view(connection, purchases.c.ref == ref, now_ms, rules or {})


def _view(connection: Connection, which: Any, now_ms: int, rules: Mapping[str, Rule]) -> PurchaseView:
    row = connection.execute(
        select(purchases, *SALE, events.c.title)
        .join_from(purchases, events, purchases.c.event_id == events.c.id)
        .join(tiers, purchases.c.tier_id == tiers.c.id, isouter=True)
        .where(which)
    ).one_or_none()
    if row is None:
        raise Rejected("unknown_purchase", "no such purchase")
    paid = connection.execute(
        select(transfers)
        .where(transfers.c.purchase_id == row.id, transfers.c.direction == "in")
        .order_by(transfers.c.id)
        .limit(MAX_PAYMENTS)
    ).all()
    ids = [t.id for t in paid]
    parts = connection.execute(
        select(allocations).where(allocations.c.transfer_id.in_(ids)).order_by(allocations.c.id)
    ).all()
    owed = connection.execute(
        select(refunds).where(refunds.c.transfer_id.in_(ids), refunds.c.state != "cancelled").order_by(refunds.c.id)
    ).all()
    ticket = connection.execute(select(tickets).where(tickets.c.purchase_id == row.id)).one_or_none()
    counted = _counted(row, paid, parts)
    reasons = {a.transfer_id: a.reason for a in reversed(parts) if a.reason}
    return PurchaseView(
        ref=row.ref,
        event_id=row.slug or str(row.event_id),
        event_title=row.title,
        wallet=row.wallet,
        asset=row.asset,
        tier=row.tier,
        amount=row.price,
        paid=counted,
        missing=0 if ticket is not None and ticket.state in LIVE_TICKETS else max((row.price or 0) - counted, 0),
        address=row.pay_to,
        memo=row.pay_memo,
        reference=row.pay_reference,
        fiat_currency=row.fiat_currency,
        fiat_amount=row.fiat_amount,
        rate=row.rate,
        signed=row.signed,
        held=row.held,
        created_ms=row.created_ms,
        expires_ms=row.expires_ms,
        expired=row.expired or (now_ms > row.expires_ms and not row.held),
        closed="" if ticket is not None else forbids(sale_of(row), now_ms),
        state=_state(row, ticket, paid, parts, owed),
        payments=[_payment(connection, t, row.price, reasons.get(t.id, t.reason), rules) for t in paid],
        ticket=None
        if ticket is None
        else TicketView(ticket.uuid, ticket.number, ticket.state, identity(row), ticket.unit),
        refunds=[RefundView(r.id, r.kind, r.chain, r.asset, r.amount, r.reason, r.state, r.destination) for r in owed],
    )


def _counted(row: Row[Any], paid: Sequence[Row[Any]], parts: Sequence[Row[Any]]) -> int:
    """Return what of the purchase's asset is in a block and is not on its way back."""
    confirmed = {t.id for t in paid if t.state == "confirmed"}
    coming: int = sum(t.amount for t in paid if t.state == "confirming" and t.asset == row.asset)
    counted: int = sum(a.amount for a in parts if a.transfer_id in confirmed and a.kind in ("ticket", "open"))
    return coming + counted


def _state(
    row: Row[Any],
    ticket: Row[Any] | None,
    paid: Sequence[Row[Any]],
    parts: Sequence[Row[Any]],
    owed: Sequence[Row[Any]],
) -> str:
    if ticket is not None:
        return "minted" if ticket.state in ("active", "used") else str(ticket.state)
    kinds = {a.kind for a in parts}
    states = {t.state for t in paid}
    for found, name in (
        ("review" in kinds, "review"),
        ("confirming" in states, "confirming"),
        ("seen" in states, "seen"),
        ("open" in kinds, "underpaid"),
        (bool(owed) and all(r.state == "settled" for r in owed), "refunded"),
        ("refund" in kinds, "refund_due"),
        (row.expired, "expired"),
    ):
        if found:
            return name
    return "open"


def _payment(
    connection: Connection, t: Row[Any], price: int | None, reason: str, rules: Mapping[str, Rule]
) -> PaymentView:
    confirmations = ""
    if t.height is not None:
        cursor = connection.execute(select(cursors.c.height).where(cursors.c.chain == t.chain)).scalar_one_or_none()
        depth = max((cursor or t.height) - t.height + 1, 1)
        rule = rules.get(t.chain)
        weight = max(t.amount, price or 0) if t.asset == t.chain else None  # tokens have no price in the native coin
        wanted = (rule.tier(weight).depth or 0) if rule is not None else 0
        if t.state != "confirming":  # the chain called it final before that depth
            wanted = min(wanted, depth)
        confirmations = f"{min(depth, wanted)}/{wanted}" if wanted else str(depth)
    return PaymentView(t.chain, t.txid, t.idx, t.asset, t.amount, t.shown, reason, confirmations)
