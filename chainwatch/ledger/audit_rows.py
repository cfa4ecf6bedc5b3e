"""The audit of what rows say of each other: the same payment, event, asset and chain wherever they are named.

A sum may be right and its money another's: a refund in another coin, a payout to another creator, an address that is
somebody else's.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Select, select

from chainwatch.ledger.difference import Difference
from chainwatch.ledger.pool import REFERENCE
from chainwatch.ledger.tables import (
    addresses,
    allocations,
    events,
    export_items,
    exports,
    payouts,
    purchases,
    refunds,
    tickets,
    transfers,
)

STREAM = 5_000
"""Rows fetched at a time."""


def audit(connection: Connection) -> Iterator[Difference]:
    """Yield every row that does not fit the one that it belongs to."""
    yield from _shown(connection)
    yield from _refunds(connection)
    yield from _belongings(connection)
    yield from _settled(connection)
    yield from _totals(connection)


def _shown(connection: Connection) -> Iterator[Difference]:
    """What people see of a payment: money in review is in the queue, and freezes its event's payouts."""
    waits = select(allocations.c.id).where(
        allocations.c.transfer_id == transfers.c.id, allocations.c.kind == "review", transfers.c.state == "confirmed"
    )
    wrong = (transfers.c.direction == "in") & ((transfers.c.shown == "review") != waits.exists())
    unlike = (transfers.c.direction == "in") & (transfers.c.state != "confirmed")
    for t in _rows(connection, select(transfers).where(wrong | (unlike & (transfers.c.shown != transfers.c.state)))):
        yield Difference("shown", f"{t.chain}:{t.txid}:{t.idx}", f"it is {t.state} and shown as {t.shown}")


def _refunds(connection: Connection) -> Iterator[Difference]:
    """A refund is in the coin that was paid, of the event that it was paid for, for the reason that was decided."""
    rows = (
        select(refunds, transfers.c.chain.label("paid_on"), transfers.c.asset.label("paid_in"))
        .add_columns(purchases.c.event_id.label("paid_for"), allocations.c.reason.label("why"))
        .join_from(refunds, transfers, refunds.c.transfer_id == transfers.c.id)
        .join(purchases, transfers.c.purchase_id == purchases.c.id, isouter=True)
        .join(
            allocations,
            (allocations.c.transfer_id == refunds.c.transfer_id) & (allocations.c.kind == refunds.c.kind),
            isouter=True,
        )
        .where(refunds.c.state != "cancelled")
    )
    for r in _rows(connection, rows):
        have, want = (r.chain, r.asset, r.event_id, r.reason), (r.paid_on, r.paid_in, r.paid_for, r.why)
        if have != want:
            yield Difference("refund", f"refund:{r.id}", f"{have} of a payment that is {want}")


def _belongings(connection: Connection) -> Iterator[Difference]:
    """A ticket is of its purchase's event and coin, a payout is its event's creator's, an address its purchase's."""
    bought = select(tickets.c.id).join_from(tickets, purchases, tickets.c.purchase_id == purchases.c.id)
    other = (tickets.c.event_id != purchases.c.event_id) | (tickets.c.asset != purchases.c.asset)
    for t in _rows(connection, bought.where(other)):
        yield Difference("ticket", f"ticket:{t.id}", "its purchase is of another event, or in another coin")
    owed = select(payouts).add_columns(events.c.creator_account.label("by"))
    not_theirs = payouts.c.creator_account != events.c.creator_account
    for p in _rows(connection, owed.join_from(payouts, events, payouts.c.event_id == events.c.id).where(not_theirs)):
        yield Difference("payout", f"payout:{p.id}", f"it is {p.creator_account}'s, and its event {p.by}'s")
    own = select(addresses.c.address, purchases.c.pay_to, purchases.c.pay_reference).join_from(addresses, purchases)
    told = (purchases.c.pay_to == addresses.c.address) | (REFERENCE + purchases.c.pay_reference == addresses.c.address)
    for a in _rows(connection, own.where(told.is_not(True))):
        yield Difference("address", a.address, "the purchase that has it tells its buyer another one")


def _settled(connection: Connection) -> Iterator[Difference]:
    """What is settled names the transaction that paid it; what is in a file is paid in the coin that is owed."""
    for table, kind in ((payouts, "payout"), (refunds, "refund")):
        paid = select(table.c.id, table.c.settled_txid, transfers.c.txid)
        by = paid.join_from(table, transfers, table.c.settled_transfer_id == transfers.c.id)
        for r in _rows(connection, by.where(table.c.settled_txid.is_distinct_from(transfers.c.txid))):
            yield Difference("settlement", f"{kind}:{r.id}", f"settled by {r.txid}, and says {r.settled_txid}")
        filed = select(table.c.id, table.c.asset, export_items.c.asset.label("paid_in"))
        in_file = filed.join_from(table, export_items, table.c.item_id == export_items.c.id)
        for r in _rows(connection, in_file.where(table.c.asset.is_distinct_from(export_items.c.asset))):
            yield Difference("export", f"{kind}:{r.id}", f"owed in {r.asset}, and paid in {r.paid_in}")


def _totals(connection: Connection) -> Iterator[Difference]:
    """A file's payments are on its chain and in its coin, and sum to its total (a file that was replaced has none)."""
    sums: dict[int, int] = {}
    filed = select(export_items, exports.c.chain.label("on"), exports.c.asset.label("in_coin"))
    for i in _rows(connection, filed.join_from(export_items, exports)):
        sums[i.export_id] = sums.get(i.export_id, 0) + i.amount
        if (i.chain, i.asset) != (i.on, i.in_coin):
            yield Difference("export", f"item:{i.id}", f"it is in {i.asset} on {i.chain}, its file is not")
    replaced = set(connection.scalars(select(exports.c.replaces_id).where(exports.c.replaces_id.is_not(None))))
    for e in connection.execute(select(exports.c.id, exports.c.total)):
        if e.id not in replaced and e.total != sums.get(e.id, 0):
            yield Difference("export", f"export:{e.id}", f"{e.total} in all, its payments are {sums.get(e.id, 0)}")


def _rows(connection: Connection, query: Select[Any]) -> Any:
    return connection.execute(query.execution_options(yield_per=STREAM))
