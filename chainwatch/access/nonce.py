"""Nonces of challenges, without a store: a keyed hash of all that the challenge is for."""

import hmac
import json
from collections.abc import Sequence

from chainwatch.access.wording import AccessReason, read_wallet, words_of
from chainwatch.errors import Misconfigured, Rejected
from chainwatch.verifiers.addresses import Wallet

NONCE_LENGTH = 22
"""Letters and digits: 131 bits, so that nobody meets another's nonce by chance or by trying."""
MIN_KEY = 32
"""Bytes of the key that nonces are derived from: as strong as SHA-256."""
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def derive_nonce(
    key: bytes, *, domain: str, event: str, chain: str, address: str, issued_ms: int, expires_ms: int
) -> str:
    """The nonce of a challenge: a keyed hash of all it is for, so that nothing is stored before it is used.

    HMAC-SHA-256 over the values as a JSON list (which has one reading), 131 bits in letters and digits.  ``Rejected``
    for a wallet that the chain does not accept; ``Misconfigured`` for a short key.
    """
    wallet = read_wallet(chain, address)
    if wallet is None:
        raise Rejected(AccessReason.WALLET, "no such wallet on this chain")
    return wallet_nonce(key, wallet, domain=domain, event=event, issued_ms=issued_ms, expires_ms=expires_ms)


def wallet_nonce(key: bytes, wallet: Wallet, *, domain: str, event: str, issued_ms: int, expires_ms: int) -> str:
    """``derive_nonce`` for an address that its chain has read already."""
    if len(key) < MIN_KEY:
        raise Misconfigured(f"the nonce key needs {MIN_KEY} bytes")
    values: list[str | int] = [
        "access nonce v1",
        domain,
        event,
        words_of(wallet)[1],
        wallet.network,
        wallet.canonical,
        issued_ms,
        expires_ms,
    ]
    return nonce_of(key, values)


def nonce_of(key: bytes, values: Sequence[str | int]) -> str:
    """A keyed hash of ``values`` (as a JSON list, which has one reading) in ``NONCE_LENGTH`` letters and digits."""
    digest = hmac.digest(key, json.dumps(values).encode(), "sha256")
    number, out = int.from_bytes(digest, "big"), []
    for _ in range(NONCE_LENGTH):
        number, index = divmod(number, len(_ALPHABET))
        out.append(_ALPHABET[index])
    return "".join(out)
