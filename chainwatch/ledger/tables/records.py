"""Callers' keys, and what is kept of what they did."""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table, Text

from chainwatch.ledger.tables.base import metadata
from chainwatch.ledger.types import BigKey

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
    Index("ix_audit_log_action", "action", "at_ms"),
)

erased_wallets = Table(  # keyed hashes of wallets whose data was erased, so that a backfill does not bring them back
    "erased_wallets",
    metadata,
    Column("wallet_key", LargeBinary, primary_key=True),
    Column("erased_ms", BigInteger, nullable=False),
)
