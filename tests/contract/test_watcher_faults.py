"""What a node does wrong delays us; it never loses a payment and never mints one that is not there.

The real watcher over the real adapters, over HTTP on simulated nodes, into a ledger on disk.
"""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chainwatch.adapters.rpc import HttpRefused
from chainwatch.errors import Misconfigured, Transient
from chainwatch.ledger import leases
from chainwatch.testing.followed import Followed, followed
from chainwatch.testing.simulated import Twist

pytestmark = pytest.mark.network

Fault = Callable[[Followed], None]
CHAINS = ("HIVE", "ETH")


def heal(scene: Followed) -> None:
    for node, twists in zip(scene.nodes, scene.twists, strict=True):
        node.faults = type(node.faults)()
        twists.clear()


async def suffers_and_recovers(scene: Followed, fault: Fault, *, errors: bool = True) -> None:
    """One payment before the fault, one during, one after: all arrive once, none before the node is well."""
    before = scene.pay()
    scene.mine()
    scene.finalize()
    await scene.settle()
    assert scene.shown(before) == "minted"
    fault(scene)
    during = scene.pay()
    scene.mine()
    scene.finalize()
    cursor = scene.cursor()
    for _ in range(4):
        error = await scene.poll()
        assert error is None or isinstance(error, Transient | HttpRefused), error
        assert not errors or error is not None
        assert "invalid params" not in str(error)  # the fault is the test's, not a mistake in it
        assert len(scene.tickets()) == 1
        scene.mine()
    assert scene.cursor() == cursor or not errors
    heal(scene)
    after = scene.pay()
    scene.mine()
    scene.finalize()
    await scene.settle()
    assert [scene.shown(txid) for txid in (before, during, after)] == ["minted"] * 3
    assert len(scene.tickets()) == 3
    assert scene.status().payments == {"minted": 3}
    assert scene.owed() == []
    scene.check()


# -- the line to the node ------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502, 503, 504])
async def test_a_node_that_refuses_delays_and_loses_nothing(chain: Followed, status: int) -> None:
    """bitcart/bitcart#465 (429s), btcpayserver/btcpayserver#4525 (payments missed while the line was down)."""

    def fault(s: Followed) -> None:
        s.node.faults.status = status

    await suffers_and_recovers(chain, fault)


async def test_half_an_answer_is_no_answer(chain: Followed) -> None:
    """ethereum/go-ethereum#24078: an answer that is cut is not an empty one."""

    def fault(s: Followed) -> None:
        s.node.faults.half_body = True

    await suffers_and_recovers(chain, fault)


async def test_every_third_request_may_fail(chain: Followed) -> None:
    """lnbits/lnbits PR#728: what is asked again is asked for the same block, and counted once."""
    chain.node.faults.error_rate = 0.3
    paid = []
    for _ in range(5):
        paid.append(chain.pay())
        chain.mine()
        await chain.poll()
    heal(chain)
    chain.finalize()
    await chain.settle()
    assert [chain.shown(txid) for txid in paid] == ["minted"] * 5
    assert len(chain.tickets()) == 5
    chain.check()


@pytest.mark.parametrize("code", CHAINS)
async def test_a_node_that_never_answers_is_given_up_in_time(code: str, tmp_path: Path) -> None:
    """vsys-host/shkeeper.io#233: a scanner that hangs on its node halts silently."""
    async with followed(code, tmp_path, timeout=0.5) as scene:
        txid = scene.pay()
        scene.mine()
        scene.finalize()
        scene.node.faults.hang = True
        async with asyncio.timeout(60):
            assert isinstance(await scene.poll(), Transient)
        assert scene.watcher.condition.state == "failing"
        scene.node._hung.set()  # let those that wait go, so that the server can end
        heal(scene)
        await scene.settle()
        assert scene.shown(txid) == "minted"
        scene.check()


# -- answers that are wrong ----------------------------------------------------------------------


