"""One random history of a chain, its buyers, its faults and our crashes; everything follows from the seed.

The real watcher, follower, matching and ledger run over a ``FakeChain``; only clock, network,
randomness and process death are made.  What must come of it is for the caller's own oracle to say.
"""

import random

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chainwatch.errors import ChainwatchError, Rejected
from chainwatch.finality import Rule, Tier
from chainwatch.ledger import events, quotes
from chainwatch.ledger.context import Context, Policy
from chainwatch.model import Asset, ChainSpec
from chainwatch.testing.clock import FakeClock
from chainwatch.testing.fakechain import FakeChain, FakeTransfer, FakeTx
from chainwatch.testing.fakesource import FakeSource
from chainwatch.testing.inline import Crash, InlineLedger
from chainwatch.testing.reports import Collected
from chainwatch.tickets.token import Issuer
from chainwatch.watcher import Watcher

RECEIVE = "till"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
HOLD_MS = 60_000


class Sold(msgspec.Struct, frozen=True):
    """An event of a history."""

    id: str
    price: int
    capacity: int | None
    sales_end_ms: int | None


class Asked(msgspec.Struct, frozen=True):
    """A purchase as its buyer was told of it.  ``address``: its own one, or the till's with ``memo``."""

    ref: str
    event: str
    wallet: str
    price: int
    address: str
    memo: str | None
    held: bool
    expires_ms: int


