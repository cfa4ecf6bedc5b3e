"""Purchases with an address and a seat of their own, on both databases."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from chainwatch.errors import Rejected
from chainwatch.finality import Rule, Tier
from chainwatch.follower import Step
from chainwatch.ledger import events, pool, quotes, schema
from chainwatch.ledger.apply import apply
from chainwatch.ledger.audit import audit
from chainwatch.ledger.context import Context, Policy
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import addresses, purchases, tickets, transfers
from chainwatch.ledger.tables import events as event_table
from chainwatch.model import Asset, Block, BlockRef, ChainSpec, InBlock, Transfer
from chainwatch.tickets.token import Issuer, new_ref
from chainwatch.wallets import canonical_wallet

pytestmark = pytest.mark.network

NOW = 1_760_000_000_000
SPEC = ChainSpec("BTC", "bitcoin", "bitcoin", (Asset("BTC", "BTC", 8),), (), ("till",))
CONTEXT = Context(
    SPEC,
    Rule((Tier(depth=1),)),
    Policy(),
    Issuer(Ed25519PrivateKey.from_private_bytes(bytes(32))),
    canonical_wallet,
    new_ref,
)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Store]:
    if request.param == "sqlite":
        opened = Store(f"sqlite:///{tmp_path}/ledger.db")
        schema.upgrade(opened)
    else:
        make: Callable[..., str] = request.getfixturevalue("postgres_database")

        def prepare(url: str) -> None:
            fresh = Store(url)
            schema.upgrade(fresh)
            fresh.close()

        opened = Store(make("ledger", prepare))
    with opened.transaction() as connection:
        new = events.NewEvent(id="gala", title="gala", ticket_price="0.001", ticket_currency="BTC", max_attendees=2)
        events.create(connection, new, {"BTC": SPEC.assets[0]}, 2000, NOW, "test")
    yield opened
    opened.close()


def ask(store: Store, wallet: str = "alice", now_ms: int = NOW, context: Context = CONTEXT, **more: Any) -> quotes.Quote:
    asked = quotes.Ask(**{"event_id": "gala", "wallet": wallet, "asset": "BTC", "signed": True, **more})
    with store.transaction() as connection:
        return quotes.quote(connection, asked, context, now_ms)


class Blocks:
    """Blocks that follow each other, with the payments they are given."""

    def __init__(self, store: Store) -> None:
        self.store, self.at = store, BlockRef(0, "h0")
        self.cursor: BlockRef | None = None

    def mine(self, *payments: tuple[str, int, str | None], after_ms: int = 1000) -> None:
        height = self.at.height + 1
        ref = BlockRef(height, f"h{height}", self.at.hash)
        time_ms = NOW + after_ms
        made = tuple(
            Transfer(
                "BTC",
                f"tx{height}",
                str(i),
                "BTC",
                amount,
                to,
                memo=memo.encode() if memo else None,
                position=InBlock(BlockRef(height, ref.hash), time_ms),
            )
            for i, (to, amount, memo) in enumerate(payments)
        )
        step = Step("BTC", self.cursor, ref, ref, None, blocks=(Block(ref, time_ms, made),))
        with self.store.transaction() as connection:
            apply(connection, step, CONTEXT, 1, time_ms)
            assert audit(connection) == []
        self.at = self.cursor = ref


def fill(store: Store, count: int = 20) -> None:
    with store.transaction() as connection:
        pool.add(connection, "BTC", 1, [f"own{i}" for i in range(1, count + 1)], NOW)


def held(store: Store) -> tuple[int, int]:
    with store.reading() as connection:
        row = connection.execute(select(event_table.c.tickets_sold, event_table.c.tickets_held)).one()
        return row.tickets_sold, row.tickets_held


def test_a_payment_to_a_purchase_s_own_address_needs_no_memo(store: Store) -> None:
    fill(store)
    quote = ask(store)
    assert (quote.address, quote.memo, quote.amount, quote.held) == ("own1", None, 100_000, True)
    assert held(store) == (0, 1)
    Blocks(store).mine(("own1", 60_000, None), ("own1", 40_000, None))
    assert held(store) == (1, 0)
    with store.reading() as connection:
        assert [t.wallet for t in connection.execute(select(tickets))] == ["alice"]
        assert {t.shown for t in connection.execute(select(transfers))} == {"minted"}


def test_an_address_is_never_given_out_twice(store: Store) -> None:
    """The platform's own monitor reused addresses after a week."""
    fill(store, 3)
    taken = [ask(store, w).address for w in ("alice", "bobby", "carol")]
    assert taken == ["own1", "own2", "own3"]
    assert ask(store, "dave1").address == "till"  # the pool is empty: the account with a memo
    Blocks(store).mine(after_ms=CONTEXT.policy.hold_ms + 5000)
    assert ask(store, "erin1").address == "till"


