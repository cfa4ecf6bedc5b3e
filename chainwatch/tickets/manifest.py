"""What a door without a network needs: an event's tickets as salted hashes, revocations, who is in; signed.

The signed text is JSON, sent as a string so that a device hashes exactly what was signed.  The signature is a JWS of
type ``manifest+jwt`` over the text's SHA-256.  A manifest gives no code away: it holds hashes of whole codes, whose
checksum is secret, and no wallet, token or uuid.  A device keeps the newest and asks for what changed ``since``.
"""

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

import jwt
import msgspec

from chainwatch.tickets.codes import HASH_BYTES, Codes, manifest_hash
from chainwatch.tickets.token import Issuer, Signer, base64url

VALID_S = 7 * 86_400
"""A signed manifest is believed so long: a festival's days without a network."""


class Said(msgspec.Struct, kw_only=True):
    """The signed text.  Binary values are base64url without padding, times Unix milliseconds.

    ``numbers`` and ``hashes`` go together: ticket number ``numbers[i]`` has the ``HASH_BYTES`` bytes at
    ``HASH_BYTES * i`` of ``hashes``, over its v1 code.  ``revoked``: every number that opens nothing (also of tickets
    sent before).  ``entries``: ``[number, when, index into gates]`` of those who are in; empty where people may come in
    again and again.  ``since``: the cursor from which on this is the difference, None for everything.
    """

    event: str
    title: str
    policy: str
    door: str
    opens_ms: int | None
    closes_ms: int | None
    cancelled: bool
    salt: str
    qr_key: str
    since: str | None
    cursor: str
    numbers: list[int]
    hashes: str
    revoked: Sequence[int]
    gates: list[str]
    entries: list[tuple[int, int, int]]


class Manifest(msgspec.Struct):
    """What is sent: the text and its signature."""

    manifest: str
    signature: str


def salt_of(issuer: Issuer, event: str) -> bytes:
    """Return the salt of an event's hashes: another event's list has others for the same code."""
    return issuer.secret(f"manifest salt {event}")[:16]


def hashes(codes: Codes, salt: bytes, uuids: Sequence[str]) -> str:
    """Return the hashes of tickets, one behind the other."""
    return base64url(b"".join(manifest_hash(salt, codes.v1(uuid)) for uuid in uuids))


def sign(signer: Signer, said: Said, now_ms: int) -> Manifest:
    """Sign a manifest (``Issuer.signer("manifest")``)."""
    text = msgspec.json.encode(said)
    claims = {
        "aud": f"door:{said.event}",
        "iat": now_ms // 1000,
        "exp": now_ms // 1000 + VALID_S,
        "sha256": base64url(hashlib.sha256(text).digest()),
    }
    return Manifest(text.decode(), signer.sign(claims))


def verify(signer: Signer, sent: Manifest, event: str, now_ms: int) -> Said:
    """Check a manifest as a device does; ``jwt.InvalidTokenError`` when it is not ours, not this one, or too old."""
    claims: dict[str, Any] = signer.verify(sent.signature, require=("aud", "iat", "exp", "sha256"))
    if claims["aud"] != f"door:{event}":
        raise jwt.InvalidAudienceError("a manifest of another event")
    if claims["sha256"] != base64url(hashlib.sha256(sent.manifest.encode()).digest()):
        raise jwt.InvalidTokenError("another text was signed")
    if not claims["iat"] - 300 <= now_ms // 1000 < claims["exp"]:
        raise jwt.ExpiredSignatureError("a manifest of another time")
    return msgspec.json.decode(sent.manifest, type=Said)


def hash_rows(said: Said) -> dict[bytes, int]:
    """Return hash -> ticket number."""
    raw = base64.urlsafe_b64decode(said.hashes + "=" * (-len(said.hashes) % 4))
    return {raw[HASH_BYTES * i : HASH_BYTES * (i + 1)]: number for i, number in enumerate(said.numbers)}
