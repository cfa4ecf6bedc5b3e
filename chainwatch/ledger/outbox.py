"""Rows for the outside, written in the transaction of their cause; and the audit log."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, insert

from chainwatch.ledger.bulk import insert_rows
from chainwatch.ledger.tables import audit_log, outbox

TYPES = (
    "payment.seen",
    "payment.confirmed",
    "payment.orphaned",
    "ticket.minted",
    "ticket.revoked",
    "refund.due",
    "refund.settled",
    "payout.due",
    "payout.settled",
    "event.sold_out",
    "event.nearly_sold_out",
    "event.starting",
    "event.cancelled",
    "access.granted",
    "access.denied",
)
"""Every type of message; ``docs/webhooks.md`` says when each is written and what it holds."""


def purchase_subject(purchase_id: int | None, transfer_id: int) -> str:
    """Return the subject of what happens to a payment: its purchase, so that all of that stays in order.

    A payment without one (yet) is a subject of its own; ``deliveries.follow`` joins the two.
    """
    return f"purchase:{purchase_id}" if purchase_id else f"transfer:{transfer_id}"


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
