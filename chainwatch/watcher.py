"""One supervised task a chain: adapter -> follower -> ledger.

``poll`` does one bounded round of work and says whether there is more; ``run`` calls it for ever, with
wake-ups, back-off and the lease.  All decisions are elsewhere: this file only carries.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

import msgspec
from sqlalchemy import Connection

from chainwatch import follower
from chainwatch.adapters.base import AccountSource, AddressSource, BlockSource, BlockView, CoinSource
from chainwatch.clock import Clock
from chainwatch.errors import (
    ChainwatchError,
    Inconsistent,
    LostRace,
    Misconfigured,
    Persistent,
    Transient,
    Unfollowable,
    Unreachable,
)
from chainwatch.follower import Behind, Follow, Held, Step
from chainwatch.ledger import coins, endings, leases, pool, queries, rescan
from chainwatch.ledger.apply import Applied, apply, held
from chainwatch.ledger.context import Context
from chainwatch.model import Block, BlockRef, InBlock
from chainwatch.patience import Patience

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

ROUND_BLOCKS = 2_000
"""Blocks that one round connects at most: the loop stays bounded, status and watchdog stay fed."""

STEP_MS_MAX = 50
"""How long one transaction may take before batches are made smaller: other chains share the writer."""

BACKOFF_S_MAX = 30.0
PERSISTENT_RETRY_S = 60.0
"""A persistent fault needs an operator; looking again once a minute notices that it was cured."""


AGAIN_S = 10.0
"""A piece of a backfill that no node shows is asked for again after so long; the following goes on meanwhile."""


class Ledger(Protocol):
    """The store, as far as a watcher uses it (``chainwatch.ledger.store.Store``)."""

    async def write(self, body: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one transaction."""
        ...

    async def read(self, body: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one consistent look."""
        ...


class Reports(Protocol):
    """Where progress is told (``chainwatch.metrics.Metrics``)."""

    def follow(self, chain: str) -> None:
        """Begin to report a chain."""
        ...

    def tip(self, chain: str, head: BlockRef, final: BlockRef | None = None, time_ms: int = 0) -> None:
        """Record a look at a node."""
        ...

    def scanned(self, chain: str, height: int) -> None:
        """Record our cursor."""
        ...

    def reorg(self, chain: str, depth: int) -> None:
        """Record a reorg of ``depth`` blocks."""
        ...

    def lease(self, chain: str, held: bool) -> None:
        """Record whether we may write the chain."""
        ...

    def minted(self, chain: str, latency_s: float) -> None:
        """Record a ticket."""
        ...

    def payment(self, chain: str, asset: str | None, state: str, n: int = 1) -> None:
        """Count payments that entered a state."""
        ...

    def ended(self, chain: str, ending: str, n: int = 1) -> None:
        """Count payments that came to a named end."""
        ...

    def count(self, chain: str, what: str, n: int = 1) -> None:
        """Count an oddity."""
        ...


class Condition(msgspec.Struct):
    """What a watcher is doing, for status, readiness and the watchdog."""

    state: str = "starting"
    """starting, following, standby (another process holds the lease), failing, stopped."""
    reason: str = ""
    endpoint: str = ""
    lag: int | None = None
    turned: float = 0.0
    """Monotonic time at which the loop last came round; it turns on failure too."""
    caught_up: bool = False


class Watcher:
    """Follows one chain."""

    def __init__(
        self,
        context: Context,
        source: BlockSource | AccountSource,
        ledger: Ledger,
        *,
        clock: Clock,
        rng: random.Random,
        reports: Reports,
        holder: str,
        round_blocks: int = ROUND_BLOCKS,
    ) -> None:
        self.context, self.source, self.ledger = context, source, ledger
        self._by_account = hasattr(source, "read")
        self.clock, self.rng, self.reports = clock, rng, reports
        self.holder = holder
        self.round_blocks = round_blocks
        self.condition = Condition(turned=clock.monotonic())
        self._held: Held | None = None
        self._fence: int | None = None
        self._taken: int | None = None
        self._renew_at = 0.0
        self._batch = 16
        self._sighted: frozenset[tuple[str, str]] | None = None
        """What the ledger holds as seen; None: not known, so the next look is written down whatever it shows."""
        self._patience = Patience(context.spec.block_time_ms)
        self._again_at = 0.0
        self._waits: dict[str, str] = {}
        """What does not go on beside the following, and why, for people."""
        self._kin_watched = 0

    @property
    def chain(self) -> str:
        """The chain's code."""
        return self.context.chain

    # -- the loop --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow until cancelled.

        ``Misconfigured`` when the first look already shows a node that is not what the configuration says: the daemon
        does not start then.  Later the same is a fault of that node, which is waited for, with an alarm.
        """
        self.reports.follow(self.chain)
        failures = 0
        opened = False
        try:
            while True:
                try:
                    if not opened:
                        await self._open()
                        opened = True
                    more = await self.poll()
                    failures = 0
                except ChainwatchError as error:
                    if isinstance(error, Misconfigured) and not opened and not failures:
                        raise
                    failures += 1
                    more = False
                    self._failed(error, failures)
                except Exception as error:  # a fault of ours must not take the other chains with it
                    log.exception("%s: internal fault", self.chain)
                    failures += 1
                    more = False
                    self._failed(Persistent(f"internal fault: {type(error).__name__}: {error}"), failures)
                self.condition.turned = self.clock.monotonic()
                if failures:
                    await self.clock.sleep(self._pause(failures))
                elif not more:
                    await self.source.wait(self._poll_s())
        finally:
            await self.stop()

    async def _open(self) -> None:
        for facts in await self.source.open():
            log.info("%s: %s is %s, head %s", self.chain, facts.endpoint, facts.version, facts.head.height)
            for warning in facts.warnings:
                log.warning("%s: %s: %s", self.chain, facts.endpoint, warning)

    async def _take_over(self) -> None:
        """Watch what the ledger knows to be ours: another process may have derived and received since we began."""
        if getattr(self.source, "own_addresses", False):
            self.source.watch(await self.ledger.read(pool.all_of, self.chain))
        await self._watch_kin()
        if hasattr(self.source, "hold"):
            cast(CoinSource, self.source).hold(await self.ledger.read(coins.watched, self.chain))
        self._taken = self._fence

    async def _watch_kin(self) -> None:
        """Watch what chains of the same accounts have derived: EVM addresses of ours are ours on every EVM chain.

        After a look at the head: whatever was given to a buyer before that head's time is known here by then.
        """
        if not self.context.spec.kin:
            return
        self._kin_watched, new = await self.ledger.read(pool.newer, self.context.spec.kin, self._kin_watched)
        if new:
            self.source.watch(new)

    async def stop(self) -> None:
        """Close the source and give the lease back."""
        await self.source.close()
        if self._fence is not None:
            try:
                await self.ledger.write(leases.release, f"chain:{self.chain}", self.holder)
            except ChainwatchError as error:
                log.warning("%s: the lease runs out by itself: %s", self.chain, error)

    def _failed(self, error: ChainwatchError, failures: int) -> None:
        self._held, self._sighted = None, None  # read again what is true
        transient = isinstance(error, Transient)
        self.condition.state = "failing" if transient else "stopped"
        self.condition.reason = str(error)
        self.condition.caught_up = False
        self.reports.count(self.chain, "transient" if transient else "persistent")
        # Silence is the adapter's to judge, and a lost race is no word against a node.
        if not isinstance(error, Unreachable | LostRace) and self._patience.failed():
            self.source.leave(f"every round fails: {error}")
        if failures in (1, 10) or failures % 100 == 0:
            log.log(logging.WARNING if transient else logging.ERROR, "%s: %s", self.chain, error)

    def _pause(self, failures: int) -> float:
        if self.condition.state == "stopped":
            return PERSISTENT_RETRY_S
        return float(min(BACKOFF_S_MAX, 0.2 * 2 ** min(failures, 10)) * self.rng.uniform(0.5, 1.0))

    def _poll_s(self) -> float:
        return max(0.05, min(self.context.spec.block_time_ms / 3000, 5.0))

    # -- one round -------------------------------------------------------------------------------

    async def poll(self) -> bool:
        """Do one bounded round; return whether there is more to do at once.

        Every ``ChainwatchError`` leaves the ledger at the last step that was committed.
        """
        if not await self._lease():
            return False
        if self._held is None:
            self._held = await self.ledger.read(held, self.chain)
        if self._taken != self._fence:
            await self._take_over()
        if self._by_account:
            more = await self._read_window(cast(AccountSource, self.source))
        else:
            more = await self._follow(cast(BlockSource, self.source))
        if not more:
            await self._derive_ahead()
            more = await self._scan_again()
        self._patience.succeeded()
        self.condition.state, self.condition.reason = "following", "; ".join(self._waits.values())
        self.condition.caught_up = not more
        return more

    async def _lease(self) -> bool:
        now = self.clock.monotonic()
        if self._fence is not None and now < self._renew_at:
            return True
        name = f"chain:{self.chain}"
        fence = await self.ledger.write(leases.acquire, name, self.holder, self.clock.now_ms())
        if fence is None or (self._fence is not None and fence != self._fence):
            self._held, self._sighted = None, None
        self._fence = fence
        self.reports.lease(self.chain, fence is not None)
        if fence is None:
            self.condition.state, self.condition.reason = "standby", "another process holds the lease"
            return False
        self._renew_at = now + leases.TTL_MS / 3000
        return True

    async def _follow(self, source: BlockSource) -> bool:
        assert self._held is not None
        view = await source.view()
        await self._watch_kin()
        self.condition.endpoint = view.endpoint
        start = self.context.spec.start
        first = start if isinstance(start, int) else None
        try:
            what = await drive(follower.plan(self._held, view.head, view.final, first), view.header)
        except Unfollowable as error:
            self._disowned(f"{view.endpoint}: {error}")
            raise
        if isinstance(what, Follow) and what.undoes_final:
            self._disowned(f"{view.endpoint} shows a chain without our final block")
        self._look(view.head, view.final)
        if isinstance(what, Behind):
            self.reports.count(self.chain, "lagging_node")
            self.condition.lag = 0
            if self._patience.too_far(what.blocks):
                self.source.leave(f"its head {view.head.height} is {what.blocks} blocks below ours")
            return False
        more = await self._connect(source, view, what) if isinstance(what, Follow) else False
        self.condition.lag = view.head.height - self._held.cursor.height if self._held.cursor else None
        if not more:
            await self._sight(view)
        return more

    def _disowned(self, why: str) -> None:
        """Leave a node that does not show what was final, or anything that we know, while another one is in use.

        Only when no other one shows it either is it undone, or nothing to be followed.
        """
        if self.source.leave(why):
            raise Inconsistent(why)

    def _look(self, head: BlockRef, final: BlockRef | None) -> None:
        """Report what a node shows; leave one whose head has stood still for too long."""
        self.reports.tip(self.chain, head, final)
        still = self._patience.stood_still(head, self.clock.monotonic())
        if still is not None:
            self.source.leave(f"its head {head.height} has stood still for {still:.0f} s")

    async def _connect(self, source: BlockSource, view: BlockView, what: Follow) -> bool:
        """Disconnect once, then connect upward; at most ``round_blocks``, the rest next round."""
        assert self._held is not None
        undo, undoes_final = what.disconnect_to, what.undoes_final
        if undo is not None and self._held.cursor is not None:
            depth = self._held.cursor.height - undo.height
            log.warning("%s: reorg of %d blocks, back to %d", self.chain, depth, undo.height)
            self.reports.reorg(self.chain, depth)
        at = undo or self._held.cursor
        last = min(what.last, what.first + self.round_blocks - 1)
        first = what.first
        if first > last:
            assert at is not None
            await self._step(self._make(view, at, (), undo, undoes_final))
            return False
        fetch = asyncio.ensure_future(self._fetch(source, view, first, last))
        try:
            while first <= last:
                blocks = await fetch
                first = blocks[-1].ref.height + 1
                if first <= last:  # the next blocks travel while these are applied
                    fetch = asyncio.ensure_future(self._fetch(source, view, first, last))
                follower.linked(at, blocks)
                for group in self._groups(blocks, view):
                    at = group[-1].ref
                    await self._step(self._make(view, at, tuple(group), undo, undoes_final))
                    undo, undoes_final = None, False
                    self.condition.lag = view.head.height - at.height
                if self.clock.monotonic() >= self._renew_at:
                    return True  # the lease must be renewed between rounds
        finally:
            fetch.cancel()
            await asyncio.gather(fetch, return_exceptions=True)
        return last < what.last

    async def _fetch(self, source: BlockSource, view: BlockView, first: int, last: int) -> Sequence[Block]:
        end = min(last, first + source.span - 1)
        if view.final is not None and first <= view.final.height < end:
            end = view.final.height  # so that the final block ends a batch and is remembered
        blocks = await view.blocks(first, end)
        if len(blocks) != end - first + 1:
            raise Transient(f"{view.endpoint} answered {len(blocks)} of {end - first + 1} blocks")
        last_ref, final = blocks[-1].ref, view.final
        if final is not None and last_ref.height == final.height and not last_ref.same(final):
            # Before the first of them is written down as final: behind one name there may be nodes of two branches.
            raise Inconsistent(f"{view.endpoint}: its final block {final.height} is not on the chain that it shows")
        return blocks

    def _groups(self, blocks: Sequence[Block], view: BlockView) -> list[Sequence[Block]]:
        """Several blocks a transaction at or below the final block, one above it (DESIGN invariant 2)."""
        if view.final is not None and blocks[-1].ref.height <= view.final.height:
            return [blocks[i : i + self._batch] for i in range(0, len(blocks), self._batch)]
        return [[b] for b in blocks]

    def _make(
        self, view: BlockView, at: BlockRef, blocks: tuple[Block, ...], undo: BlockRef | None, undoes_final: bool
    ) -> Step:
        assert self._held is not None
        memory = [*self._kept(undo), *(b.ref for b in blocks)]
        return Step(
            chain=self.chain,
            expected=self._held.cursor,
            cursor=at,
            head=view.head,
            final=follower.usable_final(view.final, at, memory),
            disconnect_to=undo,
            undoes_final=undoes_final,
            blocks=blocks,
            endpoint=view.endpoint,
        )

    def _kept(self, undo: BlockRef | None) -> Sequence[BlockRef]:
        assert self._held is not None
        if undo is None:
            return self._held.memory
        return [r for r in self._held.memory if r.height <= undo.height]

    async def _step(self, step: Step) -> Applied:
        """Apply one step and remember what it did."""
        assert self._held is not None
        assert self._fence is not None
        began = self.clock.monotonic()
        applied = await self.ledger.write(apply, step, self.context, self._fence, self.clock.now_ms())
        took_ms = (self.clock.monotonic() - began) * 1000
        if len(step.blocks) > 1:
            self._batch = max(1, self._batch // 2) if took_ms > STEP_MS_MAX else min(100, self._batch + 4)
        memory = [*self._kept(step.disconnect_to), *applied.remembered]
        if len(memory) > 2 * follower.MEMORY:
            memory = memory[-follower.MEMORY :]
        self._held = Held(applied.cursor, applied.final, memory)
        if applied.orphaned:  # what has left its block may be in the mempool again
            self._sighted = None
        self.reports.scanned(self.chain, applied.cursor.height)
        for latency_ms in applied.minted_after_ms:
            self.reports.minted(self.chain, latency_ms / 1000)
        for (asset, state), n in applied.states.items():
            self.reports.payment(self.chain, asset, state, n)
        for (kind, reason), n in applied.ends.items():
            self.reports.ended(self.chain, endings.name_of(kind, reason), n)
        if step.undoes_final:
            log.error("%s: a reorg undid final blocks; payouts are frozen until an operator looks", self.chain)
        return applied

    async def _sight(self, view: BlockView) -> None:
        """Look at the mempool: only from the tip is an eviction known."""
        assert self._held is not None
        if self._held.cursor is None or not view.head.same(self._held.cursor):
            return
        try:
            snapshot = await view.mempool()
        except ChainwatchError as error:  # what is only seen holds up nothing that counts
            self._wait_for("mempool", f"the mempool is not read: {error}")
            return
        self._waits.pop("mempool", None)
        if snapshot is None:
            return
        keys = frozenset((t.txid, t.index) for t in snapshot)
        if keys != self._sighted:
            step = Step(
                chain=self.chain,
                expected=self._held.cursor,
                cursor=self._held.cursor,
                head=view.head,
                final=self._held.final,
                snapshot=tuple(snapshot),
                endpoint=view.endpoint,
            )
            await self._step(step)
            self._sighted = keys

    async def _read_window(self, source: AccountSource) -> bool:
        assert self._held is not None
        open_ids = await self.ledger.read(queries.open_ids, self.chain)
        window = await source.read(self._held.cursor, open_ids)
        self.condition.endpoint = window.endpoint
        self._look(window.head, window.final)
        if not window.complete:
            return True  # a long listing goes on
        known = self._held.cursor
        keys = frozenset((t.txid, t.index) for t in window.transfers if not isinstance(t.position, InBlock))
        if window.end.same(known) and keys == self._sighted and _same_final(window.final, self._held.final):
            return False
        if known is not None and window.end.height < known.height:
            self.reports.count(self.chain, "lagging_node")
            return False
        try:
            step = follower.window_step(self.chain, self._held, window, open_ids)
        except Unfollowable as error:
            self._disowned(f"{window.endpoint}: {error}")
            raise
        if step.undoes_final:
            self._disowned(f"{window.endpoint} shows a chain without our final block")
        if step.disconnect_to is not None and known is not None:
            self.reports.reorg(self.chain, known.height - step.disconnect_to.height)
        await self._step(step)
        self._sighted = keys
        self.condition.lag = window.head.height - window.end.height
        return window.end.height < window.head.height and not window.end.same(known)

    async def _derive_ahead(self) -> None:
        """Fill the pool of our own addresses; each is watched before anybody can be given it."""
        if not getattr(self.source, "own_addresses", False):
            return
        gap_limit = self.context.spec.params.get("gap_limit", pool.GAP_LIMIT)
        numbers = await self.ledger.read(pool.wanted, self.chain, gap_limit)
        if numbers:
            derived = await cast(AddressSource, self.source).addresses(numbers.start, len(numbers))
            self.source.watch(derived)
            await self.ledger.write(pool.add, self.chain, numbers.start, derived, self.clock.now_ms())

    def _wait_for(self, what: str, why: str) -> None:
        if self._waits.get(what) != why:
            log.warning("%s: %s", self.chain, why)
        self._waits[what] = why
        self.reports.count(self.chain, f"{what}_waits")

    async def _scan_again(self) -> bool:
        """Work off one piece of a queued backfill."""
        assert self._held is not None
        job = await self.ledger.read(rescan.next_job, self.chain)
        if job is None or self._held.cursor is None or self._fence is None or self.clock.monotonic() < self._again_at:
            return False
        try:
            blocks = await self._blocks_again(job)
        except ChainwatchError as error:  # a node without that part of the past must not stop the following
            self._again_at = self.clock.monotonic() + AGAIN_S
            self._wait_for("backfill", f"the backfill from {job.next_height} waits: {error}")
            return False
        self._waits.pop("backfill", None)
        if blocks is not None:
            now_ms = self.clock.now_ms()
            await self.ledger.write(rescan.apply, job, blocks, self._held, self.context, self._fence, now_ms)
        return True

    async def _blocks_again(self, job: rescan.Job) -> Sequence[Block] | None:
        """Read a piece of the range, of our own branch; None while a long listing goes on."""
        assert self._held is not None
        assert self._held.cursor is not None
        top = min(job.last_height, self._held.cursor.height)
        if job.next_height > top:
            return ()
        blocks: Sequence[Block]
        if self._by_account:
            window = await cast(AccountSource, self.source).read(BlockRef(job.next_height, ""), ())
            if not window.complete:
                return None
            blocks = follower.window_step(self.chain, self._held, window, ()).blocks
            blocks = [b for b in blocks if b.ref.height <= top]  # a window may end above what was asked for
        else:
            source = cast(BlockSource, self.source)
            view = await source.view()
            if not (await view.header(self._held.cursor.height)).same(self._held.cursor):
                raise Transient("the node is on another branch than we are")
            # The block below once more: its time says how early the next one's can be.
            first = max(job.next_height - 1, job.first_height)
            blocks = await view.blocks(first, min(top, first + max(source.span, 2) - 1))
        follower.agrees(self._held.memory, blocks)
        return blocks


def _same_final(theirs: BlockRef | None, ours: BlockRef | None) -> bool:
    return theirs is None or theirs.same(ours)


async def drive(plan: Any, header: Callable[[int], Awaitable[BlockRef]]) -> follower.Plan:
    """Run a plan, fetching the headers that it asks for."""
    answer: BlockRef | None = None
    try:
        while True:
            answer = await header(plan.send(answer))
    except StopIteration as done:
        return cast(follower.Plan, done.value)
