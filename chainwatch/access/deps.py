"""What the door may use: the parts that the composition root built, as far as access needs them."""

from collections.abc import Callable, Mapping
from typing import Protocol

from chainwatch.access.message import AccessPolicy
from chainwatch.clock import Clock
from chainwatch.config.settings import Settings
from chainwatch.ledger.context import Context
from chainwatch.ledger.store import Store
from chainwatch.metrics import Metrics
from chainwatch.model import ChainSpec
from chainwatch.tickets.token import Issuer
from chainwatch.verifiers.result import Resolver

MAX_SKEW_MS = 60_000
"""How far ahead of ours the clock may be that a text was issued by (the classic texts have the wallet's own)."""
MAX_TTL_MS = 900_000
"""Longest life of a text that a wallet signs: 15 minutes."""


class Deps(Protocol):
    """``chainwatch.api.backend.Backend`` is one."""

    @property
    def store(self) -> Store:
        """The database."""
        ...

    @property
    def issuer(self) -> Issuer:
        """The keys."""
        ...

    @property
    def contexts(self) -> Mapping[str, Context]:
        """Every configured chain by code."""
        ...

    @property
    def metrics(self) -> Metrics:
        """The counters."""
        ...

    @property
    def settings(self) -> Settings:
        """The configuration in force."""
        ...

    @property
    def resolver(self) -> Callable[[str], Resolver | None]:
        """Who answers what a signature needs of a chain (by code); None where no such chain is configured."""
        ...

    @property
    def clock(self) -> Clock:
        """Time, injected."""
        ...

    def now_ms(self) -> int:
        """Unix milliseconds."""
        ...


def domain(deps: Deps) -> str:
    """The domain in every text that a wallet signs: from the configuration, never from a request."""
    return deps.settings.access.domain.lower()


def uri(deps: Deps, path: str = "access") -> str:
    """The URI in such a text."""
    return f"{deps.settings.http.public_url}/{path}"


def window_ms(deps: Deps) -> int:
    """How long a text may be used."""
    return min(deps.settings.access.window_seconds * 1000, MAX_TTL_MS)


def text_policy(deps: Deps, *, classic: bool) -> AccessPolicy:
    """The rules for access texts as configured."""
    return AccessPolicy(
        domain=domain(deps),
        uri_prefix=f"{deps.settings.http.public_url}/",
        max_age_ms=window_ms(deps),
        max_skew_ms=MAX_SKEW_MS,
        max_ttl_ms=MAX_TTL_MS,
        classic=classic,
    )


def evm_specs(deps: Deps) -> list[ChainSpec]:
    """The configured EVM chains."""
    return [c.spec for c in deps.contexts.values() if c.spec.family == "evm"]


def chain_code(deps: Deps, chain_id: str) -> str | None:
    """The code of the configured EVM chain with this EIP-155 number."""
    return next((s.code for s in evm_specs(deps) if s.chain_id == chain_id), None)
