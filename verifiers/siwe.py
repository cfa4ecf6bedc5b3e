"""The texts of Sign-In-With-Ethereum (EIP-4361) and Sign-In-With-Solana: parse, render, compare.

Parsing is strict: every byte of the text belongs to exactly one field, and ``render(parse(text)) == text``.
That is what keeps a line break inside a statement from forging a field (WalletConnect's
``formatMessage`` had that hole), and a nonce from being found somewhere else in the text.

A parsed text is a claim, not yet a proof: the signature is checked elsewhere, and whether the domain
and the nonce are ours is what ``mismatch`` answers for the caller's expectations.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta, timezone
from ipaddress import AddressValueError, IPv6Address
from typing import Any

from chainwatch.verifiers.addresses import detect_wallet

MAX_RESOURCES = 64
"""Resource lines: far more than any wallet shows, few enough to parse in well under a millisecond."""
MAX_FIRST_LINE = 1_024
"""Bytes of a line that may be the sentence: no authority is longer than some hundred."""

ETHEREUM = "Ethereum"
SOLANA = "Solana"
_SENTENCE = " wants you to sign in with your {} account:"

# RFC 3986.  Every class is linear: no nested quantifier can backtrack.
_PCT = r"%[0-9A-Fa-f]{2}"
_UNRESERVED = r"A-Za-z0-9\-._~"
_SUB = r"!$&'()*+,;="
_IPV6 = r"\[(?:[0-9A-Fa-f:.]{2,45}|v[0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+)\]"
_AUTHORITY = (
    rf"(?:(?:[{_UNRESERVED}{_SUB}:]|{_PCT})*@)?"
    rf"(?P<host>{_IPV6}|(?:[{_UNRESERVED}{_SUB}]|{_PCT})*)"
    r"(?::[0-9]*)?"
)
_PCHAR = rf"(?:[{_UNRESERVED}{_SUB}:@]|{_PCT})"
_SCHEME = r"[A-Za-z][A-Za-z0-9+\-.]*"
_URI = re.compile(
    rf"{_SCHEME}:(?://{_AUTHORITY}(?:/{_PCHAR}*)*|/(?:{_PCHAR}+(?:/{_PCHAR}*)*)?|{_PCHAR}+(?:/{_PCHAR}*)*|)"
    rf"(?:\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])*)?"
)
_DOMAIN = re.compile(_AUTHORITY)
_SCHEME_PREFIX = re.compile(rf"({_SCHEME})://(.*)")
_STATEMENT = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;= ]*")  # EIP-4361: reserved / unreserved / " "
_NONCE = re.compile(r"[A-Za-z0-9]{8,}")
_CHAIN_ID = re.compile(r"[0-9]+")
_REQUEST_ID = re.compile(rf"{_PCHAR}*")
_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class SignInError(ValueError):
    """The text (or the set of fields) is not a sign-in message."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """The fields of a sign-in message, as they stand in the text (times and numbers too).

    ``account`` is the word of the first line (``Ethereum``, ``Solana``).  ``statement`` None: no statement;
    "" an empty one, which EIP-4361 tells apart.  SIWS may leave away every field but the first two.
    """

    domain: str
    address: str
    statement: str | None = None
    uri: str | None = None
    version: str | None = None
    chain_id: str | None = None
    nonce: str | None = None
    issued_at: str | None = None
    expiration_time: str | None = None
    not_before: str | None = None
    request_id: str | None = None
    resources: tuple[str, ...] | None = None
    scheme: str | None = None
    account: str = ETHEREUM


_LINES = (
    ("URI: ", "uri"),
    ("Version: ", "version"),
    ("Chain ID: ", "chain_id"),
    ("Nonce: ", "nonce"),
    ("Issued At: ", "issued_at"),
    ("Expiration Time: ", "expiration_time"),
    ("Not Before: ", "not_before"),
    ("Request ID: ", "request_id"),
)
_REQUIRED = ("uri", "version", "chain_id", "nonce", "issued_at")
_FIELD_NAMES = (*(label for label, _ in _LINES), "Resources:")


def looks_like(message: bytes, account: str) -> bool:
    """Is the first line the sentence of a sign-in text?  Cheap: decides whether to parse."""
    end = message.find(b"\n")
    return 0 < end < MAX_FIRST_LINE and message[:end].endswith(_SENTENCE.format(account).encode())


# --- times


def rfc3339(text: str) -> datetime | None:
    """The instant of an RFC 3339 date-time (any number of decimals, offset or Z); None when it is none."""
    match = _TIME.fullmatch(text)
    if match is None or not text.isascii():
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, zone = match.group(7) or "", match.group(8)
    try:
        offset = timedelta()
        if zone not in ("Z", "z"):
            hours, minutes = int(zone[1:3]), int(zone[4:6])
            if hours > 23 or minutes > 59:
                return None
            offset = timedelta(hours=hours, minutes=minutes) * (-1 if zone[0] == "-" else 1)
        leap = second == 60  # RFC 3339 allows it; the instant is the start of the next minute
        micros = int((fraction + "000000")[:6])
        moment = datetime(year, month, day, hour, minute, 59 if leap else second, micros, timezone(offset))
        return moment.astimezone(UTC) + (timedelta(seconds=1) if leap else timedelta())
    except (ValueError, OverflowError):
        return None


# --- rules of the single fields


def _check(message: SignIn) -> SignIn:
    """EIP-4361's rules for each field; ``SignInError`` names the first that is broken."""
    _check_domain(message.domain)
    if not message.address.startswith("0x") or not detect_wallet(message.address):
        raise SignInError("address: not an account, or its mixed-case checksum (EIP-55) is wrong")
    if message.statement is not None and not _STATEMENT.fullmatch(message.statement):
        raise SignInError("statement: only reserved, unreserved and blank; one line")
    for name in _REQUIRED:
        if getattr(message, name) is None:
            raise SignInError(f"{name}: missing")
    if not _is_uri(message.uri or ""):
        raise SignInError("uri: not by the grammar")
    rules = (
        ("chain_id", _CHAIN_ID),
        ("nonce", _NONCE),
        ("request_id", _REQUEST_ID),
    )
    for name, rule in rules:
        value = getattr(message, name)
        if value is not None and not rule.fullmatch(value):
            raise SignInError(f"{name}: not by the grammar")
    if message.version != "1":
        raise SignInError("version: not 1")
    for name in ("issued_at", "expiration_time", "not_before"):
        value = getattr(message, name)
        if value is not None and rfc3339(value) is None:
            raise SignInError(f"{name}: not an RFC 3339 time")
    if not all(map(_is_uri, message.resources or ())):
        raise SignInError("resources: not a URI")
    if len(message.resources or ()) > MAX_RESOURCES:
        raise SignInError("resources: too many")
    return message


