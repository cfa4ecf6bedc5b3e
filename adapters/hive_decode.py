"""Recorded Hive data to transfers (``chainwatch decode``): every transfer, ours or not.

Each document is one JSON value, bare or in a JSON-RPC envelope: blocks (``block_api``, ``condenser_api``, REST),
transactions, operations with their place (``get_ops_in_block``, ``enum_virtual_ops``, ``get_account_history``,
REST), bare operations, or a stream of flat events (``{"type": "transfer", "from": …, "trx_id": …}``).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from chainwatch.adapters.hive_memo import ENCRYPTED
from chainwatch.adapters.hive_wire import Assets, Movement, height_of, is_txid, time_ms, virtual_number, virtual_txid
from chainwatch.errors import Inconsistent, Rejected
from chainwatch.model import BlockRef, ChainSpec, InBlock, Transfer

MAX_ITEMS = 1_000_000
"""Operations in all documents together: an hour of full blocks; more is not one recording."""

_TYPE = re.compile(r"[a-z][a-z0-9_]{2,63}", re.ASCII)
_MOVES = frozenset({"transfer", "fill_recurrent_transfer"})
"""The operations that move value to somebody's disposal."""

Json = Mapping[str, Any]


class Place(msgspec.Struct, frozen=True):
    """Where an operation stood, as far as the data tells."""

    txid: str = ""
    number: int | None = None
    position: InBlock | None = None


def decode_documents(documents: Sequence[bytes], spec: ChainSpec) -> Iterator[Transfer]:
    """Yield every transfer in the documents, each once, in their order.

    Raises ``Rejected``: ``not_json``, ``not_chain_data``, ``node_error``, ``too_large``.
    """
    recording = _Recording(spec)
    for document in documents:
        recording.read(_result(_parse(document)))
    yield from recording.found


# -- documents to values -------------------------------------------------------------------------


def _parse(document: bytes) -> Any:
    try:
        return msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected("not_json", f"not JSON: {error}") from error


def _result(value: Any) -> Any:
    """Take a value out of its envelope; an error is no answer at all."""
    if isinstance(value, dict) and "result" not in value:
        error = value.get("error")
        if error is not None or {"code", "message"} <= value.keys():
            raise Rejected("node_error", f"the recording is a node's error: {error or value!r:.200}")
    if isinstance(value, dict) and "result" in value:
        inner = value["result"]
        return None if inner == {} else inner  # both are "not found"
    if value is None:
        raise _strange(value)
    return value


def _strange(value: Any) -> Rejected:
    return Rejected("not_chain_data", f"no block, transaction or operation of Hive: {value!r:.80}")


def _dict(value: Any) -> Json:
    if not isinstance(value, dict):
        raise _strange(value)
    return value


