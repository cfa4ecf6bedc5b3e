"""The same chain, delivered in many ways, on both databases: the ledger ends the same.

LDK's ConnectStyle (functional_test_utils.rs) is the model: one by one, in batches, twice, tip first,
sighted before, with a reorg in the middle, after a restart between any two steps.
"""

from collections.abc import Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from chainwatch.errors import Inconsistent, LostRace
from chainwatch.finality import Rule, Tier
from chainwatch.follower import Held, Step
from chainwatch.ledger import events, leases, rescan, schema
from chainwatch.ledger.apply import apply, held
from chainwatch.ledger.audit import audit
from chainwatch.ledger.context import Context, Policy
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import allocations, ledger_lines, refunds, tickets, transfers
from chainwatch.model import Asset, Block, BlockRef, ChainSpec, InBlock, Transfer, Unconfirmed
from chainwatch.tickets.token import Issuer
from chainwatch.wallets import canonical_wallet

NOW = 1_760_000_000_000
COIN = Asset("HIVE", "HIVE", 3)
SPEC = ChainSpec("HIVE", "hive", "hive", (COIN,), (), ("till",))
REFS = (f"ref{i:05}" for i in range(10**5))
CONTEXT = Context(
    SPEC,
    Rule((Tier(final=True),)),
    Policy(),
    Issuer(Ed25519PrivateKey.from_private_bytes(bytes(32))),
    canonical_wallet,
    lambda: next(REFS),
)


def pay(txid: str, amount: int, wallet: str = "alice", event: str = "gala", index: str = "0", **more: Any) -> Transfer:
    memo = f"event:{event}:wallet:{wallet}".encode()
    return Transfer("HIVE", txid, index, "HIVE", amount, "till", sender=(wallet,), memo=memo, **more)


class Chain:
    """Blocks by height, with forks told apart by a letter."""

    def __init__(self) -> None:
        self.blocks: dict[str, Block] = {}

    def block(self, height: int, parent: str, fork: str = "a", payments: Sequence[Transfer] = ()) -> Block:
        ref = BlockRef(height, f"{fork}{height}", parent)
        position = InBlock(BlockRef(height, ref.hash), NOW + height * 3000)
        placed = tuple(
            Transfer(**{f: getattr(p, f) for f in Transfer.__struct_fields__ if f != "position"}, position=position)
            for p in payments
        )
        block = Block(ref, position.time_ms, placed)
        self.blocks[ref.hash] = block
        return block


def canonical() -> list[Block]:
    """Six blocks: an exact payment, one in two parts, an overpayment, one too many, one too few."""
    chain = Chain()
    return [
        chain.block(1, "g", payments=[pay("t1", 5000, "alice"), pay("t2", 2000, "bobby")]),
        chain.block(2, "a1"),
        chain.block(3, "a2", payments=[pay("t3", 3000, "bobby"), pay("t3", 6000, "carol", index="1")]),
        chain.block(4, "a3", payments=[pay("t4", 5000, "dave1"), pay("t5", 10, "erin1")]),
        chain.block(5, "a4", payments=[pay("t6", 5000, "frank", ok=False), pay("t7", 7, event="nowhere")]),
        chain.block(6, "a5"),
    ]


class Ledger:
    """The service's end: applies steps and keeps what it holds."""

    def __init__(self, store: Store) -> None:
        self.store = store
        with store.transaction() as connection:
            for name, seats in (("gala", 3), ("big", None)):
                new = events.NewEvent(
                    id=name, title=name, ticket_price="5", ticket_currency="HIVE", max_attendees=seats
                )
                events.create(connection, new, {"HIVE": COIN}, 2000, NOW, "test")
            fence = leases.acquire(connection, "chain:HIVE", "test", NOW)
        assert fence is not None
        self.fence = fence
        self.cursor: BlockRef | None = None

    def connect(
        self, blocks: Sequence[Block], final: BlockRef | None, undo: BlockRef | None = None, **more: Any
    ) -> None:
        cursor = blocks[-1].ref if blocks else (undo or self.cursor)
        assert cursor is not None
        step = Step("HIVE", self.cursor, cursor, cursor, final, disconnect_to=undo, blocks=tuple(blocks), **more)
        with self.store.transaction() as connection:
            apply(connection, step, CONTEXT, self.fence, NOW + 60_000)
        self.cursor = cursor

    def restart(self) -> None:
        with self.store.reading() as connection:
            self.cursor = held(connection, "HIVE").cursor


