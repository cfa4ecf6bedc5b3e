"""A webhook receiver on loopback for tests of an integration: takes, checks and remembers messages, fails on request.

async with Receiver(secret) as receiver:
    …                                     # make an endpoint for receiver.url (``[webhooks] allow_private = true``)
    message = await receiver.wait("ticket.minted")
"""

import asyncio
import base64
import hmac
import random
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec
from aiohttp import web

TOLERANCE_S = 300
"""How far a message's timestamp may be from now (Standard Webhooks)."""


class Received(msgspec.Struct, frozen=True):
    """One request that came in.  ``good``: its signature and time are right."""

    id: str
    type: str
    timestamp: str
    data: Mapping[str, Any]
    good: bool
    answered: int


Answer = Callable[[Received], int]
"""What to answer to a message: an HTTP status.  0 never answers."""


def always(status: int) -> Answer:
    """Answer every message with ``status``."""
    return lambda _message: status


def at_random(rng: random.Random, share: float, statuses: Sequence[int] = (500, 503, 429, 302)) -> Answer:
    """Fail a ``share`` of the requests; the same seed fails the same ones."""
    return lambda _message: rng.choice(statuses) if rng.random() < share else 200


class Receiver:
    """The server.  ``requests`` is all that came, ``taken`` what was answered with 2xx and had not come before."""

    def __init__(
        self, secret: str | None = None, *, answer: Answer | None = None, now_s: Callable[[], float] = time.time
    ) -> None:
        self.secret = secret
        self.answer: Answer = answer or always(200)
        self.requests: list[Received] = []
        self.taken: list[Received] = []
        self.url = ""
        self._now_s = now_s
        self._runner: web.AppRunner | None = None
        self._came = asyncio.Event()
        self._seen: set[str] = set()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/hook", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/hook"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def wait(self, type_: str | None = None, seconds: float = 30.0) -> Received:
        """Return the first message (of a type) that was taken; ``TimeoutError`` when none comes."""
        async with asyncio.timeout(seconds):
            while True:
                for message in self.taken:
                    if type_ in (None, message.type):
                        return message
                self._came.clear()
                await self._came.wait()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        try:
            said = msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.MsgspecError:
            return web.Response(status=400)
        good = self.secret is None or signed(self.secret, request.headers, body, self._now_s())
        message = Received(
            id=request.headers.get("webhook-id", ""),
            type=str(said.get("type")),
            timestamp=str(said.get("timestamp")),
            data=said.get("data", {}),
            good=good,
            answered=0,
        )
        status = self.answer(message) if good else 401
        message = msgspec.structs.replace(message, answered=status)
        self.requests.append(message)
        if 200 <= status < 300 and message.id not in self._seen:
            self._seen.add(message.id)
            self.taken.append(message)
        self._came.set()
        if status == 0:
            await asyncio.sleep(3600)
        moved = {"Location": self.url} if 300 <= status < 400 else {}
        return web.Response(status=status, headers=moved)


def signed(secret: str, headers: Mapping[str, str], body: bytes, now_s: float) -> bool:
    """Check a message as Standard Webhooks says: one of its signatures is by ``secret``, and it is of now."""
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(now_s - int(timestamp)) > TOLERANCE_S:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")).decode()
    given = headers.get("webhook-signature", "").split()
    return any(hmac.compare_digest(f"v1,{expected}", one) for one in given if one.isascii())
