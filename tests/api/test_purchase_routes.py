"""Purchases over HTTP: told what to pay, seen from first sighting to ticket, also as a stream of events."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from chainwatch.api import feed, stream
from chainwatch.api.problems import Problem
from chainwatch.api.wallet_kind import WalletKinds
from chainwatch.errors import Rejected, Unreachable
from chainwatch.finality import Rule, Tier
from chainwatch.ledger import views
from chainwatch.testing.callers import operator
from chainwatch.testing.paying import Payer
from chainwatch.testing.served import Served, served
from chainwatch.testing.wallets import EvmWallet
from chainwatch.verifiers.recorded import RecordedChain

BUY = {"event_id": "gala", "payment_method": "HIVE", "wallet_address": "alice"}


async def gala(api: Served, **changes: Any) -> None:
    body = {"id": "gala", "title": "Gala", "ticket_price": "25", "ticket_currency": "HIVE"}
    body |= {"prices": {"ETH": "0.01", "BTC": "0.001", "SOL": "0.2"}} | changes
    status, answer = await api.post("/api/events", body, **(await operator(api)))
    assert status == 200, answer


async def buy(api: Served, **changes: Any) -> dict[str, Any]:
    status, answer = await api.post("/api/events/purchase", BUY | changes)
    assert status == 200, answer
    bought: dict[str, Any] = answer
    return bought


async def test_a_purchase_says_what_where_and_until_when(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        await gala(api, max_attendees=10)
        bought = await buy(api)
        assert bought["payment_address"] == "till"
        assert (bought["amount"], bought["amount_base"], bought["currency"]) == ("25", "25000", "HIVE")
        assert bought["memo"] == f"cw:{bought['ref']}"
        assert bought["held"] is True
        assert bought["uri"].startswith("hive://sign/")
        assert bought["expires_at"] == "2025-10-09T09:08:20Z"
        assert len(bought["purchase_id"]) >= 22
        assert (await api.get("/api/events/gala"))[1]["tickets_available"] == 9


@pytest.mark.parametrize(("asset", "scheme"), [("ETH", "ethereum:"), ("btc", "bitcoin:"), ("SOL", "solana:")])
async def test_every_coin_has_its_uri_and_its_qr_code(tmp_path: Path, asset: str, scheme: str) -> None:
    async with served(tmp_path) as api:
        await gala(api)
        bought = await buy(api, payment_method=asset)
        assert bought["uri"].startswith(scheme)
        path = f"/api/purchases/{bought['purchase_id']}"
        async with api.session.get(f"{api.server.url}{path}/qr.svg") as response:
            assert (response.status, response.content_type) == (200, "image/svg+xml")
            assert (await response.read()).startswith(b"<svg")
        async with api.session.get(f"{api.server.url}{path}/qr.png") as response:
            assert (await response.read())[:4] == b"\x89PNG"
        assert (await api.get(f"{path}/qr.gif"))[0] == 404


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"event_id": "none"}, 404, "unknown_event"),
        ({"wallet_address": "not a wallet"}, 400, "bad_wallet"),
        ({"wallet_address": "0x742d35Cc6C4b35F41a5F89b2A9d0a7C97EfE5b2d"}, 400, "bad_checksum"),
        ({"payment_method": "XRP"}, 400, "unknown_currency"),
        ({"payment_method": "HBD"}, 409, "not_for_sale"),
        ({"tier": "vip"}, 400, "unknown_tier"),
        ({"allotment": "fans"}, 400, "unknown_allotment"),
        ({"message": "a"}, 400, "bad_request"),
        ({"message": "a", "signature": "b"}, 400, "malformed"),
        ({"wallet_address": "a" * 300}, 400, "bad_request"),
        ({"wallet_address": None}, 400, "bad_request"),
        ({"event_id": 3.5}, 404, "unknown_event"),
        ({"event_id": [1]}, 400, "bad_request"),
    ],
)
async def test_purchases_that_cannot_be(tmp_path: Path, changes: dict[str, Any], status: int, code: str) -> None:
    async with served(tmp_path) as api:
        await gala(api)
        found, answer = await api.post("/api/events/purchase", BUY | changes)
        assert (found, answer["code"]) == (status, code), answer


async def test_a_numeric_event_may_be_named_by_a_number(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        await gala(api, id=7)
        assert (await buy(api, event_id=7))["event_id"] == "7"
        assert (await buy(api, event_id="7", wallet_address="bob"))["event_id"] == "7"


async def test_a_public_reference_opens_nothing(tmp_path: Path) -> None:
    """It stands in memos and URIs for everybody to read; the id is given once, to who opened the purchase."""
    async with served(tmp_path) as api:
        await gala(api)
        bought = await buy(api)
        assert bought["ref"] not in bought["purchase_id"]
        state = (await api.get(f"/api/purchases/{bought['purchase_id']}"))[1]
        assert bought["purchase_id"] not in str(state)
        for path in ("", "/stream", "/qr.svg", "/qr.png"):
            status, answer = await api.get(f"/api/purchases/{bought['ref']}{path}")
            assert (status, answer["code"]) == (404, "unknown_purchase"), path
        async with api.session.get(f"{api.server.url}/pay/{bought['ref']}") as response:
            assert response.status == 404
            assert "till" not in await response.text()


async def test_from_open_to_the_ticket(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        await gala(api)
        payer = Payer(api, "HIVE", Rule((Tier(depth=2),)))
        bought = await buy(api)
        path = f"/api/purchases/{bought['purchase_id']}"
        assert (await api.get(path))[1]["state"] == "open"
        await payer.pay(("HIVE", "till", 10_000, bought["memo"]))
        state = (await api.get(path))[1]
        assert (state["state"], state["payments"][0]["confirmations"]) == ("confirming", "1/2")
        assert (state["paid"], state["missing"]) == ("10", "15")
        await payer.pay(("HIVE", "till", 15_000, bought["memo"]))
        assert (await api.get(path))[1]["missing"] == "0"
        await payer.pay()
        state = (await api.get(path))[1]
        assert (state["state"], state["ticket"]["ticket_number"]) == ("minted", 1)
        assert len(state["ticket"]["token"]) == 43
        assert (await api.get(f"/api/purchases/{bought['ref']}"))[1]["code"] == "unknown_purchase"
        for wrong in ("x" * 22, "%00" * 22, "a" * 400):
            assert (await api.get(f"/api/purchases/{wrong}"))[0] in (400, 404)


# -- signed ------------------------------------------------------------------------------------------


async def test_a_signed_purchase_holds_surely_and_is_one(tmp_path: Path) -> None:
    wallet = EvmWallet("buyer")
    async with served(tmp_path) as api:
        await gala(api, max_attendees=4)
        ask = {"payment_method": "ETH", "wallet_address": wallet.address}
        for _ in range(2):
            assert (await buy(api, **ask))["held"] is True
        assert (await buy(api, **ask))["held"] is False  # the share of unsigned purchases is used up
        asked = f"/api/events/gala/purchase-challenge?wallet={wallet.address}&payment_method=eth"
        status, challenge = await api.get(asked)
        assert status == 200, challenge
        signed = {"message": challenge["message"], "signature": wallet.sign_message(challenge["message"])}
        assert (await buy(api, **ask, **signed))["held"] is True
        status, answer = await api.post("/api/events/purchase", BUY | ask | signed)
        assert (status, answer["code"]) == (401, "replayed")
        api.clock.advance(1)  # another moment, another text
        again = (await api.get(asked))[1]["message"]
        status, answer = await api.post(
            "/api/events/purchase", BUY | ask | {"message": again, "signature": wallet.sign_message(again)}
        )
        assert (status, answer["code"]) == (409, "purchase_open")


async def test_a_signature_for_one_purchase_is_none_for_another(tmp_path: Path) -> None:
    wallet = EvmWallet("buyer")
    async with served(tmp_path) as api:
        await gala(api)
        text = (await api.get(f"/api/events/gala/purchase-challenge?wallet={wallet.address}&payment_method=ETH"))[1]
        signed = {"message": text["message"], "signature": wallet.sign_message(text["message"])}
        for changes in ({"payment_method": "BTC"}, {"tier": "vip"}, {"wallet_address": EvmWallet("other").address}):
            body = BUY | {"payment_method": "ETH", "wallet_address": wallet.address} | signed | changes
            status, answer = await api.post("/api/events/purchase", body)
            assert (status, answer["code"]) == (400, "malformed")


async def test_a_free_ticket_is_for_who_signs(tmp_path: Path) -> None:
    wallet = EvmWallet("buyer")
    async with served(tmp_path) as api:
        await gala(api, ticket_currency="ETH", ticket_price="0", prices={})
        body = BUY | {"payment_method": "ETH", "wallet_address": wallet.address}
        assert (await api.post("/api/events/purchase", body))[1]["code"] == "signature_required"
        text = (await api.get(f"/api/events/gala/purchase-challenge?wallet={wallet.address}&payment_method=ETH"))[1]
        signed = {"message": text["message"], "signature": wallet.sign_message(text["message"])}
        bought = await buy(api, **(body | signed))
        assert (bought["amount"], bought["uri"], bought["payment_address"]) == ("0", None, None)
        state = (await api.get(f"/api/purchases/{bought['purchase_id']}"))[1]
        assert (state["state"], state["ticket"]["ticket_id"]) == ("minted", bought["ticket_id"])
        assert (await api.get(f"/api/purchases/{bought['purchase_id']}/qr.svg"))[1]["code"] == "nothing_to_pay"


async def test_contract_wallets_are_told_before_they_pay(tmp_path: Path) -> None:
    contract, delegated = EvmWallet("contract").address, EvmWallet("delegated").address
    records = [
        {"method": "eth_getCode", "params": [contract, "latest"], "result": "0x6001"},
        {"method": "eth_getCode", "params": [delegated, "latest"], "result": "0xef0100" + "11" * 20},
    ]
    chain = RecordedChain(records, chain_id=1)
    async with served(tmp_path, resolver=lambda code: chain if code == "ETH" else None) as api:
        await gala(api)
        told = await buy(api, payment_method="ETH", wallet_address=contract)
        assert (told["wallet_kind"], told["wallet_chain"]) == ("contract", "ETH")
        assert "ETH" in told["notice"]
        told = await buy(api, payment_method="ETH", wallet_address=delegated)
        assert (told["wallet_kind"], told["notice"]) == ("key", None)
        told = await buy(api, payment_method="BTC", wallet_address=contract)
        assert told["wallet_kind"] == "unknown"


async def test_a_node_that_hangs_delays_few_buyers_and_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainwatch.api.wallet_kind.WAIT_S", 0.05)
    asked = 0

    class Hanging(RecordedChain):
        async def evm_code(self, _address: str) -> bytes:
            nonlocal asked
            asked += 1
            await asyncio.sleep(60)
            return b""

    kinds = WalletKinds()
    answers = await asyncio.gather(*(kinds.of("ETH", f"0x{i}", Hanging()) for i in range(100)))
    assert set(answers) == {"unknown"}
    assert asked == 8


# -- streams -----------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def listening(api: Served, purchase_id: str, **headers: str) -> AsyncIterator[Any]:
    url = f"{api.server.url}/api/purchases/{purchase_id}/stream"
    sent = {"Accept": "text/event-stream"} | {k.replace("_", "-"): v for k, v in headers.items()}
    async with api.session.get(url, headers=sent) as response:
        yield response


async def next_event(response: Any) -> dict[str, str]:
    """Read up to the next event; comments are skipped."""
    event: dict[str, str] = {}
    async with asyncio.timeout(60):
        async for raw in response.content:
            line = raw.decode().rstrip("\n")
            if line.startswith((":", "retry")):
                continue
            if not line and "data" in event:
                return event
            if line:
                name, _, value = line.partition(": ")
                event[name] = value
    return event


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "EVERY_S", 0.02)
    monkeypatch.setattr(feed.Feed.__init__, "__defaults__", (0.02,))


async def test_a_stream_tells_every_state_and_ends_with_the_ticket(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        await gala(api)
        payer = Payer(api, "HIVE", Rule((Tier(depth=2),)))
        bought = await buy(api)
        async with listening(api, bought["purchase_id"]) as response:
            assert response.content_type == "text/event-stream"
            assert response.headers["Server"] == "chainwatch"  # and not what we are made of
            first = await next_event(response)
            assert msgspec.json.decode(first["data"])["state"] == "open"
            await payer.pay(("HIVE", "till", 25_000, bought["memo"]))
            second = await next_event(response)
            assert msgspec.json.decode(second["data"])["payments"][0]["confirmations"] == "1/2"
            await payer.pay()
            third = await next_event(response)
            assert msgspec.json.decode(third["data"])["state"] == "minted"
            assert await response.content.read() == b""  # it ended
        async with listening(api, bought["purchase_id"], Last_Event_ID=third["id"]) as response:
            assert response.status == 204  # do not come back
        async with listening(api, bought["purchase_id"], Last_Event_ID=first["id"]) as response:
            assert (await next_event(response))["id"] == third["id"]  # what was missed


async def test_who_comes_back_hears_nothing_until_something_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.05)
    async with served(tmp_path) as api:
        await gala(api)
        bought = await buy(api)
        async with listening(api, bought["purchase_id"]) as response:
            first = await next_event(response)
        async with listening(api, bought["purchase_id"], Last_Event_ID=first["id"]) as response:
            async with asyncio.timeout(60):
                lines = [await response.content.readline() for _ in range(6)]
            assert not [line for line in lines if line.startswith(b"data")]
            assert b": still here\n" in lines


async def test_streams_are_bounded_and_end_when_the_daemon_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MAX_OF_ONE", 2)
    async with served(tmp_path) as api:
        await gala(api)
        bought = await buy(api)
        async with listening(api, bought["purchase_id"]) as one, listening(api, bought["purchase_id"]) as two:
            await next_event(one)
            await next_event(two)
            async with listening(api, bought["purchase_id"]) as third:
                assert third.status == 429
            async with asyncio.timeout(60):
                await api.server.stop()
                await one.content.read()
                await two.content.read()


async def test_a_stream_of_nothing_is_an_ordinary_error(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        status, answer = await api.get(f"/api/purchases/{'x' * 22}/stream")
        assert (status, answer["code"]) == (404, "unknown_purchase")


@pytest.mark.parametrize("error", [Rejected("unknown_purchase"), Unreachable("database"), RuntimeError("bug")])
async def test_a_stream_that_cannot_go_on_ends_without_a_second_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The answer has begun: whoever listens comes back, and hears then what is wrong."""
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.05)
    async with served(tmp_path) as api:
        await gala(api)
        bought = await buy(api)
        async with listening(api, bought["purchase_id"]) as response:
            await next_event(response)

            def broken(*_a: object) -> None:
                raise error

            monkeypatch.setattr(views, "view", broken)
            async with asyncio.timeout(60):
                rest = await response.content.read()
        assert b"HTTP/1.1" not in rest
        assert b"problem" not in rest


async def test_who_never_reads_his_stream_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.001)
    monkeypatch.setattr(stream, "WRITE_S", 0.2)

    async def stuck(_response: object, _data: bytes) -> None:
        await asyncio.sleep(30)

    async with served(tmp_path) as api:
        await gala(api)
        bought = await buy(api)
        async with listening(api, bought["purchase_id"]) as response:
            await next_event(response)
            monkeypatch.setattr(web.StreamResponse, "write", stuck)
            with pytest.raises(aiohttp.ClientError):
                async with asyncio.timeout(60):
                    await response.content.read()
        assert api.backend.feed._listeners.total() == 0


async def test_one_line_of_ipv6_has_the_streams_of_one_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MAX_OF_ONE", 2)
    async with served(tmp_path) as api, contextlib.AsyncExitStack() as stack:
        for i in range(2):
            await stack.enter_async_context(api.backend.feed.listening(f"2001:db8::{i}"))
        with pytest.raises(Problem, match="at most 2 streams"):
            await stack.enter_async_context(api.backend.feed.listening("2001:db8::3"))