def one_by_one(ledger: Ledger, blocks: list[Block]) -> None:
    for block in blocks:
        ledger.connect([block], block.ref)


def in_one_batch(ledger: Ledger, blocks: list[Block]) -> None:
    ledger.connect(blocks, blocks[-1].ref)


def final_only_at_the_end(ledger: Ledger, blocks: list[Block]) -> None:
    for block in blocks:
        ledger.connect([block], None)
    ledger.connect([], blocks[-1].ref)


def sighted_before(ledger: Ledger, blocks: list[Block]) -> None:
    ledger.connect(blocks[:1], blocks[0].ref)
    waiting = tuple(
        Transfer(**{f: getattr(t, f) for f in Transfer.__struct_fields__ if f != "position"}, position=Unconfirmed(NOW))
        for block in blocks[1:]
        for t in block.transfers
    )
    ledger.connect([], blocks[0].ref, snapshot=waiting)
    one_by_one(ledger, blocks[1:])


def restart_between_all(ledger: Ledger, blocks: list[Block]) -> None:
    for block in blocks:
        ledger.connect([block], block.ref)
        ledger.restart()


def with_a_reorg(ledger: Ledger, blocks: list[Block]) -> None:
    """Blocks 3-5 first come as another branch with the same payments elsewhere, and one that vanishes."""
    other = Chain()
    ledger.connect(blocks[:2], blocks[1].ref)
    ghost = pay("ghost", 5000, "ghost")
    for block in (
        other.block(3, "a2", "b", [pay("t4", 5000, "dave1"), ghost]),
        other.block(4, "b3", "b", [pay("t3", 3000, "bobby"), pay("t3", 6000, "carol", index="1")]),
    ):
        ledger.connect([block], blocks[1].ref)
    ledger.connect([blocks[2]], blocks[1].ref, undo=blocks[1].ref)
    one_by_one(ledger, blocks[3:])


def every_block_twice(ledger: Ledger, blocks: list[Block]) -> None:
    for block in blocks:
        before = ledger.cursor
        ledger.connect([block], block.ref)
        after, ledger.cursor = ledger.cursor, before
        with pytest.raises(LostRace):
            ledger.connect([block], block.ref)
        ledger.cursor = after


def scanned_again_afterwards(ledger: Ledger, blocks: list[Block]) -> None:
    one_by_one(ledger, blocks)
    for _ in range(2):
        with ledger.store.transaction() as connection:
            job_id = rescan.queue(connection, "HIVE", 1, 6, NOW)
            job = rescan.job(connection, job_id)
            rescan.apply(connection, job, blocks, held(connection, "HIVE"), CONTEXT, ledger.fence, NOW)
            assert rescan.job(connection, job_id).done_ms is not None


STYLES = (
    one_by_one,
    in_one_batch,
    final_only_at_the_end,
    sighted_before,
    restart_between_all,
    with_a_reorg,
    every_block_twice,
    scanned_again_afterwards,
)


def picture(store: Store) -> dict[str, Any]:
    """What the ledger says, without what may differ (ids, numbers between rivals, first sightings)."""
    with store.reading() as connection:
        assert audit(connection) == []
        rows = {t.id: (t.txid, t.idx) for t in connection.execute(select(transfers))}
        sums: dict[Any, int] = {}
        for line in connection.execute(select(ledger_lines)):
            sums[line.account] = sums.get(line.account, 0) + line.amount
        return {
            "states": {
                rows[t.id]: (t.state, t.shown, t.height, t.reason)
                for t in connection.execute(select(transfers))
                if t.txid != "ghost"
            },
            "ghost": [t.state for t in connection.execute(select(transfers).where(transfers.c.txid == "ghost"))],
            "tickets": {
                t.wallet: (t.amount_paid, t.commission, t.payout, t.state, t.uuid)
                for t in connection.execute(select(tickets))
            },
            "allocations": sorted(
                (rows[a.transfer_id], a.kind, a.amount, a.reason) for a in connection.execute(select(allocations))
            ),
            "refunds": sorted(
                (rows[r.transfer_id], r.kind, r.amount, r.reason)
                for r in connection.execute(select(refunds))
                if r.state == "due"
            ),
            "books": {k: v for k, v in sums.items() if v},
        }