def _check_domain(domain: str) -> None:
    match = _DOMAIN.fullmatch(domain)
    if match is None or not match["host"] or not _is_host(match["host"]):
        raise SignInError("domain: not an RFC 3986 authority with a host")


def _is_uri(text: str) -> bool:
    match = _URI.fullmatch(text)
    return match is not None and _is_host(match["host"] or "")


def _is_host(host: str) -> bool:
    """Is what stands in brackets an IPv6 address (or of a version to come)?  Anything else was matched as a name."""
    if host[:1] != "[" or host[1] == "v":
        return True
    try:
        IPv6Address(host[1:-1])
    except AddressValueError:
        return False
    return True


# --- parse and render


def parse_ethereum(text: str) -> SignIn:
    """Parse an EIP-4361 text.  ``SignInError`` for anything that is not one, to the last byte."""
    if not text.isascii():
        raise SignInError("not ASCII")
    first, address, lines = _head(text, ETHEREUM)
    scheme = None
    if match := _SCHEME_PREFIX.fullmatch(first):
        scheme, first = match.groups()
    # After the address: an empty line, then "statement, empty line" or one more empty line, then the fields.
    if not lines or lines[0] != "":
        raise SignInError("no empty line behind the address")
    statement: str | None = None
    if len(lines) > 2 and lines[2] == "":
        statement, lines = lines[1], lines[3:]
    elif len(lines) > 1 and lines[1] == "":
        lines = lines[2:]
    else:
        raise SignInError("no empty line behind the statement")
    values = _fields(lines)
    return _check(SignIn(domain=first, address=address, statement=statement, scheme=scheme, **values))


