"""Both databases, for what must be right under concurrency on each."""

from collections.abc import Callable

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """A fresh database's URL; empty for the SQLite file that ``served`` makes itself."""
    if request.param == "sqlite":
        return ""
    make: Callable[[], str] = request.getfixturevalue("postgres_ledger")
    return make()
