"""The door: a signed manifest, one scan, a drained log of scans, and the conflicts that it named."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta
from sqlalchemy import Connection, Row

from chainwatch.api import wire
from chainwatch.api.backend import Backend
from chainwatch.api.desk import Desk
from chainwatch.api.endpoints import DEVICE, Call, Endpoint, Who
from chainwatch.api.problems import Problem
from chainwatch.errors import Rejected
from chainwatch.ledger import devices, doors, events, scans
from chainwatch.ledger.doors import Passage
from chainwatch.ledger.entries import MAX_GATE, MAX_NONCE, Entry
from chainwatch.ledger.scans import MAX_SCANS, Scan
from chainwatch.tickets import manifest as manifests
from chainwatch.tickets.codes import MAX_CODE, Codes
from chainwatch.tickets.manifest import Manifest, Said
from chainwatch.tickets.token import base64url
from chainwatch.times import format_ms

Nonce = Annotated[str, Meta(pattern=rf"^[A-Za-z0-9_-]{{1,{MAX_NONCE}}}$")]
Gate = Annotated[str, Meta(max_length=MAX_GATE, pattern=r"^[^\x00-\x1f\x7f]*$")]
When = Annotated[int, Meta(ge=0, le=1 << 53)] | Annotated[str, Meta(max_length=40)]
"""RFC 3339, or Unix milliseconds as a number."""


class CheckIn(msgspec.Struct, kw_only=True):
    """A scan: ``code`` is the text of the QR code, ``order_id`` a purchase's secret id.  ``at``: now, if left out.

    ``nonce`` is the device's own, one for each scan: sent again with the same, it is the same scan.
    """

    nonce: Nonce
    code: Annotated[str, Meta(max_length=MAX_CODE)] = ""
    order_id: Annotated[str, Meta(max_length=100)] = ""
    gate: Gate = ""
    at: When | None = None


class Logged(msgspec.Struct, kw_only=True):
    """A scan that already happened.  ``admitted``: the device let them in; ``reason``: what it showed if it did not."""

    nonce: Nonce
    at: When
    admitted: bool
    code: Annotated[str, Meta(max_length=MAX_CODE)] = ""
    order_id: Annotated[str, Meta(max_length=100)] = ""
    gate: Gate = ""
    reason: Annotated[str, Meta(max_length=40)] = ""


class Log(msgspec.Struct):
    """A part of a device's log, in any order."""

    scans: Annotated[list[Logged], Meta(max_length=MAX_SCANS)]


class FirstEntry(msgspec.Struct):
    """When this ticket first came in (``daily``: that day), and where."""

    at: str | None
    gate: str


class Answer(msgspec.Struct, kw_only=True):
    """``state``: ``accepted``, ``conflict`` or why not; ``replayed``: the answer of the same scan, sent before.

    ``conflict``: everybody who went in with this ticket, the first one first; of scans that should not have been.
    """

    nonce: str
    accepted: bool
    admitted: bool
    state: str
    ticket_number: int | None
    at: str | None
    gate: str
    first_entry: FirstEntry | None
    replayed: bool
    conflict: list["Went"] | None = None


class Went(msgspec.Struct):
    """One passage: when, through which gate, by which device and method, and what was said to it."""

    at: str | None
    gate: str
    device: str
    method: str
    state: str


class Drained(msgspec.Struct):
    """One answer for each scan, in their order."""

    results: list[Answer]
    conflicts: int


class ConflictOut(msgspec.Struct):
    """A ticket with which somebody went in who should not have."""

    id: int
    ticket_number: int | None
    reason: str
    passages: list[Went]


class Conflicts(msgspec.Struct):
    """``next_cursor``: where to go on; None at the end."""

    conflicts: list[ConflictOut]
    next_cursor: str | None


class ManifestQuery(msgspec.Struct):
    """``since``: the cursor of the manifest that the device has."""

    since: Annotated[str, Meta(max_length=40)] | None = None


class ConflictQuery(msgspec.Struct):
    """A page of conflicts."""

    limit: Annotated[int, Meta(ge=1, le=500)] = 100
    cursor: Annotated[int, Meta(ge=0, le=1 << 62)] = 0


class Enrolled(msgspec.Struct):
    """What a device learns about itself.  Keys are Ed25519 public keys, base64url."""

    event: str
    title: str
    device: str
    manifest_key: str
    qr_key: str
    time: str | None


