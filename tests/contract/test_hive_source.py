"""What is Hive's own in the adapter: recurrent transfers, the two chains of one history, memo keys, lagging parts."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from chainwatch.adapters import open_source
from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.adapters.hive import HiveSource
from chainwatch.adapters.hive_memo import MemoKey
from chainwatch.config.networks import spec
from chainwatch.devnet import hive as devnet
from chainwatch.devnet.node import Payment
from chainwatch.errors import Inconsistent, Misconfigured, Transient
from chainwatch.model import Block, Transfer
from chainwatch.testing.clock import LeapingClock
from chainwatch.testing.replica import Replica
from chainwatch.testing.simulated import Twist, bend

pytestmark = pytest.mark.network

OURS = "dlux-tickets"
HBD = "@@000000013"
MEMO_WIF = "5Jpkeq1jiNE8Pe24GxFWTsyWbcP59Qq4cD7qg3Wgd6JFJqJkoG8"
OTHER_WIF = "5KR8jzysz2kbYy3TkL3x6NRxfNXwQUWyeVAF5ZagxdqKMawGgXG"
ENCRYPTED = (
    "#FYu8pMPJxTv7q2geNLSQC8dm47uqdNtFLCoDY5yZWjAz2R4wNyHEwQ48hPWm9SuAZ6fCFmjQrFCBVQFSP7EkobrWWRGaeqH6msKkPjRsMd6"
    "UUaNva1nmtLc55RAzqPLht"
)
"""A published vector: ``I am this!``, from and to the two keys above."""


class Counting(SilentObserver):
    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()

    def count(self, chain: str, what: str, n: int = 1) -> None:
        self.counted[what] += n


@pytest.fixture
def observer() -> Counting:
    return Counting()


@pytest.fixture
async def node() -> AsyncIterator[devnet.HiveNode]:
    made = devnet.make(spec("HIVE"), clock=LeapingClock(), rng=random.Random(3))
    await made.start()
    yield made
    await made.stop()


Make = Callable[..., HiveSource]


@pytest.fixture
async def source(node: devnet.HiveNode, observer: Counting) -> AsyncIterator[Make]:
    made: list[HiveSource] = []

    def make(**options: Any) -> HiveSource:
        services = Services(clock=LeapingClock(), random=random.Random(7), observer=observer)
        made.append(HiveSource(spec("HIVE", endpoints=(node.url,), receive=(OURS,), options=options), services))
        return made[-1]

    yield make
    for each in made:
        await each.close()


async def tip(made: HiveSource) -> Block:
    view = await made.view()
    (block,) = await view.blocks(view.head.height, view.head.height)
    return block


async def paid(made: HiveSource) -> list[Transfer]:
    return list((await tip(made)).transfers)


# -- quorum --------------------------------------------------------------------------------------

QUORUM = {"above": {"HIVE": "10", "HBD": "5"}, "nodes": 2}


@pytest.fixture
async def second(node: devnet.HiveNode) -> AsyncIterator[tuple[devnet.HiveNode, dict[str, Twist]]]:
    """Another node of the same chain, whose answers a test bends."""
    made = devnet.HiveNode(node.spec, clock=LeapingClock(), rng=random.Random(4), chain=node.chain)
    twists: dict[str, Twist] = {}
    bend(made, twists)
    await made.start()
    yield made, twists
    await made.stop()


Second = tuple[devnet.HiveNode, dict[str, Twist]]


def on_both(node: devnet.HiveNode, second: Second) -> HiveSource:
    services = Services(clock=LeapingClock(), random=random.Random(7), observer=SilentObserver())
    urls = (node.url, second[0].url)
    return HiveSource(spec("HIVE", endpoints=urls, receive=(OURS,), options={"quorum": QUORUM}), services)


def other_memo(answer: Any, _: Any) -> Any:
    for block in answer["blocks"]:
        for tx in block["transactions"]:
            for op in tx["operations"]:
                op["value"]["memo"] = "event:1:wallet:mallory"
    return answer


@pytest.mark.parametrize("lie", [other_memo, lambda answer, _: {"blocks": []}])
async def test_a_large_payment_waits_until_a_second_node_shows_it_alike(
    node: devnet.HiveNode, second: Second, lie: Twist
) -> None:
    """One node alone may say whom a payment is for: a block's id is not computed here."""
    made = on_both(node, second)
    await made.open()
    second[1]["block_api.get_block_range"] = lie
    node.pay(Payment(OURS, 10_000, memo="event:1:wallet:alice"))
    node.pay(Payment(OURS, 5_000, asset_id=HBD, memo="event:1:wallet:alice"))
    node.chain.mine()
    assert len(await paid(made)) == 2, "not above the values: one node is enough"
    node.pay(Payment(OURS, 2_500, asset_id=HBD, memo="event:1:wallet:alice"))
    node.pay(Payment(OURS, 2_501, asset_id=HBD, memo="event:1:wallet:alice"))
    node.chain.mine()
    with pytest.raises(Transient, match="1 of 2 nodes"):
        await tip(made)
    second[1].clear()
    assert [t.amount for t in await paid(made)] == [2_500, 2_501]
    await made.close()


