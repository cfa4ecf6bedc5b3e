"""A ticket's token, number-free and clock-free, and our signature over what the ticket says.

Token = HMAC-SHA256(K, what was bought; unit): nobody can guess it, and minting the same purchase again
gives the same token.  K and the signing key live outside the database, with a key id.
"""

import base64
import hashlib
import hmac
import os
import secrets
import uuid
from functools import lru_cache
from pathlib import Path
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chainwatch.errors import Misconfigured

ALGORITHM = "EdDSA"
_ENCODER = msgspec.json.Encoder(order="deterministic")


class Issued(msgspec.Struct, frozen=True):
    """What minting hands out."""

    uuid: str
    token: str
    token_hash: bytes
    jws: str


class Signer:
    """One Ed25519 key for one purpose: JWS compact form (RFC 7515, RFC 8037), header ``typ`` fixed."""

    def __init__(self, key: Ed25519PrivateKey, typ: str) -> None:
        self._key = key
        self.typ = typ
        self.public = key.public_key().public_bytes_raw()
        self.kid = base64.urlsafe_b64encode(hashlib.sha256(self.public).digest()[:9]).decode()
        self._header = base64url(_ENCODER.encode({"alg": ALGORITHM, "kid": self.kid, "typ": typ}))

    def sign(self, claims: dict[str, Any]) -> str:
        """Return the signed token that says ``claims``, as they are: nothing is added."""
        signed = f"{self._header}.{base64url(_ENCODER.encode(claims))}"
        return f"{signed}.{base64url(self._key.sign(signed.encode()))}"

    def sign_bytes(self, data: bytes) -> bytes:
        """Return the bare signature (64 bytes)."""
        return self._key.sign(data)

    def verify(self, token: str, *, require: tuple[str, ...] = ()) -> dict[str, Any]:
        """Check signature and ``typ``; return the claims.  ``jwt.InvalidTokenError`` when it is not ours.

        Times and audience are left to the caller, who MUST check those that the purpose has.
        """
        options: Any = {"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False}
        options["require"] = list(require)
        decoded = jwt.decode_complete(token, self._key.public_key(), algorithms=[ALGORITHM], options=options)
        if decoded["header"].get("typ") != self.typ:
            raise jwt.InvalidTokenError("a token for another purpose")
        claims: dict[str, Any] = decoded["payload"]
        return claims

    def jwk(self) -> dict[str, str]:
        """Return the public key as a JSON Web Key (RFC 8037)."""
        return {
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": ALGORITHM,
            "use": "sig",
            "kid": self.kid,
            "x": base64url(self.public),
        }


MAX_SECRETS = 64
"""Derived keys that are kept, the last used: OpenSSL 3 takes tens of microseconds for a derivation."""


class Issuer(Signer):
    """Makes ticket tokens and signs tickets; every other key is derived from its seed, one for each purpose."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        super().__init__(key, "ticket+jwt")
        self._seed = key.private_bytes_raw()
        self._token_key = hmac.digest(self._seed, b"chainwatch ticket token v1", "sha256")
        self._derived = lru_cache(MAX_SECRETS)(self._derive)

    def secret(self, purpose: str) -> bytes:
        """Return 32 secret bytes for one purpose; another purpose has others."""
        return self._derived(purpose)

    def _derive(self, purpose: str) -> bytes:
        return hmac.digest(self._seed, f"chainwatch secret: {purpose}".encode(), "sha256")

    def signer(self, purpose: str) -> Signer:
        """Return the signing key for one purpose (``session``, ``manifest``, ``certificate`` …)."""
        return Signer(Ed25519PrivateKey.from_private_bytes(self.secret(f"{purpose} signing key")), f"{purpose}+jwt")

    def token(self, bought: str, unit: int) -> str:
        """Return the token of unit ``unit`` of ``bought`` (a purchase's identity): 43 url-safe characters."""
        return base64url(hmac.digest(self._token_key, f"{bought}\n{unit}".encode(), "sha256"))

    def issue(self, bought: str, unit: int, claims: dict[str, Any]) -> Issued:
        """Make the token, the uuid that goes with it and the signed ticket with ``claims``.

        ``claims`` hold no wall-clock time, so that minting again signs the same words.
        """
        token = self.token(bought, unit)
        digest = hashlib.sha256(token.encode()).digest()
        ticket_id = str(uuid.UUID(bytes=digest[:16], version=4))
        return Issued(ticket_id, token, digest, self.sign({"jti": ticket_id, **claims}))


def base64url(data: bytes) -> str:
    """Return base64url without padding (RFC 7515)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def generate_key(path: Path) -> None:
    """Write a new signing key (PKCS #8 PEM) to ``path``, mode 0600.  Never overwrites."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)


def load_issuer(path: Path) -> Issuer:
    """Read a signing key.  ``Misconfigured`` when it is missing, readable by others or no Ed25519 key."""
    try:
        # The group may read: systemd hands credentials out so.
        if path.stat().st_mode & 0o037:
            raise Misconfigured(f"signing key {path}: other users can read it; chmod 600")
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except FileNotFoundError as error:
        raise Misconfigured(f"signing key {path} is missing; make one with `chainwatch keys generate`") from error
    except (OSError, ValueError) as error:
        raise Misconfigured(f"signing key {path} cannot be read: {type(error).__name__}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Misconfigured(f"signing key {path} is not an Ed25519 key")
    return Issuer(key)


def new_ref() -> str:
    """Return a public purchase reference: 16 characters of a-z2-7, 80 random bits."""
    return base64.b32encode(secrets.token_bytes(10)).decode().lower()
