"""One message to one endpoint: handed out from the outbox, tried, delivered or a dead letter.

Messages of one subject reach an endpoint in their order: only the first that is still pending is due, and when it
fails, the later ones wait with it.  Other subjects go on.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, or_, select, update

from chainwatch.errors import Rejected
from chainwatch.ledger import outbox, webhooks
from chainwatch.ledger.bulk import among, insert_rows, update_rows
from chainwatch.ledger.tables import deliveries
from chainwatch.ledger.tables import outbox as messages
from chainwatch.times import format_ms

HAND_OUT = 500
"""Messages that one transaction hands out: other writers wait meanwhile."""
PRUNE = 1000
"""Messages that one transaction forgets."""
MAX_ERROR = 200
"""Characters of what went wrong: enough to know the kind."""
PING = "webhook.test"
"""The type of a test message, which goes to one endpoint whatever it asks for."""


class Due(msgspec.Struct, frozen=True):
    """A delivery whose turn it is.  ``message_id`` is the same at each attempt and for each endpoint."""

    id: int
    message_id: str
    attempts: int
    since_ms: int
    body: bytes


class Outcome(msgspec.Struct, frozen=True):
    """What came of one attempt.

    ``retry_ms``: when to try again, None when that is over.  ``gone``: the endpoint said so (410).
    """

    id: int
    delivered: bool
    status: int | None = None
    error: str = ""
    retry_ms: int | None = None
    gone: bool = False


class Delivery(msgspec.Struct, frozen=True):
    """A delivery as operators see it."""

    id: int
    webhook_id: int
    message_id: str
    type: str
    subject: str
    state: str
    attempts: int
    created_ms: int
    next_ms: int | None
    done_ms: int | None
    last_status: int | None
    last_error: str


def hand_out(connection: Connection, now_ms: int) -> int:
    """Give each new message to the endpoints that ask for it; what nobody asks for is done.  Returns how many."""
    hooks = webhooks.listing(connection, enabled=True)
    if not hooks:
        closed = connection.execute(update(messages).where(messages.c.done_ms.is_(None)).values(done_ms=now_ms))
        return int(closed.rowcount)
    rows = connection.execute(
        select(messages.c.id, messages.c.type, messages.c.subject)
        .where(messages.c.done_ms.is_(None))
        .order_by(messages.c.id)
        .limit(HAND_OUT)
        .with_for_update(skip_locked=True)  # two holders of a lease that just changed hands do not meet
    ).all()
    fresh = [_row(row.id, hook.id, row.subject, now_ms) for row in rows for hook in hooks if hook.takes(row.type)]
    insert_rows(connection, deliveries, fresh)
    ids = [row.id for row in rows]
    connection.execute(update(messages).where(among(connection, messages.c.id, ids)).values(done_ms=now_ms))
    return len(rows)


def _row(outbox_id: int, webhook_id: int, subject: str, now_ms: int) -> dict[str, object]:
    return {
        "outbox_id": outbox_id,
        "webhook_id": webhook_id,
        "subject": subject,
        "state": "pending",
        "attempts": 0,
        "next_ms": now_ms,
        "created_ms": now_ms,
        "last_error": "",
    }


def follow(connection: Connection, moved: Mapping[str, str]) -> None:
    """Let what still waits under one subject wait under another: a payment that now belongs to a purchase.

    So a sighting that its receiver has not taken yet comes before the confirmation.
    """
    subjects = list(moved)
    new = select(messages.c.id, messages.c.subject).where(messages.c.done_ms.is_(None))
    rows = connection.execute(new.where(among(connection, messages.c.subject, subjects))).all()
    update_rows(connection, messages, [{"row_id": r.id, "subject": moved[r.subject]} for r in rows])
    hooks = [hook.id for hook in webhooks.listing(connection, enabled=True)]
    if hooks:
        mine = deliveries.c.webhook_id.in_(hooks)
        pending = select(deliveries.c.id, deliveries.c.subject).where(mine, deliveries.c.state == "pending")
        rows = connection.execute(pending.where(among(connection, deliveries.c.subject, subjects))).all()
        update_rows(connection, deliveries, [{"row_id": r.id, "subject": moved[r.subject]} for r in rows])


def waits(connection: Connection) -> bool:
    """Are there messages that nobody was given yet?"""
    return connection.execute(select(messages.c.id).where(messages.c.done_ms.is_(None)).limit(1)).first() is not None


def waiting(connection: Connection, now_ms: int) -> list[webhooks.Webhook]:
    """Return the endpoints for which something is due."""
    return [hook for hook in webhooks.listing(connection, enabled=True) if due(connection, hook.id, now_ms, 1)]


def due(connection: Connection, webhook_id: int, now_ms: int, limit: int) -> list[Due]:
    """Return what an endpoint is to be told now, oldest first: of each subject only the first."""
    earlier = deliveries.alias("earlier")
    blocked = (
        select(earlier.c.id)
        .where(
            earlier.c.webhook_id == deliveries.c.webhook_id,
            earlier.c.subject == deliveries.c.subject,
            earlier.c.state == "pending",
            earlier.c.outbox_id < deliveries.c.outbox_id,
        )
        .exists()
    )
    rows = connection.execute(
        select(deliveries, messages.c.type, messages.c.payload, messages.c.created_ms.label("said_ms"))
        .join_from(deliveries, messages)
        .where(deliveries.c.webhook_id == webhook_id, deliveries.c.state == "pending")
        .where(deliveries.c.next_ms <= now_ms, ~blocked)
        .order_by(deliveries.c.outbox_id)
        .limit(limit)
    )
    return [Due(r.id, message_id(r.outbox_id), r.attempts, r.created_ms, _body(r)) for r in rows]


def message_id(outbox_id: int) -> str:
    """Return the ``webhook-id`` of a message: receivers know by it what they have had."""
    return f"msg_{outbox_id}"


def _body(row: Row[Any]) -> bytes:
    said = {"type": row.type, "timestamp": format_ms(row.said_ms), "data": msgspec.Raw(row.payload.encode())}
    return msgspec.json.encode(said)


def record(connection: Connection, webhook_id: int, outcomes: Sequence[Outcome], now_ms: int) -> None:
    """Write down what came of attempts; a delivery that ended meanwhile stays as it is."""
    rows = {
        row.id: row
        for row in connection.execute(
            select(deliveries.c.id, deliveries.c.subject, deliveries.c.attempts, deliveries.c.outbox_id)
            .where(among(connection, deliveries.c.id, [o.id for o in outcomes]), deliveries.c.state == "pending")
            .with_for_update()
        )
    }
    delivered: dict[int | None, list[int]] = {}
    for outcome in outcomes:
        if (row := rows.get(outcome.id)) is None:
            continue
        if outcome.delivered:
            delivered.setdefault(outcome.status, []).append(row.id)
        else:
            _record_failure(connection, webhook_id, row, outcome, now_ms)
    for status, ids in delivered.items():
        connection.execute(
            update(deliveries)
            .where(among(connection, deliveries.c.id, ids))
            .values(
                state="delivered",
                attempts=deliveries.c.attempts + 1,
                last_status=status,
                last_error="",
                done_ms=now_ms,
            )
        )
    if any(outcome.gone for outcome in outcomes):
        webhooks.disable(connection, webhook_id, "it answered 410 Gone", now_ms)
        outbox.audit(connection, now_ms, "outbox", "webhook_disabled", f"webhook:{webhook_id}", {"why": "410"})


def _record_failure(connection: Connection, webhook_id: int, row: Any, outcome: Outcome, now_ms: int) -> None:
    values: dict[str, object] = {
        "attempts": row.attempts + 1,
        "last_status": outcome.status,
        "last_error": outcome.error[:MAX_ERROR],
    }
    if outcome.retry_ms is None:
        values |= {"state": "dead", "done_ms": now_ms}
    else:
        values |= {"next_ms": outcome.retry_ms}
        # The later ones of the subject wait with it, and need not be looked at until then.
        connection.execute(
            update(deliveries)
            .where(deliveries.c.webhook_id == webhook_id, deliveries.c.subject == row.subject)
            .where(deliveries.c.state == "pending", deliveries.c.outbox_id > row.outbox_id)
            .where(deliveries.c.next_ms < outcome.retry_ms)
            .values(next_ms=outcome.retry_ms)
        )
    connection.execute(update(deliveries).where(deliveries.c.id == row.id).values(values))


def _release(connection: Connection, webhook_id: int, subject: str, now_ms: int) -> None:
    """What waited with one that failed need not wait any longer than that one."""
    connection.execute(
        update(deliveries)
        .where(deliveries.c.webhook_id == webhook_id, deliveries.c.subject == subject)
        .where(deliveries.c.state == "pending", deliveries.c.attempts == 0, deliveries.c.next_ms > now_ms)
        .values(next_ms=now_ms)
    )


def ping(connection: Connection, webhook_id: int, now_ms: int) -> int:
    """Queue a test message for one endpoint; return the delivery's id."""
    hook = webhooks.find(connection, webhook_id)
    if hook.disabled_ms is not None:
        raise Rejected("webhook_disabled", f"webhook {webhook_id} is disabled: {hook.disabled_why}")
    subject, payload = f"webhook:{webhook_id}", msgspec.json.encode({"webhook_id": webhook_id}).decode()
    row = {"type": PING, "subject": subject, "payload": payload, "created_ms": now_ms, "next_ms": now_ms}
    row |= {"attempts": 0, "done_ms": now_ms}
    outbox_id = connection.execute(insert(messages).values(row).returning(messages.c.id)).scalar_one()
    fresh = insert(deliveries).values(_row(outbox_id, webhook_id, subject, now_ms))
    return int(connection.execute(fresh.returning(deliveries.c.id)).scalar_one())


