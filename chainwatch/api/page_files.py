"""Files beside the pages: style, scripts, icon.  Their address holds their hash, so browsers keep them for ever."""

from collections.abc import Sequence

from aiohttp import web

from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import Call, Endpoint
from chainwatch.api.pages import render
from chainwatch.api.problems import Problem


async def file(call: Call) -> web.Response:
    """Return a file; another hash than today's is another version, which is not here."""
    found = render.static_files().get(call.path["name"])
    if found is None or found[2] != call.path["digest"]:
        raise Problem("not_found", "no such file")
    data, kind, digest = found
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "ETag": f'"{digest}"'}
    if call.path["name"] == "worker.js":
        headers["Service-Worker-Allowed"] = "/t/"  # and nothing else: it keeps tickets for halls without a network
    return web.Response(body=data, content_type=kind, headers=headers)


def endpoints(_backend: Backend) -> Sequence[Endpoint]:
    """Return the route."""
    path = "/static/{digest:[0-9a-f]{16}}/{name:[a-z0-9_.]+}"
    return (Endpoint(method="GET", path=path, handler=file, summary="A page's file", tag="pages", documented=False),)
