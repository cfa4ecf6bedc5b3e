"""What rules payment files out: which of them can still be paid, and which new one leaves room for no other.

A file that left can be paid as long as what it uses up is there: outpoints (Bitcoin), an account's nonces (EVM), time
(Hive).  An export that replaces another stands for both files, and for all before them: any of them may be mined.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from chainwatch.ledger import coins
from chainwatch.ledger.tables import cursors, export_items, exports

EXPIRES = "expires:"
"""Begins the word of a file's last moment, in Unix milliseconds."""


def replaced(connection: Connection, export: Row[Any]) -> list[Row[Any]]:
    """Return the exports that this one replaces, the newest first: their files left."""
    found: list[Row[Any]] = []
    before = export.replaces_id
    while before is not None:
        found.append(connection.execute(select(exports).where(exports.c.id == before)).one())
        before = found[-1].replaces_id
    return found


def used_up(export: Row[Any]) -> set[str]:
    """Return the outpoints or nonces that an export's file uses up."""
    return {word for word in export.conflict.split() if not word.startswith(EXPIRES)}


def rules_out(conflict: str, earlier: Sequence[Row[Any]]) -> bool:
    """Does a file that uses up ``conflict`` rule out each of the earlier ones?  One that conflicts with the last alone
    can be mined beside the first.
    """
    words = set(conflict.split())
    return all(words & used_up(one) for one in earlier)


def impossible(connection: Connection, export: Row[Any], open_items: Sequence[Row[Any]]) -> str:
    """Return why no open item of an export can be paid any more, by its file or one before it; empty while one can.

    A file that still waits for its second operator has not left, and pays nothing.
    """
    left = [*([export] if export.state == "exported" else []), *replaced(connection, export)]
    reasons = [_impossible(connection, one, open_items, export.id) for one in left]
    if not left:
        return "never_left"
    return reasons[0] if all(reasons) else ""


def _impossible(connection: Connection, export: Row[Any], open_items: Sequence[Row[Any]], holder: int) -> str:
    """Say it of one file.  ``holder``: the export that has its open items now."""
    cursor = connection.execute(select(cursors).where(cursors.c.chain == export.chain)).one_or_none()
    for word in export.conflict.split():
        if word.startswith(EXPIRES) and cursor is not None:
            final_ms = coins.final_time(connection, export.chain, cursor.final_height)
            if final_ms is not None and final_ms > int(word.removeprefix(EXPIRES)):
                return "expired"
    per_item = [set(i.conflict.split()) for i in open_items if i.conflict]
    words = used_up(export)
    needed = per_item or ([words] if words else [])
    mine = select(export_items.c.transfer_id).where(export_items.c.export_id.in_((export.id, holder)))
    settling = set(connection.scalars(mine))
    spent = coins.spent_by_others(connection, export.chain, set().union(*needed), settling, export.made_ms)
    return "its inputs were used by another transaction" if needed and all(n & spent for n in needed) else ""
