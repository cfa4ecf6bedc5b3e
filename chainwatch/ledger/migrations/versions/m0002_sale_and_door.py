"""Purchases as buyers ask for them, money that leaves, the door, and the HTTP API."""

import sqlalchemy as sa
from alembic import op

from chainwatch.ledger.types import BaseUnits, BigKey

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Go forward."""
    _create()
    _extend()
    _fees()


def _reference(table: str, column: str, target: str) -> None:
    """Add a foreign key column in place: SQLite cannot rebuild a table that others refer to in a transaction."""
    op.execute(
        f"ALTER TABLE {table} ADD COLUMN {column} BIGINT CONSTRAINT fk_{table}_{column} REFERENCES {target} (id)"
    )


def _fees() -> None:
    """Purchases that are here already: the commission in their price, by their event's rate."""
    connection = op.get_bind()
    price = sa.column("price", BaseUnits())
    purchases = sa.table("purchases", sa.column("id"), price, sa.column("fee", BaseUnits()), sa.column("event_id"))
    events = sa.table("events", sa.column("id"), sa.column("commission_bps"))
    rows = connection.execute(
        sa.select(purchases.c.id, price, events.c.commission_bps)
        .join_from(purchases, events, purchases.c.event_id == events.c.id)
        .where(price.is_not(None))
    ).all()
    for row in rows:
        fee = row.price * row.commission_bps // 10_000
        connection.execute(sa.update(purchases).where(purchases.c.id == row.id).values(fee=fee))


