"""A real browser for the tests of pages: ``browser`` is one for each test, ``browsers`` makes more, with flags."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from chainwatch.testing.browser import Browser, NoBrowser, find_browser

Make = Callable[..., Awaitable[Browser]]


@pytest.fixture
async def browsers() -> AsyncIterator[Make]:
    """Make browsers: ``await browsers("--flag", …)``; skips where there is none."""
    try:
        find_browser()
    except NoBrowser as why:
        pytest.skip(f"no browser: {why}")
    made: list[Browser] = []

    async def make(*flags: str) -> Browser:
        browser = Browser(flags)
        await browser.start()
        made.append(browser)
        return browser

    yield make
    for browser in made:
        await browser.stop()


@pytest.fixture
async def browser(browsers: Make) -> Browser:
    """A browser."""
    return await browsers()
