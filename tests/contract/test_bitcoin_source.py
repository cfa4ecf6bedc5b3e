"""The sources of the Bitcoin family against simulated nodes: the suite of all adapters, and what is theirs alone."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chainwatch.adapters import open_source
from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.adapters.coins import watched_of
from chainwatch.adapters.fees import Entry
from chainwatch.adapters.scripts import to_script
from chainwatch.adapters.utxo import UtxoSource
from chainwatch.clock import SystemClock
from chainwatch.config.networks import spec as known_spec
from chainwatch.devnet.bitcoin import BitcoinNode, make
from chainwatch.devnet.node import Payment
from chainwatch.errors import Inconsistent, Misconfigured, Persistent, Transient, Unreachable
from chainwatch.testing.clock import LeapingClock
from chainwatch.testing.contract import CASES, Case, missing, reading
from chainwatch.testing.replica import patiently
from chainwatch.testing.simulated import HURRIED_S, SimHarness

pytestmark = pytest.mark.network

CHAINS = {"BTC": "bitcoin", "LTC": "bitcoin", "DOGE": "bitcoin", "DASH": "bitcoin", "esplora": "esplora"}


class UtxoHarness(SimHarness):
    """A simulated node of the family; its sources may be asked for with other fields of the spec."""

    node: BitcoinNode

    def __init__(self, name: str, journal: Path | None) -> None:
        rng = random.Random(name)
        known = known_spec("BTC" if name == "esplora" else name, adapter=CHAINS[name])
        clock = LeapingClock()
        services = Services(clock=clock, random=random.Random(1), observer=SilentObserver())
        super().__init__(
            lambda: make(known, clock=clock, rng=rng, journal=journal),
            services,
            can={"memo", "outputs", "reorg", "mempool", "faults", "restart", "stranger", "send"},
        )

    async def start(self) -> None:
        """Start with one block."""
        await super().start()
        self.node.chain.mine()

    def source(self, **changes: Any) -> UtxoSource:
        """Return a new, unopened source."""
        source = open_source(msgspec.structs.replace(self.spec, **changes), self.services)
        assert isinstance(source, UtxoSource)
        return source


@contextlib.asynccontextmanager
async def harness(name: str, tmp_path: Path) -> AsyncIterator[UtxoHarness]:
    h = UtxoHarness(name, tmp_path / "chain.jsonl")
    await h.start()
    try:
        yield h
    finally:
        await h.stop()


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
async def test_contract(case: Case, name: str, tmp_path: Path) -> None:
    async with harness(name, tmp_path) as h:
        if reason := missing(case, h):
            pytest.skip(reason)
        await case(h)


# -- the mempool ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["BTC", "esplora"])
async def test_a_replaced_payment_disappears_and_never_stands_beside_its_replacement(name: str, tmp_path: Path) -> None:
    """btcpayserver/NBXplorer#421, #211: a replacement (RBF) went unnoticed."""
    async with harness(name, tmp_path) as h, reading(h) as replica:
        first = await h.pay(1000)
        await replica.settle()
        assert {t.txid for t in replica.sightings.values()} == {first}
        ours, theirs = h.spec.receive[0], h.wallet()
        second = h.node.pay_many([Payment(ours, 2000)], instead_of=first)
        await replica.settle()
        assert {t.txid for t in replica.sightings.values()} == {second}
        h.node.pay_many([Payment(theirs, 2000)], instead_of=second)  # and now to somebody else
        await replica.settle()
        assert replica.sightings == {}


async def test_an_evicted_payment_disappears_and_comes_back_with_its_first_time(tmp_path: Path) -> None:
    async with harness("BTC", tmp_path) as h, reading(h) as replica:
        txid = await h.pay(1000)
        await replica.settle()
        (seen,) = replica.sightings.values()
        tx = h.node.chain.mempool[txid]
        h.node.chain.drop(txid)
        await replica.settle()
        assert replica.sightings == {}
        h.node.chain.submit(tx)
        await replica.settle()
        assert [t.key for t in replica.sightings.values()] == [seen.key]


