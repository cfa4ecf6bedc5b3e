"""Legacy signed messages of the Bitcoin family: signmessage, BIP-137, Electrum's and Trezor's readings.

One signature is base64 of 65 bytes: a header, r and s.  The key is recovered from it, and the wallet's
address is rebuilt from the key.  Litecoin, Dogecoin, Dash, Bitcoin Cash and Groestlcoin differ by the magic alone,
so the same key's signature on one chain says nothing on another.
"""

from collections.abc import Collection
from hashlib import sha256

from chainwatch.verifiers import curves
from chainwatch.verifiers.addresses import Wallet
from chainwatch.verifiers.encodings import EncodingError, base64_bytes, compact_size
from chainwatch.verifiers.result import Policy, Reason, Request, Verification

COMPACT_SIZE = 65
"""Bytes: header, r, s.  No witness stack that we judge has this length, so the length tells the scheme."""

_MAGICS = {
    "BTC": b"Bitcoin Signed Message:\n",
    "BCH": b"Bitcoin Signed Message:\n",
    "LTC": b"Litecoin Signed Message:\n",
    "DOGE": b"Dogecoin Signed Message:\n",
    "DASH": b"DarkCoin Signed Message:\n",
    "GRS": b"GroestlCoin Signed Message:\n",
}
_PREFIXES = {chain: compact_size(len(magic)) + magic for chain, magic in _MAGICS.items()}
_OK = Reason.OK
_SEGWIT = ("BTC", "LTC", "GRS")
_ANY = range(256)
_HEADERS: dict[str, dict[str, Collection[int]]] = {
    "electrum": {"p2pkh": range(27, 35), "p2sh": range(31, 39), "p2wpkh": (*range(31, 35), *range(39, 43))},
    "bip137": {"p2pkh": range(27, 35), "p2sh": range(35, 39), "p2wpkh": range(39, 43)},
    "core": {"p2pkh": _ANY},
    "loose": dict.fromkeys(("p2pkh", "p2sh", "p2wpkh", "p2tr"), _ANY),
}
"""``Policy.btc_headers``: the headers that may stand for a type of address."""

_BIP322_PREFIXES = {"smp": "bip322-simple", "ful": "bip322-full", "pof": "bip322-pof"}
_COMPACT = ("bip137",)


def choose(request: Request) -> tuple[str, ...]:
    """The scheme that the shape of the signature names: BIP-137 by length, BIP-322 by prefix, else BIP-322 simple."""
    signature, wallet = request.signature, request.wallet
    if isinstance(signature, bytes) and len(signature) != COMPACT_SIZE:
        signature = signature.decode("latin-1")
    # 65 bytes are 88 characters with one =, and 66 (the shortest taproot witness) are 88 without.
    if not isinstance(signature, str) or (len(signature) == 88 and signature[-1] == "="):
        return _COMPACT
    prefixed = _BIP322_PREFIXES.get(signature[:3])
    if prefixed:
        return (prefixed,)
    unprefixed_full = request.policy.allow_unprefixed_full
    if wallet.chain != "BTC" or (wallet.kind == "p2pkh" and not unprefixed_full):
        return _COMPACT
    return ("bip322-simple", "bip322-full") if unprefixed_full else ("bip322-simple",)


def message_digest(chain: str, message: bytes) -> bytes:
    """What is signed: double SHA-256 (Groestlcoin: single) of magic and message, each with its length before it."""
    preimage = _PREFIXES[chain] + compact_size(len(message)) + message
    return sha256(preimage).digest() if chain == "GRS" else curves.sha256d(preimage)


def verify_bip137(request: Request) -> Verification:
    """Legacy signature by header, r and s over the chain's magic and the message.

    1. The signature is canonical base64 of 65 bytes (or these bytes).
    2. The header is 27–42 (``core``: any) and, by policy, may serve this type of address.
    3. The digest is of the chain's magic and the exact bytes of the message.
    4. A key is recovered; r and s are in range, high-S is valid here.
    5. The address rebuilt from that key is the wallet's.

    The recovered key is somebody's for every signature: the caller MUST have fixed the address beforehand.
    The network is not signed: the caller MUST compare ``Wallet.network`` with the one it expects.
    Source: BIP-137; Bitcoin Core ``MessageVerify``; Electrum ``usermessage_verify``.
    """
    return verify_compact(request, "bip137")


def verify_compact(request: Request, scheme: str) -> Verification:
    """The steps of ``verify_bip137``, reported under ``scheme``."""
    wallet, policy = request.wallet, request.policy
    # 1. decode
    signature = _compact(request.signature)
    if signature is None:
        return request.answer(Reason.MALFORMED_SIGNATURE, scheme, detail={"what": "not base64 of 65 bytes"})
    # 2. header
    header = signature[0]
    recovery_id, compressed = (header - 27) & 3, header >= 31
    if policy.btc_headers == "core":
        compressed = bool((header - 27) & 4)
    elif not 27 <= header <= 42:
        return request.answer(Reason.MALFORMED_SIGNATURE, scheme, detail={"header": header})
    if header not in _HEADERS[policy.btc_headers].get(wallet.kind, ()) or _no_segwit(wallet):
        detail = {"header": header, "type": wallet.kind}
        return request.answer(Reason.WRONG_ADDRESS_TYPE, scheme, detail=detail)
    # 3. digest
    digest = message_digest(wallet.chain or "BTC", request.message)
    # 4. recover
    compact = signature[1:]
    key = curves.recover(compact, recovery_id, digest, compressed=compressed)
    if key is None:
        return request.answer(Reason.BAD_SIGNATURE, scheme, method="ecdsa", malleable=True)
    # 5. compare
    paid = _pays_to(key, wallet, policy)
    return Verification(
        _OK if paid else Reason.WRONG_SIGNER,
        scheme,
        "ecdsa",
        wallet.canonical,
        wallet.chain,
        key.hex() if paid else None,
        malleable=True,
        warnings=() if curves.low_s(compact) else ("high_s",),
        detail={"header": header, "network": wallet.network},
    )


def _compact(signature: object) -> bytes | None:
    """The 65 bytes of a signature given as base64 or raw."""
    if isinstance(signature, bytes) and len(signature) == COMPACT_SIZE:
        return signature
    if not isinstance(signature, (str, bytes)) or len(signature) != 88:
        return None
    try:
        data = base64_bytes(signature)
    except EncodingError:
        return None
    return data if len(data) == COMPACT_SIZE else None


def _no_segwit(wallet: Wallet) -> bool:
    """P2SH stands for P2SH-P2WPKH here; on a chain without segwit nobody's key alone spends from such an address."""
    return wallet.kind == "p2sh" and wallet.chain not in _SEGWIT


def _pays_to(key: bytes, wallet: Wallet, policy: Policy) -> bool:
    """Is the address, of its type, the one of this key?"""
    program = curves.hash160(key)
    if wallet.kind == "p2pkh":
        if program == wallet.payload:
            return True
        other = curves.reencode(key, compressed=len(key) == 65) if policy.btc_headers == "loose" else None
        return other is not None and curves.hash160(other) == wallet.payload
    if len(key) != 33:
        compact = curves.reencode(key, compressed=True)
        if compact is None:
            return False
        key, program = compact, curves.hash160(compact)
    if wallet.kind == "p2wpkh":
        return program == wallet.payload
    if wallet.kind == "p2sh":
        return curves.hash160(b"\x00\x14" + program) == wallet.payload
    return wallet.kind == "p2tr" and curves.taproot_output_key(key) == wallet.payload
