"""Door devices prove themselves by ``Authorization: Bearer cwd_…``.

A device that proved itself is remembered for a moment, so that a scan costs no look-up; whatever writes asks again,
in its own transaction, whether the device was revoked (``chainwatch.ledger.devices.require``).
"""

import weakref

from aiohttp import web

from chainwatch.api.backend import Backend
from chainwatch.api.problems import Problem
from chainwatch.ledger import devices
from chainwatch.ledger.devices import Device

REMEMBERED_MS = 5_000
MOST = 1_000
"""Devices remembered: more than any event has; beyond it all are forgotten and ask again."""

_REMEMBERED: weakref.WeakKeyDictionary[Backend, dict[str, tuple[Device, int]]] = weakref.WeakKeyDictionary()


async def device_of(request: web.Request, backend: Backend) -> Device | None:
    """Return the device whose key the request carries; None without one; ``Problem`` ``unauthorized`` for a wrong one.

    A key in the query string is no key: query strings end in logs.
    """
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.startswith(devices.PREFIX):
        return None
    now_ms = backend.now_ms()
    known = _REMEMBERED.setdefault(backend, {})
    if (found := known.get(key)) is not None and now_ms - found[1] < REMEMBERED_MS:
        return found[0]
    device = await backend.store.read(devices.authenticate, key, now_ms)
    if device is None:
        known.pop(key, None)
        raise Problem(
            "unauthorized", "this is no device's key, or it was revoked", headers={"WWW-Authenticate": "Bearer"}
        )
    if len(known) >= MOST:
        known.clear()
    known[key] = (device, now_ms)
    if device.seen_ms is None or now_ms - device.seen_ms > devices.SEEN_EVERY_MS:
        await backend.store.write_together(devices.touch, device.id, now_ms)
    return device
