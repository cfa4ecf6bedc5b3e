"""A real watcher over a real adapter over simulated nodes, into a real ledger on disk: the service without its shell.

A test turns the loop itself (``poll``, ``settle``), makes the nodes misbehave, and looks at what the ledger says.
Time is a ``LeapingClock``: back-off costs nothing and nothing waits.
"""

import itertools
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from chainwatch import adapters
from chainwatch.adapters.base import Services
from chainwatch.config.networks import spec as known_spec
from chainwatch.devnet import evm, hive
from chainwatch.devnet.node import Payment, SimNode
from chainwatch.errors import ChainwatchError, Transient
from chainwatch.finality import Rule, Tier
from chainwatch.ledger import events, leases, queries, schema
from chainwatch.ledger.apply import held
from chainwatch.ledger.audit import audit
from chainwatch.ledger.context import Context, Policy
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import refunds, tickets, transfers
from chainwatch.model import BlockRef
from chainwatch.testing.clock import LeapingClock
from chainwatch.testing.fakechain import FakeChain
from chainwatch.testing.replica import patiently
from chainwatch.testing.reports import Collected
from chainwatch.testing.simulated import Twist, bend
from chainwatch.tickets.token import Issuer
from chainwatch.wallets import canonical_wallet
from chainwatch.watcher import Watcher

DEVNETS: Mapping[str, Any] = {"HIVE": hive, "ETH": evm, "MATIC": evm, "BNB": evm}
PRICE: Mapping[str, tuple[str, int]] = {
    "HIVE": ("5", 5000),
    "ETH": ("0.01", 10**16),
    "MATIC": ("0.01", 10**16),
    "BNB": ("0.01", 10**16),
}
"""What a ticket of the event ``gala`` costs: as written, and in base units."""

ROUNDS = 200
"""Polls in which everything must have arrived: a handful does, each retry of a busy machine adds one."""


class Seen(msgspec.Struct, frozen=True):
    """A payment as the ledger has it."""

    state: str
    shown: str
    reason: str
    height: int | None
    amount: int
    wallet: str | None
    """Whom its ticket is for, None without a ticket."""


