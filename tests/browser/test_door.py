"""The door page in a real Chromium: set up by a link, green and red, the camera, offline and drained with conflicts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import segno
from sqlalchemy import select, update

from chainwatch.api.devices import enrol_url
from chainwatch.ledger import devices
from chainwatch.ledger.scans import Scan, check_in
from chainwatch.ledger.tables import entries, tickets
from chainwatch.ledger.tables import events as event_table
from chainwatch.testing.browser import Browser, NoBrowser, Page, camera_flags
from chainwatch.testing.clock import FakeClock
from chainwatch.testing.doors import make_event, order_of, sell
from chainwatch.testing.served import Served, served
from chainwatch.tickets.codes import Codes, rotated

Make = Callable[..., Awaitable[Browser]]
pytestmark = pytest.mark.network


PATIENT = """
  const soon = AbortSignal.timeout.bind(AbortSignal), later = setTimeout;
  AbortSignal.timeout = (ms) => soon(Math.max(ms, 60_000));
  window.setTimeout = (act, ms, ...rest) => later(act, ms === 1_500 ? 600_000 : ms, ...rest);
"""
"""A page that waits for a machine that stands still: no guest stands before it.  What has no network hears so at once,
and a green screen (1.5 s) stays until it is touched."""


class Venue:
    """An event on a served API whose clock is the world's, as the browser's is."""

    def __init__(self, api: Served, uuids: list[str], key: str, other: int) -> None:
        self.api, self.uuids, self.key, self.other = api, uuids, key, other
        self.codes = Codes(api.backend.issuer)

    @property
    def link(self) -> str:
        return enrol_url(self.api.server.url, self.key, self.api.backend.issuer.signer("manifest").public)

    def code(self, number: int) -> str:
        return self.codes.v1(self.uuids[number - 1])

    def rows(self) -> list[Any]:
        with self.api.store.reading() as connection:
            return list(connection.execute(select(entries).order_by(entries.c.id)))

    def enter_elsewhere(self, number: int) -> None:
        now = self.api.clock.now_ms()
        with self.api.store.transaction() as connection:
            scan = Scan(nonce=f"e{number}", at_ms=now, gate="East", code=self.code(number))
            assert check_in(connection, [scan], self.other, self.codes, now)[0].result == "accepted"


def world_ms() -> int:
    from chainwatch.clock import SystemClock

    return SystemClock().now_ms()


@asynccontextmanager
async def venue(folder: Path) -> AsyncIterator[Venue]:
    async with served(folder, chains=("HIVE",)) as api:
        clock: FakeClock = api.clock
        clock.now_ms = world_ms  # type: ignore[method-assign]
        now = world_ms()
        with api.store.transaction() as connection:
            row = make_event(connection, "gala", now, entry_policy="once", title="Winter gala <b>2026</b>")
            uuids = sell(connection, row, 40, api.backend.issuer, now)
            _, key = devices.add(connection, row, "North gate", now, "test")
            other, _ = devices.add(connection, row, "East gate", now, "test")
        yield Venue(api, uuids, key, other)


async def patient(browser: Browser) -> Page:
    page = await browser.page()
    await page.send("Page.addScriptToEvaluateOnNewDocument", {"source": PATIENT})
    return page


async def set_up(browser: Browser, door: Venue) -> Page:
    page = await patient(browser)
    await page.open(door.link, "document.body && document.body.dataset.ready === 'yes'")
    await page.until("document.body.dataset.list === '40'")
    return page


async def scan(page: Page, text: str) -> str:
    """Type a code; return what the screen says."""
    await page.type("#manual-code", text)
    state = await page.until(
        "!document.getElementById('result').hidden && document.getElementById('result').dataset.state"
    )
    return str(state)


async def next_one(page: Page) -> None:
    await page.run("document.getElementById('result').click()")


async def test_a_venue_is_set_up_by_one_link_and_scans(tmp_path: Path, browser: Browser) -> None:
    async with venue(tmp_path) as door:
        page = await set_up(browser, door)
        assert door.key not in await page.run("location.href"), "the key does not stay in the address"
        assert await page.run("document.getElementById('event-title').innerText") == "Winter gala <b>2026</b>"
        assert "signature checked" in await page.run("document.getElementById('status').innerText")
        await page.screenshot("door-ready")
        assert await scan(page, door.code(7)) == "accepted"
        assert "Ticket 7" in await page.run("document.getElementById('result').innerText")
        await page.screenshot("door-green")
        await next_one(page)
        assert await scan(page, door.codes.v2(door.uuids[6], "gala", 7)) == "already_redeemed"
        assert "North gate" in await page.run("document.getElementById('result-more').innerText")
        await page.screenshot("door-red")
        await next_one(page)
        assert await scan(page, order_of("gala", 11)) == "accepted", "a late buyer by order id"
        await next_one(page)
        assert await scan(page, door.code(8)[:-1] + "?") == "unknown"
        await next_one(page)
        assert [r.result for r in door.rows()] == ["accepted", "already_redeemed", "accepted", "unknown"]
        assert page.problems == []
        assert {url.split("/")[2] for url in page.requested if url.startswith("http")} == {door.link.split("/")[2]}
        assert not any(door.key in url for url in page.requested), "no request carries the key in its address"


async def test_without_a_network_it_decides_alone_and_loses_nothing(tmp_path: Path, browser: Browser) -> None:
    """pretixscan-android #139, -ios #34: offline had to be switched on by hand, or said invalid."""
    async with venue(tmp_path) as door:
        with door.api.store.transaction() as connection:
            connection.execute(update(tickets).where(tickets.c.uuid == door.uuids[19]).values(state="refunded"))
        page = await set_up(browser, door)
        await page.until("navigator.serviceWorker.controller !== null")
        await door.api.server.stop()
        assert await scan(page, door.code(1)) == "accepted"
        assert "without the network" in await page.run("document.getElementById('result').innerText")
        await page.screenshot("door-offline")
        await next_one(page)
        assert await scan(page, door.code(1)) == "already_redeemed"
        await next_one(page)
        assert await scan(page, door.codes.v2(door.uuids[1], "gala", 2)) == "accepted"
        await next_one(page)
        now = world_ms()
        assert await scan(page, rotated(door.code(3), door.codes.seed(door.uuids[2]), now)) == "accepted"
        await next_one(page)
        old = rotated(door.code(4), door.codes.seed(door.uuids[3]), now - 3_600_000)
        assert await scan(page, old) == "old_code"
        await next_one(page)
        assert await scan(page, door.code(20)) == "revoked"
        await next_one(page)
        forged = door.codes.v2(door.uuids[4], "gala", 5)
        assert await scan(page, forged[:-4] + ("AAAA" if forged[-4:] != "AAAA" else "BBBB")) == "bad_checksum"
        await next_one(page)
        assert await scan(page, "ticket:" + "0" * 8 + "-0000-0000-0000-" + "0" * 12 + ":v1:" + "A" * 22) == "not_listed"
        await next_one(page)
        assert await page.until("document.body.dataset.waiting === '8'")

        # The battery dies and the page is opened again, still without a network.
        await page.open(door.api.server.url + "/door", "document.body && document.body.dataset.ready === 'yes'")
        assert await page.run("document.body.dataset.list") == "40"
        assert await page.run("document.body.dataset.waiting") == "8"
        assert await scan(page, door.codes.v2(door.uuids[1], "gala", 2)) == "already_redeemed"
        await next_one(page)

        # Meanwhile the same ticket went in at another gate.
        door.enter_elsewhere(3)
        await door.api.server.start()
        await page.click("summary")
        await page.click("#sync")
        await page.until("document.body.dataset.waiting === '0' && document.body.dataset.online === 'yes'")
        await page.until("!document.getElementById('conflicts').hidden")
        named = await page.run("document.getElementById('conflict-list').innerText")
        assert "Ticket 3" in named
        assert "East" in named
        assert "North gate" in named
        await page.screenshot("door-conflict")
        results = [(r.result, r.admitted) for r in door.rows() if r.device_id != door.other]
        assert len(results) == 9
        assert results.count(("accepted", True)) == 2
        assert results.count(("conflict", True)) == 1
        assert sum(admitted for _, admitted in results) == 3
        problems = [p for p in page.problems if "ERR_CONNECTION" not in p]
        assert problems == []


