"""A ticket to whoever holds its token: what it is, its code, its date, a certificate of having been there."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from sqlalchemy import Connection, Row

from chainwatch.access import sessions
from chainwatch.api import amounts
from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import Call, Endpoint, operator
from chainwatch.errors import Rejected
from chainwatch.ledger import tickets
from chainwatch.ledger.orders import identity
from chainwatch.tickets import calendar, certificate, codes, qr
from chainwatch.tickets.certificate import Certificate
from chainwatch.tickets.token import base64url
from chainwatch.times import format_ms

MAX_TOKEN = 64
"""Characters of a token that are looked at; ours have 43."""
MAX_CERTIFICATE = 2_048
SCALE = Annotated[int, msgspec.Meta(ge=1, le=32)]


class CodeQuery(msgspec.Struct):
    """``form``: ``v1`` is checked by us or against the door's manifest, ``v2`` offline with our public key."""

    form: Literal["v1", "v2"] = "v1"
    scale: SCALE = 8


class Rotating(msgspec.Struct):
    """What a page needs to make the rotating code without a network.

    ``<code>~<step>.<proof>``: ``step`` is Unix time in units of ``step_ms``, ``proof`` the first 9 bytes of
    HMAC-SHA256(seed, step as text).  Both ``seed`` and ``proof`` are base64url without padding.
    """

    code: str
    seed: str
    step_ms: int


class TicketEvent(msgspec.Struct):
    """The event that it is for."""

    id: str
    title: str
    event_start: str | None
    event_end: str | None
    status: str
    entry_policy: str


class Ticket(msgspec.Struct):
    """A ticket.  ``state`` is ours, ``status`` the word of other vocabularies; ``reason``: why it was revoked."""

    ticket_id: str
    number: int
    state: str
    status: str
    reason: str
    event: TicketEvent
    wallet_address: str
    tier: str | None
    currency: str
    amount: str | None
    amount_base: str
    created_at: str
    first_access_at: str | None
    last_access_at: str | None
    total_access_count: int
    jws: str | None
    qr: str
    qr_v2: str
    rotating: Rotating
    links: dict[str, str]


class Held(msgspec.Struct):
    """A ticket with the token that opens it."""

    token: str
    ticket: Ticket


