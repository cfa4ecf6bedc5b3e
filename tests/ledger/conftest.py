"""A ledger of each kind of database, with the schema and nothing in it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chainwatch.ledger import schema
from chainwatch.ledger.store import Store
from chainwatch.testing.shop import Shop


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let writers of one SQLite file wait for each other as long as a busy machine needs."""
    monkeypatch.setattr("chainwatch.ledger.store.BUSY_MS", 240_000)


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the schema and nothing in it, to be copied: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("schema") / "empty.db"
    store = Store(f"sqlite:///{path}")
    schema.upgrade(store)
    store.close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path, empty_sqlite: Path) -> str:
    """An empty ledger's URL, of each kind."""
    if request.param == "sqlite":
        shutil.copy(empty_sqlite, tmp_path / "ledger.db")
        return f"sqlite:///{tmp_path}/ledger.db"
    make: Callable[[], str] = request.getfixturevalue("postgres_ledger")
    return make()


@pytest.fixture
def store(ledger_url: str) -> Iterator[Store]:
    """An empty ledger of each kind."""
    opened = Store(ledger_url)
    yield opened
    opened.close()


@pytest.fixture
def postgres_store(postgres_ledger: Callable[[], str]) -> Iterator[Store]:
    """An empty ledger on PostgreSQL alone, for what only two at once show."""
    opened = Store(postgres_ledger())
    yield opened
    opened.close()


@pytest.fixture
def shop(store: Store) -> Shop:
    """A shop over an empty ledger of each kind."""
    return Shop(store)