def test_two_processes_never_take_the_same_address_or_seat(store: Store) -> None:
    fill(store)
    found: list[quotes.Quote] = []
    threads = [threading.Thread(target=lambda n=n: found.append(ask(store, f"buyer{n}"))) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len({q.address for q in found}) == 8
    assert sum(q.held for q in found) == 2
    assert held(store) == (0, 2)


def test_the_pool_stays_below_the_gap_that_a_wallet_looks_through(store: Store) -> None:
    with store.transaction() as connection:
        assert pool.wanted(connection, "BTC", 20) == range(1, 21)
        pool.add(connection, "BTC", 1, [f"own{i}" for i in range(1, 21)], NOW)
        assert not pool.wanted(connection, "BTC", 20)
    for n in range(6):
        ask(store, f"buyer{n}")
    with store.reading() as connection:
        assert not pool.wanted(connection, "BTC", 20)  # nobody has paid: twenty unused in a row is the limit
    Blocks(store).mine(("own4", 1, None))
    with store.reading() as connection:
        assert pool.wanted(connection, "BTC", 20) == range(21, 25)


def test_a_seat_is_held_until_its_time_is_over_and_the_chain_was_read_past_it(store: Store) -> None:
    ask(store)
    chain = Blocks(store)
    chain.mine(after_ms=CONTEXT.policy.hold_ms - 1)
    assert held(store) == (0, 1)
    chain.mine(after_ms=CONTEXT.policy.hold_ms + 1)
    assert held(store) == (0, 0)


def test_a_late_payment_still_mints_while_a_seat_is_left(store: Store) -> None:
    """btcpayserver/btcpayserver#7545: paid after expiry, and the ticket was never sent."""
    fill(store)
    quote = ask(store)
    chain = Blocks(store)
    chain.mine(after_ms=CONTEXT.policy.hold_ms + 1)
    chain.mine((quote.address, quote.amount, None), after_ms=CONTEXT.policy.hold_ms + 2)
    assert held(store) == (1, 0)


def test_the_short_memo_finds_its_purchase_and_one_that_disagrees_is_looked_at(store: Store) -> None:
    quote = ask(store)
    chain = Blocks(store)
    chain.mine(
        ("till", quote.amount, f"event:gala:wallet:bobby:ref:{quote.ref}"),
        ("till", quote.amount, quote.memo),
        ("till", quote.amount, "cw:aaaaaaaaaaaaaaaa"),
    )
    with store.reading() as connection:
        states = {t.idx: (t.shown, t.reason) for t in connection.execute(select(transfers))}
        assert states == {"0": ("review", "ref_disagrees"), "1": ("minted", ""), "2": ("review", "unknown_ref")}
        assert [t.wallet for t in connection.execute(select(tickets))] == ["alice"]


def test_the_purchase_id_is_a_secret_that_the_database_does_not_hold(store: Store) -> None:
    quote = ask(store)
    with store.reading() as connection:
        row = connection.execute(select(purchases)).one()
    assert quote.purchase_id not in repr(row)
    assert len(row.secret_hash) == 32
    assert quote.ref == row.ref


@pytest.mark.parametrize(
    ("event", "wallet", "asset", "code"),
    [
        ("nowhere", "alice", "BTC", "unknown_event"),
        ("gala", "0x742d35Cc6C4b35F41a5F89b2A9d0a7C97EfE5b2d", "BTC", "bad_wallet"),
        ("gala", "alice", "HIVE", "not_for_sale"),
    ],
)
def test_what_cannot_be_sold_is_refused_by_code(store: Store, event: str, wallet: str, asset: str, code: str) -> None:
    with pytest.raises(Rejected) as caught, store.transaction() as connection:
        quotes.quote(connection, quotes.Ask(event_id=event, wallet=wallet, asset=asset), CONTEXT, NOW)
    assert caught.value.code == code
    with store.reading() as connection:
        assert connection.execute(select(addresses.c.id)).first() is None


def test_a_reference_key_finds_its_purchase_and_two_of_them_are_ambiguous(store: Store) -> None:
    """Solana Pay: the key stands in the transaction, the money goes to the common account."""
    with store.transaction() as connection:
        pool.add(connection, "BTC", 1, ["reference:keyA", "reference:keyB"], NOW)
    first, second = ask(store), ask(store, "bobby")
    assert (first.address, first.reference, second.reference) == ("till", "keyA", "keyB")
    position = InBlock(BlockRef(1, "h1"))
    paid = [
        Transfer("BTC", f"r{i}", "0", "BTC", 100_000, "till", references=keys, position=position)
        for i, keys in enumerate((("keyB",), ("keyA", "keyB"), ("unknown",)))
    ]
    ref = BlockRef(1, "h1", "h0")
    step = Step("BTC", None, ref, ref, None, blocks=(Block(ref, NOW, tuple(paid)),))
    with store.transaction() as connection:
        apply(connection, step, CONTEXT, 1, NOW)
        assert audit(connection) == []
    with store.reading() as connection:
        states = {t.txid: (t.shown, t.reason) for t in connection.execute(select(transfers))}
        assert states == {"r0": ("minted", ""), "r1": ("review", "ambiguous"), "r2": ("review", "no_memo")}
        assert [t.wallet for t in connection.execute(select(tickets))] == ["bobby"]