async def test_transactions_of_the_mempool_are_fetched_once(tmp_path: Path) -> None:
    async with harness("BTC", tmp_path) as h, reading(h) as replica:
        for n in range(5):
            await h.pay(1000 + n, to=h.wallet())
        await h.pay(1000)
        for _ in range(4):
            await replica.settle()
        assert h.node.requests["getrawtransaction"] == 6
        await h.mine()
        await replica.settle()
        backend = replica.source.backend  # type: ignore[union-attr]
        assert backend._mempool._known == {}, "what left the mempool is forgotten"


@pytest.mark.parametrize("kind", ["BTC", "esplora"])
async def test_a_payment_that_pays_miners_too_little_is_marked_until_it_is_mined(kind: str, tmp_path: Path) -> None:
    """A sighting that will never be mined must keep no seat: it costs its sender nothing."""
    async with harness(kind, tmp_path) as h, reading(h) as replica:
        good = await h.pay(1000)
        h.node.fee_rates = dict.fromkeys((poor := await h.pay(2000), just := await h.pay(3000)), 1900)
        h.node.fee_rates[just] = 2000
        await replica.settle()
        flags = {t.txid: t.flags for t in replica.sightings.values()}
        assert flags == {good: (), poor: ("low_fee",), just: ()}
        await h.mine()
        await replica.settle()
        assert {t.flags for t in replica.facts.values()} == {()}


@pytest.mark.parametrize(
    ("answer", "enough"),
    [
        ({"vsize": 200, "fees": {"base": 0.000004}}, True),
        ({"vsize": 200, "fees": {"base": 0.00000399}}, False),
        ({"vsize": 200, "fees": {"base": 0.0004, "ancestor": 0.0004}, "ancestorsize": 100_000}, False),  # a poor parent
        ({"size": 200, "fee": 0.000004}, True),  # Dogecoin 1.14
        ({"fees": {"base": 1}}, False),
        ({}, False),
    ],
)
def test_what_a_payment_pays_is_read_from_every_core(answer: Any, enough: bool) -> None:
    assert msgspec.json.decode(msgspec.json.encode(answer), type=Entry).pays(2000, 8) is enough


