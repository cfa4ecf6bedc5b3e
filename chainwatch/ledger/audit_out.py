"""The audit of money that left: exports, what settled them, the lines of outgoing transfers.

As ``chainwatch.ledger.audit`` it shares no arithmetic with the code that wrote, and looks for what cannot be.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, select

from chainwatch.ledger.difference import Difference
from chainwatch.ledger.tables import export_items, exports, ledger_lines, payouts, refunds, transfers

STREAM = 5_000
"""Rows fetched at a time."""

Account = tuple[str, int | None, str]
"""(account, event id, asset)."""


def audit(connection: Connection) -> list[Difference]:
    """Return every difference in what left us."""
    out = {
        t.id: t
        for t in connection.execute(
            select(transfers).where(transfers.c.direction == "out").execution_options(yield_per=STREAM)
        )
    }
    files = {e.id: e for e in connection.execute(select(exports))}
    items = list(connection.execute(select(export_items).order_by(export_items.c.id)))
    paid: dict[int, list[Row[Any]]] = {}
    for table in (payouts, refunds):
        for row in connection.execute(select(table)):
            if row.item_id is not None:
                paid.setdefault(row.item_id, []).append(row)
    return [
        *_items(items, files, out, paid),
        *_owed(connection, files, {i.id: i for i in items}),
        *_files(items, files),
        *_lines(connection, items, out, paid),
    ]


def _items(
    items: list[Row[Any]], files: dict[int, Row[Any]], out: dict[int, Row[Any]], paid: dict[int, list[Row[Any]]]
) -> Iterator[Difference]:
    """Each settled item has one outgoing transfer of its own, confirmed, with exactly what it says."""
    used: dict[int, int] = {}
    for item in items:
        name = f"item:{item.id}"
        due = sum(getattr(r, "sent_amount", None) or r.amount for r in paid.get(item.id, ()))
        if item.state != "void" and due != item.amount:
            yield Difference("export", name, f"it pays {item.amount} for {due} owed")
        if (item.state == "settled") != (item.transfer_id is not None):
            yield Difference("settlement", name, f"{item.state} by transfer {item.transfer_id}")
        if item.transfer_id is None:
            continue
        if item.transfer_id in used:
            yield Difference("settlement", name, f"its transfer settles item:{used[item.transfer_id]} too")
        used[item.transfer_id] = item.id
        t = out.get(item.transfer_id)
        want = (item.chain, item.asset, item.amount, item.destination, "confirmed")
        have = None if t is None else (t.chain, t.asset, t.amount, t.recipient, t.state)
        if have != want:
            yield Difference("settlement", name, f"its transfer says {have}")
        if files[item.export_id].state == "waiting" and files[item.export_id].replaces_id is None:
            yield Difference("settlement", name, "it is settled and its file never left")


def _owed(connection: Connection, files: dict[int, Row[Any]], items: dict[int, Row[Any]]) -> Iterator[Difference]:
    """What has left or is leaving is in an export; what is settled says by which transfer."""
    for table, kind in ((payouts, "payout"), (refunds, "refund")):
        for row in connection.execute(select(table)):
            name, item = f"{kind}:{row.id}", items.get(row.item_id or 0)
            if (row.state in ("exported", "settled")) != (item is not None and row.export_id in files):
                yield Difference("export", name, f"{row.state} with export {row.export_id}")
            if item is None:
                continue
            if item.export_id != row.export_id or item.destination != row.destination or item.state == "void":
                yield Difference("export", name, f"it and item:{item.id} ({item.state}) do not agree")
            if (row.state == "settled") != (item.state == "settled") or row.settled_transfer_id != item.transfer_id:
                yield Difference("settlement", name, f"{row.state}, and item:{item.id} is {item.state}")


def _files(items: list[Row[Any]], files: dict[int, Row[Any]]) -> Iterator[Difference]:
    """An export's state is what its items say."""
    by_export: dict[int, list[Row[Any]]] = {}
    for item in items:
        by_export.setdefault(item.export_id, []).append(item)
    for file in files.values():
        states = {i.state for i in by_export.get(file.id, ())}
        right = {
            "waiting": states == {"open"} or (file.replaces_id is not None and "open" in states),
            "exported": "open" in states,
            "settled": "settled" in states and "open" not in states,
            "void": states <= {"void"},
        }
        if not right.get(file.state, False):
            yield Difference("export", f"export:{file.id}", f"{file.state} with items that are {sorted(states)}")


def _lines(
    connection: Connection, items: list[Row[Any]], out: dict[int, Row[Any]], paid: dict[int, list[Row[Any]]]
) -> Iterator[Difference]:
    """The lines of an outgoing transfer say what it paid, and sum to zero."""
    have: dict[int, dict[Account, int]] = {}
    rows = select(ledger_lines).join(transfers).where(transfers.c.direction == "out")
    for line in connection.execute(rows.execution_options(yield_per=STREAM)):
        accounts = have.setdefault(line.transfer_id, {})
        key = (line.account, line.event_id, line.asset)
        accounts[key] = accounts.get(key, 0) + line.amount
    settling = {i.transfer_id: i for i in items if i.transfer_id is not None}
    for transfer_id, t in sorted(out.items()):
        want: dict[Account, int] = {}
        asset = t.asset or f"{t.chain}:{t.asset_id}"
        if t.state == "confirmed":
            fee = t.network_fee or 0
            item = settling.get(transfer_id)
            moves: list[tuple[str, int | None, int]] = [
                ("paid_out", None, -t.amount - fee),
                ("network_fees", None, fee),
            ]
            for r in paid.get(item.id, ()) if item is not None else ():
                account = "creator" if "due_ms" in r._fields else "surplus" if r.kind == "surplus" else "refunds"
                borne = r.amount - (getattr(r, "sent_amount", None) or r.amount)
                moves += [(account, r.event_id, r.amount), ("network_fees", None, -borne)]
            if item is None:
                moves.append(("withdrawn", None, t.amount))
            for account, event_id, amount in moves:
                key = (account, event_id, asset)
                want[key] = want.get(key, 0) + amount
        got = {k: v for k, v in have.get(transfer_id, {}).items() if v}
        want = {k: v for k, v in want.items() if v}
        if sum(got.values()):
            yield Difference("imbalance", f"transfer:{transfer_id}", f"its lines sum to {sum(got.values())}")
        if got != want:
            yield Difference("ledger", f"transfer:{transfer_id}", f"the ledger says {got}, what left says {want}")


def holdings(connection: Connection, chain: str, height: int) -> dict[str, int]:
    """Return what our wallets must hold of each asset at a height, by what came and left; not by the ledger's lines.

    Transfers between addresses of ours change nothing but their fee.
    """
    held: dict[str, int] = {}
    rows = (
        select(transfers)
        .where(transfers.c.chain == chain, transfers.c.state.in_(("confirming", "confirmed")))
        .where(transfers.c.height <= height)
        .execution_options(yield_per=STREAM)
    )
    for t in connection.execute(rows):
        asset = t.asset or f"{chain}:{t.asset_id}"
        if t.direction == "out":
            held[asset] = held.get(asset, 0) - t.amount - (t.network_fee or 0)
        elif "internal" not in t.flags.split(","):
            held[asset] = held.get(asset, 0) + t.amount
    return held
