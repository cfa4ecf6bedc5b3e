"""Events over HTTP: made as the platform makes them, found, changed, begun, ended, disputed, cancelled."""

from pathlib import Path
from typing import Any

import pytest

from chainwatch.api.premium import Permission
from chainwatch.testing.callers import Creator, operator, resolving
from chainwatch.testing.served import NOW_MS, Served, served

GALA: dict[str, Any] = {"id": "gala", "title": "Gala", "ticket_price": "25", "ticket_currency": "HIVE"}
DAY_MS = 86_400_000


async def make(api: Served, headers: dict[str, str], **changes: Any) -> dict[str, Any]:
    status, answer = await api.post("/api/events", GALA | changes, **headers)
    assert status == 200, answer
    made: dict[str, Any] = answer
    return made


async def ids(api: Served, query: str = "") -> list[str]:
    status, answer = await api.get(f"/api/events{query}")
    assert status == 200, answer
    return [e["id"] for e in answer["events"]]


async def test_the_platforms_own_words_make_an_event(tmp_path: Path) -> None:
    """platform.md R2: a price in money as a JSON number, and the coins that are taken for it."""
    async with served(tmp_path) as api:
        headers = await operator(api)
        body = {
            "title": "Premium Concert",
            "ticketPrice": 25.5,
            "ticketCurrency": "USD",
            "supportedCrypto": ["btc", "ETH", "hive"],
            "maxAttendees": 500,
            "eventStart": "2026-01-01T20:00:00Z",
            "eventEnd": NOW_MS + 400 * DAY_MS,
            "spaceType": "post",
            "requireCamera": True,
            "somethingElse": {"is": "ignored"},
        }
        status, answer = await api.post("/api/events/create", body, **headers)
        assert status == 200, answer
        assert (answer["ticket_price"], answer["ticket_currency"]) == ("25.5", "USD")
        assert answer["supported_crypto"] == ["BTC", "ETH", "HIVE"]
        assert answer["prices"][0] == {"currency": "BTC", "amount": None, "amount_base": None}
        assert answer["event_start"] == "2026-01-01T20:00:00Z"
        assert answer["require_camera"] is True
        assert await api.get(f"/api/events/{answer['id']}") == (200, answer)


