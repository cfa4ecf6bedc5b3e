"""What is a payment on an EVM chain, what only looks like one, and whose memo it carries."""

import sys
from typing import Any

import pytest

from chainwatch.adapters.evm_types import TRANSFER_TOPIC, address_topic
from chainwatch.devnet.node import Payment, RpcFault
from chainwatch.errors import Inconsistent, Misconfigured
from chainwatch.model import FEE
from chainwatch.testing.evm_twists import in_block, in_receipt, with_logs

pytestmark = pytest.mark.network

MEMO = "event:7:wallet:0x00000000219ab540356cBB839Cbe05303d7705Fa"


# -- look-alikes ---------------------------------------------------------------------------------


def forged(s: Any, **changes: Any) -> None:
    """Bend the one log of the block the same way in search and receipt: the node is honest, the log is odd."""

    def bend(log: dict[str, Any]) -> dict[str, Any]:
        return log | changes

    s.twists[0]["eth_getLogs"] = with_logs(bend)
    s.twists[0]["eth_getTransactionReceipt"] = in_receipt(lambda r: r.update(logs=[bend(log) for log in r["logs"]]))
    s.twists[0]["eth_getBlockReceipts"] = lambda receipts, _: [
        r | {"logs": [bend(log) for log in r["logs"]]} for r in receipts
    ]


@pytest.mark.parametrize(
    "name",
    [
        "another contract",
        "an NFT",
        "an NFT with data",
        "nothing indexed",
        "no amount",
        "two words",
        "another receiver",
        "a dirty topic",
    ],
)
async def test_a_look_alike_log_pays_nothing(scene: Any, name: str) -> None:
    async with scene() as s:
        ours = address_topic(s.spec.receive[0].lower())
        payer = address_topic("0x" + "ab" * 20)
        changes: dict[str, dict[str, Any]] = {
            "another contract": {"address": "0x" + "cd" * 20},
            "an NFT": {"topics": [TRANSFER_TOPIC, payer, ours, "0x" + "0" * 63 + "7"], "data": "0x"},
            "an NFT with data": {"topics": [TRANSFER_TOPIC, payer, ours, "0x" + "0" * 63 + "7"]},
            "nothing indexed": {"topics": [TRANSFER_TOPIC], "data": payer + ours[2:] + "0" * 63 + "7"},
            "no amount": {"data": "0x" + "0" * 64},
            "two words": {"data": "0x" + "0" * 127 + "7"},
            "another receiver": {"topics": [TRANSFER_TOPIC, payer, address_topic("0x" + "ef" * 20)]},
            "a dirty topic": {"topics": [TRANSFER_TOPIC, payer, "0xff" + ours[4:]]},
        }
        s.pay(500, asset_id=s.usdc)
        forged(s, **changes[name])
        assert await s.read() == []


async def test_a_zero_payment_is_none(scene: Any) -> None:
    async with scene() as s:
        s.pay(0, memo=MEMO)
        s.pay(0, asset_id=s.usdc, memo=MEMO)
        assert await s.read() == []


async def test_only_the_configured_token_of_a_transaction_counts(scene: Any) -> None:
    async with scene() as s:
        ours = s.spec.receive[0]
        other = Payment(ours, 7, asset_id="0x" + "cd" * 20)
        s.node.pay_many([other, Payment(ours, 5, asset_id=s.usdc), other])
        assert [(t.index, t.amount) for t in await s.read()] == [("l1", 5)]


async def test_what_we_pay_ourselves_is_marked(scene: Any) -> None:
    """Sweeps between our accounts are no income."""
    async with scene() as s:
        second = s.node.new_wallet()
        s.source.watch([second])
        s.pay(5, sender=second)
        s.pay(6)
        assert {t.amount: t.flags for t in await s.read() if t.index != FEE} == {5: ("internal",), 6: ()}


# -- memos ---------------------------------------------------------------------------------------


async def test_call_data_to_a_contract_is_no_memo_of_an_internal_payment(scene: Any) -> None:
    async with scene(traces=True) as s:
        s.node.pay_many([Payment(s.spec.receive[0], 5, memo=MEMO, kind="internal")])
        (found,) = await s.read()
        assert (found.index, found.memo) == ("t0", None)


async def test_two_payments_in_one_transaction_have_no_memo(scene: Any) -> None:
    """One memo cannot say whom each of two payments is for."""
    async with scene() as s:
        s.node.pay_many([Payment(s.spec.receive[0], 5, asset_id=s.usdc, memo=MEMO)] * 2)
        assert [(t.index, t.memo) for t in await s.read()] == [("l0", None), ("l1", None)]


def token_call(ours: str, amount: int) -> str:
    return "0xa9059cbb" + address_topic(ours.lower())[2:] + f"{amount:064x}" + MEMO.encode().hex()


async def test_two_logs_of_one_token_call_have_no_memo(scene: Any) -> None:
    """A token that pays twice in one call: one memo cannot say whom each is for."""
    async with scene() as s:
        ours = s.spec.receive[0]
        s.twists[0]["eth_getBlockByNumber"] = in_block(
            lambda b: [t.update(to=s.usdc, input=token_call(ours, 5)) for t in b["transactions"]]
        )
        s.node.pay_many([Payment(ours, 5, asset_id=s.usdc)] * 2)
        assert [(t.index, t.memo) for t in await s.read()] == [("l0", None), ("l1", None)]


