"""Is this signature by this wallet?  Pure functions: no I/O, no database; the clock only where no ``now`` is given.

>>> from chainwatch.verifiers import verify
>>> if verify(address="0x…", message="…", signature="0x…"): ...
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from typing import Any
from unicodedata import normalize

from chainwatch.verifiers.addresses import Wallet, detect_wallet, is_wallet
from chainwatch.verifiers.prepare import prepare
from chainwatch.verifiers.result import (
    DEFAULT,
    Policy,
    Reason,
    Request,
    Resolver,
    Reverted,
    Status,
    Unavailable,
    Verification,
)

__all__ = [
    "SCHEMES",
    "Policy",
    "Reason",
    "Request",
    "Resolver",
    "Reverted",
    "Status",
    "Unavailable",
    "Verification",
    "Wallet",
    "averify",
    "detect_wallet",
    "is_wallet",
    "verify",
]


@dataclass(frozen=True, slots=True)
class Scheme:
    """One line of the registry: where a scheme lives and which families of addresses it serves.

    ``function`` is ``"module:function"`` of ``(Request) -> Verification``; ``resolved``, when the scheme may ask a
    chain, that of ``async (Request, Resolver) -> Verification``.  ``expects`` names the set of keys of ``expect`` that
    it reads; it is not tried with others, which nobody would have checked.  Modules are imported at first use.
    """

    function: str
    families: frozenset[str]
    resolved: str | None = None
    expects: str | None = None


def _scheme(function: str, *families: str, resolved: str | None = None, expects: str | None = None) -> Scheme:
    return Scheme(function, frozenset(families), resolved, expects)


_FIELDS = "siwe:EXPECTED"

SCHEMES: Mapping[str, Scheme] = {
    "bip137": _scheme("bitcoin:verify_bip137", "bitcoin"),
    "bip322-simple": _scheme("bip322:verify_simple", "bitcoin"),
    "bip322-full": _scheme("bip322:verify_full", "bitcoin"),
    "bip322-legacy": _scheme("bip322:verify_legacy", "bitcoin"),
    "bip322-pof": _scheme("bip322:verify_pof", "bitcoin"),
    "eip191": _scheme("ethereum:verify_eip191", "evm", resolved="erc1271:averify_eip191"),
    "eip712": _scheme("ethereum:verify_eip712", "evm", resolved="erc1271:averify_eip712"),
    "siwe": _scheme("ethereum:verify_siwe", "evm", resolved="erc1271:averify_siwe", expects=_FIELDS),
    "erc1271": _scheme("erc1271:verify_erc1271", "evm", resolved="erc1271:averify_erc1271", expects=_FIELDS),
    "erc6492": _scheme("erc1271:verify_erc6492", "evm", resolved="erc1271:averify_erc6492", expects=_FIELDS),
    "eip7702": _scheme("erc1271:verify_eip7702", "evm", resolved="erc1271:averify_eip7702", expects=_FIELDS),
    "solana-raw": _scheme("solana:verify_raw", "solana", expects="solana:EXPECTED"),
    "siws": _scheme("solana:verify_siws", "solana", expects="solana:EXPECTED_OF_SIGN_IN"),
    "solana-offchain-v0": _scheme("solana:verify_offchain_v0", "solana", expects="solana:EXPECTED_OF_V0"),
    "solana-offchain-v0-sdk": _scheme("solana:verify_offchain_v0_sdk", "solana", expects="solana:EXPECTED"),
    "solana-offchain-v1": _scheme("solana:verify_offchain_v1", "solana", expects="solana:EXPECTED"),
    "solana-memo-tx": _scheme("solana:verify_memo_tx", "solana"),
    "hive-buffer": _scheme("hive:verify_buffer", "hive", resolved="hive:averify_buffer"),
    "hiveauth-challenge": _scheme("hive:verify_hiveauth", "hive", resolved="hive:averify_hiveauth"),
    "hivesigner-token": _scheme(
        "hive:verify_hivesigner", "hive", resolved="hive:averify_hivesigner", expects="hive:EXPECTED"
    ),
    "monero": _scheme("monero:verify_monero", "monero"),
    "tron-v2": _scheme("tron:verify_v2", "tron"),
    "cip30": _scheme("cardano:verify_cip30", "cardano"),
    "cip8": _scheme("cardano:verify_cip8", "cardano"),
}

CHOOSERS: Mapping[str, str] = {
    "bitcoin": "bitcoin:choose",
    "evm": "ethereum:choose",
    "solana": "solana:choose",
    "hive": "hive:choose",
    "monero": "monero:choose",
    "tron": "tron:choose",
    "cardano": "cardano:choose",
}
"""Family -> ``"module:function"`` of ``(Request) -> tuple[str, ...]``: the schemes to try, in order, when none
was named, by the shape of signature and message.  The first valid one wins, else the refusal that tells most."""


_OK = Reason.OK
_RANK = (Status.UNAVAILABLE, Status.INCONCLUSIVE, Status.INVALID, Status.UNSUPPORTED, Status.MALFORMED)
"""Of several refusals the one that tells most is the answer."""


MAX_NFC = 4_096
"""Characters of a text whose NFC form is tried: sorting many accents of one letter costs the square of their number,
and the devices that normalise show no text of this length."""


def verify(
    *,
    address: str | bytes,
    message: str | bytes | None = None,
    signature: str | bytes | Sequence[Any] | None = None,
    chain: str | None = None,
    scheme: str | None = None,
    typed_data: Mapping[str, Any] | None = None,
    authorities: Any = None,
    role: str = "posting",
    expect: Mapping[str, Any] | None = None,
    now: Any = None,
    policy: Policy = DEFAULT,
) -> Verification:
    """Is ``signature`` over ``message`` by ``address``?  Never raises on what came from outside.

    ``chain``: a code (``BTC``), a name or CAIP-2 (``eip155:1``); found from the address when absent.  ``scheme``:
    a key of ``SCHEMES``, then the only one tried.  ``typed_data``: an EIP-712 document instead of a message.
    ``authorities``: Hive accounts, as ``condenser_api.get_accounts`` gives them, by name or as a list; ``role`` is
    what they must have.  ``expect``: fields that a sign-in text must have (``domain``, ``nonce``, ``app`` …).
    ``now``: RFC 3339 text, an aware ``datetime``, Unix seconds or integer milliseconds; the clock when absent.

    A valid signature says who signed, not when or for whom: the caller MUST have chosen the message (a challenge with
    domain, nonce and expiry), MUST use a nonce only once, and MUST NOT take signature bytes for an identity.
    """
    request = prepare(address, message, signature, chain, scheme, typed_data, authorities, role, expect, now, policy)
    if isinstance(request, Verification):
        return request
    refusals = []
    try:
        for attempt in _forms(request):
            for name in _names(attempt):
                answer = _unread(attempt, name) if request.expect else None
                if answer is None:
                    answer = _function(name)(attempt)
                if answer.reason is _OK:
                    return answer if attempt is request else _told(answer)
                refusals.append(answer)
    except Exception as error:  # a fault of ours must neither crash the caller nor let anybody in
        return _fault(request, error)
    return _best(request, refusals)


async def averify(
    *,
    address: str | bytes,
    message: str | bytes | None = None,
    signature: str | bytes | Sequence[Any] | None = None,
    resolver: Resolver | None = None,
    chain: str | None = None,
    scheme: str | None = None,
    typed_data: Mapping[str, Any] | None = None,
    authorities: Any = None,
    role: str = "posting",
    expect: Mapping[str, Any] | None = None,
    now: Any = None,
    policy: Policy = DEFAULT,
) -> Verification:
    """``verify`` for wallets whose answer is on a chain: contract wallets, Hive authorities.

    ``resolver`` asks the chain; without one this is ``verify``.  A chain that cannot be asked is ``unavailable``.
    """
    request = prepare(address, message, signature, chain, scheme, typed_data, authorities, role, expect, now, policy)
    if isinstance(request, Verification):
        return request
    refusals = []
    try:
        for attempt in _forms(request):
            for name in _names(attempt):
                answer = _unread(attempt, name) if request.expect else None
                if answer is None:
                    resolved = SCHEMES[name].resolved if resolver is not None else None
                    answer = await _load(resolved)(attempt, resolver) if resolved else _function(name)(attempt)
                if answer.ok:
                    return answer if attempt is request else _told(answer)
                refusals.append(answer)
    except Unavailable as error:
        return request.answer(Reason.NODE_UNREACHABLE, request.scheme, detail={"error": str(error)[:200]})
    except Exception as error:  # as in verify
        return _fault(request, error)
    return _best(request, refusals)


def _forms(request: Request) -> tuple[Request, ...]:
    """The request as it is; with ``try_nfc`` then the one for the NFC text, too."""
    if not request.policy.try_nfc or request.text is None:
        return (request,)
    if len(request.text) > MAX_NFC:
        return (request,)
    text = normalize("NFC", request.text)
    return (request,) if text == request.text else (request, replace(request, text=text, message=text.encode()))


def _names(request: Request) -> tuple[str, ...]:
    """The scheme asked for, else those the shape suggests."""
    scheme, family = request.scheme, request.wallet.family
    if scheme is None:
        names: tuple[str, ...] = _chooser(family)(request)
        return names
    # Of another family's scheme, or one that nobody knows, there is no attempt (``_best``).
    return (scheme,) if scheme in SCHEMES and family in SCHEMES[scheme].families else ()


def _told(answer: Verification) -> Verification:
    """A valid answer that says it was for the NFC form of the text."""
    return replace(answer, warnings=(*answer.warnings, "nfc"))


def _best(request: Request, refusals: list[Verification]) -> Verification:
    """The refusal that tells most; the first of equals."""
    if refusals:
        return min(refusals, key=lambda refusal: _RANK.index(refusal.status))
    scheme = request.scheme or ""
    return request.answer(Reason.UNSUPPORTED if scheme in SCHEMES else Reason.UNKNOWN_SCHEME, scheme[:64])


def _unread(request: Request, name: str) -> Verification | None:
    """The refusal of a scheme that does not check all that is expected; None when it does."""
    where = SCHEMES[name].expects
    read = _load(where) if where else ()
    for key, value in (request.expect or {}).items():
        if value is not None and key not in read:
            named = key[:64] if isinstance(key, str) else type(key).__name__
            return request.answer(Reason.MALFORMED_REQUEST, name, detail={"expect": named})
    return None


def _fault(request: Request, error: Exception) -> Verification:
    return request.answer(Reason.INTERNAL, request.scheme, detail={"error": type(error).__name__})


@cache
def _function(scheme: str) -> Any:
    return _load(SCHEMES[scheme].function)


@cache
def _chooser(family: str) -> Any:
    return _load(CHOOSERS[family])


@cache
def _load(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(import_module(f"{__name__}.{module}"), name)
