"""The one JSON-RPC and HTTP client: every adapter speaks to its nodes through it.

One ``Rpc`` a chain.  Retries with exponential back-off and full jitter stay inside a total deadline;
bodies are capped while they stream in; answers are decoded straight into the caller's types.  What
goes wrong is told by the error's class, and no error, log line or label ever holds a credential.
"""

import asyncio
import email.utils
import itertools
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar, cast, overload

import aiohttp
import msgspec
import tenacity

from chainwatch.adapters.base import Services
from chainwatch.adapters.endpoints import Endpoint, Pool, parse
from chainwatch.adapters.jsonrpc import HttpRefused, RpcError, check_status, decode, read_answer, read_batch
from chainwatch.errors import ChainwatchError, Inconsistent, Misconfigured, Persistent, Transient, Unreachable

__all__ = ["Endpoint", "HttpRefused", "Limits", "Rpc", "RpcError", "Throttled", "side_by_side"]

T = TypeVar("T")
Params = Sequence[Any] | Mapping[str, Any]
Check = Callable[[Endpoint], Awaitable[object]]
"""An adapter's question who an endpoint is: it sets ``checked``, or raises ``Misconfigured``."""

BACKOFF_S, BACKOFF_MAX_S = 0.25, 8.0
"""First and largest wait between attempts; each is drawn from zero up to it, so that clients spread out."""
CHUNK = 64 * 1024
"""How much of a body is read between two looks at its size."""


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one client."""

    deadline_s: float = 30.0
    """One call with all its retries: the watcher asks again anyway, on the newest head."""
    attempt_s: float = 10.0
    """One request: a node that needs longer is worse than its neighbour."""
    max_body: int = 64 * 1024**2
    """The largest honest answers: hundreds of Solana or EVM blocks' worth of JSON stay below."""
    concurrency: int = 8
    """Requests at once per endpoint: bitcoind's own default queue is 16, public nodes throttle above ten."""
    batch: int = 100
    """Calls in one JSON-RPC batch; public nodes cap it between 100 and 1000."""


