"""The composition root: builds every part, starts them in order, stops them in order.

Start: settings -> database (schema, lock) -> keys -> sources -> HTTP -> watchers -> ready.
Stop: watchers (leases given back) -> HTTP drained -> database closed.
"""

import asyncio
import fcntl
import gc
import logging
import random
from collections.abc import Callable
from typing import IO

import msgspec
from sqlalchemy import Connection

from chainwatch import adapters
from chainwatch.access import attempts, nonces, sessions
from chainwatch.adapters.base import Services
from chainwatch.api import door_page, health, resources
from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import routes
from chainwatch.api.server import Server
from chainwatch.api.simulation import Simulation
from chainwatch.background import Service
from chainwatch.clock import Clock
from chainwatch.config import settings as config
from chainwatch.config.settings import Settings
from chainwatch.errors import ChainwatchError, Misconfigured
from chainwatch.ledger import erasure, idempotency, payouts, queries, reminders
from chainwatch.ledger.context import Policy
from chainwatch.metrics import Metrics
from chainwatch.notify import Notifier
from chainwatch.outbox import Outbox
from chainwatch.parts import contexts, holder_name, open_issuer, open_store, payout_rules, policy_of
from chainwatch.resolver import Resolvers
from chainwatch.ticker import Ticker, hive_url
from chainwatch.watcher import Watcher

log = logging.getLogger(__name__)

HOUSEKEEPING_S = 2.0
LAG_READY = 3
"""Blocks behind the head up to which a chain counts as followed: a block or two is just being read."""
PAYOUTS_EVERY_MS = 30_000
"""What creators are owed is reckoned over all past events: a due time of days bears half a minute."""
ERASE_EVERY_MS = 3_600_000
"""Looking for wallets to forget reads every purchase: days bear an hour."""
BALANCE_EVERY = 30
"""Housekeeping rounds between two sums over the whole ledger (a million lines take seconds)."""


