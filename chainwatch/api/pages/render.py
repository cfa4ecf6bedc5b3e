"""Templates to pages, and the files beside them.  Everything comes from the package: no outside host is asked."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""No inline script or style, nothing from elsewhere: memos and names are hostile text."""

HEADERS = {
    "Content-Security-Policy": CSP,
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}

TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
"""Kinds of file that are served; nothing else in the folder is."""


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("chainwatch.api.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["static"] = static_url
    return made


@cache
def static_files() -> dict[str, tuple[bytes, str, str]]:
    """Return every file beside the pages: name -> (content, type, digest)."""
    found = {}
    for entry in (files("chainwatch.api.pages") / "static").iterdir():
        suffix = "." + entry.name.rpartition(".")[2]
        if suffix in TYPES:
            data = entry.read_bytes()
            found[entry.name] = (data, TYPES[suffix], hashlib.sha256(data).hexdigest()[:16])
    return found


def static_url(name: str) -> str:
    """Return a file's address; it changes with its content, so that it may be kept for ever."""
    return f"/static/{static_files()[name][2]}/{name}"


def fragment(template: str, **values: Any) -> Markup:
    """Draw a part of a page."""
    return Markup(_environment().get_template(template).render(**values))  # noqa: S704 (the template escapes)


def page(template: str, *, status: int = 200, **values: Any) -> web.Response:
    """Draw a page."""
    text = _environment().get_template(template).render(**values)
    return web.Response(text=text, status=status, content_type="text/html", headers=HEADERS)


def problem(status: int, title: str, detail: str, back: str = "") -> web.Response:
    """Draw a page that says what went wrong, with a way ``back``."""
    return page("problem.html", status=status, title=title, detail=sentence(detail), back=back)


def sentence(text: str) -> str:
    """Return what an error says as people write it."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
