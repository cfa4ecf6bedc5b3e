"""Reading Solana accounts: windows, sightings, nodes that lag, lie or cannot show what they list.

The simulated node answers without a socket: its handlers are called directly.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from chainwatch.adapters import solana, solana_history
from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.adapters.rpc import Rpc, RpcError
from chainwatch.adapters.solana import SolanaSource, open_source
from chainwatch.clock import SystemClock
from chainwatch.config.networks import spec
from chainwatch.devnet.node import Payment, RpcFault
from chainwatch.devnet.solana import SolanaNode, make
from chainwatch.devnet.solana_shapes import height_of, slot_of
from chainwatch.errors import Inconsistent, Misconfigured, Persistent, Transient, Unreachable
from chainwatch.model import BlockRef, InBlock, Transfer, Unconfirmed, Window
from chainwatch.testing.fakechain import FakeTx

LAG = 3
SERVICES = Services(clock=SystemClock(), random=random.Random(0), observer=SilentObserver())


class Node:
    """An endpoint: a simulated node, and answers that a test puts in its mouth."""

    def __init__(self, name: str, node: SolanaNode) -> None:
        self.name, self.node = name, node
        self.up, self.checked = True, False
        self.asked: list[tuple[str, Any]] = []
        self.say: dict[str, Callable[..., Any]] = {}

    def answer(self, method: str, params: Sequence[Any], result: Any) -> Any:
        self.asked.append((method, params))
        handler = self.say.get(method) or self.node.methods()[method]
        try:
            body = msgspec.json.encode(handler(*params))
        except RpcFault as fault:
            return RpcError(fault.code, fault.message, fault.data)
        try:
            return msgspec.json.decode(body, type=result)
        except msgspec.ValidationError as error:
            raise Inconsistent(str(error)) from error

    def times(self, method: str) -> int:
        return sum(m == method for m, _ in self.asked)


class Wire:
    """Stands for ``Rpc``: the same calls, no sockets."""

    def __init__(self, *nodes: Node) -> None:
        self.endpoints = nodes
        self.failed: list[tuple[str, str]] = []

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def best(self) -> Node:
        return next((n for n in self.endpoints if n.up), self.endpoints[0])

    def fail(self, endpoint: Node, reason: str) -> None:
        endpoint.up = endpoint.checked = False
        self.failed.append((endpoint.name, reason))

    vet, vetted = Rpc.vet, Rpc.vetted

    async def call(self, method: str, params: Sequence[Any] = (), *, result: Any = Any, on: Node) -> Any:
        answer = on.answer(method, params, result)
        if isinstance(answer, RpcError):
            raise answer
        return answer

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]], *, result: Any = Any, on: Node) -> list[Any]:
        return [on.answer(m, p, result) for m, p in calls]


class Bench:
    """A chain, one or more nodes on it, and a source."""

    def __init__(self, nodes: int = 1, **options: Any) -> None:
        sim = make(spec("SOL"), clock=SystemClock(), rng=random.Random(1), final_lag=LAG)
        self.chain, self.us = sim.chain, sim.house
        self.mine(20)
        others = [
            SolanaNode(sim.spec, clock=SystemClock(), rng=random.Random(i), chain=sim.chain) for i in range(1, nodes)
        ]
        self.nodes = [Node(f"node{i}", s) for i, s in enumerate([sim, *others])]
        self.node = self.nodes[0]
        self.sim = sim
        self.wire = Wire(*self.nodes)
        self.source = self.new_source(**options)

    def new_source(self, **options: Any) -> SolanaSource:
        chain = msgspec.structs.replace(self.sim.spec, endpoints=("http://x",), receive=(self.us,), options=options)
        source = SolanaSource(chain, SERVICES)
        source._rpc = self.wire
        if source._quorum is not None:
            source._quorum._endpoints = self.wire.endpoints
        return source

    def mine(self, n: int = 1) -> None:
        for _ in range(n):
            self.chain.mine()

    def pay(self, amount: int = 10**6, **more: Any) -> str:
        txid = self.sim.pay(Payment(self.us, amount, **more))
        self.mine()
        return txid

    def hash_at(self, slot: int) -> str:
        return self.sim.get_block(slot, {"transactionDetails": "none"})["blockhash"]

    async def read(self, position: BlockRef | None = None) -> Window:
        return await self.source.read(position, ())


def ids(window: Window) -> list[str]:
    return [t.txid for t in window.transfers]


def final(window: Window) -> list[Transfer]:
    return [t for t in window.transfers if isinstance(t.position, InBlock)]


# -- windows -------------------------------------------------------------------------------------


async def test_a_first_read_begins_at_the_tip():
    b = Bench()
    b.pay()
    b.mine(LAG)
    window = await b.read()
    assert (window.complete, window.transfers) == (True, ())
    assert window.end.height == b.sim.get_slot()
    assert window.end.hash == b.hash_at(window.end.height)
    assert window.time_ms == b.sim.get_block_time(window.end.height) * 1000, "holds expire by the chain's own clock"


async def test_confirmed_is_a_sighting_and_finalized_is_in_its_block():
    b = Bench()
    stood = (await b.read()).end
    txid = b.pay()
    window = await b.read(stood)
    assert [(t.txid, type(t.position)) for t in window.transfers] == [(txid, Unconfirmed)]
    b.mine(LAG)
    window = await b.read(window.end)
    (t,) = window.transfers
    assert isinstance(t.position, InBlock)
    assert t.position.block.hash == b.hash_at(t.position.block.height)
    assert t.position.time_ms > 1_600_000_000_000
    assert window.final == window.head == window.end


async def test_a_sighting_that_its_fork_took_away_is_gone_from_the_next_window():
    """What is confirmed can be undone; the next listing does not name it any more."""
    b = Bench()
    stood = (await b.read()).end
    kept = b.pay()
    gone = b.pay()
    assert set(ids(await b.read(stood))) == {kept, gone}
    b.chain.reorg(1, drop=[gone])
    assert ids(await b.read(stood)) == [kept]


async def test_a_sighting_that_lands_in_another_slot_keeps_its_identity():
    b = Bench()
    stood = (await b.read()).end
    txid = b.pay()
    (before,) = (await b.read(stood)).transfers
    b.chain.reorg(1, extra=2, shift=2)
    b.mine(LAG)
    (after,) = (await b.read(stood)).transfers
    assert after.key == before.key == ("SOL", txid, "0")
    assert isinstance(after.position, InBlock)


async def test_failed_transactions_are_not_shown_before_they_are_final():
    b = Bench()
    stood = (await b.read()).end
    b.pay(ok=False)
    assert (await b.read(stood)).transfers == ()
    b.mine(LAG)
    assert [t.ok for t in (await b.read(stood)).transfers] == [False]


async def test_final_transactions_are_fetched_once_though_the_windows_overlap():
    b = Bench()
    stood = (await b.read()).end
    b.pay()
    b.mine(LAG)
    for _ in range(3):
        window = await b.read(stood)
        assert len(window.transfers) == 1
    assert b.node.times("getTransaction") == 1


async def test_the_overlap_reads_again_what_an_index_showed_late():
    """A provider's signature index may be behind its blocks: what appears below our position still counts."""
    b = Bench()
    stood = (await b.read()).end
    txid = b.pay()
    b.mine(LAG + 5)
    b.node.say["getSignaturesForAddress"] = lambda *_: []
    window = await b.read(stood)
    assert window.transfers == ()
    del b.node.say["getSignaturesForAddress"]
    assert ids(await b.read(window.end)) == [txid]


