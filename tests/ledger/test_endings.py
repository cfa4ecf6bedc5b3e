"""Every way a payment can end, by name; each case names the peer whose users lost money or tickets over it."""

import ast
import re
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select

from chainwatch.errors import Rejected
from chainwatch.ledger import endings, exports, rescan, review
from chainwatch.ledger import refunds as refunding
from chainwatch.ledger.apply import held
from chainwatch.ledger.books import totals
from chainwatch.ledger.context import Policy
from chainwatch.ledger.events import NewTier
from chainwatch.ledger.review import Decision
from chainwatch.ledger.tables import allocations, audit_log, outbox, refunds
from chainwatch.matching import REVIEWED_FLAGS
from chainwatch.testing.shop import Shop

pytestmark = pytest.mark.network
ROOT = Path(__file__).parents[2]


def decide(shop: Shop, number: int, **decision: object) -> str:
    with shop.store.transaction() as connection:
        state = review.decide(
            connection,
            number,
            Decision(**decision),
            shop.contexts,
            shop.now_ms,
            "operator:ann",  # type: ignore[arg-type]
        )
    shop.audit()
    return state


def waiting(shop: Shop) -> list[review.Item]:
    with shop.store.reading() as connection:
        return review.open_items(connection)


# -- exact, under, over, duplicate -----------------------------------------------------------------------


def test_exact_is_a_ticket_and_the_commission_is_exact_over_several_payments(shop: Shop) -> None:
    """alfio-event/alf.io#352: several transactions of one reservation."""
    shop.event(bps=3333)
    parts = [shop.buys("alice", amount=n) for n in (1, 1700, 3299)]
    shop.mine(*parts)
    assert [shop.ends(p) for p in parts] == [[("ticket", 1, "")], [("ticket", 1700, "")], [("ticket", 3299, "")]]
    assert shop.wallets() == ["alice"]


def test_the_commission_is_the_one_of_the_day_when_the_event_was_made(shop: Shop) -> None:
    """What a creator agreed to is not raised by a changed configuration; what is over bears none."""
    shop.event(bps=1000)
    shop = Shop(shop.store, Policy(commission_bps=9000))
    paid = shop.buys("alice", amount=5005)
    shop.mine(paid)
    with shop.store.reading() as connection:
        parts = connection.execute(select(allocations.c.kind, allocations.c.amount, allocations.c.commission)).all()
    assert sorted(parts) == [("surplus", 5, 0), ("ticket", 5000, 500)]


def test_the_commission_of_what_was_paid_within_the_tolerance_is_its_own_share_to_the_unit(shop: Shop) -> None:
    """Of 990 at 20 % it is 198, not the share of the 199 that 999 bear."""
    shop = Shop(shop.store, Policy(tolerance_bps={"HIVE": 100}))
    shop.event(bps=2000, ticket_price="0.999", prices={})
    paid = [shop.buys("alice", amount=500), shop.buys("alice", amount=490)]
    shop.mine(*paid)
    with shop.store.reading() as connection:
        parts = connection.execute(select(allocations.c.amount, allocations.c.commission)).all()
    assert sorted(parts) == [(490, 98), (500, 100)]


def test_under_waits_goes_back_at_expiry_and_a_top_up_cancels_the_refund(shop: Shop) -> None:
    """btcpayserver/btcpayserver#52: exchange fees; fossasia: nothing is kept in silence."""
    shop.event()
    quote = shop.ask()
    short = shop.pays(quote, 4990)
    shop.mine(short)
    assert shop.ends(short) == [("open", 4990, "underpaid")]
    assert (shop.view(quote).state, shop.view(quote).missing) == ("underpaid", 10)
    shop.after(16).mine()
    assert shop.ends(short) == [("refund", 4990, "underpaid")]
    assert shop.due() == [(4990, "underpaid")]
    rest = shop.pays(quote, 10)
    shop.mine(rest)
    assert shop.due() == []
    assert (shop.ends(short), shop.ends(rest)) == ([("ticket", 4990, "")], [("ticket", 10, "late")])
    assert shop.view(quote).state == "minted"