class Followed:
    """One chain, followed.  ``nodes``: the simulated nodes in the order of the endpoints, ``node`` the first."""

    def __init__(self, code: str, folder: Path, nodes: list[SimNode], clock: LeapingClock, **options: Any) -> None:
        self.code, self.folder, self.nodes, self.clock = code, folder, nodes, clock
        self.node = nodes[0]
        self.twists: list[dict[str, Twist]] = [{} for _ in nodes]
        for node, twists in zip(nodes, self.twists, strict=True):
            bend(node, twists)
        self.price = PRICE[code][1]
        self.spec = msgspec.structs.replace(
            self.node.spec,
            endpoints=tuple(n.url for n in nodes),
            receive=tuple(self.node.config()["receive"]),
            options={"timeout": 5.0, **options},
        )
        references = (f"reference{n:05}" for n in itertools.count())
        self.context = Context(
            self.spec,
            Rule((Tier(final=True),)),
            Policy(),
            Issuer(Ed25519PrivateKey.from_private_bytes(bytes(32))),
            canonical_wallet,
            lambda: next(references),
        )
        self.reports = Collected()
        self.store = Store(f"sqlite:///{folder}/ledger.db")
        schema.upgrade(self.store)
        with self.store.transaction() as connection:
            gala = events.NewEvent(id="gala", title="Gala", ticket_price=PRICE[code][0], ticket_currency=code)
            assets = {a.code: a for a in self.spec.assets}
            events.create(connection, gala, assets, 2000, clock.now_ms(), "test")
        self._lives = itertools.count(1)
        self.watcher = self.new_watcher()

    # -- the service -----------------------------------------------------------------------------

    def new_watcher(self, holder: str = "") -> Watcher:
        """Return a watcher as a new process would make it, with a source of its own (unopened)."""
        services = Services(clock=self.clock, random=random.Random(5), observer=self.reports)
        return Watcher(
            self.context,
            adapters.open_source(self.spec, services),
            self.store,
            clock=self.clock,
            rng=random.Random(6),
            reports=self.reports,
            holder=holder or f"process-{next(self._lives)}",
            round_blocks=3,
        )

    async def restart(self, *, killed: bool = False) -> None:
        """End the process and start another on the same file.  ``killed``: its lease must run out first."""
        await (self.watcher.source.close() if killed else self.watcher.stop())
        self.store.close()
        if killed:
            self.clock.advance(leases.TTL_MS / 1000 + 1)
        self.store = Store(f"sqlite:///{self.folder}/ledger.db")
        self.watcher = self.new_watcher()
        await patiently(self.watcher.source.open)

    async def arrive(self) -> None:
        """Put what was paid into a final block, and read it."""
        self.mine()
        self.finalize()
        await self.settle()
        self.check()

    async def poll(self) -> ChainwatchError | None:
        """Turn the loop once, as ``Watcher.run`` does; return what went wrong."""
        try:
            await self.watcher.poll()
        except ChainwatchError as error:
            self.watcher._failed(error, 1)
            return error
        return None

    async def settle(self) -> None:
        """Turn the loop until everything that the node shows is in the ledger."""
        error: ChainwatchError | None = None
        for _ in range(ROUNDS):
            error = await self.poll()
            if error is None and self.watcher.condition.caught_up:
                return
            if error is not None and not isinstance(error, Transient):
                break
        raise AssertionError(f"it does not settle: {error!r}, {self.watcher.condition}")

    # -- the chain -------------------------------------------------------------------------------

    def pay(self, amount: int | None = None, *, memo: str | None = None, wallet: str = "", **more: Any) -> str:
        """Pay (the price of a ticket), with a memo for the gala and ``wallet`` (a fresh one); return the txid."""
        text = memo if memo is not None else f"event:gala:wallet:{wallet or self.node.new_wallet()}"
        return self.node.pay(Payment(self.spec.receive[0], self.price if amount is None else amount, memo=text, **more))

    def mine(self, n: int = 1, *, node: int = 0) -> None:
        """Make blocks, one a second; the first takes what is in the mempool."""
        for _ in range(n):
            self.clock.advance(1)
            self.nodes[node].chain.mine()

    def finalize(self, *, node: int = 0) -> None:
        """Make blocks until the present head is final."""
        chain = self.nodes[node].chain
        head = chain.head.ref.height
        while chain.final.ref.height < head:
            self.mine(node=node)

    def split(self, node: int) -> FakeChain:
        """Give a node its own copy of the chain, as it is now, so that it can go another way."""
        old = self.nodes[node].chain
        new = FakeChain(
            old.code,
            clock=self.clock,
            rng=random.Random(node + 100),
            final_lag=old.final_lag,
            first_height=old.first_height,
            hash_block=old._hash_block,
        )
        new.best, new.by_hash, new._final_height = list(old.best), dict(old.by_hash), old._final_height
        self.nodes[node].chain = new
        return new

    # -- the ledger ------------------------------------------------------------------------------

    def payments(self) -> dict[str, Seen]:
        """Return every payment by transaction id (``txid/index`` where one transaction has several)."""
        with self.store.reading() as connection:
            live = {t.purchase_id: t.wallet for t in connection.execute(select(tickets))}
            rows = connection.execute(select(transfers).order_by(transfers.c.id)).all()
        many = {r.txid for r in rows if sum(o.txid == r.txid for o in rows) > 1}
        return {
            f"{r.txid}/{r.idx}" if r.txid in many else r.txid: Seen(
                r.state, r.shown, r.reason, r.height, r.amount, live.get(r.purchase_id)
            )
            for r in rows
        }

    def shown(self, txid: str) -> str:
        """Return a payment's state as people see it; empty for one that the ledger does not know."""
        seen = self.payments().get(txid)
        return "" if seen is None else seen.shown

    def tickets(self) -> list[str]:
        """Return the wallets that hold an active ticket, one entry a ticket."""
        with self.store.reading() as connection:
            return sorted(connection.execute(select(tickets.c.wallet).where(tickets.c.state == "active")).scalars())

    def owed(self) -> list[tuple[str, int, str]]:
        """Return (kind, amount, reason) of every refund that is due."""
        with self.store.reading() as connection:
            rows = connection.execute(select(refunds).where(refunds.c.state == "due").order_by(refunds.c.id))
            return [(r.kind, r.amount, r.reason) for r in rows]

    def cursor(self) -> BlockRef | None:
        """Return the ledger's position."""
        with self.store.reading() as connection:
            return held(connection, self.code).cursor

    def final(self) -> BlockRef | None:
        """Return the ledger's final block."""
        with self.store.reading() as connection:
            return held(connection, self.code).final

    def status(self) -> queries.Status:
        """Return what ``chainwatch status`` reads."""
        with self.store.reading() as connection:
            return queries.status(connection)

    def check(self) -> None:
        """Hold the books against the payments."""
        with self.store.reading() as connection:
            differences = audit(connection)
        if differences:
            raise AssertionError(f"the audit finds {differences}")


@asynccontextmanager
async def followed(code: str, folder: Path, *, nodes: int = 1, **options: Any) -> AsyncIterator[Followed]:
    """Follow ``nodes`` simulated nodes of one chain; the first blocks are read and final."""
    clock = LeapingClock()
    first: SimNode = DEVNETS[code].make(known_spec(code), clock=clock, rng=random.Random(1))
    others = (random.Random(n + 1) for n in range(1, nodes))  # nodes of the same chain, each with its own faults
    started = [first, *(type(first)(known_spec(code), clock=clock, rng=rng, chain=first.chain) for rng in others)]
    made: Followed | None = None
    try:
        for node in started:
            await node.start()
        made = Followed(code, folder, started, clock, **options)
        made.mine(6)
        await patiently(made.watcher.source.open)
        await made.settle()
        yield made
    finally:
        if made is not None:
            await made.watcher.source.close()
            made.store.close()
        for node in started:
            await node.stop()
