"""Seats that are held: who may hold how many, what keeps them, when they are free again; on both databases."""

import msgspec
import pytest
from sqlalchemy import select

from chainwatch.errors import Rejected
from chainwatch.ledger import events, invites
from chainwatch.ledger.context import Policy
from chainwatch.ledger.tables import allotments, tiers
from chainwatch.ledger.tables import invites as invite_table
from chainwatch.testing.shop import Seats, Shop

pytestmark = pytest.mark.network


def refused(shop: Shop, *args: str, **more: object) -> str:
    with pytest.raises(Rejected) as no:
        shop.ask(*args, **more)  # type: ignore[arg-type]
    return no.value.code


# -- who may hold ------------------------------------------------------------------------------------------


def test_unsigned_purchases_share_a_part_of_the_seats_and_signed_ones_hold_surely(shop: Shop) -> None:
    """A script that opens purchases must not empty the shop: btcpayserver/btcpayserver#4837, Hi.Events#1045."""
    shop.event(max_attendees=4)
    assert [shop.ask(f"bot-{n}", signed=False).held for n in range(4)] == [True, True, False, False]
    assert shop.seats() == Seats(0, 2, unsigned=2)
    assert [shop.ask(w).held for w in ("alice", "bobby", "carol")] == [True, True, False]
    assert shop.seats() == Seats(0, 4, unsigned=2)


def test_one_open_signed_purchase_of_a_wallet_unless_the_event_allows_more(shop: Shop) -> None:
    shop.event(max_attendees=9)
    shop.event("loose", open_per_wallet=2)
    shop.ask()
    assert refused(shop) == "purchase_open"
    shop.ask(signed=False)  # whoever did not sign blocks nobody, and is not blocked
    shop.ask(event="loose")
    shop.ask(event="loose")
    assert refused(shop, event="loose") == "purchase_open"
    shop.after(16).mine()
    shop.ask()


def test_a_free_ticket_is_signed_for_one_per_wallet_and_minted_at_once(shop: Shop) -> None:
    """LibertyDSNP: a price of 0 must not be a way around the limits (Unlock#1150: 0 is not unlimited)."""
    shop.event(ticket_price="0", max_attendees=2)
    assert refused(shop, signed=False) == "signature_required"
    quote = shop.ask()
    assert (quote.amount, quote.address, shop.view(quote).state) == (0, "", "minted")
    assert quote.ticket == shop.view(quote).ticket.uuid  # type: ignore[union-attr]
    assert refused(shop) == "wallet_limit"
    shop.ask("bobby")
    assert refused(shop, "carol") == "sold_out"
    shop.audit()
    paid = shop.buys("dave1")
    shop.mine(paid)
    assert shop.ends(paid) == [("refund", 5000, "purchase_required")]


# -- what keeps a seat -------------------------------------------------------------------------------------


def test_money_in_time_keeps_its_seat_against_those_who_are_confirmed_with_it(shop: Shop) -> None:
    """The hold is over when the money counts at last: it ends in the ticket, not a moment before it."""
    shop = Shop(shop.store, Policy(), depth=3)
    shop.event(max_attendees=1)
    quote = shop.ask("alice")
    assert quote.held
    shop.after(10)
    first, hers = shop.buys("bobby"), shop.pays(quote)
    shop.mine(first, hers)
    shop.after(6).mine(n=2)
    assert shop.wallets() == ["alice"]
    assert shop.ends(first) == [("refund", 5000, "sold_out")]
    assert shop.seats() == Seats(1, 0)


def test_a_sighting_keeps_the_seat_for_a_while_and_a_block_until_it_counts(shop: Shop) -> None:
    """btcpayserver/btcpayserver#1123, #1302: paid, and expired all the same."""
    shop = Shop(shop.store, Policy(seen_hold_percent=100), depth=3)
    shop.event(ticket_currency="BTC", ticket_price="0.001", max_attendees=2)
    quote = shop.ask(asset="BTC")
    paid = shop.pays(quote)
    shop.see(paid)
    shop.after(16).mine(chain="BTC")
    assert shop.seats() == Seats(0, 1, seen=1)
    assert shop.view(quote).state == "seen"
    shop.mine(paid)
    assert shop.seats() == Seats(0, 1)
    assert [p.confirmations for p in shop.view(quote).payments] == ["1/3"]
    shop.after(300).mine(chain="BTC")
    assert shop.seats() == Seats(0, 1)  # however long it takes
    shop.mine(chain="BTC")
    assert shop.seats() == Seats(1, 0)
    assert shop.ends(paid) == [("ticket", 100_000, "")]


