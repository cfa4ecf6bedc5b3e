"""Amounts as answers carry them: ``amount_base`` in base units and ``amount`` as people write it, both text."""

from collections.abc import Mapping
from typing import Any

from chainwatch.model import Asset
from chainwatch.units import format_units


def decimal(amount: int | None, asset: str | None, assets: Mapping[str, Asset]) -> str | None:
    """Return an amount as people write it; None where the asset is none of ours (then the base units speak)."""
    known = assets.get(asset or "")
    return format_units(amount, known.decimals) if known is not None and amount is not None else None


def base(amount: int | None) -> str | None:
    """Return base units as text."""
    return None if amount is None else str(amount)


def code(name: str, assets: Mapping[str, Any]) -> str:
    """Return an asset's code as we write it: any case, and POL for MATIC."""
    chain, colon, token = name.strip().partition(":")
    wanted = f"MATIC{colon}{token}" if chain.upper() == "POL" else name.strip()
    return next((c for c in assets if c.upper() == wanted.upper()), wanted)