def redeliver(connection: Connection, webhook_id: int, delivery_id: int, *, now_ms: int, actor: str) -> None:
    """Send one message again, whatever became of it before.  ``Rejected``: unknown_delivery, webhook_disabled."""
    hook = webhooks.find(connection, webhook_id)
    if hook.disabled_ms is not None:
        raise Rejected("webhook_disabled", f"webhook {webhook_id} is disabled: {hook.disabled_why}")
    if not _again(connection, deliveries.c.id == delivery_id, webhook_id, now_ms):
        raise Rejected("unknown_delivery", f"webhook {webhook_id} has no delivery {delivery_id}")
    subject = connection.execute(select(deliveries.c.subject).where(deliveries.c.id == delivery_id)).scalar_one()
    _release(connection, webhook_id, subject, now_ms)
    outbox.audit(connection, now_ms, actor, "webhook_redelivery", f"webhook:{webhook_id}", {"delivery": delivery_id})


def redeliver_dead(connection: Connection, webhook_id: int, *, since_ms: int, now_ms: int, actor: str) -> int:
    """Send again every dead letter of an endpoint that died at or after ``since_ms``; return how many."""
    hook = webhooks.find(connection, webhook_id)
    if hook.disabled_ms is not None:
        raise Rejected("webhook_disabled", f"webhook {webhook_id} is disabled: {hook.disabled_why}")
    dead = (deliveries.c.state == "dead") & (deliveries.c.done_ms >= since_ms)
    n = _again(connection, dead, webhook_id, now_ms)
    outbox.audit(connection, now_ms, actor, "webhook_redelivery", f"webhook:{webhook_id}", {"dead_letters": n})
    return n


