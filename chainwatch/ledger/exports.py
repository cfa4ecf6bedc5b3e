"""Exports: what is to be paid, written down before a file leaves.

``waiting`` (for a second operator) -> ``exported`` -> ``settled`` | ``void``.  The intent (items, amounts, what the
transaction uses up) is committed first; the file is written from it afterwards, as often as wanted.  A
payout or refund is in one export at a time, and comes out only when it cannot be paid by it any more.  The chain's
cursor and the events' rows are locked first, so that one order holds between cancelling, exporting and minting
(btcpayserver#6540 paid a payout ten times; the LNbank race of 2023 paid twice).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec
from sqlalchemy import Connection, Row, insert, select, update

from chainwatch import finality
from chainwatch.errors import Rejected
from chainwatch.ledger import coins, conflicts, creators, destinations, locks, outbox, payouts, refunds, settle
from chainwatch.ledger.bulk import among, chunks
from chainwatch.ledger.context import Context
from chainwatch.ledger.facts import Changed
from chainwatch.ledger.tables import cursors, export_items, exports, purchases, transfers
from chainwatch.ledger.tables import payouts as payout_table
from chainwatch.ledger.tables import refunds as refund_table
from chainwatch.model import Asset, BlockRef, ChainSpec

MOST_ITEMS = 100
"""Payments of one file: a Bitcoin transaction of 100 outputs is 3.5 kB, and a person reads the list."""

Kind = Literal["payouts", "refunds"]


class Rules(msgspec.Struct, frozen=True):
    """``[payouts]`` in base units by asset: above which a second operator is needed (change that goes elsewhere is
    counted); below which payouts wait.
    """

    approve_above: Mapping[str, int] = {}
    minimum: Mapping[str, int] = {}


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What to export: everything of ``asset`` that is due, or only ``ids``; or an export once more, in conflict."""

    kind: Kind
    asset: str
    ids: tuple[int, ...] = ()
    replaces: int | None = None


