"""Pages: hostile text stays text, nothing inline, and operations only for operators."""

import re
from pathlib import Path

from sqlalchemy import select

from chainwatch.api.pages import render
from chainwatch.ledger import events, operators
from chainwatch.ledger.tables import events as event_table
from chainwatch.testing.served import NOW_MS, Served, served

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


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
        async with api.session.post(api.server.url + "/ops/review/1", data={"action": "refund"}) as response:
            assert "Operator key" in await response.text()


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
                assert 'role="alert"' in await response.text()
        with api.store.reading() as connection:
            assert connection.execute(select(event_table.c.tickets_held)).scalar_one() == 1
