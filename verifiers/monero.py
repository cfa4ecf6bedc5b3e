"""Monero: the signatures of ``sign`` in monero-wallet-cli, -rpc, GUI and Feather (wallet2's SigV2 and SigV1).

A Schnorr proof over ed25519 that the signer knows the secret of the address's spend key (mode 0) or view
key (mode 1).  The view key is given away: to merchants, auditors, light-wallet servers.  So only
the spend key proves the wallet unless the caller decides otherwise.

Curve and scalar arithmetic are libsodium's (``crypto_core_ed25519_*``), which also refuses points outside the
prime-order group: wallet2 does not, and accepts signatures that anyone can make for an address with a small-order
spend key.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chainwatch.verifiers.curves import ed25519_point, keccak256, sodium
from chainwatch.verifiers.encodings import EncodingError, cn_base58_bytes, varint
from chainwatch.verifiers.result import Reason, Request, Verification

ORDER = 2**252 + 27742317777372353535851937790883648493
"""Order of the prime-order group of ed25519."""
DOMAIN = b"MoneroMessageSignature\0"
"""``HASH_KEY_MESSAGE_SIGNING``, with its terminating zero."""
_IDENTITY = b"\x01" + bytes(31)
_HEADER = 5
_LENGTH = _HEADER + 88  # 64 bytes are eight blocks of eleven characters


def choose(_: Request) -> tuple[str, ...]:
    """Monero has one scheme, in two versions that the signature names."""
    return ("monero",)


def hash_v2(spend: bytes, view: bytes, mode: int, message: bytes) -> bytes:
    """What SigV2 signs: domain ‖ both public keys ‖ mode (0 spend, 1 view) ‖ length as varint ‖ message."""
    return keccak256(DOMAIN + spend + view + bytes([mode]) + varint(len(message)) + message)


def hash_v1(message: bytes) -> bytes:
    """What SigV1 signed: the message alone, neither address nor key nor purpose."""
    return keccak256(message)


def check_signature(prefix_hash: bytes, public_key: bytes, signature: bytes) -> bool:
    """Monero's ``crypto::check_signature``, and prime order of the key besides.

    1. the key is a canonical point of the prime-order group, not a small-order one;
    2. signature = c ‖ r, both below the group order, c not zero;
    3. R = c·P + r·G is not the identity;
    4. c = H(prefix hash ‖ P ‖ R) modulo the order.
    """
    if len(signature) != 64 or not ed25519_point(public_key):  # 1
        return False
    c, r = signature[:32], signature[32:]
    challenge = int.from_bytes(c, "little")
    response = int.from_bytes(r, "little")
    if not 0 < challenge < ORDER or response >= ORDER:  # 2
        return False
    libsodium = sodium()
    try:
        point: bytes = libsodium.crypto_scalarmult_ed25519_noclamp(c, public_key)  # 3
        if response:  # libsodium refuses to return the identity, which 0·G is
            point = libsodium.crypto_core_ed25519_add(point, libsodium.crypto_scalarmult_ed25519_base_noclamp(r))
    except Exception:  # libsodium reports a degenerate product as an exception of PyNaCl
        return False
    if point == _IDENTITY:
        return False
    digest = keccak256(prefix_hash + public_key + point)  # 4
    return int.from_bytes(digest, "little") % ORDER == challenge


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One key that may have signed, and whether the policy lets it."""

    name: str
    key: bytes
    prefix_hash: bytes
    allowed: bool


def verify_monero(request: Request) -> Verification:
    """SigV2 or SigV1 by a standard, subaddress or integrated address (which signs as its standard form).

    1. the signature is ``SigV2`` or ``SigV1`` and 64 bytes in Monero's base58;
    2. SigV1 only where the policy allows it: it binds neither the address nor what the key is for;
    3. the keys are in the prime-order group (``weak_key``);
    4. the spend key signed (mode 0), or, where the policy allows it, the view key (mode 1);
       what only the policy forbids is ``policy``, with ``detail["key"]`` or ``detail["version"]``.

    The hash binds the keys but not the network, which the caller MUST fix by the address it expects.
    """
    signature = request.signature
    if (
        not isinstance(signature, str) or len(signature) != _LENGTH or signature[:_HEADER] not in ("SigV1", "SigV2")
    ):  # 1
        return request.answer(Reason.MALFORMED_SIGNATURE, "monero")
    try:
        proof = cn_base58_bytes(signature[_HEADER:])
    except EncodingError:
        return request.answer(Reason.MALFORMED_SIGNATURE, "monero")
    version = int(signature[_HEADER - 1])
    spend, view = request.wallet.payload[:32], request.wallet.payload[32:64]
    if not ed25519_point(spend) or not ed25519_point(view):  # 3
        return request.answer(Reason.WEAK_KEY, "monero")
    policy = request.policy

    def hash_for(mode: int) -> bytes:
        return hash_v1(request.message) if version == 1 else hash_v2(spend, view, mode, request.message)

    allowed = version == 2 or policy.unsafe_allow_v1  # 2
    found = _who(proof, spend, view, hash_for, allowed, allowed and policy.unsafe_allow_view_key)  # 4
    if found is None:
        return request.answer(Reason.WRONG_SIGNER, "monero", method="schnorr")
    detail: dict[str, Any] = {"key": found.name, "version": version, "network": request.wallet.network}
    if request.wallet.base:
        detail["standard_address"] = request.wallet.base
    return request.answer(
        Reason.OK if found.allowed else Reason.POLICY,
        "monero",
        method="schnorr",
        public_key=found.key.hex(),
        warnings=("sig_v1",) if version == 1 else (),
        detail=detail,
    )


def _who(
    proof: bytes,
    spend: bytes,
    view: bytes,
    hash_for: Callable[[int], bytes],
    spend_allowed: bool,
    view_allowed: bool,
) -> _Candidate | None:
    """The first of spend key and view key that made the proof."""
    for candidate in (
        _Candidate("spend", spend, hash_for(0), spend_allowed),
        _Candidate("view", view, hash_for(1), view_allowed),
    ):
        if check_signature(candidate.prefix_hash, candidate.key, proof):
            return candidate
    return None