@pytest.mark.parametrize("hours", [-7, 9])
async def test_a_telephone_whose_clock_is_wrong_by_hours_keeps_the_door_open(
    tmp_path: Path, browser: Browser, hours: int
) -> None:
    """Alone it would find the doors closed, every changing code old, and note entries of another day."""
    async with venue(tmp_path) as door:
        now = world_ms()
        with door.api.store.transaction() as connection:
            times = {"event_start_ms": now - 3_600_000, "event_end_ms": now + 3_600_000}
            connection.execute(update(event_table).values(**times))
        page = await patient(browser)
        wrong = f"const right = Date.now; Date.now = () => right() + {hours} * 3600_000;"
        await page.send("Page.addScriptToEvaluateOnNewDocument", {"source": wrong})
        await page.open(door.link, "document.body && document.body.dataset.ready === 'yes'")
        await page.until("document.body.dataset.list === '40'")
        await page.until("navigator.serviceWorker.controller !== null")
        assert f"{abs(hours)} h" in await page.run("document.getElementById('status').innerText")
        await door.api.server.stop()
        assert await scan(page, rotated(door.code(3), door.codes.seed(door.uuids[2]), world_ms())) == "accepted"
        await next_one(page)
        # The page is opened again, still alone: what it knows of its clock was kept.
        await page.open(door.api.server.url + "/door", "document.body && document.body.dataset.ready === 'yes'")
        assert await scan(page, rotated(door.code(4), door.codes.seed(door.uuids[3]), world_ms())) == "accepted"
        await next_one(page)
        await door.api.server.start()
        await page.run("document.getElementById('sync').click()")
        await page.until("document.body.dataset.waiting === '0' && document.body.dataset.online === 'yes'")
        rows = door.rows()
        assert [(r.result, r.admitted) for r in rows] == [("accepted", True)] * 2
        assert all(abs(r.at_ms - now) < 120_000 for r in rows)


