"""The price service: asks the markets again and again and writes what they agree on.

One process polls (lease ``rates``); the others read the table.  Nothing is asked while no event needs a rate.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal, InvalidOperation

import msgspec
from sqlalchemy import Connection

from chainwatch.background import Lease, in_rounds
from chainwatch.clock import Clock
from chainwatch.config.chains import ChainSettings
from chainwatch.config.sections import Rates
from chainwatch.errors import Misconfigured
from chainwatch.ledger import rates as ledger_rates
from chainwatch.ledger.store import Store
from chainwatch.markets import Answer, Markets, coin_of, with_crossings
from chainwatch.metrics import Metrics
from chainwatch.tickets.rates import (
    LEAST,
    MOST,
    Agreement,
    Breaker,
    Pair,
    Price,
    Rate,
    Rules,
    agree,
    breaker_step,
)

log = logging.getLogger(__name__)

LOOK_S = 5.0
"""How often the wanted pairs are looked at: an event that is made now has its rate a moment later."""
LEASE_MS = 60_000
"""A holder that is silent for this long may be replaced; a round with slow sources takes a good ten seconds."""
PRUNE_MS = 3_600_000


def rules_of(settings: Rates) -> Rules:
    """Return when prices become a rate."""
    return Rules(settings.quorum, settings.agree_percent, settings.max_age_seconds * 1000, settings.jump_percent)


def hive_url(chains: Mapping[str, ChainSettings]) -> str:
    """Return the configured Hive node, for the chain's own feed; "" when Hive is not followed."""
    chain = chains.get("HIVE")
    return chain.spec.endpoints[0] if chain is not None and chain.spec.endpoints else ""


def markets_of(settings: Rates, hive_url: str, now_ms: Callable[[], int]) -> Markets:
    """Return the configured sources; ``hive_url``: a Hive node of the operator's, if one is configured."""
    urls = {"hive": hive_url} if hive_url and "hive" in settings.sources else {}
    return Markets(settings.sources, {**urls, **settings.urls}, now_ms)


def fixed_rates(settings: Rates, now_ms: int) -> list[Rate]:
    """Return the rates that the configuration fixes; ``Misconfigured`` names what is no price."""
    found = []
    for asset, prices in settings.fixed.items():
        for currency, text in prices.items():
            try:
                price = Decimal(text)
            except InvalidOperation:
                price = Decimal(0)
            if not (price.is_finite() and LEAST <= price <= MOST):
                raise Misconfigured(f"[rates.fixed] {asset}.{currency} = {text[:40]!r} is no price")
            found.append(Rate(asset, currency, price, now_ms, ("fixed",)))
    return found


