"""What buyers are owed back, and who may say where to.

A refund is made by ``chainwatch.ledger.settle`` and leaves by ``chainwatch.ledger.exports``.  Its destination is
claimed by the wallet of the ticket or the purchase, or entered by an operator; never the sender, which may be an
exchange's (S27), and never a wallet only because a memo names it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, select, update

from chainwatch.errors import Rejected
from chainwatch.ledger import destinations, outbox
from chainwatch.ledger.tables import purchases, refunds, tickets, transfers
from chainwatch.model import ChainSpec

BUYER_CAUSED = frozenset(
    {
        *("underpaid", "overpaid", "wrong_asset", "before_sales", "sales_closed", "event_over", "late"),
        *("purchase_required", "tier_required", "unknown_event", "duplicate", "invite_used"),
    }
)
"""Reasons that the buyer gave: such a refund pays its own network fee.  Every other is ours, and so is its fee."""

MOST = 1000
"""Rows of one answer."""

Specs = Mapping[str, ChainSpec]
"""The configured chains by code: no refund goes to an account of ours on them, or to the contract of a token."""


def pays_its_fee(reason: str) -> bool:
    """Does the network's fee come off this refund?"""
    return reason in BUYER_CAUSED


def listing(connection: Connection, limit: int = 100, after: int = 0, state: str | None = None) -> Sequence[Row[Any]]:
    """Return refunds by id, with the transaction that paid and the event, after id ``after``."""
    rows = (
        select(refunds, transfers.c.txid, transfers.c.idx, purchases.c.ref)
        .join_from(refunds, transfers, refunds.c.transfer_id == transfers.c.id)
        .join(purchases, transfers.c.purchase_id == purchases.c.id, isouter=True)
        .where(refunds.c.id > after)
        .order_by(refunds.c.id)
        .limit(min(limit, MOST))
    )
    return connection.execute(rows.where(refunds.c.state == state) if state else rows).all()


def find(connection: Connection, refund_id: int, *, lock: bool = False) -> Row[Any]:
    """Return a refund; ``Rejected`` ``unknown_refund``."""
    rows = select(refunds).where(refunds.c.id == refund_id)
    row = connection.execute(rows.with_for_update() if lock else rows).one_or_none()
    if row is None:
        raise Rejected("unknown_refund", f"no refund {refund_id}")
    return row


def wallets(connection: Connection, refund_id: int) -> frozenset[str]:
    """Return whose signature may claim a refund: the wallet of the purchase and of its ticket; nobody's for a stray."""
    row = find(connection, refund_id)
    bound = connection.execute(
        select(purchases.c.wallet, tickets.c.wallet.label("holder"))
        .join_from(transfers, purchases, transfers.c.purchase_id == purchases.c.id)
        .join(tickets, tickets.c.purchase_id == purchases.c.id, isouter=True)
        .where(transfers.c.id == row.transfer_id)
    ).all()
    return frozenset(w for r in bound for w in (r.wallet, r.holder) if w)


def contract_chains(connection: Connection, refund_id: int) -> frozenset[str]:
    """Return the chains whose contract wallets may claim a refund: where the purchase is bound, else where it was paid.

    On another chain the same address may be somebody else's contract.
    """
    row = find(connection, refund_id)
    bound = connection.scalars(
        select(purchases.c.wallet_chain)
        .join_from(transfers, purchases, transfers.c.purchase_id == purchases.c.id)
        .where(transfers.c.id == row.transfer_id)
    )
    return frozenset(chain or row.chain for chain in bound)


def claim(
    connection: Connection, refund_id: int, destination: str, wallet: str, now_ms: int, specs: Specs | None = None
) -> None:
    """Take the destination that ``wallet`` has signed (the caller has verified the signature).

    The wallet may change its mind until the refund has left.  ``Rejected``: unknown_refund, not_your_refund,
    not_due, bad_destination.
    """
    row = find(connection, refund_id, lock=True)
    if wallet not in wallets(connection, refund_id):
        raise Rejected("not_your_refund", "only the wallet of the purchase or of its ticket may claim this refund")
    _name(connection, row, destination, f"wallet:{wallet}", "refund_claimed", now_ms, specs)


def enter(
    connection: Connection, refund_id: int, destination: str, actor: str, now_ms: int, specs: Specs | None = None
) -> None:
    """Take the destination that an operator enters; one that the buyer has signed stays.

    ``Rejected``: unknown_refund, already_claimed, not_due, bad_destination.
    """
    row = find(connection, refund_id, lock=True)
    if row.destination_by.startswith("wallet:"):
        raise Rejected("already_claimed", "the buyer has signed where this refund goes: only they may change it")
    _name(connection, row, destination, actor, "refund_entered", now_ms, specs)


def _name(
    connection: Connection, row: Row[Any], destination: str, by: str, action: str, now_ms: int, specs: Specs | None
) -> None:
    if row.state != "due":
        raise Rejected("not_due", f"refund {row.id} is {row.state}: its destination stays")
    wanted = destinations.canonical(connection, row.chain, destination, (specs or {}).get(row.chain))
    connection.execute(
        update(refunds).where(refunds.c.id == row.id).values(destination=wanted, destination_by=by, updated_ms=now_ms)
    )
    actor = by if not by.startswith("wallet:") else "buyer"
    outbox.audit(connection, now_ms, actor, action, f"refund:{row.id}", {"destination": wanted})
