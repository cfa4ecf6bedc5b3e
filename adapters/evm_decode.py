"""Recorded EVM data to transfers (``chainwatch decode``): every transfer, ours or not.

Each document is a signed transaction or a block in RLP (bytes, or hex), or JSON, bare or in a JSON-RPC envelope:
a block (``eth_getBlockBy…``), transactions, receipts, logs, traces of either dialect, or lists of them; or a
request/response pair as ``ethereum/execution-apis`` records them (``>>`` and ``<<`` lines).  Several documents are
read together: a receipt tells whether a block's transaction succeeded, a trace what its contracts sent.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from chainwatch.adapters.evm_raw import looks_raw, read_raw
from chainwatch.adapters.evm_traces import FlatTrace, Internal, TracedTx, from_flat, from_frame, top_failed
from chainwatch.adapters.evm_transfers import STATE_SYNC_TOKEN, Names, in_transaction, of_internal, of_log
from chainwatch.adapters.evm_types import Header, Log, Receipt, Tx, erc20_transfer, hash32, quantity
from chainwatch.errors import Inconsistent, Rejected
from chainwatch.model import BlockRef, ChainSpec, InBlock, Transfer

MIN_RAW_HEX = 2 * 90
"""Digits of the shortest signed transaction: two 32-byte signature halves, a receiver, some numbers."""
_RAW_HEX = re.compile(r"0x([0-9a-fA-F]{2})+", re.ASCII)

MAX_ITEMS = 1_000_000
"""Items in all documents together: a thousand of the fullest blocks; more is not one recording."""


class RecordedTx(Tx):
    """A transaction that says where it was included (null while it is pending)."""

    block_hash: str | None = None
    block_number: str | None = None


class RecordedBlock(Header, kw_only=True):
    """A block whose transactions may be hashes alone (``eth_getBlockByNumber(n, false)``)."""

    transactions: list[Any]
    # Headers of clients that were trimmed by hand lack fields that nothing here needs.
    timestamp: str = "0x0"


class RecordedLog(Log):
    """A log that says where it was found."""

    block_number: str | None = None


class Recording(msgspec.Struct):
    """Everything that the documents hold, sorted by kind and joined by transaction."""

    blocks: dict[str, InBlock] = {}
    txs: dict[str, RecordedTx] = {}
    receipts: dict[str, Receipt] = {}
    logs: list[RecordedLog] = []
    internals: dict[str, dict[str, Internal]] = {}
    """By transaction and index: both trace dialects may tell of the same call."""
    failed: dict[str, bool] = {}
    """Did the transaction's own call fail, by its trace?"""
    trees: list[list[TracedTx]] = []
    orders: list[list[str]] = []
    """Transaction hashes of each block in order: ``callTracer`` trees of older nodes have no other name."""
    items: int = 0


def decode_documents(documents: Sequence[bytes], spec: ChainSpec) -> Iterator[Transfer]:
    """Yield every transfer in the documents, by transaction in the order they were first seen.

    A log without its receipt has no known place inside it: its ``index`` is empty, as is the transaction id of a
    trace that nothing names.  Raises ``Rejected``: ``not_json``, ``not_chain_data``, ``node_error``, ``too_large``.
    """
    recording = Recording()
    for document in documents:
        for value in _values(document):
            _sort_in(value, recording)
    try:
        _name_trees(recording)
        yield from _transfers(recording, Names.of(spec))
    except Inconsistent as error:
        raise Rejected("not_chain_data", str(error)) from error


# -- documents to values -------------------------------------------------------------------------


def _values(document: bytes) -> Iterator[Any]:
    """Yield the JSON values of one document, out of their envelopes."""
    if looks_raw(document):
        yield read_raw(document)
        return
    lines = document.splitlines()
    if any(line.startswith(b">>") for line in lines):
        document = b"\n".join(line[2:] for line in lines if line.startswith(b"<<"))
    for value in _parse(document):
        while isinstance(value, dict) and value.keys() & {"result", "error"} and not value.keys() & _NOT_ENVELOPE:
            value = _result(value)
        # ``eth_getRawTransactionByHash``; what other methods answer in hex is no signed transaction
        yield read_raw(bytes.fromhex(value[2:])) if _is_raw_hex(value) else value


