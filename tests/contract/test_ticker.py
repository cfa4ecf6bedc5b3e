"""The price service over real HTTP: markets on loopback that answer in the recorded shapes, lie, stall and fail."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import func, select, update

from chainwatch.config.sections import Rates
from chainwatch.ledger import events, leases, rates, schema
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import event_prices
from chainwatch.ledger.tables import events as event_table
from chainwatch.ledger.tables import rates as rate_table
from chainwatch.markets import SOURCES
from chainwatch.metrics import Metrics
from chainwatch.model import Asset
from chainwatch.testing.clock import FakeClock
from chainwatch.ticker import Ticker, states

NOW = 1_760_000_000_000
ASSETS = {"HIVE": Asset("HIVE", "HIVE", 3), "BTC": Asset("BTC", "BTC", 8)}


class Exchange:
    """All markets in one server: prices by source, a fault by source."""

    def __init__(self) -> None:
        self.btc = {"coingecko": "90000", "kraken": "90100.5", "binance": "90090", "coinbase": "90050.01"}
        self.hive_price, self.feed, self.usdt = "0.2", "0.200 HBD", "0.999"
        self.faults: dict[str, Any] = {}
        self.seconds = NOW // 1000
        self.asked = 0
        self.urls: dict[str, str] = {}

    async def start(self) -> web.AppRunner:
        app = web.Application()
        for name in SOURCES:
            app.router.add_route("*", f"/{name}/{{rest:.*}}", getattr(self, name))
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.urls = {name: f"http://127.0.0.1:{runner.addresses[0][1]}/{name}" for name in SOURCES}
        return runner

    async def _answer(self, name: str, text: str) -> web.Response:
        self.asked += 1
        fault = self.faults.get(name)
        if fault == "hang":
            await asyncio.sleep(3600)
        if isinstance(fault, int):
            return web.Response(status=fault, headers={"Location": "/coingecko/"})
        return web.Response(text=fault or text, content_type="application/json")

    async def coingecko(self, _request: web.Request) -> web.Response:
        return await self._answer(
            "coingecko",
            f'{{"bitcoin":{{"usd":{self.btc["coingecko"]},"last_updated_at":{self.seconds}}},'
            f'"hive":{{"usd":{self.hive_price},"last_updated_at":{self.seconds}}},'
            f'"tether":{{"usd":{self.usdt},"last_updated_at":{self.seconds}}}}}',
        )

    async def kraken(self, request: web.Request) -> web.Response:
        price = {"XBTUSD": self.btc["kraken"], "USDTUSD": self.usdt}.get(request.query["pair"])
        if price is None:
            return await self._answer("kraken", '{"error":["EQuery:Unknown asset pair"]}')
        return await self._answer("kraken", f'{{"error":[],"result":{{"X":{{"b":["{price}","1","1.0"]}}}}}}')

    async def binance(self, request: web.Request) -> web.Response:
        symbol = request.query["symbol"]
        price = {"BTCUSDT": self.btc["binance"], "HIVEUSDT": self.hive_price}.get(symbol)
        if price is None:
            return web.Response(status=400)
        return await self._answer("binance", f'{{"symbol":"{symbol}","bidPrice":"{price}"}}')

    async def coinbase(self, request: web.Request) -> web.Response:
        price = {"BTC-USD": self.btc["coinbase"], "USDT-USD": self.usdt}.get(request.path.split("/")[3])
        if price is None:
            return web.Response(status=404)
        return await self._answer("coinbase", f'{{"bid":"{price}","time":"2025-10-09T08:53:19Z"}}')

    async def hive(self, request: web.Request) -> web.Response:
        method = (await request.json())["method"]
        result = f'{{"base":"{self.feed}","quote":"1.000 HIVE"}}'
        assert method == "condenser_api.get_current_median_history_price"
        return await self._answer("hive", f'{{"jsonrpc":"2.0","id":1,"result":{result}}}')


@pytest.fixture
async def exchange() -> AsyncIterator[Exchange]:
    market = Exchange()
    runner = await market.start()
    yield market
    await runner.cleanup()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store(f"sqlite:///{tmp_path}/rates.db")
    schema.upgrade(opened)
    yield opened
    opened.close()


def sell(store: Store, *assets: str) -> None:
    """Put an event on sale for 25 dollars, payable in ``assets``."""
    with store.transaction() as connection:
        prices = dict.fromkeys(assets, "1")
        new = events.NewEvent(title="x", ticket_price="1", ticket_currency=assets[0], prices=prices)
        events.create(connection, new, ASSETS, 2000, NOW, "test")
        connection.execute(update(event_table).values(ticket_price="25", ticket_currency="USD"))
        connection.execute(update(event_prices).values(amount=None))


class Desk:
    """A price service with its clock in the test's hand."""

    def __init__(
        self, store: Store, exchange: Exchange, holder: str = "a", clock: FakeClock | None = None, **more: Any
    ) -> None:
        self.clock, self.store, self.exchange = clock or FakeClock(NOW), store, exchange
        self.metrics = Metrics(self.clock)
        self.settings = Rates(urls=exchange.urls, **more)
        self.ticker = Ticker(
            settings=lambda: self.settings,
            hive_url="",
            store=store,
            metrics=self.metrics,
            clock=self.clock,
            holder=holder,
        )

    async def round(self, after_s: int = 60) -> None:
        self.clock.advance(after_s)
        self.exchange.seconds = self.clock.now_ms() // 1000
        await self.ticker.round()

    def price(self, asset: str = "BTC") -> Decimal | None:
        with self.store.reading() as connection:
            found = rates.current(connection, asset, "USD", self.clock.now_ms(), 300_000)
        return None if found is None else found.price

    def metric(self, name: str, asset: str = "BTC") -> float | None:
        for family in text_string_to_metric_families(self.metrics.render().decode()):
            for sample in family.samples:
                if sample.name == name and sample.labels.get("asset") == asset:
                    return sample.value
        return None

    async def close(self) -> None:
        await self.ticker._markets.close()