async def test_skipped_slots_are_no_blocks_and_no_errors():
    """A finalized slot is never a skipped one, and neither is the slot of a payment."""
    b = Bench()
    position = (await b.read()).end
    seen = []
    for _ in range(40):
        seen.append(b.pay())
        b.mine(LAG)
        window = await b.read(position)
        assert height_of(window.end.height) is not None
        assert seen[-1] in ids(window)
        position = window.end


async def test_the_end_steps_back_when_the_store_cannot_show_the_newest_block():
    """-32004: the bank is finalized, its block is not written yet."""
    b = Bench()
    newest = b.sim.get_slot()

    def get_block(slot: int, options: Any) -> Any:
        if slot == newest:
            raise RpcFault(-32004, f"Block not available for slot {slot}")
        return b.sim.get_block(slot, options)

    b.node.say["getBlock"] = get_block
    assert (await b.read()).end.height == newest - 1


async def test_a_node_without_its_blocks_is_transient():
    b = Bench()
    b.sim.faults.omit = frozenset({"blocks"})
    with pytest.raises(Transient):
        await b.read()


async def test_long_listings_are_paged_and_bounded(monkeypatch):
    """Three to a page, two pages a read: the window is incomplete until the listing is done, then whole."""
    monkeypatch.setattr(solana_history, "FIRST_PAGE", 3)
    monkeypatch.setattr(solana_history, "PAGE", 3)
    monkeypatch.setattr(solana, "ROUNDS", 2)
    b = Bench()
    stood = (await b.read()).end
    sent = [b.pay(n + 1) for n in range(20)]
    b.mine(LAG)
    reads = 0
    while not (window := await b.read(stood)).complete:
        assert window.transfers == ()
        assert window.end == stood
        reads += 1
    assert reads == 5  # two new ones a page: the third is the one before again
    assert ids(window) == sent
    assert [t.amount for t in window.transfers] == list(range(1, 21))


