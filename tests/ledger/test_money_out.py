"""Money that leaves: what is due, exports, and what settles them; on both databases."""

import contextlib
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, update

from chainwatch.errors import Rejected
from chainwatch.ledger import creators, destinations, events, exports, payouts, refunds, settlements
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import audit_log, cursors, outbox, purchases, tickets
from chainwatch.ledger.tables import events as event_table
from chainwatch.ledger.tables import exports as export_table
from chainwatch.ledger.tables import payouts as payout_table
from chainwatch.ledger.tables import refunds as refund_table
from chainwatch.ledger.tables import transfers as transfer_table
from chainwatch.testing.house import BUYERS, CREATORS, DAY, PRICE, TILLS, House, tid

pytestmark = pytest.mark.network
HOUR = 3_600_000


@contextlib.contextmanager
def refused(code: str) -> Iterator[None]:
    with pytest.raises(Rejected) as caught:
        yield
    assert caught.value.code == code, caught.value


def house(store: Store, chain: str = "HIVE", **more: Any) -> Any:
    made = House(store, chain, **more)
    made.event()
    return made


def due_house(store: Store, chain: str = "HIVE") -> Any:
    h = house(store, chain)
    h.sell("gala", "alice", "bobby")
    h.over()
    h.address()
    return h


# -- settlement ------------------------------------------------------------------------------------


@pytest.mark.parametrize("chain", ["HIVE", "BTC", "ETH"])
def test_an_exported_payout_settles_itself_at_payout_depth(store: Store, chain: str) -> None:
    h = due_house(store, chain)
    owed = 2 * PRICE * h.unit * 8 // 10
    export = h.export()
    (item,) = h.items(export)
    assert (item.amount, item.destination, item.subject) == (owed, CREATORS[chain], "payout:1")
    assert h.states(payout_table) == ["exported"]
    h.mine(h.signed(export, "payout", fee=7))
    assert h.states(payout_table) == ["exported"]  # depth 1 of 2: tickets count already, payouts do not
    h.mine()
    assert h.states(payout_table) == ["settled"]
    assert h.states(export_table) == ["settled"]
    (row,) = h.rows(payout_table)
    assert row.settled_txid == tid("payout")
    books = h.books()
    assert "creator" not in books
    assert books["paid_out"] == -owed - 7
    assert books["network_fees"] == 7
    told = [r.payload for r in h.rows(outbox, outbox.c.type == "payout.settled")]
    assert len(told) == 1
    assert tid("payout") in told[0]


@pytest.mark.parametrize("what", ["amount", "destination", "failed", "mixed", "not ours"])
def test_nothing_else_than_exactly_it_settles_an_item(store: Store, what: str) -> None:
    """CVE-2026-9189 the other way round: amount, asset and recipient are checked, the memo proves nothing (S12)."""
    h = due_house(store)
    export = h.export()
    (item,) = h.items(export)
    to, amount, ok = item.destination, item.amount, True
    if what == "amount":
        amount += 1
    if what == "destination":
        to = "mallory"
    if what == "failed":
        ok = False
    wrong = h.left("x", [(to, amount)], memo="payout:1", ok=ok)
    if what == "mixed":
        wrong = [msgspec.structs.replace(t, flags=("mixed_inputs",)) for t in wrong]
    if what == "not ours":
        wrong = [msgspec.structs.replace(t, direction="in", to=TILLS["HIVE"]) for t in wrong]
    h.mine(wrong, empty=3)
    assert h.states(payout_table) == ["exported"]
    h.mine(h.signed(export, "right"), empty=2)
    assert h.states(payout_table) == ["settled"]


def test_the_memo_chooses_among_equal_items_and_is_needed_for_nothing(store: Store) -> None:
    h = house(store)
    for name in ("one", "two"):
        h.mine(h.paid(name, 50, f"event:none:wallet:{name}"), empty=2)
    first, second = (r.id for r in h.rows(refund_table))
    for refund in (first, second):
        h.enter(refund)
    h.export("refunds")
    h.mine(h.left("b", [("alice", 50)], memo=f"hello refund:{second}"), empty=2)
    assert h.states(refund_table) == ["exported", "settled"]
    h.mine(h.left("a", [("alice", 50)], memo=f"refund:{second}"), empty=2)  # a wrong hint does no harm
    assert h.states(refund_table) == ["settled", "settled"]
    h.mine(h.left("c", [("alice", 50)], memo=f"refund:{second}"), empty=2)  # a third one is the operator's own affair
    assert h.books()["withdrawn"] == 50


