"""An operator proves itself by its key: ``Authorization: Bearer cwk_…``."""

from aiohttp import web

from chainwatch.api.backend import Backend
from chainwatch.api.callers import Caller, bearer
from chainwatch.api.problems import Problem
from chainwatch.ledger import operators

MAX_KEY = 200
"""Characters of a key that are looked at; ours have 47."""


async def authenticate(request: web.Request, backend: Backend) -> Caller | None:
    """Return the operator whose key the request carries."""
    key = bearer(request)
    if key is None or not key.startswith(operators.PREFIX):
        return None
    found = await backend.store.read(operators.find, key) if len(key) <= MAX_KEY else None
    if found is None:
        headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        raise Problem("unauthorized", "this key is not in force", headers=headers)
    now_ms = backend.now_ms()
    if found.used_ms is None or found.used_ms < now_ms - operators.USED_EVERY_MS:
        await backend.store.write_together(operators.used, found.id, now_ms)
    return Caller("operator", found.name, found.scopes)
