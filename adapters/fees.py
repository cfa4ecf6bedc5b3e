"""What a payment of the Bitcoin family that is not mined yet pays for being mined.

A sighting costs its sender nothing: it keeps a seat only when miners have a reason to take it.  Rates are base units a
thousand virtual bytes.
"""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from chainwatch.model import ChainSpec, Transfer

SEEN_FEE_RATE = 2_000
"""The rate that is asked for where a network says nothing else: twice what nodes relay at all."""


def seen_fee_rate(spec: ChainSpec, configured: int | None) -> int:
    """Return the fee rate that a sighting needs (0: any does)."""
    return int(spec.params.get("seen_fee_rate", SEEN_FEE_RATE)) if configured is None else configured


def low_fee(found: Iterable[Transfer]) -> list[Transfer]:
    """Mark payments to us whose transaction pays too little."""
    marked = []
    for t in found:
        ours = t.direction == "in" and "internal" not in t.flags
        marked.append(msgspec.structs.replace(t, flags=(*t.flags, "low_fee")) if ours else t)
    return marked


class _Fees(msgspec.Struct):
    base: Decimal
    ancestor: Decimal | None = None


class Entry(msgspec.Struct):
    """``getmempoolentry``: sizes in virtual bytes, fees in whole coins.

    Core says ``vsize`` and ``fees``; before 0.19, and Dogecoin still, ``size`` and ``fee``.
    """

    vsize: int | None = None
    size: int | None = None
    fees: _Fees | None = None
    fee: Decimal | None = None
    ancestorsize: int | None = None

    def pays(self, rate: int, decimals: int) -> bool:
        """Does it pay ``rate``, alone and with all it depends on?

        A parent that pays nothing is mined with it or not at all.  What a node does not tell is not enough.
        """
        size = self.vsize or self.size
        fee = self.fees.base if self.fees is not None else self.fee
        if not size or fee is None:
            return False
        unit = Decimal(10) ** decimals * 1000
        alone = fee * unit >= rate * size
        if self.fees is None or self.fees.ancestor is None or not self.ancestorsize:
            return alone
        return alone and self.fees.ancestor * unit >= rate * self.ancestorsize
