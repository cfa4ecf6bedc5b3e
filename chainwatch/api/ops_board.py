"""What the operations page shows: one look at the ledger, in words; drawn section by section."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from markupsafe import Markup
from sqlalchemy import Connection, func, select

from chainwatch.api import amounts
from chainwatch.api.pages import render
from chainwatch.ledger import endings, payouts, queries, refunds, review
from chainwatch.ledger.tables import entries, events, tickets
from chainwatch.model import Asset

ROWS = 25
"""Rows of a table: what fits a screen; the rest is asked for at the command line."""
HOURS = 24
HOUR_MS = 3_600_000
BAR, GAP, HIGH = 8, 2, 50
"""Pixels of a plot: a bar's width, the gap behind it, the height of the highest."""
SHORT = 12
"""Characters of a transaction id or wallet that are shown."""

KINDS = {"minted": "good", "review": "warn", "refund_due": "warn", "orphaned": "bad", "failed": "bad"}


class Board(msgspec.Struct, frozen=True):
    """Values of the templates, by section."""

    chains: Mapping[str, Any]
    review: Mapping[str, Any]
    money: Mapping[str, Any]
    payments: Mapping[str, Any]
    events: Mapping[str, Any]


MONEY = frozenset({"money", "read"})
SECTIONS: Mapping[str, frozenset[str]] = {
    "chains": frozenset(),
    "review": MONEY,
    "money": MONEY,
    "payments": MONEY,
    "events": frozenset(),
}
"""Every section with the scopes of which a key needs one to look at it, as over HTTP; none: any key does."""


def read(connection: Connection, assets: Mapping[str, Asset], now_ms: int) -> Board:
    """Look at everything once."""
    status = queries.status(connection)
    due = refunds.listing(connection, ROWS, state="due")
    owed = payouts.listing(connection, ROWS, state="due")
    names = _names(connection, {r.event_id for r in (*due, *owed)})
    imbalance = queries.imbalance(connection)
    return Board(
        chains={"chains": [_chain(c, now_ms) for c in status.chains], "tiles": _tiles(status, imbalance)},
        review={
            "review": [_waiting(i, assets) for i in review.open_items(connection, ROWS)],
            "all": status.review_open,
        },
        money={
            "refunds": [_refund(r, assets, names) for r in due],
            "all_refunds": status.refunds_due,
            "payouts": [_payout(r, assets, names) for r in owed],
            "all_payouts": status.payouts_due,
        },
        payments={"payments": [_payment(r, assets, now_ms) for r in queries.recent_payments(connection, ROWS)]},
        events={"events": _events(connection, now_ms)},
    )


def draw(board: Board, csrf: str, scopes: frozenset[str]) -> dict[str, Markup]:
    """Draw every section that an operator may look at.  ``csrf`` goes into the forms of what they may do."""
    decisions = [{"action": action, "text": f"{action}: {text}"} for action, text in review.ACTIONS.items()]
    shared = {"csrf": csrf, "may": {"money": "money" in scopes}, "decisions": decisions}
    seen = [name for name, needed in SECTIONS.items() if not needed or needed & scopes]
    return {name: render.fragment(f"ops_{name}.html", **shared, **getattr(board, name)) for name in seen}


def _tiles(status: queries.Status, imbalance: int) -> list[dict[str, Any]]:
    def tile(name: str, value: Any, kind: str = "") -> dict[str, Any]:
        return {"name": name, "value": value, "kind": kind}

    live = sum(n for state, n in status.tickets.items() if state in ("active", "used"))
    return [
        tile("tickets", live),
        tile("minted payments", status.payments.get("minted", 0)),
        tile("in review", status.review_open, "warn" if status.review_open else ""),
        tile("refunds due", status.refunds_due, "warn" if status.refunds_due else ""),
        tile("payouts due", status.payouts_due),
        tile("messages waiting", status.outbox_pending),
        tile("ledger imbalance", imbalance, "bad" if imbalance else "good"),
    ]


def _chain(c: queries.ChainStatus, now_ms: int) -> dict[str, Any]:
    age = _ago(c.tip_ms, now_ms) if c.tip_ms is not None else "–"
    names = ("chain", "head", "scanned", "final", "lag", "endpoint", "alarm")
    return {**{n: getattr(c, n) for n in names}, "age": age}


