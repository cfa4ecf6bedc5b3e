"""Telling others: messages from the outbox to the endpoints that asked for them, at least once and in order.

One process delivers (lease ``outbox``).  Each endpoint has a task of its own while something is due, so that a slow one
holds up nobody else.  What came back is written down before the next message of the same subject goes; a crash in
between sends a message again, with the same ``webhook-id``.

Signatures are those of Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over ``id.timestamp.body``.
"""

import asyncio
import base64
import errno
import hmac
import logging
import random
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from sqlalchemy import Connection
from yarl import URL

from chainwatch.background import Lease, in_rounds
from chainwatch.clock import Clock
from chainwatch.config.sections import Webhooks
from chainwatch.errors import ChainwatchError, Rejected
from chainwatch.ledger import deliveries, webhooks
from chainwatch.ledger.deliveries import Due, Outcome
from chainwatch.ledger.store import Store
from chainwatch.ledger.webhooks import Webhook
from chainwatch.metrics import Metrics
from chainwatch.outside import check_url, is_public, literal
from chainwatch.tickets.token import Issuer

log = logging.getLogger(__name__)

LOOK_S = 0.5
"""How often the outbox is looked at."""
LEASE_MS = 30_000
"""A holder that is silent for this long may be replaced; a request takes at most half a minute."""
AT_ONCE = 8
"""Requests to one endpoint at the same time, each of another subject."""
SOCKETS = 64
"""Requests at the same time over all endpoints."""
BATCH = 200
"""Deliveries of one endpoint that are read at a time."""
FIRST_RETRY_S, GROWTH, LONGEST_S = 5, 3, 12 * 3600
"""Retries after 5 s, 15 s, 45 s … and from the tenth on every twelve hours."""
RETRY_MS = 3 * 86_400_000
"""Three days: an endpoint that fails over a weekend misses nothing."""
PAUSE_MAX_S = 60.0
"""How long an endpoint that does not answer at all is left alone, at most: it may have many messages waiting."""
MAX_ANSWER = 4096
"""Bytes of an answer's body that are read, so that the connection can be used again; nothing in it matters."""
PRUNE_MS = 60_000

Lookup = Callable[[str, int, socket.AddressFamily], Awaitable[Sequence[str]]]
"""Host, port and family to the network addresses it has."""


