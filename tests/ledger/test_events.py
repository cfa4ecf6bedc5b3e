"""Events: what may be said of one, what may change while sales run, and how they are found; on both databases."""

from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from chainwatch.errors import Rejected
from chainwatch.ledger import events, offers
from chainwatch.ledger.tables import audit_log
from chainwatch.ledger.tables import events as event_table
from chainwatch.testing.shop import ASSETS, NOW_MS, Seats, Shop

pytestmark = pytest.mark.network
HOUR = 3_600_000


def row(shop: Shop, id: str = "gala") -> Any:
    with shop.store.reading() as connection:
        return events.find(connection, id)


TIER = events.NewTier(code="vip", ticket_price="9")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"title": " "}, "bad_title"),
        ({"max_attendees": 0}, "bad_capacity"),
        ({"event_start_ms": 2, "event_end_ms": 1}, "bad_times"),
        ({"admission": "friends"}, "bad_policy"),
        ({"entry_policy": "twice"}, "bad_policy"),
        ({"door": "window"}, "bad_policy"),
        ({"tickets_per_wallet": 0}, "bad_limit"),
        ({"open_per_wallet": 0}, "bad_limit"),
        ({"tiers": (TIER, TIER)}, "bad_tier"),
        ({"tiers": (events.NewTier(code="VIP", ticket_price="9"),)}, "bad_tier"),
        ({"tiers": (events.NewTier(code="vip", ticket_price="9", quantity=0),)}, "bad_tier"),
        ({"tiers": (events.NewTier(code="v", ticket_price="9", sales_start_ms=2, sales_end_ms=1),)}, "bad_times"),
        ({"allotments": (events.NewAllotment(code="p", quantity=6),), "max_attendees": 5}, "bad_allotment"),
        ({"allotments": (events.NewAllotment(code="P!", quantity=6),)}, "bad_allotment"),
        ({"ticket_currency": "USD"}, "bad_price"),
        ({"ticket_currency": "USD", "ticket_price": "1e3", "accept": ("HIVE",)}, "bad_price"),
        ({"ticket_currency": "USD", "accept": ("GOLD",)}, "unknown_currency"),
        ({"accept": ("HBD",)}, "bad_price"),
        ({"ticket_price": "0", "prices": {"HBD": "1"}}, "bad_price"),
        ({"ticket_currency": "GOLD"}, "unknown_currency"),
    ],
)
def test_what_cannot_be_is_refused_by_code(shop: Shop, said: dict[str, Any], code: str) -> None:
    with pytest.raises(Rejected) as no:
        shop.event(**({"prices": {}} | said))
    assert no.value.code == code
    with shop.store.reading() as connection:
        assert connection.execute(select(event_table.c.id)).first() is None


@pytest.mark.parametrize(
    "id", ["0", "01", "007", "Gala", "GALA", "42-", "42_7", "no dots.", "", "é", "x" * 65, "gala\n"]
)
def test_ids_that_a_memo_could_read_two_ways_are_none(shop: Shop, id: str) -> None:
    """Numbers without a leading zero; slugs in lower case, with a letter: so that no slug is ever a number."""
    with pytest.raises(Rejected) as no:
        shop.event(id)
    assert no.value.code == "bad_event_id"


def test_an_id_is_given_once_and_never_again_and_a_number_is_no_slug_s_second_name(shop: Shop) -> None:
    """Recycled, it would sell what old memos on chain have paid for."""
    shop.event("gala")
    assert shop.event("7") == "7"
    shop.cancel("gala")
    for id in ("gala", "7"):
        with pytest.raises(Rejected) as no:
            shop.event(id)
        assert no.value.code == "event_exists"
    assert row(shop, "gala").id == 1
    with pytest.raises(Rejected) as no:
        row(shop, "1")
    assert no.value.code == "unknown_event"
    stray, numbered = shop.buys("alice", "1"), shop.buys("alice", "7")
    zero = shop.buys("alice", "07")
    shop.mine(stray, numbered, zero)
    assert shop.ends(stray) == shop.ends(zero) == [("refund", 5000, "unknown_event")]
    assert shop.ends(numbered) == [("ticket", 5000, "")]


