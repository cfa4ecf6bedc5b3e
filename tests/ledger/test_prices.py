"""What a purchase costs and what its buyer is told: rates, fees, memos, views; on both databases."""

from decimal import Decimal

import pytest
from sqlalchemy import event, select

from chainwatch import memo
from chainwatch.errors import Rejected
from chainwatch.ledger import events, queries, quotes, rates, review
from chainwatch.ledger.context import Policy
from chainwatch.ledger.tables import erased_wallets, purchases, tickets, transfers
from chainwatch.ledger.tombstones import key_of, pseudonym
from chainwatch.model import Transfer
from chainwatch.testing.shop import NOW_MS, Shop
from chainwatch.tickets.rates import Rate, base_units

pytestmark = pytest.mark.network
MINUTE = 60_000


def rate(shop: Shop, price: str, asset: str = "HIVE", at_ms: int | None = None) -> None:
    with shop.store.transaction() as connection:
        at = shop.now_ms if at_ms is None else at_ms
        rates.put(connection, [Rate(asset, "USD", Decimal(price), at, ("a", "b"))])


def in_dollars(shop: Shop, **more: object) -> None:
    shop.event(ticket_price="25.00", ticket_currency="USD", accept=("HIVE", "BTC"), **more)  # type: ignore[arg-type]


# -- prices in money -----------------------------------------------------------------------------------------


def late_without_a_rate(shop: Shop) -> tuple[quotes.Quote, Transfer]:
    """A purchase in dollars that was paid after its hold, when nobody knew the rate any more, and its payment."""
    in_dollars(shop)
    rate(shop, "0.25")
    quote = shop.ask()
    shop.after(30).mine()
    shop.mine(paid := shop.pays(quote))
    assert shop.ends(paid) == [("review", 100_000, "no_rate")]
    return quote, paid


def test_base_units_are_rounded_up() -> None:
    assert base_units(Decimal("25.00"), Rate("BTC", "USD", Decimal("60000"), 0, ()), 8) == 41_667
    assert base_units(Decimal("1"), Rate("ETH", "USD", Decimal("3"), 0, ()), 18) == 333333333333333334
    assert base_units(Decimal("3"), Rate("ETH", "USD", Decimal("3"), 0, ()), 18) == 10**18


def test_without_a_rate_nothing_is_sold(shop: Shop) -> None:
    """Bitcart 0.10.1.0 sold one to one; btcpayserver/btcpayserver#7090, #5550."""
    in_dollars(shop)
    for price, at_ms in (("0.25", NOW_MS - 5 * MINUTE - 1), ("0.25", NOW_MS + 1)):
        rate(shop, price, at_ms=at_ms)
        with pytest.raises(Rejected) as no:
            shop.ask()
        assert no.value.code == "no_rate"
    with pytest.raises(Rejected) as no:
        shop.ask(asset="HBD")
    assert no.value.code == "not_for_sale"


def test_the_rate_is_locked_for_the_hold(shop: Shop) -> None:
    in_dollars(shop)
    rate(shop, "0.25")
    quote = shop.ask()
    assert (quote.amount, quote.fiat_amount, quote.fiat_currency, quote.rate) == (100_000, "25.00", "USD", "0.25")
    shop.after(4)
    rate(shop, "0.10")
    assert shop.ask("bobby").amount == 250_000
    shop.mine(paid := shop.pays(quote))
    assert shop.ends(paid) == [("ticket", 100_000, "")]
    with shop.store.reading() as connection:
        assert rates.wanted(connection) == {("HIVE", "USD"), ("BTC", "USD")}


def test_late_money_is_quoted_again_at_the_time_when_it_was_paid(shop: Shop) -> None:
    """btcpayserver/btcpayserver#7545 with a price in dollars: neither lost nor let in for less."""
    in_dollars(shop, bps=1000)
    rate(shop, "0.25")
    dear, cheap = shop.ask(), shop.ask("bobby")
    shop.after(16).mine()
    rate(shop, "0.20")
    less = shop.pays(dear)
    shop.mine(less)
    assert shop.ends(less) == [("refund", 100_000, "underpaid")]
    rate(shop, "0.50", at_ms=shop.now_ms + 1)
    shop.after(1).mine(paid := shop.pays(cheap))
    assert shop.ends(paid) == [("ticket", 50_000, "late"), ("surplus", 50_000, "overpaid")]
    with shop.store.reading() as connection:
        row = connection.execute(select(purchases).where(purchases.c.ref == cheap.ref)).one()
        assert (row.price, row.fee, row.rate) == (50_000, 5000, "0.50")
    shop.mine(shop.pays(dear, 1))
    assert shop.wallets() == ["bobby", "alice"]  # what was too little at one rate is enough at the next payment's


def test_late_money_without_a_rate_waits_for_a_person_who_may_take_the_old_one(shop: Shop) -> None:
    quote, _ = late_without_a_rate(shop)
    with shop.store.transaction() as connection:
        (item,) = review.open_items(connection)
        decision = review.Decision(action="assign", ref=quote.ref)
        assert review.decide(connection, item.id, decision, shop.contexts, shop.now_ms, "test") == "minted"
    shop.audit()


