"""What becomes of the payments that changed: purchases decided, seats taken, tickets, refunds, lines.

Facts were recorded before (``chainwatch.ledger.facts``); here the seat is taken under the database's own
guard, else the refund is due.  Everything is computed from the facts as they are now: doing it again
changes nothing.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, select, update

from chainwatch.ledger import books, deliveries, holds, locks, minting, orders, outbox, payouts, purchases
from chainwatch.ledger.bulk import among, chunks, insert_rows, update_rows
from chainwatch.ledger.context import Context
from chainwatch.ledger.facts import Changed
from chainwatch.ledger.orders import Purchase
from chainwatch.ledger.tables import allocations, refunds, tickets, transfers
from chainwatch.ledger.tables import purchases as purchase_table
from chainwatch.matching import Allocation, Decision, decide, route, shown_state

Entry = tuple[Row[Any], tuple[Allocation, ...], int | None]
"""A transfer, where its base units belong, and the event whose money it is."""


class Settled(msgspec.Struct, frozen=True):
    """What was decided: for each ticket the milliseconds from its block to the mint; payments that
    entered a state, counted by (asset, state); base units that came to an end, counted by (kind, reason).
    """

    minted_after_ms: tuple[int, ...]
    states: dict[tuple[str | None, str], int]
    ends: dict[tuple[str, str], int]


def settle(connection: Connection, changed: Changed, context: Context, now_ms: int, scanned_ms: int | None) -> Settled:
    """Decide everything that ``changed`` touches.

    ``scanned_ms``: the chain has been read up to this time, so purchases that ended before it expire.
    """
    touched = changed.all()
    purchases.assign(connection, touched, context, now_ms)
    ids, strays = _claimed(connection, touched)
    over = [] if scanned_ms is None else holds.candidates(connection, context, scanned_ms)
    locks.events_of(connection, ids | {p.id for p in over})  # all at once, so that they are locked in id order
    if scanned_ms is not None:
        ids |= holds.expire(connection, context, over, scanned_ms, ids)
    held = orders.load(connection, ids, context)
    dust = {a.code: a.dust for a in context.spec.assets}
    told = [r for r in (*(r for p in held for r in p.payments), *strays) if r.id in touched and _worth_telling(r, dust)]
    _tell(connection, held, told, changed, now_ms)  # the payment before its ticket
    decisions, minted = _decide(connection, held, context, now_ms)
    entries: list[Entry] = []
    for purchase in held:
        decision = decisions[purchase.row.id]
        entries += [(r, decision.allocations.get(r.id, ()), purchase.row.event_id) for r in purchase.payments]
    entries += _strays(connection, strays, context)
    states, ends = _write(connection, entries, now_ms)
    return Settled(tuple(minted), states, ends)


def _worth_telling(row: Row[Any], dust: dict[str, int]) -> bool:
    """Dust is aggregated: whoever sends it would otherwise fill everybody's inbox."""
    return bool(row.amount and row.amount >= dust.get(row.asset or "", 0))


def _strays(connection: Connection, rows: Sequence[Row[Any]], context: Context) -> list[Entry]:
    """Say where transfers go that no purchase claims; what has left as a refund stays where it went."""
    gone = orders.gone_of(connection, [r.id for r in rows])
    entries: list[Entry] = []
    for row in rows:
        left = gone.get(row.id, ())
        if row.state == "confirmed" and row.amount and not left:
            entries.append((row, (route(purchases.stray(row, row.reason, context)),), None))
        else:
            entries.append((row, left, None))
    return entries


def _claimed(connection: Connection, ids: Iterable[int]) -> tuple[set[int], list[Row[Any]]]:
    """Return the purchases that transfers belong to, and the transfers that belong to none."""
    claimed: set[int] = set()
    strays: list[Row[Any]] = []
    for part in chunks(sorted(ids)):
        these = among(connection, transfers.c.id, part)
        claimed.update(connection.scalars(select(transfers.c.purchase_id).where(these).distinct()))
        rows = select(transfers).where(these, transfers.c.purchase_id.is_(None), transfers.c.direction == "in")
        strays += connection.execute(rows.order_by(transfers.c.id)).all()
    return claimed - {None}, strays