class App:
    """The daemon."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        rng: random.Random,
        policy: Policy | None = None,
        simulation: Simulation | None = None,
    ) -> None:
        self.settings, self.clock, self.rng = settings, clock, rng
        self.metrics = Metrics(clock)
        self.notifier = Notifier()
        self._lock: IO[str] | None = None
        self.store = open_store(settings)
        self._lock_sqlite()
        self.issuer = open_issuer(settings)
        self.contexts = contexts(settings, self.issuer)
        if policy is not None:
            self.contexts = {code: msgspec.structs.replace(c, policy=policy) for code, c in self.contexts.items()}
        for code, context in self.contexts.items():
            self.metrics.expect(code, context.spec.block_time_ms)
        services = Services(clock=clock, random=rng, observer=self.metrics)
        holder = holder_name()
        self.watchers = self._watchers(services, holder)
        self.resolvers = Resolvers({code: c.spec for code, c in self.contexts.items()})
        self.backend = Backend(
            settings=lambda: self.settings,
            store=self.store,
            contexts=self.contexts,
            issuer=self.issuer,
            metrics=self.metrics,
            clock=clock,
            rng=rng,
            resolver=self.resolvers,
            simulation=simulation,
        )
        self.server = self._server()
        self.background = self._services(holder)
        self._kept_house = False
        self._counted: dict[str, int] = {}
        self._payouts_at = self._erase_at = 0
        payout_rules(settings)  # what is wrong in it is said now, not at the first export

    def _watchers(self, services: Services, holder: str) -> list[Watcher]:
        return [
            Watcher(
                context,
                adapters.open_source(context.spec, services),
                self.store,
                clock=self.clock,
                rng=self.rng,
                reports=self.metrics,
                holder=holder,
            )
            for context in self.contexts.values()
        ]

    def _server(self) -> Server:
        return Server(
            self.settings.http.host,
            self.settings.http.port,
            [
                health.routes(self.readiness, self.metrics),
                routes(resources.endpoints(self.backend), self.backend),
                door_page.routes(),
            ],
            http=lambda: self.settings.http,
            limits=self.backend.limits,
            on_stop=self.backend.stop,
        )

    def _services(self, holder: str) -> list[Service]:
        """Return what runs beside the watchers: rates and messages, each under a lease."""
        return [
            Ticker(
                settings=lambda: self.settings.rates,
                hive_url=hive_url(self.settings.chains),
                store=self.store,
                metrics=self.metrics,
                clock=self.clock,
                holder=holder,
            ),
            Outbox(
                settings=lambda: self.settings.webhooks,
                store=self.store,
                issuer=self.issuer,
                metrics=self.metrics,
                clock=self.clock,
                rng=self.rng,
                holder=holder,
            ),
        ]

    def _lock_sqlite(self) -> None:
        """One daemon a SQLite file: a second one exits with 2 (PostgreSQL has leases for that)."""
        if self.store.path is None:
            return
        self._lock = open(f"{self.store.path}.lock", "w")  # noqa: SIM115 (held until the process ends)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise Misconfigured(f"another chainwatch runs on {self.store.path}") from error

    # -- state -----------------------------------------------------------------------------------

    def readiness(self) -> health.Readiness:
        """Say whether every chain is followed and the database takes writes."""
        parts = {"database": "ok" if self._kept_house else "not written yet"}
        for w in self.watchers:
            c = w.condition
            followed = c.state == "following" and c.lag is not None and c.lag <= LAG_READY
            standby = c.state == "standby"
            parts[w.chain] = "ok" if followed or standby else f"{c.state}: {c.reason or f'{c.lag} blocks behind'}"
        return health.Readiness(all(v == "ok" for v in parts.values()), parts)

    def reload(self, load: Callable[[], Settings]) -> None:
        """Take what a changed configuration may change at run time: depths rise at once, they fall at restart.

        A configuration that is wrong changes nothing and is said aloud.
        """
        self.notifier.reloading()
        try:
            wanted = load()
            applied = config.reload(self.settings, wanted)
        except ChainwatchError as error:
            log.error("the configuration was not reloaded: %s", error)
            self.metrics.reloaded(False)
        else:
            if applied.http.port == 0:
                applied = config.listening(applied, self.server.port)
            self.settings = applied
            for w in self.watchers:
                chain, policy = applied.chains[w.chain], policy_of(applied)
                w.context = msgspec.structs.replace(
                    w.context, rule=chain.finality, payout_rule=chain.payout_finality, policy=policy
                )
                self.contexts[w.chain] = w.context
            for key in config.waits_for_restart(applied, wanted):
                log.warning("the change of %s waits for a restart", key)
            self.metrics.reloaded(True)
            log.info("the configuration was reloaded")
        self.notifier.ready()

    # -- running ---------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event, ready: asyncio.Event | None = None) -> None:
        """Run until ``stop``; ``ready`` is set once HTTP listens and the watchers have begun."""
        await self.server.start()
        if self.settings.http.port == 0:
            self.settings = config.listening(self.settings, self.server.port)
        log.info("listening on %s", self.server.url)
        tasks = [asyncio.create_task(self._watch(w), name=f"watch {w.chain}") for w in self.watchers]
        tasks += [asyncio.create_task(service.run(), name=service.name) for service in self.background]
        tasks.append(asyncio.create_task(self._keep_house(), name="housekeeping"))
        tasks.append(asyncio.create_task(self._feed_watchdog(), name="watchdog"))
        stopping = asyncio.create_task(stop.wait(), name="stop")
        gc.freeze()  # what is here stays: looking at it again took a third of the time of catching up
        self.notifier.ready()
        if ready is not None:
            ready.set()
        try:
            done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()  # a part that ends by itself has failed: say so, and stop the others
        finally:
            self.notifier.stopping()
            for task in (*tasks, stopping):
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)
            await self.server.stop()
            await self.resolvers.close()
            self.close()

    async def _watch(self, watcher: Watcher) -> None:
        try:
            await watcher.run()
        except Misconfigured as error:
            where = self.settings.chains[watcher.chain].where
            raise Misconfigured(f"{where}: [chains.{watcher.chain}] {error}") from error

    def close(self) -> None:
        """Close the database and give its lock back."""
        self.store.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _keep_house(self) -> None:
        """Watch the queues, let payouts fall due, prove that the database takes writes."""
        turn = 0
        while True:
            try:
                await self.store.write(self._tidy)
                self._kept_house = True
                waits = await self.store.read(queries.queues)
                self.metrics.queues(
                    refunds_due=waits.refunds_due, payouts_due=waits.payouts_due, review_open=waits.review_open
                )
                self.metrics.outbox(waits.outbox_pending, waits.outbox_oldest_ms)
                if turn % BALANCE_EVERY == 0:
                    self.metrics.imbalance(await self.store.read(queries.imbalance))
            except ChainwatchError as error:
                self._kept_house = False
                log.warning("database: %s", error)
            turn += 1
            await self.clock.sleep(HOUSEKEEPING_S)

    def _tidy(self, connection: Connection) -> None:
        now_ms = self.clock.now_ms()
        if now_ms >= self._payouts_at:
            payouts.fall_due(connection, now_ms, self.settings.tickets.payout_delay_days * 86_400_000)
            self._payouts_at = now_ms + PAYOUTS_EVERY_MS
        if (days := self.settings.access.address_days) and now_ms >= self._erase_at:
            erased = erasure.forget_old(connection, self.issuer, now_ms - days * 86_400_000, now_ms)
            self._erase_at = now_ms + (0 if erased == erasure.BATCH else ERASE_EVERY_MS)
        idempotency.forget(connection, now_ms)
        sessions.sweep(connection, now_ms)
        nonces.forget(connection, now_ms)
        attempts.forget(connection, now_ms - self.settings.access.audit_days * 86_400_000)
        reminders.tell_starting(connection, now_ms)

    async def _feed_watchdog(self) -> None:
        """Tell systemd that we live, but only while every chain's loop comes round."""
        limit = self.notifier.watchdog_seconds
        while True:
            lines = [f"{w.chain} {w.condition.state}" for w in self.watchers]
            self.notifier.status(", ".join(lines) or "no chain configured")
            oldest = min((w.condition.turned for w in self.watchers), default=self.clock.monotonic())
            if limit is not None and self.clock.monotonic() - oldest < limit:
                self.notifier.alive()
            await self.clock.sleep(limit / 3 if limit else 10.0)