def _list(value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        raise _strange(value)
    return value


def _int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _strange(value)
    return value


# -- values to transfers -------------------------------------------------------------------------


class _Recording:
    """What the documents hold so far."""

    def __init__(self, spec: ChainSpec) -> None:
        self.found: list[Transfer] = []
        self._code, self._assets = spec.code, Assets.of(spec)
        self._keys: set[tuple[str, str, str]] = set()
        self._items = 0

    def read(self, value: Any) -> None:
        """Read one document: an object of a known shape, or a list of such."""
        try:
            if value is None:
                return
            if isinstance(value, list) and not _is_operation(value):
                for item in value:
                    self._item(item)
            else:
                self._item(value)
        except (Inconsistent, ValueError) as error:
            raise Rejected("not_chain_data", str(error)) from error

    def _item(self, item: Any) -> None:
        if isinstance(item, list):
            if _is_operation(item):
                self._operation(item, Place())
            elif len(item) == 2 and isinstance(item[0], int) and isinstance(item[1], dict):
                self._applied(item[1])  # get_account_history: [number in the account's history, operation]
            else:
                raise _strange(item)
            return
        value = _dict(item)
        for keys, reader in self._shapes():
            if keys <= value.keys():
                reader(value)
                return
        raise _strange(item)

    def _shapes(self) -> Sequence[tuple[frozenset[str], Callable[[Json], None]]]:
        """Return the shapes of objects, the more telling ones first, by the keys that they all have."""
        return (
            (frozenset({"ops_by_block"}), self._grouped),
            (frozenset({"blocks"}), lambda v: self._each(v["blocks"], self._block)),
            (frozenset({"block", "op"}), self._applied),
            (frozenset({"block"}), lambda v: self._block(v["block"])),
            (frozenset({"previous", "transactions"}), self._block),
            (frozenset({"ops"}), lambda v: self._each(v["ops"], self._applied)),
            (frozenset({"operations_result"}), lambda v: self._each(v["operations_result"], self._applied)),
            (frozenset({"history"}), self._history),
            (frozenset({"transaction_json"}), lambda v: self._transaction({**_dict(v["transaction_json"]), **v})),
            (frozenset({"operations"}), self._transaction),
            (frozenset({"type", "value"}), lambda v: self._operation(v, Place())),
            (frozenset({"type", "trx_id"}), self._event),
        )

    def _each(self, items: Any, reader: Callable[[Json], None]) -> None:
        for item in _list(items):
            reader(_dict(item))

    def _history(self, value: Json) -> None:
        for entry in _list(value["history"]):
            if len(_list(entry)) != 2:
                raise _strange(entry)
            self._applied(_dict(entry[1]))

    def _grouped(self, value: Json) -> None:
        """``enum_virtual_ops``: flat, or by block."""
        self._each(value.get("ops", []), self._applied)
        for group in _list(value["ops_by_block"]):
            self._each(_dict(group).get("ops"), self._applied)

    def _block(self, value: Json) -> None:
        if "transactions" not in value or "timestamp" not in value:
            raise _strange(value)
        ref = BlockRef(height_of(str(value.get("block_id"))), value["block_id"], str(value.get("previous", "")))
        position = InBlock(ref, time_ms(str(value["timestamp"])))
        txs, ids = _list(value["transactions"]), _list(value.get("transaction_ids", []))
        if ids and len(ids) != len(txs):
            raise Inconsistent(f"block {ref.height} does not name all its transactions")
        for i, tx in enumerate(txs):
            self._operations(_dict(tx), str(ids[i]) if ids else str(tx.get("transaction_id", "")), position)

    def _transaction(self, value: Json) -> None:
        position = None
        if "block_num" in value:
            at_ms = time_ms(str(value["timestamp"])) if "timestamp" in value else 0
            position = InBlock(BlockRef(_int(value["block_num"]), ""), at_ms)
        self._operations(value, str(value.get("transaction_id", "")), position)

    def _operations(self, tx: Json, txid: str, position: InBlock | None) -> None:
        for number, op in enumerate(_list(tx.get("operations"))):
            self._operation(op, Place(txid if is_txid(txid) else "", number, position))

    def _applied(self, value: Json) -> None:
        """An operation with the place where it was applied."""
        if not {"op", "block", "timestamp"} <= value.keys():
            raise _strange(value)
        number = _int(value.get("op_in_trx", value.get("op_pos", 0)))
        self._operation(value["op"], self._place(value, value["block"], number))

    def _event(self, value: Json) -> None:
        """A flat operation with its place beside its own fields."""
        number = _int(value.get("op_in_trx", 0))
        self._operation({"type": value["type"], "value": value}, self._place(value, value.get("block_num"), number))

    def _place(self, value: Json, block: Any, number: int) -> Place:
        height = _int(block)
        at_ms = time_ms(str(value["timestamp"])) if "timestamp" in value else 0
        position = InBlock(BlockRef(height, ""), at_ms)
        txid = str(value.get("trx_id") or "")
        if is_txid(txid):
            return Place(txid, number, position)
        virtual = value.get("virtual_op", True)
        return Place(virtual_txid(height), virtual_number(number, virtual), position)

    def _operation(self, op: Any, place: Place) -> None:
        self._items += 1
        if self._items > MAX_ITEMS:
            raise Rejected("too_large", f"more than {MAX_ITEMS} operations")
        name, body = _named(op)
        if name not in _MOVES:
            return
        try:
            movement = msgspec.convert(dict(body), Movement)
        except msgspec.ValidationError as error:
            raise Inconsistent(f"unexpected {name}: {error}") from error
        amount, asset, asset_id = self._assets.read(movement.amount)
        flags = ["memo_unreadable"] if ENCRYPTED.fullmatch(movement.memo) else []
        if movement.sender == movement.to:
            flags.append("internal")
        transfer = Transfer(
            chain=self._code,
            txid=place.txid,
            index="" if place.number is None else str(place.number),
            asset=asset,
            asset_id=asset_id,
            amount=amount,
            to=movement.to,
            sender=(movement.sender,),
            memo=movement.memo.encode(),
            ok=None if place.position is None else True,
            position=place.position,
            flags=tuple(flags),
        )
        if place.txid:  # the same operation may stand in two of the documents
            if transfer.key in self._keys:
                return
            self._keys.add(transfer.key)
        self.found.append(transfer)


def _is_operation(value: Sequence[Any]) -> bool:
    """Is this ``["transfer", {…}]``?"""
    return len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict)


def _named(op: Any) -> tuple[str, Json]:
    """Return an operation's name without its suffix, and its body, from either form."""
    if isinstance(op, list) and _is_operation(op):
        name, body = op
    elif isinstance(op, dict) and isinstance(op.get("type"), str) and isinstance(op.get("value"), dict):
        name, body = op["type"], op["value"]
    else:
        raise _strange(op)
    if not _TYPE.fullmatch(name):
        raise _strange(op)
    return name.removesuffix("_operation"), body