def test_a_sighting_alone_keeps_nothing_beyond_its_time_or_its_share(shop: Shop) -> None:
    shop = Shop(shop.store, Policy(seen_hold_percent=50))
    shop.event(ticket_currency="BTC", ticket_price="0.001", max_attendees=2)
    paid = [shop.pays(shop.ask(w, "BTC")) for w in ("alice", "bobby")]
    shop.see(*paid)
    shop.after(16).mine(chain="BTC")
    assert shop.seats() == Seats(0, 1, seen=1)
    shop.after(110).mine(chain="BTC")
    assert shop.seats() == Seats(0, 0)
    shop.mine(*paid)
    assert shop.seats() == Seats(2, 0)  # late, and seats were left


def test_a_sighting_that_may_never_be_mined_keeps_nothing(shop: Shop) -> None:
    shop = Shop(shop.store, Policy(seen_hold_percent=100), depth=2)
    shop.event(ticket_currency="BTC", ticket_price="0.001", max_attendees=2)
    quote = shop.ask(asset="BTC")
    poor = shop.pays(quote, flags=("low_fee",))
    shop.see(poor)
    shop.after(16).mine(chain="BTC")
    assert shop.seats() == Seats(0, 0)
    again = shop.ask("bobby", "BTC")
    poor = shop.pays(again, flags=("low_fee",))
    shop.see(poor)
    shop.mine(msgspec.structs.replace(poor, flags=()))  # in a block in time, whatever it paid
    shop.after(16).mine(chain="BTC")
    assert shop.seats() == Seats(1, 0)


def test_a_sighting_that_goes_away_takes_the_seat_with_it(shop: Shop) -> None:
    """NBXplorer#421: a double spend that nobody noticed."""
    shop = Shop(shop.store, Policy(seen_hold_percent=100))
    shop.event(ticket_currency="BTC", ticket_price="0.001", max_attendees=2)
    paid = shop.pays(shop.ask(asset="BTC"))
    shop.see(paid)
    shop.after(16).mine(chain="BTC")
    shop.see(chain="BTC")
    shop.mine(chain="BTC")
    assert shop.seats() == Seats(0, 0)


def test_too_little_or_another_asset_on_its_way_keeps_no_seat(shop: Shop) -> None:
    shop = Shop(shop.store, depth=3)
    shop.event(max_attendees=2)
    less, other = shop.pays(shop.ask("alice"), 4999), shop.pays(shop.ask("bobby"), asset="HBD")
    shop.mine(less, other)
    shop.after(16).mine()
    assert shop.seats() == Seats(0, 0)


def test_money_that_a_reorg_takes_out_frees_the_seat(shop: Shop) -> None:
    shop = Shop(shop.store, depth=5)
    shop.event(max_attendees=2)
    quote = shop.ask()
    shop.mine()
    shop.mine(paid := shop.pays(quote))
    shop.after(16).mine()
    assert shop.seats() == Seats(0, 1)
    shop.reorg(2, paid)  # it comes back in the new branch: nothing is lost
    assert shop.seats() == Seats(0, 1)
    shop.reorg(3)
    shop.mine()
    assert shop.seats() == Seats(0, 0)


def test_a_chain_that_stands_still_keeps_its_holds(shop: Shop) -> None:
    shop.event(max_attendees=2)
    shop.ask()
    shop.after(600).mine(chain="BTC")
    assert shop.seats() == Seats(0, 1)
    shop.mine(chain="HIVE")
    assert shop.seats() == Seats(0, 0)


