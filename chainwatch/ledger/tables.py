"""The tables.  Times are Unix milliseconds (``_ms``), amounts base units, states short words.

A change here needs a migration in ``migrations/versions``; a test compares the two.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

from chainwatch.ledger.types import BaseUnits, BigKey

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# -- chains ------------------------------------------------------------------------------------------

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
)

# -- events, purchases, tickets ------------------------------------------------------------------------

events = Table(
    "events",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("slug", Text, unique=True),  # None: known by its number
    Column("creator_account", Text, nullable=False, default=""),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False, default=""),
    Column("space_type", Text, nullable=False, default="custom"),
    Column("space_id", Text, nullable=False, default=""),
    Column("ticket_price", Text, nullable=False),  # as the creator wrote it, a decimal text
    Column("ticket_currency", Text, nullable=False),
    Column("max_attendees", BigInteger),  # None: unlimited
    Column("tickets_sold", BigInteger, nullable=False, default=0),
    Column("tickets_held", BigInteger, nullable=False, default=0),
    Column("last_number", BigInteger, nullable=False, default=0),
    Column("event_start_ms", BigInteger),
    Column("event_end_ms", BigInteger),
    Column("latest_end_ms", BigInteger),  # payouts count from the latest end it ever had
    Column("sales_start_ms", BigInteger),
    Column("sales_end_ms", BigInteger),
    Column("require_camera", Boolean, nullable=False, default=False),
    Column("require_microphone", Boolean, nullable=False, default=False),
    Column("age_restriction", Integer),
    Column("event_category", Text, nullable=False, default=""),
    Column("status", Text, nullable=False, default="active"),
    Column("by_memo", Boolean, nullable=False),  # may a memo alone buy: priced in coins, above zero, open to all
    Column("commission_bps", Integer, nullable=False),  # frozen when the event is made
    Column("dispute", Boolean, nullable=False, default=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)

event_prices = Table(  # what one ticket costs in each accepted coin
    "event_prices",
    metadata,
    Column("event_id", BigInteger, ForeignKey("events.id"), primary_key=True),
    Column("asset", Text, primary_key=True),
    Column("amount", BaseUnits, nullable=False),
)

purchases = Table(
    "purchases",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("ref", Text, nullable=False, unique=True),  # public: stands in memos, opens nothing
    Column("secret_hash", LargeBinary, unique=True),  # None: opened by a memo alone
    Column("event_id", BigInteger, ForeignKey("events.id"), nullable=False),
    Column("wallet", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("implicit_key", Text, unique=True),  # event|wallet|asset of a purchase that a memo opened
    Column("price", BaseUnits),  # None: the event does not sell for this asset
    Column("held", Boolean, nullable=False, default=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("expired", Boolean, nullable=False, default=False),
    Index("ix_purchases_event_wallet", "event_id", "wallet"),
    Index("ix_purchases_wallet", "wallet"),
    Index("ix_purchases_open", "expired", "expires_ms"),
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
    Column("purchase_id", BigInteger, ForeignKey("purchases.id")),
    UniqueConstraint("chain", "txid", "idx"),
    Index("ix_transfers_chain_state", "chain", "state"),
    Index("ix_transfers_chain_height", "chain", "height"),
    Index("ix_transfers_purchase", "purchase_id"),
    Index("ix_transfers_shown", "shown"),
)

tickets = Table(
    "tickets",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("uuid", Text, nullable=False, unique=True),
    Column("event_id", BigInteger, ForeignKey("events.id"), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("purchase_id", BigInteger, ForeignKey("purchases.id"), nullable=False),
    Column("unit", Integer, nullable=False),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    Column("jws", Text, nullable=False),
    Column("wallet", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("amount_paid", BaseUnits, nullable=False),
    Column("commission", BaseUnits, nullable=False),
    Column("payout", BaseUnits, nullable=False),
    Column("transaction_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("first_access_ms", BigInteger),
    Column("last_access_ms", BigInteger),
    Column("total_access_count", BigInteger, nullable=False, default=0),
    Column("created_ms", BigInteger, nullable=False),
    UniqueConstraint("event_id", "number"),
    UniqueConstraint("purchase_id", "unit"),
    Index("ix_tickets_wallet", "wallet"),
)

attendance = Table(
    "attendance",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("event_id", BigInteger, ForeignKey("events.id"), nullable=False),
    Column("ticket_id", BigInteger, ForeignKey("tickets.id"), nullable=False),
    Column("wallet_address", Text, nullable=False),
    Column("joined_ms", BigInteger, nullable=False),
    Column("left_ms", BigInteger),
    Column("total_duration_minutes", BigInteger, nullable=False, default=0),
    Column("chat_messages_sent", BigInteger, nullable=False, default=0),
    Column("voice_time_minutes", BigInteger, nullable=False, default=0),
    Column("screen_shared", Boolean, nullable=False, default=False),
    Index("ix_attendance_event", "event_id"),
    Index("ix_attendance_ticket", "ticket_id"),
)

# -- money ---------------------------------------------------------------------------------------------

allocations = Table(  # every base unit of a confirmed transfer, exactly once
    "allocations",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("transfer_id", BigInteger, ForeignKey("transfers.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("amount", BaseUnits, nullable=False),
    Column("commission", BaseUnits, nullable=False),  # the platform's part of a ticket's money
    Column("reason", Text, nullable=False, default=""),
    Index("ix_allocations_transfer", "transfer_id"),
    Index("ix_allocations_kind", "kind"),
)

refunds = Table(
    "refunds",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("transfer_id", BigInteger, ForeignKey("transfers.id"), nullable=False),
    Column("kind", Text, nullable=False),  # refund, surplus
    Column("event_id", BigInteger, ForeignKey("events.id")),
    Column("chain", Text, nullable=False),
    Column("asset", Text),
    Column("amount", BaseUnits, nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", Text, nullable=False),  # due, exported, settled, cancelled
    Column("destination", Text),
    Column("settled_txid", Text),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    UniqueConstraint("transfer_id", "kind"),
    Index("ix_refunds_state", "state"),
)

payouts = Table(
    "payouts",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("event_id", BigInteger, ForeignKey("events.id"), nullable=False),
    Column("creator_account", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("amount", BaseUnits, nullable=False),
    Column("state", Text, nullable=False),  # due, frozen, exported, settled
    Column("destination", Text),
    Column("settled_txid", Text),
    Column("due_ms", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Index("ix_payouts_state", "state"),
    Index("ix_payouts_event", "event_id", "asset"),
)

ledger_lines = Table(  # double entry: the lines of one entry sum to zero per asset; never changed, only added to
    "ledger_lines",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("transfer_id", BigInteger, ForeignKey("transfers.id"), nullable=False),
    Column("event_id", BigInteger, ForeignKey("events.id")),
    Column("asset", Text, nullable=False),  # the code, or chain:asset_id of what has no code
    Column("account", Text, nullable=False),
    Column("amount", BaseUnits, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Index("ix_ledger_lines_transfer", "transfer_id"),
    Index("ix_ledger_lines_account", "account", "asset"),
    Index("ix_ledger_lines_event", "event_id"),
)

# -- to the outside --------------------------------------------------------------------------------------

outbox = Table(  # written in the transaction of its cause
    "outbox",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("type", Text, nullable=False),
    Column("subject", Text, nullable=False),  # deliveries of one subject keep their order
    Column("payload", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_ms", BigInteger, nullable=False),
    Column("done_ms", BigInteger),
    Index("ix_outbox_pending", "done_ms", "next_ms"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False, default="{}"),
    Index("ix_audit_log_subject", "subject"),
)
