"""Money that a person must look at, and what that person decides.

A decision is written beside the payment (``transfers.resolution``), so that deciding again from the facts
gives the same; what it says of the money is computed as everything else is.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Row, select, update

from chainwatch.errors import Rejected
from chainwatch.ledger import locks, outbox, settle
from chainwatch.ledger.context import Context
from chainwatch.ledger.facts import Changed
from chainwatch.ledger.tables import allocations, events, purchases, transfers

Action = Literal["refund", "assign", "foreign", "dust", "internal"]
ACTIONS: Mapping[Action, str] = {
    "refund": "its money is due back; a person names where to",
    "assign": "it pays for the purchase that is named, whatever made it doubtful",
    "foreign": "it is not about tickets: counted, left alone",
    "dust": "it is not worth returning",
    "internal": "we sent it ourselves",
}


def action(name: str) -> Action:
    """Return the decision of that name; ``Rejected('bad_action')``."""
    for known in ACTIONS:
        if known == name:
            return known
    raise Rejected("bad_action", f"there is no decision {name[:40]!r}; there are {', '.join(ACTIONS)}")


MAX_NOTE = 1000
"""Characters of a note: it stands in the audit log."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator decides.  ``ref``: the purchase of ``assign``.  ``note``: why, for the audit log."""

    action: Action
    ref: str | None = None
    note: str = ""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A payment in review.  ``memo`` is what the payer wrote, hostile text; ``ref``: the purchase that it is at."""

    id: int
    chain: str
    txid: str
    index: str
    asset: str | None
    asset_id: str | None
    amount: int
    recipient: str | None
    sender: tuple[str, ...]
    memo: bytes | None
    reason: str
    paid_ms: int
    ref: str | None
    event_id: str | None


def open_items(connection: Connection, limit: int = 100, after: int = 0) -> list[Item]:
    """Return what waits for a decision, oldest first, at most ``limit`` after id ``after``."""
    rows = connection.execute(
        select(transfers, purchases.c.ref, events.c.slug, events.c.id.label("event"), allocations.c.reason.label("why"))
        .join_from(transfers, allocations, allocations.c.transfer_id == transfers.c.id)
        .join(purchases, transfers.c.purchase_id == purchases.c.id, isouter=True)
        .join(events, purchases.c.event_id == events.c.id, isouter=True)
        .where(transfers.c.shown == "review", transfers.c.id > after, allocations.c.kind == "review")
        .order_by(transfers.c.id)
        .limit(limit)
    )
    return [_item(r) for r in rows]


def _item(r: Row[Any]) -> Item:
    return Item(
        id=r.id,
        chain=r.chain,
        txid=r.txid,
        index=r.idx,
        asset=r.asset,
        asset_id=r.asset_id,
        amount=r.amount,
        recipient=r.recipient,
        sender=tuple(msgspec.json.decode(r.sender)),
        memo=r.memo,
        reason=r.why,
        paid_ms=r.paid_ms,
        ref=r.ref,
        event_id=None if r.event is None else r.slug or str(r.event),
    )


def decide(
    connection: Connection,
    transfer_id: int,
    decision: Decision,
    contexts: Mapping[str, Context],
    now_ms: int,
    actor: str,
) -> str:
    """Write what an operator decides of a payment in review; return its state now.

    The same decision again changes nothing.  ``Rejected``: unknown_payment, not_in_review, decided_already,
    unknown_purchase, unpriced, bad_note, chain_not_configured.
    """
    if len(decision.note) > MAX_NOTE:
        raise Rejected("bad_note", f"a note has at most {MAX_NOTE} characters")
    chain = connection.scalar(select(transfers.c.chain).where(transfers.c.id == transfer_id))
    locks.chains(connection, [chain] if chain else [])  # a step of it would end the hold that is sold here meanwhile
    row = connection.execute(select(transfers).where(transfers.c.id == transfer_id).with_for_update()).one_or_none()
    if row is None:
        raise Rejected("unknown_payment", f"there is no payment {transfer_id}")
    purchase_id = _purchase(connection, row, decision)
    if row.resolution == decision.action and row.purchase_id == purchase_id:
        return str(row.shown)
    if row.shown != "review":
        code = "decided_already" if row.resolution else "not_in_review"
        raise Rejected(code, f"payment {transfer_id} is {row.shown}, not in review")
    context = {c.chain: c for c in contexts.values()}.get(row.chain)
    if context is None:
        raise Rejected("chain_not_configured", f"{row.chain} is not configured")
    values: dict[str, Any] = {"resolution": decision.action, "purchase_id": purchase_id}
    if decision.action == "assign":
        values["reason"] = ""
    connection.execute(update(transfers).where(transfers.c.id == transfer_id).values(values))
    settle.settle(connection, Changed(again={transfer_id}), context, now_ms, None)
    detail = {"action": decision.action, "was": row.reason, "ref": decision.ref, "note": decision.note}
    outbox.audit(connection, now_ms, actor, "review_decided", f"transfer:{transfer_id}", detail)
    return str(connection.execute(select(transfers.c.shown).where(transfers.c.id == transfer_id)).scalar_one())


def _purchase(connection: Connection, row: Row[Any], decision: Decision) -> int | None:
    """Return the purchase that the payment is at when it was decided."""
    if decision.action in ("refund", "assign") and row.asset is None:
        raise Rejected("unpriced", "an asset that is not configured can neither buy nor be sent back")
    if decision.action != "assign":
        return None if row.purchase_id is None else int(row.purchase_id)
    found = connection.execute(select(purchases.c.id).where(purchases.c.ref == decision.ref)).scalar_one_or_none()
    if found is None:
        raise Rejected("unknown_purchase", f"no purchase has the reference {(decision.ref or '')[:40]!r}")
    return int(found)
