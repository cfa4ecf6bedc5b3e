"""What all tests share: sockets stay closed where nothing should need them, real parts, the skip report."""

import collections
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from chainwatch.ledger import schema
from chainwatch.ledger.store import Store
from chainwatch.testing.postgres import NoPostgres, Postgres

ROOT = Path(__file__).parents[1]
PURE = ("unit", "vectors", "simulation", "ledger", "packaging")
"""Folders whose tests need no network: code there that opens a socket has lost its injected seam."""

os.environ.setdefault("CHAINWATCH_TOOLS", str(ROOT / ".tools"))


# -- sockets -----------------------------------------------------------------------------------------


class SocketsClosed(RuntimeError):
    """A test of a pure folder opened a network socket."""


def _refuse(*_args: Any, **_kwargs: Any) -> NoReturn:
    raise SocketsClosed("this test may not use the network: mark it pytest.mark.network, or inject the client")


@pytest.fixture(autouse=True)
def _sockets(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = request.path.relative_to(ROOT / "tests").parts[0]
    if folder not in PURE or request.node.get_closest_marker("network"):
        return
    closed = type("socket", (socket.socket,), {"connect": _refuse, "connect_ex": _refuse, "bind": _refuse})
    monkeypatch.setattr(socket, "socket", closed)  # the event loop's own socketpair is neither bound nor connected
    monkeypatch.setattr(socket, "getaddrinfo", _refuse)


# -- what stands outside -----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with recorded chain data and signature vectors; skips where it is not."""
    folder = Path(os.environ.get("CHAINWATCH_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"recorded data is not there: {folder} (CHAINWATCH_SHARED names it)")
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL, one for the whole run; skips where none is installed."""
    try:
        server = Postgres()
        server.start()
    except NoPostgres as error:
        pytest.skip(f"no PostgreSQL: {error}")
    yield server
    server.stop()


@pytest.fixture
def postgres_database(postgres: Postgres) -> Iterator[Callable[..., str]]:
    """Make fresh databases for one test: ``postgres_database()`` or ``postgres_database(key, prepare)`` -> URL."""
    made: list[str] = []

    def create(key: str | None = None, prepare: Callable[[str], None] | None = None) -> str:
        template = postgres.template(key, prepare) if key is not None and prepare is not None else None
        made.append(postgres.create(template))
        return made[-1]

    yield create
    for url in made:
        postgres.drop(url)


@pytest.fixture
def postgres_ledger(postgres_database: Callable[..., str]) -> Callable[[], str]:
    """Make fresh databases with the ledger's schema, for one test: ``postgres_ledger()`` -> URL."""

    def upgrade(url: str) -> None:
        store = Store(url)
        schema.upgrade(store)
        store.close()

    return lambda: postgres_database("ledger", upgrade)


# -- what depends on the machine's speed ---------------------------------------------------------------

AGAIN = ("browser", "e2e", "nodes")
"""Folders whose tests wait for a browser, for others' nodes or for whole processes of ours on a busy machine: one that
fails is run once more, and the report at the end says so."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let a test of those folders fail once."""
    for item in items:
        if item.path.relative_to(ROOT / "tests").parts[0] in AGAIN:
            item.add_marker(pytest.mark.flaky(reruns=1, reruns_delay=2))


# -- reports -----------------------------------------------------------------------------------------


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Name a failure at once: a run that is cut off prints none of its reports."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        print(f"\nFAILED {report.nodeid} ({report.when})", file=sys.stderr, flush=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write what was skipped, and why, to ``$CHAINWATCH_SKIPS``: ``make test`` prints it last."""
    if not (target := os.environ.get("CHAINWATCH_SKIPS")):
        return
    reasons: collections.Counter[str] = collections.Counter()
    for report in terminalreporter.stats.get("skipped", ()):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason.removeprefix("Skipped: ")] += 1
    again = [f"run twice: {report.nodeid}\n" for report in terminalreporter.stats.get("rerun", ())]
    lines = [f"{n:>5} tests: {why}\n" for why, n in reasons.most_common()]
    Path(target).write_text("".join([*lines, *again]), encoding="utf-8")
