"""``Idempotency-Key``: who sends a write again gets the first answer again, and nothing happens twice.

Keys belong to their caller: an operator, a creator, or for the public a network address; there a key must be
long enough that nobody guesses a neighbour's.  Answers may hold a purchase's secret id, so they are kept encrypted
under a key that is not in the database.

The handler keeps its answer in the transaction that writes (``Call.write``): a process that dies, or a request that
takes too long, has done both or nothing.
"""

import hashlib
import hmac
import os
import re
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection

from chainwatch.api.backend import Backend
from chainwatch.api.callers import Caller
from chainwatch.api.limits import network
from chainwatch.api.problems import Problem
from chainwatch.errors import Rejected
from chainwatch.ledger import idempotency as ledger
from chainwatch.ledger.idempotency import Claim, Stored

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
PUBLIC_LENGTH = 16
"""Characters of a key without a login, at least: a UUID has 36."""
REFUSED_MS = 600_000
"""How long a refusal is kept of whom nobody knows: whatever he sends would fill the disk for a day."""
NONCE = 12
"""Bytes of AES-GCM's nonce."""

_KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)

Keep = Callable[[Connection, web.Response], None]
"""Keeps an answer in the transaction of a connection."""
Run = Callable[[Keep | None], Awaitable[web.Response]]


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    content_type: str
    location: str
    body: bytes


async def once(request: web.Request, backend: Backend, caller: Caller, address: str, run: Run) -> web.Response:
    """Run a write once for its key, if it has one; else just run it.

    Every answer below 500 is kept, refusals too; after a fault of ours the same key may try again.
    """
    if HEADER not in request.headers:
        return await run(None)
    key = request.headers[HEADER]
    if not _KEY.fullmatch(key):
        raise Problem("bad_request", f"{HEADER} has 1 to 255 visible characters")
    if caller.kind == "public" and len(key) < PUBLIC_LENGTH:
        raise Problem("bad_request", f"without a login {HEADER} has at least {PUBLIC_LENGTH} characters, by chance")
    scope = caller.actor if caller.kind != "public" else f"public:{network(address)}"
    seal = _Seal(backend, scope, key)
    begun = await _begin(request, backend, scope, key)
    if isinstance(begun, Stored):
        return seal.open(begun)
    return await _run(backend, begun, seal, run, REFUSED_MS if caller.kind == "public" else ledger.KEEP_MS)


async def _begin(request: web.Request, backend: Backend, scope: str, key: str) -> Stored | Claim:
    hashed = hashlib.sha256(key.encode()).hexdigest()
    asked = f"{request.method} {request.raw_path}\n".encode() + await request.read()
    stale_ms = backend.settings.http.request_seconds * 2_000
    return await backend.store.write_together(
        ledger.begin, scope, hashed, hashlib.sha256(asked).digest(), backend.now_ms(), stale_ms=stale_ms
    )


async def _run(backend: Backend, claim: Claim, seal: "_Seal", run: Run, refused_ms: int) -> web.Response:
    """Run a write whose key is claimed; its answer is kept by itself, or here when it had nothing to write."""
    kept = False

    def keep(connection: Connection, answer: web.Response) -> None:
        nonlocal kept
        ledger.finish(connection, claim, seal.close(answer))
        kept = True

    try:
        response = await run(keep)
    except (Problem, Rejected) as error:
        problem = error if isinstance(error, Problem) else Problem.of(error)
        if problem.status >= 500 or problem.status == 429:
            await backend.store.write_together(ledger.release, claim)
        elif problem.code != "idempotency_running" and not kept:
            await backend.store.write_together(ledger.finish, claim, seal.close(problem.response()), refused_ms)
        raise problem from error
    except Exception:
        await backend.store.write_together(ledger.release, claim)
        raise
    if not kept:
        await backend.store.write_together(ledger.finish, claim, seal.close(response))
    return response


class _Seal:
    """Encrypts answers of one caller's key, so that the database alone shows none of them."""

    def __init__(self, backend: Backend, scope: str, key: str) -> None:
        secret = hmac.digest(backend.issuer.secret("idempotency"), f"{scope}\n{key}".encode(), "sha256")
        self._cipher = AESGCM(secret)

    def close(self, response: web.Response) -> Stored:
        body = response.body if isinstance(response.body, bytes) else b""
        kept = _Kept(response.content_type, response.headers.get("Location", ""), body)
        nonce = os.urandom(NONCE)
        return Stored(response.status, nonce + self._cipher.encrypt(nonce, msgspec.msgpack.encode(kept), None))

    def open(self, stored: Stored) -> web.Response:
        try:
            plain = self._cipher.decrypt(stored.body[:NONCE], stored.body[NONCE:], None)
        except InvalidTag as error:  # the signing key was changed since
            raise Problem("conflict", "the answer of this key can no longer be read") from error
        kept = msgspec.msgpack.decode(plain, type=_Kept)
        headers = {REPLAYED: "true"} | ({"Location": kept.location} if kept.location else {})
        return web.Response(body=kept.body, status=stored.status, content_type=kept.content_type, headers=headers)
