"""Who calls: each kind of caller has a way to prove itself, and an endpoint says which it takes."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from aiohttp import web

from chainwatch.api.backend import Backend
from chainwatch.api.device_auth import device_of
from chainwatch.api.problems import Problem

Kind = Literal["public", "operator", "creator", "device", "session"]


class Caller(msgspec.Struct, frozen=True):
    """Who calls, as proved.  ``name``: the key's name, the account, the device; never a secret.

    ``event_id``: the event of a door device.  ``token``: the claims of a session.
    """

    kind: Kind = "public"
    name: str = ""
    scopes: frozenset[str] = frozenset()
    event_id: int | None = None
    device_id: int | None = None
    token: Mapping[str, Any] | None = None

    @property
    def actor(self) -> str:
        """As it stands in the audit log."""
        return f"{self.kind}:{self.name}" if self.name else self.kind


Authenticator = Callable[[web.Request, Backend], Awaitable[Caller | None]]
"""Returns the caller when the request carries a proof of this kind; None when it carries none; ``Problem`` when it
carries a wrong one."""


async def _device(request: web.Request, backend: Backend) -> Caller | None:
    device = await device_of(request, backend)
    if device is None:
        return None
    return Caller("device", device.name, event_id=device.event_id, device_id=device.id)


AUTHENTICATORS: Mapping[Kind, Authenticator] = {"device": _device}
"""Kind to how it proves itself.  A kind that is not here cannot call anything."""


async def authenticate(request: web.Request, backend: Backend, kinds: Sequence[Kind]) -> Caller:
    """Return the caller by the first kind that the request proves; ``Problem`` ``unauthorized`` when it proves none."""
    for kind in kinds:
        if (prove := AUTHENTICATORS.get(kind)) and (caller := await prove(request, backend)) is not None:
            return caller
    if "public" in kinds:
        return Caller()
    raise Problem("unauthorized", "this needs a proof of who you are", headers={"WWW-Authenticate": "Bearer"})