def export(shop: Shop) -> None:
    """Let every refund in HIVE leave in a file."""
    context = shop.contexts["HIVE"]
    with shop.store.transaction() as connection:
        for row in connection.execute(select(refunds.c.id).where(refunds.c.state == "due")).all():
            refunding.enter(connection, row.id, "alice", "ann", shop.now_ms)
        ask = exports.Ask(kind="refunds", asset="HIVE")
        plan = lambda work: exports.Plan(work.items, {}, "")  # noqa: E731 (the file itself is another test's)
        exports.make(connection, ask, context, exports.Rules(), plan, shop.now_ms, "ann")


def test_money_that_was_exported_never_counts_again(shop: Shop) -> None:
    """btcpayserver/btcpayserver#6540: paid out ten times."""
    shop.event()
    quote = shop.ask()
    short = shop.pays(quote, 4990)
    shop.mine(short)
    shop.after(16).mine()
    export(shop)
    shop.mine(shop.pays(quote, 10))
    assert shop.wallets() == []
    assert shop.ends(short) == [("refund", 4990, "underpaid")]
    shop.mine(shop.pays(quote, 5000))
    assert shop.wallets() == ["alice"]


def test_over_is_due_back_and_a_second_payment_is_a_duplicate(shop: Shop) -> None:
    """btcpayserver/btcpayserver#6127: not credited; #1828: the second payment was never looked at."""
    shop.event()
    quote = shop.ask()
    more, again = shop.pays(quote, 5100), shop.pays(quote, 5000)
    shop.mine(more, again)
    assert shop.ends(more) == [("ticket", 5000, ""), ("surplus", 100, "overpaid")]
    assert shop.ends(again) == [("surplus", 5000, "duplicate")]
    assert shop.due() == [(100, "overpaid"), (5000, "duplicate")]


def test_money_seen_first_and_mined_last_is_due_back_though_other_surplus_has_left(shop: Shop) -> None:
    """A fee too low, then paid again and too much: what was over went back, and then the first one was mined."""
    shop.event()
    quote = shop.ask()
    slow, fast = shop.pays(quote, 5000), shop.pays(quote, 5100)
    shop.see(slow)
    shop.after(1).mine(fast)
    export(shop)
    shop.mine(slow)
    assert shop.ends(fast) == [("surplus", 100, "overpaid"), ("ticket", 5000, "")]
    assert shop.ends(slow) == [("surplus", 5000, "duplicate")]
    assert shop.due() == [(5000, "duplicate")]


def test_tolerance_is_per_asset_and_small_and_never_lets_nothing_buy(shop: Shop) -> None:
    """btcpayserver/btcpayserver#6378: a tolerance of 100 % settled invoices for nothing."""
    shop = Shop(shop.store, Policy(tolerance_bps={"HIVE": 100}))
    shop.event(bps=1000)
    near, far = shop.buys("alice", amount=4950), shop.buys("bobby", amount=4949)
    shop.mine(near, far)
    assert (shop.ends(near), shop.wallets()) == ([("ticket", 4950, "")], ["alice"])
    assert shop.ends(far) == [("open", 4949, "underpaid")]
    late = shop.buys("alice", amount=50)
    shop.mine(late)  # the rest comes after the ticket: it is over
    assert shop.ends(late) == [("surplus", 50, "duplicate")]
    assert Policy(tolerance_bps={"X": 10_000}).enough("X", 100) == 1


# -- late, sold out, limits ------------------------------------------------------------------------------


def test_late_mints_while_a_seat_is_left_and_goes_back_when_there_is_none(shop: Shop) -> None:
    """btcpayserver/btcpayserver#7545: ticket never sent; #2587, #5500, #6430: late money that nobody saw."""
    shop.event(max_attendees=2)
    first, second, third = (shop.ask(w) for w in ("alice", "bobby", "carol"))
    shop.after(16).mine()
    paid = [shop.pays(q) for q in (first, second, third)]
    shop.mine(*paid)
    assert [shop.ends(p) for p in paid] == [
        [("ticket", 5000, "late")],
        [("ticket", 5000, "late")],
        [("refund", 5000, "late")],
    ]