def test_the_platform_s_cap_on_attendees_binds_making_and_changing(shop: Shop) -> None:
    new = events.NewEvent(id="gala", title="g", ticket_price="5", ticket_currency="HIVE")
    for seats in (None, 101):
        sized = msgspec.structs.replace(new, max_attendees=seats)
        with pytest.raises(Rejected) as no, shop.store.transaction() as connection:
            events.create(connection, sized, ASSETS, 0, NOW_MS, "t", attendee_cap=100)
        assert no.value.code == "over_cap"
    shop.event(max_attendees=100)
    with pytest.raises(Rejected, match="at most 100"), shop.store.transaction() as connection:
        events.change(connection, "gala", events.Changes(max_attendees=101), ASSETS, NOW_MS, "t", attendee_cap=100)


def test_by_memo_is_for_what_is_open_priced_in_coins_and_above_zero(shop: Shop) -> None:
    shop.event("plain")
    shop.event("free", ticket_price="0")
    shop.event("invited", admission="invite")
    shop.event("dollars", ticket_price="5", ticket_currency="USD", accept=("HIVE",))
    shop.event("tiers", tiers=(TIER,))
    shop.event("free-tier", tiers=(TIER, events.NewTier(code="free", ticket_price="0")))
    assert [row(shop, e).by_memo for e in ("plain", "free", "invited", "dollars", "tiers", "free-tier")] == [
        True,
        False,
        False,
        False,
        True,
        False,
    ]
    shop.change("plain", admission="approval")
    assert not row(shop, "plain").by_memo


def test_open_purchases_keep_their_price_and_new_ones_take_the_new(shop: Shop) -> None:
    shop.event(bps=1000)
    before = shop.ask()
    shop.change(ticket_price="8")
    assert (before.amount, shop.ask("bobby").amount) == (5000, 8000)
    assert row(shop).ticket_price == "8"
    shop.mine(kept := shop.pays(before), less := shop.buys("carol", amount=5000))
    assert (shop.ends(kept), shop.ends(less)) == ([("ticket", 5000, "")], [("open", 5000, "underpaid")])
    with pytest.raises(Rejected):
        shop.ask("dave1", "HBD")  # prices are replaced as a whole


def test_the_capacity_never_goes_below_what_is_sold_held_and_set_aside(shop: Shop) -> None:
    shop.event(max_attendees=9, allotments=(events.NewAllotment(code="press", quantity=2),))
    shop.mine(shop.pays(shop.ask()))
    shop.ask("bobby")
    with pytest.raises(Rejected) as no:
        shop.change(max_attendees=3)
    assert no.value.code == "bad_capacity"
    shop.change(max_attendees=4)
    assert not shop.ask("carol").held
    shop.change(allotments=(events.NewAllotment(code="press", quantity=1),))
    assert shop.seats() == Seats(1, 1, 1)
    assert shop.ask("dave1").held
    with pytest.raises(Rejected) as no:
        shop.change(allotments=(events.NewAllotment(code="crew", quantity=1),))
    assert no.value.code == "bad_capacity"
    shop.change(max_attendees=None)
    shop.audit()


def test_a_tier_is_added_and_changed_and_never_below_what_is_sold(shop: Shop) -> None:
    shop.event(tiers=(events.NewTier(code="vip", ticket_price="9", quantity=5),))
    shop.mine(shop.pays(shop.ask(tier="vip")))
    shop.ask("bobby", tier="vip")
    with pytest.raises(Rejected) as no:
        shop.change(tiers=(events.NewTier(code="vip", ticket_price="9", quantity=1),))
    assert no.value.code == "bad_tier"
    shop.change(tiers=(events.NewTier(code="vip", ticket_price="11", quantity=2), TIER.__class__(
        code="late", ticket_price="3")))  # fmt: skip
    with shop.store.reading() as connection:
        found = [(t.code, t.ticket_price, t.quantity, t.sold, t.held) for t in offers.tiers_of(connection, 1)]
    assert found == [("vip", "11", 2, 1, 1), ("late", "3", None, 0, 0)]
    assert not shop.ask("carol", tier="vip").held


