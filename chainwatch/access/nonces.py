"""What may be used once: nonces of challenges, and classic texts.  A row means used; nothing is stored before."""

import functools
from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, Select, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from chainwatch.ledger.bulk import keys_for, listed
from chainwatch.ledger.tables import used_nonces

KEPT_MS = 120_000
"""How much longer than its text a used nonce is remembered: twice the skew that is allowed to clocks.  (Two audits of
others found a window between a text's last moment and its record's: Myriad #419, Paygate #152.)"""


def consume(connection: Connection, key: str, expires_ms: int) -> bool:
    """Mark ``key`` as used; False when it was already.  Atomic on both databases: one of many at once wins."""
    given = {"key": key, "expires_ms": expires_ms + KEPT_MS}
    # What came back, not the row count: psycopg gives none for an INSERT.
    return connection.execute(_use(connection.dialect.name), given).first() is not None


@functools.cache  # building it takes longer than running it
def _use(dialect: str) -> Any:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(used_nonces).on_conflict_do_nothing().returning(used_nonces.c.key)


def used_of(connection: Connection, keys: Collection[str]) -> frozenset[str]:
    """Those of ``keys`` that were used."""
    if not keys:
        return frozenset()
    dialect = connection.dialect.name
    return frozenset(connection.scalars(_used(dialect), {"keys": keys_for(dialect, keys)}))


@functools.cache
def _used(dialect: str) -> Select[Any]:
    return select(used_nonces.c.key).where(listed(dialect, used_nonces.c.key, "keys"))


def forget(connection: Connection, now_ms: int) -> int:
    """Delete what can no longer pass anyway; return how many."""
    return connection.execute(delete(used_nonces).where(used_nonces.c.expires_ms < now_ms)).rowcount
