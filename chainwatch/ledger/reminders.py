"""``event.starting``: told an hour and a quarter of an hour before, once each, whichever process looks first."""

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from chainwatch.ledger import outbox
from chainwatch.ledger.tables import events, milestones

MINUTES = (15, 60)
"""How long before an event's start it is told, ascending."""


def tell_starting(connection: Connection, now_ms: int) -> int:
    """Queue what is to be told of events that start soon; return how many messages.

    An event that is made, or moved, to less than 15 minutes ahead is told once, not twice; one that is moved after it
    was told is told again for its new time.
    """
    soon = connection.execute(
        select(events.c.id, events.c.slug, events.c.event_start_ms).where(
            events.c.status == "active",
            events.c.event_start_ms > now_ms,
            events.c.event_start_ms <= now_ms + MINUTES[-1] * 60_000,
        )
    ).all()
    told = 0
    for event in soon:
        reached = [m for m in MINUTES if event.event_start_ms - now_ms <= m * 60_000]
        fresh = [m for m in reached if _first(connection, event.id, f"starting:{m}:{event.event_start_ms}", now_ms)]
        if reached[0] in fresh:
            data = {"event_id": event.slug or str(event.id), "minutes": reached[0]}
            outbox.post(connection, now_ms, [outbox.Message("event.starting", f"event:{event.id}", data)])
            told += 1
    return told


def _first(connection: Connection, event_id: int, what: str, now_ms: int) -> bool:
    """Write a milestone down; False when it was there."""
    insert = pg_insert if connection.dialect.name == "postgresql" else sqlite_insert
    row = insert(milestones).values(event_id=event_id, what=what, at_ms=now_ms).on_conflict_do_nothing()
    return bool(connection.execute(row).rowcount == 1)
