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

from chainwatch.ledger import books, deliveries, outbox, purchases, seats
from chainwatch.ledger.bulk import among, chunks, insert_rows, update_rows
from chainwatch.ledger.context import Context
from chainwatch.ledger.facts import Changed
from chainwatch.ledger.tables import allocations, events, refunds, tickets, transfers
from chainwatch.ledger.tables import purchases as purchase_table
from chainwatch.matching import Allocation, Decision, Order, Paid, Sale, decide, route, shown_state

EXPIRE_BATCH = 500
"""Purchases that one step expires at most: the rest follow with the next block."""


Entry = tuple[Row[Any], tuple[Allocation, ...], int | None]
"""A transfer, where its base units belong, and the event whose money it is."""


class Settled(msgspec.Struct, frozen=True):
    """What was decided: for each ticket the milliseconds from its block to the mint; payments that
    entered a state, counted by (asset, state).
    """

    minted_after_ms: tuple[int, ...]
    states: dict[tuple[str | None, str], int]


class Purchase(msgspec.Struct):
    """A purchase with all that decides about it."""

    row: Row[Any]
    sale: Sale
    payments: list[Row[Any]]
    paid: list[Paid]
    ticket: Row[Any] | None
    order: Order


def settle(connection: Connection, changed: Changed, context: Context, now_ms: int, scanned_ms: int | None) -> Settled:
    """Decide everything that ``changed`` touches.

    ``scanned_ms``: the chain has been read up to this time, so purchases that ended before it expire.
    """
    touched = changed.all()
    purchases.assign(connection, touched, context, now_ms)
    ids, strays = _claimed(connection, touched)
    ids |= _expire(connection, context, scanned_ms) if scanned_ms is not None else set()
    held = _load(connection, ids, context)
    _tell(connection, held, strays, changed, now_ms)  # the payment before its ticket
    decisions, minted = _decide(connection, held, context, now_ms)
    entries: list[Entry] = []
    for purchase in held:
        decision = decisions[purchase.row.id]
        entries += [(r, decision.allocations.get(r.id, ()), purchase.row.event_id) for r in purchase.payments]
    entries += _strays(connection, strays, context)
    states = _write(connection, entries, now_ms)
    return Settled(tuple(minted), states)


def _strays(connection: Connection, rows: Sequence[Row[Any]], context: Context) -> list[Entry]:
    """Say where transfers go that no purchase claims; what has left as a refund stays where it went."""
    gone = _gone(connection, [r.id for r in rows])
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
        rows = select(transfers).where(these, transfers.c.purchase_id.is_(None))
        strays += connection.execute(rows.order_by(transfers.c.id)).all()
    return claimed - {None}, strays


def _expire(connection: Connection, context: Context, scanned_ms: int) -> set[int]:
    """Expire purchases of this chain whose time is over and that no payment on its way keeps open."""
    on_its_way = (
        select(transfers.c.id)
        .where(transfers.c.purchase_id == purchase_table.c.id, transfers.c.state == "confirming")
        .exists()
    )
    over = connection.execute(
        select(purchase_table.c.id, purchase_table.c.event_id, purchase_table.c.held)
        .where(
            purchase_table.c.expired.is_(False),
            purchase_table.c.expires_ms < scanned_ms,
            purchase_table.c.asset.in_([a.code for a in context.spec.assets]),
            ~on_its_way,
        )
        .order_by(purchase_table.c.id)
        .limit(EXPIRE_BATCH)
    ).all()
    for part in chunks(over):
        ids = [r.id for r in part]
        expired = update(purchase_table).where(among(connection, purchase_table.c.id, ids))
        connection.execute(expired.values(expired=True, held=False))
    seats.release(connection, [r.event_id for r in over if r.held])
    return {r.id for r in over}


