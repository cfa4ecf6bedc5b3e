"""Taking seats: sold + held + set aside never exceeds capacity, at any commit.

One guarded update an event and batch; when the whole batch does not fit, seat by seat.  Rows of events
are locked in id order, so that two chains minting at once cannot deadlock; those of tiers and allotments
only behind their event's.
"""

import functools
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Table, Update, bindparam, or_, select, true, update

from chainwatch.ledger import outbox
from chainwatch.ledger.tables import allotments, events, tiers

NEARLY = 90
"""Per cent sold at which ``event.nearly_sold_out`` is told."""


class Seat(msgspec.Struct, frozen=True):
    """What a purchase takes, or asks for, of its event.

    ``kind``: the share that its hold is in: ``signed``, ``unsigned``, ``seen`` (kept by a mempool sighting alone),
    ``paid`` (kept by money in a block).
    """

    purchase_id: int
    event_id: int
    tier_id: int | None = None
    allotment_id: int | None = None
    held: bool = False
    kind: str = ""


def hold(connection: Connection, seat: Seat, unsigned_percent: int) -> bool:
    """Hold a seat if one is free in the event, its tier and its allotment; and for an unsigned purchase, in the share
    of each that such purchases may hold.
    """
    unsigned, aside = seat.kind == "unsigned", seat.allotment_id is not None
    known = {"event": seat.event_id} | ({"percent": unsigned_percent} if unsigned else {})
    if connection.execute(_hold_query(unsigned, aside), known).rowcount != 1:
        return False
    taken: list[tuple[Table, int]] = [(events, seat.event_id)]
    parts = {"held": 1, "unsigned": int(unsigned)}
    for table, row_id in ((tiers, seat.tier_id), (allotments, seat.allotment_id)):
        if row_id is None:
            continue
        free = or_(table.c.quantity.is_(None), table.c.sold + table.c.held < table.c.quantity)
        if unsigned:
            free &= or_(table.c.quantity.is_(None), table.c.unsigned * 100 < table.c.quantity * unsigned_percent)
        if not _move(connection, table, row_id, free, parts):
            for other, other_id in taken:
                of_event = _negative(_held(unsigned, aside))
                _move(connection, other, other_id, true(), of_event if other is events else _negative(parts))
            return False
        taken.append((table, row_id))
    return True