def test_one_transfer_settles_one_item(store: Store) -> None:
    """btcpayserver#5913, golemfactory/yagna#2765: one transaction, one order."""
    h = house(store)
    h.event("expo")
    h.sell("gala", "alice")
    h.sell("expo", "alice")
    h.over()
    h.address()
    first = h.export(ids=(1,))
    second = h.export(ids=(2,))
    h.mine(h.left("only", [("carol", 4000)]), empty=3)
    assert sorted(h.states(payout_table)) == ["exported", "settled"]
    with store.transaction() as c:
        settlements.check(c, tid("only"), h.context, h.now)
    assert sorted(h.states(payout_table)) == ["exported", "settled"]
    assert {i.transfer_id is None for e in (first, second) for i in h.items(e)} == {True, False}


def test_a_settlement_that_a_reorg_takes_back_is_exported_again_never_due(store: Store) -> None:
    h = due_house(store)
    export = h.export()
    signed = h.signed(export, "payout", fee=3)
    h.mine(signed, empty=1)
    assert h.states(payout_table) == ["settled"]
    h.reorg(2)
    assert (h.states(payout_table), h.states(export_table)) == (["exported"], ["exported"])
    assert "paid_out" not in h.books()
    with refused("nothing_to_export"):
        h.export()
    h.mine(signed, empty=1)
    assert (h.states(payout_table), h.states(export_table)) == (["settled"], ["settled"])
    actions = [r.action for r in h.rows(audit_log, audit_log.c.subject == "payout:1")]
    assert actions == ["settled", "settlement_orphaned", "settled"]


def test_the_command_line_runs_the_same_check(store: Store) -> None:
    h = due_house(store)
    with store.transaction() as c, refused("unknown_transaction"):
        settlements.check(c, tid("nothing"), h.context, h.now)
    h.mine(h.left("early", [("carol", 8000)]), empty=3)  # the operator paid first and exported then
    h.export()
    with store.transaction() as c:
        (found,) = settlements.check(c, tid("early"), h.context, h.now)
    assert found.subject == "payout:1"
    assert h.states(payout_table) == ["settled"]
    h.check()


# -- what is due -----------------------------------------------------------------------------------


def test_payouts_of_one_creator_and_currency_are_one_payment(store: Store) -> None:
    h = house(store)
    h.event("expo")
    h.sell("gala", "alice", "bobby")
    h.sell("expo", "alice")
    h.over()
    h.address()
    (item,) = h.items(h.export())
    assert (item.amount, item.subject) == (12_000, "payout:1")
    h.mine(h.left("both", [("carol", 12_000)]), empty=2)
    assert h.states(payout_table) == ["settled", "settled"]
    assert "creator" not in h.books()


def test_small_payouts_wait_for_more(store: Store) -> None:
    h = due_house(store)
    h.rules = exports.Rules(minimum={"HIVE": 8001})
    with refused("nothing_to_export"):
        h.export()
    h.event("expo")
    h.sell("expo", "alice")
    h.over()
    assert h.items(h.export())[0].amount == 12_000


def test_a_payment_that_no_node_relays_does_not_stop_the_others(store: Store) -> None:
    """Bitcoin's nodes refuse a transaction with an output below 546 satoshi, whatever else it pays."""
    h = House(store, "BTC")
    h.event("tiny", price=6)
    h.event("expo")
    with store.transaction() as c:
        c.execute(update(event_table).where(event_table.c.slug == "expo").values(creator_account="dave"))
    h.mine(h.paid("t", 600, f"event:tiny:wallet:{BUYERS['BTC']}"), empty=3)
    h.sell("expo", BUYERS["BTC"])
    h.over()
    h.address()
    h.address("dave")
    (item,) = h.items(h.export())
    assert (item.subject, item.amount) == ("payout:2", 400_000)
    assert [(r.state, r.amount) for r in h.rows(payout_table)] == [("due", 480), ("exported", 400_000)]


def test_a_payout_is_frozen_by_dispute_review_and_alarm_and_comes_back(store: Store) -> None:
    h = due_house(store)
    h.check = lambda: None  # the audit would see that nothing is in review

    def now(why: str) -> None:
        h.over()
        (row,) = h.rows(payout_table)
        assert (row.state, row.frozen_why) == (("frozen", why) if why else ("due", ""))
        if why:
            with refused("nothing_to_export"):
                h.export()

    now("")
    for table, column, on, off, why in (
        (event_table, "dispute", True, False, "dispute"),
        (cursors, "alarm", "blocks above 3 were final", "", "final_reorg"),
        (transfer_table, "shown", "review", "minted", "review"),
    ):
        with store.transaction() as c:
            c.execute(update(table).values({column: on}))
        now(why)
        with store.transaction() as c:
            c.execute(update(table).values({column: off}))
        now("")


