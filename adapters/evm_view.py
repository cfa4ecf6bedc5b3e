"""Blocks as one EVM endpoint shows them, read whole and held against each other.

Finding and believing are two things here.  Full blocks, log searches and traces only *find* transactions that
may pay us; what a transfer is comes from the transaction and its receipt, and the receipt must name
the block it was found in.  Everything after the block itself is asked by block hash, so that a
reorganisation in the middle gives an error and never a mixture.
"""

from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from chainwatch.adapters import bloom
from chainwatch.adapters.base import Services
from chainwatch.adapters.evm_traces import FlatTrace, Internal, TracedTx, from_flat, from_frame
from chainwatch.adapters.evm_transfers import Names, in_transaction
from chainwatch.adapters.evm_types import (
    TRANSFER_TOPIC,
    ZERO_ADDRESS,
    ZERO_HASH,
    FullBlock,
    Header,
    Log,
    Receipt,
    Tx,
    address_topic,
    checksum,
    erc20_transfer,
    hash32,
    quantity,
    unique,
)
from chainwatch.adapters.quorum import Quorum
from chainwatch.adapters.rpc import Endpoint, Rpc, RpcError, side_by_side
from chainwatch.errors import Inconsistent, Transient
from chainwatch.model import Block, BlockRef, InBlock, Transfer, Unconfirmed, fee_of

MAX_TOPICS = 100
"""Receiving addresses named in a log search; beyond it nodes refuse, and the search is by contract alone."""

Internals = Mapping[str, Sequence[Internal]]


class Chain(msgspec.Struct):
    """What the views of one chain share."""

    names: Names
    rpc: Rpc
    services: Services
    quorum: Quorum | None = None
    traces: bool = False
    pending: bool = False
    watched: set[str] = msgspec.field(default_factory=set)
    """Our addresses in lower case."""
    tracers: dict[str, str] = msgspec.field(default_factory=dict)
    """Endpoint name to the trace method that it offers."""


