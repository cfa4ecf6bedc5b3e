"""Raw blocks and transactions of the Bitcoin family: bytes in, payments to watched scripts out.

``scan_block`` walks a block once and makes objects only for what concerns us; ``read_block`` and
``read_tx`` give everything, for recorded data.  Sources: Bitcoin Core ``primitives/``, BIP-141 and
BIP-144 (segwit), BIP-34 (height); Dogecoin ``auxpow.h``; Litecoin LIP-2/3 (MWEB); Dash DIP-2.
Bytes that are no block raise ``Rejected``; nothing is read past their end.
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import repeat

import msgspec

from chainwatch.errors import Rejected
from chainwatch.verifiers.encodings import EncodingError, read_compact_size

HEADER = 80
AUX_POW_VERSION = 1 << 8
"""Version bit of a merge-mined Dogecoin header; on other chains the bit means nothing."""
WITNESS, MWEB = 1, 8
"""Flags behind the zero that stands where the number of inputs would."""
NO_PREVIOUS = bytes(32)
BROKEN = (IndexError, OverflowError, EncodingError)
"""What reading past the end, and counts that no machine can count to, raise."""


class Format(msgspec.Struct, frozen=True):
    """How a chain's serialisation differs from Bitcoin's."""

    segwit: bool = True
    """A zero in place of the number of inputs announces flags (BIP-144)."""
    mweb: bool = False
    """Litecoin: flag 8, and the extension block behind the last transaction."""
    aux_pow: bool = False
    """Dogecoin: a proof of merged mining between header and transactions."""
    special: bool = False
    """Dash: from version 3 on the upper half of the version is a type, and a payload follows (DIP-2)."""
    sha256d_id: bool = True
    """A block's id is the double SHA-256 of its header (Dash: X11, which we take from the node)."""


class Header(msgspec.Struct, frozen=True):
    """The fields of a block header that are used; hashes in display order (byte-reversed hex)."""

    version: int
    parent: str
    merkle_root: bytes
    time: int
    id: str
    """Double SHA-256 of the header, as text."""


class Tx(msgspec.Struct, frozen=True):
    """One transaction: id, what it spends ``(txid, vout)``, what it pays ``(amount, scriptPubKey)``."""

    txid: str
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[int, bytes], ...]
    coinbase: bool


class RawBlock(msgspec.Struct, frozen=True):
    """A block: ``txs`` are all of it, or those with an output to a watched script."""

    header: Header
    count: int
    txs: tuple[Tx, ...]


Span = tuple[int, int, int, int]
"""Where a transaction's parts stand: its start, its first input count, the end of its outputs, its end."""


class Found(msgspec.Struct, frozen=True):
    """What stands in a block: its transactions' places, and by index those that concern us, once for each reason."""

    header: Header
    spans: list[Span]
    hits: list[int]


def find(data: bytes, watched: Container[bytes], form: Format, spent: Container[bytes] = ()) -> Found:
    """Look for transactions that pay a watched script, or spend an outpoint in ``spent`` (36 bytes, as on the wire).

    Read to its last byte, and not proved: that the header commits to what was found MUST be asked by the caller.
    """
    try:
        header, position = _read_start(data, form)
        count, position = read_compact_size(data, position)
        spans, hits, position = _walk(data, position, count, watched, form, spent)
        _check_end(data, position, spans, form)
    except BROKEN as error:
        raise Rejected("malformed", f"no block: {error}") from error
    return Found(header, spans, hits)


def scan_block(data: bytes, watched: Container[bytes], form: Format, spent: Container[bytes] = ()) -> RawBlock:
    """``find`` in a block that is proved against its merkle root, whether or not something in it is ours.

    No node can slip a payment into an honest header, or keep one out.
    """
    found = find(data, watched, form, spent)
    _prove(data, found.header, found.spans)
    try:
        txs = tuple(_read_tx(data, found.spans[i]) for i in dict.fromkeys(found.hits))
    except BROKEN as error:
        raise Rejected("malformed", f"no block: {error}") from error
    return RawBlock(found.header, len(found.spans), txs)


def read_block(data: bytes, form: Format) -> RawBlock:
    """Return a block with every transaction, proved against its merkle root."""
    found = find(data, (), form)
    _prove(data, found.header, found.spans)
    try:
        return RawBlock(found.header, len(found.spans), tuple(_read_tx(data, span) for span in found.spans))
    except BROKEN as error:
        raise Rejected("malformed", f"no block: {error}") from error