# -- tiers and allotments ------------------------------------------------------------------------------------


def tiered(shop: Shop, **more: object) -> None:
    vip = events.NewTier(code="vip", ticket_price="20", quantity=2, prices={"HBD": "6"})
    early = events.NewTier(code="early", ticket_price="3", sales_end_ms=shop.now_ms + 5 * 60_000)
    shop.event(tiers=(vip, early), max_attendees=5, **more)  # type: ignore[arg-type]


def tier(shop: Shop, code: str) -> tuple[int, int, int]:
    with shop.store.reading() as connection:
        t = connection.execute(select(tiers).where(tiers.c.code == code)).one()
    return t.sold, t.held, t.unsigned


def test_tiers_have_a_price_a_number_and_a_time_of_their_own(shop: Shop) -> None:
    tiered(shop)
    assert refused(shop) == "tier_required"
    assert refused(shop, tier="none") == "unknown_tier"
    assert shop.ask(tier="early").amount == 3000
    assert shop.ask("bobby", "HBD", tier="vip").amount == 6000
    assert shop.ask("carol", tier="vip").held
    assert not shop.ask("dave1", tier="vip").held
    assert tier(shop, "vip") == (0, 2, 0)
    assert shop.seats() == Seats(0, 3)
    shop.after(6)
    assert refused(shop, "erin1", tier="early") == "not_for_sale"
    shop.after(16).mine()
    assert (tier(shop, "vip"), shop.seats()) == ((0, 0, 0), Seats(0, 0))


def test_a_memo_names_its_tier_or_goes_back(shop: Shop) -> None:
    tiered(shop)
    good, none, wrong = (shop.pays(f"event:gala:wallet:{w}{t}", 20_000) for w, t in
                         (("alice", ":tier:vip"), ("bobby", ""), ("carol", ":tier:gold")))  # fmt: skip
    shop.mine(good, none, wrong)
    assert shop.ends(good) == [("ticket", 20_000, "")]
    assert shop.ends(none) == shop.ends(wrong) == [("refund", 20_000, "tier_required")]
    assert tier(shop, "vip") == (1, 0, 0)


def test_a_tier_never_sells_more_than_it_has_though_the_event_has_seats(shop: Shop) -> None:
    """alf.io and Hi.Events: a category's quota beside the event's."""
    tiered(shop)
    paid = [shop.pays(f"event:gala:wallet:{w}:tier:vip", 20_000) for w in ("alice", "bobby", "carol")]
    shop.mine(*paid)
    assert [shop.ends(p)[0][2] for p in paid] == ["", "", "sold_out"]
    assert refused(shop, "dave1", tier="vip") == "sold_out"
    early = shop.pays("event:gala:wallet:erin1:tier:early", 3000)
    shop.mine(early)
    assert shop.ends(early) == [("ticket", 3000, "")]
    assert shop.seats() == Seats(3, 0)


def test_late_money_of_an_early_tier_goes_back_once_the_tier_is_over(shop: Shop) -> None:
    tiered(shop)
    quote = shop.ask(tier="early")
    shop.after(20).mine()
    shop.mine(paid := shop.pays(quote))
    assert shop.ends(paid) == [("refund", 3000, "sales_closed")]


def test_an_event_with_one_tier_needs_no_name_for_it(shop: Shop) -> None:
    shop.event(tiers=(events.NewTier(code="all", ticket_price="7"),))
    assert shop.ask().amount == 7000
    shop.mine(paid := shop.buys("bobby", amount=7000))
    assert shop.ends(paid) == [("ticket", 7000, "")]


