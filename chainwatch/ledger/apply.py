"""The one transaction: facts, states, tickets, refunds, outbox and cursor, all or nothing.

Plain synchronous SQLAlchemy Core; no statement is made per row where one per batch will do.  The
caller (watcher, simulation, command line) opens the transaction; a crash at any statement leaves the
ledger as it was.
"""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from chainwatch.errors import LostRace
from chainwatch.follower import MEMORY, Held, Step
from chainwatch.ledger import facts, outbox, settle, settlements
from chainwatch.ledger.bulk import among, insert_rows
from chainwatch.ledger.context import Context
from chainwatch.ledger.leases import fenced
from chainwatch.ledger.tables import blocks, cursors
from chainwatch.model import Block, BlockRef


class Applied(msgspec.Struct, frozen=True):
    """What a step did.  ``remembered`` are the blocks that were added to memory; the rest as ``settle.Settled``."""

    cursor: BlockRef
    final: BlockRef | None
    remembered: tuple[BlockRef, ...]
    orphaned: int = 0
    minted_after_ms: tuple[int, ...] = ()
    states: dict[tuple[str | None, str], int] = {}
    ends: dict[tuple[str, str], int] = {}


def apply(connection: Connection, step: Step, context: Context, fence: int, now_ms: int) -> Applied:
    """Apply one step.  ``LostRace`` (and a rollback) when the cursor or the lease is not ours any more."""
    facts.check_numbers(step)
    final = _move_cursor(connection, step, fence, now_ms)
    gone: set[int] = set()
    if step.disconnect_to is not None:
        gone |= facts.disconnect(connection, step.chain, step.disconnect_to.height)
        connection.execute(
            delete(blocks).where(blocks.c.chain == step.chain, blocks.c.height > step.disconnect_to.height)
        )
    if step.vanished:
        gone |= facts.vanish(connection, step.chain, step.vanished)
    if step.unmined:
        gone |= facts.vanish(connection, step.chain, step.unmined, mined=True)
    changed = facts.record(connection, step, final, context, now_ms)
    changed.orphaned |= gone - changed.confirmed
    remembered = _remember(connection, step, final)
    scanned_ms = min(step.blocks[-1].time_ms, now_ms) if step.blocks and step.blocks[-1].time_ms else None
    if step.cursor.height < step.head.height:
        scanned_ms = None  # in the middle of a reorg: money that kept a seat may be in the next block again
    left = facts.outgoing(connection, changed.all())
    settled = settle.settle(connection, changed.without(left), context, now_ms, scanned_ms)
    settlements.follow(connection, left, context, now_ms)
    if step.undoes_final:
        _alarm(connection, step, now_ms)
    return Applied(
        cursor=step.cursor,
        final=final,
        remembered=remembered,
        orphaned=len(changed.orphaned),
        minted_after_ms=settled.minted_after_ms,
        states=settled.states,
        ends=settled.ends,
    )


def held(connection: Connection, chain: str) -> Held:
    """Return what we hold of a chain: cursor, final block and remembered blocks."""
    row = connection.execute(select(cursors).where(cursors.c.chain == chain)).one_or_none()
    if row is None:
        return Held(None, None)
    newest = (
        select(blocks.c.height, blocks.c.hash)
        .where(blocks.c.chain == chain)
        .order_by(blocks.c.height.desc())
        .limit(MEMORY)
    )
    memory = [BlockRef(height, digest) for height, digest in connection.execute(newest)][::-1]
    final = BlockRef(row.final_height, row.final_hash) if row.final_height is not None else None
    return Held(BlockRef(row.height, row.hash), final, memory)


def _move_cursor(connection: Connection, step: Step, fence: int, now_ms: int) -> BlockRef | None:
    """Move the cursor from where the step expects it; return the final block that now holds.

    The final block never goes back, but when the step says that it undoes it.
    """
    row = connection.execute(select(cursors).where(cursors.c.chain == step.chain)).one_or_none()
    old = BlockRef(row.final_height, row.final_hash) if row is not None and row.final_height is not None else None
    final = step.final
    if old is not None and (final is None or final.height < old.height):
        final = old
        if step.disconnect_to is not None and step.disconnect_to.height < old.height:
            final = step.final or step.disconnect_to
    values = {
        "height": step.cursor.height,
        "hash": step.cursor.hash,
        "final_height": final.height if final else None,
        "final_hash": final.hash if final else None,
        "head_height": step.head.height,
        "fence": fence,
        "updated_ms": now_ms,
        "endpoint": step.endpoint,
    }
    if step.blocks:
        values["tip_ms"] = step.blocks[-1].time_ms or now_ms
    if step.expected is None:
        if row is not None:
            raise LostRace(f"{step.chain} is followed already")
        connection.execute(insert(cursors).values(chain=step.chain, alarm="", **values))
        return final
    moved = connection.execute(update(cursors).where(*fenced(step.chain, step.expected, fence)).values(values))
    if moved.rowcount != 1:
        raise LostRace(f"{step.chain}: the cursor is not at {step.expected.height} any more, or the lease is lost")
    return final


def _remember(connection: Connection, step: Step, final: BlockRef | None) -> tuple[BlockRef, ...]:
    """Keep the hashes that a later reorg or restart must know.

    In the final part only the last block of the batch: nothing there can be replaced.
    """
    floor = final.height if final else -1
    keep: Sequence[Block] = [b for b in step.blocks if b.ref.height > floor or b is step.blocks[-1]]
    if keep:
        again = among(connection, blocks.c.height, [b.ref.height for b in keep])
        connection.execute(delete(blocks).where(blocks.c.chain == step.chain, again))
        rows = [{"chain": step.chain, "height": b.ref.height, "hash": b.ref.hash, "time_ms": b.time_ms} for b in keep]
        insert_rows(connection, blocks, rows)
        connection.execute(
            delete(blocks).where(blocks.c.chain == step.chain, blocks.c.height < step.cursor.height - MEMORY)
        )
    return tuple(BlockRef(b.ref.height, b.ref.hash) for b in keep)


def clear_alarm(connection: Connection, chain: str, now_ms: int, actor: str) -> bool:
    """Let a chain pay out again after an operator has looked; False when there was no alarm."""
    cleared = connection.execute(
        update(cursors).where(cursors.c.chain == chain, cursors.c.alarm != "").values(alarm="")
    )
    if cleared.rowcount:
        outbox.audit(connection, now_ms, actor, "alarm_cleared", f"chain:{chain}")
    return bool(cleared.rowcount)


def _alarm(connection: Connection, step: Step, now_ms: int) -> None:
    """Say aloud that something final was undone: payouts of this chain are frozen until an operator clears it."""
    assert step.disconnect_to is not None
    text = f"blocks above {step.disconnect_to.height} were final and have been replaced"
    connection.execute(update(cursors).where(cursors.c.chain == step.chain).values(alarm=text))
    outbox.audit(connection, now_ms, "watcher", "final_reorg", f"chain:{step.chain}", {"what": text})
