"""What a creator may see: figures that add up, a table without personal data, nothing of others' events."""

import csv
import io
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from chainwatch.access.sessions import close
from chainwatch.ledger import devices, events
from chainwatch.ledger.entries import Attempt, admit_all
from chainwatch.ledger.tables import purchases, sessions, tickets, tiers
from chainwatch.testing.doors import make_event as make_venue_event
from chainwatch.testing.doors import sell
from chainwatch.testing.guests import ALICE, GUEST, HOUR, STRANGER, door, join, operator_key, set_event
from chainwatch.testing.served import NOW_MS, Served, served
from chainwatch.testing.tickets import mint
from chainwatch.testing.wallets import EvmWallet, HiveWallet
from chainwatch.times import format_ms


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


async def test_door_scans_stand_beside_stays(tmp_path: Path) -> None:
    async with door(tmp_path, wallets=[GUEST, STRANGER, EvmWallet("venue")], entry_policy="reentry") as api:
        await join(api)
        scanned(api, 2, "North gate", NOW_MS + 10)
        scanned(api, 2, "=South", NOW_MS + 20)
        scanned(api, 3, "North gate", NOW_MS + 30, order=True)
        scanned(api, 1, "North gate", NOW_MS + 40)
        key = operator_key(api, "read")
        seen: list[Any] = []
        cursor = ""
        while cursor is not None:
            page = await ask(api, f"attendees?limit=2{cursor and '&cursor=' + cursor}", key)
            seen += page["attendees"]
            cursor = page["next_cursor"]
        assert [(a["ticket_number"], a["method"], a["gate"]) for a in seen] == [
            (1, "wallet", ""),
            (2, "qr", "North gate"),
            (2, "qr", "=South"),
            (3, "order", "North gate"),
            (1, "qr", "North gate"),
        ]
        assert [a["wallet_address"] for a in seen][:2] == [GUEST.address, STRANGER.address]
        assert (seen[1]["joined_at"], seen[1]["left_at"]) == ("2025-10-09T08:53:20.010Z", None)
        stats = await ask(api, "stats", key)
        assert (stats["entries"], stats["checked_in"], stats["stays"]) == (len(seen), 3, 1)
        skipped = await ask(api, "attendees?offset=4", key)
        assert [a["ticket_number"] for a in skipped["attendees"]] == [1]
        for bad in ("WzIsMV0", "MQ", "WzAsLTFd", "WzAsIjEiXQ"):  # [2,1], 1, [0,-1], [0,"1"]
            status, answer = await api.get(f"/api/events/gala/attendees?cursor={bad}", Authorization=key)
            assert (status, answer["code"]) == (400, "bad_cursor"), bad
        lines = list(csv.DictReader(io.StringIO(await ask(api, "attendees.csv", key))))
        assert [(r["entry_by"], r["gate"], r["entries"]) for r in lines] == [
            ("wallet", "", "2"),
            ("qr", "North gate", "2"),
            ("order", "North gate", "1"),
        ]


async def test_whoever_came_through_the_door_of_an_anonymous_event_has_no_wallet_either(tmp_path: Path) -> None:
    async with door(tmp_path, anonymous=True, entry_policy="reentry") as api:
        await join(api)
        scanned(api, 1, "North gate", NOW_MS + 10)
        page = await ask(api, "attendees", operator_key(api, "read"))
        assert len(page["attendees"]) == 2
        assert len({a["wallet_address"] for a in page["attendees"]}) == 1, "one guest, by one name"
        assert GUEST.address not in page["attendees"][1]["wallet_address"]


async def test_average_minutes_are_of_stays_that_ended(tmp_path: Path) -> None:
    async with door(tmp_path, wallets=[GUEST, STRANGER]) as api:
        await join(api)
        await join(api, STRANGER)
        api.clock.advance(20 * 60 - 1)  # a begun minute counts
        with api.store.transaction() as connection:
            row = connection.execute(select(sessions).order_by(sessions.c.id)).first()
            close(connection, row, api.clock.now_ms(), "left")
        found = await ask(api, "stats", operator_key(api, "read"))
        assert (found["stays"], found["inside_now"]) == (2, 1)
        assert found["average_minutes"] == 20


def scanned(api: Served, number: int, gate: str, at_ms: int, *, order: bool = False) -> None:
    """A door lets a ticket in at ``at_ms``."""
    with api.store.transaction() as connection:
        event = events.find(connection, "gala")
        ticket = connection.execute(select(tickets).where(tickets.c.number == number)).one()
        attempt = Attempt(
            ticket_id=ticket.id,
            method="order" if order else "qr",
            device_id=devices.add(connection, event, "gate", NOW_MS, "test")[0],
            gate=gate,
            nonce=str(at_ms),
            at_ms=at_ms,
        )
        assert admit_all(connection, [attempt], event, at_ms)[0].result == "accepted"


