"""A small correct reader of a source, and the node that it reads: what the contract cases are made of."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol, TypeVar, cast

from chainwatch.adapters.base import AccountSource, BlockSource, BlockView
from chainwatch.devnet.node import Faults
from chainwatch.errors import Transient
from chainwatch.model import Block, BlockRef, ChainSpec, InBlock, Transfer, Unconfirmed

T = TypeVar("T")

PATIENCE_S = 60.0
"""How long a node may be Transient, or not show what it was told, before a replica gives up: a real one that restarts
is back well before, on a machine that stands still for a while too."""
PAUSE_S = 0.05


class Harness(Protocol):
    """A node that a test commands, and sources that read it."""

    spec: ChainSpec
    """Endpoints and ``receive`` filled in; ``receive[0]`` is where payments go by default."""
    can: frozenset[str]
    """What this chain and node can do:

    - ``memo``: a payment carries a memo · ``token``: ``spec.assets[1:]`` has an asset the node can move
    - ``outputs``: several payments in one transaction · ``fail``: a payment that fails on chain
    - ``reorg``: ``drop`` and ``move`` work · ``mempool``: a payment that is not mined can be seen
    - ``faults``: a simulated node with ``faults`` · ``restart``: ``restart`` works
    - ``stranger``: ``pay(to=wallet())`` works (the address is not ours)
    - ``send``: ``send`` works: the node has the keys of ``receive[0]``, as the operator's wallet would
    """
    faults: Faults | None
    """The simulated node's misbehaviour; None for a real node."""

    def source(self) -> BlockSource | AccountSource:
        """Return a new, unopened source with ``spec.receive`` watched."""
        ...

    def hurry(self) -> None:
        """With ``faults``: sources made from now on give up after half a second, for a case that waits for it."""
        ...

    def wallet(self) -> str:
        """Return a fresh wallet that a memo can name."""
        ...

    async def pay(
        self,
        amount: int,
        *,
        to: str | None = None,
        asset_id: str | None = None,
        memo: str | None = None,
        ok: bool = True,
        outputs: int = 1,
    ) -> str:
        """Submit one transaction of ``outputs`` payments of ``amount`` each; return its id, not mined."""
        ...

    async def send(self, amount: int, to: str, *, asset_id: str | None = None, memo: str | None = None) -> str:
        """Submit one payment that ``receive[0]`` makes from what it was paid; return its id, not mined."""
        ...

    async def mine(self, n: int = 1) -> None:
        """Make ``n`` blocks; what was submitted is then in a block that a source reports."""
        ...

    async def finalize(self) -> None:
        """Go on until everything mined so far is final."""
        ...

    async def drop(self, txid: str) -> None:
        """Make a reorg after which the payment is in no block."""
        ...

    async def move(self, txid: str) -> None:
        """Make a reorg after which the payment is in another block (other height where the node can)."""
        ...

    async def restart(self) -> None:
        """Let the node go away and come back with its chain, at the same address."""
        ...


