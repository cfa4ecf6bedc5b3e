"""``/door``: the scanner page.  Its files ship in the package (``pages/door``) and come from nowhere else."""

import hashlib
import importlib.resources
from collections.abc import Mapping

import msgspec
from aiohttp import web

from chainwatch.api.server import Routes

TYPES: Mapping[str, str] = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
    "webmanifest": "application/manifest+json",
}
FILES = (
    "index.html",
    "door.css",
    "app.js",
    "keep.js",
    "scanner.js",
    "server.js",
    "show.js",
    "verdict.js",
    "qr/decode.js",
    "qr/index.js",
    "icon.svg",
    "manifest.webmanifest",
)
WORKER = "sw.js"

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""Nothing from another host, nothing inline, in nobody's frame.  The service worker keeps the files for offline."""


def routes() -> Routes:
    """Return the page's routes; its files are read once."""
    folder = importlib.resources.files("chainwatch.api") / "pages" / "door"
    held = {name: folder.joinpath(*name.split("/")).read_bytes() for name in FILES}
    worker = folder.joinpath(WORKER).read_bytes()
    version = hashlib.sha256(b"\n".join([worker, *held.values()])).hexdigest()[:16]
    paths = {_path(name): name for name in FILES}
    worker = worker.replace(b"__VERSION__", version.encode()).replace(b"__FILES__", msgspec.json.encode(list(paths)))
    held[WORKER] = worker

    async def serve(request: web.Request) -> web.StreamResponse:
        name = paths.get(request.path, WORKER)
        body = held[name]
        tag = hashlib.sha256(body).hexdigest()[:32]
        headers = {**HEADERS, "ETag": f'"{tag}"'}
        if name == WORKER:
            headers["Service-Worker-Allowed"] = "/door"
        if any(known.value == tag for known in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        kind = TYPES[name.rpartition(".")[2]]
        charset = None if kind.startswith("image/") else "utf-8"
        return web.Response(body=body, content_type=kind, charset=charset, headers=headers)

    def add(app: web.Application) -> None:
        for path in (*paths, _path(WORKER)):
            app.router.add_get(path, serve)

    return add


def _path(name: str) -> str:
    return "/door" if name == "index.html" else f"/door/{name}"
