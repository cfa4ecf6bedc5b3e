"""Every metric of chainwatch, by name, in one class with its own registry.

Names follow the field's rules: one prefix, base units, ``_total`` for counters.  No label is ever a
wallet, a transaction or an event: what is not a word of our own vocabulary becomes ``other``.
What must grow while nothing happens (the age of the tip, of the outbox) is computed at scrape time.
"""

import importlib.metadata
import re
from collections.abc import Callable, Collection

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.process_collector import ProcessCollector

from chainwatch.clock import Clock
from chainwatch.model import BlockRef

CONTENT_TYPE = CONTENT_TYPE_LATEST

_RPC_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # 30 s: the client's deadline
_REORG_BUCKETS = (1, 2, 3, 6, 12, 30, 64, 128, 256)  # 6 and 12 are usual depths, 157 the deepest seen (Polygon)
_MINT_BUCKETS = (0.05, 0.1, 0.5, 1, 3, 10, 30, 60, 300, 900, 1800, 3600, 7200)  # block to ticket: finality rules it
_VERIFY_BUCKETS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5)

_WORD = re.compile(r"[A-Za-z0-9_.:/\[\]-]{1,80}")  # the longest of ours: an endpoint's scheme, host and port
_ID_LIKE = re.compile(r"(?:0[xX])?[0-9a-fA-F]{16,}|(?=.*[0-9])[A-Za-z0-9]{26,}")


def word(value: str | None) -> str:
    """Return ``value`` as a label: ``other`` when it could be an address, an id or free text."""
    if value is None or not _WORD.fullmatch(value) or _ID_LIKE.fullmatch(value):
        return "other"
    return value