@pytest.mark.parametrize("rounds", [2, 3, 4])
async def test_a_long_backfill_and_the_following_do_not_take_each_others_listing(monkeypatch, rounds):
    """A listing of many pages goes on over many reads, and between them the chain is followed."""
    monkeypatch.setattr(solana_history, "FIRST_PAGE", 3)
    monkeypatch.setattr(solana_history, "PAGE", 3)
    monkeypatch.setattr(solana, "ROUNDS", rounds)
    b = Bench(overlap=1)
    first = (await b.read()).end.height
    sent = [b.pay(n + 1) for n in range(20)]
    b.mine(LAG)
    stood = BlockRef(b.sim.get_slot(), b.hash_at(b.sim.get_slot()))
    found = []
    for _ in range(12):
        window = await b.read(BlockRef(first, ""))
        if window.complete:
            found = ids(window)
            break
        b.mine()
        followed = await b.read(stood)
        assert followed.complete, "the chain is followed meanwhile"
        stood = followed.end
    assert found == sent


async def test_a_backlog_is_read_in_portions_that_end_between_slots(monkeypatch):
    monkeypatch.setattr(solana, "TRANSACTIONS", 4)
    b = Bench()
    position = (await b.read()).end
    sent = [b.pay() for _ in range(15)]
    b.mine(LAG)
    found: list[str] = []
    ends = [position.height]
    while True:
        before = b.node.times("getTransaction")
        window = await b.read(position)
        assert b.node.times("getTransaction") - before <= 4
        found += [i for i in ids(window) if i not in found]
        position = window.end
        ends.append(position.height)
        if position.height >= window.head.height:
            break
    assert found == sent
    assert ends == sorted(set(ends))


async def test_an_overlap_full_of_transactions_does_not_hold_the_position_back(monkeypatch):
    """After a restart nothing is remembered; a busy minute behind us must not cost more than one read."""
    monkeypatch.setattr(solana, "TRANSACTIONS", 2)
    b = Bench()
    for _ in range(12):
        b.pay()
    b.mine(LAG)
    stood = (await b.read()).end
    late = b.pay()
    b.mine(LAG)
    b.source = b.new_source()
    window = await b.read(stood)
    assert window.end.height > stood.height
    assert late in ids(window)


# -- what a node cannot or will not say ----------------------------------------------------------


async def test_a_listed_transaction_that_the_node_cannot_show_is_waited_for():
    b = Bench()
    stood = (await b.read()).end
    txid = b.pay()
    b.mine(LAG)
    b.sim.faults.omit = frozenset({"transactions"})
    with pytest.raises(Transient):
        await b.read(stood)
    b.sim.faults.omit = frozenset()
    assert ids(await b.read(stood)) == [txid]


async def test_a_transaction_without_its_outcome_is_waited_for():
    """``meta`` null is unknown: never paid, never passed over."""
    b = Bench()
    stood = (await b.read()).end
    b.pay()
    b.mine(LAG)
    b.sim.faults.omit = frozenset({"meta"})
    with pytest.raises(Transient):
        await b.read(stood)


@pytest.mark.parametrize(
    "lie",
    [
        lambda t: {**t, "slot": t["slot"] + 1},
        lambda t: {**t, "transaction": {**t["transaction"], "signatures": ["1" * 88]}},
        lambda t: {**t, "meta": {**t["meta"], "err": "AccountInUse"}},
        lambda t: {**t, "meta": {**t["meta"], "preBalances": []}},
        lambda t: {**t, "transaction": None},
    ],
    ids=["slot", "signature", "outcome", "balances", "nothing"],
)
async def test_an_answer_that_contradicts_the_listing_is_refused(lie):
    b = Bench()
    stood = (await b.read()).end
    b.pay()
    b.mine(LAG)
    b.node.say["getTransaction"] = lambda *p: lie(b.sim.get_transaction(*p))
    with pytest.raises(Inconsistent):
        await b.read(stood)
    assert b.wire.failed


