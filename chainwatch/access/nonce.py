"""Nonces of challenges, without a store: a keyed hash of all that the challenge is for."""

import hashlib
import hmac
import json
from collections.abc import Sequence

from chainwatch.access.wording import AccessReason, read_wallet, words_of
from chainwatch.errors import Misconfigured, Rejected

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
    if len(key) < MIN_KEY:
        raise Misconfigured(f"the nonce key needs {MIN_KEY} bytes")
    wallet = read_wallet(chain, address)
    if wallet is None:
        raise Rejected(AccessReason.WALLET, "no such wallet on this chain")
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
    digest = hmac.new(key, json.dumps(values).encode(), hashlib.sha256).digest()
    number, out = int.from_bytes(digest, "big"), []
    for _ in range(NONCE_LENGTH):
        number, index = divmod(number, len(_ALPHABET))
        out.append(_ALPHABET[index])
    return "".join(out)
