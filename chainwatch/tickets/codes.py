"""The texts in a ticket's QR code: made, read and checked.  Pure; no personal data in any of them.

    ticket:<uuid>:v1:<checksum>
    ticket:<uuid>:v2:<event>.<number>.<checksum>.<signature>
    either of them, then ~<step>.<proof>          the rotating form

``checksum``: 16 bytes of HMAC-SHA256 over ``ticket:<uuid>:v1``, so that nobody makes a code from a uuid.  It is checked
by whoever holds the key (online), or by the salted hash of the whole code in the door's manifest.  ``signature``:
Ed25519 over everything before it; whoever has the public key and the list of revocations checks it offline.  A v2
code holds the v1 checksum too, so that a scanner without Ed25519 finds it in the same manifest.

The rotating form is made by the ticket page without a network, from a seed of its own ticket: ``step`` is Unix time in
units of ``STEP_MS``, ``proof`` 9 bytes of HMAC-SHA256(seed, step).  It tells a screenshot from the page and is no
security boundary: the plain code opens the same door (whoever has no signal is not turned away).
Binary parts are base64url without padding.
"""

import base64
import functools
import hashlib
import hmac
import re

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from chainwatch.errors import Rejected
from chainwatch.tickets.token import Issuer, base64url

STEP_MS = 30_000
"""How long one rotating code is shown."""

STEPS_OFF = 10
"""Steps that a rotating code may be away from now: five minutes, as far as telephones' clocks go wrong."""

MAX_CODE = 300
"""Characters: a v2 code of the longest event id with its rotating part has 247."""

HASH_BYTES = 16
"""Of a salted hash in a manifest: a code holds 128 secret bits, more of the hash would add nothing."""

_SIGNED = b"chainwatch qr v2\n"
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_CODE = re.compile(
    rf"(?P<fixed>ticket:(?P<uuid>{_UUID}):"
    r"(?:v1:(?P<first>[A-Za-z0-9_-]{22})"
    r"|v2:(?P<event>[A-Za-z0-9_-]{1,64})\.(?P<number>[1-9][0-9]{0,17})\.(?P<second>[A-Za-z0-9_-]{22})"
    r"\.(?P<signature>[A-Za-z0-9_-]{86})))"
    r"(?:~(?P<step>[1-9][0-9]{0,15})\.(?P<proof>[A-Za-z0-9_-]{12}))?",
    re.ASCII,
)


class Code(msgspec.Struct, frozen=True):
    """What a scanned text says; nothing of it is proved yet.

    ``fixed``: the text without its rotating part.  ``event``, ``number``, ``signature``: of a v2 code only.
    """

    fixed: str
    uuid: str
    checksum: str
    event: str | None = None
    number: int | None = None
    signature: str = ""
    step: int | None = None
    proof: str = ""

    @property
    def plain(self) -> str:
        """The v1 code of the same ticket: what a manifest holds the hash of."""
        return f"ticket:{self.uuid}:v1:{self.checksum}"


def read(text: str) -> Code:
    """Read a scanned text; ``Rejected('unknown')`` when it is no code of ours."""
    found = _CODE.fullmatch(text.strip()) if len(text) <= MAX_CODE else None
    if found is None:
        raise Rejected("unknown", "this is no ticket's code")
    number, step = found["number"], found["step"]
    return Code(
        fixed=found["fixed"],
        uuid=found["uuid"],
        checksum=found["first"] or found["second"],
        event=found["event"],
        number=int(number) if number else None,
        signature=found["signature"] or "",
        step=int(step) if step else None,
        proof=found["proof"] or "",
    )


class Codes:
    """Makes codes and checks them, with keys derived from the issuer's."""

    def __init__(self, issuer: Issuer) -> None:
        self._checksum_key = issuer.secret("qr v1")
        self._rotating_key = issuer.secret("qr rotating")
        self._signer = issuer.signer("qr")

    @property
    def public(self) -> bytes:
        """The public key that v2 codes verify against (32 bytes)."""
        return self._signer.public

    def v1(self, uuid: str) -> str:
        """Return the code that is checked with our key or against a manifest."""
        return f"ticket:{uuid}:v1:{self._checksum(uuid)}"

    def v2(self, uuid: str, event: str, number: int) -> str:
        """Return the code that anybody with ``public`` checks offline.  ``event``: the public id."""
        said = f"ticket:{uuid}:v2:{event}.{number}.{self._checksum(uuid)}"
        return f"{said}.{base64url(self._signer.sign_bytes(_SIGNED + said.encode()))}"

    def seed(self, uuid: str) -> bytes:
        """Return the secret from which a ticket's page makes rotating codes (32 bytes)."""
        return hmac.digest(self._rotating_key, uuid.encode(), "sha256")

    def check(self, code: Code, at_ms: int) -> None:
        """Prove a code that was scanned at ``at_ms``.

        ``Rejected``: ``bad_checksum`` when it was not made by us, ``old_code`` when its rotating part is of another
        time (an old screenshot, or a telephone whose clock is wrong: the plain code helps).
        """
        if not hmac.compare_digest(code.checksum, self._checksum(code.uuid)):
            raise Rejected("bad_checksum", "this code was not made by us")
        if code.signature and not signed(code, self.public):
            raise Rejected("bad_checksum", "this code was not signed by us")
        if code.step is None:
            return
        if not hmac.compare_digest(code.proof, _proof(self.seed(code.uuid), code.step)):
            raise Rejected("bad_checksum", "this code was not made by us")
        if abs(code.step - at_ms // STEP_MS) > STEPS_OFF:
            raise Rejected("old_code", "this code is of another time: an old picture of it, or a wrong clock")

    def _checksum(self, uuid: str) -> str:
        return base64url(hmac.digest(self._checksum_key, f"ticket:{uuid}:v1".encode(), "sha256")[:16])


def signed(code: Code, public: bytes) -> bool:
    """Say whether a v2 code is signed by ``public``: all that an offline door needs, beside the revocations."""
    said = code.fixed.rpartition(".")[0].encode()
    try:
        _public(public).verify(base64.urlsafe_b64decode(code.signature + "=="), _SIGNED + said)
    except (InvalidSignature, ValueError):
        return False
    return True


def rotated(code: str, seed: bytes, at_ms: int) -> str:
    """Return the rotating form of ``code`` for one moment, as the ticket page shows it."""
    step = at_ms // STEP_MS
    return f"{code}~{step}.{_proof(seed, step)}"


def manifest_hash(salt: bytes, plain: str) -> bytes:
    """Return what a manifest holds of a v1 code: SHA-256 over the salt and the whole code, cut."""
    return hashlib.sha256(salt + plain.encode()).digest()[:HASH_BYTES]


def _proof(seed: bytes, step: int) -> str:
    return base64url(hmac.digest(seed, str(step).encode(), "sha256")[:9])


@functools.lru_cache(maxsize=8)
def _public(raw: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(raw)
