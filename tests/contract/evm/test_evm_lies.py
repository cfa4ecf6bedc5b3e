"""An EVM node that errs or lies delays us, and never makes us see money that is not there."""

import random
from typing import Any

import msgspec
import pytest

from chainwatch.adapters import evm_view
from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.adapters.evm import EvmSource
from chainwatch.adapters.evm_types import ZERO_ADDRESS, ZERO_HASH
from chainwatch.clock import SystemClock
from chainwatch.config.networks import spec
from chainwatch.devnet.node import Payment, RpcFault
from chainwatch.errors import ChainwatchError, Inconsistent, Misconfigured, Transient, Unreachable
from chainwatch.model import Asset
from chainwatch.testing.evm_twists import in_block, in_receipt, with_logs
from chainwatch.testing.simulated import Twist

pytestmark = pytest.mark.network

MEMO = "event:7:wallet:0x00000000219ab540356cBB839Cbe05303d7705Fa"


# -- unknown is not success ----------------------------------------------------------------------


async def test_a_missing_receipt_is_waited_for(scene: Any) -> None:
    """Taking a transaction for good without its receipt credits failed ones (bitcart's fail-open)."""
    async with scene() as s:
        s.node.faults.omit = frozenset({"receipts"})
        txid = s.pay()
        with pytest.raises(Transient):
            await s.read()
        assert s.replica.of(txid) == []
        s.node.faults.omit = frozenset()
        await s.replica.settle()
        assert [t.ok for t in s.replica.of(txid)] == [True]


async def test_a_receipt_without_status_is_waited_for(scene: Any) -> None:
    """Written down as unknown it would stay so: nobody reads a block twice."""
    async with scene() as s:
        s.twists[0]["eth_getTransactionReceipt"] = in_receipt(lambda r: r.pop("status"))
        txid = s.pay()
        with pytest.raises(Transient, match="succeeded"):
            await s.read()
        s.twists[0].clear()
        assert [(t.txid, t.ok) for t in await s.read()] == [(txid, True)]


async def test_a_receipt_from_before_byzantium_does_not_tell(scene: Any) -> None:
    """It carries a state root where later ones have a status (EIP-658)."""
    async with scene() as s:
        s.twists[0]["eth_getTransactionReceipt"] = in_receipt(lambda r: r.update(root="0x" + "11" * 32, status=None))
        s.pay()
        assert [t.ok for t in await s.read()] == [None]


async def test_a_failed_token_call_has_no_log_and_pays_nothing(scene: Any) -> None:
    async with scene() as s:
        s.pay(500, asset_id=s.usdc, ok=False)
        assert await s.read() == []


@pytest.mark.parametrize("kind", ["token", "internal"])
async def test_what_a_failed_transaction_is_said_to_have_moved_is_failed(scene: Any, kind: str) -> None:
    """The receipt decides: a log in it, or a trace that shows no error, is no word against its status."""
    async with scene(traces=True) as s:
        s.twists[0]["eth_getTransactionReceipt"] = in_receipt(lambda r: r.update(status="0x0"))
        if kind == "token":
            s.pay(500, asset_id=s.usdc)
        else:
            s.node.pay_many([Payment(s.spec.receive[0], 500, kind="internal")])
        assert [(t.amount, t.ok) for t in await s.read()] == [(500, False)]


async def test_no_finalized_block_means_nothing_is_final(scene: Any) -> None:
    """Never fall back from final to head."""
    async with scene(start=False) as s:
        s.node.faults.omit = frozenset({"finalized"})
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
async def test_a_contradiction_is_transient_and_nothing_is_believed(scene: Any, name: str) -> None:
    method, twist = CONTRADICTIONS[name]
    async with scene() as s:
        coin, token = s.pay(), s.pay(500, asset_id=s.usdc)
        s.mine()
        s.twists[0][method] = twist
        with pytest.raises(Transient):
            await s.read()
        assert s.replica.facts == {}
        s.twists[0].clear()
        await s.replica.settle()
        assert [t.amount for t in (*s.replica.of(coin), *s.replica.of(token))] == [10**16, 500]


