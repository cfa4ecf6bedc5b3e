"""A database of each kind, with the schema."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chainwatch.ledger import schema
from chainwatch.ledger.store import Store
from chainwatch.testing.shop import Shop


def _prepare(url: str) -> None:
    fresh = Store(url)
    schema.upgrade(fresh)
    fresh.close()


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the schema and nothing in it, to be copied: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("schema") / "empty.db"
    _prepare(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, empty_sqlite: Path) -> Iterator[Shop]:
    """A shop over an empty database of each kind."""
    if request.param == "sqlite":
        shutil.copy(empty_sqlite, tmp_path / "ledger.db")
        url = f"sqlite:///{tmp_path}/ledger.db"
    else:
        make: Callable[..., Any] = request.getfixturevalue("postgres_database")
        url = make("shop", _prepare)
    store = Store(url)
    yield Shop(store)
    store.close()