def test_paid_in_time_when_the_last_seat_is_gone_goes_back(shop: Shop) -> None:
    """pretix/pretix#74: "money loss" when the quota filled after the payment; Attendize#473: last ticket twice."""
    shop.event(max_attendees=1)
    paid = [shop.buys(w) for w in ("alice", "bobby")]
    shop.mine(*paid)
    assert [shop.ends(p) for p in paid] == [[("ticket", 5000, "")], [("refund", 5000, "sold_out")]]
    assert shop.seats().sold == 1  # lnbits/lnbits#926: the sold counter never moved


def test_a_wallet_over_its_limit_gets_its_money_back_whatever_it_pays_with(shop: Shop) -> None:
    shop.event(tickets_per_wallet=1)
    one, two = shop.buys("alice"), shop.buys("alice", amount=1500, asset="HBD")
    shop.mine(one, two)
    assert shop.ends(one) == [("ticket", 5000, "")]
    assert shop.ends(two) == [("refund", 1500, "wallet_limit")]
    with pytest.raises(Rejected) as no:
        shop.ask()
    assert no.value.code == "wallet_limit"


def test_a_wallet_at_its_limit_gets_the_ticket_that_is_left_when_its_other_kind_is_sold_out(shop: Shop) -> None:
    """Two kinds paid at once, one ticket allowed: that the first is sold out must not cost the second."""
    kinds = (NewTier(code="vip", ticket_price="20", quantity=1), NewTier(code="hall", ticket_price="5"))
    shop.event(tickets_per_wallet=1, tiers=kinds)
    shop.mine(shop.pays("event:gala:wallet:bobby:tier:vip", 20_000))
    vip = shop.pays("event:gala:wallet:alice:tier:vip", 20_000)
    hall = shop.pays("event:gala:wallet:alice:tier:hall", 5000)
    third = shop.pays("event:gala:wallet:alice:tier:hall", 1500, asset="HBD")
    shop.mine(vip, hall, third)
    assert shop.ends(vip) == [("refund", 20_000, "sold_out")]
    assert shop.ends(hall) == [("ticket", 5000, "")]
    assert shop.ends(third)[0][0] == "refund"
    assert shop.wallets() == ["bobby", "alice"]


# -- wrong asset, event, time ----------------------------------------------------------------------------


def test_wrong_asset_goes_back_in_kind(shop: Shop) -> None:
    """efdevcon/pretix-eth-payment-plugin#17; #104: 7.14 ETH in place of 7.14 dollars."""
    shop.event(prices={})
    quote = shop.ask()
    of_purchase, of_memo = shop.pays(quote, asset="HBD"), shop.buys("bobby", asset="HBD")
    shop.mine(of_purchase, of_memo)
    assert shop.ends(of_purchase) == shop.ends(of_memo) == [("refund", 5000, "wrong_asset")]
    assert shop.wallets() == []


def test_wrong_event_is_looked_at_and_unknown_event_goes_back(shop: Shop) -> None:
    shop.event()
    shop.event("other")
    quote = shop.ask()
    wrong = shop.pays(f"event:other:wallet:alice:ref:{quote.ref}")
    unknown, two = shop.buys("alice", "nowhere"), shop.pays("event:gala:wallet:alice event:other:wallet:alice")
    shop.mine(wrong, unknown, two)
    assert shop.ends(wrong) == [("review", 5000, "ref_disagrees")]
    assert shop.ends(unknown) == [("refund", 5000, "unknown_event")]
    assert shop.ends(two) == [("review", 5000, "ambiguous")]


def test_an_own_address_whose_memo_names_another_purchase_is_looked_at(shop: Shop) -> None:
    shop.addresses("BTC", "own1", "own2")
    shop.event(ticket_currency="BTC", ticket_price="0.001")
    first, second = shop.ask("alice", "BTC"), shop.ask("bobby", "BTC")
    crossed = shop.pays(first, memo=f"cw:{second.ref}".encode())
    agreed = shop.pays(second, memo=f"event:gala:wallet:bobby:ref:{second.ref}".encode())
    shop.mine(crossed, agreed)
    assert shop.ends(crossed) == [("review", 100_000, "ref_disagrees")]
    assert shop.wallets() == ["bobby"]