class Item(msgspec.Struct, frozen=True):
    """One payment.  ``pays_fee``: the network's fee comes off its amount."""

    subject: str
    amount: int
    destination: str
    pays_fee: bool = False
    conflict: str = ""


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What a planner is given.

    ``coins``: our unspent outputs that no open export uses.  ``taken``: what open exports use up.
    ``must_use``: what the export that is replaced uses up: the plan shares it, or cannot be made.
    """

    export_id: int
    spec: ChainSpec
    asset: Asset
    items: tuple[Item, ...]
    coins: tuple[coins.Coin, ...]
    taken: frozenset[str]
    must_use: tuple[str, ...]
    final: BlockRef | None
    head: BlockRef
    now_ms: int


class Plan(msgspec.Struct, frozen=True):
    """The payment: items (those whose amount the fee would eat are left out) and the document for the wallet.

    ``conflict``: what it uses up, by spaces (outpoints, ``account:nonce``, ``expires:<ms>``).  ``beside``: base units
    that it sends elsewhere than to its items and our accounts (change to an address that we do not watch).
    """

    items: tuple[Item, ...]
    document: Mapping[str, Any]
    conflict: str = ""
    beside: int = 0


class Planner(Protocol):
    """Turns items into a payment of one chain family (``chainwatch.payfiles``)."""

    def __call__(self, work: Work, /) -> Plan:
        """Return the plan; ``Rejected`` says what is missing (no coins, no nonce …)."""
        ...


class _Owed(msgspec.Struct):
    """An item before it has a number, and the rows that it pays."""

    item: Item
    ids: list[int]


def make(
    connection: Connection, ask: Ask, context: Context, rules: Rules, plan: Planner, now_ms: int, actor: str
) -> int:
    """Write an export down; return its id.

    ``Rejected``: nothing_to_export (with the reasons), refunds_first, unknown_export, no_conflict, and what the planner
    refuses.
    """
    asset = context.assets().get(ask.asset)
    if asset is None:
        raise Rejected("unknown_currency", f"{ask.asset!r} is no asset of {context.chain}")
    locks.chain(connection, context.chain)
    if ask.replaces is not None:
        return _replace(connection, ask.replaces, context, rules, plan, now_ms, actor)
    if ask.kind == "payouts":
        owed, left_out = _due_payouts(connection, ask, context, rules, now_ms)
    else:
        owed, left_out = _due_refunds(connection, ask, context)
    if not owed:
        reasons = "; ".join(f"{what}: {why}" for what, why in left_out[:10])
        raise Rejected("nothing_to_export", reasons or f"nothing is due in {ask.asset}")
    row = {"kind": ask.kind, "chain": context.chain, "asset": ask.asset, "total": 0, "state": "waiting"}
    row |= {"made_by": actor, "made_ms": now_ms}
    export_id = int(connection.execute(insert(exports).values(row).returning(exports.c.id)).scalar_one())
    work = _work(connection, export_id, context, asset, [o.item for o in owed], (), now_ms)
    planned = plan(work)
    if not planned.items:
        raise Rejected(
            "nothing_to_export", "every one of them is too little to be sent, or the network's fee would eat it"
        )
    by_subject = {o.item.subject: o.ids for o in owed}
    table = payout_table if ask.kind == "payouts" else refund_table
    for item in planned.items:
        item_id = _write_item(connection, export_id, context.chain, ask.asset, item)
        values: dict[str, Any] = {"state": "exported", "export_id": export_id, "item_id": item_id}
        values |= {"destination": item.destination, "updated_ms": now_ms}
        if ask.kind == "refunds":
            values["sent_amount"] = item.amount
        moved = connection.execute(
            update(table)
            .where(among(connection, table.c.id, by_subject[item.subject]), table.c.state == "due")
            .values(values)
        )
        if moved.rowcount != len(by_subject[item.subject]):
            raise Rejected("changed_meanwhile", f"{item.subject} is not due any more: try again")
    _finish(connection, export_id, planned, rules, ask.asset, now_ms, actor)
    return export_id


def approve(connection: Connection, export_id: int, context: Context, plan: Planner, now_ms: int, actor: str) -> None:
    """Let an export leave that waits for a second operator, who is another than the one who made it.

    ``Rejected``: unknown_export, not_waiting, same_operator, frozen (it is not to be paid any more as it stands, with
    the reason: void it, and export what is due now).
    """
    locks.chain(connection, context.chain)
    export = find(connection, export_id, lock=True)
    if export.state != "waiting":
        raise Rejected("not_waiting", f"export {export_id} is {export.state}")
    if actor == export.made_by:
        raise Rejected("same_operator", "the second operator is another one than made the export")
    why = _overtaken_payouts(connection, export, now_ms) if export.kind == "payouts" else []
    if why := why or _overtaken_refunds(connection, export, context):
        raise Rejected("frozen", "; ".join(why[:10]))
    values = {"state": "exported", "approved_by": actor, "approved_ms": now_ms}
    if conflicts.EXPIRES in export.conflict:  # what expires counts from when the file leaves
        held = items(connection, export_id)
        fixed = [Item(i.subject, i.amount, i.destination, conflict=i.conflict) for i in held if i.state == "open"]
        must_use = tuple(export.conflict.split())
        work = _work(connection, export_id, context, context.assets()[export.asset], fixed, must_use, now_ms)
        planned = plan(work)
        values |= {"conflict": planned.conflict, "payload": msgspec.json.encode(planned.document).decode()}
    connection.execute(update(exports).where(exports.c.id == export_id).values(values))
    outbox.audit(connection, now_ms, actor, "export_approved", f"export:{export_id}")


def _overtaken_payouts(connection: Connection, export: Row[Any], now_ms: int) -> list[str]:
    """Return what has changed since payouts were written down: nobody who was refunded, or moved, is overlooked."""
    of_export = payout_table.c.export_id == export.id
    ids = connection.scalars(select(payout_table.c.event_id).where(of_export)).all()
    locks.events(connection, ids)
    frozen = payouts.freezes(connection, ids, export.asset, now_ms)
    rows = select(payout_table.c.creator_account, payout_table.c.destination).where(of_export)
    moved = [
        f"creator {account} is not paid at {destination} any more"
        for account, destination in sorted(connection.execute(rows.distinct()).all())
        if creators.in_force(connection, account, export.chain, now_ms) != destination
    ]
    return [f"event {event}: {reason}" for event, reason in sorted(frozen.items())] + moved


def _overtaken_refunds(connection: Connection, export: Row[Any], context: Context) -> list[str]:
    """Return the refunds whose money has left its block, or is not deep enough in the new one."""
    rows = connection.execute(
        select(refund_table.c.id, transfers.c.state, transfers.c.height)
        .join_from(refund_table, transfers, refund_table.c.transfer_id == transfers.c.id)
        .where(refund_table.c.export_id == export.id, refund_table.c.state == "exported")
        .order_by(refund_table.c.id)
    )
    floor = _floor(connection, context)
    return [f"refund {r.id}: its money is not there" for r in rows if not _is_deep(r.state, r.height, floor)]


def void(connection: Connection, export_id: int, context: Context, now_ms: int, actor: str) -> str:
    """Take an export back; return its state: ``void`` (or ``settled``, when part of it was paid), or ``exported``
    when a second operator must attest it too.

    A file that never left is void at once; one that cannot be paid any more (its coins or nonces were used by another
    final transaction, or it has expired) by one operator; any other only when two different operators say so.
    """
    locks.chain(connection, context.chain)
    export = find(connection, export_id, lock=True)
    if export.state not in ("waiting", "exported"):
        raise Rejected("not_open", f"export {export_id} is {export.state}")
    open_items = [i for i in items(connection, export_id) if i.state == "open"]
    why = conflicts.impossible(connection, export, open_items)
    if not why:
        if not export.voided_by or export.voided_by == actor:
            connection.execute(update(exports).where(exports.c.id == export_id).values(voided_by=actor))
            outbox.audit(connection, now_ms, actor, "export_void_attested", f"export:{export_id}")
            return str(export.state)
        why = f"attested by {export.voided_by} too"
    if gone := _release(connection, open_items, now_ms):  # nothing is owed of money whose block went meanwhile
        settle.settle(connection, Changed(again=gone), context, now_ms, None)
    state = _closed(connection, export_id)
    connection.execute(update(exports).where(exports.c.id == export_id).values(state=state, voided_by=actor))
    outbox.audit(connection, now_ms, actor, "export_void", f"export:{export_id}", {"why": why})
    return state


def find(connection: Connection, export_id: int, *, lock: bool = False) -> Row[Any]:
    """Return an export; ``Rejected`` ``unknown_export``."""
    rows = select(exports).where(exports.c.id == export_id)
    row = connection.execute(rows.with_for_update() if lock else rows).one_or_none()
    if row is None:
        raise Rejected("unknown_export", f"no export {export_id}")
    return row


def items(connection: Connection, export_id: int) -> Sequence[Row[Any]]:
    """Return an export's items in order."""
    rows = select(export_items).where(export_items.c.export_id == export_id)
    return connection.execute(rows.order_by(export_items.c.id)).all()


