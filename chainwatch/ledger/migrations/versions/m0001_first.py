"""The first schema."""

import sqlalchemy as sa
from alembic import op

from chainwatch.ledger.types import BaseUnits, BigKey

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "audit_log",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    with op.batch_alter_table("audit_log", schema=None) as batch_op:
        batch_op.create_index("ix_audit_log_subject", ["subject"], unique=False)

    op.create_table(
        "backfills",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("next_height", sa.BigInteger(), nullable=False),
        sa.Column("last_height", sa.BigInteger(), nullable=False),
        sa.Column("first_height", sa.BigInteger(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("done_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backfills")),
    )
    op.create_table(
        "blocks",
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain", "height", name=op.f("pk_blocks")),
    )
    op.create_table(
        "cursors",
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("final_height", sa.BigInteger(), nullable=True),
        sa.Column("final_hash", sa.Text(), nullable=True),
        sa.Column("head_height", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("tip_ms", sa.BigInteger(), nullable=True),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("alarm", sa.Text(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain", name=op.f("pk_cursors")),
    )
    op.create_table(
        "events",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("slug", sa.Text(), nullable=True),
        sa.Column("creator_account", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("space_type", sa.Text(), nullable=False),
        sa.Column("space_id", sa.Text(), nullable=False),
        sa.Column("ticket_price", sa.Text(), nullable=False),
        sa.Column("ticket_currency", sa.Text(), nullable=False),
        sa.Column("max_attendees", sa.BigInteger(), nullable=True),
        sa.Column("tickets_sold", sa.BigInteger(), nullable=False),
        sa.Column("tickets_held", sa.BigInteger(), nullable=False),
        sa.Column("last_number", sa.BigInteger(), nullable=False),
        sa.Column("event_start_ms", sa.BigInteger(), nullable=True),
        sa.Column("event_end_ms", sa.BigInteger(), nullable=True),
        sa.Column("latest_end_ms", sa.BigInteger(), nullable=True),
        sa.Column("sales_start_ms", sa.BigInteger(), nullable=True),
        sa.Column("sales_end_ms", sa.BigInteger(), nullable=True),
        sa.Column("require_camera", sa.Boolean(), nullable=False),
        sa.Column("require_microphone", sa.Boolean(), nullable=False),
        sa.Column("age_restriction", sa.Integer(), nullable=True),
        sa.Column("event_category", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("by_memo", sa.Boolean(), nullable=False),
        sa.Column("commission_bps", sa.Integer(), nullable=False),
        sa.Column("dispute", sa.Boolean(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("slug", name=op.f("uq_events_slug")),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "outbox",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_ms", sa.BigInteger(), nullable=False),
        sa.Column("done_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.create_index("ix_outbox_pending", ["done_ms", "next_ms"], unique=False)

    op.create_table(
        "event_prices",
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("amount", BaseUnits(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_event_prices_event_id")),
        sa.PrimaryKeyConstraint("event_id", "asset", name=op.f("pk_event_prices")),
    )
    op.create_table(
        "payouts",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("creator_account", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("amount", BaseUnits(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=True),
        sa.Column("settled_txid", sa.Text(), nullable=True),
        sa.Column("due_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_payouts_event_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payouts")),
    )
    with op.batch_alter_table("payouts", schema=None) as batch_op:
        batch_op.create_index("ix_payouts_event", ["event_id", "asset"], unique=False)
        batch_op.create_index("ix_payouts_state", ["state"], unique=False)

    op.create_table(
        "purchases",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=True),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("wallet", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("implicit_key", sa.Text(), nullable=True),
        sa.Column("price", BaseUnits(), nullable=True),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("expired", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_purchases_event_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_purchases")),
        sa.UniqueConstraint("implicit_key", name=op.f("uq_purchases_implicit_key")),
        sa.UniqueConstraint("ref", name=op.f("uq_purchases_ref")),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_purchases_secret_hash")),
    )
    with op.batch_alter_table("purchases", schema=None) as batch_op:
        batch_op.create_index("ix_purchases_event_wallet", ["event_id", "wallet"], unique=False)
        batch_op.create_index("ix_purchases_open", ["expired", "expires_ms"], unique=False)
        batch_op.create_index("ix_purchases_wallet", ["wallet"], unique=False)

    op.create_table(
        "addresses",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("path_index", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("purchase_id", sa.BigInteger(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["purchase_id"], ["purchases.id"], name=op.f("fk_addresses_purchase_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_addresses")),
        sa.UniqueConstraint("chain", "address", name=op.f("uq_addresses_chain_address")),
        sa.UniqueConstraint("chain", "path_index", name=op.f("uq_addresses_chain_path_index")),
    )
    op.create_table(
        "tickets",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("uuid", sa.Text(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("purchase_id", sa.BigInteger(), nullable=False),
        sa.Column("unit", sa.Integer(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("jws", sa.Text(), nullable=False),
        sa.Column("wallet", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("amount_paid", BaseUnits(), nullable=False),
        sa.Column("commission", BaseUnits(), nullable=False),
        sa.Column("payout", BaseUnits(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("first_access_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_access_ms", sa.BigInteger(), nullable=True),
        sa.Column("total_access_count", sa.BigInteger(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_tickets_event_id")),
        sa.ForeignKeyConstraint(["purchase_id"], ["purchases.id"], name=op.f("fk_tickets_purchase_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tickets")),
        sa.UniqueConstraint("event_id", "number", name=op.f("uq_tickets_event_id_number")),
        sa.UniqueConstraint("purchase_id", "unit", name=op.f("uq_tickets_purchase_id_unit")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_tickets_token_hash")),
        sa.UniqueConstraint("uuid", name=op.f("uq_tickets_uuid")),
    )
    with op.batch_alter_table("tickets", schema=None) as batch_op:
        batch_op.create_index("ix_tickets_wallet", ["wallet"], unique=False)

    op.create_table(
        "transfers",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("txid", sa.Text(), nullable=False),
        sa.Column("idx", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=True),
        sa.Column("asset_id", sa.Text(), nullable=True),
        sa.Column("amount", BaseUnits(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=True),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("reference_keys", sa.Text(), nullable=False),
        sa.Column("memo", sa.LargeBinary(), nullable=True),
        sa.Column("flags", sa.Text(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=True),
        sa.Column("block_hash", sa.Text(), nullable=True),
        sa.Column("block_time_ms", sa.BigInteger(), nullable=True),
        sa.Column("first_seen_ms", sa.BigInteger(), nullable=False),
        sa.Column("paid_ms", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("shown", sa.Text(), nullable=False),
        sa.Column("was_confirmed", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("purchase_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["purchase_id"], ["purchases.id"], name=op.f("fk_transfers_purchase_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transfers")),
        sa.UniqueConstraint("chain", "txid", "idx", name=op.f("uq_transfers_chain_txid_idx")),
    )
    with op.batch_alter_table("transfers", schema=None) as batch_op:
        batch_op.create_index("ix_transfers_chain_height", ["chain", "height"], unique=False)
        batch_op.create_index("ix_transfers_chain_state", ["chain", "state"], unique=False)
        batch_op.create_index("ix_transfers_purchase", ["purchase_id"], unique=False)
        batch_op.create_index("ix_transfers_shown", ["shown"], unique=False)

    op.create_table(
        "allocations",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("transfer_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("amount", BaseUnits(), nullable=False),
        sa.Column("commission", BaseUnits(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["transfer_id"], ["transfers.id"], name=op.f("fk_allocations_transfer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_allocations")),
    )
    with op.batch_alter_table("allocations", schema=None) as batch_op:
        batch_op.create_index("ix_allocations_kind", ["kind"], unique=False)
        batch_op.create_index("ix_allocations_transfer", ["transfer_id"], unique=False)

    op.create_table(
        "attendance",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("ticket_id", sa.BigInteger(), nullable=False),
        sa.Column("wallet_address", sa.Text(), nullable=False),
        sa.Column("joined_ms", sa.BigInteger(), nullable=False),
        sa.Column("left_ms", sa.BigInteger(), nullable=True),
        sa.Column("total_duration_minutes", sa.BigInteger(), nullable=False),
        sa.Column("chat_messages_sent", sa.BigInteger(), nullable=False),
        sa.Column("voice_time_minutes", sa.BigInteger(), nullable=False),
        sa.Column("screen_shared", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_attendance_event_id")),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.id"], name=op.f("fk_attendance_ticket_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attendance")),
    )
    with op.batch_alter_table("attendance", schema=None) as batch_op:
        batch_op.create_index("ix_attendance_event", ["event_id"], unique=False)
        batch_op.create_index("ix_attendance_ticket", ["ticket_id"], unique=False)

    op.create_table(
        "ledger_lines",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("transfer_id", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=True),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("amount", BaseUnits(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_ledger_lines_event_id")),
        sa.ForeignKeyConstraint(["transfer_id"], ["transfers.id"], name=op.f("fk_ledger_lines_transfer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_lines")),
    )
    with op.batch_alter_table("ledger_lines", schema=None) as batch_op:
        batch_op.create_index("ix_ledger_lines_account", ["account", "asset"], unique=False)
        batch_op.create_index("ix_ledger_lines_event", ["event_id"], unique=False)
        batch_op.create_index("ix_ledger_lines_transfer", ["transfer_id"], unique=False)

    op.create_table(
        "refunds",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("transfer_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=True),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=True),
        sa.Column("amount", BaseUnits(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=True),
        sa.Column("settled_txid", sa.Text(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_refunds_event_id")),
        sa.ForeignKeyConstraint(["transfer_id"], ["transfers.id"], name=op.f("fk_refunds_transfer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refunds")),
        sa.UniqueConstraint("transfer_id", "kind", name=op.f("uq_refunds_transfer_id_kind")),
    )
    with op.batch_alter_table("refunds", schema=None) as batch_op:
        batch_op.create_index("ix_refunds_state", ["state"], unique=False)