def in_blocks(change: Callable[[dict[str, Any]], Any]) -> Fault:
    """Bend every full block, whatever the chain calls it."""

    def hive(answer: Any, _: Any) -> Any:
        for block in answer["blocks"]:
            change(block)
        return answer

    def evm(block: Any, params: Any) -> Any:
        if block is not None and params[1:] == (True,):
            change(block)
        return block

    def fault(s: Followed) -> None:
        s.twists[0].update({"block_api.get_block_range": hive, "eth_getBlockByNumber": evm})

    return fault


def swap(hive: Twist, evm: Twist, *, hive_method: str, evm_method: str) -> Fault:
    def fault(s: Followed) -> None:
        s.twists[0][hive_method if s.code == "HIVE" else evm_method] = hive if s.code == "HIVE" else evm

    return fault


def without(*keys: str) -> Callable[[dict[str, Any]], Any]:
    return lambda block: [block.pop(key, None) for key in keys]


def elsewhere(block: dict[str, Any]) -> None:
    """Make the block the child of another one."""
    for key in ("previous", "parentHash"):
        if key in block:
            block[key] = block[key][:-8] + "deadbeef"


def set_to(value: Any, *keys: str) -> Callable[[dict[str, Any]], Any]:
    return lambda block: block.update({key: value for key in keys if key in block})


WRONG_BLOCKS = {
    "no hash": without("block_id", "hash"),
    "no parent": without("previous", "parentHash"),
    "no time": without("timestamp"),
    "no transactions": without("transactions"),
    "transactions null": set_to(None, "transactions"),
    "transactions a text": set_to("none", "transactions"),
    "transactions of null": set_to([None], "transactions"),
    "time beyond all bounds": set_to(hex(2**80), "timestamp"),
    "time a number": set_to(1_760_000_000, "timestamp"),
    "hash null": set_to(None, "block_id", "hash"),
    "hash a number": set_to(7, "block_id", "hash"),
    "hash empty": set_to("", "block_id", "hash"),
    "hash no hex": set_to("0x" + "zz" * 32, "block_id", "hash"),
    "another parent": elsewhere,
}


@pytest.mark.parametrize("name", WRONG_BLOCKS)
async def test_a_block_with_a_field_missing_or_wrong_is_not_read(chain: Followed, name: str) -> None:
    """boundless-xyz/boundless PR#1538: what a gateway strips from its answers is not zero."""
    await suffers_and_recovers(chain, in_blocks(WRONG_BLOCKS[name]))


WRONG_NUMBERS: dict[str, tuple[Any, Any]] = {
    "null": (None, None),
    "a text": ("12", "12"),
    "the other kind": (12.5, 12),
    "negative": (-1, "-0x1"),
    "empty": ("", "0x"),
    "huge": (2**70, hex(2**300)),
    "true": (True, True),
}


@pytest.mark.parametrize("name", WRONG_NUMBERS)
async def test_a_height_of_another_type_is_not_guessed(chain: Followed, name: str) -> None:
    """ethers-io/ethers.js PR#2274: numbers that are strings, and null for a block that is not there yet."""
    for_hive, for_evm = WRONG_NUMBERS[name]
    fault = swap(
        lambda answer, _: answer | {"head_block_number": for_hive},
        lambda block, _: block and block | {"number": for_evm},
        hive_method="database_api.get_dynamic_global_properties",
        evm_method="eth_getBlockByNumber",
    )
    await suffers_and_recovers(chain, fault)


async def test_a_head_beyond_all_bounds_is_not_written(eth: Followed) -> None:
    """A stray OverflowError of the database would end the whole daemon, every other chain with it."""

    def latest(block: Any, params: Any) -> Any:
        return block | {"number": hex(2**70)} if params[0] == "latest" else block

    def fault(s: Followed) -> None:
        s.twists[0]["eth_getBlockByNumber"] = latest

    eth.mine(8)
    await suffers_and_recovers(eth, fault)


