"""Pages: hostile text stays text, nothing inline, and operations only for operators."""

import asyncio
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, update

from chainwatch.api import pay_page
from chainwatch.api.pages import render
from chainwatch.api.problems import Problem
from chainwatch.api.purchase_types import Payment, PurchaseRefund, PurchaseState, Ticket
from chainwatch.errors import ChainwatchError, Transient
from chainwatch.ledger import events, operators
from chainwatch.ledger.orders import identity
from chainwatch.ledger.tables import events as event_table
from chainwatch.ledger.tickets import of_wallet
from chainwatch.testing.guests import GUEST, HOUR, door, set_ticket
from chainwatch.testing.served import NOW_MS, Served, served

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


OPEN = PurchaseState(
    ref="ref", state="open", event_id="gala", event_title="Gala", wallet_address="alice", tier=None, currency="HIVE",
    chain="HIVE", amount="1.5", amount_base="1500", paid="0", paid_base="0", missing="1.5", missing_base="1500",
    payment_address="till", memo="cw:ref", reference=None, uri="hive://x", fiat=None, signed=False, held=True,
    expired=False, closed=None, created_at="2025-10-09T08:53:20Z", expires_at="2025-10-09T09:08:20Z", payments=[],
    ticket=None, refunds=[],
)  # fmt: skip


def paid(state: str, confirmations: str = "") -> Payment:
    return Payment(
        chain="HIVE", txid="aa", index="0", currency="HIVE", amount="1", amount_base="1000", state=state, reason="",
        confirmations=confirmations,
    )  # fmt: skip


def due(reason: str, destination: str | None = None) -> PurchaseRefund:
    return PurchaseRefund(
        id="1", kind="refund", chain="HIVE", currency="HIVE", amount="1", amount_base="1000", reason=reason,
        state="due", destination=destination,
    )  # fmt: skip


def held(state: str) -> Ticket:
    return Ticket(ticket_id="u", ticket_number=7, state=state, token="token", url="")


async def put(api: Served, title: str = EVIL) -> None:
    with api.store.transaction() as connection:
        new = events.NewEvent(id="gala", title=title, ticket_price="1.5", ticket_currency="HIVE", max_attendees=5)
        events.create(connection, new, api.backend.assets(), 2000, NOW_MS, "test")


