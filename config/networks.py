"""``networks.toml``: what chainwatch knows of each chain before an operator says anything."""

import functools
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from chainwatch.errors import Misconfigured
from chainwatch.model import Asset, ChainSpec

COMMON_KEYS = frozenset(
    {"adapter", "family", "chain_id", "block_time_ms", "finality", "payout_finality", "assets", "tokens", "aliases"}
)
"""Keys of a section that are the same for every chain; the rest are constants for its adapter."""


@functools.cache
def known() -> Mapping[str, Mapping[str, Any]]:
    """Return the shipped table: chain code to its section."""
    return tomllib.loads((files("chainwatch.config") / "networks.toml").read_text("utf-8"))


def canonical_code(code: str) -> str:
    """Return the chain code that ``code`` or one of its aliases stands for (POL is MATIC)."""
    for name, section in known().items():
        if code == name or code in section.get("aliases", ()):
            return name
    return code


def assets_of(code: str, section: Mapping[str, Any]) -> tuple[Asset, ...]:
    """Build the assets of a section: the native coin first, then other coins, then tokens."""
    coins = tuple(
        Asset(code=name, chain=code, decimals=a["decimals"], asset_id=a.get("id"), dust=a.get("dust", 0))
        for name, a in section.get("assets", {}).items()
    )
    if not coins:
        raise Misconfigured(f"chain {code}: no asset; name its coin in [chains.{code}.assets]")
    tokens = tuple(
        Asset(
            code=f"{code}:{symbol}",
            chain=code,
            decimals=t["decimals"],
            asset_id=t.get("contract") or t.get("mint"),
            program=t.get("program"),
            dust=t.get("dust", 0),
        )
        for symbol, t in section.get("tokens", {}).items()
    )
    return coins + tokens


def overlay(section: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Lay an operator's section over a known one.

    Coins are facts of the chain: what ``own`` says of one changes that coin, and none disappears.
    Tokens are a choice: when ``own`` names tokens it is exactly those, with what is known of each.
    """
    merged = {**section, **own}
    coins, tokens = section.get("assets", {}), section.get("tokens", {})
    own_coins = own.get("assets", {})
    merged["assets"] = {n: {**coins.get(n, {}), **own_coins.get(n, {})} for n in (*coins, *own_coins)}
    if "tokens" in own:
        merged["tokens"] = {symbol: {**tokens.get(symbol, {}), **t} for symbol, t in own["tokens"].items()}
    return merged


def spec(code: str, **overrides: Any) -> ChainSpec:
    """Return a known chain as it is without an operator's section (``decode``, tests).

    ``overrides`` replace fields of the ``ChainSpec``.  ``Misconfigured`` for a chain we do not know.
    """
    name = canonical_code(code)
    if name not in known():
        raise Misconfigured(f"no chain {code!r}; there are {', '.join(known())}")
    section = known()[name]
    fields: dict[str, Any] = {
        "code": name,
        "adapter": section["adapter"],
        "family": section["family"],
        "assets": assets_of(name, section),
        "endpoints": (),
        "chain_id": section.get("chain_id", ""),
        "block_time_ms": section["block_time_ms"],
        "params": {k: v for k, v in section.items() if k not in COMMON_KEYS},
    }
    return ChainSpec(**{**fields, **overrides})
