"""Who calls: each kind of caller has a way to prove itself, and an endpoint says which it takes."""

from collections.abc import Mapping, Sequence

from aiohttp import web

from chainwatch.api import creator_auth, operator_auth, session_auth
from chainwatch.api.backend import Backend
from chainwatch.api.callers import Authenticator, Caller, Kind
from chainwatch.api.device_auth import device_of
from chainwatch.api.problems import Problem

__all__ = ["AUTHENTICATORS", "Authenticator", "Caller", "Kind", "authenticate"]


async def _device(request: web.Request, backend: Backend) -> Caller | None:
    device = await device_of(request, backend)
    return device and Caller("device", device.name, event_id=device.event_id, device_id=device.id)


AUTHENTICATORS: Mapping[Kind, Authenticator] = {
    "operator": operator_auth.authenticate,
    "creator": creator_auth.authenticate,
    "device": _device,
    "session": session_auth.authenticate,
}
"""Kind to how it proves itself.  A kind that is not here cannot call anything."""


async def authenticate(request: web.Request, backend: Backend, kinds: Sequence[Kind]) -> Caller:
    """Return the caller by the first kind that the request proves; ``Problem`` ``unauthorized`` when it proves none.

    ``public`` comes last: who sends a proof, also a wrong one, is taken at his word.  Where only the public calls,
    nothing is looked at: the platform's client sends ``Bearer :<account>`` everywhere.
    """
    for kind in kinds:
        if (prove := AUTHENTICATORS.get(kind)) and (caller := await prove(request, backend)) is not None:
            return caller
    if "public" in kinds:
        return Caller()
    raise Problem("unauthorized", "this needs a proof of who you are", headers={"WWW-Authenticate": "Bearer"})
