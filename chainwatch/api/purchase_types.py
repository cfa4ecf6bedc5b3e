"""Purchases as requests and answers carry them."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from chainwatch.api import amounts
from chainwatch.api.backend import Backend
from chainwatch.api.fields import Address, Code, Signature, SignedText, Text
from chainwatch.errors import Rejected
from chainwatch.ledger.quotes import Quote
from chainwatch.ledger.views import PurchaseView
from chainwatch.model import Asset
from chainwatch.tickets.uri import payment_uri
from chainwatch.times import format_ms

EventId = Annotated[str, Meta(max_length=64)] | Annotated[int, Meta(ge=1, lt=10**18)]


class NewPurchase(msgspec.Struct, kw_only=True):
    """One ticket for ``wallet_address``, paid in ``payment_method`` (an asset's code).

    ``message`` and ``signature``: of ``GET /api/events/{id}/purchase-challenge``, optional: a signed purchase holds its
    seat surely.  ``user_account`` is taken and not kept: whoever holds the wallet needs no account.
    """

    event_id: EventId
    payment_method: Text
    wallet_address: Address
    user_account: Text | None = None
    tier: Code | None = None
    allotment: Code | None = None
    invite: Code | None = None
    wallet_chain: Code | None = None
    message: SignedText | None = None
    signature: Signature | None = None


class ChallengeQuery(msgspec.Struct, kw_only=True):
    """The purchase that is going to be signed."""

    wallet: Address
    payment_method: Text
    tier: Code | None = None
    wallet_chain: Code | None = None


class ChallengeAnswer(msgspec.Struct, frozen=True):
    """``message`` is signed as it is."""

    message: str
    expires_at: str


class Fiat(msgspec.Struct, frozen=True):
    """The price in money, and what one coin costs; locked until ``expires_at``."""

    currency: str
    amount: str
    rate: str


class Purchase(msgspec.Struct, frozen=True, kw_only=True):
    """What to pay.  ``purchase_id`` is a secret and opens the purchase; ``ref`` is public and opens nothing.

    ``memo``: to be sent with the payment, None: the address is the purchase's own.  ``held``: a seat is kept until
    ``expires_at``.  ``wallet_kind``: ``key``, ``contract`` (it proves itself at the door on ``wallet_chain`` only) or
    ``unknown``.  ``ticket_id``: of a free ticket, which is there already.
    """

    purchase_id: str
    ref: str
    event_id: str
    tier: str | None
    held: bool
    payment_address: str | None
    amount: str | None
    amount_base: str
    currency: str
    chain: str
    memo: str | None
    reference: str | None
    uri: str | None
    qr_svg_url: str
    status_url: str
    pay_url: str
    expires_at: str
    fiat: Fiat | None
    wallet_kind: str
    wallet_chain: str | None
    notice: str | None
    ticket_id: str | None


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer that came.  ``confirmations``: ``1/2``; empty outside a block."""

    chain: str
    txid: str
    index: str
    currency: str | None
    amount: str | None
    amount_base: str
    state: str
    reason: str
    confirmations: str


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """``token`` is a secret: it opens the ticket's page and its QR code."""

    ticket_id: str
    ticket_number: int
    state: str
    token: str
    url: str


class PurchaseRefund(msgspec.Struct, frozen=True, kw_only=True):
    """Money that is due back; ``destination`` None: claim it (``POST /api/refunds/{id}/claim``)."""

    id: str
    kind: str
    chain: str
    currency: str | None
    amount: str | None
    amount_base: str
    reason: str
    state: str
    destination: str | None


class PurchaseState(msgspec.Struct, frozen=True, kw_only=True):
    """``state``: open, seen, confirming, underpaid, minted, suspended, cancelled, refund_due, refunded, review,
    expired, revoked.  ``closed``: why money that comes now goes back (event_cancelled, sales_closed, event_over,
    before_sales); null while it buys.
    """

    ref: str
    state: str
    event_id: str
    event_title: str
    wallet_address: str
    tier: str | None
    currency: str
    chain: str
    amount: str | None
    amount_base: str | None
    paid: str | None
    paid_base: str
    missing: str | None
    missing_base: str
    payment_address: str | None
    memo: str | None
    reference: str | None
    uri: str | None
    fiat: Fiat | None
    signed: bool
    held: bool
    expired: bool
    closed: str | None
    created_at: str
    expires_at: str
    payments: list[Payment]
    ticket: Ticket | None
    refunds: list[PurchaseRefund]


def purchase_of(quote: Quote, backend: Backend, kind: str, chain: str | None, notice: str | None) -> Purchase:
    """Return what the buyer is told."""
    assets = backend.assets()
    path = f"{backend.settings.http.public_url}/api/purchases/{quote.purchase_id}"
    return Purchase(
        purchase_id=quote.purchase_id,
        ref=quote.ref,
        event_id=quote.event_id,
        tier=quote.tier,
        held=quote.held,
        payment_address=quote.address or None,
        amount=amounts.decimal(quote.amount, quote.asset, assets),
        amount_base=str(quote.amount),
        currency=quote.asset,
        chain=_chain(quote.asset, assets),
        memo=quote.memo,
        reference=quote.reference,
        uri=uri_of(backend, quote.asset, quote.address, quote.amount, quote.memo, quote.reference),
        qr_svg_url=f"{path}/qr.svg",
        status_url=path,
        pay_url=f"{backend.settings.http.public_url}/pay/{quote.purchase_id}",
        expires_at=format_ms(quote.expires_ms) or "",
        fiat=_fiat(quote),
        wallet_kind=kind,
        wallet_chain=chain,
        notice=notice,
        ticket_id=quote.ticket,
    )


def uri_of(
    backend: Backend, asset: str, address: str | None, amount: int | None, memo: str | None, reference: str | None
) -> str | None:
    """Return the payment URI; None where nothing is to be paid, or the chain has no standard for it."""
    context, known = backend.context_of(asset), backend.assets().get(asset)
    if context is None or known is None or not address or not amount:
        return None
    try:
        return payment_uri(context.spec, known, address=address, amount=amount, memo=memo, reference=reference)
    except Rejected:
        return None


def state_of(view: PurchaseView, backend: Backend) -> PurchaseState:
    """Return a purchase as its buyer sees it."""
    assets = backend.assets()
    return PurchaseState(
        ref=view.ref,
        state=view.state,
        event_id=view.event_id,
        event_title=view.event_title,
        wallet_address=view.wallet,
        tier=view.tier,
        currency=view.asset,
        chain=_chain(view.asset, assets),
        amount=amounts.decimal(view.amount, view.asset, assets),
        amount_base=amounts.base(view.amount),
        paid=amounts.decimal(view.paid, view.asset, assets),
        paid_base=str(view.paid),
        missing=amounts.decimal(view.missing, view.asset, assets),
        missing_base=str(view.missing),
        payment_address=view.address or None,
        memo=view.memo,
        reference=view.reference,
        uri=uri_of(backend, view.asset, view.address, view.missing, view.memo, view.reference),
        fiat=_fiat(view),
        signed=view.signed,
        held=view.held,
        expired=view.expired,
        closed=view.closed or None,
        created_at=format_ms(view.created_ms) or "",
        expires_at=format_ms(view.expires_ms) or "",
        payments=[
            Payment(
                chain=p.chain,
                txid=p.txid,
                index=p.index,
                currency=p.asset,
                amount=amounts.decimal(p.amount, p.asset, assets),
                amount_base=str(p.amount),
                state=p.state,
                reason=p.reason,
                confirmations=p.confirmations,
            )
            for p in view.payments
        ],
        ticket=_ticket(view, backend),
        refunds=[
            PurchaseRefund(
                id=str(r.id),
                kind=r.kind,
                chain=r.chain,
                currency=r.asset,
                amount=amounts.decimal(r.amount, r.asset, assets),
                amount_base=str(r.amount),
                reason=r.reason,
                state=r.state,
                destination=r.destination,
            )
            for r in view.refunds
        ],
    )


def _ticket(view: PurchaseView, backend: Backend) -> Ticket | None:
    if view.ticket is None:
        return None
    token = backend.issuer.token(view.ticket.bought, view.ticket.unit)
    return Ticket(
        ticket_id=view.ticket.uuid,
        ticket_number=view.ticket.number,
        state=view.ticket.state,
        token=token,
        url=f"{backend.settings.http.public_url}/api/tickets/{token}",
    )


def _fiat(of: Quote | PurchaseView) -> Fiat | None:
    if of.fiat_currency is None or of.fiat_amount is None or of.rate is None:
        return None
    return Fiat(of.fiat_currency, of.fiat_amount, of.rate)


def _chain(asset: str, assets: Mapping[str, Asset]) -> str:
    known = assets.get(asset)
    return known.chain if known is not None else asset.partition(":")[0]
