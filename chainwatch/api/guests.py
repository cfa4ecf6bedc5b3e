"""Guests of events that are not open to all: invites, and wallets that are approved before they may buy."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from msgspec import Meta
from sqlalchemy import Connection, Row

from chainwatch.access import signed
from chainwatch.api import paging
from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import Call, Endpoint, creator
from chainwatch.api.events import own
from chainwatch.api.fields import Address, Signature, SignedText, row_id
from chainwatch.errors import Rejected
from chainwatch.ledger import events, invites
from chainwatch.times import format_ms
from chainwatch.wallets import canonical_wallet

PURPOSE = "guest-request"


class NewInvite(msgspec.Struct):
    """``wallet_address``: only this wallet may use it."""

    uses: Annotated[int, Meta(ge=1, le=invites.MAX_USES)] = 1
    wallet_address: Address | None = None


class MadeInvite(msgspec.Struct, frozen=True):
    """``code`` is shown this once; a purchase names it as ``invite``."""

    code: str


class Invite(msgspec.Struct, frozen=True, kw_only=True):
    """An invite without its code, which is kept as a hash."""

    id: str
    wallet_address: str | None
    uses: int
    used: int
    created_at: str
    revoked_at: str | None


class InvitesQuery(paging.Page, frozen=True):
    """Which page."""


class Invites(msgspec.Struct, frozen=True):
    """One page, the oldest first."""

    invites: list[Invite]
    next_cursor: str | None


class GuestsQuery(paging.Page, frozen=True):
    """Which requests."""

    state: Literal["requested", "approved", "denied"] = "requested"


class Guest(msgspec.Struct, frozen=True):
    """A wallet that asked to buy."""

    wallet_address: str
    state: str


class Guests(msgspec.Struct, frozen=True):
    """One page, the oldest first."""

    guests: list[Guest]
    next_cursor: str | None


class WalletQuery(msgspec.Struct):
    """Whose text."""

    wallet: Address


class GuestChallenge(msgspec.Struct, frozen=True):
    """``message`` is signed as it is."""

    message: str
    expires_at: str


class GuestRequest(msgspec.Struct):
    """Signed by the wallet, so that nobody asks in another's name."""

    wallet_address: Address
    message: SignedText
    signature: Signature


class GuestDecision(msgspec.Struct):
    """A wallet may be approved before it has asked; a later word replaces an earlier one."""

    wallet_address: Address
    approved: bool


def _event(connection: Connection, call: Call) -> Row[Any]:
    own(connection, call)
    return events.find(connection, call.path["id"])


def _wallet(text: str) -> str:
    wallet = canonical_wallet(text)
    if wallet is None:
        raise Rejected("bad_wallet", f"{text[:120]!r} is no wallet of any supported chain")
    return wallet


async def invite(call: Call) -> MadeInvite:
    """Make an invite."""
    wallet = None if call.body.wallet_address is None else _wallet(call.body.wallet_address)
    uses, now_ms, actor = call.body.uses, call.now_ms, call.caller.actor

    def body(connection: Connection) -> MadeInvite:
        event = _event(connection, call)
        code = invites.make(
            connection, event.id, uses=uses, wallet=wallet, now_ms=now_ms, actor=actor, public_id=call.path["id"]
        )
        return MadeInvite(code)

    return await call.write(body)


async def invited(call: Call) -> Invites:
    """List invites."""
    page: InvitesQuery = call.query
    most, after = paging.wanted(page), paging.after_id(page)
    found = await call.backend.store.read(lambda c: invites.listing(c, _event(c, call).id, most, after))
    rows, more = paging.cut(found, page)
    return Invites(
        [
            Invite(
                id=str(r.id),
                wallet_address=r.wallet,
                uses=r.uses,
                used=r.used,
                created_at=format_ms(r.created_ms) or "",
                revoked_at=format_ms(r.revoked_ms),
            )
            for r in rows
        ],
        paging.cursor_of(rows[-1].id) if more else None,
    )


async def revoke(call: Call) -> web.Response:
    """End an invite."""
    invite_id, now_ms = row_id(call.path["invite"], "unknown_invite"), call.now_ms

    def body(connection: Connection) -> web.Response:
        event = _event(connection, call)
        invites.revoke(connection, event.id, invite_id, now_ms, call.caller.actor, call.path["id"])
        return web.Response(status=204)

    return await call.write(body)


