"""Who is told what: webhook endpoints, and the secrets that sign for them.

A secret is derived from the signing key, the endpoint's id and its generation: none is stored, and a copy of the database
gives nobody the means to forge a message.  Rotating makes the next generation; the one before signs beside it for a while.
"""

import base64
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, Row, func, insert, select, update

from chainwatch.errors import Rejected
from chainwatch.ledger import outbox
from chainwatch.ledger.tables import deliveries, webhooks
from chainwatch.outside import check_url
from chainwatch.tickets.token import Issuer

MAX_WEBHOOKS = 50
"""Endpoints: each message is copied to every one that asks for it."""
MAX_DESCRIPTION = 200
OVERLAP_MS = 24 * 3_600_000
"""How long the secret before signs too, so that a receiver can change over without losing a message."""
ALL = "*"


class Webhook(msgspec.Struct, frozen=True):
    """One endpoint.  ``types``: message types, or ``*`` for all."""

    id: int
    url: str
    types: tuple[str, ...]
    description: str
    generation: int
    previous_until_ms: int | None
    created_ms: int
    disabled_ms: int | None
    disabled_why: str

    def takes(self, type_: str) -> bool:
        """Does it want messages of this type?"""
        return ALL in self.types or type_ in self.types

    def secrets(self, issuer: Issuer, now_ms: int) -> tuple[str, ...]:
        """Return the secrets that sign now, the newest first, as receivers write them: ``whsec_`` and base64."""
        generations = [self.generation]
        if self.previous_until_ms is not None and now_ms < self.previous_until_ms:
            generations.append(self.generation - 1)
        return tuple(
            "whsec_" + base64.b64encode(issuer.secret(f"webhook {self.id} generation {g}")).decode()
            for g in generations
        )


class Changes(msgspec.Struct, frozen=True):
    """What to change; None leaves it.  An endpoint that is enabled again is told what happens from now on."""

    url: str | None = None
    types: tuple[str, ...] | None = None
    description: str | None = None
    enabled: bool | None = None


def create(
    connection: Connection,
    url: str,
    types: Sequence[str],
    *,
    now_ms: int,
    actor: str,
    description: str = "",
    allow_private: bool = False,
) -> Webhook:
    """Make an endpoint.  ``Rejected``: bad_url, bad_types, bad_description, too_many_webhooks."""
    held = connection.execute(select(func.count()).select_from(webhooks).where(_LIVE)).scalar_one()
    if held >= MAX_WEBHOOKS:
        raise Rejected("too_many_webhooks", f"there are {MAX_WEBHOOKS} endpoints already; delete one first")
    row = {
        "url": check_url(url, allow_private=allow_private),
        "types": _types(types),
        "description": _description(description),
        "generation": 1,
        "created_ms": now_ms,
    }
    made = connection.execute(insert(webhooks).values(row).returning(webhooks.c.id)).scalar_one()
    outbox.audit(connection, now_ms, actor, "webhook_created", f"webhook:{made}")
    return find(connection, made)


def find(connection: Connection, webhook_id: int) -> Webhook:
    """Return an endpoint; ``Rejected('unknown_webhook')`` when there is none or it was deleted."""
    row = connection.execute(select(webhooks).where(_LIVE, webhooks.c.id == webhook_id)).one_or_none()
    if row is None:
        raise Rejected("unknown_webhook", f"no webhook {webhook_id}")
    return _webhook(row)


def listing(connection: Connection, *, enabled: bool = False) -> list[Webhook]:
    """Return the endpoints by id; ``enabled``: only those that are told."""
    rows = select(webhooks).where(_LIVE).order_by(webhooks.c.id)
    return [_webhook(r) for r in connection.execute(rows) if not enabled or r.disabled_ms is None]


def change(
    connection: Connection,
    webhook_id: int,
    changes: Changes,
    *,
    now_ms: int,
    actor: str,
    allow_private: bool = False,
) -> Webhook:
    """Change an endpoint; ``Rejected`` as ``create``.  Disabling it makes what it has not got dead letters."""
    old = find(connection, webhook_id)
    values: dict[str, object] = {}
    if changes.url is not None:
        values["url"] = check_url(changes.url, allow_private=allow_private)
    if changes.types is not None:
        values["types"] = _types(changes.types)
    if changes.description is not None:
        values["description"] = _description(changes.description)
    if changes.enabled is True:
        values |= {"disabled_ms": None, "disabled_why": ""}
    if values:
        connection.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(values))
    if changes.enabled is False and old.disabled_ms is None:
        disable(connection, webhook_id, "by an operator", now_ms)
    outbox.audit(connection, now_ms, actor, "webhook_changed", f"webhook:{webhook_id}", {"what": sorted(values)})
    return find(connection, webhook_id)


def rotate(
    connection: Connection, webhook_id: int, *, now_ms: int, actor: str, overlap_ms: int = OVERLAP_MS
) -> Webhook:
    """Make a new secret; the present one signs beside it for ``overlap_ms`` (0: a secret that leaked ends at once)."""
    old = find(connection, webhook_id)
    values = {"generation": old.generation + 1, "previous_until_ms": now_ms + overlap_ms if overlap_ms else None}
    connection.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(values))
    outbox.audit(connection, now_ms, actor, "webhook_rotated", f"webhook:{webhook_id}")
    return find(connection, webhook_id)


def remove(connection: Connection, webhook_id: int, *, now_ms: int, actor: str) -> None:
    """Delete an endpoint; its id and its secrets are never used again."""
    find(connection, webhook_id)
    disable(connection, webhook_id, "deleted", now_ms)
    connection.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(deleted_ms=now_ms))
    outbox.audit(connection, now_ms, actor, "webhook_deleted", f"webhook:{webhook_id}")


def disable(connection: Connection, webhook_id: int, why: str, now_ms: int) -> None:
    """Tell an endpoint nothing more; what it has not got becomes dead letters, which can be sent again later."""
    connection.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(disabled_ms=now_ms, disabled_why=why))
    connection.execute(
        update(deliveries)
        .where(deliveries.c.webhook_id == webhook_id, deliveries.c.state == "pending")
        .values(state="dead", done_ms=now_ms, last_error=f"the endpoint was disabled: {why}")
    )


_LIVE = webhooks.c.deleted_ms.is_(None)


def _webhook(row: Row[tuple[object, ...]]) -> Webhook:
    return Webhook(
        id=row.id,
        url=row.url,
        types=tuple(row.types.split()),
        description=row.description,
        generation=row.generation,
        previous_until_ms=row.previous_until_ms,
        created_ms=row.created_ms,
        disabled_ms=row.disabled_ms,
        disabled_why=row.disabled_why,
    )


def _types(types: Sequence[str]) -> str:
    known = (ALL, *outbox.TYPES)
    if not types or (unknown := [t for t in types if t not in known]):
        wrong = f"{unknown[0][:60]!r} is none" if types else "none is given"
        raise Rejected("bad_types", f"message types: {wrong}; there are {', '.join(known)}")
    return " ".join(dict.fromkeys(types))


def _description(text: str) -> str:
    if len(text) > MAX_DESCRIPTION or not text.isprintable():
        raise Rejected("bad_description", f"a description has at most {MAX_DESCRIPTION} printable characters")
    return text