class History:
    """A seeded history.  ``step`` does one random thing; ``settle`` lets the world become quiet."""

    def __init__(self, seed: int, url: str | None = None) -> None:
        self.rng = random.Random(seed)
        self.clock = FakeClock()
        self.by_depth = self.rng.random() < 0.4
        self.final_lag = self.rng.randint(1, 6)
        self.spec = ChainSpec(
            code="FAKE",
            adapter="fake",
            family="fake",
            assets=(Asset("FAKE", "FAKE", 3), Asset("GOLD", "FAKE", 3, "gold")),
            endpoints=(),
            receive=(RECEIVE,),
            start=0,
            block_time_ms=3000,
        )
        self.chain = FakeChain("FAKE", clock=self.clock, rng=self.rng, block_ms=3000, final_lag=self.final_lag)
        self.ledger = InlineLedger(url)
        self.reports = Collected()
        tier = Tier(depth=self.final_lag + 1) if self.by_depth else Tier(final=True)
        self.context = Context(
            spec=self.spec,
            rule=Rule((tier,)),
            policy=Policy(hold_ms=HOLD_MS),
            issuer=Issuer(KEY),
            canonical_wallet=lambda text: text if text.isalnum() and text.islower() and len(text) >= 3 else None,
            new_ref=lambda: f"{self.rng.getrandbits(60):012x}x",
        )
        self.sold = [self._event(i) for i in range(self.rng.randint(1, 3))]
        self.buyers = [f"buyer{i}" for i in range(self.rng.randint(2, 7))]
        self.source = FakeSource(self.spec, self.chain, span=self.rng.choice((1, 3, 10)), finality=not self.by_depth)
        self.source.shows_mempool = self.rng.random() < 0.5
        self.source.own_addresses = self.rng.random() < 0.7
        self.asked: list[Asked] = []
        self.crashes = 0
        self.reorgs = 0
        self.watcher = self.start()

    def start(self) -> Watcher:
        """Start the service over what the database holds."""
        self.source.forget()
        return Watcher(
            self.context,
            self.source,
            self.ledger,
            clock=self.clock,
            rng=self.rng,
            reports=self.reports,
            holder="history",
            round_blocks=self.rng.choice((1, 5, 50)),
        )

    def _event(self, i: int) -> Sold:
        now = self.clock.now_ms()
        ends = self.rng.choice((None, None, now + self.rng.randint(20_000, 400_000)))
        sold = Sold(f"show-{i}", self.rng.randint(2, 5000), self.rng.choice((None, 1, 1, 2, 3)), ends)
        new = events.NewEvent(
            id=sold.id,
            title=sold.id,
            ticket_price=f"{sold.price // 1000}.{sold.price % 1000:03}",
            ticket_currency="FAKE",
            max_attendees=sold.capacity,
            sales_end_ms=sold.sales_end_ms,
        )
        with self.ledger.transaction() as connection:
            assets = {a.code: a for a in self.spec.assets}
            events.create(connection, new, assets, self.rng.choice((2000, 1, 333)), now, "test")
        return sold

    # -- the world -------------------------------------------------------------------------------

    async def step(self) -> None:
        """Let one thing happen."""
        self.clock.advance(self.rng.choice((0.1, 1, 3, 10)))
        what = self.rng.choices(
            (self._pay, self._ask, self._mine, self._reorg, self._fault, self._evict, self.poll, self._die),
            (30, 6, 25, 6, 6, 2, 30, 5),
        )[0]
        result = what()
        if result is not None:
            await result

    def _ask(self) -> None:
        """Open a purchase, signed or not; what is refused is refused."""
        sold, buyer = self.rng.choice(self.sold), self.rng.choice(self.buyers)
        ask = quotes.Ask(event_id=sold.id, wallet=buyer, asset="FAKE", signed=self.rng.random() < 0.6)
        try:
            with self.ledger.transaction() as connection:
                told = quotes.quote(connection, ask, self.context, self.clock.now_ms())
        except Rejected:
            return
        self.asked.append(
            Asked(told.ref, sold.id, buyer, told.amount, told.address, told.memo, told.held, told.expires_ms)
        )

    def _pay(self) -> None:
        transfers = tuple(self._one() for _ in range(self.rng.choice((1, 1, 1, 2, 3))))
        self.chain.submit(FakeTx(f"{self.rng.getrandbits(64):016x}", transfers))

    def _one(self) -> FakeTransfer:
        return self._for_a_purchase() if self.asked and self.rng.random() < 0.5 else self._transfer()

    def _for_a_purchase(self) -> FakeTransfer:
        """Pay a purchase, the newest more often: all of it, a part, too much, another coin, with another's memo."""
        rng = self.rng
        asked = rng.choice(self.asked[-3:] if rng.random() < 0.7 else self.asked)
        price, memo, odd = asked.price, asked.memo, rng.random()
        if odd < 0.1 and memo is None:
            memo = rng.choice((f"event:{asked.event}:wallet:other", f"cw:{rng.choice(self.asked).ref}", "hello"))
        return FakeTransfer(
            sender="payer",
            to=asked.address,
            amount=rng.choice((price, price, price, price - price // 2, price // 2, price - 1, price + 1, 3 * price)),
            asset_id="gold" if 0.1 < odd < 0.15 else None,
            memo=memo.encode() if memo is not None else None,
            ok=not 0.15 < odd < 0.2,
        )

    def _transfer(self) -> FakeTransfer:
        rng = self.rng
        sold, buyer = rng.choice(self.sold), rng.choice(self.buyers)
        memo = f"event:{sold.id}:wallet:{buyer}"
        exact = sold.price
        amount = rng.choice((exact, exact, exact, exact - 1, exact + 1, exact * 2, exact // 2, 0, 1, 2**256 - 1))
        odd = rng.random()
        if odd < 0.05:
            memo = rng.choice(
                ("", "hello", "event:nowhere:wallet:buyer1", f"{memo} event:x:wallet:other", "event:show-0:wallet:B!")
            )
        return FakeTransfer(
            sender="payer",  # nobody's wallet: a payment without a memo belongs to nobody
            to="elsewhere" if 0.05 < odd < 0.08 else RECEIVE,
            amount=amount,
            asset_id="gold" if 0.08 < odd < 0.12 else None,
            memo=memo.encode(),
            ok=not 0.12 < odd < 0.16,
        )

    def _mine(self) -> None:
        waiting = list(self.chain.mempool.values())
        if self.rng.random() < 0.3:
            waiting = [tx for tx in waiting if self.rng.random() < 0.5]
        self.chain.mine(waiting)

    def _reorg(self) -> None:
        """Replace blocks that nobody called final."""
        open_blocks = self.chain.head.ref.height - self.chain.final.ref.height
        depth = min(self.rng.randint(1, self.final_lag), open_blocks)
        if depth < 1:
            return
        gone = [tx.txid for b in self.chain.best[-depth:] for tx in b.txs]
        drop = [t for t in gone if self.rng.random() < 0.3]
        back_later = [t for t in drop if self.rng.random() < 0.5]
        txs = {tx.txid: tx for b in self.chain.best[-depth:] for tx in b.txs}
        self.chain.reorg(depth, extra=self.rng.randint(0, 2), drop=drop, shift=self.rng.randint(0, depth))
        for txid in back_later:
            self.chain.submit(txs[txid])
        self.reorgs += 1

    def _evict(self) -> None:
        if self.chain.mempool:
            self.chain.drop(self.rng.choice(list(self.chain.mempool)))

    def _fault(self) -> None:
        self.source.lag = self.rng.choice((0, 0, 1, 2, 8))

    async def poll(self) -> None:
        """Let the service do a round."""
        try:
            await self.watcher.poll()
        except ChainwatchError as error:
            self.watcher._failed(error, 1)

    async def _die(self) -> None:
        """Kill the service at some statement of a round, and start it again."""
        self.ledger.crash_in = self.rng.randint(0, 40)
        try:
            await self.poll()
        except Crash:
            self.crashes += 1
        self.ledger.crash_in = None
        self.watcher = self.start()

    async def settle(self) -> None:
        """Heal every fault, bury everything under final blocks, let every hold run out, catch up."""
        self.source.lag = 0
        for _ in range(self.final_lag + 2):
            self.clock.advance(3)
            self.chain.mine()
        self.clock.advance(HOLD_MS / 1000 + 1)
        for _ in range(self.final_lag + 2):
            self.clock.advance(3)
            self.chain.mine()
        for _ in range(400):
            await self.poll()
            if self.watcher.condition.caught_up and self.reports.heights["FAKE"] == self.chain.head.ref.height:
                return
        raise AssertionError(f"not caught up: {self.watcher.condition}")
