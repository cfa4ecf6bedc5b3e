"""Both databases, for what must be right under concurrency on each; and the document holds in every test."""

from collections.abc import Awaitable, Callable, Iterator

import pytest
from aiohttp import web

from chainwatch.api import endpoints, openapi
from chainwatch.api.backend import Backend
from chainwatch.api.problems import Problem
from chainwatch.errors import Rejected

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """A fresh database's URL; empty for the SQLite file that ``served`` makes itself."""
    if request.param == "sqlite":
        return ""
    make: Callable[[], str] = request.getfixturevalue("postgres_ledger")
    return make()


@pytest.fixture(autouse=True)
def _every_refusal_is_in_the_document(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever one of our endpoints refuses with in a test is a code that the document names for it."""
    unsaid: set[str] = set()
    bound = endpoints._bound

    def watched(endpoint: endpoints.Endpoint, backend: Backend) -> Handler:
        handle = bound(endpoint, backend)

        async def watching(request: web.Request) -> web.StreamResponse:
            try:
                return await handle(request)
            except (Problem, Rejected) as refusal:
                if endpoint.path.startswith("/api/") and refusal.code not in openapi.codes_of(endpoint):
                    unsaid.add(f"{endpoint.method} {endpoint.path}: {refusal.code}")
                raise

        watching.__dict__ |= handle.__dict__
        return watching

    monkeypatch.setattr(endpoints, "_bound", watched)
    yield
    assert unsaid == set()
