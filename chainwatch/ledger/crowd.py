"""Ten thousand buyers at once: purchases that ask for the same thing share the statements of one.

Only the plain kind shares: unsigned, of an event open to all, without a limit a wallet, an invitation, an allotment
or kinds of ticket.  Every other is opened for itself, behind a savepoint.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from chainwatch.errors import Rejected
from chainwatch.ledger import locks, pool, quotes, seats
from chainwatch.ledger.bulk import among, insert_rows
from chainwatch.ledger.context import Context
from chainwatch.ledger.events import NUMBER
from chainwatch.ledger.quotes import Ask, Plan, Quote
from chainwatch.ledger.tables import events, purchases


class Buyer(NamedTuple):
    """Who asks, and the chain that is paid on."""

    ask: Ask
    context: Context


def quote_all(connection: Connection, buyers: Sequence[Buyer], now_ms: int) -> list[Quote | Rejected]:
    """Open the purchases of all buyers in their order; what is refused is an answer too."""
    answers: dict[int, Quote | Rejected] = {}
    plain: dict[int, dict[int, Plan]] = {}
    known: dict[Any, Any] = {}
    _lock(connection, [b.ask for b in buyers])
    for i, (ask, context) in enumerate(buyers):
        try:
            if (plan := _plain(connection, ask, context, now_ms, known)) is not None:
                plain.setdefault(plan.row.id, {})[i] = plan
            else:
                with connection.begin_nested():
                    answers[i] = quotes.quote(connection, ask, context, now_ms)
        except Rejected as no:
            answers[i] = no
    for event_id in sorted(plain):  # rows of events are locked in id order
        answers |= _open(connection, buyers, plain[event_id], now_ms)
    return [answers[i] for i in range(len(buyers))]


def _lock(connection: Connection, asks: Sequence[Ask]) -> None:
    """Lock the events of a mixed group in id order: each purchase that is opened for itself locks its own."""
    names = {ask.event_id for ask in asks}
    if len(names) < 2 or all(_is_plain(ask) for ask in asks):
        return
    numbers = [int(n) for n in names if NUMBER.fullmatch(n)]
    named = select(events.c.id).where(events.c.slug.in_(names) | events.c.id.in_(numbers))
    locks.events(connection, connection.scalars(named).all())


def _is_plain(ask: Ask) -> bool:
    return not (ask.signed or ask.allotment is not None or ask.invite is not None or ask.tier is not None)


def _plain(connection: Connection, ask: Ask, context: Context, now_ms: int, known: dict[Any, Any]) -> Plan | None:
    """Return the plan of a purchase that may share; None for one that may not."""
    if not _is_plain(ask):
        return None
    plan = quotes.prepare(
        connection, ask, context, now_ms, known
    )  # an open event's costs no statement when it is known
    return plan if plan.row.tier_id is None and not plan.free else None


def _open(
    connection: Connection, buyers: Sequence[Buyer], plans: Mapping[int, Plan], now_ms: int
) -> dict[int, Quote | Rejected]:
    """Open the purchases of one event: addresses, seats for as many as fit, one insertion."""
    own = _addresses(connection, buyers, plans)
    answers: dict[int, Quote | Rejected] = {}
    going: list[int] = []
    for i in plans:
        context = buyers[i].context
        if own.get(i) is None and not quotes.takes_memos(context):
            answers[i] = Rejected("no_address", f"{context.chain} has no address free now: try again later")
        else:
            going.append(i)
    if not going:
        return answers
    first = plans[going[0]]
    percent = buyers[going[0]].context.policy.unsigned_hold_percent
    held = 0 if first.is_full else seats.hold_some(connection, first.row.id, len(going), percent)
    rows, given = [], {}
    for place, i in enumerate(going):
        entry = own.get(i)
        row, told = quotes.written(plans[i], buyers[i].context, now_ms, place < held, entry and entry.address)
        rows.append(row)
        answers[i] = told
        if entry is not None:
            given[told.ref] = entry.id
    insert_rows(connection, purchases, rows)
    if given:
        made = select(purchases.c.id, purchases.c.ref).where(among(connection, purchases.c.ref, list(given)))
        pool.give_all(connection, {given[r.ref]: r.id for r in connection.execute(made)})
    return answers


def _addresses(connection: Connection, buyers: Sequence[Buyer], plans: Mapping[int, Plan]) -> dict[int, Any]:
    """Return the free addresses that there are, by buyer, locked."""
    wanted: dict[str, list[int]] = {}
    for i, plan in plans.items():
        if plan.row.address_free:
            wanted.setdefault(buyers[i].context.chain, []).append(i)
    found: dict[int, Any] = {}
    for chain in sorted(wanted):
        context = buyers[wanted[chain][0]].context
        free = pool.all_free(connection, chain, len(wanted[chain]), context.spec.receive)
        found |= dict(zip(wanted[chain], free, strict=False))
    return found
