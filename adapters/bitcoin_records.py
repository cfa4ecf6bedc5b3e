"""Recorded data of the Bitcoin family -> ``Transfer``s: every output of every transaction, ours or not.

Read are raw blocks and transactions (bytes, hex, or hex in a JSON-RPC result), ``getblock`` 1 to 3 and
``getrawtransaction`` verbose of any version of Core, Esplora's blocks' and addresses' transactions.
Addresses come from the scripts, so that a node's spelling of them (``addresses`` before 22.0, ``address``
after) does not matter.  Outputs of a coinbase transaction are block rewards and left out.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from chainwatch.adapters.rawblock import Tx, height_in_coinbase, read_block, read_tx
from chainwatch.adapters.scripts import Prefixes, memo_of, prefixes, to_address, to_script
from chainwatch.adapters.utxo import format_of
from chainwatch.errors import Misconfigured, Rejected
from chainwatch.model import BlockRef, ChainSpec, InBlock, Position, Transfer

LARGEST_DOCUMENT = 256 * 1024**2
"""Bytes: the largest block in verbosity 3 is a few dozen megabytes."""
MOST_COINS = 10**15
"""More coins than any chain of this family will have (Dogecoin: 10^11 and slowly growing)."""
NESTING = 4
"""Levels of envelope and list around the data: a batch of results that are lists has three."""


class _Script(msgspec.Struct):
    hex: str | None = None
    address: str | None = None
    addresses: list[str] | None = None


class _Output(msgspec.Struct):
    value: Decimal
    n: int | None = None
    scriptPubKey: _Script | None = None
    scriptpubkey: str | None = None
    scriptpubkey_address: str | None = None


class _Input(msgspec.Struct):
    coinbase: str | None = None
    is_coinbase: bool = False
    prevout: _Output | None = None


class _Status(msgspec.Struct):
    block_height: int | None = None
    block_hash: str = ""
    block_time: int = 0


class _Tx(msgspec.Struct):
    txid: str | None = None
    hex: str | None = None
    vin: list[_Input] = []
    vout: list[_Output] | None = None
    status: _Status | None = None


class _Block(msgspec.Struct):
    hash: str
    height: int
    tx: list[_Tx | str]
    time: int = 0
    previousblockhash: str | None = None
    block: str | None = None
    """The raw block beside its description, as some recorders keep it."""


def decode(documents: Sequence[bytes], spec: ChainSpec) -> Iterator[Transfer]:
    """Yield every transfer in the documents, each once; they may describe one block together.

    ``Rejected`` for other data.
    """
    reader = _Reader(spec)
    found: dict[tuple[str, str, str], Transfer] = {}
    for document in documents:
        if len(document) > LARGEST_DOCUMENT:
            raise Rejected("too_large", f"a document of more than {LARGEST_DOCUMENT} bytes")
        for transfer in reader.document(document):
            known = found.get(transfer.key, transfer)
            told = {"position": known.position or transfer.position, "sender": known.sender or transfer.sender}
            found[transfer.key] = msgspec.structs.replace(known, **told)
    for transfer in found.values():
        yield reader.placed(transfer)


class _Reader:
    """Reads documents; remembers the blocks that list a transaction only by its id."""

    def __init__(self, spec: ChainSpec) -> None:
        self._spec, self._form = spec, format_of(spec)
        self._main = prefixes(spec.params, spec.options, spec.chain_id)
        self._networks = [self._main, *_others(spec.params)]
        self._listed: dict[str, Position] = {}

    def document(self, document: bytes) -> list[Transfer]:
        text = document.strip()
        if text[:1] in (b"{", b"[", b'"'):
            return list(self._json(msgspec.Raw(text), NESTING))
        if re.fullmatch(rb"(?:0[xX])?[0-9a-fA-F\s]+", text):
            whole = b"".join(text.split())
            try:
                return self._raw(_unhex(whole))
            except Rejected:
                lines = text.split()
                if len(lines) == 1:
                    raise
                return [t for line in lines for t in self._raw(_unhex(line))]
        return self._raw(document)

    def placed(self, transfer: Transfer) -> Transfer:
        """Add the block that another document told."""
        if transfer.position is None and transfer.txid in self._listed:
            return msgspec.structs.replace(transfer, position=self._listed[transfer.txid])
        return transfer

    # -- raw ---------------------------------------------------------------------------------------

    def _raw(self, data: bytes, height: int | None = None) -> list[Transfer]:
        try:
            return self._transaction(read_tx(data, self._form), None)
        except Rejected as no_tx:
            try:
                block = read_block(data, self._form)
            except Rejected as error:
                raise Rejected(error.code, f"neither block nor transaction: {error}; {no_tx}") from error
        height = height_in_coinbase(data, block.header, self._form) if height is None else height
        position = None
        if height is not None and self._form.sha256d_id:
            ref = BlockRef(height, block.header.id, block.header.parent)
            position = InBlock(ref, block.header.time * 1000)
        return [t for tx in block.txs for t in self._transaction(tx, position)]

    def _transaction(self, tx: Tx, position: Position | None) -> list[Transfer]:
        if tx.coinbase:
            return []
        outputs = [(n, amount, script, None) for n, (amount, script) in enumerate(tx.outputs)]
        return self._transfers(tx.txid, outputs, (), position)

    # -- JSON --------------------------------------------------------------------------------------

    def _json(self, raw: msgspec.Raw, depth: int) -> Iterator[Transfer]:
        shape = _read(raw, dict[str, msgspec.Raw] | list[msgspec.Raw] | str)
        if isinstance(shape, str):
            yield from self._raw(_unhex(shape.encode()))
        elif depth == 0:
            raise Rejected("malformed", "nested too deeply")
        elif isinstance(shape, list):
            for item in shape:
                yield from self._json(item, depth - 1)
        elif "result" in shape:
            if "error" in shape and bytes(shape["error"]) != b"null":
                raise Rejected("node_error", f"the node's answer is an error: {bytes(shape['error'])[:200]!r}")
            yield from self._json(shape["result"], depth - 1)
        elif "vout" in shape or "hex" in shape:
            yield from self._described_tx(_read(raw, _Tx), None)
        elif "tx" in shape:
            yield from self._described_block(_read(raw, _Block))
        elif "error" in shape:
            raise Rejected("node_error", f"the node's answer is an error: {bytes(shape['error'])[:200]!r}")
        else:
            raise Rejected("malformed", "neither a block nor a transaction of this chain")

    def _described_block(self, block: _Block) -> list[Transfer]:
        ref = BlockRef(block.height, block.hash, block.previousblockhash or "")
        position = InBlock(ref, block.time * 1000)
        if block.block is not None:
            return [
                msgspec.structs.replace(t, position=position)
                for t in self._raw(_unhex(block.block.encode()), block.height)
            ]
        found: list[Transfer] = []
        for tx in block.tx:
            if isinstance(tx, str):  # verbosity 1: only where the transaction stands
                self._listed[tx] = position
            else:
                found += self._described_tx(tx, position)
        return found

    def _described_tx(self, tx: _Tx, position: Position | None) -> list[Transfer]:
        if tx.status is not None and tx.status.block_height is not None:
            ref = BlockRef(tx.status.block_height, tx.status.block_hash)
            position = InBlock(ref, tx.status.block_time * 1000)
        if tx.vout is None:
            if tx.hex is None:
                raise Rejected("malformed", "a transaction without outputs")
            plain = read_tx(_unhex(tx.hex.encode()), self._form)
            if tx.txid not in (None, plain.txid):
                raise Rejected("malformed", "a transaction whose id is not that of its bytes")
            return self._transaction(plain, position)
        if not tx.txid or len(tx.txid) > 64:
            raise Rejected("malformed", "a transaction without its id")
        if any(i.coinbase is not None or i.is_coinbase for i in tx.vin):
            return []
        outputs = [(o.n if o.n is not None else n, *self._output(o)) for n, o in enumerate(tx.vout)]
        senders = [self._address(*self._output(i.prevout)[1:]) for i in tx.vin if i.prevout is not None]
        return self._transfers(tx.txid, outputs, tuple(dict.fromkeys(s for s in senders if s)), position)

    def _output(self, output: _Output) -> tuple[int, bytes, str | None]:
        """Return amount in base units, script, and the address that the data tells."""
        if output.scriptpubkey is not None:  # Esplora: satoshi
            units, script, told = output.value, output.scriptpubkey, output.scriptpubkey_address
        elif output.scriptPubKey is not None and output.scriptPubKey.hex is not None:
            key = output.scriptPubKey
            told = key.address or (key.addresses[0] if key.addresses and len(key.addresses) == 1 else None)
            units, script = _units(output.value, self._spec.native.decimals), key.hex or ""
        else:
            raise Rejected("malformed", "an output without its script")
        if units != units.to_integral_value() or not 0 <= units < MOST_COINS * 10**8:
            raise Rejected("malformed", "an impossible amount")
        return int(units), _unhex(script.encode()), told

    # -- out ---------------------------------------------------------------------------------------

    def _transfers(
        self,
        txid: str,
        outputs: Sequence[tuple[int, int, bytes, str | None]],
        sender: tuple[str, ...],
        position: Position | None,
    ) -> list[Transfer]:
        memo = memo_of(script for _, _, script, _ in outputs)
        return [
            Transfer(
                chain=self._spec.code,
                txid=txid,
                index=str(n),
                asset=self._spec.native.code,
                amount=amount,
                to=self._address(script, told),
                sender=sender,
                memo=memo,
                position=position,
            )
            for n, amount, script, told in outputs
        ]

    def _address(self, script: bytes, told: str | None) -> str | None:
        """Return the script's address; what the data tells only decides which network's spelling it is."""
        if told is not None:
            for known in self._networks:
                try:
                    if to_script(told, known) == script:
                        return to_address(script, known)
                except Misconfigured:
                    continue
        return to_address(script, self._main)


def _others(params: Mapping[str, Any]) -> Iterator[Prefixes]:
    for section in params.get("networks", {}).values():
        yield prefixes(params, {}, section["genesis"])


def _units(value: Decimal, decimals: int) -> Decimal:
    if not 0 <= value < MOST_COINS:  # before scaling: 1e999999999 would take all memory
        raise Rejected("malformed", "an impossible amount")
    return value.scaleb(decimals)


def _unhex(text: bytes) -> bytes:
    try:
        return bytes.fromhex(text.decode("ascii").removeprefix("0x"))
    except ValueError as error:
        raise Rejected("malformed", "not hex") from error


def _read(raw: msgspec.Raw, shape: Any) -> Any:
    try:
        return msgspec.json.decode(raw, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected("malformed", f"not data of this chain: {error}") from error
