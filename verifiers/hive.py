"""Hive: recoverable secp256k1 over sha256 of the text, held against an account's authority.

A signature shows a key; whether the key may speak for the account is what the account says on chain *now*: the keys
of the role with their weights must reach its threshold.  "Some key of the account" is not authority: the memo key is in
every browser wallet, and every application with posting rights is an authority by delegation (``account_auths``), off
by default.

There is no prefix in front of what is signed, so a binary challenge could be a transaction's digest preimage:
callers MUST only ever ask for texts.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from typing import Any

from chainwatch.verifiers.curves import recover, ripemd160
from chainwatch.verifiers.encodings import EncodingError, base58_bytes, base64_bytes, hex_bytes
from chainwatch.verifiers.result import Reason, Request, Resolver, Unavailable, Verification

ROLES = ("posting", "active", "owner")
"""Roles with an authority, weakest first; a stronger one may do what a weaker one may, if the policy says so."""
MEMO = "memo"
"""The memo key: no authority; accepted only where the caller asks for it by name."""
MAX_SIGNATURES = 40
"""Signatures looked at: an authority has at most 40 members (``HIVE_MAX_AUTHORITY_MEMBERSHIP``)."""
MAX_DEPTH = 2
"""Levels of delegated authority followed (``HIVE_MAX_SIG_CHECK_DEPTH``)."""
MAX_ACCOUNTS = 125
"""Accounts looked at for one signature (``HIVE_MAX_SIG_CHECK_ACCOUNTS``)."""
MAX_GIVEN = 1_000
"""Accounts that a caller may give; those behind them are not read."""
MAX_MEMBERS = 40
"""Keys or accounts of one authority (``HIVE_MAX_AUTHORITY_MEMBERSHIP``); those behind them are not read."""
LOGIN_SKEW = 60
"""Seconds a HiveSigner token may be ahead of us."""
MAX_AGE = 10**10
"""Seconds: three centuries, which is no limit."""
EXPECTED = frozenset({"app", "max_age"})
"""What ``expect`` may say of a HiveSigner token."""


def choose(request: Request) -> tuple[str, ...]:
    """A HiveSigner token where the message or the signature is one, else a signed text."""
    expect = request.expect or {}
    if "app" in expect or _is_token(request.signature) or request.message.startswith(b'{"signed_message":'):
        return ("hivesigner-token",)
    return ("hive-buffer",)


# --- which keys signed


def is_canonical(compact: bytes) -> bool:
    """Graphene's ``is_fc_canonical``: r and s as DER would write them in 32 bytes, which excludes high-S."""
    return not (
        compact[0] & 0x80
        or (compact[0] == 0 and not compact[1] & 0x80)
        or compact[32] & 0x80
        or (compact[32] == 0 and not compact[33] & 0x80)
    )


def public_key_bytes(text: object) -> bytes | None:
    """The 33 bytes of ``STM…``: base58 of the key and the first four bytes of its RIPEMD-160; None when it is none."""
    return _public_key_bytes(text) if isinstance(text, str) and len(text) <= 64 else None


@lru_cache(maxsize=4096)
def _public_key_bytes(text: str) -> bytes | None:
    if not text.startswith(("STM", "TST")):
        return None
    try:
        data = base58_bytes(text[3:])
    except EncodingError:
        return None
    if len(data) != 37 or ripemd160(data[:33])[:4] != data[33:]:
        return None
    return data[:33]


def _signers(request: Request, preimage: bytes) -> frozenset[bytes] | Reason:
    """The distinct keys of all signatures over sha256(preimage), or why that cannot be told."""
    signatures = request.signature if isinstance(request.signature, tuple) else (request.signature,)
    if not 1 <= len(signatures) <= MAX_SIGNATURES:
        return Reason.MALFORMED_SIGNATURE
    digest = sha256(preimage).digest()
    keys = set()
    for signature in signatures:
        data = _signature_bytes(signature)
        if data is None or not 31 <= data[0] <= 34:
            return Reason.MALFORMED_SIGNATURE
        if not is_canonical(data[1:]) and not request.policy.allow_noncanonical:
            return Reason.NON_CANONICAL
        key = recover(data[1:], data[0] - 31, digest)
        if key is None:
            return Reason.BAD_SIGNATURE
        keys.add(key)
    return frozenset(keys)


def _signature_bytes(signature: object) -> bytes | None:
    """65 bytes: header 31 + recovery id, r, s; as bytes or 130 hex digits of either case."""
    if isinstance(signature, str) and len(signature) == 130:
        try:
            return hex_bytes(signature)
        except EncodingError:
            return None
    return signature if isinstance(signature, bytes) and len(signature) == 65 else None


# --- whether they may speak for the account

