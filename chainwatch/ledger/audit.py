"""Recompute every balance from the payments and hold it against the ledger and the tickets.

The audit shares no arithmetic with the code that wrote: it starts from transfers and allocations as
they stand and looks for what cannot be.
"""

from collections.abc import Iterator

from sqlalchemy import ColumnElement, Connection, FromClause, func, select

from chainwatch.ledger import audit_out, audit_rows
from chainwatch.ledger.difference import Difference
from chainwatch.ledger.tables import (
    allocations,
    allotments,
    events,
    invites,
    ledger_lines,
    purchases,
    refunds,
    tickets,
    tiers,
    transfers,
)

STREAM = 5_000
"""Rows fetched at a time: a million payments must not be held at once."""

Account = tuple[str, int | None, str]
"""(account, event id, asset)."""


def audit(connection: Connection) -> list[Difference]:
    """Return every difference; none means that the books are right."""
    return [
        *_allocated(connection),
        *_lines(connection),
        *_tickets(connection),
        *_seats(connection),
        *audit_rows.audit(connection),
        *audit_out.audit(connection),
    ]


def _allocated(connection: Connection) -> Iterator[Difference]:
    """Every base unit of a confirmed transfer has exactly one allocation, and no other transfer has any."""
    parts: dict[int, int] = {}
    rows = select(allocations.c.transfer_id, allocations.c.amount).execution_options(yield_per=STREAM)
    for a in connection.execute(rows):
        parts[a.transfer_id] = parts.get(a.transfer_id, 0) + a.amount
    columns = (transfers.c.id, transfers.c.chain, transfers.c.txid, transfers.c.idx, transfers.c.amount)
    held = select(*columns, transfers.c.state, transfers.c.was_confirmed).execution_options(yield_per=STREAM)
    for t in connection.execute(held.where(transfers.c.direction == "in")):
        name = f"{t.chain}:{t.txid}:{t.idx}"
        got = parts.get(t.id, 0)
        if t.state == "confirmed" and got != t.amount:
            yield Difference("allocation", name, f"{got} of {t.amount} base units are allocated")
        if t.state != "confirmed" and got and not t.was_confirmed:
            yield Difference("allocation", name, f"{got} base units of a {t.state} transfer are allocated")


def _lines(connection: Connection) -> Iterator[Difference]:
    """Lines sum to zero, and each transfer's lines say what its allocations say."""
    names: dict[Account, Account] = {}  # each key once: there are a few, and millions of lines
    sums: dict[int, dict[Account, int]] = {}
    of_income = select(ledger_lines).join(transfers).where(transfers.c.direction == "in")
    for line in connection.execute(of_income.execution_options(yield_per=STREAM)):
        accounts = sums.setdefault(line.transfer_id, {})
        key = (line.account, line.event_id, line.asset)
        key = names.setdefault(key, key)
        accounts[key] = accounts.get(key, 0) + line.amount
    wanted: dict[int, dict[Account, int]] = {}
    of_transfer = (transfers.c.state, transfers.c.chain, transfers.c.asset, transfers.c.asset_id, purchases.c.event_id)
    joined = (
        select(allocations, *of_transfer)
        .join_from(allocations, transfers)
        .join(purchases, transfers.c.purchase_id == purchases.c.id, isouter=True)
    )
    for a in connection.execute(joined.execution_options(yield_per=STREAM)):
        accounts = wanted.setdefault(a.transfer_id, {})
        asset = a.asset or f"{a.chain}:{a.asset_id}"
        debit = "received" if a.state == "confirmed" else "loss"
        moves = [(debit, a.amount)]
        if a.kind == "ticket":
            moves += [("commission", -a.commission), ("creator", -(a.amount - a.commission))]
        else:
            moves.append(("refunds" if a.kind == "refund" else a.kind, -a.amount))
        for account, amount in moves:
            key = (account, a.event_id, asset)
            key = names.setdefault(key, key)
            accounts[key] = accounts.get(key, 0) + amount
    for transfer_id in sorted(sums.keys() | wanted.keys()):
        have = {k: v for k, v in sums.get(transfer_id, {}).items() if v}
        want = {k: v for k, v in wanted.get(transfer_id, {}).items() if v}
        if sum(have.values()):
            yield Difference("imbalance", f"transfer:{transfer_id}", f"its lines sum to {sum(have.values())}")
        if have != want:
            yield Difference("ledger", f"transfer:{transfer_id}", f"the ledger says {have}, the payments say {want}")


