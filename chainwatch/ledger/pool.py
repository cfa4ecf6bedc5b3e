"""Addresses of our own, derived ahead by the chain's writer and watched from then on.

A purchase only takes one from this pool, so whatever process hands it out, no payment to it is missed
(DESIGN invariant 13).  An address belongs to its purchase for ever: it is never given out again.
"""

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, func, select, update

from chainwatch.ledger.bulk import insert_rows
from chainwatch.ledger.tables import addresses, transfers

REFERENCE = "reference:"
"""Prefix of an entry that is no address but a key which the payment's transaction names (Solana Pay)."""

AHEAD = 20
"""Free addresses kept ready."""

GAP_LIMIT = 20
"""Addresses without a payment in a row that an operator's wallet looks through (BIP-44): more are not derived.
Monero wallets look 200 ahead; a chain's ``gap_limit`` in networks.toml says so."""


def wanted(connection: Connection, chain: str, gap_limit: int = GAP_LIMIT) -> range:
    """Return the numbers that are to be derived now (often none)."""
    next_index, free = connection.execute(
        select(
            func.coalesce(func.max(addresses.c.path_index) + 1, 1),
            func.count().filter(addresses.c.purchase_id.is_(None)),
        ).where(addresses.c.chain == chain)
    ).one()
    paid = connection.execute(
        select(func.coalesce(func.max(addresses.c.path_index), 0))
        .join_from(addresses, transfers, addresses.c.address == transfers.c.recipient)
        .where(addresses.c.chain == chain, transfers.c.chain == chain)
    ).scalar_one()
    return range(next_index, min(next_index + max(AHEAD - free, 0), paid + gap_limit + 1))


def add(connection: Connection, chain: str, first: int, derived: Sequence[str], now_ms: int) -> None:
    """Put derived addresses ``first…`` into the pool.  Number 0 stays the operator's own."""
    rows = [
        {"chain": chain, "path_index": first + i, "address": a, "purchase_id": None, "created_ms": now_ms}
        for i, a in enumerate(derived)
    ]
    insert_rows(connection, addresses, rows)


def all_of(connection: Connection, chain: str) -> list[str]:
    """Return every address that must be watched: all that were ever derived."""
    rows = connection.execute(
        select(addresses.c.address).where(addresses.c.chain == chain).order_by(addresses.c.path_index)
    )
    return [r.address for r in rows]


def take(connection: Connection, chain: str, purchase_id: int, receive: Collection[str] = ()) -> str | None:
    """Give the first free address to a purchase; None when the pool is empty (then: a memo, or later).

    An address that the operator has put into ``receive`` too is everybody's, and so nobody's own.
    """
    row = connection.execute(
        select(addresses.c.id, addresses.c.address)
        .where(addresses.c.chain == chain, addresses.c.purchase_id.is_(None), addresses.c.address.not_in(list(receive)))
        .order_by(addresses.c.path_index)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if row is None:
        return None
    connection.execute(update(addresses).where(addresses.c.id == row.id).values(purchase_id=purchase_id))
    return str(row.address)