Accounts = Mapping[str, Mapping[str, Any]]
_OBJECT = (dict, Mapping)
"""What JSON objects may be; dict first, because asking an abstract class takes ten times as long."""


def accounts_by_name(authorities: object) -> Accounts:
    """Accounts as ``condenser_api.get_accounts`` lists them, one such account, or a mapping by name."""
    if isinstance(authorities, _OBJECT):
        if isinstance(authorities.get("name"), str):
            return {authorities["name"]: authorities}
        return {
            name: account
            for name, account in islice(authorities.items(), MAX_GIVEN)
            if isinstance(account, _OBJECT) and account.get("name", name) == name
        }
    if isinstance(authorities, (list, tuple)):
        return {
            item["name"]: item
            for item in authorities[:MAX_GIVEN]
            if isinstance(item, _OBJECT) and isinstance(item.get("name"), str)
        }
    return {}


def _pairs(items: object) -> list[tuple[str, int]]:
    """``[["STM…", 1], …]`` as checked pairs; what does not fit is left out and so cannot count."""
    out = []
    for item in items[:MAX_MEMBERS] if isinstance(items, (list, tuple)) else ():
        if isinstance(item, (list, tuple)) and len(item) == 2:
            name, weight = item
            if isinstance(name, str) and type(weight) is int and 0 < weight < 1 << 16:
                out.append((name, weight))
    return out


@dataclass(slots=True)
class _Reach:
    """How far the search for authority has gone."""

    accounts: Accounts
    keys: frozenset[bytes]
    follow: bool
    visited: int = 0


def _weight(reach: _Reach, name: str, role: str, depth: int, path: tuple[str, ...]) -> tuple[int, int]:
    """``(weight reached, threshold)`` of an account's role; threshold 0 where there is no such authority."""
    account = reach.accounts.get(name)
    authority = account.get(role) if account is not None else None
    reach.visited += 1
    if not isinstance(authority, _OBJECT) or reach.visited > MAX_ACCOUNTS:
        return 0, 0
    threshold = authority.get("weight_threshold")
    if type(threshold) is not int or threshold <= 0:
        return 0, 0
    counted: dict[bytes, int] = {}
    for text, weight in _pairs(authority.get("key_auths")):
        key = public_key_bytes(text)
        if key in reach.keys and key is not None:
            counted[key] = max(weight, counted.get(key, 0))  # a key counts once, however often it is listed
    total = sum(counted.values())
    if reach.follow and depth < MAX_DEPTH and total < threshold:
        for other, weight in dict(_pairs(authority.get("account_auths"))).items():
            if other not in path:  # an account may name itself, directly or in a ring
                reached, needed = _weight(reach, other, role, depth + 1, (*path, other))
                total += weight if needed and reached >= needed else 0
    return total, threshold


def _authorised(request: Request, scheme: str, keys: frozenset[bytes], accounts: Accounts) -> Verification:
    """Do these keys reach the threshold of the role?  The last step of every scheme here."""
    name, role = request.wallet.canonical, request.role
    account = accounts.get(name)
    if account is None:
        return request.answer(Reason.UNKNOWN_ACCOUNT, scheme)
    if role == MEMO:
        ok = public_key_bytes(account.get("memo_key")) in keys
        reason = Reason.OK if ok else Reason.AUTHORITY_NOT_MET
        return request.answer(reason, scheme, method="memo_key", detail={"role": role})
    if role not in ROLES:
        return request.answer(Reason.MALFORMED_REQUEST, scheme, detail={"role": role})
    roles = ROLES[ROLES.index(role) :] if request.policy.allow_higher_authority else (role,)
    weight = threshold = 0
    for tried in roles:
        reach = _Reach(accounts, keys, request.policy.unsafe_follow_account_auths)
        weight, threshold = _weight(reach, name, tried, 0, (name,))
        if threshold and weight >= threshold:
            return request.answer(
                Reason.OK,
                scheme,
                method="authority",
                public_key=next(iter(keys)).hex() if len(keys) == 1 else None,
                malleable=request.policy.allow_noncanonical,
                detail={"role": tried, "weight": weight, "threshold": threshold},
            )
    detail = {"role": role, "weight": weight, "threshold": threshold}
    return request.answer(Reason.AUTHORITY_NOT_MET, scheme, method="authority", detail=detail)


# --- signed texts: Hive Keychain, HiveAuth


def verify_buffer(request: Request) -> Verification:
    """Hive Keychain's ``requestSignBuffer`` (also Peakd, Ecency, WhaleVault): a signed text.

    1. every signature is 130 hex digits (or 65 bytes), header 31 to 34, canonical by Graphene's rule;
    2. recover the keys over sha256(message); the same key twice is one key;
    3. the role's keys among them reach its weight threshold, which is above zero.

    The authorities are those given (``authorities=``); without them ``needs_chain_state``.  The caller MUST take them
    from a node at the time of use (a rotated key must fail), and MUST NOT ask for a signature over binary data.
    """
    return _verify(request, "hive-buffer", request.message)


