"""An event with minted tickets, made by a payment as the chain would tell it: for tests of what comes after minting."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select, update

from chainwatch.follower import Step
from chainwatch.ledger import events
from chainwatch.ledger.apply import apply
from chainwatch.ledger.context import Context
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import cursors
from chainwatch.ledger.tables import events as event_table
from chainwatch.model import Block, BlockRef, InBlock, Transfer

PRICE = "1"


def make_event(store: Store, contexts: Mapping[str, Context], public: str, now_ms: int, **more: Any) -> str:
    """Make an event that is sold for every configured coin at ``PRICE``; ``more``: columns of its row."""
    codes = [c.spec.native.code for c in contexts.values()]
    listed = {f: more.pop(f) for f in list(more) if f in events.NewEvent.__struct_fields__}
    new = events.NewEvent(
        id=public,
        title=listed.pop("title", public),
        ticket_price=PRICE,
        ticket_currency=codes[0],
        prices=dict.fromkeys(codes, PRICE),
        **listed,
    )
    assets = {a.code: a for c in contexts.values() for a in c.spec.assets}
    with store.transaction() as connection:
        events.create(connection, new, assets, 2000, now_ms, "test")
        if more:
            row = events.find(connection, public)
            connection.execute(update(event_table).where(event_table.c.id == row.id).values(more))
    return public


def mint(store: Store, context: Context, event: str, wallets: Sequence[str], now_ms: int) -> None:
    """Pay for one ticket for each wallet, by memo, in one block of ``context``'s chain."""
    spec = context.spec
    with store.transaction() as connection:
        row = connection.execute(select(cursors).where(cursors.c.chain == spec.code)).one_or_none()
        cursor = BlockRef(row.height, row.hash) if row is not None else None
        height = cursor.height + 1 if cursor else 1
        ref = BlockRef(height, f"{spec.code}-{height}", cursor.hash if cursor else f"{spec.code}-0")
        amount = 10**spec.native.decimals
        paid = tuple(
            Transfer(
                spec.code,
                f"{spec.code}-tx-{height}-{i}",
                "0",
                spec.native.code,
                amount,
                spec.receive[0],
                memo=f"event:{event}:wallet:{wallet}".encode(),
                position=InBlock(BlockRef(height, ref.hash), now_ms),
            )
            for i, wallet in enumerate(wallets)
        )
        step = Step(spec.code, cursor, ref, ref, None, blocks=(Block(ref, now_ms, paid),))
        apply(connection, step, context, 1, now_ms)