async def test_the_lower_price_of_those_that_agree_is_written(store: Store, exchange: Exchange) -> None:
    sell(store, "BTC", "HIVE")
    desk = Desk(store, exchange)
    await desk.round()
    assert desk.price("BTC") == Decimal("90090") * Decimal("0.999")  # Binance's, whose dollars are worth less
    assert desk.price("HIVE") == Decimal("0.1998")
    assert desk.metric("chainwatch_rate_sources_agreeing") == 4
    assert desk.metric("chainwatch_rate_sources_agreeing", "HIVE") == 2
    desk.clock.advance(42)
    assert desk.metric("chainwatch_quote_rate_age_seconds") == 42
    await desk.close()


@pytest.mark.parametrize("fault", [500, 429, 302, "<html>", '{"error":', "[" * 100_000, "x" * 300_000, "null"])
async def test_one_source_down_or_mad_changes_nothing(store: Store, exchange: Exchange, fault: Any) -> None:
    sell(store, "BTC")
    exchange.faults["kraken"] = fault
    desk = Desk(store, exchange)
    await desk.round()
    assert desk.price() is not None
    assert desk.metric("chainwatch_rate_sources_agreeing") == 3
    await desk.close()


async def test_all_sources_down_neither_bricks_nor_falls_back(store: Store, exchange: Exchange) -> None:
    """btcpayserver/btcpayserver#7090: a price source that was down took the shop with it."""
    sell(store, "BTC")
    desk = Desk(store, exchange)
    await desk.round()
    exchange.faults = dict.fromkeys(SOURCES, 503)
    for _ in range(4):
        await desk.round()
        assert desk.price() is not None  # four minutes old: still good
    await desk.round(61)
    assert desk.price() is None  # and then there is none: no fallback number
    assert desk.metric("chainwatch_quote_rate_age_seconds") == 301
    assert desk.metric("chainwatch_rate_sources_agreeing") == 0
    exchange.faults = {}
    await desk.round()
    assert desk.price() is not None
    await desk.close()


