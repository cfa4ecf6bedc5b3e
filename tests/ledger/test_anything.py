"""Whatever buyers, chains and operators do: nothing is oversold at any commit, every base unit is somewhere, once.

Random sequences of purchases, payments, sightings, reorgs, expiries, cancels and changes, over tiers, allotments and
two chains.  The books are held against the payments after each step.
"""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select

from chainwatch.errors import Rejected
from chainwatch.ledger import events, quotes, review
from chainwatch.ledger.context import Policy
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import allocations, tickets, transfers
from chainwatch.ledger.tables import events as event_table
from chainwatch.model import Transfer
from chainwatch.testing.inline import InlineLedger
from chainwatch.testing.shop import Shop

WALLETS = st.sampled_from(["alice", "bobby", "carol", "dave1", "erin1"])
CHAINS = st.sampled_from(["HIVE", "BTC"])
COIN = {"HIVE": ("HIVE", 5000), "BTC": ("BTC", 100_000)}


class Anything(RuleBasedStateMachine):
    """One event with three seats in the open, one aside, and a tier of two."""

    @initialize(
        depth=st.integers(1, 3), seats=st.sampled_from([1, 1, 2, None]), tiered=st.booleans(), per=st.booleans()
    )
    def begin(self, depth: int, seats: int | None, tiered: bool, per: bool) -> None:
        """Put the event on sale."""
        self.store: Store = InlineLedger()
        policy = Policy(hold_ms=10 * 60_000, seen_hold_ms=30 * 60_000, tolerance_bps={"HIVE": 100})
        self.shop = Shop(self.store, policy, depth=depth)
        tiers = (
            events.NewTier(code="a", ticket_price="5", prices={"BTC": "0.001"}, quantity=2),
            events.NewTier(code="b", ticket_price="5", prices={"BTC": "0.001"}),
        )
        self.tiers: list[str | None] = ["a", "b"] if tiered else [None]
        self.shop.event(
            ticket_price="5",
            prices={"BTC": "0.001"},
            max_attendees=None if seats is None else seats + 1,
            allotments=(events.NewAllotment(code="press", quantity=1),),
            tiers=tiers if tiered else (),
            tickets_per_wallet=1 if per else None,
            bps=333,
        )
        self.opened: list[quotes.Quote] = []
        self.mined: dict[str, list[Transfer]] = {"HIVE": [], "BTC": []}
        self.pool: dict[str, list[Transfer]] = {"HIVE": [], "BTC": []}
        for chain in COIN:
            self.shop.mine(chain=chain)
            self.shop.mine(chain=chain)

    @rule(wallet=WALLETS, chain=CHAINS, signed=st.booleans(), aside=st.booleans(), n=st.integers(0, 1))
    def ask(self, wallet: str, chain: str, signed: bool, aside: bool, n: int) -> None:
        """Open a purchase."""
        tier = self.tiers[n % len(self.tiers)]
        more: dict[str, Any] = {"signed": signed, "tier": tier, "allotment": "press" if aside else None}
        try:
            self.opened.append(self.shop.ask(wallet, COIN[chain][0], **more))
        except Rejected as no:
            if no.code not in ("purchase_open", "sold_out", "wallet_limit", "not_for_sale"):
                raise

    @rule(wallet=WALLETS, chain=CHAINS, signed=st.booleans())
    def buy(self, wallet: str, chain: str, signed: bool) -> None:
        """Open a purchase and pay it at once, as most people do."""
        before = len(self.opened)
        self.ask(wallet, chain, signed, False, 0)
        for quote in self.opened[before:]:
            self.pool[chain].append(self.shop.pays(quote))

    @rule(chain=CHAINS, wallets=st.lists(WALLETS, min_size=2, max_size=4, unique=True))
    def rush(self, chain: str, wallets: list[str]) -> None:
        """Let several pay by memo in one block."""
        coin, price = COIN[chain]
        tier = f":tier:{self.tiers[0]}" if self.tiers[0] else ""
        self.pool[chain] += [self.shop.pays(f"event:gala:wallet:{w}{tier}", price, asset=coin) for w in wallets]
        self.mine(chain, 0, 1)

    @precondition(lambda self: self.opened)
    @rule(n=st.integers(0, 99), share=st.sampled_from([1, 2, 2, 2, 3, 4]), sender=st.booleans())
    def pay_a_quote(self, n: int, share: int, sender: bool) -> None:
        """Pay half of a purchase, all of it, or more."""
        quote = self.opened[n % len(self.opened)]
        payment = self.shop.pays(quote, quote.amount * share // 2, sender=("alice",) if sender else ())
        self.pool[payment.chain].append(payment)

    @rule(wallet=WALLETS, chain=CHAINS, amount=st.sampled_from([4950, 5000, 1, 100_000]), odd=st.integers(0, 5))
    def pay_by_memo(self, wallet: str, chain: str, amount: int, odd: int) -> None:
        """Pay with a memo alone, good or not."""
        coin, price = COIN[chain]
        memo = (
            f"event:gala:wallet:{wallet}:tier:a",
            f"event:gala:wallet:{wallet}",
            "",
            f"event:no:wallet:{wallet}",
        )[odd % 4]
        more: dict[str, Any] = {"flags": ("locked",)} if odd == 5 else {}
        payment = self.shop.pays(memo, amount if chain == "HIVE" else price, asset=coin, sender=(wallet,), **more)
        self.pool[chain].append(payment)

    @rule(chain=CHAINS)
    def see(self, chain: str) -> None:
        """Show the mempool."""
        self.shop.see(*self.pool[chain], chain=chain)

    @rule(chain=CHAINS, minutes=st.sampled_from([0, 1, 12, 25]), part=st.integers(0, 3))
    def mine(self, chain: str, minutes: int, part: int) -> None:
        """Make a block of the mempool or a part of it."""
        self.shop.after(minutes)
        took = self.pool[chain][: len(self.pool[chain]) if part else 1]
        self.pool[chain] = self.pool[chain][len(took) :]
        self.shop.mine(*took, chain=chain)
        self.mined[chain] += took

    @precondition(lambda self: any(len(c) > 2 for c in self.shop.chains.values()))
    @rule(chain=CHAINS, depth=st.integers(1, 3), keep=st.booleans())
    def reorg(self, chain: str, depth: int, keep: bool) -> None:
        """Replace the last blocks; what was in them comes at once again, or is in the mempool again."""
        blocks = self.shop.chains[chain]
        if len(blocks) <= depth:
            return
        back = [p for b in blocks[-depth:] for p in b.transfers]
        if not keep:
            self.pool[chain] += back
            self.mined[chain] = [p for p in self.mined[chain] if p.txid not in {b.txid for b in back}]
        self.shop.reorg(depth, *(back if keep else ()), chain=chain)

    @rule(seats=st.sampled_from([1, 2, 4, None]))
    def change_capacity(self, seats: int | None) -> None:
        """Change the number of seats while sales run."""
        try:
            self.shop.change(max_attendees=seats)
        except Rejected as no:
            if no.code not in ("bad_capacity", "event_cancelled"):
                raise

    @rule(n=st.integers(0, 9), action=st.sampled_from(["refund", "foreign", "assign"]))
    def decide(self, n: int, action: Any) -> None:
        """Let an operator decide what is in review."""
        with self.store.transaction() as connection:
            items = review.open_items(connection)
            if items and (action != "assign" or self.opened):
                ref = self.opened[n % len(self.opened)].ref if action == "assign" else None
                decision = review.Decision(action=action, ref=ref)
                chosen = items[n % len(items)].id
                review.decide(connection, chosen, decision, self.shop.contexts, self.shop.now_ms, "test")

    @rule(really=st.integers(0, 9))
    def cancel(self, really: int) -> None:
        """Cancel the event, now and then."""
        if not really:
            self.shop.cancel()

    @invariant()
    def all_is_right(self) -> None:
        """Hold everything against everything."""
        if not hasattr(self, "shop"):
            return
        self.shop.audit()
        with self.store.reading() as connection:
            for e in connection.execute(select(event_table)):
                taken = e.tickets_sold + e.tickets_held + e.seats_reserved
                assert e.max_attendees is None or taken <= e.max_attendees, "oversold"
                assert min(e.tickets_sold, e.tickets_held, e.seats_reserved, e.seats_unsigned, e.seats_seen) >= 0
            placed: dict[int, int] = {}
            for a in connection.execute(select(allocations)):
                placed[a.transfer_id] = placed.get(a.transfer_id, 0) + a.amount
            for t in connection.execute(select(transfers)):
                if t.state == "confirmed":
                    assert placed.get(t.id, 0) == t.amount, "a base unit is nowhere, or twice"
            live = [t.purchase_id for t in connection.execute(select(tickets))]
            assert len(live) == len(set(live))

    def teardown(self) -> None:
        """Forget the database."""
        if hasattr(self, "store"):
            self.store.close()


TestAnything = Anything.TestCase
TestAnything.settings = settings(
    max_examples=20, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