def sign(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the ``webhook-signature``: one ``v1,…`` for each ``whsec_…`` secret, so that receivers can change over."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    keys = (base64.b64decode(secret.removeprefix("whsec_")) for secret in secrets)
    return " ".join("v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)


def headers(secrets: Sequence[str], message_id: str, now_ms: int, body: bytes) -> dict[str, str]:
    """Return the headers of one request."""
    timestamp = now_ms // 1000
    return {
        "Content-Type": "application/json",
        "User-Agent": "chainwatch",
        "Accept-Encoding": "identity",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secrets, message_id, timestamp, body),
    }


def retry_ms(attempts: int, since_ms: int, now_ms: int, rng: random.Random) -> int | None:
    """Return when to try again after ``attempts`` failures, None when three days are over.

    Up to a tenth is added by chance, so that what failed together does not come back together.
    """
    if now_ms - since_ms >= RETRY_MS:
        return None
    pause_s = min(FIRST_RETRY_S * GROWTH ** min(attempts - 1, 20), LONGEST_S)
    return now_ms + int(pause_s * 1000 * rng.uniform(1.0, 1.1))


async def lookup(host: str, port: int, family: socket.AddressFamily) -> list[str]:
    """Ask the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class PublicResolver(AbstractResolver):
    """Resolves for one connection, which then goes to just these addresses; one that is not public ends it.

    Judged at the moment of connecting: a name that answers differently a moment later (DNS rebinding) gains nothing.
    """

    def __init__(self, look_up: Lookup, allow_private: Callable[[], bool]) -> None:
        self._look_up, self._allow_private = look_up, allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses; ``OSError`` when there is none, or one that we may not call."""
        addresses = await self._look_up(host, port, family)
        if not self._allow_private() and not all(map(is_public, addresses)):
            raise OSError(errno.EACCES, f"{host} is at an address that is not public")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is kept."""


class Outbox:
    """The delivery service.  ``settings`` is asked each time: a reload may change it."""

    name = "outbox"

    def __init__(
        self,
        *,
        settings: Callable[[], Webhooks],
        store: Store,
        issuer: Issuer,
        metrics: Metrics,
        clock: Clock,
        rng: random.Random,
        holder: str,
        look_up: Lookup = lookup,
    ) -> None:
        self._settings, self._store, self._issuer = settings, store, issuer
        self._metrics, self._clock, self._rng = metrics, clock, rng
        self._lease = Lease(store, clock, "outbox", holder, LEASE_MS)
        self._look_up = look_up
        self._session: aiohttp.ClientSession | None = None
        self._senders: dict[int, asyncio.Task[None]] = {}
        self._failures: dict[int, int] = {}
        self._not_before: dict[int, float] = {}
        self._pruned_ms = 0

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            await in_rounds(self.name, self._clock, self.round)
        finally:
            await self.close()

    async def close(self) -> None:
        """End what is under way (it is sent again later), close the sockets, give the lease back."""
        senders = list(self._senders.values())
        for task in senders:
            task.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None
        await self._lease.release()

    async def round(self) -> float:
        """Hand out what is new, start to send what is due; return the seconds until the next look."""
        if not await self._lease.mine():
            return LOOK_S
        now_ms = self._clock.now_ms()
        handed = 0
        if await self._store.read(deliveries.waits):
            handed = await self._store.write(deliveries.hand_out, now_ms)
        for hook in await self._store.read(deliveries.waiting, now_ms):
            if hook.id not in self._senders and self._clock.monotonic() >= self._not_before.get(hook.id, 0.0):
                task = asyncio.create_task(self._send(hook), name=f"webhook {hook.id}")
                self._senders[hook.id] = task
                task.add_done_callback(partial(self._ended, hook.id))
        if now_ms - self._pruned_ms >= PRUNE_MS:
            self._pruned_ms = now_ms
            await self._store.write(deliveries.prune, now_ms - self._settings().keep_days * 86_400_000)
        return 0.0 if handed >= deliveries.HAND_OUT else LOOK_S

    def _ended(self, webhook_id: int, _task: asyncio.Task[None]) -> None:
        self._senders.pop(webhook_id, None)

    async def idle(self) -> None:
        """Wait until nothing is being sent (tests)."""
        while self._senders:
            await asyncio.gather(*self._senders.values(), return_exceptions=True)
            await asyncio.sleep(0)

    # -- one endpoint ----------------------------------------------------------------------------

    async def _send(self, hook: Webhook) -> None:
        """Send what is due to one endpoint until nothing is, or until it does not answer."""
        try:
            while await self._lease.mine():
                batch = await self._store.read(deliveries.due, hook.id, self._clock.now_ms(), BATCH)
                if not batch or not await self._send_all(hook, batch):
                    return
                current = await self._store.read(_still, hook.id)
                if current is None:
                    return
                hook = current  # its URL or secret may have been changed
        except ChainwatchError as error:
            log.warning("webhook %d: %s", hook.id, error)
            self._rest(hook.id)
        except Exception:
            log.exception("webhook %d: internal fault", hook.id)
            self._rest(hook.id)

    async def _send_all(self, hook: Webhook, batch: Sequence[Due]) -> bool:
        """Send a batch, some at a time, and write each group's outcomes down; False when the endpoint is down.

        Or when the lease is gone: what this process has read may have been told by another, and newer things too.
        """
        for i in range(0, len(batch), AT_ONCE):
            if not await self._lease.mine():
                return False
            group = batch[i : i + AT_ONCE]
            outcomes = await asyncio.gather(*(self._attempt(hook, one) for one in group))
            now_ms = self._clock.now_ms()
            await self._store.write_together(deliveries.record, hook.id, outcomes, now_ms)
            for outcome in outcomes:
                self._count(hook, outcome)
            if any(outcome.gone for outcome in outcomes):
                return False
            if not any(outcome.delivered for outcome in outcomes):
                self._rest(hook.id)
                return False
            self._failures.pop(hook.id, None)
        return True

    def _rest(self, webhook_id: int) -> None:
        """Leave an endpoint alone for a moment, the longer the more often nothing got through."""
        failures = self._failures[webhook_id] = self._failures.get(webhook_id, 0) + 1
        pause_s = min(2.0 ** min(failures, 10) / 2, PAUSE_MAX_S)
        self._not_before[webhook_id] = self._clock.monotonic() + pause_s

    def _count(self, hook: Webhook, outcome: Outcome) -> None:
        dead = not outcome.delivered and outcome.retry_ms is None
        self._metrics.webhook("delivered" if outcome.delivered else "dead" if dead else "failed")
        if dead:
            log.warning("webhook %d: delivery %d is given up: %s", hook.id, outcome.id, outcome.error)

    async def _attempt(self, hook: Webhook, one: Due) -> Outcome:
        """Send one message once; whatever happens is an outcome."""
        now_ms = self._clock.now_ms()
        sent = headers(hook.secrets(self._issuer, now_ms), one.message_id, now_ms, one.body)
        status: int | None = None
        try:
            status = code = await self._post(hook.url, one.body, sent)
        except Rejected as error:
            why = str(error)
        except TimeoutError:
            why = f"no answer within {self._settings().timeout_seconds} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            why = f"{type(error).__name__}: {error}"
        else:
            if 200 <= code < 300:
                return Outcome(one.id, True, code)
            why = f"HTTP {code}" + (" (redirects are not followed)" if 300 <= code < 400 else "")
        gone = status == 410
        again = None if gone else retry_ms(one.attempts + 1, one.since_ms, self._clock.now_ms(), self._rng)
        return Outcome(one.id, False, status, why, again, gone)

    async def _post(self, url: str, body: bytes, sent: Mapping[str, str]) -> int:
        """Return the status of the answer.  ``Rejected`` when we may not call this URL (any more)."""
        settings = self._settings()
        check_url(url, allow_private=settings.allow_private)
        target = URL(url)
        # aiohttp looks up no name that is an address itself: judge it here, as the library reads it.
        if not settings.allow_private and literal(target.host or "") and not is_public(target.host or ""):
            raise Rejected("bad_url", "not a public address")
        session = self._open()
        timeout = aiohttp.ClientTimeout(total=settings.timeout_seconds)
        async with session.post(target, data=body, headers=sent, allow_redirects=False, timeout=timeout) as response:
            await response.content.read(MAX_ANSWER)
            if not response.content.at_eof():
                response.close()  # more than that is not worth reading
            return response.status

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver = PublicResolver(self._look_up, lambda: self._settings().allow_private)
            connector = aiohttp.TCPConnector(
                limit=SOCKETS, limit_per_host=AT_ONCE, resolver=resolver, use_dns_cache=False
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # a small answer must not become a large one
            )
        return self._session


def _still(connection: Connection, webhook_id: int) -> Webhook | None:
    """Return the endpoint as it is now; None when it is to be told nothing more."""
    try:
        hook = webhooks.find(connection, webhook_id)
    except Rejected:
        return None
    return hook if hook.disabled_ms is None else None