SHAPES: tuple[Any, ...] = (None, 0, -1, 1.5, "", "0x", "text", True, [], [None], [[]], {}, {"blocks": None})


async def test_an_answer_of_any_shape_to_any_question_is_a_typed_error_or_waited_for(chain: Followed) -> None:
    """vsys-host/shkeeper.io#165: a stray exception drops the payment that was being read."""
    asked = [m for m in chain.node.requests if not m.startswith("condenser_api")]
    assert len(asked) >= 4
    first = chain.pay()
    chain.mine()
    chain.finalize()
    for method in asked:
        for shape in SHAPES:
            chain.twists[0][method] = lambda _answer, _params, shape=shape: shape
            error = await chain.poll()
            assert error is None or isinstance(error, Transient | HttpRefused), (method, shape, error)
        heal(chain)
    chain.finalize()
    await chain.settle()
    assert chain.shown(first) == "minted"
    assert len(chain.tickets()) == 1
    chain.check()


ODD: tuple[Any, ...] = (None, -1, 2**64, 1.5, "", "0x", "0x" + "f" * 80, "a\x00b", "💶", True, [], {}, [[None]])


def one_leaf_changed(answer: Any, rng: random.Random) -> Any:
    """Return the answer with one of its values, anywhere in it, replaced by an odd one."""
    inner = list(answer) if isinstance(answer, dict) else list(range(len(answer))) if isinstance(answer, list) else []
    if not inner or rng.random() < 0.05:
        return rng.choice(ODD)
    at = rng.choice(inner)
    answer[at] = one_leaf_changed(answer[at], rng)
    return answer


@pytest.mark.parametrize("seed", range(4))
async def test_one_odd_value_anywhere_in_an_answer_is_never_a_stray_exception(chain: Followed, seed: int) -> None:
    """vsys-host/shkeeper.io#165: what nobody thought of must not end the loop, and with it every other chain."""
    rng = random.Random(seed)
    asked = sorted(m for m in chain.node.requests if not m.startswith("condenser_api"))
    for _ in range(40):
        chain.pay()
        if chain.code == "ETH":
            chain.pay(5, asset_id=chain.spec.assets[1].asset_id)
        chain.mine(2)
        chain.twists[0][rng.choice(asked)] = lambda answer, _: one_leaf_changed(answer, rng)
        error = await chain.poll()
        assert error is None or isinstance(error, Transient | HttpRefused | Misconfigured), error
        heal(chain)
        await chain.settle()
        chain.check()
    chain.finalize()
    await chain.settle()
    assert len(chain.tickets()) > 30  # a changed amount or memo is a lie that nobody can see from one node


@pytest.mark.parametrize("name", ["fewer", "none", "twice", "later"])
async def test_a_range_is_all_of_its_blocks_in_order_or_nothing(chain: Followed, name: str) -> None:
    """ponder-sh/ponder#1852 and bitcart's catch-up cap: fewer blocks than asked are not the end of the range."""

    def moved(by: int) -> Twist:
        def twist(_: Any, params: Any) -> Any:
            asked = params[0]["starting_block_num"], params[0]["count"]
            return chain.node._block_range(asked[0] + by, asked[1])  # type: ignore[attr-defined]

        return twist

    hive: dict[str, Twist] = {
        "fewer": lambda answer, _: {"blocks": answer["blocks"][:-1]},
        "none": lambda answer, _: {"blocks": []},
        "twice": moved(-1),  # begins with the block that we have already
        "later": moved(1),
    }

    def evm(block: Any, params: Any) -> Any:
        if params[1:] != (True,):
            return block
        cursor = chain.cursor()
        assert cursor is not None
        if name in ("fewer", "none"):
            return None if name == "none" or params[0] == hex(cursor.height + 1) else block
        height = int(params[0], 16) + {"twice": -1, "later": 1}[name]
        return chain.node._block_by_number(hex(min(height, chain.node.chain.head.ref.height)), True)  # type: ignore[attr-defined]

    fault = swap(hive[name], evm, hive_method="block_api.get_block_range", evm_method="eth_getBlockByNumber")
    await suffers_and_recovers(chain, fault)


