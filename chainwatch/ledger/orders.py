"""Purchases with all that decides about them, read from the database for ``chainwatch.matching``."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from chainwatch.ledger import pricing
from chainwatch.ledger.bulk import among, chunks
from chainwatch.ledger.context import Context
from chainwatch.ledger.seats import Seat
from chainwatch.ledger.tables import events, refunds, tickets, tiers, transfers
from chainwatch.ledger.tables import purchases as purchase_table
from chainwatch.matching import Allocation, Order, Paid, Sale
from chainwatch.model import Asset
from chainwatch.tickets.rates import Rate


class Purchase(msgspec.Struct):
    """A purchase with its event, payments and ticket.  ``rate``: of the price, when it was quoted again."""

    row: Row[Any]
    sale: Sale
    payments: list[Row[Any]]
    paid: list[Paid]
    ticket: Row[Any] | None
    order: Order
    rate: Rate | None = None

    @property
    def seat(self) -> Seat:
        """What it takes of its event."""
        return seat_of(self.row)

    @property
    def bought(self) -> str:
        """What its ticket's token is made of."""
        return identity(self.row)


def identity(row: Row[Any]) -> str:
    """Return what was bought, as tickets know it: the same whenever the purchase is minted again."""
    return row.implicit_key or f"purchase:{row.ref}"


def seat_of(row: Row[Any]) -> Seat:
    """Return what a row of ``purchases`` takes of its event."""
    return Seat(row.id, row.event_id, row.tier_id, row.allotment_id, row.held, row.hold_kind)


def load(connection: Connection, ids: Iterable[int], context: Context) -> list[Purchase]:
    """Read purchases with their event, tier, payments, ticket and refunds that have left."""
    rows: list[Row[Any]] = []
    paid: dict[int, list[Row[Any]]] = {}
    minted: dict[int, Row[Any]] = {}
    for part in chunks(sorted(ids)):
        rows += connection.execute(
            select(purchase_table, *SALE)
            .join_from(purchase_table, events, purchase_table.c.event_id == events.c.id)
            .join(tiers, purchase_table.c.tier_id == tiers.c.id, isouter=True)
            .where(among(connection, purchase_table.c.id, part))
            .order_by(purchase_table.c.id)
        ).all()
        for t in connection.execute(
            select(*_PAYMENT)
            .where(among(connection, transfers.c.purchase_id, part), transfers.c.direction == "in")
            .order_by(transfers.c.paid_ms, transfers.c.id)
        ).all():
            paid.setdefault(t.purchase_id, []).append(t)
        of_these = select(*_TICKET).where(among(connection, tickets.c.purchase_id, part))
        minted.update({t.purchase_id: t for t in connection.execute(of_these)})
    gone = gone_of(connection, [t.id for ts in paid.values() for t in ts])
    tiered = _tiered(connection, [r.event_id for r in rows if r.price is None])
    assets = context.every_asset()
    held = [_purchase(r, paid.get(r.id, []), minted.get(r.id), gone, assets, context, tiered) for r in rows]
    for p in held:
        if p.row.fiat_currency is not None and p.ticket is None:
            _quote_again(connection, p, context)
    return held


_PAYMENT = tuple(c for c in transfers.c if c.name not in ("memo", "sender", "recipient", "block_hash", "reason"))

_TICKET = tuple(tickets.c[name] for name in ("id", "purchase_id", "state", "amount_paid", "first_access_ms"))

SALE = (
    events.c.status.label("sale_status"),
    events.c.sales_start_ms,
    events.c.sales_end_ms,
    events.c.event_end_ms,
    events.c.ended_ms,
    events.c.commission_bps,
    events.c.fee_on_top,
    events.c.tickets_per_wallet,
    events.c.by_memo,
    events.c.slug,
    tiers.c.sales_start_ms.label("tier_start_ms"),
    tiers.c.sales_end_ms.label("tier_end_ms"),
    tiers.c.code.label("tier"),
)


