"""How long a node that answers is believed to be of use.  Pure: told what happens and when, it says when to leave.

What a single answer shows (no answer, nonsense, another network) is the adapter's to judge.  Here is what only the
caller sees: a node whose head stands still, one that lags far behind us, one with which every round fails further up
(a block that it no longer has, receipts that it never shows).
"""

from chainwatch.model import BlockRef

IN_VAIN = 5
"""Rounds in a row that fail with a node which answers, before another node is asked."""

STUCK_BLOCKS, STUCK_S = 12, 60.0
"""A head that stands still for the time of so many blocks, and at least so long: another node may have gone on.  Twelve
times its ten minutes without a block happen to Bitcoin twice in three centuries."""


class Patience:
    """With the nodes of one chain."""

    def __init__(self, block_time_ms: int) -> None:
        self._block_s = block_time_ms / 1000
        self._limit_s = max(STUCK_S, STUCK_BLOCKS * self._block_s)
        self._failed = 0
        self._head: BlockRef | None = None
        self._since = 0.0

    def failed(self) -> bool:
        """Note a round that failed; is it time to ask another node?"""
        self._failed += 1
        return self._failed % IN_VAIN == 0

    def succeeded(self) -> None:
        """Note a round that did not fail."""
        self._failed = 0

    def stood_still(self, head: BlockRef, now: float) -> float | None:
        """Return for how many seconds a node's head has stood still, once that is too long; then count anew."""
        if not head.same(self._head):
            self._head, self._since = head, now
            return None
        still = now - self._since
        if still <= self._limit_s:
            return None
        self._since = now
        return still

    def too_far(self, blocks: int) -> bool:
        """Is a head that is so many blocks below ours that of a node which does not go on?"""
        return blocks * self._block_s > self._limit_s
