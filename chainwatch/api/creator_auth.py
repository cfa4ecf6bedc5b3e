"""A creator proves itself by a Hive signature.

Reads: ``x-account``, ``x-challenge`` (Unix seconds, as text), ``x-signature`` over it, and ``x-pubkey`` for those who
send it (the platform's own headers).  Such a challenge says nothing of what is asked, so it serves reads only and lives
shortly.  Writes: ``Authorization: Bearer <signature>:<account>`` over a text of ours (``chainwatch.access.writes``),
whose token comes back in ``x-challenge``; it is used up.  An empty signature (``Bearer :<account>``) proves nothing.
"""

import hashlib
import re

from aiohttp import web

from chainwatch.access import nonces, writes
from chainwatch.api.backend import Backend
from chainwatch.api.callers import ROLE, Caller, bearer
from chainwatch.api.problems import Problem
from chainwatch.verifiers import Policy, Status, Unavailable, verify
from chainwatch.verifiers.addresses import wallet_for
from chainwatch.verifiers.chains import parse_chain
from chainwatch.verifiers.hive import ROLES, public_key_bytes

READS = frozenset({"GET", "HEAD"})
SKEW_S = 60
"""How far ahead of ours the caller's clock may be."""
MAX_SIGNATURE = 1_024
KEY = "creator write"

_SECONDS = re.compile(r"[1-9][0-9]{9,10}", re.ASCII)
_STRICT = Policy()


async def authenticate(request: web.Request, backend: Backend) -> Caller | None:
    """Return the creator who signed the request."""
    if (value := bearer(request)) is not None and ":" in value:
        return await _write(request, backend, value)
    if request.method in READS and "x-signature" in request.headers:
        return await _read(request, backend)
    return None


def request_of(backend: Backend, account: str, method: str, path: str, body_sha256: str) -> writes.Request:
    """Describe a write as its text does."""
    return writes.Request(domain_of(backend), account, method.upper(), path, body_sha256)


def domain_of(backend: Backend) -> str:
    """Return the domain in what is signed: from the configuration, never from the request."""
    settings = backend.settings
    return (settings.access.domain or settings.http.listen).lower()


def account_of(text: str) -> str | None:
    """Return a Hive account's name as the chain writes it; None when it is none."""
    chain = parse_chain("HIVE")
    wallet = wallet_for(text, chain) if chain is not None and len(text) <= 64 else None
    return None if wallet is None else wallet.canonical


async def _write(request: web.Request, backend: Backend, value: str) -> Caller:
    signature, _, name = value.rpartition(":")
    account = account_of(name)
    if not signature or account is None or len(signature) > MAX_SIGNATURE:
        raise _refused("a signature and a Hive account are needed: Bearer <signature>:<account>")
    token = request.headers.get("x-challenge", "")
    if not token:
        raise Problem(
            "challenge_required",
            "ask GET /api/creators/challenge for a text, sign it, and send its challenge in x-challenge",
            status=401,
            headers={"WWW-Authenticate": "Bearer"},
        )
    digest = hashlib.sha256(await request.read()).hexdigest()
    asked = request_of(backend, account, request.method, request.raw_path, digest)
    now_ms = backend.now_ms()
    challenge = writes.check(backend.issuer.secret(KEY), asked, token, now_ms)
    await _signed(backend, account, challenge.message, signature, request.get(ROLE, "posting"))
    if not await backend.store.write_together(nonces.consume, f"creator:{token}", challenge.expires_ms):
        raise _refused("this challenge was used before: ask for a new one", "replayed")
    return Caller("creator", account)


async def _read(request: web.Request, backend: Backend) -> Caller:
    headers = {name: request.headers.get(f"x-{name}", "") for name in ("account", "challenge", "signature", "pubkey")}
    account = account_of(headers["account"])
    if account is None or not _SECONDS.fullmatch(headers["challenge"]) or len(headers["signature"]) > MAX_SIGNATURE:
        raise _refused("x-account is a Hive account, x-challenge the time in seconds, x-signature over it")
    now_ms = backend.now_ms()
    age_s = now_ms / 1000 - int(headers["challenge"])
    if not -SKEW_S <= age_s <= backend.settings.creators.header_seconds:
        raise _refused("x-challenge is not the present time", "expired")
    role = request.get(ROLE, "posting")
    proof = hashlib.sha256("\n".join((role, *headers.values())).encode("utf-8", "surrogateescape")).digest()
    if not backend.proved.has(proof, now_ms):
        key = await _signed(backend, account, headers["challenge"], headers["signature"], role)
        said = public_key_bytes(headers["pubkey"]) if headers["pubkey"] else None
        if headers["pubkey"] and (said is None or said.hex() != key):
            raise _refused("x-pubkey is not the key that signed")
        backend.proved.put(proof, now_ms)
    return Caller("creator", account)


async def _signed(backend: Backend, account: str, text: str, signature: str, role: str) -> str | None:
    """Return the key that signed ``text`` with an authority of ``account`` that is enough; ``Problem`` otherwise."""
    resolver = backend.resolver("HIVE")
    if resolver is None:
        raise Problem("unavailable", "no Hive node is configured that knows accounts")
    try:
        accounts = list(await resolver.hive_accounts([account]))
    except Unavailable as error:
        raise Problem("unavailable", "no Hive node answers: try again", headers={"Retry-After": "2"}) from error
    configured = backend.settings.creators.roles
    enough = [r for r in ROLES[ROLES.index(role) :] if r in configured]
    for each in enough:
        answer = verify(
            address=account,
            chain="HIVE",
            message=text,
            signature=signature,
            authorities=accounts,
            role=each,
            scheme="hive-buffer",
            policy=_STRICT,
        )
        if answer.ok:
            return answer.public_key
        if answer.status is Status.MALFORMED:
            break
    raise _refused(f"not signed by {account} with {' or '.join(enough) or role} authority", "bad_signature")


def _refused(why: str, code: str = "unauthorized") -> Problem:
    return Problem(code, why, status=401, headers={"WWW-Authenticate": "Bearer"})
