"""Buttons that only a built-in network has: pay, and come in, with a simulated wallet."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import Call, Endpoint
from chainwatch.api.pages import render
from chainwatch.errors import Rejected


async def _pay(call: Call) -> web.Response:
    assert call.backend.simulation is not None
    try:
        await call.backend.simulation.pay(call.path["id"])
    except Rejected as error:
        return render.problem(400, "Nothing was paid", str(error), f"/pay/{call.path['id']}")
    return web.Response(status=303, headers={"Location": f"/pay/{call.path['id']}"})


async def _join(call: Call) -> web.Response:
    assert call.backend.simulation is not None
    try:
        happened = await call.backend.simulation.join(call.path["token"])
    except Rejected as error:
        return render.problem(400, "Not let in", str(error), f"/t/{call.path['token']}")
    return render.page("joined.html", happened=happened, back=f"/t/{call.path['token']}")


def endpoints(backend: Backend) -> Sequence[Endpoint]:
    """Return the routes; none outside the built-in network."""
    if backend.simulation is None:
        return ()
    common: dict[str, Any] = {"method": "POST", "tag": "pages", "documented": False}
    return (
        Endpoint(path="/simulated/pay/{id}", handler=_pay, summary="Pay with the simulated wallet", **common),
        Endpoint(path="/simulated/join/{token}", handler=_join, summary="Come in with it", **common),
    )