def document(connection: Connection, export_id: int) -> dict[str, Any]:
    """Return what the operator's wallet is given.  ``Rejected`` ``not_approved`` while it waits for a second one."""
    export = find(connection, export_id)
    if export.state == "waiting":
        raise Rejected("not_approved", f"export {export_id} waits for a second operator")
    listed = [
        {"subject": i.subject, "destination": i.destination, "amount_base": str(i.amount), "state": i.state}
        for i in items(connection, export_id)
    ]
    head = {"export": export.id, "kind": export.kind, "chain": export.chain, "asset": export.asset}
    head |= {"state": export.state, "total_base": str(export.total), "items": listed}
    return head | (msgspec.json.decode(export.payload) if export.payload else {})


def open_destinations(connection: Connection, chain: str) -> list[str]:
    """Return where open items of a chain go, each once."""
    rows = select(export_items.c.destination).where(export_items.c.chain == chain, export_items.c.state == "open")
    return list(connection.scalars(rows.distinct()))


def listing(connection: Connection, limit: int = 100, after: int = 0, state: str | None = None) -> Sequence[Row[Any]]:
    """Return exports by id, after id ``after``."""
    rows = select(exports).where(exports.c.id > after).order_by(exports.c.id).limit(min(limit, payouts.MOST))
    return connection.execute(rows.where(exports.c.state == state) if state else rows).all()


