"""A guest proves a session by ``Authorization: Bearer <session token>``."""

from aiohttp import web

from chainwatch.access import sessions
from chainwatch.api.backend import Backend
from chainwatch.api.callers import Caller, bearer
from chainwatch.api.problems import Problem
from chainwatch.errors import Rejected

MAX_TOKEN = 2_048
"""Characters of a token that are looked at; ours have some 600."""


async def authenticate(request: web.Request, backend: Backend) -> Caller | None:
    """Return the guest whose token the request carries; None without one, ``Problem`` for one that is not in force."""
    token = bearer(request)
    if token is None or token.count(".") != 2:
        return None
    try:
        if len(token) > MAX_TOKEN:
            raise Rejected("bad_session", "not a session of ours")
        claims = sessions.read(backend, token)
    except Rejected as error:
        headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        raise Problem(error.code, str(error), status=401, headers=headers) from error
    return Caller("session", claims["sub"], token=claims)
