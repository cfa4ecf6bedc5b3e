"""Scanning a range again (``chainwatch backfill``): harmless to repeat.

A command queues the range; the holder of the chain's lease works it off between blocks, so there is
still one writer a chain.
"""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, insert, select, update

from chainwatch.errors import LostRace
from chainwatch.follower import Held, Step
from chainwatch.ledger import facts, settle, settlements
from chainwatch.ledger.context import Context
from chainwatch.ledger.leases import fenced
from chainwatch.ledger.tables import backfills, cursors
from chainwatch.model import Block


class Job(msgspec.Struct, frozen=True):
    """A queued range; ``next_height`` is the first block that is still to be read."""

    id: int
    chain: str
    first_height: int
    next_height: int
    last_height: int
    done_ms: int | None = None


def queue(connection: Connection, chain: str, first: int, last: int, now_ms: int) -> int:
    """Queue blocks ``first..last`` of a chain; return the job's id."""
    row = {
        "chain": chain,
        "first_height": first,
        "next_height": first,
        "last_height": last,
        "created_ms": now_ms,
        "done_ms": now_ms if last < first else None,
    }
    return int(connection.execute(insert(backfills).values(row).returning(backfills.c.id)).scalar_one())


def job(connection: Connection, job_id: int) -> Job:
    """Return a job as it stands."""
    return _job(connection.execute(select(backfills).where(backfills.c.id == job_id)).one())


def next_job(connection: Connection, chain: str) -> Job | None:
    """Return the oldest unfinished job of a chain."""
    row = connection.execute(
        select(backfills)
        .where(backfills.c.chain == chain, backfills.c.done_ms.is_(None))
        .order_by(backfills.c.id)
        .limit(1)
    ).one_or_none()
    return None if row is None else _job(row)


def _job(row: object) -> Job:
    return msgspec.convert(row, Job, from_attributes=True)


def apply(
    connection: Connection,
    job: Job,
    blocks: Sequence[Block],
    held: Held,
    context: Context,
    fence: int,
    now_ms: int,
) -> None:
    """Record what a piece of the range holds, without moving the cursor.  Nothing left to read ends the job."""
    assert held.cursor is not None
    guarded = connection.execute(update(cursors).where(*fenced(job.chain, held.cursor, fence)).values(fence=fence))
    if guarded.rowcount != 1:
        raise LostRace(f"{job.chain}: the cursor moved while {job.next_height} was read again")
    reached = max((b.ref.height for b in blocks), default=job.last_height)
    if blocks:
        step = Step(job.chain, held.cursor, held.cursor, held.cursor, held.final, blocks=tuple(blocks))
        facts.check_numbers(step)
        changed = facts.record(connection, step, held.final, context, now_ms)
        left = facts.outgoing(connection, changed.all())
        settle.settle(connection, changed.without(left), context, now_ms, None)
        settlements.follow(connection, left, context, now_ms)
    done = now_ms if reached >= min(job.last_height, held.cursor.height) else None
    connection.execute(update(backfills).where(backfills.c.id == job.id).values(next_height=reached + 1, done_ms=done))
