"""The built-in network: one simulated node a chain, mining by itself, with buyers when asked."""

import asyncio
import importlib
import logging
import random
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Connection, select

from chainwatch.clock import Clock
from chainwatch.config import networks
from chainwatch.config.secrets import Secret
from chainwatch.config.sections import Http
from chainwatch.config.settings import Settings
from chainwatch.devnet import NODES
from chainwatch.devnet.node import Payment, SimNode
from chainwatch.errors import Rejected
from chainwatch.ledger import events, quotes
from chainwatch.ledger import offers as sold
from chainwatch.ledger.tables import events as event_table
from chainwatch.model import Asset
from chainwatch.units import format_units

if TYPE_CHECKING:
    from chainwatch.app import App

log = logging.getLogger(__name__)

CHAINS: tuple[str, ...] = ("HIVE", "BTC", "DASH", "ETH", "MATIC", "BNB", "SOL", "XMR")
"""Chains of the devnet."""

SAMPLES = (
    ("genesis-concert", "Genesis Concert", 500),
    ("vr-gallery", "VR Gallery Night", None),
    ("tiny-club", "Tiny Club", 20),
)
"""Events that a first start sells: id, title, seats."""

HOUR_MS = 3_600_000
BUY_EVERY_S = 2.0
AHEAD = 10
"""Blocks by which a simulated chain may outgrow its reader."""

DOLLARS: Mapping[str, str] = {
    "HIVE": "0.25",
    "HBD": "0.99",
    "BTC": "90000",
    "DASH": "30",
    "ETH": "3500",
    "MATIC": "0.4",
    "BNB": "800",
    "SOL": "180",
    "XMR": "300",
    "USDC": "0.9999",
    "USDT": "1.0005",
}
"""What a coin costs here: fixed, for markets know nothing of simulated coins."""
EUROS_PER_DOLLAR = Decimal("0.9")


def price_of(asset: Asset) -> int:
    """Return the sample price of a ticket: 1.5 of a coin with few decimals, a thousandth of one with many."""
    return 15 * int(10 ** (asset.decimals - 1)) if asset.decimals <= 6 else int(10 ** (asset.decimals - 3))


def fixed_rates(assets: Mapping[str, Asset]) -> dict[str, dict[str, str]]:
    """Return ``[rates.fixed]`` of the built-in network, for every asset that has a price here."""
    dollars = {code: DOLLARS[coin] for code in assets if (coin := code.rpartition(":")[2]) in DOLLARS}
    return {code: {"USD": usd, "EUR": str(Decimal(usd) * EUROS_PER_DOLLAR)} for code, usd in dollars.items()}


GENEROUS = 5
"""How many ordinary callers one address is here: everybody comes from one machine."""


ROOM, RELAY = "wss://rooms.devnet.invalid/{event_id}", "turn:relay.devnet.invalid:3478?transport=udp"
"""Where a guest would go: names that no resolver answers (RFC 2606), so that a join shows all that it can give."""


def complete(settings: Settings) -> Settings:
    """Return the settings with what the built-in network has of its own: prices, limits, a room; set ones stay.

    Pages of any site may call: whoever tries the API out does so from a page of his own, and nothing here is real.
    """
    http, usual, access = settings.http, Http(), settings.access
    names = ("requests_per_minute", "purchases_per_minute", "access_per_minute", "access_per_minute_wallet")
    more = {n: GENEROUS * getattr(http, n) for n in names if getattr(http, n) == getattr(usual, n)}
    keys = dict(settings.keys)
    if not access.turn_uris:
        keys.setdefault("access.turn_secret", Secret(token_urlsafe(24)))
        access = msgspec.structs.replace(access, turn_uris=(RELAY,))
    access = msgspec.structs.replace(access, websocket_url=access.websocket_url or ROOM)
    http = msgspec.structs.replace(http, cors_origins=http.cors_origins or ("*",), **more)
    return msgspec.structs.replace(with_fixed_rates(settings), http=http, access=access, keys=keys)


def with_fixed_rates(settings: Settings) -> Settings:
    """Return the settings with the built-in network's prices, unless they fix others."""
    if settings.rates.fixed:
        return settings
    fixed = fixed_rates({a.code: a for chain in settings.chains.values() for a in chain.spec.assets})
    return msgspec.structs.replace(settings, rates=msgspec.structs.replace(settings.rates, fixed=fixed))


