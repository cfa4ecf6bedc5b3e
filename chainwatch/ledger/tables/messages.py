"""What the outside is told."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Text, UniqueConstraint

from chainwatch.ledger.tables.base import metadata
from chainwatch.ledger.types import BigKey

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
    Index("ix_deliveries_pending", "state", "created_ms"),
    Index("ix_deliveries_queue", "webhook_id", "state", "outbox_id"),
    Index("ix_deliveries_subject", "webhook_id", "subject", "state", "outbox_id"),
)

milestones = Table(  # what was told once of an event (starting in an hour …)
    "milestones",
    metadata,
    Column("event_id", BigInteger, ForeignKey("events.id"), primary_key=True),
    Column("what", Text, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
)