class RevokeBody(msgspec.Struct):
    """Why."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Revoked(msgspec.Struct):
    """What it is now."""

    ticket_id: str
    state: str


class CertificateAnswer(msgspec.Struct):
    """What a certificate of ours says."""

    valid: bool
    event: str
    title: str
    number: int
    ticket_id: str
    attended_at: str
    minutes: int | None = None


def shown(backend: Backend, row: Row[Any], token: str) -> Ticket:
    """A row of ``ledger.tickets`` as its holder sees it."""
    event = row.slug or str(row.event_id)
    made = codes.Codes(backend.issuer)
    plain = made.v1(row.uuid)
    base = f"{backend.settings.http.public_url}/api/tickets/{token}"
    seed = base64url(made.seed(row.uuid))
    links = {
        "self": base,
        "qr_svg": f"{base}/qr.svg",
        "qr_png": f"{base}/qr.png",
        "certificate": f"{base}/certificate.pdf",
    }
    if row.event_start_ms is not None:
        links["calendar"] = f"{base}/calendar.ics"
    return Ticket(
        ticket_id=row.uuid,
        number=row.number,
        state=row.state,
        status=tickets.ALIASES[row.state],
        reason=row.reason,
        event=TicketEvent(
            event,
            row.title,
            format_ms(row.event_start_ms),
            format_ms(row.event_end_ms),
            row.event_status,
            row.entry_policy,
        ),
        wallet_address=row.wallet,
        tier=row.tier,
        currency=row.asset,
        amount=amounts.decimal(row.amount_paid, row.asset, backend.assets()),
        amount_base=str(row.amount_paid),
        created_at=format_ms(row.created_ms) or "",
        first_access_at=format_ms(row.first_access_ms),
        last_access_at=format_ms(row.last_access_ms),
        total_access_count=row.total_access_count,
        jws=row.jws or None,
        qr=plain,
        qr_v2=made.v2(row.uuid, event, row.number),
        rotating=Rotating(plain, seed, codes.STEP_MS),
        links=links,
    )


def held(backend: Backend, rows: Sequence[Row[Any]]) -> list[Held]:
    """Tickets with their tokens, which are computed again: nobody stores them."""
    found = []
    for row in rows:
        token = backend.issuer.token(identity(row), row.unit)
        found.append(Held(token, shown(backend, row, token)))
    return found


# -- handlers --------------------------------------------------------------------------------------------


async def _row(call: Call) -> Row[Any]:
    token = call.path["token"]
    if len(token) > MAX_TOKEN:
        raise Rejected("unknown_ticket", "there is no such ticket")
    return await call.backend.store.read(tickets.by_token, token)


async def ticket(call: Call) -> Ticket:
    """The ticket."""
    return shown(call.backend, await _row(call), call.path["token"])


async def qr_svg(call: Call) -> web.Response:
    """Its code, to be shown."""
    text = _code(call, await _row(call))
    return web.Response(body=qr.svg(text, "Ticket code"), content_type="image/svg+xml", headers=_PRIVATE)


async def qr_png(call: Call) -> web.Response:
    """Its code, to be printed."""
    text = _code(call, await _row(call))
    return web.Response(body=qr.png(text, call.query.scale), content_type="image/png", headers=_PRIVATE)


_PRIVATE = {
    "Cache-Control": "private, no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
}


def _code(call: Call, row: Row[Any]) -> str:
    made = codes.Codes(call.backend.issuer)
    return made.v1(row.uuid) if call.query.form == "v1" else made.v2(row.uuid, _event(row), row.number)


async def calendar_file(call: Call) -> web.Response:
    """Its date, for a calendar.  The file names the public page of the event, never the token."""
    row = await _row(call)
    public_url = call.backend.settings.http.public_url
    data = calendar.ics(
        uid=f"{row.uuid}@{call.backend.settings.access.domain}",
        title=row.title,
        description=row.description[:2_000],
        url=f"{public_url}/e/{_event(row)}",
        start_ms=row.event_start_ms,
        end_ms=row.event_end_ms,
        changed_ms=row.event_updated_ms,
        cancelled=row.event_status == "cancelled",
    )
    headers = {"Content-Disposition": f'attachment; filename="{_event(row)}.ics"'}
    return web.Response(body=data, content_type=calendar.CONTENT_TYPE, charset="utf-8", headers=headers)


_PRINTER = ThreadPoolExecutor(1, "certificates")
"""One at a time: each takes a second of a processor, and a door beside it must not stall."""


async def certificate_pdf(call: Call) -> web.Response:
    """A certificate of attendance.  ``not_attended`` when nobody came in with this ticket."""
    row = await _row(call)
    came = await call.backend.store.read(tickets.attended, row.id)
    if came is None:
        raise Rejected("not_attended", "nobody has come in with this ticket")
    public_url = call.backend.settings.http.public_url
    said = Certificate(_event(row), row.title, row.number, row.uuid, *came)
    jws = certificate.sign(call.backend.issuer, said, public_url)
    link = f"{public_url}/c/{jws}"
    data = await asyncio.get_running_loop().run_in_executor(_PRINTER, certificate.pdf, said, jws, link)
    headers = {"Content-Disposition": f'inline; filename="certificate-{_event(row)}-{row.number}.pdf"'}
    return web.Response(body=data, content_type="application/pdf", headers=headers)


async def check_certificate(call: Call) -> CertificateAnswer:
    """Is it ours?  By its own words: the ticket may have been erased since.  ``/c/{certificate}``: for people."""
    text = call.path["certificate"]
    if len(text) > MAX_CERTIFICATE:
        raise Rejected("bad_certificate", "this is no certificate of ours")
    claims = certificate.verify(call.backend.issuer, text)
    return CertificateAnswer(
        valid=True,
        event=claims["event"],
        title=claims["title"],
        number=claims["number"],
        ticket_id=claims["ticket"],
        attended_at=claims["attended_at"],
        minutes=claims.get("minutes"),
    )


async def revoke(call: Call) -> Revoked:
    """Take a ticket back: its sessions end, its refund falls due (not when somebody came in with it)."""
    now_ms, uuid = call.now_ms, call.path["ticket_id"]

    def body(connection: Connection) -> Revoked:
        row = tickets.revoke(connection, uuid, call.body.reason, call.backend.contexts, now_ms, call.caller.actor)
        sessions.end_of_tickets(connection, [row.id], now_ms, "revoked")
        return Revoked(uuid, "revoked")

    return await call.write(body)


def _event(row: Row[Any]) -> str:
    return row.slug or str(row.event_id)


def endpoints(_backend: Backend) -> Sequence[Endpoint]:
    """The routes of tickets."""
    path = "/api/tickets/{token}"
    return (
        Endpoint(
            method="GET",
            path=path,
            handler=ticket,
            summary="The ticket that a token opens",
            tag="tickets",
            answer=Ticket,
            problems=("unknown_ticket",),
        ),
        *(
            Endpoint(
                method="GET",
                path=f"{path}/qr.{kind}",
                handler=handler,
                summary=f"Its code as {kind.upper()}",
                tag="tickets",
                query=CodeQuery,
                content_type=content_type,
                problems=("unknown_ticket",),
            )
            for kind, handler, content_type in (("svg", qr_svg, "image/svg+xml"), ("png", qr_png, "image/png"))
        ),
        Endpoint(
            method="GET",
            path=f"{path}/calendar.ics",
            handler=calendar_file,
            summary="Its date as a calendar file",
            tag="tickets",
            content_type=calendar.CONTENT_TYPE,
            problems=("unknown_ticket", "no_date"),
        ),
        Endpoint(
            method="GET",
            path=f"{path}/certificate.pdf",
            handler=certificate_pdf,
            summary="A signed certificate of attendance",
            tag="tickets",
            content_type="application/pdf",
            problems=("unknown_ticket", "not_attended"),
        ),
        Endpoint(
            method="GET",
            path="/api/certificates/{certificate}",
            handler=check_certificate,
            summary="Is this certificate ours?",
            tag="tickets",
            answer=CertificateAnswer,
            problems=("bad_certificate",),
        ),
        Endpoint(
            method="POST",
            path="/api/tickets/{ticket_id}/revoke",
            handler=revoke,
            summary="Take a ticket back",
            tag="tickets",
            who=operator("events"),
            body=RevokeBody,
            answer=Revoked,
            writes=True,
            problems=("unknown_ticket", "conflict"),
        ),
    )