# -- what is due ---------------------------------------------------------------------------------


def _floor(connection: Connection, context: Context) -> int:
    """Return the height up to which money is as deep as payouts and refunds need it."""
    row = connection.execute(select(cursors).where(cursors.c.chain == context.chain)).one_or_none()
    if row is None:
        return -1
    final = BlockRef(row.final_height, row.final_hash) if row.final_height is not None else None
    return finality.floor(context.payout, BlockRef(row.height, row.hash), final)


def _due_payouts(
    connection: Connection, ask: Ask, context: Context, rules: Rules, now_ms: int
) -> tuple[list[_Owed], list[tuple[str, str]]]:
    """Return one item a creator, and what is left out with the reason."""
    due = (payout_table.c.asset == ask.asset) & (payout_table.c.state == "due")
    locked = set(connection.scalars(select(payout_table.c.event_id).where(due)))
    locks.events(connection, locked)
    payouts.fall_due(connection, now_ms, context.policy.payout_delay_ms)  # once more, now that nothing can change
    if _due_refunds(connection, Ask(kind="refunds", asset=ask.asset), context)[0]:
        raise Rejected("refunds_first", f"refunds in {ask.asset} can be paid: they leave before payouts")
    floor = _floor(connection, context)
    left_out: list[tuple[str, str]] = []
    by_creator: dict[str, list[Row[Any]]] = {}
    for row in connection.execute(select(payout_table).where(due).order_by(payout_table.c.id).with_for_update()):
        if row.event_id not in locked or (ask.ids and row.id not in ask.ids):
            continue
        if _unripe(connection, row.event_id, context.chain, floor):
            left_out.append((f"payout {row.id}", "its money is not deep enough yet"))
        else:
            by_creator.setdefault(row.creator_account, []).append(row)
    owed: list[_Owed] = []
    for account, rows in sorted(by_creator.items()):
        total = sum(r.amount for r in rows)
        where = creators.in_force(connection, account, context.chain, now_ms)
        if where is None:
            left_out.append((f"creator {account}", f"no address on {context.chain} is in force"))
        elif destinations.is_ours(context.spec, where):
            left_out.append((f"creator {account}", f"{where} is an account of our own"))
        elif not destinations.is_on_network(context.spec, where):
            left_out.append((f"creator {account}", f"{where} is an address of another network"))
        elif total < rules.minimum.get(ask.asset, 0):
            left_out.append((f"creator {account}", f"{total} base units are below the minimum"))
        elif len(owed) < MOST_ITEMS:
            owed.append(_Owed(Item(f"payout:{rows[0].id}", total, where), [r.id for r in rows]))
    return owed, left_out


def _is_deep(state: str, height: int | None, floor: int) -> bool:
    return state == "confirmed" and height is not None and height <= floor