async def test_tiers_and_their_prices_are_shown(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        tiers = [
            {"code": "vip", "ticket_price": "100", "quantity": 5, "title": "VIP"},
            {"code": "ga", "ticket_price": 10, "prices": {"BTC": "0.001"}},
        ]
        made = await make(api, await operator(api), tiers=tiers, max_attendees=50)
        assert [t["code"] for t in made["tiers"]] == ["vip", "ga"]
        assert made["tiers"][0]["available"] == 5
        assert made["tiers"][1]["prices"][0] == {"currency": "BTC", "amount": "0.001", "amount_base": "100000"}
        assert (await api.get("/api/events"))[1]["events"] == [made]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"title": ""}, "bad_title"),
        ({"ticket_price": "-1"}, "bad_price"),
        ({"ticket_price": "1e3"}, "bad_price"),
        ({"ticket_price": 1e300}, "bad_price"),
        ({"ticket_price": "0.0001"}, "bad_price"),
        ({"ticket_currency": "DOGECOIN2"}, "unknown_currency"),
        ({"id": "Not A Slug"}, "bad_event_id"),
        ({"id": "007"}, "bad_event_id"),
        ({"event_start": "tomorrow"}, "bad_request"),
        ({"event_start": "2026-01-02T00:00:00Z", "event_end": "2026-01-01T00:00:00Z"}, "bad_times"),
        ({"max_attendees": 0}, "bad_request"),
        ({"admission": "anybody"}, "bad_request"),
        ({"title": None}, "bad_request"),
        ({"tiers": [{"code": "x"}]}, "bad_request"),
        ({"prices": {"BTC": "nonsense"}}, "bad_price"),
    ],
)
async def test_events_that_cannot_be(tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    async with served(tmp_path) as api:
        status, answer = await api.post("/api/events", GALA | changes, **(await operator(api)))
        assert (status, answer["code"]) == (400, code), answer


async def test_a_slug_is_given_once(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        headers = await operator(api)
        await make(api, headers)
        status, answer = await api.post("/api/events", GALA, **headers)
        assert (status, answer["code"]) == (409, "event_exists")


async def test_events_are_found_by_what_they_are(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        headers = await operator(api)
        await make(api, headers, id="old", event_start=NOW_MS - 3 * DAY_MS, event_end=NOW_MS - 2 * DAY_MS)
        await make(api, headers, id="soon", event_start=NOW_MS + DAY_MS, event_category="music", ticket_price="5")
        await make(api, headers, id="later", event_start=NOW_MS + 9 * DAY_MS, creator_account="alice")
        await make(api, headers, id="coin", ticket_currency="BTC", ticket_price="0.01")
        assert await ids(api) == ["old", "soon", "later", "coin"]
        assert await ids(api, "?upcoming=true") == ["soon", "later", "coin"]
        assert await ids(api, "?category=music") == ["soon"]
        assert await ids(api, "?creator=alice") == ["later"]
        assert await ids(api, "?currency=HIVE&max_price=10") == ["soon"]
        assert await ids(api, "?currency=hive&minPrice=10") == ["old", "later"]
        assert await ids(api, f"?starts_after={NOW_MS}&starts_before={NOW_MS + 2 * DAY_MS}") == ["soon"]
        assert await ids(api, "?starts_after=2030-01-01T00:00:00Z") == []


async def test_pages_by_cursor_and_by_offset(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        headers = await operator(api)
        for i in range(7):
            await make(api, headers, id=f"e{i}")
        found, cursor = [], ""
        for _ in range(4):
            _, answer = await api.get(f"/api/events?limit=3{cursor}")
            found += [e["id"] for e in answer["events"]]
            if answer["next_cursor"] is None:
                break
            cursor = f"&cursor={answer['next_cursor']}"
            if len(found) == 3:
                await make(api, headers, id="new")  # rows that come do not move the pages
        assert found == [*(f"e{i}" for i in range(7)), "new"]
        assert await ids(api, "?limit=2&offset=3") == ["e3", "e4"]
        assert await ids(api, "?offset=100") == []


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "cursor=zzz",
        "cursor=%ff",
        "cursor=bnVsbA",
        "cursor=LTE",
        "cursor=MQ&offset=1",
        "offset=-1",
        "offset=10001",
        "min_price=cheap",
        "starts_after=never",
        "upcoming=maybe",
        "starts_before=" + "9" * 400,
    ],
)
async def test_queries_that_say_nothing(tmp_path: Path, query: str) -> None:
    async with served(tmp_path) as api:
        status, answer = await api.get(f"/api/events?{query}")
        assert status == 400, answer


async def test_an_event_is_changed_begun_ended_disputed_and_cancelled(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        headers = await operator(api)
        await make(api, headers, max_attendees=10)
        status, answer = await api.call("PATCH", "/api/events/gala", {"title": "New", "maxAttendees": None}, **headers)
        assert (status, answer["title"], answer["max_attendees"]) == (200, "New", None)
        assert (await api.call("PATCH", "/api/events/gala", {}, **headers))[0] == 400
        assert (await api.post("/api/events/gala/start", **headers))[1]["live"] is True
        assert (await api.post("/api/events/gala/dispute", **headers))[1]["dispute"] is True
        assert (await api.post("/api/events/gala/dispute/settle", **headers))[1]["dispute"] is False
        ended = (await api.post("/api/events/gala/end", **headers))[1]
        assert (ended["live"], ended["ended_at"] is not None) == (False, True)
        assert (await api.post("/api/events/gala/start", **headers))[1]["code"] == "event_over"
        status, answer = await api.post("/api/events/gala/cancel", **headers)
        assert (answer["event"]["status"], answer["tickets_cancelled"]) == ("cancelled", 0)
        for path in ("/start", "/end"):
            assert (await api.post(f"/api/events/gala{path}", **headers))[1]["code"] == "event_cancelled"
        assert (await api.get("/api/events/none"))[1]["code"] == "unknown_event"


async def test_a_creator_cannot_settle_its_own_dispute(tmp_path: Path) -> None:
    alice = Creator("alice")
    async with served(tmp_path, resolver=resolving([alice])) as api:
        await make(api, await operator(api), creator_account="alice")
        assert (await alice.write(api, "POST", "/api/events/gala/dispute", {}))[0] == 200
        assert (await alice.write(api, "POST", "/api/events/gala/dispute/settle", {}))[0] == 401


async def test_how_large_an_event_may_be_is_the_platforms_word(tmp_path: Path) -> None:
    alice = Creator("alice")
    async with served(tmp_path, resolver=resolving([alice])) as api:
        status, answer = await alice.write(api, "POST", "/api/events", GALA)
        assert (status, answer["code"]) == (403, "not_premium")  # no authorize_url: operators only

        async def permission(_settings: object, _account: str) -> Permission:
            return Permission(True, 200)

        api.backend.premium.permission = permission  # type: ignore[method-assign, assignment]
        for capacity, expected in ((None, "over_cap"), (201, "over_cap"), (200, None)):
            status, answer = await alice.write(api, "POST", "/api/events", GALA | {"max_attendees": capacity})
            assert answer.get("code") == expected, answer
        status, answer = await alice.write(api, "PATCH", "/api/events/gala", {"max_attendees": 500})
        assert answer["code"] == "over_cap"


async def test_camel_case_is_read_at_every_depth(tmp_path: Path) -> None:
    """What stands in a list too; the keys of prices are coins and stay as they are."""
    async with served(tmp_path) as api:
        tier = {
            "code": "vip",
            "ticketPrice": "100",
            "ticketCurrency": "HIVE",
            "prices": {"ETH": "1"},
            "salesEnd": NOW_MS,
        }
        made = await make(api, await operator(api), tiers=[tier])
        assert made["tiers"][0]["ticket_price"] == "100"
        assert [p["currency"] for p in made["tiers"][0]["prices"]] == ["ETH", "HIVE"]
        assert made["tiers"][0]["sales_end"] is not None
        twice = {"tiers": [{"code": "a", "ticketPrice": "1", "ticket_price": "2"}]}
        status, answer = await api.call("PATCH", "/api/events/gala", twice, **(await operator(api, name="b")))
        assert (status, answer["code"]) == (400, "bad_request")


async def test_a_head_is_a_get_without_its_body(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        await make(api, await operator(api))
        for path, status in (("/api/events/gala", 200), ("/api/events/none", 404), ("/openapi.json", 200)):
            async with api.session.head(api.server.url + path) as response:
                assert (response.status, await response.read()) == (status, b"")
