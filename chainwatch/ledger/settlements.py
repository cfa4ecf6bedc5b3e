"""What left us settles what we owed: each outgoing transfer at most one item of an export, each item by at most one.

An item is settled by a transfer that spends our inputs or leaves our account (the adapters call only such
outgoing), of exactly its asset, amount and destination, successful, at payout depth.  The memo is a hint: it chooses
among equal items and decides nothing else.  When the chain takes the transfer back, the item is ``exported`` again,
never due: the signed transaction is still out there.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Table, or_, select, update

from chainwatch.errors import Rejected
from chainwatch.ledger import books, facts, locks, outbox, settle
from chainwatch.ledger.bulk import among, chunks
from chainwatch.ledger.context import Context
from chainwatch.ledger.tables import events, export_items, exports, payouts, refunds, transfers
from chainwatch.model import FEE, Transfer

MIXED = "mixed_inputs"


class Found(msgspec.Struct, frozen=True):
    """An outgoing transfer and what it settles (``subject``, None: nothing that was exported)."""

    txid: str
    index: str
    asset: str
    amount: int
    destination: str | None
    state: str
    subject: str | None


def follow(connection: Connection, ids: Iterable[int], context: Context, now_ms: int) -> None:
    """Settle by outgoing transfers that changed, take back what a reorg took back, and write the books' lines."""
    rows: list[Row[Any]] = []
    for part in chunks(sorted(ids)):
        found = select(transfers).where(among(connection, transfers.c.id, part), transfers.c.chain == context.chain)
        rows += connection.execute(found.order_by(transfers.c.id)).all()
    if not rows:
        return
    used = _used(connection, [r.id for r in rows])
    for row in rows:
        item = used.get(row.id)
        if item is not None and row.state != "confirmed":
            _take_back(connection, item, row, now_ms)
        elif item is None and row.state == "confirmed" and row.idx != FEE and MIXED not in row.flags:
            item = _match(connection, row)
            if item is not None:
                _settle(connection, item, row, now_ms)
    _shown(connection, rows)
    books.bring(connection, _wanted(connection, rows), now_ms)


def check(connection: Connection, txid: str, context: Context, now_ms: int) -> list[Found]:
    """Apply the same rule to a transaction that is known already; return what its transfers settle.

    ``Rejected`` ``unknown_transaction`` when we know of nothing that left us by it.
    """
    locks.chain(connection, context.chain)
    ours = (transfers.c.chain == context.chain) & (transfers.c.txid == txid) & (transfers.c.direction == "out")
    rows = connection.execute(select(transfers).where(ours).order_by(transfers.c.id)).all()
    if not rows:
        raise Rejected("unknown_transaction", f"nothing that left us by {txid} has been seen on {context.chain}")
    follow(connection, [r.id for r in rows], context, now_ms)
    used = _used(connection, [r.id for r in rows])
    return [
        Found(r.txid, r.idx, r.asset, r.amount, r.recipient, r.state, used[r.id].subject if r.id in used else None)
        for r in rows
        if r.idx != FEE
    ]


def chains(connection: Connection, txid: str) -> list[str]:
    """Return the chains on which something left us by a transaction."""
    rows = select(transfers.c.chain).where(transfers.c.txid == txid, transfers.c.direction == "out").distinct()
    return sorted(connection.scalars(rows))


def prove(connection: Connection, found: Sequence[Transfer], context: Context, now_ms: int) -> list[Found]:
    """Record what transaction keys prove (Monero), settle by it; what came back to us by them was our change."""
    locks.chain(connection, context.chain)
    changed = facts.learn(connection, found, context, now_ms)
    left = facts.outgoing(connection, changed.all())
    settle.settle(connection, changed.without(left), context, now_ms, None)
    follow(connection, left, context, now_ms)
    txids = {t.txid for t in found}
    for txid in txids:
        back = (transfers.c.chain == context.chain) & (transfers.c.txid == txid) & (transfers.c.direction == "in")
        change = connection.execute(select(transfers.c.id).where(back, transfers.c.flags == "")).all()
        if change:
            connection.execute(update(transfers).where(back, transfers.c.flags == "").values(flags="internal"))
            settle.settle(connection, facts.Changed(confirmed={r.id for r in change}), context, now_ms, None)
    return [one for txid in sorted(txids) for one in check(connection, txid, context, now_ms)]


def _used(connection: Connection, ids: Sequence[int]) -> dict[int, Row[Any]]:
    """Return the items that transfers have settled."""
    found: dict[int, Row[Any]] = {}
    for part in chunks(ids):
        rows = select(export_items).where(among(connection, export_items.c.transfer_id, part))
        found.update({r.transfer_id: r for r in connection.execute(rows)})
    return found


def _match(connection: Connection, row: Row[Any]) -> Row[Any] | None:
    """Return the open item of exactly this asset, amount and destination; of equal ones the one its memo names.

    A file that waits for its second operator has not left; one that replaces another may be settled by the
    transaction that it replaces.
    """
    candidates = [
        r
        for r in connection.execute(
            select(export_items)
            .join_from(export_items, exports)
            .where(
                export_items.c.state == "open",
                export_items.c.chain == row.chain,
                export_items.c.destination == row.recipient,
                export_items.c.asset == row.asset,
                or_(exports.c.state == "exported", exports.c.replaces_id.is_not(None)),
            )
            .order_by(export_items.c.id)
            .with_for_update()
        )
        if r.amount == row.amount
    ]
    memo = (row.memo or b"").decode("utf-8", "replace").split()
    named = [c for c in candidates if c.subject in memo]
    return next(iter(named or candidates), None)