class Replica:
    """What a correct reader of a source knows: its chain of blocks and the payments in them.

    ``start`` is where it begins (None: the tip); ``span`` how many blocks it asks for at once.
    """

    def __init__(
        self, source: BlockSource | AccountSource, *, start: BlockRef | None = None, span: int | None = None
    ) -> None:
        self.source = source
        self.chain: list[BlockRef] = [] if start is None else [start]
        self.facts: dict[tuple[str, str, str], Transfer] = {}
        self.sightings: dict[tuple[str, str, str], Transfer] = {}
        self.final: BlockRef | None = None
        self._span = span

    @property
    def position(self) -> BlockRef:
        """The last block that was read whole."""
        return self.chain[-1]

    def of(self, txid: str) -> list[Transfer]:
        """Return what is known of a transaction that is in a block, by index."""
        return sorted((t for t in self.facts.values() if t.txid == txid), key=lambda t: t.index)

    async def sync(self) -> None:
        """Read once to the node's tip; ``Transient`` leaves what was read so far in place."""
        if hasattr(self.source, "view"):
            await self._sync_blocks(cast(BlockSource, self.source))
        else:
            await self._sync_account(self.source)

    async def settle(self) -> None:
        """Read to the tip, through failures that pass by themselves."""
        await patiently(self.sync)

    async def until(self, wanted: Callable[[], bool]) -> None:
        """Settle until ``wanted``: some nodes show a change a moment after they were told of it.

        Returns all the same when it never comes: the case's own assertion says what is missing.
        """
        clock = asyncio.get_running_loop()
        end = clock.time() + PATIENCE_S
        while True:
            await self.settle()
            if wanted() or clock.time() > end:
                return
            await asyncio.sleep(PAUSE_S)

    async def see(self, *txids: str) -> None:
        """Settle until each of these transactions is known in a block."""
        await self.until(lambda: all(self.of(txid) for txid in txids))

    async def _sync_blocks(self, source: BlockSource) -> None:
        view = await source.view()
        assert view.final is None or view.final.height <= view.head.height, "final is above the head"
        if not self.chain:
            self.chain.append(view.head)
        if not await self._back_to_common(view):
            return
        self.final = view.final
        while self.position.height < view.head.height:
            first = self.position.height + 1
            last = min(view.head.height, first + (self._span or source.span) - 1)
            blocks = await view.blocks(first, last)
            assert [b.ref.height for b in blocks] == list(range(first, last + 1)), "not the blocks that were asked for"
            for block in blocks:
                self._connect(block)
        found = await view.mempool()
        self.sightings = {} if found is None else {t.key: t for t in found}
        assert all(isinstance(t.position, Unconfirmed) for t in self.sightings.values())

    async def _back_to_common(self, view: BlockView) -> bool:
        """Forget blocks that this node's chain does not have; False for a node that lags behind us."""
        by_height = {ref.height: ref for ref in self.chain}
        if view.head.height < self.position.height and view.head.same(by_height.get(view.head.height)):
            return False
        while self.position.height > view.head.height or not self.position.same(
            await view.header(self.position.height)
        ):
            gone = self.chain.pop()
            assert self.chain, "no common block with the node"
            self.facts = {k: t for k, t in self.facts.items() if not _in(t, gone)}
        return True

    def _connect(self, block: Block) -> None:
        assert block.ref.parent == self.position.hash, f"block {block.ref.height} does not connect"
        assert block.time_ms > 0, f"block {block.ref.height} has no time"
        for transfer in block.transfers:
            assert _in(transfer, block.ref), f"{transfer.key} is not said to be in its block"
            assert transfer.key not in self.facts, f"{transfer.key} was reported twice"
            self.facts[transfer.key] = transfer
        self.chain.append(block.ref)

    async def _sync_account(self, source: AccountSource) -> None:
        for _ in range(1000):  # windows to the tip; a test's chain is far shorter
            pending = {key for key, t in self.facts.items() if not self._is_final(t)}
            window = await source.read(self.chain[-1] if self.chain else None, [key[1:] for key in pending])
            assert window.final is None or window.final.height <= window.head.height, "final is above the head"
            keys = {t.key for t in window.transfers}
            assert len(keys) == len(window.transfers), "a transfer was reported twice in one window"
            for key in keys | (pending if window.complete else set()):
                self.facts.pop(key, None)
                self.sightings.pop(key, None)
            for transfer in window.transfers:
                where = self.sightings if isinstance(transfer.position, Unconfirmed) else self.facts
                where[transfer.key] = transfer
            if window.complete:
                self.final = window.final
                self.chain.append(window.end)
                if window.end.height >= window.head.height:
                    return
        raise AssertionError("no window ever reached the head")

    def _is_final(self, transfer: Transfer) -> bool:
        position = transfer.position
        return isinstance(position, InBlock) and self.final is not None and position.block.height <= self.final.height


def _in(transfer: Transfer, ref: BlockRef) -> bool:
    return isinstance(transfer.position, InBlock) and transfer.position.block.same(ref)


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until it goes well, through failures that pass by themselves."""
    clock = asyncio.get_running_loop()
    end = clock.time() + PATIENCE_S
    while True:
        try:
            return await ask()
        except Transient:
            if clock.time() > end:
                raise
        await asyncio.sleep(PAUSE_S)


@contextlib.asynccontextmanager
async def reading(
    harness: Harness, *, start: BlockRef | None = None, span: int | None = None
) -> AsyncIterator[Replica]:
    """Open a source of the harness and read it once; close it at the end."""
    source = harness.source()
    try:
        await patiently(source.open)
        replica = Replica(source, start=start, span=span)
        await replica.settle()
        yield replica
    finally:
        await source.close()
