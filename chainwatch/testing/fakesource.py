"""A ``BlockSource`` over a ``FakeChain``, without a network: for the simulation and for users' tests."""

from collections.abc import Iterable, Sequence

from chainwatch.errors import Inconsistent
from chainwatch.model import Block, BlockRef, ChainSpec, InBlock, NodeFacts, Transfer, Unconfirmed
from chainwatch.testing.fakechain import FakeBlock, FakeChain, FakeTx


class FakeView:
    """What a node over a fake chain says: the chain up to ``top``, as it was when the view was made."""

    def __init__(self, source: "FakeSource", blocks: Sequence[FakeBlock], final: BlockRef | None) -> None:
        self.endpoint = source.endpoint
        self.head = blocks[-1].ref
        self.final = final
        self._source, self._blocks = source, blocks

    async def header(self, height: int) -> BlockRef:
        """Return the block at ``height``."""
        return self._at(height).ref

    async def blocks(self, first: int, last: int) -> Sequence[Block]:
        """Return blocks ``first..last`` with the transfers to watched addresses."""
        return [self._source.block(self._at(h)) for h in range(first, last + 1)]

    async def mempool(self) -> Sequence[Transfer] | None:
        """Return what waits, when this view is the newest."""
        if not self._source.shows_mempool or not self.head.same(self._source.chain.head.ref):
            return None
        now = self._source.chain.clock.now_ms()
        waiting = self._source.chain.mempool.values()
        return [t for tx in waiting for t in self._source.transfers(tx, Unconfirmed(now))]

    def _at(self, height: int) -> FakeBlock:
        i = height - self._blocks[0].ref.height
        if not 0 <= i < len(self._blocks):
            raise Inconsistent(f"no block {height}")
        return self._blocks[i]


class FakeSource:
    """Follows a ``FakeChain``.  ``lag``: show it this many blocks short; ``branch``: show another branch."""

    def __init__(self, spec: ChainSpec, chain: FakeChain, *, span: int = 10, finality: bool = True) -> None:
        self.spec, self.chain, self.span = spec, chain, span
        self.finality = finality
        self.endpoint = f"fake://{spec.code}"
        self.lag = 0
        self.branch: Sequence[FakeBlock] | None = None
        self.shows_mempool = False
        self.own_addresses = False
        self._watched = set(spec.receive)
        self._assets = {a.asset_id: a.code for a in spec.assets}

    async def open(self) -> Sequence[NodeFacts]:
        """Say who we are."""
        return [NodeFacts(self.endpoint, "fake", self.spec.code, self.chain.head.ref)]

    def watch(self, addresses: Iterable[str]) -> None:
        """Add addresses."""
        self._watched.update(addresses)

    def forget(self) -> None:
        """Watch what the configuration names and nothing else, as a new process does."""
        self._watched = set(self.spec.receive)

    async def addresses(self, first: int, count: int) -> Sequence[str]:
        """Return addresses of our own by number."""
        return [f"own{n}" for n in range(first, first + count)]

    async def view(self) -> FakeView:
        """Look at the chain as it is now, through the present faults."""
        blocks = list(self.branch if self.branch is not None else self.chain.best)
        if self.lag:
            blocks = blocks[: max(1, len(blocks) - self.lag)]
        final = self.chain.final.ref if self.finality else None
        if final is not None and final.height > blocks[-1].ref.height:
            final = blocks[-1].ref
        return FakeView(self, blocks, final)

    def leave(self, reason: str) -> bool:  # noqa: ARG002 (there is no other node)
        """There is no other node."""
        return False

    async def wait(self, seconds: float) -> None:
        """Sleep on the chain's clock."""
        await self.chain.clock.sleep(seconds)

    async def close(self) -> None:
        """Nothing is open."""

    def block(self, block: FakeBlock) -> Block:
        """Turn a fake block into what an adapter reports."""
        position = InBlock(BlockRef(block.ref.height, block.ref.hash), block.time_ms)
        found = tuple(t for tx in block.txs for t in self.transfers(tx, position))
        return Block(block.ref, block.time_ms, found)

    def transfers(self, tx: FakeTx, position: InBlock | Unconfirmed) -> list[Transfer]:
        """Return a transaction's transfers to watched addresses."""
        return [
            Transfer(
                chain=self.spec.code,
                txid=tx.txid,
                index=str(i),
                asset=self._assets.get(t.asset_id),
                asset_id=t.asset_id,
                amount=t.amount,
                to=t.to,
                sender=(t.sender,),
                memo=t.memo,
                ok=t.ok,
                position=position,
            )
            for i, t in enumerate(tx.transfers)
            if t.to in self._watched
        ]
