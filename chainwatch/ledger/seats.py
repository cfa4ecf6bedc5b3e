"""Taking seats: sold + held never exceeds capacity, at any commit.

One guarded update an event and batch; when the whole batch does not fit, seat by seat.  Rows of events
are locked in id order, so that two chains minting at once cannot deadlock.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, and_, or_, select, update

from chainwatch.ledger import outbox
from chainwatch.ledger.tables import events

Asking = tuple[int, int, bool]
"""(purchase id, event id, does it hold a seat already)."""

NEARLY = 90
"""Per cent sold at which ``event.nearly_sold_out`` is told."""


def take(connection: Connection, asking: Sequence[Asking], now_ms: int) -> dict[int, int]:
    """Take a seat for each purchase in order; return the ticket number of those that got one."""
    by_event: dict[int, list[Asking]] = {}
    for one in asking:
        by_event.setdefault(one[1], []).append(one)
    numbers: dict[int, int] = {}
    messages: list[outbox.Message] = []
    for event_id in sorted(by_event):
        batch = by_event[event_id]
        if (last := _sell(connection, event_id, batch)) is not None:
            numbers.update({p[0]: last - len(batch) + 1 + i for i, p in enumerate(batch)})
        else:
            for one in batch:
                if (last := _sell(connection, event_id, [one])) is not None:
                    numbers[one[0]] = last
        messages += _milestones(connection, event_id, sum(p[0] in numbers for p in batch))
    outbox.post(connection, now_ms, messages)
    return numbers


def _sell(connection: Connection, event_id: int, batch: Sequence[Asking]) -> int | None:
    """Sell all seats of the batch or none; return the last ticket number given out."""
    n, held = len(batch), sum(p[2] for p in batch)
    room = or_(
        events.c.max_attendees.is_(None),
        events.c.tickets_sold + events.c.tickets_held + (n - held) <= events.c.max_attendees,
    )
    sold = connection.execute(
        update(events)
        .where(and_(events.c.id == event_id, events.c.status == "active", room))
        .values(
            tickets_sold=events.c.tickets_sold + n,
            tickets_held=events.c.tickets_held - held,
            last_number=events.c.last_number + n,
        )
        .returning(events.c.last_number)
    ).scalar_one_or_none()
    return None if sold is None else int(sold)


def _milestones(connection: Connection, event_id: int, sold_now: int) -> list[outbox.Message]:
    row = connection.execute(
        select(events.c.tickets_sold, events.c.max_attendees, events.c.slug).where(events.c.id == event_id)
    ).one()
    if not sold_now or not row.max_attendees:
        return []
    before, after = row.tickets_sold - sold_now, row.tickets_sold
    told = []
    if before * 100 < row.max_attendees * NEARLY <= after * 100:
        told.append("event.nearly_sold_out")
    if before < row.max_attendees <= after:
        told.append("event.sold_out")
    return [outbox.Message(kind, f"event:{event_id}", {"event_id": row.slug or str(event_id)}) for kind in told]


def release(connection: Connection, event_ids: Sequence[int]) -> None:
    """Give held seats back, one for each mention of an event."""
    for event_id in sorted(set(event_ids)):
        n = event_ids.count(event_id)
        connection.execute(update(events).where(events.c.id == event_id).values(tickets_held=events.c.tickets_held - n))