async def test_a_second_node_proves_its_network_before_it_counts(node: devnet.HiveNode, second: Second) -> None:
    made = on_both(node, second)
    await made.open()
    made._chain.rpc.endpoints[1].checked = False  # as after an outage
    second[0].faults.wrong_chain = True
    node.pay(Payment(OURS, 10_001))
    node.chain.mine()
    with pytest.raises(Transient, match="1 of 2 nodes"):
        await tip(made)
    second[0].faults.wrong_chain = False
    assert len(await paid(made)) == 1
    await made.close()


async def test_a_quorum_that_cannot_be_reached_is_pointed_out(source: Make) -> None:
    (facts,) = await source(quorum=QUORUM).open()
    assert any("quorum needs 2" in w for w in facts.warnings)


@pytest.mark.parametrize(
    "quorum", [{"above": "1", "nodes": 1}, {"above": "much", "nodes": 2}, {"above": {"BTC": "1"}, "nodes": 2}, {}]
)
async def test_a_quorum_that_means_nothing_is_refused(source: Make, quorum: Any) -> None:
    with pytest.raises(Misconfigured, match="quorum"):
        source(quorum=quorum)


# -- recurrent transfers -------------------------------------------------------------------------


async def test_the_execution_of_a_recurrent_transfer_is_a_payment(node: devnet.HiveNode, source: Make) -> None:
    """The operation that sets it up is none, though it stands in a block with our name and an amount."""
    made = source()
    await made.open()
    node.pay(Payment(OURS, 1500, memo="event:1:wallet:alice", kind="recurrent"))
    node.pay(Payment(OURS, 2500, asset_id=HBD, kind="recurrent"))
    node.pay(Payment("somebody", 9, kind="recurrent"))
    block = node.chain.mine()
    found = await paid(made)
    assert [(t.amount, t.asset, t.memo) for t in found] == [(1500, "HIVE", b"event:1:wallet:alice"), (2500, "HBD", b"")]
    assert {t.txid for t in found} == {f"virtual:{block.ref.height}"}
    assert len({t.index for t in found}) == 2


