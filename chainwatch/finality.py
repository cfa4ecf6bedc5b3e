"""When a payment counts.  Pure: (position, head, final, rule, amount) -> a state.

Two words of a chain are kept apart: **head**, which may still be replaced, and **final**, which the
chain itself declares final.  Where a rule asks for ``final`` and the chain's finality stalls, payments
wait (and an alarm tells); no rule ever falls back from final to head.
"""

import msgspec

from chainwatch.model import BlockRef, InBlock, Position


class Tier(msgspec.Struct, frozen=True):
    """For amounts below ``below`` (base units of the native coin; None: any amount).

    Confirmed at ``depth`` blocks (the block itself is 1), or when the chain calls it final, or either.
    """

    below: int | None = None
    depth: int | None = None
    final: bool = False


class Rule(msgspec.Struct, frozen=True):
    """Tiers by rising amount; the last has no bound.  Written by operators, read by ``chainwatch.config.finality``."""

    tiers: tuple[Tier, ...]

    def tier(self, amount: int | None) -> Tier:
        """Return the tier of an amount in the native coin's base units; unknown amounts take the strictest."""
        if amount is not None:
            for tier in self.tiers:
                if tier.below is None or amount < tier.below:
                    return tier
        return self.tiers[-1]


class Seen(msgspec.Struct, frozen=True):
    """In no block."""


class Confirming(msgspec.Struct, frozen=True):
    """In a block, ``n`` deep; ``of`` is the depth needed, None when the chain's own word is awaited."""

    n: int
    of: int | None


class Confirmed(msgspec.Struct, frozen=True):
    """It counts."""


State = Seen | Confirming | Confirmed


def state(position: Position | None, head: BlockRef, final: BlockRef | None, rule: Rule, amount: int | None) -> State:
    """Say how far a transfer is.

    The caller vouches that the transfer's block, ``head`` and ``final`` are on one chain: the follower
    and the ledger see to it.  ``amount``: the larger of purchase total and transaction total in the
    native coin's base units, None when it has no price there.
    """
    if not isinstance(position, InBlock):
        return Seen()
    height = position.block.height
    n = max(head.height - height + 1, 0)
    tier = rule.tier(amount)
    if tier.final and final is not None and height <= final.height:
        return Confirmed()
    if tier.depth is not None and n >= tier.depth:
        return Confirmed()
    return Confirming(n, tier.depth)


def floor(rule: Rule, head: BlockRef, final: BlockRef | None) -> int:
    """Return the height up to which any amount is confirmed; -1: none is."""
    tier = rule.tiers[-1]
    by_word = final.height if tier.final and final is not None else -1
    by_depth = head.height - tier.depth + 1 if tier.depth is not None else -1
    return max(by_word, by_depth)
