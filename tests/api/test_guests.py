"""Invites and approvals over HTTP: codes shown once, requests signed by the wallet, decided by whose event it is."""

from pathlib import Path
from typing import Any

from chainwatch.testing.callers import Creator, operator, resolving
from chainwatch.testing.served import Served, served
from chainwatch.testing.wallets import EvmWallet

EVENT = {"id": "gala", "title": "Gala", "ticket_price": "1", "ticket_currency": "ETH", "creator_account": "alice"}


def buying(wallet: EvmWallet, **more: Any) -> dict[str, Any]:
    return {"event_id": "gala", "payment_method": "ETH", "wallet_address": wallet.address, **more}


async def buy(api: Served, wallet: EvmWallet, **more: Any) -> str:
    status, answer = await api.post("/api/events/purchase", buying(wallet, **more))
    return "bought" if status == 200 else str(answer["code"])


async def test_an_invite_lets_in_as_many_as_it_says(tmp_path: Path) -> None:
    wallets = [EvmWallet(str(i)) for i in range(4)]
    async with served(tmp_path) as api:
        headers = await operator(api)
        await api.post("/api/events", EVENT | {"admission": "invite"}, **headers)
        assert await buy(api, wallets[0]) == "invite_required"
        status, made = await api.post("/api/events/gala/invites", {"uses": 2}, **headers)
        assert status == 200, made
        codes = [await buy(api, w, invite=made["code"]) for w in wallets[:3]]
        assert codes == ["bought", "bought", "bad_invite"]
        own = {"wallet_address": wallets[3].address}
        _, bound = await api.post("/api/events/gala/invites", own, **headers)
        assert await buy(api, wallets[2], invite=bound["code"]) == "bad_invite"
        (first, second) = (await api.get("/api/events/gala/invites", **headers))[1]["invites"]
        assert (first["uses"], first["used"], second["wallet_address"]) == (2, 2, wallets[3].address)
        assert made["code"] not in str((first, second))
        status, _ = await api.call("DELETE", f"/api/events/gala/invites/{second['id']}", **headers)
        assert status == 204
        assert await buy(api, wallets[3], invite=bound["code"]) == "bad_invite"
        for number in (second["id"], "99", "x"):
            status, answer = await api.call("DELETE", f"/api/events/gala/invites/{number}", **headers)
            assert (status, answer["code"]) == (404, "unknown_invite")


async def test_a_wallet_asks_for_itself_and_the_creator_decides(tmp_path: Path) -> None:
    alice, bob, wallet = Creator("alice"), Creator("bob"), EvmWallet("guest")
    async with served(tmp_path, resolver=resolving([alice, bob])) as api:
        await api.post("/api/events", EVENT | {"admission": "approval"}, **(await operator(api)))
        assert await buy(api, wallet) == "approval_required"
        _, text = await api.get(f"/api/events/gala/guests/challenge?wallet={wallet.address}")
        ask = {"wallet_address": wallet.address, "message": text["message"]}
        forged = ask | {"signature": EvmWallet("other").sign_message(text["message"])}
        assert (await api.post("/api/events/gala/guests", forged))[1]["code"] == "bad_signature"
        signed = ask | {"signature": wallet.sign_message(text["message"])}
        assert (await api.post("/api/events/gala/guests", signed))[1]["state"] == "requested"
        assert (await api.post("/api/events/gala/guests", signed))[1]["code"] == "replayed"
        assert (await api.get("/api/events/gala/guests", **bob.reads()))[0] == 403
        _, listed = await api.get("/api/events/gala/guests", **alice.reads())
        assert listed["guests"] == [{"wallet_address": wallet.address, "state": "requested"}]
        assert listed["next_cursor"] is None
        decision = {"wallet_address": wallet.address, "approved": True}
        assert (await bob.write(api, "PUT", "/api/events/gala/guests", decision))[0] == 403
        assert (await alice.write(api, "PUT", "/api/events/gala/guests", decision))[0] == 200
        assert await buy(api, wallet) == "bought"


async def test_a_key_that_looks_sees_no_secret(tmp_path: Path) -> None:
    toml = "[webhooks]\nallow_private = true"
    async with served(tmp_path, toml=toml) as api:
        money, read = await operator(api, "money", name="m"), await operator(api, "read", name="r")
        _, made = await api.post("/api/webhooks", {"url": "http://127.0.0.1:9/", "types": ["*"]}, **money)
        path = f"/api/webhooks/{made['id']}"
        assert (await api.get(path, **read))[0] == 200
        assert (await api.get(f"{path}/secret", **read))[1]["code"] == "forbidden"
        assert (await api.get(f"{path}/secret", **money))[0] == 200


async def test_invites_and_guests_come_in_pages_and_none_is_out_of_reach(tmp_path: Path) -> None:
    wallets = [EvmWallet(str(i)).address for i in range(5)]
    async with served(tmp_path) as api:
        headers = await operator(api)
        await api.post("/api/events", EVENT | {"admission": "approval"}, **headers)
        for wallet in wallets:
            await api.post("/api/events/gala/invites", {"wallet_address": wallet}, **headers)
            decided = {"wallet_address": wallet, "approved": True}
            assert (await api.call("PUT", "/api/events/gala/guests", decided, **headers))[0] == 200
        for name, query in {"invites": "?", "guests": "?state=approved&"}.items():
            path = f"/api/events/gala/{name}{query}"
            seen, cursor = [], ""
            while cursor is not None:
                more = f"&cursor={cursor}" if cursor else ""
                status, page = await api.get(f"{path}limit=2{more}", **headers)
                assert status == 200, page
                assert len(page[name]) <= 2
                seen += [row["wallet_address"] for row in page[name]]
                cursor = page["next_cursor"]
            assert seen == wallets, name
            assert (await api.get(f"{path}cursor=x", **headers))[1]["code"] == "bad_cursor"
