"""Who calls, once proved; and what authenticators need to know of the endpoint that is called."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

import msgspec
from aiohttp import web

from chainwatch.api.backend import Backend

Kind = Literal["public", "operator", "creator", "device", "session"]

ROLE: web.RequestKey[str] = web.RequestKey("role", str)
"""The Hive authority that the endpoint asks of a creator."""


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


def bearer(request: web.Request) -> str | None:
    """Return what stands behind ``Authorization: Bearer``; None without it."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    value = value.strip()
    return value if scheme.lower() == "bearer" and value else None
