"""Questions that commands, metrics and pages ask.  Nothing here writes."""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, select

from chainwatch.errors import Rejected
from chainwatch.ledger import books
from chainwatch.ledger.bulk import among, chunks
from chainwatch.ledger.facts import memo_key
from chainwatch.ledger.tables import (
    cursors,
    deliveries,
    event_prices,
    events,
    outbox,
    payouts,
    purchases,
    refunds,
    tickets,
    tier_prices,
    tiers,
    transfers,
)


class ChainStatus(msgspec.Struct, frozen=True):
    """Where we are on a chain."""

    chain: str
    head: int
    scanned: int
    final: int | None
    lag: int
    updated_ms: int
    tip_ms: int | None
    endpoint: str
    alarm: str


class Status(msgspec.Struct, frozen=True):
    """The whole house at a glance."""

    chains: tuple[ChainStatus, ...]
    payments: dict[str, int]
    tickets: dict[str, int]
    events: int
    refunds_due: int
    payouts_due: int
    review_open: int
    outbox_pending: int
    outbox_oldest_ms: int | None


def status(connection: Connection) -> Status:
    """Read the state of chains, payments, tickets and queues."""
    rows = connection.execute(select(cursors).order_by(cursors.c.chain))
    chains = tuple(
        ChainStatus(
            chain=r.chain,
            head=r.head_height,
            scanned=r.height,
            final=r.final_height,
            lag=r.head_height - r.height,
            updated_ms=r.updated_ms,
            tip_ms=r.tip_ms,
            endpoint=r.endpoint,
            alarm=r.alarm,
        )
        for r in rows
    )
    waits = queues(connection)
    return Status(
        chains=chains,
        payments=_counts(connection, transfers.c.shown),
        tickets=_counts(connection, tickets.c.state),
        events=connection.execute(select(func.count()).select_from(events)).scalar_one(),
        refunds_due=waits.refunds_due,
        payouts_due=waits.payouts_due,
        review_open=waits.review_open,
        outbox_pending=waits.outbox_pending,
        outbox_oldest_ms=waits.outbox_oldest_ms,
    )


class Queues(msgspec.Struct, frozen=True):
    """What waits for somebody: the part of ``Status`` that is asked every other second."""

    refunds_due: int
    payouts_due: int
    review_open: int
    outbox_pending: int
    outbox_oldest_ms: int | None


def queues(connection: Connection) -> Queues:
    """Count what waits; unlike ``status`` it reads nothing that is over."""
    waiting, oldest = _undelivered(connection)
    return Queues(
        refunds_due=_count(connection, refunds, refunds.c.state == "due"),
        payouts_due=_count(connection, payouts, payouts.c.state == "due"),
        review_open=_count(connection, transfers, transfers.c.shown == "review"),
        outbox_pending=waiting,
        outbox_oldest_ms=oldest,
    )


def _undelivered(connection: Connection) -> tuple[int, int | None]:
    """Return how many messages are not handed out or not delivered yet, and since when the oldest waits."""
    new = select(func.count(), func.min(outbox.c.created_ms)).where(outbox.c.done_ms.is_(None))
    tried = select(func.count(), func.min(deliveries.c.created_ms)).where(deliveries.c.state == "pending")
    counts, since = zip(*(connection.execute(question).one() for question in (new, tried)), strict=True)
    return sum(counts), min((ms for ms in since if ms is not None), default=None)


def _counts(connection: Connection, column: Any) -> dict[str, int]:
    rows = connection.execute(select(column, func.count()).group_by(column).order_by(column))
    return {row[0]: row[1] for row in rows}


def _count(connection: Connection, table: Any, where: Any) -> int:
    return int(connection.execute(select(func.count()).select_from(table).where(where)).scalar_one())


def open_ids(connection: Connection, chain: str) -> list[tuple[str, str]]:
    """Return (txid, index) of the chain's transfers that are not final yet."""
    rows = connection.execute(
        select(transfers.c.txid, transfers.c.idx).where(
            transfers.c.chain == chain,
            transfers.c.state.in_(("seen", "confirming")),
            transfers.c.flags.not_like("%proved%"),  # no reading shows what only its key tells
        )
    )
    return [(r.txid, r.idx) for r in rows]


def scanned(connection: Connection, chain: str) -> int:
    """Return the height of our cursor, -1 before there is one."""
    row = connection.execute(select(cursors.c.height).where(cursors.c.chain == chain)).one_or_none()
    return -1 if row is None else int(row.height)


def imbalance(connection: Connection) -> int:
    """Return by how many base units the ledger does not sum to zero, over all assets: always 0."""
    per_asset: dict[str, int] = {}
    for (asset, _account), amount in books.totals(connection).items():
        per_asset[asset] = per_asset.get(asset, 0) + amount
    return sum(abs(n) for n in per_asset.values())


