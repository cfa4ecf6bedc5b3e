"""Money that leaves, in any order: random histories, crashes at every statement, two at once on PostgreSQL.

btcpayserver#6540 (a payout paid ten times), btcpayserver#5913, the LNbank race of December 2023 (S16).
"""

import gc
import threading
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import select, update

from chainwatch.errors import Rejected, Transient
from chainwatch.ledger import events, exports, settlements
from chainwatch.ledger.audit import audit
from chainwatch.ledger.payouts import fall_due
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import (
    export_items,
    outbox,
    payouts,
    purchases,
    refunds,
    tickets,
    transfers,
)
from chainwatch.ledger.tables import exports as export_table
from chainwatch.testing.house import DAY, House, tid
from chainwatch.testing.inline import Crash, InlineLedger

pytestmark = pytest.mark.network

STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("pay"), st.sampled_from(["alice", "bobby", "dave"]), st.sampled_from([5_000, 4_999, 5_003, 1])
        ),
        st.tuples(st.just("stray"), st.integers(1, 3)),
        st.tuples(st.just("cancel")),
        st.tuples(st.just("over")),
        st.tuples(st.just("enter")),
        st.tuples(st.just("export"), st.sampled_from(["payouts", "refunds"])),
        st.tuples(st.just("sign")),
        st.tuples(st.just("withdraw"), st.integers(1, 9)),
        st.tuples(st.just("void")),
        st.tuples(st.just("reorg"), st.integers(1, 3), st.booleans()),
        st.tuples(st.just("mine")),
    ),
    min_size=4,
    max_size=24,
)


class Honest:
    """An operator who signs each file once, and only while it stands."""

    def __init__(self, house: Any) -> None:
        self.h = house
        self.signed: set[int] = set()
        self.n = 0

    def step(self, what: str, *args: Any) -> None:
        h = self.h
        self.n += 1
        if what == "pay":
            h.mine(h.paid(f"p{self.n}", args[1], f"event:gala:wallet:{args[0]}"))
        elif what == "stray":
            h.mine(h.paid(f"s{self.n}", args[0], "event:none:wallet:zed"))
        elif what == "withdraw":
            h.mine(h.left(f"w{self.n}", [("boss", args[0])], fee=1))
        elif what == "cancel":
            with h.store.transaction() as c:
                events.cancel(c, "gala", {"HIVE": h.context}, h.now, "ann")
        elif what == "over":
            h.over()
        elif what == "mine":
            h.mine(empty=2)
        elif what == "enter":
            for row in h.rows(refunds):
                if row.state == "due":
                    h.enter(row.id)
        elif what == "reorg" and len(h.blocks) > args[0] + 1:
            h.undo(args[0], keep=args[1])
        else:
            self.money(what, *args)
        h.check()

    def money(self, what: str, *args: Any) -> None:
        h = self.h
        if what == "export":
            try:
                h.export(args[0])
            except Rejected as error:
                if error.code not in ("nothing_to_export", "refunds_first"):
                    raise
        for export in h.rows(export_table):
            if what == "sign" and export.state == "exported" and export.id not in self.signed:
                self.signed.add(export.id)
                h.mine(h.signed(export.id, f"x{export.id}", fee=2))
            if what == "void" and export.state == "exported" and export.id not in self.signed:
                with h.store.transaction() as c:
                    said = exports.void(c, export.id, h.context, h.now, "ann")
                    if said == "exported":  # else its time was over, and one operator is enough
                        said = exports.void(c, export.id, h.context, h.now, "bob")
                    assert said in ("void", "settled")


def nothing_twice(h: Any) -> None:
    """What was settled is at most what was ever owed, and each transfer settles one item."""
    used = [i.transfer_id for i in h.rows(export_items) if i.transfer_id is not None]
    assert len(used) == len(set(used))
    paid_in = {t.id: t.amount for t in h.rows(transfers)}
    back: dict[int, int] = {}
    for r in h.rows(refunds):
        if r.state in ("exported", "settled"):
            back[r.transfer_id] = back.get(r.transfer_id, 0) + r.amount
    assert all(back[i] <= paid_in[i] for i in back)
    owed = sum(t.payout for t in h.rows(tickets))
    assert sum(r.amount for r in h.rows(payouts) if r.state in ("exported", "settled")) <= owed
    told = [r.payload for r in h.rows(outbox, outbox.c.type == "payout.due")]
    assert len(told) == len(h.rows(payouts))


