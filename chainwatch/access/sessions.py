"""Being inside: a short-lived token that says so, one live session a ticket, and how long somebody stayed.

The token is a JWT (EdDSA, ``typ`` session+jwt, ``aud`` our domain) that the platform verifies offline against the JWKS.
It lives minutes; refreshing looks at ticket and event again and makes the token before it worthless here.
"""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import jwt
import msgspec
from sqlalchemy import Connection, Row, insert, select, update

from chainwatch.access import deps as door
from chainwatch.access import policy
from chainwatch.access.deps import Deps
from chainwatch.access.holders import pseudonym, public_id
from chainwatch.errors import Rejected
from chainwatch.ledger.bulk import among
from chainwatch.ledger.entries import window
from chainwatch.ledger.tables import attendance, events, sessions, tickets

PURPOSE = "session"
MINUTE_MS = 60_000
SWEEP = 500
"""Sessions that one sweep closes at most: the writer is not kept busy."""


class Session(msgspec.Struct, frozen=True):
    """A session as it stands: what a token is made of."""

    jti: str
    event_id: int
    event: str
    ticket_uuid: str
    number: int
    wallet: str
    anonymous: bool
    issued_ms: int
    expires_ms: int
    event_end_ms: int | None


class Stay(msgspec.Struct, frozen=True):
    """What the room tells of a stay that ends; None: nothing."""

    chat_messages_sent: int | None = None
    voice_time_minutes: int | None = None
    screen_shared: bool | None = None


# -- beginning -----------------------------------------------------------------------------------------


def begin(connection: Connection, deps: Deps, ticket: Row[Any], event: Row[Any], now_ms: int) -> Session:
    """Open a session; the one before, if the ticket has one, ends (``joined_again``)."""
    live = select(sessions).where(sessions.c.ticket_id == ticket.id, sessions.c.ended_ms.is_(None))
    for old in connection.execute(live).all():
        close(connection, old, min(now_ms, old.expires_ms), "joined_again")
    who = pseudonym(deps.issuer, event.id, ticket.uuid) if event.anonymous else ticket.wallet
    came = insert(attendance).values(
        event_id=event.id, ticket_id=ticket.id, wallet_address=who, joined_ms=now_ms, total_duration_minutes=0
    )
    attendance_id = connection.execute(came.returning(attendance.c.id)).scalar_one()
    session = _session(deps, ticket, event, now_ms)
    row = {
        "jti": session.jti,
        "event_id": event.id,
        "ticket_id": ticket.id,
        "attendance_id": attendance_id,
        "started_ms": now_ms,
        "expires_ms": session.expires_ms,
        "ended_why": "",
    }
    connection.execute(insert(sessions).values(row))
    return session


def _session(deps: Deps, ticket: Row[Any], event: Row[Any], now_ms: int) -> Session:
    """A session ends with its event at the latest."""
    expires_ms = now_ms + deps.settings.access.session_seconds * 1000
    if event.event_end_ms is not None:
        expires_ms = min(expires_ms, event.event_end_ms)
    return Session(
        jti=str(uuid4()),
        event_id=event.id,
        event=public_id(event),
        ticket_uuid=ticket.uuid,
        number=ticket.number,
        wallet=ticket.wallet,
        anonymous=event.anonymous,
        issued_ms=now_ms,
        expires_ms=expires_ms,
        event_end_ms=event.event_end_ms,
    )


def token(deps: Deps, session: Session) -> str:
    """The session as a signed token.  Times are whole seconds; its end is never later than the session's.

    ``sub`` is the guest's pseudonym at this event, the same at each visit.  An anonymous event's says no wallet.
    """
    name = pseudonym(deps.issuer, session.event_id, session.ticket_uuid)
    claims = {
        "iss": deps.settings.http.public_url,
        "aud": door.domain(deps),
        "sub": name,
        "jti": session.jti,
        "iat": session.issued_ms // 1000,
        "exp": session.expires_ms // 1000,
        "event": session.event,
    }
    if not session.anonymous:
        claims |= {"ticket": session.ticket_uuid, "number": session.number, "wallet": session.wallet}
    return deps.issuer.signer(PURPOSE).sign(claims)