async def test_half_a_character_does_not_hold_up_the_log(tmp_path: Path, browser: Browser) -> None:
    async with venue(tmp_path) as door:
        page = await set_up(browser, door)
        await page.until("navigator.serviceWorker.controller !== null")
        await door.api.server.stop()
        assert await scan(page, "x" * 299 + "😀" * 5) == "unknown"
        await next_one(page)
        await door.api.server.start()
        await page.run("document.getElementById('sync').click()")
        await page.until("document.body.dataset.waiting === '0' && document.body.dataset.online === 'yes'")
        assert [r.result for r in door.rows()] == ["unknown"]


async def test_a_list_that_another_signed_is_not_believed(tmp_path: Path, browser: Browser) -> None:
    async with venue(tmp_path) as door:
        page = await patient(browser)
        wrong = door.link.replace("pin=", "pin=A")
        await page.open(wrong, "document.body && document.body.dataset.ready === 'yes'")
        problem = await page.run("document.getElementById('enrol-problem').innerText")
        assert problem == "This is not the server that the link was made for."


async def test_a_revoked_device_says_so(tmp_path: Path, browser: Browser) -> None:
    async with venue(tmp_path) as door:
        page = await set_up(browser, door)
        with door.api.store.transaction() as connection:
            connection.execute(devices.devices.update().values(revoked_ms=1))
        assert await scan(page, door.code(1)) == "device_revoked"
        await next_one(page)
        assert "revoked" in await page.run("document.getElementById('alarm').innerText")
        page = await patient(browser)
        await page.open(door.link.replace("127.0.0.1", "localhost"), "document.body?.dataset.ready === 'yes'")
        assert "revoked" in await page.run("document.getElementById('enrol-problem').innerText")


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_the_camera_reads_a_ticket(tmp_path: Path, browsers: Make, version: str) -> None:
    async with venue(tmp_path) as door:
        text = door.code(9) if version == "v1" else door.codes.v2(door.uuids[8], "gala", 9)
        code = segno.make(text, error="m", micro=False)
        browser = await browsers(*camera_flags(tmp_path / "camera.y4m", code.matrix))
        page = await set_up(browser, door)
        await page.click("#camera-start")
        state = await page.until(
            "!document.getElementById('result').hidden && document.getElementById('result').dataset.state"
        )
        assert state == "accepted"
        assert "Ticket 9" in await page.run("document.getElementById('result').innerText")
        await next_one(page)
        await asyncio.sleep(0.5)
        await page.screenshot(f"door-camera-{version}")
        assert await page.run("document.getElementById('result').hidden"), "held before the camera it is one scan"
        assert len(door.rows()) == 1
        assert page.problems == []


async def test_a_device_is_set_up_by_its_camera_and_goes_on_scanning(tmp_path: Path, browsers: Make) -> None:
    async with venue(tmp_path) as door:
        code = segno.make(door.link, error="l", micro=False)
        browser = await browsers(*camera_flags(tmp_path / "camera.y4m", code.matrix))
        page = await patient(browser)
        await page.open(door.api.server.url + "/door", "document.body && document.body.dataset.ready === 'yes'")
        await page.click("#enrol-scan")
        await page.until("document.body.dataset.list === '40'")
        await asyncio.sleep(1.0)
        assert await page.run("document.getElementById('result').hidden"), "its own link is no ticket"
        assert door.rows() == []