def _again(connection: Connection, which: ColumnElement[bool], webhook_id: int, now_ms: int) -> int:
    """``created_ms`` is since when it is tried: three days begin again."""
    values = {"state": "pending", "attempts": 0, "next_ms": now_ms, "created_ms": now_ms, "done_ms": None}
    again = update(deliveries).where(deliveries.c.webhook_id == webhook_id, which).values(values)
    return int(connection.execute(again).rowcount)


def listing(
    connection: Connection,
    *,
    webhook_id: int | None = None,
    state: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Delivery]:
    """Return deliveries, the newest first; ``before``: an id to go on from."""
    rows = select(deliveries, messages.c.type).join_from(deliveries, messages).order_by(deliveries.c.id.desc())
    if webhook_id is not None:
        rows = rows.where(deliveries.c.webhook_id == webhook_id)
    if state is not None:
        rows = rows.where(deliveries.c.state == state)
    if before is not None:
        rows = rows.where(deliveries.c.id < before)
    return [
        Delivery(
            id=r.id,
            webhook_id=r.webhook_id,
            message_id=message_id(r.outbox_id),
            type=r.type,
            subject=r.subject,
            state=r.state,
            attempts=r.attempts,
            created_ms=r.created_ms,
            next_ms=r.next_ms if r.state == "pending" else None,
            done_ms=r.done_ms,
            last_status=r.last_status,
            last_error=r.last_error,
        )
        for r in connection.execute(rows.limit(limit))
    ]


def counts(connection: Connection, webhook_id: int) -> dict[str, int]:
    """Return how many messages of an endpoint wait, and how many were given up."""
    rows = connection.execute(
        select(deliveries.c.state, func.count())
        .where(deliveries.c.webhook_id == webhook_id, deliveries.c.state != "delivered")
        .group_by(deliveries.c.state)
    )
    return {"pending": 0, "dead": 0} | {r[0]: r[1] for r in rows}


def prune(connection: Connection, before_ms: int) -> int:
    """Forget the oldest messages of before ``before_ms`` that nobody waits for, ``PRUNE`` at most; return how many."""
    oldest = connection.execute(
        select(messages.c.id)
        .where(messages.c.created_ms < before_ms, messages.c.done_ms.is_not(None))
        .order_by(messages.c.id)
        .limit(PRUNE)
    ).scalars()
    ids = list(oldest)
    kept_here = or_(deliveries.c.state == "pending", deliveries.c.done_ms >= before_ms)
    kept = select(deliveries.c.outbox_id).where(among(connection, deliveries.c.outbox_id, ids), kept_here)
    gone = sorted(set(ids) - set(connection.execute(kept).scalars()))
    connection.execute(delete(deliveries).where(among(connection, deliveries.c.outbox_id, gone)))
    connection.execute(delete(messages).where(among(connection, messages.c.id, gone)))
    return len(gone)