def test_before_sales_after_sales_after_the_end_and_cancelled_go_back_by_name(shop: Shop) -> None:
    """con2/kompassi#1016: a payment after cancellation made a valid ticket."""
    minute = 60_000
    shop.event(sales_start_ms=shop.now_ms + 10 * minute, sales_end_ms=shop.now_ms + 20 * minute,
               event_end_ms=shop.now_ms + 30 * minute)  # fmt: skip
    shop.event("late", event_end_ms=shop.now_ms + 30 * minute)
    shop.event("called-off")
    early = shop.buys("alice")
    shop.mine(early)
    good = shop.buys("bobby", "called-off")
    shop.after(21).mine(good)
    closed = shop.buys("carol")
    shop.mine(closed)
    assert shop.cancel("called-off") == 1
    gone = shop.buys("dave1", "called-off")
    shop.after(10).mine(gone)
    over = shop.buys("erin1", "late")
    shop.mine(over)
    assert [shop.ends(p) for p in (early, closed, gone, over, good)] == [
        [("refund", 5000, "before_sales")],
        [("refund", 5000, "sales_closed")],
        [("refund", 5000, "event_cancelled")],
        [("refund", 5000, "event_over")],
        [("refund", 5000, "event_cancelled")],
    ]
    assert shop.wallets("called-off") == []


def test_cancelling_takes_a_surplus_into_the_refund_and_says_why_of_what_was_due_before(shop: Shop) -> None:
    shop.event()
    shop.mine(over := shop.buys("alice", amount=5100), under := shop.buys("bobby", amount=4999))
    shop.after(30).mine()
    assert sorted(shop.due()) == [(100, "overpaid"), (4999, "underpaid")]
    shop.cancel()
    assert shop.ends(over) == [("refund", 5100, "event_cancelled")]
    assert shop.ends(under) == [("refund", 4999, "event_cancelled")]
    assert sorted(shop.due()) == [(4999, "event_cancelled"), (5100, "event_cancelled")]
    shop.audit()


def test_money_paid_before_a_creator_ends_the_event_still_buys(shop: Shop) -> None:
    from chainwatch.ledger import events

    shop.event()
    paid = shop.buys("alice")
    shop.see(paid)
    shop.after(1)
    with shop.store.transaction() as connection:
        events.end(connection, "gala", shop.now_ms, "test")
    shop.after(1).mine(paid, late := shop.buys("bobby"))
    assert shop.wallets() == ["alice"]
    assert shop.ends(late) == [("refund", 5000, "event_over")]


def test_money_for_a_cancelled_event_on_an_unknown_token_does_not_stop_the_cancelling(shop: Shop) -> None:
    shop.event()
    token = shop.buys("alice", asset=None, asset_id="0xspam")
    shop.mine(token, shop.buys("bobby"), chain="HIVE")
    assert shop.cancel() == 1
    assert shop.ends(token) == [("review", 5000, "unpriced")]


def test_an_asset_that_is_configured_later_counts_when_its_block_is_scanned_again(shop: Shop) -> None:
    shop.event()
    money = {"asset": None, "asset_id": "@@000000013"}
    unknown, kept = (shop.buys(who, amount=1500, **money) for who in ("alice", "bobby"))
    shop.mine(unknown, kept, chain="HIVE")
    assert shop.ends(unknown) == [("review", 1500, "unpriced")]
    with shop.store.transaction() as connection:
        foreign = review.open_items(connection)[1].id
        review.decide(connection, foreign, review.Decision(action="foreign"), shop.contexts, shop.now_ms, "ann")
    (block,) = shop.chains["HIVE"]
    known = tuple(msgspec.structs.replace(t, asset="HBD") for t in block.transfers)
    again = msgspec.structs.replace(block, transfers=known)
    with shop.store.transaction() as connection:
        job = rescan.job(connection, rescan.queue(connection, "HIVE", 1, 1, shop.now_ms))
        rescan.apply(connection, job, [again], held(connection, "HIVE"), shop.contexts["HIVE"], 1, shop.now_ms)
        balances = {key: n for key, n in totals(connection).items() if n and key[0] != "HBD"}
    assert shop.ends(unknown) == [("ticket", 1500, "")]
    assert shop.ends(kept) == [("foreign", 1500, "operator")]
    assert balances == {("HIVE:@@000000013", "received"): 1500, ("HIVE:@@000000013", "foreign"): -1500}
    shop.audit()


# -- no memo, foreign memo, dust -------------------------------------------------------------------------


