"""Following a chain of the Bitcoin family, whoever tells of it: the part that bitcoind and Esplora share.

A ``Backend`` asks one kind of server; the source and its views check what it says: genesis at start and
whenever an endpoint comes back, each block's id, its link to the one before, its merkle root.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Protocol, TypeVar

import msgspec

from chainwatch.adapters.base import Balances, Services
from chainwatch.adapters.coins import Watched
from chainwatch.adapters.derivation import deriver
from chainwatch.adapters.derivation import parse as parse_key
from chainwatch.adapters.logins import login
from chainwatch.adapters.quorum import Quorum, QuorumOption
from chainwatch.adapters.rawblock import Format, read_tx
from chainwatch.adapters.rpc import Endpoint, Limits, Rpc, side_by_side
from chainwatch.errors import ChainwatchError, Inconsistent, Misconfigured, Persistent, Rejected, Transient, Unreachable
from chainwatch.model import Block, BlockRef, ChainSpec, InBlock, NodeFacts, Transfer

T = TypeVar("T")

SPAN = 8
"""Blocks of one ``blocks`` call: eight of 4 MB, twice that as hex, are what we want to hold in memory at once."""
MOST_SECONDS = 300.0
"""Longest ``timeout``: a chain whose node is silent for five minutes needs its alarm."""
LAG_BLOCKS, LAG_S = 3, 600.0
"""An endpoint this many blocks below another's head of the last ten minutes lags: honest reorgs are shorter."""


