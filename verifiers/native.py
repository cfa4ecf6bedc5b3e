"""The two calls that a verification spends its time in, each by the shortest way into C.

Keccak-256 is safe-pysha3's, whose public interface is nearly nothing else.  coincurve wraps recovery in objects that
cost some microseconds: what is called here is what these wrappers call, and nothing is computed here.  Those bindings
are not coincurve's public interface: the function is tried on a known answer first, and where anything is not as
expected the public one takes its place.

C reads what it is told to read, so every length and range is checked before the call.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

Keccak = Callable[[bytes], bytes]
Recover = Callable[[bytes, int, bytes, bool], bytes | None]

_EMPTY_KECCAK = bytes.fromhex("c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470")
_SIGNED = bytes(31) + b"\x01"
"""A digest.  With r and s both the x-coordinate of the generator a key comes out: a known answer to try things on."""
COMPRESSED, UNCOMPRESSED = 0x102, 0x002
"""``SECP256K1_EC_COMPRESSED`` and ``SECP256K1_EC_UNCOMPRESSED`` of libsecp256k1's header."""
_GENERATOR_X = bytes.fromhex("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")


def keccak_function() -> Keccak:
    """Keccak-256 of ``bytes``: safe-pysha3's; where it is not installed, or is another module, pycryptodomex's."""
    try:
        from sha3 import keccak_256

        if keccak_256(b"").digest() != _EMPTY_KECCAK:
            return slow_keccak
    except Exception:
        return slow_keccak

    def keccak256(data: bytes) -> bytes:
        digest: bytes = keccak_256(data).digest()
        return digest

    return keccak256


def slow_keccak(data: bytes) -> bytes:
    """Keccak-256 of pycryptodomex, which takes some four times as long."""
    from Cryptodome.Hash import keccak

    digest: bytes = keccak.new(data=data, digest_bits=256).digest()
    return digest


def recover_function() -> Recover:
    """``(r ‖ s, recovery id, digest, compressed)`` -> the public key in 33 or 65 bytes, None when there is none."""
    try:
        direct = _direct_recover()
        known = (_GENERATOR_X + _GENERATOR_X, 0, _SIGNED)
        if all((key := direct(*known, short)) and key == public_recover(*known, short) for short in (True, False)):
            return direct
    except Exception:  # other bindings than those we know
        return public_recover
    return public_recover


def public_recover(compact: bytes, recovery_id: int, digest: bytes, compressed: bool) -> bytes | None:
    """The same by coincurve's public interface."""
    from coincurve import PublicKey

    try:
        signature = compact + recovery_id.to_bytes(1, "big")
        encoded: bytes = PublicKey.from_signature_and_message(signature, digest, hasher=None).format(compressed)
    except Exception:  # coincurve raises ValueError and bare Exception for hostile values
        return None
    return encoded


def _direct_recover() -> Recover:
    bindings: Any = import_module("coincurve._libsecp256k1")
    ffi, lib = bindings.ffi, bindings.lib
    context: Any = import_module("coincurve.context").GLOBAL_CONTEXT.ctx
    parse, find = lib.secp256k1_ecdsa_recoverable_signature_parse_compact, lib.secp256k1_ecdsa_recover
    serialise, new = lib.secp256k1_ec_pubkey_serialize, ffi.new
    # Spaces that are not in use: signature, key, encoding, and twice (short and long) its size and its bytes.
    # Popping and appending are atomic, so no two calls ever hold the same.
    idle: list[tuple[Any, Any, Any, tuple[int, Any, Any], tuple[int, Any, Any]]] = []

    def spaces() -> tuple[Any, Any, Any, tuple[int, Any, Any], tuple[int, Any, Any]]:
        out = new("unsigned char[65]")
        signature, key = new("secp256k1_ecdsa_recoverable_signature *"), new("secp256k1_pubkey *")
        short = COMPRESSED, new("size_t *", 33), ffi.buffer(out, 33)
        return signature, key, out, short, (UNCOMPRESSED, new("size_t *", 65), ffi.buffer(out, 65))

    def recover(compact: bytes, recovery_id: int, digest: bytes, compressed: bool) -> bytes | None:
        if len(compact) != 64 or len(digest) != 32 or not 0 <= recovery_id <= 3:
            return None
        try:
            item = idle.pop()
        except IndexError:
            item = spaces()
        signature, key, out, short, long = item
        encoded: bytes | None = None  # r or s is not below the order, or no key makes such a signature
        if parse(context, signature, compact, recovery_id) and find(context, key, signature, digest):
            form, size, view = short if compressed else long
            serialise(context, out, size, key, form)  # which writes its size again: the same
            encoded = view[:]
        idle.append(item)
        return encoded

    return recover
