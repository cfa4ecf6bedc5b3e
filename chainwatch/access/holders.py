"""Whose ticket, and under which name a wallet stands where its address need not."""

import hmac
from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, Row, select

from chainwatch.access.deps import Deps
from chainwatch.ledger.bulk import among
from chainwatch.ledger.events import NUMBER
from chainwatch.ledger.tables import events, purchases, tickets
from chainwatch.ledger.tombstones import key_of
from chainwatch.tickets.token import Issuer

MAX_TICKETS = 50
"""Tickets of one wallet for one event that are looked at; more nobody needs at a door."""

_EVENT = tuple(
    events.c[name]
    for name in (
        *("id", "slug", "status", "event_start_ms", "event_end_ms", "started_ms", "ended_ms"),
        *("entry_policy", "door", "anonymous", "classic_until_ms"),
    )
)
_TICKET = (
    *(tickets.c[n] for n in ("id", "uuid", "event_id", "number", "wallet", "asset", "state", "entries")),
    tickets.c.last_entry_ms,
    purchases.c.wallet_chain,
    purchases.c.ref,
)


def events_named(connection: Connection, names: Collection[str]) -> dict[str, Row[Any]]:
    """The events that public ids name, by that id; those that there are."""
    slugs = [n for n in names if not NUMBER.fullmatch(n)]
    numbers = [int(n) for n in names if NUMBER.fullmatch(n)]
    found: dict[str, Row[Any]] = {}
    if slugs:
        rows = connection.execute(select(*_EVENT).where(among(connection, events.c.slug, slugs)))
        found |= {r.slug: r for r in rows}
    if numbers:
        named = (among(connection, events.c.id, numbers), events.c.slug.is_(None))
        found |= {str(r.id): r for r in connection.execute(select(*_EVENT).where(*named))}
    return found


def tickets_of(
    connection: Connection, event_ids: Collection[int], wallets: Collection[str]
) -> dict[tuple[int, str], list[Row[Any]]]:
    """The tickets of wallets (canonical) at events, with what their purchase says, by (event, wallet) and number."""
    held: dict[tuple[int, str], list[Row[Any]]] = {}
    if not event_ids or not wallets:
        return held
    rows = (
        select(*_TICKET)
        .join_from(tickets, purchases, tickets.c.purchase_id == purchases.c.id)
        .where(among(connection, tickets.c.wallet, list(wallets)), among(connection, tickets.c.event_id, event_ids))
        .order_by(tickets.c.event_id, tickets.c.number)
    )
    for row in connection.execute(rows):
        mine = held.setdefault((row.event_id, row.wallet), [])
        if len(mine) < MAX_TICKETS:
            mine.append(row)
    return held


def chain_of_assets(deps: Deps) -> dict[str, str]:
    """Asset code to the code of the chain on which it is paid."""
    return {asset: code for code, context in deps.contexts.items() for asset in context.assets()}


def public_id(event: Row[Any]) -> str:
    """The id under which the outside knows an event."""
    return event.slug or str(event.id)


def alias(issuer: Issuer, wallet: str) -> str:
    """A wallet as it stands in the audit log: the same each time, and not its address."""
    return f"wallet:{key_of(issuer, wallet)[:8].hex()}"


def pseudonym(issuer: Issuer, event_id: int, ticket_uuid: str) -> str:
    """A guest's name at one event: the same at each visit, and at another event another (16 hex digits)."""
    return hmac.digest(issuer.secret("guest name"), f"{event_id}\n{ticket_uuid}".encode(), "sha256")[:8].hex()
