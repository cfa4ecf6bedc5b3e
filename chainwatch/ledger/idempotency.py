"""Answers of writes, kept by caller and key, so that who asks again gets the same answer and nothing happens twice."""

from typing import Any

import msgspec
from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from chainwatch.errors import Rejected
from chainwatch.ledger.tables import idempotency

KEEP_MS = 24 * 3_600_000
"""How long an answer can be had again, at least."""

RUNNING = 0
"""Status of a request that has not been answered yet."""


class Stored(msgspec.Struct, frozen=True):
    """An answer: HTTP status, and the body as it was stored."""

    status: int
    body: bytes


def begin(
    connection: Connection, scope: str, key: str, fingerprint: bytes, now_ms: int, *, stale_ms: int
) -> Stored | None:
    """Claim ``key`` for a request that is about to run; return the stored answer when it ran already.

    ``Rejected``: ``idempotency_mismatch`` (the key was used for another request), ``idempotency_running``.  A request
    that has run for ``stale_ms`` without an answer died with its process: its key is free again.
    """
    table: Any = idempotency
    make = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    row = {"scope": scope, "key": key, "fingerprint": fingerprint, "created_ms": now_ms}
    inserted = connection.execute(make(table).values(status=RUNNING, body=b"", **row).on_conflict_do_nothing())
    if inserted.rowcount == 1:
        return None
    at = (idempotency.c.scope == scope, idempotency.c.key == key)
    known = connection.execute(select(idempotency).where(*at).with_for_update()).one()
    if known.fingerprint != fingerprint:
        raise Rejected("idempotency_mismatch", "this Idempotency-Key was used for another request")
    if known.status != RUNNING:
        return Stored(known.status, known.body)
    if known.created_ms > now_ms - stale_ms:
        raise Rejected("idempotency_running", "the first request with this Idempotency-Key is still running")
    connection.execute(update(idempotency).where(*at).values(created_ms=now_ms))
    return None


def finish(connection: Connection, scope: str, key: str, answer: Stored) -> None:
    """Keep the answer of a request that ``begin`` let run."""
    at = (idempotency.c.scope == scope, idempotency.c.key == key)
    connection.execute(update(idempotency).where(*at).values(status=answer.status, body=answer.body))


def release(connection: Connection, scope: str, key: str) -> None:
    """Give the key back: what ran failed by a fault of ours, and may be tried again."""
    at = (idempotency.c.scope == scope, idempotency.c.key == key)
    connection.execute(delete(idempotency).where(*at, idempotency.c.status == RUNNING))


def forget(connection: Connection, now_ms: int) -> int:
    """Drop what is older than ``KEEP_MS``; return how many."""
    old = idempotency.c.created_ms < now_ms - KEEP_MS
    return int(connection.execute(delete(idempotency).where(old)).rowcount)