@pytest.mark.network
@pytest.mark.parametrize("style", STYLES, ids=lambda s: s.__name__)
def test_the_ledger_ends_the_same_however_the_chain_is_delivered(store: Store, style: Any) -> None:
    ledger = Ledger(store)
    style(ledger, canonical())
    seen = picture(store)
    assert seen["ghost"] in ([], ["orphaned"])
    assert seen["tickets"].keys() == {"alice", "bobby", "carol"}
    assert all(t[:4] == (5000, 1000, 4000, "active") for t in seen["tickets"].values())
    assert seen["states"]["t6", "0"][0] == "failed"
    assert seen["refunds"] == [
        (("t3", "1"), "surplus", 1000, "overpaid"),
        (("t4", "0"), "refund", 5000, "sold_out"),
        (("t7", "0"), "refund", 7, "unknown_event"),
    ]
    assert (("t5", "0"), "open", 10, "underpaid") in seen["allocations"]
    assert seen["books"] == {
        "received": 21017,
        "commission": -3000,
        "creator": -12000,
        "surplus": -1000,
        "refunds": -5007,
        "open": -10,
    }


@pytest.mark.network
def test_minting_again_gives_the_same_token(store: Store, tmp_path: Any) -> None:
    ledger = Ledger(store)
    one_by_one(ledger, canonical())
    twin = Store(f"sqlite:///{tmp_path}/twin.db")
    schema.upgrade(twin)
    one_by_one(Ledger(twin), canonical())
    assert {w: t[4] for w, t in picture(store)["tickets"].items()} == {
        w: t[4] for w, t in picture(twin)["tickets"].items()
    }
    twin.close()


@pytest.mark.network
def test_a_reorg_of_a_counted_payment_suspends_its_ticket_and_books_a_loss_until_it_is_back(store: Store) -> None:
    """BTCPay's Settled is terminal and silent; here the seat is kept, the door is shut, the alarm rings."""
    ledger = Ledger(store)
    blocks = canonical()
    ledger.connect(blocks[:1], blocks[0].ref)
    other = Chain().block(1, "g", "b")
    ledger.connect([other], other.ref, undo=BlockRef(0, "g"), undoes_final=True)
    seen = picture(store)
    assert seen["tickets"]["alice"][3] == "suspended"
    assert seen["books"] == {"loss": 5000, "commission": -1000, "creator": -4000}
    again = Chain().block(2, "b1", "b", [pay("t1", 5000, "alice")])
    ledger.connect([again], again.ref)
    seen = picture(store)
    assert seen["tickets"]["alice"][3] == "active"
    assert seen["books"] == {"received": 5000, "commission": -1000, "creator": -4000}
    with store.reading() as connection:
        from chainwatch.ledger import queries

        assert "were final" in queries.status(connection).chains[0].alarm


@pytest.mark.network
def test_a_top_up_cancels_a_refund_that_has_not_left(store: Store) -> None:
    ledger = Ledger(store)
    first = Chain().block(1, "g", payments=[pay("u1", 4999)])
    later = Block(BlockRef(2, "a2", "a1"), NOW + 20 * 60_000, ())
    ledger.connect([first], first.ref)
    with store.transaction() as connection:
        step = Step("HIVE", ledger.cursor, later.ref, later.ref, later.ref, blocks=(later,))
        apply(connection, step, CONTEXT, ledger.fence, NOW + 3_600_000)
    ledger.cursor = later.ref
    assert picture(store)["refunds"] == [(("u1", "0"), "refund", 4999, "underpaid")]
    rest = Chain().block(3, "a2", payments=[pay("u2", 1)])
    ledger.connect([rest], rest.ref)
    seen = picture(store)
    assert seen["refunds"] == []
    assert seen["tickets"].keys() == {"alice"}


