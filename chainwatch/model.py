"""The values every part speaks: assets, blocks, transfers, chains.

Frozen, free of behaviour that needs a clock, a network or a database.  Amounts are
integers in base units (satoshi, wei, lamport, piconero, 0.001 HIVE).  Times are
integers too: Unix milliseconds, and their names end in ``_ms``.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

MAX_BASE_UNITS = 10**78 - 1
"""The largest amount the ledger stores: NUMERIC(78,0).  uint256 has 78 digits."""


class Asset(msgspec.Struct, frozen=True):
    """A thing of value on one chain.

    ``code`` is its name in ``config/networks.toml``: the chain's native coin is named
    as the chain's money is (``BTC``, ``HIVE``, ``HBD``), a token ``<chain>:<symbol>``.
    ``asset_id`` is what the chain calls it (contract, mint, NAI); None is the native coin.
    ``program`` is the SPL token program that owns a mint.
    """

    code: str
    chain: str
    decimals: int
    asset_id: str | None = None
    program: str | None = None
    dust: int = 0
    """Amounts below this are aggregated as dust: they cost more to return than they are."""


class BlockRef(msgspec.Struct, frozen=True):
    """A block is always a pair: a height without its hash can be two blocks."""

    height: int
    hash: str
    parent: str = ""

    def same(self, other: "BlockRef | None") -> bool:
        """Is this the same block (the parent is implied by the hash)?"""
        return other is not None and self.height == other.height and self.hash == other.hash


class Unconfirmed(msgspec.Struct, frozen=True, tag=True):
    """In no block that we know of; a node has shown it to us."""

    first_seen_ms: int


class InBlock(msgspec.Struct, frozen=True, tag=True):
    """In this block, whose time is ``time_ms`` (0: the data at hand does not tell)."""

    block: BlockRef
    time_ms: int = 0


Position = Unconfirmed | InBlock


class Transfer(msgspec.Struct, frozen=True):
    """Value that moved.  Its identity is (chain, txid, index); its position may change.

    ``index`` is text and the same wherever the transaction is included again (DESIGN
    invariant 3): a Bitcoin output number, EVM ``v`` / ``l<log ordinal in its receipt>`` /
    ``t<trace path>``, a Hive operation number, Solana ``i`` or ``i.j``, Monero ``major.minor``.
    ``sender`` is every known payer, empty when the data does not tell.
    ``ok``: True moved, False failed on chain, None this data does not tell (never paid).
    ``memo`` is the raw bytes as carried; what they mean is for ``chainwatch.memo``.
    ``flags`` are facts that decide a payment's end: see ``FLAGS``.
    ``references`` are the watched reference keys that the transaction names (Solana Pay): each stands
    for one purchase, as an address of its own does.
    ``direction``: ``out`` left an account or an output of ours for somebody else's.  ``spends``: what it uses up, so
    that no other transaction can (outpoints ``txid:vout``, EVM ``account:nonce``).  ``network_fee`` stands on a row of
    its own, index ``fee``, of amount 0, in the native coin: what the transaction cost us, whether or not it succeeded.
    """

    chain: str
    txid: str
    index: str
    asset: str | None
    amount: int
    to: str | None
    asset_id: str | None = None
    sender: tuple[str, ...] = ()
    memo: bytes | None = None
    ok: bool | None = True
    position: Position | None = None
    flags: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    direction: Literal["in", "out"] = "in"
    network_fee: int | None = None
    spends: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str, str]:
        """Identity: (chain, transaction id, index within it)."""
        return (self.chain, self.txid, self.index)


FLAGS: Mapping[str, str] = {
    "memo_unreadable": "an encrypted memo without the key to read it",
    "memo_untrusted": "a memo that stands where the payer need not have put it",
    "locked": "spendable only later than the chain's own rule (Monero unlock_time)",
    "double_spend_seen": "a conflicting transaction has been seen",
    "duplicate_output_key": "a one-time output key that was paid before (Monero burning bug)",
    "low_fee": "only seen, with a fee rate at which it may never be mined: it keeps no seat",
    "internal": "sent by an address of ours",
    "mixed_inputs": "paid for by us and by others at once, so that no output can be called ours",
    "proved": "told by the payer's transaction key, not found by scanning (Monero)",
    "fee_unknown": "the node does not tell what the transaction cost",
    "balance_differs": "the balances changed by another amount than the instructions say; the balances count",
}


FEE = "fee"
"""Index of the row that holds what a transaction of ours cost."""


def fee_of(
    chain: str, txid: str, native: str, fee: int | None, payer: str, position: Position | None, spends: tuple[str, ...]
) -> Transfer:
    """Return the row of a transaction's cost.  None (the node does not tell) is flagged, never a guess."""
    return Transfer(
        chain=chain,
        txid=txid,
        index=FEE,
        asset=native,
        amount=0,
        to=None,
        sender=(payer,) if payer else (),
        position=position,
        flags=() if fee is not None else ("fee_unknown",),
        direction="out",
        network_fee=fee,
        spends=spends,
    )


