"""Addresses of others: which URL we may call, and which network address that may turn out to be.

Whoever names a URL that we call makes this machine send requests: to the cloud's metadata, to a database that trusts
its own network.  So: https, no credentials, and every address that the name resolves to is one of the public Internet.
"""

import ipaddress
import re
from urllib.parse import urlsplit

from chainwatch.errors import Rejected

MAX_URL = 2048
"""Characters: what proxies and databases agree on."""

_WRAPPED = tuple(
    ipaddress.ip_network(n)
    for n in (
        "::/96",  # IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # NAT64 for local use
        "2002::/16",  # 6to4
        "2001::/32",  # Teredo
        "fec0::/10",  # site-local
    )
)
"""IPv6 that stands for an IPv4 address, which may be a private one, or for a site's own."""

_NOT_GLOBAL = tuple(ipaddress.ip_network(n) for n in ("192.88.99.0/24", "3fff::/20", "5f00::/16"))
"""Relays of 6to4, documentation and segment routing: registered after the Python that runs this may have been made."""

_NUMBER = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)\.?$", re.IGNORECASE)
"""A host that ends in a number is an IPv4 address in some spelling (127.1, 0x7f000001), never a name (WHATWG URL)."""


def is_public(address: str) -> bool:
    """Is this network address one of the public Internet?  False for what is no address at all."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if ip.version == 6 and (ip.scope_id or any(ip in network for network in _WRAPPED)):
        return False
    if any(ip in network for network in _NOT_GLOBAL):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not ip.is_unspecified


def literal(host: str) -> bool:
    """Is ``host`` a network address itself, so that no name is looked up?"""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def check_url(url: str, *, allow_private: bool = False) -> str:
    """Return a URL that we may call; ``Rejected('bad_url')`` says what is wrong.

    Only its text is judged here: what a name resolves to is judged at each connection.  ``allow_private``: plain http,
    loopback and private networks are good too.
    """
    if len(url) > MAX_URL or not url.isascii() or any(c <= " " or c == "\\" for c in url):
        raise Rejected("bad_url", f"a URL has at most {MAX_URL} characters, all ASCII, and no spaces")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise Rejected("bad_url", f"this is no URL: {error}") from error
    if parts.scheme not in ({"http", "https"} if allow_private else {"https"}):
        raise Rejected("bad_url", "the URL must begin with https://")
    if not host or port == 0:
        raise Rejected("bad_url", "the URL names no host")
    if not literal(host) and _NUMBER.search(host):
        raise Rejected("bad_url", f"{host[:80]} is neither a name nor an address as addresses are written")
    if "@" in parts.netloc:
        raise Rejected("bad_url", "the URL holds a user name or password; requests are signed instead")
    if parts.fragment:
        raise Rejected("bad_url", "the URL has a fragment, which no server sees")
    if not allow_private and literal(host) and not is_public(host):
        raise Rejected("bad_url", f"{host} is no public address")
    return url
