"""The HTTP server: routes are added by one module a resource."""

from collections.abc import Callable, Sequence

from aiohttp import web

from chainwatch.api.middleware import around
from chainwatch.errors import Misconfigured

MAX_BODY = 64 * 1024
"""Largest request body: the longest legitimate one, a signed message with its signature, has a few kB."""

SHUTDOWN_S = 5.0
"""How long open requests may take to end when the daemon stops."""

Routes = Callable[[web.Application], None]


class Server:
    """Listens from ``start`` to ``stop``."""

    def __init__(
        self, host: str, port: int, routes: Sequence[Routes], *, request_s: Callable[[], int] = lambda: 30
    ) -> None:
        self.host, self.port = host, port
        self._routes = routes
        self._request_s = request_s
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Listen; ``Misconfigured`` when the address is taken.  Port 0 takes a free one."""
        app = web.Application(client_max_size=MAX_BODY, middlewares=[around(self._request_s)])
        for add in self._routes:
            add(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.host, self.port).start()
        except OSError as error:
            await self.stop()
            raise Misconfigured(f"[http] listen: {self.host}:{self.port}: {error.strerror}") from error
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Answer what is under way, then close."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
