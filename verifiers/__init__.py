"""Is this signature by this wallet?  Pure functions: no I/O, no clock, no database.

>>> from chainwatch.verifiers import verify
>>> if verify(address="0x…", message="…", signature="0x…"): ...
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from chainwatch.verifiers.addresses import Wallet, detect_wallet, is_wallet
from chainwatch.verifiers.result import Policy, Reason, Request, Resolver, Reverted, Status, Unavailable, Verification

__all__ = [
    "SCHEMES",
    "Policy",
    "Reason",
    "Request",
    "Resolver",
    "Reverted",
    "Status",
    "Unavailable",
    "Verification",
    "Wallet",
    "detect_wallet",
    "is_wallet",
]


@dataclass(frozen=True, slots=True)
class Scheme:
    """One line of the registry: where a scheme lives and which families of addresses it serves.

    ``function`` is ``"module:function"`` of ``(Request) -> Verification``; ``resolved``, when the scheme may ask a
    chain, that of ``async (Request, Resolver) -> Verification``.  Modules are imported at first use.
    """

    function: str
    families: frozenset[str]
    resolved: str | None = None


def _scheme(function: str, *families: str, resolved: str | None = None) -> Scheme:
    return Scheme(function, frozenset(families), resolved)


SCHEMES: Mapping[str, Scheme] = {
    "bip137": _scheme("bitcoin:verify_bip137", "bitcoin"),
    "bip322-simple": _scheme("bip322:verify_simple", "bitcoin"),
    "bip322-full": _scheme("bip322:verify_full", "bitcoin"),
    "bip322-legacy": _scheme("bip322:verify_legacy", "bitcoin"),
    "bip322-pof": _scheme("bip322:verify_pof", "bitcoin"),
    "eip191": _scheme("ethereum:verify_eip191", "evm", resolved="erc1271:averify_eip191"),
    "eip712": _scheme("ethereum:verify_eip712", "evm", resolved="erc1271:averify_eip712"),
    "siwe": _scheme("ethereum:verify_siwe", "evm", resolved="erc1271:averify_siwe"),
    "erc1271": _scheme("erc1271:verify_erc1271", "evm", resolved="erc1271:averify_erc1271"),
    "erc6492": _scheme("erc1271:verify_erc6492", "evm", resolved="erc1271:averify_erc6492"),
    "eip7702": _scheme("erc1271:verify_eip7702", "evm", resolved="erc1271:averify_eip7702"),
    "solana-raw": _scheme("solana:verify_raw", "solana"),
    "siws": _scheme("solana:verify_siws", "solana"),
    "solana-offchain-v0": _scheme("solana:verify_offchain_v0", "solana"),
    "solana-offchain-v0-sdk": _scheme("solana:verify_offchain_v0_sdk", "solana"),
    "solana-offchain-v1": _scheme("solana:verify_offchain_v1", "solana"),
    "solana-memo-tx": _scheme("solana:verify_memo_tx", "solana"),
    "hive-buffer": _scheme("hive:verify_buffer", "hive", resolved="hive:averify_buffer"),
    "hiveauth-challenge": _scheme("hive:verify_hiveauth", "hive", resolved="hive:averify_hiveauth"),
    "hivesigner-token": _scheme("hive:verify_hivesigner", "hive", resolved="hive:averify_hivesigner"),
    "monero": _scheme("monero:verify_monero", "monero"),
    "tron-v2": _scheme("tron:verify_v2", "tron"),
    "cip30": _scheme("cardano:verify_cip30", "cardano"),
    "cip8": _scheme("cardano:verify_cip8", "cardano"),
}

CHOOSERS: Mapping[str, str] = {
    "bitcoin": "bitcoin:choose",
    "evm": "ethereum:choose",
    "solana": "solana:choose",
    "hive": "hive:choose",
    "monero": "monero:choose",
    "tron": "tron:choose",
    "cardano": "cardano:choose",
}
"""Family -> ``"module:function"`` of ``(Request) -> tuple[str, ...]``: the schemes to try, in order, when none was
named, by the shape of signature and message.  The first valid one wins, else the last's answer stands."""


def _load(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(import_module(f"{__name__}.{module}"), name)
