"""The door over HTTP: devices, the signed manifest, scans, drained logs."""

import asyncio
import itertools
import random
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from sqlalchemy import update

from chainwatch.api import auth, desk, door_page
from chainwatch.api.auth import Caller
from chainwatch.errors import Transient
from chainwatch.ledger import devices
from chainwatch.ledger.entries import Entry
from chainwatch.ledger.scans import Scan
from chainwatch.ledger.tables import entries, tickets
from chainwatch.ledger.tables import events as event_table
from chainwatch.testing.doors import OfflineDoor, make_event, order_of, sell
from chainwatch.testing.served import NOW_MS, Served, served
from chainwatch.tickets import manifest as manifests
from chainwatch.tickets.codes import MAX_CODE, Codes
from chainwatch.tickets.manifest import Manifest, Said
from chainwatch.times import format_ms

OPERATOR = {"X-Test": "operator:boss"}
CREATOR = {"X-Test": "creator:alice"}


class Venue:
    """An event that is served, with a device."""

    def __init__(self, api: Served, uuids: list[str], device_id: int, key: str) -> None:
        self.api, self.uuids, self.device_id, self.key = api, uuids, device_id, key
        self.codes = Codes(api.backend.issuer)
        self.nonces = itertools.count()

    def code(self, number: int) -> str:
        return self.codes.v1(self.uuids[number - 1])

    async def get(self, path: str, **headers: str) -> tuple[int, Any]:
        return await self.api.get(path, Authorization=f"Bearer {self.key}", **headers)

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        return await self.api.post(path, body, Authorization=f"Bearer {self.key}")

    async def scan(self, code: str, **more: Any) -> tuple[int, Any]:
        return await self.post(
            "/api/checkin", {"code": code, "nonce": f"n{next(self.nonces)}", "gate": "North", **more}
        )

    async def manifest(self, since: str | None = None) -> Said:
        status, answer = await self.get("/api/events/gala/manifest" + (f"?since={since}" if since else ""))
        assert status == 200
        sent = Manifest(answer["manifest"], answer["signature"])
        signer = self.api.backend.issuer.signer("manifest")
        return manifests.verify(signer, sent, "gala", self.api.clock.now_ms())

    def rows(self) -> list[Any]:
        with self.api.store.reading() as connection:
            return list(connection.execute(entries.select().order_by(entries.c.id)))

    def change(self, number: int, **values: Any) -> None:
        with self.api.store.transaction() as connection:
            which = tickets.c.uuid == self.uuids[number - 1]
            connection.execute(update(tickets).where(which).values(**values))


@asynccontextmanager
async def venue(folder: Path, count: int = 10, url: str = "", **event: Any) -> AsyncIterator[Venue]:
    async with served(folder, url=url, chains=("HIVE",)) as api:
        with api.store.transaction() as connection:
            row = make_event(connection, "gala", NOW_MS, **{"entry_policy": "once", "creator_account": "alice"} | event)
            uuids = sell(connection, row, count, api.backend.issuer, NOW_MS)
            device_id, key = devices.add(connection, row, "Gate 1", NOW_MS, "test")
        yield Venue(api, uuids, device_id, key)


