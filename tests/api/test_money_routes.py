"""Money over HTTP: refunds claimed by signature or entered, files approved by another operator, review decided."""

from pathlib import Path
from typing import Any

import pytest

from chainwatch.finality import Rule, Tier
from chainwatch.testing.callers import Creator, operator, resolving
from chainwatch.testing.paying import Payer
from chainwatch.testing.served import Served, served
from chainwatch.testing.wallets import BitcoinWallet
from chainwatch.verifiers.recorded import RecordedChain

EVENT = {"id": "gala", "title": "Gala", "ticket_price": "25", "ticket_currency": "HIVE"}
RULES = '[payouts]\napprove_above = { HIVE = "1" }\naddress_change_hours = 72'


async def refunded(api: Served, headers: dict[str, str]) -> str:
    """A purchase of alice's that was paid after its event was cancelled; return the refund's id."""
    await api.post("/api/events", EVENT, **headers)
    buy = {"event_id": "gala", "payment_method": "HIVE", "wallet_address": "alice"}
    _, bought = await api.post("/api/events/purchase", buy)
    await api.post("/api/events/gala/cancel", {}, **headers)
    await Payer(api, "HIVE", Rule((Tier(depth=1),))).pay(("HIVE", "till", 25_000, bought["memo"]))
    _, state = await api.get(f"/api/purchases/{bought['purchase_id']}")
    refund: str = state["refunds"][0]["id"]
    return refund


async def signed_claim(api: Served, refund: str, who: Creator, destination: str) -> dict[str, Any]:
    asked = f"/api/refunds/{refund}/challenge?wallet={who.name}&destination={destination}"
    status, text = await api.get(asked)
    assert status == 200, text
    signature = who.posting.sign_message(text["message"])
    return {"wallet_address": who.name, "destination": destination, "message": text["message"], "signature": signature}


async def test_a_refund_is_claimed_by_the_wallet_of_its_purchase(tmp_path: Path) -> None:
    alice, mallory = Creator("alice"), Creator("mallory")
    async with served(tmp_path, resolver=resolving([alice, mallory, Creator("alice-cold")])) as api:
        headers = await operator(api)
        refund = await refunded(api, headers)
        path = f"/api/refunds/{refund}"
        claim = await signed_claim(api, refund, alice, "alice-cold")
        elsewhere = claim | {"destination": "mallory"}
        assert (await api.post(f"{path}/claim", elsewhere))[1]["code"] == "malformed"
        status, answer = await api.get(f"{path}/challenge?wallet=mallory&destination=mallory")
        assert (status, answer["code"]) == (404, "unknown_refund")  # a stranger is not told that it is there
        for nowhere in ("till", "nobody-there"):  # an account of ours, and one that does not exist
            status, answer = await api.get(f"{path}/challenge?wallet=alice&destination={nowhere}")
            assert (status, answer["code"]) == (400, "bad_destination"), answer
        status, answer = await api.post(f"{path}/claim", claim)
        assert (status, answer["destination"]) == (200, "alice-cold"), answer
        assert (await api.post(f"{path}/claim", claim))[1]["code"] == "replayed"
        entered = {"destination": "mallory"}
        status, answer = await api.call("PUT", f"{path}/destination", entered, **headers)
        assert (status, answer["code"]) == (409, "already_claimed")
        listed = (await api.get("/api/refunds?state=due", **headers))[1]["refunds"]
        assert [(r["id"], r["amount"], r["destination"]) for r in listed] == [(refund, "25", "alice-cold")]


async def test_money_is_sent_to_no_other_network(tmp_path: Path) -> None:
    """A testnet's address is one by its chain's rules, and no payment of the main network can go there."""
    testnet, main = "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"
    wallet = BitcoinWallet("alice")
    async with served(tmp_path) as api:
        headers = await operator(api)
        await api.post("/api/events", EVENT | {"prices": {"BTC": "0.001"}}, **headers)
        buy = {"event_id": "gala", "payment_method": "BTC", "wallet_address": wallet.address}
        _, bought = await api.post("/api/events/purchase", buy)
        await api.post("/api/events/gala/cancel", {}, **headers)
        pay = ("BTC", bought["payment_address"], 100_000, bought["memo"])
        await Payer(api, "BTC", Rule((Tier(depth=1),))).pay(pay)
        _, state = await api.get(f"/api/purchases/{bought['purchase_id']}")
        path = f"/api/refunds/{state['refunds'][0]['id']}"
        for address, answered in ((testnet, 400), (main, 200)):
            answers = [
                await api.get(f"{path}/challenge?wallet={wallet.address}&destination={address}"),
                await api.call("PUT", f"{path}/destination", {"destination": address}, **headers),
                await api.call(
                    "PUT", "/api/creators/carol/payout-addresses", {"addresses": {"BTC": address}}, **headers
                ),
            ]
            assert [status for status, _ in answers] == [answered] * 3, answers
            assert answered == 200 or {answer["code"] for _, answer in answers} == {"bad_destination"}


