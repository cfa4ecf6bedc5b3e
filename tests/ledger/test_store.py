"""Small writes that share a commit: each whole or not at all, answered after the commit, on both databases."""

import asyncio
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, event, func, insert, select, update

from chainwatch.errors import Rejected, Transient
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import audit_log

pytestmark = pytest.mark.network


def note(connection: Connection, n: int) -> int:
    connection.execute(insert(audit_log).values(at_ms=n, actor="t", action="note", subject=str(n), detail="{}"))
    if n % 5 == 4:
        raise Rejected("fifth", "every fifth goes wrong after it wrote")
    return n


def test_a_deadlock_is_transient(store: Store) -> None:
    """The database ends one of the two: it is tried again, and nothing of it is there."""
    if store.is_sqlite:
        pytest.skip("SQLite has one writer")
    with store.transaction() as connection:
        for n in (1, 2):
            note(connection, n)
    gate, ends = threading.Barrier(2), []

    def touch(first: int, second: int) -> None:
        try:
            with store.transaction() as connection:
                for i, n in enumerate((first, second)):
                    connection.execute(update(audit_log).where(audit_log.c.subject == str(n)).values(actor=str(first)))
                    if not i:
                        gate.wait(60)
            ends.append("done")
        except Transient:
            ends.append("again")

    threads = [threading.Thread(target=touch, args=pair) for pair in ((1, 2), (2, 1))]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert sorted(ends) == ["again", "done"]


async def test_writes_share_commits_and_one_that_fails_undoes_only_itself(store: Store) -> None:
    commits = 0

    def count(_connection: object) -> None:
        nonlocal commits
        commits += 1

    event.listen(store.engine, "commit", count)
    got = await asyncio.gather(*(store.write_together(note, n) for n in range(100)), return_exceptions=True)
    assert [g for g in got if isinstance(g, int)] == [n for n in range(100) if n % 5 != 4]
    assert sum(isinstance(g, Rejected) for g in got) == 20
    with store.reading() as connection:
        assert connection.execute(select(func.count()).select_from(audit_log)).scalar_one() == 80
    assert commits < 50


async def test_a_commit_that_fails_fails_everybody_in_it(store: Store) -> None:
    def refuse(_connection: object) -> None:
        raise RuntimeError("the disk is full")

    event.listen(store.engine, "commit", refuse)
    got = await asyncio.gather(*(store.write_together(note, n) for n in range(4)), return_exceptions=True)
    assert all(isinstance(g, RuntimeError) for g in got)
    event.remove(store.engine, "commit", refuse)
    with store.reading() as connection:
        assert connection.execute(select(func.count()).select_from(audit_log)).scalar_one() == 0


def look(connection: Connection, n: int) -> int:
    """Look, refuse every third, write the others: as a sale that is nearly over."""
    connection.execute(select(func.count()).select_from(audit_log)).scalar_one()
    if n % 3 == 2:
        raise Rejected("sold_out")
    return note(connection, n)


@pytest.mark.parametrize(("body", "kept"), [(look, 53), (note, 80)])
async def test_bodies_that_may_run_twice_are_each_whole_or_not_at_all(
    store: Store, body: Callable[[Connection, int], int], kept: int
) -> None:
    """Those that only looked are refused beside the others; one that wrote and raised is undone alone."""
    got = await asyncio.gather(*(store.write_often(body, n) for n in range(100)), return_exceptions=True)
    done = [g for g in got if isinstance(g, int)]
    assert len(done) == kept
    assert all(isinstance(g, int | Rejected) for g in got)
    with store.reading() as connection:
        assert connection.execute(select(func.count()).select_from(audit_log)).scalar_one() == kept


async def test_refusals_that_only_looked_cost_no_second_run(store: Store) -> None:
    runs = 0

    def refuse(connection: Connection, n: int) -> int:
        nonlocal runs
        runs += 1
        connection.execute(select(func.count()).select_from(audit_log)).scalar_one()
        if n % 2:
            raise Rejected("sold_out")
        return note(connection, n * 5)

    got = await asyncio.gather(*(store.write_often(refuse, n) for n in range(40)), return_exceptions=True)
    assert sum(isinstance(g, Rejected) for g in got) == 20
    assert runs == 40


async def test_a_commit_that_fails_is_not_tried_again(store: Store) -> None:
    runs = 0

    def counted(connection: Connection, n: int) -> int:
        nonlocal runs
        runs += 1
        return note(connection, n)

    def refuse(_connection: object) -> None:
        raise RuntimeError("the disk is full")

    event.listen(store.engine, "commit", refuse)
    got = await asyncio.gather(*(store.write_often(counted, n) for n in range(4)), return_exceptions=True)
    event.remove(store.engine, "commit", refuse)
    assert all(isinstance(g, RuntimeError) for g in got)
    assert runs == 4


async def test_a_caller_that_goes_away_does_not_hold_the_others_up(store: Store) -> None:
    gone = asyncio.ensure_future(store.write_together(note, 1))
    await asyncio.sleep(0)
    gone.cancel()
    assert await store.write_together(note, 2) == 2