_OF_EVENT = (events.c.commission_bps, events.c.fee_on_top, events.c.status)


def _tickets(connection: Connection) -> Iterator[Difference]:
    """Every live ticket is paid once, with what it was minted for, and its split is exact."""
    funded: dict[int, int] = {}
    commission: dict[int, int] = {}
    for a in connection.execute(
        select(transfers.c.purchase_id, allocations.c.amount, allocations.c.commission)
        .join_from(allocations, transfers)
        .where(allocations.c.kind == "ticket")
        .execution_options(yield_per=STREAM)
    ):
        funded[a.purchase_id] = funded.get(a.purchase_id, 0) + a.amount
        commission[a.purchase_id] = commission.get(a.purchase_id, 0) + a.commission
    rows = (
        select(tickets, purchases.c.price, purchases.c.fee, *_OF_EVENT)
        .join_from(tickets, purchases, tickets.c.purchase_id == purchases.c.id)
        .join(events, tickets.c.event_id == events.c.id)
    )
    for t in connection.execute(rows.execution_options(yield_per=STREAM)):
        name = f"ticket:{t.uuid}"
        share = t.amount_paid * t.commission_bps // 10_000
        if t.fee_on_top:
            share = t.amount_paid * (t.fee or 0) // t.price if t.price else 0
        if t.commission + t.payout != t.amount_paid or t.commission != share or t.amount_paid > (t.price or 0):
            yield Difference("split", name, f"{t.commission} + {t.payout} of {t.amount_paid}")
        kept = t.state == "revoked" and t.first_access_ms is not None and t.status != "cancelled"
        if t.state not in ("active", "used", "suspended") and not kept:
            if t.purchase_id in funded:
                yield Difference("funding", name, f"it is {t.state}, and {funded[t.purchase_id]} are kept for it")
        else:
            if funded.get(t.purchase_id, 0) != t.amount_paid:
                yield Difference("funding", name, f"{funded.get(t.purchase_id, 0)} of {t.amount_paid} paid for it")
            if commission.get(t.purchase_id, 0) != t.commission:
                yield Difference("commission", name, f"{commission.get(t.purchase_id, 0)} instead of {t.commission}")
    live = {t.purchase_id for t in connection.execute(select(tickets.c.purchase_id))}
    for purchase_id in sorted(funded.keys() - live):
        yield Difference("funding", f"purchase:{purchase_id}", "money for a ticket that does not exist")