async def averify_buffer(request: Request, resolver: Resolver) -> Verification:
    """``verify_buffer`` with authorities from the chain, unless the caller gave them."""
    return await _averify(request, resolver, "hive-buffer", request.message)


def verify_hiveauth(request: Request) -> Verification:
    """HiveAuth's ``challenge``: the same primitive as ``verify_buffer``, over the challenge string."""
    return _verify(request, "hiveauth-challenge", request.message)


async def averify_hiveauth(request: Request, resolver: Resolver) -> Verification:
    """``verify_hiveauth`` with authorities from the chain."""
    return await _averify(request, resolver, "hiveauth-challenge", request.message)


def _verify(request: Request, scheme: str, preimage: bytes) -> Verification:
    found = _signers(request, preimage)
    if isinstance(found, Reason):
        return request.answer(found, scheme)
    if request.authorities is None:
        return request.answer(Reason.NEEDS_CHAIN_STATE, scheme, detail={"missing": "authorities"})
    return _authorised(request, scheme, found, accounts_by_name(request.authorities))


async def _averify(request: Request, resolver: Resolver, scheme: str, preimage: bytes) -> Verification:
    if request.authorities is not None:
        return _verify(request, scheme, preimage)
    found = _signers(request, preimage)
    if isinstance(found, Reason):
        return request.answer(found, scheme)
    try:
        accounts = await _fetch(request, resolver)
    except Exception as error:  # a resolver is somebody else's code: whatever it raises is no answer, and no verdict
        return _unreachable(request, scheme, error)
    return _authorised(request, scheme, found, accounts)


def _unreachable(request: Request, scheme: str, error: Exception) -> Verification:
    return request.answer(Reason.NODE_UNREACHABLE, scheme, detail={"error": f"{type(error).__name__}: {error}"[:200]})


async def _fetch(request: Request, resolver: Resolver) -> Accounts:
    """The account, and with delegation those it names, level by level."""
    accounts: dict[str, Mapping[str, Any]] = {}
    wanted = [request.wallet.canonical]
    for _ in range(MAX_DEPTH + 1 if request.policy.unsafe_follow_account_auths else 1):
        answer = await resolver.hive_accounts(wanted)
        if not isinstance(answer, Sequence):
            raise Unavailable("not a list of accounts")
        accounts.update((name, item) for name, item in accounts_by_name(list(answer)).items() if name in wanted)
        wanted = sorted(_delegates(accounts.values()) - set(accounts))[: MAX_ACCOUNTS - len(accounts)]
        if not wanted:
            break
    return accounts


def _delegates(accounts: Iterable[Mapping[str, Any]]) -> set[str]:
    """Accounts that some role of these delegates to."""
    roles = [account.get(role) for account in accounts for role in ROLES]
    return {name for role in roles if isinstance(role, _OBJECT) for name, _ in _pairs(role.get("account_auths"))}


# --- HiveSigner


def verify_hivesigner(request: Request) -> Verification:
    """A HiveSigner login token: ``{"signed_message": {"type": "login", "app": …}, "authors": […], "timestamp": …}``.

    Either the base64url token is the signature (it holds the signatures), or its JSON is the message.

    1. the token is an object of just these members; the signed bytes are its JSON without blanks, in its order;
    2. its only author is this account, its type is ``login``;
    3. its app is ``expect["app"]``; when none is named, one that the account itself authorised (warning
       ``app_not_checked``);
    4. with ``expect["max_age"]`` (seconds): no older than that, and not from the future; else
       ``timestamp_not_checked``;
    5. the signature, as ``verify_buffer``.

    HiveSigner's own check knows no expiry, and takes any app's token: the caller MUST name its app and an age.
    """
    prepared = _token(request)
    return prepared if isinstance(prepared, Verification) else prepared.finish(_verify(*prepared.question))


async def averify_hivesigner(request: Request, resolver: Resolver) -> Verification:
    """``verify_hivesigner`` with authorities from the chain."""
    prepared = _token(request)
    if isinstance(prepared, Verification):
        return prepared
    if request.authorities is None:
        try:
            accounts = await _fetch(request, resolver)
        except Exception as error:  # as in _averify
            return _unreachable(request, _TOKEN, error)
        prepared = prepared.with_accounts(accounts)
    return prepared.finish(_verify(*prepared.question))


_TOKEN = "hivesigner-token"  # noqa: S105  the name of a scheme
_MEMBERS = {"signed_message", "authors", "timestamp"}


