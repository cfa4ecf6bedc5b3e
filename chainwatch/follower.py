"""Following a chain, without doing any I/O: the only place where a reorg is decided.

``plan`` compares what we hold (cursor, remembered blocks) with what one endpoint says (head, final)
and answers what to do.  It is a generator: it yields the heights whose header it wants from that same
endpoint and is sent the ``BlockRef``; its return value is the plan.  Tests drive it with a list,
the watcher with a node, the simulation with a fake chain.

Order of work for a ``Follow``: disconnect once, down to the fork point, then connect upward.  A failure
half-way leaves the cursor at the last block truly applied, and the next plan goes on from there.
"""

import bisect
from collections.abc import Collection, Generator, Sequence

import msgspec

from chainwatch.errors import Inconsistent, Unfollowable
from chainwatch.model import Block, BlockRef, InBlock, Transfer, Window

MEMORY = 5_000
"""Remembered blocks near the tip.  Deeper than the deepest reorgs on record (Polygon 157 on 2023-02-22,
Ethereum Classic 4,000 on 2020-08-01); beyond it we stop and say so rather than guess."""


BELOW_FIRST = 20
"""Blocks read below the first one that we ever read, when that one is replaced: how deep the reorg goes is not known
then, and a payment of ours may have moved below it."""


class Idle(msgspec.Struct, frozen=True):
    """Same head, same final block: sleep."""


class Behind(msgspec.Struct, frozen=True):
    """The node's head is an ancestor of ours: it lags, nothing is undone."""

    blocks: int


class Follow(msgspec.Struct, frozen=True):
    """Disconnect to ``disconnect_to`` (None: nothing to undo), then connect ``first..last``.

    ``last < first``: nothing to connect, only the final block has moved.
    ``undoes_final``: the fork point lies below what was final for us.
    """

    disconnect_to: BlockRef | None
    first: int
    last: int
    undoes_final: bool = False


Plan = Idle | Behind | Follow


class Held(msgspec.Struct, frozen=True):
    """What we hold of a chain.  ``memory``: remembered blocks, ascending, the cursor last."""

    cursor: BlockRef | None
    final: BlockRef | None
    memory: Sequence[BlockRef] = ()


def plan(held: Held, head: BlockRef, final: BlockRef | None, start: int | None) -> Generator[int, BlockRef, Plan]:
    """Decide what to do about ``head`` and ``final``; yields heights, is sent headers.

    ``start``: first block of a chain never followed before (None: the head itself).
    ``Unfollowable`` when nothing that we remember is on the node's chain.
    """
    cursor = held.cursor
    if cursor is None:
        return Follow(None, head.height if start is None else min(start, head.height), head.height)
    if head.same(cursor):
        moved = final is not None and final.height <= cursor.height and not final.same(held.final)
        forward = moved and (held.final is None or final is None or final.height > held.final.height)
        return Follow(None, head.height + 1, head.height) if forward else Idle()
    if head.height > cursor.height:
        if head.height == cursor.height + 1 and head.parent == cursor.hash:
            return Follow(None, head.height, head.height)
        if (yield cursor.height).same(cursor):
            return Follow(None, cursor.height + 1, head.height)
    elif _at(held.memory, head.height) == head.hash or head.height < _floor(held):
        # Our own ancestor, or below what is final or all that we remember: a node that lags cannot undo anything.
        return Behind(cursor.height - head.height)
    fork = yield from _fork_point(held, [r for r in held.memory if r.height <= head.height])
    return Follow(fork, fork.height + 1, head.height, held.final is not None and fork.height < held.final.height)


def _floor(held: Held) -> int:
    """Return the height below which a head tells nothing: the final block, else the oldest remembered one."""
    oldest = held.memory[0].height if held.memory else 0
    return max(oldest, held.final.height) if held.final is not None else oldest


def _at(memory: Sequence[BlockRef], height: int) -> str | None:
    i = bisect.bisect_left(memory, height, key=lambda r: r.height)
    return memory[i].hash if i < len(memory) and memory[i].height == height else None


def _fork_point(held: Held, memory: Sequence[BlockRef]) -> Generator[int, BlockRef, BlockRef]:
    """Find the newest remembered block that is on the node's chain, in O(log n) headers."""
    good, bad, stride = -1, len(memory), 1
    while bad > 0:  # gallop down until a block agrees
        probe = max(bad - stride, 0)
        if (yield memory[probe].height).same(memory[probe]):
            good = probe
            break
        bad, stride = probe, stride * 2
    if good < 0:
        return (yield from _below_the_first(held))
    while bad - good > 1:
        middle = (good + bad) // 2
        if (yield memory[middle].height).same(memory[middle]):
            good = middle
        else:
            bad = middle
    return memory[good]