def test_late_money_without_a_rate_goes_back_when_the_event_is_cancelled(shop: Shop) -> None:
    _, paid = late_without_a_rate(shop)
    shop.cancel()
    assert shop.ends(paid) == [("refund", 100_000, "event_cancelled")]
    shop.audit()


def test_late_money_in_dollars_needs_its_tier_still_on_sale(shop: Shop) -> None:
    early = events.NewTier(code="early", ticket_price="25", sales_end_ms=NOW_MS + 5 * MINUTE)
    in_dollars(shop, tiers=(early,))
    rate(shop, "0.25")
    quote = shop.ask(tier="early")
    shop.after(16).mine()
    rate(shop, "0.25")
    shop.mine(paid := shop.pays(quote))
    assert shop.ends(paid) == [("refund", 100_000, "sales_closed")]


def test_a_memo_cannot_lock_a_rate(shop: Shop) -> None:
    in_dollars(shop)
    rate(shop, "0.25")
    shop.mine(paid := shop.buys("alice", amount=100_000))
    assert shop.ends(paid) == [("refund", 100_000, "purchase_required")]


# -- fees ----------------------------------------------------------------------------------------------------


def test_a_fee_on_top_is_paid_by_the_buyer_and_one_inside_by_the_creator(shop: Shop) -> None:
    shop.event("on-top", bps=1500, fee_on_top=True)
    shop.event("inside", bps=1500)
    on_top, inside = shop.ask(event="on-top"), shop.ask(event="inside")
    assert (on_top.amount, inside.amount) == (5750, 5000)
    parts = [shop.pays(on_top, n) for n in (1, 5000, 749)]
    shop.mine(*parts, shop.pays(inside), memo := shop.buys("bobby", "on-top", 5750))
    assert shop.shown(memo) == "minted"
    with shop.store.reading() as connection:
        rows = connection.execute(select(tickets).order_by(tickets.c.id)).all()
    assert [(t.amount_paid, t.commission, t.payout) for t in rows] == [
        (5750, 750, 5000),
        (5000, 750, 4250),
        (5750, 750, 5000),
    ]


def test_a_price_that_no_column_holds_with_its_fee_stops_no_chain(shop: Shop) -> None:
    """Whoever makes such an event, and pays it by a memo, would stop the chain for everybody."""
    most = "9" * 75  # HIVE has three decimals: 78 digits
    shop.event("inside", ticket_price=most)
    shop.mine(shop.buys("alice", "inside", 1))
    for more in ({"ticket_price": most}, {"tiers": (events.NewTier(code="vip", ticket_price=most),)}):
        with pytest.raises(Rejected) as caught:
            shop.event("on-top", fee_on_top=True, **more)
        assert caught.value.code == "bad_price"
    shop.event("on-top", fee_on_top=True)
    for changes in ({"ticket_price": most}, {"tiers": (events.NewTier(code="vip", ticket_price=most),)}):
        with pytest.raises(Rejected) as caught:
            shop.change("on-top", **changes)
        assert caught.value.code == "bad_price"
    shop.mine(shop.buys("alice", "on-top", 1))


# -- what the buyer is told ------------------------------------------------------------------------------------


def test_the_short_memo_is_the_default_and_the_long_one_only_where_it_fits(shop: Shop) -> None:
    shop.event()
    assert shop.ask().memo == f"cw:{shop.view(shop.ask('bobby')).ref}" or shop.ask("carol").memo.startswith("cw:")
    public = Shop(shop.store, Policy(long_memo=True))
    quote = public.ask("dave1")
    assert quote.memo == f"event:gala:wallet:dave1:ref:{quote.ref}"
    public.mine(public.pays(quote))
    assert public.wallets() == ["dave1"]
    context = public.contexts["BTC"]
    long, wallet = "an-event-with-quite-a-long-name", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"
    assert quotes.memo_of("gala", "dave1", "a" * 16, context) == memo.long_form("gala", "dave1", "a" * 16)
    text = quotes.memo_of(long, wallet, "a" * 16, context)
    assert (text, len(text) <= 80) == ("cw:" + "a" * 16, True)  # 80 bytes of OP_RETURN


def test_a_contract_wallet_is_bound_to_the_chain_that_it_is_on(shop: Shop) -> None:
    shop.event()
    shop.ask("0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045", wallet_chain="ETH")
    with shop.store.reading() as connection:
        assert connection.execute(select(purchases.c.wallet_chain)).scalar_one() == "ETH"
    with pytest.raises(Rejected, match="chain"):
        shop.ask("bobby", wallet_chain="x" * 65)


