"""The audit of what rows say of each other: the same payment, event, asset and chain wherever they are named.

A sum may be right and its money another's: a refund in another coin, a payout to another creator, an address that is
somebody else's.  The questions are made once: asking them of a small ledger is half as long as making them.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Select, Table, select

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
    for t in connection.execute(_SHOWN):
        yield Difference("shown", f"{t.chain}:{t.txid}:{t.idx}", f"it is {t.state} and shown as {t.shown}")
    for r in connection.execute(_REFUNDS):
        have, want = (r.chain, r.asset, r.event_id, r.reason), (r.paid_on, r.paid_in, r.paid_for, r.why)
        if have != want:
            yield Difference("refund", f"refund:{r.id}", f"{have} of a payment that is {want}")
    for t in connection.execute(_TICKETS):
        yield Difference("ticket", f"ticket:{t.id}", "its purchase is of another event, or in another coin")
    for p in connection.execute(_PAYOUTS):
        yield Difference("payout", f"payout:{p.id}", f"it is {p.creator_account}'s, and its event {p.by}'s")
    for a in connection.execute(_ADDRESSES):
        yield Difference("address", a.address, "the purchase that has it tells its buyer another one")
    for kind, paid in _PAID.items():
        for r in connection.execute(paid):
            yield Difference("settlement", f"{kind}:{r.id}", f"{r.asset} by {r.settled_txid}, not {r.coin} by {r.txid}")
    yield from _totals(connection)


def _totals(connection: Connection) -> Iterator[Difference]:
    """A file's payments are on its chain and in its coin, and sum to its total (a file that was replaced has none)."""
    sums: dict[int, int] = {}
    for i in connection.execute(_FILED):
        sums[i.export_id] = sums.get(i.export_id, 0) + i.amount
        if (i.chain, i.asset) != (i.on, i.in_coin):
            yield Difference("export", f"item:{i.id}", f"it is in {i.asset} on {i.chain}, its file is not")
    files = connection.execute(_FILES).all()
    replaced = {e.replaces_id for e in files}
    for e in files:
        if e.id not in replaced and e.total != sums.get(e.id, 0):
            yield Difference("export", f"export:{e.id}", f"{e.total} in all, its payments are {sums.get(e.id, 0)}")


# -- the questions -----------------------------------------------------------------------------------------


def _shown() -> Select[Any]:
    """What people see of a payment: money in review is in the queue, and freezes its event's payouts."""
    waits = select(allocations.c.id).where(
        allocations.c.transfer_id == transfers.c.id, allocations.c.kind == "review", transfers.c.state == "confirmed"
    )
    unlike = (transfers.c.state != "confirmed") & (transfers.c.shown != transfers.c.state)
    wrong = ((transfers.c.shown == "review") != waits.exists()) | unlike
    named = (transfers.c.chain, transfers.c.txid, transfers.c.idx, transfers.c.state, transfers.c.shown)
    return select(*named).where(transfers.c.direction == "in", wrong)


def _refunds() -> Select[Any]:
    """A refund is in the coin that was paid, of the event that it was paid for, for the reason that was decided."""
    said = (refunds.c.id, refunds.c.chain, refunds.c.asset, refunds.c.event_id, refunds.c.reason)
    paid = (transfers.c.chain.label("paid_on"), transfers.c.asset.label("paid_in"))
    decided = (purchases.c.event_id.label("paid_for"), allocations.c.reason.label("why"))
    of_refund = (allocations.c.transfer_id == refunds.c.transfer_id) & (allocations.c.kind == refunds.c.kind)
    return (
        select(*said, *paid, *decided)
        .join_from(refunds, transfers, refunds.c.transfer_id == transfers.c.id)
        .join(purchases, transfers.c.purchase_id == purchases.c.id, isouter=True)
        .join(allocations, of_refund, isouter=True)
        .where(refunds.c.state != "cancelled")
    )


def _tickets() -> Select[Any]:
    """A ticket is of its purchase's event and coin."""
    other = (tickets.c.event_id != purchases.c.event_id) | (tickets.c.asset != purchases.c.asset)
    return select(tickets.c.id).join_from(tickets, purchases, tickets.c.purchase_id == purchases.c.id).where(other)


def _payouts() -> Select[Any]:
    """A payout is its event's creator's."""
    owed = select(payouts.c.id, payouts.c.creator_account, events.c.creator_account.label("by"))
    not_theirs = payouts.c.creator_account != events.c.creator_account
    return owed.join_from(payouts, events, payouts.c.event_id == events.c.id).where(not_theirs)


def _addresses() -> Select[Any]:
    """An address of our own is the one that its purchase tells."""
    told = (purchases.c.pay_to == addresses.c.address) | (REFERENCE + purchases.c.pay_reference == addresses.c.address)
    return select(addresses.c.address).join_from(addresses, purchases).where(told.is_not(True))


def _paid(table: Table) -> Select[Any]:
    """What is settled names the transaction that paid it; what is in a file is paid in the coin that is owed."""
    said = (table.c.id, table.c.asset, table.c.settled_txid, export_items.c.asset.label("coin"), transfers.c.txid)
    other = table.c.settled_txid.is_distinct_from(transfers.c.txid)
    return (
        select(*said)
        .join_from(table, export_items, table.c.item_id == export_items.c.id)
        .join(transfers, table.c.settled_transfer_id == transfers.c.id, isouter=True)
        .where(other | table.c.asset.is_distinct_from(export_items.c.asset))
    )


def _streamed(query: Select[Any]) -> Select[Any]:
    return query.execution_options(yield_per=STREAM)


_SHOWN, _REFUNDS, _TICKETS = _streamed(_shown()), _streamed(_refunds()), _streamed(_tickets())
_PAYOUTS, _ADDRESSES = _streamed(_payouts()), _streamed(_addresses())
_PAID = {"payout": _streamed(_paid(payouts)), "refund": _streamed(_paid(refunds))}
_FILED = _streamed(
    select(export_items, exports.c.chain.label("on"), exports.c.asset.label("in_coin")).join_from(export_items, exports)
)
_FILES = select(exports.c.id, exports.c.total, exports.c.replaces_id)