class Devnet:
    """Starts the nodes, mines, and lets buyers pay."""

    def __init__(
        self,
        *,
        clock: Clock,
        rng: random.Random,
        directory: Path | None = None,
        chains: Sequence[str] = CHAINS,
        block_ms: int = 1000,
    ) -> None:
        self.clock, self.rng, self.block_ms = clock, rng, block_ms
        self.paused: set[str] = set()
        self.nodes: dict[str, SimNode] = {}
        for code in chains:
            spec = networks.spec(code)
            make = importlib.import_module(NODES[spec.adapter]).make
            journal = directory / f"{code}.journal" if directory is not None else None
            self.nodes[code] = make(spec, clock=clock, rng=rng, journal=journal, block_ms=block_ms)

    async def start(self) -> Mapping[str, Mapping[str, Any]]:
        """Start every node; return the ``[chains.…]`` sections that follow them."""
        for node in self.nodes.values():
            await node.start()
        return {
            code: {"block_time_ms": self.block_ms, "start": node.chain.first_height, **node.config()}
            for code, node in self.nodes.items()
        }

    async def stop(self) -> None:
        """Stop every node."""
        for node in self.nodes.values():
            await node.stop()

    async def mine(self, app: "App | None" = None) -> None:
        """Mine on every chain that is not paused, for ever; those that ``app`` follows, no further ahead than it reads.

        On a busy machine it would read more slowly than the chains grow, and no purchase of theirs would ever expire.
        """
        while True:
            await self.clock.sleep(self.block_ms / 1000)
            late = {w.chain for w in app.watchers if (w.condition.lag or 0) > AHEAD} if app is not None else set()
            for code, node in self.nodes.items():
                if code not in self.paused | late:
                    node.chain.mine()

    async def pay(self, app: "App", asset: Asset, event_id: str, wallet: str, amount: int) -> str:
        """Let a buyer pay for a ticket; return the transaction id.

        By memo where the chain carries one, else to the address that a purchase hands out.
        """
        to, memo = await self.destination(app, asset, event_id, wallet)
        return self.nodes[asset.chain].pay(Payment(to=to, amount=amount, asset_id=asset.asset_id, memo=memo))

    async def destination(self, app: "App", asset: Asset, event_id: str, wallet: str) -> tuple[str, str | None]:
        """Return where a buyer pays to, and with what memo."""
        node = self.nodes[asset.chain]
        if node.spec.params.get("memo", True):
            return node.config()["receive"][0], f"event:{event_id}:wallet:{wallet}"
        return (await self.order(app, asset, event_id, wallet)).address, None

    async def order(
        self, app: "App", asset: Asset, event_id: str, wallet: str, tier: str | None = None, signed: bool = False
    ) -> quotes.Quote:
        """Open a purchase."""
        ask = quotes.Ask(event_id=event_id, wallet=wallet, asset=asset.code, tier=tier, signed=signed)
        return await app.store.write_together(quotes.quote, ask, app.contexts[asset.chain], self.clock.now_ms())

    async def buy(self, app: "App", offers: Sequence["Offer"]) -> None:
        """Let buyers come, one every few seconds: most pay exactly, some too little or too much."""
        while True:
            await self.clock.sleep(BUY_EVERY_S * self.rng.uniform(0.5, 1.5))
            event_id = self.rng.choice(sorted({o.event_id for o in offers}))
            offer = self.rng.choice([o for o in offers if o.event_id == event_id])
            try:
                await self._buy(app, offer)
            except Rejected as no:  # sold out, or no address free yet: the buyer goes away
                log.info("a buyer went away: %s", no)

    async def _buy(self, app: "App", offer: "Offer") -> None:
        node = self.nodes[offer.asset.chain]
        wallet = node.new_wallet()
        if offer.price:
            low, high = offer.price // 2, offer.price + offer.price // 10
            amount = self.rng.choice((*(offer.price,) * 4, high, low))
            await self.pay(app, offer.asset, offer.event_id, wallet, amount)
            return
        quote = await self.order(app, offer.asset, offer.event_id, wallet, offer.tier, signed=True)
        if quote.amount:
            paid = Payment(to=quote.address, amount=quote.amount, asset_id=offer.asset.asset_id, memo=quote.memo)
            node.pay(paid)


class Offer(msgspec.Struct, frozen=True):
    """What a simulated buyer may buy.  ``price`` None: only a purchase says it (a tier, a price in money, a gift)."""

    event_id: str
    asset: Asset
    price: int | None = None
    tier: str | None = None


def sample_events(connection: Connection, assets: Mapping[str, Asset], commission_bps: int, now_ms: int) -> None:
    """Put the sample events on sale, if there is no event yet."""
    if connection.execute(select(event_table.c.id).limit(1)).first() is not None:
        return
    prices = {a.code: format_units(price_of(a), a.decimals) for a in assets.values()}
    twice = {a.code: format_units(2 * price_of(a), a.decimals) for a in assets.values()}
    first = next(iter(assets.values())).code
    rest = {code: price for code, price in prices.items() if code != first}
    tiers = (
        events.NewTier(code="standard", title="Standard", ticket_price=prices[first], prices=rest),
        events.NewTier(code="vip", title="VIP", ticket_price=twice[first], prices=twice, quantity=25),
    )
    more: dict[str, dict[str, Any]] = {
        "masterclass": {"title": "Masterclass (two kinds of ticket)", "tiers": tiers, "max_attendees": 100},
        "summit": {
            "title": "Summit (25 dollars, paid in coins)",
            "ticket_price": "25.00",
            "ticket_currency": "USD",
            "prices": {},
            "accept": tuple(code for code in assets if code in DOLLARS),
        },
        "open-house": {"title": "Open House (free)", "ticket_price": "0", "prices": {}, "max_attendees": 200},
    }
    plain = {name: {"title": title, "max_attendees": seats} for name, title, seats in SAMPLES}
    for day, (name, said) in enumerate((plain | more).items()):
        start_ms = now_ms - HOUR_MS + day * 24 * HOUR_MS  # the first goes on now: one can come in
        whole = {
            "ticket_price": prices[first],
            "ticket_currency": first,
            "prices": prices,
            "creator_account": "devnet-creator",
            "event_start_ms": start_ms,
            "event_end_ms": start_ms + 72 * HOUR_MS,
            **said,
        }
        events.create(connection, events.NewEvent(id=name, **whole), assets, commission_bps, now_ms, "devnet")


def offers(connection: Connection, assets: Mapping[str, Asset]) -> list[Offer]:
    """Return what is for sale."""
    found = []
    for event in connection.execute(select(event_table).where(event_table.c.status == "active")).all():
        public = event.slug or str(event.id)
        prices, tiers = sold.prices_of(connection, event.id), sold.tiers_of(connection, event.id)
        coins = [a for code, a in assets.items() if code in prices]
        if tiers:
            found += [Offer(public, a, None, t.code) for a in coins for t in tiers]
        else:
            found += [Offer(public, a, prices[a.code] if event.by_memo else None) for a in coins]
    return found


async def gathered(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks and wait for their end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
