"""The HTTP server: routes are added by one module a resource; it drains what runs when it stops.

aiohttp gives a connection whatever time it wants for its headers.  ``_sweep`` does not: it closes connections that
have no request for too long, whether they are idle or dribble.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from chainwatch.api.limits import Limits
from chainwatch.api.middleware import around, dress
from chainwatch.api.problems import Problem
from chainwatch.clock import Clock, SystemClock
from chainwatch.config.sections import Http
from chainwatch.errors import Misconfigured

log = logging.getLogger(__name__)

MAX_BODY = 64 * 1024
"""Largest request body: the longest legitimate one, a signed message with its signature, has a few kB."""

MAX_HEADERS, MAX_HEADER = 64, 8190
"""Headers of a request, and bytes of one: browsers behind proxies send thirty."""

SHUTDOWN_S = 5.0
"""How long open requests may take to end when the daemon stops."""

IDLE_S = 75.0
"""A connection without a request is closed after this; reverse proxies keep theirs for 60 s."""

HEADERS_S = 15.0
"""A connection that has never made a whole request is closed after this."""

SWEEP_S = 5.0

Routes = Callable[[web.Application], None]


class Connection(web.RequestHandler):
    """One connection.  What is no HTTP is refused with a problem document like everything else."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what never came to a handler; the connection is closed."""
        if status >= 500:  # a fault of ours: logged, and refused when an answer has begun
            super().handle_error(request, status, exc, message)
            problem = Problem("internal", "this should not have happened", status=status)
        else:  # anybody sends nonsense as often as he likes: that is no line in a log
            log.debug("no HTTP: %s", type(exc).__name__)
            problem = Problem("bad_request", "this is no HTTP request that is taken here", status=status)
        answer = problem.response()
        dress(answer)
        answer.force_close()
        return answer


class Server:
    """Listens from ``start`` to ``stop``.

    ``on_stop`` is called when it begins to stop, so that answers without an end can end themselves.
    """

    def __init__(
        self,
        host: str,
        port: int,
        routes: Sequence[Routes],
        *,
        http: Callable[[], Http] = Http,
        clock: Clock | None = None,
        limits: Limits | None = None,
        on_stop: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.host, self.port = host, port
        self._routes, self._http = routes, http
        self._limits = limits or Limits(clock or SystemClock(), http)
        self._on_stop = on_stop
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._busy: dict[Any, int] = {}
        """Connection to its running requests; one that is not here has never made a whole request."""
        self._since: dict[Any, float] = {}
        self._running = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.stopping = False

    @property
    def url(self) -> str:
        """Where it listens."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Listen; ``Misconfigured`` when the address is taken.  Port 0 takes a free one."""
        self.stopping = False
        app = web.Application(
            client_max_size=MAX_BODY,
            middlewares=[self._counted(), around(self._http, self._limits, lambda: self.stopping)],
        )
        for add in self._routes:
            add(app)
        self._runner = web.AppRunner(app, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(self._connection, self.host, self.port, backlog=1024)
        except OSError as error:
            await self.stop()
            raise Misconfigured(f"[http] listen: {self.host}:{self.port}: {error.strerror}") from error
        self.port = self._listener.sockets[0].getsockname()[1]
        self._sweeper = asyncio.create_task(self._sweep(), name="sweep connections")

    async def stop(self) -> None:
        """Refuse what comes, answer what is under way, then close."""
        self.stopping = True
        if self._on_stop is not None:
            await self._on_stop()
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
            self._sweeper = None
        if self._runner is not None:
            await self._drain()
            if self._listener is not None:
                self._listener.close()
                self._listener = None
            await self._runner.cleanup()
            self._runner = None

    def _connection(self) -> Connection:
        if self._runner is None or self._runner.server is None:
            raise RuntimeError("the server has not started")
        return Connection(
            self._runner.server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]
            keepalive_timeout=IDLE_S,
            max_headers=MAX_HEADERS,
            max_field_size=MAX_HEADER,
            auto_decompress=False,  # a small body must not become a large one
        )

    async def _drain(self) -> None:
        """Wait for running requests while new ones are refused by name; aiohttp itself would close the door at once."""
        try:
            async with asyncio.timeout(SHUTDOWN_S):
                await self._quiet.wait()
        except TimeoutError:
            log.warning("%d requests did not end in time", self._running)

    def _counted(self) -> Any:
        @web.middleware
        async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
            connection = request.protocol
            self._busy[connection] = self._busy.get(connection, 0) + 1
            self._running += 1
            self._quiet.clear()
            try:
                return await handler(request)
            finally:
                self._busy[connection] -= 1
                self._since[connection] = time.monotonic()
                self._running -= 1
                if not self._running:
                    self._quiet.set()

        return handle

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            if self._runner is not None and self._runner.server is not None:
                self._close_idle(self._runner.server.connections)

    def _close_idle(self, connections: Sequence[Any]) -> None:
        now = time.monotonic()
        closed = 0
        for gone in (self._busy.keys() | self._since.keys()) - set(connections):
            self._busy.pop(gone, None)
            self._since.pop(gone, None)
        for connection in connections:
            if self._busy.get(connection):
                continue
            asked = connection in self._busy
            if now - self._since.setdefault(connection, now) > (IDLE_S if asked else HEADERS_S):
                connection.force_close()
                closed += 1
        if closed:
            log.debug("%d idle connections were closed", closed)
