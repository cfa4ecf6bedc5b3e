"""Whose ticket, and under which name a wallet stands where its address need not."""

import functools
import hmac
from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from chainwatch.access.deps import Deps
from chainwatch.ledger.bulk import keys_for, listed
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
    *(tickets.c[n] for n in ("last_entry_ms", "purchase_id")),
    purchases.c.wallet_chain,
)


@functools.cache  # building a statement takes SQLAlchemy longer than the database to run it
def _events_by(dialect: str, column: str) -> Select[Any]:
    found = select(*_EVENT).where(listed(dialect, events.c[column], "names"))
    return found.where(events.c.slug.is_(None)) if column == "id" else found


@functools.cache
def _tickets_by(dialect: str) -> Select[Any]:
    return (
        select(*_TICKET)
        .join_from(tickets, purchases, tickets.c.purchase_id == purchases.c.id)
        .where(listed(dialect, tickets.c.wallet, "wallets"), listed(dialect, tickets.c.event_id, "event_ids"))
        .order_by(tickets.c.event_id, tickets.c.number)
    )


def events_named(connection: Connection, names: Collection[str]) -> dict[str, Row[Any]]:
    """The events that public ids name, by that id; those that there are."""
    dialect = connection.dialect.name
    slugs = [n for n in names if not NUMBER.fullmatch(n)]
    numbers = [int(n) for n in names if NUMBER.fullmatch(n)]
    found: dict[str, Row[Any]] = {}
    if slugs:
        rows = connection.execute(_events_by(dialect, "slug"), {"names": keys_for(dialect, slugs)})
        found |= {r.slug: r for r in rows}
    if numbers:
        rows = connection.execute(_events_by(dialect, "id"), {"names": keys_for(dialect, numbers)})
        found |= {str(r.id): r for r in rows}
    return found


def tickets_of(
    connection: Connection, event_ids: Collection[int], wallets: Collection[str]
) -> dict[tuple[int, str], list[Row[Any]]]:
    """The tickets of wallets (canonical) at events, with what their purchase says, by (event, wallet) and number."""
    held: dict[tuple[int, str], list[Row[Any]]] = {}
    if not event_ids or not wallets:
        return held
    dialect = connection.dialect.name
    given = {"wallets": keys_for(dialect, wallets), "event_ids": keys_for(dialect, event_ids)}
    for row in connection.execute(_tickets_by(dialect), given):
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
