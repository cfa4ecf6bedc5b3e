"""What a Hive node says, typed: only the fields that are used, and what they mean.

Source: hived's ``block_api``, ``database_api``, ``account_history_api`` (OpenAPI of the Hive API nodes);
``protocol/asset.hpp`` for the two forms of an amount.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from chainwatch.errors import Inconsistent
from chainwatch.model import Asset, BlockRef, ChainSpec

TRANSFER = "transfer_operation"
RECURRENT = "fill_recurrent_transfer_operation"
PRODUCER_REWARD = "producer_reward_operation"

NO_TXID = "0" * 40
"""The transaction id of a virtual operation that belongs to no transaction."""

MAX_AMOUNT = 2**63 - 1
"""An amount is a signed 64-bit integer (``protocol/asset.hpp``)."""

_LEGACY = re.compile(r"(\d{1,19})\.(\d{1,12}) ([A-Z]{2,16})", re.ASCII)
_ID = re.compile(r"[0-9a-f]{40}", re.ASCII)


# -- answers -------------------------------------------------------------------------------------
# ``gc=False``: there are thousands of them in an answer, in no cycle, so the collector need not look at them.


class Operation(msgspec.Struct, gc=False):
    """An operation whose body waits until its type is known to matter."""

    type: str
    value: msgspec.Raw


class Tx(msgspec.Struct, gc=False):
    """A transaction of a block; its id stands in the block's ``transaction_ids``."""

    operations: list[Operation]


class Header(msgspec.Struct):
    """Which block this is (``block_api.get_block``)."""

    block_id: str
    previous: str

    @property
    def ref(self) -> BlockRef:
        """The block; its height is the first four bytes of its id."""
        return BlockRef(height_of(self.block_id), self.block_id, self.previous)


class FullBlock(Header):
    """A block with its operations (``block_api.get_block_range``)."""

    timestamp: str
    witness: str
    transaction_ids: list[str]
    transactions: list[Tx]


class MaybeBlock(msgspec.Struct):
    """``block_api.get_block``: an empty object for a block that the node does not have."""

    block: Header | None = None


class BlockRange(msgspec.Struct):
    """``block_api.get_block_range``: fewer blocks than asked for at the node's head."""

    blocks: list[FullBlock]


class Properties(msgspec.Struct):
    """``database_api.get_dynamic_global_properties``."""

    head_block_number: int
    head_block_id: str
    last_irreversible_block_num: int


class Version(msgspec.Struct):
    """``database_api.get_version``."""

    blockchain_version: str = ""
    chain_id: str | None = None


class Config(msgspec.Struct, rename={"chain_id": "HIVE_CHAIN_ID", "version": "HIVE_BLOCKCHAIN_VERSION"}):
    """``condenser_api.get_config``."""

    chain_id: str | None = None
    version: str = ""


class Authority(msgspec.Struct):
    """Who may sign in a role."""

    key_auths: list[tuple[str, int]]


class Account(msgspec.Struct):
    """``database_api.find_accounts``."""

    name: str
    memo_key: str
    owner: Authority
    active: Authority
    balance: "Nai | str | None" = None
    hbd_balance: "Nai | str | None" = None


class Accounts(msgspec.Struct):
    """The accounts that exist among those asked for."""

    accounts: list[Account]


class VirtualOp(msgspec.Struct, gc=False):
    """One operation of ``account_history_api``."""

    op: Operation
    block: int
    timestamp: str
    trx_id: str | None = None
    op_in_trx: int = 0
    virtual_op: bool | int = False


class VirtualOps(msgspec.Struct):
    """One page of ``enum_virtual_ops``; the next one begins at the two numbers (0 and 0: there is none)."""

    ops: list[VirtualOp]
    next_block_range_begin: int = 0
    next_operation_begin: int | str = 0


class Nai(msgspec.Struct):
    """An amount with its asset's National Asset Identifier."""

    amount: str | int
    nai: str
    precision: int


class Movement(msgspec.Struct, rename={"sender": "from"}):
    """The body of ``transfer`` and of ``fill_recurrent_transfer``."""

    sender: str
    to: str
    amount: Nai | str
    memo: str = ""


# -- meanings ------------------------------------------------------------------------------------


def height_of(block_id: str) -> int:
    """Return the height that a block id begins with; ``Inconsistent`` for what is no block id."""
    if not _ID.fullmatch(block_id):
        raise Inconsistent(f"no block id: {block_id!r:.60}")
    return int(block_id[:8], 16)


def is_txid(text: str) -> bool:
    """Is this the id of a transaction (20 bytes in hex, not all zero)?"""
    return _ID.fullmatch(text) is not None and text != NO_TXID


def time_ms(timestamp: str) -> int:
    """Return Unix milliseconds of a node's time, which is UTC whether it says so or not."""
    try:
        moment = datetime.fromisoformat(timestamp)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return int(moment.timestamp()) * 1000
    except (ValueError, OverflowError) as error:
        raise Inconsistent(f"no time: {timestamp!r:.60}") from error


def virtual_txid(height: int) -> str:
    """Return the transaction id under which a block's virtual operations are known."""
    return f"virtual:{height}"


def virtual_number(op_in_trx: int, virtual_op: bool | int) -> int:
    """Return the number of a virtual operation within its block.

    Nodes since 1.27 count in ``op_in_trx`` and say ``virtual_op: true``; older ones count in ``virtual_op``.
    """
    return op_in_trx if isinstance(virtual_op, bool) else op_in_trx or virtual_op


class Assets:
    """The chain's assets as amounts name them: by NAI, or by symbol in the legacy form.

    Steem's STEEM and SBD, VESTS and anything with another precision than configured is no asset of ours.
    """

    def __init__(self, assets: Sequence[Asset]) -> None:
        self._native = assets[0].code
        self._by_nai = {(a.asset_id, a.decimals): a.code for a in assets}
        self._by_symbol = {(a.code, a.decimals): a.code for a in assets}
        self._nais = {a.code: a.asset_id for a in assets}

    @classmethod
    def of(cls, spec: ChainSpec) -> "Assets":
        """Return the names of a chain's assets."""
        return cls(spec.assets)

    def read(self, amount: Nai | str) -> tuple[int, str | None, str | None]:
        """Return (base units, asset code, asset id): no code for a foreign asset, no id for the native coin.

        Raises ``Inconsistent`` for what is no amount.
        """
        if isinstance(amount, Nai):
            units, name, precision = str(amount.amount), amount.nai, amount.precision
            code = self._by_nai.get((name, precision))
        else:
            found = _LEGACY.fullmatch(amount)
            if found is None:
                raise Inconsistent(f"no amount: {amount!r:.60}")
            units, name, precision = found[1] + found[2], found[3], len(found[2])
            code = self._by_symbol.get((name, precision))
        if not (units.isascii() and units.isdigit() and len(units) <= 32 and int(units) <= MAX_AMOUNT):
            raise Inconsistent(f"no amount: {units!r:.60}")
        asset_id = name if code is None else None if code == self._native else self._nais[code]
        return int(units), code, asset_id