async def test_money_is_sent_to_accounts_that_exist(tmp_path: Path) -> None:
    """One transfer to nobody fails a whole Hive transaction, and with it everybody else's refund in the file."""
    chain, silent = RecordedChain(accounts=[{"name": "alice"}, {"name": "carol"}]), RecordedChain()
    hive = [chain]
    async with served(tmp_path, resolver=lambda code: hive[0] if code == "HIVE" else None) as api:
        headers = await operator(api)
        refund = await refunded(api, headers)
        entered, paid = f"/api/refunds/{refund}/destination", "/api/creators/carol/payout-addresses"

        async def put(account: str) -> list[tuple[int, str]]:
            answers = [
                await api.call("PUT", entered, {"destination": account}, **headers),
                await api.call("PUT", paid, {"addresses": {"HIVE": account}}, **headers),
            ]
            return [(status, answer.get("code", "")) for status, answer in answers]

        assert await put("nobody-there") == [(400, "bad_destination")] * 2
        assert await put("carol") == [(200, "")] * 2
        hive[0] = silent
        assert await put("alice") == [(503, "unavailable")] * 2


@pytest.mark.parametrize("refund", ["999", "0", "x", "1" * 30])
async def test_refunds_that_are_not_there(tmp_path: Path, refund: str) -> None:
    async with served(tmp_path) as api:
        headers = await operator(api)
        body = {"destination": "bob"}
        status, answer = await api.call("PUT", f"/api/refunds/{refund}/destination", body, **headers)
        assert (status, answer["code"]) == (404, "unknown_refund")


async def test_a_file_leaves_when_another_operator_says_so(tmp_path: Path) -> None:
    async with served(tmp_path, toml=RULES) as api:
        one, two = await operator(api, name="one"), await operator(api, name="two")
        refund = await refunded(api, one)
        await api.call("PUT", f"/api/refunds/{refund}/destination", {"destination": "alice"}, **one)
        order = {"currency": "hive", "options": {"network_fee_base": "0"}}
        status, made = await api.post("/api/refunds/export", order, **one)
        assert (status, made["state"], made["total_base"]) == (200, "waiting", "25000"), made
        path = f"/api/exports/{made['id']}"
        assert (await api.get(f"{path}/document", **one))[1]["code"] == "not_approved"
        assert (await api.post(f"{path}/approve", {}, **one))[1]["code"] == "same_operator"
        status, approved = await api.post(f"{path}/approve", {}, **two)
        assert (approved["state"], approved["made_by"], approved["approved_by"]) == (
            "exported",
            "operator:one",
            "operator:two",
        )
        status, document = await api.get(f"{path}/document", **one)
        assert document["items"][0]["destination"] == "alice"
        assert (await api.post("/api/refunds/export", order, **one))[1]["code"] == "nothing_to_export"
        assert (await api.post(f"{path}/void", {}, **one))[1]["state"] == "exported"
        assert (await api.post(f"{path}/void", {}, **two))[1]["state"] == "void"
        (again,) = (await api.get("/api/refunds?state=due", **one))[1]["refunds"]
        assert again["id"] == refund


async def test_what_needs_a_person_is_decided_once(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        headers = await operator(api)
        payer = Payer(api, "HIVE", Rule((Tier(depth=1),)))
        await payer.pay(("HIVE", "till", 7_000, "<script>alert(1)</script>"))
        (item,) = (await api.get("/api/review", **headers))[1]["items"]
        assert (item["amount"], item["memo"], item["sender"]) == ("7", "<script>alert(1)</script>", ["payer"])
        path = f"/api/review/{item['id']}"
        assert (await api.post(path, {"action": "keep"}, **headers))[0] == 400
        assert (await api.post(path, {"action": "assign", "ref": "nothing"}, **headers))[1][
            "code"
        ] == "unknown_purchase"
        status, decided = await api.post(path, {"action": "foreign", "note": "theirs"}, **headers)
        assert (status, decided["state"]) == (200, "foreign")
        status, again = await api.post(path, {"action": "refund"}, **headers)
        assert (status, again["code"]) == (409, "decided_already")
        assert (await api.get("/api/review", **headers))[1]["items"] == []
        assert (await api.post("/api/review/99", {"action": "dust"}, **headers))[1]["code"] == "unknown_payment"
