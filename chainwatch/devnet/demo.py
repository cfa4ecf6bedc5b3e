"""``chainwatch demo``: on every chain the things that a sceptic asks for, on simulated nodes.

For each coin: a paid ticket, a reorg survived, an underpayment, a refund because it was sold out, a
wallet let in by its signature and a stranger turned away.  Then every way a payment can end, once
(``chainwatch.devnet.endings``).  Each cell is what the ledger says, not what the demo did.
"""

import asyncio
import random
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from sqlalchemy import Connection, func, select

from chainwatch.app import App
from chainwatch.clock import Clock
from chainwatch.config import settings as config
from chainwatch.devnet import door, endings
from chainwatch.devnet.endings import Ending
from chainwatch.devnet.network import Devnet, gathered, price_of, with_fixed_rates
from chainwatch.devnet.node import Payment
from chainwatch.errors import Rejected
from chainwatch.ledger import events
from chainwatch.ledger.audit import audit
from chainwatch.ledger.context import Policy
from chainwatch.ledger.tables import allocations, purchases, tickets, transfers
from chainwatch.ledger.tables import events as event_table
from chainwatch.model import Asset
from chainwatch.parts import assets
from chainwatch.units import format_units

T = TypeVar("T")

BLOCK_MS = 150
HOLD_MS = 2_500
"""How long an underpaid purchase waits for the rest, so that the demo sees it end."""
PATIENCE_S = 180.0
"""For each step: seconds do, and minutes on a machine whose cores are wanted by many."""


class Row(msgspec.Struct):
    """What came of one coin; a cell is empty until it is proved."""

    chain: str
    asset: str
    ticket: str = ""
    reorg: str = ""
    underpaid: str = ""
    sold_out: str = ""
    access: str = ""

    def good(self) -> bool:
        """Did everything come out right?"""
        return all((self.ticket, self.reorg, self.underpaid, self.sold_out, self.access))


class Report(msgspec.Struct):
    """The demo's two tables."""

    rows: list[Row]
    endings: list[Ending]
    differences: int
    seconds: float

    def good(self) -> bool:
        """Did everything come out right, and do the books agree?"""
        every = bool(self.rows) and all(r.good() for r in self.rows) and all(e.came for e in self.endings)
        return every and not self.differences


async def demo(clock: Clock, rng: random.Random) -> Report:
    """Run the whole demo on a temporary database; bounded by ``PATIENCE_S`` for each cell."""
    began = clock.monotonic()
    with tempfile.TemporaryDirectory(prefix="chainwatch-demo-") as folder:
        network = Devnet(clock=clock, rng=rng, block_ms=BLOCK_MS)
        sections = {code: dict(section) for code, section in (await network.start()).items()}
        hive = sections[endings.CHAIN]
        hive |= {"receive": [*hive["receive"], endings.CLUB], "shared": [endings.CLUB]}
        environ = {"STATE_DIRECTORY": folder, "CHAINWATCH__HTTP__LISTEN": "127.0.0.1:0"}
        empty = Path(folder) / "demo.toml"
        empty.touch()
        settings = with_fixed_rates(config.load(empty, environ=environ, chains=sections))
        app = App(settings, clock=clock, rng=rng, policy=Policy(settings.tickets.commission_bps, HOLD_MS))
        stop, ready = asyncio.Event(), asyncio.Event()
        running = asyncio.create_task(app.run(stop, ready))
        mining = asyncio.create_task(network.mine(app))
        try:
            await ready.wait()
            stage = _Stage(app, network, clock)
            rows = [Row(a.chain, a.code) for a in assets(settings).values()]
            second = endings.Stage(app, network, clock, assets(settings))
            await app.store.write(stage.events)
            await app.store.write(second.events)
            ending = asyncio.create_task(second.play())
            await asyncio.gather(ending, *(stage.play(row, assets(settings)[row.asset]) for row in rows))
            ended = ending.result()
            differences = await app.store.read(audit)
        finally:
            await gathered(mining)
            stop.set()
            await asyncio.gather(running, return_exceptions=True)
            await network.stop()
    return Report(rows, ended, len(differences), clock.monotonic() - began)


