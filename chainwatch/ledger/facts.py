"""What the chain says of payments: recorded first, whatever becomes of them later."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select, tuple_, update

from chainwatch import finality
from chainwatch.errors import Inconsistent, Persistent
from chainwatch.follower import Step
from chainwatch.ledger import purchases as purchase_of
from chainwatch.ledger import tombstones
from chainwatch.ledger.bulk import among, chunks, insert_rows, update_rows
from chainwatch.ledger.context import Context
from chainwatch.ledger.tables import blocks, cursors, purchases, transfers
from chainwatch.model import MAX_BASE_UNITS, BlockRef, InBlock, Transfer

MAX_MEMO = 16 * 1024
"""Bytes of a memo that are kept; what is longer names nobody (chainwatch.memo refuses it)."""


MAX_NUMBER = 2**63 - 1
"""The largest height and time that a column holds (BIGINT)."""


DOUBTS = frozenset({"unknown_status", "memo_unreadable", "fee_unknown"})
"""Flags that say what was not known: read again (another node, a key that was added), the payment tells more."""


class Changed(msgspec.Struct):
    """Ids of transfers whose state changed in this transaction, by what happened.

    ``again``: nothing happened to them, but what they belong to changed (a cancelled event, an operator's word).
    ``fresh``: those of them that nobody had heard of before.
    """

    seen: set[int] = msgspec.field(default_factory=set)
    confirming: set[int] = msgspec.field(default_factory=set)
    confirmed: set[int] = msgspec.field(default_factory=set)
    orphaned: set[int] = msgspec.field(default_factory=set)
    again: set[int] = msgspec.field(default_factory=set)
    fresh: set[int] = msgspec.field(default_factory=set)

    def all(self) -> set[int]:
        """Every id."""
        return self.seen | self.confirming | self.confirmed | self.orphaned | self.again

    def without(self, ids: set[int]) -> "Changed":
        """Return the same but for ``ids``."""
        return Changed(
            seen=self.seen - ids,
            confirming=self.confirming - ids,
            confirmed=self.confirmed - ids,
            orphaned=self.orphaned - ids,
            again=self.again - ids,
            fresh=self.fresh - ids,
        )


class Arrival(msgspec.Struct, frozen=True):
    """A transfer as a step brings it: the time of its block and of that one's parent (0: not known)."""

    transfer: Transfer
    block_time_ms: int = 0
    parent_time_ms: int = 0


def check_numbers(step: Step) -> None:
    """Refuse heights and times that no chain has (``Inconsistent``): a node may claim any number."""
    refs = [step.cursor, step.head, *([step.final] if step.final else []), *(b.ref for b in step.blocks)]
    places = [t.position for b in step.blocks for t in b.transfers if isinstance(t.position, InBlock)]
    numbers = [r.height for r in refs] + [b.time_ms for b in step.blocks] + [p.time_ms for p in places]
    if not all(0 <= n <= MAX_NUMBER for n in numbers):
        raise Inconsistent(f"{step.chain}: {step.endpoint} tells a height or a time beyond all bounds")


def outgoing(connection: Connection, ids: Iterable[int]) -> set[int]:
    """Return those of ``ids`` that left us: they pay for nothing, and settle what we owed."""
    found: set[int] = set()
    for part in chunks(ids):
        rows = select(transfers.c.id).where(among(connection, transfers.c.id, part), transfers.c.direction == "out")
        found.update(connection.scalars(rows))
    return found


def disconnect(connection: Connection, chain: str, above: int) -> set[int]:
    """Take every transfer above a height out of its block; return their ids."""
    rows = connection.execute(select(transfers.c.id).where(transfers.c.chain == chain, transfers.c.height > above))
    return _orphan(connection, [r.id for r in rows])


def vanish(connection: Connection, chain: str, keys: Sequence[tuple[str, str]], *, mined: bool = False) -> set[int]:
    """Take transfers that their node no longer shows out of their block; return their ids.

    ``mined``: only those that are in one.
    """
    ids: list[int] = []
    for part in chunks(keys):
        rows = select(transfers.c.id).where(
            transfers.c.chain == chain, tuple_(transfers.c.txid, transfers.c.idx).in_(part)
        )
        rows = rows.where(transfers.c.height.is_not(None)) if mined else rows
        ids += [r.id for r in connection.execute(rows.where(transfers.c.state != "orphaned"))]
    return _orphan(connection, ids)


def _orphan(connection: Connection, ids: Sequence[int]) -> set[int]:
    for part in chunks(ids):
        connection.execute(
            update(transfers)
            .where(among(connection, transfers.c.id, part))
            .values(height=None, block_hash=None, block_time_ms=None, state="orphaned", shown="orphaned")
        )
    return set(ids)


def record(connection: Connection, step: Step, final: BlockRef | None, context: Context, now_ms: int) -> Changed:
    """Upsert the step's transfers, find their purchases, then say how far every waiting transfer of the chain is.

    In this order: how deep a payment must be depends on what its whole purchase brings together.
    """
    changed = Changed()
    incoming: dict[tuple[str, str], Arrival] = {}
    parents = _parent_times(connection, step)
    for block in step.blocks:
        for t in block.transfers:
            incoming[t.txid, t.index] = Arrival(t, block.time_ms, parents.get(block.ref.height, 0))
    sightings = {(t.txid, t.index): Arrival(t) for t in step.snapshot or () if (t.txid, t.index) not in incoming}
    held = _held(connection, step.chain, [*incoming, *sightings])
    _upsert(connection, {**sightings, **incoming}, held, changed, now_ms)
    if step.snapshot is not None:
        changed.orphaned |= _evict(connection, step.chain, sightings.keys() | incoming.keys())
    purchase_of.assign(connection, changed.seen | changed.confirming, context, now_ms)
    _advance(connection, step, final, context, changed)
    return changed


def _parent_times(connection: Connection, step: Step) -> dict[int, int]:
    """Return when the block below each block that pays us was made, by the payer's height, where we know it."""
    paying = [b.ref for b in step.blocks if b.transfers]
    known = {b.ref.height: (b.ref.hash, b.time_ms) for b in step.blocks}
    for heights in chunks({ref.height - 1 for ref in paying} - known.keys()):
        rows = select(blocks.c.height, blocks.c.hash, blocks.c.time_ms).where(
            blocks.c.chain == step.chain, among(connection, blocks.c.height, heights)
        )
        known.update({r.height: (r.hash, r.time_ms) for r in connection.execute(rows)})
    below = [(ref, known[ref.height - 1]) for ref in paying if ref.height - 1 in known]
    return {ref.height: time_ms for ref, (digest, time_ms) in below if ref.parent in ("", digest)}


def learn(connection: Connection, found: Sequence[Transfer], context: Context, now_ms: int) -> Changed:
    """Upsert transfers that no step brought (proved by their keys), and say how far they are."""
    changed = Changed()
    incoming = {(t.txid, t.index): Arrival(t) for t in found}
    _upsert(connection, incoming, _held(connection, context.chain, list(incoming)), changed, now_ms)
    purchase_of.assign(connection, changed.seen | changed.confirming, context, now_ms)
    row = connection.execute(select(cursors).where(cursors.c.chain == context.chain)).one_or_none()
    if row is not None:
        cursor = BlockRef(row.height, row.hash)
        final = BlockRef(row.final_height, row.final_hash) if row.final_height is not None else None
        _advance(connection, Step(context.chain, cursor, cursor, cursor, final), final, context, changed)
    return changed


def _held(connection: Connection, chain: str, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Row[Any]]:
    held: dict[tuple[str, str], Row[Any]] = {}
    for txids in chunks({txid for txid, _ in keys}):
        rows = select(transfers).where(transfers.c.chain == chain, among(connection, transfers.c.txid, txids))
        held.update({(r.txid, r.idx): r for r in connection.execute(rows)})
    return held


def _upsert(
    connection: Connection,
    arrived: Mapping[tuple[str, str], Arrival],
    held: Mapping[tuple[str, str], Row[Any]],
    changed: Changed,
    now_ms: int,
) -> None:
    """Write what is new; replace every fact of what is here already when its block is another."""
    fresh: list[dict[str, Any]] = []
    moved: list[dict[str, Any]] = []
    for key, arrival in arrived.items():
        row = held.get(key)
        facts = _facts(arrival, now_ms, row)
        if row is None:
            fresh.append(facts)
        elif _tells_more(row, facts):
            anew = _has_a_name_now(row, facts)
            whose = {"purchase_id": None if anew else row.purchase_id, "reason": "" if anew else row.reason}
            moved.append({"row_id": row.id, **facts, **whose})
    if fresh:
        insert_rows(connection, transfers, fresh)
        states = {(f["txid"], f["idx"]): f["state"] for f in fresh}
        for key, new_id in _ids(connection, fresh[0]["chain"], states).items():
            _note(changed, new_id, states[key])
            changed.fresh.add(new_id)
    if moved:
        _keep_erased(connection, moved)
        update_rows(connection, transfers, moved)
        for facts in moved:
            _note(changed, facts["row_id"], facts["state"])


def _keep_erased(connection: Connection, moved: Sequence[dict[str, Any]]) -> None:
    """Another block brings every fact again: not those that name a wallet that was erased."""
    erased: set[int] = set()
    for part in chunks([f["row_id"] for f in moved]):
        named = select(transfers.c.id).join_from(transfers, purchases, transfers.c.purchase_id == purchases.c.id)
        hidden = among(connection, transfers.c.id, part), purchases.c.wallet.startswith(tombstones.PREFIX)
        erased.update(connection.scalars(named.where(*hidden)))
    for facts in moved:
        if facts["row_id"] in erased:
            facts |= {"memo": None, "memo_key": None, "sender": "[]"}


def _ids(connection: Connection, chain: str, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    wanted = set(keys)
    found: dict[tuple[str, str], int] = {}
    for txids in chunks({txid for txid, _ in wanted}):
        rows = select(transfers.c.id, transfers.c.txid, transfers.c.idx).where(
            transfers.c.chain == chain, among(connection, transfers.c.txid, txids)
        )
        for r in connection.execute(rows).all():
            if (r.txid, r.idx) in wanted:
                found[r.txid, r.idx] = r.id
    return found


def _tells_more(row: Row[Any], facts: Mapping[str, Any]) -> bool:
    """Is this another position than the one we hold, or without a doubt that we had, or of an asset that is known now?

    A mempool sighting never takes one out of its block.
    """
    if facts["height"] is None:
        return bool(row.state == "orphaned")
    if (row.block_hash, row.height) != (facts["block_hash"], facts["height"]) or _has_a_name_now(row, facts):
        return True
    return bool(DOUBTS & set(row.flags.split(",")) - set(facts["flags"].split(",")))


def _has_a_name_now(row: Row[Any], facts: Mapping[str, Any]) -> bool:
    """Was its asset configured since?  Then it is looked at as if it had just come, unless a person has decided."""
    return row.asset is None and facts["asset"] is not None and not row.resolution


def _note(changed: Changed, transfer_id: int, state: str) -> None:
    if state == "seen":
        changed.seen.add(transfer_id)
    elif state == "confirming":
        changed.confirming.add(transfer_id)


def memo_key(memo: bytes) -> str:
    """Return under what a memo is found again: 16 bytes of its SHA-256 in hex (an index over texts would be long)."""
    return hashlib.sha256(memo[: MAX_MEMO + 1]).digest()[:16].hex()


def _facts(arrival: Arrival, now_ms: int, row: Row[Any] | None) -> dict[str, Any]:
    """Return a transfer's columns.

    Paid time: the earlier of first sighting and block time.  So it is never in our future, and a block's time, which
    its maker may set back (Bitcoin: to the median of the eleven before it), is never earlier than its parent's.
    """
    t, block_time_ms = arrival.transfer, arrival.block_time_ms
    if not 0 <= t.amount <= MAX_BASE_UNITS:
        raise Persistent(f"{t.chain} {t.txid}:{t.index}: amount {t.amount} is no amount")
    first_seen = row.first_seen_ms if row is not None else now_ms
    in_block = t.position if isinstance(t.position, InBlock) else None
    if in_block is None:
        state = "seen"
    else:
        state = "failed" if t.ok is False else "confirming"
        block_time_ms = in_block.time_ms or block_time_ms
    paid = min(first_seen, max(block_time_ms, arrival.parent_time_ms)) if block_time_ms else first_seen
    return {
        "chain": t.chain,
        "txid": t.txid,
        "idx": t.index,
        "asset": t.asset,
        "asset_id": t.asset_id,
        "amount": t.amount,
        "recipient": t.to,
        "sender": msgspec.json.encode(t.sender).decode(),
        "reference_keys": " ".join(t.references),
        "memo": t.memo[: MAX_MEMO + 1] if t.memo is not None else None,
        "memo_key": memo_key(t.memo) if t.memo else None,
        "flags": ",".join(t.flags if t.ok is not None else (*t.flags, "unknown_status")),
        "direction": t.direction,
        "network_fee": t.network_fee,
        "spends": " ".join(t.spends),
        "height": in_block.block.height if in_block else None,
        "block_hash": in_block.block.hash if in_block else None,
        "block_time_ms": block_time_ms if in_block else None,
        "first_seen_ms": first_seen,
        "paid_ms": paid,
        "state": state,
        "shown": state,
    }


def _evict(connection: Connection, chain: str, present: Iterable[tuple[str, str]]) -> set[int]:
    """Drop sightings that the whole mempool, looked at from the tip, no longer holds."""
    here = set(present)
    rows = connection.execute(
        select(transfers.c.id, transfers.c.txid, transfers.c.idx).where(
            transfers.c.chain == chain, transfers.c.state == "seen"
        )
    )
    return _orphan(connection, [r.id for r in rows if (r.txid, r.idx) not in here])


def _advance(connection: Connection, step: Step, final: BlockRef | None, context: Context, changed: Changed) -> None:
    """Confirm every waiting transfer that is deep enough now.

    Depth is counted from our cursor, not from the head that the node claims: only linked blocks count.
    """
    waiting = connection.execute(
        select(
            transfers.c.id,
            transfers.c.txid,
            transfers.c.asset,
            transfers.c.amount,
            transfers.c.flags,
            transfers.c.purchase_id,
            transfers.c.height,
            transfers.c.block_hash,
            transfers.c.direction,
        ).where(
            transfers.c.chain == step.chain,
            transfers.c.state == "confirming",
            transfers.c.height <= step.cursor.height,
        )
    ).all()
    if not waiting:
        return
    tiers = max(len(context.rule.tiers), len(context.payout.tiers))
    weights = _weights(connection, waiting, context) if tiers > 1 else {}
    ready = []
    for row in waiting:
        if "unknown_status" in row.flags:  # unknown is not success
            continue
        position = InBlock(BlockRef(row.height, row.block_hash))
        rule = context.payout if row.direction == "out" else context.rule
        state = finality.state(position, step.cursor, final, rule, weights.get(row.id))
        if isinstance(state, finality.Confirmed):
            ready.append(row.id)
    for part in chunks(ready):
        connection.execute(
            update(transfers)
            .where(among(connection, transfers.c.id, part))
            .values(state="confirmed", shown="confirmed", was_confirmed=True)
        )
    changed.confirmed |= set(ready)


def _weights(connection: Connection, waiting: Sequence[Any], context: Context) -> dict[int, int]:
    """Return the amount that each waiting transfer's tier looks at, for native coins only.

    The larger of what its transaction and what its purchase bring together: splitting gains nothing.
    Tokens have no price in the native coin here and take the strictest tier.
    """
    native = context.spec.native.code
    of_tx: dict[str, int] = {}
    of_purchase: dict[int, int] = {}
    ids = {r.purchase_id for r in waiting if r.purchase_id is not None}
    priced: dict[int, int] = {}
    for part in chunks(ids):
        prices = select(purchases.c.id, purchases.c.price).where(among(connection, purchases.c.id, part))
        for p in connection.execute(prices):
            priced[p.id] = p.price or 0
    for row in waiting:
        if row.asset == native:
            of_tx[row.txid] = of_tx.get(row.txid, 0) + row.amount
            if row.purchase_id is not None:
                of_purchase[row.purchase_id] = of_purchase.get(row.purchase_id, 0) + row.amount
    return {
        r.id: max(of_tx[r.txid], of_purchase.get(r.purchase_id, 0), priced.get(r.purchase_id, 0))
        for r in waiting
        if r.asset == native
    }