def public_ids(connection: Connection, ids: Collection[int]) -> dict[int, str]:
    """Return the public id of each event: its slug, else its number."""
    found: dict[int, str] = {}
    for part in chunks(sorted(ids)):
        rows = select(events.c.id, events.c.slug).where(among(connection, events.c.id, part))
        found.update({r.id: r.slug or str(r.id) for r in connection.execute(rows)})
    return found


class Offer(msgspec.Struct, frozen=True):
    """What an event sells, as it is shown: prices by asset (None: by rate), tiers in order, their prices by row id."""

    prices: dict[str, int | None]
    tiers: list[Any]
    tier_prices: dict[int, dict[str, int | None]]


def offers_of(connection: Connection, ids: Collection[int]) -> dict[int, Offer]:
    """Return what each event sells, in three statements for all of them."""
    found = {i: Offer({}, [], {}) for i in ids}
    for part in chunks(sorted(ids)):
        of_events = select(event_prices).where(among(connection, event_prices.c.event_id, part))
        for r in connection.execute(of_events):
            found[r.event_id].prices[r.asset] = r.amount
        of_tiers = select(tiers).where(among(connection, tiers.c.event_id, part))
        for r in connection.execute(of_tiers.order_by(tiers.c.position, tiers.c.id)):
            found[r.event_id].tiers.append(r)
        priced = select(tier_prices, tiers.c.event_id).join_from(tier_prices, tiers)
        for r in connection.execute(priced.where(among(connection, tiers.c.event_id, part))):
            found[r.event_id].tier_prices.setdefault(r.tier_id, {})[r.asset] = r.amount
    return found


def recent_payments(connection: Connection, limit: int = 50) -> Sequence[Any]:
    """Return the newest payments with their event, wallet and ticket, newest first."""
    return connection.execute(
        select(
            transfers.c.chain,
            transfers.c.txid,
            transfers.c.idx,
            transfers.c.asset,
            transfers.c.amount,
            transfers.c.shown,
            transfers.c.reason,
            transfers.c.height,
            transfers.c.first_seen_ms,
            purchases.c.event_id,
            events.c.slug,
            purchases.c.wallet,
            tickets.c.number,
        )
        .join_from(transfers, purchases, transfers.c.purchase_id == purchases.c.id, isouter=True)
        .join(events, purchases.c.event_id == events.c.id, isouter=True)
        .join(tickets, tickets.c.purchase_id == purchases.c.id, isouter=True)
        .where(transfers.c.direction == "in")
        .order_by(transfers.c.id.desc())
        .limit(limit)
    ).all()


def payments(
    connection: Connection,
    *,
    memo: bytes | None = None,
    address: str | None = None,
    wallet: str | None = None,
    txid: str | None = None,
    event: int | None = None,
    limit: int = 100,
) -> Sequence[Row[Any]]:
    """Find payments by what people know of them: each question is answered from an index.

    ``memo``: the whole of it as carried; ``address``: where it was paid to; ``wallet``: whose purchase it is at
    (canonical form); ``event``: the row id.  Newest first, those of an event by wallet.  Exactly one must be given.
    """
    given = [x for x in (memo, address, wallet, txid, event) if x is not None]
    if len(given) != 1:
        raise Rejected("bad_query", "ask by one of memo, address, wallet, txid, event")
    query = select(*_FOUND).join_from(transfers, purchases, transfers.c.purchase_id == purchases.c.id, isouter=True)
    if memo is not None:
        query = query.where(transfers.c.memo_key == memo_key(memo), transfers.c.memo == memo)
    elif address is not None:
        # As a range and in the index's own order: for "= … ORDER BY id" PostgreSQL reads the newest payments of all
        # until it has a hundred, and an account of last year has none among half a million.
        query = query.where(transfers.c.recipient.between(address, address)).order_by(transfers.c.recipient.desc())
    elif txid is not None:  # the chain stands first in the index
        query = query.where(transfers.c.chain.in_(_chains(connection)), transfers.c.txid == txid)
    elif wallet is not None:
        query = select(*_FOUND).join_from(purchases, transfers, transfers.c.purchase_id == purchases.c.id)
        query = query.where(purchases.c.wallet == wallet)
    else:
        query = select(*_FOUND).join_from(purchases, transfers, transfers.c.purchase_id == purchases.c.id)
        query = query.where(purchases.c.event_id == event).order_by(purchases.c.wallet)
        return connection.execute(query.limit(limit)).all()
    return connection.execute(query.order_by(transfers.c.id.desc()).limit(limit)).all()


_FOUND = (
    *(c for c in transfers.c if c.name not in ("memo", "reference_keys", "block_hash")),
    purchases.c.ref,
    purchases.c.wallet,
    purchases.c.event_id,
)


def _chains(connection: Connection) -> list[str]:
    return list(connection.scalars(select(cursors.c.chain)))
