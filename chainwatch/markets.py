"""Where prices come from: public markets behind one face, each asked and read without I/O of its own.

A ``Source`` says what it must be asked for some pairs (``asks``) and what an answer means (``read``); ``Markets`` does
the asking, bounded in time, size and number.  Numbers are read as ``Decimal`` from the text that came, never through a
float.  A source that is down, slow, or speaks in another shape gives no price, and never a wrong one.

``bid`` is what is read where a market tells it: what a coin brings that is sold now.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec

from chainwatch.errors import Misconfigured
from chainwatch.tickets.rates import Pair, Price
from chainwatch.times import parse_ms

log = logging.getLogger(__name__)
T = TypeVar("T")

CURRENCIES = ("USD", "EUR", "GBP", "CHF", "JPY", "CAD", "AUD")
TIMEOUT_S = 10.0
"""One request: the next round comes soon, and the others are waiting for this one."""
MAX_BODY = 256 * 1024
"""The longest honest answer (CoinGecko, every coin in every currency) has 4 kB."""
MAX_ASKS = 40
"""Requests to one source in one round: every coin in two currencies; public limits begin at some dozens a minute."""
AT_ONCE = 4
"""Requests to one source at the same time."""
COINS = ("BTC", "ETH", "MATIC", "BNB", "SOL", "HIVE", "HBD", "XMR", "DASH", "LTC", "DOGE", "USDC", "USDT")
"""Coins with a price.  A token's price is its symbol's (``ETH:USDC``), for those symbols that stand here."""
_ALIASES = {"POL": "MATIC"}
_TOKENS = frozenset({"USDC", "USDT"})


def coin_of(asset: str) -> str | None:
    """Return the coin whose price an asset has: ``ETH:USDC`` is USDC, POL is MATIC; None when we know no price."""
    chain, colon, symbol = asset.partition(":")
    if colon:
        return symbol if symbol in _TOKENS else None
    coin = _ALIASES.get(chain, chain)
    return coin if coin in COINS else None


class Ask(msgspec.Struct, frozen=True):
    """One request: a GET of ``path``, or a POST of ``body`` (JSON).  ``about``: the pair it is about, if one."""

    path: str
    about: Pair = ("", "")
    body: bytes | None = None


class Source(msgspec.Struct, frozen=True):
    """One market.  ``read`` raises ``msgspec.ValidationError`` or ``ValueError`` on an answer of another shape."""

    name: str
    url: str
    asks: Callable[[Collection[Pair]], list[Ask]]
    read: Callable[[Ask, bytes, int], list[Price]]


def _decode(body: bytes, kind: type[T]) -> T:
    return msgspec.json.decode(body, type=kind)


# -- CoinGecko: an average of many exchanges; every coin of ours in one request -----------------------------

_GECKO = {
    "BTC": "bitcoin",
    "ETH": "ethereum",
    "MATIC": "polygon-ecosystem-token",  # POL; "matic-network" was frozen with the rename of September 2024
    "BNB": "binancecoin",
    "SOL": "solana",
    "HIVE": "hive",
    "HBD": "hive_dollar",
    "XMR": "monero",
    "DASH": "dash",
    "LTC": "litecoin",
    "DOGE": "dogecoin",
    "USDC": "usd-coin",
    "USDT": "tether",
}


def _gecko_asks(pairs: Collection[Pair]) -> list[Ask]:
    coins = sorted({_GECKO[coin] for coin, _ in pairs if coin in _GECKO})
    currencies = sorted({currency.lower() for _, currency in pairs if currency in CURRENCIES})
    if not coins or not currencies:
        return []
    query = {"ids": ",".join(coins), "vs_currencies": ",".join(currencies)}
    return [Ask("/api/v3/simple/price?" + urlencode({**query, "include_last_updated_at": "true", "precision": "full"}))]


def _gecko_read(_ask: Ask, body: bytes, _now_ms: int) -> list[Price]:
    said = _decode(body, dict[str, dict[str, Decimal | None]])
    found = []
    for coin, name in _GECKO.items():
        values = said.get(name, {})
        if (updated := values.get("last_updated_at")) is None or not 0 < updated < 10**11:
            continue  # a price without its time may be of any age
        found += [
            Price("coingecko", coin, currency, price, int(updated) * 1000)
            for currency in CURRENCIES
            if (price := values.get(currency.lower())) is not None
        ]
    return found


# -- Kraken ------------------------------------------------------------------------------------------------

_KRAKEN = {"BTC": "XBT", "DOGE": "XDG", "MATIC": "POL"}
_KRAKEN_COINS = ("BTC", "ETH", "MATIC", "BNB", "SOL", "XMR", "DASH", "LTC", "DOGE", "USDC", "USDT")


class _KrakenTicker(msgspec.Struct):
    b: tuple[Decimal, Decimal, Decimal]  # bid: price, whole lots, lots


class _KrakenAnswer(msgspec.Struct):
    error: list[str]
    result: dict[str, _KrakenTicker] = {}


def _kraken_asks(pairs: Collection[Pair]) -> list[Ask]:
    # One pair a request: an unknown pair among several is an error for all of them.
    return [
        Ask(f"/0/public/Ticker?pair={_KRAKEN.get(coin, coin)}{currency}", (coin, currency))
        for coin, currency in pairs
        if coin in _KRAKEN_COINS and currency in CURRENCIES
    ]


def _kraken_read(ask: Ask, body: bytes, now_ms: int) -> list[Price]:
    said = _decode(body, _KrakenAnswer)
    if said.error or len(said.result) != 1:  # the result has the market's own name of the pair (XXBTZUSD)
        return []
    (ticker,) = said.result.values()
    return [Price("kraken", *ask.about, ticker.b[0], now_ms)]


# -- Binance: no dollars, but USDT, which has a price of its own ---------------------------------------------

_BINANCE_COINS = ("BTC", "ETH", "MATIC", "BNB", "SOL", "HIVE", "DASH", "LTC", "DOGE", "USDC")
_BINANCE = {"MATIC": "POL"}


class _BinanceTicker(msgspec.Struct):
    symbol: str
    bidPrice: Decimal


def _binance_asks(pairs: Collection[Pair]) -> list[Ask]:
    coins = dict.fromkeys(coin for coin, _ in pairs if coin in _BINANCE_COINS)
    return [Ask(f"/api/v3/ticker/bookTicker?symbol={_binance(coin)}", (coin, "USDT")) for coin in coins]


def _binance(coin: str) -> str:
    return f"{_BINANCE.get(coin, coin)}USDT"


def _binance_read(ask: Ask, body: bytes, now_ms: int) -> list[Price]:
    said = _decode(body, _BinanceTicker)
    return [Price("binance", *ask.about, said.bidPrice, now_ms)] if said.symbol == _binance(ask.about[0]) else []


# -- Coinbase ----------------------------------------------------------------------------------------------

_COINBASE_COINS = ("BTC", "ETH", "MATIC", "BNB", "SOL", "DASH", "LTC", "DOGE", "USDT")
_COINBASE = {"MATIC": "POL"}


class _CoinbaseTicker(msgspec.Struct):
    bid: Decimal
    time: str


def _coinbase_asks(pairs: Collection[Pair]) -> list[Ask]:
    return [
        Ask(f"/products/{_COINBASE.get(coin, coin)}-{currency}/ticker", (coin, currency))
        for coin, currency in pairs
        if coin in _COINBASE_COINS and currency in ("USD", "EUR", "GBP")
    ]


def _coinbase_read(ask: Ask, body: bytes, now_ms: int) -> list[Price]:
    said = _decode(body, _CoinbaseTicker)
    # `time` is that of the last trade, which may be old while the bid is of now; far from now it is a stopped market.
    traded_ms = parse_ms(said.time) or 0
    return [Price("coinbase", *ask.about, said.bid, now_ms if now_ms - traded_ms < 3_600_000 else traded_ms)]


# -- Hive: HBD on the chain's own market, and the witnesses' feed as a bound for HIVE ------------------------

_FEED, _TICKER = "condenser_api.get_current_median_history_price", "condenser_api.get_ticker"


class _HiveFeed(msgspec.Struct):
    base: str  # "0.250 HBD", which stands for dollars here
    quote: str  # "1.000 HIVE"


class _HiveTicker(msgspec.Struct):
    lowest_ask: Decimal  # HBD for one HIVE


class _HiveAnswer(msgspec.Struct):
    result: msgspec.Raw


def _hive_asks(pairs: Collection[Pair]) -> list[Ask]:
    coins = {coin for coin, _ in pairs}
    methods = [_FEED] * bool(coins & {"HIVE", "HBD"}) + [_TICKER] * ("HBD" in coins)
    bodies = [msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": m, "params": []}) for m in methods]
    return [Ask("/", (m, ""), body) for m, body in zip(methods, bodies, strict=True)]


def _hive_read(ask: Ask, body: bytes, now_ms: int) -> list[Price]:
    result = _decode(body, _HiveAnswer).result
    if ask.about[0] == _FEED:
        feed = _decode(result, _HiveFeed)
        price = _hive_amount(feed.base, "HBD") / _hive_amount(feed.quote, "HIVE")
        return [Price("hive", "HIVE", "USD", price, now_ms, bound=True)]
    ask_price = _decode(result, _HiveTicker).lowest_ask
    return [Price("hive", "HBD", "HIVE", 1 / ask_price, now_ms)] if 0 < ask_price < 1_000_000 else []


def _hive_amount(text: str, symbol: str) -> Decimal:
    number, space, unit = text.partition(" ")
    amount = msgspec.convert(number, Decimal, strict=False)
    if not space or unit != symbol or not 0 < amount < 10**15:
        raise ValueError(f"{text[:40]!r} is no amount of {symbol}")
    return amount


SOURCES: Mapping[str, Source] = {
    s.name: s
    for s in (
        Source("coingecko", "https://api.coingecko.com", _gecko_asks, _gecko_read),
        Source("kraken", "https://api.kraken.com", _kraken_asks, _kraken_read),
        Source("binance", "https://api.binance.com", _binance_asks, _binance_read),
        Source("coinbase", "https://api.exchange.coinbase.com", _coinbase_asks, _coinbase_read),
        Source("hive", "https://api.hive.blog", _hive_asks, _hive_read),
    )
}
"""Name in ``[rates] sources`` -> the source."""


def with_crossings(pairs: Iterable[Pair]) -> list[Pair]:
    """Return ``pairs`` and those that some sources' prices are computed through: USDT, and HIVE for HBD."""
    wanted = dict.fromkeys(p for p in pairs if p[0] in COINS)
    for coin, currency in list(wanted):
        if coin == "HBD":
            wanted["HIVE", currency] = None
        if coin in (*_BINANCE_COINS, "HBD"):
            wanted["USDT", currency] = None
    return list(wanted)