class Block(msgspec.Struct, frozen=True):
    """One block and what in it concerns us, in the order of the chain."""

    ref: BlockRef
    time_ms: int
    transfers: tuple[Transfer, ...] = ()


class Window(msgspec.Struct, frozen=True):
    """What happened to our accounts from ``start`` to ``end``, both included.

    ``complete``: every page was read from one endpoint whose tip is at or past ``end``.  Only then
    may the position move to ``end``; an open transfer of ours inside a complete window that is
    not in ``transfers`` has vanished, and the follower decides what that means.
    ``refs`` are known blocks inside the window or just below it (for the follower's fork search), ascending.
    ``time_ms`` is the time of ``end`` (0: not known): up to then the chain has been scanned.
    """

    endpoint: str
    start: int
    end: BlockRef
    head: BlockRef
    final: BlockRef | None
    complete: bool
    transfers: tuple[Transfer, ...] = ()
    refs: tuple[BlockRef, ...] = ()
    time_ms: int = 0


class NodeFacts(msgspec.Struct, frozen=True):
    """What a node said of itself when it was opened: one line of ``chainwatch check``.

    ``network`` is its name (CAIP-2, or the node's own word), ``genesis`` the hash of block 0, where the chain has one
    and the node shows it.
    """

    endpoint: str
    version: str
    network: str
    head: BlockRef
    final: BlockRef | None = None
    warnings: tuple[str, ...] = ()
    genesis: str | None = None


class ChainSpec(msgspec.Struct, frozen=True):
    """A chain as configured: ``config/networks.toml`` with the operator's section over it.

    ``family`` names the address rules (``evm``, ``bitcoin``, ``solana``, ``hive``, ``monero``).
    ``chain_id`` is what the node must confirm: EIP-155 number, Hive chain id, genesis hash.
    ``params`` are the network's constants for its adapter; ``options`` the operator's keys
    that only the adapter knows (it checks them, unknown ones are Misconfigured).
    ``shared`` are those of ``receive`` that other services use too: foreign memos there are left alone.
    """

    code: str
    adapter: str
    family: str
    assets: tuple[Asset, ...]
    endpoints: tuple[str, ...]
    receive: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    """Receiving accounts that other services use too: memos that speak of something else are foreign."""
    kin: tuple[str, ...] = ()
    """Codes of the other configured chains on which our addresses are ours too (EVM): one key, one account."""
    also: tuple[str, ...] = ()
    """Receiving accounts of those chains: who pays there on the wrong chain has paid us."""
    chain_id: str = ""
    start: int | str = "tip"
    block_time_ms: int = 1000
    params: Mapping[str, Any] = {}
    options: Mapping[str, Any] = {}

    @property
    def native(self) -> Asset:
        """The coin that pays fees."""
        return self.assets[0]

    def by_asset_id(self) -> dict[str | None, Asset]:
        """Assets by what the chain calls them; EVM contracts in lower case."""
        return {(a.asset_id.lower() if a.asset_id and self.family == "evm" else a.asset_id): a for a in self.assets}
