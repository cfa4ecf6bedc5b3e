"""What creators are owed falls due after the event, once."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select, update

from chainwatch.finality import Rule, Tier
from chainwatch.follower import Step
from chainwatch.ledger import events, payouts, schema
from chainwatch.ledger.apply import apply, clear_alarm
from chainwatch.ledger.context import Context, Policy
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import cursors, outbox
from chainwatch.ledger.tables import events as event_table
from chainwatch.ledger.tables import payouts as payout_table
from chainwatch.model import Asset, Block, BlockRef, ChainSpec, InBlock, Transfer
from chainwatch.tickets.token import Issuer, new_ref
from chainwatch.wallets import canonical_wallet

NOW = 1_760_000_000_000
DAY = 86_400_000
SPEC = ChainSpec("HIVE", "hive", "hive", (Asset("HIVE", "HIVE", 3),), (), ("till",))
ISSUER = Issuer(Ed25519PrivateKey.from_private_bytes(bytes(32)))
CONTEXT = Context(SPEC, Rule((Tier(depth=1),)), Policy(), ISSUER, canonical_wallet, new_ref)


def sold(tmp_path: Any, wallets: tuple[str, ...]) -> Store:
    store = Store(f"sqlite:///{tmp_path}/x.db")
    schema.upgrade(store)
    new = events.NewEvent(
        id="gala", title="g", ticket_price="5", ticket_currency="HIVE", event_end_ms=NOW + DAY, creator_account="carol"
    )
    ref = BlockRef(1, "h1", "h0")
    paid = tuple(
        Transfer(
            "HIVE", f"t{w}", "0", "HIVE", 5001, "till", memo=f"event:gala:wallet:{w}".encode(), position=InBlock(ref)
        )
        for w in wallets
    )
    with store.transaction() as connection:
        events.create(connection, new, {"HIVE": SPEC.assets[0]}, 2000, NOW, "test")
        apply(connection, Step("HIVE", None, ref, ref, None, blocks=(Block(ref, NOW, paid),)), CONTEXT, 1, NOW)
    return store


def due(store: Store, now_ms: int) -> int:
    with store.transaction() as connection:
        return payouts.fall_due(connection, now_ms, 7 * DAY)


def test_a_payout_falls_due_once_seven_days_after_the_end_and_is_the_price_less_commission(tmp_path: Any) -> None:
    store = sold(tmp_path, ("alice", "bobby"))
    assert due(store, NOW + 8 * DAY - 1) == 0
    assert due(store, NOW + 8 * DAY) == 1
    assert due(store, NOW + 9 * DAY) == 0
    with store.reading() as connection:
        row = connection.execute(select(payout_table)).one()
        assert (row.amount, row.asset, row.creator_account, row.state) == (8000, "HIVE", "carol", "due")
        told = connection.execute(select(outbox.c.payload).where(outbox.c.type == "payout.due")).scalar_one()
        assert '"event_id":"gala"' in told
    store.close()


def test_an_event_in_dispute_and_a_chain_in_alarm_pay_nothing_out(tmp_path: Any) -> None:
    store = sold(tmp_path, ("alice",))
    with store.transaction() as connection:
        connection.execute(update(event_table).values(dispute=True))
    assert due(store, NOW + 30 * DAY) == 0
    with store.transaction() as connection:
        connection.execute(update(event_table).values(dispute=False))
        connection.execute(update(cursors).values(alarm="blocks above 3 were final"))
    assert due(store, NOW + 30 * DAY) == 0
    with store.transaction() as connection:
        assert clear_alarm(connection, "HIVE", NOW, "operator")
        assert not clear_alarm(connection, "HIVE", NOW, "operator")
    assert due(store, NOW + 30 * DAY) == 1
    store.close()