@dataclass(frozen=True, slots=True)
class _Token:
    """A token whose steps 1 to 4 passed, save that the app may still have to be looked up in the account."""

    request: Request
    preimage: bytes
    app: str
    warnings: tuple[str, ...]

    @property
    def question(self) -> tuple[Request, str, bytes]:
        return self.request, _TOKEN, self.preimage

    def with_accounts(self, accounts: Accounts) -> "_Token":
        return replace(self, request=replace(self.request, authorities=accounts))

    def finish(self, answer: Verification) -> Verification:
        """Step 3 where no app was expected."""
        if not answer.ok:
            return answer
        if "app_not_checked" in self.warnings:
            account = accounts_by_name(self.request.authorities)[self.request.wallet.canonical]
            if self.app not in _delegates([account]):
                return self.request.answer(Reason.EXPECTATION_FAILED, _TOKEN, detail={"field": "app"})
        return self.request.answer(
            Reason.OK,
            _TOKEN,
            method=answer.method,
            public_key=answer.public_key,
            malleable=answer.malleable,
            warnings=self.warnings,
            detail={**answer.detail, "app": self.app},
        )


def _is_token(signature: object) -> bool:
    return isinstance(signature, str) and signature.startswith("eyJ") and len(signature) > 130


def _token_bytes(text: str) -> bytes:
    """base64url (RFC 4648 §5), unpadded or padded with ``=`` or HiveSigner's ``.``; nothing around or inside it."""
    body = text.rstrip(".=")
    padding = "=" * (-len(body) % 4)
    if text[len(body) :] not in ("", padding, padding.replace("=", ".")) or "+" in body or "/" in body:
        raise EncodingError("not base64url")
    return base64_bytes(body.replace("-", "+").replace("_", "/") + padding)


def _token(request: Request) -> _Token | Verification:
    """Steps 1 to 4 of ``verify_hivesigner``."""
    parsed = _read_token(request)  # 1
    if isinstance(parsed, Reason):
        return request.answer(parsed, _TOKEN)
    value, preimage, request = parsed
    signed, authors, timestamp = value["signed_message"], value["authors"], value["timestamp"]
    if not isinstance(signed, Mapping) or type(timestamp) is not int or not isinstance(signed.get("app"), str):
        return request.answer(Reason.MALFORMED_MESSAGE, _TOKEN)
    if authors != [request.wallet.canonical]:  # 2
        return request.answer(Reason.MESSAGE_MISMATCH, _TOKEN, detail={"field": "authors"})
    if signed.get("type") != "login":
        return request.answer(Reason.EXPECTATION_FAILED, _TOKEN, detail={"field": "type"})
    expect = request.expect or {}
    warnings = []
    if "app" not in expect:  # 3
        warnings.append("app_not_checked")
    elif expect["app"] != signed["app"]:
        return request.answer(Reason.EXPECTATION_FAILED, _TOKEN, detail={"field": "app"})
    max_age = expect.get("max_age")
    if max_age is None:  # 4
        warnings.append("timestamp_not_checked")
    elif type(max_age) not in (int, float) or not 0 <= max_age <= MAX_AGE:
        return request.answer(Reason.MALFORMED_REQUEST, _TOKEN, detail={"expect": "max_age"})
    elif timestamp > request.now + LOGIN_SKEW:
        return request.answer(Reason.NOT_YET_VALID, _TOKEN)
    elif timestamp <= request.now - max_age:
        return request.answer(Reason.EXPIRED, _TOKEN)
    return _Token(request, preimage, signed["app"], tuple(warnings))


def _read_token(request: Request) -> tuple[Mapping[str, Any], bytes, Request] | Reason:
    """The token's members, the bytes that were signed, and the request with the signatures themselves."""
    text: bytes = request.message
    if _is_token(request.signature):
        try:
            text = _token_bytes(str(request.signature))
        except EncodingError:
            return Reason.MALFORMED_SIGNATURE
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return Reason.MALFORMED_MESSAGE
    if not isinstance(value, dict) or not set(value) >= _MEMBERS or set(value) - _MEMBERS - {"signatures"}:
        return Reason.MALFORMED_MESSAGE
    signatures = value.pop("signatures", None)
    try:
        preimage = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    except ValueError:
        return Reason.MALFORMED_MESSAGE
    if not _is_token(request.signature):
        # The signed bytes are the message; that they are the token's JSON shows that nothing else is in it.
        return (value, preimage, request) if preimage == request.message else Reason.MALFORMED_MESSAGE
    if request.message and request.message != preimage:
        return Reason.MESSAGE_MISMATCH
    if not isinstance(signatures, list) or not all(isinstance(item, str) for item in signatures):
        return Reason.MALFORMED_SIGNATURE
    return value, preimage, replace(request, signature=tuple(signatures))