class Options(msgspec.Struct, forbid_unknown_fields=True):
    """The operator's keys that bitcoind and Esplora share."""

    quorum: QuorumOption | None = None
    """A payment above so many coins needs its block on so many nodes."""
    xpub: str | None = None
    """Account key or descriptor of the addresses that purchases get (``chainwatch.adapters.derivation``)."""
    p2pkh: int | None = None
    p2sh: list[int] | None = None
    hrp: str | None = None
    """Address prefixes of a network that ``networks.toml`` does not know."""
    login_file: str | None = None
    """File with ``user:password`` for endpoints that do not carry their own (bitcoind's ``.cookie`` is one)."""
    seen_fee_rate: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Base units a thousand virtual bytes from which a payment that is only seen keeps its seat for longer."""
    timeout: float = 30.0
    """Seconds that one call may take, with all its retries."""


OptionsT = TypeVar("OptionsT", bound=Options)


class HeaderFacts(msgspec.Struct, frozen=True):
    """A header as a server tells it.  ``chainlock``: Dash, final by the vote of a masternode quorum (DIP-8)."""

    hash: str
    height: int
    time: int
    previousblockhash: str | None = None
    chainlock: bool = False

    @property
    def ref(self) -> BlockRef:
        """The block as a value (the genesis block's parent is empty)."""
        return BlockRef(self.height, self.hash, self.previousblockhash or "")


class About(msgspec.Struct, frozen=True):
    """What a server says of itself."""

    version: str
    network: str
    warnings: tuple[str, ...] = ()


class Backend(Protocol):
    """One kind of server.  Every method asks exactly the endpoint it is given."""

    async def about(self, endpoint: Endpoint, /) -> About:
        """Version, network's name, warnings."""
        ...

    async def tip(self, endpoint: Endpoint, /) -> str:
        """Hash of the best block."""
        ...

    async def hash_at(self, endpoint: Endpoint, height: int, /) -> str:
        """Hash of the best chain's block; ``Transient`` above the head."""
        ...

    async def header(self, endpoint: Endpoint, block_hash: str, /) -> HeaderFacts:
        """The header with its height."""
        ...

    async def raw_block(self, endpoint: Endpoint, block_hash: str, /) -> bytes:
        """The block as it is on the wire."""
        ...

    async def final(self, endpoint: Endpoint, head: HeaderFacts, /) -> BlockRef | None:
        """The block that the chain itself calls final, at or below ``head``."""
        ...

    async def mempool(self, endpoint: Endpoint, /) -> list[Transfer] | None:
        """Every unconfirmed payment to us, None when that cannot be told now."""
        ...

    async def raw_transaction(self, endpoint: Endpoint, txid: str, block_hash: str, /) -> bytes | None:
        """A transaction of that block as it is on the wire, None where the server cannot show it."""
        ...

    async def balance(self, endpoint: Endpoint, addresses: Sequence[str], /) -> tuple[int, int]:
        """What addresses hold in blocks: (height, amount)."""
        ...


def format_of(spec: ChainSpec) -> Format:
    """Return how the chain serialises, from its section's ``format``."""
    try:
        return msgspec.convert(spec.params.get("format", {}), Format)
    except msgspec.ValidationError as error:
        raise Misconfigured(f"chain {spec.code}: format: {error}") from error


def options_of(spec: ChainSpec, kind: type[OptionsT]) -> OptionsT:
    """Read the operator's keys; ``Misconfigured`` names one that is unknown or wrong, or a key that could spend."""
    try:
        options = msgspec.convert(dict(spec.options), kind)
    except msgspec.ValidationError as error:
        raise Misconfigured(f"chain {spec.code}: {error}") from error
    if not 0 < options.timeout <= MOST_SECONDS:
        raise Misconfigured(f"chain {spec.code}: timeout must be positive and at most {MOST_SECONDS:g} seconds")
    if options.xpub is not None:
        parse_key(options.xpub)
    return options


def rpc_of(spec: ChainSpec, services: Services, options: Options, *, probe: str) -> Rpc:
    """Build the client of a chain's endpoints."""
    limits = Limits(deadline_s=options.timeout, attempt_s=min(Limits().attempt_s, options.timeout))
    return Rpc(spec.code, spec.endpoints, services, limits=limits, login=login(spec, "login_file"), probe=probe)


class UtxoView:
    """What one endpoint says at one moment."""

    def __init__(self, source: "UtxoSource", on: Endpoint, head: BlockRef, final: BlockRef | None) -> None:
        self.endpoint, self.head, self.final = on.name, head, final
        self._source, self._on = source, on

    async def header(self, height: int) -> BlockRef:
        """Return the block at ``height`` on this endpoint's present chain."""
        backend = self._source.backend
        facts = await backend.header(self._on, await backend.hash_at(self._on, height))
        if facts.height != height:
            raise Inconsistent(f"{self._who}: asked for block {height}, told of {facts.height}")
        return facts.ref

    async def blocks(self, first: int, last: int) -> Sequence[Block]:
        """Return blocks ``first..last``, every one whole, linked and checked, or raise ``Transient``."""
        if last > self.head.height:
            raise Transient(f"{self._who}: block {last} is above its head {self.head.height}")
        heights = range(first, last + 1)
        backend, on = self._source.backend, self._on
        hashes = await side_by_side([backend.hash_at(on, height) for height in heights])
        bodies = await side_by_side([backend.raw_block(on, block_hash) for block_hash in hashes])
        blocks: list[Block] = []
        for height, block_hash, body in zip(heights, hashes, bodies, strict=True):
            block = self._read(height, block_hash, body)
            if blocks and block.ref.parent != blocks[-1].ref.hash:
                raise Inconsistent(f"{self._who}: block {height} does not follow block {height - 1}")
            blocks.append(block)
            await asyncio.sleep(0)  # a full block takes milliseconds: let the others have their turn
        for block in blocks:
            await self._confirm_large(block)
        return blocks

    async def mempool(self) -> Sequence[Transfer] | None:
        """Return unconfirmed payments; None unless the tip is ``head`` before and after they were read."""
        backend = self._source.backend
        if await backend.tip(self._on) != self.head.hash:
            return None
        found = await backend.mempool(self._on)
        if found is None or await backend.tip(self._on) != self.head.hash:
            return None
        return found

    async def _confirm_large(self, block: Block) -> None:
        """Let other endpoints confirm the block of large payments: its hash proves what is in it.

        Not where we cannot compute the hash: there the others must show the payments too.
        """
        source = self._source
        large = source.quorum.large(block.transfers) if source.quorum is not None else []
        if source.quorum is None or not large:
            return

        async def agrees(endpoint: Endpoint) -> bool:
            height, block_hash = block.ref.height, block.ref.hash
            if await source.backend.hash_at(endpoint, height) != block_hash:
                return False
            if source.form.sha256d_id:
                return True
            same = self._read(height, block_hash, await source.backend.raw_block(endpoint, block_hash))
            return set(large) <= set(same.transfers)

        what = f"{self._who}: block {block.ref.height}"
        await source.quorum.confirm(self._on, agrees, what)

    @property
    def _who(self) -> str:
        return f"{self._source.spec.code}: {self.endpoint}"

    def _read(self, height: int, block_hash: str, body: bytes) -> Block:
        source = self._source
        try:
            raw = source.watched.scan(body, source.form)
        except Rejected as error:
            raise Inconsistent(f"{self._who}: block {height}: {error}") from error
        if source.form.sha256d_id and raw.header.id != block_hash:
            raise Inconsistent(f"{self._who}: asked for block {block_hash}, got {raw.header.id}")
        parent = "" if height == 0 else raw.header.parent
        ref, time_ms = BlockRef(height, block_hash, parent), raw.header.time * 1000
        position = InBlock(ref, time_ms)
        return Block(ref, time_ms, tuple(t for tx in raw.txs for t in source.watched.payments(tx, position)))


class UtxoSource:
    """A ``BlockSource`` over any backend."""

    span = SPAN

    def __init__(
        self, spec: ChainSpec, services: Services, options: Options, rpc: Rpc, backend: Backend, watched: Watched
    ) -> None:
        self.spec, self.services, self.options = spec, services, options
        self.rpc, self.backend, self.watched = rpc, backend, watched
        self.form = format_of(spec)
        self.quorum = Quorum.of(spec, options.quorum, rpc.endpoints, lambda e: rpc.vet(e, self.check_genesis))
        self._seen: tuple[int, float] = (0, float("-inf"))
        self._derive = deriver(spec)
        self.own_addresses = self._derive is not None

    async def open(self) -> Sequence[NodeFacts]:
        """Ask every endpoint what it is; see ``BlockSource.open``."""
        await self.rpc.open()
        answers = await asyncio.gather(*(self._introduce(e) for e in self.rpc.endpoints), return_exceptions=True)
        facts = [a for a in answers if isinstance(a, NodeFacts)]
        errors = [a for a in answers if isinstance(a, BaseException)]
        for error in errors:
            if isinstance(error, Misconfigured) or not isinstance(error, ChainwatchError):
                raise error
        if facts:
            return facts
        if all(isinstance(error, Persistent) for error in errors):
            raise errors[0]
        raise Unreachable(f"{self.spec.code}: no node answers: {'; '.join(map(str, errors))}") from errors[0]

    async def addresses(self, first: int, count: int) -> Sequence[str]:
        """Return receiving addresses ``first…`` of the xpub; ``Misconfigured`` without one."""
        if self._derive is None:
            raise Misconfigured(f"[chains.{self.spec.code}] has no xpub to derive addresses from")
        return [self._derive(index) for index in range(first, first + count)]

    def watch(self, addresses: Iterable[str]) -> None:
        """Add addresses; a payment to one that already waits in the mempool is reported when it is mined."""
        self.watched.add(addresses)

    def hold(self, coins: Mapping[str, int]) -> None:
        """Watch outputs of ours (``txid:vout`` to amount): what spends them left us (``CoinSource``)."""
        self.watched.hold(coins)

    async def raw_transactions(self, places: Mapping[str, str]) -> Mapping[str, bytes]:
        """Return transactions by id; ``places`` names each one's block (``RawSource``)."""
        endpoint = await self.rpc.vetted(self.check_genesis)
        found: dict[str, bytes] = {}
        for txid, block_hash in places.items():
            raw = await self.backend.raw_transaction(endpoint, txid, block_hash)
            if raw is None:
                continue
            try:
                told = read_tx(raw, self.form).txid
            except Rejected as error:
                raise Inconsistent(f"{self.spec.code}: {endpoint.name}: transaction {txid}: {error}") from error
            if told != txid:
                raise Inconsistent(f"{self.spec.code}: {endpoint.name} answers {told} when asked for {txid}")
            found[txid] = raw
        return found

    async def balances(self, height: int) -> Balances:  # noqa: ARG002 (a set of unspent outputs has no past)
        """Return what our addresses hold at the head (``BalanceSource``)."""
        endpoint = await self.rpc.vetted(self.check_genesis)
        at, amount = await self.backend.balance(endpoint, list(self.watched.scripts.values()))
        return Balances(at, {self.spec.native.code: amount})

    async def view(self) -> UtxoView:
        """Return a fresh look through the best endpoint."""
        endpoint = await self.rpc.vetted(self.check_genesis)
        head = await self.backend.header(endpoint, await self.backend.tip(endpoint))
        self._check_lag(endpoint, head.height)
        return UtxoView(self, endpoint, head.ref, await self.backend.final(endpoint, head))

    def leave(self, reason: str) -> bool:
        """See ``BlockSource.leave``."""
        return self.rpc.leave(reason)

    async def wait(self, seconds: float) -> None:
        """Return after ``seconds``."""
        await self.services.clock.sleep(seconds)

    async def close(self) -> None:
        """Release sockets."""
        await self.rpc.close()

    async def _introduce(self, endpoint: Endpoint) -> NodeFacts:
        about = await self.backend.about(endpoint)
        genesis = await self.check_genesis(endpoint)
        head = await self.backend.header(endpoint, await self.backend.tip(endpoint))
        final = await self.backend.final(endpoint, head)
        warnings = about.warnings
        if self.quorum is not None:
            warnings += self.quorum.warnings()
        return NodeFacts(endpoint.name, about.version, about.network, head.ref, final, warnings, genesis)

    async def check_genesis(self, endpoint: Endpoint) -> str:
        """Let the endpoint prove that it is of our network; ``Misconfigured`` when it is not."""
        genesis = await self.backend.hash_at(endpoint, 0)
        if genesis != self.spec.chain_id:
            raise Misconfigured(
                f"chain {self.spec.code}: the node {endpoint.name} is of another network: its genesis block is "
                f"{genesis}, chain_id says {self.spec.chain_id}"
            )
        endpoint.checked = True
        return genesis

    def _check_lag(self, endpoint: Endpoint, height: int) -> None:
        """Take an endpoint out of use that is far behind what another one showed a moment ago."""
        best, when = self._seen
        now = self.services.clock.monotonic()
        if height >= best or now - when > LAG_S:
            self._seen = (height, now)
        elif height < best - LAG_BLOCKS and len(self.rpc.endpoints) > 1:
            self.rpc.fail(endpoint, f"its head {height} lags behind {best}")
            raise Transient(f"{self.spec.code}: {endpoint.name} lags: head {height}, another had {best}")


def block_hash_of(text: str, who: str) -> str:
    """Return a block's hash as a server told it; ``Inconsistent`` for anything else."""
    if not re.fullmatch(r"[0-9a-f]{64}", text, re.ASCII):
        raise Inconsistent(f"{who}: no block hash")
    return text
