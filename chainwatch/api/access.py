"""The door of virtual events: challenge, verify-access, join, leave, refresh."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import msgspec
from aiohttp import web
from sqlalchemy import Connection

from chainwatch.access import attempts, challenges, holders, media, sessions
from chainwatch.access.admission import Admission, Attempt, Decision, Kept
from chainwatch.access.sessions import Session, Stay
from chainwatch.api import wire
from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import SESSION, Call, Endpoint
from chainwatch.api.fields import Address, Code, Signature, SignedText
from chainwatch.api.problems import Problem
from chainwatch.errors import Rejected
from chainwatch.ledger import events
from chainwatch.times import format_ms

STATUS = {"unknown_event": 404, "bad_wallet": 400, "unavailable": 503, "challenge_required": 401}
"""Of a join that is refused; every other reason is 403."""

WORDS = {
    "challenge_required": "ask for a challenge, sign its message with the wallet and send both",
    "bad_wallet": "this is no wallet of any supported chain",
    "bad_signature": "the signature is not by this wallet over this text",
    "contract_chain": "a contract wallet counts only on the chain of its ticket: ask for a challenge there",
    "unsupported_signature": "this kind of signature cannot be checked",
    "unavailable": "the chain that knows this wallet does not answer: try again",
    "unknown_event": "there is no such event",
    "no_ticket": "this wallet has no ticket for this event",
    "replayed": "this text was used before: ask for a new challenge",
    "expired": "this text is over: ask for a new challenge",
    "future": "this text is from the future: a clock is wrong",
    "classic_refused": "this text is not taken any more: ask for a challenge",
    "unknown_nonce": "this text was not issued here: ask for a challenge",
    "malformed": "this is no text of the door: ask for a challenge and sign it as it is",
    "domain": "this text is for another site",
    "uri": "this text is for another site",
    "wallet": "this text is for another wallet",
    "chain_id": "this text is for another chain",
    "event": "this text is for another event",
    "timestamp_mismatch": "the timestamp is not the one in the text",
    "ttl": "this text would live for too long",
    "not_yet": "the event has not begun",
    "over": "the event is over",
    "cancelled": "the event was cancelled",
    "refunded": "this ticket was refunded",
    "revoked": "this ticket was revoked",
    "suspended": "the payment of this ticket left the chain and has not come back yet",
    "already_redeemed": "this ticket was used already",
    "door_qr_only": "this event lets in by the ticket's code only",
}


class ChallengeQuery(msgspec.Struct):
    """``chain`` (code or CAIP-2): for a contract wallet, where it is; ``form``: ``line`` for small screens."""

    wallet: Address
    chain: Code | None = None
    form: str = "sign-in"


class ChallengeAnswer(msgspec.Struct):
    """``message`` is signed as it is, byte for byte; ``timestamp`` is the one in it."""

    message: str
    nonce: str
    expires_at: str
    timestamp: int


class AccessBody(msgspec.Struct):
    """``message``: the signed text; without it, ``timestamp`` of the challenge (or of a classic text)."""

    wallet_address: Address
    signature: Signature | None = None
    message: SignedText | None = None
    timestamp: int | str | None = None


class AccessAnswer(msgspec.Struct):
    """``reason``: ``granted``, or why not; then ``challenge`` is what to sign, where that is what is missing."""

    access_granted: bool
    has_access: bool = msgspec.field(name="hasAccess")
    reason: str
    ticket_id: str | None
    checked_at: str
    challenge: ChallengeAnswer | None = None


class Turn(msgspec.Struct):
    """coturn's time-limited credentials."""

    username: str
    credential: str
    ttl: int
    uris: list[str]


class LiveKit(msgspec.Struct):
    """A LiveKit room and a token for it."""

    url: str
    token: str


class JoinAnswer(msgspec.Struct):
    """What opens the room."""

    access_granted: bool
    reason: str
    ticket_id: str
    checked_at: str
    session_token: str
    session_expires_at: str
    websocket_url: str | None = None
    turn_credentials: Turn | None = None
    livekit: LiveKit | None = None


class RefreshAnswer(msgspec.Struct):
    """The session goes on under a new token."""

    session_token: str
    session_expires_at: str
    turn_credentials: Turn | None = None
    livekit: LiveKit | None = None


class LeaveBody(msgspec.Struct):
    """What the room counted, if it did."""

    chat_messages_sent: Annotated[int, msgspec.Meta(ge=0, le=10**9)] | None = None
    voice_time_minutes: Annotated[int, msgspec.Meta(ge=0, le=10**6)] | None = None
    screen_shared: bool | None = None


class LeaveAnswer(msgspec.Struct):
    """How long they stayed."""

    left_at: str
    total_duration_minutes: int