@pytest.mark.network
def test_a_cancelled_event_owes_every_payment_back_and_pays_no_commission(store: Store) -> None:
    ledger = Ledger(store)
    one_by_one(ledger, canonical())
    with store.transaction() as connection:
        assert events.cancel(connection, "gala", {"HIVE": CONTEXT}, NOW, "test") == 3
    seen = picture(store)
    assert {t[3] for t in seen["tickets"].values()} == {"cancelled"}
    assert seen["books"] == {"received": 21017, "refunds": -21017}


@pytest.mark.network
def test_amounts_of_78_digits_are_exact(store: Store) -> None:
    huge = 10**78 - 1
    ledger = Ledger(store)
    block = Chain().block(1, "g", payments=[pay("h1", huge, event="big"), pay("h2", 2**256 - 1, event="big")])
    ledger.connect([block], block.ref)
    seen = picture(store)
    assert seen["books"]["received"] == huge + 2**256 - 1
    assert seen["tickets"]["alice"][0] == 5000


@pytest.mark.network
def test_a_writer_whose_lease_was_taken_cannot_write_any_more(store: Store) -> None:
    assert leases.TTL_MS == 10_000
    ledger = Ledger(store)
    blocks = canonical()
    ledger.connect(blocks[:1], blocks[0].ref)
    with store.transaction() as connection:
        assert leases.acquire(connection, "chain:HIVE", "other", NOW + 1) is None
        newer = leases.acquire(connection, "chain:HIVE", "other", NOW + leases.TTL_MS + 1)
    assert newer is not None
    assert newer > ledger.fence
    old, ledger.fence = ledger.fence, newer
    ledger.connect(blocks[1:2], blocks[1].ref)
    ledger.fence = old
    with pytest.raises(LostRace):
        ledger.connect(blocks[2:3], blocks[2].ref)


@pytest.mark.network
def test_a_step_for_another_block_at_our_height_writes_nothing(store: Store) -> None:
    """A height alone can be two blocks: the cursor is height and hash."""
    ledger, chain = Ledger(store), Chain()
    first = chain.block(1, "g")
    ledger.connect([first], None)
    ledger.cursor = BlockRef(1, "b1")
    with pytest.raises(LostRace):
        ledger.connect([chain.block(2, "b1", "b", [pay("t1", 5000)])], None)
    assert not picture(store)["tickets"]
    with store.reading() as connection:
        assert held(connection, "HIVE").cursor == BlockRef(1, "a1")
        assert connection.execute(select(transfers)).first() is None


@pytest.mark.network
def test_another_block_replaces_every_fact_of_a_payment(store: Store) -> None:
    """Its identity is (chain, txid, index), wherever it is included: what it says there is what counts."""
    ledger, chain = Ledger(store), Chain()
    first = chain.block(1, "g")
    ledger.connect([first], first.ref)
    ledger.connect([chain.block(2, "a1", "a", [pay("t1", 5000)])], first.ref)
    ledger.connect([chain.block(2, "a1", "b", [pay("t1", 4000, "bobby")])], first.ref, undo=first.ref)
    with store.reading() as connection:
        (row,) = connection.execute(select(transfers)).all()
        assert audit(connection) == []
    assert (row.txid, row.idx, row.amount, row.block_hash) == ("t1", "0", 4000, "b2")
    assert (row.memo, row.sender) == (b"event:gala:wallet:bobby", '["bobby"]')


@pytest.mark.network
def test_the_cursor_comes_back_after_a_restart_with_the_blocks_that_matter(store: Store) -> None:
    ledger = Ledger(store)
    blocks = canonical()
    ledger.connect(blocks[:3], blocks[2].ref)
    for block in blocks[3:]:
        ledger.connect([block], blocks[2].ref)
    with store.reading() as connection:
        kept = held(connection, "HIVE")
    assert kept == Held(BlockRef(6, "a6"), BlockRef(3, "a3"), [BlockRef(h, f"a{h}") for h in (3, 4, 5, 6)])


@pytest.mark.network
def test_a_text_that_a_database_cannot_hold_is_the_node_s_fault_not_a_crash(store: Store) -> None:
    """PostgreSQL refuses zero bytes in text."""
    ledger = Ledger(store)
    block = Chain().block(1, "g", payments=[pay("t1\0", 5000)])
    try:
        ledger.connect([block], block.ref)
    except Inconsistent:
        assert not store.is_sqlite
    assert picture(store)["books"].get("received", 0) in (0, 5000)
