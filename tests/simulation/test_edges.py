"""Turns of a chain that chance rarely takes: the real watcher and ledger over a chain in memory, one scene each."""

import random
from collections.abc import Collection
from typing import NoReturn

import msgspec
import pytest
from sqlalchemy import select

from chainwatch.errors import Transient, Unfollowable
from chainwatch.finality import Rule, Tier
from chainwatch.ledger import leases, pool, rescan
from chainwatch.ledger.tables import tickets, transfers
from chainwatch.model import BlockRef, Window
from chainwatch.testing.fakechain import FakeTransfer, FakeTx
from chainwatch.testing.fakesource import FakeSource, FakeView
from chainwatch.testing.history import RECEIVE, History
from chainwatch.watcher import Watcher

DEPTH = 4


class Scene(History):
    """A history that is told instead of thrown: one event without a limit, a rule by depth, begun at the tip."""

    def __init__(self, *, start: int | str = "tip") -> None:
        super().__init__(1)
        self.final_lag = self.chain.final_lag = DEPTH - 1
        self.spec = msgspec.structs.replace(self.spec, start=start)
        self.context = msgspec.structs.replace(self.context, spec=self.spec, rule=Rule((Tier(depth=DEPTH),)))
        self.source.finality, self.source.shows_mempool = False, True
        self.watcher = self.begin("first")

    def begin(self, holder: str) -> Watcher:
        return Watcher(
            self.context, self.source, self.ledger, clock=self.clock, rng=random.Random(2), reports=self.reports,
            holder=holder,
        )  # fmt: skip

    def pay(self, txid: str) -> str:
        memo = f"event:{self.sold[0].id}:wallet:buyer{txid}"
        paid = FakeTransfer("payer", RECEIVE, self.sold[0].price, memo=memo.encode())
        return self.chain.submit(FakeTx(txid, (paid,)))

    def mine(self, n: int = 1) -> None:
        for _ in range(n):
            self.clock.advance(3)
            self.chain.mine()

    async def follow(self) -> None:
        while await self.watcher.poll():
            pass

    def states(self) -> dict[str, str]:
        with self.ledger.reading() as connection:
            return {t.txid: t.state for t in connection.execute(select(transfers))}

    def tickets(self) -> list[str]:
        with self.ledger.reading() as connection:
            return [t.state for t in connection.execute(select(tickets))]


async def test_a_reorg_across_the_first_block_ever_read_is_followed() -> None:
    scene = Scene()
    scene.mine(5)
    await scene.follow()  # the tip, and nothing else
    scene.pay("a")
    scene.mine()
    await scene.follow()
    assert scene.states() == {"a": "confirming"}
    scene.chain.reorg(4, extra=1, shift=0)  # goes deeper than what was ever read
    await scene.follow()
    assert scene.watcher.condition.lag == 0
    scene.mine(DEPTH)
    await scene.follow()
    assert scene.states() == {"a": "confirmed"}
    assert scene.tickets() == ["active"]


async def test_a_reorg_of_the_first_block_after_something_was_final_stops_the_chain_and_says_so() -> None:
    scene = Scene()
    scene.source.finality = True
    scene.mine(10)
    await scene.follow()
    scene.mine(10)
    await scene.follow()
    scene.chain.reorg(15)
    with pytest.raises(Unfollowable, match="no common block"):
        await scene.follow()


async def test_what_a_reorg_put_back_into_the_mempool_is_seen_again() -> None:
    """It keeps its seat: a payment that is on its way has not gone."""
    scene = Scene()
    scene.mine(3)
    scene.pay("a")
    await scene.follow()
    assert scene.states() == {"a": "seen"}
    scene.source.shows_mempool = False  # a block came while the mempool was read: that look does not count
    scene.mine()
    await scene.follow()
    assert scene.states() == {"a": "confirming"}
    scene.source.shows_mempool = True
    (tx,) = scene.chain.head.txs
    scene.chain.reorg(1, drop=["a"])
    scene.chain.submit(tx)
    await scene.follow()
    assert scene.states() == {"a": "seen"}


async def test_what_left_the_mempool_while_nobody_looked_is_gone_after_a_restart() -> None:
    scene = Scene()
    scene.mine(3)
    scene.pay("a")
    await scene.follow()
    scene.chain.drop("a")
    scene.watcher = scene.begin("first")
    await scene.follow()
    assert scene.states() == {"a": "orphaned"}