async def test_a_snapshot_across_a_new_block_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evicted and mined look alike unless the tip stood still."""
    async with harness("BTC", tmp_path) as h:
        source = h.source()
        await source.open()
        view = await source.view()
        await h.pay(1000)
        assert await view.mempool() is not None
        tips: list[str] = []
        tip = source.backend.tip

        async def told(endpoint: Any) -> str:
            return tips.pop(0) if tips else await tip(endpoint)

        monkeypatch.setattr(source.backend, "tip", told)
        tips = [view.head.hash, "00" * 32]
        assert await view.mempool() is None, "a block came while it was read"
        tips = ["00" * 32, view.head.hash]
        assert await view.mempool() is None, "it was read on another branch"
        assert await view.mempool() is not None
        await h.mine()
        assert await view.mempool() is None
        await source.close()


async def test_conflicting_answers_of_an_indexer_tell_nothing(tmp_path: Path) -> None:
    """Two look-ups are two moments: both sides of a double spend must never be shown together."""
    async with harness("esplora", tmp_path) as h:
        ours, other = h.spec.receive[0], h.wallet()
        source = h.source()
        source.watch([other])
        await source.open()
        view = await source.view()
        first = await h.pay(1000)
        old = h.node.chain.mempool[first]
        h.node.pay_many([Payment(other, 1000)], instead_of=first)
        h.node.chain.submit(old)  # the indexer has not noticed yet
        assert await view.mempool() is None
        h.node.chain.drop(first)
        found = await view.mempool()
        assert found is not None
        assert [t.to for t in found] == [other]
        assert ours != other
        await source.close()


async def test_an_indexer_is_asked_about_old_addresses_for_ever_and_ever_more_rarely(tmp_path: Path) -> None:
    """A request each: new ones are looked up every time, old ones in turn, those with a payment until it is mined."""
    async with harness("esplora", tmp_path) as h:
        source = h.source(options={"mempool_addresses": 4})
        every = [h.wallet() for _ in range(40)]
        source.watch(every)
        await source.open()
        view = await source.view()
        asked: Counter[str] = Counter()
        get = source.backend._get  # type: ignore[attr-defined]

        async def counted(endpoint: Any, path: str, result: Any) -> Any:
            asked[path.split("/")[2]] += path.startswith("/address/")
            return await get(endpoint, path, result)

        source.backend._get = counted  # type: ignore[attr-defined]
        assert await view.mempool() == []
        assert +asked == dict.fromkeys([*h.spec.receive, *every], 1), "at first all: some may have been on their way"
        asked.clear()
        for _ in range(512):
            assert await view.mempool() == []
        times = [asked[address] for address in every[::-1]]
        assert times[:4] == [512] * 4
        assert all(times[4 * n : 4 * n + 4] == [512 >> n] * 4 for n in range(9))
        assert min(times) >= 1
        assert sum(times) < 512 * 8
        old = every[8]
        await h.pay(1000, to=old)
        while not (found := await view.mempool()):
            pass
        assert found[0].to == old
        assert await view.mempool() == found, "it stays until it is mined or gone"
        await source.close()


# -- what a node may say ---------------------------------------------------------------------------


async def test_a_node_that_starts_is_waited_for(tmp_path: Path) -> None:
    """Error -28: bitcoind answers, and knows nothing yet."""
    async with harness("BTC", tmp_path) as h:
        source = h.source()
        await source.open()
        h.faults.omit = frozenset({"ready"})
        with pytest.raises(Transient, match="is starting"):
            await source.view()
        h.faults.omit = frozenset()
        assert (await source.view()).head.height == 1
        await source.close()
        h.faults.omit = frozenset({"ready"})
        fresh = h.source()
        with pytest.raises(Unreachable, match="is starting"):
            await fresh.open()
        await fresh.close()


async def test_a_pruned_node_is_named_and_nothing_is_skipped(tmp_path: Path) -> None:
    """btcpayserver/btcpayserver-docker#185, btcpayserver/btcpayserver#4507: blocks were skipped, payments lost."""
    async with harness("BTC", tmp_path) as h:
        source = h.source()
        h.faults.omit = frozenset({"blocks"})
        (facts,) = await source.open()
        assert any("pruned" in w for w in facts.warnings)
        view = await source.view()
        with pytest.raises(Persistent, match=r"pruned .* Nothing is skipped"):
            await view.blocks(0, 1)
        await source.close()


async def test_a_block_with_another_blocks_bytes_is_refused(tmp_path: Path) -> None:
    async with harness("BTC", tmp_path) as h:
        await h.pay(5000)
        await h.mine(2)
        one, two = (h.node.chain.at(n) for n in (1, 2))
        assert one is not None
        assert two is not None
        source = h.source()
        await source.open()
        view = await source.view()
        good = h.node._blocks[two.ref.hash]
        h.node._blocks[two.ref.hash] = h.node._blocks[one.ref.hash]
        with pytest.raises(Inconsistent, match="asked for block"):
            await view.blocks(2, 2)
        amount = good.replace((5000).to_bytes(8, "little"), (500000).to_bytes(8, "little"))
        assert amount != good
        h.node._blocks[two.ref.hash] = amount
        with pytest.raises(Inconsistent, match="not those of its header"):
            await view.blocks(2, 2)
        h.node._blocks[two.ref.hash] = good
        assert (await view.blocks(2, 2))[0].transfers[0].amount == 5000
        await source.close()


async def test_a_block_that_left_the_chain_is_under_no_chainlock(tmp_path: Path) -> None:
    async with harness("DASH", tmp_path) as h:
        await h.mine(3)
        old = h.node.chain.head.ref.hash
        h.node.chain.reorg(1, extra=2)
        header = h.node.methods()["getblockheader"](old)
        assert (header["confirmations"], header["chainlock"]) == (-1, False)
        best = h.node.chain.final.ref.hash
        assert h.node.methods()["getblockheader"](best)["chainlock"] is True


async def test_the_block_under_a_chainlock_is_final(tmp_path: Path) -> None:
    async with harness("DASH", tmp_path) as h:
        source = h.source()
        await source.open()
        await h.mine(3)
        view = await source.view()
        assert view.final is not None
        assert view.final.height == view.head.height - 1
        assert view.final.same(await view.header(view.final.height))
        await source.close()
    async with harness("BTC", tmp_path / "btc") as h:
        source = h.source()
        await source.open()
        assert (await source.view()).final is None
        await source.close()


