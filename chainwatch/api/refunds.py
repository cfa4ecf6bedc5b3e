"""Refunds: the queue of the operator, and the buyer's word where to send one."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Row

from chainwatch.access import signed
from chainwatch.api import amounts, paging, payees
from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import Call, Endpoint, operator
from chainwatch.api.fields import Address, Code, Signature, SignedText, row_id
from chainwatch.api.paging import Page
from chainwatch.api.problems import Problem
from chainwatch.ledger import destinations, queries, refunds
from chainwatch.model import Asset
from chainwatch.times import format_ms
from chainwatch.wallets import canonical_wallet

PURPOSE = "refund-claim"
State = Literal["due", "exported", "settled", "cancelled"]


class RefundsQuery(Page, frozen=True, kw_only=True):
    """Which refunds."""

    state: State | None = None


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """``destination`` is None until the buyer has signed one or an operator has entered one."""

    id: str
    state: str
    kind: str
    reason: str
    event_id: str | None
    ref: str | None
    chain: str
    currency: str | None
    amount: str | None
    amount_base: str
    sent_amount_base: str | None
    destination: str | None
    destination_by: str
    paid_txid: str | None
    settled_txid: str | None
    export_id: str | None
    created_at: str
    updated_at: str


class Refunds(msgspec.Struct, frozen=True):
    """A page."""

    refunds: list[Refund]
    next_cursor: str | None


class ClaimQuery(msgspec.Struct):
    """Who wants it where."""

    wallet: Address
    destination: Address
    chain: Code | None = None


class ClaimChallenge(msgspec.Struct, frozen=True):
    """``message`` is signed as it is; it names the refund, its amount and the destination."""

    message: str
    expires_at: str


class Claim(msgspec.Struct):
    """The same, signed by the wallet of the purchase or of its ticket."""

    wallet_address: Address
    destination: Address
    message: SignedText
    signature: Signature
    chain: Code | None = None


class Entered(msgspec.Struct):
    """The destination that an operator knows from the buyer."""

    destination: Address


async def listed(call: Call) -> Refunds:
    """List refunds by id."""
    page: RefundsQuery = call.query
    after = paging.after_id(page)

    def body(connection: Connection) -> tuple[Sequence[Row[Any]], Mapping[int, str]]:
        rows = refunds.listing(connection, paging.wanted(page), after, page.state)
        return rows, queries.public_ids(connection, {r.event_id for r in rows if r.event_id is not None})

    rows, names = await call.backend.store.read(body)
    shown, more = paging.cut(rows, page)
    assets = call.backend.assets()
    return Refunds([_refund(r, names, assets) for r in shown], paging.cursor_of(shown[-1].id) if more else None)


def _refund(row: Row[Any], names: Mapping[int, str], assets: Mapping[str, Asset]) -> Refund:
    return Refund(
        id=str(row.id),
        state=row.state,
        kind=row.kind,
        reason=row.reason,
        event_id=names.get(row.event_id) if row.event_id is not None else None,
        ref=getattr(row, "ref", None),
        chain=row.chain,
        currency=row.asset,
        amount=amounts.decimal(row.amount, row.asset, assets),
        amount_base=str(row.amount),
        sent_amount_base=amounts.base(row.sent_amount),
        destination=row.destination,
        destination_by=row.destination_by,
        paid_txid=getattr(row, "txid", None),
        settled_txid=row.settled_txid,
        export_id=amounts.base(row.export_id),
        created_at=format_ms(row.created_ms) or "",
        updated_at=format_ms(row.updated_ms) or "",
    )


async def challenge(call: Call) -> ClaimChallenge:
    """Make the text that the wallet signs."""
    asked: ClaimQuery = call.query
    values = await _values(call, asked.wallet, asked.destination)
    made = signed.challenge(call.backend, PURPOSE, wallet=asked.wallet, values=values, chain=asked.chain)
    return ClaimChallenge(made.message, format_ms(made.expires_ms) or "")


async def claim(call: Call) -> Refund:
    """Take the destination that the wallet has signed."""
    asked: Claim = call.body
    refund_id = _id(call)
    values = await _values(call, asked.wallet_address, asked.destination)
    contract_chains = await call.backend.store.read(refunds.contract_chains, refund_id)
    checked = await signed.require(
        call.backend,
        PURPOSE,
        wallet=asked.wallet_address,
        message=asked.message,
        signature=asked.signature,
        values=values,
        chain=asked.chain,
        contract_chains=contract_chains,
    )
    now_ms, assets, specs = call.now_ms, call.backend.assets(), _specs(call)

    def body(connection: Connection) -> Refund:
        signed.consume(connection, checked)
        refunds.claim(connection, refund_id, asked.destination, checked.wallet, now_ms, specs)
        return _read(connection, refund_id, assets)

    return await call.write_together(body)


async def _values(call: Call, wallet: str, destination: str) -> dict[str, str]:
    """Return what a claim says, of a destination that can be paid.  A stranger is not told that there is the refund."""
    refund_id, specs = _id(call), _specs(call)

    def body(connection: Connection) -> Row[Any]:
        row = refunds.find(connection, refund_id)
        if canonical_wallet(wallet) not in refunds.wallets(connection, refund_id):
            raise Problem("unknown_refund", f"no refund {refund_id}")  # the very words of one that is not there
        destinations.canonical(connection, row.chain, destination, specs.get(row.chain))
        return row

    row = await call.backend.store.read(body)
    await payees.check(call.backend, row.chain, destination)
    amount = amounts.decimal(row.amount, row.asset, call.backend.assets()) or str(row.amount)
    currency = row.asset or f"{row.chain}-unknown"
    return {"refund": str(refund_id), "amount": amount, "currency": currency, "destination": destination}


async def enter(call: Call) -> Refund:
    """Take the destination that an operator enters."""
    refund_id, now_ms, assets, specs = _id(call), call.now_ms, call.backend.assets(), _specs(call)
    row = await call.backend.store.read(refunds.find, refund_id)
    await payees.check(call.backend, row.chain, call.body.destination)

    def body(connection: Connection) -> Refund:
        refunds.enter(connection, refund_id, call.body.destination, call.caller.actor, now_ms, specs)
        return _read(connection, refund_id, assets)

    return await call.write(body)


def _read(connection: Connection, refund_id: int, assets: Mapping[str, Asset]) -> Refund:
    row = refunds.find(connection, refund_id)
    names = queries.public_ids(connection, {row.event_id} if row.event_id is not None else set())
    return _refund(row, names, assets)


def _specs(call: Call) -> refunds.Specs:
    return {code: context.spec for code, context in call.backend.contexts.items()}


def _id(call: Call) -> int:
    return row_id(call.path["id"], "unknown_refund")


def endpoints(_backend: Backend) -> Sequence[Endpoint]:
    """Return the routes."""
    return (
        Endpoint(
            method="GET",
            path="/api/refunds",
            handler=listed,
            summary="What buyers are owed back",
            tag="refunds",
            who=operator("money"),
            query=RefundsQuery,
            answer=Refunds,
            problems=("bad_cursor",),
        ),
        Endpoint(
            method="GET",
            path="/api/refunds/{id}/challenge",
            handler=challenge,
            summary="The text that a wallet signs to claim its refund",
            tag="refunds",
            query=ClaimQuery,
            answer=ClaimChallenge,
            limit="access",
            problems=("unknown_refund", "bad_destination", "bad_wallet", "malformed", "unavailable"),
        ),
        Endpoint(
            method="POST",
            path="/api/refunds/{id}/claim",
            handler=claim,
            summary="Name where a refund goes, signed by the wallet of the purchase or of its ticket",
            tag="refunds",
            body=Claim,
            answer=Refund,
            limit="access",
            writes=True,
            problems=("unknown_refund", "not_your_refund", "not_due", "bad_destination", *signed.REFUSALS),
        ),
        Endpoint(
            method="PUT",
            path="/api/refunds/{id}/destination",
            handler=enter,
            summary="Enter where a refund goes",
            tag="refunds",
            who=operator("money"),
            body=Entered,
            answer=Refund,
            writes=True,
            problems=("unknown_refund", "already_claimed", "not_due", "bad_destination", "unavailable"),
        ),
    )