def _extend() -> None:
    op.create_index("ix_addresses_purchase", "addresses", ["purchase_id"], unique=False)
    op.create_index("ix_addresses_free", "addresses", ["chain", "purchase_id", "path_index"], unique=False)
    op.add_column("audit_log", sa.Column("times", sa.BigInteger(), nullable=False, server_default="1"))
    with op.batch_alter_table("event_prices") as batch_op:
        batch_op.alter_column("amount", existing_type=BaseUnits(), nullable=True)
    op.add_column("events", sa.Column("fee_on_top", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("events", sa.Column("tickets_per_wallet", sa.Integer(), nullable=True))
    op.add_column("events", sa.Column("open_per_wallet", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("events", sa.Column("admission", sa.Text(), nullable=False, server_default="open"))
    op.add_column("events", sa.Column("entry_policy", sa.Text(), nullable=False, server_default="reentry"))
    op.add_column("events", sa.Column("door", sa.Text(), nullable=False, server_default="both"))
    op.add_column("events", sa.Column("anonymous", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("events", sa.Column("seats_reserved", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("events", sa.Column("seats_unsigned", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("events", sa.Column("seats_seen", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("events", sa.Column("started_ms", sa.BigInteger(), nullable=True))
    op.add_column("events", sa.Column("ended_ms", sa.BigInteger(), nullable=True))
    op.add_column("events", sa.Column("classic_until_ms", sa.BigInteger(), nullable=True))
    op.create_index("ix_events_creator", "events", ["creator_account"], unique=False)
    op.create_index("ix_events_start", "events", ["status", "event_start_ms"], unique=False)
    _reference("payouts", "export_id", "exports")
    _reference("payouts", "settled_transfer_id", "transfers")
    op.create_index("ix_payouts_export", "payouts", ["export_id"], unique=False)
    _reference("payouts", "item_id", "export_items")
    op.add_column("payouts", sa.Column("frozen_why", sa.Text(), nullable=False, server_default=""))
    op.add_column("purchases", sa.Column("fee", BaseUnits(), nullable=True))
    op.add_column("purchases", sa.Column("fiat_currency", sa.Text(), nullable=True))
    op.add_column("purchases", sa.Column("fiat_amount", sa.Text(), nullable=True))
    op.add_column("purchases", sa.Column("rate", sa.Text(), nullable=True))
    op.add_column("purchases", sa.Column("rate_ms", sa.BigInteger(), nullable=True))
    op.add_column("purchases", sa.Column("signed", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("purchases", sa.Column("wallet_chain", sa.Text(), nullable=True))
    op.add_column("purchases", sa.Column("pay_to", sa.Text(), nullable=True))
    op.add_column("purchases", sa.Column("pay_memo", sa.Text(), nullable=True))
    op.add_column("purchases", sa.Column("pay_reference", sa.Text(), nullable=True))
    op.add_column("purchases", sa.Column("hold_kind", sa.Text(), nullable=False, server_default=""))
    _reference("purchases", "tier_id", "tiers")
    _reference("purchases", "allotment_id", "allotments")
    _reference("purchases", "invite_id", "invites")
    op.add_column("refunds", sa.Column("destination_by", sa.Text(), nullable=False, server_default=""))
    op.add_column("refunds", sa.Column("sent_amount", BaseUnits(), nullable=True))
    _reference("refunds", "export_id", "exports")
    _reference("refunds", "item_id", "export_items")
    _reference("refunds", "settled_transfer_id", "transfers")
    op.create_index("ix_refunds_export", "refunds", ["export_id"], unique=False)
    op.create_index("uq_refunds_settled", "refunds", ["settled_transfer_id"], unique=True)
    op.add_column("tickets", sa.Column("entries", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("tickets", sa.Column("last_entry_ms", sa.BigInteger(), nullable=True))
    op.add_column("tickets", sa.Column("reason", sa.Text(), nullable=False, server_default=""))
    op.add_column("transfers", sa.Column("resolution", sa.Text(), nullable=False, server_default=""))
    op.add_column("transfers", sa.Column("direction", sa.Text(), nullable=False, server_default="in"))
    op.add_column("transfers", sa.Column("network_fee", BaseUnits(), nullable=True))
    op.add_column("transfers", sa.Column("spends", sa.Text(), nullable=False, server_default=""))
    op.add_column("transfers", sa.Column("memo_key", sa.Text(), nullable=True))
    op.create_index("ix_transfers_memo", "transfers", ["memo_key"], unique=False)
    op.create_index("ix_transfers_recipient", "transfers", ["recipient", "id"], unique=False)


def _create() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("used_ms", sa.BigInteger(), nullable=True),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_api_keys_key_hash")),
    )
    op.create_table(
        "challenge_wallets",
        sa.Column("wallet", sa.Text(), nullable=False),
        sa.Column("first_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("wallet", name=op.f("pk_challenge_wallets")),
    )
    op.create_table(
        "creator_addresses",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("set_ms", sa.BigInteger(), nullable=False),
        sa.Column("valid_from_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_creator_addresses")),
    )
    with op.batch_alter_table("creator_addresses", schema=None) as batch_op:
        batch_op.create_index("ix_creator_addresses_account", ["account", "chain"], unique=False)

    op.create_table(
        "erased_wallets",
        sa.Column("wallet_key", sa.LargeBinary(), nullable=False),
        sa.Column("erased_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("wallet_key", name=op.f("pk_erased_wallets")),
    )
    op.create_table(
        "exports",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("total", BaseUnits(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("conflict", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=False),
        sa.Column("approved_ms", sa.BigInteger(), nullable=True),
        sa.Column("voided_by", sa.Text(), nullable=False),
        sa.Column("replaces_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["replaces_id"], ["exports.id"], name=op.f("fk_exports_replaces_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exports")),
    )
    with op.batch_alter_table("exports", schema=None) as batch_op:
        batch_op.create_index("ix_exports_state", ["state"], unique=False)

    op.create_table(
        "export_items",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("export_id", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("amount", BaseUnits(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("conflict", sa.Text(), nullable=False),
        sa.Column("transfer_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["export_id"], ["exports.id"], name=op.f("fk_export_items_export_id")),
        sa.ForeignKeyConstraint(["transfer_id"], ["transfers.id"], name=op.f("fk_export_items_transfer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_export_items")),
    )
    with op.batch_alter_table("export_items", schema=None) as batch_op:
        batch_op.create_index("ix_export_items_export", ["export_id"], unique=False)
        batch_op.create_index("ix_export_items_open", ["state", "chain", "destination"], unique=False)
        batch_op.create_index("uq_export_items_transfer", ["transfer_id"], unique=True)

    op.create_table(
        "idempotency",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "key", name=op.f("pk_idempotency")),
    )
    with op.batch_alter_table("idempotency", schema=None) as batch_op:
        batch_op.create_index("ix_idempotency_created", ["created_ms"], unique=False)

    op.create_table(
        "rates",
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("price", sa.Text(), nullable=False),
        sa.Column("sources", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("asset", "currency", "at_ms", name=op.f("pk_rates")),
    )
    op.create_table(
        "used_nonces",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_used_nonces")),
    )
    with op.batch_alter_table("used_nonces", schema=None) as batch_op:
        batch_op.create_index("ix_used_nonces_expires", ["expires_ms"], unique=False)

    op.create_table(
        "webhooks",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("types", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("previous_until_ms", sa.BigInteger(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("disabled_ms", sa.BigInteger(), nullable=True),
        sa.Column("disabled_why", sa.Text(), nullable=False),
        sa.Column("deleted_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_table(
        "allotments",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("sold", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.Column("unsigned", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_allotments_event_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_allotments")),
        sa.UniqueConstraint("event_id", "code", name=op.f("uq_allotments_event_id_code")),
    )
    op.create_table(
        "approvals",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("wallet", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("decided_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_approvals_event_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
        sa.UniqueConstraint("event_id", "wallet", name=op.f("uq_approvals_event_id_wallet")),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("outbox_id", sa.BigInteger(), nullable=False),
        sa.Column("webhook_id", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("done_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["outbox_id"], ["outbox.id"], name=op.f("fk_deliveries_outbox_id")),
        sa.ForeignKeyConstraint(["webhook_id"], ["webhooks.id"], name=op.f("fk_deliveries_webhook_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("outbox_id", "webhook_id", name=op.f("uq_deliveries_outbox_id_webhook_id")),
    )
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.create_index("ix_deliveries_pending", ["state", "next_ms"], unique=False)
        batch_op.create_index("ix_deliveries_queue", ["webhook_id", "state", "outbox_id"], unique=False)
        batch_op.create_index("ix_deliveries_subject", ["webhook_id", "subject", "state"], unique=False)

    op.create_table(
        "devices",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("seen_ms", sa.BigInteger(), nullable=True),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_devices_event_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_devices")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_devices_key_hash")),
    )
    with op.batch_alter_table("devices", schema=None) as batch_op:
        batch_op.create_index("ix_devices_event", ["event_id"], unique=False)

    op.create_table(
        "invites",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("wallet", sa.Text(), nullable=True),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_invites_event_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invites")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_invites_code_hash")),
    )
    with op.batch_alter_table("invites", schema=None) as batch_op:
        batch_op.create_index("ix_invites_event", ["event_id"], unique=False)

    op.create_table(
        "milestones",
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_milestones_event_id")),
        sa.PrimaryKeyConstraint("event_id", "what", name=op.f("pk_milestones")),
    )
    op.create_table(
        "tiers",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("ticket_price", sa.Text(), nullable=False),
        sa.Column("ticket_currency", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=True),
        sa.Column("sold", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.Column("unsigned", sa.BigInteger(), nullable=False),
        sa.Column("sales_start_ms", sa.BigInteger(), nullable=True),
        sa.Column("sales_end_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_tiers_event_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tiers")),
        sa.UniqueConstraint("event_id", "code", name=op.f("uq_tiers_event_id_code")),
    )
    op.create_table(
        "tier_prices",
        sa.Column("tier_id", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("amount", BaseUnits(), nullable=True),
        sa.ForeignKeyConstraint(["tier_id"], ["tiers.id"], name=op.f("fk_tier_prices_tier_id")),
        sa.PrimaryKeyConstraint("tier_id", "asset", name=op.f("pk_tier_prices")),
    )
    op.create_table(
        "entries",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("ticket_id", sa.BigInteger(), nullable=True),
        sa.Column("device_id", sa.BigInteger(), nullable=True),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("gate", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("admitted", sa.Boolean(), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_entries_device_id")),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_entries_event_id")),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.id"], name=op.f("fk_entries_ticket_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_entries")),
        sa.UniqueConstraint("device_id", "ticket_id", "nonce", name=op.f("uq_entries_device_id_ticket_id_nonce")),
    )
    with op.batch_alter_table("entries", schema=None) as batch_op:
        batch_op.create_index("ix_entries_event", ["event_id", "at_ms"], unique=False)
        batch_op.create_index("ix_entries_ticket", ["ticket_id", "result"], unique=False)

    op.create_table(
        "sessions",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("jti", sa.Text(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("ticket_id", sa.BigInteger(), nullable=False),
        sa.Column("attendance_id", sa.BigInteger(), nullable=True),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("ended_why", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["attendance_id"], ["attendance.id"], name=op.f("fk_sessions_attendance_id")),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_sessions_event_id")),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.id"], name=op.f("fk_sessions_ticket_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.UniqueConstraint("jti", name=op.f("uq_sessions_jti")),
    )
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.create_index("ix_sessions_open", ["ended_ms", "expires_ms"], unique=False)
        batch_op.create_index("ix_sessions_ticket", ["ticket_id", "ended_ms"], unique=False)
