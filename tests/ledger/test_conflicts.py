"""Files that are exported more than once: of all that ever left, only one can be paid.

btcpayserver#6540 paid a payout ten times; a file that conflicts with the one before it alone pays the first one again.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from chainwatch.errors import Rejected
from chainwatch.follower import Step
from chainwatch.ledger import exports
from chainwatch.ledger.apply import apply
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import exports as export_table
from chainwatch.ledger.tables import payouts as payout_table
from chainwatch.model import Unconfirmed
from chainwatch.payfiles import Options, planner
from chainwatch.testing.house import BUYERS, CREATORS, DAY, House, tid

pytestmark = pytest.mark.network


@contextlib.contextmanager
def refused(code: str) -> Iterator[None]:
    with pytest.raises(Rejected) as caught:
        yield
    assert caught.value.code == code, caught.value


class Till:
    """A Bitcoin house that owes one payout, with coins of our own to choose from."""

    def __init__(self, store: Store, chain: str = "BTC") -> None:
        self.h = House(store, chain)
        self.h.event()
        self.h.sell("gala", "alice", "bobby")
        if chain == "BTC":  # each of them alone is enough
            for name in ("a", "b", "c"):
                self.h.mine(self.h.paid(name, 5_000_000, None), empty=2)
        self.h.over()
        self.h.address()
        self.chain = chain

    def coin(self, name: str) -> str:
        return f"{tid(name)}:0"

    def export(self, *coins: str, rate: int = 2_000, replaces: int | None = None) -> int:
        """Export, spending these coins."""
        inputs = tuple(self.coin(c) for c in coins)
        self.h.plan = planner(self.h.spec, Options(fee_rate=rate, inputs=inputs))
        return int(self.h.export(replaces=replaces))

    def spend(self, name: str, *coins: str) -> None:
        """A transaction that is none of ours to settle uses coins, and is final."""
        used = tuple(self.coin(c) for c in coins)
        self.h.mine(self.h.left(name, [(BUYERS["BTC"], 77)], spends=used, fee=5), empty=3)

    def void(self, export: int, actor: str) -> str:
        with self.h.store.transaction() as c:
            return exports.void(c, export, self.h.context, self.h.now, actor)

    def see(self, *transfers: Any) -> None:
        """Show a mempool that holds these."""
        h, at = self.h, self.h.blocks[-1].ref
        sighted = tuple(msgspec.structs.replace(t, position=Unconfirmed(h.now)) for t in transfers)
        with h.store.transaction() as c:
            apply(c, Step(h.chain, at, at, at, at, snapshot=sighted), h.context, 1, h.now)
        h.check()


def test_a_file_is_not_impossible_while_the_one_that_it_replaces_can_be_mined(store: Store) -> None:
    """The second file took one coin more, and that coin was spent: the first one is still out there, signed."""
    till = Till(store)
    first = till.export("a")
    second = till.export("a", "b", replaces=first)
    till.spend("other", "b")
    assert till.void(second, "ann") == "exported"
    till.spend("another", "a")
    assert till.void(second, "ann") == "void"


def test_a_third_file_rules_the_first_one_out_too(store: Store) -> None:
    till = Till(store)
    first = till.export("a")
    second = till.export("a", "b", replaces=first)
    h = till.h
    till.see(*h.left("the first one", [(CREATORS["BTC"], 8_000 * h.unit)], spends=(till.coin("a"),)))
    third = till.export("b", "c", replaces=second, rate=9_000)
    assert till.coin("a") in h.conflict(third)
    assert h.states(export_table) == ["void", "void", "exported"]


def test_a_third_file_without_a_coin_of_the_first_is_refused(store: Store) -> None:
    """The coin that ruled the first file out is spent, not finally: no other coin does."""
    till = Till(store)
    first = till.export("a")
    second = till.export("a", "b", replaces=first)
    h = till.h
    h.mine(h.left("other", [(BUYERS["BTC"], 77)], spends=(till.coin("a"),), fee=5))
    with refused("no_conflict"):
        till.export("b", "c", replaces=second)
    assert h.states(export_table) == ["void", "exported"]


def test_a_file_that_waits_in_the_mempool_is_paid_with_a_higher_fee(store: Store) -> None:
    """Our own node shows it: its coins are used up by itself only, and the new file takes them again."""
    till = Till(store)
    first = till.export("a")
    h = till.h
    till.see(*h.signed(first, "too cheap"))
    second = till.export(replaces=first, rate=20_000)
    assert set(h.conflict(second)) >= {till.coin("a")}
    h.mine(h.spent(second, "dearer"), empty=2)
    assert h.states(payout_table) == ["settled"]


def test_a_file_that_waits_for_approval_is_void_at_once_only_if_no_other_left(store: Store) -> None:
    till = Till(store)
    first = till.export("a")
    till.h.rules = exports.Rules(approve_above={"BTC": 0})
    second = till.export("a", "b", replaces=first)
    assert till.h.states(export_table) == ["void", "waiting"]
    assert till.void(second, "ann") == "waiting"  # the first one may still be paid
    assert till.void(second, "bob") == "void"


@pytest.mark.parametrize("family", ["solana", "monero"])
def test_where_nothing_rules_a_file_out_two_operators_attest_however_late(store: Store, family: str) -> None:
    """A Solana transaction may be signed over a durable nonce, a Monero one over any outputs: neither ever expires."""
    h = House(store)
    h.event()
    h.sell("gala", "alice", "bobby")
    h.over()
    h.address()
    h.plan = lambda work: exports.Plan(work.items, {"family": family})  # what both planners say: no conflict
    export = h.export()
    h.mine(empty=60)
    h.now += 30 * DAY
    with refused("no_conflict"):
        h.export(replaces=export)
    with store.transaction() as c:
        assert exports.void(c, export, h.context, h.now, "ann") == "exported"
        assert exports.void(c, export, h.context, h.now, "ann") == "exported"
        assert exports.void(c, export, h.context, h.now, "bob") == "void"