class _Stage:
    def __init__(self, app: App, network: Devnet, clock: Clock) -> None:
        self.app, self.network, self.clock = app, network, clock
        self._reorgs: dict[str, asyncio.Lock] = {code: asyncio.Lock() for code in network.nodes}

    def events(self, connection: Connection) -> None:
        """One event a coin, with two seats."""
        known: Mapping[str, Asset] = assets(self.app.settings)
        for a in known.values():
            new = events.NewEvent(
                id=_event(a),
                title=f"Demo for {a.code}",
                ticket_price=format_units(price_of(a), a.decimals),
                ticket_currency=a.code,
                max_attendees=2,
            )
            events.create(connection, new, known, 2000, self.clock.now_ms(), "demo")

    async def play(self, row: Row, asset: Asset) -> None:
        """Fill one row."""
        node = self.network.nodes[asset.chain]
        price = price_of(asset)
        guest = door.signer(node.spec, _event(asset).replace("-", ""))
        short, late = node.new_wallet(), node.new_wallet()
        # Opened while there are seats: nobody is told where to pay for an event that is sold out.
        bills = [await self._bill(asset, wallet) for wallet in (short, late)]
        await self._until(lambda c: not _holding(c, (short, late)))
        await self._pay(asset, _event(asset), guest.address, price)
        number = await self._until(lambda c: _ticket(c, _event(asset), guest.address))
        row.ticket = f"ticket {number}" if number else ""
        row.access = await asyncio.to_thread(self._door, asset, guest) if number else ""
        row.reorg = await self._reorg(asset, price)
        less, over = (
            node.pay(Payment(to=to, amount=amount, asset_id=asset.asset_id, memo=memo))
            for (to, memo), amount in zip(bills, (price - 1, price), strict=True)
        )
        refunded = await self._until(lambda c: _allocated(c, asset.chain, over, "refund"))
        row.sold_out = "refund due" if refunded in ("sold_out", "late") else ""
        refunded = await self._until(lambda c: _allocated(c, asset.chain, less, "refund"))
        row.underpaid = "refund due" if refunded == "underpaid" else ""

    def _door(self, asset: Asset, guest: door.Signer) -> str:
        """Let the guest in by signature, and turn a stranger away who signs the same text."""
        spec, now_ms = self.network.nodes[asset.chain].spec, self.clock.now_ms()
        stranger = door.signer(spec, "stranger")
        granted = door.admitted(spec, _event(asset), guest, guest, now_ms)
        refused = not door.admitted(spec, _event(asset), guest, stranger, now_ms)
        return "in, stranger out" if granted and refused else ""

    async def _pay(self, asset: Asset, event: str, wallet: str, amount: int) -> str:
        return await self._patiently(lambda: self.network.pay(self.app, asset, event, wallet, amount))

    async def _bill(self, asset: Asset, wallet: str) -> tuple[str, str | None]:
        return await self._patiently(lambda: self.network.destination(self.app, asset, _event(asset), wallet))

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask again while there is no address: at the start the first ones are still being derived."""
        end = self.clock.monotonic() + PATIENCE_S
        while True:
            try:
                return await ask()
            except Rejected as no:
                if no.code != "no_address" or self.clock.monotonic() > end:
                    raise
            await self.clock.sleep(0.1)

    async def _reorg(self, asset: Asset, price: int) -> str:
        """Take the block with a payment away, put the payment into another: one ticket, in the new block."""
        node, code = self.network.nodes[asset.chain], asset.chain
        async with self._reorgs[code]:
            self.network.paused.add(code)
            wallet = node.new_wallet()
            txid = await self._pay(asset, _event(asset), wallet, price)
            before = node.chain.mine().ref
            seen = await self._until(
                lambda c: _sighted(c, code, txid) if node.final_only else _block(c, code, txid) == before.hash
            )
            depth = node.chain.head.ref.height - before.height + 1
            node.chain.reorg(depth, extra=1, shift=1)
            self.network.paused.discard(code)
        number = await self._until(lambda c: _ticket(c, _event(asset), wallet))
        after = await self.app.store.read(_block, code, txid)
        count = await self.app.store.read(_tickets, _event(asset), wallet)
        moved = after not in (None, before.hash)
        return f"moved block, ticket {number}" if seen and number and moved and count == 1 else ""

    async def _until(self, ask: Callable[[Connection], T]) -> T | None:
        """Ask the ledger until the answer is true."""
        end = self.clock.monotonic() + PATIENCE_S
        while self.clock.monotonic() < end:
            if answer := await self.app.store.read(ask):
                return answer
            await self.clock.sleep(0.1)
        return None


def _event(asset: Asset) -> str:
    return "demo-" + asset.code.lower().replace(":", "-")


def _ticket(connection: Connection, event: str, wallet: str) -> int | None:
    row = connection.execute(
        select(tickets.c.number)
        .join_from(tickets, event_table)
        .where(event_table.c.slug == event, tickets.c.wallet == wallet, tickets.c.state == "active")
    ).first()
    return None if row is None else int(row.number)


def _holding(connection: Connection, wallets: Sequence[str]) -> bool:
    rows = select(purchases.c.id).where(purchases.c.wallet.in_(wallets), purchases.c.held.is_(True))
    return connection.execute(rows).first() is not None


def _tickets(connection: Connection, event: str, wallet: str) -> int:
    rows = (
        select(func.count())
        .select_from(tickets.join(event_table))
        .where(event_table.c.slug == event, tickets.c.wallet == wallet)
    )
    return int(connection.execute(rows).scalar_one())


def _block(connection: Connection, chain: str, txid: str) -> str | None:
    row = connection.execute(
        select(transfers.c.block_hash).where(transfers.c.chain == chain, transfers.c.txid == txid)
    ).first()
    return None if row is None else row.block_hash


def _sighted(connection: Connection, chain: str, txid: str) -> bool:
    rows = select(func.count()).where(transfers.c.chain == chain, transfers.c.txid == txid)
    return bool(connection.execute(rows).scalar_one())


def _allocated(connection: Connection, chain: str, txid: str, kind: str) -> str | None:
    row = connection.execute(
        select(allocations.c.reason)
        .join_from(allocations, transfers)
        .join(purchases, transfers.c.purchase_id == purchases.c.id)
        .where(transfers.c.chain == chain, transfers.c.txid == txid, allocations.c.kind == kind)
    ).first()
    return None if row is None else str(row.reason)