def _unripe(connection: Connection, event_id: int, chain: str, floor: int) -> bool:
    rows = (
        select(transfers.c.id)
        .join_from(transfers, purchases, transfers.c.purchase_id == purchases.c.id)
        .where(purchases.c.event_id == event_id, transfers.c.chain == chain)
        .where(transfers.c.state == "confirmed", transfers.c.height > floor)
    )
    return connection.execute(rows.limit(1)).first() is not None


def _due_refunds(connection: Connection, ask: Ask, context: Context) -> tuple[list[_Owed], list[tuple[str, str]]]:
    """Return one item a refund whose destination is known and whose money is deep enough."""
    due = (
        (refund_table.c.chain == context.chain) & (refund_table.c.asset == ask.asset) & (refund_table.c.state == "due")
    )
    locks.events(connection, connection.scalars(select(refund_table.c.event_id).where(due)).all())
    floor = _floor(connection, context)
    owed: list[_Owed] = []
    left_out: list[tuple[str, str]] = []
    rows = connection.execute(
        select(refund_table, transfers.c.height, transfers.c.state.label("paid"))
        .join_from(refund_table, transfers, refund_table.c.transfer_id == transfers.c.id)
        .where(due)
        .order_by(refund_table.c.id)
        .with_for_update(of=refund_table)
    ).all()
    for row in rows:
        if ask.ids and row.id not in ask.ids:
            continue
        if row.destination is None:
            left_out.append((f"refund {row.id}", "nobody has named its destination"))
        elif destinations.is_ours(context.spec, row.destination):
            left_out.append((f"refund {row.id}", "its destination is an account of our own"))
        elif not destinations.is_on_network(context.spec, row.destination):
            left_out.append((f"refund {row.id}", "its destination is an address of another network"))
        elif not _is_deep(row.paid, row.height, floor):
            left_out.append((f"refund {row.id}", "its money is not deep enough yet"))
        elif len(owed) < MOST_ITEMS:
            fee = refunds.pays_its_fee(row.reason)
            owed.append(_Owed(Item(f"refund:{row.id}", row.amount, row.destination, fee), [row.id]))
    return owed, left_out


# -- writing -------------------------------------------------------------------------------------


def _work(
    connection: Connection,
    export_id: int,
    context: Context,
    asset: Asset,
    wanted: Sequence[Item],
    must_use: tuple[str, ...],
    now_ms: int,
) -> Work:
    taken = frozenset(
        word
        for text in connection.scalars(
            select(exports.c.conflict).where(
                exports.c.chain == context.chain, exports.c.state.in_(("waiting", "exported"))
            )
        )
        for word in text.split()
    ) - set(must_use)
    row = connection.execute(select(cursors).where(cursors.c.chain == context.chain)).one()
    return Work(
        export_id=export_id,
        spec=context.spec,
        asset=asset,
        items=tuple(wanted),
        coins=tuple(c for c in coins.unspent(connection, context.chain, must_use) if c.outpoint not in taken),
        taken=taken,
        must_use=must_use,
        final=BlockRef(row.final_height, row.final_hash) if row.final_height is not None else None,
        head=BlockRef(row.height, row.hash),
        now_ms=now_ms,
    )


def _write_item(connection: Connection, export_id: int, chain: str, asset: str, item: Item) -> int:
    row = {"export_id": export_id, "subject": item.subject, "chain": chain, "asset": asset, "amount": item.amount}
    row |= {"destination": item.destination, "state": "open", "conflict": item.conflict}
    return int(connection.execute(insert(export_items).values(row).returning(export_items.c.id)).scalar_one())


def _finish(
    connection: Connection, export_id: int, planned: Plan, rules: Rules, asset: str, now_ms: int, actor: str
) -> None:
    total = sum(i.amount for i in planned.items)
    above = rules.approve_above.get(asset)
    state = "waiting" if above is not None and total + planned.beside > above else "exported"
    values = {"total": total, "state": state, "conflict": planned.conflict}
    values["payload"] = msgspec.json.encode(planned.document).decode()
    connection.execute(update(exports).where(exports.c.id == export_id).values(values))
    detail = {"total": str(total), "items": len(planned.items), "state": state}
    outbox.audit(connection, now_ms, actor, "export_made", f"export:{export_id}", detail)


