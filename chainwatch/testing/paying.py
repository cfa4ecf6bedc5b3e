"""Payments in tests of the API: blocks applied to the ledger as the watcher would apply them."""

import hashlib

from chainwatch.finality import Rule
from chainwatch.follower import Step
from chainwatch.ledger.apply import apply
from chainwatch.ledger.context import Context
from chainwatch.model import Block, BlockRef, InBlock, Transfer
from chainwatch.testing.served import Served


def block_hash(height: int) -> str:
    """Return a block's hash in the form of Hive's ids (its height first), which serves every chain."""
    return f"{height:08x}" + hashlib.sha256(b"block %d" % height).hexdigest()[:32]


class Payer:
    """Mines blocks of one chain into the ledger behind a served API.  ``rule``: instead of the backend's own."""

    def __init__(self, api: Served, chain: str, rule: Rule | None = None) -> None:
        self._api, self.chain = api, chain
        self._context: Context = api.backend.contexts[chain]
        if rule is not None:
            changed = {f: getattr(self._context, f) for f in self._context.__struct_fields__} | {"rule": rule}
            self._context = api.backend.contexts[chain] = Context(**changed)  # type: ignore[index]
        self._at = BlockRef(0, block_hash(0))
        self._cursor: BlockRef | None = None

    async def pay(self, *payments: tuple[str, str, int, str | None], sender: str = "payer") -> None:
        """Mine one block with ``(asset, to, amount, memo)`` each."""
        await self._api.store.write(self._mine, payments, sender)

    def _mine(self, connection: object, payments: tuple[tuple[str, str, int, str | None], ...], sender: str) -> None:
        height = self._at.height + 1
        ref = BlockRef(height, block_hash(height), self._at.hash)
        now_ms = self._api.clock.now_ms()
        made = tuple(
            Transfer(
                chain=self.chain,
                txid=f"{height:060x}{i:04x}",
                index="0",
                asset=asset,
                amount=amount,
                to=to,
                sender=(sender,),
                memo=None if memo is None else memo.encode(),
                position=InBlock(BlockRef(height, ref.hash), now_ms),
            )
            for i, (asset, to, amount, memo) in enumerate(payments)
        )
        step = Step(self.chain, self._cursor, ref, ref, None, blocks=(Block(ref, now_ms, made),))
        apply(connection, step, self._context, 1, now_ms)  # type: ignore[arg-type]
        self._at = self._cursor = ref
