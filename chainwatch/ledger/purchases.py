"""Finding the purchase that a transfer belongs to: by address or reference, by memo, by sender; never by amount."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from chainwatch import memo
from chainwatch.ledger import implicit, pool, tombstones
from chainwatch.ledger.bulk import among, chunks, update_rows
from chainwatch.ledger.context import Context
from chainwatch.ledger.tables import addresses, events, purchases, tickets, transfers
from chainwatch.matching import Stray

Read = memo.Memo | memo.NoMemo | memo.BadMemo


class Claim(msgspec.Struct, frozen=True):
    """A transfer and what its memo and address say.  ``problem`` is empty when a purchase claims it."""

    row: Row[Any]
    problem: str = ""
    purchase_id: int | None = None
    event_id: int | None = None
    wallet: str = ""
    tier: str | None = None


def assign(connection: Connection, ids: Iterable[int], context: Context, now_ms: int) -> dict[int, str]:
    """Give every transfer that has none its purchase; return the problem of those that get none.

    Route by own address first, then reference, then memo; the sender last and only where it cannot be mistaken
    (DESIGN, rulings).  What is only seen finds a purchase that was opened before, and opens none.
    """
    rows = _unclaimed(connection, ids)
    if not rows:
        return {}
    own = _own(connection, rows, context)
    read: dict[int, Read] = {
        r.id: memo.parse(r.memo, context.canonical_wallet) for r in rows if "memo_unreadable" not in r.flags
    }
    memos = {i: m for i, m in read.items() if isinstance(m, memo.Memo)}
    hidden = _forget_erased(connection, {r.id: r for r in rows}, memos, context)
    by_ref = _refs(connection, [m.ref for m in memos.values() if m.ref])
    by_id = _named(connection, {p for i, ps in own.items() if i in memos and len(ps) == 1 for p in ps})
    event_ids = _events(connection, [m.event_id for m in memos.values() if m.event_id])
    claims = []
    for row in rows:
        if row.id in own:
            claims.append(_by_address(row, own[row.id], memos.get(row.id), by_id))
        else:
            claims.append(_by_memo(row, memos.get(row.id) or read.get(row.id, memo.NoMemo()), by_ref, event_ids))
    claims = _by_sender(connection, claims, context)
    claims = [c for c in claims if c.row.height is not None or c.purchase_id is not None]
    asked = {
        c.row.id: implicit.Asked(
            c.event_id, c.wallet, c.row.asset or f"{c.row.chain}:{c.row.asset_id}", c.tier, c.row.paid_ms
        )
        for c in claims
        if c.event_id is not None
    }
    opened = implicit.purchases_of(connection, asked, context, now_ms)
    problems = {c.row.id: c.problem for c in claims if c.problem}
    settled = [
        {"row_id": c.row.id, "purchase_id": c.purchase_id or opened.get(c.row.id), "reason": c.problem} for c in claims
    ]
    update_rows(connection, transfers, settled)
    update_rows(connection, transfers, hidden)
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
        resolution=row.resolution,
    )


def _unclaimed(connection: Connection, ids: Iterable[int]) -> list[Row[Any]]:
    rows: list[Row[Any]] = []
    for part in chunks(sorted(ids)):
        rows += connection.execute(
            select(*_CLAIMING)
            .where(among(connection, transfers.c.id, part))
            .where(
                transfers.c.purchase_id.is_(None),
                transfers.c.direction == "in",
                transfers.c.resolution == "",  # an operator's word stands
                transfers.c.state.in_(("seen", "confirming", "confirmed")),
            )
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
        "height",
        "paid_ms",
        "reference_keys",
    )
)


def _forget_erased(
    connection: Connection, rows: Mapping[int, Row[Any]], memos: dict[int, memo.Memo], context: Context
) -> list[dict[str, Any]]:
    """Put pseudonyms in the place of wallets that were erased; return the transfers whose memo must not stay."""
    wallets = {m.wallet for m in memos.values() if m.wallet}
    if not wallets or not (shadows := tombstones.shadows(connection, context.issuer, wallets)):
        return []
    hidden = []
    for i, m in memos.items():
        if m.wallet in shadows:
            memos[i] = msgspec.structs.replace(m, wallet=shadows[m.wallet])
            hidden.append({"row_id": rows[i].id, "memo": None, "memo_key": None, "sender": "[]"})
    return hidden


def _own(connection: Connection, rows: Sequence[Row[Any]], context: Context) -> dict[int, set[int]]:
    """Return the purchases that each transfer names by an address or a reference key of their own."""
    receive = set(context.spec.receive) | {None}
    named: dict[str, list[int]] = {}
    for row in rows:
        if row.recipient not in receive:
            named.setdefault(row.recipient, []).append(row.id)
        for key in row.reference_keys.split():
            named.setdefault(pool.REFERENCE + key, []).append(row.id)
    found = _owners(connection, named, (context.chain,))
    if context.spec.kin:  # paid on another chain than was asked for; an address of this chain's own speaks first
        elsewhere = {a: left for a, ids in named.items() if (left := [i for i in ids if i not in found])}
        found |= _owners(connection, elsewhere, context.spec.kin)
    return found


def _owners(connection: Connection, named: Mapping[str, list[int]], chains: Sequence[str]) -> dict[int, set[int]]:
    """Return whose addresses and references these are, by the transfers (ids) that name them."""
    found: dict[int, set[int]] = {}
    for part in chunks(named):
        for taken in connection.execute(
            select(addresses.c.address, addresses.c.purchase_id).where(
                addresses.c.chain.in_(chains),
                among(connection, addresses.c.address, part),
                addresses.c.purchase_id.is_not(None),
            )
        ):
            for transfer_id in named[taken.address]:
                found.setdefault(transfer_id, set()).add(taken.purchase_id)
    return found


_PURCHASE = select(purchases.c.id, purchases.c.ref, purchases.c.wallet, events.c.id.label("event"), events.c.slug)


def _refs(connection: Connection, refs: Sequence[str]) -> dict[str, Row[Any]]:
    found: dict[str, Row[Any]] = {}
    for part in chunks(set(refs)):
        rows = _PURCHASE.join_from(purchases, events).where(among(connection, purchases.c.ref, part))
        found.update({r.ref: r for r in connection.execute(rows)})
    return found


def _named(connection: Connection, ids: Iterable[int]) -> dict[int, Row[Any]]:
    found: dict[int, Row[Any]] = {}
    for part in chunks(ids):
        rows = _PURCHASE.join_from(purchases, events).where(among(connection, purchases.c.id, part))
        found.update({r.id: r for r in connection.execute(rows)})
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


def _by_address(row: Row[Any], named: set[int], read: memo.Memo | None, by_id: Mapping[int, Row[Any]]) -> Claim:
    if len(named) > 1:
        return Claim(row, "ambiguous")
    (purchase_id,) = named
    if read is not None and _disagrees(read, read.wallet, by_id[purchase_id]):
        return Claim(row, "ref_disagrees")  # the address says one thing, the memo another
    return Claim(row, purchase_id=purchase_id)


def _disagrees(read: memo.Memo, wallet: str | None, purchase: Row[Any]) -> bool:
    """Does a memo name another purchase, event or wallet than this one's?"""
    event = purchase.slug or str(purchase.event)
    return (
        read.ref not in (None, purchase.ref)
        or read.event_id not in (None, event)
        or wallet not in (None, purchase.wallet)
    )