def _settle(connection: Connection, item: Row[Any], row: Row[Any], now_ms: int) -> None:
    connection.execute(
        update(export_items).where(export_items.c.id == item.id).values(state="settled", transfer_id=row.id)
    )
    values = {"state": "settled", "settled_txid": row.txid, "settled_transfer_id": row.id, "updated_ms": now_ms}
    _mark(connection, item.id, "exported", values)
    still_open = select(export_items.c.id).where(
        export_items.c.export_id == item.export_id, export_items.c.state == "open"
    )
    if connection.execute(still_open).first() is None:
        connection.execute(update(exports).where(exports.c.id == item.export_id).values(state="settled"))
    detail = {"chain": row.chain, "txid": row.txid, "index": row.idx}
    outbox.audit(connection, now_ms, "ledger", "settled", item.subject, detail)
    outbox.post(connection, now_ms, _messages(connection, item, row))


def _take_back(connection: Connection, item: Row[Any], row: Row[Any], now_ms: int) -> None:
    """The chain no longer has it: the item is open again, for the same transaction or one that replaces it."""
    connection.execute(update(export_items).where(export_items.c.id == item.id).values(state="open", transfer_id=None))
    values = {"state": "exported", "settled_txid": None, "settled_transfer_id": None, "updated_ms": now_ms}
    _mark(connection, item.id, "settled", values)
    settled = (exports.c.id == item.export_id) & (exports.c.state == "settled")
    connection.execute(update(exports).where(settled).values(state="exported"))
    # Who attested that the rest would not be paid said nothing of this one: its signed transaction is out there.
    connection.execute(update(exports).where(exports.c.id == item.export_id).values(voided_by=""))
    detail = {"chain": row.chain, "txid": row.txid, "index": row.idx}
    outbox.audit(connection, now_ms, "ledger", "settlement_orphaned", item.subject, detail)


def _mark(connection: Connection, item_id: int, before: str, values: Mapping[str, Any]) -> None:
    tables: tuple[Table, ...] = (payouts, refunds)
    for table in tables:
        connection.execute(
            update(table).where(table.c.item_id == item_id, table.c.state == before).values(dict(values))
        )


def _messages(connection: Connection, item: Row[Any], row: Row[Any]) -> list[outbox.Message]:
    where = {"chain": row.chain, "txid": row.txid, "index": row.idx}
    told = [
        outbox.Message(
            "payout.settled",
            f"event:{p.event_id}",
            {"payout_id": p.id, "event_id": p.slug or str(p.event_id), "asset": p.asset, **where},
        )
        for p in connection.execute(
            select(payouts.c.id, payouts.c.event_id, payouts.c.asset, events.c.slug)
            .join_from(payouts, events)
            .where(payouts.c.item_id == item.id)
            .order_by(payouts.c.id)
        )
    ]
    return told + [
        outbox.Message("refund.settled", f"transfer:{r.transfer_id}", {"refund_id": r.id, "kind": r.kind, **where})
        for r in connection.execute(select(refunds).where(refunds.c.item_id == item.id).order_by(refunds.c.id))
    ]


def _shown(connection: Connection, rows: Sequence[Row[Any]]) -> None:
    """Say of what left what people see: ``sent``, or its way there."""
    for row in rows:
        state = "sent" if row.state == "confirmed" else row.state
        if state != row.shown:
            connection.execute(update(transfers).where(transfers.c.id == row.id).values(shown=state))


def _wanted(connection: Connection, rows: Sequence[Row[Any]]) -> list[books.Wanted]:
    """Return the lines of outgoing transfers: what we owed is paid, or the operator took it, or it was the fee."""
    used = _used(connection, [r.id for r in rows])
    parts = _parts(connection, [i.id for i in used.values()])
    wanted = []
    for row in rows:
        lines: dict[books.Account, int] = {}

        def add(account: str, event_id: int | None, amount: int, lines: dict[books.Account, int] = lines) -> None:
            lines[account, event_id] = lines.get((account, event_id), 0) + amount

        if row.state == "confirmed":
            item = used.get(row.id)
            for account, event_id, amount in parts.get(item.id, ()) if item is not None else ():
                add(account, event_id, amount)
            if item is None and row.idx != FEE:
                add("withdrawn", None, row.amount)
            add("network_fees", None, row.network_fee or 0)
            add("paid_out", None, -row.amount - (row.network_fee or 0))
            # What a refund's buyer bears of the network's fee: it stays with us, against what sending cost.
            add("network_fees", None, -sum(lines.values()))
        asset = row.asset or f"{row.chain}:{row.asset_id}"
        wanted.append(books.Wanted(row.id, asset, {k: v for k, v in lines.items() if v}))
    return wanted


def _parts(connection: Connection, item_ids: Sequence[int]) -> dict[int, list[tuple[str, int | None, int]]]:
    """Return what items pay, as (account, event, amount owed)."""
    found: dict[int, list[tuple[str, int | None, int]]] = {}
    for part in chunks(item_ids):
        for p in connection.execute(select(payouts).where(among(connection, payouts.c.item_id, part))):
            found.setdefault(p.item_id, []).append(("creator", p.event_id, p.amount))
        for r in connection.execute(select(refunds).where(among(connection, refunds.c.item_id, part))):
            account = "surplus" if r.kind == "surplus" else "refunds"
            found.setdefault(r.item_id, []).append((account, r.event_id, r.amount))
    return found