async def test_a_transaction_listed_twice_and_counted_twice_is_a_contradiction(scene: Any) -> None:
    async with scene() as s:
        s.twists[0]["eth_getBlockByNumber"] = in_block(lambda b: b["transactions"].append(b["transactions"][0]))
        s.twists[0]["eth_getBlockTransactionCountByHash"] = lambda *_: "0x2"
        s.pay()
        with pytest.raises(Inconsistent, match="twice"):
            await s.read()


async def test_a_payer_that_the_block_does_not_list_is_a_contradiction(scene: Any) -> None:
    """Search and receipt agree on a transaction that the block, and the count of it, know nothing of."""
    async with scene() as s:
        s.twists[0]["eth_getBlockByNumber"] = in_block(lambda b: b["transactions"].clear())
        s.twists[0]["eth_getBlockTransactionCountByHash"] = lambda *_: "0x0"
        s.pay(500, asset_id=s.usdc)
        with pytest.raises(Inconsistent, match="is not in block"):
            await s.read()


async def test_a_final_block_above_the_head_is_a_contradiction(scene: Any) -> None:
    def above(block: Any, params: Any) -> Any:
        return block | {"number": "0xffff"} if params[0] == "finalized" else block

    async with scene() as s:
        s.twists[0]["eth_getBlockByNumber"] = above
        with pytest.raises(Inconsistent, match="above the head"):
            await s.source.view()


async def test_a_reorg_between_view_and_blocks_is_noticed(scene: Any) -> None:
    async with scene() as s:
        s.pay()
        s.mine()
        view = await s.source.view()
        s.node.chain.reorg(1, extra=0)
        with pytest.raises(Inconsistent):
            await view.blocks(view.head.height, view.head.height)


# -- log searches --------------------------------------------------------------------------------


@pytest.mark.parametrize("omit", [{"logs"}, {"logs", "bloom"}])
async def test_a_log_search_that_finds_nothing_is_not_believed_against_the_bloom(scene: Any, omit: set[str]) -> None:
    """Load-balanced nodes answer an empty list for a block whose logs they have not indexed yet."""
    async with scene() as s:
        s.node.faults.omit = frozenset(omit)
        s.pay(500, asset_id=s.usdc, memo=MEMO)
        (found,) = await s.read()
        assert (found.amount, found.asset, found.memo) == (500, "ETH:USDC", MEMO.encode())
        assert s.counts.seen["log_search_incomplete"] >= 1


async def test_nodes_without_block_receipts_are_asked_for_each_one(scene: Any) -> None:
    def unknown(*_: Any) -> Any:
        raise RpcFault(-32601, "the method eth_getBlockReceipts does not exist")

    async with scene() as s:
        s.node.faults.omit = frozenset({"logs"})
        s.twists[0]["eth_getBlockReceipts"] = unknown
        s.pay(500, asset_id=s.usdc)
        assert [t.amount for t in await s.read()] == [500]


async def test_a_refused_range_is_halved(scene: Any) -> None:
    """Public nodes bound ranges and results, each with its own words."""

    def refuse(logs: Any, params: Any) -> Any:
        query = params[0]
        if "fromBlock" in query and int(query["toBlock"], 16) - int(query["fromBlock"], 16) > 3:
            raise RpcFault(-32005, "query returned more than 10000 results")
        return logs

    async with scene() as s:
        s.twists[0]["eth_getLogs"] = refuse
        txids = []
        for amount in range(1, 17):
            txids.append(s.pay(amount, asset_id=s.usdc))
            s.mine()
        await s.replica.sync()
        assert [s.replica.of(t)[0].amount for t in txids] == list(range(1, 17))


async def test_many_addresses_are_searched_for_by_contract(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evm_view, "MAX_TOPICS", 3)
    async with scene() as s:
        s.source.watch(s.node.new_wallet() for _ in range(10))
        s.pay(500, asset_id=s.usdc)
        assert [t.amount for t in await s.read()] == [500]


# -- several nodes -------------------------------------------------------------------------------


async def test_a_node_of_another_chain_is_named_with_both_ids(scene: Any) -> None:
    async with scene(2, start=False) as s:
        s.nodes[1].faults.wrong_chain = True
        with pytest.raises(Misconfigured, match=r"127\.0\.0\.1:\d+.* chain id 2, not 1"):
            await s.source.open()