async def test_a_reward_to_us_is_locked(tmp_path: Path) -> None:
    """It cannot be spent for 100 blocks, and before BIP-30 its id could come twice."""
    async with harness("BTC", tmp_path) as h:
        raw = h.node._blocks[h.node.chain.head.ref.hash]
        miner = raw[raw.index(b"\x76\xa9\x14") :][:25]
        source = h.source()
        source.watched.scripts[miner] = "miner"
        await source.open()
        (block,) = await (await source.view()).blocks(1, 1)
        (reward,) = block.transfers
        assert reward.flags == ("locked",)
        await source.close()


# -- several nodes ---------------------------------------------------------------------------------


async def test_a_node_of_another_network_among_good_ones_stops_the_start(tmp_path: Path) -> None:
    async with harness("BTC", tmp_path / "a") as h, harness("BTC", tmp_path / "b") as other:
        other.faults.wrong_chain = True
        source = h.source(endpoints=(h.node.url, other.node.url))
        with pytest.raises(Misconfigured, match="another network"):
            await source.open()
        await source.close()


async def test_the_network_is_checked_again_when_a_node_comes_back(tmp_path: Path) -> None:
    async with harness("BTC", tmp_path) as h:
        source = h.source()
        await source.open()
        source.rpc.fail(source.rpc.endpoints[0], "lagging")
        h.faults.wrong_chain = True
        with pytest.raises(Inconsistent, match="another network"):
            await source.view()
        await source.close()


async def mirror_of(h: UtxoHarness) -> BitcoinNode:
    """Start a second node that shows the same chain."""
    node = make(h.node.spec, clock=h.node.clock, rng=random.Random(5))
    node.chain, node._blocks, node._txs = h.node.chain, h.node._blocks, h.node._txs
    await node.start()
    return node


async def test_a_node_that_came_back_as_another_network_is_left_for_a_good_one(tmp_path: Path) -> None:
    async with harness("BTC", tmp_path) as h:
        mirror = await mirror_of(h)
        source = h.source(endpoints=(h.node.url, mirror.url))
        await source.open()
        source.rpc.endpoints[0].checked = False  # as after an outage
        h.faults.wrong_chain = True
        with pytest.raises(Transient, match="another network"):
            await source.view()
        assert (await source.view()).endpoint == mirror.url
        await source.close()
        await mirror.stop()


async def test_a_large_payment_waits_for_a_second_node_that_has_its_block(tmp_path: Path) -> None:
    async with harness("BTC", tmp_path) as h:
        mirror = await mirror_of(h)
        options = {"quorum": {"above": "0.001", "nodes": 2}}
        source = h.source(endpoints=(h.node.url, mirror.url), options=options)
        await source.open()
        await h.pay(100_000)
        await h.mine()
        mirror.faults.stale_by = 5  # the second node has not seen it yet
        view = await source.view()
        assert len((await view.blocks(2, 2))[0].transfers) == 1, "not above the value: one node is enough"
        await h.pay(60_000)
        await h.pay(60_000)
        await h.mine()
        view = await source.view()
        with pytest.raises(Transient, match="1 of 2 nodes"):
            await view.blocks(3, 3)
        mirror.faults.stale_by = 0
        assert len((await view.blocks(3, 3))[0].transfers) == 2
        await source.close()
        hurried = h.source(endpoints=(h.node.url, mirror.url), options={**options, "timeout": HURRIED_S})
        await patiently(hurried.open)
        view = await patiently(hurried.view)
        mirror.faults.hang = True

        async def read() -> str:
            try:
                return f"believed: {await view.blocks(3, 3)}"
            except Transient as error:
                if "1 of 2 nodes" in str(error):
                    return "doubted"
                raise  # the first node was not quick enough either

        assert await patiently(read) == "doubted"
        await hurried.close()
        await mirror.stop()


