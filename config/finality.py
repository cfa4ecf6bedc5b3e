"""Finality rules as written by an operator, turned into plain data.

A rule is tiers in ascending order of amount; the first whose ``below`` is above the amount decides.
"finalized" and "irreversible" are one tier without a depth: only the chain's own word counts.
"""

import itertools
from typing import Any

import msgspec

from chainwatch.errors import Rejected
from chainwatch.units import parse_units

FINAL_WORDS = frozenset({"finalized", "irreversible", "chainlock"})
"""The chain's own word for "cannot be taken back"; each chain has one of them."""

MAX_DEPTH = 100_000  # two weeks of Bitcoin blocks, 55 hours of Polygon's: deeper is a typing error


class Tier(msgspec.Struct, frozen=True):
    """For amounts under ``below`` base units of the native coin (None: any), ``depth`` confirmations.

    A depth of 1 is the block itself; None waits until the chain itself declares the block final.
    """

    depth: int | None
    below: int | None = None


FinalityRule = tuple[Tier, ...]


class _WrittenTier(msgspec.Struct, forbid_unknown_fields=True):
    depth: int | None = None
    final: bool = False
    below: str | None = None


def parse_finality(value: Any, decimals: int) -> FinalityRule:
    """Read a word, a depth or a list of ``{below = "0.01", depth = 2}`` / ``{final = true}``.

    ``ValueError`` says what is wrong: unknown word, depth below 1, tiers that do not ascend, a last tier
    with a limit, a larger amount that would need less.
    """
    if isinstance(value, str):
        if value not in FINAL_WORDS:
            raise ValueError(f"{value!r} is none of {', '.join(sorted(FINAL_WORDS))}, a depth, or a list of tiers")
        return (Tier(None),)
    if isinstance(value, int) and not isinstance(value, bool):
        return (Tier(_depth(value)),)
    if not isinstance(value, list) or not value:
        raise ValueError("must be a word, a depth or a list of tiers")
    rule = tuple(_tier(v, decimals) for v in value)
    if rule[-1].below is not None or any(t.below is None for t in rule[:-1]):
        raise ValueError("every tier but the last, and only those, says 'below'")
    limits = [t.below for t in rule[:-1] if t.below is not None]
    if limits != sorted(set(limits)) or 0 in limits:
        raise ValueError("tiers must be in ascending order of 'below'")
    if any(_strength(a) > _strength(b) for a, b in itertools.pairwise(rule)):
        raise ValueError("a larger amount must not need fewer confirmations")
    return rule


def stricter(a: FinalityRule, b: FinalityRule) -> FinalityRule:
    """Return the rule that asks, for every amount, whichever of the two asks more."""
    limits = sorted({t.below for t in (*a, *b) if t.below is not None})
    tiers: list[Tier] = []
    for below in [*limits, None]:
        needed = max(_at(a, below), _at(b, below), key=_strength)
        if tiers and tiers[-1].depth == needed.depth:
            tiers.pop()  # the same need on both sides of a limit: no limit
        tiers.append(Tier(needed.depth, below))
    return tuple(tiers)


def _at(rule: FinalityRule, below: int | None) -> Tier:
    """Return the tier that decides amounts just under ``below`` (None: above every limit)."""
    return next(t for t in rule if t.below is None or (below is not None and below <= t.below))


def _strength(tier: Tier) -> int:
    return MAX_DEPTH + 1 if tier.depth is None else tier.depth


def _depth(value: int) -> int:
    if not 1 <= value <= MAX_DEPTH:
        raise ValueError(f"a depth is 1 to {MAX_DEPTH}: an unconfirmed payment never counts")
    return value


def _tier(value: Any, decimals: int) -> Tier:
    try:
        written = msgspec.convert(value, _WrittenTier)
        below = None if written.below is None else parse_units(written.below, decimals)
    except msgspec.ValidationError as error:
        raise ValueError(f"tier {value!r}: {error} ('below' is text, such as \"0.01\")") from error
    except Rejected as error:
        raise ValueError(str(error)) from error
    if written.final == (written.depth is not None):
        raise ValueError(f"tier {value!r} needs either 'depth' or 'final = true'")
    return Tier(None if written.depth is None else _depth(written.depth), below)