def read_tx(data: bytes, form: Format) -> Tx:
    """Return a single transaction as ``getrawtransaction`` gives it."""
    try:
        spans, _, position = _walk(data, 0, 1, (), form)
        if position != len(data):
            raise EncodingError(f"{len(data) - position} bytes behind its end")
        tx = _read_tx(data, spans[0])
        if not tx.inputs and not tx.outputs and not (form.special and _is_special(data, 0)):
            raise EncodingError("it spends nothing and pays nothing")
        return tx
    except BROKEN as error:
        raise Rejected("malformed", f"no transaction: {error}") from error


def read_header(data: bytes) -> Header:
    """Return a block header; ``Rejected`` unless there are 80 bytes."""
    if len(data) < HEADER:
        raise Rejected("malformed", "no block: shorter than a header")
    return Header(
        version=int.from_bytes(data[:4], "little", signed=True),
        parent=data[35:3:-1].hex(),
        merkle_root=data[36:68],
        time=int.from_bytes(data[68:72], "little"),
        id=sha256(sha256(data[:HEADER]).digest()).digest()[::-1].hex(),
    )


def height_in_coinbase(data: bytes, header: Header, form: Format) -> int | None:
    """Return the height that a version 2 block writes into its coinbase (BIP-34), None where there is none."""
    if header.version < 2:
        return None
    try:
        _, position = _read_start(data, form)
        _, position = read_compact_size(data, position)
        position += 4 + (2 if data[position + 4] == 0 and form.segwit else 0)
        position += 1 + 36  # the number of inputs (one), the null outpoint
        length, position = read_compact_size(data, position)
        script = data[position : position + length]
        size = script[0]
    except BROKEN:
        return None
    if 0x51 <= size <= 0x60:  # OP_1 … OP_16: the first blocks of a test network
        return size - 0x50
    if not 1 <= size <= 5 or len(script) < 1 + size:
        return None
    return int.from_bytes(script[1 : 1 + size], "little")


# -- the walk -----------------------------------------------------------------------------------


def _read_start(data: bytes, form: Format) -> tuple[Header, int]:
    """Read the header and step over the proof of merged mining."""
    header = read_header(data)
    position = HEADER
    if form.aux_pow and header.version & AUX_POW_VERSION:
        _, _, position = _walk(data, position, 1, (), form)  # the parent chain's coinbase
        position += 32  # and its block's hash
        for _ in range(2):  # the coinbase's branch in that block, our chain's branch in the coinbase
            size, position = read_compact_size(data, position)
            position += 32 * size + 4
        position += HEADER  # the parent's header
    return header, position


def _walk(
    data: bytes, position: int, count: int, watched: Container[bytes], form: Format, spent: Container[bytes] = ()
) -> tuple[list[Span], list[int], int]:
    """Step over ``count`` transactions; return their spans, the numbers of those that concern us, the end.

    The one hot loop of this package: sizes are read in place, one byte in nearly every case, and nothing is
    copied but each output's script.  ``data[…]`` past the end raises ``IndexError``, which ends every loop
    however large a count pretends to be.
    """
    spans: list[Span] = []
    hits: list[int] = []
    extended = form.segwit
    spending = bool(spent)
    for number in range(count):
        start = position
        position += 4
        flags = 0
        if data[position] == 0 and extended:
            flags = data[position + 1]
            position += 2
        first = position
        inputs = data[position]
        position += 1
        if inputs >= 253:
            inputs, position = read_compact_size(data, first)
        for _ in repeat(None, inputs):
            if spending and data[position : position + 36] in spent:
                hits.append(number)
            length = data[position + 36]
            if length < 253:
                position += 41 + length
            else:
                length, position = read_compact_size(data, position + 36)
                position += length + 4
        outputs = data[position]
        position += 1
        if outputs >= 253:
            outputs, position = read_compact_size(data, position - 1)
        for _ in repeat(None, outputs):
            length = data[position + 8]
            if length < 253:
                position += 9
            else:
                length, position = read_compact_size(data, position + 8)
            end = position + length
            if data[position:end] in watched:
                hits.append(number)
            position = end
        last = position
        if flags == WITNESS:
            position = _witness_end(data, position, inputs)
        elif flags or form.special:
            position = _rare_tail(data, start, position, inputs, flags, form)
        elif first != start + 4:
            raise EncodingError("segwit marker without a flag")
        position += 4  # lock time
        if form.special:
            position = _payload_end(data, start, position)
        spans.append((start, first, last, position))
    if position > len(data):
        raise EncodingError("cut off")
    return spans, hits, position


def _witness_end(data: bytes, position: int, inputs: int) -> int:
    """Step over the witnesses, one for each input; sizes are read as in ``_walk``."""
    for _ in repeat(None, inputs):
        items = data[position]
        position += 1
        if items >= 253:
            items, position = read_compact_size(data, position - 1)
        for _ in repeat(None, items):
            length = data[position]
            position += 1
            if length >= 253:
                length, position = read_compact_size(data, position - 1)
            position += length
    return position