def _decide(
    connection: Connection, held: Sequence[Purchase], context: Context, now_ms: int
) -> tuple[dict[int, Decision], list[int]]:
    """Decide every purchase; take seats for those that have paid, in the order of the chain."""
    decisions = {p.row.id: decide(p.sale, p.order, p.paid) for p in held}
    asking = [p for p in held if decisions[p.row.id].mint]
    asking.sort(key=lambda p: max((t.height, t.id) for t in p.payments if t.state == "confirmed"))
    numbers, refused = minting.take_seats(connection, asking, now_ms)
    for purchase in asking:
        if (reason := refused.get(purchase.row.id)) is not None:
            decisions[purchase.row.id] = decide(purchase.sale, purchase.order, purchase.paid, refused=reason)
    winners = [p for p in asking if p.row.id in numbers]
    for p in winners:
        assert p.order.price is not None
        cost = min(p.order.price, decisions[p.row.id].paid)
        decisions[p.row.id] = decide(p.sale, msgspec.structs.replace(p.order, ticket="active", funded=cost), p.paid)
    _sold(connection, winners)
    minting.write(connection, [_ticket(p, decisions[p.row.id], numbers) for p in winners], context.issuer, now_ms)
    changed = [
        {"row_id": p.ticket.id, "state": decisions[p.row.id].ticket}
        for p in held
        if p.ticket is not None and decisions[p.row.id].ticket not in (None, p.ticket.state)
    ]
    update_rows(connection, tickets, changed)
    for row in changed:
        outbox.audit(connection, now_ms, "ledger", f"ticket_{row['state']}", f"ticket:{row['row_id']}")
    latencies = [max(0, now_ms - max(t.block_time_ms or now_ms for t in p.payments)) for p in winners]
    return decisions, latencies


def _sold(connection: Connection, winners: Sequence[Purchase]) -> None:
    """Write into purchases what minting changed: the hold is a seat now; a price that was quoted again is the price."""
    for part in chunks([p.row.id for p in winners if p.row.held]):
        connection.execute(update(purchase_table).where(purchase_table.c.id.in_(part)).values(held=False))
    again = [
        {
            "row_id": p.row.id,
            "price": p.order.price,
            "fee": p.order.fee,
            "rate": str(p.rate.price),
            "rate_ms": p.rate.at_ms,
        }
        for p in winners
        if p.rate is not None
    ]
    update_rows(connection, purchase_table, again)


def _ticket(p: Purchase, decision: Decision, numbers: dict[int, int]) -> minting.Sold:
    parts = [a for ps in decision.allocations.values() for a in ps if a.kind == "ticket"]
    return minting.Sold(
        purchase_id=p.row.id,
        ref=p.row.ref,
        bought=p.bought,
        event_id=p.row.event_id,
        event=p.row.slug or str(p.row.event_id),
        number=numbers[p.row.id],
        wallet=p.row.wallet,
        asset=p.row.asset,
        amount=sum(a.amount for a in parts),
        commission=sum(a.commission for a in parts),
        txid=next(t.txid for t in p.payments if any(a.kind == "ticket" for a in decision.allocations.get(t.id, ()))),
    )


def _write(
    connection: Connection, entries: Sequence[Entry], now_ms: int
) -> tuple[dict[tuple[str | None, str], int], dict[tuple[str, str], int]]:
    """Bring allocations, refunds, shown states and ledger lines to what was decided; count entered states and ends."""
    present = _present(connection, [row.id for row, _, _ in entries])
    stale = [row.id for row, parts, _ in entries if present.get(row.id, ()) and present[row.id] != parts]
    for part in chunks(stale):
        connection.execute(delete(allocations).where(among(connection, allocations.c.transfer_id, part)))
    fresh = [
        {
            "transfer_id": row.id,
            "kind": a.kind,
            "amount": a.amount,
            "commission": a.commission,
            "reason": a.reason,
        }
        for row, parts, _ in entries
        if present.get(row.id, ()) != parts
        for a in parts
    ]
    insert_rows(connection, allocations, fresh)
    shown = [
        {"row_id": row.id, "shown": state}
        for row, parts, _ in entries
        if (state := shown_state(row.state, parts)) != row.shown
    ]
    entered = dict(Counter((row.asset, shown_state(row.state, parts)) for row, parts, _ in entries))
    update_rows(connection, transfers, shown)
    _refund(connection, [e for e in entries if present.get(e[0].id, ()) != e[1]], now_ms)
    booked = books.post(
        connection,
        [
            books.Entry(row.id, row.asset or f"{row.chain}:{row.asset_id}", row.state == "confirmed", event_id, parts)
            for row, parts, event_id in entries
            if parts or row.was_confirmed
        ],
        now_ms,
    )
    payouts.reopen(connection, booked)
    ends = Counter((f["kind"], f["reason"]) for f in fresh)
    return entered, dict(ends)