def test_no_memo_is_looked_at_and_a_foreign_memo_on_a_shared_account_left_alone(shop: Shop) -> None:
    for code, context in shop.contexts.items():
        spec = msgspec.structs.replace(context.spec, receive=(*context.spec.receive, "club"), shared=("club",))
        shop.contexts[code] = msgspec.structs.replace(context, spec=spec)
    none, foreign = shop.pays(""), shop.pays("subscription 17", to="club")
    shop.mine(none, foreign)
    assert shop.ends(none) == [("review", 5000, "no_memo")]
    assert shop.ends(foreign) == [("foreign", 5000, "")]
    assert (shop.shown(none), shop.shown(foreign)) == ("review", "foreign")


def test_dust_is_added_up_and_told_to_nobody(shop: Shop) -> None:
    """Memo spam fills databases and inboxes (Hive, Solana)."""
    shop.event()
    specks = [shop.pays("", 1), shop.buys("alice", "nowhere", 4), shop.buys("alice", amount=4, asset="HIVE")]
    shop.mine(*specks)
    assert [shop.ends(p)[0][0] for p in specks] == ["dust", "dust", "open"]
    shop.after(16).mine()
    assert shop.ends(specks[2]) == [("dust", 4, "underpaid")]
    assert (waiting(shop), shop.due()) == ([], [])
    with shop.store.reading() as connection:
        assert connection.scalars(select(outbox.c.type)).all() == []


# -- sender routing ---------------------------------------------------------------------------------------


def test_a_sender_finds_only_its_one_signed_purchase_of_exactly_this_price(shop: Shop) -> None:
    shop.event(open_per_wallet=2)
    shop.event("other")
    shop.ask("alice")
    shop.ask("bobby", signed=False)
    shop.ask("carol")
    shop.ask("carol", event="other")
    shop.ask("dave1")
    paid = {
        "alice": shop.pays("", sender=("alice",)),
        "unsigned": shop.pays("", sender=("bobby",)),
        "two purchases": shop.pays("", sender=("carol",)),
        "another amount": shop.pays("", 5001, sender=("dave1",)),
        "another asset": shop.pays("", 5000, sender=("dave1",), asset="HBD"),
        "two senders": shop.pays("", sender=("dave1", "erin1")),
        "says something": shop.pays("hello", sender=("dave1",)),
    }
    shop.mine(*paid.values())
    assert shop.ends(paid.pop("alice")) == [("ticket", 5000, "")]
    for name, payment in paid.items():
        assert shop.ends(payment)[0][::2] == ("review", "no_memo"), name
    again = shop.pays("", sender=("alice",))
    shop.mine(again)
    assert shop.ends(again) == [("review", 5000, "no_memo")]


def test_an_expired_second_purchase_stops_the_sender_rule(shop: Shop) -> None:
    shop.event()
    shop.ask("alice")
    shop.after(16).mine()
    shop.ask("alice")
    paid = shop.pays("", sender=("alice",))
    shop.mine(paid)
    assert shop.ends(paid) == [("review", 5000, "no_memo")]


# -- what an operator decides ------------------------------------------------------------------------------


def test_an_operator_assigns_refunds_or_keeps_and_it_stays_so(shop: Shop) -> None:
    shop.event()
    quote = shop.ask()
    paid = [shop.pays("", n) for n in (5000, 6000, 7000, 8000, 9000)]
    shop.mine(*paid)
    items = waiting(shop)
    assert [(i.amount, i.reason, i.ref) for i in items][:1] == [(5000, "no_memo", None)]
    ids = [i.id for i in items]
    assert decide(shop, ids[0], action="assign", ref=quote.ref, note="asked by mail") == "minted"
    assert decide(shop, ids[1], action="refund") == "refund_due"
    assert [decide(shop, i, action=a) for i, a in zip(ids[2:], ("foreign", "dust", "internal"), strict=True)] == [
        "foreign",
        "dust",
        "internal",
    ]
    before = [shop.ends(p) for p in paid]
    assert before[1] == [("refund", 6000, "operator")]
    shop.reorg(1, *paid)  # the same payments in another block: decided again, alike
    assert [shop.ends(p) for p in paid] == before
    assert shop.wallets() == ["alice"]
    assert decide(shop, ids[0], action="assign", ref=quote.ref) == "minted"
    with pytest.raises(Rejected) as no:
        decide(shop, ids[0], action="refund")
    assert no.value.code == "decided_already"
    with shop.store.reading() as connection:
        log = connection.execute(select(audit_log).where(audit_log.c.action == "review_decided")).all()
    assert (len(log), log[0].actor, "asked by mail" in log[0].detail) == (5, "operator:ann", True)


