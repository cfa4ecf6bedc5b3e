"""Both databases, for what must be right under concurrency on each."""

from collections.abc import Callable

import pytest

from chainwatch.ledger import schema
from chainwatch.ledger.store import Store


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """A fresh database's URL; empty for the SQLite file that ``served`` makes itself."""
    if request.param == "sqlite":
        return ""
    make: Callable[..., str] = request.getfixturevalue("postgres_database")

    def prepare(url: str) -> None:
        fresh = Store(url)
        schema.upgrade(fresh)
        fresh.close()

    return make("api", prepare)
