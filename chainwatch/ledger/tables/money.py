"""Where each base unit belongs, what is owed, what pays it, and the books."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Table, Text, UniqueConstraint

from chainwatch.ledger.tables.base import metadata
from chainwatch.ledger.types import BaseUnits, BigKey

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