def parse_solana(text: str) -> SignIn:
    """Parse a Sign-In-With-Solana text (wallet-standard): every field optional, statements of several lines.

    The reference parser finds fields wherever they are; here a statement must not contain a line that reads like a
    field, or nobody could tell the statement from the fields.
    """
    if "\r" in text:
        raise SignInError("CRLF")
    domain, address, lines = _head(text, SOLANA)
    if not lines:
        return SignIn(domain=domain, address=address, account=SOLANA)
    if lines[0] != "":
        raise SignInError("no empty line behind the address")
    body = lines[1:]
    # The fields are the last paragraph, when it reads like fields; what stands before is the statement.
    start = next((i for i, line in enumerate(body) if line.startswith(_FIELD_NAMES)), len(body))
    statement_lines, field_lines = body[:start], body[start:]
    statement: str | None = None
    if statement_lines:
        if field_lines and statement_lines.pop() != "":
            raise SignInError("a line of the statement reads like a field")
        statement = "\n".join(statement_lines)
        if not statement or statement != statement.strip("\n"):
            raise SignInError("statement: blank lines around it")
    if not statement and not field_lines:
        raise SignInError("nothing behind the empty line")
    values = _fields(field_lines)
    if any(value == "" for value in values.values()):
        raise SignInError("an empty field")
    return SignIn(domain=domain, address=address, statement=statement, account=SOLANA, **values)


def _head(text: str, account: str) -> tuple[str, str, list[str]]:
    """Domain, address and the remaining lines."""
    lines = text.split("\n", MAX_RESOURCES + 64)
    sentence = _SENTENCE.format(account)
    if len(lines) < 2 or not lines[0].endswith(sentence):
        raise SignInError("not the first line of a sign-in message")
    domain, address = lines[0].removesuffix(sentence), lines[1]
    if not domain or not address:
        raise SignInError("no domain or no address")
    return domain, address, lines[2:]


def _fields(lines: list[str]) -> dict[str, Any]:
    """The fields in their fixed order; anything else, twice or after them is an error."""
    values: dict[str, Any] = {}
    at = 0
    for label, name in _LINES:
        if at < len(lines) and lines[at].startswith(label):
            values[name] = lines[at][len(label) :]
            at += 1
    if at < len(lines) and lines[at] == "Resources:":
        entries = lines[at + 1 :]
        if any(not entry.startswith("- ") for entry in entries):
            raise SignInError("resources: a line without its dash")
        values["resources"] = tuple(entry[2:] for entry in entries)
        at = len(lines)
    if at != len(lines):
        raise SignInError("an unknown, repeated or misplaced line")
    return values


def render(message: SignIn) -> str:
    """The text of a message: the inverse of the parser of its ``account``."""
    scheme = f"{message.scheme}://" if message.scheme else ""
    lines = [scheme + message.domain + _SENTENCE.format(message.account), message.address]
    body = [label + getattr(message, name) for label, name in _LINES if getattr(message, name) is not None]
    if message.resources is not None:
        body += ["Resources:", *(f"- {item}" for item in message.resources)]
    if message.account == ETHEREUM:
        lines += ["", ""] if message.statement is None else ["", message.statement, ""]
        return "\n".join(lines + body)
    if message.statement is not None:
        lines += ["", message.statement]
    return "\n".join(lines + (["", *body] if body else []))


