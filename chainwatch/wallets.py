"""Which wallets a memo may name: those of any chain, each by its own rules (``chainwatch.verifiers``)."""

import functools

from chainwatch.model import ChainSpec
from chainwatch.verifiers.addresses import detect_wallet

CACHE = 65_536
"""Wallets remembered: a busy sale asks for the same ones again and again."""


@functools.lru_cache(CACHE)
def canonical_wallet(text: str) -> str | None:
    """Return the one form under which a wallet is known (EIP-55 on EVM), None when no chain accepts it."""
    candidates = detect_wallet(text)
    return candidates[0].canonical if candidates else None


def is_address_of(spec: ChainSpec, text: str) -> bool:
    """Is this an address of that chain?  (Receiving accounts in the configuration.)"""
    return any(w.family == spec.family for w in detect_wallet(text))