def endpoints(backend: Backend) -> Sequence[Endpoint]:
    """Return what this resource serves."""
    door = Door(backend)
    seen_by = Who(("device", "operator", "creator"), "door")
    return [
        Endpoint(
            method="GET",
            path="/api/door",
            handler=door.enrolled,
            summary="Who this device is, and the keys it checks with",
            tag="door",
            who=DEVICE,
            limit="door",
            answer=Enrolled,
        ),
        Endpoint(
            method="GET",
            path="/api/events/{id}/manifest",
            handler=door.manifest,
            summary="The signed manifest of an event, for doors without a network",
            tag="door",
            who=DEVICE,
            limit="door",
            query=ManifestQuery,
            answer=Manifest,
            problems=("forbidden",),
        ),
        Endpoint(
            method="POST",
            path="/api/checkin",
            handler=door.check_in,
            summary="One scan; retry with the same nonce",
            tag="door",
            who=DEVICE,
            limit="door",
            body=CheckIn,
            answer=Answer,
        ),
        Endpoint(
            method="POST",
            path="/api/events/{id}/redemptions",
            handler=door.drain,
            summary=f"Scans that already happened, at most {MAX_SCANS}, in any order; conflicts are named",
            tag="door",
            who=DEVICE,
            limit="door",
            body=Log,
            answer=Drained,
            problems=("forbidden",),
        ),
        Endpoint(
            method="GET",
            path="/api/events/{id}/conflicts",
            handler=door.conflicts,
            summary="Tickets with which somebody went in who should not have, each passage with gate and time",
            tag="door",
            who=seen_by,
            query=ConflictQuery,
            answer=Conflicts,
            problems=("forbidden", "unknown_event"),
        ),
    ]


