"""The platform's own client, request by request as it sends them (platform.md §2.2, §2.3): all but its join work as
they are.

``getAvailableEvents``, ``purchaseEventTicket``, ``verifyEventAccess`` and ``joinEvent`` of dluxWallet, with the header
``Authorization: Bearer :<account>`` (no signature) that it puts on every call.
"""

from pathlib import Path
from typing import Any

import msgspec

from chainwatch.finality import Rule, Tier
from chainwatch.testing.callers import operator
from chainwatch.testing.paying import Payer
from chainwatch.testing.served import NOW_MS, Served, served
from chainwatch.testing.wallets import EvmWallet

ACCOUNT = "disregardfiat"
HEADERS = {
    "Content-Type": "application/json",
    "Authorization": f"Bearer :{ACCOUNT}",
    "Origin": "https://vr.dlux.example",
    "User-Agent": "Mozilla/5.0",
}
SITE = '[http]\ncors_origins = ["https://vr.dlux.example"]\npublic_url = "https://tickets.example"'
DAY_MS = 86_400_000


async def send(api: Served, method: str, path: str, body: str | None = None) -> tuple[int, Any, Any]:
    """Send exactly these bytes and headers, as a browser's ``fetch`` does."""
    async with api.session.request(method, api.server.url + path, data=body, headers=HEADERS) as response:
        return response.status, msgspec.json.decode(await response.read()), response.headers


async def concert(api: Served) -> None:
    body = {
        "id": "premium-concert-2024",
        "title": "Premium Concert",
        "ticket_price": "0.05",
        "ticket_currency": "ETH",
        "event_start": NOW_MS - 1000,
        "event_end": NOW_MS + DAY_MS,
        "max_attendees": 500,
    }
    status, answer = await api.post("/api/events/create", body, **(await operator(api)))
    assert status == 200, answer
    assert (await api.post("/api/events/premium-concert-2024/start", {}, **(await operator(api, name="x"))))[0] == 200


async def test_get_available_events(tmp_path: Path) -> None:
    async with served(tmp_path, toml=SITE) as api:
        await concert(api)
        for path in ("/api/events", "/api/events?upcoming=true"):
            status, answer, headers = await send(api, "GET", path)
            assert status == 200
            assert [e["id"] for e in answer["events"]] == ["premium-concert-2024"]
            assert headers["Access-Control-Allow-Origin"] == "https://vr.dlux.example"


async def test_purchase_event_ticket(tmp_path: Path) -> None:
    wallet = EvmWallet("buyer").address
    body = (
        '{"event_id":"premium-concert-2024","payment_method":"ETH",'
        f'"wallet_address":"{wallet}","user_account":"{ACCOUNT}"}}'
    )
    async with served(tmp_path, toml=SITE) as api:
        await concert(api)
        status, answer, _ = await send(api, "POST", "/api/events/purchase", body)
        assert status == 200, answer
        assert {"payment_address", "amount", "currency", "memo", "expires_at"} <= answer.keys()
        assert (answer["amount"], answer["currency"]) == ("0.05", "ETH")
        status, answer, _ = await send(api, "POST", "/api/events/purchase", body.replace("premium-concert-2024", "no"))
        assert status == 404
        assert isinstance(answer["error"], str)  # what its alert shows


async def test_verify_event_access_and_join_event(tmp_path: Path) -> None:
    wallet = EvmWallet("buyer")
    async with served(tmp_path, toml=SITE) as api:
        await concert(api)
        _, bought, _ = await send(
            api,
            "POST",
            "/api/events/purchase",
            f'{{"event_id":"premium-concert-2024","payment_method":"ETH","wallet_address":"{wallet.address}"}}',
        )
        payer = Payer(api, "ETH", Rule((Tier(depth=1),)))
        await payer.pay(("ETH", bought["payment_address"], 50_000_000_000_000_000, bought["memo"]))
        path = "/api/events/premium-concert-2024"
        # verifyEventAccess(eventId, walletAddress): no signature, reads hasAccess
        status, answer, _ = await send(api, "POST", f"{path}/verify-access", f'{{"walletAddress":"{wallet.address}"}}')
        assert status == 200
        assert (answer["hasAccess"], answer["reason"]) == (False, "challenge_required")
        # the classic text, signed; its own timestamp sent (docs/integrating.md)
        now_ms = api.clock.now_ms()
        signature = wallet.sign_message(f"Access event premium-concert-2024 at {now_ms}")
        joined = f'{{"wallet_address":"{wallet.address}","signature":"{signature}","timestamp":{now_ms}}}'
        status, answer, _ = await send(api, "POST", f"{path}/join", joined)
        assert (status, answer["access_granted"]) == (200, True), answer
        assert answer["session_token"]
        # as its present version does: a timestamp of after the signing finds no text
        late = joined.replace(str(now_ms), str(now_ms + 1))
        status, answer, _ = await send(api, "POST", f"{path}/join", late)
        assert status in (401, 403)


async def test_its_empty_signature_writes_nothing(tmp_path: Path) -> None:
    async with served(tmp_path, toml=SITE) as api:
        await concert(api)
        body = '{"title":"x","ticket_price":1,"ticket_currency":"HIVE"}'
        for method, path in (
            ("POST", "/api/events/create"),
            ("POST", "/api/events"),
            ("PATCH", "/api/events/premium-concert-2024"),
            ("POST", "/api/events/premium-concert-2024/cancel"),
            ("POST", "/api/events/premium-concert-2024/start"),
            ("PUT", f"/api/creators/{ACCOUNT}/payout-addresses"),
            ("GET", "/api/review"),
            ("GET", "/api/payouts"),
            ("GET", "/api/refunds"),
            ("GET", "/api/exports"),
        ):
            status, answer, _ = await send(api, method, path, body if method != "GET" else None)
            assert (status, answer["code"]) == (401, "unauthorized"), path


async def test_its_preflight(tmp_path: Path) -> None:
    async with served(tmp_path, toml=SITE) as api:
        headers = {
            "Origin": HEADERS["Origin"],
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        async with api.session.options(f"{api.server.url}/api/events/purchase", headers=headers) as response:
            assert response.status == 204
            assert "authorization" in response.headers["Access-Control-Allow-Headers"].lower()
            assert "POST" in response.headers["Access-Control-Allow-Methods"]
