"""The HTTP API without a daemon around it: a real server on loopback over a real database, time in the test's hand."""

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chainwatch.api import door_page, health, resources
from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import routes
from chainwatch.api.server import Server
from chainwatch.config import networks, settings
from chainwatch.config.settings import Settings
from chainwatch.finality import Rule, Tier
from chainwatch.ledger import schema
from chainwatch.ledger.context import Context, Policy
from chainwatch.ledger.store import Store
from chainwatch.metrics import Metrics
from chainwatch.testing.clock import FakeClock
from chainwatch.tickets.token import Issuer, new_ref
from chainwatch.wallets import canonical_wallet

NOW_MS = 1_760_000_000_000
RECEIVE: Mapping[str, Sequence[str]] = {
    "HIVE": ("till",),
    "ETH": ("0x00000000000000000000000000000000000000AA",),
    "BTC": ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",),
    "SOL": ("11111111111111111111111111111112",),
}


class Served:
    """What a test talks to: ``store`` and ``backend`` behind, ``get``/``post`` … in front."""

    def __init__(self, backend: Backend, clock: FakeClock, server: Server, session: aiohttp.ClientSession) -> None:
        self.backend, self.clock, self.server, self.session = backend, clock, server, session

    @property
    def store(self) -> Store:
        """The database."""
        return self.backend.store

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Call the API; return status and decoded answer (text where it is no JSON)."""
        data = msgspec.json.encode(body) if body is not None else None
        sent = {"Content-Type": "application/json"} if body is not None else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, self.server.url + path, data=data, headers=sent) as response:
            raw = await response.read()
            if "json" in response.content_type:
                return response.status, msgspec.json.decode(raw)
            return response.status, raw.decode("utf-8", "replace")

    async def get(self, path: str, **headers: str) -> tuple[int, Any]:
        """GET."""
        return await self.call("GET", path, **headers)

    async def post(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """POST a JSON body."""
        return await self.call("POST", path, {} if body is None else body, **headers)


@asynccontextmanager
async def served(
    folder: Path, *, url: str = "", toml: str = "", chains: Sequence[str] = tuple(RECEIVE), **more: Any
) -> AsyncIterator[Served]:
    """Serve the whole API over a fresh database in ``folder`` (or at ``url``), with ``toml`` as configuration.

    Payments confirm at depth 1.  ``more`` goes to ``Backend``.
    """
    clock = FakeClock(NOW_MS)
    store = Store(url or f"sqlite:///{folder}/served.db")
    schema.upgrade(store)
    issuer = Issuer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
    config: Settings = settings.parse(toml, environ={"STATE_DIRECTORY": str(folder)})
    contexts = {
        code: Context(
            msgspec.structs.replace(networks.spec(code), receive=tuple(RECEIVE[code])),
            Rule((Tier(depth=1),)),
            Policy(),
            issuer,
            canonical_wallet,
            new_ref,
        )
        for code in chains
    }
    backend = Backend(
        settings=lambda: config,
        store=store,
        contexts=contexts,
        issuer=issuer,
        metrics=Metrics(clock),
        clock=clock,
        rng=random.Random(7),
        **more,
    )
    server = Server(
        "127.0.0.1",
        0,
        [
            health.routes(lambda: health.Readiness(True, {}), backend.metrics),
            routes(resources.endpoints(backend), backend),
            door_page.routes(),
        ],
        http=lambda: backend.settings.http,
        limits=backend.limits,
        on_stop=backend.stop,
    )
    await server.start()
    session = aiohttp.ClientSession()
    try:
        yield Served(backend, clock, server, session)
    finally:
        await session.close()
        await server.stop()
        store.close()
