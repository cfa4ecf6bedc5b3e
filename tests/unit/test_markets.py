"""What markets are asked, and what their answers (in the shapes they have today) mean."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainwatch.config import networks
from chainwatch.config.sections import Rates
from chainwatch.devnet import network
from chainwatch.errors import Misconfigured
from chainwatch.ledger.events import FIAT
from chainwatch.markets import CURRENCIES, SOURCES, Ask, Markets, coin_of, with_crossings
from chainwatch.ticker import fixed_rates
from chainwatch.tickets.rates import Price, Rules, agree

NOW = 1_760_000_000_000


def read(source: str, ask: Ask, body: str) -> list[tuple[str, str, str]]:
    return [(p.coin, p.currency, str(p.price)) for p in SOURCES[source].read(ask, body.encode(), NOW)]


def test_coingecko() -> None:
    (ask,) = SOURCES["coingecko"].asks([("HIVE", "USD"), ("HBD", "USD"), ("BTC", "EUR")])
    assert ask.path.startswith("/api/v3/simple/price?ids=bitcoin%2Chive%2Chive_dollar&vs_currencies=eur%2Cusd&")
    body = (
        '{"bitcoin":{"usd":91234.123456789012345678,"eur":78000,"last_updated_at":1759999990},'
        '"hive":{"usd":0.1987654321,"last_updated_at":1759999980},"hive_dollar":{"usd":9.93e-1},"dash":{}}'
    )
    assert read("coingecko", ask, body) == [
        ("BTC", "USD", "91234.123456789012345678"),  # as it was written: no float has so many digits
        ("BTC", "EUR", "78000"),
        ("HIVE", "USD", "0.1987654321"),
    ]
    assert SOURCES["coingecko"].read(ask, body.encode(), NOW)[0].at_ms == 1_759_999_990_000


def test_kraken() -> None:
    asks = SOURCES["kraken"].asks([("BTC", "USD"), ("HIVE", "USD"), ("DOGE", "EUR"), ("MATIC", "USD")])
    assert [a.path.partition("=")[2] for a in asks] == ["XBTUSD", "XDGEUR", "POLUSD"]
    body = (
        '{"error":[],"result":{"XXBTZUSD":{"a":["90010.10000","1","1.000"],"b":["90010.00000","3","3.000"],'
        '"c":["90010.10000","0.00110000"],"v":["1","2"],"p":["1","2"],"t":[1,2],"l":["1","2"],"h":["1","2"],"o":"1"}}}'
    )
    assert read("kraken", asks[0], body) == [("BTC", "USD", "90010.00000")]
    assert read("kraken", asks[0], '{"error":["EQuery:Unknown asset pair"]}') == []


def test_binance_prices_in_usdt_and_says_so() -> None:
    asks = SOURCES["binance"].asks([("HIVE", "USD"), ("HIVE", "EUR"), ("MATIC", "USD"), ("XMR", "USD")])
    assert [a.path.partition("=")[2] for a in asks] == ["HIVEUSDT", "POLUSDT"]
    body = '{"symbol":"HIVEUSDT","bidPrice":"0.19870000","bidQty":"1.0","askPrice":"0.19880000","askQty":"5.0"}'
    assert read("binance", asks[0], body) == [("HIVE", "USDT", "0.19870000")]
    assert read("binance", asks[1], body) == []  # an answer about another pair


def test_coinbase_and_a_market_that_stopped() -> None:
    (ask,) = SOURCES["coinbase"].asks([("ETH", "GBP"), ("XMR", "USD"), ("ETH", "JPY")])
    assert ask.path == "/products/ETH-GBP/ticker"
    body = '{"ask":"2600.1","bid":"2600.01","volume":"1","trade_id":1,"price":"2600.05","size":"1","time":"%s"}'
    assert read("coinbase", ask, body % "2025-10-09T08:53:10.123456Z") == [("ETH", "GBP", "2600.01")]
    (stopped,) = SOURCES["coinbase"].read(ask, (body % "2024-01-01T00:00:00Z").encode(), NOW)
    assert agree(("ETH", "GBP"), [stopped], Rules(), NOW).why == "no_source"


def test_hive_gives_a_bound_for_hive_and_a_market_for_hbd() -> None:
    feed, ticker = SOURCES["hive"].asks([("HBD", "USD")])
    assert msgspec.json.decode(feed.body or b"")["method"] == "condenser_api.get_current_median_history_price"
    said = SOURCES["hive"].read(
        feed, b'{"jsonrpc":"2.0","result":{"base":"0.200 HBD","quote":"1.000 HIVE"},"id":1}', NOW
    )
    assert said == [Price("hive", "HIVE", "USD", Decimal("0.2"), NOW, bound=True)]
    body = (
        '{"jsonrpc":"2.0","id":1,"result":{"latest":"0.20","lowest_ask":"0.20000000000000000","highest_bid":"0.19",'
        '"percent_change":"1.0","hive_volume":"1.000 HIVE","hbd_volume":"1.000 HBD"}}'
    )
    assert read("hive", ticker, body) == [("HBD", "HIVE", "5")]


def test_hbd_is_priced_through_hive_and_hive_through_tether() -> None:
    """HBD wants to be a dollar and is not one: it is sold for HIVE on the chain's own market."""
    prices = [
        Price("coingecko", "HIVE", "USD", Decimal("0.2"), NOW),
        Price("binance", "HIVE", "USDT", Decimal("0.2"), NOW),
        Price("kraken", "USDT", "USD", Decimal(1), NOW),
        Price("coinbase", "USDT", "USD", Decimal(1), NOW),
        Price("coingecko", "HBD", "USD", Decimal("0.93"), NOW),
        Price("hive", "HBD", "HIVE", Decimal("4.6"), NOW),
    ]
    found = agree(("HBD", "USD"), prices, Rules(), NOW)
    assert (found.price, found.agreeing) == (Decimal("0.92"), ("coingecko", "hive"))
    assert {("HIVE", "EUR"), ("USDT", "EUR")} <= set(with_crossings([("HBD", "EUR")]))


