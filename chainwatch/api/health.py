"""``/healthz`` alive · ``/readyz`` every chain followed and the database writable · ``/metrics`` Prometheus."""

from collections.abc import Callable

import msgspec
from aiohttp import web

from chainwatch.api.server import Routes
from chainwatch.metrics import CONTENT_TYPE, Metrics


class Readiness(msgspec.Struct, frozen=True):
    """Is it ready, and if not, what is missing: part name to reason."""

    ready: bool
    parts: dict[str, str]


def routes(readiness: Callable[[], Readiness], metrics: Metrics) -> Routes:
    """Return the routes of operations."""

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_request: web.Request) -> web.Response:
        state = readiness()
        body = msgspec.json.encode({"status": "ready" if state.ready else "not ready", "parts": state.parts})
        return web.Response(body=body, status=200 if state.ready else 503, content_type="application/json")

    async def expose(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    def add(app: web.Application) -> None:
        app.router.add_get("/healthz", healthz)
        app.router.add_get("/readyz", readyz)
        app.router.add_get("/metrics", expose)

    return add
