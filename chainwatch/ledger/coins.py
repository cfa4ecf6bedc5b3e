"""What of ours is still unspent, and what was spent by whom: for chains whose money is outputs or nonces."""

from collections.abc import Collection

import msgspec
from sqlalchemy import Connection, func, select

from chainwatch.ledger.tables import blocks, transfers

MOST = 100_000
"""Unspent outputs told at once: an operator sweeps long before."""


class Coin(msgspec.Struct, frozen=True):
    """An unspent output of ours.  ``outpoint`` is ``txid:vout``; ``block_hash`` is where its transaction is."""

    outpoint: str
    amount: int
    address: str
    asset: str
    block_hash: str = ""
    height: int = 0


def unspent(connection: Connection, chain: str, again: Collection[str] = ()) -> list[Coin]:
    """Return our confirmed unspent outputs, the largest first.

    ``again``: outpoints of a transaction that is to be replaced: they are free until a block uses them, whatever the
    mempool shows, for that is the transaction itself.
    """
    spent = spends(connection, chain)
    if again:
        spent -= set(again) - spends(connection, chain, ("confirming", "confirmed"))
    rows = connection.execute(
        select(transfers)
        .where(transfers.c.chain == chain, transfers.c.direction == "in", transfers.c.state == "confirmed")
        .order_by(transfers.c.id)
    )
    found = [
        Coin(f"{r.txid}:{r.idx}", r.amount, r.recipient or "", r.asset or "", r.block_hash or "", r.height or 0)
        for r in rows
        if f"{r.txid}:{r.idx}" not in spent
        if r.amount and r.recipient and r.idx.isdigit() and "locked" not in r.flags
    ]
    return sorted(found, key=lambda c: (-c.amount, c.outpoint))[:MOST]


def watched(connection: Connection, chain: str) -> dict[str, int]:
    """Return our outputs whose spending must be noticed (no final transaction has spent them), with their amounts."""
    gone = spends(connection, chain, ("confirmed",))
    rows = connection.execute(
        select(transfers.c.txid, transfers.c.idx, transfers.c.amount).where(
            transfers.c.chain == chain,
            transfers.c.direction == "in",
            transfers.c.state.in_(("seen", "confirming", "confirmed")),
        )
    )
    named = ((f"{r.txid}:{r.idx}", r) for r in rows if r.idx.isdigit())
    return {outpoint: r.amount for outpoint, r in named if r.amount and outpoint not in gone}


def spends(
    connection: Connection, chain: str, states: tuple[str, ...] = ("seen", "confirming", "confirmed")
) -> set[str]:
    """Return every outpoint and nonce that transactions of ours in these states have used up."""
    rows = connection.scalars(
        select(transfers.c.spends).where(
            transfers.c.chain == chain,
            transfers.c.direction == "out",
            transfers.c.spends != "",
            transfers.c.state.in_(states),
        )
    )
    return {word for text in rows for word in text.split()}


def spent_by_others(
    connection: Connection, chain: str, wanted: Collection[str], settling: Collection[int | None], since_ms: int
) -> set[str]:
    """Return which of ``wanted`` a final transaction has used up that settled nothing of this export."""
    rows = connection.execute(
        select(transfers.c.id, transfers.c.txid, transfers.c.spends).where(
            transfers.c.chain == chain,
            transfers.c.direction == "out",
            transfers.c.state == "confirmed",
            transfers.c.first_seen_ms >= since_ms,
        )
    ).all()
    paying = {r.txid for r in rows if r.id in settling}
    words = set(wanted)
    return {w for r in rows if r.txid not in paying for w in r.spends.split() if w in words}


def final_time(connection: Connection, chain: str, final_height: int | None) -> int | None:
    """Return the time of the newest block that is final, None while it is not known."""
    if final_height is None:
        return None
    newest = select(func.max(blocks.c.time_ms)).where(blocks.c.chain == chain, blocks.c.height <= final_height)
    found = connection.execute(newest).scalar_one_or_none()
    return None if found is None else int(found)