async def test_blocks_of_two_branches_in_one_answer_do_not_connect(chain: Followed) -> None:
    """slickage/baron#38: a block that does not follow ours is never put behind it."""
    scene, honest = chain, chain.node.chain
    ghost = scene.pay()
    scene.mine()
    other = honest.head
    honest.rollback(1)
    paid = scene.pay()
    scene.mine(3)

    height = other.ref.height

    def mixed(block: Any) -> None:
        """Show the other branch's block at its height, as a load balancer over two nodes would."""
        if scene.code == "HIVE":
            if block["block_id"] == honest.at(height).ref.hash:  # type: ignore[union-attr]
                block.update(scene.node._block(other))  # type: ignore[attr-defined]
        elif block["number"] == hex(height):
            block.update(scene.node._block(other, True))  # type: ignore[attr-defined]

    in_blocks(mixed)(scene)
    for _ in range(3):
        assert isinstance(await scene.poll(), Transient)
    heal(scene)
    scene.finalize()
    await scene.settle()
    assert scene.shown(paid) == "minted"
    assert scene.shown(ghost) in ("", "orphaned")
    assert len(scene.tickets()) == 1
    scene.check()


# -- another network -----------------------------------------------------------------------------


async def test_a_node_that_turns_into_another_network_is_left_at_once(eth: Followed) -> None:
    """raiden-network/light-client#1923: behind one URL there may suddenly be another chain."""

    def fault(s: Followed) -> None:
        s.node.faults.wrong_chain = True

    before = eth.pay()
    eth.mine()
    fault(eth)
    for _ in range(3):
        error = await eth.poll()
        assert isinstance(error, Transient | Misconfigured), error
        assert eth.tickets() == []
    heal(eth)
    eth.finalize()
    await eth.settle()
    assert eth.shown(before) == "minted"
    eth.check()


async def test_a_hive_node_that_comes_back_as_steem_is_not_followed(hive: Followed) -> None:
    """The same account names and operations exist on Steem: its money would look like ours."""
    scene = hive
    txid = scene.pay()
    scene.mine()
    scene.finalize()
    scene.node.faults.status = 503
    for _ in range(4):
        await scene.poll()
    scene.node.faults.status = None
    scene.node.faults.wrong_chain = True
    for _ in range(3):
        assert isinstance(await scene.poll(), Transient | Misconfigured)
        assert scene.tickets() == []
    heal(scene)
    await scene.settle()
    assert scene.shown(txid) == "minted"
    scene.check()


async def test_a_node_without_our_past_stops_the_chain_and_keeps_what_is_there(chain: Followed) -> None:
    """blockscout/blockscout#2645: a node of another history must not rewrite ours from its first block."""
    txid = chain.pay()
    chain.mine()
    chain.finalize()
    await chain.settle()
    honest, final = chain.node.chain, chain.final()
    other = chain.split(0)
    other.rollback(len(other.best) - 1)
    chain.mine(30)
    for _ in range(3):
        error = await chain.poll()
        assert error is not None
        assert chain.shown(txid) == "minted"
        assert chain.final() == final
    chain.node.chain = honest
    chain.mine()
    await chain.settle()
    assert chain.tickets() != []
    chain.check()


# -- heads that move backwards, nodes that disagree ----------------------------------------------


async def test_a_head_that_goes_backwards_undoes_nothing(chain: Followed) -> None:
    """ethereum/go-ethereum#26098, #15587: a balanced endpoint's tip jumps back; that is lag, not a reorg."""
    txid = chain.pay()
    chain.mine()
    await chain.settle()
    chain.mine()
    await chain.settle()
    cursor = chain.cursor()
    assert chain.shown(txid) in ("confirming", "minted")
    for stale in (1, 2, 3, 1, 0, 2):
        chain.node.faults.stale_by = stale
        assert await chain.poll() is None
        assert chain.cursor() == cursor
        assert chain.shown(txid) != "orphaned"
    assert chain.reports.reorgs == []
    assert chain.reports.counts["lagging_node"] >= 4
    heal(chain)
    chain.finalize()
    await chain.settle()
    assert chain.shown(txid) == "minted"
    chain.check()


