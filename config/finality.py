"""Finality rules as written by an operator, turned into plain data.

A rule is tiers in ascending order of amount; the first whose ``below`` is above the amount decides.
"finalized" and "irreversible" are one tier without a depth: only the chain's own word counts.
"""

import itertools
from typing import Any

import msgspec

from chainwatch.errors import Rejected
from chainwatch.finality import Rule, Tier
from chainwatch.model import Asset
from chainwatch.units import format_units, parse_units

FINAL_WORDS = frozenset({"finalized", "irreversible", "chainlock"})
"""The chain's own word for "cannot be taken back"; each chain has one of them."""

MAX_DEPTH = 100_000  # two weeks of Bitcoin blocks, 55 hours of Polygon's: deeper is a typing error


class _WrittenTier(msgspec.Struct, forbid_unknown_fields=True):
    depth: int | None = None
    final: bool = False
    below: str | None = None


def parse_finality(value: Any, decimals: int) -> Rule:
    """Read a word, a depth or a list of ``{below = "0.01", depth = 2}`` / ``{final = true}``.

    ``{depth = 6, final = true}`` counts by whichever comes first.
    ``ValueError`` says what is wrong: unknown word, depth below 1, tiers that do not ascend, a last tier
    with a limit, a larger amount that would need less.
    """
    if isinstance(value, str):
        if value not in FINAL_WORDS:
            raise ValueError(f"{value!r} is none of {', '.join(sorted(FINAL_WORDS))}, a depth, or a list of tiers")
        return Rule((Tier(final=True),))
    if isinstance(value, int) and not isinstance(value, bool):
        return Rule((Tier(depth=_depth(value)),))
    if not isinstance(value, list) or not value:
        raise ValueError("must be a word, a depth or a list of tiers")
    tiers = tuple(_tier(v, decimals) for v in value)
    if tiers[-1].below is not None or any(t.below is None for t in tiers[:-1]):
        raise ValueError("every tier but the last, and only those, says 'below'")
    limits = [t.below for t in tiers[:-1] if t.below is not None]
    if limits != sorted(set(limits)) or 0 in limits:
        raise ValueError("tiers must be in ascending order of 'below'")
    needs = [Tier(depth=t.depth, final=t.final) for t in tiers]
    if any(_both(small, large) != large for small, large in itertools.pairwise(needs)):
        raise ValueError("a larger amount must not need fewer confirmations")
    return Rule(tiers)


def describe(rule: Rule, native: Asset) -> str:
    """Return a rule for people: ``depth 2 below 0.01 BTC, else depth 6``."""

    def tier(t: Tier) -> str:
        ways = [f"depth {t.depth}"] if t.depth is not None else []
        ways += ["the chain's final block"] if t.final else []
        limit = f" below {format_units(t.below, native.decimals)} {native.code}" if t.below is not None else ""
        return " or ".join(ways) + limit

    return ", else ".join(map(tier, rule.tiers))


def stricter(a: Rule, b: Rule) -> Rule:
    """Return the rule that asks, for every amount, at least what each of the two asks.

    The chain's own word alone counts as more than any depth.
    """
    limits = sorted({t.below for t in (*a.tiers, *b.tiers) if t.below is not None})
    tiers: list[Tier] = []
    for below in [*limits, None]:
        needed = _both(_at(a, below), _at(b, below))
        if tiers and (tiers[-1].depth, tiers[-1].final) == (needed.depth, needed.final):
            tiers.pop()  # the same need on both sides of a limit: no limit
        tiers.append(Tier(below, needed.depth, needed.final))
    return Rule(tuple(tiers))


def is_weaker(a: Rule, b: Rule) -> bool:
    """Is there an amount for which ``a`` asks less than ``b``?"""
    return stricter(a, b) != stricter(a, a)


def _both(a: Tier, b: Tier) -> Tier:
    if a.depth is None or b.depth is None:
        return Tier(final=True)
    return Tier(depth=max(a.depth, b.depth), final=a.final and b.final)


def _at(rule: Rule, below: int | None) -> Tier:
    """Return the tier that decides amounts just under ``below`` (None: above every limit)."""
    return next(t for t in rule.tiers if t.below is None or (below is not None and below <= t.below))


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
    if not written.final and written.depth is None:
        raise ValueError(f"tier {value!r} needs 'depth', 'final = true', or both for whichever comes first")
    return Tier(below, None if written.depth is None else _depth(written.depth), written.final)
