"""Idempotency keys: the same answer again, once; another request under the key is refused; nobody hears another's."""

import asyncio
import functools
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import text

from chainwatch.api import endpoints, resources
from chainwatch.api import idempotency as once
from chainwatch.api.endpoints import Call, Endpoint, operator
from chainwatch.api.problems import Problem
from chainwatch.ledger import idempotency, webhooks
from chainwatch.testing import callers, guests
from chainwatch.testing.served import Served, served

EVENT = {"id": "gala", "title": "Gala", "ticket_price": "25", "ticket_currency": "HIVE"}
BUY = {"event_id": "gala", "payment_method": "HIVE", "wallet_address": "alice"}
KEY = {"Idempotency-Key": "0b8e6f5c-5d0e-4b0e-9b1a-1f6b1c2d3e4f"}


@pytest.fixture(autouse=True)
def on_each_database(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test below runs on SQLite and on PostgreSQL: a claim is what each database says was inserted."""
    monkeypatch.setitem(globals(), "served", functools.partial(served, url=database))


async def opened(api: Served) -> dict[str, str]:
    headers = await callers.operator(api)
    assert (await api.post("/api/events", EVENT, **headers))[0] == 200
    return headers


def count(api: Served, table: str) -> int:
    with api.store.reading() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


async def test_the_same_request_is_answered_again_and_done_once(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        await opened(api)
        first = await api.post("/api/events/purchase", BUY, **KEY)
        async with api.session.post(f"{api.server.url}/api/events/purchase", json=BUY, headers=KEY) as response:
            pass  # written with other blanks: another body
        assert response.status == 409
        second = await api.post("/api/events/purchase", BUY, **KEY)
        assert second == first
        assert count(api, "purchases") == 1
        assert (await api.post("/api/events/purchase", BUY))[1]["purchase_id"] != first[1]["purchase_id"]


async def test_a_refusal_is_kept_too(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        headers = await callers.operator(api)
        first = await api.post("/api/events/none/cancel", {}, **headers, **KEY)
        assert first[1]["code"] == "unknown_event"
        second = await api.post("/api/events/none/cancel", {}, **headers, **KEY)
        assert (second[0], second[1]["code"]) == (first[0], first[1]["code"])
        async with api.session.post(
            f"{api.server.url}/api/events/none/cancel", data=b"{}", headers=headers | KEY | JSON
        ) as response:
            assert response.headers["Idempotency-Replayed"] == "true"
            assert response.content_type == "application/problem+json"


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("path", "body"), [("/api/events/purchase", BUY | {"wallet_address": "bob"}), ("/api/events/purchase?x=1", BUY)]
)
async def test_another_request_under_the_key_is_refused(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    async with served(tmp_path) as api:
        await opened(api)
        await api.post("/api/events/purchase", BUY, **KEY)
        status, answer = await api.post(path, body, **KEY)
        assert (status, answer["code"]) == (409, "idempotency_mismatch")


async def test_a_key_belongs_to_its_caller(tmp_path: Path) -> None:
    toml = '[http]\ntrusted_proxies = ["127.0.0.1"]'
    async with served(tmp_path, toml=toml) as api:
        await opened(api)
        mine = (await api.post("/api/events/purchase", BUY, **KEY, **{"X-Forwarded-For": "192.0.2.1"}))[1]
        theirs = (await api.post("/api/events/purchase", BUY, **KEY, **{"X-Forwarded-For": "192.0.2.2"}))[1]
        assert mine["purchase_id"] != theirs["purchase_id"]
        one, two = await callers.operator(api, name="one"), await callers.operator(api, name="two")
        for headers, status in ((one, 200), (two, 409), (one, 200)):  # two makes it itself, and it exists already
            body = EVENT | {"id": "other"}
            assert (await api.post("/api/events", body, **headers, **{"Idempotency-Key": "1"}))[0] == status


@pytest.mark.parametrize("key", ["short", "", "a" * 256, "with blank and more", "umlaut-äöü-äöü-äöü"])
async def test_keys_that_are_none(tmp_path: Path, key: str) -> None:
    async with served(tmp_path) as api:
        await opened(api)
        status, answer = await api.post("/api/events/purchase", BUY, **{"Idempotency-Key": key})
        assert (status, answer["code"]) == (400, "bad_request")


# -- what runs, and what fails -----------------------------------------------------------------------


class Gate:
    """A route whose handler waits, or fails as the test wants."""

    def __init__(self) -> None:
        self.open, self.runs = asyncio.Event(), 0
        self.fails: list[Exception] = []

    async def handle(self, _call: Call) -> Any:
        self.runs += 1
        await self.open.wait()
        if self.fails:
            raise self.fails.pop()
        return {"run": self.runs}

    def endpoints(self, _backend: object) -> tuple[Endpoint, ...]:
        return (
            Endpoint(
                method="POST", path="/gate", handler=self.handle, summary="", tag="t", who=operator(""), writes=True
            ),
        )


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    made = Gate()
    monkeypatch.setattr(resources, "RESOURCES", (*resources.RESOURCES, made.endpoints))
    return made


async def test_while_it_runs_the_key_is_taken(tmp_path: Path, gate: Gate) -> None:
    async with served(tmp_path) as api:
        headers = await callers.operator(api) | KEY
        first = asyncio.create_task(api.post("/gate", {}, **headers))
        while not gate.runs:
            await asyncio.sleep(0.01)
        status, answer = await api.post("/gate", {}, **headers)
        assert (status, answer["code"]) == (409, "idempotency_running")
        gate.open.set()
        assert await first == (200, {"run": 1})
        assert await api.post("/gate", {}, **headers) == (200, {"run": 1})


async def test_what_died_with_its_process_may_be_tried_again_later(tmp_path: Path, gate: Gate) -> None:
    async with served(tmp_path, toml="[http]\nrequest_seconds = 1") as api:
        headers = await callers.operator(api) | KEY
        status, _ = await api.post("/gate", {}, **headers)
        assert status == 504  # given up: nobody knows what became of it
        gate.open.set()
        assert (await api.post("/gate", {}, **headers))[1]["code"] == "idempotency_running"
        api.clock.advance(3)
        assert await api.post("/gate", {}, **headers) == (200, {"run": 2})


@pytest.mark.parametrize("error", [RuntimeError("bug"), Problem("unavailable"), Problem("too_many_requests")])
async def test_after_a_fault_of_ours_the_same_key_tries_again(tmp_path: Path, gate: Gate, error: Exception) -> None:
    gate.open.set()
    gate.fails.append(error)
    async with served(tmp_path) as api:
        headers = await callers.operator(api) | KEY
        assert (await api.post("/gate", {}, **headers))[0] in (429, 500, 503)
        assert await api.post("/gate", {}, **headers) == (200, {"run": 2})


# -- a write and its answer are one ------------------------------------------------------------------


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths whose next request dies when its handler has done its work: nothing after it happens, as in a process
    that is killed."""
    doomed: list[str] = []
    whole = endpoints._run

    async def run(endpoint: Endpoint, call: Call) -> Any:
        answer = await whole(endpoint, call)
        if endpoint.path in doomed:
            doomed.remove(endpoint.path)
            raise asyncio.CancelledError
        return answer

    monkeypatch.setattr(endpoints, "_run", run)
    return doomed


HOOK = {"url": "https://receiver.example/hook", "types": ["*"]}
WRITES: dict[str, tuple[str, dict[str, Any], str]] = {
    "/api/events/purchase": ("/api/events/purchase", BUY, "purchases"),
    "/api/events": ("/api/events", {**EVENT, "id": None}, "events"),
    "/api/events/{id}/invites": ("/api/events/gala/invites", {"uses": 3}, "invites"),
    "/api/events/{id}/devices": ("/api/events/gala/devices", {"name": "gate"}, "devices"),
    "/api/webhooks": ("/api/webhooks", HOOK, "webhooks"),
}


@pytest.mark.parametrize("route", WRITES)
async def test_what_was_written_before_the_process_died_is_not_written_again(
    tmp_path: Path, mortal: list[str], route: str
) -> None:
    path, body, table = WRITES[route]
    async with served(tmp_path) as api:
        headers = await opened(api) | KEY
        before = count(api, table)
        mortal.append(route)
        with pytest.raises(aiohttp.ClientError):
            await api.post(path, body, **headers)
        first = await api.post(path, body, **headers)
        assert first[0] in (200, 201), first
        api.clock.advance(3600)
        assert await api.post(path, body, **headers) == first
        assert count(api, table) == before + 1


async def test_a_secret_is_rotated_once(tmp_path: Path, mortal: list[str]) -> None:
    """Twice in a row would end the secret that receivers still have."""
    async with served(tmp_path) as api:
        headers = await opened(api)
        hook = (await api.post("/api/webhooks", HOOK, **headers))[1]
        path = f"/api/webhooks/{hook['id']}"
        mortal.append("/api/webhooks/{id}/rotate")
        with pytest.raises(aiohttp.ClientError):
            await api.post(f"{path}/rotate", {}, **headers, **KEY)
        rotated = (await api.post(f"{path}/rotate", {}, **headers, **KEY))[1]
        assert rotated["secret"] == (await api.get(f"{path}/secret", **headers))[1]["secret"]
        found = await api.store.read(webhooks.find, int(hook["id"]))
        assert hook["secret"] in found.secrets(api.backend.issuer, api.backend.now_ms())


async def test_who_lost_the_answer_of_the_only_entry_hears_it_again(tmp_path: Path, mortal: list[str]) -> None:
    async with guests.door(tmp_path, entry_policy="once") as api:
        body = await guests.signed(api, guests.GUEST)
        mortal.append("/api/events/{id}/join")
        with pytest.raises(aiohttp.ClientError):
            await api.post("/api/events/gala/join", body, **KEY)
        status, answer = await api.post("/api/events/gala/join", body, **KEY)
        assert (status, answer["access_granted"]) == (200, True)
        session = {"Authorization": f"Bearer {answer['session_token']}"}
        assert (await api.post("/api/events/gala/join", body))[1]["code"] == "replayed"
        mortal += ["/api/sessions/refresh", "/api/events/{id}/leave"]
        for path, name in (("/api/sessions/refresh", "session_token"), ("/api/events/gala/leave", "left_at")):
            with pytest.raises(aiohttp.ClientError):
                await api.post(path, {}, **session, **{"Idempotency-Key": path})
            status, answer = await api.post(path, {}, **session, **{"Idempotency-Key": path})
            assert (status, bool(answer[name])) == (200, True)
            session = {"Authorization": f"Bearer {answer.get('session_token', '')}"}


async def test_a_write_that_was_given_to_another_request_writes_nothing(tmp_path: Path, gate: Gate) -> None:
    """It took so long that its key was free again: only one of the two may stand."""
    async with served(tmp_path) as api:
        await opened(api)
        asked = api.backend.crowd.ask

        async def late(request: Any) -> Any:
            if not gate.runs:
                gate.runs += 1
                await gate.open.wait()
            return await asked(request)

        api.backend.crowd.ask = late  # type: ignore[method-assign]
        first = asyncio.create_task(api.post("/api/events/purchase", BUY, **KEY))
        while not gate.runs:
            await asyncio.sleep(0.01)
        api.clock.advance(61)
        second = await api.post("/api/events/purchase", BUY, **KEY)
        gate.open.set()
        assert (second[0], (await first)[1].get("code")) == (200, "idempotency_running")
        assert count(api, "purchases") == 1


# -- what is kept ------------------------------------------------------------------------------------


async def test_the_database_alone_shows_no_answer(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        await opened(api)
        _, bought = await api.post("/api/events/purchase", BUY, **KEY)
        with api.store.reading() as connection:
            (row,) = connection.execute(text("SELECT * FROM idempotency"))
        assert bought["purchase_id"].encode() not in row.body
        assert KEY["Idempotency-Key"] not in str(row)


async def test_a_stranger_s_refusals_do_not_fill_the_disk(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        await opened(api)
        wrong = BUY | {"event_id": "none"}
        assert (await api.post("/api/events/purchase", wrong, **KEY))[0] == 404
        assert (await api.post("/api/events/purchase", wrong, **KEY))[0] == 404
        now_ms = api.backend.now_ms()
        assert await api.store.write(idempotency.forget, now_ms + once.REFUSED_MS - 1) == 0
        assert await api.store.write(idempotency.forget, now_ms + once.REFUSED_MS + 1) == 1


async def test_answers_are_kept_for_a_day(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        await opened(api)
        await api.post("/api/events/purchase", BUY, **KEY)
        now_ms = api.backend.now_ms()
        assert await api.store.write(idempotency.forget, now_ms + idempotency.KEEP_MS - 1) == 0
        assert await api.store.write(idempotency.forget, now_ms + idempotency.KEEP_MS + 1) == 1