async def test_a_call_of_another_contract_carries_no_memo_of_the_token(scene: Any) -> None:
    async with scene() as s:
        ours = s.spec.receive[0]
        s.twists[0]["eth_getBlockByNumber"] = in_block(
            lambda b: [t.update(input=token_call(ours, 5)) for t in b["transactions"]]
        )
        s.node.pay_many([Payment(ours, 5, asset_id=s.usdc, kind="internal")])
        assert [(t.index, t.memo) for t in await s.read()] == [("l0", None)]


async def test_a_memo_behind_transfer_from_is_read(scene: Any) -> None:
    async with scene() as s:
        ours = address_topic(s.spec.receive[0].lower())[2:]
        data = "0x23b872dd" + "0" * 64 + ours + f"{500:064x}" + MEMO.encode().hex()
        s.twists[0]["eth_getBlockByNumber"] = in_block(lambda b: [t.update(input=data) for t in b["transactions"]])
        s.pay(500, asset_id=s.usdc)
        assert [t.memo for t in await s.read()] == [MEMO.encode()]


@pytest.mark.parametrize(
    "data",
    ["0xa9059cbb" + "0" * 128 + "6d656d6f", "0xdeadbeef" + "0" * 128 + "6d656d6f", "0xa9059cbb", "0x"],
    ids=["another receiver", "another method", "arguments cut", "nothing"],
)
async def test_what_is_no_transfer_to_us_carries_no_memo(scene: Any, data: str) -> None:
    async with scene() as s:
        s.twists[0]["eth_getBlockByNumber"] = in_block(lambda b: [t.update(input=data) for t in b["transactions"]])
        s.pay(500, asset_id=s.usdc)
        assert [t.memo for t in await s.read()] == [None]


async def test_a_memo_of_any_bytes_arrives(scene: Any) -> None:
    async with scene() as s:
        data = "0x" + bytes(range(256)).hex() * 8
        s.twists[0]["eth_getBlockByNumber"] = in_block(lambda b: [t.update(input=data) for t in b["transactions"]])
        s.pay()
        assert [t.memo for t in await s.read()] == [bytes(range(256)) * 8]


# -- traces --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["debug_traceBlockByHash", "trace_block"])
async def test_internal_payments_are_seen_in_both_dialects(scene: Any, dialect: str) -> None:
    def unknown(*_: Any) -> Any:
        raise RpcFault(-32601, "method not found")

    async with scene(start=False, traces=True) as s:
        s.node.chain.mine()
        if dialect == "trace_block":
            s.twists[0]["debug_traceBlockByHash"] = unknown
        await s.source.open()
        await s.replica.settle()
        paid = s.node.pay_many([Payment(s.spec.receive[0], n, kind="internal") for n in (5, 6)])
        undone = s.node.pay_many([Payment(s.spec.receive[0], n, kind="internal", ok=False) for n in (5, 6)])
        await s.read()
        assert [(t.index, t.amount, t.ok) for t in s.replica.of(paid)] == [("t0", 5, True), ("t1", 6, True)]
        assert s.replica.of(undone) == []


async def test_a_payment_from_deep_inside_is_seen(scene: Any) -> None:
    """A tower of calls that the JSON decoder refuses would stop the chain for everybody."""

    def bury(trees: Any, _: Any) -> Any:
        for tree in trees:
            for _ in range(700):
                top = tree["result"]
                tree["result"] = {**top, "calls": [{**top, "value": "0x0"}]}
        return trees

    before = sys.getrecursionlimit()
    try:
        async with scene(traces=True) as s:
            s.twists[0]["debug_traceBlockByHash"] = bury
            s.node.pay_many([Payment(s.spec.receive[0], 5, kind="internal")])
            assert [(t.index.count("."), t.amount) for t in await s.read()] == [(700, 5)]
    finally:
        sys.setrecursionlimit(before)


async def test_an_undone_call_beside_a_good_one_pays_nothing(scene: Any) -> None:
    def undo_first(trees: Any, _: Any) -> Any:
        trees[0]["result"]["calls"][0]["error"] = "execution reverted"
        return trees

    async with scene(traces=True) as s:
        s.twists[0]["debug_traceBlockByHash"] = undo_first
        s.node.pay_many([Payment(s.spec.receive[0], n, kind="internal") for n in (5, 6)])
        assert [(t.index, t.amount) for t in await s.read()] == [("t1", 6)]


async def test_traces_without_a_node_that_has_them_are_misconfigured(scene: Any) -> None:
    def unknown(*_: Any) -> Any:
        raise RpcFault(-32601, "method not found")

    async with scene(start=False, traces=True) as s:
        s.node.chain.mine()
        s.twists[0] |= {"debug_traceBlockByHash": unknown, "trace_block": unknown}
        with pytest.raises(Misconfigured, match="traces"):
            await s.source.open()


@pytest.mark.parametrize("dialect", ["debug_traceBlockByHash", "trace_block"])
async def test_a_block_whose_traces_are_cut_is_read_again(scene: Any, dialect: str) -> None:
    async with scene(traces=True) as s:
        s.source._chain.tracers = dict.fromkeys([e.name for e in s.source._chain.rpc.endpoints], dialect)
        s.twists[0][dialect] = lambda traces, _: traces[:-1]
        s.node.pay_many([Payment(s.spec.receive[0], 5)])
        with pytest.raises(Inconsistent):
            await s.read()