class Answer(msgspec.Struct, frozen=True):
    """What one source said in one round; ``error`` is the first thing that went wrong, "" when nothing did."""

    source: str
    prices: tuple[Price, ...] = ()
    error: str = ""


class Markets:
    """Asks sources over HTTP.  ``urls`` replaces a source's address (tests, a proxy, a node of one's own)."""

    def __init__(self, names: Sequence[str], urls: Mapping[str, str], now_ms: Callable[[], int]) -> None:
        if unknown := [n for n in (*names, *urls) if n not in SOURCES]:
            raise Misconfigured(f"[rates] no source {unknown[0]!r}; there are {', '.join(SOURCES)}")
        self._sources = [SOURCES[n] for n in dict.fromkeys(names)]
        self._urls = {s.name: urls.get(s.name, s.url).rstrip("/") for s in self._sources}
        self._now_ms = now_ms
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the sockets."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(self, pairs: Collection[Pair]) -> list[Answer]:
        """Ask every source about ``pairs``, all at once; never raises for what a source does."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "chainwatch", "Accept": "application/json"},
            )
        return list(await asyncio.gather(*(self._ask_one(self._session, s, pairs) for s in self._sources)))

    async def _ask_one(self, session: aiohttp.ClientSession, source: Source, pairs: Collection[Pair]) -> Answer:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(ask: Ask) -> tuple[list[Price], str]:
            async with gate:
                try:
                    body = await _fetch(session, self._urls[source.name] + ask.path, ask.body)
                    return source.read(ask, body, self._now_ms()), ""
                except (aiohttp.ClientError, TimeoutError, OSError) as error:
                    return [], str(error) or type(error).__name__
                except (ValueError, ArithmeticError, msgspec.MsgspecError, RecursionError) as error:
                    return [], f"an answer of another shape: {error}"

        answered = await asyncio.gather(*(one(ask) for ask in source.asks(pairs)[:MAX_ASKS]))
        prices = tuple(price for found, _ in answered for price in found)
        return Answer(source.name, prices, next((error for _, error in answered if error), ""))


async def _fetch(session: aiohttp.ClientSession, url: str, body: bytes | None) -> bytes:
    more: dict[str, Any] = {"headers": {"Content-Type": "application/json"}} if body is not None else {}
    method = "GET" if body is None else "POST"
    async with session.request(method, url, data=body, allow_redirects=False, **more) as response:
        if response.status != 200:
            raise aiohttp.ClientError(f"HTTP {response.status}")
        parts, size = [], 0
        async for part in response.content.iter_chunked(64 * 1024):
            size += len(part)
            if size > MAX_BODY:
                raise aiohttp.ClientError(f"an answer of more than {MAX_BODY} bytes")
            parts.append(part)
        return b"".join(parts)
