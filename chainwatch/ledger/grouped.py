"""Alike requests that come at the same time share one transaction, and its statements.

``Store.write_together`` shares a commit between bodies that know nothing of each other.  Here one body decides a
whole group, with as many statements as for one alone: scans at a door, buyers in a drop.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from sqlalchemy import Connection

from chainwatch.errors import Rejected, Transient
from chainwatch.ledger.store import Store

Item = TypeVar("Item")
Answer = TypeVar("Answer")

GROUP = 128
"""Requests of one transaction at most: beyond it the first would wait for the last."""

Body = Callable[[Connection, Sequence[Item]], Sequence[Answer | Rejected]]
"""Answers every item of a group, in order; a refusal is an answer and undoes nothing of the others'."""


class Grouped(Generic[Item, Answer]):
    """Where such requests are decided: while one group is written the next one gathers."""

    def __init__(self, store: Store, body: Body[Item, Answer], most: int = GROUP) -> None:
        self._store, self._body, self._most = store, body, most
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._working: asyncio.Task[None] | None = None

    async def ask(self, item: Item) -> Answer:
        """Return the answer, once it is committed; ``Rejected`` when that is the answer."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        while self._waiting:
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]
            try:
                try:
                    await self._decide(group)
                except Transient:  # a deadlock with another process: once more
                    await self._decide(group)
            except Transient as error:  # the database is away: everybody hears so at once, nobody queues for it
                _fail(group, error)
            except Exception as error:
                await self._one_by_one(group, error)

    async def _one_by_one(self, group: Sequence[tuple[Item, asyncio.Future[Answer]]], error: Exception) -> None:
        """After a fault: each for itself, so that one request that cannot be handled refuses nobody else."""
        for one in group:
            if len(group) > 1:
                try:
                    await self._decide([one])
                    continue
                except Exception as own:
                    error = own
            _fail([one], error)

    async def _decide(self, group: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> None:
        said = await self._store.write(self._body, [item for item, _ in group])
        for (_, answer), one in zip(group, said, strict=True):
            if answer.done():
                continue  # the caller went away; what it asked for is committed all the same
            if isinstance(one, Rejected):
                answer.set_exception(one)
            else:
                answer.set_result(one)


def _fail(group: Sequence[tuple[Item, "asyncio.Future[Answer]"]], error: Exception) -> None:
    for _, answer in group:
        if not answer.done():
            answer.set_exception(error)
