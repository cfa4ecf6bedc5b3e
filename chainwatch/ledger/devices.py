"""Door devices of an event: a key each, kept as a hash, revocable; the key itself is shown once."""

import hashlib
import secrets
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, insert, select, update

from chainwatch.errors import Rejected
from chainwatch.ledger import outbox
from chainwatch.ledger.tables import devices, events

PREFIX = "cwd_"
"""By which a key is known in a leak scanner, and told from other bearer tokens."""

KEY_BYTES = 32
MAX_NAME = 40
MAX_DEVICES = 500
"""Live devices of one event: a stadium has some hundred gates."""

SEEN_EVERY_MS = 60_000
"""``seen_ms`` is written at most so often: it is for people, and a write a scan would cost what a scan costs."""


class Device(msgspec.Struct, frozen=True):
    """A device that proved itself.  ``event``: the public id of the one event whose door it stands at."""

    id: int
    event_id: int
    event: str
    name: str
    seen_ms: int | None


def add(connection: Connection, event: Row[Any], name: str, now_ms: int, actor: str) -> tuple[int, str]:
    """Make a device; return its id and its key, which is kept nowhere.  ``Rejected``: ``bad_name``, ``too_many``."""
    name = name.strip()
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise Rejected("bad_name", f"a device's name has 1 to {MAX_NAME} characters")
    live = select(func.count()).where(devices.c.event_id == event.id, devices.c.revoked_ms.is_(None))
    if connection.execute(live).scalar_one() >= MAX_DEVICES:
        raise Rejected("too_many", f"an event has at most {MAX_DEVICES} devices; revoke some")
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    row = {"event_id": event.id, "name": name, "key_hash": _hash(key), "created_ms": now_ms}
    made = connection.execute(insert(devices).values(row)).inserted_primary_key
    assert made is not None
    outbox.audit(connection, now_ms, actor, "device_added", f"device:{made[0]}", {"name": name})
    return int(made[0]), key


def revoke(connection: Connection, event: Row[Any], device_id: int, now_ms: int, actor: str) -> bool:
    """Revoke a device of ``event``; False when it was already.  ``Rejected('unknown_device')``."""
    ours = (devices.c.id == device_id, devices.c.event_id == event.id)
    if connection.execute(select(devices.c.id).where(*ours)).first() is None:
        raise Rejected("unknown_device", f"the event has no device {device_id}")
    done = connection.execute(update(devices).where(*ours, devices.c.revoked_ms.is_(None)).values(revoked_ms=now_ms))
    if done.rowcount:
        outbox.audit(connection, now_ms, actor, "device_revoked", f"device:{device_id}")
    return bool(done.rowcount)


def listing(connection: Connection, event: Row[Any]) -> Sequence[Row[Any]]:
    """Return an event's devices, the revoked ones too: their entries stay."""
    return connection.execute(select(devices).where(devices.c.event_id == event.id).order_by(devices.c.id)).all()


def names(connection: Connection, event: Row[Any]) -> dict[int, str]:
    """Return what an event's devices are called."""
    return {row.id: row.name for row in listing(connection, event)}


def authenticate(connection: Connection, key: str, now_ms: int) -> Device | None:
    """Return the device that has ``key``; None when there is none or it was revoked.  Writes nothing."""
    del now_ms  # keys do not expire: an event's door ends with the event
    if not key.startswith(PREFIX) or len(key) > 100:
        return None
    row = connection.execute(
        select(devices, events.c.slug)
        .join_from(devices, events, devices.c.event_id == events.c.id)
        .where(devices.c.key_hash == _hash(key), devices.c.revoked_ms.is_(None))
    ).one_or_none()
    if row is None:
        return None
    return Device(row.id, row.event_id, row.slug or str(row.event_id), row.name, row.seen_ms)


def touch(connection: Connection, device_id: int, now_ms: int) -> None:
    """Note that a device was heard of."""
    stale = devices.c.seen_ms.is_(None) | (devices.c.seen_ms < now_ms - SEEN_EVERY_MS)
    connection.execute(update(devices).where(devices.c.id == device_id, stale).values(seen_ms=now_ms))


def require(connection: Connection, device_id: int) -> Row[Any]:
    """Return the event of a device; ``Rejected('unauthorized')`` when it was revoked since it proved itself."""
    live = (devices.c.id == device_id, devices.c.revoked_ms.is_(None))
    row = connection.execute(select(events).join(devices, devices.c.event_id == events.c.id).where(*live)).one_or_none()
    if row is None:
        raise Rejected("unauthorized", "this device was revoked")
    return row


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