class Door:
    """The handlers."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._admission = Admission(backend)

    async def challenge(self, call: Call) -> ChallengeAnswer:
        """Issue a text to sign; nothing is stored."""
        event = await self._backend.store.read(_public_id, call.path["id"])
        return self._issue(event, call.query.wallet, call.query.chain, line=call.query.form == "line")

    def _issue(self, event: str, wallet: str, chain: str | None = None, *, line: bool = False) -> ChallengeAnswer:
        message = challenges.issue(self._backend, event, wallet, chain, line=line)
        return ChallengeAnswer(
            message=message.render(),
            nonce=message.nonce or "",
            expires_at=_time(message.expires_ms or 0),
            timestamp=message.issued_ms,
        )

    def limited(self, action: str, request: web.Request) -> None:
        """The rate limit refused an attempt: it is in the audit log too."""
        self._admission.limited(request.match_info["id"], action)

    async def verify(self, call: Call) -> AccessAnswer:
        """Ask only."""
        attempt = _attempt(call)
        decision = await self._admission.ask(attempt)
        if decision.reason in ("unknown_event", "bad_wallet", "unavailable"):
            raise _problem(decision)
        challenge = None
        if decision.reason == "challenge_required":
            challenge = self._issue(attempt.event, attempt.wallet)
        return AccessAnswer(
            access_granted=decision.granted,
            has_access=decision.granted,
            reason=decision.reason,
            ticket_id=decision.ticket_id,
            checked_at=_time(decision.checked_ms),
            challenge=challenge,
        )

    async def join(self, call: Call) -> JoinAnswer:
        """Go in."""
        decision = await self._admission.join(_attempt(call), self._kept(call))
        if decision.session is None:
            raise _problem(decision)
        return self._joined(decision, decision.session)

    def _kept(self, call: Call) -> Kept | None:
        """Who loses the answer of the one entry that a ticket has hears it again."""
        if (keep := call.keep) is None:
            return None

        def kept(connection: Connection, decision: Decision, session: Session) -> None:
            keep(connection, self._joined(decision, session))

        return kept

    def _joined(self, decision: Decision, session: Session) -> JoinAnswer:
        return JoinAnswer(
            access_granted=True,
            reason=decision.reason,
            ticket_id=decision.ticket_id or "",
            checked_at=_time(decision.checked_ms),
            session_token=sessions.token(self._backend, session),
            session_expires_at=_time(session.expires_ms),
            websocket_url=media.websocket_url(self._backend.settings.access.websocket_url, session.event),
            turn_credentials=self._turn(session),
            livekit=self._livekit(session),
        )

    async def refresh(self, call: Call) -> RefreshAnswer:
        """Go on: ticket and event are looked at again."""
        jti, now_ms, keep = (call.caller.token or {})["jti"], call.now_ms, call.keep

        def write(connection: Connection) -> Session | str:
            found = sessions.refresh(connection, self._backend, jti, now_ms)
            if keep is not None and isinstance(found, Session):
                keep(connection, self._refreshed(found))
            return found

        try:
            session = await self._backend.store.write_together(write)
        except Rejected as error:
            raise _over(error) from error
        if isinstance(session, str):
            raise Problem(session, WORDS.get(session, ""), status=403, access_granted=False, reason=session)
        return self._refreshed(session)

    def _refreshed(self, session: Session) -> RefreshAnswer:
        return RefreshAnswer(
            session_token=sessions.token(self._backend, session),
            session_expires_at=_time(session.expires_ms),
            turn_credentials=self._turn(session),
            livekit=self._livekit(session),
        )

    async def leave(self, call: Call) -> LeaveAnswer:
        """Go out."""
        claims = call.caller.token or {}
        if claims["event"] != call.path["id"]:
            raise Problem("forbidden", "this session is for another event")
        stay = Stay(**msgspec.structs.asdict(call.body))
        now_ms = call.now_ms

        def write(connection: Connection) -> LeaveAnswer:
            return LeaveAnswer(_time(now_ms), sessions.leave(connection, claims["jti"], stay, now_ms))

        try:
            return await call.write_together(write)
        except Rejected as error:
            raise _over(error) from error

    def _turn(self, session: Session) -> Turn | None:
        backend = self._backend
        given = media.turn_credentials(
            backend.settings.keys.get("access.turn_secret", ""),
            backend.settings.access.turn_uris,
            holders.pseudonym(backend.issuer, session.event_id, session.ticket_uuid),
            now_s=session.issued_ms // 1000,
            seconds=backend.settings.access.turn_seconds,
            end_s=None if session.event_end_ms is None else session.event_end_ms // 1000,
        )
        return None if given is None else Turn(**given)

    def _livekit(self, session: Session) -> LiveKit | None:
        backend = self._backend
        keys, url = backend.settings.keys.get("access.livekit_key"), backend.settings.access.livekit_url
        if not keys or not url:
            return None
        name = holders.pseudonym(backend.issuer, session.event_id, session.ticket_uuid)
        now_s, end_s = session.issued_ms // 1000, session.expires_ms // 1000
        return LiveKit(url, media.livekit_token(keys, session.event, name, now_s=now_s, expires_s=end_s))


def endpoints(backend: Backend) -> Sequence[Endpoint]:
    """The door's endpoints."""
    handlers = Door(backend)
    return (*_coming(handlers), *_staying(handlers))