def _purchase(
    row: Row[Any],
    payments: list[Row[Any]],
    ticket: Row[Any] | None,
    gone: Mapping[int, tuple[Allocation, ...]],
    assets: Mapping[str, Asset],
    context: Context,
    tiered: set[int],
) -> Purchase:
    dust = {code: a.dust for code, a in assets.items()}
    return Purchase(
        row=row,
        sale=sale_of(row, implicit=row.implicit_key is not None),
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
                dust=dust.get(t.asset, 0),
                resolution=t.resolution,
            )
            for t in payments
        ],
        ticket=ticket,
        order=Order(
            asset=row.asset,
            price=row.price,
            expired=row.expired,
            ticket=ticket.state if ticket is not None else None,
            dust=dust.get(row.asset, 0),
            fee=row.fee or 0,
            enough=None if row.price is None else context.policy.enough(row.asset, row.price),
            funded=None if ticket is None else ticket.amount_paid,
            expires_ms=row.expires_ms if row.implicit_key is None else None,
            used=ticket is not None and ticket.first_access_ms is not None,
            bps=None if row.fee_on_top else row.commission_bps,
            unsold="tier_required" if row.event_id in tiered and row.tier_id is None else "wrong_asset",
        ),
    )


def sale_of(row: Row[Any], *, implicit: bool = False) -> Sale:
    """Return the sale of an event and the tier beside it: on sale is what both say is."""
    return Sale(
        row.sale_status,
        _later(row.sales_start_ms, row.tier_start_ms),
        _earlier(row.sales_end_ms, row.tier_end_ms),
        _earlier(row.event_end_ms, row.ended_ms),
        by_memo=row.by_memo or not implicit,
    )


def _later(a: int | None, b: int | None) -> int | None:
    return max((n for n in (a, b) if n is not None), default=None)


def _earlier(a: int | None, b: int | None) -> int | None:
    return min((n for n in (a, b) if n is not None), default=None)


def _tiered(connection: Connection, event_ids: Sequence[int]) -> set[int]:
    """Return which of these events have tiers."""
    found: set[int] = set()
    for part in chunks(set(event_ids)):
        found.update(connection.scalars(select(tiers.c.event_id).where(among(connection, tiers.c.event_id, part))))
    return found


def _quote_again(connection: Connection, p: Purchase, context: Context) -> None:
    """Price late money of a purchase in fiat at the time when it was paid: the rate was locked for the hold only.

    What came in time counts at the locked price, when it is enough by itself.
    """
    here = [m for m in p.paid if m.state == "confirmed" and m.asset == p.order.asset and m.here]
    late = [m for m in here if p.order.late(m) and m.resolution != "assign"]  # an operator takes the old rate
    enough = p.order.enough
    if not late or enough is None or sum(m.here for m in here if m not in late) >= enough:
        return
    asset = context.every_asset().get(p.row.asset)
    at_ms = max(m.paid_ms for m in late)
    quoted = asset and pricing.in_money(
        connection, asset, p.row.fiat_currency, p.row.fiat_amount, at_ms, context.policy.rate_age_ms
    )
    if not quoted:
        p.order = msgspec.structs.replace(p.order, price=None, enough=None, unsold="no_rate")
        return
    base, p.rate = quoted
    price = pricing.priced(base, p.row.commission_bps, p.row.fee_on_top)
    p.order = msgspec.structs.replace(
        p.order, price=price.amount, fee=price.fee, enough=context.policy.enough(p.row.asset, price.amount)
    )


def gone_of(connection: Connection, transfer_ids: Sequence[int]) -> dict[int, tuple[Allocation, ...]]:
    """Return what has left as refunds, by transfer: it never counts towards a ticket again.

    All of them are locked: an export that runs at once either has them, or waits for what is decided here.
    """
    gone: dict[int, tuple[Allocation, ...]] = {}
    for part in chunks(transfer_ids):
        these = among(connection, refunds.c.transfer_id, part)
        for r in connection.execute(select(refunds).where(these).order_by(refunds.c.id).with_for_update()):
            if r.state not in ("exported", "settled"):
                continue
            gone[r.transfer_id] = (*gone.get(r.transfer_id, ()), Allocation(r.kind, r.amount, r.reason))
    return gone
