"""Every snippet of ``docs/integrating.md`` runs as it stands, in Node and in Python, against a served API."""

import asyncio
import re
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from chainwatch.testing.guests import GUEST, door, join
from chainwatch.testing.served import Served

TEXT = (Path(__file__).parents[2] / "docs" / "integrating.md").read_text("utf-8")
SECONDS = 240

NODE = """
const [api, signer, address, token, audience] = process.argv.slice(2);
const wallet = { address };
const sign = async (text) => (await fetch(signer, { method: "POST", body: text })).text();
"""
PYTHON = """
import sys, types, urllib.request
api, signer, address, token, audience = sys.argv[1:]
wallet = types.SimpleNamespace(address=address)
def sign(text):
    return urllib.request.urlopen(urllib.request.Request(signer, data=text.encode())).read().decode()
"""


def snippets(heading: str, language: str) -> list[str]:
    section = re.search(rf"^##+ {re.escape(heading)}$(.*?)(?=^##+ |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert section, heading
    return re.findall(rf"^```{language}\n(.*?)^```", section.group(1), re.MULTILINE | re.DOTALL)


@asynccontextmanager
async def signer() -> AsyncIterator[str]:
    """The visitor's wallet, as an address that signs what is posted to it."""

    async def sign(request: web.Request) -> web.Response:
        return web.Response(text=GUEST.sign_message(await request.text()))

    app = web.Application()
    app.router.add_post("/", sign)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def run(api: Served, language: str, code: str, folder: Path, token: str = "-") -> str:
    """Run one snippet; return what it prints."""
    if language == "js":
        node = shutil.which("node")
        if node is None:
            pytest.skip("no node")
        file, command = folder / "snippet.mjs", [node]
        imports = re.findall(r"^import .*\n", code, re.MULTILINE)
        file.write_text("".join(imports) + NODE + re.sub(r"^import .*\n", "", code, flags=re.MULTILINE))
    else:
        file, command = folder / "snippet.py", [sys.executable]
        file.write_text(PYTHON + code)
    audience = api.backend.settings.access.domain
    async with signer() as hand:
        process = await asyncio.create_subprocess_exec(
            *command,
            str(file),
            *(api.server.url, hand, GUEST.address, token, audience),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(SECONDS):
            out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


@asynccontextmanager
async def now(folder: Path) -> AsyncIterator[Served]:
    """An event whose clock is the machine's: snippets compare times with theirs."""
    async with door(folder, title="The Gala") as api:
        api.clock.advance(time.time() - api.clock.now_ms() / 1000)
        yield api


@pytest.mark.parametrize("language", ["js", "python"])
async def test_events_and_buying(language: str, tmp_path: Path) -> None:
    async with now(tmp_path) as api:
        (listing,) = snippets("Events", language)
        assert "gala The Gala 1" in await run(api, language, listing, tmp_path)
        (buying,) = snippets("Buying", language)
        assert (await run(api, language, buying, tmp_path)).endswith("open\n")


@pytest.mark.parametrize("language", ["js", "python"])
async def test_coming_in_and_staying(language: str, tmp_path: Path) -> None:
    async with now(tmp_path) as api:
        (coming,) = snippets("Coming in", language)
        assert (await run(api, language, coming, tmp_path)).lower().startswith("true ")
        if language == "js":
            (staying,) = snippets("Staying in", language)
            api.clock.advance(1)
            assert (await run(api, language, coming + staying, tmp_path)).splitlines()[-1] in ("0", "1")


async def test_the_patched_client_comes_in(tmp_path: Path) -> None:
    async with now(tmp_path) as api:
        (patched,) = snippets("The patch for a client that signs `Access event … at …`", "js")
        assert await run(api, "js", patched, tmp_path) == "true\n"


@pytest.mark.parametrize("language", ["js", "python"])
async def test_checking_a_session_offline(language: str, tmp_path: Path) -> None:
    async with now(tmp_path) as api:
        (checking,) = snippets("Checking a session in the room's server", language)
        _, joined = await join(api)
        token = str(joined["session_token"])
        assert (await run(api, language, checking, tmp_path, token)).startswith("gala ")
        head, body, signature = token.split(".")
        ticket = api.backend.issuer.sign({"aud": "x", "exp": 2**40})
        for forged in (f"{head}.{body}.{signature[:-6]}AAAAAA", ticket):
            with pytest.raises(AssertionError):
                await run(api, language, checking, tmp_path, forged)


def test_every_reason_is_explained() -> None:
    from chainwatch.access import AccessReason
    from chainwatch.api.access import WORDS

    table = TEXT.partition("## Reasons")[2]
    reasons = {*WORDS, *AccessReason} - {"bad_wallet", "unknown_event", "ok"}
    assert sorted(r for r in reasons if f"`{r}`" not in table) == []