@pytest.mark.parametrize("code", CHAINS)
async def test_a_dead_node_leaves_its_place_to_another(code: str, tmp_path: Path) -> None:
    """btcpayserver/btcpayserver#4840: nobody restarts anything, the next node answers."""
    async with followed(code, tmp_path, nodes=2) as scene:
        txid = scene.pay()
        scene.mine()
        scene.finalize()
        scene.node.faults.status = 503
        await scene.settle()
        assert scene.shown(txid) == "minted"
        assert scene.watcher.condition.endpoint == scene.spec.endpoints[1]
        assert scene.status().chains[0].endpoint == scene.spec.endpoints[1]
        scene.check()


@pytest.mark.parametrize("code", CHAINS)
async def test_two_nodes_on_two_branches_mint_only_what_became_final(code: str, tmp_path: Path) -> None:
    """cowprotocol/services#2069: the payment stands in a block of each branch, and in the ledger once."""
    async with followed(code, tmp_path, nodes=2) as scene:
        ours, theirs = scene.node.chain, scene.split(1)
        both, only_here = scene.pay(), scene.pay()
        tx = ours.mempool[both]
        scene.mine()
        await scene.poll()
        assert scene.shown(only_here) == "confirming"
        scene.clock.advance(1)
        theirs.mine(())
        theirs.mine((tx,))
        scene.node.faults.status = 503
        for _ in range(6):
            await scene.poll()
        await scene.settle()
        scene.mine(node=1)
        await scene.settle()
        assert scene.shown(only_here) == "orphaned"
        scene.finalize(node=1)
        await scene.settle()
        assert scene.shown(both) == "minted"
        assert scene.payments()[both].height == theirs.find(both).ref.height  # type: ignore[union-attr]
        assert scene.shown(only_here) == "orphaned"
        assert len(scene.tickets()) == 1
        scene.check()


# -- finality ------------------------------------------------------------------------------------


def show_final(scene: Followed, height: int) -> None:
    """Let the node name this block as the final one."""

    def evm(block: Any, params: Any) -> Any:
        return scene.node._block_by_number(hex(height), False) if params[0] == "finalized" else block  # type: ignore[attr-defined]

    scene.twists[0] |= {
        "database_api.get_dynamic_global_properties": lambda a, _: a | {"last_irreversible_block_num": height},
        "eth_getBlockByNumber": evm,
    }


async def test_while_finality_stalls_payments_wait_and_never_fall_back_to_the_head(chain: Followed) -> None:
    """btcpayserver/btcpayserver#3548: "settled" is the chain's word; a hundred blocks on top are not."""
    txid = chain.pay()
    show_final(chain, chain.node.chain.head.ref.height)
    chain.mine(100)
    await chain.settle()
    assert chain.shown(txid) == "confirming"
    assert chain.tickets() == []
    assert chain.status().payments == {"confirming": 1}
    heal(chain)
    chain.mine()
    await chain.settle()
    assert chain.shown(txid) == "minted"
    chain.check()


async def test_a_node_without_a_final_block_confirms_nothing(eth: Followed) -> None:
    txid = eth.pay()
    eth.node.faults.omit = frozenset({"finalized"})
    eth.mine(50)
    await eth.settle()
    assert eth.shown(txid) == "confirming"
    heal(eth)
    eth.mine()
    await eth.settle()
    assert eth.shown(txid) == "minted"


