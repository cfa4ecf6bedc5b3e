"""Every example of ``docs/api.md`` runs as it stands, as one session, against a served API; every route is in it."""

import asyncio
import re
import shutil
import time
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from chainwatch.api import resources
from chainwatch.api.endpoints import Call, Endpoint
from chainwatch.api.premium import Permission
from chainwatch.testing.callers import Creator, operator, resolving
from chainwatch.testing.paying import Payer
from chainwatch.testing.served import served

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "api.md").read_text("utf-8")
OTHERS = "".join((ROOT / "docs" / name).read_text("utf-8") for name in ("integrating.md", "door.md", "webhooks.md"))
SECONDS = 240

HELPERS = """
set -eu -o pipefail
post() { curl -sf "$api/test/$1" -H 'Content-Type: application/json' -d "$(jq -n --arg t "$2" '{text: $t}')"; }
sign() { post sign "$2"; }
pay() { post pay "$1" >/dev/null; }
"""


class Asked(msgspec.Struct):
    text: str


def examples() -> str:
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))


async def test_every_example_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for tool in ("bash", "curl", "jq", "sha256sum"):
        if shutil.which(tool) is None:
            pytest.skip(f"the examples of docs/api.md: no {tool}")
    alice = Creator("alice")
    payers: list[Payer] = []

    async def sign(call: Call) -> web.Response:
        return web.Response(text=alice.posting.sign_message(call.body.text))

    async def pay(call: Call) -> web.Response:
        await payers[0].pay(("HIVE", "till", 25_000, call.body.text))
        return web.Response(text="paid")

    helpers = tuple(
        Endpoint(method="POST", path=f"/test/{name}", handler=handler, summary="", tag="test", body=Asked)
        for name, handler in (("sign", sign), ("pay", pay))
    )
    monkeypatch.setattr(resources, "RESOURCES", (*resources.RESOURCES, lambda _backend: helpers))
    async with served(tmp_path, resolver=resolving([alice, Creator("bob")])) as api:
        api.clock.advance(time.time() - api.clock.now_ms() / 1000)  # `date` says what the machine's clock says

        async def permission(_settings: object, _account: str) -> Permission:
            return Permission(True)

        api.backend.premium.permission = permission  # type: ignore[method-assign, assignment]
        payers.append(Payer(api, "HIVE"))
        key = (await operator(api))["Authorization"].removeprefix("Bearer ")
        script = f"api={api.server.url}\nkey={key}\n{HELPERS}\nset -x\n{examples()}"
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(SECONDS):
            out, err = await process.communicate()
    assert process.returncode == 0, (out.decode(errors="replace")[-1500:], err.decode(errors="replace")[-2500:])
    printed = out.decode(errors="replace").splitlines()
    for line in ("alices-show", "The Great Gala", "minted", "not_waiting", "nothing_to_export", "unknown_transaction"):
        assert line in printed, printed


async def test_every_route_is_in_the_page_or_in_one_that_it_names(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        missing = []
        for endpoint in resources.endpoints(api.backend):
            if endpoint.path == "/docs/{file}" or endpoint.path.startswith("/static/"):
                continue
            pattern = re.escape(re.sub(r"\{\w+(:[^}]*)?\}", "\0", endpoint.path)).replace("\0", r"[^/\s`]+?")
            if not re.search(pattern + r'["\s?`),]', TEXT + OTHERS):
                missing.append(f"{endpoint.method} {endpoint.path}")
    assert not missing, "\n".join(missing)
