"""A wallet's data erased on request: everything that accounting need not keep, and it does not come back.

Amounts, transaction ids and dates stay, and what is needed to pay back what is still owed.  In place of the address
stands its pseudonym (``ledger.tombstones``), so that the books still tell wallets apart, and a transfer that is scanned
again is filed under it.
"""

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, case, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from chainwatch.errors import Rejected
from chainwatch.ledger import tombstones
from chainwatch.ledger.bulk import among, chunks
from chainwatch.ledger.tables import (
    approvals,
    attendance,
    challenge_wallets,
    erased_wallets,
    events,
    invites,
    purchases,
    refunds,
    tickets,
    transfers,
)
from chainwatch.tickets.token import Issuer

BATCH = 100
"""Wallets that one round erases: the writer is not kept busy."""
NEVER = 2**62
"""When an event without an end is over."""


class Erased(msgspec.Struct, frozen=True):
    """What was done.  ``kept``: purchases whose wallet stays because money is still owed to it."""

    tickets: int
    purchases: int
    kept: int


def erase(connection: Connection, issuer: Issuer, wallet: str, now_ms: int) -> Erased:
    """Erase ``wallet`` (canonical).  Harmless to repeat: what was kept goes once nothing is owed any more.

    ``Rejected('ticket_live')`` while it has a ticket of an event that is not over: without its wallet it could not be
    used.
    """
    if _has_live(connection, wallet, now_ms):
        raise Rejected("ticket_live", "this wallet has a ticket of an event to come: ask again when it is over")
    key = tombstones.key_of(issuer, wallet)
    name = tombstones.pseudonym(key)
    theirs: Select[Any] = select(purchases.c.id, purchases.c.implicit_key).where(purchases.c.wallet == wallet)
    rows = connection.execute(theirs).all()
    owed = _owed(connection, [r.id for r in rows])
    gone = [r for r in rows if r.id not in owed]
    count = _purchases(connection, gone, wallet, name)
    # Where money was sent stays in the books; that this wallet said so does not.
    claimed = update(refunds).where(refunds.c.destination_by == f"wallet:{wallet}")
    connection.execute(claimed.values(destination_by=f"wallet:{name}"))
    connection.execute(update(attendance).where(attendance.c.wallet_address == wallet).values(wallet_address=name))
    connection.execute(update(invites).where(invites.c.wallet == wallet).values(wallet=name))
    connection.execute(delete(approvals).where(approvals.c.wallet == wallet))
    connection.execute(delete(challenge_wallets).where(challenge_wallets.c.wallet == wallet))
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    stone = insert(erased_wallets).values(wallet_key=key, erased_ms=now_ms)
    connection.execute(
        stone.on_conflict_do_update(index_elements=[erased_wallets.c.wallet_key], set_={"erased_ms": now_ms})
    )
    return Erased(count, len(gone), len(owed))


def forget_old(connection: Connection, issuer: Issuer, before_ms: int, now_ms: int) -> int:
    """Erase wallets whose every event was over before ``before_ms``, at most ``BATCH`` of them; return how many.

    Not those to whom something is owed: they are erased once it is paid.
    """
    others = purchases.alias()
    of_wallet = others.c.wallet == purchases.c.wallet
    paid = select(transfers.c.id).join_from(transfers, others, transfers.c.purchase_id == others.c.id).where(of_wallet)
    owed = paid.join(refunds, refunds.c.transfer_id == transfers.c.id).where(
        refunds.c.state.not_in(("settled", "cancelled"))
    )
    on_its_way = paid.where(transfers.c.state.in_(("seen", "confirming")))
    over = case(
        (events.c.status == "cancelled", events.c.updated_ms), else_=func.coalesce(events.c.latest_end_ms, NEVER)
    )
    wallets = connection.scalars(
        select(purchases.c.wallet)
        .join_from(purchases, events, purchases.c.event_id == events.c.id)
        .where(~purchases.c.wallet.startswith(tombstones.PREFIX), ~owed.exists(), ~on_its_way.exists())
        .group_by(purchases.c.wallet)
        .having(func.max(over) < before_ms)
        .limit(BATCH)
    ).all()
    for wallet in wallets:
        erase(connection, issuer, wallet, now_ms)
    return len(wallets)


def _has_live(connection: Connection, wallet: str, now_ms: int) -> bool:
    rows = (
        select(tickets.c.id)
        .join_from(tickets, events, tickets.c.event_id == events.c.id)
        .where(
            tickets.c.wallet == wallet,
            tickets.c.state.in_(("active", "used", "suspended")),
            events.c.status != "cancelled",
            events.c.ended_ms.is_(None),
            events.c.event_end_ms.is_(None) | (events.c.event_end_ms > now_ms),
        )
    )
    return connection.execute(rows.limit(1)).first() is not None


def _owed(connection: Connection, ids: list[int]) -> set[int]:
    """Purchases to whose wallet something is still to be paid back, or whose payment is still on its way."""
    owed: set[int] = set()
    for part in chunks(ids):
        these = among(connection, transfers.c.purchase_id, part)
        due = select(transfers.c.purchase_id).join_from(refunds, transfers, refunds.c.transfer_id == transfers.c.id)
        unpaid = due.where(these, refunds.c.state.not_in(("settled", "cancelled")))
        owed |= {r.purchase_id for r in connection.execute(unpaid)}
        open_ones = select(transfers.c.purchase_id).where(these, transfers.c.state.in_(("seen", "confirming")))
        owed |= {r.purchase_id for r in connection.execute(open_ones)}
    return owed


def _purchases(connection: Connection, gone: list[Row[Any]], wallet: str, name: str) -> int:
    count = 0
    for row in gone:
        key = row.implicit_key and row.implicit_key.replace(f"|{wallet}|", f"|{name}|")
        changed = update(purchases).where(purchases.c.id == row.id)
        connection.execute(changed.values(wallet=name, implicit_key=key, pay_memo=None))
    for part in chunks([r.id for r in gone]):
        paid = update(transfers).where(among(connection, transfers.c.purchase_id, part))
        connection.execute(paid.values(sender="[]", memo=None, memo_key=None))
        held = update(tickets).where(among(connection, tickets.c.purchase_id, part))
        count += connection.execute(held.values(wallet=name, jws="")).rowcount
    return count
