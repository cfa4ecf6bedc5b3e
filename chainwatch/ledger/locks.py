"""The locks that order cancelling, exporting and minting: a chain's cursor first, then rows of events in id order.

Rows of events are locked ``FOR NO KEY UPDATE``.  A purchase or ticket that is inserted holds ``FOR KEY SHARE`` of its
event (its foreign key); if both of two chains had inserted and then asked for ``FOR UPDATE``, each would wait for the
other.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, func, select

from chainwatch.ledger.bulk import among, chunks
from chainwatch.ledger.tables import cursors, purchases
from chainwatch.ledger.tables import events as table

RECKONING = 0x7061796F757473
"""The number of the advisory lock of payouts ("payouts" in ASCII)."""


def chain(connection: Connection, code: str) -> None:
    """Hold a chain's cursor: no step of it, and no other export, runs until the transaction ends."""
    connection.execute(select(cursors.c.chain).where(cursors.c.chain == code).with_for_update()).all()


def chains(connection: Connection, codes: Iterable[str]) -> None:
    """Hold the cursors of several chains, by whoever needs some in the same order."""
    for code in sorted(set(codes)):
        chain(connection, code)


def events(connection: Connection, ids: Iterable[int | None]) -> None:
    """Hold these events' rows until the transaction ends.  (SQLite has one writer anyhow.)"""
    if connection.dialect.name == "sqlite":
        return
    for part in chunks(sorted({i for i in ids if i is not None})):
        rows = select(table.c.id).where(among(connection, table.c.id, part))
        connection.execute(rows.order_by(table.c.id).with_for_update(key_share=True)).all()


def reckoning(connection: Connection) -> None:
    """Be the only one that brings payouts up to date until the transaction ends; taken after a chain and events."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(RECKONING)))


def events_of(connection: Connection, purchase_ids: Iterable[int]) -> None:
    """Hold the rows of the events of these purchases."""
    if connection.dialect.name == "sqlite":
        return
    found: set[int] = set()
    for part in chunks(sorted(purchase_ids)):
        rows = select(purchases.c.event_id).where(among(connection, purchases.c.id, part)).distinct()
        found.update(connection.scalars(rows))
    events(connection, found)