def _waiting(item: review.Item, assets: Mapping[str, Asset]) -> dict[str, Any]:
    ending = endings.of("review", item.reason)
    memo = (item.memo or b"").decode("utf-8", "replace")
    return {
        "id": item.id,
        "chain": item.chain,
        "txid_short": _short(item.txid),
        "amount": amounts.decimal(item.amount, item.asset, assets) or str(item.amount),
        "symbol": _symbol(item.asset or item.asset_id or ""),
        "reason": item.reason,
        "meaning": ending.means if ending is not None else "",
        "memo": memo[:80],
    }


def _refund(r: Any, assets: Mapping[str, Asset], names: Mapping[int, str]) -> dict[str, Any]:
    return {
        "id": r.id,
        "amount": amounts.decimal(r.amount, r.asset, assets) or str(r.amount),
        "symbol": r.asset or r.chain,  # whole: USDC alone does not tell the chain
        "reason": r.reason,
        "event": names.get(r.event_id, ""),
        "destination": _short(r.destination, 20) if r.destination else "",
        "state": r.state,
    }


def _payout(r: Any, assets: Mapping[str, Asset], names: Mapping[int, str]) -> dict[str, Any]:
    return {
        "id": r.id,
        "creator": r.creator_account,
        "amount": amounts.decimal(r.amount, r.asset, assets) or str(r.amount),
        "symbol": r.asset,
        "event": names.get(r.event_id, ""),
        "state": r.state,
    }


def _names(connection: Connection, ids: Collection[int | None]) -> dict[int, str]:
    """Return the public ids of events."""
    rows = select(events.c.id, events.c.slug).where(events.c.id.in_([i for i in ids if i is not None]))
    return {r.id: r.slug or str(r.id) for r in connection.execute(rows)}


def _payment(r: Any, assets: Mapping[str, Asset], now_ms: int) -> dict[str, Any]:
    return {
        "ago": _ago(r.first_seen_ms, now_ms),
        "chain": r.chain,
        "txid_short": _short(r.txid),
        "amount": amounts.decimal(r.amount, r.asset, assets) or str(r.amount),
        "symbol": _symbol(r.asset or ""),
        "state": r.shown,
        "kind": KINDS.get(r.shown, ""),
        "reason": r.reason,
        "event": r.slug or r.event_id,
        "wallet": _short(r.wallet or ""),
        "number": r.number,
    }


def _events(connection: Connection, now_ms: int) -> list[dict[str, Any]]:
    rows = connection.execute(select(events).order_by(events.c.id.desc()).limit(ROWS)).all()
    ids = [r.id for r in rows]
    since = now_ms - HOURS * HOUR_MS
    sold: dict[int, list[int]] = {i: [0] * HOURS for i in ids}
    hour = (tickets.c.created_ms - since) // HOUR_MS
    counted = (
        select(tickets.c.event_id, hour.label("hour"), func.count().label("n"))
        .where(tickets.c.event_id.in_(ids), tickets.c.created_ms > since)
        .group_by(tickets.c.event_id, hour)
    )
    for r in connection.execute(counted):
        sold[r.event_id][min(int(r.hour), HOURS - 1)] += r.n
    entered = {
        r.event_id: r.n
        for r in connection.execute(
            select(entries.c.event_id, func.count(entries.c.ticket_id.distinct()).label("n"))
            .where(entries.c.event_id.in_(ids), entries.c.result == "accepted")
            .group_by(entries.c.event_id)
        )
    }
    return [
        {
            "id": r.slug or r.id,
            "title": r.title,
            "status": r.status,
            "dispute": r.dispute,
            "sold": r.tickets_sold,
            "held": r.tickets_held,
            "seats": r.max_attendees,
            "entered": entered.get(r.id, 0),
            "hours": sold[r.id],
            "bars": _bars(sold[r.id]),
        }
        for r in rows
    ]


def _bars(counts: Sequence[int]) -> list[tuple[int, int]]:
    """Return (x, height) of each bar: the highest fills the plot, one ticket is at least a line."""
    top = max(counts, default=0)
    return [(i * (BAR + GAP), max(n * HIGH // top, 1)) for i, n in enumerate(counts) if n] if top else []


def _symbol(asset: str) -> str:
    return asset.rpartition(":")[2][:SHORT]


def _short(text: str, length: int = SHORT) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _ago(ms: int, now_ms: int) -> str:
    """Return a time as its distance from now."""
    seconds = max(now_ms - ms, 0) // 1000
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
