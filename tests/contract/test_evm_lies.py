"""An EVM node that errs or lies delays us, and never makes us see money that is not there."""

import copy
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from chainwatch.adapters import evm_view
from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.adapters.evm import EvmSource
from chainwatch.adapters.evm_types import TRANSFER_TOPIC, ZERO_ADDRESS, ZERO_HASH, address_topic
from chainwatch.clock import SystemClock
from chainwatch.config.networks import spec
from chainwatch.devnet import evm as devnet
from chainwatch.devnet.node import Method, Payment, RpcFault
from chainwatch.errors import ChainwatchError, Inconsistent, Misconfigured, Transient, Unreachable
from chainwatch.model import Transfer
from chainwatch.testing.replica import Replica

pytestmark = pytest.mark.network

Twist = Callable[[Any, tuple[Any, ...]], Any]

MEMO = "event:7:wallet:0x00000000219ab540356cBB839Cbe05303d7705Fa"


class Liar(devnet.EvmNode):
    """A simulated node whose answers a test bends: method name to function(answer, params)."""

    twists: dict[str, Twist]

    def methods(self) -> dict[str, Method]:
        honest = dict(super().methods())
        for name, twist in self.twists.items():
            honest[name] = self._bent(honest.get(name, lambda *_: None), twist)
        return honest

    def _bent(self, method: Method, twist: Twist) -> Method:
        return lambda *params: twist(copy.deepcopy(method(*params)), params)