async def test_hostile_text_stays_text_on_every_page(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        await put(api)
        _, bought = await api.post(
            "/api/events/purchase", {"event_id": "gala", "payment_method": "HIVE", "wallet_address": "alice"}
        )
        for path in ("/", "/e/gala", f"/pay/{bought['purchase_id']}"):
            status, page = await api.get(path)
            assert status == 200
            assert "<script>alert" not in page
            assert "onerror=alert" not in page.replace("&lt;img src=x onerror=alert", "")
            assert "&lt;script&gt;" in page


async def test_pages_have_a_strict_policy_and_nothing_inline(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        await put(api, "Gala")
        for path in ("/", "/e/gala", "/ops", "/pay/none", "/t/none"):
            async with api.session.get(api.server.url + path) as response:
                page = await response.text()
                policy = response.headers["Content-Security-Policy"]
            assert "'unsafe-inline'" not in policy
            assert "default-src 'none'" in policy
            assert not re.search(r"<script(?![^>]*\bsrc=)|\son[a-z]+=|style=", page), path


async def test_files_are_kept_for_ever_under_the_address_of_their_content(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        url = render.static_url("style.css")
        async with api.session.get(api.server.url + url) as response:
            assert response.status == 200
            assert "immutable" in response.headers["Cache-Control"]
        status, _ = await api.get(url.replace(url.split("/")[2], "0" * 16))
        assert status == 404
        status, _ = await api.get(f"/static/{url.split('/')[2]}/../render.py")
        assert status == 404


async def test_what_nobody_has_is_a_page_that_says_so(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        for path in ("/pay/" + "x" * 22, "/t/" + "x" * 43, "/e/none"):
            status, page = await api.get(path)
            assert status == 404
            assert "<h1>No such" in page


async def test_a_person_gets_a_page_and_a_program_a_problem(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
        for path in ("/nonsense", "/e/", "/pay/x/y"):
            status, page = await api.get(path, **browser)
            assert (status, "<h1>There is nothing here" in page) == (404, True), path
            status, answer = await api.get(path)
            assert (status, answer["code"]) == (404, "not_found"), path
        status, answer = await api.get("/api/nonsense", **browser)
        assert (status, answer["code"]) == (404, "not_found")
        async with api.session.post(api.server.url + "/e/gala", headers=browser, data=b"x" * 70_000) as response:
            assert (response.status, response.content_type) == (413, "text/html")
        _, cookie = await sign_in(api)
        headers = browser | {"Cookie": f"chainwatch_ops={cookie}"}
        async with api.session.post(api.server.url + "/ops/review/1", headers=headers) as response:
            assert (response.status, "load the page again" in await response.text()) == (403, True)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (RuntimeError("secret"), 500, "Something is wrong here"),
        (ChainwatchError("secret"), 500, "Something is wrong here"),
        (Transient("secret"), 503, "Not now"),
        (TimeoutError("secret"), 504, "This took too long"),
        (Problem("too_many_requests", "at most 5"), 429, "Too many requests"),
    ],
)
async def test_what_goes_wrong_is_a_page_for_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, said: str
) -> None:
    """It was a line of JSON, to somebody who has just paid."""

    async def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr(pay_page.purchases, "state_of", broken)
    async with served(tmp_path) as api:
        got, page = await api.get("/pay/" + "x" * 22, Accept="text/html,*/*;q=0.8")
        assert (got, f"<h1>{said}" in page, "secret" in page) == (status, True, False)
        got, answer = await api.get("/pay/" + "x" * 22)
        assert (got, "code" in answer, "secret" in str(answer)) == (status, True, False)


@pytest.mark.parametrize(
    ("change", "payable", "steps", "note", "ticket"),
    [
        ({}, True, ">Waiting for your payment", "", ""),
        (
            {"state": "seen", "payments": [paid("seen")]},
            False,
            "*Your payment was seen >In a block of the chain",
            "",
            "",
        ),
        ({"state": "confirming", "payments": [paid("confirming", "3/12")]}, False, ">Confirmed (3 of 12)", "", ""),
        (
            {
                "state": "underpaid",
                "paid": "1",
                "missing": "0.5",
                "missing_base": "500",
                "payments": [paid("confirmed")],
            },
            True,
            ">Waiting for the rest of your payment",
            "1 HIVE came; 0.5 HIVE are missing",
            "",
        ),
        ({"state": "open", "expired": True}, False, "", "The time is over", ""),
        ({"state": "expired", "expired": True}, False, "", "The time is over", ""),
        ({"closed": "event_cancelled"}, False, "", "The event is cancelled. Send nothing", ""),
        (
            {"closed": "event_over", "state": "expired", "expired": True},
            False,
            "",
            "The event is over. Send nothing",
            "",
        ),
        (
            {
                "state": "underpaid",
                "expired": True,
                "paid": "1",
                "missing": "0.5",
                "missing_base": "500",
                "payments": [paid("confirmed")],
            },
            False,
            "",
            "The time is over: what came goes back",
            "",
        ),
        (
            {"state": "revoked", "payments": [paid("confirmed")], "ticket": held("revoked")},
            False,
            "*Your ticket was taken back",
            "",
            "Number 7: It was taken back.",
        ),
        (
            {"state": "refund_due", "payments": [paid("confirmed")], "refunds": [due("sold_out")]},
            False,
            ">Your money comes back",
            "no seat was left. Tell the seller where to send it, with the reference",
            "",
        ),
        (
            {"state": "refund_due", "payments": [paid("confirmed")], "refunds": [due("sold_out", destination="bob")]},
            False,
            ">Your money comes back",
            "Your money is due back: no seat was left.",
            "",
        ),
        (
            {"state": "refunded", "payments": [paid("confirmed")]},
            False,
            "*Your money was sent back",
            "was sent back",
            "",
        ),
        ({"state": "review", "payments": [paid("confirmed")]}, False, ">Your ticket", "A person looks", ""),
        (
            {"state": "minted", "payments": [paid("minted")], "ticket": held("active")},
            False,
            "*Your ticket is here",
            "",
            "Number 7 is yours.",
        ),
        (
            {"state": "suspended", "payments": [paid("orphaned")], "ticket": held("suspended")},
            False,
            "",
            "",
            "Number 7: Its payment left the chain",
        ),
        (
            {"state": "cancelled", "payments": [paid("confirmed")], "ticket": held("cancelled")},
            False,
            "*Your money comes back",
            "",
            "Number 7: The event is cancelled",
        ),
    ],
)
def test_every_state_of_a_purchase_is_said_in_words(
    change: dict[str, Any], payable: bool, steps: str, note: str, ticket: str
) -> None:
    """Nobody is told to wait for a ticket that does not come, or shown a code for money that is not asked for."""
    shown = pay_page.picture(msgspec.structs.replace(OPEN, **change))
    assert shown.payable is payable
    assert bool(shown.qr) is bool(shown.uri) is payable
    drawn = " ".join(("*" if s.done else ">" if s.now else " ") + s.text for s in shown.steps)
    assert steps in drawn
    assert bool(steps) == bool(drawn)
    assert note in shown.note.text
    assert bool(note) == bool(shown.note.text)
    assert ticket in (shown.ticket.text if shown.ticket else "")


@pytest.mark.parametrize(
    ("coin", "wallet", "apart"),
    [
        ("HIVE", "alice", False),
        ("SOL", "11111111111111111111111111111112", False),
        ("BTC", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", True),
        ("ETH", GUEST.address, True),
    ],
)
async def test_whoever_scans_a_code_without_the_memo_is_told(
    tmp_path: Path, coin: str, wallet: str, apart: bool
) -> None:
    """BIP-21 and EIP-681 have no place for it: the money would wait for a person."""
    async with served(tmp_path) as api:
        with api.store.transaction() as connection:
            new = events.NewEvent(id="gala", title="Gala", ticket_price="1", ticket_currency=coin)
            events.create(connection, new, api.backend.assets(), 2000, NOW_MS, "test")
        body = {"event_id": "gala", "payment_method": coin, "wallet_address": wallet}
        _, bought = await api.post("/api/events/purchase", body)
        _, page = await api.get(f"/pay/{bought['purchase_id']}")
        assert bought["memo"] in page
        assert ("Neither button nor code below bring the memo" in page) is apart
        assert (bought["memo"].encode().hex() in page) is (coin == "ETH")


@pytest.mark.parametrize(
    ("column", "said"), [("event_end_ms", "The event is over."), ("sales_end_ms", "Sales have ended.")]
)
async def test_what_is_over_is_not_on_sale(tmp_path: Path, column: str, said: str) -> None:
    async with served(tmp_path) as api:
        await put(api, "Gala")
        with api.store.transaction() as connection:
            connection.execute(update(event_table).values({column: NOW_MS + HOUR}))
        assert "/e/gala" in (await api.get("/"))[1]
        assert "<form" in (await api.get("/e/gala"))[1]
        api.clock.advance(2 * HOUR / 1000)
        assert "There is nothing on sale." in (await api.get("/"))[1]
        page = (await api.get("/e/gala"))[1]
        assert (said in page, "<form" in page) == (True, False)


@pytest.mark.parametrize("how", ["cancelled", "ended", "over", "sales"])
async def test_nobody_is_asked_for_money_that_would_only_go_back(tmp_path: Path, how: str) -> None:
    """An event that was called off while a buyer held a seat: the page went on asking."""
    async with served(tmp_path) as api:
        await put(api, "Gala")
        times = {"event_end_ms": NOW_MS + HOUR // 60} if how == "over" else {}
        times |= {"sales_end_ms": NOW_MS + HOUR // 60} if how == "sales" else {}
        if times:
            with api.store.transaction() as connection:
                connection.execute(update(event_table).values(**times))
        _, bought = await api.post(
            "/api/events/purchase", {"event_id": "gala", "payment_method": "HIVE", "wallet_address": "alice"}
        )
        path = f"/pay/{bought['purchase_id']}"
        asks = '<section class="card" id="pay" aria-labelledby="pay-title">'
        _, page = await api.get(path)
        assert asks in page
        with api.store.transaction() as connection:
            if how == "cancelled":
                events.cancel(connection, "gala", api.backend.contexts, NOW_MS, "test")
            elif how == "ended":
                events.end(connection, "gala", NOW_MS, "test")
        api.clock.advance(120)
        _, page = await api.get(path)
        assert asks not in page
        assert "Send nothing: money that comes now goes back." in page
        _, state = await api.get(f"/api/purchases/{bought['purchase_id']}")
        reasons = {"cancelled": "event_cancelled", "over": "event_over", "sales": "sales_closed"}
        assert state["closed"] == reasons.get(how, "event_over")
        status, answer = await api.get(f"/api/purchases/{bought['purchase_id']}/qr.svg")
        assert (status, answer["code"]) == (409, "nothing_to_pay")


@pytest.mark.parametrize(
    ("state", "policy", "over", "said"),
    [
        ("active", "once", False, "good for entry"),
        ("used", "once", False, "used"),
        ("used", "daily", False, "good for entry"),
        ("used", "reentry", False, "good for entry"),
        ("active", "once", True, "the event is over"),
        ("revoked", "once", True, "taken back"),
    ],
)
async def test_a_ticket_page_says_whether_it_opens_the_door(
    tmp_path: Path, state: str, policy: str, over: bool, said: str
) -> None:
    async with door(tmp_path, entry_policy=policy, event_end_ms=NOW_MS + HOUR) as api:
        set_ticket(api, state=state)
        with api.store.reading() as connection:
            row = of_wallet(connection, GUEST.address)[0]
        if over:
            api.clock.advance(2 * HOUR / 1000)
        status, page = await api.get(f"/t/{api.backend.issuer.token(identity(row), row.unit)}")
        assert (status, re.findall(r'class="pill[^"]*">([^<]*)<', page)) == (200, [said])


async def sign_in(api: Served, scopes: tuple[str, ...] = operators.SCOPES) -> tuple[int, str]:
    with api.store.transaction() as connection:
        made = operators.add(connection, "carol", scopes, NOW_MS, "test")
    async with api.session.post(api.server.url + "/ops/login", data={"key": made}, allow_redirects=False) as response:
        cookie = response.cookies["chainwatch_ops"]
        assert cookie["httponly"]
        assert cookie["samesite"] == "Strict"
        return response.status, cookie.value


async def test_operations_open_by_a_key_until_it_is_revoked(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        status, page = await api.get("/ops")
        assert (status, "Operator key" in page) == (200, True)
        async with api.session.post(api.server.url + "/ops/login", data={"key": "cwk_wrong"}) as response:
            assert response.status == 401
        status, cookie = await sign_in(api)
        assert status == 303
        status, page = await api.get("/ops", Cookie=f"chainwatch_ops={cookie}")
        assert "ledger imbalance" in page
        with api.store.transaction() as connection:
            operators.revoke(connection, "carol", NOW_MS, "test")
        _, page = await api.get("/ops", Cookie=f"chainwatch_ops={cookie}")
        assert "ledger imbalance" not in page


@pytest.mark.parametrize(("scope", "seen"), [("door", False), ("events", False), ("money", True), ("read", True)])
async def test_a_key_sees_on_the_page_what_it_may_ask_for(tmp_path: Path, scope: str, seen: bool) -> None:
    async with served(tmp_path) as api:
        _, cookie = await sign_in(api, (scope,))
        headers = {"Cookie": f"chainwatch_ops={cookie}"}
        _, page = await api.get("/ops", **headers)
        assert "ledger imbalance" in page
        found = set(re.findall(r'<section id="(\w+)" class="live"', page))
        assert found == {"chains", "events"} | ({"review", "money", "payments"} if seen else set())
        async with api.session.get(api.server.url + "/ops/live", headers=headers) as response:
            async with asyncio.timeout(10):
                while not (line := await response.content.readline()).startswith(b"data:"):
                    pass
        assert {s["name"] for s in msgspec.json.decode(line[5:])} == found


async def test_who_signs_out_ends_the_session_also_for_who_copied_the_cookie(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        _, cookie = await sign_in(api)
        headers = {"Cookie": f"chainwatch_ops={cookie}"}
        _, page = await api.get("/ops", **headers)
        assert "ledger imbalance" in page
        for _ in range(2):
            async with api.session.post(
                api.server.url + "/ops/logout", headers=headers, allow_redirects=False
            ) as response:
                assert response.status == 303
            _, page = await api.get("/ops", **headers)
            assert "ledger imbalance" not in page
            assert (await api.get("/ops/live", **headers))[0] == 401


async def test_a_session_ends_and_a_ticket_is_no_session(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        _, cookie = await sign_in(api)
        forged = api.backend.issuer.sign({"jti": "a", "sub": "1", "exp": NOW_MS, "aud": "ops"})
        _, page = await api.get("/ops", Cookie=f"chainwatch_ops={forged}")
        assert "ledger imbalance" not in page
        api.clock.advance(12 * 3600 + 1)
        _, page = await api.get("/ops", Cookie=f"chainwatch_ops={cookie}")
        assert "ledger imbalance" not in page


async def test_a_decision_needs_the_form_of_this_session_and_the_scope(tmp_path: Path) -> None:
    """CSRF: the cookie alone moves nothing."""
    async with served(tmp_path) as api:
        _, cookie = await sign_in(api)
        headers = {"Cookie": f"chainwatch_ops={cookie}"}
        async with api.session.post(
            api.server.url + "/ops/review/1", data={"action": "refund"}, headers=headers
        ) as response:
            assert response.status == 403
        form = {"action": "refund", "csrf": "é"}
        async with api.session.post(api.server.url + "/ops/review/1", data=form, headers=headers) as response:
            assert response.status == 403
        async with api.session.post(api.server.url + "/ops/review/1", data={"action": "refund"}) as response:
            assert "Operator key" in await response.text()


@pytest.mark.parametrize("number", ["7", "x", "²", "9" * 4000])  # a number that no database holds
async def test_a_payment_that_there_is_not_is_said_on_the_page(tmp_path: Path, number: str) -> None:
    async with served(tmp_path) as api:
        _, cookie = await sign_in(api)
        headers = {"Cookie": f"chainwatch_ops={cookie}"}
        _, page = await api.get("/ops", **headers)
        (csrf,) = set(re.findall(r'name="csrf" value="([^"]*)"', page))
        form = {"action": "refund", "csrf": csrf}
        async with api.session.post(f"{api.server.url}/ops/review/{number}", data=form, headers=headers) as response:
            assert response.status == 400
            assert "ledger imbalance" in await response.text()


async def test_the_form_buys_and_leads_to_the_payment(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        await put(api, "Gala")
        form = {"asset": "HIVE", "wallet": "alice"}
        async with api.session.post(api.server.url + "/e/gala", data=form, allow_redirects=False) as response:
            assert response.status == 303
            where = response.headers["Location"]
        status, page = await api.get(where)
        assert (status, "1.5" in page, "cw:" in page) == (200, True, True)
        for wrong in ({"asset": "HIVE", "wallet": ""}, {"asset": "DOGE", "wallet": "alice"}, {}):
            async with api.session.post(api.server.url + "/e/gala", data=wrong, allow_redirects=False) as response:
                assert response.status == 400
                assert re.search(r'role="alert">[^<a-z][^<]*[.]<', await response.text())
        with api.store.reading() as connection:
            assert connection.execute(select(event_table.c.tickets_held)).scalar_one() == 1