async def test_final_never_goes_back_with_a_node_that_forgets_it(chain: Followed) -> None:
    """ponder-sh/ponder#974: nodes behind one name differ by epochs in what they call finalized."""
    txid = chain.pay()
    chain.mine()
    for _ in range(6):  # one by one, so that every block is remembered
        await chain.settle()
        chain.mine()
    await chain.settle()
    final = chain.final()
    assert final is not None
    show_final(chain, final.height - 2)
    for _ in range(3):
        chain.mine()
        assert await chain.poll() is None
        now = chain.final()
        assert now is not None
        assert now.same(final)
        assert chain.shown(txid) == "minted"
    heal(chain)
    await chain.settle()
    assert chain.reports.reorgs == []
    chain.check()


async def test_a_reorg_of_what_was_final_suspends_the_ticket_and_rings(chain: Followed) -> None:
    """btcpayserver/NBXplorer#409: peers stay silent; here the door is shut and an operator must look."""
    txid = chain.pay()
    chain.mine()
    chain.finalize()
    await chain.settle()
    assert len(chain.tickets()) == 1
    honest = chain.node.chain
    depth = honest.head.ref.height - honest.find(txid).ref.height + 1  # type: ignore[union-attr]
    honest.reorg(depth, drop=[txid], extra=2)
    await chain.settle()
    assert chain.tickets() == []
    assert chain.status().tickets == {"suspended": 1}
    assert "were final" in chain.status().chains[0].alarm
    chain.check()


# -- what only one chain can do wrong ------------------------------------------------------------


@pytest.mark.parametrize("what", ["receipts", "transactions"])
async def test_what_an_evm_node_withholds_is_waited_for(eth: Followed, what: str) -> None:
    """bitcart's fail-open: a missing receipt is not a status of success."""

    def fault(s: Followed) -> None:
        s.node.faults.omit = frozenset({what})

    await suffers_and_recovers(eth, fault)


async def test_a_token_payment_whose_log_the_search_leaves_out_is_found_or_waited_for(eth: Followed) -> None:
    """ethereum/go-ethereum#24078: an empty eth_getLogs next to a bloom that says otherwise is a lie."""
    eth.node.faults.omit = frozenset({"logs"})
    txid = eth.pay(5_000_000, asset_id=eth.spec.assets[1].asset_id)
    eth.mine()
    eth.finalize()
    for _ in range(3):
        await eth.poll()
    known = eth.shown(txid)
    heal(eth)
    await eth.settle()
    assert eth.shown(txid) == "refund_due"
    assert known in ("", "refund_due")
    assert eth.owed() == [("refund", 5_000_000, "wrong_asset")]
    eth.check()


@pytest.mark.parametrize("what", ["history", "indexer", "virtual_ops", "transaction_ids"])
async def test_what_a_hive_node_withholds_is_waited_for(hive: Followed, what: str) -> None:
    """A payment by recurrent transfer stands in no block: an account history that lags must not lose it."""
    scene = hive
    scene.node.faults.omit = frozenset({what})
    plain, recurrent = scene.pay(), scene.pay(kind="recurrent")
    scene.mine()
    for _ in range(3):
        error = await scene.poll()
        assert error is None or isinstance(error, Transient)
        scene.mine()
    heal(scene)
    scene.finalize()
    await scene.settle()
    assert len(scene.tickets()) == 2
    assert scene.shown(plain) == "minted"
    assert recurrent
    scene.check()


# -- processes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
async def test_a_restart_between_any_two_polls_changes_nothing(chain: Followed, killed: bool) -> None:
    """btcpayserver/btcpayserver#1123, #1302: paid, and new for ever after a restart; bitcart's catch-up cap."""
    paid = []
    for turn in range(6):
        paid.append(chain.pay())
        chain.mine(4 if turn == 2 else 1)  # more than one round has to read
        await chain.restart(killed=killed)
        assert await chain.poll() is None
    chain.finalize()
    head = chain.node.chain.head.ref
    while not head.same(chain.cursor()):
        await chain.restart(killed=killed)
        assert await chain.poll() is None
    assert [chain.shown(txid) for txid in paid] == ["minted"] * 6
    assert len(chain.tickets()) == 6
    chain.check()


