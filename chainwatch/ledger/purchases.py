"""Finding the purchase that a transfer belongs to; opening one when a memo alone asks for it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from chainwatch import memo
from chainwatch.ledger import erasure, pool
from chainwatch.ledger.bulk import among, chunks, insert_rows, update_rows
from chainwatch.ledger.context import Context
from chainwatch.ledger.tables import addresses, event_prices, events, purchases, transfers
from chainwatch.matching import Stray


class Claim(msgspec.Struct, frozen=True):
    """A transfer and what its memo and address say.  ``problem`` is empty when a purchase claims it."""

    row: Row[Any]
    problem: str = ""
    purchase_id: int | None = None
    event_id: int | None = None
    wallet: str = ""


def assign(connection: Connection, ids: Iterable[int], context: Context, now_ms: int) -> dict[int, str]:
    """Give every transfer that has none its purchase; return the problem of those that get none.

    Route by own address first, then reference, then memo; never by amount (DESIGN, rulings).
    """
    rows = _unclaimed(connection, ids)
    if not rows:
        return {}
    own = _own(connection, rows, context)
    read = {
        r.id: memo.parse(r.memo, context.canonical_wallet)
        for r in rows
        if r.id not in own and "memo_unreadable" not in r.flags
    }
    memos = [m for m in read.values() if isinstance(m, memo.Memo)]
    by_ref = _refs(connection, [m.ref for m in memos if m.ref])
    event_ids = _events(connection, [m.event_id for m in memos if m.event_id])
    claims = []
    for row in rows:
        if len(own.get(row.id, ())) > 1:
            claims.append(Claim(row, "ambiguous"))
        elif row.id in own:
            claims.append(Claim(row, purchase_id=next(iter(own[row.id]))))
        else:
            claims.append(_claim(row, read.get(row.id, memo.NoMemo()), by_ref, event_ids))
    claims = _under_their_names(connection, claims, context)
    implicit = _implicit(connection, [c for c in claims if c.event_id is not None], context, now_ms)
    settled = [
        {"row_id": c.row.id, "purchase_id": c.purchase_id or implicit[_key(c)], "reason": ""}
        for c in claims
        if not c.problem
    ]
    problems = {c.row.id: c.problem for c in claims if c.problem}
    settled += [{"row_id": i, "purchase_id": None, "reason": why} for i, why in problems.items()]
    update_rows(connection, transfers, settled)
    return problems


def stray(row: Row[Any], problem: str, context: Context) -> Stray:
    """Describe a transfer without a purchase to matching."""
    asset = context.assets().get(row.asset or "")
    return Stray(
        amount=row.amount,
        asset=row.asset,
        memo_problem=problem,
        shared=row.recipient in context.spec.shared,
        dust=asset.dust if asset else 0,
        flags=tuple(f for f in row.flags.split(",") if f),
    )


def _unclaimed(connection: Connection, ids: Iterable[int]) -> list[Row[Any]]:
    rows: list[Row[Any]] = []
    for part in chunks(sorted(ids)):
        rows += connection.execute(
            select(*_CLAIMING)
            .where(among(connection, transfers.c.id, part))
            .where(transfers.c.purchase_id.is_(None), transfers.c.height.is_not(None), transfers.c.state != "failed")
            .order_by(transfers.c.id)
        ).all()
    return [r for r in rows if r.amount and "internal" not in r.flags.split(",")]


_CLAIMING = tuple(
    transfers.c[name]
    for name in (
        "id",
        "chain",
        "asset",
        "asset_id",
        "amount",
        "recipient",
        "sender",
        "memo",
        "flags",
        "paid_ms",
        "reference_keys",
    )
)


def _own(connection: Connection, rows: Sequence[Row[Any]], context: Context) -> dict[int, set[int]]:
    """Return the purchases that each transfer names by an address or a reference key of their own."""
    receive = set(context.spec.receive) | {None}
    named: dict[str, list[int]] = {}
    for row in rows:
        if row.recipient not in receive:
            named.setdefault(row.recipient, []).append(row.id)
        for key in row.reference_keys.split():
            named.setdefault(pool.REFERENCE + key, []).append(row.id)
    found: dict[int, set[int]] = {}
    for part in chunks(named):
        for taken in connection.execute(
            select(addresses.c.address, addresses.c.purchase_id).where(
                addresses.c.chain == context.chain,
                among(connection, addresses.c.address, part),
                addresses.c.purchase_id.is_not(None),
            )
        ):
            for transfer_id in named[taken.address]:
                found.setdefault(transfer_id, set()).add(taken.purchase_id)
    return found


def _refs(connection: Connection, refs: Sequence[str]) -> dict[str, Row[Any]]:
    found: dict[str, Row[Any]] = {}
    for part in chunks(set(refs)):
        rows = select(purchases.c.id, purchases.c.ref, purchases.c.wallet, events.c.id.label("event"), events.c.slug)
        joined = rows.join_from(purchases, events).where(among(connection, purchases.c.ref, part))
        found.update({r.ref: r for r in connection.execute(joined)})
    return found


def _events(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """Return the internal id of each event that a memo names: by slug, else by number."""
    found: dict[str, int] = {}
    for part in chunks(set(names)):
        numbers = [int(n) for n in part if n.isdigit() and len(n) < 19 and (n == "0" or n[0] != "0")]
        for row in connection.execute(select(events.c.id, events.c.slug).where(among(connection, events.c.slug, part))):
            found[row.slug] = row.id
        numbered = select(events.c.id).where(among(connection, events.c.id, numbers), events.c.slug.is_(None))
        for row in connection.execute(numbered):
            found[str(row.id)] = row.id
    return found


def _claim(
    row: Row[Any],
    read: memo.Memo | memo.NoMemo | memo.BadMemo,
    by_ref: Mapping[str, Row[Any]],
    event_ids: Mapping[str, int],
) -> Claim:
    if "memo_unreadable" in row.flags:
        return Claim(row, "memo_unreadable")
    if isinstance(read, memo.NoMemo):
        return Claim(row, "no_memo")
    if isinstance(read, memo.BadMemo):
        return Claim(row, read.reason)
    if "memo_untrusted" in row.flags:
        return Claim(row, "memo_untrusted")
    wallet = read.wallet
    if read.suspect_wallet is not None:  # wrong checksum, paid already: right if it is the payer's own
        payers = {s.lower(): s for s in json.loads(row.sender)}
        wallet = payers.get(read.suspect_wallet.lower())
        if wallet is None:
            return Claim(row, "bad_checksum")
    if read.ref is not None:
        purchase = by_ref.get(read.ref)
        if purchase is None:
            return Claim(row, "unknown_ref")
        named = purchase.slug or str(purchase.event)
        if (read.event_id not in (None, named)) or (wallet not in (None, purchase.wallet)):
            return Claim(row, "ref_disagrees")
        return Claim(row, purchase_id=purchase.id)
    if read.event_id is None or read.event_id not in event_ids:
        return Claim(row, "unknown_event")
    assert wallet is not None
    return Claim(row, event_id=event_ids[read.event_id], wallet=wallet)


def _under_their_names(connection: Connection, claims: Sequence[Claim], context: Context) -> list[Claim]:
    """A payment of before its wallet's erasure, scanned again, does not bring the wallet back."""
    pairs = [(c.wallet, c.row.paid_ms) for c in claims if c.wallet]
    erased = erasure.names(connection, context.issuer, pairs)
    return [
        msgspec.structs.replace(c, wallet=erased[c.wallet, c.row.paid_ms]) if (c.wallet, c.row.paid_ms) in erased else c
        for c in claims
    ]


