"""When a payment counts.  Pure: (position, head, final, rule, amount) -> a state.

Two words of a chain are kept apart: **head**, which may still be replaced, and **final**, which the
chain itself declares final.  Where a rule asks for ``final`` and the chain's finality stalls, payments
wait (and an alarm tells); no rule ever falls back from final to head.
"""

from typing import Any

import msgspec

from chainwatch.errors import Misconfigured
from chainwatch.model import BlockRef, InBlock, Position

FINAL_WORDS = frozenset({"final", "finalized", "irreversible", "chainlock"})
"""What configurations call the chain's own word; they mean the same to us."""

MAX_DEPTH = 10_000
"""Deepest depth that a rule may ask for: more is a typing error, it would be days on every chain."""


class Tier(msgspec.Struct, frozen=True):
    """For amounts below ``below`` (base units of the native coin; None: any amount).

    Confirmed at ``depth`` blocks (the block itself is 1), or when the chain calls it final, or either.
    """

    below: int | None = None
    depth: int | None = None
    final: bool = False


class Rule(msgspec.Struct, frozen=True):
    """Tiers by rising amount; the last has no bound."""

    tiers: tuple[Tier, ...]

    def tier(self, amount: int | None) -> Tier:
        """Return the tier of an amount in the native coin's base units; unknown amounts take the strictest."""
        if amount is not None:
            for tier in self.tiers:
                if tier.below is None or amount < tier.below:
                    return tier
        return self.tiers[-1]

    def deepest(self) -> int:
        """Return the greatest depth that any tier asks for (0: none does)."""
        return max((t.depth or 0 for t in self.tiers), default=0)


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


def parse_rule(raw: Any, decimals: int, where: str = "finality") -> Rule:
    """Read a rule of the configuration: a word, a depth, or a list of tiers.

    ``[{below = "0.01", depth = 2}, {depth = 6}]``: ``below`` is a decimal text of the native coin.
    ``{depth = 6, final = true}`` is confirmed by whichever comes first.
    """
    if isinstance(raw, str):
        if raw not in FINAL_WORDS:
            raise Misconfigured(f"{where}: {raw!r} is none of {', '.join(sorted(FINAL_WORDS))}, a depth, or a list")
        return Rule((Tier(final=True),))
    if isinstance(raw, int) and not isinstance(raw, bool):
        return Rule((Tier(depth=_depth(raw, where)),))
    if not isinstance(raw, list) or not raw:
        raise Misconfigured(f"{where}: expected a word, a depth or a list of tiers, not {raw!r}")
    tiers = tuple(_tier(item, decimals, where) for item in raw)
    bounds = [t.below for t in tiers[:-1]]
    if tiers[-1].below is not None or None in bounds or bounds != sorted(set(bounds), key=lambda b: b or 0):
        raise Misconfigured(f"{where}: tiers must rise by `below`, and only the last has none")
    return Rule(tiers)


def _tier(item: Any, decimals: int, where: str) -> Tier:
    if not isinstance(item, dict) or item.keys() - {"below", "depth", "final"}:
        raise Misconfigured(f"{where}: a tier has the keys below, depth, final; not {item!r}")
    depth = item.get("depth")
    final = item.get("final", False)
    if depth is None and final is not True:
        raise Misconfigured(f"{where}: a tier needs `depth` or `final = true`")
    below = item.get("below")
    return Tier(
        below=None if below is None else to_base_units(below, decimals, where),
        depth=None if depth is None else _depth(depth, where),
        final=final is True,
    )


def _depth(raw: Any, where: str) -> int:
    if not isinstance(raw, int) or isinstance(raw, bool) or not 1 <= raw <= MAX_DEPTH:
        raise Misconfigured(f"{where}: a depth is a whole number from 1 to {MAX_DEPTH}, not {raw!r}")
    return raw


def to_base_units(text: Any, decimals: int, where: str) -> int:
    """Turn a decimal text into base units, exactly: ``("0.01", 8)`` is 1,000,000."""
    whole, point, part = text.partition(".") if isinstance(text, str) else ("", "", "")
    ok = whole.isascii() and whole.isdigit() and len(whole) <= 60 and (not point or (part.isascii() and part.isdigit()))
    if not ok or len(part.rstrip("0")) > decimals:
        raise Misconfigured(f"{where}: {text!r} is not a decimal text with at most {decimals} places")
    part = part.rstrip("0")
    return int(whole) * 10**decimals + (int(part) * 10 ** (decimals - len(part)) if part else 0)


def stricter(a: Rule, b: Rule) -> Rule:
    """Return the rule that asks, for every amount, at least what each of the two asks.

    The chain's own word alone counts as more than any depth.
    """
    bounds = sorted({t.below for t in (*a.tiers, *b.tiers) if t.below is not None})
    tiers: list[Tier] = []
    for below in (*bounds, None):
        # The tier that decides the amounts just under `below`.
        one, two = a.tier(below and below - 1), b.tier(below and below - 1)
        need = _more(one, two)
        if tiers and _same_need(tiers[-1], need):
            tiers.pop()  # the same on both sides of a bound: no bound
        tiers.append(Tier(below, need.depth, need.final))
    return Rule(tuple(tiers))


def is_weaker(a: Rule, b: Rule) -> bool:
    """Is there an amount for which ``a`` asks less than ``b``?"""
    return stricter(a, b) != stricter(a, a)


def _more(a: Tier, b: Tier) -> Tier:
    if a.depth is None or b.depth is None:
        return Tier(final=True)
    return Tier(depth=max(a.depth, b.depth), final=a.final and b.final)


def _same_need(a: Tier, b: Tier) -> bool:
    return a.depth == b.depth and a.final == b.final