async def test_a_listing_out_of_order_or_in_a_circle_is_refused(monkeypatch):
    monkeypatch.setattr(solana_history, "FIRST_PAGE", 2)
    b = Bench()
    stood = (await b.read()).end
    for _ in range(4):
        b.pay()
    b.mine(LAG)
    page = b.sim.get_signatures_for_address(b.us, {"limit": 2})
    b.node.say["getSignaturesForAddress"] = lambda *_: page
    with pytest.raises(Inconsistent):
        await b.read(stood)


async def test_a_page_from_a_node_that_does_not_know_the_page_before_is_no_end(monkeypatch):
    """Asked for what is before a signature that it does not know, agave answers an empty list."""
    monkeypatch.setattr(solana_history, "FIRST_PAGE", 3)
    monkeypatch.setattr(solana_history, "PAGE", 3)
    b = Bench()
    stood = (await b.read()).end
    sent = [b.pay() for _ in range(8)]
    b.mine(LAG)
    b.node.say["getSignaturesForAddress"] = lambda address, options: (
        [] if "before" in options else b.sim.get_signatures_for_address(address, options)
    )
    with pytest.raises(Inconsistent, match="does not know"):
        await b.read(stood)
    del b.node.say["getSignaturesForAddress"]
    assert ids(await b.read(stood)) == sent


async def test_a_listing_that_never_ends_is_stopped(monkeypatch):
    monkeypatch.setattr(solana_history, "MAX_SIGNATURES", 100)
    b = Bench()
    stood = (await b.read()).end
    b.mine(5)

    def ever_more(account: str, options: dict[str, Any]) -> Any:
        n = int(options.get("before", "of:1000000").rpartition(":")[2])
        return [{"signature": f"{account}:{n - i}", "slot": stood.height} for i in (1, 2)]

    b.node.say["getSignaturesForAddress"] = ever_more
    assert not (await b.read(stood)).complete
    with pytest.raises(Persistent):
        await b.read(stood)


async def test_one_transaction_of_a_later_version_does_not_stop_the_chain():
    """-32015: asked again for any version, the answer has the same shape."""
    b = Bench()
    stood = (await b.read()).end
    txid = b.pay()
    b.mine(LAG)

    def get_transaction(signature: str, options: dict[str, Any]) -> Any:
        if options["maxSupportedTransactionVersion"] == 0:
            raise RpcFault(-32015, "Transaction version (1) is not supported by the requesting client")
        return {**b.sim.get_transaction(signature, options), "version": 1}

    b.node.say["getTransaction"] = get_transaction
    assert ids(await b.read(stood)) == [txid]


async def test_a_node_behind_us_takes_nothing_back_and_is_left_alone():
    b = Bench(nodes=2)
    stood = (await b.read()).end
    b.nodes[0].node.faults.stale_by = 5
    with pytest.raises(Transient):
        await b.read(stood)
    assert b.wire.failed[0][0] == "node0"
    txid = b.pay()
    b.mine(LAG)
    window = await b.read(stood)
    assert (window.endpoint, ids(window)) == ("node1", [txid])


async def test_a_page_from_a_node_that_has_not_reached_the_slot_is_refused():
    """-32016 (minContextSlot): behind one address there may be several nodes."""
    b = Bench()
    stood = (await b.read()).end
    b.mine(5)

    def signatures(address: str, options: dict[str, Any]) -> Any:
        assert options["minContextSlot"] > stood.height
        raise RpcFault(-32016, "Minimum context slot has not been reached", {"contextSlot": 1})

    b.node.say["getSignaturesForAddress"] = signatures
    with pytest.raises(Transient):
        await b.read(stood)
    assert b.wire.failed


async def test_every_page_of_a_window_comes_from_one_endpoint():
    """A listing that was begun elsewhere is begun again: two nodes need not agree on what is newest."""
    b = Bench(nodes=2)
    stood = (await b.read()).end
    sent = [b.pay() for _ in range(3)]
    b.mine(LAG)
    b.nodes[0].node.faults.omit = frozenset({"transactions"})
    with pytest.raises(Transient):
        await b.read(stood)
    b.wire.fail(b.nodes[0], "test")
    assert ids(await b.read(stood)) == sent
    assert b.nodes[1].times("getSignaturesForAddress") > 0


