"""Blocks as one Hive endpoint shows them, with what in them pays us."""

from collections.abc import Sequence

import msgspec

from chainwatch.adapters.base import Services
from chainwatch.adapters.hive_memo import ENCRYPTED, MemoKey
from chainwatch.adapters.hive_wire import (
    NO_TXID,
    PRODUCER_REWARD,
    RECURRENT,
    TRANSFER,
    Assets,
    BlockRange,
    FullBlock,
    MaybeBlock,
    Movement,
    Operation,
    VirtualOp,
    VirtualOps,
    is_txid,
    time_ms,
    virtual_number,
    virtual_txid,
)
from chainwatch.adapters.rpc import Endpoint, Rpc, RpcError
from chainwatch.errors import Inconsistent, Transient
from chainwatch.model import Block, BlockRef, ChainSpec, InBlock, Transfer

RANGE = 100
"""Blocks asked for in one request, and ranges of virtual operations; nodes allow 1,000 and 2,000."""
PAGE = 1_000
"""Virtual operations of one page: a reward a block, and recurrent transfers are a few hundred a day."""
MAX_PAGES = 200
"""Pages of one range: twenty times as many recurrent transfers as blocks can execute (1,000 each)."""

FILTER = 0x4000 | 0x2_0000_0000
"""``enum_virtual_ops``: producer_reward and fill_recurrent_transfer."""

_movement = msgspec.json.Decoder(Movement)


class Reward(msgspec.Struct):
    """The body of ``producer_reward``."""

    producer: str


_reward = msgspec.json.Decoder(Reward)


class Chain:
    """What the views of one chain share."""

    def __init__(
        self, spec: ChainSpec, rpc: Rpc, services: Services, *, memo_key: MemoKey | None, recurrent: bool
    ) -> None:
        self.code, self.rpc, self.services = spec.code, rpc, services
        self.memo_key, self.recurrent = memo_key, recurrent
        self.assets = Assets.of(spec)
        self.watched: set[str] = set()