async def test_a_block_that_only_bears_an_honest_blocks_name_is_no_vote(tmp_path: Path) -> None:
    """Dash's ids (X11) are the nodes' word: one that puts a payment into a block needs others that show the payment."""
    async with harness("DASH", tmp_path) as h:
        mirror = await mirror_of(h)
        await h.mine()
        honest = h.node.chain.head.ref
        ours = to_script(h.spec.receive[0], watched_of(h.spec).prefixes)
        forged = h.node._builder.payment(99, [(10**12, ours)], b"event:1:wallet:alice")
        _, raw = h.node._builder.block(honest.height, honest.parent, [forged], 1_760_000_000, 1)
        h.node._blocks = {**h.node._blocks, honest.hash: raw}
        options = {"timeout": 1.5, "quorum": {"above": "1", "nodes": 2}}
        source = h.source(endpoints=(h.node.url, mirror.url), options=options)
        await source.open()
        view = await source.view()
        with pytest.raises(Transient, match="1 of 2 nodes"):
            await view.blocks(honest.height, honest.height)
        mirror._blocks = h.node._blocks
        (block,) = await view.blocks(honest.height, honest.height)
        assert [t.amount for t in block.transfers] == [10**12]
        await source.close()
        await mirror.stop()


async def test_a_quorum_without_enough_endpoints_is_pointed_out(tmp_path: Path) -> None:
    async with harness("BTC", tmp_path) as h:
        source = h.source(options={"quorum": {"above": "0.001", "nodes": 2}})
        (facts,) = await source.open()
        assert any("quorum needs 2" in w for w in facts.warnings)
        await source.close()


async def test_a_lagging_node_is_left_for_one_that_does_not_lag(tmp_path: Path) -> None:
    async with harness("BTC", tmp_path) as h:
        await h.mine(20)
        mirror = await mirror_of(h)
        source = h.source(endpoints=(h.node.url, mirror.url))
        await source.open()
        assert (await source.view()).endpoint == h.node.url
        h.faults.stale_by = 10
        with pytest.raises(Transient, match="lags"):
            await source.view()
        view = await source.view()
        assert (view.endpoint, view.head.height) == (mirror.url, 21)
        await source.close()
        await mirror.stop()


# -- waking up ---------------------------------------------------------------------------------------


async def test_a_zmq_announcement_wakes_the_loop(tmp_path: Path) -> None:
    zmq = pytest.importorskip("zmq.asyncio", reason="pyzmq is not installed")
    context = zmq.Context()
    publisher = context.socket(1)  # PUB
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    async with harness("BTC", tmp_path) as h:
        h.services = Services(clock=SystemClock(), random=random.Random(1), observer=SilentObserver())
        source = h.source(options={"zmq": f"tcp://127.0.0.1:{port}"})
        await source.open()
        waiting = asyncio.create_task(source.wait(3600))
        while not waiting.done():  # a subscription takes a moment to arrive
            await publisher.send_multipart([b"hashblock", bytes(32), b"\0\0\0\0"])
            await asyncio.wait({waiting}, timeout=0.02)
        await waiting
        await source.wait(0.01)  # and without news, the time passes
        await source.close()
    publisher.close(linger=0)
    context.term()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confirmations": 3}, "confirmations"),
        ({"timeout": 0}, "timeout"),
        ({"login_file": "/nowhere/at/all"}, "login_file"),
        ({"zmq": "localhost"}, "zmq"),
        ({"p2pkh": "x"}, "p2pkh"),
        ({"quorum": {"above": "1", "nodes": 1}}, "2 or more"),
        ({"quorum": {"above": "much", "nodes": 2}}, "decimal"),
        ({"xpub": "xprv" + "9" * 107}, "private key"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    services = Services(clock=LeapingClock(), random=random.Random(1), observer=SilentObserver())
    spec = known_spec("BTC", endpoints=("http://127.0.0.1:8332",), options=options)
    with pytest.raises(Misconfigured, match=message):
        open_source(spec, services)


def test_an_address_of_another_network_is_misconfigured() -> None:
    services = Services(clock=LeapingClock(), random=random.Random(1), observer=SilentObserver())
    for address in ("tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", "LM2WMpR1Rp6j3Sa59cMXMs1SPzj9eXpGc1", "nonsense"):
        with pytest.raises(Misconfigured):
            open_source(known_spec("BTC", endpoints=("http://127.0.0.1:1",), receive=(address,)), services)