# -- networks and configuration ------------------------------------------------------------------


async def test_a_fallback_of_another_network_is_never_read():
    """Checked at each failover, not only at the start."""
    b = Bench(nodes=2)
    stood = (await b.read()).end
    b.nodes[1].node.faults.wrong_chain = True
    b.wire.fail(b.nodes[0], "test")
    with pytest.raises(Transient):
        await b.read(stood)
    assert b.nodes[1].times("getSignaturesForAddress") == 0


async def test_open_names_what_each_node_is_and_refuses_another_network():
    b = Bench(nodes=2)
    b.nodes[1].node.faults.stale_by = 2
    good, stale = await b.source.open()
    assert (good.version, good.network) == ("3.0.0", "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp")
    assert good.head.height > good.final.height
    assert stale.warnings == ("not healthy: Node is behind by 2 slots",)
    b.nodes[1].node.faults.wrong_chain = True
    with pytest.raises(Misconfigured, match="another network"):
        await b.source.open()


async def test_open_goes_on_without_a_node_that_is_away():
    b = Bench(nodes=2)

    def away(*_: Any) -> Any:
        raise Unreachable("away")

    b.nodes[0].say["getGenesisHash"] = away
    assert [f.endpoint for f in await b.source.open()] == ["node1"]
    b.nodes[1].say["getGenesisHash"] = away
    with pytest.raises(Unreachable):
        await b.source.open()


async def test_a_node_that_no_longer_keeps_its_history_leaves_its_place():
    b = Bench(nodes=2)

    def none(*_: Any) -> Any:
        raise RpcFault(-32011, "Transaction history is not available from this node")

    stood = (await b.read()).end
    txid = b.pay()
    b.mine(LAG)
    b.nodes[0].say["getSignaturesForAddress"] = none
    with pytest.raises(Inconsistent, match="node0 keeps no transaction history"):
        await b.read(stood)
    assert ids(await b.read(stood)) == [txid]


async def test_a_node_without_transaction_history_is_refused_at_once():
    """-32011: such a node would never show a payment."""
    b = Bench()

    def none(*_: Any) -> Any:
        raise RpcFault(-32011, "Transaction history is not available from this node")

    b.node.say["getSignaturesForAddress"] = none
    with pytest.raises(Misconfigured, match="history"):
        await b.source.open()


def test_unknown_keys_and_bad_addresses_are_misconfigured():
    chain = msgspec.structs.replace(spec("SOL"), endpoints=("http://127.0.0.1:1",))
    for change in (
        {"options": {"overlapp": 3}},
        {"options": {"overlap": 0}},
        {"options": {"batch": "many"}},
        {"receive": ("0x0000000000000000000000000000000000000000",)},
        {"receive": ("reference:x",)},
    ):
        with pytest.raises(Misconfigured):
            open_source(msgspec.structs.replace(chain, **change), SERVICES)


async def test_a_reference_key_costs_no_request_and_is_named_on_its_payment():
    """Junk that names the key as well cannot hide the payment (field notes S28): all of our lists are read."""
    b = Bench()
    key = b.sim.new_wallet()
    b.source.watch([f"reference:{key}"])
    stood = (await b.read()).end
    junk = b.sim.pay(Payment(b.sim.new_wallet(), 1, kind=f"reference:{key}"))
    failed = b.pay(ok=False, kind=f"reference:{key}")
    good = b.pay(kind=f"reference:{key}")
    b.mine(LAG)
    window = await b.read(stood)
    assert junk not in ids(window)
    assert {t.txid: (t.ok, t.references) for t in window.transfers} == {failed: (False, (key,)), good: (True, (key,))}
    assert key not in {p[0] for m, p in b.node.asked if m == "getSignaturesForAddress"}


async def test_a_token_payment_is_found_by_our_token_account():
    """It does not name our wallet: only the associated token account is in the list."""
    b = Bench()
    stood = (await b.read()).end
    usdc = b.sim.spec.assets[1]
    b.pay(5_000_000, asset_id=usdc.asset_id, memo="cw:abcdefgh")
    b.pay(7, kind="inner")
    b.mine(LAG)
    found = (await b.read(stood)).transfers
    assert [(t.index, t.asset, t.amount, t.to, t.memo) for t in found] == [
        ("0", "SOL:USDC", 5_000_000, b.us, b"cw:abcdefgh"),
        ("0.0", "SOL", 7, b.us, None),
    ]


