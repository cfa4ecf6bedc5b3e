"""The one entry guard: whoever comes in, by QR code, order id or wallet, comes through here.

An entry is decided with the ticket's row locked (PostgreSQL: ``FOR UPDATE``, rows in id order; SQLite has one writer),
so that of two doors within the same millisecond exactly one is green.  Every attempt leaves a row in ``entries`` with
its answer, before the answer; the same nonce of the same device for the same ticket is the same attempt, and gets
the answer that it got.

Policies: ``once``; ``daily``, by the UTC day (events have no time zone of their own: an event that goes past
midnight UTC starts a new day there); ``reentry``, as often as they like.

A *forced* attempt already happened: a door without a network let somebody in.  It is recorded as what it was, and
where our rules say no it is a conflict to be named, not a scan to be lost (pretixscan's offline uploads).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Row, select, update

from chainwatch.ledger.bulk import among, insert_rows, update_rows
from chainwatch.ledger.tables import devices, entries, tickets

EARLY_MS = 30 * 60_000
"""How long before its start an event lets people in, where ``[access] early_minutes`` says nothing else."""

DAY_MS = 86_400_000
MAX_NONCE, MAX_GATE = 64, 40
"""Characters: a uuid has 36; a gate's name must fit a telephone's screen."""

Method = Literal["qr", "order", "wallet"]


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try to come in.  ``device_id``: None by wallet.  ``at_ms``: when it happened, as the door says.

    ``refused``: why not, where that was decided before the ticket was looked at (``old_code``).
    ``forced``: the door let them in already.
    """

    ticket_id: int
    method: Method
    device_id: int | None
    gate: str
    nonce: str
    at_ms: int
    forced: bool = False
    refused: str = ""


class First(msgspec.Struct, frozen=True):
    """The first entry.  ``gate`` and ``device_id`` are not looked up for tickets that may come in again and again."""

    at_ms: int
    gate: str = ""
    device_id: int | None = None


class Entry(msgspec.Struct, frozen=True):
    """The answer.  ``result``: ``accepted``, ``conflict`` (they went in although somebody had before), or why not.

    ``admitted``: they went in.  ``first``: the first entry of this ticket (``daily``: of that day), this one included.
    """

    result: str
    admitted: bool
    at_ms: int
    gate: str
    ticket_id: int | None = None
    uuid: str = ""
    number: int | None = None
    first: First | None = None
    replayed: bool = False
    purchase_id: int | None = None


def admit(
    connection: Connection,
    ticket: Row[Any],
    event: Row[Any],
    *,
    method: Method,
    device_id: int | None,
    gate: str,
    nonce: str,
    at_ms: int,
    now_ms: int,
    early_ms: int = EARLY_MS,
) -> Entry:
    """Let the holder of ``ticket`` into ``event``, or not.  Locks the ticket's row until the transaction ends.

    ``ticket`` need only be its row as read before: what decides is read again under the lock.  Accepted, it counts
    in ``entries``, ``total_access_count`` and the access times of the ticket, and makes it ``used``.
    """
    attempt = Attempt(ticket_id=ticket.id, method=method, device_id=device_id, gate=gate, nonce=nonce, at_ms=at_ms)
    return admit_all(connection, [attempt], event, now_ms, early_ms)[0]


def admit_all(
    connection: Connection, attempts: Sequence[Attempt], event: Row[Any], now_ms: int, early_ms: int = EARLY_MS
) -> list[Entry]:
    """Decide attempts at one event's door, in the order in which they happened; answers stand in the order given."""
    guard = _Guard(connection, attempts, event, now_ms, early_ms)
    answers: dict[int, Entry] = {}
    for i in sorted(range(len(attempts)), key=lambda i: attempts[i].at_ms):
        answers[i] = guard.decide(attempts[i])
    guard.write()
    return [answers[i] for i in range(len(attempts))]


def window(event: Row[Any], at_ms: int, early_ms: int = EARLY_MS) -> str:
    """Say why an event lets nobody in at ``at_ms`` (``cancelled``, ``over``, ``not_yet``); the empty text: it does."""
    if event.status == "cancelled":
        return "cancelled"
    if any(end is not None and at_ms >= end for end in (event.ended_ms, event.event_end_ms)):
        return "over"
    opened = event.started_ms is not None and at_ms >= event.started_ms
    if not opened and event.event_start_ms is not None and at_ms < event.event_start_ms - early_ms:
        return "not_yet"
    return ""