def _load(connection: Connection, ids: Iterable[int], context: Context) -> list[Purchase]:
    """Read purchases with their event, payments, ticket and refunds that have left."""
    rows: list[Row[Any]] = []
    paid: dict[int, list[Row[Any]]] = {}
    held: dict[int, Row[Any]] = {}
    for part in chunks(sorted(ids)):
        rows += connection.execute(
            select(purchase_table, *_SALE)
            .join_from(purchase_table, events)
            .where(among(connection, purchase_table.c.id, part))
            .order_by(purchase_table.c.id)
        ).all()
        for t in connection.execute(
            select(*_PAYMENT)
            .where(among(connection, transfers.c.purchase_id, part))
            .order_by(transfers.c.paid_ms, transfers.c.id)
        ).all():
            paid.setdefault(t.purchase_id, []).append(t)
        minted = select(*_TICKET)
        for ticket in connection.execute(minted.where(among(connection, tickets.c.purchase_id, part))):
            held[ticket.purchase_id] = ticket
    gone = _gone(connection, [t.id for ts in paid.values() for t in ts])
    assets = context.assets()
    dust = {code: a.dust for code, a in assets.items()}
    return [_purchase(row, paid.get(row.id, []), held.get(row.id), gone, dust.get(row.asset, 0)) for row in rows]


_PAYMENT = tuple(c for c in transfers.c if c.name not in ("memo", "sender", "recipient", "block_hash", "reason"))

_TICKET = tuple(tickets.c[name] for name in ("id", "purchase_id", "state"))

_SALE = (
    events.c.status.label("sale_status"),
    events.c.sales_start_ms,
    events.c.sales_end_ms,
    events.c.event_end_ms,
    events.c.commission_bps,
    events.c.by_memo,
    events.c.slug,
)


def _purchase(
    row: Row[Any],
    payments: list[Row[Any]],
    ticket: Row[Any] | None,
    gone: dict[int, tuple[Allocation, ...]],
    dust: int,
) -> Purchase:
    return Purchase(
        row=row,
        sale=Sale(
            row.sale_status,
            row.sales_start_ms,
            row.sales_end_ms,
            row.event_end_ms,
            by_memo=row.by_memo or row.implicit_key is None,
        ),
        payments=payments,
        paid=[
            Paid(
                transfer_id=t.id,
                amount=t.amount,
                asset=t.asset,
                state=t.state,
                paid_ms=t.paid_ms,
                gone=gone.get(t.id, ()),
                was_confirmed=t.was_confirmed,
                flags=tuple(f for f in t.flags.split(",") if f),
            )
            for t in payments
        ],
        ticket=ticket,
        order=Order(
            asset=row.asset,
            price=row.price,
            expired=row.expired,
            ticket=ticket.state if ticket is not None else None,
            dust=dust,
            commission_bps=row.commission_bps,
        ),
    )


def _gone(connection: Connection, transfer_ids: Sequence[int]) -> dict[int, tuple[Allocation, ...]]:
    """Return what has left as refunds, by transfer: it never counts towards a ticket again."""
    gone: dict[int, tuple[Allocation, ...]] = {}
    for part in chunks(transfer_ids):
        for r in connection.execute(
            select(refunds.c.transfer_id, refunds.c.kind, refunds.c.amount, refunds.c.reason).where(
                among(connection, refunds.c.transfer_id, part), refunds.c.state.in_(("exported", "settled"))
            )
        ):
            gone[r.transfer_id] = (*gone.get(r.transfer_id, ()), Allocation(r.kind, r.amount, r.reason))
    return gone