class Metrics:
    """The registry and one method for each thing that happens.  Implements ``adapters.base.Observer``."""

    def __init__(self, clock: Clock, registry: CollectorRegistry | None = None) -> None:
        self._clock = clock
        self.registry = registry or CollectorRegistry()
        self._tips: dict[str, tuple[BlockRef | None, int]] = {}
        self._outbox_oldest_ms: int | None = None
        self._rates_ms: dict[tuple[str, str], int] = {}
        self._rated: set[tuple[str, str]] = set()
        self._chain_metrics()
        self._money_metrics()
        self._access_metrics()
        self._service_metrics()
        ProcessCollector(registry=self.registry)

    def _chain_metrics(self) -> None:
        self.head_height = self._gauge("head_height", "Height of the node's best block", "chain")
        self.scanned_height = self._gauge("scanned_height", "Height of our cursor", "chain")
        self.final_height = self._gauge("final_height", "Height that the chain calls final", "chain")
        self.tip_age = self._gauge("tip_age_seconds", "Age of the newest block; grows on failure too", "chain")
        self.block_time = self._gauge(
            "block_time_seconds", "Usual distance of the chain's blocks: the alarms' scale", "chain"
        )
        self.lease_held = self._gauge("lease_held", "1 while this process is the chain's only writer", "chain")
        self.endpoint_up = self._gauge("endpoint_up", "1 while the endpoint is in use", "chain", "endpoint")
        self.reorgs = self._counter("reorgs_total", "Reorganisations followed", "chain")
        self.reorg_depth = self._histogram("reorg_depth", "Blocks taken back at once", _REORG_BUCKETS, "chain")
        self.rpc_requests = self._counter(
            "rpc_requests_total", "Requests to nodes", "chain", "endpoint", "method", "outcome"
        )
        self.rpc_seconds = self._histogram("rpc_seconds", "Duration of requests", _RPC_BUCKETS, "chain", "method")
        self.oddities = self._counter("oddities_total", "Things that should not happen, by kind", "chain", "what")

    def _money_metrics(self) -> None:
        self.payments = self._counter("payments_total", "Payments that entered a state", "chain", "asset", "state")
        self.endings = self._counter("payment_endings_total", "Payments that came to a named end", "chain", "ending")
        self.tickets = self._counter("tickets_minted_total", "Tickets minted, by the paying chain", "chain")
        self.mint_latency = self._histogram(
            "mint_latency_seconds", "From the payment's first sighting to its ticket", _MINT_BUCKETS, "chain"
        )
        self.refunds_due = self._gauge("refunds_due", "Refunds that are due and not settled")
        self.payouts_due = self._gauge("payouts_due", "Payouts that are due and not settled")
        self.review_open = self._gauge("review_open", "Payments that wait for an operator's decision")
        self.ledger_imbalance = self._gauge("ledger_imbalance", "Assets whose ledger does not sum to zero: 0, always")
        self.quote_rate_age = self._gauge(
            "quote_rate_age_seconds", "Age of the last believed rate that an event needs", "asset", "currency"
        )
        self.rate_sources_agreeing = self._gauge(
            "rate_sources_agreeing", "Price sources behind the last rate, 0 without one", "asset", "currency"
        )

    def _access_metrics(self) -> None:
        self.verify = self._counter("verify_total", "Signatures checked", "scheme", "result")
        self.verify_seconds = self._histogram("verify_seconds", "Duration of checks", _VERIFY_BUCKETS, "scheme")
        self.access_decisions = self._counter("access_decisions_total", "Decisions at the door", "decision", "reason")
        self.access_classic = self._counter("access_classic_total", "Joins with a classic text", "decision")

        self.checkins = self._counter("checkins_total", "Scans at doors, by answer", "outcome")
        for outcome in ("accepted", "already_redeemed", "conflict", "bad_checksum"):
            self.checkins.labels(outcome)  # the alarms' own: there from the start, so that `increase` sees the first

    def _service_metrics(self) -> None:
        self.outbox_pending = self._gauge("outbox_pending", "Messages not yet delivered")
        self.outbox_oldest = self._gauge("outbox_oldest_seconds", "Age of the oldest undelivered message")
        self.outbox_oldest.set_function(self._outbox_age)
        self.webhook_attempts = self._counter(
            "webhook_attempts_total",
            "Attempts to deliver a message: delivered, failed (tried again) or dead",
            "outcome",
        )
        for outcome in ("delivered", "failed", "dead"):
            self.webhook_attempts.labels(outcome)
        self.reload_ok = self._gauge("config_reload_success", "1 when the last reload of the configuration was applied")
        self.reload_ok.set(1)
        Info("chainwatch_build", "The running version", registry=self.registry).info(
            {"version": importlib.metadata.version("chainwatch")}
        )

    # -- chains ----------------------------------------------------------------------------------

    def expect(self, chain: str, block_time_ms: int) -> None:
        """Say how often the chain makes a block."""
        self.block_time.labels(chain).set(block_time_ms / 1000)

    def follow(self, chain: str) -> None:
        """Begin to count a chain: its tip's age grows from now until a node shows a block."""
        self._tips[chain] = (None, self._clock.now_ms())
        self.tip_age.labels(chain).set_function(self._tip_age_of(chain))
        self.lease_held.labels(chain).set(0)
        # Series that begin at their first event would hide it from `increase`.
        self.reorgs.labels(chain)
        self.reorg_depth.labels(chain)
        self.tickets.labels(chain)

    def tip(self, chain: str, head: BlockRef, final: BlockRef | None = None, time_ms: int = 0) -> None:
        """Record a look at a node.  ``time_ms``: the head's own time, 0 when unknown (then: since we first saw it)."""
        known, since_ms = self._tips.get(chain, (None, 0))
        if not head.same(known):
            since_ms = time_ms or self._clock.now_ms()
        elif time_ms:
            since_ms = time_ms
        self._tips[chain] = (head, since_ms)
        self.head_height.labels(chain).set(head.height)
        if final is not None:
            self.final_height.labels(chain).set(final.height)

    def scanned(self, chain: str, height: int) -> None:
        """Record our cursor."""
        self.scanned_height.labels(chain).set(height)

    def reorg(self, chain: str, depth: int) -> None:
        """Record a reorganisation of ``depth`` blocks."""
        self.reorgs.labels(chain).inc()
        self.reorg_depth.labels(chain).observe(depth)

    def lease(self, chain: str, held: bool) -> None:
        """Record whether this process may write the chain."""
        self.lease_held.labels(chain).set(held)

    # -- Observer --------------------------------------------------------------------------------

    def rpc(self, chain: str, endpoint: str, method: str, outcome: str, seconds: float) -> None:
        """Record one request to a node."""
        self.rpc_requests.labels(chain, word(endpoint), word(method), word(outcome)).inc()
        self.rpc_seconds.labels(chain, word(method)).observe(seconds)

    def endpoint(self, chain: str, endpoint: str, up: bool) -> None:
        """Record that an endpoint was taken out of use, or came back."""
        self.endpoint_up.labels(chain, word(endpoint)).set(up)

    def count(self, chain: str, what: str, n: int = 1) -> None:
        """Count an oddity."""
        self.oddities.labels(chain, word(what)).inc(n)

    # -- money -----------------------------------------------------------------------------------

    def payment(self, chain: str, asset: str | None, state: str, n: int = 1) -> None:
        """Count payments that entered ``state``."""
        self.payments.labels(chain, word(asset), word(state)).inc(n)

    def ended(self, chain: str, ending: str, n: int = 1) -> None:
        """Count payments, or parts of them, that came to an end (``chainwatch.ledger.endings``)."""
        self.endings.labels(chain, word(ending)).inc(n)

    def minted(self, chain: str, latency_s: float) -> None:
        """Count a ticket, and the time from the payment's first sighting to it."""
        self.tickets.labels(chain).inc()
        self.mint_latency.labels(chain).observe(max(latency_s, 0.0))

    def queues(self, *, refunds_due: int, payouts_due: int, review_open: int) -> None:
        """Record how much waits for an operator."""
        self.refunds_due.set(refunds_due)
        self.payouts_due.set(payouts_due)
        self.review_open.set(review_open)

    def imbalance(self, assets: int) -> None:
        """Record for how many assets the ledger does not sum to zero."""
        self.ledger_imbalance.set(assets)

    def rates_wanted(self, pairs: Collection[tuple[str, str]]) -> None:
        """Say which (asset, currency) events need: the age of their rates grows from now; others are not shown."""
        for pair in set(self._rates_ms) - set(pairs):
            del self._rates_ms[pair]
            self.quote_rate_age.remove(*pair)
            if pair in self._rated:
                self._rated.discard(pair)
                self.rate_sources_agreeing.remove(*pair)
        for pair in set(pairs) - set(self._rates_ms):
            self._rates_ms[pair] = self._clock.now_ms()
            self.quote_rate_age.labels(*pair).set_function(self._rate_age_of(pair))

    def rate_age(self, asset: str, currency: str, at_ms: int | None) -> None:
        """Record when the last believed rate of a wanted pair was made; None: there was none yet."""
        if at_ms is not None and (asset, currency) in self._rates_ms:
            self._rates_ms[asset, currency] = at_ms

    def rate_sources(self, asset: str, currency: str, agreeing: int) -> None:
        """Record how many sources agreed; only the process that asks them knows."""
        self._rated.add((asset, currency))
        self.rate_sources_agreeing.labels(asset, currency).set(agreeing)

    # -- the door, the service -------------------------------------------------------------------

    def verified(self, scheme: str | None, result: str, seconds: float) -> None:
        """Count one signature check."""
        self.verify.labels(word(scheme), word(result)).inc()
        self.verify_seconds.labels(word(scheme)).observe(seconds)

    def access(self, decision: str, reason: str, n: int = 1) -> None:
        """Count decisions at the door."""
        self.access_decisions.labels(word(decision), word(reason)).inc(n)

    def classic(self, decision: str) -> None:
        """Count one join with a classic text: when there are none any more, they can be switched off."""
        self.access_classic.labels(word(decision)).inc()

    def checkin(self, outcome: str) -> None:
        """Count one scan at a door."""
        self.checkins.labels(word(outcome)).inc()

    def outbox(self, pending: int, oldest_ms: int | None) -> None:
        """Record the outbox: how many wait, and when the oldest was written."""
        self.outbox_pending.set(pending)
        self._outbox_oldest_ms = oldest_ms if pending else None

    def webhook(self, outcome: str) -> None:
        """Count one attempt to deliver a message: ``delivered``, ``failed`` or ``dead``."""
        self.webhook_attempts.labels(outcome).inc()

    def reloaded(self, ok: bool) -> None:
        """Record whether the last reload of the configuration was applied."""
        self.reload_ok.set(ok)

    def render(self) -> bytes:
        """Return the exposition text (content type ``CONTENT_TYPE``)."""
        return generate_latest(self.registry)

    # -- building --------------------------------------------------------------------------------

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"chainwatch_{name}", text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"chainwatch_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"chainwatch_{name}", text, labels, registry=self.registry, buckets=buckets)

    def _tip_age_of(self, chain: str) -> Callable[[], float]:
        return lambda: max(self._clock.now_ms() - self._tips[chain][1], 0) / 1000

    def _rate_age_of(self, pair: tuple[str, str]) -> Callable[[], float]:
        return lambda: max(self._clock.now_ms() - self._rates_ms.get(pair, self._clock.now_ms()), 0) / 1000

    def _outbox_age(self) -> float:
        if self._outbox_oldest_ms is None:
            return 0.0
        return max(self._clock.now_ms() - self._outbox_oldest_ms, 0) / 1000