def test_seats_set_aside_are_for_those_who_name_them(shop: Shop) -> None:
    """Hi.Events#1195: an over-reserved bucket blocked the others."""
    shop.event(max_attendees=4, allotments=(events.NewAllotment(code="press", quantity=2),))
    assert shop.seats() == Seats(0, 0, 2)
    press = [shop.ask(w, allotment="press") for w in ("alice", "bobby", "carol")]
    assert [q.held for q in press] == [True, True, False]
    assert [shop.ask(w).held for w in ("dave1", "erin1", "frank")] == [True, True, False]
    assert shop.seats() == Seats(0, 4, 0)
    shop.mine(shop.pays(press[0]))
    shop.after(16).mine()
    assert shop.seats() == Seats(1, 0, 1)
    with shop.store.reading() as connection:
        a = connection.execute(select(allotments)).one()
    assert (a.sold, a.held) == (1, 0)
    assert refused(shop, "frank", allotment="none") == "unknown_allotment"
    late = [shop.pays(q) for q in press[1:]]
    shop.mine(*late)
    assert [shop.ends(p)[0][2] for p in late] == ["late", "late"]
    assert sorted(shop.ends(p)[0][0] for p in late) == ["refund", "ticket"]


def test_public_money_does_not_take_a_seat_that_is_set_aside(shop: Shop) -> None:
    shop.event(max_attendees=2, allotments=(events.NewAllotment(code="press", quantity=1),))
    paid = [shop.buys(w) for w in ("alice", "bobby")]
    shop.mine(*paid)
    assert [shop.ends(p)[0][0] for p in paid] == ["ticket", "refund"]
    assert refused(shop, "carol") == "sold_out"
    shop.mine(shop.pays(shop.ask("carol", allotment="press")))
    assert shop.wallets() == ["alice", "carol"]


def test_a_small_tier_cannot_be_held_empty_without_signing(shop: Shop) -> None:
    tiered(shop)
    assert [shop.ask(f"bot-{n}", tier="vip", signed=False).held for n in range(2)] == [True, False]
    assert tier(shop, "vip") == (0, 1, 1)
    assert shop.ask("alice", tier="vip").held


# -- invited and approved guests -----------------------------------------------------------------------------


def test_an_invite_is_used_once_and_comes_back_when_the_purchase_expires(shop: Shop) -> None:
    """pretix/pretix#1405: a cancelled voucher went on blocking its quota."""
    shop.event(admission="invite", max_attendees=9)
    with shop.store.transaction() as connection:
        code = invites.make(connection, 1, uses=1, wallet=None, now_ms=shop.now_ms, actor="test", public_id="gala")
        own = invites.make(connection, 1, uses=1, wallet="carol", now_ms=shop.now_ms, actor="test", public_id="gala")
    assert refused(shop) == "invite_required"
    assert refused(shop, invite="wrong") == "bad_invite"
    assert refused(shop, invite=own) == "bad_invite"
    first = shop.ask(invite=code)
    assert refused(shop, "bobby", invite=code) == "bad_invite"
    shop.after(16).mine()
    second = shop.ask("bobby", invite=code)
    shop.mine(paid := shop.pays(second))
    assert shop.ends(paid) == [("ticket", 5000, "")]
    shop.mine(late := shop.pays(first))
    assert shop.ends(late) == [("refund", 5000, "invite_used")]
    shop.mine(alone := shop.buys("carol"))
    assert shop.ends(alone) == [("refund", 5000, "purchase_required")]
    with shop.store.transaction() as connection:
        invites.revoke(connection, 1, 2, shop.now_ms, "test", "gala")
        assert [i.used for i in connection.execute(select(invite_table).order_by(invite_table.c.id))] == [1, 0]
    assert refused(shop, "carol", invite=own) == "bad_invite"


def test_guests_are_approved_before_they_buy(shop: Shop) -> None:
    shop.event(admission="approval")
    assert refused(shop) == "approval_required"
    with shop.store.transaction() as connection:
        assert invites.request(connection, 1, "alice", shop.now_ms) == "requested"
        assert invites.request(connection, 1, "alice", shop.now_ms) == "requested"
        assert [r.wallet for r in invites.requests(connection, 1)] == ["alice"]
    assert refused(shop) == "approval_required"
    with shop.store.transaction() as connection:
        invites.decide(connection, 1, "alice", True, shop.now_ms, "test", "gala")
        invites.decide(connection, 1, "bobby", False, shop.now_ms, "test", "gala")
    assert shop.ask().held
    assert refused(shop, "bobby") == "approval_required"
