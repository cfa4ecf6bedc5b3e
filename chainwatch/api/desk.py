"""Scans that come at the same time share one transaction, and its statements: a door must not stall.

``Store.write_together`` shares a commit between bodies that know nothing of each other; scans are alike, so that a
group of them is decided with as many statements as one alone.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

from chainwatch.api.backend import Backend
from chainwatch.errors import Rejected, Transient
from chainwatch.ledger.entries import Entry
from chainwatch.ledger.scans import Scan, check_in_all
from chainwatch.tickets.codes import Codes

GROUP = 128
"""Scans of one transaction at most: beyond it the first would wait for the last."""

Waiting = tuple[int, Scan, "asyncio.Future[Entry]"]
"""A device, what it scanned, and who waits for the answer."""


class Desk:
    """Where single scans are decided."""

    def __init__(self, backend: Backend, codes: Codes) -> None:
        self._backend, self._codes = backend, codes
        self._waiting: deque[Waiting] = deque()
        self._working: asyncio.Task[None] | None = None

    async def decide(self, device_id: int, scan: Scan) -> Entry:
        """Return the answer, once it is committed; ``Rejected`` when the device was revoked."""
        answer: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
        self._waiting.append((device_id, scan, answer))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        while self._waiting:
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), GROUP))]
            try:
                try:
                    self._answer(group, await self._write(group))
                except Transient:  # a deadlock with another process: once more
                    self._answer(group, await self._write(group))
            except Transient as error:  # the database is away: everybody hears so at once, nobody queues for it
                self._fail(group, error)
            except Exception as error:
                await self._one_by_one(group, error)

    async def _one_by_one(self, group: Sequence[Waiting], error: Exception) -> None:
        """After a fault: each for itself, so that one scan that cannot be handled refuses nobody else."""
        for item in group:
            if len(group) > 1:
                try:
                    self._answer([item], await self._write([item]))
                    continue
                except Exception as own:
                    error = own
            self._fail([item], error)

    async def _write(self, group: Sequence[Waiting]) -> list[Entry | Rejected]:
        scans = [(device_id, scan) for device_id, scan, _ in group]
        early_ms = self._backend.settings.access.early_minutes * 60_000
        return await self._backend.store.write(check_in_all, scans, self._codes, self._backend.now_ms(), early_ms)

    @staticmethod
    def _fail(group: Sequence[Waiting], error: Exception) -> None:
        for _, _, answer in group:
            if not answer.done():
                answer.set_exception(error)

    @staticmethod
    def _answer(group: Sequence[Waiting], decided: Sequence[Entry | Rejected]) -> None:
        for (_, _, answer), said in zip(group, decided, strict=True):
            if answer.done():
                continue  # the caller went away; its scan is committed all the same
            if isinstance(said, Rejected):
                answer.set_exception(said)
            else:
                answer.set_result(said)
