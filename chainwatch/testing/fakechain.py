"""A chain in memory: blocks, forks, a mempool.  The devnet's nodes put a real RPC face on it.

It knows no protocol.  A transaction is an id and the transfers in it; a block is an id, its parent
and its transactions.  Given a journal, every block is on disk (fsync) before it is announced, so a
killed process goes on where it was.
"""

import hashlib
import os
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO

import msgspec

from chainwatch.clock import Clock
from chainwatch.model import BlockRef


class FakeTransfer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One movement of value.  ``asset_id`` None is the native coin; ``ok`` False failed on chain."""

    sender: str
    to: str
    amount: int
    asset_id: str | None = None
    memo: bytes | None = None
    ok: bool = True
    kind: str = "transfer"
    """What the face makes of it: transfer, recurrent, internal … (each face documents its kinds)."""


class FakeTx(msgspec.Struct, frozen=True, omit_defaults=True):
    """A transaction: its id, and its transfers in order."""

    txid: str
    transfers: tuple[FakeTransfer, ...] = ()
    nonce: int = 0


class FakeBlock(msgspec.Struct, frozen=True):
    """A block: (height, hash, parent), its time, its transactions."""

    ref: BlockRef
    time_ms: int
    txs: tuple[FakeTx, ...] = ()
    salt: int = 0
    """The chance that went into its hash: a face that builds real headers makes the same one again."""


HashBlock = Callable[[int, str, Sequence[str], int], str]


def sha256_block_hash(height: int, parent: str, txids: Sequence[str], salt: int) -> str:
    """Return 64 hex digits that depend on everything in the block."""
    return hashlib.sha256(repr((height, parent, tuple(txids), salt)).encode()).hexdigest()


class FakeChain:
    """The best chain, every branch ever mined, and the mempool."""

    def __init__(
        self,
        code: str,
        *,
        clock: Clock,
        rng: random.Random,
        block_ms: int = 1000,
        final_lag: int = 1,
        first_height: int = 0,
        hash_block: HashBlock = sha256_block_hash,
        journal: Path | None = None,
    ) -> None:
        self.code, self.clock, self.rng = code, clock, rng
        self.block_ms, self.final_lag = block_ms, final_lag
        self._hash_block = hash_block
        self.mempool: dict[str, FakeTx] = {}
        self.by_hash: dict[str, FakeBlock] = {}
        self.best: list[FakeBlock] = []
        self._final_height = first_height
        self._journal: IO[bytes] | None = None
        if journal is not None:
            self._replay(journal)
            journal.parent.mkdir(parents=True, exist_ok=True)
            self._journal = journal.open("ab")
        if not self.best:
            genesis = hash_block(first_height, "0" * 64, (), 0)
            self._accept(FakeBlock(BlockRef(first_height, genesis, "0" * 64), clock.now_ms()), write=True)

    # -- reading ---------------------------------------------------------------------------------

    @property
    def head(self) -> FakeBlock:
        """The best block."""
        return self.best[-1]

    @property
    def first_height(self) -> int:
        """The lowest height held."""
        return self.best[0].ref.height

    @property
    def final(self) -> FakeBlock:
        """The last final block: ``final_lag`` below the highest head ever, never lower than it was."""
        self._final_height = max(self._final_height, self.head.ref.height - self.final_lag, self.first_height)
        block = self.at(min(self._final_height, self.head.ref.height))
        assert block is not None
        return block

    def at(self, height: int) -> FakeBlock | None:
        """Return the best chain's block at ``height``."""
        i = height - self.best[0].ref.height
        return self.best[i] if 0 <= i < len(self.best) else None

    def find(self, txid: str) -> FakeBlock | None:
        """Return the best chain's block that holds the transaction (newest first)."""
        return next((b for b in reversed(self.best) if any(t.txid == txid for t in b.txs)), None)

    # -- writing ---------------------------------------------------------------------------------

    def submit(self, tx: FakeTx) -> str:
        """Put a transaction into the mempool."""
        self.mempool[tx.txid] = tx
        return tx.txid

    def drop(self, txid: str) -> None:
        """Evict a transaction from the mempool."""
        self.mempool.pop(txid, None)

    def mine(self, txs: Iterable[FakeTx] | None = None) -> FakeBlock:
        """Extend the best chain by one block of ``txs`` (None: the whole mempool, in order)."""
        chosen = tuple(self.mempool.values()) if txs is None else tuple(txs)
        parent = self.head
        height = parent.ref.height + 1
        salt = self.rng.getrandbits(48)
        digest = self._hash_block(height, parent.ref.hash, [t.txid for t in chosen], salt)
        time_ms = max(self.clock.now_ms(), parent.time_ms + 1)
        block = FakeBlock(BlockRef(height, digest, parent.ref.hash), time_ms, chosen, salt)
        self._accept(block, write=True)
        return block

    def rollback(self, depth: int) -> list[FakeTx]:
        """Take the newest ``depth`` blocks off; return their transactions, oldest first."""
        if not 0 < depth < len(self.best):
            raise ValueError(f"cannot roll back {depth} of {len(self.best)} blocks")
        gone = self.best[-depth:]
        del self.best[-depth:]
        self._write({"rollback": depth})
        return [tx for block in gone for tx in block.txs]

    def reorg(self, depth: int, *, extra: int = 1, drop: Iterable[str] = (), shift: int = 0) -> None:
        """Replace the newest ``depth`` blocks by ``depth + extra`` others.

        Their transactions come back in block ``shift`` of the new branch, but for those in ``drop``.
        """
        dropped = set(drop)
        back = [tx for tx in self.rollback(depth) if tx.txid not in dropped]
        for i in range(depth + extra):
            self.mine(back if i == min(shift, depth + extra - 1) else ())

    # -- journal ---------------------------------------------------------------------------------

    def _accept(self, block: FakeBlock, *, write: bool) -> None:
        if write:
            self._write({"block": msgspec.to_builtins(block)})
        self.by_hash[block.ref.hash] = block
        self.best.append(block)
        for tx in block.txs:
            self.mempool.pop(tx.txid, None)

    def _write(self, record: dict[str, object]) -> None:
        if self._journal is not None:
            self._journal.write(msgspec.json.encode(record) + b"\n")
            self._journal.flush()
            os.fsync(self._journal.fileno())

    def _replay(self, journal: Path) -> None:
        if not journal.exists():
            return
        good = 0
        with journal.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break  # the process died while writing: that block was never announced
                record = msgspec.json.decode(line)
                if "rollback" in record:
                    del self.best[-record["rollback"] :]
                else:
                    self._accept(msgspec.convert(record["block"], FakeBlock), write=False)
                good += len(line)
        os.truncate(journal, good)

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None