async def test_what_another_process_took_for_gone_is_seen_again_by_the_one_that_takes_over() -> None:
    scene = Scene()
    scene.mine(3)
    tx = FakeTx("a", (FakeTransfer("payer", RECEIVE, 1, memo=b"x"),))
    scene.chain.submit(tx)
    await scene.follow()
    first, second = scene.watcher, scene.begin("second")
    scene.clock.advance(leases.TTL_MS / 1000 + 1)
    scene.chain.drop("a")
    scene.watcher = second
    await scene.follow()
    assert scene.states() == {"a": "orphaned"}
    scene.clock.advance(leases.TTL_MS / 1000 + 1)
    scene.chain.submit(tx)
    scene.watcher = first
    await scene.follow()
    assert scene.states() == {"a": "seen"}


async def test_a_mempool_that_cannot_be_read_holds_up_nothing_that_counts() -> None:
    """A provider without that part of the API: what is only seen is not shown, all else goes on."""
    scene = Scene()
    scene.source.own_addresses = True
    look = scene.source.view

    async def without() -> FakeView:
        view = await look()

        async def mempool() -> NoReturn:
            raise Transient("no such method")

        view.mempool = mempool  # type: ignore[method-assign]
        return view

    scene.source.view = without  # type: ignore[method-assign]
    scene.mine(2)
    await scene.follow()
    scene.pay("a")
    scene.mine(DEPTH)
    await scene.follow()
    assert scene.states() == {"a": "confirmed"}
    assert scene.watcher.condition.reason == "the mempool is not read: no such method"
    with scene.ledger.reading() as connection:
        assert pool.all_of(connection, "FAKE"), "addresses are derived ahead all the same"
    scene.source.view = look  # type: ignore[method-assign]
    await scene.follow()
    assert scene.watcher.condition.reason == ""


class Listing(FakeSource):
    """An account's listing that takes several readings."""

    readings = 0

    async def read(self, position: BlockRef | None, _open_ids: Collection[tuple[str, str]]) -> Window:
        self.readings += 1
        head = self.chain.head.ref
        at = position or head
        return Window(self.endpoint, at.height, head, head, None, complete=self.readings % 4 == 0, refs=(at,))


async def test_a_listing_of_many_pages_is_work_in_progress_and_no_failure() -> None:
    scene = Scene()
    scene.source = listing = Listing(scene.spec, scene.chain)
    scene.watcher = scene.begin("first")
    scene.mine(3)
    assert await scene.watcher.poll()
    assert scene.watcher.condition.state == "following"
    await scene.follow()
    assert (listing.readings, scene.reports.counts["transient"]) == (4, 0)
    assert scene.reports.heights["FAKE"] == scene.chain.head.ref.height


async def test_a_backfill_that_no_node_can_serve_does_not_stop_the_following() -> None:
    scene = Scene()
    scene.mine(5)
    await scene.follow()
    with scene.ledger.transaction() as connection:
        job = rescan.queue(connection, "FAKE", 1, 4, scene.clock.now_ms())
    scene.chain.best, pruned = scene.chain.best[4:], scene.chain.best[:4]
    scene.pay("a")
    scene.mine(DEPTH)
    await scene.follow()
    assert scene.states() == {"a": "confirmed"}
    assert "backfill from 1 waits" in scene.watcher.condition.reason
    scene.chain.best = pruned + scene.chain.best
    scene.clock.advance(11)
    scene.mine()
    await scene.follow()
    with scene.ledger.reading() as connection:
        assert rescan.job(connection, job).done_ms is not None
    assert scene.watcher.condition.reason == ""


async def test_a_backfill_takes_nothing_from_another_branch_than_the_followed_one() -> None:
    """A node that changes its mind between two calls, and back again: nothing of the other branch may stay."""
    scene = Scene()
    scene.mine(5)
    await scene.follow()
    scene.mine(3)
    await scene.follow()
    ours = list(scene.chain.best)
    scene.chain.rollback(2)
    scene.pay("a")
    scene.mine(2)
    theirs = list(scene.chain.best)
    scene.chain.best = list(ours)
    with scene.ledger.transaction() as connection:
        rescan.queue(connection, "FAKE", 6, 8, scene.clock.now_ms())
    look = scene.source.view

    async def changing() -> FakeView:
        view = await look()
        header = view.header

        async def and_then_the_other(height: int) -> BlockRef:
            ref = await header(height)
            view._blocks = theirs
            return ref

        view.header = and_then_the_other  # type: ignore[method-assign]
        return view

    scene.source.view = changing  # type: ignore[method-assign]
    await scene.follow()
    assert "chain moved" in scene.watcher.condition.reason
    scene.source.view = look  # type: ignore[method-assign]
    scene.clock.advance(11)
    scene.mine(DEPTH + 2)
    await scene.follow()
    assert (scene.states(), scene.tickets(), scene.watcher.condition.reason) == ({}, [], "")