def test_a_changed_address_waits_with_payouts_frozen(store: Store) -> None:
    h = due_house(store)
    with store.transaction() as c:
        until = creators.set_address(c, "carol", "HIVE", "carol-new", "carol", h.now, 72 * HOUR)
        assert until == h.now + 72 * HOUR
        assert creators.in_force(c, "carol", "HIVE", h.now) is None
    h.over()
    assert [(r.state, r.frozen_why) for r in h.rows(payout_table)] == [("frozen", "address_change")]
    with refused("nothing_to_export"):
        h.export()
    h.now += 72 * HOUR
    h.over()
    assert h.items(h.export())[0].destination == "carol-new"


def test_the_same_address_again_does_not_wait_anew(store: Store) -> None:
    h = due_house(store)
    with store.transaction() as c:
        creators.set_address(c, "carol", "HIVE", "carol", "carol", h.now, 72 * HOUR)
        assert creators.in_force(c, "carol", "HIVE", h.now) == "carol"
        with refused("bad_destination"):
            creators.set_address(c, "carol", "BTC", "carol", "carol", h.now, 0)


def test_on_hive_too_nobody_is_paid_at_an_address_that_was_never_set(store: Store) -> None:
    h = house(store)
    h.sell("gala", "alice")
    h.over()
    with refused("nothing_to_export"):
        h.export()


def test_an_event_whose_end_moved_later_is_not_due_yet(store: Store) -> None:
    h = due_house(store)
    with store.transaction() as c:
        c.execute(update(event_table).values(latest_end_ms=h.now + DAY))
    h.over()
    assert [(r.state, r.frozen_why) for r in h.rows(payout_table)] == [("frozen", "not_over")]


def test_cancelling_before_the_export_leaves_nothing_due(store: Store) -> None:
    """The commission is reversed in full: the refund is the whole price."""
    h = due_house(store)
    with store.transaction() as c:
        events.cancel(c, "gala", {"HIVE": h.context}, h.now, "ann")
    h.over()
    assert h.states(payout_table) == ["cancelled"]
    assert h.books() == {"received": 10_000, "refunds": -10_000}


def test_what_a_creator_was_paid_too_much_comes_off_the_next_payout(store: Store) -> None:
    h = due_house(store)
    h.mine(h.signed(h.export(), "payout"), empty=2)
    with store.transaction() as c:
        events.cancel(c, "gala", {"HIVE": h.context}, h.now, "ann")
    assert h.books()["creator"] == 8_000  # they owe us
    h.event("expo")
    h.sell("expo", "a1ice", "bobby", "dave")
    h.over()
    due = [r for r in h.rows(payout_table) if r.state == "due"]
    assert [r.amount for r in due] == [12_000 - 8_000]


def test_refunds_leave_before_payouts(store: Store) -> None:
    h = due_house(store)
    h.mine(h.paid("stray", 50, "event:none:wallet:zed"), empty=2)
    h.export()  # a refund that nobody has claimed does not hold everybody up
    with store.transaction() as c:
        assert exports.void(c, 1, h.context, h.now, "ann") == "exported"
        assert exports.void(c, 1, h.context, h.now, "bob") == "void"
    h.over()
    h.enter()
    with refused("refunds_first"):
        h.export()
    h.export("refunds")
    h.export()


def test_money_leaves_again_only_at_payout_depth(store: Store) -> None:
    h = house(store, depth=1, payout_depth=5)
    h.mine(h.paid("stray", 50, "event:none:wallet:zed"))
    assert h.states(refund_table) == ["due"]
    h.enter()
    h.mine(empty=2)
    with refused("nothing_to_export"):
        h.export("refunds")
    h.mine()
    h.export("refunds")


# -- refunds ---------------------------------------------------------------------------------------


