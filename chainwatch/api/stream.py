"""Server-sent events: a state now, and again whenever it changes.

Each event is a whole state and its id a hash of it.  Who comes back with ``Last-Event-ID`` hears nothing until the
state is another one; so nothing can be missed in between, and no history is kept.  A comment every ``HEARTBEAT_S``
keeps proxies from closing the line.
"""

import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from chainwatch.api import cors, wire
from chainwatch.api.endpoints import Call
from chainwatch.api.middleware import REQUEST_ID
from chainwatch.api.problems import Problem

HEARTBEAT_S = 15.0
RETRY_MS = 2_000
"""How long a browser waits before it comes back."""
MAX_S = 3_600.0
"""A stream ends after an hour; the browser comes back by itself."""

Read = Callable[[Call], Awaitable[Any]]


async def states(call: Call, read: Read, is_final: Callable[[Any], bool]) -> web.StreamResponse:
    """Stream what ``read`` returns until it ``is_final``.  204 (do not come back) when the caller knows a final one."""
    feed = call.backend.feed
    since = feed.mark()
    value = await read(call)  # an error is an ordinary answer: nothing has been sent yet
    known = call.request.headers.get("Last-Event-ID", "")
    if is_final(value) and known == _id(wire.encode(value)):
        return web.Response(status=204)
    async with feed.listening(call.address):
        response = _response(call)
        with contextlib.suppress(ConnectionError):  # who listened has gone away
            await _tell(call, response, read, is_final, value, known, since)
        return response


async def _tell(
    call: Call,
    response: web.StreamResponse,
    read: Read,
    is_final: Callable[[Any], bool],
    value: Any,
    known: str,
    since: Any,
) -> None:
    """Write ``value``, and every state after it."""
    feed = call.backend.feed
    await response.prepare(call.request)
    await response.write(b"retry: %d\n\n" % RETRY_MS)
    ends = call.backend.clock.monotonic() + MAX_S
    while True:
        raw = wire.encode(value)
        if (now := _id(raw)) != known:
            await response.write(b"id: %s\nevent: state\ndata: %s\n\n" % (now.encode(), raw))
            known = now
        if is_final(value) or feed.stopping or call.backend.clock.monotonic() > ends:
            break
        if await feed.wait(since, HEARTBEAT_S):
            since = feed.mark()
        else:
            await response.write(b": still here\n\n")
        try:  # after a heartbeat too: a time that passed may have changed it
            value = await read(call)
        except Problem:
            break
    await response.write_eof()


def _response(call: Call) -> web.StreamResponse:
    headers = {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
        "X-Content-Type-Options": "nosniff",
        "X-Request-Id": call.request.get(REQUEST_ID, ""),
    }
    response = web.StreamResponse(headers=headers)
    cors.mark(response, call.request.headers.get("Origin"), call.backend.settings.http.cors_origins)
    return response


def _id(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:16]
