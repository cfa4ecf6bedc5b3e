"""The platform's word on who may make events: asked over the network as a webhook is sent, kept, never guessed."""

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from chainwatch.api.premium import Permission, Premium
from chainwatch.config import settings as config
from chainwatch.config.settings import Settings
from chainwatch.errors import Unreachable
from chainwatch.testing.callers import Creator, resolving
from chainwatch.testing.clock import FakeClock
from chainwatch.testing.served import served

SECRET = "whsec_" + base64.b64encode(b"a secret of the platform").decode()


class Platform:
    """The platform's side: what it was asked, and what it answers next."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, str], bytes]] = []
        self.answer: Any = {"allowed": True, "max_attendees": 200}
        self.status = 200
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append((dict(request.headers), await request.read()))
        if isinstance(self.answer, bytes):
            return web.Response(body=self.answer, status=self.status)
        headers = {"Location": self.url} if self.status == 302 else {}
        return web.Response(body=msgspec.json.encode(self.answer), status=self.status, headers=headers)


@asynccontextmanager
async def platform() -> AsyncIterator[Platform]:
    made = Platform()
    app = web.Application()
    app.router.add_post("/authorize", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/authorize"
    try:
        yield made
    finally:
        await runner.cleanup()


def settings(tmp_path: Path, url: str, *, private: bool = True) -> Settings:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    toml = f'[creators]\nauthorize_url = "{url}"\nauthorize_secret_file = "{secret}"\n'
    toml += f"[webhooks]\nallow_private = {str(private).lower()}\n"
    return config.parse(toml, environ={"STATE_DIRECTORY": str(tmp_path)})


async def test_the_call_is_signed_as_a_webhook_is(tmp_path: Path) -> None:
    async with platform() as other:
        clock = FakeClock()
        answer = await Premium(clock).permission(settings(tmp_path, other.url), "alice")
        assert answer == Permission(True, 200)
        ((headers, body),) = other.asked
        assert msgspec.json.decode(body) == {"type": "creator.authorize", "account": "alice"}
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        mac = hmac.new(b"a secret of the platform", signed, hashlib.sha256).digest()
        assert headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()
        assert int(headers["webhook-timestamp"]) == clock.now_ms() // 1000


async def test_an_answer_is_kept_for_a_while_and_no_longer(tmp_path: Path) -> None:
    async with platform() as other:
        clock = FakeClock()
        premium, configured = Premium(clock), settings(tmp_path, other.url)
        for _ in range(3):
            await premium.permission(configured, "alice")
        assert len(other.asked) == 1
        await premium.permission(configured, "bob")
        clock.advance(301)
        other.answer = {"allowed": False, "reason": "not premium"}
        assert await premium.permission(configured, "alice") == Permission(False, None, "not premium")
        assert len(other.asked) == 3


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (500, {"allowed": True}),
        (302, {"allowed": True}),
        (201, {"allowed": True}),
        (200, b"yes"),
        (200, {"allowed": "yes"}),
        (200, {}),
        (200, b"[" * 100_000),
        (200, b'{"allowed": true, "reason": "' + b"x" * 200_000 + b'"}'),
    ],
)
async def test_what_is_no_answer_allows_nothing(tmp_path: Path, status: int, answer: Any) -> None:
    async with platform() as other:
        other.status, other.answer = status, answer
        with pytest.raises(Unreachable):
            await Premium(FakeClock()).permission(settings(tmp_path, other.url), "alice")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/authorize",
        "https://127.0.0.1:1/authorize",
        "https://169.254.169.254/latest",
        "https://[::1]/",
        "https://10.0.0.1/",
        "https://localhost:1/",
        "http://platform.example/",
    ],
)
async def test_only_public_https_is_called(tmp_path: Path, url: str) -> None:
    with pytest.raises(Unreachable):
        await Premium(FakeClock()).permission(settings(tmp_path, url, private=False), "alice")


async def test_a_creator_is_told_to_try_again_when_the_platform_is_away(tmp_path: Path) -> None:
    alice = Creator("alice")
    toml = '[creators]\nauthorize_url = "http://127.0.0.1:1/"\n[webhooks]\nallow_private = true'
    async with served(tmp_path, toml=toml, resolver=resolving([alice])) as api:
        event = {"id": "gala", "title": "Gala", "ticket_price": "1", "ticket_currency": "HIVE"}
        status, answer = await alice.write(api, "POST", "/api/events", event)
        assert (status, answer["code"]) == (503, "unavailable")
