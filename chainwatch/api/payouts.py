"""Payouts to creators: the queue, and marking as paid by the transaction that paid."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from sqlalchemy import Connection, Row

from chainwatch.api import amounts, paging
from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import Call, Endpoint, operator
from chainwatch.api.fields import Text
from chainwatch.api.paging import Page
from chainwatch.api.problems import Problem
from chainwatch.config.networks import canonical_code
from chainwatch.ledger import payouts, settlements
from chainwatch.model import Asset
from chainwatch.times import format_ms

State = Literal["due", "frozen", "exported", "settled", "cancelled"]


class PayoutsQuery(Page, frozen=True, kw_only=True):
    """Which payouts."""

    state: State | None = None


class Payout(msgspec.Struct, frozen=True, kw_only=True):
    """``frozen_why``: dispute, review, final_reorg, address_change or not_over."""

    id: str
    state: str
    frozen_why: str
    event_id: str
    creator_account: str
    currency: str
    amount: str | None
    amount_base: str
    destination: str | None
    settled_txid: str | None
    export_id: str | None
    due_at: str
    created_at: str
    updated_at: str


class Payouts(msgspec.Struct, frozen=True):
    """A page."""

    payouts: list[Payout]
    next_cursor: str | None


class Settle(msgspec.Struct):
    """A transaction that left us."""

    chain: Text
    txid: Annotated[str, Meta(min_length=1, max_length=128)]


class Settled(msgspec.Struct, frozen=True):
    """``subject``: what the transfer settles (``payout:5``, ``refund:7`` …); None: nothing that was exported."""

    txid: str
    index: str
    currency: str | None
    amount: str | None
    amount_base: str
    destination: str | None
    state: str
    subject: str | None


class Settlement(msgspec.Struct, frozen=True):
    """Every transfer of the transaction."""

    transfers: list[Settled]


async def listed(call: Call) -> Payouts:
    """List payouts by id."""
    page: PayoutsQuery = call.query
    after = paging.after_id(page)
    rows = await call.backend.store.read(payouts.listing, paging.wanted(page), after, page.state)
    shown, more = paging.cut(rows, page)
    assets = call.backend.assets()
    return Payouts([_payout(r, assets) for r in shown], paging.cursor_of(shown[-1].id) if more else None)


def _payout(row: Row[Any], assets: Mapping[str, Asset]) -> Payout:
    return Payout(
        id=str(row.id),
        state=row.state,
        frozen_why=row.frozen_why,
        event_id=row.slug or str(row.event_id),
        creator_account=row.creator_account,
        currency=row.asset,
        amount=amounts.decimal(row.amount, row.asset, assets),
        amount_base=str(row.amount),
        destination=row.destination,
        settled_txid=row.settled_txid,
        export_id=amounts.base(row.export_id),
        due_at=format_ms(row.due_ms) or "",
        created_at=format_ms(row.created_ms) or "",
        updated_at=format_ms(row.updated_ms) or "",
    )


async def settle(call: Call) -> Settlement:
    """Hold a transaction against what was exported: it counts as the watcher saw it leave us, nothing is believed."""
    chain = canonical_code(call.body.chain)
    context = call.backend.contexts.get(chain)
    if context is None:
        raise Problem("unknown_chain", f"{chain!r} is no configured chain")

    now_ms, assets = call.now_ms, call.backend.assets()

    def body(connection: Connection) -> Settlement:
        found = settlements.check(connection, call.body.txid, context, now_ms)
        return Settlement([_settled(f, assets) for f in found])

    return await call.write(body)


def _settled(found: settlements.Found, assets: Mapping[str, Asset]) -> Settled:
    return Settled(
        txid=found.txid,
        index=found.index,
        currency=found.asset,
        amount=amounts.decimal(found.amount, found.asset, assets),
        amount_base=str(found.amount),
        destination=found.destination,
        state=found.state,
        subject=found.subject,
    )


def endpoints(_backend: Backend) -> Sequence[Endpoint]:
    """Return the routes."""
    settles = [
        Endpoint(
            method="POST",
            path=f"/api/{kind}/settle",
            handler=settle,
            summary=f"Mark {kind} as paid by a transaction that left us",
            tag=kind,
            who=operator("money"),
            body=Settle,
            answer=Settlement,
            writes=True,
            problems=("unknown_chain", "unknown_transaction"),
        )
        for kind in ("payouts", "refunds")
    ]
    return (
        Endpoint(
            method="GET",
            path="/api/payouts",
            handler=listed,
            summary="What creators are owed",
            tag="payouts",
            who=operator("money"),
            query=PayoutsQuery,
            answer=Payouts,
            problems=("bad_cursor",),
        ),
        *settles,
    )
