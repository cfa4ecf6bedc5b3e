"""What handlers may use: the parts that the composition root built, in one place."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from chainwatch.api.feed import Feed
from chainwatch.api.limits import Limits
from chainwatch.api.premium import Premium
from chainwatch.api.proofs import Proofs
from chainwatch.api.simulation import Simulation
from chainwatch.api.wallet_kind import WalletKinds
from chainwatch.clock import Clock
from chainwatch.config.settings import Settings
from chainwatch.errors import Rejected
from chainwatch.ledger.context import Context
from chainwatch.ledger.crowd import Buyer, quote_all
from chainwatch.ledger.grouped import Grouped
from chainwatch.ledger.quotes import Quote
from chainwatch.ledger.store import Store
from chainwatch.metrics import Metrics
from chainwatch.model import Asset
from chainwatch.tickets.token import Issuer
from chainwatch.verifiers.result import Resolver


class Request(NamedTuple):
    """A buyer, and what keeps the answer in the transaction that opens the purchase."""

    buyer: Buyer
    keep: Callable[[Connection, Quote], None] | None = None


def open_all(connection: Connection, requests: Sequence[Request], now_ms: int) -> list[Quote | Rejected]:
    """Open purchases, and keep the answers that are to be kept."""
    answers = quote_all(connection, [request.buyer for request in requests], now_ms)
    for (_, keep), answer in zip(requests, answers, strict=True):
        if keep is not None and not isinstance(answer, Rejected):
            keep(connection, answer)
    return answers


class Backend:
    """The daemon as its HTTP side sees it.

    ``settings`` is asked each time: a reload may change it.  ``resolver`` answers what signatures of contract wallets
    and Hive accounts need of a chain; None where no such chain is configured.  ``simulation``: the buyers of a built-in
    network.
    """

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        store: Store,
        contexts: Mapping[str, Context],
        issuer: Issuer,
        metrics: Metrics,
        clock: Clock,
        rng: random.Random,
        resolver: Callable[[str], Resolver | None] = lambda _chain: None,
        simulation: Simulation | None = None,
    ) -> None:
        self._settings = settings
        self.store, self.contexts, self.issuer = store, contexts, issuer
        self.metrics, self.clock, self.rng = metrics, clock, rng
        self.resolver, self.simulation = resolver, simulation
        self._assets: dict[str, Asset] | None = None
        self.limits = Limits(clock, lambda: self.settings.http)
        self.premium, self.proved = Premium(clock), Proofs()
        self.crowd: Grouped[Request, Quote] = Grouped(store, lambda c, asked: open_all(c, asked, self.now_ms()))
        self.feed, self.wallet_kinds = Feed(store), WalletKinds()

    async def stop(self) -> None:
        """End what would not end by itself: open streams."""
        await self.feed.stop()

    @property
    def settings(self) -> Settings:
        """The configuration in force."""
        return self._settings()

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return self.clock.now_ms()

    def assets(self) -> dict[str, Asset]:
        """Every configured asset by code."""
        if self._assets is None:  # chains and their assets wait for a restart
            self._assets = {a.code: a for c in self.contexts.values() for a in c.spec.assets}
        return self._assets

    def context_of(self, asset: str) -> Context | None:
        """The chain on which an asset is paid."""
        found = self.assets().get(asset)
        return None if found is None else self.contexts[found.chain]
