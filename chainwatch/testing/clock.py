"""A clock that a test moves."""

import asyncio
import heapq


class FakeClock:
    """Time stands still until ``advance``; sleepers wake in order."""

    def __init__(self, start_ms: int = 1_760_000_000_000) -> None:
        self._now_ms = start_ms
        self._start_ms = start_ms
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0

    def now_ms(self) -> int:
        """Return the fake Unix time in milliseconds."""
        return self._now_ms

    def monotonic(self) -> float:
        """Return seconds since this clock was made."""
        return (self._now_ms - self._start_ms) / 1000

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has advanced the clock by ``seconds``."""
        wake_ms = self._now_ms + round(seconds * 1000)
        if wake_ms <= self._now_ms:
            await asyncio.sleep(0)
            return
        self._count += 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (wake_ms, self._count, future))
        await future

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass and wake who slept that long."""
        self._now_ms += round(seconds * 1000)
        while self._sleepers and self._sleepers[0][0] <= self._now_ms:
            future = heapq.heappop(self._sleepers)[2]
            if not future.done():
                future.set_result(None)


class LeapingClock(FakeClock):
    """A fake clock on which whoever sleeps makes the time pass: back-off and polling cost nothing."""

    async def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass at once."""
        await asyncio.sleep(0)
        self.advance(max(seconds, 0.001))
