"""``/openapi.json`` and ``/docs``: the document, and a page to read it and try the routes out.

The page is Swagger UI, whose files come with the Python package ``swagger-ui-py``: nothing is fetched from another
host, and the content security policy says so.
"""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from chainwatch.api import openapi
from chainwatch.api.endpoints import Call, Endpoint
from chainwatch.api.problems import Problem

FILES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
"""What the page loads from us, and nothing else of the package's folder."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Swagger UI writes styles into its elements; scripts come from our own files only."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>chainwatch API</title>
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"><p>The API is described at <a href="/openapi.json">/openapi.json</a>.</p></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""

START = """SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});
"""


def static_folder() -> Path:
    """Return where Swagger UI's files are; the package is not imported: it would load its web frameworks."""
    found = importlib.util.find_spec("swagger_ui")
    if found is None or found.origin is None:
        raise Problem("not_found", "Swagger UI is not installed (swagger-ui-py)")
    return Path(found.origin).parent / "static"


def endpoints(all_endpoints: Callable[[], Sequence[Endpoint]]) -> Sequence[Endpoint]:
    """Return the routes of the documentation.  ``all_endpoints``: what is served, these included."""
    made: dict[str, bytes] = {}

    async def described(call: Call) -> web.Response:
        server = call.backend.settings.http.public_url
        if server not in made:
            made[server] = msgspec.json.encode(openapi.document(all_endpoints(), server))
        return web.Response(body=made[server], content_type="application/json")

    async def page(_call: Call) -> web.Response:
        headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
        return web.Response(text=PAGE, content_type="text/html", headers=headers)

    async def file(call: Call) -> web.StreamResponse:
        name = call.path["file"]
        if name == "start.js":
            return web.Response(text=START, content_type="text/javascript")
        if name not in FILES:
            raise Problem("not_found", "no such file")
        headers = {"Content-Type": FILES[name], "Cache-Control": "public, max-age=86400"}
        return web.FileResponse(static_folder() / name, headers=headers)

    common: dict[str, Any] = {"tag": "documentation", "documented": False}
    return (
        Endpoint(method="GET", path="/openapi.json", handler=described, summary="This document", **common),
        Endpoint(method="GET", path="/docs", handler=page, summary="A page to read and try it", **common),
        Endpoint(method="GET", path="/docs/{file}", handler=file, summary="The page's files", **common),
    )
