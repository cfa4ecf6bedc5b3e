"""Scans as a door sends them, one or a drained log: what was read -> a ticket -> the entry guard -> what to tell.

A scan is a QR code's text, or an order id: the secret id of a purchase, for somebody who bought on the parking lot
and is in no manifest yet.  Entries by order id are marked as such and capped; a purchase's public ``ref`` stands in
memos for everybody to read, and opens nothing.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, select

from chainwatch.errors import Rejected
from chainwatch.ledger import devices, entries, locks, outbox
from chainwatch.ledger.bulk import among
from chainwatch.ledger.entries import Attempt, Entry, Stray
from chainwatch.ledger.tables import entries as entry_table
from chainwatch.ledger.tables import events, purchases, tickets
from chainwatch.tickets.codes import Codes, read

MAX_SCANS = 100
"""Scans of one batch: their JSON stays below the largest request body."""

ORDER_PERCENT, ORDER_LEAST = 5, 20
"""Entries by order id that one event takes: a share of its sold tickets, and a handful for small ones.  Whoever
watches a payment page knows its id: a door that lives on them is a door without a guard."""

CLOCK_MS = 5 * 60_000
"""How far behind a device's clock is believed when it asks; otherwise it is now.  Nothing happens later than now."""

REFUSALS = frozenset(
    {"already_redeemed", "wrong_event", "not_yet", "over", "cancelled", "refunded", "revoked", "suspended", "unknown"}
    | {"bad_checksum", "old_code", "door_wallet_only", "door_qr_only", "order_limit", "conflict", "refused"}
)
"""Every result but ``accepted``."""


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """What a door read: ``code`` or ``order_id``.

    ``admitted``: None asks; True and False tell what a door without a network did (``shown``: the reason it gave for
    a refusal).
    """

    nonce: str
    at_ms: int
    gate: str = ""
    code: str = ""
    order_id: str = ""
    admitted: bool | None = None
    shown: str = ""

    @property
    def text(self) -> str:
        """What was read."""
        return self.code or self.order_id


def check_in(
    connection: Connection,
    scans: Sequence[Scan],
    device_id: int,
    codes: Codes,
    now_ms: int,
    early_ms: int = entries.EARLY_MS,
) -> list[Entry]:
    """Decide scans of one device, in one transaction; answers stand in the order given.

    ``Rejected``: ``unauthorized`` when the device was revoked meanwhile.
    """
    devices.require(connection, device_id)
    return check_in_all(connection, [(device_id, scan) for scan in scans], codes, now_ms, early_ms)  # type: ignore[return-value]


def check_in_all(
    connection: Connection,
    scans: Sequence[tuple[int, Scan]],
    codes: Codes,
    now_ms: int,
    early_ms: int = entries.EARLY_MS,
) -> list[Entry | Rejected]:
    """Decide scans of many devices, in one transaction, with as many statements as for one.

    Answers stand in the order given; a device that was revoked meanwhile has its refusal as answer.
    """
    stands = devices.events_of(connection, sorted({device_id for device_id, _ in scans}))
    answers: dict[int, Entry | Rejected] = {
        i: Rejected("unauthorized", "this device was revoked") for i, (d, _) in enumerate(scans) if d not in stands
    }
    by_event: dict[int, list[int]] = {}
    for i, (device_id, _) in enumerate(scans):
        if device_id in stands:
            by_event.setdefault(stands[device_id].id, []).append(i)
    # Before any ticket is touched, and as chains do it: doors count one another's entries by order id.
    locks.events(connection, {stands[d].id for d, scan in scans if d in stands and scan.order_id})
    for _, places in sorted(by_event.items()):
        part = [scans[i] for i in places]
        decided = _at_one_event(connection, part, stands[part[0][0]], codes, now_ms, early_ms)
        answers |= zip(places, decided, strict=True)
    return [answers[i] for i in range(len(scans))]


def _at_one_event(
    connection: Connection,
    scans: Sequence[tuple[int, Scan]],
    event: Row[Any],
    codes: Codes,
    now_ms: int,
    early_ms: int,
) -> list[Entry]:
    proved = [(device_id, *_proved(scan, codes, now_ms)) for device_id, scan in scans]
    found = _tickets(connection, sorted({uuid for _, _, uuid, _ in proved if uuid}))
    typed = [(device_id, scan) for device_id, scan, _, _ in proved if scan.order_id]
    most = _most_orders(connection, event) if typed else 0
    orders = _orders(connection, typed, event)
    attempts: dict[int, Attempt] = {}
    strays: dict[int, Stray] = {}
    for i, (device_id, scan, uuid, refused) in enumerate(proved):
        ticket_id = orders.get((device_id, scan.nonce, scan.order_id)) if scan.order_id else found.get(uuid)
        if ticket_id is None or refused == "bad_checksum":
            strays[i] = _stray(scan, device_id, refused or "unknown")
        else:
            attempts[i] = _attempt(scan, device_id, ticket_id, refused)
    if orders:
        attempts = _capped(connection, attempts, event, most)
    decided = entries.admit_all(connection, list(attempts.values()), event, now_ms, early_ms) if attempts else []
    noted = entries.note_strays(connection, list(strays.values()), event.id, now_ms)
    answers = dict(zip(attempts, decided, strict=True)) | dict(zip(strays, noted, strict=True))
    _tell(connection, decided, attempts, event.slug or str(event.id), now_ms)
    return [answers[i] for i in range(len(scans))]