async def test_the_block_at_our_position_is_shown_for_comparison():
    """So that the follower sees a finalized block that changed: another ledger stands behind the address."""
    b = Bench()
    stood = (await b.read()).end
    b.mine(10)
    assert (await b.read(stood)).refs[0].same(stood)
    other = BlockRef(stood.height, "another", "")
    assert not (await b.read(other)).refs[0].same(other)


# -- quorum --------------------------------------------------------------------------------------


@pytest.mark.parametrize("lie", [lambda *_: None, lambda _, o: {"slot": 1, "transaction": None, "meta": None}])
async def test_a_large_payment_waits_until_a_second_node_shows_it_as_final(lie):
    b = Bench(nodes=2, quorum={"above": {"SOL": "0.001", "USDC": "5"}, "nodes": 2})
    stood = (await b.read()).end
    b.nodes[1].say["getTransaction"] = lie
    small, usdc = b.pay(10**6), b.sim.spec.assets[1].asset_id
    b.mine(LAG)
    assert ids(await b.read(stood)) == [small], "not above the value: one node is enough"
    large, token = b.pay(10**6 + 1), b.pay(5_000_001, asset_id=usdc)
    b.mine(LAG)
    with pytest.raises(Transient, match="1 of 2 nodes"):
        await b.read(stood)
    b.nodes[1].say.clear()
    assert ids(await b.read(stood)) == [small, large, token]
    asked = [params[1]["commitment"] for method, params in b.nodes[1].asked if method == "getTransaction"]
    assert set(asked) == {"finalized"}


async def test_a_quorum_is_checked_before_anything_is_read():
    for quorum in ({"above": "1", "nodes": 1}, {"above": "much", "nodes": 2}, {"above": {"BTC": "1"}, "nodes": 2}, 7):
        with pytest.raises(Misconfigured, match="quorum"):
            Bench(quorum=quorum)
    (facts,) = await Bench(quorum={"above": "1", "nodes": 2}).source.open()
    assert any("quorum needs 2" in w for w in facts.warnings)


# -- the simulated node --------------------------------------------------------------------------


def test_slots_and_heights_are_two_counters():
    assert [slot_of(h) for h in (0, 14, 15, 29, 30)] == [0, 14, 16, 30, 32]
    assert all(height_of(slot_of(h)) == h for h in range(500))
    assert [s for s in range(50) if height_of(s) is None] == [15, 31, 47]


def test_the_simulated_node_refuses_what_a_real_one_refuses():
    b = Bench()
    txid = b.pay()
    for code, ask in (
        (-32007, lambda: b.sim.get_block(15, {"maxSupportedTransactionVersion": 0})),
        (-32004, lambda: b.sim.get_block(10_000, {"maxSupportedTransactionVersion": 0})),
        (-32015, lambda: b.sim.get_transaction(txid, {"commitment": "confirmed"})),
        (-32016, lambda: b.sim.get_signatures_for_address(b.us, {"minContextSlot": 10_000})),
        (-32602, lambda: b.sim.get_signatures_for_address(b.us, {"limit": 1_001})),
    ):
        with pytest.raises(RpcFault) as caught:
            ask()
        assert caught.value.code == code
    assert b.sim.get_transaction(txid, {"maxSupportedTransactionVersion": 0}) is None, "not final yet"


def test_the_simulated_node_lists_newest_first_between_two_signatures():
    b = Bench()
    sent = [b.pay(memo="m") for _ in range(5)]
    b.chain.submit(FakeTx("other", ()))
    b.mine(LAG)

    def listed(**options: Any) -> list[str]:
        return [f["signature"] for f in b.sim.get_signatures_for_address(b.us, options)]

    assert listed() == sent[::-1]
    assert listed(limit=2) == [sent[4], sent[3]]
    assert listed(before=sent[3]) == [sent[2], sent[1], sent[0]]
    assert listed(until=sent[1]) == [sent[4], sent[3], sent[2]]
    assert b.sim.get_signatures_for_address(b.us)[0]["memo"] == "[1] m"