def _below_the_first(held: Held) -> Generator[int, BlockRef, BlockRef]:
    """Return a block of the node's below the first one that we ever read: there we hold nothing that could be wrong.

    Only while that first block is remembered and nothing of ours was final yet: a chain that began at the tip,
    whose very first blocks are replaced.  Else ``Unfollowable``.
    """
    first = held.memory[0].height if held.memory else 0
    whole = held.cursor is not None and held.cursor.height - first < MEMORY
    if not first or not whole or held.final is not None:
        raise Unfollowable(
            f"no common block back to height {first if held.memory else 'nothing'}: "
            "another network, or a reorg deeper than we remember"
        )
    return (yield max(first - 1 - BELOW_FIRST, 0))


class Step(msgspec.Struct, frozen=True):
    """What one transaction of the ledger applies: everything between two positions of one cursor.

    ``expected`` is the cursor that this step was made for.  ``blocks`` link to it (or to
    ``disconnect_to``).  ``vanished`` are transfers that a complete window no longer holds, ``unmined`` those that it
    shows in no block: if they were in one, it is gone.
    ``snapshot`` is the whole mempool as it concerns us, taken at ``cursor``; None: not looked at.
    """

    chain: str
    expected: BlockRef | None
    cursor: BlockRef
    head: BlockRef
    final: BlockRef | None
    disconnect_to: BlockRef | None = None
    undoes_final: bool = False
    blocks: tuple[Block, ...] = ()
    vanished: tuple[tuple[str, str], ...] = ()
    unmined: tuple[tuple[str, str], ...] = ()
    snapshot: tuple[Transfer, ...] | None = None
    endpoint: str = ""


def linked(after: BlockRef | None, blocks: Sequence[Block]) -> None:
    """Check that ``blocks`` follow ``after`` one by one; ``Inconsistent`` when they do not."""
    for block in blocks:
        if after is not None and (block.ref.parent != after.hash or block.ref.height != after.height + 1):
            raise Inconsistent(f"block {block.ref.height} does not connect to {after.height}: the chain moved")
        after = block.ref


def agrees(memory: Sequence[BlockRef], blocks: Sequence[Block]) -> None:
    """Check that blocks that were read again are those that we remember; ``Inconsistent`` when the chain moved."""
    for block in blocks:
        if _at(memory, block.ref.height) not in (None, block.ref.hash):
            raise Inconsistent(f"block {block.ref.height} is another one than we followed: the chain moved")


def usable_final(final: BlockRef | None, cursor: BlockRef, memory: Sequence[BlockRef]) -> BlockRef | None:
    """Return the final block as far as it is ours.

    It counts only if its hash is ours at its height.  While we are below it (catch-up), our own
    cursor is final: the endpoint that served it calls something above it final.
    ``Inconsistent`` when the node's final block is not on the chain it served.
    """
    if final is None:
        return None
    if final.height > cursor.height:
        return cursor
    ours = cursor.hash if final.height == cursor.height else _at(memory, final.height)
    if ours is None:
        return None
    if ours != final.hash:
        raise Inconsistent(f"the final block {final.height} is not on the chain that we followed")
    return final


def window_step(chain: str, held: Held, window: Window, open_ids: Collection[tuple[str, str]]) -> Step:
    """Turn a complete window of an account source into a step.

    A remembered block that the window contradicts is a reorg: the fork point is the newest one that
    agrees.  Open transfers inside the window and absent from it have vanished.
    """
    if not window.complete:
        raise Inconsistent("the window was not read to its end")
    theirs = {r.height: r.hash for r in (*window.refs, window.end)}
    clash = [r for r in held.memory if theirs.get(r.height, r.hash) != r.hash]
    fork = None
    if clash:
        fork = next((r for r in reversed(held.memory) if r.height < clash[0].height), None)
        if fork is None:
            raise Unfollowable(f"no common block back to height {clash[0].height}")
    present = {(t.txid, t.index): isinstance(t.position, InBlock) for t in window.transfers}
    by_block: dict[BlockRef, list[Transfer]] = {}
    times: dict[BlockRef, int] = {BlockRef(window.end.height, window.end.hash): window.time_ms}
    for ref in (*window.refs, window.end):
        by_block.setdefault(BlockRef(ref.height, ref.hash), [])
    for transfer in window.transfers:
        if isinstance(transfer.position, InBlock):
            ref = BlockRef(transfer.position.block.height, transfer.position.block.hash)
            by_block.setdefault(ref, []).append(transfer)
            times[ref] = transfer.position.time_ms
    return Step(
        chain=chain,
        expected=held.cursor,
        cursor=window.end,
        head=window.head,
        final=window.final,
        disconnect_to=fork,
        undoes_final=fork is not None and held.final is not None and fork.height < held.final.height,
        blocks=tuple(
            Block(ref, times.get(ref, 0), tuple(by_block[ref])) for ref in sorted(by_block, key=lambda r: r.height)
        ),
        vanished=tuple(i for i in open_ids if i not in present),
        unmined=tuple(i for i in open_ids if present.get(i) is False),
        snapshot=tuple(t for t in window.transfers if not isinstance(t.position, InBlock)),
        endpoint=window.endpoint,
    )
