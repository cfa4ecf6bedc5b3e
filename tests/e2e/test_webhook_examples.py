"""The receivers that ``docs/webhooks.md`` shows take messages of ours and nobody else's; what the page says is so."""

import asyncio
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chainwatch.api.webhooks import endpoints
from chainwatch.clock import SystemClock
from chainwatch.config.sections import Webhooks
from chainwatch.ledger import deliveries, outbox, schema, webhooks
from chainwatch.ledger.store import Store
from chainwatch.metrics import Metrics
from chainwatch.outbox import Outbox, headers
from chainwatch.testing.process import answer, command
from chainwatch.tickets.token import Issuer

pytestmark = pytest.mark.network

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/webhooks.md").read_text("utf-8")
ISSUER = Issuer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
SECRET = webhooks.Webhook(1, "", ("*",), "", 1, None, 0, None, "").secrets(ISSUER, 0)[0]


class Consumer:
    """One example in a process of its own."""

    def __init__(self, program: list[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as out:
            environ = {"PATH": os.environ["PATH"], "CHAINWATCH_WEBHOOK_SECRET": SECRET}
            self.process = subprocess.Popen(
                [*program, "0"], stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environ
            )
        port = self.line("listening on ").split()[-1]
        self.url = f"http://127.0.0.1:{port}/hook"

    def lines(self) -> list[str]:
        return self._log.read_text("utf-8").splitlines()

    def line(self, begins: str) -> str:
        for _ in range(1200):
            if found := [line for line in self.lines() if line.startswith(begins)]:
                return found[0]
            time.sleep(0.05)
        raise AssertionError(self.lines())

    def post(self, body: bytes, sent: dict[str, str]) -> int:
        request = urllib.request.Request(self.url, body, sent)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code


@pytest.fixture(params=["python", "node"])
def consumer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Consumer]:
    if request.param == "node" and shutil.which("node") is None:
        pytest.skip("node is not installed (apt-get install nodejs)")
    file = ROOT / "examples/webhooks" / ("consumer.py" if request.param == "python" else "consumer.mjs")
    made = Consumer([sys.executable if request.param == "python" else "node", str(file)], tmp_path / "consumer.log")
    yield made
    made.process.terminate()
    made.process.wait(60)


async def test_an_example_takes_what_we_send(consumer: Consumer, tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/x.db")
    schema.upgrade(store)
    clock = SystemClock()
    now_ms = clock.now_ms()
    with store.transaction() as connection:
        webhooks.create(connection, consumer.url, ("*",), now_ms=now_ms, actor="test", allow_private=True)
        made = [outbox.Message("ticket.minted", "purchase:1", {"event_id": "gala", "number": n}) for n in range(3)]
        outbox.post(connection, now_ms, made)
    service = Outbox(
        settings=lambda: Webhooks(allow_private=True, timeout_seconds=30),
        store=store,
        issuer=ISSUER,
        metrics=Metrics(clock),
        clock=clock,
        rng=random.Random(1),
        holder="a",
    )
    for _ in range(600):
        await service.round()
        await service.idle()
        with store.reading() as connection:
            if len(deliveries.listing(connection, state="delivered")) == 3:
                break
        await asyncio.sleep(0.1)
    await service.close()
    store.close()
    handled = [line for line in consumer.lines() if line.startswith("handled")]
    assert [line.split()[:3] for line in handled] == [["handled", f"msg_{n}", "ticket.minted"] for n in (1, 2, 3)]


def test_an_example_refuses_what_is_not_ours_and_handles_nothing_twice(consumer: Consumer) -> None:
    now_ms = time.time_ns() // 1_000_000
    body = b'{"type":"ticket.minted","timestamp":"2026-01-01T00:00:00Z","data":{}}'
    good = headers([SECRET], "msg_1", now_ms, body)
    stranger = "whsec_" + "A" * 43 + "="
    assert consumer.post(body, good) == 204
    assert consumer.post(body, good) == 204  # again: taken, and not handled again
    assert consumer.post(body, headers([stranger, SECRET], "msg_2", now_ms, body)) == 204  # while a secret is rotated
    for wrong_body, wrong in (
        (body, headers([stranger], "msg_3", now_ms, body)),
        (body.replace(b"minted", b"revoke"), good),
        (body, {**good, "webhook-id": "msg_4"}),
        (body, headers([SECRET], "msg_5", now_ms - 301_000, body)),
        (body, headers([SECRET], "msg_6", now_ms + 302_000, body)),
        (body, {**good, "webhook-timestamp": "x"}),
        (body, {**good, "webhook-signature": "v1,"}),
        (body, {"Content-Type": "application/json"}),
    ):
        assert consumer.post(wrong_body, wrong) == 401
    assert sum(line.startswith("handled") for line in consumer.lines()) == 2


def test_an_example_survives_whatever_comes(consumer: Consumer) -> None:
    """Anybody may call a receiver: a request that breaks off must not take the next message with it."""
    body = b'{"type":"ticket.minted","timestamp":"2026-01-01T00:00:00Z","data":{}}'
    good = headers([SECRET], "msg_1", time.time_ns() // 1_000_000, body)
    assert consumer.post(body, {**good, "webhook-signature": "v1,\xe9"}) == 401
    assert consumer.post(body, {**good, "webhook-timestamp": "\xb2"}) == 401
    address = ("127.0.0.1", int(consumer.url.split(":")[2].split("/")[0]))
    for raw in (
        b"POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nhalf",
        b"POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n" + b"x" * 90_000,
    ):
        with socket.create_connection(address, 20) as broken:
            broken.sendall(raw)
    time.sleep(0.3)
    assert consumer.process.poll() is None, consumer.lines()
    assert consumer.post(body, good) == 204
    assert not any("Traceback" in line or "Error" in line for line in consumer.lines()), consumer.lines()


# -- the page ------------------------------------------------------------------------------------------------


def snippets() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_s_one_line_checks_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    body = b'{"type":"ticket.minted","timestamp":"2026-01-01T00:00:00Z","data":{"number":7}}'
    sent = headers([SECRET], "msg_1", time.time_ns() // 1_000_000, body)
    exec(compile(snippets()[0], "docs/webhooks.md", "exec"), {"secret": SECRET, "body": body, "headers": sent})
    assert capsys.readouterr().out == "ticket.minted {'number': 7}\n"


async def test_the_page_s_test_of_an_integration_runs() -> None:
    names: dict[str, Any] = {}
    exec(compile(snippets()[1], "docs/webhooks.md", "exec"), names)

    async def make_endpoint(url: str) -> None:
        body = b'{"type":"ticket.minted","timestamp":"2026-01-01T00:00:00Z","data":{"event_id":"gala"}}'
        sent = headers([SECRET], "msg_1", time.time_ns() // 1_000_000, body)
        request = urllib.request.Request(url, body, sent)
        await asyncio.to_thread(urllib.request.urlopen, request, timeout=60)

    assert await names["wait_for_a_ticket"](SECRET, make_endpoint) == "gala"


def test_the_page_lists_every_type_and_every_route() -> None:
    table = PAGE.split("## Messages")[1].split("\n## ")[0]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("|")]
    listed = {name for cell in cells for name in re.findall(r"`([a-z]+\.[a-z_]+)`", cell)}
    assert listed == {*outbox.TYPES, deliveries.PING}
    routes = PAGE.split("## Routes")[1].split("\n## ")[0]
    for endpoint in endpoints(None):  # type: ignore[arg-type]
        assert re.search(rf"{re.escape(endpoint.path)}[`?]", routes), endpoint.path


def test_endpoints_from_the_shell(tmp_path: Path) -> None:
    made = answer(tmp_path, "webhooks", "add", "https://shop.example/hook", "--type", "ticket.minted")
    assert made["secret"].startswith("whsec_")
    (shown,) = answer(tmp_path, "webhooks", "list")
    assert {k: shown[k] for k in ("id", "url", "types", "pending", "dead")} == {
        "id": made["id"],
        "url": "https://shop.example/hook",
        "types": ["ticket.minted"],
        "pending": 0,
        "dead": 0,
    }
    assert answer(tmp_path, "webhooks", "redeliver", made["id"]) == {"redelivered": 0}
    for arguments, words in (
        (("add", "https://shop.example/", "--type", "ticket.sold"), "ticket.minted"),
        (("redeliver", made["id"], "--delivery", "5"), "no delivery 5"),
    ):
        code, _, err = command(tmp_path, "webhooks", *arguments)
        assert code == 2
        assert words in err