class EvmView:
    """One endpoint at one moment (``BlockView``)."""

    def __init__(self, chain: Chain, endpoint: Endpoint, head: BlockRef, final: BlockRef | None) -> None:
        self.endpoint, self.head, self.final = endpoint.name, head, final
        self._chain, self._on = chain, endpoint

    # -- the contract ----------------------------------------------------------------------------

    async def header(self, height: int) -> BlockRef:
        """Return the block at ``height``; ``Transient`` when the endpoint has none."""
        if height == self.head.height:
            return self.head
        header = await self._call("eth_getBlockByNumber", [hex(height), False], Header | None)
        if header is None:
            raise Transient(f"{self._where()} has no block {height}")
        ref: BlockRef = header.ref
        if ref.height != height:
            raise Inconsistent(f"{self._where()} answers block {ref.height} for {height}")
        return ref

    async def blocks(self, first: int, last: int) -> Sequence[Block]:
        """Return blocks ``first..last`` with every payment to us in them, and all that left us."""
        if last < first:
            return ()
        if last > self.head.height:
            raise Transient(f"{self._where()} ends at {self.head.height}, before block {last}")
        blocks = await self._read(first, last)
        if self._chain.quorum is not None:
            for block in blocks:
                await self._confirm_large(self._chain.quorum, block)
        return blocks

    async def _read(self, first: int, last: int) -> Sequence[Block]:
        raw = await self._full_blocks(first, last)
        asked: list[Awaitable[Any]] = [self._check_counts(raw), self._token_logs(raw), self._traces(raw)]
        _, logs, traces = await side_by_side(asked)
        found = [self._candidates(block, logs[ref], traces[ref]) for ref, block in raw.items()]
        receipts = await self._receipts(raw, logs, found)
        return [
            Block(ref, block.time_ms, tuple(self._transfers(ref, block, hashes, receipts, traces[ref])))
            for (ref, block), hashes in zip(raw.items(), found, strict=True)
        ]

    async def mempool(self) -> Sequence[Transfer] | None:
        """Return what the endpoint's pending block pays us, where the operator trusts it to have one."""
        if not self._chain.pending:
            return None
        block = await self._call("eth_getBlockByNumber", ["pending", True], PendingBlock | None)
        if block is None or hash32(block.parent_hash) != self.head.hash:
            return None  # nothing pending, or it is built on another block than the one we look at
        position = Unconfirmed(self._chain.services.clock.now_ms())
        found: list[Transfer] = []
        for tx in block.transactions:
            if self._concerns_us(tx):
                found += self._ours(in_transaction(self._chain.names, position, tx, None), tx)
        return found

    # -- blocks ----------------------------------------------------------------------------------

    async def _full_blocks(self, first: int, last: int) -> dict[BlockRef, FullBlock]:
        """Read full blocks by number; each is what was asked for and the child of the one before."""
        answers = await self._batch(
            [("eth_getBlockByNumber", [hex(n), True]) for n in range(first, last + 1)], FullBlock | None
        )
        blocks: dict[BlockRef, FullBlock] = {}
        before: BlockRef | None = None
        for height, block in zip(range(first, last + 1), answers, strict=True):
            if block is None:
                raise Transient(f"{self._where()} has no block {height}")
            ref: BlockRef = block.ref
            if ref.height != height:
                raise Inconsistent(f"{self._where()} answers block {ref.height} for {height}")
            if before is not None and ref.parent != before.hash:
                raise Inconsistent(f"{self._where()}: block {height} does not follow the block before it")
            unique((tx.hash for tx in block.transactions), f"{self._where()}: in block {height}, transaction")
            blocks[ref] = block
            before = ref
        if before is not None and before.height == self.head.height and not before.same(self.head):
            raise Inconsistent(f"{self._where()}: the head changed while it was read")
        return blocks

    async def _check_counts(self, raw: Mapping[BlockRef, FullBlock]) -> None:
        """Hold each block's list of transactions against the node's count of them."""
        counts = await self._batch([("eth_getBlockTransactionCountByHash", [ref.hash]) for ref in raw], str | None)
        for (ref, block), count in zip(raw.items(), counts, strict=True):
            if count is None:
                raise Transient(f"{self._where()} no longer knows block {ref.height}")
            # Polygon lists a state-sync transaction that not every node counts.
            ordinary = sum(not _is_state_sync(tx) for tx in block.transactions)
            if quantity(count, "transaction count") not in (len(block.transactions), ordinary):
                raise Inconsistent(f"{self._where()}: block {ref.height} does not list all its transactions")

    def _candidates(self, block: FullBlock, logs: Sequence[Log], traces: Internals) -> set[str]:
        """Return the hashes of the transactions that may pay us, and of those that we sent."""
        found = {hash32(tx.hash) for tx in block.transactions if self._concerns_us(tx)}
        found.update(hash32(log.transaction_hash or "") for log in logs)
        watched = self._chain.watched
        for txid, calls in traces.items():
            if any(c.ok and (c.to in watched or c.sender in watched) for c in calls):
                found.add(txid)
        return found

    def _concerns_us(self, tx: Tx) -> bool:
        watched = self._chain.watched
        if tx.to is not None and tx.value != "0x0" and tx.to.lower() in watched:
            return True
        return tx.sender.lower() in watched

    def _ours(self, transfers: Iterable[Transfer], tx: Tx | None) -> Iterator[Transfer]:
        """Yield what came to us and what left us in assets that we know; from us to us is ``internal``."""
        watched = self._chain.watched
        spends = _spends(tx) if tx is not None and tx.sender.lower() in watched else ()
        for t in transfers:
            if t.asset is None or not t.amount:
                continue
            to_us = t.to is not None and t.to.lower() in watched
            from_us = all(sender.lower() in watched for sender in t.sender)
            if to_us:
                yield msgspec.structs.replace(t, flags=("internal",)) if from_us else t
            elif from_us:
                yield msgspec.structs.replace(t, direction="out", spends=spends)

    def _transfers(
        self,
        ref: BlockRef,
        block: FullBlock,
        hashes: set[str],
        receipts: Mapping[str, Receipt],
        traces: Internals,
    ) -> Sequence[Transfer]:
        """Return what came to us and what left us in one block, in its order."""
        if not hashes:
            return ()
        position = InBlock(ref, block.time_ms)
        txs: dict[str, Tx | None] = {hash32(tx.hash): tx for tx in block.transactions}
        for txid in hashes - txs.keys():
            receipt = receipts[txid]
            if receipt.sender != ZERO_ADDRESS or receipt.to != ZERO_ADDRESS:
                raise Inconsistent(f"{self._where()}: {txid} is not in block {ref.height} that it is said to be in")
            txs[txid] = None  # Polygon: the state-sync transaction of a node that does not list it
        found: list[Transfer] = []
        for txid, tx in txs.items():
            if txid in hashes:
                internals = [c for c in traces.get(txid, ()) if c.ok]
                every = in_transaction(self._chain.names, position, tx, receipts[txid], internals)
                found += self._ours(every, tx)
                if tx is not None and tx.sender.lower() in self._chain.watched:
                    found.append(self._fee(tx, txid, receipts[txid], position))
        return found

    def _fee(self, tx: Tx, txid: str, receipt: Receipt, position: InBlock) -> Transfer:
        """Return what a transaction of ours cost, whether or not it succeeded."""
        names, payer = self._chain.names, checksum(tx.sender.lower())
        return fee_of(names.chain, txid, names.native, receipt.fee, payer, position, _spends(tx))

    # -- receipts --------------------------------------------------------------------------------

    async def _receipts(
        self, raw: Mapping[BlockRef, FullBlock], logs: Mapping[BlockRef, Sequence[Log]], found: Sequence[set[str]]
    ) -> dict[str, Receipt]:
        """Read the receipt of every candidate; a missing one is waited for, never assumed."""
        wanted = [(txid, ref) for ref, hashes in zip(raw, found, strict=True) for txid in sorted(hashes)]
        answers = await self._batch([("eth_getTransactionReceipt", [txid]) for txid, _ in wanted], Receipt | None)
        receipts: dict[str, Receipt] = {}
        for (txid, ref), receipt in zip(wanted, answers, strict=True):
            if receipt is None:
                raise Transient(f"{self._where()} has no receipt of {txid} yet")
            self._check_receipt(receipt, txid, ref)
            if receipt.status is None and receipt.root is None:
                raise Transient(f"{self._where()} does not tell whether {txid} succeeded")
            receipts[txid] = receipt
        for ref in raw:
            for log in logs[ref]:
                receipt = receipts[hash32(log.transaction_hash or "")]
                if not any((r.address, r.topics, r.data) == (log.address, log.topics, log.data) for r in receipt.logs):
                    raise Inconsistent(f"{self._where()}: a log of {log.transaction_hash} is not in its receipt")
        return receipts

    def _check_receipt(self, receipt: Receipt, txid: str, ref: BlockRef) -> None:
        if hash32(receipt.transaction_hash) != txid:
            raise Inconsistent(f"{self._where()} answers another receipt for {txid}")
        if hash32(receipt.block_hash) != ref.hash:
            raise Inconsistent(f"{self._where()}: the receipt of {txid} is of another block than {ref.height}")
        if any(log.removed for log in receipt.logs):
            raise Inconsistent(f"{self._where()}: the receipt of {txid} has removed logs")

    async def _block_receipts(self, ref: BlockRef, block: FullBlock) -> list[Receipt]:
        """Read every receipt of one block by its hash."""
        try:
            receipts = await self._call("eth_getBlockReceipts", [ref.hash], list[Receipt] | None)
        except RpcError:  # older nodes have no such method, or want a number there
            calls = [("eth_getTransactionReceipt", [tx.hash]) for tx in block.transactions]
            receipts = await self._batch(calls, Receipt | None)
        if receipts is None or None in receipts:
            raise Transient(f"{self._where()} has not all receipts of block {ref.height} yet")
        unique((r.transaction_hash for r in receipts), f"{self._where()}: in block {ref.height}, receipt of")
        by_hash = {hash32(r.transaction_hash): r for r in receipts}
        for tx in block.transactions:
            receipt = by_hash.get(hash32(tx.hash))
            if receipt is not None:
                self._check_receipt(receipt, hash32(tx.hash), ref)
            elif not _is_state_sync(tx):
                raise Inconsistent(f"{self._where()}: block {ref.height} lacks the receipt of {tx.hash:.66}")
        return list(receipts)

    # -- tokens ----------------------------------------------------------------------------------

    async def _token_logs(self, raw: Mapping[BlockRef, FullBlock]) -> dict[BlockRef, list[Log]]:
        """Return the logs of configured tokens that pay us, per block, checked against the headers' blooms."""
        by_block: dict[BlockRef, list[Log]] = {ref: [] for ref in raw}
        if not self._chain.names.tokens or not self._chain.watched:
            return by_block
        refs = list(raw)
        settled = sum(self.final is not None and ref.height <= self.final.height for ref in refs)
        # One block is as cheap by hash, and by hash there is nothing to go wrong.
        settled = settled if settled > 1 else 0
        await side_by_side(
            [self._logs_by_range(refs[:settled], by_block), self._logs_by_hash(refs[settled:], by_block)]
        )
        for ref, logs in by_block.items():
            by_block[ref] = self._check_logs(ref, logs)
        await side_by_side([self._recheck(ref, raw[ref], logs, by_block) for ref, logs in by_block.items()])
        return by_block

    def _log_filters(self, **where: str) -> list[dict[str, Any]]:
        """Return the searches for what comes to us and for what leaves us: topics at two places are one ``and``."""
        searched: list[list[Any]] = [[TRANSFER_TOPIC]]
        if len(self._chain.watched) <= MAX_TOPICS:
            ours = [address_topic(a) for a in sorted(self._chain.watched)]
            searched = [[TRANSFER_TOPIC, None, ours], [TRANSFER_TOPIC, ours]]
        contracts = sorted(self._chain.names.tokens)
        return [{**where, "address": contracts, "topics": topics} for topics in searched]

    def _leaving(self, logs: Iterable[Log]) -> list[Log]:
        """Return what the search for leaving tokens finds and the search for coming ones does not."""
        watched = self._chain.watched
        return [log for log in logs if (t := erc20_transfer(log)) is not None and t.to not in watched]

    async def _logs_by_hash(self, refs: Sequence[BlockRef], into: dict[BlockRef, list[Log]]) -> None:
        calls = [("eth_getLogs", [f]) for ref in refs for f in self._log_filters(blockHash=ref.hash)]
        answers = await self._batch(calls, list[Log])
        width = len(calls) // max(len(refs), 1)
        for i, ref in enumerate(refs):
            first, *second = answers[i * width : (i + 1) * width]
            into[ref] += first
            for logs in second:
                into[ref] += self._leaving(logs)

    async def _logs_by_range(self, refs: Sequence[BlockRef], into: dict[BlockRef, list[Log]]) -> None:
        """Search final blocks at once; halve the range when the node refuses it (too many blocks or results)."""
        if len(refs) < 2:
            return await self._logs_by_hash(refs, into)
        where = {"fromBlock": hex(refs[0].height), "toBlock": hex(refs[-1].height)}
        try:
            calls = [("eth_getLogs", [f]) for f in self._log_filters(**where)]
            logs, *second = await self._batch(calls, list[Log])
            logs += [log for more in second for log in self._leaving(more)]
        except RpcError:
            half = len(refs) // 2
            await self._logs_by_range(refs[:half], into)
            return await self._logs_by_range(refs[half:], into)
        by_hash = {ref.hash: ref for ref in refs}
        for log in logs:
            ref = by_hash.get((log.block_hash or "").lower())
            if ref is None:
                raise Inconsistent(f"{self._where()}: a log of {log.transaction_hash} is of a block not asked for")
            into[ref].append(log)
        return None

    def _check_logs(self, ref: BlockRef, logs: Sequence[Log]) -> list[Log]:
        """Refuse contradictions; keep what is an ERC-20 transfer of a configured token of ours, zero amounts too."""
        unique((log.log_index or "" for log in logs), f"{self._where()}: in block {ref.height}, log index")
        ours = []
        for log in logs:
            if log.removed or (log.block_hash or "").lower() not in (ref.hash, ZERO_HASH):
                raise Inconsistent(f"{self._where()}: a log of {log.transaction_hash} is not of block {ref.height}")
            if self._is_ours(log):
                ours.append(log)
        return ours

    def _is_ours(self, log: Log) -> bool:
        """Is it a transfer of a configured token to or from us?"""
        transfer = erc20_transfer(log)
        if transfer is None or transfer.contract not in self._chain.names.tokens:
            return False
        return transfer.to in self._chain.watched or transfer.sender in self._chain.watched

    async def _recheck(
        self, ref: BlockRef, block: FullBlock, logs: Sequence[Log], into: dict[BlockRef, list[Log]]
    ) -> None:
        """Where the header's bloom hints at more than the log search found, let the receipts decide.

        A false hint is normal (blooms of busy blocks are nearly full), a silently incomplete search is not rare.
        """
        if not block.transactions or not self._hints_at_more(block, logs):
            return
        self._chain.services.observer.count(self._chain.names.chain, "bloom_without_log")
        found: list[Log] = []
        for receipt in await self._block_receipts(ref, block):
            mine = filter(self._is_ours, receipt.logs)
            found += [msgspec.structs.replace(log, transaction_hash=receipt.transaction_hash) for log in mine]
        if len(found) != len(logs):
            self._chain.services.observer.count(self._chain.names.chain, "log_search_incomplete")
        into[ref] = found

    def _hints_at_more(self, block: FullBlock, logs: Sequence[Log]) -> bool:
        bits = bloom.read(block.logs_bloom)
        if not bloom.holds(bits, TRANSFER_TOPIC):
            return False
        contracts = [contract for contract in self._chain.names.tokens if bloom.holds(bits, contract)]
        if len(self._chain.watched) > MAX_TOPICS:
            return bool(contracts)  # of so many addresses, a bloom hints at one or another in any case
        read = [t for t in map(erc20_transfer, logs) if t is not None]
        found = {(t.contract, party) for t in read for party in (t.to, t.sender)}
        hinted = [ours for ours in self._chain.watched if contracts and bloom.holds(bits, address_topic(ours))]
        return any((contract, ours) not in found for contract in contracts for ours in hinted)

    # -- traces ----------------------------------------------------------------------------------

    async def _traces(self, raw: Mapping[BlockRef, FullBlock]) -> dict[BlockRef, Internals]:
        """Return the internal transfers of each block by transaction; nothing unless ``traces`` is on."""
        empty: dict[BlockRef, Internals] = {ref: {} for ref in raw}
        if not self._chain.traces:
            return empty
        refs = [ref for ref, block in raw.items() if block.transactions]
        if self._chain.tracers.get(self.endpoint) == "trace_block":
            flat = await self._batch([("trace_block", [hex(ref.height)]) for ref in refs], list[FlatTrace] | None)
            return empty | {ref: self._read_flat(ref, raw[ref], f) for ref, f in zip(refs, flat, strict=True)}
        calls = [("debug_traceBlockByHash", [ref.hash, {"tracer": "callTracer"}]) for ref in refs]
        trees = await self._batch(calls, list[TracedTx] | None)
        return empty | {ref: self._read_trees(ref, raw[ref], t) for ref, t in zip(refs, trees, strict=True)}

    def _read_trees(self, ref: BlockRef, block: FullBlock, trees: Sequence[TracedTx] | None) -> Internals:
        if trees is None:
            raise Transient(f"{self._where()} has no traces of block {ref.height} yet")
        txs = [tx for tx in block.transactions if len(trees) == len(block.transactions) or not _is_state_sync(tx)]
        if len(txs) != len(trees):
            raise Inconsistent(f"{self._where()}: {len(trees)} traces of {len(txs)} transactions in {ref.height}")
        internals: dict[str, Sequence[Internal]] = {}
        for tx, tree in zip(txs, trees, strict=True):
            if tree.result is None or (tree.tx_hash is not None and tree.tx_hash.lower() != tx.hash.lower()):
                raise Inconsistent(f"{self._where()}: no trace of {tx.hash:.66}: {tree.error or 'another one'!s:.80}")
            internals[hash32(tx.hash)] = list(from_frame(tree.result))
        return internals

    def _read_flat(self, ref: BlockRef, block: FullBlock, traces: Sequence[FlatTrace] | None) -> Internals:
        if traces is None:
            raise Transient(f"{self._where()} has no traces of block {ref.height} yet")
        by_tx: dict[str, list[FlatTrace]] = {}
        for trace in traces:
            if (trace.block_hash or "").lower() != ref.hash:
                raise Inconsistent(f"{self._where()}: a trace is of another block than {ref.height}")
            if trace.transaction_hash is not None:
                by_tx.setdefault(hash32(trace.transaction_hash), []).append(trace)
        for tx in block.transactions:
            if hash32(tx.hash) not in by_tx and not _is_state_sync(tx):
                raise Inconsistent(f"{self._where()}: no trace of {tx.hash:.66}")
        return {txid: list(from_flat(group)) for txid, group in by_tx.items()}

    # -- quorum ----------------------------------------------------------------------------------

    async def _confirm_large(self, quorum: Quorum, block: Block) -> None:
        """Have large payments shown alike by other endpoints; until enough do, wait."""
        large = quorum.large(block.transfers)
        if not large:
            return

        async def agrees(endpoint: Endpoint) -> bool:
            other = EvmView(self._chain, endpoint, block.ref, self.final)  # another block there is Inconsistent
            (same,) = await other._read(block.ref.height, block.ref.height)
            return same.ref.same(block.ref) and set(large) <= set(same.transfers)

        what = f"{self._where()}: a large payment in block {block.ref.height}"
        await quorum.confirm(self._on, agrees, what)

    # -- asking ----------------------------------------------------------------------------------

    def _where(self) -> str:
        return f"{self._chain.names.chain}: {self.endpoint}"

    async def _call(self, method: str, params: Sequence[Any], result: Any) -> Any:
        return await self._chain.rpc.call(method, params, result=result, on=self._on)

    async def _batch(self, calls: Sequence[tuple[str, Sequence[Any]]], result: Any) -> list[Any]:
        """Ask many things of this endpoint; the first error among the answers is raised."""
        if not calls:
            return []
        answers: list[Any] = await self._chain.rpc.batch(calls, result=result, on=self._on)
        for answer in answers:
            if isinstance(answer, RpcError):
                raise answer
        return answers


class PendingBlock(msgspec.Struct, rename="camel"):
    """A block that is not yet one: it has neither hash nor number."""

    parent_hash: str
    transactions: list[Tx]


def _spends(tx: Tx) -> tuple[str, ...]:
    """Return the nonce that a transaction uses up, as ``account:nonce``."""
    return () if tx.nonce is None else (f"{checksum(tx.sender.lower())}:{quantity(tx.nonce, 'nonce')}",)


def _is_state_sync(tx: Tx) -> bool:
    """Polygon's bridge writes its state with a transaction from and to nobody."""
    return tx.sender == ZERO_ADDRESS and tx.to == ZERO_ADDRESS