_CAMEL = {name: re.sub(r"_(\w)", lambda m: m.group(1).upper(), name) for name in (f.name for f in fields(SignIn))}

EXPECTED = frozenset({*_CAMEL, *_CAMEL.values(), "time"})
"""What ``expect`` may say of a sign-in text: its fields, in either spelling, and when it is."""


def build_ethereum(values: Mapping[str, Any]) -> SignIn:
    """Build an EIP-4361 message from fields (snake_case or camelCase), by the same rules as the parser.

    ``SignInError`` for a missing, unknown or wrong one, above all for a line break that would forge another field.
    """
    known = {**{name: name for name in _CAMEL}, **{camel: name for name, camel in _CAMEL.items()}}
    out: dict[str, Any] = {}
    for key, value in values.items():
        if value is None:
            continue
        if key not in known or known[key] == "account":
            raise SignInError(f"unknown field {key!r}")
        out[known[key]] = _field_text(known[key], value)
    if "domain" not in out or "address" not in out:
        raise SignInError("domain or address: missing")
    message = _check(SignIn(**out))
    if parse_ethereum(render(message)) != message:
        raise SignInError("the text would not say what the fields say")
    return message


def _field_text(name: str, value: Any) -> Any:
    """One field as it will stand in the text."""
    if name == "resources":
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise SignInError("resources: not a list of texts")
        return tuple(value)
    if name in ("chain_id", "version") and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise SignInError(f"{name}: not a text")
    return value


# --- expectations


def mismatch(message: SignIn, expect: Mapping[str, Any]) -> str | None:
    """Name of the first field that is not what the caller expects; None when all are.

    ``expect`` names fields in snake_case or camelCase and compares each exactly (a domain is never compared by
    prefix: ``dlux.io@evil.example`` is another host).
    """
    for name, camel in _CAMEL.items():
        for spelling in (name,) if name == camel else (name, camel):  # who writes both is owed both
            wanted = expect.get(spelling)
            if wanted is not None and not _is_wanted(message, name, wanted):
                return name
    return None


def _is_wanted(message: SignIn, name: str, wanted: object) -> bool:
    actual = getattr(message, name)
    if name == "resources":
        return isinstance(wanted, list | tuple) and tuple(wanted) == (actual or ())
    if name == "address" and message.account == ETHEREUM:
        return isinstance(wanted, str) and wanted.lower() == message.address.lower()
    return actual is not None and bool(_plain_text(wanted) == actual)


def _plain_text(wanted: object) -> object:
    """A number (of a chain, of a version) as it stands in a text; not one that Python would take a while to write."""
    return str(wanted) if type(wanted) is int and abs(wanted) < 10**80 else wanted


def time_problem(message: SignIn, now: float) -> str | None:
    """``expired`` (at or past the expiration), ``not_yet_valid`` (before ``Not Before``) or None; ``now`` in Unix
    seconds.

    A time that cannot be read counts as passed: unknown is never success.
    """
    try:
        moment = datetime.fromtimestamp(now, UTC)
    except (ValueError, OverflowError, OSError):
        return "expired"
    if message.expiration_time is not None:
        end = rfc3339(message.expiration_time)
        if end is None or moment >= end:
            return "expired"
    if message.not_before is not None:
        start = rfc3339(message.not_before)
        if start is None or moment < start:
            return "not_yet_valid"
    return None


def expected_now(expect: Mapping[str, Any] | None, now: float) -> float:
    """Unix seconds to judge times by: ``expect["time"]`` (RFC 3339 text or seconds) before ``now``.

    A time that cannot be read is the end of time: everything has expired.
    """
    wanted = (expect or {}).get("time")
    if wanted is None:
        return now
    if isinstance(wanted, str):
        moment = rfc3339(wanted)
        return math.inf if moment is None else moment.timestamp()
    if isinstance(wanted, int | float) and not isinstance(wanted, bool) and abs(wanted) < 10**12:
        return float(wanted)
    return math.inf