async def test_nodes_of_one_chain_id_and_two_genesis_blocks_are_refused(scene: Any) -> None:
    def other_genesis(block: Any, params: Any) -> Any:
        return block | {"hash": "0x" + "22" * 32} if params[0] == "0x0" else block

    async with scene(2, start=False) as s:
        s.twists[1]["eth_getBlockByNumber"] = other_genesis
        with pytest.raises(Misconfigured, match="block 0"):
            await s.source.open()


async def test_a_private_chain_under_a_main_networks_id_is_pointed_out(scene: Any) -> None:
    async with scene(start=False) as s:
        (facts,) = await s.source.open()
        assert any("not the main network" in warning for warning in facts.warnings)
        genesis = facts.genesis
    async with scene(1, start=False, genesis=genesis) as s:  # who names it himself, as the devnet does, knows it
        (facts,) = await s.source.open()
        assert (facts.warnings, facts.genesis) == ((), genesis)


async def test_a_node_that_turns_into_another_chain_is_not_followed(scene: Any) -> None:
    """A load balancer's new backend, say."""
    async with scene() as s:
        s.node.faults.wrong_chain = True
        s.pay()
        with pytest.raises(Inconsistent):
            await s.read()
        assert s.replica.facts == {}


async def test_failover_goes_on_with_the_other_node(scene: Any) -> None:
    async with scene(2) as s:
        s.nodes[0].faults.status = 503
        s.pay()
        s.mine()
        await s.replica.settle()
        assert [t.amount for t in s.replica.facts.values()] == [10**16]


async def test_one_dead_endpoint_does_not_stop_the_start(scene: Any) -> None:
    async with scene(2, start=False) as s:
        s.nodes[0].faults.status = 503
        assert len(await s.source.open()) == 1


async def test_no_endpoint_at_all_is_unreachable(scene: Any) -> None:
    async with scene(1, start=False) as s:
        s.node.faults.status = 503
        with pytest.raises(Unreachable):
            await s.source.open()


QUORUM = {"quorum": {"above": "1.0", "nodes": 2}}


async def test_a_large_payment_waits_until_enough_nodes_confirm_it(scene: Any) -> None:
    async with scene(2, **QUORUM) as s:
        s.twists[1]["eth_getTransactionReceipt"] = lambda *_: None
        small, large = s.pay(10**18), s.pay(10**18 + 1)
        with pytest.raises(Transient, match="1 of 2"):
            await s.read()
        assert s.replica.of(large) == s.replica.of(small) == []
        s.twists[1].clear()
        await s.replica.settle()
        assert [t.amount for t in (*s.replica.of(small), *s.replica.of(large))] == [10**18, 10**18 + 1]


@pytest.mark.parametrize("field", ["status", "blockHash"])
async def test_a_node_that_disagrees_does_not_confirm(scene: Any, field: str) -> None:
    lie = {"status": "0x0", "blockHash": "0x" + "22" * 32}[field]
    async with scene(2, **QUORUM) as s:
        s.twists[1]["eth_getTransactionReceipt"] = in_receipt(lambda r: r.update({field: lie}))
        s.pay(2 * 10**18)
        with pytest.raises(Transient, match="1 of 2"):
            await s.read()


async def test_a_node_that_names_another_amount_does_not_mint_it(scene: Any) -> None:
    """The block's hash is right: its content is what the first node says, until a second one is asked."""
    async with scene(2, **QUORUM) as s:
        s.twists[0]["eth_getBlockByNumber"] = in_block(
            lambda b: [t.update(value=hex(9 * 10**18)) for t in b["transactions"]]
        )
        s.pay(10**18)
        with pytest.raises(Transient, match="1 of 2"):
            await s.read()


async def test_a_large_token_payment_waits_too_where_the_token_is_named(scene: Any) -> None:
    quorum = {"above": {"ETH": "1.0", "USDC": "100"}, "nodes": 2}
    async with scene(2, quorum=quorum) as s:
        s.twists[1]["eth_getTransactionReceipt"] = lambda *_: None
        txid = s.pay(10**8, asset_id=s.usdc)
        assert len(await s.read()) == 1, "not above the value"
        more = s.pay(10**8 + 1, asset_id=s.usdc)
        with pytest.raises(Transient, match="1 of 2"):
            await s.read()
        s.twists[1].clear()
        await s.replica.settle()
        assert [t.txid for t in (*s.replica.of(txid), *s.replica.of(more))] == [txid, more]


