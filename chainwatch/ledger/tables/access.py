"""Who comes in: door devices and their scans, wallets' texts, sessions and attendance."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, LargeBinary, Table, Text, UniqueConstraint

from chainwatch.ledger.tables.base import metadata
from chainwatch.ledger.types import BigKey

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
