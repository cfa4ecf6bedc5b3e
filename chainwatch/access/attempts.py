"""Every attempt at the door in the audit log, before its answer; what repeats is counted, not written again.

One row holds the like denials of a minute (``audit_log.times``), so that a flood of them is a number in a row.
"""

import functools
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Update, bindparam, delete, insert, select, update

from chainwatch.ledger.bulk import among, insert_rows
from chainwatch.ledger.tables import audit_log

VERIFY, JOIN = "access.verify", "access.join"
ACTIONS = (VERIFY, JOIN)
MINUTE_MS = 60_000
FORGOTTEN = 1_000
"""Rows of the audit log that one round of housekeeping deletes at most."""
REMEMBERED = 4096
"""Kinds of denial (event, wallet, reason) that are counted at once; the oldest is forgotten and gets a new row."""


class Entry(msgspec.Struct, frozen=True):
    """One attempt.  ``actor``: the wallet's alias; ``more``: further facts, none of them a wallet or a secret."""

    actor: str
    action: str
    event: str
    reason: str
    granted: bool
    more: dict[str, Any]

    @property
    def kind(self) -> tuple[str, ...]:
        """What alike attempts have in common: those of a minute are one row."""
        return (self.action, self.event, self.actor, self.reason)

    @property
    def subject(self) -> str:
        """What it is about, as the audit log says it."""
        return f"event:{self.event}"

    def row(self, now_ms: int) -> dict[str, Any]:
        """As a row of the audit log."""
        detail = msgspec.json.encode({"granted": self.granted, "reason": self.reason, **self.more}).decode()
        row = {"at_ms": now_ms, "actor": self.actor, "action": self.action, "subject": self.subject}
        return row | {"detail": detail, "times": 1}


def grant(connection: Connection, now_ms: int, entries: Sequence[Entry]) -> None:
    """Write attempts that are granted: a row each."""
    insert_rows(connection, audit_log, [entry.row(now_ms) for entry in entries])


def forget(connection: Connection, before_ms: int) -> int:
    """Delete attempts of before a time (``[access] audit_days``), ``FORGOTTEN`` at most; return how many."""
    old = select(audit_log.c.id).where(audit_log.c.action.in_(ACTIONS), audit_log.c.at_ms < before_ms)
    ids = connection.scalars(old.order_by(audit_log.c.action, audit_log.c.at_ms).limit(FORGOTTEN)).all()
    return connection.execute(delete(audit_log).where(among(connection, audit_log.c.id, ids))).rowcount if ids else 0


class Attempts:
    """Writes attempts that are denied.  Used in the writer thread only, but for tests that write from several."""

    def __init__(self) -> None:
        self._rows: OrderedDict[tuple[str, ...], tuple[int, int]] = OrderedDict()
        self._lock = threading.Lock()

    def deny(self, connection: Connection, now_ms: int, entry: Entry, times: int = 1) -> bool:
        """Write one attempt (or ``times`` alike); False when it was counted into the row of its like of this minute."""
        key = entry.kind
        if self._again(connection, entry, now_ms // MINUTE_MS, times):
            return False
        written = insert(audit_log).values(entry.row(now_ms) | {"times": times}).returning(audit_log.c.id)
        row_id = connection.execute(written).scalar_one()
        with self._lock:
            self._rows[key] = (row_id, now_ms // MINUTE_MS)
            self._rows.move_to_end(key)
            if len(self._rows) > REMEMBERED:
                self._rows.popitem(last=False)
        return True

    def deny_all(self, connection: Connection, now_ms: int, entries: Sequence[Entry]) -> None:
        """Write attempts that came together: one statement for those that are alike."""
        alike: dict[tuple[str, ...], list[Entry]] = {}
        for entry in entries:
            alike.setdefault(entry.kind, []).append(entry)
        for same in alike.values():
            self.deny(connection, now_ms, same[0], len(same))

    def _again(self, connection: Connection, entry: Entry, minute: int, times: int) -> bool:
        """Count it into the row of its like.

        A row whose transaction was rolled back is not there, or is another's (SQLite gives its id again): then it is
        new.
        """
        with self._lock:
            known = self._rows.get(entry.kind)
        if known is None or known[1] != minute:
            return False
        given = {"row_id": known[0], "what": entry.action, "who": entry.actor, "where": entry.subject, "more": times}
        return connection.execute(_counted(), given).rowcount == 1


@functools.cache  # a flood runs it for each of its attempts, and building it takes longer
def _counted() -> Update:
    row, same = audit_log.c, {"action": "what", "actor": "who", "subject": "where"}
    counted = update(audit_log).where(row.id == bindparam("row_id"), *(row[c] == bindparam(n) for c, n in same.items()))
    return counted.values(times=row.times + bindparam("more"))