def _proved(scan: Scan, codes: Codes, now_ms: int) -> tuple[Scan, str, str]:
    """Return the scan with a believable time, its ticket's uuid (empty by order id), and why it is refused already."""
    behind = scan.admitted is None and scan.at_ms < now_ms - CLOCK_MS
    if behind or scan.at_ms > now_ms:
        scan = msgspec.structs.replace(scan, at_ms=now_ms)
    shown = (scan.shown if scan.shown in REFUSALS else "refused") if scan.admitted is False else ""
    if scan.order_id:
        return scan, "", shown
    try:
        code = read(scan.code)
        codes.check(code, scan.at_ms)
    except Rejected as error:
        if error.code != "old_code":
            return scan, "", error.code
        return scan, code.uuid, shown or error.code
    return scan, code.uuid, shown


def _tickets(connection: Connection, uuids: list[str]) -> dict[str, int]:
    if not uuids:
        return {}
    rows = connection.execute(select(tickets.c.uuid, tickets.c.id).where(among(connection, tickets.c.uuid, uuids)))
    return {row.uuid: row.id for row in rows}


def _most_orders(connection: Connection, event: Row[Any]) -> int:
    """Return how many entries by order id the event takes."""
    sold = connection.execute(select(events.c.tickets_sold).where(events.c.id == event.id)).scalar_one()
    return max(ORDER_LEAST, int(sold) * ORDER_PERCENT // 100)


def _orders(
    connection: Connection, scans: Sequence[tuple[int, Scan]], event: Row[Any]
) -> dict[tuple[int, str, str], int]:
    """Return the ticket of each order id by device and nonce: the one that this very scan was for, else a free one.

    Free: live, of this event, and the longest ago that anybody came in with it (``daily`` comes back every day).
    """
    found: dict[tuple[int, str, str], int] = {}
    for device_id, scan in scans:  # a few: people type them
        if (device_id, scan.nonce, scan.order_id) in found:
            continue
        digest = hashlib.sha256(scan.order_id.encode()).digest()
        c = entry_table.c
        same = (c.ticket_id == tickets.c.id, c.device_id == device_id, c.nonce == scan.nonce)
        again = select(c.id).where(*same).correlate(tickets).exists()
        row = connection.execute(
            select(tickets.c.id)
            .join_from(tickets, purchases, tickets.c.purchase_id == purchases.c.id)
            .where(purchases.c.secret_hash == digest)
            .order_by(
                ~again,
                tickets.c.event_id != event.id,
                tickets.c.state.not_in(("active", "used")),
                tickets.c.id.in_(set(found.values())),  # of another scan in this batch
                func.coalesce(tickets.c.last_entry_ms, 0),
                tickets.c.unit,
            )
            .limit(1)
        ).first()
        if row is not None:
            found[device_id, scan.nonce, scan.order_id] = row.id
    return found


def _capped(connection: Connection, attempts: dict[int, Attempt], event: Row[Any], most: int) -> dict[int, Attempt]:
    """Refuse entries by order id beyond the event's share."""
    c = entry_table.c
    used = connection.execute(
        select(func.count()).where(c.event_id == event.id, c.method == "order", c.admitted.is_(True))
    ).scalar_one()
    capped = {}
    for i, attempt in attempts.items():
        if attempt.method == "order" and not attempt.forced:
            if used >= most and not attempt.refused:
                attempt = msgspec.structs.replace(attempt, refused="order_limit")
            used += 1
        capped[i] = attempt
    return capped


def _attempt(scan: Scan, device_id: int, ticket_id: int, refused: str) -> Attempt:
    return Attempt(
        ticket_id=ticket_id,
        method="order" if scan.order_id else "qr",
        device_id=device_id,
        gate=scan.gate,
        nonce=scan.nonce,
        at_ms=scan.at_ms,
        forced=scan.admitted is True,
        refused=refused,
    )


def _stray(scan: Scan, device_id: int, refused: str) -> Stray:
    return Stray(
        device_id=device_id,
        method="order" if scan.order_id else "qr",
        gate=scan.gate,
        nonce=scan.nonce,
        at_ms=scan.at_ms,
        result=refused,
        code_hash=hashlib.sha256(scan.text.encode()).digest(),
        forced=scan.admitted is True,
    )


def _tell(
    connection: Connection, answers: Sequence[Entry], attempts: dict[int, Attempt], event: str, now_ms: int
) -> None:
    """Queue what webhooks are told: ids only."""
    messages = []
    for answer, attempt in zip(answers, attempts.values(), strict=True):
        if answer.replayed or answer.number is None:
            continue
        data = {"event_id": event, "ticket_id": answer.uuid, "number": answer.number, "method": attempt.method}
        subject = f"purchase:{answer.purchase_id}"  # behind the ticket's own message
        if answer.result == "accepted":
            messages.append(outbox.Message("access.granted", subject, data))
        else:
            messages.append(outbox.Message("access.denied", subject, data | {"reason": answer.result}))
    outbox.post(connection, now_ms, messages)
