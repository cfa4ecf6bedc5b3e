"""Signatures that were checked a moment ago: a page that reads ten times asks the chain once."""

from collections import OrderedDict

GOOD_MS, MOST = 30_000, 1_000
"""A proof is good again for half a minute (a key that the account took back is refused after that); so many are
remembered."""


class Proofs:
    """Proofs of reads that were good a moment ago, by the hash of their headers."""

    def __init__(self) -> None:
        self._until: OrderedDict[bytes, int] = OrderedDict()

    def has(self, key: bytes, now_ms: int) -> bool:
        """Was it good, and recently?"""
        return self._until.get(key, 0) > now_ms

    def put(self, key: bytes, now_ms: int) -> None:
        """It was good now."""
        self._until[key] = now_ms + GOOD_MS
        self._until.move_to_end(key)
        while len(self._until) > MOST:
            self._until.popitem(last=False)
