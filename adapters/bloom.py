"""The logs bloom of a block header (Ethereum Yellow Paper §4.3.1, ``M3:2048``).

It can say "certainly no such log" and "perhaps": when a node's log search finds nothing where the
header says perhaps, the receipts are read instead of believing the search.
"""

import functools
import re
from collections.abc import Iterable

from chainwatch.errors import Inconsistent
from chainwatch.verifiers.curves import keccak256

BLOOM_BITS = 2048
_BLOOM = re.compile(r"0x[0-9a-fA-F]{512}", re.ASCII)


@functools.lru_cache(maxsize=4096)  # the contracts and addresses that every block is searched for
def mask(item: str) -> int:
    """Return the three bits that a log address (20 bytes of hex) or topic (32) sets."""
    digest = keccak256(bytes.fromhex(item[2:]))
    bits = 0
    for i in (0, 2, 4):
        bits |= 1 << (int.from_bytes(digest[i : i + 2]) % BLOOM_BITS)
    return bits


def read(text: str | None) -> int:
    """Read a header's bloom; a header without one says "perhaps" to everything."""
    if text is None:
        return (1 << BLOOM_BITS) - 1
    if not _BLOOM.fullmatch(text):
        raise Inconsistent(f"no 256-byte logs bloom: {text!r:.40}")
    return int(text, 16)


def holds(bloom: int, item: str) -> bool:
    """Does the bloom hint at this address or topic?"""
    bits = mask(item)
    return bloom & bits == bits


def of(items: Iterable[str]) -> str:
    """Return the bloom of these addresses and topics, as a header carries it."""
    bits = 0
    for item in items:
        bits |= mask(item)
    return f"0x{bits:0512x}"
