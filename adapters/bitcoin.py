"""bitcoind and its relatives by JSON-RPC: BTC, and as data in ``config/networks.toml`` DASH, LTC, DOGE.

Blocks come raw (``getblock`` 0) and are scanned for our scripts; the mempool is read by difference.
Source: Bitcoin Core's RPC of 0.16 and later (Dogecoin 1.14 with a boolean for the verbosity).
"""

import asyncio
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from chainwatch.adapters.base import Services
from chainwatch.adapters.coins import Watched, watched_of
from chainwatch.adapters.fees import seen_fee_rate
from chainwatch.adapters.mempool import Mempool
from chainwatch.adapters.rpc import Endpoint, Rpc, RpcError
from chainwatch.adapters.utxo import (
    About,
    HeaderFacts,
    Options,
    UtxoSource,
    block_hash_of,
    format_of,
    options_of,
    rpc_of,
)
from chainwatch.errors import Inconsistent, Misconfigured, Persistent, Transient
from chainwatch.model import BlockRef, ChainSpec, Transfer

T = TypeVar("T")

MISC_ERROR, IN_WARMUP, METHOD_NOT_FOUND = -1, -28, -32601
"""Error codes of Bitcoin Core's ``rpc/protocol.h``."""


class BitcoindOptions(Options):
    """The operator's keys of a chain that is read from full nodes."""

    zmq: str | None = None
    """Where a node publishes ``hashblock`` (``-zmqpubhashblock``): tcp:// or ipc://."""


class _ChainInfo(msgspec.Struct):
    chain: str
    pruned: bool = False
    pruneheight: int | None = None
    initialblockdownload: bool = False
    warnings: str | list[str] = ""


class _NetworkInfo(msgspec.Struct):
    subversion: str = ""
    version: int | str = 0


class _Unspent(msgspec.Struct):
    success: bool
    height: int
    total_amount: Decimal


class _ChainLock(msgspec.Struct):
    blockhash: str
    height: int


class Bitcoind:
    """The backend that asks a full node."""

    def __init__(self, spec: ChainSpec, services: Services, rpc: Rpc, watched: Watched, fee_rate: int) -> None:
        self._spec, self._rpc = spec, rpc
        self._mempool = Mempool(spec, services, rpc, watched, format_of(spec), fee_rate)
        self._raw = spec.params.get("raw_verbosity", 0)
        self._chainlocks = bool(spec.params.get("chainlocks", False))

    async def about(self, endpoint: Endpoint) -> About:
        """Read ``getblockchaininfo`` and ``getnetworkinfo``."""
        chain = await self._call(endpoint, "getblockchaininfo", result=_ChainInfo)
        network = await self._call(endpoint, "getnetworkinfo", result=_NetworkInfo)
        warnings = [chain.warnings] if isinstance(chain.warnings, str) else chain.warnings
        if chain.pruned:
            warnings = [*warnings, f"pruned: blocks below {chain.pruneheight or 0} are gone"]
        if chain.initialblockdownload:
            warnings = [*warnings, "still downloading the chain"]
        version = network.subversion.strip("/") or str(network.version)
        return About(version, chain.chain, tuple(w for w in warnings if w))

    async def tip(self, endpoint: Endpoint) -> str:
        """Read ``getbestblockhash``."""
        return block_hash_of(await self._call(endpoint, "getbestblockhash", result=str), endpoint.name)

    async def hash_at(self, endpoint: Endpoint, height: int) -> str:
        """Read ``getblockhash``; above the head the node's error -8 is ``Transient``."""
        return block_hash_of(await self._call(endpoint, "getblockhash", [height], result=str), endpoint.name)

    async def header(self, endpoint: Endpoint, block_hash: str) -> HeaderFacts:
        """Read ``getblockheader``."""
        facts = await self._call(endpoint, "getblockheader", [block_hash, True], result=HeaderFacts)
        if facts.hash != block_hash:
            raise Inconsistent(f"{self._spec.code}: {endpoint.name}: asked for block {block_hash}, told of another")
        return facts

    async def raw_block(self, endpoint: Endpoint, block_hash: str) -> bytes:
        """Read ``getblock`` 0; a pruned node is told apart."""
        try:
            text = await self._call(endpoint, "getblock", [block_hash, self._raw], result=str)
            return bytes.fromhex(text)
        except RpcError as error:
            if error.code == MISC_ERROR and "pruned" in error.message:
                raise self._pruned(endpoint, block_hash) from error
            raise
        except ValueError as error:
            raise Inconsistent(f"{self._spec.code}: {endpoint.name}: a block is not hex") from error

    def _pruned(self, endpoint: Endpoint, block_hash: str) -> Transient | Persistent:
        """Another endpoint may still have the block; without one nobody but the operator can help."""
        message = (
            f"{self._spec.code}: the node {endpoint.name} is pruned and no longer has block {block_hash}, which is not "
            "read yet. Nothing is skipped: let a node with that block be an endpoint, or raise its -prune and reindex"
        )
        if len(self._rpc.endpoints) > 1:
            self._rpc.fail(endpoint, "pruned past the block we need")
            return Transient(message)
        return Persistent(message)

    async def final(self, endpoint: Endpoint, head: HeaderFacts) -> BlockRef | None:
        """Return the newest block under a ChainLock (Dash, DIP-8), None on other chains."""
        if not self._chainlocks:
            return None
        if head.chainlock:
            return head.ref
        try:
            lock = await self._call(endpoint, "getbestchainlock", result=_ChainLock)
        except RpcError as error:
            if error.code == METHOD_NOT_FOUND or "chainlock" in error.message.lower():
                return None  # none was made yet
            raise
        if lock.height > head.height:
            return None  # the lock of a block that this node's head has not reached
        block = await self.header(endpoint, await self.hash_at(endpoint, lock.height))
        if block.hash != lock.blockhash:
            raise Inconsistent(f"{self._spec.code}: {endpoint.name}: its chain is not the one under ChainLock")
        return block.ref

    async def mempool(self, endpoint: Endpoint) -> list[Transfer] | None:
        """Read the mempool by difference."""
        return await self._mempool.snapshot(endpoint)

    async def raw_transaction(self, endpoint: Endpoint, txid: str, block_hash: str) -> bytes | None:
        """Read ``getrawtransaction`` in its block, which needs no index; older nodes know no block and may lack it."""
        for params in ([txid, 0, block_hash], [txid, 0]):
            try:
                return bytes.fromhex(await self._call(endpoint, "getrawtransaction", params, result=str))
            except RpcError:
                continue
            except ValueError as error:
                raise Inconsistent(f"{self._spec.code}: {endpoint.name}: a transaction is not hex") from error
        return None

    async def balance(self, endpoint: Endpoint, addresses: Sequence[str]) -> tuple[int, int]:
        """Read ``scantxoutset``: the whole set of unspent outputs, a minute or two on a large chain."""
        wanted = [f"addr({a})" for a in addresses]
        answer = await self._call(endpoint, "scantxoutset", ["start", wanted], result=_Unspent)
        unit = Decimal(10) ** self._spec.native.decimals
        amount = answer.total_amount * unit
        if not answer.success or amount != int(amount):
            raise Inconsistent(f"{self._spec.code}: {endpoint.name}: no balance: {answer.total_amount}")
        return answer.height, int(amount)

    async def _call(self, endpoint: Endpoint, method: str, params: Sequence[Any] = (), *, result: type[T]) -> T:
        try:
            return await self._rpc.call(method, params, result=result, on=endpoint)
        except RpcError as error:
            if error.code == IN_WARMUP:
                raise Transient(f"{self._spec.code}: {endpoint.name} is starting: {error.message}") from error
            raise