def _present(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[Allocation, ...]]:
    found: dict[int, tuple[Allocation, ...]] = {}
    for part in chunks(ids):
        for r in connection.execute(
            select(allocations).where(among(connection, allocations.c.transfer_id, part)).order_by(allocations.c.id)
        ):
            one = Allocation(r.kind, r.amount, r.reason, r.commission)
            found[r.transfer_id] = (*found.get(r.transfer_id, ()), one)
    return found


def _refund(connection: Connection, entries: Sequence[Entry], now_ms: int) -> None:
    """Make refunds due, change those that have not left, cancel those that are no longer owed."""
    ids = [row.id for row, _, _ in entries]
    known: dict[tuple[int, str], Row[Any]] = {}
    for part in chunks(ids):
        for r in connection.execute(select(refunds).where(among(connection, refunds.c.transfer_id, part))):
            known[r.transfer_id, r.kind] = r
    fresh: list[dict[str, Any]] = []
    moved: list[dict[str, Any]] = []
    messages: list[outbox.Message] = []
    for row, parts, event_id in entries:
        owed = {a.kind: a for a in parts if a.kind in ("refund", "surplus")} if row.state == "confirmed" else {}
        for kind in ("refund", "surplus"):
            refund, a = known.get((row.id, kind)), owed.get(kind)
            if refund is not None and refund.state in ("due", "cancelled"):
                now = _refund_now(refund, a, event_id)
                if any(getattr(refund, name) != value for name, value in now.items()):
                    moved.append({"row_id": refund.id, **now, "updated_ms": now_ms})
            elif refund is None and a is not None:
                fresh.append(
                    {
                        "transfer_id": row.id,
                        "kind": kind,
                        "event_id": event_id,
                        "chain": row.chain,
                        "asset": row.asset,
                        "amount": a.amount,
                        "reason": a.reason,
                        "state": "due",
                        "created_ms": now_ms,
                        "updated_ms": now_ms,
                    }
                )
                data = {"chain": row.chain, "txid": row.txid, "index": row.idx, "kind": kind, "reason": a.reason}
                subject = outbox.purchase_subject(row.purchase_id, row.id)
                messages.append(outbox.Message("refund.due", subject, data))
    update_rows(connection, refunds, moved)
    insert_rows(connection, refunds, fresh)
    outbox.post(connection, now_ms, messages)


def _refund_now(refund: Row[Any], owed: Allocation | None, event_id: int | None) -> dict[str, Any]:
    """Return what a refund that has not left says now.  The reason too: it decides who pays the network's fee."""
    if owed is None:
        kept = {name: getattr(refund, name) for name in ("amount", "reason", "event_id")}
        return {"state": "cancelled", **kept}
    return {"state": "due", "amount": owed.amount, "reason": owed.reason, "event_id": event_id}


def _tell(
    connection: Connection, held: Sequence[Purchase], rows: Sequence[Row[Any]], changed: Changed, now_ms: int
) -> None:
    """Queue what happened to the payments themselves, in the order of their arrival."""
    known = {p.row.id: {"ref": p.row.ref, "event_id": p.row.slug or str(p.row.event_id)} for p in held}
    subject_of = outbox.purchase_subject
    told_before = [r for r in rows if r.purchase_id and r.id not in changed.fresh]
    if moved := {subject_of(None, r.id): subject_of(r.purchase_id, r.id) for r in told_before}:
        deliveries.follow(connection, moved)
    messages = []
    for row in sorted(rows, key=lambda row: row.id):
        data = {"chain": row.chain, "txid": row.txid, "index": row.idx, **known.get(row.purchase_id, {})}
        subject = outbox.purchase_subject(row.purchase_id, row.id)
        if row.id in changed.confirmed:
            messages.append(outbox.Message("payment.confirmed", subject, data))
        elif row.id in changed.orphaned and row.state == "orphaned":
            messages.append(outbox.Message("payment.orphaned", subject, data))
        elif row.id in changed.seen or row.id in changed.confirming:
            messages.append(outbox.Message("payment.seen", subject, data))
    outbox.post(connection, now_ms, messages)