async def challenge(call: Call) -> GuestChallenge:
    """Make the text that a wallet signs to ask."""
    await call.backend.store.read(events.find, call.path["id"])
    values = {"event": call.path["id"]}
    made = signed.challenge(call.backend, PURPOSE, wallet=_wallet(call.query.wallet), values=values)
    return GuestChallenge(made.message, format_ms(made.expires_ms) or "")


async def ask(call: Call) -> Guest:
    """Take a wallet's request."""
    checked = await signed.require(
        call.backend,
        PURPOSE,
        wallet=_wallet(call.body.wallet_address),
        message=call.body.message,
        signature=call.body.signature,
        values={"event": call.path["id"]},
    )
    now_ms = call.now_ms

    def body(connection: Connection) -> Guest:
        signed.consume(connection, checked)
        event = events.find(connection, call.path["id"])
        if event.admission != "approval":
            raise Rejected("not_needed", "this event does not approve its guests")
        return Guest(checked.wallet, invites.request(connection, event.id, checked.wallet, now_ms))

    return await call.write(body)


async def asked(call: Call) -> Guests:
    """List requests."""
    page: GuestsQuery = call.query
    most, after = paging.wanted(page), paging.after_id(page)
    found = await call.backend.store.read(lambda c: invites.requests(c, _event(c, call).id, page.state, most, after))
    rows, more = paging.cut(found, page)
    return Guests([Guest(r.wallet, r.state) for r in rows], paging.cursor_of(rows[-1].id) if more else None)


async def decide(call: Call) -> Guest:
    """Approve or deny a wallet."""
    wallet, approved, now_ms = _wallet(call.body.wallet_address), call.body.approved, call.now_ms

    def body(connection: Connection) -> Guest:
        event = _event(connection, call)
        invites.decide(connection, event.id, wallet, approved, now_ms, call.caller.actor, call.path["id"])
        return Guest(wallet, "approved" if approved else "denied")

    return await call.write(body)


_PATH = "/api/events/{id}"
_OWNED: dict[str, Any] = {"tag": "guests", "who": creator("events"), "problems": ("unknown_event", "bad_wallet")}


def endpoints(_backend: Backend) -> Sequence[Endpoint]:
    """Return the routes."""
    return (*_invites(), *_guests())


def _invites() -> Sequence[Endpoint]:
    return (
        Endpoint(
            method="POST",
            path=f"{_PATH}/invites",
            handler=invite,
            summary="Make an invite; its code is shown once",
            body=NewInvite,
            answer=MadeInvite,
            writes=True,
            **_OWNED,
        ),
        Endpoint(
            method="GET",
            path=f"{_PATH}/invites",
            handler=invited,
            summary="The event's invites",
            query=InvitesQuery,
            answer=Invites,
            **(_OWNED | {"problems": ("unknown_event", "bad_cursor")}),
        ),
        Endpoint(
            method="DELETE",
            path=f"{_PATH}/invites/{{invite}}",
            handler=revoke,
            summary="End an invite",
            status=204,
            tag="guests",
            who=creator("events"),
            writes=True,
            problems=("unknown_event", "unknown_invite"),
        ),
    )


def _guests() -> Sequence[Endpoint]:
    public: dict[str, Any] = {"tag": "guests", "limit": "access"}
    return (
        Endpoint(
            method="GET",
            path=f"{_PATH}/guests/challenge",
            handler=challenge,
            summary="The text that a wallet signs to ask for a ticket",
            query=WalletQuery,
            answer=GuestChallenge,
            problems=("unknown_event", "bad_wallet", "malformed"),
            **public,
        ),
        Endpoint(
            method="POST",
            path=f"{_PATH}/guests",
            handler=ask,
            summary="Ask to buy a ticket of an event that approves its guests",
            body=GuestRequest,
            answer=Guest,
            writes=True,
            problems=("unknown_event", "bad_wallet", "not_needed", *signed.REFUSALS),
            **public,
        ),
        Endpoint(
            method="GET",
            path=f"{_PATH}/guests",
            handler=asked,
            summary="Wallets that asked",
            query=GuestsQuery,
            answer=Guests,
            **(_OWNED | {"problems": ("unknown_event", "bad_cursor")}),
        ),
        Endpoint(
            method="PUT",
            path=f"{_PATH}/guests",
            handler=decide,
            summary="Approve or deny a wallet",
            body=GuestDecision,
            answer=Guest,
            writes=True,
            **_OWNED,
        ),
    )
