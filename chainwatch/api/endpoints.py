"""An endpoint: one method and path with who may call it, what it takes and what it answers.

A resource is a module with a function that returns its endpoints; ``routes`` binds them.  From the same list the
OpenAPI document is made, so what is described is what is served.  Each call goes the same way: who is it, may they,
are they too many, what do they send, was it sent before, the handler, the answer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

import msgspec
from aiohttp import web
from sqlalchemy import Connection

from chainwatch.api import auth, idempotency, limits, wire
from chainwatch.api.backend import Backend
from chainwatch.api.callers import ROLE, Caller, Kind
from chainwatch.api.middleware import ADDRESS, APART, ENDLESS, STANDING
from chainwatch.api.problems import Problem
from chainwatch.api.server import Routes
from chainwatch.errors import Rejected
from chainwatch.wallets import canonical_wallet

Scope = Literal["", "events", "money", "door", "read"]
Answer = TypeVar("Answer")


DOOR = "door"
"""The limit of endpoints that the middleware does not count: the scanners of a venue stand behind one address."""

BODY_S = 10.0
"""Seconds for a body to arrive: 64 kB, from a phone."""


class Who(msgspec.Struct, frozen=True):
    """Who may call: any of ``kinds``; an operator's key needs ``scope``, a creator's signature an authority of
    ``role`` or above.  ``exact``: a key with ``read`` alone may not look at it.
    """

    kinds: tuple[Kind, ...] = ("public",)
    scope: Scope = ""
    role: Literal["posting", "active"] = "posting"
    exact: bool = False


PUBLIC = Who()
"""Everybody.  What is secret stands in the path or the body (a purchase's id, a ticket's token, a signature)."""
DEVICE = Who(("device",))
SESSION = Who(("session",))


def operator(scope: Scope, *, exact: bool = False) -> Who:
    """An operator whose key has ``scope``; to look at it ``read`` is enough, unless it must be ``exact``."""
    return Who(("operator",), scope, exact=exact)


def creator(scope: Scope, role: Literal["posting", "active"] = "posting") -> Who:
    """The event's creator by a signature of ``role``, or an operator whose key has ``scope``."""
    return Who(("operator", "creator"), scope, role)


class Call(msgspec.Struct):
    """One request, read and checked.  ``address``: the caller's network address (behind trusted proxies).

    ``keep`` keeps an answer under the request's ``Idempotency-Key``; None where it has none.
    """

    request: web.Request
    backend: Backend
    caller: Caller
    address: str
    path: Mapping[str, str]
    body: Any = None
    query: Any = None
    keep: Callable[[Connection, Any], None] | None = None

    @property
    def now_ms(self) -> int:
        """Unix milliseconds."""
        return self.backend.now_ms()

    async def form(self) -> dict[str, str]:
        """Return the fields of a page's form; ``Problem`` when the body is none."""
        raw = await self.request.read()
        if raw and self.request.content_type != wire.FORM:
            raise Problem("unsupported_media_type", f"the body is a form: Content-Type {wire.FORM}")
        return wire.form(raw)

    async def write(self, body: Callable[[Connection], Answer]) -> Answer:
        """Run ``body`` as one transaction.  It returns the answer, which is kept in the same transaction."""
        return await self.backend.store.write(self.keeping(body))

    async def write_together(self, body: Callable[[Connection], Answer]) -> Answer:
        """As ``write``, in a transaction that small writes share."""
        return await self.backend.store.write_together(self.keeping(body))

    def keeping(self, body: Callable[[Connection], Answer]) -> Callable[[Connection], Answer]:
        """Return ``body`` with its answer kept."""
        keep = self.keep
        if keep is None:
            return body

        def whole(connection: Connection) -> Answer:
            answer = body(connection)
            keep(connection, answer)
            return answer

        return whole


Handler = Callable[[Call], Awaitable[Any]]
"""Returns the answer (a struct, encoded with the endpoint's status) or a whole ``web.StreamResponse``."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """``path`` in aiohttp's form (``/api/events/{id}``).

    ``limit`` names the bucket that a call takes from (``chainwatch.api.limits``).  ``writes``: an ``Idempotency-Key``
    is honoured; then the handler writes by ``Call.write``.  ``problems``: codes that it answers beside those of every
    endpoint, for the document; ``refusal``: the status of those that have none of their own.
    ``statuses``: of codes that have another status here than everywhere.
    ``endless``: its answer is a stream of events, which no time limit ends.  ``limited``: told of each request that the
    limit refused.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    handler: Handler
    summary: str
    tag: str
    who: Who = PUBLIC
    body: type | None = None
    query: type | None = None
    answer: type | None = None
    status: int = 200
    limit: str = "requests"
    writes: bool = False
    problems: tuple[str, ...] = ()
    refusal: int = 400
    statuses: Mapping[str, int] = {}
    content_type: str = wire.JSON
    endless: bool = False
    documented: bool = True
    limited: Callable[[web.Request], None] | None = None


def routes(endpoints: Sequence[Endpoint], backend: Backend) -> Routes:
    """Bind endpoints."""

    def add(app: web.Application) -> None:
        for endpoint in endpoints:
            handler = _bound(endpoint, backend)
            app.router.add_route(endpoint.method, endpoint.path, handler)
            if endpoint.method == "GET" and not endpoint.endless:
                app.router.add_route("HEAD", endpoint.path, handler)

    return add


