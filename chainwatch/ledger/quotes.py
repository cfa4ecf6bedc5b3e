"""A purchase as a buyer asks for one: what to pay, where to, until when; and a seat while it runs."""

import hashlib
import secrets

import msgspec
from sqlalchemy import Connection, select, update

from chainwatch import memo
from chainwatch.errors import Rejected
from chainwatch.ledger import events, pool
from chainwatch.ledger.bulk import insert_rows
from chainwatch.ledger.context import Context
from chainwatch.ledger.tables import events as event_table
from chainwatch.ledger.tables import purchases
from chainwatch.matching import Sale, forbids

SECRET_BYTES = 16
"""128 random bits: the purchase id opens the purchase to whoever holds it."""


class Quote(msgspec.Struct, frozen=True):
    """What the buyer is told.

    ``purchase_id`` is a bearer secret, kept only as a hash; ``ref`` is public.  ``reference``: a key that the
    transaction is to name (Solana Pay).
    """

    purchase_id: str
    ref: str
    held: bool
    address: str
    reference: str | None
    asset: str
    amount: int
    memo: str | None
    expires_ms: int


def quote(connection: Connection, event_id: str, wallet: str, asset: str, context: Context, now_ms: int) -> Quote:
    """Open a purchase of one ticket for ``wallet``, to be paid in ``asset``.

    An address of its own where the chain derives them, else a receiving account with a memo.
    ``Rejected``: unknown_event, bad_wallet, not_for_sale (with the reason), no_address.
    """
    canonical = context.canonical_wallet(wallet)
    if canonical is None:
        raise Rejected("bad_wallet", f"{wallet[:120]!r} is no wallet of any supported chain")
    event = events.find(connection, event_id)
    sale = Sale(event.status, event.sales_start_ms, event.sales_end_ms, event.event_end_ms)
    if reason := forbids(sale, now_ms):
        raise Rejected("not_for_sale", reason)
    price = events.prices_of(connection, event.id).get(asset)
    if price is None:
        raise Rejected("not_for_sale", f"the event is not sold for {asset}")
    secret, ref = secrets.token_urlsafe(SECRET_BYTES), context.new_ref()
    held = _hold(connection, event.id)
    expires_ms = now_ms + context.policy.hold_ms
    row = {
        "ref": ref,
        "secret_hash": hashlib.sha256(secret.encode()).digest(),
        "event_id": event.id,
        "wallet": canonical,
        "asset": asset,
        "price": price,
        "held": held,
        "expired": False,
        "created_ms": now_ms,
        "expires_ms": expires_ms,
    }
    insert_rows(connection, purchases, [row])
    row_id = connection.execute(select(purchases.c.id).where(purchases.c.ref == ref)).scalar_one()
    own = pool.take(connection, context.chain, row_id, context.spec.receive)
    reference = own.removeprefix(pool.REFERENCE) if own and own.startswith(pool.REFERENCE) else None
    if reference:
        own = None  # it goes beside the receiving account, not in its place
    carries_memo = context.spec.params.get("memo", True)
    if own is None and not (carries_memo and context.spec.receive):
        raise Rejected("no_address", f"{context.chain} has no address free now: try again later")
    return Quote(
        purchase_id=secret,
        ref=ref,
        held=held,
        address=own or context.spec.receive[0],
        reference=reference,
        asset=asset,
        amount=price,
        memo=None if own else memo.short_form(ref),
        expires_ms=expires_ms,
    )


def _hold(connection: Connection, event_id: int) -> bool:
    """Hold a seat if one is free: sold + held never exceeds capacity."""
    room = event_table.c.max_attendees.is_(None) | (
        event_table.c.tickets_sold + event_table.c.tickets_held < event_table.c.max_attendees
    )
    taken = connection.execute(
        update(event_table)
        .where(event_table.c.id == event_id, event_table.c.status == "active", room)
        .values(tickets_held=event_table.c.tickets_held + 1)
    )
    return bool(taken.rowcount == 1)