class HiveView:
    """One endpoint at one moment (``BlockView``)."""

    def __init__(self, chain: Chain, endpoint: Endpoint, head: BlockRef, final: BlockRef) -> None:
        self.endpoint, self.head = endpoint.name, head
        self.final: BlockRef | None = final
        self._chain, self._on, self._final_height = chain, endpoint, final.height
        self._where = f"{chain.code}: {endpoint.name}"

    # -- the contract ----------------------------------------------------------------------------

    async def header(self, height: int) -> BlockRef:
        """Return the block at ``height``; ``Transient`` when the endpoint has none."""
        if height == self.head.height:
            return self.head
        params = {"block_num": height}
        answer = await self._chain.rpc.call("block_api.get_block", params, result=MaybeBlock, on=self._on)
        if answer.block is None:
            raise Transient(f"{self._where} has no block {height}")
        ref = answer.block.ref
        if ref.height != height:
            raise Inconsistent(f"{self._where} answers block {ref.height} for {height}")
        return ref

    async def blocks(self, first: int, last: int) -> Sequence[Block]:
        """Return blocks ``first..last`` with every payment to us in them, and every one that we made."""
        if last > self.head.height and last >= first:
            raise Transient(f"{self._where} ends at {self.head.height}, before block {last}")
        blocks: list[Block] = []
        for start in range(first, last + 1, RANGE):
            blocks += await self._range(start, min(start + RANGE - 1, last), blocks[-1].ref if blocks else None)
        return blocks

    async def mempool(self) -> Sequence[Transfer] | None:
        """Return None: Hive nodes do not show their pending transactions."""
        return None

    # -- blocks ----------------------------------------------------------------------------------

    async def _range(self, first: int, last: int, before: BlockRef | None) -> list[Block]:
        raw = await self._full_blocks(first, last, before)
        recurrent: dict[int, list[Transfer]] = {}
        if self._chain.recurrent:
            recurrent = await self._recurrent(raw)
        return [
            Block(ref, at_ms, (*self._transfers(ref, at_ms, block), *recurrent.get(ref.height, ())))
            for ref, at_ms, block in raw
        ]

    async def _full_blocks(
        self, first: int, last: int, before: BlockRef | None
    ) -> list[tuple[BlockRef, int, FullBlock]]:
        """Read blocks by number; each is what was asked for and the child of the one before."""
        count = last - first + 1
        params = {"starting_block_num": first, "count": count}
        answer = await self._chain.rpc.call("block_api.get_block_range", params, result=BlockRange, on=self._on)
        if len(answer.blocks) < count:
            raise Transient(f"{self._where} answers {len(answer.blocks)} of {count} blocks from {first}")
        raw = []
        for height, block in zip(range(first, last + 1), answer.blocks, strict=False):
            ref = block.ref
            if ref.height != height:
                raise Inconsistent(f"{self._where} answers block {ref.height} for {height}")
            if before is not None and ref.parent != before.hash:
                raise Inconsistent(f"{self._where}: block {height} does not follow the block before it")
            if len(block.transaction_ids) != len(block.transactions):
                raise Inconsistent(f"{self._where}: block {height} does not name all its transactions")
            raw.append((ref, time_ms(block.timestamp), block))
            before = ref
        if before is not None and before.height == self.head.height and not before.same(self.head):
            raise Inconsistent(f"{self._where}: the head changed while it was read")
        return raw

    def _transfers(self, ref: BlockRef, at_ms: int, block: FullBlock) -> list[Transfer]:
        """Return the transfers to and from us in one block, in its order.  The hot path: most operations are of others."""
        found = []
        for i, tx in enumerate(block.transactions):
            for number, op in enumerate(tx.operations):
                if op.type == TRANSFER and (movement := self._of_us(op)) is not None:
                    txid = block.transaction_ids[i]
                    if not is_txid(txid):
                        raise Inconsistent(f"{self._where}: no transaction id in block {ref.height}: {txid!r:.60}")
                    found += self._paid(movement, txid, number, InBlock(ref, at_ms))
        return found

    def _of_us(self, op: Operation) -> Movement | None:
        """Return a movement to or from an account of ours, None for everybody else's."""
        try:
            movement = _movement.decode(op.value)
        except msgspec.DecodeError as error:
            raise Inconsistent(f"{self._where}: unexpected {op.type}: {error}") from error
        watched = self._chain.watched
        return movement if movement.to in watched or movement.sender in watched else None

    def _paid(self, movement: Movement, txid: str, number: int, position: InBlock) -> list[Transfer]:
        """Return the transfer, or nothing when its asset is not configured."""
        chain = self._chain
        amount, asset, asset_id = chain.assets.read(movement.amount)
        if asset is None:
            chain.services.observer.count(chain.code, "unknown_asset")
            return []
        memo, flags = self._memo(movement)
        leaves = movement.to not in chain.watched
        if movement.sender in chain.watched and not leaves:
            flags = (*flags, "internal")
        return [
            Transfer(
                chain=chain.code,
                txid=txid,
                index=str(number),
                asset=asset,
                asset_id=asset_id,
                amount=amount,
                to=movement.to,
                sender=(movement.sender,),
                memo=memo,
                position=position,
                flags=flags,
                direction="out" if leaves else "in",
            )
        ]

    def _memo(self, movement: Movement) -> tuple[bytes, tuple[str, ...]]:
        text = movement.memo
        if not ENCRYPTED.fullmatch(text):
            return text.encode(), ()
        plain = self._chain.memo_key.decrypt(text) if self._chain.memo_key is not None else None
        if plain is not None:
            return plain, ()
        self._chain.services.observer.count(self._chain.code, "memo_unreadable")
        return text.encode(), ("memo_unreadable",)

    # -- recurrent transfers ---------------------------------------------------------------------

    async def has_history(self) -> bool:
        """Tell whether the endpoint offers ``account_history_api``."""
        height = self._final_height
        try:
            await self._page(height, height + 1, 0)
        except RpcError as error:
            if error.code == -32601 or "could not find" in error.message.lower():
                return False
            raise
        return True

    async def _recurrent(self, raw: Sequence[tuple[BlockRef, int, FullBlock]]) -> dict[int, list[Transfer]]:
        """Return the executed recurrent transfers to and from us by height.

        Each block's reward must be there, for the producer and the time of the block that we read: an account
        history that lags behind the blocks, or stands on another fork, would else lose payments without a word.
        """
        blocks = {ref.height: (ref, at_ms, block.witness) for ref, at_ms, block in raw}
        rewarded: set[int] = set()
        found: dict[int, list[Transfer]] = {}
        for item in await self._virtual_ops(min(blocks), max(blocks)):
            if item.block not in blocks:
                raise Inconsistent(f"{self._where} answers a virtual operation of block {item.block:d}")
            ref, at_ms, witness = blocks[item.block]
            if item.op.type == PRODUCER_REWARD:
                if self._producer(item) == witness and time_ms(item.timestamp) == at_ms:
                    rewarded.add(item.block)
            elif item.op.type == RECURRENT and (movement := self._of_us(item.op)) is not None:
                number = virtual_number(item.op_in_trx, item.virtual_op)
                virtual = item.trx_id is None or item.trx_id == NO_TXID
                txid = virtual_txid(item.block) if virtual else str(item.trx_id)
                found.setdefault(item.block, []).extend(self._paid(movement, txid, number, InBlock(ref, at_ms)))
        if missing := blocks.keys() - rewarded:
            raise Transient(f"{self._where}: account history does not hold block {min(missing)} as it was read")
        for height, transfers in found.items():
            if len({t.key for t in transfers}) != len(transfers):
                raise Inconsistent(f"{self._where}: two recurrent transfers of block {height} have one number")
        return found

    def _producer(self, item: VirtualOp) -> str:
        try:
            return _reward.decode(item.op.value).producer
        except msgspec.DecodeError as error:
            raise Inconsistent(f"{self._where}: unexpected {item.op.type}: {error}") from error

    async def _virtual_ops(self, first: int, last: int) -> list[VirtualOp]:
        """Read every page of a range."""
        found: list[VirtualOp] = []
        height, operation = first, 0
        for _ in range(MAX_PAGES):
            page = await self._page(height, last + 1, operation)
            found += page.ops
            try:
                following = page.next_block_range_begin, int(page.next_operation_begin)
            except ValueError as error:
                raise Inconsistent(f"{self._where}: no page number: {page.next_operation_begin!r:.40}") from error
            if following[0] == 0 or following[0] > last:
                return found
            if following <= (height, operation):
                break
            height, operation = following
        raise Inconsistent(f"{self._where}: the pages of virtual operations from {first} do not end")

    async def _page(self, first: int, end: int, operation: int) -> VirtualOps:
        params = {
            "block_range_begin": first,
            "block_range_end": end,
            "include_reversible": end - 1 > self._final_height,
            "group_by_block": False,
            "operation_begin": operation,
            "limit": PAGE,
            "filter": FILTER,
        }
        return await self._chain.rpc.call(
            "account_history_api.enum_virtual_ops", params, result=VirtualOps, on=self._on
        )