def _coming(handlers: Door) -> Sequence[Endpoint]:
    event = "/api/events/{id}"
    return (
        Endpoint(
            method="GET",
            path=f"{event}/challenge",
            handler=handlers.challenge,
            summary="The text that a wallet signs to come in",
            tag="access",
            query=ChallengeQuery,
            answer=ChallengeAnswer,
            limit="access",
            problems=("unknown_event", "bad_wallet"),
        ),
        Endpoint(
            method="POST",
            path=f"{event}/verify-access",
            handler=handlers.verify,
            summary="Would this wallet be let in? Asks only",
            tag="access",
            limited=partial(handlers.limited, attempts.VERIFY),
            body=AccessBody,
            answer=AccessAnswer,
            limit="access",
            problems=("unknown_event", "bad_wallet", "unavailable"),
        ),
        Endpoint(
            method="POST",
            path=f"{event}/join",
            handler=handlers.join,
            summary="Come in: uses up the text and an entry, begins a session",
            tag="access",
            limited=partial(handlers.limited, attempts.JOIN),
            body=AccessBody,
            answer=JoinAnswer,
            limit="access",
            writes=True,
            problems=tuple(WORDS),
            refusal=403,
            statuses={code: STATUS.get(code, 403) for code in WORDS},
        ),
    )


def _staying(handlers: Door) -> Sequence[Endpoint]:
    return (
        Endpoint(
            method="POST",
            path="/api/events/{id}/leave",
            handler=handlers.leave,
            summary="Leave: ends the session, closes the attendance",
            tag="access",
            who=SESSION,
            body=LeaveBody,
            answer=LeaveAnswer,
            writes=True,
            problems=("bad_session", "forbidden"),
            statuses={"bad_session": 401},
        ),
        Endpoint(
            method="POST",
            path="/api/sessions/refresh",
            handler=handlers.refresh,
            summary="A new session token, after ticket and event were looked at again",
            tag="access",
            who=SESSION,
            answer=RefreshAnswer,
            writes=True,
            problems=("bad_session", "over", "cancelled", "revoked", "suspended", "refunded"),
            refusal=403,
            statuses={"bad_session": 401},
        ),
        Endpoint(
            method="GET",
            path="/.well-known/jwks.json",
            handler=jwks,
            summary="The public keys of tickets, sessions, manifests and certificates",
            tag="access",
            answer=Jwks,
            content_type="application/jwk-set+json",
        ),
    )


# -- keys ------------------------------------------------------------------------------------------------

SIGNERS = ("session", "manifest", "certificate", "qr")
"""Purposes of signing keys besides the tickets' own."""


class Jwks(msgspec.Struct):
    """A JSON Web Key Set (RFC 7517, RFC 8037)."""

    keys: list[dict[str, str]]


async def jwks(call: Call) -> web.Response:
    """The public keys; they may be kept for five minutes."""
    issuer = call.backend.issuer
    keys = Jwks([issuer.jwk(), *(issuer.signer(purpose).jwk() for purpose in SIGNERS)])
    headers = {"Cache-Control": "public, max-age=300"}
    return web.Response(body=wire.encode(keys), content_type="application/jwk-set+json", headers=headers)


# -- helpers ---------------------------------------------------------------------------------------------


def _attempt(call: Call) -> Attempt:
    body: AccessBody = call.body
    return Attempt(
        event=_event_id(call.path["id"]),
        wallet=body.wallet_address,
        signature=tuple(body.signature) if isinstance(body.signature, list) else body.signature,
        message=body.message,
        timestamp_ms=wire.time_ms(body.timestamp, "timestamp"),
    )


def _event_id(text: str) -> str:
    if not (events.SLUG.fullmatch(text) or events.NUMBER.fullmatch(text)):
        raise Problem("unknown_event", f"no event {text[:64]!r}")
    return text


def _public_id(connection: Connection, public: str) -> str:
    return holders.public_id(events.find(connection, _event_id(public)))


def _problem(decision: Decision) -> Problem:
    headers = {"Retry-After": "2"} if decision.reason == "unavailable" else {}
    return Problem(
        decision.reason,
        WORDS.get(decision.reason, "access is refused"),
        status=STATUS.get(decision.reason, 403),
        headers=headers,
        access_granted=False,
        reason=decision.reason,
        ticket_id=decision.ticket_id,
        checked_at=_time(decision.checked_ms),
    )


def _over(error: Rejected) -> Problem:
    """The session is no more (or the answer was being given twice)."""
    return Problem(error.code, str(error), status=401 if error.code == "bad_session" else None)


def _time(ms: int) -> str:
    return format_ms(ms) or ""