class Door:
    """The handlers, with the keys that they check and sign with."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._codes = Codes(backend.issuer)
        self._signer = backend.issuer.signer("manifest")
        self._desk = Desk(backend, self._codes)

    async def enrolled(self, call: Call) -> Enrolled:
        """Say to a device who it is."""
        event = await call.backend.store.read(devices.require, _device(call))
        return Enrolled(
            event=event.slug or str(event.id),
            title=event.title,
            device=call.caller.name,
            manifest_key=base64url(self._signer.public),
            qr_key=base64url(self._codes.public),
            time=format_ms(call.now_ms),
        )

    async def manifest(self, call: Call) -> web.StreamResponse:
        """Answer the whole manifest, or what changed; 304 when nothing did."""
        asked: ManifestQuery = call.query
        tag, sent = await call.backend.store.read(
            self._manifest, _device(call), call.path["id"], asked.since, call.request.headers.get("If-None-Match", "")
        )
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if sent is None:
            return web.Response(status=304, headers=headers)
        return web.Response(body=wire.encode(sent), content_type=wire.JSON, headers=headers)

    def _manifest(
        self, connection: Connection, device_id: int, event_id: str, since: str | None, known: str
    ) -> tuple[str, Manifest | None]:
        event = _own_event(connection, device_id, event_id)
        found = doors.state(connection, event)
        tag = doors.etag(event, found, since)
        if tag in (part.strip().removeprefix("W/") for part in known.split(",")):
            return tag, None
        now_ms = self._backend.now_ms()
        part = doors.parse_since(since, found)
        number, ms = part or (0, 0)
        sold = doors.sold_since(connection, event, number)
        went = doors.entries_since(connection, event, ms, now_ms)
        gates = sorted({gate for _, _, gate in went})
        at = {gate: i for i, gate in enumerate(gates)}
        salt = manifests.salt_of(self._backend.issuer, event_id)
        early_ms = _early_ms(self._backend)
        start_ms = None if event.event_start_ms is None else event.event_start_ms - early_ms
        said = Said(
            event=event_id,
            title=event.title,
            policy=event.entry_policy,
            door=event.door,
            opens_ms=_earliest(event.started_ms, start_ms) if start_ms is not None else None,
            closes_ms=_earliest(event.ended_ms, event.event_end_ms),
            cancelled=event.status == "cancelled",
            salt=base64url(salt),
            qr_key=base64url(self._codes.public),
            since=since if part else None,
            cursor=found.cursor,
            numbers=[number for number, _ in sold],
            hashes=manifests.hashes(self._codes, salt, [uuid for _, uuid in sold]),
            revoked=found.revoked,
            gates=gates,
            entries=[(n, when, at[gate]) for n, when, gate in went],
        )
        return tag, manifests.sign(self._signer, said, now_ms)

    async def check_in(self, call: Call) -> Answer:
        """Decide one scan."""
        body: CheckIn = call.body
        at_ms = wire.time_ms(body.at, "at")
        scan = Scan(
            nonce=body.nonce,
            at_ms=call.now_ms if at_ms is None else at_ms,
            gate=body.gate,
            code=body.code,
            order_id=body.order_id,
        )
        _one_of(scan)
        entry = await self._desk.decide(_device(call), scan)
        self._count([entry])
        return _answer(scan, entry, {})

    async def drain(self, call: Call) -> Drained:
        """Record scans that already happened."""
        sent: Log = call.body
        log = [
            Scan(
                nonce=s.nonce,
                at_ms=max(wire.time_ms(s.at, "at") or 0, 0),
                gate=s.gate,
                code=s.code,
                order_id=s.order_id,
                admitted=s.admitted,
                shown=s.reason,
            )
            for s in sent.scans
        ]
        for scan in log:
            _one_of(scan)
        device_id, early_ms = _device(call), _early_ms(self._backend)

        def body(connection: Connection) -> tuple[list[Entry], dict[int, list[Passage]]]:
            event = _own_event(connection, device_id, call.path["id"])
            entered = scans.check_in(connection, log, device_id, self._codes, call.now_ms, early_ms)
            wrong = {e.ticket_id for e in entered if _is_conflict(e) and e.ticket_id is not None}
            return entered, doors.passages(connection, event, sorted(wrong))

        entered, passages = await call.backend.store.write_together(body)
        self._count(entered)
        answers = [_answer(scan, entry, passages) for scan, entry in zip(log, entered, strict=True)]
        return Drained(answers, sum(a.conflict is not None for a in answers))

    def _count(self, entered: Sequence[Entry]) -> None:
        for entry in entered:
            if not entry.replayed:
                self._backend.metrics.checkin(entry.result)

    async def conflicts(self, call: Call) -> Conflicts:
        """List conflicts by name."""
        asked: ConflictQuery = call.query

        def body(connection: Connection) -> list[doors.Conflict]:
            event = event_of_caller(connection, call)
            return doors.conflicts(connection, event, asked.limit, asked.cursor)

        found = await call.backend.store.read(body)
        shown = [ConflictOut(c.id, c.number, c.why, [_went(p) for p in c.passages]) for c in found]
        return Conflicts(shown, str(found[-1].id) if len(found) == asked.limit else None)


def event_of_caller(connection: Connection, call: Call) -> Row[tuple[object, ...]]:
    """Return the event in the path; ``Problem`` ``forbidden`` when the caller has nothing to do with it."""
    event = events.find(connection, call.path["id"])
    caller = call.caller
    foreign_device = caller.kind == "device" and caller.event_id != event.id
    foreign_creator = caller.kind == "creator" and caller.name != event.creator_account
    if foreign_device or foreign_creator:
        raise Problem("forbidden", "this event is not yours")
    return event


def _own_event(connection: Connection, device_id: int, event_id: str) -> Row[tuple[object, ...]]:
    event = devices.require(connection, device_id)
    if event_id != (event.slug or str(event.id)):
        raise Rejected("forbidden", "this device stands at another event's door")
    return event


def _one_of(scan: Scan) -> None:
    if bool(scan.code) == bool(scan.order_id):
        raise Problem("bad_request", "a scan has either a code or an order_id")


def _device(call: Call) -> int:
    if call.caller.device_id is None:
        raise Problem("unauthorized", "this needs a device's key")
    return call.caller.device_id


def _earliest(*times: int | None) -> int | None:
    return min((ms for ms in times if ms is not None), default=None)


def _early_ms(backend: Backend) -> int:
    return backend.settings.access.early_minutes * 60_000


def _is_conflict(entry: Entry) -> bool:
    return entry.admitted and entry.result != "accepted"


def _answer(scan: Scan, entry: Entry, passages: dict[int, list[Passage]]) -> Answer:
    conflict = None
    if _is_conflict(entry):
        conflict = [_went(p) for p in passages.get(entry.ticket_id or 0, ())]
    return Answer(
        nonce=scan.nonce,
        accepted=entry.result == "accepted",
        admitted=entry.admitted,
        state=entry.result,
        ticket_number=entry.number,
        at=format_ms(entry.at_ms),
        gate=entry.gate,
        first_entry=FirstEntry(format_ms(entry.first.at_ms), entry.first.gate) if entry.first else None,
        replayed=entry.replayed,
        conflict=conflict,
    )


def _went(passage: Passage) -> Went:
    return Went(format_ms(passage.at_ms), passage.gate, passage.device, passage.method, passage.result)