class Throttled(Unreachable):
    """HTTP 429; ``retry_after_s`` is what the node asked for (0: it did not say)."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Rpc:
    """A chain's nodes behind one face."""

    def __init__(
        self,
        chain: str,
        endpoints: Sequence[str],
        services: Services,
        *,
        limits: Limits | None = None,
        login: str | None = None,
        digest: bool = False,
        probe: str = "ping",
    ) -> None:
        """``login`` is ``user:password`` for endpoints without their own; ``digest``: HTTP digest instead of basic.

        ``probe`` is what an endpoint out of use is asked: a JSON-RPC method (any answer, "no such method"
        too, is a sign of life) or, beginning with ``/``, a path to GET.
        """
        self.chain, self._services, self.limits = chain, services, limits or Limits()
        self._pool = Pool(
            chain,
            parse(chain, endpoints, login=login, digest=digest, concurrency=self.limits.concurrency),
            services,
        )
        self._probe = probe
        self._session: aiohttp.ClientSession | None = None
        self._ids = itertools.count(1)
        self._probes: set[asyncio.Task[None]] = set()

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """Every configured endpoint, in order."""
        return self._pool.endpoints

    async def open(self) -> None:
        """Make the HTTP session; no request is sent."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # Our own timeouts rule; aiohttp's five minutes would undercut none of them.
                timeout=aiohttp.ClientTimeout(total=None),
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=True,
                headers={"User-Agent": "chainwatch"},
            )

    async def close(self) -> None:
        """End probes and close the sockets."""
        probes = list(self._probes)
        for task in probes:
            task.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def best(self) -> Endpoint:
        """Return the endpoint to use now; never raises (when all are down, one of them is tried again)."""
        self._start_probes()
        return self._pool.best()

    def fail(self, endpoint: Endpoint, reason: str) -> None:
        """Take an endpoint that answers nonsense (another network, far behind) out of use for a while."""
        self._pool.fail(endpoint, reason)

    async def vet(self, endpoint: Endpoint, check: Check) -> None:
        """Have an endpoint prove what it is, unless it has since it last was out of use.

        One that is not what the configuration says (another network, another wallet) is set aside, named and alarmed:
        ``Inconsistent``, so that the next round is another one's.
        """
        if endpoint.checked:
            return
        try:
            await check(endpoint)
        except Misconfigured as wrong:
            self.fail(endpoint, str(wrong))
            raise Inconsistent(str(wrong)) from wrong

    async def vetted(self, check: Check) -> Endpoint:
        """Return the best endpoint, ``vet``ted."""
        endpoint = self.best()
        await self.vet(endpoint, check)
        return endpoint

    def leave(self, reason: str) -> bool:
        """Take the endpoint to use now out of use for a while, where another one is in use: it answers, to no avail."""
        endpoint = self._pool.best()
        if not endpoint.up or not self._pool.others_up(endpoint):
            return False
        self._pool.fail(endpoint, reason)
        return True

    # -- calls -----------------------------------------------------------------------------------

    @overload
    async def call(
        self, method: str, params: Params = (), *, result: type[T], on: Endpoint | None = None, path: str = ""
    ) -> T: ...
    @overload
    async def call(
        self, method: str, params: Params = (), *, result: Any = Any, on: Endpoint | None = None, path: str = ""
    ) -> Any: ...
    async def call(
        self, method: str, params: Params = (), *, result: Any = Any, on: Endpoint | None = None, path: str = ""
    ) -> Any:
        """Call one JSON-RPC method and return its result as ``result``.

        ``on`` None: the best endpoint, others after it, inside the deadline; else that endpoint alone.
        Raises ``RpcError`` (the node's own error object), ``Inconsistent`` (an answer of another shape),
        ``Unreachable`` or another ``Transient`` (nobody answered), ``HttpRefused`` (every node refused).
        """

        async def attempt(endpoint: Endpoint) -> Any:
            number = next(self._ids)
            request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            status, body = await self._send(endpoint, "POST", path, request)
            return read_answer(self._who(endpoint), status, body, number, result)

        return await self._insist(method, attempt, on)

    @overload
    async def batch(
        self, calls: Sequence[tuple[str, Params]], *, result: type[T], on: Endpoint | None = None
    ) -> list[T | RpcError]: ...
    @overload
    async def batch(
        self, calls: Sequence[tuple[str, Params]], *, result: Any = Any, on: Endpoint | None = None
    ) -> list[Any]: ...
    async def batch(
        self, calls: Sequence[tuple[str, Params]], *, result: Any = Any, on: Endpoint | None = None
    ) -> list[Any]:
        """Call many methods; answers come in the order of ``calls``, a failed one as an ``RpcError`` value.

        One HTTP request for at most ``limits.batch`` calls; with ``limits.batch`` 1 plain calls side by side.
        """
        size = self.limits.batch
        if size == 1:
            return await side_by_side([self._one(call, result, on) for call in calls])
        parts = [calls[i : i + size] for i in range(0, len(calls), size)]
        answers = await side_by_side([self._batch(part, result, on) for part in parts])
        return [a for part in answers for a in part]

    @overload
    async def get(self, path: str, *, on: Endpoint | None = None, result: None = None) -> bytes: ...
    @overload
    async def get(self, path: str, *, on: Endpoint | None = None, result: type[T]) -> T: ...
    @overload
    async def get(self, path: str, *, on: Endpoint | None = None, result: Any) -> Any: ...
    async def get(self, path: str, *, on: Endpoint | None = None, result: Any = None) -> Any:
        """GET a path; raw bytes when ``result`` is None, else the JSON body as ``result``.

        A 4xx is the node's answer (``HttpRefused`` with its ``status``: 404 is "no such block").
        """

        async def attempt(endpoint: Endpoint) -> Any:
            status, body = await self._send(endpoint, "GET", path, None)
            check_status(self._who(endpoint), status)
            return body if result is None else decode(self._who(endpoint), body, result)

        return await self._insist(f"GET {label(path)}", attempt, on)

    @overload
    async def post(self, path: str, body: Any, *, on: Endpoint | None = None, result: type[T]) -> T: ...
    @overload
    async def post(self, path: str, body: Any, *, on: Endpoint | None = None, result: Any = Any) -> Any: ...
    async def post(self, path: str, body: Any, *, on: Endpoint | None = None, result: Any = Any) -> Any:
        """POST a JSON body to a path; the JSON answer as ``result`` (None: raw bytes)."""

        async def attempt(endpoint: Endpoint) -> Any:
            status, answer = await self._send(endpoint, "POST", path, body)
            check_status(self._who(endpoint), status)
            return answer if result is None else decode(self._who(endpoint), answer, result)

        return await self._insist(f"POST {label(path)}", attempt, on)

    async def _one(self, call: tuple[str, Params], result: Any, on: Endpoint | None) -> Any:
        try:
            return await self.call(*call, result=result, on=on)
        except RpcError as error:
            return error

    async def _batch(self, calls: Sequence[tuple[str, Params]], result: Any, on: Endpoint | None) -> list[Any]:
        async def attempt(endpoint: Endpoint) -> list[Any]:
            numbers = [next(self._ids) for _ in calls]
            request = [
                {"jsonrpc": "2.0", "id": n, "method": m, "params": p} for n, (m, p) in zip(numbers, calls, strict=True)
            ]
            status, body = await self._send(endpoint, "POST", "", request)
            return read_batch(self._who(endpoint), status, body, numbers, result)

        methods = {m for m, _ in calls}
        return cast(list[Any], await self._insist(methods.pop() if len(methods) == 1 else "batch", attempt, on))

    # -- insisting -------------------------------------------------------------------------------

    async def _insist(self, method: str, attempt: Callable[[Endpoint], Awaitable[Any]], on: Endpoint | None) -> Any:
        """Try until it is answered, refused by all, or the deadline is here."""
        clock = self._services.clock
        deadline = clock.monotonic() + self.limits.deadline_s
        tried: dict[Endpoint, ChainwatchError] = {}

        async def once() -> Any:
            endpoint = on or self._pool.best(tried)
            try:
                return await self._observed(method, endpoint, attempt, deadline)
            except ChainwatchError as error:
                tried[endpoint] = error
                raise

        def again(error: BaseException) -> bool:
            if isinstance(error, RpcError) or not isinstance(error, Transient | HttpRefused):
                return False
            if on is not None:  # another node in use is the better answer to a node that went down
                return _passing(error) and (on.up or not self._pool.others_up(on))
            return any(e not in tried or _passing(tried[e]) for e in self.endpoints)

        def wait(state: tenacity.RetryCallState) -> float:
            endpoint = on or self._pool.best(tried)
            if endpoint not in tried:
                return 0.0  # somebody else: no reason to wait
            jitter = self._services.random.uniform(0, min(BACKOFF_MAX_S, BACKOFF_S * 2**state.attempt_number))
            return max(jitter, endpoint.busy_until - clock.monotonic())

        def stop(state: tenacity.RetryCallState) -> bool:
            return clock.monotonic() + state.upcoming_sleep >= deadline

        self._start_probes()
        retrying = tenacity.AsyncRetrying(
            sleep=clock.sleep, retry=tenacity.retry_if_exception(again), wait=wait, stop=stop, reraise=True
        )
        try:
            return await retrying(once)
        except HttpRefused as refusal:
            # While another node may answer, or is only slow, nothing is hopeless.
            for error in tried.values():
                if isinstance(error, Transient):
                    raise error from None
            if on is not None and not on.up and self._pool.others_up(on):
                raise Unreachable(str(refusal)) from refusal
            raise

    async def _observed(
        self, method: str, endpoint: Endpoint, attempt: Callable[[Endpoint], Awaitable[Any]], deadline: float
    ) -> Any:
        """Make one attempt in one of the endpoint's slots; tell health and observer how it went."""
        clock = self._services.clock
        try:
            async with asyncio.timeout(max(deadline - clock.monotonic(), 0)):
                await endpoint.slots.acquire()
        except TimeoutError:
            # Our own queue was too long: nothing is known about the node.
            raise Unreachable(f"{self.chain}: no free slot at {endpoint.name} before the deadline") from None
        started, outcome = clock.monotonic(), "ok"
        try:
            async with asyncio.timeout(min(self.limits.attempt_s, max(deadline - started, 0))):
                answer = await attempt(endpoint)
        except TimeoutError:
            outcome = "timeout"
            failure = Unreachable(f"{self._who(endpoint)} did not answer {method} in time")
            self._pool.bad(endpoint, "no answer in time")
        except ChainwatchError as error:
            outcome = getattr(error, "outcome", "persistent" if isinstance(error, Persistent) else "transient")
            self._judge(endpoint, method, error)
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        else:
            self._pool.good(endpoint)
            return answer
        finally:
            endpoint.slots.release()
            if outcome != "cancelled":
                seconds = clock.monotonic() - started
                self._services.observer.rpc(self.chain, endpoint.name, method, outcome, seconds)
        raise failure

    def _judge(self, endpoint: Endpoint, method: str, error: ChainwatchError) -> None:
        """What a failed attempt says of the endpoint's health."""
        if isinstance(error, RpcError):
            self._pool.good(endpoint)  # the node is well and says no
        elif isinstance(error, HttpRefused) and method.startswith("GET ") and error.status not in (401, 403):
            self._pool.good(endpoint)  # so does a REST server: no such block
        elif isinstance(error, HttpRefused):
            self._pool.fail(endpoint, f"HTTP {error.status}: check its URL and credentials")
        else:
            self._pool.bad(endpoint, str(error))

    def _start_probes(self) -> None:
        if self._session is None:
            return
        for endpoint in self._pool.due():
            task = asyncio.create_task(self._ask_alive(endpoint))
            self._probes.add(task)
            task.add_done_callback(self._probes.discard)

    async def _ask_alive(self, endpoint: Endpoint) -> None:
        async def attempt(endpoint: Endpoint) -> None:
            if self._probe.startswith("/"):
                status, _ = await self._send(endpoint, "GET", self._probe, None)
                check_status(self._who(endpoint), status)
            else:
                number = next(self._ids)
                request = {"jsonrpc": "2.0", "id": number, "method": self._probe, "params": []}
                status, body = await self._send(endpoint, "POST", "", request)
                read_answer(self._who(endpoint), status, body, number, Any)

        try:
            deadline = self._services.clock.monotonic() + self.limits.attempt_s
            await self._observed("probe", endpoint, attempt, deadline)
        except ChainwatchError:
            pass  # its health was noted

    def _who(self, endpoint: Endpoint) -> str:
        return f"{self.chain}: {endpoint.name}"

    # -- one request -----------------------------------------------------------------------------

    async def _send(self, endpoint: Endpoint, verb: str, path: str, body: Any) -> tuple[int, bytes]:
        """Send one request; return status and body.  Throttling and server errors without a body are raised."""
        if self._session is None:
            raise RuntimeError("Rpc.open was not called")
        headers = {"Accept": "application/json"} if body is None else {"Content-Type": "application/json"}
        data = None if body is None else msgspec.json.encode(body)
        try:
            async with self._session.request(
                verb,
                endpoint.url(path),
                data=data,
                headers=headers | endpoint.headers,
                middlewares=endpoint.middlewares,
                allow_redirects=False,  # credentials and questions are for the configured host alone
            ) as response:
                if response.status == 429:
                    self._throttled(endpoint, response.headers.get("Retry-After", ""))
                return response.status, await self._read_capped(endpoint, response)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error, TimeoutError):
                raise
            reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            failure = Unreachable(f"{self._who(endpoint)}: {reason}")
        # Not chained, not even as context: aiohttp writes whole URLs, API keys included, into its errors.
        raise failure

    def _throttled(self, endpoint: Endpoint, retry_after: str) -> None:
        seconds = _retry_after(retry_after, self._services.clock.now_ms())
        endpoint.busy_until = self._services.clock.monotonic() + seconds
        raise Throttled(f"{self._who(endpoint)} answers 429, too many requests", seconds)

    async def _read_capped(self, endpoint: Endpoint, response: aiohttp.ClientResponse) -> bytes:
        limit = self.limits.max_body
        parts, size = [], response.content_length or 0
        if size <= limit:
            size = 0
            async for part in response.content.iter_chunked(CHUNK):
                size += len(part)
                if size > limit:
                    break
                parts.append(part)
        if size > limit:
            response.close()
            raise _TooLarge(f"{self._who(endpoint)} answers more than {limit} bytes")
        return b"".join(parts)


class _TooLarge(Transient):
    outcome = "too_large"


def _passing(error: ChainwatchError) -> bool:
    """May the same node answer the same question next time?"""
    return isinstance(error, Transient) and not isinstance(error, Inconsistent | _TooLarge)


def _retry_after(value: str, now_ms: int) -> float:
    """Read a Retry-After header (RFC 9110 §10.2.3): seconds or a date; 0 when it says nothing usable."""
    if value.isascii() and value.isdigit():
        return float(value[:6])
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return 0.0
    return max(moment.timestamp() - now_ms / 1000, 0.0)


def label(path: str) -> str:
    """Return a path as a metric label: hashes, heights and addresses become ``*``, so that labels stay few."""
    words = path.partition("?")[0].split("/")
    return "/".join(w if re.fullmatch(r"[a-z][a-z_.-]{0,30}|", w) else "*" for w in words)


async def side_by_side(calls: Sequence[Awaitable[T]]) -> list[T]:
    """Await calls at once (the endpoint's slots bound them); the first failure ends the others."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