@dataclass
class Guest:
    """A ticket as this test knows it, without asking the ledger."""

    tier: str | None
    asset: str
    price: int
    sold_ms: int
    state: str = "active"
    came: list[int] = field(default_factory=list)


async def test_figures_agree_with_an_independent_count(tmp_path: Path) -> None:
    rng = random.Random(11)
    day, quarter = 86_400_000, 900_000
    opens = NOW_MS + 5 * day
    guests = [
        Guest(
            rng.choice(["vip", "early"]),
            rng.choice(["HIVE", "ETH"]),
            rng.randrange(1, 10**20),
            NOW_MS + rng.randrange(4 * day),
        )
        for _ in range(120)
    ]
    async with served(tmp_path, chains=("HIVE", "ETH")) as api:
        with api.store.transaction() as connection:
            make_venue_event(connection, "gala", NOW_MS, event_end_ms=opens + 2 * day, entry_policy="reentry")
            event = events.find(connection, "gala")
            sell(connection, event, len(guests), api.backend.issuer, NOW_MS)
            kinds = {code: _tier(connection, event.id, code, i) for i, code in enumerate(("vip", "early"))}
            for number, g in enumerate(guests, 1):
                paid = {"asset": g.asset, "amount_paid": g.price, "commission": g.price // 5, "created_ms": g.sold_ms}
                row = tickets.update().where(tickets.c.number == number).values(payout=g.price - g.price // 5, **paid)
                bought = connection.execute(row.returning(tickets.c.purchase_id)).scalar_one()
                kind = purchases.update().where(purchases.c.id == bought)
                connection.execute(kind.values(tier_id=kinds[g.tier or ""]))
        for number in rng.sample(range(1, 121), 80):
            for _ in range(rng.choice([1, 1, 2, 3])):
                at = opens + rng.randrange(3 * HOUR)
                scanned(api, number, rng.choice(["North", "South"]), at)
                guests[number - 1].came.append(at)
        for number in rng.sample(range(1, 121), 30):
            g = guests[number - 1]
            g.state = rng.choice(["refunded", "cancelled", "revoked", "suspended"])
            with api.store.transaction() as connection:
                connection.execute(tickets.update().where(tickets.c.number == number).values(state=g.state))
        api.clock.advance(8 * 86_400)
        found = await ask(api, "stats", operator_key(api, "read"))

    live = [g for g in guests if g.state in ("active", "suspended")]
    came = [g for g in live if g.came]
    assert found["tickets_live"] == len(live)
    assert found["checked_in"] == len(came)
    assert found["check_in_rate"] == round(len(came) / len(live), 4)
    assert found["no_shows"] == len(live) - len(came)
    assert found["entries"] == sum(len(g.came) for g in guests)
    arrived = Counter(min(g.came) // quarter * quarter for g in guests if g.came)
    assert [(a["at"], a["count"]) for a in found["arrivals"]] == [(format_ms(t), n) for t, n in sorted(arrived.items())]
    assert [p["count"] for p in found["peaks"]] == sorted(arrived.values(), reverse=True)[:5]
    for name, attribute in (("by_tier", "tier"), ("by_currency", "asset")):
        counted: Counter[Any] = Counter()
        money: Counter[Any] = Counter()
        for g in live:
            counted[getattr(g, attribute), g.asset] += 1
            money[getattr(g, attribute), g.asset] += g.price
        shown = {(t["name"], t["currency"]): (t["tickets"], int(t["amount_base"])) for t in found[name]}
        assert shown == {k: (n, money[k]) for k, n in counted.items()}
    for s in found["sales"]:
        mine = [
            g
            for g in live
            if (g.tier, g.asset, (format_ms(g.sold_ms) or "")[:10]) == (s["tier"], s["currency"], s["day"])
        ]
        sums = len(mine), sum(g.price for g in mine), sum(g.price // 5 for g in mine)
        assert (s["tickets"], int(s["amount_base"]), int(s["commission_base"])) == sums
    assert sum(s["tickets"] for s in found["sales"]) == len(live)


def _tier(connection: Any, event_id: int, code: str, position: int) -> int:
    row = {"event_id": event_id, "code": code, "title": code, "position": position}
    row |= {"ticket_price": "1", "ticket_currency": "HIVE"}
    return int(connection.execute(tiers.insert().values(row).returning(tiers.c.id)).scalar_one())


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
