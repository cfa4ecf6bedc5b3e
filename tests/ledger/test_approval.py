"""The second look at money that leaves: what has happened since an export was made, and what may not be paid at all."""

import contextlib
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import event as on
from sqlalchemy import select, update

from chainwatch.errors import Rejected
from chainwatch.ledger import creators, events, exports, payouts, refunds
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import events as event_table
from chainwatch.ledger.tables import exports as export_table
from chainwatch.ledger.tables import milestones
from chainwatch.ledger.tables import payouts as payout_table
from chainwatch.ledger.tables import refunds as refund_table
from chainwatch.model import Asset
from chainwatch.payfiles import Options, again, planner
from chainwatch.testing.house import BUYERS, CREATORS, DAY, PRICE, TILLS, House

pytestmark = pytest.mark.network
HOUR = 3_600_000


@contextlib.contextmanager
def refused(code: str, says: str = "") -> Iterator[None]:
    with pytest.raises(Rejected) as caught:
        yield
    assert caught.value.code == code, caught.value
    assert says in str(caught.value)


def waiting(store: Store, **more: Any) -> tuple[Any, int]:
    """A house with a payout of 8,000 that waits for its second operator."""
    h = House(store, **more)
    h.event()
    h.sell("gala", "alice", "bobby")
    h.over()
    h.address()
    h.rules = exports.Rules(approve_above={"HIVE": 0})
    return h, h.export()


def approve(h: Any, export: int, actor: str = "bob") -> None:
    with h.store.transaction() as c:
        exports.approve(c, export, h.context, h.plan, h.now, actor)


def void(h: Any, export: int, actor: str = "ann") -> str:
    with h.store.transaction() as c:
        return exports.void(c, export, h.context, h.now, actor)


def cancel(h: Any, name: str = "gala") -> None:
    with h.store.transaction() as c:
        events.cancel(c, name, {"HIVE": h.context}, h.now, "ann")


def test_a_payout_of_an_event_that_was_cancelled_since_does_not_leave(store: Store) -> None:
    """Its money is its buyers' now: paying it out would be our loss."""
    h, export = waiting(store)
    cancel(h)
    with refused("frozen", "owed_less"):
        approve(h, export)
    assert void(h, export) == "void"
    h.over()
    assert h.states(payout_table) == ["cancelled"]


def test_a_payout_does_not_leave_for_an_address_that_is_not_in_force_any_more(store: Store) -> None:
    h, export = waiting(store)
    with store.transaction() as c:
        creators.set_address(c, "carol", "HIVE", "carol-new", "carol", h.now, 72 * HOUR)
    with refused("frozen", "address_change"):
        approve(h, export)
    h.now += 73 * HOUR
    with refused("frozen", "carol"):
        approve(h, export)
    assert void(h, export) == "void"
    h.over()
    assert h.items(h.export())[0].destination == "carol-new"


def test_a_refund_whose_money_is_gone_does_not_leave(store: Store) -> None:
    h = House(store, depth=1, payout_depth=3)
    h.event()
    h.rules = exports.Rules(approve_above={"HIVE": 0})
    h.mine(h.paid("stray", 50, "event:none:wallet:zed"), empty=2)
    h.enter()
    export = h.export("refunds")
    h.undo(3, keep=False)
    with refused("frozen", "not there"):
        approve(h, export)
    assert void(h, export) == "void"


def test_money_that_a_reorganisation_took_is_not_paid_out(store: Store) -> None:
    """Deep enough for a ticket, never for a payout: while its block is gone the creator is not owed it."""
    h = House(store, depth=1, payout_depth=5)
    h.event()
    h.sell("gala", "alice")
    paid = h.paid("late", PRICE, "event:gala:wallet:bobby")
    h.mine(empty=4)
    h.mine(paid)
    h.over()
    h.address()
    h.reorg(1)
    h.mine(empty=6)
    h.over()
    assert [r.amount for r in h.rows(payout_table)] == [4_000]
    h.mine(paid, empty=6)
    h.over()
    assert [r.amount for r in h.rows(payout_table)] == [8_000]
    h.mine(h.signed(h.export(), "payout"), empty=6)
    assert h.states(payout_table) == ["settled"]


