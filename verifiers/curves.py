"""The one door to the crypto libraries; those that take long to import are imported at first use.

Nothing here computes on a curve: coincurve (libsecp256k1), PyNaCl (libsodium), safe-pysha3 and
pycryptodomex do.  Functions take and return bytes; wrong input is None or False, never an exception.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import new as new_hash
from hashlib import sha256
from typing import Any

from chainwatch.verifiers import native

SECP256K1_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SECP256K1_HALF_N = SECP256K1_N // 2
_HALF_N = SECP256K1_HALF_N.to_bytes(32, "big")
"""Compared as bytes: of one length and the most significant first, they have the order of their numbers."""


@contextmanager
def kept_recursion_limit() -> Iterator[None]:
    """Import eth-account or web3 inside this.

    They import py_ecc, which raises the interpreter's recursion limit to 100,000: from then on a hostile JSON text
    of nested brackets does not end in ``RecursionError`` but overflows the C stack and kills the process.
    """
    limit = sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


@cache
def _coincurve() -> Any:
    import coincurve

    return coincurve


@cache
def _recover() -> native.Recover:
    return native.recover_function()


# --- hashes


def sha256d(data: bytes) -> bytes:
    """SHA-256 of SHA-256."""
    return sha256(sha256(data).digest()).digest()


def tagged_hash(tag: bytes, data: bytes) -> bytes:
    """BIP-340's tagged hash."""
    prefix = sha256(tag).digest()
    return sha256(prefix + prefix + data).digest()


@cache
def _ripemd160() -> Any:
    """An empty RIPEMD-160; some builds of OpenSSL leave it out, then pycryptodomex has it."""
    try:
        return new_hash("ripemd160")
    except ValueError:
        from Cryptodome.Hash import RIPEMD160

        return RIPEMD160.new()


def ripemd160(data: bytes) -> bytes:
    """RIPEMD-160.  Copying the empty hash is half the cost of looking the algorithm up each time."""
    state = _ripemd160().copy()
    state.update(data)
    digest: bytes = state.digest()
    return digest


def hash160(data: bytes) -> bytes:
    """RIPEMD-160 of SHA-256: what Bitcoin addresses hold."""
    state = _ripemd160().copy()
    state.update(sha256(data).digest())
    digest: bytes = state.digest()
    return digest


keccak256 = native.keccak_function()
"""Keccak-256 as Ethereum and Monero use it (the padding before FIPS 202)."""


# --- secp256k1


def low_s(compact: bytes) -> bool:
    """Is the s of ``r ‖ s`` in the lower half of the group order (BIP-62, EIP-2)?"""
    return compact[32:] <= _HALF_N


def recover(compact: bytes, recovery_id: int, digest: bytes, *, compressed: bool = True) -> bytes | None:
    """Public key that made ``r ‖ s`` over a 32-byte ``digest``; None when there is none.

    High-S is accepted: whether it may be is the scheme's rule.
    """
    return _recover()(compact, recovery_id, digest, compressed)


def ecdsa_verify(public_key: bytes, der: bytes, digest: bytes) -> bool:
    """Is the DER signature by the key (33 or 65 bytes) over the digest?  High-S is refused (libsecp256k1)."""
    try:
        return bool(_coincurve().PublicKey(public_key).verify(der, digest, hasher=None))
    except Exception:  # coincurve raises ValueError and bare Exception for hostile values
        return False


def schnorr_verify(x_only: bytes, signature: bytes, digest: bytes) -> bool:
    """BIP-340: is the 64-byte signature by the x-only key over the 32-byte digest?"""
    try:
        return bool(_coincurve().PublicKeyXOnly(x_only).verify(signature, digest))
    except Exception:  # coincurve raises ValueError and bare Exception for hostile values
        return False


def taproot_output_key(public_key: bytes) -> bytes | None:
    """BIP-86: x-only output key of a compressed internal key, with the tweak of an empty script tree."""
    try:
        internal = public_key[1:33]
        key = _coincurve().PublicKeyXOnly(internal)
        key.tweak_add(tagged_hash(b"TapTweak", internal))
        encoded: bytes = key.format()
    except Exception:  # coincurve raises ValueError and bare Exception for hostile values
        return None
    return encoded


def is_public_key(data: bytes) -> bool:
    """Is this the encoding of a point on secp256k1 (33 or 65 bytes)?"""
    try:
        _coincurve().PublicKey(data)
    except Exception:  # coincurve raises ValueError and bare Exception for hostile values
        return False
    return True


def reencode(public_key: bytes, *, compressed: bool) -> bytes | None:
    """The 33-byte or the 65-byte form of a public key."""
    try:
        encoded: bytes = _coincurve().PublicKey(public_key).format(compressed)
    except Exception:  # coincurve raises ValueError and bare Exception for hostile values
        return None
    return encoded


# --- ed25519


@cache
def sodium() -> Any:
    """Return libsodium's own functions."""
    import nacl.bindings

    return nacl.bindings


@cache
def _nacl_errors() -> type[Exception]:
    from nacl.exceptions import CryptoError

    return CryptoError


def ed25519_verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """libsodium's rule, which is dalek's ``verify_strict``: S below the order, canonical R, no small-order key or R."""
    if len(public_key) != 32 or len(signature) != 64:
        return False
    try:
        sodium().crypto_sign_open(signature + message, public_key)
    except (_nacl_errors(), ValueError):
        return False
    return True


def ed25519_point(data: bytes) -> bool:
    """Is this a canonical point of the prime-order group, other than a small-order one (libsodium's check)?"""
    try:
        return bool(len(data) == 32 and sodium().crypto_core_ed25519_is_valid_point(data))
    except (_nacl_errors(), ValueError):
        return False
