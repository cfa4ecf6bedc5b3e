"""Tickets as their holders and operators see them; taking one back."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, select, update

from chainwatch.errors import Rejected
from chainwatch.ledger import locks, outbox, settle
from chainwatch.ledger.context import Context
from chainwatch.ledger.facts import Changed
from chainwatch.ledger.tables import attendance, entries, events, purchases, tickets, tiers, transfers

STATES = ("active", "used", "suspended", "refunded", "cancelled", "revoked")
"""One machine.  ``suspended``: the payment left the chain and may come back."""

ALIASES: Mapping[str, str] = {
    "active": "valid",
    "used": "checked_in",
    "suspended": "pending",
    "refunded": "refunded",
    "cancelled": "void",
    "revoked": "void",
}
"""State to the word that other vocabularies have for it (the API's ``status``)."""

MAX_LISTED = 500
"""Tickets of one wallet that are given out at once."""


def _listed() -> Select[Any]:
    return (
        select(
            tickets,
            purchases.c.ref,
            purchases.c.implicit_key,
            purchases.c.wallet_chain,
            tiers.c.title.label("tier"),
            events.c.slug,
            events.c.title,
            events.c.description,
            events.c.event_start_ms,
            events.c.event_end_ms,
            events.c.status.label("event_status"),
            events.c.anonymous,
            events.c.entry_policy,
            events.c.updated_ms.label("event_updated_ms"),
        )
        .join_from(tickets, purchases, tickets.c.purchase_id == purchases.c.id)
        .join(events, tickets.c.event_id == events.c.id)
        .outerjoin(tiers, purchases.c.tier_id == tiers.c.id)
    )


def by_token(connection: Connection, token: str) -> Row[Any]:
    """The ticket that a token opens, with its event; ``Rejected('unknown_ticket')``."""
    digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
    row = connection.execute(_listed().where(tickets.c.token_hash == digest)).one_or_none()
    if row is None:
        raise Rejected("unknown_ticket", "there is no such ticket")
    return row


def of_wallet(connection: Connection, wallet: str) -> Sequence[Row[Any]]:
    """The newest tickets of a wallet (canonical), with their events."""
    rows = _listed().where(tickets.c.wallet == wallet).order_by(tickets.c.id.desc()).limit(MAX_LISTED)
    return connection.execute(rows).all()


def attended(connection: Connection, ticket_id: int) -> tuple[int, int | None] | None:
    """When its holder first came, and minutes of being there (None: a door counts no minutes); None: they did not."""
    stays = connection.execute(
        select(attendance.c.joined_ms, attendance.c.total_duration_minutes).where(attendance.c.ticket_id == ticket_id)
    ).all()
    came = select(entries.c.at_ms).where(entries.c.ticket_id == ticket_id, entries.c.admitted.is_(True))
    times = [r.at_ms for r in connection.execute(came)] + [s.joined_ms for s in stays]
    if not times:
        return None
    return min(times), sum(s.total_duration_minutes for s in stays) if stays else None


def revoke(
    connection: Connection, uuid: str, reason: str, contexts: Mapping[str, Context], now_ms: int, actor: str
) -> Row[Any]:
    """Take a live ticket back; its refund falls due, unless somebody came in with it.  ``contexts``: by chain code.

    ``Rejected``: unknown_ticket, conflict (it is not live), chain_not_configured.  Returns the ticket as it was.
    """
    row = connection.execute(_listed().where(tickets.c.uuid == uuid)).one_or_none()
    if row is None:
        raise Rejected("unknown_ticket", "there is no such ticket")
    locks.chains(connection, (c.chain for c in contexts.values()))  # a step of theirs holds payments, then events
    live = update(tickets).where(tickets.c.id == row.id, tickets.c.state.in_(("active", "used", "suspended")))
    if connection.execute(live.values(state="revoked", reason=reason)).rowcount != 1:
        raise Rejected("conflict", f"the ticket is {row.state}")
    paid = select(transfers.c.id, transfers.c.chain).where(transfers.c.purchase_id == row.purchase_id)
    by_chain: dict[str, set[int]] = {}
    for t in connection.execute(paid):
        by_chain.setdefault(t.chain, set()).add(t.id)
    for chain, ids in by_chain.items():
        if (context := contexts.get(chain)) is None:
            raise Rejected("chain_not_configured", f"it was paid on {chain}, and that chain is not configured")
        settle.settle(connection, Changed(again=ids), context, now_ms, None)
    event = row.slug or str(row.event_id)
    data = {"ticket_id": uuid, "event_id": event, "number": row.number, "ref": row.ref}
    outbox.post(connection, now_ms, [outbox.Message("ticket.revoked", f"purchase:{row.purchase_id}", data)])
    outbox.audit(connection, now_ms, actor, "ticket_revoked", f"ticket:{uuid}", {"reason": reason})
    return row