def test_the_holder_of_the_secret_sees_the_whole_purchase_and_its_reference_opens_nothing(shop: Shop) -> None:
    shop = Shop(shop.store, depth=2)
    shop.event()
    quote = shop.ask()
    before = shop.view(quote)
    assert (before.state, before.missing, before.memo, before.held) == ("open", 5000, quote.memo, True)
    with pytest.raises(Rejected) as no, shop.store.reading() as connection:
        quotes.view(connection, quote.ref, shop.now_ms)
    assert no.value.code == "unknown_purchase"
    shop.see(paid := shop.pays(quote))
    assert shop.view(quote).state == "seen"
    shop.mine(paid, shop.pays(quote, 5000))
    assert [p.confirmations for p in shop.view(quote).payments] == ["1/2", "1/2"]
    shop.mine()
    after = shop.view(quote)
    assert (after.state, after.paid, after.missing, after.held) == ("minted", 5000, 0, False)
    assert after.ticket is not None
    token = shop.contexts["HIVE"].issuer.token(after.ticket.bought, after.ticket.unit)
    assert shop.contexts["HIVE"].issuer.issue(after.ticket.bought, 1, {}).uuid == after.ticket.uuid
    assert token
    assert [(r.kind, r.amount, r.reason, r.state) for r in after.refunds] == [("surplus", 5000, "duplicate", "due")]


def test_what_is_known_of_a_payment_finds_it(shop: Shop) -> None:
    shop.event()
    quote = shop.ask()
    paid = shop.pays(quote)
    shop.mine(paid, shop.buys("bobby"))
    assert quote.memo is not None
    with shop.store.reading() as connection:
        for by in ({"memo": quote.memo.encode()}, {"wallet": "alice"}, {"txid": paid.txid}):
            assert [p.txid for p in queries.payments(connection, **by)] == [paid.txid], by  # type: ignore[arg-type]
        assert [p.wallet for p in queries.payments(connection, event=1)] == ["alice", "bobby"]
        assert [p.wallet for p in queries.payments(connection, address="till")] == ["bobby", "alice"]
        assert len(queries.payments(connection, address="till", limit=1)) == 1
        with pytest.raises(Rejected):
            queries.payments(connection)


def test_every_such_question_is_answered_from_an_index(shop: Shop) -> None:
    """A million payments: ``bench/lookup.py`` measures it."""
    if not shop.store.is_sqlite:
        return  # PostgreSQL chooses by statistics, which an empty table does not have
    plans: list[str] = []
    shop.event()
    shop.mine(shop.buys("alice"))
    with shop.store.reading() as connection:

        def explain(_c: object, _cursor: object, statement: str, parameters: object, *_more: object) -> None:
            if statement.startswith("SELECT transfers"):
                rows = connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
                plans.extend(str(r) for r in rows.fetchall())

        event.listen(shop.store.engine, "before_cursor_execute", explain)
        for by in ({"memo": b"x"}, {"wallet": "alice"}, {"txid": "x"}, {"address": "till"}, {"event": 1}):
            queries.payments(connection, **by)  # type: ignore[arg-type]
        event.remove(shop.store.engine, "before_cursor_execute", explain)
    assert sum("USING INDEX" in p or "USING COVERING INDEX" in p for p in plans) >= 5
    assert [p for p in plans if "SCAN transfers" in p or "SCAN purchases" in p] == []


# -- erased wallets ----------------------------------------------------------------------------------------------


def erase(shop: Shop, wallet: str) -> str:
    """As an erasure leaves the ledger: a tombstone, and the pseudonym in the wallet's place."""
    key = key_of(shop.contexts["HIVE"].issuer, wallet)
    shadow = pseudonym(key)
    with shop.store.transaction() as connection:
        connection.execute(erased_wallets.insert().values(wallet_key=key, erased_ms=shop.now_ms))
        for p in connection.execute(select(purchases).where(purchases.c.wallet == wallet)).all():
            implicit = p.implicit_key and p.implicit_key.replace(f"|{wallet}|", f"|{shadow}|")
            mine = purchases.update().where(purchases.c.id == p.id)
            connection.execute(mine.values(wallet=shadow, implicit_key=implicit))
            here = transfers.update().where(transfers.c.purchase_id == p.id)
            connection.execute(here.values(memo=None, memo_key=None, sender="[]"))
        connection.execute(tickets.update().where(tickets.c.wallet == wallet).values(wallet=shadow))
    return shadow


def test_neither_a_reorg_nor_later_money_brings_an_erased_wallet_back(shop: Shop) -> None:
    shop.event()
    paid = shop.buys("alice", sender=("alice",))
    shop.mine()
    shop.mine(paid)
    shadow = erase(shop, "alice")
    shop.reorg(1, paid)
    again = shop.buys("alice", sender=("alice",))
    shop.mine(again)
    assert shop.ends(again) == [("surplus", 5000, "duplicate")]  # the purchase is still found
    with shop.store.reading() as connection:
        everything = [
            *connection.execute(select(transfers)),
            *connection.execute(select(purchases)),
            *connection.execute(select(tickets.c.wallet)),
        ]
    assert shadow in repr(everything)
    assert "alice" not in repr(everything)
