"""The nodes of one chain: their names without secrets, and which of them is in use.

Hysteresis, so that a flapping node does not make the watcher flap: a node goes out of use after
``DOWN_AFTER`` failed requests in a row, and comes back only when it has answered probes for
``STABLE_S`` without one failure.  Among the nodes in use the first configured is the best one.
"""

import asyncio
import base64
import logging
from collections.abc import Collection, Sequence

import aiohttp
from yarl import URL

from chainwatch.adapters.base import Services
from chainwatch.errors import Misconfigured

log = logging.getLogger(__name__)

DOWN_AFTER = 3
"""Failed requests in a row before a node is out of use: one or two are the usual hiccup of a public node."""
PROBE_S = 15.0
"""Distance of the probes of a node that is out of use: four agree before it is back."""
STABLE_S = 60.0
"""How long a node must answer before it is used again."""
STABLE_MAX_S = 600.0
"""A node that keeps falling has this doubled each time, up to ten minutes."""
LOG_S = 60.0
"""One line a minute about a node that is down, however often it is tried."""


class Endpoint:
    """One node.  ``name`` is safe for logs and metric labels: no credentials, path or query.

    ``checked`` belongs to the adapter: it sets it once the node has proved to be of the right network,
    and it is cleared whenever the node goes out of use, for another one may stand there afterwards.
    """

    def __init__(self, url: URL, name: str, login: str | None, *, digest: bool, concurrency: int) -> None:
        self.name = name
        self.up = True
        self.checked = False
        self.slots = asyncio.Semaphore(concurrency)
        self.busy_until = 0.0
        self.failures = 0
        self.last_tried = float("-inf")
        self.last_probe = float("-inf")
        self.ok_since: float | None = None
        self.stable_s = STABLE_S
        self.returned_at = float("-inf")
        self.last_logged = float("-inf")
        self._base = url
        user, _, password = (login or "").partition(":")
        self.headers = {"Authorization": f"Basic {_base64(login)}"} if login and not digest else {}
        self.middlewares = (aiohttp.DigestAuthMiddleware(user, password),) if login and digest else ()

    def url(self, path: str = "") -> URL:
        """Return the address of ``path`` below this node's own path; its query (an API key) stays."""
        if not path:
            return self._base
        below = URL(path)
        url = self._base.with_path(self._base.path.rstrip("/") + below.path, keep_query=True)
        return url.update_query(below.query) if below.query else url

    def __repr__(self) -> str:
        return f"Endpoint({self.name!r}, up={self.up})"


def parse(
    chain: str, urls: Sequence[str], *, login: str | None = None, digest: bool = False, concurrency: int = 8
) -> tuple[Endpoint, ...]:
    """Build the endpoints of a chain; ``Misconfigured`` (which never quotes the URL) for what is no http(s) URL."""
    if not urls:
        raise Misconfigured(f"chain {chain}: no endpoint")
    endpoints: list[Endpoint] = []
    names: dict[str, int] = {}
    for i, text in enumerate(urls):
        url = _http_url(text)
        if url is None:
            raise Misconfigured(f"chain {chain}: endpoints[{i}] is not an http:// or https:// URL")
        host = f"[{url.host}]" if ":" in (url.host or "") else url.host
        name = f"{url.scheme}://{host}:{url.port}"
        names[name] = names.get(name, 0) + 1
        if names[name] > 1:  # two keys at one provider are two endpoints
            name = f"{name}#{names[name]}"
        # `http://user@host` names the user; its password comes with `login`, from a file.
        own = f"{url.user or ''}:{url.password}" if url.password is not None else login
        endpoints.append(
            Endpoint(url.with_user(None).with_fragment(None), name, own, digest=digest, concurrency=concurrency)
        )
    return tuple(endpoints)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _http_url(text: str) -> URL | None:
    try:
        url = URL(text.strip())
        usable = url.scheme in ("http", "https") and bool(url.host) and url.port is not None
    except (ValueError, TypeError):
        return None
    return url if usable else None


class Pool:
    """The health of a chain's endpoints.  Pure bookkeeping: no request is made here."""

    def __init__(self, chain: str, endpoints: Sequence[Endpoint], services: Services) -> None:
        self.chain, self.endpoints, self._services = chain, tuple(endpoints), services

    def best(self, but: Collection[Endpoint] = ()) -> Endpoint:
        """Return the first endpoint in use; when all are down, one that answers again, else the longest untried.

        Endpoints in ``but`` (they failed this very call) and ones that asked for a pause come last.
        """
        now = self._services.clock.monotonic()

        def rank(item: tuple[int, Endpoint]) -> tuple[bool, bool, bool, bool, float]:
            order, e = item
            last = float(order) if e.up else e.last_tried
            return (not e.up, e in but, e.busy_until > now, not e.up and e.ok_since is None, last)

        return min(enumerate(self.endpoints), key=rank)[1]

    def others_up(self, endpoint: Endpoint) -> bool:
        """Is there another endpoint in use?"""
        return any(e.up for e in self.endpoints if e is not endpoint)

    def due(self) -> list[Endpoint]:
        """Return the endpoints out of use whose next probe is due, and count them as probed now."""
        now = self._services.clock.monotonic()
        due = [e for e in self.endpoints if not e.up and now - max(e.last_probe, e.last_tried) >= PROBE_S]
        for e in due:
            e.last_probe = now
        return due

    def good(self, endpoint: Endpoint) -> None:
        """Note an answer."""
        now = self._services.clock.monotonic()
        endpoint.failures, endpoint.last_tried = 0, now
        if endpoint.up:
            return
        if endpoint.ok_since is None:
            endpoint.ok_since = now
        elif now - endpoint.ok_since >= endpoint.stable_s:
            endpoint.up, endpoint.returned_at, endpoint.ok_since = True, now, None
            endpoint.last_logged = float("-inf")
            log.info("%s: node %s is back in use", self.chain, endpoint.name)
            self._services.observer.endpoint(self.chain, endpoint.name, True)

    def bad(self, endpoint: Endpoint, reason: str) -> None:
        """Note a failed request; the ``DOWN_AFTER``th in a row takes the endpoint out of use."""
        endpoint.failures += 1
        endpoint.last_tried = self._services.clock.monotonic()
        if not endpoint.up or endpoint.failures >= DOWN_AFTER:
            self.fail(endpoint, reason)

    def fail(self, endpoint: Endpoint, reason: str) -> None:
        """Take the endpoint out of use now.  ``reason`` is logged and must hold no secret."""
        now = self._services.clock.monotonic()
        endpoint.ok_since, endpoint.checked = None, False
        if endpoint.up:
            endpoint.up = False
            fell_again = now - endpoint.returned_at < STABLE_MAX_S
            endpoint.stable_s = min(endpoint.stable_s * 2, STABLE_MAX_S) if fell_again else STABLE_S
            endpoint.last_tried = endpoint.last_probe = now
            self._services.observer.endpoint(self.chain, endpoint.name, False)
        if now - endpoint.last_logged >= LOG_S:
            endpoint.last_logged = now
            log.warning("%s: node %s is out of use: %s", self.chain, endpoint.name, reason)
