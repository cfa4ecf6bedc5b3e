"""Which web pages may call the API from a browser: ``[http] cors_origins``.

Callers prove themselves by headers that a page must set itself, never by cookies, so a foreign page cannot ride on a
visitor's login (no CSRF), and ``Access-Control-Allow-Credentials`` is never sent.
"""

import re
from collections.abc import Collection

from aiohttp import web

METHODS = "GET, POST, PUT, PATCH, DELETE"
HEADERS = (
    "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, "
    "X-Account, X-Challenge, X-Pubkey, X-Signature, X-Requested-With"
)
_KNOWN = frozenset(HEADERS.lower().split(", "))
_FREE = re.compile(r"x-[a-z0-9-]{1,40}", re.ASCII)
MAX_ASKED = 32
"""Headers of a preflight that are looked at."""
EXPOSED = "Retry-After, RateLimit, RateLimit-Policy, X-Request-Id, Idempotency-Replayed, Location"
MAX_AGE_S = 600


def allowed(origin: str | None, origins: Collection[str]) -> str | None:
    """Return what ``Access-Control-Allow-Origin`` is to say, None: nothing."""
    if origin is None:
        return None
    if "*" in origins:
        return "*"
    return origin if origin in origins else None


def is_preflight(request: web.BaseRequest) -> bool:
    """Is this a browser's question before the request itself?"""
    return request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers


def preflight(request: web.BaseRequest) -> web.Response:
    """Answer a preflight: our headers, and any further ``x-`` header that was asked about.

    Whether the page may go on is said by ``mark``; without its header the browser refuses by itself.
    """
    asked = request.headers.get("Access-Control-Request-Headers", "").split(",")[:MAX_ASKED]
    more = [name for part in asked if _FREE.fullmatch(name := part.strip().lower()) and name not in _KNOWN]
    headers = {
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": ", ".join([HEADERS, *more]),
        "Access-Control-Max-Age": str(MAX_AGE_S),
    }
    return web.Response(status=204, headers=headers)


def mark(response: web.StreamResponse, origin: str | None, origins: Collection[str]) -> None:
    """Add what lets the page at ``origin`` read the response, when it may."""
    if origins and "*" not in origins:
        response.headers.add("Vary", "Origin")
    if (permitted := allowed(origin, origins)) is not None:
        response.headers["Access-Control-Allow-Origin"] = permitted
        response.headers["Access-Control-Expose-Headers"] = EXPOSED
