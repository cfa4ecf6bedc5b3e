"""``/ops``: operations for people.  A key signs an operator in; the page gets a session of its own, not the key.

The session is a token of ours in a cookie that scripts cannot read and other sites cannot send (``HttpOnly``,
``SameSite=Strict``).  It names the key: revoked, it opens nothing any more.  Every action names the session too (CSRF).
"""

import hmac
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

import jwt
import msgspec
from aiohttp import web
from sqlalchemy import Connection, select

from chainwatch.access import nonces
from chainwatch.api import ops_board, stream
from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import Call, Endpoint
from chainwatch.api.fields import row_id
from chainwatch.api.pages import render
from chainwatch.api.problems import Problem
from chainwatch.errors import Rejected
from chainwatch.ledger import operators, review
from chainwatch.ledger.tables import api_keys

COOKIE = "chainwatch_ops"
HOURS = 12
"""How long a session lives: a shift."""
AUDIENCE = "ops"


class Session(NamedTuple):
    """Who looks."""

    id: str
    name: str
    scopes: frozenset[str]
    ends_ms: int


async def _session(call: Call) -> Session | None:
    """Return the session of the request's cookie; None when there is none in force."""
    token = call.request.cookies.get(COOKIE, "")
    try:
        claims = call.backend.issuer.signer(AUDIENCE).verify(token, require=("jti", "sub", "exp", "aud"))
    except jwt.InvalidTokenError:
        return None
    if claims["aud"] != AUDIENCE or claims["exp"] * 1000 <= call.now_ms:
        return None

    def body(connection: Connection) -> Any:
        if nonces.used_of(connection, (_ended(claims["jti"]),)):
            return None
        by = (api_keys.c.id == int(claims["sub"]), api_keys.c.revoked_ms.is_(None))
        return connection.execute(select(api_keys.c.name, api_keys.c.scopes).where(*by)).one_or_none()

    row = await call.backend.store.read(body)
    if row is None:
        return None
    return Session(claims["jti"], row.name, frozenset(row.scopes.split()), claims["exp"] * 1000)


def _ended(session_id: str) -> str:
    return f"ops:{session_id}"


def _csrf(call: Call, session: Session) -> str:
    return hmac.digest(call.backend.issuer.secret("ops csrf"), session.id.encode(), "sha256").hex()


async def _form(call: Call, session: Session) -> dict[str, str]:
    """Return a form that came from a page of this session; ``Problem`` ``forbidden`` otherwise."""
    form = await call.form()
    if not hmac.compare_digest(form.get("csrf", "").encode(), _csrf(call, session).encode()):
        raise Problem("forbidden", "this form is too old: load the page again")
    return form


async def show(call: Call) -> web.Response:
    """Draw the page, or the way in."""
    session = await _session(call)
    if session is None:
        return render.page("ops_login.html", said="")
    return await _board(call, session)


async def _board(call: Call, session: Session, said: str = "", kind: str = "good") -> web.Response:
    csrf = _csrf(call, session)
    board = await call.backend.store.read(ops_board.read, call.backend.assets(), call.now_ms)
    drawn = ops_board.draw(board, csrf, session.scopes)
    return render.page(
        "ops.html",
        status=200 if kind == "good" else 400,
        operator=session.name,
        csrf=csrf,
        sections=list(drawn.items()),
        said=said,
        said_kind=kind,
    )


async def sign_in(call: Call) -> web.Response:
    """Take a key, give a session."""
    key = (await call.form()).get("key", "").strip()
    found = await call.backend.store.read(operators.find, key) if key else None
    if found is None:
        return render.page("ops_login.html", status=401, said="No key in force is written like that.")
    ends = call.now_ms // 1000 + HOURS * 3600
    claims = {"jti": secrets.token_urlsafe(16), "sub": str(found.id), "exp": ends, "aud": AUDIENCE}
    token = call.backend.issuer.signer(AUDIENCE).sign(claims)
    response = web.Response(status=303, headers={"Location": "/ops"})
    secure = call.backend.settings.http.public_url.startswith("https://")
    response.set_cookie(
        COOKIE, token, max_age=HOURS * 3600, httponly=True, samesite="Strict", secure=secure, path="/ops"
    )
    return response


async def sign_out(call: Call) -> web.Response:
    """End the session: in this browser, and wherever else its cookie is."""
    session = await _session(call)
    if session is not None:
        await call.backend.store.write_together(nonces.consume, _ended(session.id), session.ends_ms)
    response = web.Response(status=303, headers={"Location": "/ops"})
    response.del_cookie(COOKIE, path="/ops")
    return response


async def decide(call: Call) -> web.Response:
    """Decide one payment in review."""
    session = await _session(call)
    if session is None:
        return web.Response(status=303, headers={"Location": "/ops"})
    form = await _form(call, session)
    if "money" not in session.scopes:
        raise Problem("forbidden", "this key has no scope 'money'")
    action, ref = form.get("action", ""), form.get("ref", "").strip()
    try:
        payment_id = row_id(call.path["id"], "unknown_payment")
        decision = review.Decision(action=review.action(action), ref=ref or None, note="on the operations page")
        actor = f"operator:{session.name}"
        await call.backend.store.write(review.decide, payment_id, decision, call.backend.contexts, call.now_ms, actor)
    except (Problem, Rejected) as error:
        return await _board(call, session, render.sentence(str(error)), "bad")
    return web.Response(status=303, headers={"Location": "/ops"})


class Section(msgspec.Struct, frozen=True):
    """One section, drawn."""

    name: str
    html: str


async def live(call: Call) -> web.StreamResponse:
    """Send every section again that has changed."""
    session = await _session(call)
    if session is None:
        raise Problem("unauthorized", "sign in first")
    csrf = _csrf(call, session)

    async def read(inner: Call) -> list[Section]:
        if await _session(inner) is None:
            raise Problem("unauthorized", "this session has ended")
        board = await inner.backend.store.read(ops_board.read, inner.backend.assets(), inner.now_ms)
        return [Section(name, str(html)) for name, html in ops_board.draw(board, csrf, session.scopes).items()]

    return await stream.states(call, read, lambda _sections: False)


def endpoints(_backend: Backend) -> Sequence[Endpoint]:
    """Return the routes."""
    common: dict[str, Any] = {"tag": "pages", "documented": False}
    post: dict[str, Any] = common | {"method": "POST", "limit": "access"}
    return (
        Endpoint(method="GET", path="/ops", handler=show, summary="Operations, for people", **common),
        Endpoint(method="GET", path="/ops/live", handler=live, summary="The same, live", endless=True, **common),
        Endpoint(path="/ops/login", handler=sign_in, summary="Sign in", **post),
        Endpoint(path="/ops/logout", handler=sign_out, summary="Sign out", **post),
        Endpoint(path="/ops/review/{id}", handler=decide, summary="Decide a payment in review", **post),
    )