def test_after_the_first_sale_the_end_only_moves_later_and_payouts_wait_for_the_latest(shop: Shop) -> None:
    shop.event(event_end_ms=NOW_MS + 4 * HOUR)
    shop.change(event_end_ms=NOW_MS + 3 * HOUR)
    assert row(shop).latest_end_ms == NOW_MS + 4 * HOUR
    shop.mine(shop.buys("alice"))
    for end in (NOW_MS + 2 * HOUR, None):
        with pytest.raises(Rejected) as no:
            shop.change(event_end_ms=end)
        assert no.value.code == "bad_times"
    shop.change(event_end_ms=NOW_MS + 6 * HOUR)
    assert row(shop).latest_end_ms == NOW_MS + 6 * HOUR


def test_an_event_that_had_no_end_gets_none_in_the_past_once_tickets_are_sold(shop: Shop) -> None:
    """Payouts wait for the end: one a week ago would pay them out at once."""
    shop.event()
    shop.mine(shop.buys("alice"))
    with pytest.raises(Rejected) as no:
        shop.change(event_end_ms=shop.now_ms - 8 * 24 * HOUR)
    assert no.value.code == "bad_times"
    shop.change(event_end_ms=shop.now_ms + HOUR)
    assert row(shop).latest_end_ms == shop.now_ms + HOUR


def test_the_gate_opens_and_closes_once_and_a_dispute_comes_and_goes(shop: Shop) -> None:
    shop.event()
    with shop.store.transaction() as connection:
        events.start(connection, "gala", NOW_MS + 1, "creator:carol")
        events.start(connection, "gala", NOW_MS + 2, "creator:carol")
        events.dispute(connection, "gala", NOW_MS, "operator:ann")
    assert (row(shop).started_ms, row(shop).dispute) == (NOW_MS + 1, True)
    with shop.store.transaction() as connection:
        events.dispute(connection, "gala", NOW_MS, "operator:ann", False)
        events.end(connection, "gala", NOW_MS + 3, "creator:carol")
        events.end(connection, "gala", NOW_MS + 4, "creator:carol")
    assert (row(shop).ended_ms, row(shop).latest_end_ms, row(shop).dispute) == (NOW_MS + 3, NOW_MS + 3, False)
    with pytest.raises(Rejected) as no, shop.store.transaction() as connection:
        events.start(connection, "gala", NOW_MS + 5, "creator:carol")
    assert no.value.code == "event_over"
    with shop.store.reading() as connection:
        log = list(connection.scalars(select(audit_log.c.action).order_by(audit_log.c.id)))
    assert log == ["event_created", "event_started", "event_disputed", "dispute_settled", "event_ended"]


def test_a_cancelled_event_sells_starts_and_changes_nothing(shop: Shop) -> None:
    shop.event()
    shop.cancel()
    for step in (events.start, events.end):
        with pytest.raises(Rejected) as no, shop.store.transaction() as connection:
            step(connection, "gala", NOW_MS, "t")
        assert no.value.code == "event_cancelled"
    with pytest.raises(Rejected, match="cancelled"):
        shop.change(title="x")
    with pytest.raises(Rejected) as no:
        shop.ask()
    assert no.value.code == "not_for_sale"


def test_events_are_found_by_what_people_look_for(shop: Shop) -> None:
    shop.event("past", event_end_ms=NOW_MS - 1)
    shop.event("soon", event_start_ms=NOW_MS + HOUR, event_category="music", creator_account="carol")
    shop.event("dear", ticket_price="12.5", event_start_ms=NOW_MS + 9 * HOUR)
    shop.event("off")
    shop.cancel("off")

    def found(limit: int = 9, after: int = 0, **wanted: Any) -> list[str]:
        with shop.store.reading() as connection:
            return [e.slug for e in events.search(connection, events.Filter(**wanted), limit, after)]

    assert found(upcoming_ms=NOW_MS) == ["soon", "dear"]
    assert found(category="music") == found(creator="carol") == ["soon"]
    assert found(min_price="9.5", currency="HIVE") == ["dear"]
    assert found(max_price="9.5", upcoming_ms=NOW_MS) == ["soon"]
    assert found(starts_after_ms=NOW_MS, starts_before_ms=NOW_MS + 2 * HOUR) == ["soon"]
    assert found(status="cancelled") == ["off"]
    assert (found(2), found(2, 2)) == (["past", "soon"], ["dear", "off"])
    with pytest.raises(Rejected):
        found(min_price="-1")