def _seats(connection: Connection) -> Iterator[Difference]:
    """Seats sold are the tickets that exist, seats held are the purchases that hold them, numbers have no gap,
    nothing is oversold: of the event, of each tier, of each allotment; and no invite is used too often.
    """
    tops = dict(
        connection.execute(select(tickets.c.event_id, func.max(tickets.c.number)).group_by(tickets.c.event_id)).all()
    )
    sold = _counted(connection, tickets.join(purchases))
    holding = purchases.c.held.is_(True)
    held = _counted(connection, purchases, holding)
    unsigned = _counted(connection, purchases, holding, purchases.c.hold_kind == "unsigned")
    seen = _counted(connection, purchases, holding, purchases.c.hold_kind == "seen")
    aside: dict[int, int] = {}
    for table, column in ((tiers, "tier_id"), (allotments, "allotment_id")):
        for part in connection.execute(select(table)):
            key = (column, part.id)
            name = f"{table.name}:{part.id}"
            want = (sold.get(key, 0), held.get(key, 0), unsigned.get(key, 0))
            if (part.sold, part.held, part.unsigned) != want:
                yield Difference(
                    "seats", name, f"sold, held, unsigned {part.sold, part.held, part.unsigned} not {want}"
                )
            if part.quantity is not None and part.sold + part.held > part.quantity:
                yield Difference("oversold", name, f"{part.sold} + {part.held} of {part.quantity}")
            if column == "allotment_id":
                aside[part.event_id] = aside.get(part.event_id, 0) + part.quantity - part.sold - part.held
    for e in connection.execute(select(events).execution_options(yield_per=STREAM)):
        key, name = ("event_id", e.id), f"event:{e.slug or e.id}"
        n, top = sold.get(key, 0), tops.get(e.id) or 0
        if e.tickets_sold != n or e.last_number != top or top != n:
            yield Difference("seats", name, f"sold {e.tickets_sold}, tickets {n}, highest number {top}")
        have = (e.tickets_held, e.seats_unsigned, e.seats_seen, e.seats_reserved)
        want_all = (held.get(key, 0), unsigned.get(key, 0), seen.get(key, 0), aside.get(e.id, 0))
        if have != want_all:
            yield Difference("seats", name, f"held, unsigned, seen, set aside {have} not {want_all}")
        if e.max_attendees is not None and e.tickets_sold + e.tickets_held + e.seats_reserved > e.max_attendees:
            taken = f"{e.tickets_sold} + {e.tickets_held} + {e.seats_reserved}"
            yield Difference("oversold", name, f"{taken} of {e.max_attendees}")
    yield from _invites(connection)
    yield from _refunds(connection)


def _counted(connection: Connection, rows: FromClause, *where: ColumnElement[bool]) -> dict[tuple[str, int], int]:
    """Count rows by the event, the tier and the allotment of their purchase."""
    found: dict[tuple[str, int], int] = {}
    columns = (purchases.c.event_id, purchases.c.tier_id, purchases.c.allotment_id)
    grouped = select(*columns, func.count().label("n")).select_from(rows).where(*where).group_by(*columns)
    for r in connection.execute(grouped):
        for name in ("event_id", "tier_id", "allotment_id"):
            if (row_id := getattr(r, name)) is not None:
                found[name, row_id] = found.get((name, row_id), 0) + r.n
    return found


def _invites(connection: Connection) -> Iterator[Difference]:
    """An invite is used by purchases that are open or have their ticket."""
    minted = select(tickets.c.id).where(tickets.c.purchase_id == purchases.c.id).exists()
    used: dict[int, int] = dict(
        connection.execute(
            select(purchases.c.invite_id, func.count())
            .where(purchases.c.invite_id.is_not(None), purchases.c.expired.is_(False) | minted)
            .group_by(purchases.c.invite_id)
        ).all()
    )
    for i in connection.execute(select(invites.c.id, invites.c.used, invites.c.uses)):
        if i.used != used.get(i.id, 0) or i.used > i.uses:
            yield Difference("invite", f"invite:{i.id}", f"used {i.used} of {i.uses}, purchases {used.get(i.id, 0)}")


def _refunds(connection: Connection) -> Iterator[Difference]:
    """What is owed back has a refund that says so, and no refund says more."""
    owed: dict[tuple[int, str], int] = {}
    for a in connection.execute(
        select(allocations.c.transfer_id, allocations.c.kind, allocations.c.amount)
        .join_from(allocations, transfers)
        .where(allocations.c.kind.in_(("refund", "surplus")))
    ):
        owed[a.transfer_id, a.kind] = owed.get((a.transfer_id, a.kind), 0) + a.amount
    for r in connection.execute(select(refunds).where(refunds.c.state != "cancelled")):
        if owed.pop((r.transfer_id, r.kind), 0) != r.amount:
            yield Difference("refund", f"refund:{r.id}", f"{r.amount} base units are not what is owed")
    for transfer_id, kind in owed:
        yield Difference("refund", f"transfer:{transfer_id}", f"a {kind} is owed and no refund says so")
