"""What runs beside the watchers: services that work in rounds, one process at a time, and end only when told to."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from chainwatch.clock import Clock
from chainwatch.errors import ChainwatchError
from chainwatch.ledger import leases
from chainwatch.ledger.store import Store

log = logging.getLogger(__name__)

PAUSE_S = 5.0
"""After a round that failed: the database or the network needs a moment, a fault of ours a person."""


class Service(Protocol):
    """A part of the daemon that runs in the background.  Returning from ``run`` or raising stops the daemon."""

    name: str

    async def run(self) -> None:
        """Work until cancelled."""
        ...


class Lease:
    """The right to do a service's work, of which one process at a time has it (``chainwatch.ledger.leases``)."""

    def __init__(self, store: Store, clock: Clock, name: str, holder: str, ttl_ms: int) -> None:
        self._store, self._clock = store, clock
        self._name, self._holder, self._ttl_ms = name, holder, ttl_ms
        self._until_ms = 0
        self._asked_ms = -ttl_ms

    async def mine(self) -> bool:
        """Is it ours?  Asks the database only when a third of its time has passed."""
        now_ms = self._clock.now_ms()
        if now_ms - self._asked_ms >= self._ttl_ms // 3:
            self._asked_ms = now_ms
            taken = await self._store.write(leases.acquire, self._name, self._holder, now_ms, self._ttl_ms)
            self._until_ms = now_ms + self._ttl_ms if taken is not None else 0
        return now_ms < self._until_ms

    async def release(self) -> None:
        """Give it back; if that fails it runs out by itself."""
        if self._until_ms:
            self._until_ms = 0
            try:
                await self._store.write(leases.release, self._name, self._holder)
            except ChainwatchError as error:
                log.warning("%s: the lease runs out by itself: %s", self._name, error)


async def in_rounds(name: str, clock: Clock, work: Callable[[], Awaitable[float]]) -> None:
    """Do ``work`` for ever; it returns the seconds until the next round.

    An error is logged and the next round tried: no price source and no receiver may stop the daemon.
    """
    while True:
        try:
            pause = await work()
        except ChainwatchError as error:
            log.warning("%s: %s", name, error)
            pause = PAUSE_S
        except Exception:  # a fault of ours
            log.exception("%s: internal fault", name)
            pause = PAUSE_S
        await clock.sleep(pause)
        await asyncio.sleep(0)  # a fake clock may not wait at all; others must have their turn
