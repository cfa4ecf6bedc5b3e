"""A newcomer, in a real browser: open the page that the start prints, buy, see the ticket, come in, be scanned."""

import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from chainwatch.testing.browser import Browser, NoBrowser, Page
from chainwatch.testing.process import Daemon

pytestmark = pytest.mark.network

Make = Callable[..., Awaitable[Browser]]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("newcomer"), "--devnet") as running:
        running.ready()
        yield running


def printed(daemon: Daemon, pattern: str) -> str:
    found = re.search(pattern, daemon.output())
    assert found is not None, daemon.output()[-2000:]
    return found[1]


async def accessible(page: Page) -> None:
    try:
        assert await page.accessibility() == []
    except NoBrowser as why:
        print(f"not looked at for accessibility: {why}")


async def bought(page: Page, daemon: Daemon, asset: str) -> None:
    """Buy with a wallet of the asset's chain, as far as the payment page."""
    await page.open(daemon.url() + "/")
    await page.click("a[href='/e/genesis-concert']")
    await page.until("!!document.querySelector('#asset')")
    await page.run(f"document.querySelector('#asset').value = '{asset}'")
    await page.click("form .primary")
    await page.until("location.pathname.startsWith('/pay/') && document.readyState === 'complete'")


async def test_from_the_first_page_to_the_door(browser: Browser, daemon: Daemon) -> None:
    page = await browser.page()
    await page.open(daemon.url() + "/")
    await page.screenshot("events")
    await accessible(page)
    await bought(page, daemon, "ETH")
    await page.screenshot("pay-apart")
    await accessible(page)
    assert await page.run("document.querySelector('#wallet').href.startsWith('ethereum:0x')")

    await page.click("#pay form button")  # the simulated wallet pays
    await page.until("document.readyState === 'complete' && !!document.querySelector('#ticket')")
    await page.until("!document.querySelector('#ticket').hidden")
    assert await page.run("document.querySelectorAll('#steps [data-done]').length") == 4
    await page.screenshot("minted")
    await accessible(page)

    await page.click("#ticket-link")
    await page.until("location.pathname.startsWith('/t/') && !!document.querySelector('#qr svg')")
    code = await page.run("document.querySelector('#qr').dataset.code")
    await page.screenshot("ticket")
    await accessible(page)

    await page.click("form .primary")  # the wallet signs the challenge and joins
    await page.until("!!document.querySelector('[role=status]')")
    assert "opened for ticket" in await page.run("document.querySelector('[role=status]').textContent")
    await page.screenshot("joined")
    assert page.problems == []

    door = await browser.page()
    await door.open(printed(daemon, r"(http://\S+/door#key=\S+)"), "document.body.dataset.ready === 'yes'")
    await door.until("document.body.dataset.online === 'yes' && document.body.dataset.list !== 'none'")
    await door.type("#manual-code", code)
    await door.until("!document.getElementById('result').hidden")
    assert await door.run("document.getElementById('result').dataset.colour") == "green"
    await door.screenshot("scanned")


async def test_without_scripts_the_page_still_says_what_to_pay(browser: Browser, daemon: Daemon) -> None:
    """BTCPay's and others' checkouts are blank then."""
    page = await browser.page()
    await bought(page, daemon, "HIVE")
    await page.screenshot("pay")
    address = await page.run("location.href")
    plain = await browser.page()
    await plain.send("Emulation.setScriptExecutionDisabled", {"value": True})
    await plain.send("Page.navigate", {"url": address})
    await plain.until("location.pathname.startsWith('/pay/') && document.readyState === 'complete'")
    await plain.screenshot("pay-without-scripts")
    await plain.send("Emulation.setScriptExecutionDisabled", {"value": False})
    text = await plain.run("document.querySelector('#pay').innerText")
    for part in ("1.5 HIVE", "cw:"):
        assert part in text, text
    assert await plain.run("!!document.querySelector('#pay .qr svg')")
    assert await plain.run("document.querySelectorAll('noscript').length") == 2


async def test_operations_are_live_and_survive_a_hostile_memo(browser: Browser, daemon: Daemon) -> None:
    page = await browser.page(width=1280, height=900, mobile=False)
    await page.open(daemon.url() + "/ops")
    await accessible(page)
    await page.type("#key", "cwk_nonsense")
    await page.until("!!document.querySelector('[role=alert]')")
    await page.type("#key", printed(daemon, r"sign in with (cwk_\S+)"))
    await page.until("!!document.querySelector('#chains table')")
    before = await page.run("document.querySelector('#chains').innerText")
    await page.until(f"document.querySelector('#chains').innerText !== {before!r}")
    await page.screenshot("ops")
    await accessible(page)
    assert [p for p in page.problems if "401" not in p] == []


def test_the_first_page_needs_nothing_from_elsewhere(daemon: Daemon, tmp_path: Path) -> None:
    from chainwatch.testing.process import get

    body = get(daemon.url() + "/")[1].decode()
    assert re.findall(r"(?:src|href)=\"(https?:)?//", body) == []