def _replace(
    connection: Connection, old_id: int, context: Context, rules: Rules, plan: Planner, now_ms: int, actor: str
) -> int:
    """Export the open items of an export once more, so that only one of the two can ever be paid."""
    old = find(connection, old_id, lock=True)
    if old.state != "exported":
        raise Rejected("not_open", f"export {old_id} is {old.state}")
    open_items = [i for i in items(connection, old_id) if i.state == "open"]
    before = tuple(w for w in old.conflict.split() if w in conflicts.used_up(old))
    if not before:
        raise Rejected(
            "no_conflict", "on this chain a second file cannot rule the first one out: void it when it has expired"
        )
    row = {"kind": old.kind, "chain": old.chain, "asset": old.asset, "total": 0, "state": "waiting"}
    row |= {"made_by": actor, "made_ms": now_ms, "replaces_id": old_id}
    new_id = int(connection.execute(insert(exports).values(row).returning(exports.c.id)).scalar_one())
    fixed = [Item(i.subject, i.amount, i.destination, conflict=i.conflict) for i in open_items]
    planned = plan(_work(connection, new_id, context, context.assets()[old.asset], fixed, before, now_ms))
    kept = {i.subject: i for i in planned.items}
    alone = conflicts.rules_out(planned.conflict, [old, *conflicts.replaced(connection, old)])
    same_nonces = all(kept[i.subject].conflict == i.conflict for i in open_items if i.subject in kept)
    if not alone or not same_nonces or kept.keys() != {i.subject for i in open_items}:
        raise Rejected("no_conflict", "the new transaction does not rule out every one before it")
    moved = among(connection, export_items.c.id, [i.id for i in open_items])
    connection.execute(update(export_items).where(moved).values(export_id=new_id))
    for table in (payout_table, refund_table):
        paid = among(connection, table.c.item_id, [i.id for i in open_items])
        connection.execute(update(table).where(paid).values(export_id=new_id, updated_ms=now_ms))
    values = {"state": _closed(connection, old_id), "voided_by": f"export:{new_id}"}
    connection.execute(update(exports).where(exports.c.id == old_id).values(values))
    _finish(connection, new_id, planned, rules, old.asset, now_ms, actor)
    return new_id


def _closed(connection: Connection, export_id: int) -> str:
    """Return the state of an export of which nothing is open any more: did any of it leave?"""
    return "settled" if any(i.state == "settled" for i in items(connection, export_id)) else "void"


def _release(connection: Connection, open_items: Sequence[Row[Any]], now_ms: int) -> set[int]:
    """Let what an export has not paid be due again; return the payments of its refunds that are not confirmed now."""
    gone: set[int] = set()
    for part in chunks([i.id for i in open_items]):
        paid = select(transfers.c.id).join_from(refund_table, transfers, refund_table.c.transfer_id == transfers.c.id)
        of_items = among(connection, refund_table.c.item_id, part)
        gone.update(connection.scalars(paid.where(of_items, transfers.c.state != "confirmed")))
        of_events = select(payout_table.c.event_id).where(among(connection, payout_table.c.item_id, part))
        payouts.reopen(connection, set(connection.scalars(of_events)))
        connection.execute(update(export_items).where(among(connection, export_items.c.id, part)).values(state="void"))
        back = {"state": "due", "export_id": None, "item_id": None, "updated_ms": now_ms}
        connection.execute(
            update(payout_table)
            .where(among(connection, payout_table.c.item_id, part), payout_table.c.state == "exported")
            .values({**back, "destination": None})
        )
        connection.execute(
            update(refund_table)
            .where(among(connection, refund_table.c.item_id, part), refund_table.c.state == "exported")
            .values({**back, "sent_amount": None})
        )
    return gone