async def test_a_source_that_hangs_does_not_hold_up_the_others(
    store: Store, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chainwatch.markets.TIMEOUT_S", 1)
    sell(store, "BTC")
    exchange.faults["coinbase"] = "hang"
    desk = Desk(store, exchange)
    async with asyncio.timeout(60):
        while desk.price() is None:  # one round does, on a machine that does not stand still meanwhile
            await desk.round()
    await desk.close()


async def test_one_source_alone_makes_no_rate(store: Store, exchange: Exchange) -> None:
    sell(store, "HIVE")
    exchange.faults["binance"] = 500
    desk = Desk(store, exchange)
    await desk.round()
    assert desk.price("HIVE") is None
    assert desk.metric("chainwatch_quote_rate_age_seconds", "HIVE") == 0  # since it is wanted
    await desk.close()


async def test_the_feed_of_the_witnesses_stops_a_market_that_is_far_off(store: Store, exchange: Exchange) -> None:
    sell(store, "HIVE")
    desk = Desk(store, exchange)
    exchange.hive_price = "0.5"
    await desk.round()
    assert desk.price("HIVE") is None
    exchange.faults["hive"] = 500  # a bound that is not there bounds nothing
    await desk.round()
    assert desk.price("HIVE") is not None
    await desk.close()


async def test_a_jump_withholds_the_rate_until_it_stays(store: Store, exchange: Exchange) -> None:
    sell(store, "BTC")
    desk = Desk(store, exchange)
    await desk.round()
    good = dict(exchange.btc)
    exchange.btc = dict.fromkeys(good, "50000")
    await desk.round()
    assert desk.price() is None  # neither the old one, which may be wrong now, nor the new one
    await desk.round()
    assert desk.price() is None
    await desk.round()
    assert desk.price() == Decimal("50000") * Decimal("0.999")
    await desk.close()


async def test_a_restart_remembers_the_last_price(store: Store, exchange: Exchange) -> None:
    sell(store, "BTC")
    first = Desk(store, exchange)
    await first.round()
    await first.close()
    exchange.btc = dict.fromkeys(exchange.btc, "50000")
    second = Desk(store, exchange)
    second.clock.advance(60)
    await second.round()
    assert second.price() is None
    await second.close()


async def test_one_of_several_daemons_polls(store: Store, exchange: Exchange) -> None:
    sell(store, "BTC")
    one, two = Desk(store, exchange, "one"), Desk(store, exchange, "two")
    await one.round()
    asked = exchange.asked
    await two.round()
    assert exchange.asked == asked
    assert two.metric("chainwatch_quote_rate_age_seconds") == 0  # it reads what the other wrote
    assert two.metric("chainwatch_rate_sources_agreeing") is None
    two.clock.advance(60)
    await two.round()  # the first has not renewed for two minutes
    assert exchange.asked > asked
    with store.reading() as connection:
        assert leases.holder_of(connection, "rates", two.clock.now_ms()) == "two"
    await one.close()
    await two.close()


async def test_whoever_takes_over_compares_with_what_the_other_wrote(store: Store, exchange: Exchange) -> None:
    """Its own last price is old: what moved meanwhile is no jump."""
    sell(store, "BTC")
    clock = FakeClock(NOW)
    one, two = Desk(store, exchange, "one", clock), Desk(store, exchange, "two", clock)
    await one.round()
    clock.advance(60)  # the first one hangs, and has lost the lease when it comes back
    for price in ("80000", "70000", "60000"):
        exchange.btc = dict.fromkeys(exchange.btc, price)
        await two.round()
        await one.round(0)
    await two.ticker._lease.release()
    await one.round()
    with store.reading() as connection:
        assert leases.holder_of(connection, "rates", clock.now_ms()) == "one"
    assert one.price() == Decimal("60000") * Decimal("0.999")
    for desk in (one, two):
        await desk.close()


async def test_nobody_is_asked_when_no_event_needs_a_rate(store: Store, exchange: Exchange) -> None:
    desk = Desk(store, exchange)
    await desk.round()
    assert exchange.asked == 0
    sell(store, "BTC")
    await desk.round(5)  # a new event's rate does not wait for the next minute
    assert desk.price() is not None
    asked = exchange.asked
    await desk.round(5)
    assert exchange.asked == asked
    await desk.close()


async def test_fixed_rates_replace_all_sources(store: Store, exchange: Exchange) -> None:
    sell(store, "BTC")
    desk = Desk(store, exchange, fixed={"BTC": {"USD": "90000"}, "HIVE": {"USD": "1"}})
    await desk.round()
    assert (desk.price(), desk.price("HIVE"), exchange.asked) == (Decimal("90000"), None, 0)
    await desk.close()


async def test_a_reload_changes_the_sources(store: Store, exchange: Exchange) -> None:
    sell(store, "BTC")
    desk = Desk(store, exchange)
    desk.settings = msgspec.structs.replace(desk.settings, sources=("kraken", "coinbase"))
    await desk.round()
    with store.reading() as connection:
        assert connection.execute(select(rate_table.c.sources)).scalars().all() == ["coinbase kraken"]
        assert connection.execute(select(func.count()).select_from(rate_table)).scalar_one() == 1
    await desk.close()


async def test_check_shows_how_each_source_answers(exchange: Exchange) -> None:
    exchange.faults["kraken"] = 503
    found = await states(Rates(urls=exchange.urls), "", {("BTC", "USD")}, FakeClock(NOW))
    assert {s.source: s.ok for s in found} == {
        "coingecko": True,
        "kraken": False,
        "binance": True,
        "coinbase": True,
        "hive": True,
    }
    assert next(s.text for s in found if s.source == "kraken") == "HTTP 503"
