"""Hostile HTTP: whatever comes, the answer has a type, and the next caller is served."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chainwatch.api import endpoints, resources, server
from chainwatch.api.endpoints import Call, Endpoint
from chainwatch.testing import callers
from chainwatch.testing.served import Served, served


class Asked(msgspec.Struct):
    text: str = ""
    number: int | None = None


async def echo(call: Call) -> Asked:
    return Asked(call.body.text, call.body.number)


async def slow(_call: Call) -> Asked:
    await asyncio.sleep(30)
    return Asked()


async def broken(_call: Call) -> Asked:
    raise RuntimeError("signature=deadbeef cwk_secret")


ROUTES = (
    Endpoint(method="POST", path="/echo", handler=echo, summary="", tag="t", body=Asked, answer=Asked),
    Endpoint(method="GET", path="/slow", handler=slow, summary="", tag="t"),
    Endpoint(method="GET", path="/broken", handler=broken, summary="", tag="t"),
)


@pytest.fixture(autouse=True)
def _routes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "RESOURCES", (*resources.RESOURCES, lambda _backend: ROUTES))


async def raw(api: Served, sent: bytes, *, wait: float = 60.0) -> bytes:
    """Send bytes, return what comes back until the other side closes or ``wait`` is over."""
    reader, writer = await asyncio.open_connection(api.server.host, api.server.port)
    writer.write(sent)
    got = b""
    try:
        async with asyncio.timeout(wait):
            while part := await reader.read(65536):
                got += part
    except (TimeoutError, ConnectionError):
        pass
    writer.close()
    return got


async def posted(api: Served, data: Any, **headers: str) -> tuple[int, Any]:
    sent = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    async with api.session.post(api.server.url + "/echo", data=data, headers=sent) as response:
        return response.status, msgspec.json.decode(await response.read())


@pytest.mark.parametrize(
    ("data", "headers", "status", "code"),
    [
        (b"x" * (server.MAX_BODY + 1), {}, 413, "too_large"),
        (b'{"text": "a"', {}, 400, "bad_json"),
        (b"\xff\xfe\x00", {}, 400, "bad_json"),
        (b'{"text": "\xff"}', {}, 400, "bad_json"),
        (b'{"text": "\\ud800"}', {}, 400, "bad_json"),
        (b'{"text": "a\\u0000"}', {}, 400, "bad_request"),
        (b'{"other": [{"\\u0000": 1}]}', {}, 400, "bad_request"),
        (b"[" * 60_000, {}, 400, "bad_json"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, {}, 400, "bad_json"),
        (b'{"a":' * 50 + b"1" + b"}" * 50, {}, 400, "bad_request"),
        (b"[]", {}, 400, "bad_request"),
        (b'{"text": 5}', {}, 400, "bad_request"),
        (b'{"number": 1.5}', {}, 400, "bad_request"),
        (b'{"number": 1e400}', {}, 400, "bad_request"),
        (b'{"number": ' + b"9" * 5_000 + b"}", {}, 400, "bad_json"),
        (b"text=a", {"Content_Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
        (b'{"text":"a"}', {"Content_Type": "text/plain"}, 415, "unsupported_media_type"),
        (b"\x1f\x8b\x08", {"Content_Encoding": "gzip"}, 415, "unsupported_media_type"),
    ],
)
async def test_bodies_that_are_none(
    tmp_path: Path, data: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    async with served(tmp_path) as api:
        found, answer = await posted(api, data, **headers)
        assert (found, answer["code"]) == (status, code)
        assert await posted(api, b'{"text": "still here"}') == (200, {"text": "still here", "number": None})


async def test_the_character_0_is_refused_on_each_database(tmp_path: Path, database: str) -> None:
    """PostgreSQL holds none of it, and whoever sends it is told that he is wrong, not that he may try again."""
    async with served(tmp_path, url=database) as api:
        event = {"id": "gala", "title": "Gala", "ticket_price": "1", "ticket_currency": "HIVE"}
        headers = await callers.operator(api)
        assert (await api.post("/api/events", event | {"title": r"\u0000"}, **headers))[0] == 200  # as it is written
        answers = [await api.post("/api/events", event | {"id": "b", "title": "a\0"}, **headers)]
        bought = {"event_id": "gala", "payment_method": "HIVE", "wallet_address": "alice"}
        answers += [await api.post("/api/events/purchase", bought | {"tier": "a\0"})]
        for path in ("events?category=a%00", "events/%00", "webhooks/%00", "creators/%00/payout-addresses"):
            answers.append(await api.get(f"/api/{path}", **headers))
        answers.append(await api.get("/e/%00"))
        assert [(status, answer["code"]) for status, answer in answers] == [(400, "bad_request")] * len(answers)


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize("path", ["/ops/login", "/e/gala"])
@pytest.mark.parametrize(
    ("kind", "data", "status"),
    [
        ("multipart/form-data; boundary=x", b"nonsense", 415),
        ("multipart/form-data", b"nonsense", 415),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="key"\r\n\r\na\r\n--x--',
            415,
        ),
        (FORM + "; charset=nonsense", b"key=%ff", 400),
        (FORM, b"key=\xff", 400),
        (FORM, b"key=a%00", 400),
        (FORM, b"&".join(b"a%d=" % i for i in range(100)), 400),
    ],
)
async def test_forms_that_are_none(tmp_path: Path, path: str, kind: str, data: bytes, status: int) -> None:
    async with (
        served(tmp_path) as api,
        api.session.post(api.server.url + path, data=data, headers={"Content-Type": kind}) as response,
    ):
        assert response.status == status, await response.text()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: a\r\n" % i for i in range(5_000)) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"nonsense\r\n\r\n",
    ],
    ids=["headers", "header", "path", "negative", "smuggled", "chunks", "tls", "nonsense"],
)
async def test_what_is_no_http_is_refused_and_the_next_is_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    async with served(tmp_path) as api:
        got = await raw(api, sent)
        assert got[:8] in (b"HTTP/1.0", b"HTTP/1.1", b"")
        assert got[8:10] in (b" 4", b"")
        if got:
            head, _, body = got.partition(b"\r\n\r\n")
            assert b"content-type: application/problem+json" in head.lower()
            assert b"python" not in head.lower()  # what we are made of is nobody's business
            assert {"code", "error", "status"} <= msgspec.json.decode(body).keys()
        assert not [r for r in caplog.records if r.levelno >= logging.WARNING]  # anybody could fill the log
        assert await posted(api, b"{}") == (200, {"text": "", "number": None})


async def test_a_body_that_dribbles_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "BODY_S", 0.2)
    async with served(tmp_path) as api:
        head = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
        got = await raw(api, head)
        assert b" 408 " in got
        assert b'"code":"body_timeout"' in got


async def test_headers_that_dribble_and_idle_connections_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("SWEEP_S", 0.1), ("HEADERS_S", 0.3), ("IDLE_S", 0.3)):
        monkeypatch.setattr(server, name, value)
    async with served(tmp_path) as api:
        assert await raw(api, b"GET /echo HTTP/1.1\r\nHost: a\r\nX-Slow: ") == b""
        got = b""
        while not got:  # a machine that stands still can close it before it has asked for anything
            got = await raw(api, b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\nGET /noth")
        assert got.count(b"HTTP/1.1") == 1


async def test_a_handler_without_end_is_ended(tmp_path: Path) -> None:
    async with served(tmp_path, toml="[http]\nrequest_seconds = 1") as api:
        status, answer = await api.get("/slow")
        assert (status, answer["code"]) == (504, "timeout")
        status, answer = await api.get("/slow", Accept="text/event-stream")  # asking for a stream makes it none
        assert (status, answer["code"]) == (504, "timeout")


async def test_a_fault_of_ours_says_nothing_of_itself(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        status, answer = await api.get("/broken")
        assert (status, answer["code"]) == (500, "internal")
        assert "deadbeef" not in str(answer)


# -- stopping ----------------------------------------------------------------------------------------


async def test_what_runs_is_answered_and_what_comes_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    async def held(_call: Call) -> Asked:
        begun.set()
        await gate.wait()
        return Asked("done")

    more = (Endpoint(method="GET", path="/held", handler=held, summary="", tag="t"),)
    before = resources.RESOURCES
    monkeypatch.setattr(resources, "RESOURCES", (*before, lambda _backend: more))
    monkeypatch.setattr(server, "SHUTDOWN_S", 60.0)
    async with served(tmp_path) as api:
        await api.get("/nothing")  # a connection that is kept
        running = asyncio.create_task(api.get("/held"))
        await begun.wait()
        stopping = asyncio.create_task(api.server.stop())
        while not api.server.stopping:
            await asyncio.sleep(0.01)
        status, answer = await api.get("/nothing")
        assert (status, answer["code"]) == (503, "stopping")
        gate.set()
        assert (await running)[1]["text"] == "done"
        await stopping


# -- other sites -------------------------------------------------------------------------------------

Preflight = {"Origin": "https://dlux.example", "Access-Control-Request-Method": "POST"}


async def preflight(api: Served, **more: str) -> Any:
    headers = Preflight | {k.replace("_", "-"): v for k, v in more.items()}
    async with api.session.options(api.server.url + "/echo", headers=headers) as response:
        assert response.status == 204
        return response.headers


async def test_pages_of_configured_sites_may_call(tmp_path: Path) -> None:
    async with served(tmp_path, toml='[http]\ncors_origins = ["https://dlux.example"]') as api:
        headers = await preflight(api, Access_Control_Request_Headers="authorization, x-anything, cookie")
        assert headers["Access-Control-Allow-Origin"] == "https://dlux.example"
        allowed = {h.strip().lower() for h in headers["Access-Control-Allow-Headers"].split(",")}
        assert {"authorization", "content-type", "idempotency-key", "x-account", "x-anything"} <= allowed
        assert "cookie" not in allowed
        assert "Access-Control-Allow-Credentials" not in headers
        async with api.session.post(
            api.server.url + "/echo", json={}, headers={"Origin": "https://dlux.example"}
        ) as response:
            assert response.headers["Access-Control-Allow-Origin"] == "https://dlux.example"
            assert response.headers["Vary"] == "Origin"


async def test_pages_of_other_sites_may_not(tmp_path: Path) -> None:
    async with served(tmp_path, toml='[http]\ncors_origins = ["https://dlux.example"]') as api:
        headers = await preflight(api, Origin="https://evil.example")
        assert "Access-Control-Allow-Origin" not in headers
        async with api.session.get(api.server.url + "/nothing", headers={"Origin": "null"}) as response:
            assert "Access-Control-Allow-Origin" not in response.headers