def test_locked_money_that_is_assigned_counts_and_nothing_unpriced_buys(shop: Shop) -> None:
    """AcceptXMR timelock_rejection: a person decides."""
    shop.event()
    quote = shop.ask()
    locked, token = shop.pays(quote, flags=("locked",)), shop.pays("", asset=None, asset_id="x")
    shop.mine(locked, token, chain="HIVE")
    first, second = waiting(shop)
    assert (first.reason, second.reason) == ("locked", "unpriced")
    assert decide(shop, first.id, action="assign", ref=quote.ref) == "minted"
    for action in ("refund", "assign"):
        with pytest.raises(Rejected, match="not configured"):
            decide(shop, second.id, action=action, ref=quote.ref)
    assert decide(shop, second.id, action="foreign") == "foreign"
    with pytest.raises(Rejected, match="no payment"):
        decide(shop, 10**9, action="dust")


# -- the table ---------------------------------------------------------------------------------------------


def reasons_in_code() -> set[str]:
    """Every reason that matching, routing and minting can write down."""
    found = set(REVIEWED_FLAGS)
    for name in ("chainwatch/matching.py", "chainwatch/ledger/minting.py", "chainwatch/ledger/orders.py"):
        text = (ROOT / name).read_text()
        before = r"reason = |return |_back\(order, p, |, p\.here, |else |unsold=|unsold: str = |t\.amount, "
        before += r"|refused\[[\w.]+\] = |setdefault\([\w.]+, "
        found |= set(re.findall(rf'(?:{before})"([a-z_]+)"', text))
    for node in ast.walk(ast.parse((ROOT / "chainwatch/ledger/purchases.py").read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Claim":
            found |= {a.value for a in node.args[1:] if isinstance(a, ast.Constant)}
    found |= set(re.findall(r'BadMemo\(\s*"([a-z_]+)"', (ROOT / "chainwatch/memo.py").read_text()))
    return found - {"dust", "refund", "wallet", "internal", "suspended", "active", "foreign", "surplus"}


def test_every_reason_of_a_refund_is_the_buyer_s_or_ours() -> None:
    """Who pays the network's fee of it: under, over, late, wrong is the buyer's doing."""
    ours = {"sold_out", "event_cancelled", "ticket_cancelled", "ticket_revoked", "ticket_refunded", "operator"}
    ours |= {"wallet_limit"}
    reasons = {e.reason for e in endings.ENDINGS if e.kind in ("refund", "surplus")}
    assert reasons - ours == refunding.BUYER_CAUSED
    assert {r for r in reasons if refunding.pays_its_fee(r)} & ours == set()


def test_every_reason_that_the_code_gives_is_an_ending_with_what_to_do() -> None:
    known = {e.reason for e in endings.ENDINGS}
    code = reasons_in_code()
    assert {"sold_out", "no_memo", "locked", "bad_checksum", "late", "tier_required", "wallet_limit"} <= code
    assert code - known == set()
    assert len({e.name for e in endings.ENDINGS}) == len(endings.ENDINGS)
    assert len({(e.kind, e.reason) for e in endings.ENDINGS}) == len(endings.ENDINGS)
    for e in endings.ENDINGS:
        assert bool(e.next) == bool(e.command) == (e.kind in ("refund", "surplus", "review"))
    assert endings.name_of("dust", "wrong_asset") == "dust"


def test_the_page_for_operators_has_a_row_for_each_ending_and_no_other() -> None:
    page = (ROOT / "docs" / "money.md").read_text("utf-8")
    table = page.split("| ended as |")[1].split("\n\n")[0].splitlines()[2:]
    rows = [
        f"| {e.name} | {e.kind}{' · ' + e.reason if e.reason else ''} | {e.means} | {e.next or '-'} | "
        f"{'`' + e.command + '`' if e.command else '-'} |"
        for e in endings.ENDINGS
    ]
    assert table == rows
