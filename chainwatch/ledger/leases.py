"""One writer a chain: leases with a fencing number.

The time to live only decides how soon another may take over; that a slow former holder cannot write
any more is decided by the fence, which every cursor update compares (DESIGN invariant 14).
"""

from sqlalchemy import ColumnElement, Connection, select, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from chainwatch.ledger.tables import cursors, leases
from chainwatch.model import BlockRef

TTL_MS = 10_000
"""A holder that has not renewed for this long may be replaced: three missed renewals."""


def acquire(connection: Connection, name: str, holder: str, now_ms: int, ttl_ms: int = TTL_MS) -> int | None:
    """Take or keep a lease; return its fence, or None while another holds it.

    The fence grows each time the lease changes hands.
    """
    insert = pg_insert if connection.dialect.name == "postgresql" else sqlite_insert
    row = {"name": name, "holder": "", "fence": 0, "expires_ms": 0}
    connection.execute(insert(leases).values(row).on_conflict_do_nothing())
    kept = connection.execute(
        update(leases)
        .where(leases.c.name == name, leases.c.holder == holder, leases.c.expires_ms > now_ms)
        .values(expires_ms=now_ms + ttl_ms)
    )
    if kept.rowcount != 1:
        taken = connection.execute(
            update(leases)
            .where(leases.c.name == name, leases.c.expires_ms <= now_ms)
            .values(holder=holder, fence=leases.c.fence + 1, expires_ms=now_ms + ttl_ms)
        )
        if taken.rowcount != 1:
            return None
    return int(connection.execute(select(leases.c.fence).where(leases.c.name == name)).scalar_one())


def release(connection: Connection, name: str, holder: str) -> None:
    """Give a lease back, so that the next holder need not wait for its end."""
    connection.execute(update(leases).where(leases.c.name == name, leases.c.holder == holder).values(expires_ms=0))


def holder_of(connection: Connection, name: str, now_ms: int) -> str | None:
    """Return who holds a lease now, None when it is free."""
    row = connection.execute(select(leases.c.holder).where(leases.c.name == name, leases.c.expires_ms > now_ms))
    return row.scalar_one_or_none()


def fenced(chain: str, at: BlockRef, fence: int) -> tuple[ColumnElement[bool], ...]:
    """Return what an update of a chain's cursor compares: it still stands at ``at``, and no later holder has written.

    Any other row count than one is a lost race.
    """
    c = cursors.c
    return (c.chain == chain, c.height == at.height, c.hash == at.hash, c.fence <= fence)
