"""Events, what a ticket costs, who asked for one, and the tickets."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from chainwatch.ledger.tables.base import metadata
from chainwatch.ledger.types import BaseUnits, BigKey

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

rates = Table(  # agreed prices of coins over time: seen by every process, and still there when money comes late
    "rates",
    metadata,
    Column("asset", Text, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("at_ms", BigInteger, primary_key=True),
    Column("price", Text, nullable=False),  # decimal text: one whole coin in the currency
    Column("sources", Text, nullable=False),  # who agreed, by spaces
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
