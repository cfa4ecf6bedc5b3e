"""Double entry: what lines a transfer must have, and the lines that bring the books there.

Accounts per asset, debit positive: ``received`` (our receiving wallets), ``loss`` (what a reorg took
after it had counted), ``network_fees`` (what sending cost us), ``withdrawn`` (what left and was no payout or refund:
the operator's own); credit negative: ``commission``, ``creator``, ``refunds``, ``surplus``, ``review``,
``dust``, ``internal``, ``foreign``, ``open``, ``paid_out`` (all that left).  An outgoing transfer debits what we owed
and credits ``paid_out``; so received + internal + paid_out is what our wallets hold.  Lines are only ever added; every
entry sums to zero.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Connection, Text, cast, func, select, type_coerce

from chainwatch.ledger.bulk import among, chunks, insert_rows
from chainwatch.ledger.tables import ledger_lines
from chainwatch.matching import Allocation

ACCOUNT = {
    "refund": "refunds",
    "surplus": "surplus",
    "review": "review",
    "dust": "dust",
    "internal": "internal",
    "foreign": "foreign",
    "open": "open",
}
"""The credit account of each kind of allocation; a ticket's money is split into commission and creator."""

HELD = ("received", "internal", "paid_out")
"""Accounts whose sum is what our wallets hold of an asset."""

Account = tuple[str, int | None]
"""(account, event id or None)."""


class Entry(msgspec.Struct, frozen=True):
    """A transfer as the books see it."""

    transfer_id: int
    asset: str
    confirmed: bool
    event_id: int | None
    allocations: tuple[Allocation, ...]


def lines_of(entry: Entry) -> dict[Account, int]:
    """Return the balances that a transfer must have: they sum to zero."""
    lines: dict[Account, int] = {}

    def add(account: str, amount: int) -> None:
        key = (account, entry.event_id)
        lines[key] = lines.get(key, 0) + amount

    for a in entry.allocations:
        add("received" if entry.confirmed else "loss", a.amount)
        if a.kind == "ticket":
            add("commission", -a.commission)
            add("creator", a.commission - a.amount)
        else:
            add(ACCOUNT[a.kind], -a.amount)
    return {k: v for k, v in lines.items() if v}


def post(connection: Connection, entries: Sequence[Entry], now_ms: int) -> set[int]:
    """Add the lines that bring each transfer's balances to where they must be; return as ``bring`` does."""
    return bring(connection, [Wanted(e.transfer_id, e.asset, lines_of(e)) for e in entries], now_ms)


class Wanted(msgspec.Struct, frozen=True):
    """The balances that one transfer's lines in one asset must have."""

    transfer_id: int
    asset: str
    lines: Mapping[Account, int]


def bring(connection: Connection, wanted: Sequence[Wanted], now_ms: int) -> set[int]:
    """Add the lines that are missing, as differences; return the events whose creators' account changed."""
    posted = balances(connection, [w.transfer_id for w in wanted])
    rows: list[dict[str, Any]] = []
    for one in wanted:
        have = posted.get(one.transfer_id, {})
        want = {(one.asset, *account): amount for account, amount in one.lines.items()}
        for key in sorted(want.keys() | have.keys(), key=repr):
            asset, account, event_id = key
            delta = want.get(key, 0) - have.get(key, 0)
            if delta:
                rows.append(
                    {
                        "transfer_id": one.transfer_id,
                        "event_id": event_id,
                        "asset": asset,
                        "account": account,
                        "amount": delta,
                        "at_ms": now_ms,
                    }
                )
    insert_rows(connection, ledger_lines, rows)
    return {r["event_id"] for r in rows if r["account"] == "creator" and r["event_id"] is not None}


def balances(connection: Connection, transfer_ids: Sequence[int]) -> dict[int, dict[tuple[str, str, int | None], int]]:
    """Return the present balances of transfers, by (asset, account, event id).

    One transfer may have had two assets: one that nobody had configured, and its name since then.
    Sums are made here: SQLite would make them floats.
    """
    found: dict[int, dict[tuple[str, str, int | None], int]] = {}
    for part in chunks(transfer_ids):
        for row in connection.execute(select(ledger_lines).where(among(connection, ledger_lines.c.transfer_id, part))):
            accounts = found.setdefault(row.transfer_id, {})
            key = (row.asset, row.account, row.event_id)
            accounts[key] = accounts.get(key, 0) + row.amount
    return found


def totals(connection: Connection) -> Mapping[tuple[str, str], int]:
    """Return the balance of every (asset, account), summed by the database: the daemon asks every minute."""
    if connection.dialect.name == "postgresql":
        line = ledger_lines.c
        grouped = select(line.asset, line.account, func.sum(line.amount)).group_by(line.asset, line.account)
        return {(asset, account): int(total) for asset, account, total in connection.execute(grouped)}
    return _totals_of_text(connection)


SHORT = 18
"""Characters of an amount that SQLite's 64 bits hold for certain, with its sign."""
HALF = 10**9
"""Short amounts are summed in two halves: neither sum overflows below a thousand million lines."""


def _totals_of_text(connection: Connection) -> dict[tuple[str, str], int]:
    """Sum amounts that are texts, the short ones in halves: SQLite's sums of large integers are floats or errors."""
    text = type_coerce(ledger_lines.c.amount, Text)
    number = cast(text, BigInteger)
    key = ledger_lines.c.asset, ledger_lines.c.account
    halves = select(*key, func.sum(number.op("/")(HALF)), func.sum(number.op("%")(HALF)))
    short = halves.where(func.length(text) <= SHORT).group_by(*key)
    sums = {(asset, account): high * HALF + low for asset, account, high, low in connection.execute(short)}
    long = select(*key, ledger_lines.c.amount).where(func.length(text) > SHORT)
    for asset, account, amount in connection.execute(long.execution_options(yield_per=5000)):
        sums[asset, account] = sums.get((asset, account), 0) + amount
    return sums
