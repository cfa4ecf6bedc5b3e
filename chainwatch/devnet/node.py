"""What every simulated node shares: an HTTP face on loopback, faults on request, JSON-RPC dispatch.

A chain's devnet file subclasses ``SimNode`` and fills ``methods`` with the real names and shapes of
that chain's RPC.  The chain itself is a ``FakeChain``; this is only how it looks from outside.
"""

import asyncio
import inspect
import random
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from chainwatch.clock import Clock
from chainwatch.model import ChainSpec
from chainwatch.testing.fakechain import FakeChain


class Faults(msgspec.Struct):
    """Misbehaviour, switched on by a test or the demo.  All off by default."""

    status: int | None = None
    """Answer every request with this HTTP status (429, 500, 503 …)."""
    error_rate: float = 0.0
    """Part of the requests that fail with status 503."""
    delay_s: float = 0.0
    half_body: bool = False
    """Send half of each answer."""
    hang: bool = False
    """Accept the request and never answer."""
    stale_by: int = 0
    """Show a chain that ends this many blocks below the head."""
    wrong_chain: bool = False
    """Claim to be another network."""
    omit: frozenset[str] = frozenset()
    """Chain-specific omissions; each node's file names them (``receipts``, ``logs`` …)."""


class Payment(msgspec.Struct, frozen=True):
    """A payment that a simulated buyer makes: amounts in base units."""

    to: str
    amount: int
    asset_id: str | None = None
    memo: str | None = None
    sender: str | None = None
    ok: bool = True
    kind: str = "transfer"


class RpcFault(Exception):
    """A JSON-RPC error object that the node answers."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


Method = Callable[..., Any]


class SimNode:
    """One simulated node.  Subclasses set ``methods`` and implement the four abstract calls."""

    final_only = False
    """Does the chain's adapter put a payment into a block only once that is final (until then it is a sighting)?"""

    def __init__(self, spec: ChainSpec, *, clock: Clock, rng: random.Random, chain: FakeChain) -> None:
        self.spec, self.clock, self.rng, self.chain = spec, clock, rng, chain
        self.faults = Faults()
        self.requests: dict[str, int] = {}
        self.url = ""
        self._runner: web.AppRunner | None = None
        self._hung = asyncio.Event()

    # -- for the chain's file --------------------------------------------------------------------

    def methods(self) -> Mapping[str, Method]:
        """Return RPC method name -> handler(*params) or handler(**params)."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """Return the ``[chains.<CODE>]`` section that makes chainwatch follow this node."""
        raise NotImplementedError

    def new_wallet(self) -> str:
        """Return a fresh, valid wallet of this chain."""
        raise NotImplementedError

    def pay(self, payment: Payment) -> str:
        """Put a payment into the mempool; return its transaction id."""
        raise NotImplementedError

    def routes(self, app: web.Application) -> None:
        """Add HTTP routes beside JSON-RPC (REST nodes)."""

    # -- the HTTP face ---------------------------------------------------------------------------

    async def start(self, port: int = 0) -> str:
        """Listen on 127.0.0.1; return the URL."""
        app = web.Application(middlewares=[self._misbehave], client_max_size=8 * 1024**2)
        app.router.add_post("/", self._rpc)
        self.routes(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self.url

    async def stop(self) -> None:
        """Stop listening and close the journal."""
        self._hung.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.chain.close()

    def visible_head(self) -> int:
        """Return the height of the head that this node shows (lower while it lags)."""
        return max(self.chain.head.ref.height - self.faults.stale_by, self.chain.first_height)

    @web.middleware
    async def _misbehave(self, request: web.Request, handler: Any) -> web.StreamResponse:
        faults = self.faults
        if faults.hang:
            await self._hung.wait()
        if faults.delay_s:
            await asyncio.sleep(faults.delay_s)
        if faults.status is not None:
            return web.Response(status=faults.status, text="simulated fault")
        if faults.error_rate and self.rng.random() < faults.error_rate:
            return web.Response(status=503, text="simulated fault")
        response: web.Response = await handler(request)
        if faults.half_body and isinstance(response.body, bytes):
            return web.Response(body=response.body[: len(response.body) // 2], content_type="application/json")
        return response

    async def _rpc(self, request: web.Request) -> web.Response:
        body = msgspec.json.decode(await request.read())
        answer = [await self._call(c) for c in body] if isinstance(body, list) else await self._call(body)
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    async def _call(self, call: dict[str, Any]) -> dict[str, Any]:
        method, params = call.get("method", ""), call.get("params", [])
        self.requests[method] = self.requests.get(method, 0) + 1
        envelope: dict[str, Any] = {"jsonrpc": "2.0", "id": call.get("id")}
        handler = self.methods().get(method)
        if handler is None:
            return {**envelope, "error": {"code": -32601, "message": f"method {method} not found"}}
        try:
            result = handler(**params) if isinstance(params, dict) else handler(*params)
            if inspect.isawaitable(result):
                result = await result
        except RpcFault as fault:
            return {**envelope, "error": {"code": fault.code, "message": fault.message, "data": fault.data}}
        except (TypeError, ValueError, KeyError) as error:
            return {**envelope, "error": {"code": -32602, "message": f"invalid params: {error}"}}
        return {**envelope, "result": result}
