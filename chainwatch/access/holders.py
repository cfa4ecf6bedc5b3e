"""Whose ticket, and under which name a wallet stands where its address need not."""

import hmac
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from chainwatch.access.deps import Deps
from chainwatch.ledger import events
from chainwatch.ledger.tables import purchases, tickets
from chainwatch.ledger.tombstones import key_of
from chainwatch.tickets.token import Issuer

MAX_TICKETS = 50
"""Tickets of one wallet for one event that are looked at; more nobody needs at a door."""

_BOUGHT = (purchases.c.wallet_chain, purchases.c.ref, purchases.c.implicit_key, purchases.c.tier_id)


def tickets_at(connection: Connection, event_id: int, wallet: str) -> Sequence[Row[Any]]:
    """The tickets of a wallet (canonical) for an event, with what their purchase says."""
    rows = (
        select(tickets, *_BOUGHT)
        .join_from(tickets, purchases, tickets.c.purchase_id == purchases.c.id)
        .where(tickets.c.event_id == event_id, tickets.c.wallet == wallet)
        .order_by(tickets.c.number)
        .limit(MAX_TICKETS)
    )
    return connection.execute(rows).all()


def chain_of_assets(deps: Deps) -> dict[str, str]:
    """Asset code to the code of the chain on which it is paid."""
    return {asset: code for code, context in deps.contexts.items() for asset in context.assets()}


def public_id(event: Row[Any]) -> str:
    """The id under which the outside knows an event."""
    return event.slug or str(event.id)


def event_of(connection: Connection, public: str) -> Row[Any]:
    """The event; ``Rejected('unknown_event')``."""
    return events.find(connection, public)


def alias(issuer: Issuer, wallet: str) -> str:
    """A wallet as it stands in the audit log: the same each time, and not its address."""
    return f"wallet:{key_of(issuer, wallet)[:8].hex()}"


def pseudonym(issuer: Issuer, event_id: int, ticket_uuid: str) -> str:
    """A guest's name at one event: the same at each visit, and at another event another (16 hex digits)."""
    return hmac.digest(issuer.secret("guest name"), f"{event_id}\n{ticket_uuid}".encode(), "sha256")[:8].hex()
