"""The books as files for accountants: CSV, beancount's plain text, and JSON.

Every line of the ledger in a range of days, grouped by its transfer and time; such a group sums to zero in each asset.
Cells are guarded against spreadsheets that run them (``=+-@``).  Beancount: https://beancount.github.io/docs/.
"""

import csv
import datetime as dt
import hashlib
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from chainwatch.ledger.tables import events, export_items, ledger_lines, transfers
from chainwatch.model import Asset
from chainwatch.spreadsheet import cell
from chainwatch.times import format_ms
from chainwatch.units import format_units

STREAM = 5_000
"""Rows fetched at a time."""

ACCOUNTS: Mapping[str, str] = {
    "received": "Assets:Chain:Received",
    "internal": "Assets:Chain:Internal",
    "paid_out": "Assets:Chain:PaidOut",
    "commission": "Income:Commission",
    "dust": "Income:Dust",
    "creator": "Liabilities:Creators",
    "refunds": "Liabilities:Refunds",
    "surplus": "Liabilities:Surplus",
    "review": "Liabilities:Review",
    "open": "Liabilities:Open",
    "foreign": "Liabilities:Foreign",
    "loss": "Expenses:Loss",
    "network_fees": "Expenses:NetworkFees",
    "withdrawn": "Equity:Withdrawn",
}
"""Where an account of ours stands in beancount's five trees."""

HEADER = ("time", "event", "account", "asset", "amount", "amount_base", "chain", "txid", "index", "subject")
BEFORE_ALL = "1970-01-01"
_COMMODITY = re.compile(r"[A-Z][A-Z0-9'._-]{0,22}[A-Z0-9]", re.ASCII)


class Line(msgspec.Struct, frozen=True):
    """One line of the books.  ``amount``: debit positive.  ``decimals`` None: an asset that nobody configured."""

    at_ms: int
    transfer_id: int
    event: str
    account: str
    asset: str
    amount: int
    decimals: int | None
    chain: str
    txid: str
    index: str
    subject: str

    @property
    def decimal(self) -> str:
        """The amount as people write it."""
        return format_units(self.amount, self.decimals or 0)


def lines(
    connection: Connection, assets: Mapping[str, Asset], from_ms: int | None = None, to_ms: int | None = None
) -> Iterator[Line]:
    """Yield the books' lines with ``from_ms`` <= time < ``to_ms``, in the order in which they were written."""
    rows = (
        select(
            ledger_lines,
            transfers.c.chain,
            transfers.c.txid,
            transfers.c.idx,
            events.c.slug,
            export_items.c.subject,
        )
        .join_from(ledger_lines, transfers, ledger_lines.c.transfer_id == transfers.c.id)
        .join(events, ledger_lines.c.event_id == events.c.id, isouter=True)
        .join(export_items, export_items.c.transfer_id == transfers.c.id, isouter=True)
        .order_by(ledger_lines.c.id)
        .execution_options(yield_per=STREAM)
    )
    if from_ms is not None:
        rows = rows.where(ledger_lines.c.at_ms >= from_ms)
    if to_ms is not None:
        rows = rows.where(ledger_lines.c.at_ms < to_ms)
    for r in connection.execute(rows):
        known = assets.get(r.asset)
        yield Line(
            at_ms=r.at_ms,
            transfer_id=r.transfer_id,
            event=r.slug or ("" if r.event_id is None else str(r.event_id)),
            account=r.account,
            asset=r.asset,
            amount=r.amount,
            decimals=known.decimals if known is not None else None,
            chain=r.chain,
            txid=r.txid,
            index=r.idx,
            subject=r.subject or "",
        )


def as_csv(found: Iterable[Line]) -> Iterator[str]:
    """Yield the rows of a CSV file (RFC 4180), its header first."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)

    def row(cells: Iterable[Any]) -> str:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow([cell(str(c)) for c in cells])
        return buffer.getvalue()

    yield row(HEADER)
    for e in found:
        at, base = format_ms(e.at_ms), str(e.amount)
        yield row((at, e.event, e.account, e.asset, e.decimal, base, e.chain, e.txid, e.index, e.subject))


def as_json(found: Iterable[Line]) -> Iterator[str]:
    """Yield one JSON list with the columns of the CSV file; ``amount`` null for an asset that nobody configured."""
    head = "["
    for e in found:
        amount = None if e.decimals is None else e.decimal
        row = (format_ms(e.at_ms), e.event, e.account, e.asset, amount, str(e.amount), e.chain, e.txid, e.index)
        yield head + msgspec.json.encode(dict(zip(HEADER, (*row, e.subject), strict=True))).decode()
        head = ",\n"
    yield "[]\n" if head == "[" else "]\n"


def commodity(asset: str) -> str:
    """Return an asset's name as beancount writes one: ``ETH:USDC`` is ``ETH.USDC``; what does not fit is shortened."""
    name = re.sub(r"[^A-Z0-9._-]", ".", asset.upper().replace(":", "."))
    if _COMMODITY.fullmatch(name):
        return name
    return f"{re.sub('[^A-Z]', '', name)[:8] or 'X'}.X{hashlib.sha256(asset.encode()).hexdigest()[:10].upper()}"


def as_beancount(found: Iterable[Line]) -> Iterator[str]:
    """Yield a beancount file: each group is a transaction.

    Accounts are opened before all days: lines are in the order of their writing, and two processes' clocks may differ.
    """
    opened: set[str] = set()
    groups = itertools.groupby(found, lambda e: (e.transfer_id, e.at_ms))
    yield 'option "title" "chainwatch"\n'
    for (_, at_ms), group in groups:
        held = list(group)
        day = dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC).date().isoformat()
        for name in sorted({_account(e) for e in held} - opened):
            opened.add(name)
            yield f"{BEFORE_ALL} open {name}\n"
        first = held[0]
        yield f"\n{day} * {_text(first.chain)} {_text(first.subject or first.event or 'transfer')}\n"
        yield f"  txid: {_text(first.txid)}\n  index: {_text(first.index)}\n"
        for e in held:
            yield f"  {_account(e)}  {e.decimal} {commodity(e.asset)}\n"


def _account(line: Line) -> str:
    """Return the account of a line; that of ``a_b``, which beancount cannot write, is not the one of ``a-b``."""
    base = ACCOUNTS[line.account]
    if not line.event:
        return base
    name = re.sub(r"[^A-Za-z0-9-]", "-", line.event)
    if name != line.event:
        name += f"-{hashlib.sha256(line.event.encode()).hexdigest()[:6]}"
    return f"{base}:E-{name}"


def _text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
