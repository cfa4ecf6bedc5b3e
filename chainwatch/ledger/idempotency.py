"""Answers of writes, kept by caller and key, so that who asks again gets the same answer and nothing happens twice.

``begin`` claims a key before its write runs.  The write keeps its answer by ``finish`` in its own transaction, so that
either both are there or none; the claim is what that transaction holds on to.
"""

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from chainwatch.errors import Rejected
from chainwatch.ledger.tables import idempotency

KEEP_MS = 24 * 3_600_000
"""How long an answer can be had again, at least."""

RUNNING = 0
"""Status of a request that has not been answered yet."""


class Claim(msgspec.Struct, frozen=True):
    """A key that one request has taken.  ``since_ms`` tells it from an earlier one that died."""

    scope: str
    key: str
    since_ms: int


class Stored(msgspec.Struct, frozen=True):
    """An answer: HTTP status, and the body as it was stored."""

    status: int
    body: bytes


def begin(
    connection: Connection, scope: str, key: str, fingerprint: bytes, now_ms: int, *, stale_ms: int
) -> Stored | Claim:
    """Claim ``key`` for a request that is about to run; return the stored answer when it ran already.

    ``Rejected``: ``idempotency_mismatch`` (the key was used for another request), ``idempotency_running``.  A request
    that has run for ``stale_ms`` without an answer died with its process: its key is free again.
    """
    table: Any = idempotency
    make = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    row = {"scope": scope, "key": key, "fingerprint": fingerprint, "created_ms": now_ms}
    claimed = make(table).values(status=RUNNING, body=b"", **row).on_conflict_do_nothing().returning(table.c.key)
    if connection.execute(claimed).first() is not None:  # of an insert, rowcount does not tell (psycopg)
        return Claim(scope, key, now_ms)
    at = (idempotency.c.scope == scope, idempotency.c.key == key)
    known = connection.execute(select(idempotency).where(*at).with_for_update()).one()
    if known.fingerprint != fingerprint:
        raise Rejected("idempotency_mismatch", "this Idempotency-Key was used for another request")
    if known.status != RUNNING:
        return Stored(known.status, known.body)
    if known.created_ms > now_ms - stale_ms:
        raise Rejected("idempotency_running", "the first request with this Idempotency-Key is still running")
    connection.execute(update(idempotency).where(*at).values(created_ms=now_ms))
    return Claim(scope, key, now_ms)


def finish(connection: Connection, claim: Claim, answer: Stored, keep_ms: int = KEEP_MS) -> None:
    """Keep the answer of a request that ``begin`` let run, for ``keep_ms``.

    ``Rejected('idempotency_running')`` when it ran for so long that its key was given to another: nothing of this
    transaction may stay then.
    """
    since_ms = claim.since_ms - (KEEP_MS - keep_ms)  # what ``forget`` goes by
    kept = update(idempotency).where(*_at(claim)).values(status=answer.status, body=answer.body, created_ms=since_ms)
    if connection.execute(kept).rowcount != 1:
        raise Rejected("idempotency_running", "this request took too long: it is being done again")


def release(connection: Connection, claim: Claim) -> None:
    """Give the key back: what ran failed by a fault of ours, and may be tried again."""
    connection.execute(delete(idempotency).where(*_at(claim)))


def _at(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    row = idempotency.c
    mine = (row.scope == claim.scope, row.key == claim.key, row.created_ms == claim.since_ms)
    return (*mine, row.status == RUNNING)


def forget(connection: Connection, now_ms: int) -> int:
    """Drop what is older than ``KEEP_MS``; return how many."""
    old = idempotency.c.created_ms < now_ms - KEEP_MS
    return int(connection.execute(delete(idempotency).where(old)).rowcount)