def test_a_refund_goes_where_the_wallet_has_signed_or_an_operator_says(store: Store) -> None:
    """S27, never to the sender (it may be an exchange's) and never to a wallet only because a memo names it."""
    h = house(store)
    h.mine(h.paid("less", 4_999, "event:gala:wallet:alice"))
    with store.transaction() as c:
        events.cancel(c, "gala", {"HIVE": h.context}, h.now, "ann")
    h.mine(empty=3)
    (row,) = h.rows(refund_table)
    assert row.destination is None
    with refused("nothing_to_export"):
        h.export("refunds")
    with store.transaction() as c:
        assert refunds.wallets(c, row.id) == {"alice"}
        with refused("not_your_refund"):
            refunds.claim(c, row.id, "mallory", "mallory", h.now)
        with refused("bad_destination"):
            refunds.claim(c, row.id, "not a name!", "alice", h.now)
        refunds.claim(c, row.id, "alice-cold", "alice", h.now)
        with refused("already_claimed"):
            refunds.enter(c, row.id, "mallory", "ann", h.now)
        with refused("unknown_refund"):
            refunds.claim(c, 99, "alice", "alice", h.now)
    export = h.export("refunds")
    with store.transaction() as c, refused("not_due"):
        refunds.claim(c, row.id, "alice", "alice", h.now)
    h.mine(h.signed(export, "back"), empty=2)
    assert [(r.state, r.destination, r.sent_amount) for r in h.rows(refund_table)] == [("settled", "alice-cold", 4_999)]
    assert h.books() == {"received": 4_999, "paid_out": -4_999}


def test_nobody_can_claim_the_refund_of_a_stray(store: Store) -> None:
    h = house(store)
    h.mine(h.paid("stray", 50, "event:none:wallet:zed"), empty=2)
    with store.transaction() as c, refused("not_your_refund"):
        refunds.claim(c, h.refund_id(), "zed", "zed", h.now)


@pytest.mark.parametrize(("why", "pays"), [("unknown_event", True), ("event_cancelled", False)])
def test_the_buyer_pays_the_fee_of_a_refund_that_they_caused(store: Store, why: str, pays: bool) -> None:
    h = house(store, "BTC")
    if why == "unknown_event":
        h.mine(h.paid("stray", 100_000, "event:none:wallet:alice"), empty=2)
    else:
        h.sell("gala", "alice")
        with store.transaction() as c:
            events.cancel(c, "gala", {"BTC": h.context}, h.now, "ann")
        h.mine(h.paid("float", 50_000, None), empty=2)  # what pays the network for us
    (refund,) = [r for r in h.rows(refund_table) if r.reason == why]
    h.enter(refund.id)
    export = h.export("refunds")
    (item,) = h.items(export)
    assert (item.amount < refund.amount) is pays
    with store.reading() as c:
        fee = int(exports.document(c, export)["fee_base"])
    h.mine(h.signed(export, "back", fee=fee), empty=2)
    books = h.books()
    assert "refunds" not in books
    assert books.get("network_fees", 0) == (0 if pays else fee)
    assert books["paid_out"] == -item.amount - fee


ELSEWHERE = ("tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn")


@pytest.mark.parametrize("elsewhere", ELSEWHERE)
def test_a_destination_on_another_network_holds_up_nobody_else(store: Store, elsewhere: str) -> None:
    h = house(store, "BTC")
    h.mine(*(h.paid(n, 100_000, f"event:none:wallet:{n}") for n in ("alice", "bobby")), empty=2)
    wrong, right = h.rows(refund_table)
    with store.transaction() as c:
        refunds.enter(c, wrong.id, elsewhere, "ann", h.now)
    h.enter(right.id)
    assert [i.subject for i in h.items(h.export("refunds"))] == [f"refund:{right.id}"]
    with pytest.raises(Rejected, match="another network"):
        h.export("refunds")
    with refused("bad_destination"), store.reading() as c:
        destinations.canonical(c, "BTC", elsewhere, h.spec)
    with store.reading() as c:
        for fine in (BUYERS["BTC"], CREATORS["BTC"]):
            destinations.canonical(c, "BTC", fine, h.spec)


def test_a_refund_that_our_cancelling_overtakes_pays_no_fee(store: Store) -> None:
    """Too little was the buyer's doing; that there is nothing to top up for any more is ours."""
    h = house(store, "BTC")
    h.mine(h.paid("u1", 400_000, f"event:gala:wallet:{BUYERS['BTC']}"))
    with store.transaction() as c:
        c.execute(update(purchases).values(expires_ms=1))
    h.mine(h.paid("float", 50_000, None), empty=3)
    assert [(r.state, r.reason) for r in h.rows(refund_table)] == [("due", "underpaid")]
    with store.transaction() as c:
        events.cancel(c, "gala", {"BTC": h.context}, h.now, "ann")
    assert [(r.state, r.reason) for r in h.rows(refund_table)] == [("due", "event_cancelled")]
    h.enter()
    (item,) = h.items(h.export("refunds"))
    assert item.amount == 400_000