def _key(claim: Claim) -> str:
    asset = claim.row.asset or f"{claim.row.chain}:{claim.row.asset_id}"
    return f"{claim.event_id}|{claim.wallet}|{asset}"


def _implicit(connection: Connection, claims: Sequence[Claim], context: Context, now_ms: int) -> dict[str, int]:
    """Return the purchase that each (event, wallet, asset) has by memo alone, opening those that are missing."""
    wanted = {_key(c): c for c in claims}
    found: dict[str, int] = {}
    for part in chunks(wanted):
        rows = select(purchases.c.id, purchases.c.implicit_key).where(among(connection, purchases.c.implicit_key, part))
        found.update({r.implicit_key: r.id for r in connection.execute(rows)})
    missing = [k for k in wanted if k not in found]
    if not missing:
        return found
    prices: dict[tuple[int, str], int] = {}
    for part in chunks({wanted[k].event_id for k in missing}):
        listed = select(event_prices).where(among(connection, event_prices.c.event_id, part))
        for row in connection.execute(listed):
            prices[row.event_id, row.asset] = row.amount
    fresh = []
    for key in missing:
        claim = wanted[key]
        assert claim.event_id is not None
        asset = claim.row.asset or f"{claim.row.chain}:{claim.row.asset_id}"
        fresh.append(
            {
                "ref": context.new_ref(),
                "event_id": claim.event_id,
                "wallet": claim.wallet,
                "asset": asset,
                "implicit_key": key,
                "price": prices.get((claim.event_id, asset)),
                "held": False,
                "expired": False,
                "created_ms": now_ms,
                "expires_ms": claim.row.paid_ms + context.policy.hold_ms,
            }
        )
    insert_rows(connection, purchases, fresh)
    for part in chunks(missing):
        rows = select(purchases.c.id, purchases.c.implicit_key).where(among(connection, purchases.c.implicit_key, part))
        found.update({r.implicit_key: r.id for r in connection.execute(rows)})
    return found
