"""What becomes of a payment, case by case; each names the peer whose users lost money over it."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainwatch.matching import Allocation, Order, Paid, Sale, Stray, decide, forbids, route, shown_state

OPEN = Sale("active", None, None, None)


def order(**more: Any) -> Order:
    return Order(**{"asset": "HIVE", "price": 100, "expired": False, "ticket": None, "fee": 20, **more})


def paid(n: int, amount: int, **more: Any) -> Paid:
    return Paid(**{"transfer_id": n, "amount": amount, "asset": "HIVE", "state": "confirmed", "paid_ms": n, **more})


def ends(sale: Sale, o: Order, *payments: Paid, refused: str = "") -> dict[int, list[tuple[str, int, str]]]:
    found = decide(sale, o, payments, refused=refused).allocations
    return {k: [(a.kind, a.amount, a.reason) for a in v] for k, v in found.items()}


def test_the_exact_amount_asks_for_a_seat_and_is_allocated_only_once_it_has_one() -> None:
    assert decide(OPEN, order(), [paid(1, 100)]).mint
    assert ends(OPEN, order(ticket="active"), paid(1, 100)) == {1: [("ticket", 100, "")]}


def test_one_unit_short_waits_and_goes_back_when_the_purchase_has_expired() -> None:
    """btcpayserver/btcpayserver#52: exchange fees make payments short by cents; they may be topped up."""
    assert ends(OPEN, order(), paid(1, 99)) == {1: [("open", 99, "underpaid")]}
    assert ends(OPEN, order(expired=True), paid(1, 99)) == {1: [("refund", 99, "underpaid")]}
    assert decide(OPEN, order(expired=True), [paid(1, 99), paid(2, 1)]).mint


def test_what_is_over_is_surplus_and_dust_below_the_limit() -> None:
    """btcpayserver/btcpayserver#6127: an overpayment was never credited."""
    assert ends(OPEN, order(ticket="active"), paid(1, 130)) == {1: [("ticket", 100, ""), ("surplus", 30, "overpaid")]}
    assert ends(OPEN, order(ticket="active", dust=50), paid(1, 130))[1][1] == ("dust", 30, "overpaid")


def test_a_second_payment_for_a_ticket_is_surplus_in_full() -> None:
    """btcpayserver/btcpayserver#1828."""
    found = ends(OPEN, order(ticket="active"), paid(1, 100), paid(2, 100))
    assert found == {1: [("ticket", 100, "")], 2: [("surplus", 100, "duplicate")]}


def test_a_payment_whose_surplus_has_left_goes_on_paying_for_the_ticket() -> None:
    """One that was seen earlier and mined later came between: a payment has one surplus, which had left already."""
    left = (Allocation("surplus", 30, "overpaid"),)
    for states in (("confirmed", "confirmed"), ("orphaned", "confirmed"), ("confirmed", "orphaned")):
        first, second = (
            paid(1, 100, state=states[0], was_confirmed=True),
            paid(2, 130, state=states[1], was_confirmed=True, gone=left),
        )
        found = ends(OPEN, order(ticket="active", funded=100), first, second)
        for parts in found.values():
            assert len({kind for kind, _, _ in parts}) == len(parts)
    found = ends(OPEN, order(ticket="active", funded=100), paid(1, 100), paid(2, 130, gone=left))
    assert found == {1: [("surplus", 100, "duplicate")], 2: [("surplus", 30, "overpaid"), ("ticket", 100, "")]}


def test_paid_when_the_last_seat_is_gone_goes_back() -> None:
    """pretix/pretix#74: money was lost when the quota filled after the payment."""
    assert ends(OPEN, order(), paid(1, 100), refused="sold_out") == {1: [("refund", 100, "sold_out")]}


@pytest.mark.parametrize(
    ("sale", "reason"),
    [
        (Sale("cancelled", None, None, None), "event_cancelled"),  # con2/kompassi#1016
        (Sale("completed", None, None, None), "sales_closed"),
        (Sale("active", 10, None, None), "before_sales"),
        (Sale("active", None, 0, None), "sales_closed"),
        (Sale("active", None, None, 0), "event_over"),
        (Sale("active", None, None, None, by_memo=False), "purchase_required"),
    ],
)
def test_money_that_comes_when_nothing_is_on_sale_goes_back_by_name(sale: Sale, reason: str) -> None:
    assert forbids(sale, 1) == reason
    assert ends(sale, order(), paid(1, 100)) == {1: [("refund", 100, reason)]}
    assert not decide(sale, order(), [paid(1, 100)]).mint


def test_money_in_time_does_not_carry_late_money_over_the_end_of_sales() -> None:
    sale = Sale("active", None, 5, None)
    assert ends(sale, order(), paid(1, 1), paid(9, 99)) == {
        1: [("open", 1, "underpaid")],
        9: [("refund", 99, "sales_closed")],
    }