def _decide(
    connection: Connection, held: Sequence[Purchase], context: Context, now_ms: int
) -> tuple[dict[int, Decision], list[int]]:
    """Decide every purchase; take seats for those that have paid, in the order of the chain."""
    decisions = {p.row.id: decide(p.sale, p.order, p.paid) for p in held}
    asking = [p for p in held if decisions[p.row.id].mint]
    asking.sort(key=lambda p: max((t.height, t.id) for t in p.payments if t.state == "confirmed"))
    numbers = seats.take(connection, [(p.row.id, p.row.event_id, p.row.held) for p in asking], now_ms)
    for purchase in asking:
        if purchase.row.id not in numbers:
            decisions[purchase.row.id] = decide(purchase.sale, purchase.order, purchase.paid, sold_out=True)
    winners = [p for p in asking if p.row.id in numbers]
    for purchase in winners:
        order = msgspec.structs.replace(purchase.order, ticket="active")
        decisions[purchase.row.id] = decide(purchase.sale, order, purchase.paid)
    for part in chunks([p.row.id for p in winners if p.row.held]):
        connection.execute(update(purchase_table).where(purchase_table.c.id.in_(part)).values(held=False))
    _mint(connection, winners, decisions, numbers, context, now_ms)
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


def _mint(
    connection: Connection,
    winners: Sequence[Purchase],
    decisions: dict[int, Decision],
    numbers: dict[int, int],
    context: Context,
    now_ms: int,
) -> None:
    rows = []
    messages = []
    for p in winners:
        assert p.order.price is not None
        event = p.row.slug or str(p.row.event_id)
        bought = p.row.implicit_key or f"purchase:{p.row.ref}"
        number = numbers[p.row.id]
        claims = {"event": event, "number": number, "wallet": p.row.wallet, "unit": 1}
        issued = context.issuer.issue(bought, 1, claims)
        parts = [a for ps in decisions[p.row.id].allocations.values() for a in ps if a.kind == "ticket"]
        commission = sum(a.commission for a in parts)
        amount = sum(a.amount for a in parts)
        funding = next(t for t in p.payments if t.state == "confirmed")
        rows.append(
            {
                "uuid": issued.uuid,
                "event_id": p.row.event_id,
                "number": number,
                "purchase_id": p.row.id,
                "unit": 1,
                "token_hash": issued.token_hash,
                "jws": issued.jws,
                "wallet": p.row.wallet,
                "asset": p.row.asset,
                "amount_paid": amount,
                "commission": commission,
                "payout": amount - commission,
                "transaction_id": funding.txid,
                "state": "active",
                "total_access_count": 0,
                "created_ms": now_ms,
            }
        )
        data = {"ticket_id": issued.uuid, "event_id": event, "number": number, "ref": p.row.ref}
        messages.append(outbox.Message("ticket.minted", f"purchase:{p.row.id}", data))
    insert_rows(connection, tickets, rows)
    outbox.post(connection, now_ms, messages)


def _write(connection: Connection, entries: Sequence[Entry], now_ms: int) -> dict[tuple[str | None, str], int]:
    """Bring allocations, refunds, shown states and ledger lines to what was decided; count entered states."""
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
    books.post(
        connection,
        [
            books.Entry(row.id, row.asset or f"{row.chain}:{row.asset_id}", row.state == "confirmed", event_id, parts)
            for row, parts, event_id in entries
            if parts or row.was_confirmed
        ],
        now_ms,
    )
    return entered


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
                state = "due" if a else "cancelled"
                amount = a.amount if a else refund.amount
                if (refund.state, refund.amount) != (state, amount):
                    moved.append(
                        {
                            "row_id": refund.id,
                            "state": state,
                            "amount": amount,
                            "reason": a.reason if a else refund.reason,
                            "updated_ms": now_ms,
                        }
                    )
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


def _tell(
    connection: Connection, held: Sequence[Purchase], strays: Sequence[Row[Any]], changed: Changed, now_ms: int
) -> None:
    """Queue what happened to the payments themselves, in the order of their arrival."""
    touched = changed.all()
    known = {p.row.id: {"ref": p.row.ref, "event_id": p.row.slug or str(p.row.event_id)} for p in held}
    rows = [row for row in (*(row for p in held for row in p.payments), *strays) if row.id in touched]
    subjects = {outbox.purchase_subject(None, r.id): outbox.purchase_subject(r.purchase_id, r.id) for r in rows}
    if moved := {before: now for before, now in subjects.items() if before != now}:
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