class Ticker:
    """The service.  ``settings`` is asked each round: a reload may change it."""

    name = "rates"

    def __init__(
        self,
        *,
        settings: Callable[[], Rates],
        hive_url: str,
        store: Store,
        metrics: Metrics,
        clock: Clock,
        holder: str,
    ) -> None:
        self._settings, self._hive_url = settings, hive_url
        self._store, self._metrics, self._clock = store, metrics, clock
        self._lease = Lease(store, clock, "rates", holder, LEASE_MS)
        fixed_rates(settings(), 0)  # wrong ones are said at the start
        self._markets = markets_of(settings(), hive_url, clock.now_ms)
        self._made_for = settings()
        self._breakers: dict[Pair, Breaker] = {}
        self._said: dict[Pair | str, str] = {}
        self._polled_ms: int | None = None
        self._polled: set[Pair] = set()
        self._pruned_ms = 0

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            await in_rounds(self.name, self._clock, self.round)
        finally:
            await self._markets.close()
            await self._lease.release()

    async def round(self) -> float:
        """Look what is wanted, poll when it is time, report; return the seconds until the next look."""
        settings = self._settings()
        if settings != self._made_for:
            fresh = markets_of(settings, self._hive_url, self._clock.now_ms)
            await self._markets.close()
            self._markets, self._made_for = fresh, settings
        wanted = await self._store.read(ledger_rates.wanted)
        self._metrics.rates_wanted(wanted)
        if wanted:
            if not await self._lease.mine():
                self._breakers.clear()  # another process polls: what we last saw may be long ago when we take over
            elif self._due(wanted, settings):
                self._polled_ms, self._polled = self._clock.now_ms(), set(wanted)
                await self._poll(wanted, settings)
            for asset, currency in wanted:
                rate = await self._store.read(ledger_rates.latest, asset, currency)
                self._metrics.rate_age(asset, currency, None if rate is None else rate.at_ms)
        return min(LOOK_S, settings.every_seconds)

    def _due(self, wanted: Collection[Pair], settings: Rates) -> bool:
        if self._polled_ms is None or not set(wanted) <= self._polled:
            return True
        return self._clock.now_ms() - self._polled_ms >= settings.every_seconds * 1000

    async def _poll(self, wanted: Collection[Pair], settings: Rates) -> None:
        if settings.fixed:
            now_ms = self._clock.now_ms()
            agreed = [r for r in fixed_rates(settings, now_ms) if (r.asset, r.currency) in wanted]
            for rate in agreed:
                self._metrics.rate_sources(rate.asset, rate.currency, settings.quorum)
            await self._store.write(self._write, agreed, [], now_ms)
            return
        coins = {pair: (coin, pair[1]) for pair in wanted if (coin := coin_of(pair[0])) is not None}
        answers = await self._markets.ask(with_crossings(coins.values()))
        self._tell_sources(answers)
        prices = [price for answer in answers for price in answer.prices]
        now_ms, rules = self._clock.now_ms(), rules_of(settings)
        for pair in wanted:
            if pair not in self._breakers:
                last = await self._store.read(ledger_rates.latest, *pair)
                self._breakers[pair] = Breaker(None if last is None else last.price)
        agreed, withheld = self._judge(wanted, coins, prices, rules, now_ms)
        await self._store.write(self._write, agreed, withheld, now_ms)

    def _judge(
        self,
        wanted: Collection[Pair],
        coins: Mapping[Pair, Pair],
        prices: Collection[Price],
        rules: Rules,
        now_ms: int,
    ) -> tuple[list[Rate], list[Pair]]:
        """Return the rates that are believed, and the pairs whose price jumped."""
        agreed: list[Rate] = []
        withheld: list[Pair] = []
        for pair in sorted(wanted):
            found = agree(coins[pair], prices, rules, now_ms) if pair in coins else Agreement(None, why="no_source")
            self._breakers[pair], believed = breaker_step(self._breakers[pair], found.price, rules)
            why: str = found.why
            if found.price is not None and believed:
                agreed.append(Rate(*pair, found.price, now_ms, found.agreeing))
            elif found.price is not None:
                why = "jump"
                withheld.append(pair)
            self._metrics.rate_sources(*pair, len(found.agreeing) if found.price is not None else 0)
            agreeing = ", ".join(found.agreeing) or "nobody"
            self._say(pair, why and f"no rate of {pair[0]} in {pair[1]}: {why} ({agreeing})")
        return agreed, withheld

    def _write(self, connection: Connection, agreed: Sequence[Rate], withheld: Sequence[Pair], now_ms: int) -> None:
        ledger_rates.put(connection, agreed)
        ledger_rates.withhold(connection, withheld, now_ms)
        if now_ms - self._pruned_ms >= PRUNE_MS:
            ledger_rates.prune(connection, now_ms)
            self._pruned_ms = now_ms

    def _tell_sources(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            down = answer.error if not answer.prices else ""
            self._say(answer.source, down and f"price source {answer.source}: {down[:200]}")

    def _say(self, about: Pair | str, text: str) -> None:
        """Log what is wrong once, and once that it is over."""
        if text and text != self._said.get(about):
            log.warning("%s", text)
        elif not text and self._said.get(about):
            log.info("%s: prices again", about if isinstance(about, str) else "/".join(about))
        self._said[about] = text


class SourceState(msgspec.Struct, frozen=True):
    """One line of ``chainwatch check``."""

    source: str
    ok: bool
    text: str


async def states(settings: Rates, hive_url: str, wanted: Collection[Pair], clock: Clock) -> list[SourceState]:
    """Ask every source about ``wanted`` once and say how each answered."""
    if settings.fixed:
        return [SourceState("fixed", True, f"{len(fixed_rates(settings, clock.now_ms()))} prices are fixed")]
    markets = markets_of(settings, hive_url, clock.now_ms)
    try:
        coins = {(coin, currency) for asset, currency in wanted if (coin := coin_of(asset)) is not None}
        answers = await markets.ask(with_crossings(coins))
    finally:
        await markets.close()
    return [
        SourceState(
            a.source,
            bool(a.prices) or not a.error,
            f"{len(a.prices)} prices" if a.prices or not a.error else a.error[:200],
        )
        for a in answers
    ]