class Counts(SilentObserver):
    """Remembers what was counted."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}

    def count(self, chain: str, what: str, n: int = 1) -> None:
        self.seen[what] = self.seen.get(what, 0) + n


class Scene:
    """A liar, a source that follows it, and what a correct reader of the source knows."""

    def __init__(self, liars: list[Liar], **options: Any) -> None:
        self.liars, self.liar, self.counts = liars, liars[0], Counts()
        self.spec = msgspec.structs.replace(
            spec("ETH"),
            endpoints=tuple(x.url for x in liars),
            receive=self.liar.receive,
            options={"timeout": 1.0, **options},
        )
        services = Services(clock=SystemClock(), random=random.Random(3), observer=self.counts)
        self.source = EvmSource(self.spec, services)
        self.replica = Replica(self.source)
        self.usdc = self.spec.assets[1].asset_id or ""

    def pay(self, amount: int = 10**16, **more: Any) -> str:
        return self.liar.pay(Payment(self.spec.receive[0], amount, **more))

    async def read(self) -> list[Transfer]:
        """Mine and read."""
        self.mine()
        await self.replica.sync()
        return list(self.replica.facts.values())

    def mine(self) -> None:
        block = self.liar.chain.mine()
        for other in self.liars[1:]:
            if other.chain is not self.liar.chain:
                other.chain.mine(block.txs)


@asynccontextmanager
async def scene(nodes: int = 1, *, start: bool = True, **options: Any) -> AsyncIterator[Scene]:
    clock = SystemClock()
    first = devnet.make(spec("ETH"), clock=clock, rng=random.Random(1))
    liars = []
    for _ in range(nodes):  # several nodes of one chain, each with its own tongue
        liar = Liar(spec("ETH"), clock=clock, rng=random.Random(2), chain=first.chain)
        liar.twists = {}
        await liar.start()
        liars.append(liar)
    made = Scene(liars, **options)
    try:
        if start:
            await made.source.open()
            await made.replica.settle()
        yield made
    finally:
        await made.source.close()
        for liar in liars:
            await liar.stop()


def with_logs(change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Twist:
    """Bend every log of a log search."""
    return lambda logs, _: [x for log in logs if (x := change(log)) is not None]


def in_receipt(change: Callable[[dict[str, Any]], Any]) -> Twist:
    """Bend a receipt, when there is one."""

    def twist(receipt: Any, _: Any) -> Any:
        if receipt is not None:
            change(receipt)
        return receipt

    return twist


def in_block(change: Callable[[dict[str, Any]], Any]) -> Twist:
    """Bend full blocks."""

    def twist(block: Any, params: Any) -> Any:
        if block is not None and params[1]:
            change(block)
        return block

    return twist


# -- unknown is not success ----------------------------------------------------------------------


async def test_a_missing_receipt_is_waited_for() -> None:
    """Taking a transaction for good without its receipt credits failed ones (bitcart's fail-open)."""
    async with scene() as s:
        s.liar.faults.omit = frozenset({"receipts"})
        txid = s.pay()
        with pytest.raises(Transient):
            await s.read()
        assert s.replica.of(txid) == []
        s.liar.faults.omit = frozenset()
        await s.replica.settle()
        assert [t.ok for t in s.replica.of(txid)] == [True]


async def test_a_receipt_without_status_does_not_tell() -> None:
    async with scene() as s:
        s.liar.twists["eth_getTransactionReceipt"] = in_receipt(lambda r: r.pop("status"))
        s.pay()
        assert [t.ok for t in await s.read()] == [None]


async def test_a_failed_token_call_has_no_log_and_pays_nothing() -> None:
    async with scene() as s:
        s.pay(500, asset_id=s.usdc, ok=False)
        assert await s.read() == []


async def test_no_finalized_block_means_nothing_is_final() -> None:
    """Never fall back from final to head."""
    async with scene(start=False) as s:
        s.liar.faults.omit = frozenset({"finalized"})
        (facts,) = await s.source.open()
        assert facts.final is None
        assert any("final" in warning for warning in facts.warnings)
        assert (await s.source.view()).final is None


# -- contradictions ------------------------------------------------------------------------------

CONTRADICTIONS: dict[str, tuple[str, Twist]] = {
    "another block's receipt": (
        "eth_getTransactionReceipt",
        in_receipt(lambda r: r.update(blockHash="0x" + "22" * 32)),
    ),
    "another transaction's receipt": (
        "eth_getTransactionReceipt",
        in_receipt(lambda r: r.update(transactionHash="0x" + "22" * 32)),
    ),
    "a receipt with removed logs": (
        "eth_getTransactionReceipt",
        in_receipt(lambda r: [log.update(removed=True) for log in r["logs"]]),
    ),
    "a status that is neither": ("eth_getTransactionReceipt", in_receipt(lambda r: r.update(status="0x2"))),
    "a number for a status": ("eth_getTransactionReceipt", in_receipt(lambda r: r.update(status=1))),
    "a block of another height": ("eth_getBlockByNumber", in_block(lambda b: b.update(number="0x63"))),
    "a block with another parent": ("eth_getBlockByNumber", in_block(lambda b: b.update(parentHash=ZERO_HASH))),
    "a height of another kind": ("eth_getBlockByNumber", in_block(lambda b: b.update(number=1))),
    "no height": ("eth_getBlockByNumber", in_block(lambda b: b.update(number=None))),
    "a list that lacks a transaction": ("eth_getBlockByNumber", in_block(lambda b: b["transactions"].pop(0))),
    "a list with one twice": (
        "eth_getBlockByNumber",
        in_block(lambda b: b["transactions"].append(b["transactions"][0])),
    ),
    "a count that is too high": ("eth_getBlockTransactionCountByHash", lambda *_: "0x63"),
    "a number for a value": (
        "eth_getBlockByNumber",
        in_block(lambda b: [tx.update(value=10**16) for tx in b["transactions"]]),
    ),
    "a decimal for a value": (
        "eth_getBlockByNumber",
        in_block(lambda b: [tx.update(value="10000000000000000") for tx in b["transactions"]]),
    ),
    "a value of 257 bits": (
        "eth_getBlockByNumber",
        in_block(lambda b: [tx.update(value="0x1" + "0" * 64) for tx in b["transactions"]]),
    ),
    "a value with an underscore": (
        "eth_getBlockByNumber",
        in_block(lambda b: [tx.update(value="0x1_0") for tx in b["transactions"]]),
    ),
    "a log index twice": ("eth_getLogs", lambda logs, _: logs + logs),
    "a removed log": ("eth_getLogs", with_logs(lambda log: log | {"removed": True})),
    "a log of another block": ("eth_getLogs", with_logs(lambda log: log | {"blockHash": "0x" + "22" * 32})),
    "a log that its receipt lacks": ("eth_getLogs", with_logs(lambda log: log | {"data": "0x" + "f" * 64})),
    "a log of a transaction that nobody listed": (
        "eth_getLogs",
        with_logs(lambda log: log | {"transactionHash": "0x" + "22" * 32}),
    ),
    "half a bloom": ("eth_getBlockByNumber", in_block(lambda b: b.update(logsBloom="0x00"))),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
async def test_a_contradiction_is_transient_and_nothing_is_believed(name: str) -> None:
    method, twist = CONTRADICTIONS[name]
    async with scene() as s:
        coin, token = s.pay(), s.pay(500, asset_id=s.usdc)
        s.mine()
        s.liar.twists[method] = twist
        with pytest.raises(Transient):
            await s.read()
        assert s.replica.facts == {}
        s.liar.twists.clear()
        await s.replica.settle()
        assert [t.amount for t in (*s.replica.of(coin), *s.replica.of(token))] == [10**16, 500]


async def test_a_reorg_between_view_and_blocks_is_noticed() -> None:
    async with scene() as s:
        s.pay()
        s.mine()
        view = await s.source.view()
        s.liar.chain.reorg(1, extra=0)
        with pytest.raises(Inconsistent):
            await view.blocks(view.head.height, view.head.height)


# -- log searches --------------------------------------------------------------------------------


@pytest.mark.parametrize("omit", [{"logs"}, {"logs", "bloom"}])
async def test_a_log_search_that_finds_nothing_is_not_believed_against_the_bloom(omit: set[str]) -> None:
    """Load-balanced nodes answer an empty list for a block whose logs they have not indexed yet."""
    async with scene() as s:
        s.liar.faults.omit = frozenset(omit)
        s.pay(500, asset_id=s.usdc, memo=MEMO)
        (found,) = await s.read()
        assert (found.amount, found.asset, found.memo) == (500, "ETH:USDC", MEMO.encode())
        assert s.counts.seen["log_search_incomplete"] >= 1


async def test_nodes_without_block_receipts_are_asked_for_each_one() -> None:
    def unknown(*_: Any) -> Any:
        raise RpcFault(-32601, "the method eth_getBlockReceipts does not exist")

    async with scene() as s:
        s.liar.faults.omit = frozenset({"logs"})
        s.liar.twists["eth_getBlockReceipts"] = unknown
        s.pay(500, asset_id=s.usdc)
        assert [t.amount for t in await s.read()] == [500]


async def test_a_refused_range_is_halved() -> None:
    """Public nodes bound ranges and results, each with its own words."""

    def refuse(logs: Any, params: Any) -> Any:
        query = params[0]
        if "fromBlock" in query and int(query["toBlock"], 16) - int(query["fromBlock"], 16) > 3:
            raise RpcFault(-32005, "query returned more than 10000 results")
        return logs

    async with scene() as s:
        s.liar.twists["eth_getLogs"] = refuse
        txids = []
        for amount in range(1, 17):
            txids.append(s.pay(amount, asset_id=s.usdc))
            s.mine()
        await s.replica.sync()
        assert [s.replica.of(t)[0].amount for t in txids] == list(range(1, 17))


async def test_many_addresses_are_searched_for_by_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evm_view, "MAX_TOPICS", 3)
    async with scene() as s:
        s.source.watch(s.liar.new_wallet() for _ in range(10))
        s.pay(500, asset_id=s.usdc)
        assert [t.amount for t in await s.read()] == [500]


# -- look-alikes ---------------------------------------------------------------------------------


def forged(s: Scene, **changes: Any) -> None:
    """Bend the one log of the block the same way in search and receipt: the node is honest, the log is odd."""

    def bend(log: dict[str, Any]) -> dict[str, Any]:
        return log | changes

    s.liar.twists["eth_getLogs"] = with_logs(bend)
    s.liar.twists["eth_getTransactionReceipt"] = in_receipt(lambda r: r.update(logs=[bend(log) for log in r["logs"]]))
    s.liar.twists["eth_getBlockReceipts"] = lambda receipts, _: [
        r | {"logs": [bend(log) for log in r["logs"]]} for r in receipts
    ]


@pytest.mark.parametrize(
    "name",
    ["another contract", "an NFT", "nothing indexed", "no amount", "two words", "another receiver", "a dirty topic"],
)
async def test_a_look_alike_log_pays_nothing(name: str) -> None:
    async with scene() as s:
        ours = address_topic(s.spec.receive[0].lower())
        payer = address_topic("0x" + "ab" * 20)
        changes: dict[str, dict[str, Any]] = {
            "another contract": {"address": "0x" + "cd" * 20},
            "an NFT": {"topics": [TRANSFER_TOPIC, payer, ours, "0x" + "0" * 63 + "7"], "data": "0x"},
            "nothing indexed": {"topics": [TRANSFER_TOPIC], "data": payer + ours[2:] + "0" * 63 + "7"},
            "no amount": {"data": "0x" + "0" * 64},
            "two words": {"data": "0x" + "0" * 127 + "7"},
            "another receiver": {"topics": [TRANSFER_TOPIC, payer, address_topic("0x" + "ef" * 20)]},
            "a dirty topic": {"topics": [TRANSFER_TOPIC, payer, "0xff" + ours[4:]]},
        }
        s.pay(500, asset_id=s.usdc)
        forged(s, **changes[name])
        assert await s.read() == []


async def test_a_zero_payment_is_none() -> None:
    async with scene() as s:
        s.pay(0, memo=MEMO)
        s.pay(0, asset_id=s.usdc, memo=MEMO)
        assert await s.read() == []


# -- memos ---------------------------------------------------------------------------------------


async def test_call_data_to_a_contract_is_no_memo_of_an_internal_payment() -> None:
    async with scene(traces=True) as s:
        s.liar.pay_many([Payment(s.spec.receive[0], 5, memo=MEMO, kind="internal")])
        (found,) = await s.read()
        assert (found.index, found.memo) == ("t0", None)


async def test_two_payments_in_one_transaction_have_no_memo() -> None:
    """One memo cannot say whom each of two payments is for."""
    async with scene() as s:
        s.liar.pay_many([Payment(s.spec.receive[0], 5, asset_id=s.usdc, memo=MEMO)] * 2)
        assert [(t.index, t.memo) for t in await s.read()] == [("l0", None), ("l1", None)]


async def test_a_memo_behind_transfer_from_is_read() -> None:
    async with scene() as s:
        ours = address_topic(s.spec.receive[0].lower())[2:]
        data = "0x23b872dd" + "0" * 64 + ours + f"{500:064x}" + MEMO.encode().hex()
        s.liar.twists["eth_getBlockByNumber"] = in_block(lambda b: [t.update(input=data) for t in b["transactions"]])
        s.pay(500, asset_id=s.usdc)
        assert [t.memo for t in await s.read()] == [MEMO.encode()]


@pytest.mark.parametrize(
    "data",
    ["0xa9059cbb" + "0" * 128 + "6d656d6f", "0xdeadbeef" + "0" * 128 + "6d656d6f", "0xa9059cbb", "0x"],
    ids=["another receiver", "another method", "arguments cut", "nothing"],
)
async def test_what_is_no_transfer_to_us_carries_no_memo(data: str) -> None:
    async with scene() as s:
        s.liar.twists["eth_getBlockByNumber"] = in_block(lambda b: [t.update(input=data) for t in b["transactions"]])
        s.pay(500, asset_id=s.usdc)
        assert [t.memo for t in await s.read()] == [None]


async def test_a_memo_of_any_bytes_arrives() -> None:
    async with scene() as s:
        data = "0x" + bytes(range(256)).hex() * 8
        s.liar.twists["eth_getBlockByNumber"] = in_block(lambda b: [t.update(input=data) for t in b["transactions"]])
        s.pay()
        assert [t.memo for t in await s.read()] == [bytes(range(256)) * 8]


# -- traces --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["debug_traceBlockByHash", "trace_block"])
async def test_internal_payments_are_seen_in_both_dialects(dialect: str) -> None:
    def unknown(*_: Any) -> Any:
        raise RpcFault(-32601, "method not found")

    async with scene(start=False, traces=True) as s:
        s.liar.chain.mine()
        if dialect == "trace_block":
            s.liar.twists["debug_traceBlockByHash"] = unknown
        await s.source.open()
        await s.replica.settle()
        paid = s.liar.pay_many([Payment(s.spec.receive[0], n, kind="internal") for n in (5, 6)])
        undone = s.liar.pay_many([Payment(s.spec.receive[0], n, kind="internal", ok=False) for n in (5, 6)])
        await s.read()
        assert [(t.index, t.amount, t.ok) for t in s.replica.of(paid)] == [("t0", 5, True), ("t1", 6, True)]
        assert s.replica.of(undone) == []


async def test_traces_without_a_node_that_has_them_are_misconfigured() -> None:
    def unknown(*_: Any) -> Any:
        raise RpcFault(-32601, "method not found")

    async with scene(start=False, traces=True) as s:
        s.liar.chain.mine()
        s.liar.twists |= {"debug_traceBlockByHash": unknown, "trace_block": unknown}
        with pytest.raises(Misconfigured, match="traces"):
            await s.source.open()


@pytest.mark.parametrize("dialect", ["debug_traceBlockByHash", "trace_block"])
async def test_a_block_whose_traces_are_cut_is_read_again(dialect: str) -> None:
    async with scene(traces=True) as s:
        s.source._chain.tracers = dict.fromkeys([e.name for e in s.source._chain.rpc.endpoints], dialect)
        s.liar.twists[dialect] = lambda traces, _: traces[:-1]
        s.liar.pay_many([Payment(s.spec.receive[0], 5)])
        with pytest.raises(Inconsistent):
            await s.read()


# -- several nodes -------------------------------------------------------------------------------


async def test_a_node_of_another_chain_is_named_with_both_ids() -> None:
    async with scene(2, start=False) as s:
        s.liars[1].faults.wrong_chain = True
        with pytest.raises(Misconfigured, match=r"127\.0\.0\.1:\d+.* chain id 2, not 1"):
            await s.source.open()


async def test_a_node_that_turns_into_another_chain_is_not_followed() -> None:
    """A load balancer's new backend, say."""
    async with scene() as s:
        s.liar.faults.wrong_chain = True
        s.pay()
        with pytest.raises(Inconsistent):
            await s.read()
        assert s.replica.facts == {}


async def test_failover_goes_on_with_the_other_node() -> None:
    async with scene(2) as s:
        s.liars[0].faults.status = 503
        s.pay()
        s.mine()
        await s.replica.settle()
        assert [t.amount for t in s.replica.facts.values()] == [10**16]


async def test_one_dead_endpoint_does_not_stop_the_start() -> None:
    async with scene(2, start=False) as s:
        s.liars[0].faults.status = 503
        assert len(await s.source.open()) == 1


async def test_no_endpoint_at_all_is_unreachable() -> None:
    async with scene(1, start=False) as s:
        s.liar.faults.status = 503
        with pytest.raises(Unreachable):
            await s.source.open()


QUORUM = {"quorum": {"above": "1.0", "nodes": 2}}


async def test_a_large_payment_waits_until_enough_nodes_confirm_it() -> None:
    async with scene(2, **QUORUM) as s:
        s.liars[1].twists["eth_getTransactionReceipt"] = lambda *_: None
        small, large = s.pay(10**18), s.pay(10**18 + 1)
        with pytest.raises(Transient, match="1 of 2"):
            await s.read()
        assert s.replica.of(large) == s.replica.of(small) == []
        s.liars[1].twists.clear()
        await s.replica.settle()
        assert [t.amount for t in (*s.replica.of(small), *s.replica.of(large))] == [10**18, 10**18 + 1]


@pytest.mark.parametrize("field", ["status", "blockHash"])
async def test_a_node_that_disagrees_does_not_confirm(field: str) -> None:
    lie = {"status": "0x0", "blockHash": "0x" + "22" * 32}[field]
    async with scene(2, **QUORUM) as s:
        s.liars[1].twists["eth_getTransactionReceipt"] = in_receipt(lambda r: r.update({field: lie}))
        s.pay(2 * 10**18)
        with pytest.raises(Transient, match="1 of 2"):
            await s.read()


async def test_a_small_payment_asks_nobody_else() -> None:
    async with scene(2, **QUORUM) as s:
        before = s.liars[1].requests.get("eth_getTransactionReceipt", 0)
        s.pay(10**18)
        assert len(await s.read()) == 1
        assert s.liars[1].requests.get("eth_getTransactionReceipt", 0) == before


# -- other chains' oddities ----------------------------------------------------------------------


@pytest.mark.parametrize("counted", [True, False])
async def test_polygon_state_sync_transactions_do_not_stop_the_chain(counted: bool) -> None:
    """From and to nobody, listed by some nodes, counted by fewer, and paying in tokens of the bridge."""
    async with scene() as s:
        sync = {"from": ZERO_ADDRESS, "to": ZERO_ADDRESS}
        s.liar.twists["eth_getBlockByNumber"] = in_block(
            lambda b: [t.update(sync, value="0x0", input="0x") for t in b["transactions"][:1]]
        )
        s.liar.twists["eth_getTransactionReceipt"] = in_receipt(lambda r: r.update(sync) if r["logs"] else None)
        if not counted:
            s.liar.twists["eth_getBlockTransactionCountByHash"] = lambda count, _: hex(max(int(count, 16) - 1, 0))
        bridged = s.pay(500, asset_id=s.usdc)
        paid = s.pay()
        await s.read()
        assert [t.amount for t in (*s.replica.of(bridged), *s.replica.of(paid))] == [500, 10**16]


async def test_bsc_system_logs_without_a_block_hash_do_not_stop_the_chain() -> None:
    async with scene() as s:
        s.liar.twists["eth_getLogs"] = with_logs(lambda log: log | {"blockHash": ZERO_HASH})
        s.pay(500, asset_id=s.usdc)
        assert [t.amount for t in await s.read()] == [500]


def shout(text: str) -> str:
    return "0x" + text[2:].upper()


async def test_addresses_in_any_letter_case_are_compared_and_reported_in_eip55() -> None:
    async with scene() as s:
        s.liar.twists["eth_getBlockByNumber"] = in_block(
            lambda b: [
                t.update(to="0x" + t["to"][2:].upper(), hash=t["hash"].upper().replace("X", "x"))
                for t in b["transactions"]
            ]
        )
        s.pay()
        (found,) = await s.read()
        assert found.to == s.spec.receive[0]
        assert found.txid == found.txid.lower()


async def test_a_pending_block_on_another_parent_tells_nothing() -> None:
    async with scene(pending=True) as s:
        s.pay()
        view = await s.source.view()
        assert len(await view.mempool() or ()) == 1
        s.liar.chain.mine(())
        assert await view.mempool() is None


# -- configuration -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"options": {"trace": True}}, "trace"),
        ({"options": {"traces": "yes"}}, "traces"),
        ({"options": {"quorum": {"above": "1.0", "nodes": 2}}}, "nodes"),
        ({"options": {"quorum": {"above": "much", "nodes": 1}}}, "above"),
        ({"options": {"quorum": {"above": "1.0"}}}, "nodes"),
        ({"options": {"final_tag": "latest"}}, "final_tag"),
        ({"options": {"genesis": "0x1"}}, "genesis"),
        ({"options": {"batch": 0}}, "batch"),
        ({"options": {"timeout": 0}}, "timeout"),
        ({"receive": ("0x1234",)}, "receive"),
        ({"receive": ("dlux-tickets",)}, "receive"),
        ({"chain_id": "mainnet"}, "chain_id"),
    ],
)
def test_a_wrong_key_is_named(change: dict[str, Any], word: str) -> None:
    services = Services(clock=SystemClock(), random=random.Random(3), observer=SilentObserver())
    wrong = msgspec.structs.replace(spec("ETH"), endpoints=("http://127.0.0.1:1",), **change)
    with pytest.raises(Misconfigured, match=word) as refused:
        EvmSource(wrong, services)
    assert "ETH" in str(refused.value)
    assert isinstance(refused.value, ChainwatchError)