class _Ticket:
    """A locked ticket: its row, what changes of it, and who went in with it before."""

    def __init__(self, row: Row[Any]) -> None:
        self.row = row
        self.entries: int = row.entries
        self.accesses: int = row.total_access_count
        self.first_ms: int | None = row.first_access_ms
        self.last_ms: int | None = row.last_access_ms
        self.last_entry_ms: int | None = row.last_entry_ms
        self.changed = False
        self.before: list[tuple[int, First]] = []  # (row id, entry) of those admitted, where the policy asks

    def accept(self, at_ms: int) -> None:
        """Count one entry; drained logs come in any order, so that times are the least and the greatest."""
        self.entries += 1
        self.accesses += 1
        self.first_ms = at_ms if self.first_ms is None else min(self.first_ms, at_ms)
        self.last_ms = at_ms if self.last_ms is None else max(self.last_ms, at_ms)
        self.last_entry_ms = at_ms if self.last_entry_ms is None else max(self.last_entry_ms, at_ms)
        self.changed = True

    def values(self) -> dict[str, Any]:
        return {
            "row_id": self.row.id,
            "state": "used",
            "entries": self.entries,
            "total_access_count": self.accesses,
            "first_access_ms": self.first_ms,
            "last_access_ms": self.last_ms,
            "last_entry_ms": self.last_entry_ms,
        }


_LATEST = 1 << 62
"""A row id after every other: of entries that are being written."""