def _result(envelope: Mapping[str, Any]) -> Any:
    """Return what an envelope holds: None is "not found"; an error is no answer at all."""
    if envelope.get("error") is not None:
        raise Rejected("node_error", f"the recording is a node's error: {envelope['error']!r:.200}")
    return envelope.get("result")


_NOT_ENVELOPE = frozenset({"action", "calls", "txHash", "type"})
"""Keys of traces, which have a ``result`` or an ``error`` of their own."""


def _is_raw_hex(value: Any) -> bool:
    return isinstance(value, str) and len(value) >= MIN_RAW_HEX and _RAW_HEX.fullmatch(value) is not None


def _parse(document: bytes) -> list[Any]:
    text = document.strip()
    if len(text) >= MIN_RAW_HEX and re.fullmatch(rb"(0x)?([0-9a-fA-F]{2})+", text):
        return ["0x" + text.decode().removeprefix("0x")]
    try:
        return [msgspec.json.decode(document)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        if values := list(msgspec.json.Decoder().decode_lines(document)):
            return values
        raise Rejected("not_json", "an empty document")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected("not_json", f"not JSON: {error}") from error


# -- values to a recording -----------------------------------------------------------------------


def _sort_in(value: Any, into: Recording) -> None:
    """Add one value, or each of a list, to the recording."""
    if value is None:
        return None
    if not isinstance(value, list):
        return _sort_one(value, into)
    if value and all(isinstance(item, dict) and _kind(item) == "tree" for item in value):
        _count(into, len(value))
        into.trees.append(_convert([_as_traced(item) for item in value], list[TracedTx]))
        return None
    if value and all(isinstance(item, dict) and _kind(item) == "flat" for item in value):
        _count(into, len(value))
        return _add_flat(_convert(value, list[FlatTrace]), into)
    for item in value:
        if isinstance(item, list):
            raise Rejected("not_chain_data", "a list of lists is no EVM data")
        for inner in _values_of(item):
            _sort_one(inner, into)
    return None


def _values_of(item: Any) -> Iterator[Any]:
    """Yield what an item of a list holds: a batch answer is a list of envelopes."""
    if isinstance(item, dict) and "jsonrpc" in item:
        result = _result(item)
        yield from result if isinstance(result, list) else [] if result is None else [result]
    else:
        yield item


def _sort_one(value: Any, into: Recording) -> None:
    _count(into, 1)
    kind = _kind(value) if isinstance(value, dict) else None
    if kind == "block":
        _add_block(_convert(value, RecordedBlock), into)
    elif kind == "receipt":
        receipt = _convert(value, Receipt)
        into.receipts[hash32_of(receipt.transaction_hash)] = receipt
    elif kind == "tx":
        tx = _convert(value, RecordedTx)
        into.txs[hash32_of(tx.hash)] = tx
    elif kind == "log":
        into.logs.append(_convert(value, RecordedLog))
    elif kind == "tree":
        into.trees.append(_convert([_as_traced(value)], list[TracedTx]))
    elif kind == "flat":
        _add_flat([_convert(value, FlatTrace)], into)
    else:
        raise Rejected("not_chain_data", "no block, transaction, receipt, log or trace of an EVM chain")


def _kind(value: Mapping[str, Any]) -> str | None:
    """Tell what an object is by the fields that only its kind has."""
    keys = value.keys()
    if "parentHash" in keys and "transactions" in keys:
        return "block"
    if "transactionHash" in keys and "logs" in keys:
        return "receipt"
    if {"topics", "data", "transactionHash"} <= keys:
        return "log"
    if "action" in keys and "traceAddress" in keys:
        return "flat"
    if {"hash", "from", "value"} <= keys:
        return "tx"
    inner = value.get("result")
    if isinstance(inner, dict) and "type" in inner and len(keys & {"jsonrpc", "id"}) == 0:
        return "tree"
    if {"type", "from", "gasUsed"} <= keys or ("type" in keys and "calls" in keys):
        return "tree"
    return None


def _as_traced(item: dict[str, Any]) -> dict[str, Any]:
    """Wrap a bare ``callTracer`` frame as ``debug_traceBlock…`` would."""
    return item if isinstance(item.get("result"), dict) else {"result": item}


def _convert(value: Any, shape: Any) -> Any:
    try:
        return msgspec.convert(value, shape)
    except (msgspec.ValidationError, RecursionError) as error:
        raise Rejected("not_chain_data", str(error)) from error


def _count(into: Recording, n: int) -> None:
    into.items += n
    if into.items > MAX_ITEMS:
        raise Rejected("too_large", f"more than {MAX_ITEMS} items")


def hash32_of(text: str) -> str:
    """Return a hash in lower case; ``Rejected`` for what is none."""
    try:
        return hash32(text)
    except Inconsistent as error:
        raise Rejected("not_chain_data", str(error)) from error


def _add_block(block: RecordedBlock, into: Recording) -> None:
    try:
        position = InBlock(block.ref, block.time_ms)
    except Inconsistent as error:
        raise Rejected("not_chain_data", str(error)) from error
    into.blocks[position.block.hash] = position
    _count(into, len(block.transactions))
    order = []
    for item in block.transactions:
        if isinstance(item, str):
            order.append(hash32_of(item))
        elif isinstance(item, dict) and {"hash", "from", "value"} <= item.keys():
            tx = _convert(item, RecordedTx)
            tx.block_hash, tx.block_number = position.block.hash, block.number
            into.txs[hash32_of(tx.hash)] = tx
            order.append(hash32_of(tx.hash))
        # else: an object with nothing but a hash, which some clients' own samples have: no transfer is told of
    into.orders.append(order)


def _add_flat(traces: Iterable[FlatTrace], into: Recording) -> None:
    by_tx: dict[str, list[FlatTrace]] = {}
    for trace in traces:
        if trace.transaction_hash is not None:
            by_tx.setdefault(hash32_of(trace.transaction_hash), []).append(trace)
    for txid, group in by_tx.items():
        try:
            into.internals.setdefault(txid, {}).update((i.index, i) for i in from_flat(group))
        except Inconsistent as error:
            raise Rejected("not_chain_data", str(error)) from error
        failed = top_failed(group)
        if failed is not None:
            into.failed[txid] = failed


def _name_trees(recording: Recording) -> None:
    """Give each ``callTracer`` tree its transaction: its own word, else its place in a block of as many."""
    for trees in recording.trees:
        order = next((o for o in recording.orders if len(o) == len(trees)), None)
        for i, tree in enumerate(trees):
            if tree.result is None:
                continue
            txid = hash32(tree.tx_hash) if tree.tx_hash else order[i] if order else f"{_UNNAMED}{i}"
            recording.internals.setdefault(txid, {}).update((i.index, i) for i in from_frame(tree.result))
            recording.failed[txid] = bool(tree.result.error)


_UNNAMED = "?"
"""Begins the key of a trace whose transaction the data does not name."""


# -- a recording to transfers --------------------------------------------------------------------


def _transfers(recording: Recording, names: Names) -> Iterator[Transfer]:
    known = dict.fromkeys([*recording.txs, *recording.receipts])
    for txid in known:
        tx, receipt = recording.txs.get(txid), recording.receipts.get(txid)
        failed = recording.failed.get(txid)
        yield from in_transaction(
            names,
            _position(recording, tx, receipt),
            tx,
            receipt,
            list(recording.internals.get(txid, {}).values()),
            ok=None if failed is None else not failed,
        )
    for txid, internals in recording.internals.items():
        if txid not in known:
            for internal in internals.values():
                yield of_internal(names, internal, "" if txid.startswith(_UNNAMED) else txid, None)
    for log in recording.logs:
        txid = hash32(log.transaction_hash) if log.transaction_hash else ""
        transfer = erc20_transfer(log)
        if txid in recording.receipts or transfer is None or transfer.contract == STATE_SYNC_TOKEN:
            continue  # told of by its receipt, or no token transfer
        index = f"l{quantity(log.transaction_log_index, 'log index')}" if log.transaction_log_index else ""
        where = _place(recording, log.block_hash, log.block_number)
        yield of_log(names, transfer, txid, index, where, ok=None if log.removed else True)


def _position(recording: Recording, tx: RecordedTx | None, receipt: Receipt | None) -> InBlock | None:
    if tx is not None and tx.block_hash is not None:
        return _place(recording, tx.block_hash, tx.block_number)
    return _place(recording, receipt.block_hash, receipt.block_number) if receipt is not None else None


def _place(recording: Recording, block_hash: str | None, number: str | None) -> InBlock | None:
    """Return the block at hand, or as much of it as an item says itself."""
    if block_hash is None or number is None:
        return None
    block_hash = hash32(block_hash)
    return recording.blocks.get(block_hash) or InBlock(BlockRef(quantity(number, "block number"), block_hash))
