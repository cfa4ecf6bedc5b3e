"""What monero-wallet-rpc and monerod say, as types, and one entry of it as a ``Transfer``.

Source: the wallet-rpc and daemon-rpc pages of the Monero documentation, and what 0.18 answers.
A wallet reports one entry for each (transaction, subaddress): several outputs to one subaddress are
one entry (``amounts`` lists them), several subaddresses of one transaction are several entries.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from chainwatch.errors import Rejected
from chainwatch.model import BlockRef, ChainSpec, InBlock, Transfer, Unconfirmed

MAX_NUMBER = 2**63 - 1
"""The largest number that is believed: half the coins there will be for decades, in piconero."""

Hex32 = Annotated[str, msgspec.Meta(pattern="^[0-9a-fA-F]{64}$")]
Natural = Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)]
UnlockTime = Annotated[int, msgspec.Meta(ge=0)]
"""The payer writes it, and any 64 bits are valid: with a bound, one payment would make the whole list unreadable."""


class Subaddress(msgspec.Struct, frozen=True):
    """A subaddress by its account (major) and its number there (minor)."""

    major: Natural
    minor: Natural

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


PRIMARY = Subaddress(0, 0)


class Destination(msgspec.Struct, frozen=True):
    """Where a payment that this wallet sent itself went."""

    amount: Natural
    address: str


class Entry(msgspec.Struct, frozen=True):
    """One entry of ``get_transfers`` or ``get_transfer_by_txid``.

    ``type``: in, pool, block (a miner's reward), out, pending, failed.  ``timestamp`` (seconds) is the
    block's, in the pool the wallet's first sighting.  ``height`` is 0 in the pool.
    """

    txid: Hex32
    amount: Natural
    type: str = "in"
    height: Natural = 0
    timestamp: Natural = 0
    subaddr_index: Subaddress = PRIMARY
    address: str = ""
    amounts: tuple[Natural, ...] = ()
    payment_id: str = ""
    unlock_time: UnlockTime = 0
    double_spend_seen: bool = False
    destinations: tuple[Destination, ...] = ()

    @property
    def id(self) -> tuple[str, str]:
        """Return (transaction, index within it)."""
        return (self.txid, str(self.subaddr_index))


class Entries(msgspec.Struct, frozen=True):
    """The answer to ``get_transfers``; a list without an entry is left out of it."""

    in_: tuple[Entry, ...] = msgspec.field(default=(), name="in")
    out: tuple[Entry, ...] = ()
    pending: tuple[Entry, ...] = ()
    failed: tuple[Entry, ...] = ()
    pool: tuple[Entry, ...] = ()


class ById(msgspec.Struct, frozen=True):
    """The answer to ``get_transfer_by_txid``: ``transfers`` holds what ``transfer`` holds, and the rest."""

    transfers: tuple[Entry, ...] = ()
    transfer: Entry | None = None

    def all(self) -> tuple[Entry, ...]:
        """Return every entry once (wallets before 0.15 send ``transfer`` alone)."""
        return self.transfers or ((self.transfer,) if self.transfer else ())


class Output(msgspec.Struct, frozen=True):
    """One entry of ``incoming_transfers``: a one-time output that the wallet holds.

    ``pubkey`` is its one-time key, ``global_index`` its place in the chain (both since 0.17; older
    wallets leave ``pubkey`` out and say only the minor index).
    """

    tx_hash: Hex32
    amount: Natural
    subaddr_index: Subaddress | Natural = PRIMARY
    pubkey: str = ""
    global_index: Natural = 0
    block_height: Natural = 0
    blockheight: Natural = 0

    @property
    def subaddress(self) -> Subaddress:
        """Return where it was received; an old wallet's bare number is of account 0."""
        index = self.subaddr_index
        return index if isinstance(index, Subaddress) else Subaddress(0, index)

    @property
    def height(self) -> int:
        """Return its block's height (0: this wallet does not say)."""
        return self.block_height or self.blockheight


class KeyProof(msgspec.Struct):
    """``check_tx_key``: what the outputs to one address hold that the key opens."""

    received: int
    confirmations: int = 0
    in_pool: bool = False


class Outputs(msgspec.Struct, frozen=True):
    """The answer to ``incoming_transfers``; without outputs it is empty."""

    transfers: tuple[Output, ...] = ()


class Payment(msgspec.Struct, frozen=True):
    """One entry of ``get_payments`` or ``get_bulk_payments``."""

    tx_hash: Hex32
    amount: Natural
    block_height: Natural = 0
    subaddr_index: Subaddress = PRIMARY
    address: str = ""
    payment_id: str = ""
    unlock_time: UnlockTime = 0


class Header(msgspec.Struct, frozen=True):
    """A block header as monerod shows it; ``timestamp`` in seconds."""

    height: Natural
    hash: Hex32
    prev_hash: Hex32
    timestamp: Natural = 0

    @property
    def ref(self) -> BlockRef:
        """Return the block as height, hash and parent."""
        return BlockRef(self.height, self.hash, self.prev_hash)


class OneHeader(msgspec.Struct, frozen=True):
    """``get_last_block_header``, ``get_block_header_by_height``; a busy node leaves the header out."""

    status: str = "OK"
    block_header: Header | None = None


class Headers(msgspec.Struct, frozen=True):
    """``get_block_headers_range``."""

    status: str = "OK"
    headers: tuple[Header, ...] = ()


class Info(msgspec.Struct, frozen=True):
    """``get_info`` of monerod."""

    status: str = "OK"
    nettype: str = ""
    version: str = ""
    height: Natural = 0
    target_height: Natural = 0
    synchronized: bool = True
    untrusted: bool = False


class Height(msgspec.Struct, frozen=True):
    """``get_height`` of the wallet: how many blocks it has processed; its top block is one lower."""

    height: Annotated[int, msgspec.Meta(ge=1)]


class Address(msgspec.Struct, frozen=True):
    """One subaddress of ``get_address``."""

    address: str
    address_index: Natural


class Addresses(msgspec.Struct, frozen=True):
    """``get_address``: the account's first address, and those asked for."""

    address: str
    addresses: tuple[Address, ...] = ()


class Validity(msgspec.Struct, frozen=True):
    """``validate_address``."""

    valid: bool
    nettype: str = ""


class Split(msgspec.Struct, frozen=True):
    """``split_integrated_address``."""

    standard_address: str
    payment_id: str


class Version(msgspec.Struct, frozen=True):
    """``get_version``: major in the high 16 bits, minor in the low."""

    version: Natural

    def __str__(self) -> str:
        return f"{self.version >> 16}.{self.version & 0xFFFF}"


# -- entries as transfers ------------------------------------------------------------------------


def payment_id(text: str) -> bytes | None:
    """Return a payment id as the memo that it is: its hex digits, which is how people know it.

    Every transaction with two outputs carries an encrypted id; all zeros means that there is none.
    """
    return text.lower().encode("ascii", "replace") if text.strip("0") else None


def flags_of(entry: Entry | Payment) -> tuple[str, ...]:
    """Return what an entry says against itself.

    ``locked`` is any unlock time at all: a payer can set it to a block far away, and the wallet shows
    such a payment with as many confirmations as an honest one.  (The wallet's own ``locked`` is true
    for every payment younger than ten blocks.)
    """
    flags = ("locked",) if entry.unlock_time else ()
    return (*flags, "double_spend_seen") if isinstance(entry, Entry) and entry.double_spend_seen else flags


def received(entry: Entry, spec: ChainSpec, *, block: BlockRef | None, flags: tuple[str, ...] = ()) -> Transfer:
    """Build the transfer of an entry that came in; ``block`` None: it is in none."""
    time_ms = entry.timestamp * 1000
    return Transfer(
        chain=spec.code,
        txid=entry.txid.lower(),
        index=str(entry.subaddr_index),
        asset=spec.native.code,
        amount=entry.amount,
        to=entry.address or None,
        memo=payment_id(entry.payment_id),
        position=Unconfirmed(time_ms) if block is None else InBlock(block, time_ms),
        flags=(*flags_of(entry), *flags),
    )


def sent(entry: Entry, spec: ChainSpec) -> Transfer:
    """Build the transfer of an entry that went out (``out``, ``pending``, ``failed``).

    ``address`` is then ours, and the payee is known only to the wallet that sent it: with several
    destinations the entry is their sum and names none.
    """
    return Transfer(
        chain=spec.code,
        txid=entry.txid.lower(),
        index=str(entry.subaddr_index),
        asset=spec.native.code,
        amount=entry.amount,
        to=entry.destinations[0].address if len(entry.destinations) == 1 else None,
        sender=(entry.address,) if entry.address else (),
        memo=payment_id(entry.payment_id),
        ok={"out": True, "failed": False}.get(entry.type),
        position=InBlock(BlockRef(entry.height, ""), entry.timestamp * 1000) if entry.height else None,
        flags=flags_of(entry),
    )


# -- recorded data -------------------------------------------------------------------------------


def decode(documents: Sequence[bytes], spec: ChainSpec) -> Iterator[Transfer]:
    """Read recorded wallet-rpc answers, one transfer for each entry, miners' rewards left out.

    ``get_transfers``, ``get_transfer_by_txid``, ``get_payments``, ``get_bulk_payments`` and
    ``incoming_transfers``, bare or in their ``result`` envelope.  What monerod says (blocks, raw
    transactions) is ``Rejected``: without the view key nothing in it tells who was paid or how much.
    """
    for document in documents:
        yield from _answer(_result(document), spec)


def _result(document: bytes) -> Mapping[str, Any]:
    try:
        value = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected("not_chain_data", f"not JSON: {error}") from error
    if isinstance(value, dict) and isinstance(value.get("error"), dict):
        code, message = value["error"].get("code"), value["error"].get("message")
        raise Rejected("node_error", f"the node answered an error: {code} {str(message)[:200]}")
    result = value.get("result", value) if isinstance(value, dict) else None
    if not isinstance(result, dict):
        raise Rejected("not_chain_data", "not a monero-wallet-rpc answer")
    if result.get("status", "OK") != "OK":
        raise Rejected("node_error", f"the node answered status {str(result['status'])[:50]}")
    if not result and "result" not in value:
        raise Rejected("not_chain_data", "an empty object")
    return result


def _answer(result: Mapping[str, Any], spec: ChainSpec) -> Iterator[Transfer]:
    known = {"in", "out", "pending", "failed", "pool", "transfers", "transfer", "payments"}
    if result and not (
        known & result.keys() and all(isinstance(result[k], list | dict) for k in known & result.keys())
    ):
        raise Rejected("not_chain_data", "no monero-wallet-rpc transfers in it")
    try:
        if "payments" in result:
            for payment in msgspec.convert(result["payments"], tuple[Payment, ...]):
                yield _payment(payment, spec)
        elif _holds_outputs(result.get("transfers")):
            for output in msgspec.convert(result["transfers"], tuple[Output, ...]):
                yield _output(output, spec)
        else:
            for entry in _entries(result):
                if entry.type != "block":
                    yield _entry(entry, spec)
    except msgspec.ValidationError as error:
        raise Rejected("not_chain_data", f"not a monero-wallet-rpc answer: {error}") from error


def _holds_outputs(transfers: Any) -> bool:
    return isinstance(transfers, list) and any(isinstance(t, dict) and "tx_hash" in t for t in transfers)


def _entries(result: Mapping[str, Any]) -> Sequence[Entry]:
    if "transfers" in result or "transfer" in result:
        return msgspec.convert(result, ById).all()
    lists = msgspec.convert(result, Entries)
    return (*lists.in_, *lists.out, *lists.pending, *lists.failed, *lists.pool)


def _entry(entry: Entry, spec: ChainSpec) -> Transfer:
    if entry.type not in ("in", "pool"):
        return sent(entry, spec)
    block = BlockRef(entry.height, "") if entry.type == "in" and entry.height else None
    return received(entry, spec, block=block)


def _payment(payment: Payment, spec: ChainSpec) -> Transfer:
    return Transfer(
        chain=spec.code,
        txid=payment.tx_hash.lower(),
        index=str(payment.subaddr_index),
        asset=spec.native.code,
        amount=payment.amount,
        to=payment.address or None,
        memo=payment_id(payment.payment_id),
        position=InBlock(BlockRef(payment.block_height, "")) if payment.block_height else None,
        flags=flags_of(payment),
    )


def _output(output: Output, spec: ChainSpec) -> Transfer:
    return Transfer(
        chain=spec.code,
        txid=output.tx_hash.lower(),
        index=str(output.subaddress),
        asset=spec.native.code,
        amount=output.amount,
        to=None,
        position=InBlock(BlockRef(output.height, "")) if output.height else None,
    )
