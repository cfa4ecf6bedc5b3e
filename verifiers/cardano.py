"""Cardano: CIP-30 ``signData`` and the CIP-8 messages of hardware wallets, both COSE_Sign1 (RFC 9052) over ed25519.

The key travels with the signature, so it proves nothing by itself: its hash must be the credential in the address, and
the address in the signed header must be the claimed one.  Devices do not check that the two belong together.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from chainwatch.verifiers.curves import ed25519_point, ed25519_verify
from chainwatch.verifiers.encodings import EncodingError, hex_bytes
from chainwatch.verifiers.result import Reason, Request, Verification

EDDSA = -8
MAX_DEPTH = 6
"""Nesting of CBOR: COSE_Sign1 needs three levels."""
_KEY_PAYMENT_TYPES = (0, 2, 4, 6)
_STAKE_TYPE = 14


def choose(request: Request) -> tuple[str, ...]:
    """CIP-30 where the key comes with the signature; CIP-8 where the caller names the key."""
    return ("cip8",) if request.authorities is not None else ("cip30",)


def blake2b_224(data: bytes) -> bytes:
    """Hash of keys and of long payloads."""
    return blake2b(data, digest_size=28).digest()


# --- CBOR (RFC 8949), the deterministic subset that COSE messages of wallets use


class _CborError(ValueError):
    """Not one item of definite-length, shortest-form CBOR."""


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    """``(major type, argument, next offset)``; indefinite lengths and longer-than-needed arguments are refused."""
    if at >= len(data):
        raise _CborError("truncated")
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if info < 24:
        return major, info, at
    if info > 27:
        raise _CborError("indefinite or reserved")
    size = 1 << (info - 24)
    value = int.from_bytes(data[at : at + size], "big")
    if at + size > len(data) or value < (24 if size == 1 else 1 << 4 * size):
        raise _CborError("truncated or not the shortest form")
    return major, value, at + size


def _item(data: bytes, at: int, depth: int = 0) -> tuple[Any, int]:
    """One item and where it ends."""
    major, value, at = _head(data, at)
    if depth > MAX_DEPTH:
        raise _CborError("too deep")
    if major == 0:
        return value, at
    if major == 1:
        return -1 - value, at
    if major in (2, 3):
        body = data[at : at + value]
        if len(body) != value:
            raise _CborError("truncated")
        return (body if major == 2 else body.decode()), at + value
    if major == 4:
        items = []
        for _ in range(_bounded(value, data)):
            item, at = _item(data, at, depth + 1)
            items.append(item)
        return items, at
    if major == 5:
        mapping: dict[Any, Any] = {}
        for _ in range(_bounded(value, data)):
            key, at = _item(data, at, depth + 1)
            if isinstance(key, list | dict) or key in mapping:
                raise _CborError("a key twice, or no simple key")
            mapping[key], at = _item(data, at, depth + 1)
        return mapping, at
    if major == 7 and value in (20, 21, 22):
        return {20: False, 21: True, 22: None}[value], at
    raise _CborError("a type that COSE does not use")


def _bounded(count: int, data: bytes) -> int:
    if count > len(data):  # every item takes a byte
        raise _CborError("truncated")
    return count


def _decode(data: bytes) -> Any:
    value, end = _item(data, 0)
    if end != len(data):
        raise _CborError("something behind the item")
    return value


def _bytes_item(data: bytes) -> bytes:
    """CBOR of a byte string."""
    size = len(data)
    if size < 24:
        return bytes([0x40 | size]) + data
    width = next(width for width in (1, 2, 4) if size < 1 << 8 * width)
    return bytes([0x58 + (width >> 1)]) + size.to_bytes(width, "big") + data


# --- COSE


@dataclass(frozen=True, slots=True)
class _Signed:
    """A COSE_Sign1 of a wallet."""

    protected: bytes
    address: bytes
    hashed: bool
    payload: bytes
    signature: bytes

    @property
    def preimage(self) -> bytes:
        """RFC 9052's Sig_structure: ["Signature1", protected, external data, payload]."""
        return b"\x84\x6aSignature1" + _bytes_item(self.protected) + b"\x40" + _bytes_item(self.payload)


def _parse_signed(data: bytes) -> _Signed:
    outer = _decode(data)
    if not isinstance(outer, list) or len(outer) != 4:
        raise _CborError("not COSE_Sign1")
    protected, unprotected, payload, signature = outer
    if not isinstance(protected, bytes) or not isinstance(payload, bytes) or not isinstance(signature, bytes):
        raise _CborError("not COSE_Sign1")
    header = _decode(protected)
    if not isinstance(header, dict) or not isinstance(unprotected, dict) or len(signature) != 64:
        raise _CborError("not COSE_Sign1")
    address, hashed = header.get("address"), unprotected.get("hashed", False)
    if set(unprotected) - {"hashed"}:  # nobody signs this part: what it may say is kept to what we read
        raise _CborError("unknown unprotected header")
    # A critical header (2) that we do not understand must not be ignored (RFC 9052, 3.1).
    if header.get(1) != EDDSA or 2 in header or not isinstance(address, bytes) or not isinstance(hashed, bool):
        raise _CborError("another algorithm, or no address")
    return _Signed(protected, address, hashed, payload, signature)