async def test_payments_made_while_nobody_watched_arrive_however_many_blocks_ago(chain: Followed) -> None:
    """bitcart's catch-up cap (it skips to the tip) and btcpayserver/btcpayserver-docker#185."""
    await chain.watcher.stop()
    paid = []
    for _ in range(10):
        paid.append(chain.pay())
        chain.mine(30)
    await chain.restart()
    await chain.settle()
    chain.finalize()
    await chain.settle()
    assert [chain.shown(txid) for txid in paid] == ["minted"] * 10
    chain.check()


async def test_a_second_process_stands_by_and_takes_over_when_the_lease_has_run_out(chain: Followed) -> None:
    """mushroomlabs/hub20#118: two processes on one table count the same payment twice."""
    other = chain.new_watcher("rival")
    await other.source.open()
    try:
        txid = chain.pay()
        chain.mine()
        chain.finalize()
        assert not await other.poll()
        assert other.condition.state == "standby"
        assert chain.shown(txid) == ""
        await chain.settle()
        assert chain.shown(txid) == "minted"
        chain.clock.advance(leases.TTL_MS / 1000 + 1)
        later = chain.pay()
        chain.mine()
        chain.finalize()
        while await other.poll():
            pass
        assert other.condition.state == "following"
        assert chain.shown(later) == "minted"
        await chain.poll()
        assert chain.watcher.condition.state == "standby"
        assert len(chain.tickets()) == 2
        chain.check()
    finally:
        await other.source.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.002)


async def test_the_loop_survives_a_fault_and_says_what_it_is_doing(chain: Followed) -> None:
    """bitcart/bitcart#440: a scanner that halts must not look like one that has nothing to do."""
    await chain.watcher.stop()
    watcher = chain.watcher = chain.new_watcher()
    condition = watcher.condition
    assert condition.state == "starting"
    chain.node.faults.status = 503  # down before it starts
    running = asyncio.create_task(watcher.run())
    try:
        await until(lambda: condition.state == "failing")
        assert "503" in condition.reason or condition.reason
        assert not condition.caught_up
        turned = condition.turned
        await until(lambda: condition.turned > turned)  # the watchdog sees that it lives
        heal(chain)
        await until(lambda: condition.state == "following" and condition.caught_up)
        assert condition.reason == ""
        txid = chain.pay()
        chain.mine()
        chain.finalize()
        await until(lambda: chain.shown(txid) == "minted")
        chain.node.faults.half_body = True
        await until(lambda: condition.state == "failing")
        heal(chain)
        await until(lambda: condition.state == "following" and condition.lag == 0)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert chain.reports.counts["transient"] >= 2
    chain.check()


async def test_a_first_look_at_another_network_is_no_start(chain: Followed) -> None:
    """What the configuration says of the network is wrong: the daemon names it, and does not run without the chain."""
    await chain.watcher.stop()
    watcher = chain.watcher = chain.new_watcher()
    chain.node.faults.wrong_chain = True
    with pytest.raises(Misconfigured, match="chain id"):
        await watcher.run()


async def test_the_loop_stops_a_chain_of_the_wrong_network_and_goes_on_when_it_is_cured(chain: Followed) -> None:
    """A node that was away comes back as another network: the process stays and looks again once a minute."""
    await chain.watcher.stop()
    watcher = chain.watcher = chain.new_watcher()
    chain.node.faults.status = 503
    running = asyncio.create_task(watcher.run())
    await until(lambda: watcher.condition.state == "failing")
    heal(chain)
    chain.node.faults.wrong_chain = True
    try:
        await until(lambda: watcher.condition.state == "stopped")
        assert "chain id" in watcher.condition.reason
        heal(chain)
        await until(lambda: watcher.condition.state == "following")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert chain.reports.counts["persistent"] >= 1
