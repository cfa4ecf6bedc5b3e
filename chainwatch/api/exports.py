"""Unsigned payment files of payouts and refunds: made, approved by a second operator, taken back."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from msgspec import Meta
from sqlalchemy import Connection, Row

from chainwatch.api import amounts, paging, wire
from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import Call, Endpoint, operator
from chainwatch.api.fields import Text, row_id
from chainwatch.api.paging import Page
from chainwatch.api.problems import Problem
from chainwatch.errors import Rejected
from chainwatch.ledger import exports
from chainwatch.ledger.context import Context
from chainwatch.model import Asset
from chainwatch.payfiles import Options, again, planner
from chainwatch.times import format_ms
from chainwatch.units import parse_units

State = Literal["waiting", "exported", "settled", "void"]
MAX_IDS = exports.MOST_ITEMS


Number = Annotated[str, Meta(pattern="^[0-9]{1,30}$")] | Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""Base units or wei, as text or number."""
Count = Annotated[int, Meta(ge=0, lt=2**31)]


class FileOptions(msgspec.Struct, kw_only=True):
    """What only the operator knows of the payment.  Each chain's family reads its own.

    ``account``: which of our receiving accounts pays.  ``network_fee_base``: what one payment costs, taken off
    refunds that pay their own fee.  EVM: ``nonce``, ``max_fee_per_gas``, ``priority_fee_per_gas`` (wei),
    ``gas_limit``, ``memo``.  Bitcoin: ``fee_rate`` (satoshi a thousand virtual bytes), ``inputs`` (outpoints),
    ``change``, ``previous`` (raw transactions in hex by id).  Hive: ``expires_seconds``.
    """

    account: Text | None = None
    network_fee_base: Number | None = None
    nonce: Count | None = None
    max_fee_per_gas: Number | None = None
    priority_fee_per_gas: Number | None = None
    gas_limit: Count = 100_000
    memo: bool = False
    fee_rate: Count | None = None
    inputs: Annotated[list[Text], Meta(max_length=500)] = []
    change: Text | None = None
    previous: Annotated[dict[Text, str], Meta(max_length=500)] = {}
    expires_seconds: Annotated[int, Meta(ge=60, le=3_540)] = 3_300


class Approval(msgspec.Struct, kw_only=True):
    """The second operator may give the file's options anew."""

    options: FileOptions = msgspec.field(default_factory=FileOptions)


class ExportsQuery(Page, frozen=True, kw_only=True):
    """Which exports."""

    state: State | None = None


class NewExport(msgspec.Struct):
    """Everything of ``currency`` that is due, or only ``ids``.

    ``replaces``: an export that cannot be paid any more as it is; the new one uses up what it used, so that only one of
    the two can ever be paid.
    """

    currency: Text
    ids: Annotated[list[str], Meta(max_length=MAX_IDS)] = []
    replaces: Text | None = None
    options: FileOptions = msgspec.field(default_factory=FileOptions)


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """``state``: ``waiting`` for a second operator, ``exported``, ``settled``, ``void``."""

    id: str
    kind: str
    chain: str
    currency: str
    total: str | None
    total_base: str
    state: str
    made_by: str
    made_at: str
    approved_by: str
    approved_at: str | None
    voided_by: str
    replaces: str | None


class Exports(msgspec.Struct, frozen=True):
    """A page."""

    exports: list[Export]
    next_cursor: str | None


def _kind(kind: exports.Kind) -> Any:
    async def make(call: Call) -> Export:
        """Write an export down."""
        asked: NewExport = call.body
        asset = amounts.code(asked.currency, call.backend.assets())
        context = call.backend.context_of(asset)
        if context is None:
            raise Problem("unknown_currency", f"{asked.currency!r} is no configured asset")
        ask = exports.Ask(
            kind=kind,
            asset=asset,
            ids=tuple(row_id(i, "unknown_export") for i in asked.ids),
            replaces=row_id(asked.replaces, "unknown_export") if asked.replaces is not None else None,
        )
        rules = rules_of(call.backend)

        plan = planner(context.spec, _options(asked.options))
        now_ms, assets = call.now_ms, call.backend.assets()

        def body(connection: Connection) -> Export:
            made = exports.make(connection, ask, context, rules, plan, now_ms, call.caller.actor)
            return _read(connection, made, assets)

        return await call.write(body)

    return make


def rules_of(backend: Backend) -> exports.Rules:
    """Return ``[payouts]`` in base units."""
    assets, written = backend.assets(), backend.settings.payouts

    def units(amounts: Mapping[str, str]) -> dict[str, int]:
        return {code: parse_units(n, assets[code].decimals) for code, n in amounts.items() if code in assets}

    return exports.Rules(units(written.approve_above), units(written.minimum))


def _options(asked: FileOptions) -> Options:
    def number(value: str | int | None) -> int | None:
        return None if value is None else int(value)

    try:
        previous = {txid: bytes.fromhex(raw) for txid, raw in asked.previous.items()}
    except ValueError as error:
        raise Problem("bad_request", "previous holds transactions in hex") from error
    return Options(
        account=asked.account,
        network_fee=number(asked.network_fee_base),
        nonce=asked.nonce,
        max_fee_per_gas=number(asked.max_fee_per_gas),
        priority_fee_per_gas=number(asked.priority_fee_per_gas),
        gas_limit=asked.gas_limit,
        memo=asked.memo,
        fee_rate=asked.fee_rate,
        inputs=tuple(asked.inputs),
        change=asked.change,
        previous=previous,
        expires_ms=asked.expires_seconds * 1000,
    )


