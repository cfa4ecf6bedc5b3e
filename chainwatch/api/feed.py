"""Tells open streams that something changed: one look at the database for all of them.

What a page shows changes when a block is applied (cursors move) or a message is written for the outside (outbox), in
whatever process that happens.  So those two are looked at, a few times a second and only while somebody listens, and
each stream reads its own purchase again only when they moved.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import Connection, func, select

from chainwatch.api.limits import network
from chainwatch.api.problems import Problem
from chainwatch.errors import ChainwatchError
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import cursors, outbox

log = logging.getLogger(__name__)

EVERY_S = 0.5
"""Seconds between two looks: a person takes less for at once."""

MAX_STREAMS = 2_000
"""Open streams of a process: each costs a connection and some 20 kB."""

MAX_OF_ONE = 20
"""Open streams of one address (IPv6: of one line): a family behind one line, with several pages each."""

Seen = tuple[object, ...]


def seen(connection: Connection) -> Seen:
    """Return something that is another when anything has changed."""
    newest = connection.execute(select(func.max(outbox.c.id))).scalar_one_or_none()
    rows = connection.execute(
        select(cursors.c.chain, cursors.c.height, cursors.c.hash, cursors.c.final_height).order_by(cursors.c.chain)
    )
    return (newest, *(tuple(r) for r in rows))


class Feed:
    """Wakes those who listen.  It runs only while somebody does."""

    def __init__(self, store: Store, every_s: float = EVERY_S) -> None:
        self._store, self._every_s = store, every_s
        self._changed = asyncio.Event()
        self._listeners: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None
        self.stopping = False

    @asynccontextmanager
    async def listening(self, address: str) -> AsyncIterator["Feed"]:
        """Count one stream of ``address``; ``Problem`` when there are too many."""
        address = network(address)
        if self._listeners.total() >= MAX_STREAMS or self.stopping:
            raise Problem("unavailable", "no further stream now", headers={"Retry-After": "10"})
        if self._listeners[address] >= MAX_OF_ONE:
            headers = {"Retry-After": "10"}
            raise Problem("too_many_requests", f"at most {MAX_OF_ONE} streams of one address", headers=headers)
        self._listeners[address] += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch(), name="feed")
        try:
            yield self
        finally:
            self._listeners[address] -= 1
            if not self._listeners[address]:
                del self._listeners[address]

    def mark(self) -> asyncio.Event:
        """Return this moment: take it before reading, so that no change between is missed."""
        return self._changed

    async def wait(self, since: asyncio.Event, seconds: float) -> bool:
        """Wait for a change after ``since``; False when none came in time."""
        try:
            async with asyncio.timeout(seconds):
                await since.wait()
        except TimeoutError:
            return False
        return True

    def wake(self) -> None:
        """Let everybody look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def stop(self) -> None:
        """End all streams."""
        self.stopping = True
        self.wake()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _watch(self) -> None:
        known: Seen | None = None
        while self._listeners:
            try:
                now = await self._store.read(seen)
            except ChainwatchError as error:
                log.warning("streams wait for the database: %s", error)
            else:
                if now != known:  # the first look too: something may have changed just before it
                    self.wake()
                known = now
            await asyncio.sleep(self._every_s)
