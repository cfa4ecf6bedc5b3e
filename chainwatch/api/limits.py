"""How many requests are too many: token buckets by address, wallet and event, in bounded memory.

A bucket holds a minute's worth and fills evenly, so that a burst after a quiet time passes and a steady flood does
not.  The settings are asked each time: a reload may change them.  Each process counts for itself.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache
from math import ceil
from typing import Literal

import msgspec

from chainwatch.api.problems import Problem
from chainwatch.clock import Clock
from chainwatch.config.sections import Http

Dimension = Literal["address", "wallet", "event"]

MAX_BUCKETS = 50_000
"""Buckets of one rule that are remembered (about 10 MB); beyond it the one that was used longest ago is forgotten, and
whoever that was begins with a full one: who has 50,000 addresses is not stopped by a limit an address."""

MINUTE = 60.0

_IPV6_NETWORK = 64
"""Bits of an IPv6 address that count: a line at home has all of the rest."""


class Rule(msgspec.Struct, frozen=True):
    """``per_minute`` of one ``dimension``."""

    dimension: Dimension
    per_minute: Callable[[Http], int]


DOOR_FACTOR = 100
"""How many ordinary callers a door is: all scanners of a venue stand behind one address and have proved themselves."""

RULES: Mapping[str, tuple[Rule, ...]] = {
    "requests": (Rule("address", lambda http: http.requests_per_minute),),
    "purchases": (
        Rule("address", lambda http: http.purchases_per_minute),
        Rule("wallet", lambda http: http.purchases_per_minute),
        Rule("event", lambda http: http.purchases_per_minute_total),
    ),
    "access": (
        Rule("address", lambda http: http.access_per_minute),
        Rule("wallet", lambda http: http.access_per_minute_wallet),
    ),
    "door": (Rule("address", lambda http: http.requests_per_minute * DOOR_FACTOR),),
}
"""Name of a limit, as endpoints give it, to its rules.  Every request takes from ``requests`` besides;
at the door only who does not prove to be a device does (``chainwatch.api.endpoints``)."""


OWN_SHARE = 6
"""One sixth of a wallet's limit is kept for each address that asks for it: anybody can name any wallet, and who floods
one must not keep its holder, who comes from elsewhere, out."""


class Standing(msgspec.Struct, frozen=True):
    """What is left of a rule after a request (RateLimit header fields of the IETF draft)."""

    name: str
    quota: int
    remaining: int
    reset_s: int

    def headers(self) -> dict[str, str]:
        """``RateLimit-Policy`` and ``RateLimit``."""
        return {
            "RateLimit-Policy": f'"{self.name}";q={self.quota};w=60',
            "RateLimit": f'"{self.name}";r={self.remaining};t={self.reset_s}',
        }


class Buckets:
    """The buckets of one rule."""

    def __init__(self, clock: Clock, most: int = MAX_BUCKETS) -> None:
        self._clock, self._most = clock, most
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, key: str, quota: int) -> tuple[float, float]:
        """Take one token; return what is left and the seconds until there is one (0: it was taken)."""
        now = self._clock.monotonic()
        level, since = self._levels.pop(key, (float(quota), now))
        level = min(float(quota), level + (now - since) * quota / MINUTE)
        wait = 0.0
        if level >= 1.0:
            level -= 1.0
        else:
            wait = (1.0 - level) * MINUTE / quota
        self._levels[key] = (level, now)
        if len(self._levels) > self._most:
            self._levels.popitem(last=False)
        return level, wait


class Limits:
    """All buckets of a process."""

    def __init__(self, clock: Clock, settings: Callable[[], Http]) -> None:
        self._clock, self._settings = clock, settings
        self._buckets: dict[tuple[str, str], Buckets] = {}

    def take(self, name: str, dimension: Dimension, key: str | None, address: str = "") -> Standing | None:
        """Count one request of ``key``; return how it stands, None where no rule is about that dimension.

        ``address``: whence a wallet is asked for (``OWN_SHARE``).  ``Problem`` ``too_many_requests`` with
        ``Retry-After`` when there is nothing left.
        """
        rule = next((r for r in RULES[name] if r.dimension == dimension), None)
        if rule is None or key is None:
            return None
        quota = rule.per_minute(self._settings())
        level, wait = self._of(name, dimension).take(network(key) if dimension == "address" else key, quota)
        if dimension == "wallet" and address:
            own = f"{network(address)} {key}"
            if not self._of(name, "wallet at an address").take(own, max(1, quota // OWN_SHARE))[1]:
                wait = 0.0
        standing = Standing(name, quota, int(level), ceil((quota - level) * MINUTE / quota))
        if wait:
            headers = standing.headers() | {"Retry-After": str(max(1, ceil(wait)))}
            raise Problem("too_many_requests", f"at most {quota} a minute of one {dimension}", headers=headers)
        return standing

    def _of(self, name: str, what: str) -> Buckets:
        return self._buckets.setdefault((name, what), Buckets(self._clock))


@lru_cache(4096)
def network(address: str) -> str:
    """Return what of a network address is one caller: all of IPv4, the first 64 bits of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _IPV6_NETWORK), strict=False))