async def test_a_quorum_that_cannot_be_reached_is_pointed_out(scene: Any) -> None:
    async with scene(1, start=False, **QUORUM) as s:
        (facts,) = await s.source.open()
        assert any("quorum" in warning for warning in facts.warnings)


async def test_a_small_payment_asks_nobody_else(scene: Any) -> None:
    async with scene(2, **QUORUM) as s:
        before = s.nodes[1].requests.get("eth_getTransactionReceipt", 0)
        s.pay(10**18)
        assert len(await s.read()) == 1
        assert s.nodes[1].requests.get("eth_getTransactionReceipt", 0) == before


# -- other chains' oddities ----------------------------------------------------------------------


@pytest.mark.parametrize("counted", [True, False])
async def test_polygon_state_sync_transactions_do_not_stop_the_chain(scene: Any, counted: bool) -> None:
    """From and to nobody, listed by some nodes, counted by fewer, and paying in tokens of the bridge."""
    async with scene() as s:
        sync = {"from": ZERO_ADDRESS, "to": ZERO_ADDRESS}
        s.twists[0]["eth_getBlockByNumber"] = in_block(
            lambda b: [t.update(sync, value="0x0", input="0x") for t in b["transactions"][:1]]
        )
        s.twists[0]["eth_getTransactionReceipt"] = in_receipt(lambda r: r.update(sync) if r["logs"] else None)
        if not counted:
            s.twists[0]["eth_getBlockTransactionCountByHash"] = lambda count, _: hex(max(int(count, 16) - 1, 0))
        bridged = s.pay(500, asset_id=s.usdc)
        paid = s.pay()
        await s.read()
        assert [t.amount for t in (*s.replica.of(bridged), *s.replica.of(paid))] == [500, 10**16]


async def test_bsc_system_logs_without_a_block_hash_do_not_stop_the_chain(scene: Any) -> None:
    async with scene() as s:
        s.twists[0]["eth_getLogs"] = with_logs(lambda log: log | {"blockHash": ZERO_HASH})
        s.pay(500, asset_id=s.usdc)
        assert [t.amount for t in await s.read()] == [500]


def shout(text: str) -> str:
    return "0x" + text[2:].upper()


async def test_addresses_in_any_letter_case_are_compared_and_reported_in_eip55(scene: Any) -> None:
    async with scene() as s:
        s.twists[0]["eth_getBlockByNumber"] = in_block(
            lambda b: [
                t.update(to="0x" + t["to"][2:].upper(), hash=t["hash"].upper().replace("X", "x"))
                for t in b["transactions"]
            ]
        )
        s.pay()
        (found,) = await s.read()
        assert found.to == s.spec.receive[0]
        assert found.txid == found.txid.lower()


async def test_a_pending_block_on_another_parent_tells_nothing(scene: Any) -> None:
    async with scene(pending=True) as s:
        s.pay()
        view = await s.source.view()
        assert len(await view.mempool() or ()) == 1
        s.node.chain.mine(())
        assert await view.mempool() is None


# -- configuration -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"options": {"trace": True}}, "trace"),
        ({"options": {"traces": "yes"}}, "traces"),
        ({"options": {"quorum": {"above": "1.0", "nodes": 1}}}, "nodes"),
        ({"options": {"quorum": {"above": "much", "nodes": 1}}}, "above"),
        ({"options": {"quorum": {"above": "1.0"}}}, "nodes"),
        ({"options": {"final_tag": "latest"}}, "final_tag"),
        ({"options": {"genesis": "0x1"}}, "genesis"),
        ({"options": {"batch": 0}}, "batch"),
        ({"options": {"timeout": 0}}, "timeout"),
        ({"assets": (*spec("ETH").assets, Asset("ETH:X", "ETH", 6, "0x1234"))}, "ETH:X"),
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
