"""A door for tests: tickets without a chain behind them, and a scanner that works offline as the page does."""

import base64
import hashlib
import random
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select, update

from chainwatch.errors import Rejected
from chainwatch.ledger import events
from chainwatch.ledger.bulk import insert_rows
from chainwatch.ledger.tables import events as event_table
from chainwatch.ledger.tables import purchases, tickets
from chainwatch.tickets import codes as qr
from chainwatch.tickets import manifest as manifests
from chainwatch.tickets.manifest import Said
from chainwatch.tickets.token import Issuer

ASSET = "HIVE"
DAY_MS = 86_400_000


def make_event(connection: Connection, slug: str, now_ms: int, **values: Any) -> Row[Any]:
    """Make an event and set further columns of its row."""
    from chainwatch.model import Asset

    new = events.NewEvent(id=slug, title=slug.title(), ticket_price="1", ticket_currency=ASSET)
    events.create(connection, new, {ASSET: Asset("HIVE", ASSET, 3)}, 2000, now_ms, "test")
    if values:
        connection.execute(update(event_table).where(event_table.c.slug == slug).values(**values))
    return events.find(connection, slug)


def sell(
    connection: Connection, event: Row[Any], count: int, issuer: Issuer, now_ms: int, *, a_purchase: int = 1
) -> list[str]:
    """Mint ``count`` tickets as a sale would leave them; return their uuids by number.

    Purchase ``i`` (from 0) of the event has the secret id ``order_of(event.slug, i)``.
    """
    name = event.slug or str(event.id)
    bought = []
    for i in range(-(-count // a_purchase)):
        row = {"ref": f"{name}-{i}", "secret_hash": hashlib.sha256(order_of(name, i).encode()).digest()}
        row |= {"event_id": event.id, "wallet": f"buyer-{i}", "asset": ASSET, "price": 1000, "signed": False}
        bought.append(
            row | {"held": False, "hold_kind": "", "created_ms": now_ms, "expires_ms": now_ms, "expired": True}
        )
    insert_rows(connection, purchases, bought)
    rows = connection.execute(select(purchases.c.id).where(purchases.c.event_id == event.id).order_by(purchases.c.id))
    ids = list(rows.scalars())
    minted = []
    for i in range(count):
        issued = issuer.issue(f"{name}|{i // a_purchase}", i % a_purchase, {})
        row = {"uuid": issued.uuid, "event_id": event.id, "number": i + 1, "purchase_id": ids[i // a_purchase]}
        row |= {"unit": i % a_purchase, "token_hash": issued.token_hash, "jws": issued.jws}
        row |= {"wallet": f"buyer-{i // a_purchase}", "asset": ASSET, "amount_paid": 1000, "commission": 200}
        row |= {"payout": 800, "transaction_id": f"tx{i}", "state": "active", "total_access_count": 0, "entries": 0}
        minted.append({**row, "reason": "", "created_ms": now_ms})
    insert_rows(connection, tickets, minted)
    sold = event_table.update().where(event_table.c.id == event.id).values(tickets_sold=count, last_number=count)
    connection.execute(sold)
    return [str(row["uuid"]) for row in minted]


def order_of(slug: str, number: int) -> str:
    """Return the secret id of a purchase that ``sell`` made."""
    return hashlib.sha256(f"{slug} order {number}".encode()).hexdigest()[:43]


class OfflineDoor:
    """One scanner without a network: it knows its manifest and what it saw itself, and keeps a log of every scan.

    ``scan`` returns what it shows (``accepted`` or why not); ``log`` is what it sends when the network is back.
    """

    def __init__(self, said: Said, gate: str, rng: random.Random) -> None:
        self.said, self.gate, self._rng = said, gate, rng
        self._numbers = manifests.hash_rows(said)
        self._salt = base64.urlsafe_b64decode(said.salt + "==")
        self._key = base64.urlsafe_b64decode(said.qr_key + "=")
        self._revoked = set(said.revoked)
        self._inside = {number: [at_ms] for number, at_ms, _ in said.entries}
        self.log: list[dict[str, Any]] = []

    def scan(self, text: str, at_ms: int) -> str:
        """Decide a scan alone, and log it."""
        shown = self._decide(text, at_ms)
        self.log.append(
            {
                "nonce": f"{self._rng.getrandbits(96):024x}",
                "code": text,
                "at": at_ms,
                "gate": self.gate,
                "admitted": shown == "accepted",
                "reason": "" if shown == "accepted" else shown,
            }
        )
        return shown

    def batches(self, size: int) -> list[list[dict[str, Any]]]:
        """Return the log in a random order, in parts."""
        shuffled: Sequence[dict[str, Any]] = self._rng.sample(self.log, len(self.log))
        return [list(shuffled[i : i + size]) for i in range(0, len(shuffled), size)]

    def _decide(self, text: str, at_ms: int) -> str:
        try:
            code = qr.read(text)
        except Rejected as error:
            return error.code
        if code.event is not None and code.event != self.said.event:
            return "wrong_event"
        number = self._numbers.get(qr.manifest_hash(self._salt, code.plain))
        if number is None and code.signature:
            if not qr.signed(code, self._key):
                return "bad_checksum"
            number = code.number
        if number is None:
            return "unknown"
        if number in self._revoked:
            return "revoked"
        before = self._inside.setdefault(number, [])
        same_day = any(ms // DAY_MS == at_ms // DAY_MS for ms in before)
        if (self.said.policy == "once" and before) or (self.said.policy == "daily" and same_day):
            return "already_redeemed"
        before.append(at_ms)
        return "accepted"
