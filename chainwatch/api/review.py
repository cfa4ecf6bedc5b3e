"""Review: payments that a person must look at, and what that person decides."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta
from sqlalchemy import Connection

from chainwatch.api import amounts, paging
from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import Call, Endpoint, operator
from chainwatch.api.fields import Text, row_id
from chainwatch.api.paging import Page
from chainwatch.ledger import review
from chainwatch.ledger.review import MAX_NOTE, Action, Decision
from chainwatch.times import format_ms


class ReviewQuery(Page, frozen=True, kw_only=True):
    """Which page."""


class ReviewItem(msgspec.Struct, frozen=True, kw_only=True):
    """A payment in review.  ``memo`` and ``memo_hex`` are what the payer wrote: hostile text, to be shown as text."""

    id: str
    chain: str
    txid: str
    index: str
    currency: str | None
    asset_id: str | None
    amount: str | None
    amount_base: str
    recipient: str | None
    sender: list[str]
    memo: str | None
    memo_hex: str | None
    reason: str
    paid_at: str
    ref: str | None
    event_id: str | None


class Review(msgspec.Struct, frozen=True):
    """A page, oldest first."""

    items: list[ReviewItem]
    next_cursor: str | None


class DecisionBody(msgspec.Struct):
    """``refund``: it is due back · ``assign``: it pays for purchase ``ref`` · ``foreign`` · ``dust`` · ``internal``.

    ``note`` says why; it stands in the audit log.
    """

    action: Action
    ref: Text | None = None
    note: Annotated[str, Meta(max_length=MAX_NOTE)] = ""


class Decided(msgspec.Struct, frozen=True):
    """Where the payment stands now."""

    id: str
    state: str


async def listed(call: Call) -> Review:
    """List what waits for a decision."""
    page: ReviewQuery = call.query
    rows = await call.backend.store.read(review.open_items, paging.wanted(page), paging.after_id(page))
    found, more = paging.cut(rows, page)
    assets = call.backend.assets()
    shown = [
        ReviewItem(
            id=str(i.id),
            chain=i.chain,
            txid=i.txid,
            index=i.index,
            currency=i.asset,
            asset_id=i.asset_id,
            amount=amounts.decimal(i.amount, i.asset, assets),
            amount_base=str(i.amount),
            recipient=i.recipient,
            sender=list(i.sender),
            memo=_text(i.memo),
            memo_hex=i.memo.hex() if i.memo is not None and _text(i.memo) is None else None,
            reason=i.reason,
            paid_at=format_ms(i.paid_ms) or "",
            ref=i.ref,
            event_id=i.event_id,
        )
        for i in found
    ]
    return Review(shown, paging.cursor_of(found[-1].id) if more else None)


def _text(memo: bytes | None) -> str | None:
    try:
        return None if memo is None else memo.decode("utf-8")
    except UnicodeDecodeError:
        return None


async def decide(call: Call) -> Decided:
    """Write a decision."""
    text, body = call.path["id"], call.body
    payment_id = row_id(text, "unknown_payment")
    decision = Decision(action=body.action, ref=body.ref, note=body.note)
    contexts, now_ms = call.backend.contexts, call.now_ms

    def write(connection: Connection) -> Decided:
        return Decided(text, review.decide(connection, payment_id, decision, contexts, now_ms, call.caller.actor))

    return await call.write(write)


def endpoints(_backend: Backend) -> Sequence[Endpoint]:
    """Return the routes."""
    return (
        Endpoint(
            method="GET",
            path="/api/review",
            handler=listed,
            summary="Payments that wait for a person's decision",
            tag="review",
            who=operator("money"),
            query=ReviewQuery,
            answer=Review,
            problems=("bad_cursor",),
        ),
        Endpoint(
            method="POST",
            path="/api/review/{id}",
            handler=decide,
            summary="Decide what becomes of a payment",
            tag="review",
            who=operator("money"),
            body=DecisionBody,
            answer=Decided,
            writes=True,
            problems=(
                *("unknown_payment", "not_in_review", "decided_already", "unknown_purchase", "unpriced"),
                "chain_not_configured",
            ),
        ),
    )
