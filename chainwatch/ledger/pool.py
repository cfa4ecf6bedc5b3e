"""Addresses of our own, derived ahead by the chain's writer and watched from then on.

A purchase only takes one from this pool, so whatever process hands it out, no payment to it is missed
(DESIGN invariant 13).  An address belongs to its purchase for ever: it is never given out again.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, bindparam, func, select, update

from chainwatch.ledger.bulk import insert_rows, update_rows
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
    ours = addresses.c.chain == chain
    newest = select(addresses.c.path_index).where(ours).order_by(addresses.c.path_index.desc()).limit(1)
    next_index = (connection.execute(newest).scalar_one_or_none() or 0) + 1
    unused = select(func.count()).select_from(addresses).where(ours, addresses.c.purchase_id.is_(None))
    free = connection.execute(unused).scalar_one()
    # From the newest down: within the gap one is paid, so few are looked at.  What was only seen is no payment to the
    # operator's wallet: it looks at blocks, and a sighting costs its sender nothing.
    money = select(transfers.c.id).where(transfers.c.recipient == addresses.c.address, transfers.c.chain == chain)
    mined = transfers.c.height.is_not(None)
    paid = connection.execute(newest.where(money.where(mined).exists())).scalar_one_or_none()
    last = (-1 if paid is None else paid) + gap_limit  # number 0 is unused too, as long as nobody pays it
    return range(next_index, min(next_index + max(AHEAD - free, 0), last + 1))


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


def newer(connection: Connection, chains: Sequence[str], after: int) -> tuple[int, list[str]]:
    """Return the addresses that were derived for these chains since (``after``: an id from the answer before)."""
    rows = connection.execute(
        select(addresses.c.id, addresses.c.address)
        .where(addresses.c.chain.in_(chains), addresses.c.id > after)
        .order_by(addresses.c.id)
    ).all()
    return (rows[-1].id if rows else after), [r.address for r in rows]


def derived(connection: Connection, chain: str) -> int | None:
    """Return the highest number of an address that was ever derived: a wallet that is to find everything paid looks at
    all up to it.  None: no addresses (reference keys are none: their money comes to the common account).
    """
    ours = addresses.c.chain == chain, ~addresses.c.address.startswith(REFERENCE)
    newest: int | None = connection.execute(select(func.max(addresses.c.path_index)).where(*ours)).scalar_one()
    return newest


def has_free(chain: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the question whether a chain has a free address, as part of another: most chains never have one."""
    free = select(addresses.c.id).where(addresses.c.chain == chain, addresses.c.purchase_id.is_(None))
    return free.exists()


def next_free(connection: Connection, chain: str, receive: Collection[str] = ()) -> Row[Any] | None:
    """Return the first free address (id, address), locked; None when the pool is empty (then: a memo, or later).

    An address that the operator has put into ``receive`` too is everybody's, and so nobody's own.
    """
    found = connection.execute(_NEXT_FREE, {"of_chain": chain}).first()
    if found is not None and found.address in receive:
        others = _NEXT_FREE.where(addresses.c.address.not_in(list(receive)))
        found = connection.execute(others, {"of_chain": chain}).first()
    return found


_NEXT_FREE: Select[Any] = (
    select(addresses.c.id, addresses.c.address)
    .where(addresses.c.chain == bindparam("of_chain"), addresses.c.purchase_id.is_(None))
    .order_by(addresses.c.path_index)
    .limit(1)
    .with_for_update(skip_locked=True)
)


def all_free(connection: Connection, chain: str, most: int, receive: Collection[str]) -> Sequence[Row[Any]]:
    """Return the first free addresses (id, address), locked, at most ``most``; as ``next_free``."""
    rows: Select[Any] = (
        select(addresses.c.id, addresses.c.address)
        .where(addresses.c.chain == chain, addresses.c.purchase_id.is_(None))
        .where(addresses.c.address.not_in(list(receive)))
        .order_by(addresses.c.path_index)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    found: Any = connection.execute(rows).all()
    free: Sequence[Row[Any]] = found
    return free


def give_all(connection: Connection, taken: Mapping[int, int]) -> None:
    """Give locked addresses to purchases, for ever: address id to purchase id."""
    update_rows(connection, addresses, [{"row_id": k, "purchase_id": v} for k, v in taken.items()])


def give(connection: Connection, address_id: int, purchase_id: int) -> None:
    """Give a locked address to a purchase, for ever."""
    connection.execute(update(addresses).where(addresses.c.id == address_id).values(purchase_id=purchase_id))