def _by_memo(row: Row[Any], read: Read, by_ref: Mapping[str, Row[Any]], event_ids: Mapping[str, int]) -> Claim:
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
        if _disagrees(read, wallet, purchase):
            return Claim(row, "ref_disagrees")
        return Claim(row, purchase_id=purchase.id)
    if read.event_id is None or read.event_id not in event_ids:
        return Claim(row, "unknown_event")
    assert wallet is not None
    return Claim(row, event_id=event_ids[read.event_id], wallet=wallet, tier=read.pairs.get("tier"))


def _by_sender(connection: Connection, claims: Sequence[Claim], context: Context) -> list[Claim]:
    """Let a payment without a memo find the one purchase that it can only be meant for.

    Signed by the wallet that pays, for exactly this asset and amount, not minted yet, and that wallet has no other
    purchase, open or expired.
    """
    payers: dict[int, str] = {}
    for c in claims:
        senders = json.loads(c.row.sender)
        if c.problem == "no_memo" and not c.row.memo and len(senders) == 1 and c.row.recipient in context.spec.receive:
            wallet = context.canonical_wallet(senders[0])
            if wallet is not None:
                payers[c.row.id] = wallet
    if not payers:
        return list(claims)
    of_wallet: dict[str, list[Row[Any]]] = {}
    minted = select(tickets.c.id).where(tickets.c.purchase_id == purchases.c.id).exists()
    for part in chunks(set(payers.values())):
        rows = select(
            purchases.c.id,
            purchases.c.wallet,
            purchases.c.signed,
            purchases.c.asset,
            purchases.c.price,
            minted.label("minted"),
        ).where(among(connection, purchases.c.wallet, part))
        for r in connection.execute(rows):
            of_wallet.setdefault(r.wallet, []).append(r)
    return [_sent_by(c, of_wallet.get(payers.get(c.row.id, ""), [])) for c in claims]


def _sent_by(claim: Claim, have: Sequence[Row[Any]]) -> Claim:
    if len(have) != 1:
        return claim
    (p,) = have
    exact = (p.asset, p.price) == (claim.row.asset, claim.row.amount)
    return Claim(claim.row, purchase_id=p.id) if p.signed and exact and not p.minted else claim