def conserved(h: Any) -> None:
    """Received = commission + payouts + refunds + surplus + open + the named others, per asset."""
    books = h.books()
    ours = {"received", "loss", "network_fees", "withdrawn"}
    assert sum(n for a, n in books.items() if a in ours) == -sum(n for a, n in books.items() if a not in ours)
    came = sum(t.amount for t in h.rows(transfers) if t.direction == "in" and t.state == "confirmed")
    left = sum(
        t.amount + (t.network_fee or 0) for t in h.rows(transfers) if t.direction == "out" and t.state == "confirmed"
    )
    assert (books.get("received", 0), -books.get("paid_out", 0)) == (came, left)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_books_balance_and_nothing_is_paid_twice_whatever_happens(steps: list[tuple[Any, ...]]) -> None:
    store = InlineLedger()
    try:
        h = House(store)
        h.event()
        h.mine()
        h.address()
        operator = Honest(h)
        for step in steps:
            operator.step(*step)
            nothing_twice(h)
            conserved(h)
    finally:
        store.close()


@pytest.mark.parametrize("what", ["export", "settle", "void", "approve"])
def test_a_crash_at_any_statement_leaves_all_of_it_or_nothing(what: str) -> None:
    store = InlineLedger()
    h = House(store)
    h.event()
    h.sell("gala", "alice", "bobby")
    h.over()
    h.address()
    if what == "approve":
        h.rules = exports.Rules(approve_above={"HIVE": 0})
    before: Callable[[], Any] = lambda: (h.states(payouts), h.states(export_table), h.states(export_items))  # noqa: E731

    def act() -> None:
        with store.transaction() as c:
            if what == "export":
                exports.make(c, exports.Ask(kind="payouts", asset="HIVE"), h.context, h.rules, h.plan, h.now, "ann")
            elif what == "settle":
                settlements.check(c, tid("early"), h.context, h.now)
            elif what == "approve":
                exports.approve(c, 1, h.context, h.plan, h.now, "bob")
            else:
                exports.void(c, 1, h.context, h.now, "bob")

    if what == "settle":
        h.mine(h.left("early", [("carol", 8_000)]), empty=3)
    if what != "export":
        h.export()
    if what == "void":
        with store.transaction() as c:
            exports.void(c, 1, h.context, h.now, "ann")
    stood, crashes = before(), 0
    while True:
        store.crash_in = crashes
        try:
            act()
        except Crash:
            gc.collect()  # what the dead transaction still held open
            crashes += 1
            assert before() == stood
            h.check()
            continue
        break
    store.crash_in = None
    assert crashes > 3
    assert before() != stood
    assert len(h.rows(export_table)) == 1
    h.check()
    store.close()


# -- two at once -----------------------------------------------------------------------------------


