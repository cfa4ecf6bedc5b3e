"""Door devices of an event, for its creator and operators: added, listed, revoked."""

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlencode

import msgspec
from msgspec import Meta
from sqlalchemy import Connection

from chainwatch.api.backend import Backend
from chainwatch.api.door import event_of_caller
from chainwatch.api.endpoints import Call, Endpoint, creator
from chainwatch.api.fields import row_id
from chainwatch.ledger import devices
from chainwatch.tickets.token import base64url
from chainwatch.times import format_ms


class NewDevice(msgspec.Struct):
    """What people call it: a gate, or who holds it."""

    name: Annotated[str, Meta(min_length=1, max_length=devices.MAX_NAME)]


class DeviceMade(msgspec.Struct):
    """``key`` is shown this once.  ``enrol_url`` opens the door page with it, in the part that no server sees."""

    id: int
    event: str
    name: str
    key: str
    enrol_url: str


class DeviceShown(msgspec.Struct):
    """A device as it is listed."""

    id: int
    name: str
    created_at: str | None
    seen_at: str | None
    revoked_at: str | None


class Devices(msgspec.Struct):
    """All devices of an event."""

    devices: list[DeviceShown]


class Revoked(msgspec.Struct):
    """``revoked``: False when it was already."""

    id: int
    revoked: bool


def endpoints(backend: Backend) -> Sequence[Endpoint]:
    """Return what this resource serves."""
    del backend
    path, problems = "/api/events/{id}/devices", ("forbidden", "unknown_event")
    return [
        Endpoint(
            method="POST",
            path=path,
            handler=_add,
            summary="A new door device of the event; its key is shown once",
            tag="door",
            who=creator("door"),
            body=NewDevice,
            answer=DeviceMade,
            status=201,
            writes=True,  # a kept answer holds the key, encrypted under what only its caller has
            problems=(*problems, "bad_name", "too_many"),
        ),
        Endpoint(
            method="GET",
            path=path,
            handler=_list,
            summary="The event's door devices",
            tag="door",
            who=creator("door"),
            answer=Devices,
            problems=problems,
        ),
        Endpoint(
            method="DELETE",
            path=path + "/{device}",
            handler=_revoke,
            summary="Revoke a device: its next request is refused, its scans stay",
            tag="door",
            who=creator("door"),
            answer=Revoked,
            writes=True,
            problems=(*problems, "unknown_device"),
        ),
    ]


def enrol_url(public_url: str, key: str, manifest_key: bytes) -> str:
    """Return the address that enrols a device: the key in the fragment, which browsers send to nobody.

    The manifest's key is beside it: the device believes no other from the first moment.
    """
    return f"{public_url.rstrip('/')}/door#{urlencode({'key': key, 'pin': base64url(manifest_key)})}"


async def _add(call: Call) -> DeviceMade:
    body: NewDevice = call.body

    public, manifest_key = call.backend.settings.http.public_url, call.backend.issuer.signer("manifest").public

    def write(connection: Connection) -> DeviceMade:
        event = event_of_caller(connection, call)
        device_id, key = devices.add(connection, event, body.name, call.now_ms, call.caller.actor)
        url = enrol_url(public, key, manifest_key)
        return DeviceMade(device_id, call.path["id"], body.name.strip(), key, url)

    return await call.write(write)


async def _list(call: Call) -> Devices:
    def read(connection: Connection) -> list[DeviceShown]:
        rows = devices.listing(connection, event_of_caller(connection, call))
        return [
            DeviceShown(r.id, r.name, format_ms(r.created_ms), format_ms(r.seen_ms), format_ms(r.revoked_ms))
            for r in rows
        ]

    return Devices(await call.backend.store.read(read))


async def _revoke(call: Call) -> Revoked:
    device_id = row_id(call.path["device"], "unknown_device")

    def write(connection: Connection) -> Revoked:
        event = event_of_caller(connection, call)
        return Revoked(device_id, devices.revoke(connection, event, device_id, call.now_ms, call.caller.actor))

    return await call.write(write)