def test_what_was_paid_out_before_its_block_went_is_not_asked_back_of_the_creator(store: Store) -> None:
    """Payout depth was reached and undone all the same: that is the platform's loss, and the books say so."""
    h = House(store)
    h.event()
    h.sell("gala", "alice", "bobby")
    h.over()
    h.address()
    sold = [t for b in h.blocks for t in b.transfers]
    h.mine(h.signed(h.export(), "payout"), empty=2)
    out = [t for b in h.blocks[-4:] for t in b.transfers if t.direction == "out"]
    h.reorg(len(h.blocks), *out, empty=3)  # all but what had left
    assert h.books()["loss"] == sum(t.amount for t in sold)
    h.event("expo")
    h.sell("expo", "dave")
    h.over()
    assert [r.amount for r in h.rows(payout_table) if r.state == "due"] == [4_000]


def test_the_account_that_pays_is_the_same_after_approval(store: Store) -> None:
    """A Hive file is written anew when it leaves, for its time counts from then."""
    h = House(store)
    h.event()
    h.sell("gala", "alice", "bobby")
    h.over()
    h.address()
    h.spec = msgspec.structs.replace(h.spec, receive=("till", "till-two"))
    h.context = msgspec.structs.replace(h.context, spec=h.spec)
    h.rules = exports.Rules(approve_above={"HIVE": 0})
    h.plan = planner(h.spec, Options(account="till-two"))
    export = h.export()
    (row,) = h.rows(export_table)
    h.plan = again(h.spec, row.payload)
    approve(h, export)
    with store.reading() as c:
        assert exports.document(c, export)["operations"][0][1]["from"] == "till-two"


@pytest.mark.parametrize("family", ["HIVE", "ETH"])
def test_nothing_is_paid_to_an_account_of_our_own(store: Store, family: str) -> None:
    """It would never leave us, and so never be settled."""
    h = House(store, family)
    h.event()
    h.mine(h.paid("stray", 50 * h.unit, "event:none:wallet:zed"), empty=3)
    ours = TILLS[family]
    with store.transaction() as c:
        refunds.enter(c, h.refund_id(), ours, "ann", h.now)
    with refused("nothing_to_export", "our own"):
        h.export("refunds")


@pytest.mark.parametrize("family", ["HIVE", "ETH"])
def test_what_would_reach_nobody_is_refused_when_it_is_named(store: Store, family: str) -> None:
    """An account of our own, a token's contract: found at the export only, what a buyer has signed stays for ever."""
    h = House(store, family)
    h.event()
    h.mine(h.paid("u1", 50 * h.unit, f"event:gala:wallet:{BUYERS[family]}"), empty=30)
    token = Asset("ETH:USDC", "ETH", 6, asset_id="0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48")
    spec = msgspec.structs.replace(h.spec, assets=(*h.spec.assets, *([token] if family == "ETH" else [])))
    nobody = [TILLS[family], *([token.asset_id] if family == "ETH" else [])]
    for there in nobody:
        with store.transaction() as c:
            with refused("bad_destination"):
                refunds.enter(c, h.refund_id(), there, "ann", h.now, {family: spec})
            with refused("bad_destination"):
                refunds.claim(c, h.refund_id(), there, BUYERS[family], h.now, {family: spec})
            with refused("bad_destination"):
                creators.set_address(c, "carol", family, there, "carol", h.now, 0, spec)
    with store.transaction() as c:
        refunds.claim(c, h.refund_id(), BUYERS[family], BUYERS[family], h.now, {family: spec})