async def test_without_ed25519_it_goes_by_hashes_and_says_that_it_did_not_check(
    tmp_path: Path, browser: Browser
) -> None:
    async with venue(tmp_path) as door:
        page = await patient(browser)
        script = """
            const whole = crypto.subtle.importKey.bind(crypto.subtle);
            crypto.subtle.importKey = (format, key, algorithm, ...rest) => algorithm.name === "Ed25519"
              ? Promise.reject(new DOMException("no", "NotSupportedError")) : whole(format, key, algorithm, ...rest);
        """
        await page.send("Page.addScriptToEvaluateOnNewDocument", {"source": script})
        await page.open(door.link, "document.body && document.body.dataset.ready === 'yes'")
        await page.until("document.body.dataset.list === '40'")
        assert "signature not checked" in await page.run("document.getElementById('status').innerText")
        await door.api.server.stop()
        assert await scan(page, door.codes.v2(door.uuids[1], "gala", 2)) == "accepted"
        await next_one(page)
        forged = door.codes.v2(door.uuids[1], "gala", 3)
        assert await scan(page, forged) == "bad_checksum", "the list says another number"
        await next_one(page)
        strange = door.codes.v2("0" * 8 + "-0000-0000-0000-" + "0" * 12, "gala", 41)
        assert await scan(page, strange) == "not_listed"


async def test_a_new_key_for_the_same_door_sends_the_scans_of_the_old_one(tmp_path: Path, browser: Browser) -> None:
    """A device revoked while it was offline: its scans are not stuck on it."""
    async with venue(tmp_path) as door:
        page = await set_up(browser, door)
        await page.until("navigator.serviceWorker.controller !== null")
        await door.api.server.stop()
        assert await scan(page, door.code(1)) == "accepted"
        await next_one(page)
        with door.api.store.transaction() as connection:
            connection.execute(devices.devices.update().values(revoked_ms=1))
            event = connection.execute(event_table.select()).one()
            _, door.key = devices.add(connection, event, "North again", world_ms(), "test")
        await door.api.server.start()
        await page.run("location.hash = ''")
        await page.open(door.link, "document.body && document.body.dataset.ready === 'yes'")
        await page.run("location.reload()")
        await page.until("document.body.dataset.waiting === '0' && document.body.dataset.online === 'yes'")
        assert [(r.result, r.admitted) for r in door.rows()] == [("accepted", True)]


async def test_it_is_wcag_aa_with_large_targets_and_installable(tmp_path: Path, browser: Browser) -> None:
    async with venue(tmp_path) as door:
        page = await patient(browser)
        await page.open(door.api.server.url + "/door", "document.body && document.body.dataset.ready === 'yes'")
        await page.screenshot("door-set-up")
        try:
            assert await page.accessibility() == []
        except NoBrowser as why:
            pytest.skip(str(why))
        page = await set_up(browser, door)
        await page.run("document.querySelector('details').open = true")
        assert await page.accessibility() == []
        small = await page.run(
            "[...document.querySelectorAll('button, input, summary')].filter(e => e.offsetHeight && "
            "(e.offsetHeight < 44 || e.offsetWidth < 44)).map(e => e.id)"
        )
        assert small == []
        for text in (door.code(1), door.code(1)):
            await scan(page, text)
            assert await page.accessibility() == []
            await next_one(page)
        await page.send("Page.enable")
        installable = await page.send("Page.getInstallabilityErrors")
        assert [e["errorId"] for e in installable["installabilityErrors"] if e["errorId"] != "in-incognito"] == []


async def test_a_hand_scanner_that_types_goes_on_from_ticket_to_ticket(tmp_path: Path, browser: Browser) -> None:
    """Its next code went nowhere: the keyboard was at the answer, and then at nothing."""
    async with venue(tmp_path) as door:
        page = await set_up(browser, door)
        assert await scan(page, door.code(1)) == "accepted"
        await next_one(page)
        assert await page.run("document.activeElement.id") == "manual-code"
        assert await scan(page, "nonsense") == "unknown"
        key = {"type": "keyDown", "key": "t", "code": "KeyT", "windowsVirtualKeyCode": 84, "text": "t"}
        await page.send("Input.dispatchKeyEvent", key)
        assert await page.run("document.getElementById('result').hidden")
        assert await page.run("[document.activeElement.id, document.activeElement.value]") == ["manual-code", "t"]
