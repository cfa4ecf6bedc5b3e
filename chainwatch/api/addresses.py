"""Where a request comes from: the connection, or what a trusted proxy says of it."""

import ipaddress
from collections.abc import Collection
from functools import lru_cache

from aiohttp import web

MAX_HOPS = 10
"""Addresses of ``X-Forwarded-For`` that are looked at, from the right: there are never that many proxies of ours."""

Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


def client_address(request: web.BaseRequest, trusted: Collection[str]) -> str:
    """Return the caller's address: the right-most one that is no trusted proxy.

    Only what a trusted proxy appended is believed; whatever stands left of the first untrusted address was written by
    the caller.
    """
    address = request.remote or ""
    networks = _networks(tuple(trusted))
    if not _within(address, networks):
        return address
    said = ",".join(request.headers.getall("X-Forwarded-For", ()))
    for hop in reversed(said.split(",")[-MAX_HOPS:]):
        hop = hop.strip()
        if _parsed(hop) is None:
            break
        address = hop
        if not _within(hop, networks):
            break
    return address


@lru_cache(4096)
def _within(address: str, networks: Networks) -> bool:
    parsed = _parsed(address)
    return parsed is not None and any(parsed in n for n in networks)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]")) if len(text) <= 64 else None
    except ValueError:
        return None


@lru_cache(8)
def _networks(trusted: tuple[str, ...]) -> Networks:
    """Return addresses and networks as written in the configuration; what is neither trusts nobody."""
    found = []
    for text in trusted:
        try:
            found.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            continue
    return tuple(found)