def _bound(endpoint: Endpoint, backend: Backend) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        request[ROLE] = endpoint.who.role
        raw = await _read(request, endpoint) if request.can_read_body else b""
        address = request.get(ADDRESS, request.remote or "")
        _count(request, backend, endpoint, "address", address)
        caller = await _caller(request, backend, endpoint, address)
        if caller.kind == "operator" and not _in_scope(endpoint, caller):
            raise Problem("forbidden", f"this key has no scope {endpoint.who.scope!r}")
        call = Call(request, backend, caller, address, dict(request.match_info))
        wire.refuse_nul(call.path.values())
        if endpoint.query is not None:
            call.query = wire.query(request.query, endpoint.query)
        if endpoint.body is not None:
            # A scan holds what was on a guest's telephone: it is answered, whatever that is.
            call.body = wire.body(raw, endpoint.body, any_text=endpoint.limit == DOOR)
        _count(request, backend, endpoint, "wallet", _wallet(call) if endpoint.limit != "requests" else None)
        _count(request, backend, endpoint, "event", call.path.get("id") or _named(call, ("event_id",)))
        if endpoint.writes:
            return await idempotency.once(request, backend, caller, address, partial(_whole, endpoint, call))
        return await _run(endpoint, call)

    handle.__dict__ |= {ENDLESS: endpoint.endless, APART: endpoint.limit == DOOR}
    return handle


async def _caller(request: web.Request, backend: Backend, endpoint: Endpoint, address: str) -> Caller:
    """Return who calls.  At the door whoever is no device counts as any caller: keys are not guessed at its pace."""
    try:
        return await auth.authenticate(request, backend, endpoint.who.kinds)
    except Problem:
        if endpoint.limit == DOOR:
            request[STANDING] = backend.limits.take("requests", "address", address)
        raise


def _in_scope(endpoint: Endpoint, caller: Caller) -> bool:
    """May this key do that?  ``read`` looks at everything but secrets."""
    wanted, looks = endpoint.who.scope, endpoint.method == "GET" and not endpoint.who.exact
    return not wanted or wanted in caller.scopes or (looks and "read" in caller.scopes)


async def _read(request: web.Request, endpoint: Endpoint) -> bytes:
    """Return the body: JSON, of our size, in our time."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Problem("unsupported_media_type", "compressed bodies are not read")
    if endpoint.body is not None and "Content-Type" in request.headers and not _is_json(request.content_type):
        # Also what keeps a form of some other site from being taken for a request (CSRF).
        raise Problem("unsupported_media_type", f"the body is JSON: Content-Type {wire.JSON}")
    try:
        async with asyncio.timeout(BODY_S):
            return await request.read()
    except TimeoutError as error:
        raise Problem("body_timeout", "the body did not come in time", headers={"Connection": "close"}) from error
    except (web.RequestPayloadError, ConnectionError) as error:
        raise Problem("bad_request", "the body broke off", headers={"Connection": "close"}) from error


def _is_json(content_type: str) -> bool:
    return content_type == wire.JSON or content_type.endswith("+json")


def _named(call: Call, names: Sequence[str]) -> str | None:
    """Return what the request says under the first of ``names`` that it has."""
    for values in (call.body, call.query):
        for name in names:
            if (value := getattr(values, name, None)) is not None:
                return str(value)[:128]
    return None


def _wallet(call: Call) -> str | None:
    """Return the wallet that the request is about: one, in however many ways it is written."""
    named = _named(call, ("wallet_address", "wallet"))
    return named and (canonical_wallet(named) or named)


def _count(
    request: web.Request, backend: Backend, endpoint: Endpoint, dimension: limits.Dimension, key: str | None
) -> None:
    """Take from the endpoint's own limit (the middleware took from the one of all requests)."""
    if endpoint.limit == "requests":
        return
    try:
        standing = backend.limits.take(endpoint.limit, dimension, key, request.get(ADDRESS, ""))
    except Problem:
        if endpoint.limited is not None:
            endpoint.limited(request)
        raise
    known = request.get(STANDING)
    if standing is not None and (known is None or known.name == "requests" or standing.remaining < known.remaining):
        request[STANDING] = standing


async def _run(endpoint: Endpoint, call: Call) -> web.StreamResponse:
    try:
        answer = await endpoint.handler(call)
    except Rejected as error:
        raise Problem.of(error) from error
    return _response(endpoint, answer)


def _response(endpoint: Endpoint, answer: Any) -> web.StreamResponse:
    if isinstance(answer, web.StreamResponse):
        return answer
    return web.Response(body=wire.encode(answer), status=endpoint.status, content_type=endpoint.content_type)


async def _whole(endpoint: Endpoint, call: Call, keep: idempotency.Keep | None) -> web.Response:
    if keep is not None:
        call.keep = lambda connection, answer: keep(connection, _entire(endpoint, _response(endpoint, answer)))
    return _entire(endpoint, await _run(endpoint, call))


def _entire(endpoint: Endpoint, response: web.StreamResponse) -> web.Response:
    if not isinstance(response, web.Response):  # a stream cannot be stored
        raise TypeError(f"{endpoint.path}: a write answers with a whole response")
    return response