def _rare_tail(data: bytes, start: int, position: int, inputs: int, flags: int, form: Format) -> int:
    """Step over what stands between outputs and lock time when it is not just a witness."""
    if not flags:
        return position
    if not form.mweb or flags & ~(WITNESS | MWEB):
        raise EncodingError(f"unknown transaction flags {flags:#x} at {start}")
    if flags & WITNESS:
        position = _witness_end(data, position, inputs)
    if data[position] != 0:  # the integrating transaction of a block (HogEx) has an empty one
        raise Rejected("mweb", "a transaction that carries MWEB data of its own is not supported")
    return position + 1


def _payload_end(data: bytes, start: int, position: int) -> int:
    """Step over the payload of a Dash special transaction (DIP-2)."""
    if not _is_special(data, start):
        return position
    length, position = read_compact_size(data, position)
    return position + length


def _is_special(data: bytes, start: int) -> bool:
    """Has this Dash transaction a type, and so a payload?  The upper half of its version says so, from 3 on."""
    version, kind = data[start : start + 2], data[start + 2 : start + 4]
    return int.from_bytes(version, "little") >= 3 and any(kind)


def _check_end(data: bytes, position: int, spans: Sequence[Span], form: Format) -> None:
    if position == len(data):
        return
    # An MWEB block follows the transactions when the last of them is the integrating one.
    if form.mweb and spans and data[spans[-1][0] + 4] == 0 and data[spans[-1][0] + 5] & MWEB:
        return
    raise EncodingError(f"{len(data) - position} bytes behind the last transaction")


# -- one transaction ----------------------------------------------------------------------------


def _txids(data: bytes, spans: Iterable[Span]) -> list[bytes]:
    """Double SHA-256 of each, without marker, flags and witness (BIP-141), in the order of the wire."""
    return [
        sha256(
            sha256(
                data[start:end]
                if first == start + 4
                else data[start : start + 4] + data[first:last] + data[end - 4 : end]
            ).digest()
        ).digest()
        for start, first, last, end in spans
    ]


def _read_tx(data: bytes, span: Span) -> Tx:
    inputs = tuple(_inputs(data, span[1]))
    position = _outputs_start(data, span[1])
    return Tx(
        txid=_txids(data, (span,))[0][::-1].hex(),
        inputs=inputs,
        outputs=tuple(_outputs(data, position)),
        coinbase=len(inputs) == 1 and inputs[0] == (NO_PREVIOUS.hex(), 0xFFFFFFFF),
    )


def wire_outpoint(txid: str, vout: int) -> bytes:
    """Return an outpoint as it stands in an input: the id byte-reversed, the number in little endian."""
    return bytes.fromhex(txid)[::-1] + vout.to_bytes(4, "little")


def _inputs(data: bytes, position: int) -> Iterator[tuple[str, int]]:
    count, position = read_compact_size(data, position)
    for _ in range(count):
        yield data[position : position + 32][::-1].hex(), int.from_bytes(data[position + 32 : position + 36], "little")
        length, position = read_compact_size(data, position + 36)
        position += length + 4


def _outputs_start(data: bytes, position: int) -> int:
    count, position = read_compact_size(data, position)
    for _ in range(count):
        length, position = read_compact_size(data, position + 36)
        position += length + 4
    return position


def _outputs(data: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    count, position = read_compact_size(data, position)
    for _ in range(count):
        amount = int.from_bytes(data[position : position + 8], "little")
        length, position = read_compact_size(data, position + 8)
        yield amount, data[position : position + length]
        position += length


def _prove(data: bytes, header: Header, spans: Sequence[Span]) -> None:
    """``Rejected`` unless the header commits to exactly these transactions."""
    if not spans or _merkle_root(_txids(data, spans)) != header.merkle_root:
        raise Rejected("merkle_root", f"block {header.id}: its transactions are not those of its header")


def _merkle_root(txids: list[bytes]) -> bytes:
    """Return the root over transaction ids; an odd last one is paired with itself.

    A list that repeats some of them can have the same root (CVE-2012-2459): it is refused.
    """
    if len(set(txids)) != len(txids):
        raise Rejected("merkle_root", "a transaction stands twice in the block")
    level = txids
    while len(level) > 1:
        if len(level) % 2:
            level = [*level, level[-1]]
        joined = b"".join(level)
        level = [sha256(sha256(joined[i : i + 64]).digest()).digest() for i in range(0, len(joined), 64)]
    return level[0]
