"""The two calls that a verification spends its time in, made straight into the C of their libraries.

coincurve and pycryptodomex wrap them in objects that cost more than Keccak itself.  What is called here is what these
wrappers call; nothing is computed here.  Their bindings are not their public interface: each function is tried once,
on a known answer, and where anything is not as expected the public one takes its place.

C reads what it is told to read, so every length and range is checked before the call.
"""

from collections.abc import Callable
from hashlib import new as new_hash
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
    """Keccak-256 of ``bytes``: OpenSSL's where it has one, else pycryptodomex's."""
    for make in (_openssl_keccak, _direct_keccak):
        try:
            keccak256 = make()
            if keccak256(b"") == _EMPTY_KECCAK and keccak256(bytes(500)) == public_keccak(bytes(500)):
                return keccak256
        except Exception:  # noqa: S112  an OpenSSL without it, other bindings than those we know: the next will do
            continue
    return public_keccak


def public_keccak(data: bytes) -> bytes:
    """Keccak-256 by pycryptodomex's public interface."""
    from Cryptodome.Hash import keccak

    digest: bytes = keccak.new(data=data, digest_bits=256).digest()
    return digest


def _openssl_keccak() -> Keccak:
    """From OpenSSL 3.2 on."""
    empty = new_hash("keccak-256")

    def keccak256(data: bytes) -> bytes:
        state = empty.copy()
        state.update(data)
        return state.digest()

    return keccak256


def _direct_keccak() -> Keccak:
    lib: Any = import_module("Cryptodome.Hash.keccak")._raw_keccak_lib
    ffi: Any = import_module("Cryptodome.Util._raw_api").ffi
    start, reset, absorb, finish = lib.keccak_init, lib.keccak_reset, lib.keccak_absorb, lib.keccak_digest
    pointer, space, view = ffi.typeof("void *[1]"), ffi.typeof("uint8_t[32]"), ffi.buffer
    # States that are not in use; popping and appending are atomic, so no two calls ever hold the same.
    idle: list[tuple[Any, Any, Any]] = []

    def keccak256(data: bytes) -> bytes:
        if type(data) is not bytes:
            data = bytes(data)
        try:
            state, out, digest = item = idle.pop()
            failed = reset(state)
        except IndexError:
            held, out = ffi.new(pointer), ffi.new(space)
            failed = start(held, 64, 24)  # capacity in bytes, rounds
            state, digest = held[0], view(out)
            item = state, out, digest
        if failed or absorb(state, data, len(data)) or finish(state, out, 32, 1):  # 1: the padding before FIPS 202
            raise MemoryError("keccak")
        result: bytes = digest[:]
        idle.append(item)
        return result

    return keccak256


def recover_function() -> Recover:
    """``(r ‖ s, recovery id, digest, compressed)`` -> the public key in 33 or 65 bytes, None when there is none."""
    try:
        direct = _direct_recover()
        known = (_GENERATOR_X + _GENERATOR_X, 0, _SIGNED)
        if all((key := direct(*known, short)) and key == public_recover(*known, short) for short in (True, False)):
            return direct
    except Exception:  # as above
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
    # Spaces that are not in use, as above: signature, key, encoding, its size, and the encoding's bytes short and long.
    idle: list[tuple[Any, Any, Any, Any, Any, Any]] = []

    def spaces() -> tuple[Any, Any, Any, Any, Any, Any]:
        out = new("unsigned char[65]")
        signature, key = new("secp256k1_ecdsa_recoverable_signature *"), new("secp256k1_pubkey *")
        return signature, key, out, new("size_t *"), ffi.buffer(out, 33), ffi.buffer(out, 65)

    def recover(compact: bytes, recovery_id: int, digest: bytes, compressed: bool) -> bytes | None:
        if len(compact) != 64 or len(digest) != 32 or not 0 <= recovery_id <= 3:
            return None
        try:
            item = idle.pop()
        except IndexError:
            item = spaces()
        signature, key, out, size, short, long = item
        encoded: bytes | None = None  # r or s is not below the order, or no key makes such a signature
        if parse(context, signature, compact, recovery_id) and find(context, key, signature, digest):
            size[0] = 33 if compressed else 65
            serialise(context, out, size, key, COMPRESSED if compressed else UNCOMPRESSED)
            encoded = (short if compressed else long)[:]
        idle.append(item)
        return encoded

    return recover
