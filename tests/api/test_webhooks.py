"""``/api/webhooks``: endpoints, secrets, deliveries, for operators alone."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import Webhook as Standard

from chainwatch.api import auth
from chainwatch.api.auth import Caller
from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import operator
from chainwatch.api.webhooks import endpoints
from chainwatch.ledger import deliveries, outbox
from chainwatch.ledger.deliveries import Outcome
from chainwatch.outbox import headers
from chainwatch.testing.served import Served, served

URL = "https://example.org/hook"


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    async def prove(request: web.Request, _backend: Backend) -> Caller | None:
        known = request.headers.get("Authorization") == "Bearer operator"
        scopes = frozenset({"money", "read", "events", "door"})
        return Caller("operator", "ada", scopes) if known else None

    monkeypatch.setattr(auth, "AUTHENTICATORS", {**auth.AUTHENTICATORS, "operator": prove})
    async with served(tmp_path) as found:
        yield found


async def call(api: Served, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    return await api.call(method, path, body, Authorization="Bearer operator")


async def make(api: Served, **more: Any) -> dict[str, Any]:
    status, answer = await call(api, "POST", "/api/webhooks", {"url": URL, **more})
    assert status == 201, answer
    made: dict[str, Any] = answer
    return made


def tell(api: Served, *subjects: str) -> None:
    with api.store.transaction() as connection:
        made = [outbox.Message("payment.seen", s, {"txid": "t"}) for s in subjects]
        outbox.post(connection, api.clock.now_ms(), made)
        deliveries.hand_out(connection, api.clock.now_ms())


async def test_an_endpoint_from_its_making_to_its_end(api: Served) -> None:
    made = await make(api, types=["ticket.minted"], description="the shop")
    assert made["secret"].startswith("whsec_")
    assert (made["enabled"], made["types"], made["description"]) == (True, ["ticket.minted"], "the shop")
    path = f"/api/webhooks/{made['id']}"
    status, shown = await call(api, "GET", path)
    assert status == 200
    assert "secret" not in shown
    assert (await call(api, "GET", "/api/webhooks"))[1] == {"webhooks": [shown]}
    status, changed = await call(api, "PATCH", path, {"types": ["*"], "enabled": False})
    assert (status, changed["types"], changed["enabled"], changed["disabled_why"]) == (
        200,
        ["*"],
        False,
        "by an operator",
    )
    assert (await call(api, "POST", f"{path}/test", {}))[1]["code"] == "webhook_disabled"
    assert (await call(api, "PATCH", path, {"enabled": True}))[1]["enabled"] is True
    assert await call(api, "DELETE", path) == (200, {"deleted": True})
    for method, at in (("GET", path), ("PATCH", path), ("DELETE", path), ("POST", f"{path}/test")):
        status, answer = await call(api, method, at, {} if method != "GET" else None)
        assert (status, answer["code"]) == (404, "unknown_webhook")


async def test_a_secret_verifies_what_is_sent_and_is_rotated(api: Served) -> None:
    made = await make(api)
    path = f"/api/webhooks/{made['id']}"
    assert (await call(api, "GET", f"{path}/secret"))[1] == {"secret": made["secret"]}
    status, rotated = await call(api, "POST", f"{path}/rotate", {"overlap_hours": 1})
    assert status == 200
    assert rotated["secret"] != made["secret"]
    assert rotated["previous_secret_until"] == "2025-10-09T09:53:20Z"
    assert (await call(api, "POST", f"{path}/rotate", {"overlap_hours": 169}))[0] == 400
    now_ms = int(time.time() * 1000)
    sent = headers([rotated["secret"], made["secret"]], "msg_1", now_ms, b"{}")
    assert Standard(made["secret"]).verify("{}", sent) == {}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "bad_request"),
        ({"url": "http://example.org/"}, "bad_url"),
        ({"url": "https://169.254.169.254/latest/meta-data"}, "bad_url"),
        ({"url": URL, "types": []}, "bad_types"),
        ({"url": URL, "types": ["ticket.sold"]}, "bad_types"),
        ({"url": URL, "types": ["*"] * 33}, "bad_request"),
        ({"url": URL, "description": "x" * 201}, "bad_description"),
        ({"url": 5}, "bad_request"),
    ],
)
async def test_wrong_endpoints_are_refused_by_name(api: Served, body: Any, code: str) -> None:
    status, answer = await call(api, "POST", "/api/webhooks", body)
    assert (status, answer["code"]) == (400, code)


async def test_deliveries_are_listed_by_page_and_sent_again(api: Served) -> None:
    made = await make(api)
    other = await make(api)
    tell(api, "a", "b", "c")
    path = f"/api/webhooks/{made['id']}/deliveries"
    status, page = await call(api, "GET", f"{path}?limit=2")
    assert (status, [d["state"] for d in page["deliveries"]]) == (200, ["pending"] * 2)
    _, rest = await call(api, "GET", f"{path}?limit=2&cursor={page['next_cursor']}")
    assert (len(rest["deliveries"]), rest["next_cursor"]) == (1, None)
    first = rest["deliveries"][0]
    assert (await call(api, "GET", f"{path}?limit=2&offset=2"))[1] == rest
    assert (await call(api, "GET", f"{path}?cursor=nonsense"))[1]["code"] == "bad_cursor"
    assert "subject" not in first
    with api.store.transaction() as connection:
        deliveries.record(connection, int(made["id"]), [Outcome(int(first["id"]), False, 500, "HTTP 500")], 1)
    _, dead = await call(api, "GET", "/api/webhooks/dead-letters")
    assert [(d["id"], d["last_status"], d["type"]) for d in dead["deliveries"]] == [(first["id"], 500, "payment.seen")]
    assert (await call(api, "GET", f"{path}?state=dead"))[1]["deliveries"] == dead["deliveries"]
    status, again = await call(api, "POST", f"{path}/{first['id']}/redeliver", {})
    assert (status, again) == (202, {"delivery_id": first["id"]})
    assert (await call(api, "GET", "/api/webhooks/dead-letters"))[1]["deliveries"] == []
    status, answer = await call(api, "POST", f"/api/webhooks/{other['id']}/deliveries/{first['id']}/redeliver", {})
    assert (status, answer["code"]) == (404, "unknown_delivery")
    status, answer = await call(api, "POST", f"/api/webhooks/{made['id']}/redeliver", {"since": "2020-01-01T00:00:00Z"})
    assert (status, answer) == (202, {"redelivered": 0})


async def test_a_test_message_is_queued(api: Served) -> None:
    made = await make(api, types=["payout.due"])
    status, queued = await call(api, "POST", f"/api/webhooks/{made['id']}/test", {})
    assert status == 202
    _, page = await call(api, "GET", f"/api/webhooks/{made['id']}/deliveries")
    assert [(d["id"], d["type"]) for d in page["deliveries"]] == [(queued["delivery_id"], "webhook.test")]


@pytest.mark.parametrize("wrong", ["0x1", "-1", "9" * 19, "½", "1.5"])
async def test_ids_that_are_none(api: Served, wrong: str) -> None:
    status, answer = await call(api, "GET", f"/api/webhooks/{wrong}")
    assert (status, answer["code"]) == (404, "unknown_webhook")


async def test_nobody_else_may(api: Served) -> None:
    for endpoint in endpoints(api.backend):
        assert endpoint.who in (operator("money"), operator("money", exact=True), operator("read"))
        assert endpoint.who.scope == "read" or endpoint.method != "GET" or endpoint.path.endswith("/secret")
        path = endpoint.path.replace("{id}", "1").replace("{delivery}", "1")
        status, answer = await api.call(endpoint.method, path, {} if endpoint.method != "GET" else None)
        assert (status, answer["code"]) == (401, "unauthorized")
