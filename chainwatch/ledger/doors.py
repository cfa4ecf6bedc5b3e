"""What a door asks of the ledger beside entries: the content of a manifest, and conflicts by name."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, select

from chainwatch.ledger.bulk import among
from chainwatch.ledger.entries import DAY_MS
from chainwatch.ledger.tables import devices, entries, tickets

OVERLAP_MS = 10_000
"""Entries of the last moments are sent again: another process's transaction may have been under way."""

LIVE = ("active", "used")
_CURSOR = re.compile(r"([0-9]{1,18})\.([0-9]{1,16})", re.ASCII)


class State(msgspec.Struct, frozen=True):
    """How far an event's door is, without its tickets: cheap to ask, and all that a manifest's ETag depends on."""

    last_number: int
    admitted: int
    newest_ms: int
    revoked: list[int]

    @property
    def cursor(self) -> str:
        """Where the next difference begins."""
        return f"{self.last_number}.{self.newest_ms}"


def state(connection: Connection, event: Row[Any]) -> State:
    """Look at an event's tickets and entries as a whole."""
    last = connection.execute(select(func.max(tickets.c.number)).where(tickets.c.event_id == event.id)).scalar_one()
    in_here = (entries.c.event_id == event.id, entries.c.admitted.is_(True))
    count, newest = connection.execute(select(func.count(), func.max(entries.c.received_ms)).where(*in_here)).one()
    dead = select(tickets.c.number).where(tickets.c.event_id == event.id, tickets.c.state.not_in(LIVE))
    revoked = list(connection.execute(dead.order_by(tickets.c.number)).scalars())
    return State(last or 0, count, newest or 0, revoked)


def etag(event: Row[Any], found: State, since: str | None) -> str:
    """Return the entity tag of a manifest: another one whenever its text is another."""
    said = (event.id, event.title, event.status, event.entry_policy, event.door, event.event_start_ms)
    said = (*said, event.event_end_ms, event.started_ms, event.ended_ms, since, *msgspec.structs.astuple(found))
    return f'"{hashlib.sha256(repr(said).encode()).hexdigest()[:32]}"'


def parse_since(since: str | None, found: State) -> tuple[int, int] | None:
    """Return number and time of a cursor; None, meaning everything, for one that is not of this event's past."""
    match = _CURSOR.fullmatch(since or "")
    if match is None:
        return None
    number, ms = int(match[1]), int(match[2])
    return (number, ms) if number <= found.last_number and ms <= found.newest_ms else None


def sold_since(connection: Connection, event: Row[Any], number: int) -> Sequence[Row[Any]]:
    """Return (number, uuid) of the tickets after ``number``, whatever their state: a suspended one may come back."""
    rows = select(tickets.c.number, tickets.c.uuid).where(tickets.c.event_id == event.id, tickets.c.number > number)
    return connection.execute(rows.order_by(tickets.c.number)).all()


def entries_since(connection: Connection, event: Row[Any], ms: int, now_ms: int) -> list[tuple[int, int, str]]:
    """Return (number, when, gate) of those who went in, received since ``ms``; of ``daily`` the last two days'."""
    if event.entry_policy == "reentry":
        return []
    wanted = select(tickets.c.number, entries.c.at_ms, entries.c.gate).join_from(
        entries, tickets, entries.c.ticket_id == tickets.c.id
    )
    wanted = wanted.where(
        entries.c.event_id == event.id,
        tickets.c.event_id == event.id,
        entries.c.admitted.is_(True),
        entries.c.received_ms >= ms - OVERLAP_MS,
    )
    if event.entry_policy == "daily":
        wanted = wanted.where(entries.c.at_ms >= now_ms - 2 * DAY_MS)
    return [(r.number, r.at_ms, r.gate) for r in connection.execute(wanted.order_by(entries.c.id))]


class Passage(msgspec.Struct, frozen=True):
    """One time that somebody went in."""

    at_ms: int
    gate: str
    device: str
    method: str
    result: str


class Conflict(msgspec.Struct, frozen=True):
    """A ticket with which somebody went in who should not have: every passage of it, the first one first.

    ``number``: None for a code that is no ticket of this event.  ``id``: of the entry, for paging.
    """

    id: int
    number: int | None
    why: str
    passages: list[Passage]


def conflicts(connection: Connection, event: Row[Any], limit: int, after: int = 0) -> list[Conflict]:
    """Return conflicts by id, at most ``limit`` after id ``after``."""
    c = entries.c
    wrong = connection.execute(
        select(c.id, c.ticket_id, c.at_ms, c.gate, c.method, c.result, devices.c.name, tickets.c.number)
        .select_from(entries)
        .outerjoin(devices, c.device_id == devices.c.id)
        .outerjoin(tickets, (c.ticket_id == tickets.c.id) & (tickets.c.event_id == c.event_id))
        .where(c.event_id == event.id, c.admitted.is_(True), c.result != "accepted", c.id > after)
        .order_by(c.id)
        .limit(limit)
    ).all()
    all_of = passages(connection, event, sorted({r.ticket_id for r in wrong if r.ticket_id is not None}))
    return [
        Conflict(
            r.id,
            r.number,
            r.result,
            all_of.get(r.ticket_id) or [Passage(r.at_ms, r.gate, r.name or "", r.method, r.result)],
        )
        for r in wrong
    ]


def passages(connection: Connection, event: Row[Any], ticket_ids: Sequence[int]) -> dict[int, list[Passage]]:
    """Return who went in with each ticket, in the order in which it happened."""
    if not ticket_ids:
        return {}
    c = entries.c
    rows = connection.execute(
        select(c.ticket_id, c.at_ms, c.gate, c.method, c.result, devices.c.name)
        .select_from(entries)
        .outerjoin(devices, c.device_id == devices.c.id)
        .where(among(connection, c.ticket_id, ticket_ids), c.event_id == event.id, c.admitted.is_(True))
        .order_by(c.at_ms, c.id)
    )
    found: dict[int, list[Passage]] = {}
    for r in rows:
        found.setdefault(r.ticket_id, []).append(Passage(r.at_ms, r.gate, r.name or "", r.method, r.result))
    return found