def test_a_top_up_after_the_export_does_not_buy_a_ticket_with_money_that_left(store: Store) -> None:
    h = house(store)
    h.mine(h.paid("u1", 4_999, "event:gala:wallet:alice"))
    with store.transaction() as c:
        c.execute(update(purchases).values(expires_ms=1))
    h.mine(empty=3)
    assert h.states(refund_table) == ["due"]
    h.enter()
    h.export("refunds")
    h.mine(h.paid("u2", 1, "event:gala:wallet:alice"), empty=3)
    with store.reading() as c:
        assert c.execute(select(tickets)).first() is None


# -- exports ---------------------------------------------------------------------------------------


def test_what_is_exported_is_in_no_second_export(store: Store) -> None:
    """btcpayserver#6540: a payout was paid ten times."""
    h = due_house(store)
    h.export()
    for _ in range(10):
        with refused("nothing_to_export"):
            h.export()
    h.over()
    assert [r.amount for r in h.rows(payout_table)] == [8_000]


def test_above_the_limit_a_second_operator_must_agree(store: Store) -> None:
    h = due_house(store)
    h.rules = exports.Rules(approve_above={"HIVE": 7_999})
    export = h.export(actor="ann")
    with store.transaction() as c:
        with refused("not_approved"):
            exports.document(c, export)
        with refused("same_operator"):
            exports.approve(c, export, h.context, h.plan, h.now, "ann")
    h.mine(h.left("too early", [("carol", 8_000)]), empty=3)
    assert h.states(payout_table) == ["exported"]  # its file has not left: this was something else
    with store.transaction() as c:
        exports.approve(c, export, h.context, h.plan, h.now, "bob")
        assert exports.document(c, export)["operations"][0][1]["memo"] == "payout:1"
        with refused("not_waiting"):
            exports.approve(c, export, h.context, h.plan, h.now, "bob")


def test_an_event_in_dispute_since_is_not_approved(store: Store) -> None:
    h = due_house(store)
    h.rules = exports.Rules(approve_above={"HIVE": 0})
    export = h.export()
    with store.transaction() as c:
        c.execute(update(event_table).values(dispute=True))
        with refused("frozen"):
            exports.approve(c, export, h.context, h.plan, h.now, "bob")
        assert exports.void(c, export, h.context, h.now, "ann") == "void"
    h.over()
    assert h.states(payout_table) == ["frozen"]


def test_a_file_that_may_still_be_signed_is_void_only_when_two_operators_say_so(store: Store) -> None:
    h = due_house(store)
    export = h.export()
    with store.transaction() as c:
        assert exports.void(c, export, h.context, h.now, "ann") == "exported"
        assert exports.void(c, export, h.context, h.now, "ann") == "exported"
    assert h.states(payout_table) == ["exported"]
    with store.transaction() as c:
        assert exports.void(c, export, h.context, h.now, "bob") == "void"
        with refused("not_open"):
            exports.void(c, export, h.context, h.now, "bob")
    h.over()
    assert h.states(payout_table) == ["due"]
    assert h.export() == 2


def half_paid(store: Store) -> tuple[Any, int, list[Any]]:
    """An export of two refunds: one is paid, and two operators have said that the other will not be."""
    h = house(store)
    for name, amount in (("one", 50), ("two", 60)):
        h.mine(h.paid(name, amount, f"event:none:wallet:{name}"), empty=2)
        h.enter()
    export = h.export("refunds")
    signed = h.left("x", [("alice", 50)])
    h.mine(signed, empty=1)
    void(h, export, "ann", "bob")
    assert (h.states(refund_table), h.states(export_table)) == (["settled", "due"], ["settled"])
    return h, export, signed


def void(h: Any, export: int, *actors: str) -> str:
    said = ""
    for actor in actors:
        with h.store.transaction() as c:
            said = exports.void(c, export, h.context, h.now, actor)
    h.check()
    return said


def test_what_a_reorg_takes_back_is_void_only_when_two_operators_say_so_of_it(store: Store) -> None:
    """What they said of the rest of the file says nothing of a payment that was on the chain: it is still out there."""
    h, export, signed = half_paid(store)
    h.reorg(2)
    assert h.states(refund_table) == ["exported", "due"]
    assert void(h, export, "ann") == "exported"
    h.mine(signed, empty=2)
    assert h.states(refund_table) == ["settled", "due"]