async def test_a_recurrent_transfer_that_fails_is_no_payment(
    node: devnet.HiveNode, source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even when a node shows more virtual operations than it was asked for."""
    monkeypatch.setattr("chainwatch.adapters.hive_view.FILTER", 2**64 - 1)
    made = source()
    await made.open()
    node.pay(Payment(OURS, 1500, kind="recurrent", ok=False))
    node.chain.mine()
    assert await paid(made) == []


async def test_recurrent_transfers_of_many_pages_are_all_seen(
    node: devnet.HiveNode, source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chainwatch.adapters.hive_view.PAGE", 2)
    made = source()
    await made.open()
    for n in range(7):
        node.pay(Payment(OURS, 100 + n, kind="recurrent"))
        if n % 3 == 0:
            node.chain.mine()
    last = node.chain.mine().ref.height
    view = await made.view()
    found = [t for b in await view.blocks(1, last) for t in b.transfers]
    assert sorted(t.amount for t in found) == list(range(100, 107))
    assert len({t.key for t in found}) == 7


async def test_the_number_of_an_execution_does_not_depend_on_our_other_accounts(
    node: devnet.HiveNode, source: Make
) -> None:
    """The identity is the same for a reader that watches more."""
    one, both = source(), source()
    both.watch(["somebody"])
    node.pay(Payment("somebody", 9, kind="recurrent"))
    node.pay(Payment(OURS, 10, kind="recurrent"))
    node.chain.mine()
    for made in (one, both):
        await made.open()
    assert (await paid(one))[0].key == (await paid(both))[1].key


async def test_account_history_that_lags_behind_the_blocks_is_waited_for(node: devnet.HiveNode, source: Make) -> None:
    """An empty answer about a block that it has not seen yet would lose the payment for ever."""
    made = source()
    await made.open()
    replica = Replica(made)
    await replica.settle()
    node.pay(Payment(OURS, 10, kind="recurrent"))
    block = node.chain.mine()
    node.faults.omit = frozenset({"history"})
    with pytest.raises(Transient, match="account history"):
        await replica.sync()
    node.faults.omit = frozenset()
    await replica.settle()
    assert [t.amount for t in replica.of(f"virtual:{block.ref.height}")] == [10]


async def test_account_history_of_another_fork_is_not_believed(
    node: devnet.HiveNode, source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reward in it goes to somebody who did not produce the block that we read."""
    made = source()
    await made.open()
    node.chain.mine()
    rendered = devnet.Rendered.history

    def history(self: devnet.Rendered) -> Any:
        for op in rendered(self):
            op["op"]["value"] = {**op["op"]["value"], "producer": "another"}
            yield op

    monkeypatch.setattr(devnet.Rendered, "history", history)
    with pytest.raises(Transient, match="account history"):
        await tip(made)


async def test_without_account_history_a_node_is_refused_unless_recurrent_transfers_are_given_up(
    node: devnet.HiveNode, source: Make
) -> None:
    node.faults.omit = frozenset({"virtual_ops"})
    with pytest.raises(Misconfigured, match="recurrent = true needs account_history_api"):
        await source().open()
    made = source(recurrent=False)
    (facts,) = await made.open()
    assert any("recurrent transfer are not seen" in w for w in facts.warnings)
    node.pay(Payment(OURS, 10, kind="recurrent"))
    node.pay(Payment(OURS, 11))
    node.chain.mine()
    assert [t.amount for t in await paid(made)] == [11]
    assert "account_history_api.enum_virtual_ops" not in {m for m, n in node.requests.items() if n > 1}


# -- the chain -----------------------------------------------------------------------------------


async def test_a_steem_node_is_refused_and_both_ids_are_named(node: devnet.HiveNode, source: Make) -> None:
    """Steem answers the same calls; its chain id is all zeros."""
    node.faults.wrong_chain = True
    with pytest.raises(Misconfigured) as refused:
        await source().open()
    for part in (node.url, "0" * 64, "beeab0de" + "0" * 56, "Steem"):
        assert part in str(refused.value)


async def test_steems_chain_id_cannot_be_configured() -> None:
    services = Services(clock=LeapingClock(), random=random.Random(7), observer=SilentObserver())
    with pytest.raises(Misconfigured, match="Steem"):
        open_source(spec("HIVE", endpoints=("http://127.0.0.1:1",), chain_id="0" * 64), services)


@pytest.mark.parametrize("options", [{"recurent": False}, {"recurrent": "yes"}, {"timeout": 0}, {"memo_key_file": 3}])
async def test_options_that_are_wrong_are_named(source: Make, options: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured, match=r"chains\.HIVE") as refused:
        source(**options)
    assert next(iter(options)) in str(refused.value)


async def test_a_node_that_turns_into_another_network_is_not_used(node: devnet.HiveNode, source: Make) -> None:
    """Behind the name stands another machine after an outage: it proves itself again."""
    made = source()
    await made.open()
    rpc = made._chain.rpc
    rpc.fail(rpc.endpoints[0], "outage")
    node.faults.wrong_chain = True
    with pytest.raises(Inconsistent, match="Steem"):
        await made.view()


async def test_head_and_irreversible_block_are_told_apart(node: devnet.HiveNode, source: Make) -> None:
    made = source()
    await made.open()
    for _ in range(4):
        node.chain.mine()
    view = await made.view()
    assert view.head == node.chain.head.ref
    assert view.final is not None
    assert view.final.same(node.chain.final.ref)
    assert view.final.height == view.head.height - 1


async def test_an_indexer_behind_the_head_shows_the_irreversible_block(node: devnet.HiveNode, source: Make) -> None:
    """Public nodes answer block_api from a database that may lack the newest block for a moment."""
    made = source()
    await made.open()
    node.chain.mine()
    node.chain.mine()
    node.faults.omit = frozenset({"indexer"})
    view = await made.view()
    assert view.head.same(node.chain.final.ref)
    assert await view.blocks(view.head.height, view.head.height)


@pytest.mark.parametrize("lag", [0, 1], ids=["the irreversible block", "the head above it"])
async def test_a_node_that_answers_from_two_forks_has_no_irreversible_block(
    node: devnet.HiveNode, source: Make, lag: int
) -> None:
    """Behind a public name stand several: one counts, the others show blocks; in a micro-fork these differ."""
    made = source()
    await made.open()
    for _ in range(4):
        node.chain.mine()
    height = node.chain.head.ref.height
    forked = {"head_block_id": f"{height:08x}" + "f" * 32, "last_irreversible_block_num": height - lag}
    bend(node, {"database_api.get_dynamic_global_properties": lambda answer, _: answer | forked})
    with pytest.raises(Inconsistent, match="two forks"):
        await made.view()


async def test_an_irreversible_block_beside_the_head_is_not_believed(node: devnet.HiveNode, source: Make) -> None:
    made = source()
    await made.open()
    for _ in range(4):
        node.chain.mine()
    height = node.chain.final.ref.height

    def replaced(answer: Any, params: Any) -> Any:
        if params[0]["block_num"] == height:
            answer["block"]["block_id"] = f"{height:08x}" + "e" * 32
        return answer

    bend(node, {"block_api.get_block": replaced})
    with pytest.raises(Inconsistent, match="two forks"):
        await made.view()


async def test_a_block_that_does_not_name_all_its_transactions_is_not_read(node: devnet.HiveNode, source: Make) -> None:
    made = source()
    await made.open()
    node.pay(Payment(OURS, 10))
    node.chain.mine()
    node.faults.omit = frozenset({"transaction_ids"})
    with pytest.raises(Inconsistent, match="does not name all"):
        await tip(made)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"block_id": "00000009" + "0" * 32}, "answers block 9"),
        ({"block_id": "zz"}, "no block id"),
        ({"previous": "0" * 40}, "does not follow"),
        ({"timestamp": "soon"}, "no time"),
        ({"transaction_ids": ["0" * 40]}, "no transaction id"),
    ],
)
async def test_nonsense_in_a_block_is_inconsistent(
    node: devnet.HiveNode, source: Make, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], reason: str
) -> None:
    made = source(recurrent=False)
    await made.open()
    node.chain.mine()
    node.pay(Payment(OURS, 10))
    node.chain.mine()
    node.chain.mine()
    view = await made.view()
    whole = node._block

    def broken(block: Any) -> dict[str, Any]:
        answer = whole(block)
        return {**answer, **change} if block.ref.height == 3 else answer

    monkeypatch.setattr(node, "_block", broken)
    with pytest.raises(Inconsistent, match=reason):
        await view.blocks(2, 3)


