"""Operators' API keys: several may be active, each with a name and scopes; only their hashes are kept."""

import hashlib
import re
import secrets
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, insert, select, update

from chainwatch.errors import Rejected
from chainwatch.ledger import outbox
from chainwatch.ledger.tables import api_keys

PREFIX = "cwk_"
"""What every key begins with, so that scanners for leaked secrets know it."""

SECRET_BYTES = 32

SCOPES = ("events", "money", "door", "read")
"""What a key may be for: events and who may buy; review, refunds, payouts; door devices; looking at all of it."""

USED_EVERY_MS = 60_000
"""How exactly ``used_ms`` is kept: a write a minute, not one a request."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}", re.ASCII)


class Operator(msgspec.Struct, frozen=True):
    """A key that is in force."""

    id: int
    name: str
    scopes: frozenset[str]
    used_ms: int | None


def digest(key: str) -> bytes:
    """Return the hash under which a key is kept: it has 256 random bits, so that a plain SHA-256 is enough."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def add(connection: Connection, name: str, scopes: Collection[str], now_ms: int, actor: str) -> str:
    """Make a key; return it: it is shown this once.  ``Rejected``: bad_name, bad_scope, name_taken."""
    if not _NAME.fullmatch(name):
        raise Rejected("bad_name", "a name has 1 to 64 letters, digits, blanks or . _ @ -")
    if not scopes or (unknown := sorted(set(scopes) - set(SCOPES))):
        what = f"there is no scope {unknown[0]!r}" if scopes else "a key needs a scope"
        raise Rejected("bad_scope", f"{what}; there are {', '.join(SCOPES)}")
    live = select(api_keys.c.id).where(api_keys.c.name == name, api_keys.c.revoked_ms.is_(None))
    if connection.execute(live).first():
        raise Rejected("name_taken", f"there is a key {name!r} already: revoke it, or choose another name")
    key = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    row = {"name": name, "key_hash": digest(key), "created_ms": now_ms}
    connection.execute(insert(api_keys).values(scopes=" ".join(s for s in SCOPES if s in scopes), **row))
    outbox.audit(connection, now_ms, actor, "operator_key_added", f"operator:{name}", {"scopes": sorted(scopes)})
    return key


def revoke(connection: Connection, name: str, now_ms: int, actor: str) -> bool:
    """Take a key out of force, at once; False when there is none of that name."""
    live = (api_keys.c.name == name, api_keys.c.revoked_ms.is_(None))
    done = connection.execute(update(api_keys).where(*live).values(revoked_ms=now_ms)).rowcount == 1
    if done:
        outbox.audit(connection, now_ms, actor, "operator_key_revoked", f"operator:{name}")
    return bool(done)


def listing(connection: Connection) -> Sequence[Row[Any]]:
    """Return all keys, revoked ones too, oldest first; without their hashes."""
    columns = (c for c in api_keys.c if c.name != "key_hash")
    return connection.execute(select(*columns).order_by(api_keys.c.id)).all()


def count(connection: Connection) -> int:
    """Return how many keys were ever made."""
    return int(connection.execute(select(func.count()).select_from(api_keys)).scalar_one())


def find(connection: Connection, key: str) -> Operator | None:
    """Return whose key this is; None when it is none, or revoked."""
    by = (api_keys.c.key_hash == digest(key), api_keys.c.revoked_ms.is_(None))
    row = connection.execute(select(api_keys).where(*by)).one_or_none()
    return None if row is None else Operator(row.id, row.name, frozenset(row.scopes.split()), row.used_ms)


def used(connection: Connection, operator_id: int, now_ms: int) -> None:
    """Note that a key was used."""
    connection.execute(update(api_keys).where(api_keys.c.id == operator_id).values(used_ms=now_ms))