def at_once(*bodies: Callable[[], Any]) -> list[Any]:
    """Run bodies side by side; return what each returned, or the refusal that it got (a lost race is tried again)."""
    gate = threading.Barrier(len(bodies))
    results: list[Any] = [None] * len(bodies)

    def run(i: int, body: Callable[[], Any]) -> None:
        gate.wait(60)
        for _ in range(20):
            try:
                results[i] = body()
            except Transient:
                continue
            except Rejected as error:
                results[i] = error.code
            return

    threads = [threading.Thread(target=run, args=(i, b)) for i, b in enumerate(bodies)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    return results


def test_two_daemons_that_export_at_once_make_one_file(postgres_store: Store) -> None:
    h = House(postgres_store)
    h.event()
    h.sell("gala", "alice")
    h.over()
    h.address()

    def export() -> int:
        with postgres_store.transaction() as c:
            ask = exports.Ask(kind="payouts", asset="HIVE")
            return exports.make(c, ask, h.context, h.rules, h.plan, h.now, "ann")

    results = at_once(*[export] * 8)
    assert sorted(map(str, results))[1:] == ["nothing_to_export"] * 7
    assert len(h.rows(export_table)) == 1
    h.check()


def test_two_daemons_that_look_what_is_due_at_once_owe_it_once(postgres_store: Store) -> None:
    """Each daemon reckons by itself: what both find must not be paid twice."""
    h = House(postgres_store)
    for n in range(5):
        h.event(f"gala{n}")
        h.sell(f"gala{n}", "alice")
    now = h.end + 8 * DAY

    def look() -> int:
        with postgres_store.transaction() as c:
            return fall_due(c, now, h.context.policy.payout_delay_ms)

    assert sorted(at_once(*[look] * 8)) == [0] * 7 + [5]
    assert len(h.rows(payouts)) == 5
    h.check()


def test_two_that_settle_at_once_settle_once(postgres_store: Store) -> None:
    h = House(postgres_store)
    for name in ("one", "two"):
        h.mine(h.paid(name, 50, f"event:none:wallet:{name}"), empty=2)
    for row in h.rows(refunds):
        h.enter(row.id)
    h.mine(h.left("early", [("alice", 50)]), empty=3)
    h.export("refunds")

    def settle() -> int:
        with postgres_store.transaction() as c:
            return len(settlements.check(c, tid("early"), h.context, h.now))

    at_once(*[settle] * 6)
    assert sorted(h.states(refunds)) == ["exported", "settled"]
    h.check()


def test_a_top_up_and_an_export_at_once_never_use_the_same_money_twice(postgres_store: Store) -> None:
    """The LNbank race: a withdrawal and a credit of one balance at the same moment."""
    h = House(postgres_store)
    h.event()
    wallets = ["w" + "abcdefghij"[n] * 4 for n in range(10)]
    for w in wallets:
        h.mine(h.paid(f"u{w}", 4_999, f"event:gala:wallet:{w}"))
    with postgres_store.transaction() as c:
        c.execute(update(purchases).values(expires_ms=1))
    h.mine(empty=3)
    due = h.rows(refunds)
    assert len(due) == 10
    for row in due:
        h.enter(row.id)
    exported = minted = 0
    for row, w in zip(due, wallets, strict=True):

        def export(refund_id: int = row.id) -> int:
            with postgres_store.transaction() as c:
                ask = exports.Ask(kind="refunds", asset="HIVE", ids=(refund_id,))
                return exports.make(c, ask, h.context, h.rules, h.plan, h.now, "ann")

        at_once(export, lambda w=w: h.mine(h.paid(f"v{w}", 1, f"event:gala:wallet:{w}")))
        (after,) = h.rows(refunds, refunds.c.id == row.id)
        with postgres_store.reading() as c:
            ticket = c.execute(select(tickets).where(tickets.c.wallet == w)).first()
            assert audit(c) == []
        assert (after.state == "exported") != (ticket is not None)
        exported += after.state == "exported"
        minted += ticket is not None
    assert exported + minted == 10


def test_a_cancel_and_an_export_at_once_keep_the_books(postgres_store: Store) -> None:
    h = House(postgres_store)
    for n in range(6):
        h.event(f"e{n}")
        h.sell(f"e{n}", "alice", "bobby")
    h.over()
    h.address()
    for n, row in enumerate(h.rows(payouts)):

        def export(payout_id: int = row.id) -> int:
            with postgres_store.transaction() as c:
                ask = exports.Ask(kind="payouts", asset="HIVE", ids=(payout_id,))
                return exports.make(c, ask, h.context, h.rules, h.plan, h.now, "ann")

        def cancel(name: str = f"e{n}") -> None:
            with postgres_store.transaction() as c:
                events.cancel(c, name, {"HIVE": h.context}, h.now, "ann")

        at_once(export, cancel)
        h.check()
        (after,) = h.rows(payouts, payouts.c.id == row.id)
        assert after.state in ("exported", "cancelled", "due")
    h.over()
    assert "due" not in h.states(payouts)
