"""Purchases with an address and a seat of their own, on both databases."""

import base64
import threading
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from chainwatch.errors import Rejected
from chainwatch.finality import Rule, Tier
from chainwatch.follower import Step
from chainwatch.ledger import events, pool, quotes
from chainwatch.ledger.apply import apply
from chainwatch.ledger.apply import held as chain_held
from chainwatch.ledger.audit import audit
from chainwatch.ledger.context import Context, Policy
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import addresses, purchases, tickets, transfers
from chainwatch.ledger.tables import events as event_table
from chainwatch.model import Asset, Block, BlockRef, ChainSpec, InBlock, Transfer, Unconfirmed
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


@pytest.fixture
def store(store: Store) -> Store:
    """An event with two seats is on sale."""
    with store.transaction() as connection:
        new = events.NewEvent(id="gala", title="gala", ticket_price="0.001", ticket_currency="BTC", max_attendees=2)
        events.create(connection, new, {"BTC": SPEC.assets[0]}, 2000, NOW, "test")
    return store


def ask(
    store: Store, wallet: str = "alice", now_ms: int = NOW, context: Context = CONTEXT, **more: Any
) -> quotes.Quote:
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


def test_an_address_that_is_everybodys_is_nobodys_own(store: Store) -> None:
    """An operator may list an address of his account key in ``receive``: payments to it need a memo."""
    with store.transaction() as connection:
        pool.add(connection, "BTC", 1, ["till", "own2"], NOW)
    assert ask(store).address == "own2"
    quote = ask(store, "bobby")
    assert (quote.address, quote.memo is None) == ("till", False)


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
    """A restored wallet stops at twenty unused in a row (BIP-44), and number 0 is the first of them."""
    with store.transaction() as connection:
        assert pool.wanted(connection, "BTC", 20) == range(1, 20)
        pool.add(connection, "BTC", 1, [f"own{i}" for i in range(1, 20)], NOW)
        assert not pool.wanted(connection, "BTC", 20)
    for n in range(6):
        ask(store, f"buyer{n}")
    with store.reading() as connection:
        assert not pool.wanted(connection, "BTC", 20)  # nobody has paid: twenty unused in a row is the limit
    Blocks(store).mine(("own4", 1, None))
    with store.reading() as connection:
        assert pool.wanted(connection, "BTC", 20) == range(20, 25)


def test_a_sighting_opens_no_addresses_beyond_the_gap(store: Store) -> None:
    """It costs its sender nothing, and the operator's wallet never hears of it."""
    fill(store, 19)
    quote = ask(store)
    chain = Blocks(store)
    chain.mine()
    seen = Transfer("BTC", "seen", "0", "BTC", 1, quote.address, position=Unconfirmed(NOW))
    for snapshot in ((seen,), ()):  # it is there, and then it is gone
        step = Step("BTC", chain.at, chain.at, chain.at, None, snapshot=snapshot)
        with store.transaction() as connection:
            apply(connection, step, CONTEXT, 1, NOW)
            assert not pool.wanted(connection, "BTC", 20)


def test_a_chain_without_memos_sells_nothing_while_its_pool_is_empty(store: Store) -> None:
    """Monero: without an address of its own nobody would know whose payment it is.  Later there is one."""
    spec = msgspec.structs.replace(SPEC, params={"memo": False})
    context = msgspec.structs.replace(CONTEXT, spec=spec)
    with pytest.raises(Rejected) as no:
        ask(store, context=context)
    assert no.value.code == "no_address"
    assert held(store) == (0, 0)
    fill(store, 1)
    assert ask(store, context=context).address == "own1"


def test_the_purchase_id_has_128_random_bits(store: Store) -> None:
    ids = {ask(store, f"buyer{n}").purchase_id for n in range(20)}
    assert {len(base64.urlsafe_b64decode(text + "==")) for text in ids} == {16}
    assert len(ids) == 20


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


def chain_of(*times: int, first: int = 1, parent: str = "h0", fork: str = "") -> tuple[Block, ...]:
    """Make blocks of these times (milliseconds after NOW); each pays one unit to nobody we know."""
    made: list[Block] = []
    for height, after_ms in enumerate(times, first):
        ref = BlockRef(height, f"h{height}{fork}", made[-1].ref.hash if made else parent)
        at = InBlock(ref, NOW + after_ms)
        made.append(Block(ref, NOW + after_ms, (Transfer("BTC", f"t{height}", "0", "BTC", 1, "own9", position=at),)))
    return tuple(made)


def paid_times(store: Store) -> list[int]:
    """Return when each payment was paid, in milliseconds after NOW, by height."""
    with store.reading() as connection:
        rows = connection.execute(select(transfers.c.paid_ms).order_by(transfers.c.height))
        return [ms - NOW for ms in rows.scalars()]


def follow(store: Store, made: tuple[Block, ...], *, final: bool = True, undo_to: BlockRef | None = None) -> None:
    """Apply blocks in one step, a hundred seconds after NOW."""
    with store.transaction() as connection:
        tip = made[-1].ref
        step = Step("BTC", chain_held(connection, "BTC").cursor, tip, tip, tip if final else None, undo_to, blocks=made)
        apply(connection, step, CONTEXT, 1, NOW + 100_000)


def test_a_block_s_time_is_never_before_its_parent_s(store: Store) -> None:
    """A miner may set a block's time back by an hour, and so make a late payment look timely."""
    follow(store, chain_of(5_000, 1_000, 1_500))  # the parent's own time counts, not what it was lifted to
    assert paid_times(store) == [5_000, 5_000, 1_500]


def test_the_parent_may_be_of_an_earlier_step(store: Store) -> None:
    follow(store, chain_of(1_000, 60_000))
    follow(store, chain_of(2_000, first=3, parent="h2"))
    assert paid_times(store) == [1_000, 60_000, 60_000]


def test_a_time_in_our_future_is_our_own_clock_s(store: Store) -> None:
    follow(store, chain_of(7_200_000, 90_000))
    assert paid_times(store) == [100_000, 100_000]


def test_a_payment_that_moved_has_its_new_block_s_parent(store: Store) -> None:
    follow(store, chain_of(50_000, 10_000), final=False)
    assert paid_times(store) == [50_000, 50_000]
    follow(store, chain_of(20_000, 10_000, fork="b"), final=False, undo_to=BlockRef(0, "h0"))
    assert paid_times(store) == [20_000, 20_000]
