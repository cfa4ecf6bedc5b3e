"""Recompute every balance from the payments and hold it against the ledger and the tickets.

The audit shares no arithmetic with the code that wrote: it starts from transfers and allocations as
they stand and looks for what cannot be.
"""

from collections.abc import Iterator

from sqlalchemy import Connection, func, select

from chainwatch.ledger import audit_out
from chainwatch.ledger.difference import Difference
from chainwatch.ledger.tables import allocations, events, ledger_lines, purchases, refunds, tickets, transfers

STREAM = 5_000
"""Rows fetched at a time: a million payments must not be held at once."""


def audit(connection: Connection) -> list[Difference]:
    """Return every difference; none means that the books are right."""
    return [
        *_allocated(connection),
        *_lines(connection),
        *_tickets(connection),
        *_seats(connection),
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
    sums: dict[int, dict[str, int]] = {}
    of_income = select(ledger_lines).join(transfers).where(transfers.c.direction == "in")
    for line in connection.execute(of_income.execution_options(yield_per=STREAM)):
        accounts = sums.setdefault(line.transfer_id, {})
        accounts[line.account] = accounts.get(line.account, 0) + line.amount
    wanted: dict[int, dict[str, int]] = {}
    joined = select(allocations, transfers.c.state).join_from(allocations, transfers)
    for a in connection.execute(joined.execution_options(yield_per=STREAM)):
        accounts = wanted.setdefault(a.transfer_id, {})
        debit = "received" if a.state == "confirmed" else "loss"
        moves = [(debit, a.amount)]
        if a.kind == "ticket":
            moves += [("commission", -a.commission), ("creator", -(a.amount - a.commission))]
        else:
            moves.append(("refunds" if a.kind == "refund" else a.kind, -a.amount))
        for account, amount in moves:
            accounts[account] = accounts.get(account, 0) + amount
    for transfer_id in sorted(sums.keys() | wanted.keys()):
        have = {k: v for k, v in sums.get(transfer_id, {}).items() if v}
        want = {k: v for k, v in wanted.get(transfer_id, {}).items() if v}
        if sum(have.values()):
            yield Difference("imbalance", f"transfer:{transfer_id}", f"its lines sum to {sum(have.values())}")
        if have != want:
            yield Difference("ledger", f"transfer:{transfer_id}", f"the ledger says {have}, the payments say {want}")


def _tickets(connection: Connection) -> Iterator[Difference]:
    """Every live ticket is paid once and in full, and its split is exact."""
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
    rows = select(tickets, purchases.c.price, events.c.commission_bps).join_from(tickets, purchases)
    for t in connection.execute(rows.join(events, tickets.c.event_id == events.c.id)):
        name = f"ticket:{t.uuid}"
        if t.commission + t.payout != t.amount_paid or t.commission != t.amount_paid * t.commission_bps // 10_000:
            yield Difference("split", name, f"{t.commission} + {t.payout} of {t.amount_paid}")
        if t.state in ("active", "used", "suspended"):
            if funded.get(t.purchase_id, 0) != t.price:
                yield Difference("funding", name, f"{funded.get(t.purchase_id, 0)} of {t.price} paid for it")
            if commission.get(t.purchase_id, 0) != t.commission:
                yield Difference("commission", name, f"{commission.get(t.purchase_id, 0)} instead of {t.commission}")
    live = {t.purchase_id for t in connection.execute(select(tickets.c.purchase_id))}
    for purchase_id in sorted(funded.keys() - live):
        yield Difference("funding", f"purchase:{purchase_id}", "money for a ticket that does not exist")


def _seats(connection: Connection) -> Iterator[Difference]:
    """Seats sold are the tickets that exist, numbers have no gap, nothing is oversold; refunds match."""
    counted = {
        r.event_id: (r.n, r.top)
        for r in connection.execute(
            select(tickets.c.event_id, func.count().label("n"), func.max(tickets.c.number).label("top")).group_by(
                tickets.c.event_id
            )
        )
    }
    holding = {
        r.event_id: r.n
        for r in connection.execute(
            select(purchases.c.event_id, func.count().label("n"))
            .where(purchases.c.held.is_(True))
            .group_by(purchases.c.event_id)
        )
    }
    for e in connection.execute(select(events)):
        n, top = counted.get(e.id, (0, 0))
        name = f"event:{e.slug or e.id}"
        if e.tickets_sold != n or e.last_number != (top or 0) or (top or 0) != n:
            yield Difference("seats", name, f"sold {e.tickets_sold}, tickets {n}, highest number {top or 0}")
        if e.tickets_held != holding.get(e.id, 0):
            yield Difference("seats", name, f"held {e.tickets_held}, purchases that hold {holding.get(e.id, 0)}")
        if e.max_attendees is not None and e.tickets_sold + e.tickets_held > e.max_attendees:
            yield Difference("oversold", name, f"{e.tickets_sold} + {e.tickets_held} of {e.max_attendees}")
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