def _parse_key(data: bytes) -> bytes:
    """The 32 bytes of a COSE_Key: kty 1 (OKP), alg EdDSA, crv 6 (Ed25519), x."""
    key = _decode(data)
    if not isinstance(key, dict) or key.get(1) != 1 or key.get(3) != EDDSA or key.get(-1) != 6:
        raise _CborError("not an Ed25519 key")
    x = key.get(-2)
    if not isinstance(x, bytes) or len(x) != 32:
        raise _CborError("not an Ed25519 key")
    return x


def _owns(key: bytes, address: bytes) -> bool:
    """Is the key's hash the payment (or stake) credential of the address, or the key hash that stands for one?"""
    if len(address) == 28:
        return blake2b_224(key) == address
    kind = address[0] >> 4 if address else -1
    return (kind in _KEY_PAYMENT_TYPES or kind == _STAKE_TYPE) and blake2b_224(key) == address[1:29]


def verify_cip30(request: Request) -> Verification:
    """``api.signData`` of Eternl, Lace, Yoroi: ``signature`` is ``(COSE_Sign1, COSE_Key)`` in hex, or their JSON.

    1. both parse, to the last byte, with EdDSA and Ed25519;
    2. the address in the signed header is this wallet's;
    3. the payload is the message, or its BLAKE2b-224 when the header says ``hashed``;
    4. the key's hash is the payment credential of the address (stake credential of a stake address);
    5. ed25519 (strict) over the Sig_structure.
    """
    pair = _pair(request.signature)
    try:
        if pair is None:
            raise _CborError("not a pair")
        signed, key = _parse_signed(hex_bytes(pair[0])), _parse_key(hex_bytes(pair[1]))  # 1
    except (_CborError, EncodingError, UnicodeDecodeError):
        return request.answer(Reason.MALFORMED_SIGNATURE, "cip30")
    problem = _check(request, signed)  # 2, 3
    if problem is not None:
        return request.answer(problem, "cip30")
    if not ed25519_point(key):
        return request.answer(Reason.WEAK_KEY, "cip30")
    if not _owns(key, request.wallet.payload):  # 4
        return request.answer(Reason.WRONG_SIGNER, "cip30")
    ok = ed25519_verify(key, signed.signature, signed.preimage)  # 5
    return request.answer(
        Reason.OK if ok else Reason.BAD_SIGNATURE, "cip30", method="ed25519", public_key=key.hex() if ok else None
    )


def verify_cip8(request: Request) -> Verification:
    """A CIP-8 message of a device, whose key the *caller* vouches for: ``authorities={"pubkey": hex}``.

    1. to 3. and 5. as ``verify_cip30``; 4. a key that is not the address's own is the warning ``address_not_bound``:
    the device signs any address into the header.  The caller MUST refuse it unless it knows why the key may speak
    for that address.
    """
    try:
        signed = _parse_signed(hex_bytes(request.signature if isinstance(request.signature, str) else ""))  # 1
    except (_CborError, EncodingError, UnicodeDecodeError):
        return request.answer(Reason.MALFORMED_SIGNATURE, "cip8")
    given = request.authorities.get("pubkey") if isinstance(request.authorities, Mapping) else None
    try:
        key = hex_bytes(given) if isinstance(given, str) else b""
    except EncodingError:
        key = b""
    if len(key) != 32:
        return request.answer(Reason.NEEDS_CHAIN_STATE, "cip8", detail={"missing": "authorities"})
    problem = _check(request, signed)  # 2, 3
    if problem is None and not ed25519_verify(key, signed.signature, signed.preimage):  # 5
        problem = Reason.BAD_SIGNATURE
    if problem is not None:
        return request.answer(problem, "cip8")
    warnings = () if _owns(key, request.wallet.payload) else ("address_not_bound",)  # 4
    return request.answer(Reason.OK, "cip8", method="ed25519", public_key=key.hex(), warnings=warnings)


def _check(request: Request, signed: _Signed) -> Reason | None:
    """Steps 2 and 3."""
    if signed.address != request.wallet.payload:
        return Reason.WRONG_SIGNER
    wanted = blake2b_224(request.message) if signed.hashed else request.message
    return None if signed.payload == wanted else Reason.MESSAGE_MISMATCH


def _pair(signature: object) -> tuple[str, str] | None:
    """Signature and key in hex, from a pair or from ``{"signature": …, "key": …}`` as JSON."""
    if isinstance(signature, str):
        try:
            value = json.loads(signature)
        except (ValueError, RecursionError):
            return None
        signature = (value.get("signature"), value.get("key")) if isinstance(value, dict) else None
    if isinstance(signature, tuple) and len(signature) == 2:
        first, second = signature
        if isinstance(first, str) and isinstance(second, str):
            return first, second
    return None
