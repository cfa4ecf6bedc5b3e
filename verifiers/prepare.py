"""From whatever a caller passed to one canonical ``Request``, or to the reason why not.

Every size is capped here, before anything is parsed, hashed or computed.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from time import time
from typing import Any

from chainwatch.verifiers.addresses import Finding, Wallet, detect_wallet, find_fault, wallet_for
from chainwatch.verifiers.chains import parse_chain
from chainwatch.verifiers.result import (
    MAX_DOCUMENT,
    MAX_MESSAGE,
    MAX_SIGNATURE,
    MAX_SIGNATURES,
    Policy,
    Reason,
    Request,
    Verification,
)

MAX_NODES = 20_000
"""Values in typed data, authorities or expectations: the largest Permit2 batches have some hundreds."""
MAX_DEPTH = 64
"""Nesting of the same: far below Python's recursion limit, far above any real document."""
_MILLISECONDS_FROM = 10**11
"""Integers from here on are milliseconds: as seconds they would be the year 5138, as milliseconds this is 1973."""


_OBJECT = (dict, Mapping)
_ARRAY = (list, tuple, Sequence)
"""What JSON may hold; the plain types first, because asking an abstract class takes ten times as long."""


class _Refused(Exception):
    """Stops the preparation with a reason; never leaves this module."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def prepare(
    address: object,
    message: object,
    signature: object,
    chain: object,
    scheme: object,
    typed_data: object,
    authorities: object,
    role: object,
    expect: object,
    now: object,
    policy: object,
) -> Request | Verification:
    """The canonical request, or an answer that says what is wrong with it."""
    try:
        if not isinstance(policy, Policy):
            raise _Refused(Reason.MALFORMED_REQUEST, "policy")
        if scheme is not None and not isinstance(scheme, str):
            raise _Refused(Reason.MALFORMED_REQUEST, "scheme")
        if not isinstance(role, str) or not 1 <= len(role) <= 16:
            raise _Refused(Reason.MALFORMED_REQUEST, "role")
        text, data = (None, b"") if message is None and typed_data is not None else _message(message)
        return Request(
            _wallet(address, chain),
            data,
            _signature(signature),
            text,
            scheme,
            None if typed_data is None else _document(typed_data, "typed_data"),
            authorities,  # the schemes that read them bound what they read
            role,
            None if expect is None else _document(expect, "expect"),
            time() if now is None else _seconds(now),
            policy,
        )
    except _Refused as refused:
        return Verification(
            refused.reason, scheme=scheme if isinstance(scheme, str) else None, detail={"what": str(refused)}
        )


def _wallet(address: object, chain: object) -> Wallet:
    """``address`` on ``chain``; with no chain given, its most likely reading."""
    if chain is None:
        candidates = detect_wallet(address)
        if candidates:
            return candidates[0]
    else:
        parsed = parse_chain(chain)
        if parsed is None:
            raise _Refused(Reason.UNKNOWN_CHAIN, "chain")
        wallet = wallet_for(address, parsed)
        if wallet is not None:
            return wallet
        if detect_wallet(address):
            raise _Refused(Reason.WRONG_NETWORK, "the address is not one of this chain")
    finding = find_fault(address)
    raise _Refused(Reason.MALFORMED_ADDRESS, finding or Finding.NO_CHAIN)


def _message(message: object) -> tuple[str | None, bytes]:
    """``(text if it was text, the bytes)``.  Text is UTF-8, exactly as given: no normalisation."""
    text = None
    if isinstance(message, str):
        text = message
        try:
            data = text[: MAX_MESSAGE + 1].encode()
        except UnicodeEncodeError as error:  # lone surrogates
            raise _Refused(Reason.MALFORMED_MESSAGE, "message is not Unicode") from error
    elif isinstance(message, bytes | bytearray | memoryview):
        data = bytes(message[: MAX_MESSAGE + 1])
    else:
        raise _Refused(Reason.MALFORMED_MESSAGE, "message must be text or bytes")
    if len(data) > MAX_MESSAGE:
        raise _Refused(Reason.TOO_LARGE, "message")
    return text, data


def _signature(signature: object) -> str | bytes | tuple[Any, ...]:
    """Text, bytes, or a tuple of numbers, texts and bytes; capped as a whole."""
    if isinstance(signature, (str, bytes)):
        if len(signature) > MAX_SIGNATURE:
            raise _Refused(Reason.TOO_LARGE, "signature")
        return signature
    if isinstance(signature, bytearray | memoryview):
        return _signature(bytes(signature[: MAX_SIGNATURE + 1]))
    if not isinstance(signature, list | tuple):
        raise _Refused(Reason.MALFORMED_SIGNATURE, "signature must be text, bytes or a list")
    if len(signature) > MAX_SIGNATURES:
        raise _Refused(Reason.TOO_LARGE, "signatures")
    size = 0
    for item in signature:
        if isinstance(item, str | bytes):
            size += len(item)
        elif type(item) is not int:
            raise _Refused(Reason.MALFORMED_SIGNATURE, "signature list holds something else")
    if size > MAX_SIGNATURE:
        raise _Refused(Reason.TOO_LARGE, "signatures")
    return tuple(signature)


def _document(document: object, name: str) -> Mapping[str, Any]:
    if not isinstance(document, Mapping):
        raise _Refused(Reason.MALFORMED_REQUEST, name)
    _bounded(document, name)
    return document


def _bounded(document: object, name: str) -> Any:
    """``document`` itself if its nesting, its number of values and their sizes are bounded."""
    if document is None:
        return None
    level: list[object] = [document]
    nodes = size = depth = 0
    while level:
        depth += 1
        below: list[object] = []
        for value in level:
            nodes += 1
            if isinstance(value, (str, bytes)):
                size += len(value)
            elif isinstance(value, int):
                size += value.bit_length() // 8
            elif isinstance(value, _OBJECT):
                below.extend(value.keys())
                below.extend(value.values())
            elif isinstance(value, _ARRAY):
                below.extend(value)
            if nodes + len(below) > MAX_NODES or size > MAX_DOCUMENT:
                raise _Refused(Reason.TOO_LARGE, name)
        if depth > MAX_DEPTH:
            raise _Refused(Reason.TOO_LARGE, name)
        level = below
    return document


# RFC 3339 §5.6; seconds of 60 are read as 59, as datetime has no leap seconds.
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:)(\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)


def parse_time(text: str) -> float | None:
    """Unix seconds of an RFC 3339 date and time; None if it is none."""
    match = _RFC3339.fullmatch(text)
    if not match:
        return None
    date, minute, second, fraction, zone = match.groups()
    second = "59" if second == "60" else second
    zone = "+00:00" if zone in "Zz" else zone
    try:
        moment = datetime.fromisoformat(f"{date}T{minute}{second}{zone}")
    except ValueError:
        return None
    return moment.timestamp() + (int(fraction) / 10 ** len(fraction) if fraction else 0)


def _seconds(now: object) -> float:
    """Unix seconds of RFC 3339 text, an aware ``datetime``, seconds, or (integers) milliseconds."""
    seconds: float | None = None
    if isinstance(now, str):
        seconds = parse_time(now)
    elif isinstance(now, datetime) and now.tzinfo is not None:
        seconds = now.timestamp()
    elif isinstance(now, int) and not isinstance(now, bool) and abs(now) < 10**16:
        seconds = now / 1000 if now >= _MILLISECONDS_FROM else float(now)
    elif isinstance(now, float):
        seconds = now
    if seconds is None or not math.isfinite(seconds):
        raise _Refused(Reason.MALFORMED_REQUEST, "now")
    return seconds
