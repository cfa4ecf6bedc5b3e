"""The end of holds: a purchase expires once its chain was read past its time, unless money keeps its seat.

Money that covers the price and is in a block in time keeps the seat until it is confirmed or gone, however
long finality takes.  Only seen in the mempool, it extends the hold up to ``seen_hold_ms`` after the purchase
was opened, on a capped share of the seats and above a fee rate: a sighting costs its sender nothing.
"""

from collections.abc import Container, Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select, update

from chainwatch.ledger import invites, seats
from chainwatch.ledger.bulk import among, chunks
from chainwatch.ledger.context import Context
from chainwatch.ledger.orders import seat_of
from chainwatch.ledger.tables import purchases, tickets, transfers
from chainwatch.matching import REVIEWED_FLAGS

EXPIRE_BATCH = 500
"""Purchases that one step expires at most: the rest follow with the next block."""

_COLUMNS = tuple(
    purchases.c[name]
    for name in (
        "id",
        "event_id",
        "tier_id",
        "allotment_id",
        "invite_id",
        "asset",
        "price",
        "held",
        "hold_kind",
        "created_ms",
        "expires_ms",
    )
)


def expire(
    connection: Connection,
    context: Context,
    candidates: Sequence[Row[Any]],
    scanned_ms: int,
    deciding: Container[int] = (),
) -> set[int]:
    """Expire those of ``candidates`` that nothing keeps, whose events' rows are locked; return their ids.

    ``deciding``: purchases that are decided next in this transaction.  Money that has just been confirmed keeps their
    seat until then, or whoever is confirmed beside them could take it.
    """
    over: list[int] = []
    paid: list[Row[Any]] = []
    coming = _coming(connection, [r.id for r in candidates])
    for row in candidates:
        kept = _kept_by(row, coming.get(row.id, ()), context, decided=row.id not in deciding)
        if kept == "paid":
            paid.append(row)
        elif kept == "seen" and _seen(connection, row, context, scanned_ms):
            continue
        else:
            over.append(row.id)
    for row in paid:
        if row.hold_kind != "paid":
            if row.held:
                seats.keep_paid(connection, seat_of(row))
            connection.execute(update(purchases).where(purchases.c.id == row.id).values(hold_kind="paid"))
    _end(connection, [r for r in candidates if r.id in set(over)])
    return set(over)


def candidates(connection: Connection, context: Context, scanned_ms: int) -> list[Row[Any]]:
    """Return purchases of this chain whose time is over.  What money keeps is looked at again when that money is no
    longer on its way.
    """

    def on_its_way(state: str) -> ColumnElement[bool]:
        here = transfers.c.purchase_id == purchases.c.id, transfers.c.state == state
        return select(transfers.c.id).where(*here).exists()

    kind = purchases.c.hold_kind
    ended = or_(
        kind.not_in(("seen", "paid")),
        and_(kind == "seen", purchases.c.created_ms < scanned_ms - context.policy.seen_hold_ms),
        and_(kind == "seen", ~on_its_way("seen")),
        and_(kind == "paid", ~on_its_way("confirming")),
    )
    rows = connection.execute(
        select(*_COLUMNS)
        .where(
            purchases.c.expired.is_(False),
            purchases.c.expires_ms < scanned_ms,
            purchases.c.asset.in_([a.code for a in context.spec.assets]),
            ended,
        )
        .order_by(purchases.c.id)
        .limit(EXPIRE_BATCH)
    )
    return list(rows)


def _coming(connection: Connection, ids: Iterable[int]) -> dict[int, list[Row[Any]]]:
    found: dict[int, list[Row[Any]]] = {}
    for part in chunks(ids):
        for t in connection.execute(
            select(*(transfers.c[n] for n in ("purchase_id", "amount", "asset", "state", "paid_ms", "flags"))).where(
                among(connection, transfers.c.purchase_id, part),
                transfers.c.state.in_(("seen", "confirming", "confirmed")),
                transfers.c.direction == "in",
            )
        ):
            found.setdefault(t.purchase_id, []).append(t)
    return found


def _kept_by(row: Row[Any], coming: Sequence[Row[Any]], context: Context, *, decided: bool) -> str:
    """Say what keeps the purchase open: ``paid``, ``seen``, or nothing.

    Confirmed money that was decided already keeps nothing by itself.
    """
    if row.price is None:
        return ""
    enough = context.policy.enough(row.asset, row.price)
    good = [
        t
        for t in coming
        if t.asset == row.asset and t.paid_ms <= row.expires_ms and not set(t.flags.split(",")) & set(REVIEWED_FLAGS)
    ]
    in_blocks = [t for t in good if t.state != "seen"]
    if (not decided or any(t.state == "confirming" for t in in_blocks)) and sum(t.amount for t in in_blocks) >= enough:
        return "paid"
    likely = [t for t in good if t.state != "seen" or "low_fee" not in t.flags.split(",")]  # mined in time, that is
    if any(t.state == "seen" for t in likely) and sum(t.amount for t in likely) >= enough:
        return "seen"
    return ""


def _seen(connection: Connection, row: Row[Any], context: Context, scanned_ms: int) -> bool:
    """Keep a held seat for a sighting, if its time and the share of such seats allow it."""
    if scanned_ms > row.created_ms + context.policy.seen_hold_ms:
        return False
    if row.hold_kind == "seen":
        return True
    if not row.held or not seats.keep_seen(connection, seat_of(row), context.policy.seen_hold_percent):
        return False
    connection.execute(update(purchases).where(purchases.c.id == row.id).values(hold_kind="seen"))
    return True


def _end(connection: Connection, over: Sequence[Row[Any]]) -> None:
    """Expire purchases: their seats and the uses of their invites are free again."""
    for part in chunks(over):
        ids = [r.id for r in part]
        expired = update(purchases).where(among(connection, purchases.c.id, ids))
        connection.execute(expired.values(expired=True, held=False))
    seats.release(connection, [seat_of(r) for r in over])
    if invited := [r for r in over if r.invite_id is not None]:
        having = select(tickets.c.purchase_id).where(among(connection, tickets.c.purchase_id, [r.id for r in invited]))
        minted = set(connection.scalars(having))
        invites.give_back(connection, [r.invite_id for r in invited if r.id not in minted])