def test_change_that_goes_elsewhere_needs_the_second_operator_too(store: Store) -> None:
    """Else a file of a few satoshi takes all the rest of the coins along."""
    h = House(store, "BTC")
    h.mine(h.paid("stray", 50_000, "event:none:wallet:zed"), h.paid("float", 9_000_000, None), empty=3)
    h.enter()
    h.rules = exports.Rules(approve_above={"BTC": 60_000})
    options = Options(fee_rate=2_000, change=CREATORS["BTC"])
    h.plan = planner(h.spec, options)
    assert h.states(export_table) == []
    export = h.export("refunds")
    assert h.states(export_table) == ["waiting"]
    with store.transaction() as c:
        assert exports.void(c, export, h.context, h.now, "ann") == "void"
    h.plan = planner(h.spec, msgspec.structs.replace(options, change=TILLS["BTC"]))
    h.export("refunds")
    assert h.states(export_table) == ["void", "exported"]


# -- how much is looked at -------------------------------------------------------------------------


def read(store: Store, now_ms: int) -> int:
    """Let payouts fall due; return how many lines of the books were read for it."""
    lines = 0

    def count(_c: Any, cursor: Any, statement: str, *_more: Any) -> None:
        nonlocal lines
        lines += statement.startswith("SELECT ledger_lines")

    on.listen(store.engine, "after_cursor_execute", count)
    try:
        with store.transaction() as c:
            payouts.fall_due(c, now_ms, 7 * DAY)
    finally:
        on.remove(store.engine, "after_cursor_execute", count)
    return lines


def closed(store: Store) -> list[int]:
    with store.reading() as c:
        rows = select(milestones.c.event_id).where(milestones.c.what == payouts.PAID_UP)
        return sorted(c.scalars(rows))


def test_events_that_are_paid_up_are_not_reckoned_again_until_their_books_change(store: Store) -> None:
    h = House(store)
    for n in range(3):
        h.event(f"e{n}")
        h.sell(f"e{n}", "alice")
    h.over()
    h.address()
    assert closed(store) == []
    h.mine(h.signed(h.export(), "payout"), empty=2)
    assert read(store, h.now) > 0
    assert closed(store) == [1, 2, 3]
    assert read(store, h.now) == 0
    cancel(h, "e1")
    assert closed(store) == [1, 3]
    h.over()
    h.event("expo")
    h.sell("expo", "alice", "bobby")
    h.over()
    assert [r.amount for r in h.rows(payout_table) if r.state == "due"] == [4_000]  # less what e1 was paid too much
    assert closed(store) == [1, 3]


def test_a_payout_that_comes_back_reopens_its_event(store: Store) -> None:
    """Settled, its settlement undone, its file void by two: it is due again and stays so."""
    h = House(store)
    h.event()
    h.sell("gala", "alice")
    h.over()
    h.address()
    export = h.export()
    h.mine(h.signed(export, "payout"), empty=1)
    h.over()
    assert closed(store) == [1]
    h.reorg(2)
    assert h.states(payout_table) == ["exported"]
    assert void(h, export, "ann") == "exported"
    assert void(h, export, "bob") == "void"
    h.over()
    assert [(r.state, r.amount) for r in h.rows(payout_table)] == [("due", 4_000)]
    assert closed(store) == []


def test_an_event_that_was_over_and_sells_again_is_looked_at_again(store: Store) -> None:
    h = House(store)
    h.event()
    h.sell("gala", "alice")
    h.over()
    h.address()
    h.mine(h.signed(h.export(), "payout"), empty=2)
    h.over()
    assert closed(store) == [1]
    with store.transaction() as c:
        later = h.now + DAY
        c.execute(update(event_table).values(event_end_ms=later, latest_end_ms=later))
    h.sell("gala", "bobby")
    assert closed(store) == []
    h.now = later + 8 * DAY
    h.over()
    assert [r.amount for r in h.rows(payout_table) if r.state == "due"] == [4_000]
    assert h.states(export_table) == ["settled"]
    assert h.states(refund_table) == []