class BitcoinSource(UtxoSource):
    """A ``UtxoSource`` that a node's ZMQ announcements of blocks wake up."""

    def __init__(
        self, spec: ChainSpec, services: Services, options: BitcoindOptions, rpc: Rpc, watched: Watched
    ) -> None:
        backend = Bitcoind(spec, services, rpc, watched, seen_fee_rate(spec, options.seen_fee_rate))
        super().__init__(spec, services, options, rpc, backend, watched)
        self._bell = _bell(spec, options.zmq)

    async def wait(self, seconds: float) -> None:
        """Return after ``seconds``, or when a node announces a block: only a hint, the loop asks for itself."""
        if self._bell is None:
            return await super().wait(seconds)
        sleep = asyncio.ensure_future(self.services.clock.sleep(seconds))
        ring = asyncio.ensure_future(self._bell.ring())
        try:
            await asyncio.wait({sleep, ring}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sleep, ring):
                task.cancel()
            await asyncio.gather(sleep, ring, return_exceptions=True)

    async def close(self) -> None:
        """Release sockets."""
        if self._bell is not None:
            self._bell.close()
        await super().close()


class Bell:
    """Rings when a node publishes ``hashblock`` by ZMQ (``-zmqpubhashblock``)."""

    def __init__(self, address: str) -> None:
        import zmq.asyncio

        self._address, self._zmq = address, zmq
        self._context = zmq.asyncio.Context()
        self._socket: Any = None

    async def ring(self) -> None:
        """Return at the next announcement; those that wait already count as one."""
        if self._socket is None:
            self._socket = self._context.socket(self._zmq.SUB)
            self._socket.setsockopt(self._zmq.SUBSCRIBE, b"hashblock")
            self._socket.setsockopt(self._zmq.RCVHWM, 100)  # announcements are hints: losing some is harmless
            self._socket.connect(self._address)
        await self._socket.recv_multipart()
        while await self._socket.poll(0):
            await self._socket.recv_multipart()

    def close(self) -> None:
        """Release the socket."""
        if self._socket is not None:
            self._socket.close(linger=0)
            self._socket = None
        self._context.term()


def _bell(spec: ChainSpec, address: str | None) -> Bell | None:
    if address is None:
        return None
    if not address.startswith(("tcp://", "ipc://")):
        raise Misconfigured(f"chain {spec.code}: zmq must be a tcp:// or ipc:// address")
    try:
        return Bell(address)
    except ImportError as error:
        raise Misconfigured(f"chain {spec.code}: zmq needs the extra chainwatch[zmq]") from error


def open_source(spec: ChainSpec, services: Services) -> BitcoinSource:
    """Build the source of a chain that is read from full nodes."""
    options = options_of(spec, BitcoindOptions)
    rpc = rpc_of(spec, services, options, probe="uptime")
    return BitcoinSource(spec, services, options, rpc, watched_of(spec))


def decode(documents: Sequence[bytes], spec: ChainSpec) -> Iterator[Transfer]:
    """Read recorded chain data; see ``chainwatch.adapters.bitcoin_records``."""
    from chainwatch.adapters.bitcoin_records import decode as read

    return read(documents, spec)
