"""What an EVM node says: the fields that are used, and how they are read strictly.

Quantities and data are hex text on the wire (Ethereum JSON-RPC specification, ``execution-apis``); a number,
a null or an overlong quantity in their place is not guessed at but ``Inconsistent``.
"""

import functools
import re
from collections.abc import Iterable

import msgspec

from chainwatch.errors import Inconsistent
from chainwatch.model import BlockRef
from chainwatch.verifiers.addresses import eip55

TRANSFER_TOPIC = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
"""keccak256("Transfer(address,address,uint256)"): ERC-20, and with a fourth topic ERC-721."""

ZERO_ADDRESS = "0x" + "0" * 40
ZERO_HASH = "0x" + "0" * 64

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}", re.ASCII)  # 64 digits: nothing in the EVM is above uint256
EVM_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_HASH = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)


class Wire(msgspec.Struct, rename="camel", gc=False):
    """Base of what is decoded: camel case outside, snake case here, unknown fields skipped."""


class Tx(Wire):
    """A transaction inside a full block, or by itself."""

    hash: str
    sender: str = msgspec.field(name="from")
    value: str
    to: str | None = None
    input: str = "0x"
    nonce: str | None = None


class Header(Wire):
    """A block without the transactions in it."""

    hash: str
    number: str
    parent_hash: str
    timestamp: str

    @property
    def ref(self) -> BlockRef:
        """The block's place in the chain."""
        return BlockRef(quantity(self.number, "block number"), hash32(self.hash), hash32(self.parent_hash))

    @property
    def time_ms(self) -> int:
        """The block's time in Unix milliseconds."""
        return quantity(self.timestamp, "timestamp") * 1000


class FullBlock(Header):
    """A block with its transactions, as ``eth_getBlockByNumber(n, true)`` gives it."""

    transactions: list[Tx]
    logs_bloom: str | None = None


class Log(Wire):
    """An event log.  ``block_hash`` is all zeros in the system transactions of some BSC nodes."""

    address: str
    topics: list[str]
    data: str
    transaction_hash: str | None = None
    block_hash: str | None = None
    log_index: str | None = None
    removed: bool = False
    transaction_log_index: str | None = None
    """OpenEthereum's name for the ordinal of the log inside its receipt."""


class Receipt(Wire):
    """What became of a transaction."""

    transaction_hash: str
    block_hash: str
    logs: list[Log]
    status: str | None = None
    root: str | None = None
    sender: str | None = msgspec.field(name="from", default=None)
    to: str | None = None
    contract_address: str | None = None
    block_number: str | None = None
    gas_used: str | None = None
    effective_gas_price: str | None = None
    l1_fee: str | None = None
    """What a rollup adds for its data (OP Stack)."""

    @property
    def ok(self) -> bool | None:
        """Did it succeed?  None before Byzantium (EIP-658), when a receipt carried a state root instead.

        Some early nodes write a meaningless ``"status": "0x0"`` beside the root: the root decides.
        """
        if self.status is None or (self.root is not None and len(self.root) == 66):
            return None
        code = quantity(self.status, "receipt status")
        if code > 1:
            raise Inconsistent(f"receipt of {self.transaction_hash:.66} has status {code}")
        return code == 1

    @property
    def fee(self) -> int | None:
        """What the sender paid for it in wei; None when the node does not tell."""
        if self.gas_used is None or self.effective_gas_price is None:
            return None
        paid = quantity(self.gas_used, "gas used") * quantity(self.effective_gas_price, "gas price")
        return paid + (quantity(self.l1_fee, "L1 fee") if self.l1_fee is not None else 0)


def quantity(text: object, what: str) -> int:
    """Read a hex quantity of at most 256 bits."""
    if not isinstance(text, str) or not _QUANTITY.fullmatch(text):
        raise Inconsistent(f"{what} is no hex quantity: {text!r:.80}")
    return int(text, 16)


def data_bytes(text: str, what: str) -> bytes:
    """Read hex data of any length."""
    try:
        if text.startswith("0x"):
            return bytes.fromhex(text[2:])
    except ValueError:
        pass
    raise Inconsistent(f"{what} is no hex data: {text!r:.80}")


def address(text: str, what: str = "address") -> str:
    """Return an address in lower case, the form in which addresses are compared."""
    if not EVM_ADDRESS.fullmatch(text):
        raise Inconsistent(f"{what} is no address: {text!r:.80}")
    return text.lower()


def hash32(text: str) -> str:
    """Return a block or transaction hash in lower case."""
    if not _HASH.fullmatch(text):
        raise Inconsistent(f"no 32-byte hash: {text!r:.80}")
    return text.lower()


@functools.lru_cache(maxsize=4096)  # a block's worth of counterparties; ours stay warm
def checksum(lower: str) -> str:
    """Return an address as people write it (EIP-55)."""
    return eip55(bytes.fromhex(lower[2:]))


def topic_address(topic: str) -> str:
    """Read the address in an indexed event argument; its upper 12 bytes must be zero."""
    if not _HASH.fullmatch(topic) or not topic.startswith("0x" + "0" * 24):
        raise Inconsistent(f"topic is no address: {topic!r:.80}")
    return "0x" + topic[26:].lower()


def address_topic(lower: str) -> str:
    """Return an address as an indexed event argument."""
    return "0x" + lower[2:].rjust(64, "0")


class Erc20Transfer(msgspec.Struct, frozen=True):
    """A ``Transfer`` log of the ERC-20 shape (EIP-20)."""

    contract: str
    sender: str
    to: str
    amount: int


def erc20_transfer(log: Log) -> Erc20Transfer | None:
    """Read a log as an ERC-20 transfer; None for what is none.

    ERC-721 has the same first topic and a fourth one; some early tokens index nothing.  A topic with
    dirty upper bytes, or an amount of other than one word, is no standard transfer either.
    """
    if len(log.topics) != 3 or log.topics[0].lower() != TRANSFER_TOPIC:
        return None
    if len(log.data) != 66 or not _HASH.fullmatch(log.data):
        return None
    try:
        sender, to = topic_address(log.topics[1]), topic_address(log.topics[2])
    except Inconsistent:
        return None
    return Erc20Transfer(address(log.address), sender, to, int(log.data, 16))


TRANSFER_CALLS = {bytes.fromhex("a9059cbb"): 64, bytes.fromhex("23b872dd"): 96}
"""Selectors of ``transfer(address,uint256)``, ``transferFrom(address,address,uint256)``: length of the arguments."""


def token_memo(call: bytes, to: str) -> bytes | None:
    """Return what a payer wrote behind the arguments of an ERC-20 transfer to ``to``; None when nothing."""
    length = TRANSFER_CALLS.get(call[:4])
    if length is None or len(call) <= 4 + length:
        return None
    receiver = call[4 + length - 64 : 4 + length - 32]
    return call[4 + length :] if receiver == bytes.fromhex(address_topic(to)[2:]) else None


def unique(hashes: Iterable[str], what: str) -> None:
    """Refuse a list that names the same thing twice."""
    seen: set[str] = set()
    for item in hashes:
        if item in seen:
            raise Inconsistent(f"{what} {item:.66} is listed twice")
        seen.add(item)
