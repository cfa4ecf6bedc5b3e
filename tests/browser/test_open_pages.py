"""Pages that stay true while they are open: money in parts, wrong clocks, halls without a network, long words."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from chainwatch.api import purchases
from chainwatch.ledger import events, operators
from chainwatch.testing.browser import Browser
from chainwatch.testing.guests import GUEST, door
from chainwatch.testing.served import Served, served
from chainwatch.tickets.codes import STEP_MS

pytestmark = pytest.mark.network

LONG = "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch" * 2


async def bought(api: Served, title: str = "Gala") -> str:
    with api.store.transaction() as connection:
        new = events.NewEvent(id="gala", title=title, ticket_price="1.5", ticket_currency="HIVE", max_attendees=5)
        events.create(connection, new, api.backend.assets(), 2000, api.clock.now_ms(), "test")
    body = {"event_id": "gala", "payment_method": "HIVE", "wallet_address": "alice"}
    status, answer = await api.post("/api/events/purchase", body)
    assert status == 200, answer
    return f"/pay/{answer['purchase_id']}"


async def test_whoever_paid_in_part_scans_the_rest_and_not_the_whole_again(
    tmp_path: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path, chains=("HIVE",)) as api:
        path = await bought(api)
        whole = purchases.state_of
        change: dict[str, Any] = {}

        async def state_of(call: Any, purchase_id: str) -> Any:
            state = await whole(call, purchase_id)
            return msgspec.structs.replace(state, **change)

        monkeypatch.setattr(purchases, "state_of", state_of)
        page = await browser.page()
        await page.open(api.server.url + path)
        before = await page.run("[document.querySelector('#code').innerHTML, document.querySelector('#wallet').href]")
        change |= {"state": "underpaid", "paid": "1.000", "missing": "0.500", "missing_base": "500"}
        change |= {"uri": "hive://sign/op/the-rest", "held": False}
        api.backend.feed.wake()
        await page.until("document.querySelector('#missing').innerText === '0.500'")
        after = await page.run("[document.querySelector('#code').innerHTML, document.querySelector('#wallet').href]")
        assert after[1] == "hive://sign/op/the-rest"
        assert after[0] != before[0]
        assert "No seat is held" in await page.run("document.querySelector('#hold').innerText")
        change |= {"state": "refund_due", "expired": True}
        api.backend.feed.wake()
        await page.until("document.querySelector('#pay').hidden && document.querySelector('#code').innerHTML === ''")
        assert page.problems == []


async def test_a_long_word_in_a_title_widens_no_page(tmp_path: Path, browser: Browser) -> None:
    async with served(tmp_path, chains=("HIVE",)) as api:
        path = await bought(api, LONG)
        page = await browser.page(width=320)
        for where in ("/", "/e/gala", path):
            await page.open(api.server.url + where)
            assert await page.run("document.documentElement.scrollWidth <= innerWidth"), where


async def test_operations_stay_where_they_were_moved(tmp_path: Path, browser: Browser) -> None:
    """On a telephone every news threw the tables back to their left edge, and the keyboard off them."""
    async with served(tmp_path, chains=("HIVE",)) as api:
        await bought(api)
        with api.store.transaction() as connection:
            key = operators.add(connection, "carol", operators.SCOPES, api.clock.now_ms(), "test")
        page = await browser.page(width=360)
        await page.open(api.server.url + "/ops")
        await page.type("#key", key)
        await page.until("!!document.querySelector('#events table')")
        await page.until("document.querySelector('#live').textContent === 'Live.'")
        box = "document.querySelector('#events .scroll')"
        await page.run(f"{box}.scrollLeft = 120; {box}.focus()")
        held = await page.run("document.querySelector('#events').innerText")
        body = {"event_id": "gala", "payment_method": "HIVE", "wallet_address": "bob"}
        assert (await api.post("/api/events/purchase", body))[0] == 200
        api.backend.feed.wake()
        await page.until(f"document.querySelector('#events').innerText !== {held!r}")
        assert await page.run(f"[{box}.scrollLeft, {box} === document.activeElement]") == [120, True]
        await page.click("#pause")
        assert await page.run("document.querySelector('#live').textContent") == "Paused."
        assert page.problems == []


async def ticket(api: Served) -> str:
    """Return the path of the guest's ticket."""
    token = api.backend.issuer.token
    from chainwatch.ledger.orders import identity
    from chainwatch.ledger.tickets import of_wallet

    with api.store.reading() as connection:
        row = of_wallet(connection, GUEST.address)[0]
    return f"/t/{token(identity(row), row.unit)}"


async def test_a_telephone_whose_clock_is_wrong_shows_codes_of_now(tmp_path: Path, browser: Browser) -> None:
    async with door(tmp_path) as api:
        page = await browser.page()
        slow = "const now = Date.now; Date.now = () => now() - 3 * 3600_000;"
        await page.send("Page.addScriptToEvaluateOnNewDocument", {"source": slow})
        await page.open(api.server.url + await ticket(api))
        await page.until("document.querySelector('#qr').dataset.shown")
        of_now = f"(Date.now() + 3 * 3600_000) / {STEP_MS}"
        await page.until(f"Math.abs(Number(document.querySelector('#qr').dataset.shown) - {of_now}) <= 2")
        assert await page.run("document.querySelectorAll('#still .qr svg').length") == 1, "the plain code is there too"
        assert page.problems == []


async def test_a_printed_ticket_has_the_code_that_does_not_grow_old(tmp_path: Path, browser: Browser) -> None:
    async with door(tmp_path) as api:
        page = await browser.page()
        await page.open(api.server.url + await ticket(api))
        await page.until("document.querySelector('#qr').dataset.shown")
        drawn = "[...document.querySelectorAll('.qr svg')].map(svg => svg.outerHTML)"
        changing, plain = await page.run(drawn)
        assert changing != plain
        await page.run("dispatchEvent(new Event('beforeprint'))")
        assert await page.run(drawn) == [plain, plain]
        await page.run("dispatchEvent(new Event('afterprint'))")
        await page.until(f"({drawn})[0] !== ({drawn})[1]")
        assert page.problems == []


async def test_the_code_of_a_ticket_can_be_typed_at_the_door(tmp_path: Path, browser: Browser) -> None:
    """Whoever tries both pages on one machine has no camera to hold the ticket before."""
    async with door(tmp_path) as api:
        page = await browser.page()
        await page.open(api.server.url + await ticket(api))
        text = "document.getElementById('text')"
        code = await page.run(f"{text}.textContent")
        assert code == await page.run("document.getElementById('qr').dataset.code")
        await page.run(f"{text}.closest('details').open = true")
        await page.click("[data-copy=text]")
        said = await page.until("document.getElementById('copied').textContent")
        assert said in ("Copied", "Marked: copy it")


async def test_a_ticket_opens_again_without_a_network(tmp_path: Path, browser: Browser) -> None:
    """SafeTix: whoever had no signal at the door had no ticket."""
    async with door(tmp_path) as api:
        url = api.server.url + await ticket(api)
        page = await browser.page()
        await page.open(url)
        await page.until("navigator.serviceWorker.controller !== null")
        await page.until(f"caches.match({url!r}).then(found => !!found)")
        await page.until("caches.match('/door/qr/index.js').then(found => !!found)")
        await api.server.stop()
        await page.open("about:blank")
        await page.open(url)
        await page.until("!!document.querySelector('#qr svg') && !!document.querySelector('#qr').dataset.shown")
        assert "Ticket number 1" in await page.run("document.body.innerText")
        await api.server.start()
        await page.open(url)
        assert "Ticket number 1" in await page.run("document.body.innerText")