@pytest.fixture
def _callers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators and creators prove themselves elsewhere; here a header says who calls."""

    def by_header(kind: Any) -> Any:
        async def prove(request: web.Request, _backend: Any) -> Caller | None:
            said, _, name = request.headers.get("X-Test", "").partition(":")
            return Caller(kind, name, frozenset({"door"})) if said == kind else None

        return prove

    both = {"operator": by_header("operator"), "creator": by_header("creator")}
    monkeypatch.setattr(auth, "AUTHENTICATORS", {**auth.AUTHENTICATORS, **both})


# -- devices -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_callers")
async def test_a_creator_enrols_lists_and_revokes_devices(tmp_path: Path) -> None:
    """Unlock: door staff scan with a verifier's role and never hold the organiser's key."""
    async with venue(tmp_path) as door:
        api = door.api
        status, made = await api.post("/api/events/gala/devices", {"name": "Gate 2"}, **CREATOR)
        assert status == 201
        assert made["key"].startswith("cwd_")
        before, _, fragment = made["enrol_url"].partition("#")
        assert before.endswith("/door"), "the key stands in the fragment, which no server and no log sees"
        assert made["key"] in fragment
        status, who = await api.get("/api/door", Authorization=f"Bearer {made['key']}")
        assert (status, who["event"], who["device"]) == (200, "gala", "Gate 2")
        assert f"pin={who['manifest_key']}" in fragment
        status, listed = await api.get("/api/events/gala/devices", **OPERATOR)
        assert [d["name"] for d in listed["devices"]] == ["Gate 1", "Gate 2"]
        assert listed["devices"][1]["seen_at"] is not None
        assert "key" not in str(listed).replace("keys", "")
        path = f"/api/events/gala/devices/{made['id']}"
        assert (await api.call("DELETE", path, **CREATOR))[1] == {"id": made["id"], "revoked": True}
        status, answer = await api.post(
            "/api/checkin", {"code": door.code(1), "nonce": "x"}, Authorization=f"Bearer {made['key']}"
        )
        assert (status, answer["code"]) == (401, "unauthorized"), "at once, though it was remembered"
        for strange in ("/api/events/gala/devices/9999", "/api/events/gala/devices/x"):
            assert (await api.call("DELETE", strange, **CREATOR))[1]["code"] == "unknown_device"


@pytest.mark.usefixtures("_callers")
async def test_devices_of_an_event_are_its_creator_s_and_operators_business_alone(tmp_path: Path) -> None:
    async with venue(tmp_path) as door:
        for method, path in (("POST", "/api/events/gala/devices"), ("GET", "/api/events/gala/devices")):
            stranger = {"X-Test": "creator:mallory"}
            body = {"name": "x"} if method == "POST" else None
            assert (await door.api.call(method, path, body, **stranger))[0] == 403
            assert (await door.api.call(method, path, body))[0] == 401
            device = {"Authorization": f"Bearer {door.key}"}
            assert (await door.api.call(method, path, body, **device))[0] == 401


async def test_a_key_in_the_query_string_is_no_key(tmp_path: Path) -> None:
    async with venue(tmp_path) as door:
        assert (await door.api.get(f"/api/door?key={door.key}&token={door.key}"))[0] == 401
        for wrong in ("", "Bearer ", f"Basic {door.key}", f"Bearer {door.key}x", "Bearer cwd_"):
            assert (await door.api.get("/api/door", Authorization=wrong))[0] == 401


async def test_a_device_stands_at_one_event_s_door(tmp_path: Path) -> None:
    async with venue(tmp_path) as door:
        with door.api.store.transaction() as connection:
            make_event(connection, "ball", NOW_MS)
        assert (await door.get("/api/events/ball/manifest"))[0] == 403
        assert (await door.get("/api/events/nowhere/manifest"))[0] == 403
        assert (await door.get("/api/events/ball/conflicts"))[0] == 403
        assert (await door.post("/api/events/ball/redemptions", {"scans": []}))[0] == 403


# -- one scan ------------------------------------------------------------------------------------------


async def test_a_scan_is_answered_with_state_number_and_first_entry_and_no_name(tmp_path: Path) -> None:
    async with venue(tmp_path) as door:
        status, green = await door.scan(door.code(4), at=NOW_MS)
        assert status == 200
        assert (green["accepted"], green["state"], green["ticket_number"]) == (True, "accepted", 4)
        status, red = await door.scan(door.code(4), gate="South", at="2025-10-09T08:53:20Z")
        assert status == 200
        assert (red["accepted"], red["state"]) == (False, "already_redeemed")
        assert red["first_entry"] == {"at": green["at"], "gate": "North"}
        assert "buyer" not in str(green) + str(red), "no names, no wallets"
        text = door.api.backend.metrics.render().decode()
        assert 'chainwatch_checkins_total{outcome="accepted"} 1.0' in text
        assert 'chainwatch_checkins_total{outcome="already_redeemed"} 1.0' in text


async def test_a_retry_after_a_lost_answer_is_green_again(tmp_path: Path) -> None:
    async with venue(tmp_path) as door:
        first = await door.scan(door.code(1), nonce="same")
        again = await door.scan(door.code(1), nonce="same")
        assert again[1] == {**first[1], "replayed": True}


async def test_a_late_buyer_is_looked_up_live(tmp_path: Path) -> None:
    """Bought on the parking lot: in no manifest yet, green all the same; by order id where there is no code."""
    async with venue(tmp_path) as door:
        status, answer = await door.post("/api/checkin", {"order_id": order_of("gala", 8), "nonce": "o"})
        assert (status, answer["state"], answer["ticket_number"]) == (200, "accepted", 9)
        status, answer = await door.post("/api/checkin", {"order_id": "gala-3", "nonce": "p"})
        assert (status, answer["state"]) == (200, "unknown"), "the public ref"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"nonce": "x"},
        {"nonce": "x", "code": "a", "order_id": "b"},
        {"nonce": "", "code": "a"},
        {"nonce": "a b", "code": "a"},
        {"nonce": "x" * 65, "code": "a"},
        {"nonce": "x", "code": "a" * 301},
        {"nonce": "x", "code": "a", "gate": "\x00"},
        {"nonce": "x", "code": "a", "gate": "g" * 41},
        {"nonce": "x", "code": "a", "at": "yesterday"},
        {"nonce": "x", "code": "a", "at": -1},
        {"nonce": "x", "code": "a", "at": 10**30},
        {"nonce": 7, "code": "a"},
        [],
    ],
)
async def test_what_is_no_scan_is_a_bad_request(tmp_path: Path, body: Any) -> None:
    async with venue(tmp_path) as door:
        assert (await door.post("/api/checkin", body))[0] == 400
        wrapped = {"scans": [{"at": NOW_MS, "admitted": True, **body}]} if isinstance(body, dict) else body
        assert (await door.post("/api/events/gala/redemptions", wrapped))[0] == 400


@pytest.mark.parametrize("code", ["\x00", "\ufeff", "🎟" * 50, "ticket:\x00", "'; DROP TABLE entries; --", "\n"])
async def test_hostile_texts_are_unknown(tmp_path: Path, code: str) -> None:
    async with venue(tmp_path) as door:
        status, answer = await door.scan(code)
        assert (status, answer["state"]) == (200, "unknown")
        status, answer = await door.post("/api/checkin", {"order_id": code, "nonce": "o"})
        assert (status, answer["state"]) == (200, "unknown")


async def test_what_the_page_drains_at_once_is_taken_however_large_its_codes(tmp_path: Path) -> None:
    """A part of the log that is too large would be refused for ever, and all scans behind it with it."""
    page = (Path(door_page.__file__).parent / "pages" / "door" / "app.js").read_text("utf-8")
    at_once = int(re.search(r"^const BATCH = (\d+);", page, re.MULTILINE)[1])  # type: ignore[index]
    code = "\x01" * MAX_CODE  # JSON.stringify writes each in six characters
    scan = {"code": code, "at": NOW_MS, "gate": "門" * 40, "admitted": False, "reason": "needs_network"}
    async with venue(tmp_path) as door:
        part = [scan | {"nonce": f"{i:022}"} for i in range(at_once)]
        status, answer = await door.post("/api/events/gala/redemptions", {"scans": part})
        assert (status, len(answer["results"])) == (200, at_once)


# -- manifest ------------------------------------------------------------------------------------------


async def test_the_manifest_is_signed_and_holds_hashes_of_whole_codes_alone(tmp_path: Path) -> None:
    async with venue(tmp_path) as door:
        _, raw = await door.get("/api/events/gala/manifest")
        said = await door.manifest()
        assert said.numbers == list(range(1, 11))
        offline = OfflineDoor(said, "North", random.Random(1))
        assert offline.scan(door.code(3), NOW_MS) == "accepted"
        assert offline.scan(door.code(3), NOW_MS) == "already_redeemed"
        assert offline.scan("nonsense", NOW_MS) == "unknown"
        for uuid in door.uuids:
            assert uuid not in raw["manifest"]
        assert "buyer" not in raw["manifest"]
        signer, clock = door.api.backend.issuer.signer("manifest"), door.api.clock.now_ms()
        for wrong, event in (
            (Manifest(raw["manifest"].replace("once", "twice"), raw["signature"]), "gala"),
            (Manifest(raw["manifest"], door.api.backend.issuer.sign({"aud": "door:gala"})), "gala"),
            (Manifest(raw["manifest"], raw["signature"]), "ball"),
        ):
            with pytest.raises(jwt.InvalidTokenError):
                manifests.verify(signer, wrong, event, clock)
        with pytest.raises(jwt.ExpiredSignatureError):
            manifests.verify(signer, Manifest(raw["manifest"], raw["signature"]), "gala", clock + 8 * 86_400_000)


async def test_a_manifest_says_who_is_in_and_what_opens_nothing(tmp_path: Path) -> None:
    async with venue(tmp_path) as door:
        await door.scan(door.code(2), at=NOW_MS)
        door.change(5, state="refunded")
        said = await door.manifest()
        assert said.revoked == [5]
        assert [(n, at, said.gates[g]) for n, at, g in said.entries] == [(2, NOW_MS, "North")]
        offline = OfflineDoor(said, "South", random.Random(1))
        assert offline.scan(door.code(2), NOW_MS) == "already_redeemed"
        assert offline.scan(door.code(5), NOW_MS) == "revoked"
        assert offline.scan(door.codes.v2(door.uuids[4], "gala", 5), NOW_MS) == "revoked"


async def test_differences_and_etags(tmp_path: Path) -> None:
    async with venue(tmp_path) as door:
        whole = await door.manifest()
        await door.scan(door.code(2))
        door.change(3, state="suspended")
        part = await door.manifest(whole.cursor)
        assert (part.since, part.numbers, part.hashes) == (whole.cursor, [], "")
        assert part.revoked == [3]
        assert [n for n, _, _ in part.entries] == [2]
        door.change(3, state="active")
        assert (await door.manifest(part.cursor)).revoked == []
        for strange in ("99.0", "1.99999999999999", "x", "1", "-1.0", "0.0.0"):
            assert (await door.manifest(strange)).since is None, "not a cursor of this event: everything"
        headers = {"Authorization": f"Bearer {door.key}"}
        url = door.api.server.url + "/api/events/gala/manifest"
        async with door.api.session.get(url, headers=headers) as response:
            tag = response.headers["ETag"]
        async with door.api.session.get(url, headers=headers | {"If-None-Match": f'"x", W/{tag}'}) as response:
            assert (response.status, await response.read()) == (304, b"")
        await door.scan(door.code(4))
        async with door.api.session.get(url, headers=headers | {"If-None-Match": tag}) as response:
            assert response.status == 200


async def test_an_entry_known_too_late_is_in_the_next_difference(tmp_path: Path) -> None:
    """An entry that a drained log turned into an admission is older than the cursor, and still news."""
    async with venue(tmp_path) as door:
        door.change(1, state="suspended")
        await door.scan(door.code(1), nonce="q")
        await door.scan(door.code(2))
        door.api.clock.advance(60.0)
        await door.scan(door.code(3))
        cursor = (await door.manifest()).cursor
        door.api.clock.advance(60.0)
        log = {"scans": [{"nonce": "q", "code": door.code(1), "at": NOW_MS, "admitted": True}]}
        await door.post("/api/events/gala/redemptions", log)
        numbers = {n for n, _, _ in (await door.manifest(cursor)).entries}
        assert 1 in numbers
        assert 2 not in numbers, "it is a difference"


async def test_ten_thousand_tickets_under_a_second_and_a_megabyte(tmp_path: Path) -> None:
    """All of them in already, which is the longest that it gets."""
    async with venue(tmp_path, 10_000) as door:
        log = [
            {"nonce": f"d{i}", "code": door.code(i), "at": NOW_MS - i, "gate": f"Gate {i % 40}", "admitted": True}
            for i in range(1, 10_001)
        ]
        for i in range(0, len(log), 100):
            assert (await door.post("/api/events/gala/redemptions", {"scans": log[i : i + 100]}))[0] == 200
        took = []
        for _ in range(3):
            began = time.process_time()  # both ends of the line are in this process
            async with door.api.session.get(
                door.api.server.url + "/api/events/gala/manifest", headers={"Authorization": f"Bearer {door.key}"}
            ) as response:
                raw = await response.read()
            took.append(time.process_time() - began)
        assert len(raw) < 1_000_000
        assert min(took) < 1.0
        said = await door.manifest()
        assert len(said.numbers) == len(said.entries) == 10_000


# -- drained logs --------------------------------------------------------------------------------------


async def test_a_drained_log_names_conflicts_with_both_gates_and_times(tmp_path: Path) -> None:
    async with venue(tmp_path) as door:
        north = {"nonce": "a", "code": door.code(1), "at": NOW_MS - 5000, "gate": "North", "admitted": True}
        south = {"nonce": "b", "code": door.code(1), "at": NOW_MS - 9000, "gate": "South", "admitted": True}
        red = {"nonce": "c", "code": door.code(2), "at": NOW_MS - 100, "admitted": False, "reason": "unknown"}
        _, first = await door.post("/api/events/gala/redemptions", {"scans": [north, red]})
        assert [r["state"] for r in first["results"]] == ["accepted", "unknown"]
        _, second = await door.post("/api/events/gala/redemptions", {"scans": [south]})
        assert second["conflicts"] == 1
        (named,) = second["results"]
        assert (named["state"], named["admitted"]) == ("conflict", True)
        assert [(w["gate"], w["at"], w["device"]) for w in named["conflict"]] == [
            ("South", "2025-10-09T08:53:11Z", "Gate 1"),
            ("North", "2025-10-09T08:53:15Z", "Gate 1"),
        ]
        status, listed = await door.get("/api/events/gala/conflicts")
        assert status == 200
        assert listed["conflicts"][0]["passages"] == named["conflict"]
        assert (await door.post("/api/events/gala/redemptions", {"scans": [south]}))[1]["conflicts"] == 1


async def test_a_batch_is_bounded(tmp_path: Path) -> None:
    async with venue(tmp_path) as door:
        one = {"nonce": "a", "code": "x", "at": NOW_MS, "admitted": False}
        assert (await door.post("/api/events/gala/redemptions", {"scans": [one] * 101}))[0] == 400
        longest = {
            "nonce": "n" * 64,
            "code": "x" * 300,
            "at": "2025-10-09T08:53:20.123+00:00",
            "admitted": False,
            "gate": "g" * 40,
            "reason": "already_redeemed",
        }
        assert (await door.post("/api/events/gala/redemptions", {"scans": [longest] * 100}))[0] == 200


DOORS, GUESTS = 50, 400


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("policy", ["once", "daily"])
async def test_fifty_doors_offline_drained_in_random_order(
    tmp_path: Path, database: str, policy: str, seed: int
) -> None:
    """Nothing lost, every conflict named, in whatever order the logs come, some of them twice."""
    rng = random.Random(seed)
    async with venue(tmp_path, GUESTS, database, entry_policy=policy) as door:
        api = door.api
        with api.store.transaction() as connection:
            event = connection.execute(event_table.select()).one()
            keys = [devices.add(connection, event, f"Gate {i}", NOW_MS, "test")[1] for i in range(DOORS)]
        said = await door.manifest()
        doors = [OfflineDoor(said, f"gate-{i}", random.Random(rng.random())) for i in range(DOORS)]
        greens: dict[int, list[tuple[int, str]]] = {}
        for _ in range(GUESTS * 2):
            number, gate = rng.randint(1, GUESTS), rng.randrange(DOORS)
            at = NOW_MS - rng.randrange(3 * 86_400_000)
            text = door.code(number) if rng.random() < 0.7 else door.codes.v2(door.uuids[number - 1], "gala", number)
            if doors[gate].scan(text, at) == "accepted":
                greens.setdefault(number, []).append((at, f"gate-{gate}"))
        parts = [(i, batch) for i, d in enumerate(doors) for batch in d.batches(7)]
        parts += rng.sample(parts, 20)  # answers that got lost: sent again
        rng.shuffle(parts)
        for i, batch in parts:
            headers = {"Authorization": f"Bearer {keys[i]}"}
            status, answer = await api.post("/api/events/gala/redemptions", {"scans": batch}, **headers)
            assert status == 200
            assert [r["nonce"] for r in answer["results"]] == [s["nonce"] for s in batch]
        await _nothing_lost(door, doors, greens, policy)


async def _nothing_lost(
    door: Venue, doors: list[OfflineDoor], greens: dict[int, list[tuple[int, str]]], policy: str
) -> None:
    rows = door.rows()
    sent = {s["nonce"]: s for d in doors for s in d.log}
    assert {r.nonce: (r.at_ms, r.gate, r.admitted) for r in rows} == {
        nonce: (s["at"], s["gate"], s["admitted"]) for nonce, s in sent.items()
    }
    assert len(rows) == len(sent)
    named: dict[int, list[tuple[int, str]]] = {}
    cursor: str | None = "0"
    while cursor is not None:
        _, page = await door.get(f"/api/events/gala/conflicts?limit=50&cursor={cursor}")
        for c in page["conflicts"]:
            named[c["ticket_number"]] = [(w["at"], w["gate"]) for w in c["passages"]]
        cursor = page["next_cursor"]

    def clash(passages: list[tuple[int, str]]) -> bool:
        days = [at // 86_400_000 for at, _ in passages]
        return len(days) > 1 if policy == "once" else len(set(days)) < len(days)

    wanted = {n: [(format_ms(at), gate) for at, gate in sorted(p)] for n, p in greens.items() if clash(p)}
    assert len(wanted) > 20
    assert named == wanted


# -- scans that come together --------------------------------------------------------------------------


async def test_two_doors_at_once_over_http_exactly_one_is_green(tmp_path: Path, database: str) -> None:
    async with venue(tmp_path, 60, database) as door:
        with door.api.store.transaction() as connection:
            event = connection.execute(event_table.select()).one()
            other = devices.add(connection, event, "Gate 2", NOW_MS, "test")[1]

        async def scan(number: int, key: str) -> tuple[str, int]:
            body = {"code": door.code(number), "nonce": "same", "gate": key[-4:]}
            _, answer = await door.api.post("/api/checkin", body, Authorization=f"Bearer {key}")
            return answer["state"], number

        both = [scan(n, key) for n in range(1, 61) for key in random.Random(n).sample([door.key, other], 2)]
        answers = sorted(await asyncio.gather(*both), key=lambda a: (a[1], a[0]))
        assert answers == [(state, n) for n in range(1, 61) for state in ("accepted", "already_redeemed")]


async def test_a_scan_that_fails_takes_nobody_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scans share a transaction: a fault, or a revoked device, in one of them is its own."""
    async with venue(tmp_path) as door:
        with door.api.store.transaction() as connection:
            event = connection.execute(event_table.select()).one()
            revoked = devices.add(connection, event, "Gate 2", NOW_MS, "test")[0]
            devices.revoke(connection, event, revoked, NOW_MS, "test")
        whole = desk.check_in_all

        def faulty(connection: Any, asked: Any, *rest: Any) -> Any:
            if any(s.nonce == "n3" for _, s in asked):
                raise RuntimeError("a fault of ours")
            return whole(connection, asked, *rest)

        monkeypatch.setattr(desk, "check_in_all", faulty)
        counter = desk.Desk(door.api.backend, door.codes)
        asked = [
            counter.decide(
                revoked if n == 5 else door.device_id,
                Scan(nonce=f"n{n}", at_ms=NOW_MS, code=door.code(n), gate="North"),
            )
            for n in range(1, 11)
        ]
        got = await asyncio.gather(*asked, return_exceptions=True)
        shown = [g.result if isinstance(g, Entry) else type(g).__name__ for g in got]
        assert shown == ["accepted"] * 2 + ["RuntimeError", "accepted", "Rejected"] + ["accepted"] * 5
        assert [r.nonce for r in door.rows()] == [f"n{n}" for n in (1, 2, 4, 6, 7, 8, 9, 10)]


async def test_a_database_that_is_away_is_said_to_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue of scans that each wait for it would stall the door; the devices decide alone and keep their nonce."""
    async with venue(tmp_path) as door:
        tries = 0

        def away(*_args: Any) -> Any:
            nonlocal tries
            tries += 1
            raise Transient("the database is locked")

        monkeypatch.setattr(desk, "check_in_all", away)
        answers = await asyncio.gather(*(door.scan(door.code(n)) for n in range(1, 11)))
        assert {status for status, _ in answers} == {503}
        assert tries <= 2 * 10
        before = tries
        counter = desk.Desk(door.api.backend, door.codes)
        scan = Scan(nonce="n", at_ms=NOW_MS, code=door.code(1))
        got = await asyncio.gather(*(counter.decide(door.device_id, scan) for _ in range(50)), return_exceptions=True)
        assert all(isinstance(g, Transient) for g in got)
        assert tries - before == 2, "one group, tried twice"
