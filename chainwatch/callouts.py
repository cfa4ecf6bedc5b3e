"""Calls to services that an operator names: https, public addresses only, no redirects, small answers.

What a name resolves to is looked at where the connection is made, so that a name cannot be public when it is checked
and private when it is called (DNS rebinding).
"""

import base64
import hashlib
import hmac
import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from chainwatch.errors import Unreachable

MAX_ANSWER = 64 * 1024
"""Bytes of an answer that are read: yes or no and a number need a hundred."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Forbidden(Unreachable):
    """The target is one that nobody outside may name: private, loopback, or not https."""


def is_public(address: str) -> bool:
    """Is this an address of the public internet?  One inside another (mapped, NAT64, 6to4, Teredo) counts as itself."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
        if inner is None and parsed in _NAT64:
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(str(inner))
    return parsed.is_global and not parsed.is_multicast


def check_url(url: str, *, allow_private: bool) -> None:
    """Refuse a URL that must not be called, as far as its text tells.  ``Forbidden``."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (allow_private and parts.scheme == "http"):
        raise Forbidden("only https is called")
    if not parts.hostname or parts.username is not None:
        raise Forbidden("a URL with a host, and without a login, is needed")
    literal = parts.hostname.strip("[]")
    try:
        ipaddress.ip_address(literal)
    except ValueError:
        return  # a name: looked at when it is resolved
    if not allow_private and not is_public(literal):
        raise Forbidden("the address is not public")


class PublicResolver(AbstractResolver):
    """Resolves names, and fails for those with any address that is not public."""

    def __init__(self) -> None:
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of ``host``."""
        found = await self._inner.resolve(host, port, family)
        if not found or not all(is_public(r["host"]) for r in found):
            raise OSError(f"{host} is not on the public internet")
        return found

    async def close(self) -> None:
        """Nothing to close."""


def session(*, allow_private: bool, timeout_s: float) -> aiohttp.ClientSession:
    """Return a client that reaches what it may."""
    resolver: AbstractResolver = aiohttp.ThreadedResolver() if allow_private else PublicResolver()
    connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, limit=8)
    return aiohttp.ClientSession(
        connector=connector, timeout=aiohttp.ClientTimeout(total=timeout_s), cookie_jar=aiohttp.DummyCookieJar()
    )


def key_of(secret: str) -> bytes:
    """Return the bytes of a Standard Webhooks secret: ``whsec_`` and base64, or the text itself."""
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        return secret.encode()


def signature(secret: bytes, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the ``webhook-signature`` of Standard Webhooks: HMAC-SHA256 over id, time and body."""
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


async def post(client: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, Any]) -> tuple[int, bytes]:
    """POST; return status and body.  ``Unreachable`` when there is no answer of a sensible size in time."""
    try:
        async with client.post(url, data=body, headers=headers, allow_redirects=False) as response:
            raw = await response.content.read(MAX_ANSWER + 1)
            while len(raw) <= MAX_ANSWER and (more := await response.content.read(MAX_ANSWER + 1)):
                raw += more
            if len(raw) > MAX_ANSWER:
                raise Unreachable("the answer is too large")
            return response.status, raw
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unreachable(f"no answer: {type(error).__name__}") from error