class _Guard:
    """One batch of attempts on locked tickets."""

    def __init__(
        self, connection: Connection, attempts: Sequence[Attempt], event: Row[Any], now_ms: int, early_ms: int
    ) -> None:
        self.connection, self.event, self.now_ms, self.early_ms = connection, event, now_ms, early_ms
        ids = sorted({a.ticket_id for a in attempts})
        self.tickets = {row.id: _Ticket(row) for row in _locked(connection, ids)}
        self.known = self._known(ids, sorted({a.nonce for a in attempts}))
        forced = {a.ticket_id for a in attempts if a.forced}
        self._load_before([i for i in ids if i in forced or self.tickets[i].entries])
        self.new: list[dict[str, Any]] = []
        self.answered: dict[tuple[int | None, int, str], Entry] = {}
        self.raised: list[tuple[int, str]] = []

    def decide(self, attempt: Attempt) -> Entry:
        ticket = self.tickets[attempt.ticket_id]
        key = (attempt.device_id, attempt.ticket_id, attempt.nonce)
        if (row := self.known.get(key)) is not None:
            said = self.answered.get(key)  # twice in one batch
            if said is not None and (said.admitted or not attempt.forced):
                return msgspec.structs.replace(said, replayed=True)
            return self._again(ticket, attempt, row)
        first = self._against(ticket, attempt.at_ms, _LATEST)
        refusal = attempt.refused or self._refusal(ticket, attempt, first)
        result, admitted = _outcome(refusal, attempt.forced)
        if result == "accepted":
            ticket.accept(attempt.at_ms)
        row = {
            "event_id": self.event.id,
            "ticket_id": attempt.ticket_id,
            "device_id": attempt.device_id,
            "nonce": attempt.nonce,
            "gate": attempt.gate,
            "method": attempt.method,
            "at_ms": attempt.at_ms,
            "received_ms": self.now_ms,
            "result": result,
            "admitted": admitted,
        }
        self.new.append(row)
        self.known[key] = {**row, "id": _LATEST}
        if admitted:
            ticket.before.append((_LATEST, First(attempt.at_ms, attempt.gate, attempt.device_id)))
        self.answered[key] = self._entry(ticket, self.known[key], first)
        return self.answered[key]

    def write(self) -> None:
        """Write what was decided: a statement for each kind of row."""
        update_rows(self.connection, tickets, [t.values() for t in self.tickets.values() if t.changed])
        insert_rows(self.connection, entries, self.new)
        for row_id, result in self.raised:
            self.connection.execute(
                update(entries)
                .where(entries.c.id == row_id)
                .values(result=result, admitted=True, received_ms=self.now_ms)
            )

    def _refusal(self, ticket: _Ticket, attempt: Attempt, first: First | None) -> str:
        row, door = ticket.row, self.event.door
        if row.event_id != self.event.id:
            return "wrong_event"
        if row.state not in ("active", "used"):
            return str(row.state) if row.state in ("cancelled", "refunded", "revoked", "suspended") else "revoked"
        if door == "wallet" and attempt.method != "wallet":
            return "door_wallet_only"
        if door == "qr" and attempt.method == "wallet":
            return "door_qr_only"
        if closed := window(self.event, attempt.at_ms, self.early_ms):
            return closed
        return "already_redeemed" if first is not None and self.event.entry_policy != "reentry" else ""

    def _again(self, ticket: _Ticket, attempt: Attempt, row: dict[str, Any]) -> Entry:
        """The same attempt: the same answer.  But a door that was told no too late may have let them in."""
        if attempt.forced and not row["admitted"]:
            result, _ = _outcome(row["result"], forced=True)
            row |= {"result": result, "admitted": True}
            if row["id"] != _LATEST:
                self.raised.append((row["id"], result))
            else:
                self.new[:] = [
                    {**new, "result": result, "admitted": True} if _key(new) == _key(row) else new for new in self.new
                ]
        before = self._against(ticket, row["at_ms"], row["id"])
        return msgspec.structs.replace(self._entry(ticket, row, before), replayed=True)

    def _entry(self, ticket: _Ticket, row: Mapping[str, Any], before: First | None) -> Entry:
        first = before
        if row["result"] == "accepted":
            own = First(row["at_ms"], row["gate"], row["device_id"])
            first = own if before is None or own.at_ms < before.at_ms else before
        ours = ticket.row.event_id == self.event.id  # another event's ticket: nothing of it is said here
        return Entry(
            result=row["result"],
            admitted=row["admitted"],
            at_ms=row["at_ms"],
            gate=row["gate"],
            ticket_id=ticket.row.id,
            uuid=ticket.row.uuid,
            number=ticket.row.number if ours else None,
            first=first if ours else None,
            purchase_id=ticket.row.purchase_id,
        )

    def _against(self, ticket: _Ticket, at_ms: int, row_id: int) -> First | None:
        """Return the first entry that was there before the row ``row_id`` (``daily``: on the same day)."""
        policy = self.event.entry_policy
        if policy == "reentry":
            return First(ticket.first_ms) if ticket.first_ms is not None else None
        found = [
            first
            for other, first in ticket.before
            if (other < row_id or row_id == _LATEST) and (policy == "once" or first.at_ms // DAY_MS == at_ms // DAY_MS)
        ]
        return min(found, key=lambda f: f.at_ms, default=None)

    def _known(self, ids: list[int], nonces: list[str]) -> dict[tuple[int | None, int, str], dict[str, Any]]:
        rows = self.connection.execute(
            select(entries).where(
                among(self.connection, entries.c.ticket_id, ids), among(self.connection, entries.c.nonce, nonces)
            )
        )
        found: list[dict[str, Any]] = [dict(row._mapping) for row in rows]
        return {_key(row): row for row in found}

    def _load_before(self, ids: list[int]) -> None:
        """Read who was let in with these tickets: one or two rows each, where a policy counts them."""
        if not ids or self.event.entry_policy == "reentry":
            return
        c = entries.c
        rows = self.connection.execute(
            select(c.id, c.ticket_id, c.at_ms, c.gate, c.device_id).where(
                among(self.connection, c.ticket_id, ids), c.admitted.is_(True), c.event_id == self.event.id
            )
        )
        for row in rows:
            self.tickets[row.ticket_id].before.append((row.id, First(row.at_ms, row.gate, row.device_id)))


def _key(row: Mapping[str, Any]) -> tuple[int | None, int, str]:
    return row["device_id"], row["ticket_id"], row["nonce"]


def _outcome(refusal: str, forced: bool) -> tuple[str, bool]:
    """Return the result and whether they are in."""
    if not refusal:
        return "accepted", True
    return ("conflict" if forced and refusal == "already_redeemed" else refusal), forced


def _locked(connection: Connection, ids: list[int]) -> Sequence[Any]:
    c = tickets.c
    wanted = select(
        c.id,
        c.uuid,
        c.event_id,
        c.purchase_id,
        c.number,
        c.state,
        c.entries,
        c.total_access_count,
        c.first_access_ms,
        c.last_access_ms,
        c.last_entry_ms,
    ).where(among(connection, c.id, ids))
    return connection.execute(wanted.order_by(c.id).with_for_update()).all()


class Stray(msgspec.Struct, frozen=True, kw_only=True):
    """A scan of what is no ticket of ours (``unknown``, ``bad_checksum``): ``code_hash`` is all that is kept of it."""

    device_id: int
    method: Method
    gate: str
    nonce: str
    at_ms: int
    result: str
    code_hash: bytes
    forced: bool = False


def note_strays(connection: Connection, strays: Sequence[Stray], event_id: int, now_ms: int) -> list[Entry]:
    """Record scans that belong to no ticket, each once; the device's row is locked until the transaction ends."""
    if not strays:
        return []
    ids = sorted({s.device_id for s in strays})
    connection.execute(
        select(devices.c.id).where(among(connection, devices.c.id, ids)).order_by(devices.c.id).with_for_update()
    )
    known = {
        (row.device_id, row.nonce, row.code_hash): row
        for row in connection.execute(
            select(entries).where(
                among(connection, entries.c.device_id, ids),
                entries.c.ticket_id.is_(None),
                among(connection, entries.c.nonce, sorted({s.nonce for s in strays})),
            )
        )
    }
    new: dict[tuple[int, str, bytes], dict[str, Any]] = {}
    answers = []
    for s in strays:
        key = (s.device_id, s.nonce, s.code_hash)
        if (row := known.get(key)) is not None:
            admitted = row.admitted or s.forced
            if admitted != row.admitted:
                changed = {"admitted": True, "received_ms": now_ms}
                connection.execute(update(entries).where(entries.c.id == row.id).values(changed))
            answers.append(Entry(row.result, admitted, row.at_ms, row.gate, replayed=True))
            continue
        held = new.setdefault(
            key,
            {
                "event_id": event_id,
                "device_id": s.device_id,
                "nonce": s.nonce,
                "gate": s.gate,
                "method": s.method,
                "at_ms": s.at_ms,
                "received_ms": now_ms,
                "result": s.result,
                "admitted": s.forced,
                "code_hash": s.code_hash,
            },
        )
        answers.append(Entry(held["result"], held["admitted"], held["at_ms"], held["gate"]))
    insert_rows(connection, entries, list(new.values()))
    return answers