def test_another_asset_never_counts() -> None:
    """efdevcon/pretix-eth-payment-plugin#17: any DAI amount was accepted."""
    assert ends(OPEN, order(), paid(1, 100, asset="HBD")) == {1: [("refund", 100, "wrong_asset")]}
    assert ends(OPEN, order(), paid(1, 100, asset=None)) == {1: [("review", 100, "unpriced")]}


@pytest.mark.parametrize("flag", ["locked", "duplicate_output_key", "double_spend_seen", "memo_untrusted"])
def test_money_with_a_catch_is_looked_at_by_a_person(flag: str) -> None:
    """AcceptXMR timelock_rejection and burning_bug; monero-project/monero#4167."""
    assert ends(OPEN, order(), paid(1, 100, flags=(flag,))) == {1: [("review", 100, flag)]}


@pytest.mark.parametrize("state", ["seen", "confirming", "orphaned", "failed"])
def test_what_is_not_confirmed_counts_for_nothing(state: str) -> None:
    """lnbits/lnbits#349: success was shown without any payment."""
    decision = decide(OPEN, order(), [paid(1, 100, state=state)])
    assert not decision.mint
    assert decision.allocations == {}


def test_money_whose_refund_has_left_never_counts_again() -> None:
    """btcpayserver/btcpayserver#6540: ten payouts of one."""
    gone = (Allocation("refund", 60, "underpaid"),)
    assert not decide(OPEN, order(), [paid(1, 60, gone=gone), paid(2, 99)]).mint
    assert ends(OPEN, order(), paid(1, 60, gone=gone))[1] == [("refund", 60, "underpaid")]


def test_funding_that_left_the_chain_suspends_the_ticket_and_brings_it_back() -> None:
    lost = paid(1, 100, state="orphaned", was_confirmed=True)
    assert decide(OPEN, order(ticket="active"), [lost]).ticket == "suspended"
    assert ends(OPEN, order(ticket="active"), lost) == {1: [("ticket", 100, "")]}
    assert decide(OPEN, order(ticket="suspended"), [paid(1, 100)]).ticket == "active"
    assert decide(OPEN, order(ticket="suspended"), [lost, paid(2, 100)]).ticket == "active"


@pytest.mark.parametrize(
    ("stray", "expected"),
    [
        (Stray(5, "HIVE", "unknown_event"), ("refund", "unknown_event")),
        (Stray(5, "HIVE", "no_memo"), ("review", "no_memo")),
        (Stray(5, "HIVE", "no_memo", shared=True), ("foreign", "")),
        (Stray(5, "HIVE", "ambiguous", shared=True), ("review", "ambiguous")),
        (Stray(5, "HIVE", "no_memo", dust=6), ("dust", "")),
        (Stray(5, None, "no_memo"), ("review", "unpriced")),
        (Stray(5, "HIVE", "memo_unreadable", flags=("memo_unreadable",), shared=True), ("review", "memo_unreadable")),
        (Stray(5, "HIVE", "", flags=("internal",)), ("internal", "")),
    ],
)
def test_a_payment_without_a_purchase_ends_by_name(stray: Stray, expected: tuple[str, str]) -> None:
    found = route(stray)
    assert (found.kind, found.reason, found.amount) == (*expected, 5)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine all is slow
@given(
    st.lists(
        st.tuples(st.integers(1, 300), st.sampled_from(["HIVE", "HBD"]), st.sampled_from(["confirmed", "seen"])),
        max_size=6,
    ),
    st.sampled_from([None, "active", "suspended"]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 10_000),
    st.integers(0, 40),
)
def test_every_unit_of_every_confirmed_payment_is_allocated_once(
    coming: list[Any], ticket: str | None, expired: bool, sold_out: bool, bps: int, dust: int
) -> None:
    payments = [paid(i, amount, asset=asset, state=state) for i, (amount, asset, state) in enumerate(coming)]
    o = order(ticket=ticket, expired=expired, fee=bps // 100, dust=dust)
    decision = decide(OPEN, o, payments, refused="sold_out" if sold_out else "")
    if decision.mint:
        decision = decide(OPEN, order(ticket="active", fee=bps // 100), payments)
    for p in payments:
        parts = decision.allocations.get(p.transfer_id, ())
        assert sum(a.amount for a in parts) == (p.amount if p.state == "confirmed" else 0)
        assert all(a.amount > 0 and 0 <= a.commission <= a.amount for a in parts)
    bought = [a for parts in decision.allocations.values() for a in parts if a.kind == "ticket"]
    if decision.ticket == "active":
        assert sum(a.amount for a in bought) == 100
        assert sum(a.commission for a in bought) == bps // 100


def test_the_shown_state_is_the_summary_of_the_allocations() -> None:
    assert shown_state("confirming", []) == "confirming"
    assert shown_state("confirmed", [Allocation("ticket", 1), Allocation("surplus", 1)]) == "minted"
    assert shown_state("confirmed", [Allocation("refund", 1)]) == "refund_due"
    assert shown_state("confirmed", [Allocation("open", 1)]) == "confirmed"
    assert shown_state("orphaned", [Allocation("ticket", 1)]) == "orphaned"
