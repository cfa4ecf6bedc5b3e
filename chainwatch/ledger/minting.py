"""From a paid purchase to a ticket: limits of a wallet, the seat, the number, the signed words."""

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import Connection, func, select

from chainwatch.ledger import invites, locks, outbox, seats
from chainwatch.ledger.bulk import among, chunks, insert_rows
from chainwatch.ledger.orders import Purchase
from chainwatch.ledger.tables import tickets
from chainwatch.matching import LIVE_TICKETS
from chainwatch.tickets.token import Issuer


class Sold(msgspec.Struct, frozen=True):
    """A ticket that is to be written.  ``amount`` and ``commission`` in base units of ``asset``."""

    purchase_id: int
    ref: str
    bought: str
    event_id: int
    event: str
    number: int
    wallet: str
    asset: str
    amount: int
    commission: int
    txid: str


def take_seats(
    connection: Connection, asking: Sequence[Purchase], now_ms: int
) -> tuple[dict[int, int], dict[int, str]]:
    """Take a seat for each purchase, in order; return the numbers given out, and why the others got none."""
    have = _have(connection, asking)
    numbers: dict[int, int] = {}
    refused: dict[int, str] = {}
    left = list(asking)
    while left:
        within = _within_limits(left, have)
        got, why = _take_all(connection, within, now_ms)
        numbers |= got
        refused |= why
        for p in within:
            if p.row.id in got:
                have[p.row.event_id, p.row.wallet] = have.get((p.row.event_id, p.row.wallet), 0) + 1
        left = [p for p in left if p.row.id not in numbers and p.row.id not in refused]
        if not why:  # nobody's place came free for another purchase of the same wallet
            break
    for p in left:
        refused[p.row.id] = "wallet_limit"
    return numbers, refused


def _take_all(connection: Connection, asking: Sequence[Purchase], now_ms: int) -> tuple[dict[int, int], dict[int, str]]:
    """Take a seat for each purchase that is within its limits."""
    refused: dict[int, str] = {}
    invited = [p for p in asking if p.row.expired and p.row.invite_id is not None]
    for p in invited:
        if not invites.use_again(connection, p.row.invite_id):
            refused[p.row.id] = "invite_used"
    numbers = seats.take(connection, [p.seat for p in asking if p.row.id not in refused], now_ms)
    for p in asking:
        if p.row.id not in numbers:
            refused.setdefault(p.row.id, "sold_out")
    unused = [p.row.invite_id for p in invited if refused.get(p.row.id) == "sold_out"]
    invites.give_back(connection, unused)
    return numbers, refused


def _have(connection: Connection, asking: Sequence[Purchase]) -> dict[tuple[int, str], int]:
    """Return how many tickets wallets have of events that limit them, by (event, wallet).

    The events' rows are locked before tickets are counted: the same wallet may be minting on another chain.
    """
    limited = [p for p in asking if p.row.tickets_per_wallet is not None]
    if not limited:
        return {}
    ids = sorted({p.row.event_id for p in limited})
    locks.events(connection, ids)
    return tickets_of(connection, ids, [p.row.wallet for p in limited])


def _within_limits(asking: Sequence[Purchase], have: Mapping[tuple[int, str], int]) -> list[Purchase]:
    """Return the first purchases of each wallet, as many as its event still allows it."""
    taken = dict(have)
    within = []
    for p in asking:
        key = (p.row.event_id, p.row.wallet)
        if p.row.tickets_per_wallet is None or taken.get(key, 0) < p.row.tickets_per_wallet:
            taken[key] = taken.get(key, 0) + 1
            within.append(p)
    return within


def tickets_of(connection: Connection, event_ids: Sequence[int], wallets: Sequence[str]) -> dict[tuple[int, str], int]:
    """Return how many live tickets wallets have, by (event, wallet)."""
    have: dict[tuple[int, str], int] = {}
    for part in chunks(set(wallets)):
        rows = connection.execute(
            select(tickets.c.event_id, tickets.c.wallet, func.count().label("n"))
            .where(
                among(connection, tickets.c.wallet, part),
                tickets.c.event_id.in_(event_ids),
                tickets.c.state.in_(LIVE_TICKETS),
            )
            .group_by(tickets.c.event_id, tickets.c.wallet)
        )
        have.update({(r.event_id, r.wallet): r.n for r in rows})
    return have


def write(connection: Connection, sold: Sequence[Sold], issuer: Issuer, now_ms: int) -> list[str]:
    """Write tickets and tell of them; return their uuids.  Minting the same again would sign the same words."""
    rows, messages, uuids = [], [], []
    for s in sold:
        claims = {"event": s.event, "number": s.number, "wallet": s.wallet, "unit": 1}
        issued = issuer.issue(s.bought, 1, claims)
        rows.append(
            {
                "uuid": issued.uuid,
                "event_id": s.event_id,
                "number": s.number,
                "purchase_id": s.purchase_id,
                "unit": 1,
                "token_hash": issued.token_hash,
                "jws": issued.jws,
                "wallet": s.wallet,
                "asset": s.asset,
                "amount_paid": s.amount,
                "commission": s.commission,
                "payout": s.amount - s.commission,
                "transaction_id": s.txid,
                "state": "active",
                "total_access_count": 0,
                "created_ms": now_ms,
            }
        )
        uuids.append(issued.uuid)
        data = {"ticket_id": issued.uuid, "event_id": s.event, "number": s.number, "ref": s.ref}
        messages.append(outbox.Message("ticket.minted", f"purchase:{s.purchase_id}", data))
    insert_rows(connection, tickets, rows)
    outbox.post(connection, now_ms, messages)
    return uuids
