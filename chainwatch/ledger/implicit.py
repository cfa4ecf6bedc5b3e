"""Purchases that a memo alone opens: one for each event, wallet and asset (and tier), priced at block time."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from chainwatch.ledger import pricing
from chainwatch.ledger.bulk import among, chunks, insert_rows
from chainwatch.ledger.context import Context
from chainwatch.ledger.tables import event_prices, events, purchases, tier_prices, tiers


class Asked(msgspec.Struct, frozen=True):
    """What a payment's memo asks for.  ``asset``: the code, or chain:asset_id of what has no code."""

    event_id: int
    wallet: str
    asset: str
    tier: str | None
    paid_ms: int


def purchases_of(connection: Connection, asked: Mapping[int, Asked], context: Context, now_ms: int) -> dict[int, int]:
    """Return the purchase that each transfer (by its id) pays, opening those that are missing."""
    if not asked:
        return {}
    kinds = _kinds(connection, {a.event_id for a in asked.values()})
    keys = {i: _key(a, kinds) for i, a in asked.items()}
    found = _find(connection, keys.values())
    missing = {key: asked[i] for i, key in reversed(keys.items()) if key not in found}
    if missing:
        _open(connection, missing, kinds, context, now_ms)
        found |= _find(connection, missing)
    return {i: found[key] for i, key in keys.items()}


def _key(asked: Asked, kinds: Mapping[int, Mapping[str, int]]) -> str:
    tier = _tier(asked, kinds)
    return f"{asked.event_id}|{asked.wallet}|{asked.asset}" + (f"|{tier}" if tier else "")


def _tier(asked: Asked, kinds: Mapping[int, Mapping[str, int]]) -> str | None:
    """Return the tier that is meant: the named one, or the only one there is."""
    of_event = kinds.get(asked.event_id, {})
    return asked.tier or (next(iter(of_event)) if len(of_event) == 1 else None)


def _kinds(connection: Connection, event_ids: Iterable[int]) -> dict[int, dict[str, int]]:
    """Return the tiers of each event: code to row id."""
    found: dict[int, dict[str, int]] = {}
    for part in chunks(event_ids):
        rows = select(tiers.c.id, tiers.c.event_id, tiers.c.code).where(among(connection, tiers.c.event_id, part))
        for row in connection.execute(rows):
            found.setdefault(row.event_id, {})[row.code] = row.id
    return found


def _find(connection: Connection, keys: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in chunks(set(keys)):
        rows = select(purchases.c.id, purchases.c.implicit_key).where(among(connection, purchases.c.implicit_key, part))
        found.update({r.implicit_key: r.id for r in connection.execute(rows)})
    return found


def _open(
    connection: Connection,
    missing: Mapping[str, Asked],
    kinds: Mapping[int, Mapping[str, int]],
    context: Context,
    now_ms: int,
) -> None:
    sold = _events(connection, [a.event_id for a in missing.values()])
    prices = _prices(connection, sold, [i for of_event in kinds.values() for i in of_event.values()])
    rows = []
    for key, asked in missing.items():
        event = sold[asked.event_id]
        tier = _tier(asked, kinds)
        tier_id = kinds.get(asked.event_id, {}).get(tier or "")
        if asked.event_id in kinds:
            base = None if tier_id is None else prices.get(("tier", tier_id, asked.asset))
        else:
            base = prices.get(("event", asked.event_id, asked.asset))
        price = None if base is None else pricing.priced(base, event.commission_bps, event.fee_on_top)
        rows.append(
            {
                "ref": context.new_ref(),
                "event_id": asked.event_id,
                "wallet": asked.wallet,
                "asset": asked.asset,
                "implicit_key": key,
                "price": price and price.amount,
                "fee": price and price.fee,
                "tier_id": tier_id,
                "signed": False,
                "wallet_chain": context.chain if context.spec.family == "evm" else None,
                "held": False,
                "hold_kind": "",
                "expired": False,
                "created_ms": now_ms,
                "expires_ms": asked.paid_ms + context.policy.hold_ms,
            }
        )
    insert_rows(connection, purchases, rows)


def _events(connection: Connection, ids: Sequence[int]) -> dict[int, Row[Any]]:
    found: dict[int, Row[Any]] = {}
    for part in chunks(set(ids)):
        rows = select(events.c.id, events.c.commission_bps, events.c.fee_on_top)
        found.update({r.id: r for r in connection.execute(rows.where(among(connection, events.c.id, part)))})
    return found


def _prices(
    connection: Connection, event_ids: Iterable[int], tier_ids: Iterable[int]
) -> dict[tuple[str, int, str], int | None]:
    """Return prices in coins by ("event" or "tier", row id, asset); None: priced by a rate, which a memo cannot lock."""
    prices: dict[tuple[str, int, str], int | None] = {}
    for part in chunks(event_ids):
        for r in connection.execute(select(event_prices).where(among(connection, event_prices.c.event_id, part))):
            prices["event", r.event_id, r.asset] = r.amount
    for part in chunks(tier_ids):
        for r in connection.execute(select(tier_prices).where(among(connection, tier_prices.c.tier_id, part))):
            prices["tier", r.tier_id, r.asset] = r.amount
    return prices
