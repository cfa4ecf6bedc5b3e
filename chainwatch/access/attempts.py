"""Every attempt at the door in the audit log, before its answer; what repeats is counted, not written again.

One row holds the like denials of a minute (``audit_log.times``), so that a flood of them is a number in a row.
"""

import threading
from collections import OrderedDict
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, update

from chainwatch.ledger.tables import audit_log

MINUTE_MS = 60_000
REMEMBERED = 4096
"""Kinds of denial (event, wallet, reason) that are counted at once; the oldest is forgotten and gets a new row."""


class Attempts:
    """Writes attempts.  Used in the writer thread only, but for tests that write from several."""

    def __init__(self) -> None:
        self._rows: OrderedDict[tuple[str, ...], tuple[int, int]] = OrderedDict()
        self._lock = threading.Lock()

    def write(
        self,
        connection: Connection,
        now_ms: int,
        *,
        actor: str,
        action: str,
        event: str,
        reason: str,
        granted: bool,
        more: dict[str, Any] | None = None,
    ) -> bool:
        """Write one attempt; False when it was counted into a row of this minute."""
        key = (action, event, actor, reason)
        if not granted and self._again(connection, key, now_ms // MINUTE_MS):
            return False
        detail = msgspec.json.encode({"granted": granted, "reason": reason, **(more or {})}).decode()
        row = {"at_ms": now_ms, "actor": actor, "action": action, "subject": f"event:{event}", "detail": detail}
        written = insert(audit_log).values(row | {"times": 1})
        if granted:
            connection.execute(written)
            return True
        row_id = connection.execute(written.returning(audit_log.c.id)).scalar_one()
        with self._lock:
            self._rows[key] = (row_id, now_ms // MINUTE_MS)
            self._rows.move_to_end(key)
            if len(self._rows) > REMEMBERED:
                self._rows.popitem(last=False)
        return True

    def _again(self, connection: Connection, key: tuple[str, ...], minute: int) -> bool:
        """Count it into the row of its like.  A row whose transaction was rolled back is not there: then it is new."""
        with self._lock:
            known = self._rows.get(key)
        if known is None or known[1] != minute:
            return False
        counted = update(audit_log).where(audit_log.c.id == known[0], audit_log.c.action == key[0])
        return connection.execute(counted.values(times=audit_log.c.times + 1)).rowcount == 1
