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
    Index("ix_addresses_purchase", "purchase_id"),
    Index("ix_addresses_free", "chain", "purchase_id", "path_index"),
)

rates = Table(  # agreed prices of coins over time: seen by every process, and still there when money comes late
    "rates",
    metadata,
    Column("asset", Text, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("at_ms", BigInteger, primary_key=True),
    Column("price", Text, nullable=False),  # decimal text: one whole coin in the currency
    Column("sources", Text, nullable=False),  # who agreed, by spaces
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
    Column("fee_on_top", Boolean, nullable=False, default=False),  # the buyer pays the commission beside the price
    Column("tickets_per_wallet", Integer),  # None: no limit
    Column("open_per_wallet", Integer, nullable=False, default=1),  # open signed purchases of one wallet
    Column("admission", Text, nullable=False, default="open"),  # open, approval, invite
    Column("entry_policy", Text, nullable=False, default="reentry"),  # once, reentry, daily
    Column("door", Text, nullable=False, default="both"),  # wallet, qr, both
    Column("anonymous", Boolean, nullable=False, default=False),  # attendance without wallets
    Column("seats_reserved", BigInteger, nullable=False, default=0),  # set aside for allotments, not sold or held there
    Column("seats_unsigned", BigInteger, nullable=False, default=0),  # of tickets_held: by unsigned purchases
    Column("seats_seen", BigInteger, nullable=False, default=0),  # of tickets_held: kept by a mempool sighting alone
    Column("started_ms", BigInteger),  # the live gate: opened by /start
    Column("ended_ms", BigInteger),  # closed by /end
    Column("classic_until_ms", BigInteger),  # None: as [access] says; classic texts end here
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Index("ix_events_start", "status", "event_start_ms"),
    Index("ix_events_creator", "creator_account"),
)

event_prices = Table(  # what one ticket costs in each accepted coin
    "event_prices",
    metadata,
    Column("event_id", BigInteger, ForeignKey("events.id"), primary_key=True),
    Column("asset", Text, primary_key=True),
    Column("amount", BaseUnits),  # None: accepted, priced by the rate when a purchase is opened
)

tiers = Table(  # kinds of ticket with a price, a number and a time of their own
    "tiers",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("event_id", BigInteger, ForeignKey("events.id"), nullable=False),
    Column("code", Text, nullable=False),  # a-z0-9_-: stands in memos as :tier:<code>
    Column("title", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("ticket_price", Text, nullable=False),
    Column("ticket_currency", Text, nullable=False),
    Column("quantity", BigInteger),  # None: as many as the event has
    Column("sold", BigInteger, nullable=False, default=0),
    Column("held", BigInteger, nullable=False, default=0),
    Column("unsigned", BigInteger, nullable=False, default=0),  # of held: by unsigned purchases
    Column("sales_start_ms", BigInteger),
    Column("sales_end_ms", BigInteger),
    UniqueConstraint("event_id", "code"),
)

tier_prices = Table(
    "tier_prices",
    metadata,
    Column("tier_id", BigInteger, ForeignKey("tiers.id"), primary_key=True),
    Column("asset", Text, primary_key=True),
    Column("amount", BaseUnits),  # None: priced by the rate
)

allotments = Table(  # seats set aside for one channel (100 of 500): only purchases that name it take them
    "allotments",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("event_id", BigInteger, ForeignKey("events.id"), nullable=False),
    Column("code", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("sold", BigInteger, nullable=False, default=0),
    Column("held", BigInteger, nullable=False, default=0),
    Column("unsigned", BigInteger, nullable=False, default=0),  # of held: by unsigned purchases
    UniqueConstraint("event_id", "code"),
)

invites = Table(  # who may buy a ticket of an invite-only event
    "invites",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("event_id", BigInteger, ForeignKey("events.id"), nullable=False),
    Column("code_hash", LargeBinary, nullable=False, unique=True),
    Column("wallet", Text),  # None: whoever holds the code
    Column("uses", Integer, nullable=False),
    Column("used", Integer, nullable=False, default=0),
    Column("created_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
    Index("ix_invites_event", "event_id"),
)

approvals = Table(  # who asked to buy a ticket of an event that approves its guests
    "approvals",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("event_id", BigInteger, ForeignKey("events.id"), nullable=False),
    Column("wallet", Text, nullable=False),
    Column("state", Text, nullable=False),  # requested, approved, denied
    Column("actor", Text, nullable=False, default=""),
    Column("created_ms", BigInteger, nullable=False),
    Column("decided_ms", BigInteger),
    UniqueConstraint("event_id", "wallet"),
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
    Column("price", BaseUnits),  # what is to be paid, a fee on top included; None: not sold for this asset
    Column("fee", BaseUnits),  # the commission in it, when it is paid in full
    Column("fiat_currency", Text),  # the quote of a price in money: currency, decimal text, price of one coin, its time
    Column("fiat_amount", Text),
    Column("rate", Text),
    Column("rate_ms", BigInteger),
    Column("tier_id", BigInteger, ForeignKey("tiers.id")),
    Column("allotment_id", BigInteger, ForeignKey("allotments.id")),
    Column("invite_id", BigInteger, ForeignKey("invites.id")),
    Column("signed", Boolean, nullable=False, default=False),  # by the wallet itself
    Column("wallet_chain", Text),  # the chain that a contract wallet is bound to (EIP-1271)
    Column("pay_to", Text),  # what the buyer was told
    Column("pay_memo", Text),
    Column("pay_reference", Text),
    Column("held", Boolean, nullable=False, default=False),
    Column(
        "hold_kind", Text, nullable=False, default=""
    ),  # signed, unsigned, seen, paid: which share of the seats it takes
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
    Column("entries", BigInteger, nullable=False, default=0),  # accepted entries, by QR and by wallet together
    Column("last_entry_ms", BigInteger),
    Column("reason", Text, nullable=False, default=""),  # why it was revoked
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

entries = Table(  # every scan and every join that asked for an entry, with its answer
    "entries",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("event_id", BigInteger, ForeignKey("events.id"), nullable=False),
    Column("ticket_id", BigInteger, ForeignKey("tickets.id")),  # None: no such ticket
    Column("device_id", BigInteger, ForeignKey("devices.id")),  # None: by wallet
    Column("nonce", Text, nullable=False),  # the device's own, so that a retry is one entry
    Column("gate", Text, nullable=False, default=""),
    Column("method", Text, nullable=False),  # qr, order, wallet
    Column("at_ms", BigInteger, nullable=False),  # as the device says
    Column("received_ms", BigInteger, nullable=False),
    Column("result", Text, nullable=False),  # accepted, conflict, or the refusal's code
    Column("admitted", Boolean, nullable=False),  # the holder went in: accepted, or let in by an offline door
    Column("code_hash", LargeBinary),  # of what was scanned, when there is no such ticket
    UniqueConstraint("device_id", "ticket_id", "nonce"),
    Index("ix_entries_ticket", "ticket_id", "result"),
    Index("ix_entries_event", "event_id", "at_ms"),
)

devices = Table(  # door scanners of an event
    "devices",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("event_id", BigInteger, ForeignKey("events.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("key_hash", LargeBinary, nullable=False, unique=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("seen_ms", BigInteger),
    Column("revoked_ms", BigInteger),
    Index("ix_devices_event", "event_id"),
)

# -- access --------------------------------------------------------------------------------------------

used_nonces = Table(  # what may be used once and was; kept until its text can no longer pass
    "used_nonces",
    metadata,
    Column("key", Text, primary_key=True),
    Column("expires_ms", BigInteger, nullable=False),
    Index("ix_used_nonces_expires", "expires_ms"),
)

challenge_wallets = Table(  # wallets that have used a challenge: the classic texts are refused to them for ever
    "challenge_wallets",
    metadata,
    Column("wallet", Text, primary_key=True),
    Column("first_ms", BigInteger, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("jti", Text, nullable=False, unique=True),  # of the token in force; refreshing gives another
    Column("event_id", BigInteger, ForeignKey("events.id"), nullable=False),
    Column("ticket_id", BigInteger, ForeignKey("tickets.id"), nullable=False),
    Column("attendance_id", BigInteger, ForeignKey("attendance.id")),
    Column("started_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("ended_why", Text, nullable=False, default=""),
    Index("ix_sessions_ticket", "ticket_id", "ended_ms"),
    Index("ix_sessions_open", "ended_ms", "expires_ms"),
)

api_keys = Table(  # operators' keys, hashed
    "api_keys",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("name", Text, nullable=False),
    Column("key_hash", LargeBinary, nullable=False, unique=True),
    Column("scopes", Text, nullable=False),  # by spaces: events, money, door, read
    Column("created_ms", BigInteger, nullable=False),
    Column("used_ms", BigInteger),
    Column("revoked_ms", BigInteger),
)

idempotency = Table(  # stored answers of writes, by caller and key
    "idempotency",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),  # SHA-256 of method, path and body
    Column("status", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Index("ix_idempotency_created", "created_ms"),
)

erased_wallets = Table(  # keyed hashes of wallets whose data was erased, so that a backfill does not bring them back
    "erased_wallets",
    metadata,
    Column("wallet_key", LargeBinary, primary_key=True),
    Column("erased_ms", BigInteger, nullable=False),
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
    Column("destination", Text),  # claimed by the wallet's signature or entered by an operator; never guessed
    Column("destination_by", Text, nullable=False, default=""),  # who named it
    Column("export_id", BigInteger, ForeignKey("exports.id")),
    Column("item_id", BigInteger, ForeignKey("export_items.id")),  # what pays it
    Column("sent_amount", BaseUnits),  # what leaves: less the network's fee where the buyer caused the refund
    Column("settled_txid", Text),
    Column("settled_transfer_id", BigInteger, ForeignKey("transfers.id")),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    UniqueConstraint("transfer_id", "kind"),
    Index("uq_refunds_settled", "settled_transfer_id", unique=True),
    Index("ix_refunds_state", "state"),
    Index("ix_refunds_export", "export_id"),
)

payouts = Table(
    "payouts",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("event_id", BigInteger, ForeignKey("events.id"), nullable=False),
    Column("creator_account", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("amount", BaseUnits, nullable=False),
    Column("state", Text, nullable=False),  # due, frozen, exported, settled, cancelled
    Column("frozen_why", Text, nullable=False, default=""),  # dispute, final_reorg, review, address_change
    Column("destination", Text),
    Column("export_id", BigInteger, ForeignKey("exports.id")),
    Column("item_id", BigInteger, ForeignKey("export_items.id")),  # what pays it; several payouts may share one
    Column("settled_txid", Text),
    Column("settled_transfer_id", BigInteger, ForeignKey("transfers.id")),
    Column("due_ms", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Index("ix_payouts_state", "state"),
    Index("ix_payouts_event", "event_id", "asset"),
    Index("ix_payouts_export", "export_id"),
)

exports = Table(  # unsigned payment files: the intent is committed before a file leaves
    "exports",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("kind", Text, nullable=False),  # payouts, refunds
    Column("chain", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("total", BaseUnits, nullable=False),
    Column("state", Text, nullable=False),  # waiting (for a second operator), exported, settled, void
    Column("conflict", Text, nullable=False, default=""),  # what a second try must use up too: outpoints, nonce, expiry
    Column("payload", Text, nullable=False, default=""),  # the file
    Column("made_by", Text, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("approved_by", Text, nullable=False, default=""),
    Column("approved_ms", BigInteger),
    Column("voided_by", Text, nullable=False, default=""),
    Column("replaces_id", BigInteger, ForeignKey("exports.id")),
    Index("ix_exports_state", "state"),
)

export_items = Table(  # what an export pays: one destination and amount, settled by one outgoing transfer
    "export_items",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("export_id", BigInteger, ForeignKey("exports.id"), nullable=False),
    Column("subject", Text, nullable=False),  # its memo: payout:<lowest id of its payouts>, refund:<id>
    Column("chain", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("amount", BaseUnits, nullable=False),
    Column("destination", Text, nullable=False),
    Column("state", Text, nullable=False),  # open, settled, void
    Column("conflict", Text, nullable=False, default=""),  # EVM: its own account:nonce
    Column("transfer_id", BigInteger, ForeignKey("transfers.id")),  # that paid it: each pays one item
    Index("ix_export_items_export", "export_id"),
    Index("ix_export_items_open", "state", "chain", "destination"),
    Index("uq_export_items_transfer", "transfer_id", unique=True),
)

creator_addresses = Table(  # where creators are paid; a change takes effect later, payouts are frozen until then
    "creator_addresses",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("account", Text, nullable=False),
    Column("chain", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("set_by", Text, nullable=False),
    Column("set_ms", BigInteger, nullable=False),
    Column("valid_from_ms", BigInteger, nullable=False),
    Index("ix_creator_addresses_account", "account", "chain"),
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
    Column("done_ms", BigInteger),  # handed to every webhook that asks for it (deliveries), or nobody does
    Index("ix_outbox_pending", "done_ms", "next_ms"),
)

webhooks = Table(  # who is told
    "webhooks",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("url", Text, nullable=False),
    Column("types", Text, nullable=False),  # by spaces; * for all
    Column("description", Text, nullable=False, default=""),
    Column("generation", Integer, nullable=False, default=1),  # the secret is derived from id and generation
    Column("previous_until_ms", BigInteger),  # until then the generation before signs too
    Column("created_ms", BigInteger, nullable=False),
    Column("disabled_ms", BigInteger),
    Column("disabled_why", Text, nullable=False, default=""),
    Column("deleted_ms", BigInteger),
)

deliveries = Table(  # one message to one webhook
    "deliveries",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("outbox_id", BigInteger, ForeignKey("outbox.id"), nullable=False),
    Column("webhook_id", BigInteger, ForeignKey("webhooks.id"), nullable=False),
    Column("subject", Text, nullable=False),
    Column("state", Text, nullable=False),  # pending, delivered, dead
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_ms", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),  # since when it is tried: sending again begins anew
    Column("done_ms", BigInteger),
    Column("last_status", Integer),
    Column("last_error", Text, nullable=False, default=""),
    UniqueConstraint("outbox_id", "webhook_id"),
    Index("ix_deliveries_pending", "state", "next_ms"),
    Index("ix_deliveries_queue", "webhook_id", "state", "outbox_id"),
    Index("ix_deliveries_subject", "webhook_id", "subject", "state"),
)

milestones = Table(  # what was told once of an event (starting in an hour …)
    "milestones",
    metadata,
    Column("event_id", BigInteger, ForeignKey("events.id"), primary_key=True),
    Column("what", Text, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
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
    Column("times", BigInteger, nullable=False, default=1),  # alike attempts that were counted into this row
    Index("ix_audit_log_subject", "subject"),
)