def hold_some(connection: Connection, event_id: int, wanted: int, unsigned_percent: int) -> int:
    """Hold seats of an event for unsigned purchases, as many of ``wanted`` as fit; return how many.

    All at once where they fit; else as many as the row says are left, behind its lock.
    """
    if not _hold_unsigned(connection, event_id, wanted, unsigned_percent):
        e = connection.execute(select(events).where(events.c.id == event_id).with_for_update(key_share=True)).one()
        if e.max_attendees is None or e.status != "active":
            return 0
        public = e.max_attendees - e.tickets_sold - e.tickets_held - e.seats_reserved
        share = -(-e.max_attendees * unsigned_percent // 100) - e.seats_unsigned
        wanted = min(wanted, public, share)
        if wanted <= 0 or not _hold_unsigned(connection, event_id, wanted, unsigned_percent):
            return 0
    return wanted


def _hold_unsigned(connection: Connection, event_id: int, n: int, percent: int) -> bool:
    """Hold ``n`` seats or none: each of them must find the share not yet used up, as one alone would."""
    share = (events.c.seats_unsigned + (n - 1)) * 100 < events.c.max_attendees * percent
    guard = (events.c.status == "active") & _room(n) & or_(events.c.max_attendees.is_(None), share)
    return _move(connection, events, event_id, guard, {"tickets_held": n, "seats_unsigned": n})


def _held(unsigned: bool, aside: bool) -> dict[str, int]:
    """Return what a hold changes in its event's row."""
    return {"tickets_held": 1, "seats_unsigned": int(unsigned), "seats_reserved": -int(aside)}


@functools.cache  # a drop asks ten thousand times
def _hold_query(unsigned: bool, aside: bool) -> Update:
    guards = [events.c.id == bindparam("event"), events.c.status == "active"]
    if not aside:
        guards.append(_room(1))
    if unsigned:
        share = events.c.seats_unsigned * 100 < events.c.max_attendees * bindparam("percent")
        guards.append(or_(events.c.max_attendees.is_(None), share))
    return update(events).where(*guards).values(_added(events, _held(unsigned, aside)))


def take(connection: Connection, asking: Sequence[Seat], now_ms: int) -> dict[int, int]:
    """Sell a seat to each purchase in order; return the ticket number of those that got one."""
    by_event: dict[int, list[Seat]] = {}
    for one in asking:
        by_event.setdefault(one.event_id, []).append(one)
    numbers: dict[int, int] = {}
    messages: list[outbox.Message] = []
    for event_id in sorted(by_event):
        batch = by_event[event_id]
        if (last := _sell(connection, event_id, batch)) is not None:
            numbers.update({p.purchase_id: last - len(batch) + 1 + i for i, p in enumerate(batch)})
        elif len(batch) > 1:
            numbers.update(_one_by_one(connection, event_id, batch))
        messages += _milestones(connection, event_id, sum(p.purchase_id in numbers for p in batch))
    outbox.post(connection, now_ms, messages)
    return numbers


def _one_by_one(connection: Connection, event_id: int, batch: Sequence[Seat]) -> dict[int, int]:
    """Sell what is left, in order.  Once the public part is full nobody else asks for it: a drop has thousands."""
    numbers: dict[int, int] = {}
    full = False
    for one in batch:
        if full and not one.held and one.allotment_id is None:
            continue
        if (last := _sell(connection, event_id, [one])) is not None:
            numbers[one.purchase_id] = last
        elif not one.held and one.tier_id is None and one.allotment_id is None:
            full = True
    return numbers


def _room(n: int) -> ColumnElement[bool]:
    """Do ``n`` more seats fit into the public part?"""
    taken = events.c.tickets_sold + events.c.tickets_held + events.c.seats_reserved
    return or_(events.c.max_attendees.is_(None), taken + n <= events.c.max_attendees)


def _sell(connection: Connection, event_id: int, batch: Sequence[Seat]) -> int | None:
    """Sell all seats of the batch or none; return the last ticket number given out."""
    if all(p.tier_id is None and p.allotment_id is None for p in batch):
        return _sell_of_event(connection, event_id, batch)
    with connection.begin_nested() as attempt:
        last = _sell_of_event(connection, event_id, batch)
        if last is not None and all(_sell_of_parts(connection, batch)):
            return last
        attempt.rollback()
    return None


def _sell_of_event(connection: Connection, event_id: int, batch: Sequence[Seat]) -> int | None:
    n, held = len(batch), sum(p.held for p in batch)
    aside = sum(p.allotment_id is not None and not p.held for p in batch)
    deltas = {
        "tickets_sold": n,
        "last_number": n,
        "tickets_held": -held,
        "seats_unsigned": -_count(batch, "unsigned"),
        "seats_seen": -_count(batch, "seen"),
        "seats_reserved": -aside,
    }
    sold = connection.execute(
        update(events)
        .where(events.c.id == event_id, events.c.status == "active", _room(n - held - aside))
        .values(_added(events, deltas))
        .returning(events.c.last_number)
    ).scalar_one_or_none()
    return None if sold is None else int(sold)


def _sell_of_parts(connection: Connection, batch: Sequence[Seat]) -> Iterable[bool]:
    for table, row_id, some in _parts(batch):
        n, held = len(some), sum(p.held for p in some)
        room = or_(table.c.quantity.is_(None), table.c.sold + table.c.held + (n - held) <= table.c.quantity)
        deltas = {"sold": n, "held": -held, "unsigned": -_count(some, "unsigned")}
        yield _move(connection, table, row_id, room, deltas)


def release(connection: Connection, given_back: Sequence[Seat]) -> None:
    """Give held seats back: to the event, its tier, its allotment (Hi.Events#466: cancelling freed none of them)."""
    ordered = sorted((s for s in given_back if s.held), key=lambda s: s.event_id)
    for event_id, group in groupby(ordered, key=lambda s: s.event_id):
        some = list(group)
        deltas = {
            "tickets_held": -len(some),
            "seats_unsigned": -_count(some, "unsigned"),
            "seats_seen": -_count(some, "seen"),
            "seats_reserved": sum(s.allotment_id is not None for s in some),
        }
        _move(connection, events, event_id, true(), deltas)
        for table, row_id, part in _parts(some):
            _move(connection, table, row_id, true(), {"held": -len(part), "unsigned": -_count(part, "unsigned")})


def keep_seen(connection: Connection, seat: Seat, seen_percent: int) -> bool:
    """Move a hold into the share of those that a mempool sighting keeps; False when that share is taken."""
    share = or_(events.c.max_attendees.is_(None), events.c.seats_seen * 100 < events.c.max_attendees * seen_percent)
    deltas = {"seats_seen": 1, "seats_unsigned": -int(seat.kind == "unsigned")}
    if not _move(connection, events, seat.event_id, share, deltas):
        return False
    _leave_unsigned(connection, seat)
    return True


def keep_paid(connection: Connection, seat: Seat) -> None:
    """Take a hold out of its share: money in a block keeps it."""
    deltas = {"seats_seen": -int(seat.kind == "seen"), "seats_unsigned": -int(seat.kind == "unsigned")}
    if any(deltas.values()):
        _move(connection, events, seat.event_id, true(), deltas)
        _leave_unsigned(connection, seat)


def _leave_unsigned(connection: Connection, seat: Seat) -> None:
    if seat.kind == "unsigned":
        for table, row_id, _ in _parts([seat]):
            _move(connection, table, row_id, true(), {"unsigned": -1})


def _parts(batch: Sequence[Seat]) -> list[tuple[Table, int, list[Seat]]]:
    """Return the tiers and allotments of a batch with the seats in each, in the order in which they are locked."""
    found: dict[tuple[int, int], list[Seat]] = {}
    for p in batch:
        for rank, row_id in ((0, p.tier_id), (1, p.allotment_id)):
            if row_id is not None:
                found.setdefault((rank, row_id), []).append(p)
    return [((tiers, allotments)[rank], row_id, found[rank, row_id]) for rank, row_id in sorted(found)]


def _count(batch: Sequence[Seat], kind: str) -> int:
    return sum(p.held and p.kind == kind for p in batch)


def _added(table: Table, deltas: dict[str, int]) -> dict[str, Any]:
    return {name: table.c[name] + n for name, n in deltas.items() if n}


def _negative(deltas: dict[str, int]) -> dict[str, int]:
    return {name: -n for name, n in deltas.items()}


def _move(
    connection: Connection, table: Table, row_id: int, guard: ColumnElement[bool], deltas: dict[str, int]
) -> bool:
    """Add to a row's counters if ``guard`` holds; say whether it did."""
    if not (values := _added(table, deltas)):
        return True
    return connection.execute(update(table).where(table.c.id == row_id, guard).values(values)).rowcount == 1


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