async def listed(call: Call) -> Exports:
    """List exports by id."""
    page: ExportsQuery = call.query
    after = paging.after_id(page)
    rows = await call.backend.store.read(exports.listing, paging.wanted(page), after, page.state)
    shown, more = paging.cut(rows, page)
    assets = call.backend.assets()
    return Exports([_export(r, assets) for r in shown], paging.cursor_of(shown[-1].id) if more else None)


async def document(call: Call) -> web.Response:
    """Return the file for the operator's wallet."""
    found = await call.backend.store.read(exports.document, row_id(call.path["id"], "unknown_export"))
    headers = {"Content-Disposition": f'attachment; filename="export-{found["export"]}.json"'}
    return web.Response(body=wire.encode(found), content_type=wire.JSON, headers=headers)


async def show(call: Call) -> Export:
    """Return one export."""
    return await call.backend.store.read(_read, row_id(call.path["id"], "unknown_export"), call.backend.assets())


async def approve(call: Call) -> Export:
    """Let it leave."""
    export_id, options, now_ms = row_id(call.path["id"], "unknown_export"), _options(call.body.options), call.now_ms

    def body(connection: Connection) -> Export:
        export = exports.find(connection, export_id)
        context = _context(call.backend, export)
        plan = again(context.spec, export.payload, options)
        exports.approve(connection, export_id, context, plan, now_ms, call.caller.actor)
        return _read(connection, export_id, call.backend.assets())

    return await call.write(body)


async def void(call: Call) -> Export:
    """Take it back, or attest that it cannot be paid any more."""
    export_id, now_ms = row_id(call.path["id"], "unknown_export"), call.now_ms

    def body(connection: Connection) -> Export:
        context = _context(call.backend, exports.find(connection, export_id))
        exports.void(connection, export_id, context, now_ms, call.caller.actor)
        return _read(connection, export_id, call.backend.assets())

    return await call.write(body)


def _context(backend: Backend, row: Row[Any]) -> Context:
    context = backend.contexts.get(row.chain)
    if context is None:
        raise Rejected("unknown_chain", f"{row.chain} is not configured any more")
    return context


def _read(connection: Connection, export_id: int, assets: Mapping[str, Asset]) -> Export:
    return _export(exports.find(connection, export_id), assets)


def _export(row: Row[Any], assets: Mapping[str, Asset]) -> Export:
    return Export(
        id=str(row.id),
        kind=row.kind,
        chain=row.chain,
        currency=row.asset,
        total=amounts.decimal(row.total, row.asset, assets),
        total_base=str(row.total),
        state=row.state,
        made_by=row.made_by,
        made_at=format_ms(row.made_ms) or "",
        approved_by=row.approved_by,
        approved_at=format_ms(row.approved_ms),
        voided_by=row.voided_by,
        replaces=amounts.base(row.replaces_id),
    )


_PATH = "/api/exports/{id}"
_MADE = (
    *("unknown_currency", "nothing_to_export", "refunds_first", "unknown_export", "no_conflict", "changed_meanwhile"),
    *("bad_account", "fee_needed", "no_payment_file"),
)


def endpoints(_backend: Backend) -> Sequence[Endpoint]:
    """Return the routes."""
    money = operator("money")
    return (
        _making("payouts"),
        _making("refunds"),
        Endpoint(
            method="GET",
            path="/api/exports",
            handler=listed,
            summary="Payment files",
            tag="exports",
            who=money,
            query=ExportsQuery,
            answer=Exports,
            problems=("bad_cursor",),
        ),
        Endpoint(
            method="GET",
            path=_PATH,
            handler=show,
            summary="One payment file's state",
            tag="exports",
            who=money,
            answer=Export,
            problems=("unknown_export",),
        ),
        Endpoint(
            method="GET",
            path=f"{_PATH}/document",
            handler=document,
            summary="The unsigned payment for the operator's wallet",
            tag="exports",
            who=money,
            problems=("unknown_export", "not_approved"),
        ),
        Endpoint(
            method="POST",
            path=f"{_PATH}/approve",
            handler=approve,
            summary="Let an export leave, as the second operator",
            tag="exports",
            who=money,
            body=Approval,
            answer=Export,
            writes=True,
            problems=("unknown_export", "not_waiting", "same_operator", "frozen"),
        ),
        Endpoint(
            method="POST",
            path=f"{_PATH}/void",
            handler=void,
            summary="Take an export back, or attest that it cannot be paid any more",
            tag="exports",
            who=money,
            answer=Export,
            writes=True,
            problems=("unknown_export", "not_open"),
        ),
    )


def _making(kind: exports.Kind) -> Endpoint:
    """Write a file of what is due of one kind."""
    return Endpoint(
        method="POST",
        path=f"/api/{kind}/export",
        handler=_kind(kind),
        summary=f"Write an unsigned payment file of {kind} that are due",
        tag="exports",
        who=operator("money"),
        body=NewExport,
        answer=Export,
        writes=True,
        problems=_MADE,
    )