async def test_what_a_hard_fork_adds_to_blocks_is_passed_over(
    node: devnet.HiveNode, source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New fields, extensions and operations beside a payment."""
    made = source()
    await made.open()
    node.chain.mine()
    txid = node.pay(Payment(OURS, 10))
    node.chain.mine()
    node.chain.mine()
    whole = node._block

    def later(block: Any) -> dict[str, Any]:
        answer = whole(block)
        new = {"type": "teleport_operation", "value": {"from": OURS, "to": ["x"], "amount": 7}}
        txs = [{**tx, "operations": [*tx["operations"], new], "attestations": [1]} for tx in answer["transactions"]]
        return {**answer, "transactions": txs, "extensions": [["quantum", {}]], "shard": None}

    monkeypatch.setattr(node, "_block", later)
    view = await made.view()
    first, second = await view.blocks(2, 3)
    assert first.transfers == ()
    assert [(t.txid, t.index, t.amount) for t in second.transfers] == [(txid, "0", 10)]


@pytest.mark.parametrize(
    "amount",
    [
        {"amount": "-5", "precision": 3, "nai": "@@000000021"},
        {"amount": "1" * 20, "precision": 3, "nai": HBD},
        "5 HIVE",
    ],
)
async def test_a_payment_to_us_without_an_amount_is_never_skipped(
    node: devnet.HiveNode, source: Make, monkeypatch: pytest.MonkeyPatch, amount: Any
) -> None:
    made = source()
    await made.open()
    node.pay(Payment(OURS, 10))
    node.chain.mine()
    operation = devnet.Rendered._operation
    monkeypatch.setattr(
        devnet.Rendered,
        "_operation",
        lambda self, t: {**(op := operation(self, t)), "value": {**op["value"], "amount": amount}},
    )
    with pytest.raises(Inconsistent, match="no amount"):
        await tip(made)


async def test_an_asset_that_is_not_configured_is_counted_and_not_paid(
    node: devnet.HiveNode, source: Make, observer: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = source()
    await made.open()
    node.pay(Payment(OURS, 10))
    node.chain.mine()
    monkeypatch.setattr("chainwatch.devnet.hive_wire.nai", lambda a, _: {"amount": str(a), "precision": 6, "nai": HBD})
    assert await paid(made) == []
    assert observer.counted == {"unknown_asset": 1}


async def test_our_own_transfers_are_internal(node: devnet.HiveNode, source: Make) -> None:
    made = source()
    made.watch(["other.account"])
    await made.open()
    node.pay(Payment(OURS, 10, sender=OURS))
    node.pay(Payment(OURS, 11, sender="other.account"))
    node.pay(Payment(OURS, 12, sender="stranger"))
    node.pay(Payment(OURS, 13, sender=OURS, memo=ENCRYPTED))
    node.chain.mine()
    assert {t.amount: set(t.flags) for t in await paid(made)} == {
        10: {"internal"},
        11: {"internal"},
        12: set(),
        13: {"internal", "memo_unreadable"},
    }


async def test_an_account_that_does_not_exist_is_warned_of(
    node: devnet.HiveNode, source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "_accounts", lambda names: [])
    (facts,) = await source().open()
    assert any(OURS in w for w in facts.warnings)


# -- memos ---------------------------------------------------------------------------------------


def key_file(tmp_path: Path, wif: str) -> str:
    path = tmp_path / "memo-key"
    path.write_text(wif)
    return str(path)


async def test_an_encrypted_memo_without_a_key_is_marked(
    node: devnet.HiveNode, source: Make, observer: Counting
) -> None:
    """Beside a plain memo that begins alike."""
    made = source()
    await made.open()
    node.pay(Payment(OURS, 10, memo=ENCRYPTED))
    node.pay(Payment(OURS, 11, memo="#SATS event:1:wallet:alice"))
    node.chain.mine()
    locked, plain = await paid(made)
    assert (locked.memo, locked.flags) == (ENCRYPTED.encode(), ("memo_unreadable",))
    assert (plain.memo, plain.flags) == (b"#SATS event:1:wallet:alice", ())
    assert observer.counted == {"memo_unreadable": 1}


async def test_an_encrypted_memo_is_read_with_the_accounts_memo_key(
    node: devnet.HiveNode, source: Make, observer: Counting, tmp_path: Path
) -> None:
    node.memo_keys[OURS] = MemoKey(MEMO_WIF).public
    made = source(memo_key_file=key_file(tmp_path, MEMO_WIF))
    await made.open()
    node.pay(Payment(OURS, 10, memo=ENCRYPTED))
    node.pay(Payment(OURS, 11, memo="#" + "z" * 140))
    node.chain.mine()
    read, locked = await paid(made)
    assert (read.memo, read.flags) == (b"I am this!", ())
    assert locked.flags == ("memo_unreadable",)
    assert observer.counted == {"memo_unreadable": 1}


async def test_a_key_that_is_not_the_accounts_memo_key_is_refused(
    node: devnet.HiveNode, source: Make, tmp_path: Path
) -> None:
    node.memo_keys[OURS] = MemoKey(OTHER_WIF).public
    with pytest.raises(Misconfigured, match=rf"memo_key_file is not the memo key of {OURS}"):
        await source(memo_key_file=key_file(tmp_path, MEMO_WIF)).open()


async def test_a_spending_key_is_refused_even_where_it_is_the_memo_key_too(
    node: devnet.HiveNode, source: Make, tmp_path: Path
) -> None:
    """No key that can spend is in this process."""
    node.memo_keys[OURS] = node.active_keys[OURS] = MemoKey(MEMO_WIF).public
    with pytest.raises(Misconfigured, match=f"active key of {OURS}") as refused:
        await source(memo_key_file=key_file(tmp_path, MEMO_WIF)).open()
    assert MEMO_WIF not in str(refused.value)