@pytest.mark.parametrize("name", ["POL", "MATIC"])
def test_the_rename_of_matic_leaves_no_price_of_one(name: str) -> None:
    """Bitcart 0.10.1.0: MATIC became POL, the old name had no price any more, and the rate became 1:1."""
    coin = coin_of(name)
    assert coin == "MATIC"
    pair = (coin, "USD")
    assert "polygon-ecosystem-token" in SOURCES["coingecko"].asks([pair])[0].path
    assert SOURCES["kraken"].asks([pair])[0].path.endswith("POLUSD")
    assert SOURCES["coinbase"].asks([pair])[0].path == "/products/POL-USD/ticker"
    old_names = '{"matic-network":{"usd":1,"last_updated_at":1759999990}}'
    assert read("coingecko", SOURCES["coingecko"].asks([pair])[0], old_names) == []
    assert read("kraken", SOURCES["kraken"].asks([pair])[0], '{"error":["EQuery:Unknown asset pair"]}') == []
    assert agree(pair, [], Rules(), NOW).price is None


def test_only_known_tokens_have_the_price_of_their_symbol() -> None:
    assert coin_of("ETH:USDC") == coin_of("SOL:USDC") == "USDC"
    assert coin_of("ETH:BTC") is None  # a token may call itself what it likes
    assert coin_of("GOLD") is None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine all is slow
@given(st.sampled_from(sorted(SOURCES)), st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_bytes_of_any_shape_are_no_price_and_no_surprise(name: str, body: bytes) -> None:
    source = SOURCES[name]
    for ask in source.asks([("HBD", "USD"), ("BTC", "USD")]):
        try:
            found = source.read(ask, body, NOW)
        except (ValueError, ArithmeticError, msgspec.MsgspecError):
            continue
        assert found == []


@pytest.mark.parametrize("number", ["1E+999999999", "-1", "0", '"x"', "null", "[]", "1e400"])
def test_hostile_numbers_are_no_price(number: str) -> None:
    bodies = {
        "coingecko": '{"bitcoin":{"usd":%s,"last_updated_at":1759999990}}',
        "binance": '{"symbol":"BTCUSDT","bidPrice":%s}',
        "kraken": '{"error":[],"result":{"X":{"b":[%s,1,1]}}}',
        "coinbase": '{"bid":%s,"time":"2025-10-09T08:53:10Z"}',
        "hive": '{"result":{"lowest_ask":%s}}',
    }
    for name, body in bodies.items():
        ask = SOURCES[name].asks([("HBD", "USD") if name == "hive" else ("BTC", "USD")])[-1]
        try:
            prices = SOURCES[name].read(ask, (body % number).encode(), NOW)
        except (ValueError, ArithmeticError, msgspec.MsgspecError):
            continue
        for price in prices:
            assert agree((price.coin, price.currency), prices, Rules(), NOW).why == "no_source"


def test_currencies_are_those_that_events_may_be_priced_in() -> None:
    assert set(CURRENCIES) == FIAT


def test_every_coin_of_the_built_in_network_has_a_fixed_price() -> None:
    coins = {a.code: a for code in network.CHAINS for a in networks.spec(code).assets}
    fixed = network.fixed_rates(coins)
    assert set(fixed) == set(coins)
    assert {r.currency for r in fixed_rates(Rates(fixed=fixed), NOW)} == {"USD", "EUR"}
    assert all(coin_of(code) is not None for code in coins)


def test_a_source_that_nobody_knows_is_refused_by_name() -> None:
    with pytest.raises(Misconfigured, match="bitfinex"):
        Markets(("kraken", "bitfinex"), {}, lambda: NOW)


@pytest.mark.parametrize("text", ["x", "0", "-1", "NaN", "1e99"])
def test_a_fixed_rate_that_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(Misconfigured, match=r"rates.fixed\] HIVE.USD"):
        fixed_rates(Rates(fixed={"HIVE": {"USD": text}}), NOW)