def test_an_attestation_is_not_of_what_was_paid_at_that_time(store: Store) -> None:
    h = house(store)
    for name, amount in (("one", 50), ("two", 60)):
        h.mine(h.paid(name, amount, f"event:none:wallet:{name}"), empty=2)
        h.enter()
    export = h.export("refunds")
    h.mine(h.left("x", [("alice", 50)]), empty=1)
    assert void(h, export, "ann") == "exported"
    h.reorg(2)
    assert void(h, export, "bob") == "exported"
    assert void(h, export, "ann") == "void"


def test_a_file_of_which_nothing_left_in_the_end_is_void(store: Store) -> None:
    h, export, _ = half_paid(store)
    h.reorg(2)
    assert void(h, export, "ann", "bob") == "void"
    assert h.states(refund_table) == ["due", "due"]


def test_a_refund_that_comes_back_is_not_due_of_money_that_is_gone(store: Store) -> None:
    h = house(store)
    paid = h.paid("one", 50, "event:none:wallet:one")
    h.mine(paid, empty=2)
    h.enter()
    export = h.export("refunds")
    h.reorg(3)
    assert h.books() == {"loss": 50, "refunds": -50}  # the file may still be signed
    void(h, export, "ann", "bob")
    assert (h.states(refund_table), h.books()) == (["cancelled"], {})
    h.mine(paid, empty=2)
    assert h.states(refund_table) == ["due"]


def test_a_hive_file_that_has_expired_for_good_is_void_by_one(store: Store) -> None:
    h = due_house(store)
    export = h.export()
    h.mine(empty=53)
    with store.transaction() as c:
        assert exports.void(c, export, h.context, h.now, "ann") == "exported"  # attested once, not yet expired
    h.mine(empty=5)
    with store.transaction() as c:
        assert exports.void(c, export, h.context, h.now, "ann") == "void"


@pytest.mark.parametrize("chain", ["BTC", "ETH"])
def test_a_second_file_rules_the_first_one_out(store: Store, chain: str) -> None:
    h = due_house(store, chain)
    first = h.export()
    before = h.conflict(first)
    second = h.export(replaces=first)
    assert set(h.conflict(second)) & set(before)
    assert h.states(export_table) == ["void", "exported"]
    assert [i.amount for i in h.items(second)] == [8_000 * h.unit]
    h.mine(h.left("the first one", [(CREATORS[chain], 8_000 * h.unit)], spends=before), empty=3)
    assert h.states(payout_table) == ["settled"]  # either of the two pays it


def test_hive_has_no_second_file(store: Store) -> None:
    h = due_house(store)
    first = h.export()
    with refused("no_conflict"):
        h.export(replaces=first)
    assert h.states(export_table) == ["exported"]


@pytest.mark.parametrize("chain", ["BTC", "ETH"])
def test_a_file_whose_inputs_another_transaction_used_is_void_by_one(store: Store, chain: str) -> None:
    h = due_house(store, chain)
    export = h.export()
    used = h.conflict(export)[:1]
    h.mine(h.left("other", [(BUYERS[chain], 77)], spends=used, fee=5))
    with store.transaction() as c:
        assert exports.void(c, export, h.context, h.now, "ann") == "exported"
    h.mine()  # at payout depth only
    with store.transaction() as c:
        assert exports.void(c, export, h.context, h.now, "ann") == "void"


def test_two_files_never_use_the_same_coin_or_nonce(store: Store) -> None:
    for chain in ("BTC", "ETH"):
        h = House(store, chain)
        h.event(f"e{chain.lower()}")
        h.event(f"f{chain.lower()}")
        h.sell(f"e{chain.lower()}", "alice", "bobby")
        h.sell(f"f{chain.lower()}", "alice", "bobby")
        h.over()
        h.address()
        ids = [r.id for r in h.rows(payout_table) if r.asset == chain]
        first, second = (h.export(ids=(i,)) for i in ids)
        assert not set(h.conflict(first)) & set(h.conflict(second))


def test_an_unknown_export_and_asset_are_refused(store: Store) -> None:
    h = due_house(store)
    with store.transaction() as c:
        with refused("unknown_export"):
            exports.void(c, 9, h.context, h.now, "ann")
        with refused("unknown_currency"):
            exports.make(c, exports.Ask(kind="payouts", asset="XXX"), h.context, h.rules, h.plan, h.now, "ann")
        assert exports.listing(c) == []
        assert payouts.listing(c)[0].slug == "gala"
