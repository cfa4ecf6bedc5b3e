"""What a creator may see: figures that add up, a table without personal data, nothing of others' events."""

import csv
import io
from pathlib import Path
from typing import Any

from chainwatch.testing.guests import ALICE, GUEST, HOUR, STRANGER, door, join, operator_key, set_event
from chainwatch.testing.served import NOW_MS, Served
from chainwatch.testing.tickets import mint
from chainwatch.testing.wallets import EvmWallet, HiveWallet


async def ask(api: Served, what: str, key: str) -> Any:
    status, answer = await api.get(f"/api/events/gala/{what}", Authorization=key)
    assert status == 200, answer
    return answer


async def test_figures_of_an_event_add_up(tmp_path: Path) -> None:
    wallets = [GUEST, STRANGER, EvmWallet("absent")]
    async with door(tmp_path, wallets=wallets, event_start_ms=NOW_MS, event_end_ms=NOW_MS + HOUR) as api:
        mint(api.store, api.backend.contexts["HIVE"], "gala", ["alice"], NOW_MS)
        key = operator_key(api, "read")
        assert (await join(api))[0] == 200
        assert (await join(api, after_s=60))[0] == 200
        assert (await join(api, STRANGER, after_s=900))[0] == 200
        found = await ask(api, "stats", key)
        assert (found["tickets_live"], found["checked_in"], found["check_in_rate"]) == (4, 2, 0.5)
        assert (found["no_shows"], found["entries"], found["inside_now"]) == (None, 3, 2)
        by_currency = {t["currency"]: (t["tickets"], t["amount"]) for t in found["by_currency"]}
        assert by_currency == {"ETH": (3, "3"), "HIVE": (1, "1")} or by_currency["HIVE"] == (1, "1.000")
        assert sum(s["tickets"] for s in found["sales"]) == 4
        assert {s["day"] for s in found["sales"]} == {"2025-10-09"}
        for s in found["sales"]:
            assert int(s["commission_base"]) + int(s["payout_base"]) == int(s["amount_base"])
        assert sum(a["count"] for a in found["arrivals"]) == 2
        assert found["peaks"][0]["count"] == 1
        api.clock.advance(HOUR / 1000)
        found = await ask(api, "stats", key)
        assert (found["no_shows"], found["no_show_rate"]) == (2, 0.5)


async def test_attendees_come_in_pages(tmp_path: Path) -> None:
    async with door(tmp_path) as api:
        key = operator_key(api, "read")
        for _ in range(5):
            await join(api)
        seen: list[Any] = []
        cursor = ""
        while True:
            page = await ask(api, f"attendees?limit=2{cursor}", key)
            seen += page["attendees"]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert len(seen) == 5
        assert {a["wallet_address"] for a in seen} == {GUEST.address}
        assert [a["left_at"] is None for a in seen] == [False] * 4 + [True]


async def test_the_table_holds_no_personal_data_and_no_formulas(tmp_path: Path) -> None:
    async with door(tmp_path, wallets=[GUEST, STRANGER]) as api:
        await join(api)
        text = await ask(api, "attendees.csv", operator_key(api, "read"))
        lines = list(csv.DictReader(io.StringIO(text)))
        assert [(r["ticket_number"], r["state"], r["entries"], r["entry_by"]) for r in lines] == [
            ("1", "used", "1", "wallet"),
            ("2", "active", "0", ""),
        ]
        assert "0x" not in text
        assert "tx" not in text


async def test_only_the_event_s_creator_and_operators_see_it(tmp_path: Path) -> None:
    async with door(tmp_path, creator_account="alice") as api:
        seconds = str(NOW_MS // 1000)
        headers = {"x_account": "alice", "x_challenge": seconds, "x_signature": ALICE.sign_message(seconds)}
        for what in ("attendees", "stats", "attendees.csv"):
            assert (await api.get(f"/api/events/gala/{what}"))[0] == 401
            assert (await api.get(f"/api/events/gala/{what}", Authorization="Bearer :alice"))[0] == 401
            assert (await api.get(f"/api/events/gala/{what}", Authorization=operator_key(api, "money")))[0] == 403
            assert (await api.get(f"/api/events/gala/{what}", **headers))[0] == 200
            with api.store.transaction() as connection:
                from chainwatch.ledger import operators

                operators.revoke(connection, "money", NOW_MS, "test")
        set_event(api, creator_account="bob")
        assert (await api.get("/api/events/gala/stats", **headers))[1]["code"] == "forbidden"
        forged = headers | {"x_signature": HiveWallet("thief").sign_message(seconds)}
        assert (await api.get("/api/events/gala/stats", **forged))[0] == 401


async def test_an_anonymous_event_shows_no_wallets(tmp_path: Path) -> None:
    async with door(tmp_path, anonymous=True) as api:
        await join(api)
        await join(api)
        page = await ask(api, "attendees", operator_key(api, "read"))
        names = {a["wallet_address"] for a in page["attendees"]}
        assert len(names) == 1
        assert GUEST.address not in names
