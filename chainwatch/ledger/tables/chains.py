"""What the chains say, and who follows them."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, LargeBinary, Table, Text, UniqueConstraint

from chainwatch.ledger.tables.base import metadata
from chainwatch.ledger.types import BaseUnits, BigKey

cursors = Table(
    "cursors",
    metadata,
    Column("chain", Text, primary_key=True),
    Column("height", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
    Column("final_height", BigInteger),
    Column("final_hash", Text),
    Column("head_height", BigInteger, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("tip_ms", BigInteger),  # time of the cursor's block
    Column("endpoint", Text, nullable=False, default=""),  # the node in use
    Column("alarm", Text, nullable=False, default=""),  # a reorg of something final: payouts are frozen until cleared
    Column("updated_ms", BigInteger, nullable=False),
)

blocks = Table(  # remembered blocks of the best chain: all near the tip, in the final part those that matter
    "blocks",
    metadata,
    Column("chain", Text, primary_key=True),
    Column("height", BigInteger, primary_key=True),
    Column("hash", Text, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),  # "chain:HIVE", "outbox", …
    Column("holder", Text, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
)

backfills = Table(  # ranges to scan again; the chain's lease holder works them off
    "backfills",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("chain", Text, nullable=False),
    Column("next_height", BigInteger, nullable=False),
    Column("last_height", BigInteger, nullable=False),
    Column("first_height", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("done_ms", BigInteger),
)

transfers = Table(
    "transfers",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("chain", Text, nullable=False),
    Column("txid", Text, nullable=False),
    Column("idx", Text, nullable=False),
    Column("asset", Text),
    Column("asset_id", Text),
    Column("amount", BaseUnits, nullable=False),
    Column("recipient", Text),
    Column("sender", Text, nullable=False, default="[]"),
    Column("reference_keys", Text, nullable=False, default=""),  # Solana Pay keys of ours, by spaces
    Column("memo", LargeBinary),
    Column("flags", Text, nullable=False, default=""),
    Column("height", BigInteger),
    Column("block_hash", Text),
    Column("block_time_ms", BigInteger),
    Column("first_seen_ms", BigInteger, nullable=False),
    Column("paid_ms", BigInteger, nullable=False),
    Column("state", Text, nullable=False),  # matching.State
    Column("shown", Text, nullable=False),  # summary of the allocations, what people see
    Column("was_confirmed", Boolean, nullable=False, default=False),
    Column("reason", Text, nullable=False, default=""),
    Column("resolution", Text, nullable=False, default=""),  # what an operator decided of it in review
    Column("direction", Text, nullable=False, default="in"),  # out: it left an account of ours
    Column("network_fee", BaseUnits),  # out: what its transaction cost us, on one row of the transaction
    Column("spends", Text, nullable=False, default=""),  # out: outpoints or account:nonce that it uses up, by spaces
    Column("memo_key", Text),  # 16 bytes of the memo's SHA-256 in hex: found again without an index over long texts
    Column("purchase_id", BigInteger, ForeignKey("purchases.id")),
    UniqueConstraint("chain", "txid", "idx"),
    Index("ix_transfers_chain_state", "chain", "state"),
    Index("ix_transfers_recipient", "recipient", "id"),
    Index("ix_transfers_memo", "memo_key"),
    Index("ix_transfers_chain_height", "chain", "height"),
    Index("ix_transfers_purchase", "purchase_id"),
    Index("ix_transfers_shown", "shown"),
)

addresses = Table(  # derived ahead by the chain's writer and watched for ever; a purchase takes one
    "addresses",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("chain", Text, nullable=False),
    Column("path_index", BigInteger, nullable=False),
    Column("address", Text, nullable=False),
    Column("purchase_id", BigInteger, ForeignKey("purchases.id")),
    Column("created_ms", BigInteger, nullable=False),
    UniqueConstraint("chain", "path_index"),
    UniqueConstraint("chain", "address"),
    Index("ix_addresses_purchase", "purchase_id"),
    Index("ix_addresses_free", "chain", "purchase_id", "path_index"),
)
