"""Server-sent events: a state now, and again whenever it changes.

Each event is a whole state and its id a hash of it.  Who comes back with ``Last-Event-ID`` hears nothing until the
state is another one; so nothing can be missed in between, and no history is kept.  A comment every ``HEARTBEAT_S``
keeps proxies from closing the line.
"""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from chainwatch.api import cors, wire
from chainwatch.api.endpoints import Call
from chainwatch.api.middleware import REQUEST_ID, dress
from chainwatch.api.problems import Problem
from chainwatch.errors import ChainwatchError

log = logging.getLogger(__name__)

HEARTBEAT_S = 15.0
WRITE_S = 30.0
"""Seconds for one write: whoever reads nothing for so long, with full buffers between us, has gone away."""
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
        try:
            with contextlib.suppress(ConnectionError):  # who listened has gone away
                await _tell(call, response, read, is_final, value, known, since)
        except TimeoutError:
            if (transport := call.request.transport) is not None:
                transport.abort()  # closing would wait for what is not read
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
    await _write(response, b"retry: %d\n\n" % RETRY_MS)
    ends = call.backend.clock.monotonic() + MAX_S
    while True:
        raw = wire.encode(value)
        if (now := _id(raw)) != known:
            await _write(response, b"id: %s\nevent: state\ndata: %s\n\n" % (now.encode(), raw))
            known = now
        if is_final(value) or feed.stopping or call.backend.clock.monotonic() > ends:
            break
        if await feed.wait(since, HEARTBEAT_S):
            since = feed.mark()
        else:
            await _write(response, b": still here\n\n")
        try:  # after a heartbeat too: a time that passed may have changed it
            value = await read(call)
        except (Problem, ChainwatchError):
            break  # the answer has begun and can say no more: whoever listens comes back and hears why
        except Exception:
            log.exception("a stream (%s)", call.request.get(REQUEST_ID, ""))
            break
    await response.write_eof()


async def _write(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(WRITE_S):
        await response.write(data)


def _response(call: Call) -> web.StreamResponse:
    headers = {
        "Content-Type": "text/event-stream; charset=utf-8",
        "X-Accel-Buffering": "no",
        "X-Request-Id": call.request.get(REQUEST_ID, ""),
    }
    response = web.StreamResponse(headers=headers)
    dress(response)
    cors.mark(response, call.request.headers.get("Origin"), call.backend.settings.http.cors_origins)
    return response


def _id(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:16]
