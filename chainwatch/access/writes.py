"""The text that a creator signs before a write: one request, once.

It binds our domain, the account, method, path (with its query) and the body's hash::

    tickets.example: alice signs one request

    POST /api/events/create
    Body SHA-256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    Account: alice
    Nonce: 9f86d081884c7d65.5eb63bbbe01eeed093cb22bb
    Issued At: 2026-11-20T00:00:00Z
    Expiration Time: 2026-11-20T00:05:00Z

Nothing is stored before it is used: the nonce is a keyed hash of all the rest, and the caller sends it back with the
times (``token``).  Hive signs texts without a prefix of its own, so the words must be none of any other text's.
"""

import hashlib
import hmac
import re
import secrets

import msgspec

from chainwatch.errors import Rejected
from chainwatch.times import format_ms

METHODS = ("POST", "PUT", "PATCH", "DELETE")
MAX_PATH = 512
MAX_SKEW_MS = 60_000
"""How far ahead of ours the clock of another process of ours may be."""

_TOKEN = re.compile(r"([1-9][0-9]{12})\.([1-9][0-9]{12})\.([0-9a-f]{16})\.([0-9a-f]{48})", re.ASCII)
_PATH = re.compile(r"/[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Request(msgspec.Struct, frozen=True):
    """What is going to be asked.  ``path`` as it stands in the request line, query included."""

    domain: str
    account: str
    method: str
    path: str
    body_sha256: str


class Challenge(msgspec.Struct, frozen=True):
    """``message`` is what the wallet signs, ``token`` goes back to us beside the signature."""

    message: str
    token: str
    expires_ms: int


def issue(key: bytes, request: Request, now_ms: int, ttl_ms: int) -> Challenge:
    """Make a text for a request.  ``Rejected``: bad_method, bad_path, bad_body_hash."""
    if request.method not in METHODS:
        raise Rejected("bad_method", f"a write is one of {', '.join(METHODS)}")
    if len(request.path) > MAX_PATH or not _PATH.fullmatch(request.path):
        raise Rejected("bad_path", "not the path of a request")
    if not _SHA256.fullmatch(request.body_sha256):
        raise Rejected("bad_body_hash", "body_sha256 is the SHA-256 of the body in 64 small hex digits")
    return _challenge(key, request, now_ms, now_ms + ttl_ms, secrets.token_hex(8))


def check(key: bytes, request: Request, token: str, now_ms: int) -> Challenge:
    """Return what ``token`` was issued for, which is this very request.  ``Rejected``: bad_challenge, expired."""
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise Rejected("bad_challenge", "x-challenge is not one of ours")
    ours = _challenge(key, request, int(found[1]), int(found[2]), found[3])
    if not hmac.compare_digest(ours.token, token):
        raise Rejected("bad_challenge", "x-challenge is for another request")
    if now_ms >= ours.expires_ms or int(found[1]) > now_ms + MAX_SKEW_MS:
        raise Rejected("expired", "the challenge is over: ask for a new one")
    return ours


def _challenge(key: bytes, request: Request, issued_ms: int, expires_ms: int, chance: str) -> Challenge:
    bound = msgspec.json.encode([request, issued_ms, expires_ms, chance])
    mac = hmac.new(key, b"creator write v1\n" + bound, hashlib.sha256).hexdigest()[:48]
    message = (
        f"{request.domain}: {request.account} signs one request\n\n"
        f"{request.method} {request.path}\n"
        f"Body SHA-256: {request.body_sha256}\n"
        f"Account: {request.account}\n"
        f"Nonce: {chance}.{mac[:24]}\n"
        f"Issued At: {format_ms(issued_ms)}\n"
        f"Expiration Time: {format_ms(expires_ms)}"
    )
    return Challenge(message, f"{issued_ms}.{expires_ms}.{chance}.{mac}", expires_ms)
