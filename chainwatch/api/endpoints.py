"""An endpoint: one method and path with who may call it, what it takes and what it answers.

A resource is a module with a function that returns its endpoints; ``routes`` binds them.  From the same list the
OpenAPI document is made, so what is described is what is served.  Each call goes the same way: who is it, may they,
are they too many, what do they send, was it sent before, the handler, the answer.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from aiohttp import web

from chainwatch.api import auth, wire
from chainwatch.api.auth import Caller, Kind
from chainwatch.api.backend import Backend
from chainwatch.api.problems import Problem
from chainwatch.api.server import Routes
from chainwatch.errors import Rejected

Scope = Literal["", "events", "money", "door", "read"]


class Who(msgspec.Struct, frozen=True):
    """Who may call: any of ``kinds``; an operator's key needs ``scope``, a creator's signature an authority of
    ``role`` or above.
    """

    kinds: tuple[Kind, ...] = ("public",)
    scope: Scope = ""
    role: Literal["posting", "active"] = "posting"


PUBLIC = Who()
"""Everybody.  What is secret stands in the path or the body (a purchase's id, a ticket's token, a signature)."""
DEVICE = Who(("device",))
SESSION = Who(("session",))


def operator(scope: Scope) -> Who:
    """An operator whose key has ``scope``."""
    return Who(("operator",), scope)


def creator(scope: Scope, role: Literal["posting", "active"] = "posting") -> Who:
    """The event's creator by a signature of ``role``, or an operator whose key has ``scope``."""
    return Who(("operator", "creator"), scope, role)


class Call(msgspec.Struct):
    """One request, read and checked.  ``address``: the caller's network address (behind trusted proxies)."""

    request: web.Request
    backend: Backend
    caller: Caller
    address: str
    path: Mapping[str, str]
    body: Any = None
    query: Any = None

    @property
    def now_ms(self) -> int:
        """Unix milliseconds."""
        return self.backend.now_ms()


Handler = Callable[[Call], Awaitable[Any]]
"""Returns the answer (a struct, encoded with the endpoint's status) or a whole ``web.StreamResponse``."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """``path`` in aiohttp's form (``/api/events/{id}``).

    ``limit`` names the bucket that a call takes from (``chainwatch.api.limits``).  ``writes``: an ``Idempotency-Key``
    is honoured.  ``problems``: codes that it answers beside those of every endpoint, for the document.
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
    content_type: str = wire.JSON


def routes(endpoints: Sequence[Endpoint], backend: Backend) -> Routes:
    """Bind endpoints."""

    def add(app: web.Application) -> None:
        for endpoint in endpoints:
            app.router.add_route(endpoint.method, endpoint.path, _bound(endpoint, backend))

    return add


def _bound(endpoint: Endpoint, backend: Backend) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        caller = await auth.authenticate(request, backend, endpoint.who.kinds)
        call = Call(request, backend, caller, request.remote or "", dict(request.match_info))
        if endpoint.query is not None:
            call.query = wire.query(request.query, endpoint.query)
        if endpoint.body is not None:
            call.body = wire.body(await request.read(), endpoint.body)
        try:
            answer = await endpoint.handler(call)
        except Rejected as error:
            raise Problem.of(error) from error
        if isinstance(answer, web.StreamResponse):
            return answer
        return web.Response(body=wire.encode(answer), status=endpoint.status, content_type=endpoint.content_type)

    return handle
