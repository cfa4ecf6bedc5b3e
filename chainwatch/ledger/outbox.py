"""Rows for the outside, written in the transaction of their cause; and the audit log."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, update

from chainwatch.ledger.bulk import insert_rows
from chainwatch.ledger.tables import audit_log, outbox


class Message(msgspec.Struct, frozen=True):
    """One thing to tell.  ``data`` holds ids and states only: receivers read the rest from us."""

    type: str
    subject: str
    data: dict[str, Any]


def post(connection: Connection, now_ms: int, messages: Sequence[Message]) -> None:
    """Queue messages; those of one subject keep their order."""
    if messages:
        insert_rows(
            connection,
            outbox,
            [
                {
                    "type": m.type,
                    "subject": m.subject,
                    "payload": msgspec.json.encode(m.data).decode(),
                    "created_ms": now_ms,
                    "next_ms": now_ms,
                    "attempts": 0,
                }
                for m in messages
            ],
        )


def audit(
    connection: Connection, now_ms: int, actor: str, action: str, subject: str, detail: dict[str, Any] | None = None
) -> None:
    """Write one row of the audit log."""
    row = {
        "at_ms": now_ms,
        "actor": actor,
        "action": action,
        "subject": subject,
        "detail": msgspec.json.encode(detail or {}).decode(),
    }
    connection.execute(insert(audit_log).values(row))


def close_unaddressed(connection: Connection, now_ms: int) -> int:
    """Mark as done what nobody subscribes to, so that ``pending`` means undelivered; return how many.

    The rows stay: they are the log of what happened.
    """
    closed = connection.execute(update(outbox).where(outbox.c.done_ms.is_(None)).values(done_ms=now_ms))
    return int(closed.rowcount)