def read(deps: Deps, text: str) -> dict[str, Any]:
    """The claims of a token of ours that is in force by its own times.  ``Rejected('bad_session')`` for any other.

    A ticket, a manifest or a certificate is none: they are signed with other keys, under other types.
    """
    try:
        claims = deps.issuer.signer(PURPOSE).verify(text, require=("jti", "aud", "exp", "event"))
    except jwt.InvalidTokenError as error:
        raise Rejected("bad_session", "not a session of ours") from error
    if claims["aud"] != door.domain(deps) or not isinstance(claims["exp"], int):
        raise Rejected("bad_session", "a session for somewhere else")
    if deps.now_ms() >= claims["exp"] * 1000:
        raise Rejected("bad_session", "the session is over")
    return claims


# -- going on, and ending --------------------------------------------------------------------------------


def refresh(connection: Connection, deps: Deps, jti: str, now_ms: int) -> Session | str:
    """A new session token in place of ``jti``; ticket and event are looked at again.

    Returns the reason when they no longer let its holder stay: then the session is over.  ``Rejected('bad_session')``
    when the token was refreshed before, or its session ended.
    """
    row = _live(connection, jti, now_ms)
    ticket = connection.execute(select(tickets).where(tickets.c.id == row.ticket_id)).one()
    event = connection.execute(select(events).where(events.c.id == row.event_id)).one()
    reason = "" if ticket.state in policy.LIVE else str(ticket.state)
    if reason := reason or window(event, now_ms, deps.settings.access.early_minutes * MINUTE_MS):
        close(connection, row, now_ms, reason)
        return reason
    fresh = _session(deps, ticket, event, now_ms)
    rotated = update(sessions).where(sessions.c.jti == jti, sessions.c.ended_ms.is_(None))
    if connection.execute(rotated.values(jti=fresh.jti, expires_ms=fresh.expires_ms)).rowcount != 1:
        raise Rejected("bad_session", "the session was refreshed or ended")
    return fresh


def leave(connection: Connection, jti: str, stay: Stay, now_ms: int) -> int:
    """End the session; return how many minutes they were there.  ``Rejected('bad_session')``."""
    return close(connection, _live(connection, jti, now_ms), now_ms, "left", stay)


def _live(connection: Connection, jti: str, now_ms: int) -> Row[Any]:
    row = connection.execute(select(sessions).where(sessions.c.jti == jti).with_for_update()).one_or_none()
    if row is None or row.ended_ms is not None or row.expires_ms <= now_ms:
        raise Rejected("bad_session", "the session was refreshed or ended")
    return row


def close(connection: Connection, row: Row[Any], at_ms: int, why: str, stay: Stay | None = None) -> int:
    """End one session and its attendance at ``at_ms``; return the minutes between (begun ones count whole)."""
    connection.execute(update(sessions).where(sessions.c.id == row.id).values(ended_ms=at_ms, ended_why=why))
    minutes = int(-(-max(at_ms - row.started_ms, 0) // MINUTE_MS))
    values: dict[str, Any] = {"left_ms": at_ms, "total_duration_minutes": minutes}
    if stay is not None:
        values |= {k: v for k, v in msgspec.structs.asdict(stay).items() if v is not None}
    connection.execute(update(attendance).where(attendance.c.id == row.attendance_id).values(values))
    return minutes


def sweep(connection: Connection, now_ms: int) -> int:
    """Close sessions that nobody refreshed: they left when their token ran out.  Returns how many."""
    over = select(sessions).where(sessions.c.ended_ms.is_(None), sessions.c.expires_ms <= now_ms)
    rows: Sequence[Row[Any]] = connection.execute(over.order_by(sessions.c.expires_ms).limit(SWEEP)).all()
    for row in rows:
        close(connection, row, row.expires_ms, "expired")
    return len(rows)


def end_of_tickets(connection: Connection, ticket_ids: Sequence[int], now_ms: int, why: str) -> None:
    """End the sessions of tickets that were revoked."""
    these = select(sessions).where(sessions.c.ended_ms.is_(None), among(connection, sessions.c.ticket_id, ticket_ids))
    for row in connection.execute(these).all():
        close(connection, row, min(now_ms, row.expires_ms), why)
