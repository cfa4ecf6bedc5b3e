"""One suite for every adapter: what ``BlockSource`` and ``AccountSource`` promise, as cases.

A chain's test file builds a ``Harness`` (a simulated or a real node, and a way to make it carry
payments) and runs each of ``CASES`` against it::

    @pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
    async def test_contract(case):
        async with make_harness() as harness:
            if reason := missing(case, harness):
                pytest.skip(reason)
            await case(harness)

A case drives the source through a ``Replica``, a small reader that does what the watcher does, and
compares what the replica knows with what the harness did.  The simulated nodes run the same cases
as the real ones, so the devnet cannot drift from the truth.
"""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import msgspec

from chainwatch.adapters import open_source
from chainwatch.adapters.base import BlockSource, BlockView, Services, SilentObserver
from chainwatch.clock import SystemClock
from chainwatch.devnet.node import Faults
from chainwatch.errors import Misconfigured, Transient
from chainwatch.model import FEE, Asset, InBlock, Transfer
from chainwatch.testing.replica import Harness, Replica, reading

PATIENCE_S = 90.0
"""The longest a source may take to call a silent node Transient (its own deadline is 30 s)."""


Case = Callable[[Harness], Awaitable[None]]

CASES: list[Case] = []
"""Every case, in order."""

_NEEDS: dict[Case, frozenset[str]] = {}


def case(*needs: str) -> Callable[[Case], Case]:
    """Register a case that needs these abilities (``blocks``: a ``BlockSource``)."""

    def register(function: Case) -> Case:
        CASES.append(function)
        _NEEDS[function] = frozenset(needs)
        return function

    return register


def missing(case: Case, harness: Harness) -> str | None:
    """Return why the harness cannot run the case, or None when it can."""
    can = harness.can | ({"blocks"} if hasattr(harness.source(), "view") else {"account"})
    lacking = sorted(_NEEDS[case] - can)
    return f"{harness.spec.code}: this node cannot do {', '.join(lacking)}" if lacking else None


# -- what the cases share ------------------------------------------------------------------------


def price(asset: Asset, n: int = 0) -> int:
    """Return a hundredth of the coin and a few base units: above every chain's dust and rent, not round."""
    return max(int(10**asset.decimals) // 100, 10) + 7 + n


def memo_for(harness: Harness, event: str = "42") -> str:
    """Return the memo that a buyer would send."""
    return f"event:{event}:wallet:{harness.wallet()}"


def check_paid(replica: Replica, harness: Harness, txid: str, amount: int, asset: Asset | None = None) -> Transfer:
    """Assert that exactly one good payment of this transaction is known, with these facts; return it."""
    asset = asset or harness.spec.native
    found = replica.of(txid)
    assert len(found) == 1, f"{txid} is known {len(found)} times"
    (transfer,) = found
    assert (transfer.amount, transfer.asset, transfer.to) == (amount, asset.code, harness.spec.receive[0])
    assert transfer.chain == harness.spec.code
    assert transfer.ok is True
    assert transfer.index
    return transfer


def same_facts(a: Replica, b: Replica) -> None:
    """Assert that two replicas know the same payments (positions included)."""
    assert a.facts == b.facts


# -- the cases: reading --------------------------------------------------------------------------


@case()
async def a_node_says_what_it_is(h: Harness) -> None:
    """``open`` names endpoint, version, network and head; no credentials in the name."""
    source = h.source()
    try:
        facts = await source.open()
        assert facts
        for fact in facts:
            assert fact.endpoint
            assert "@" not in fact.endpoint
            assert fact.version
            assert fact.network
            # Hive shares its first block with Steem; a Monero wallet alone shows no blocks.
            assert fact.genesis or h.spec.family in ("hive", "monero")
            assert fact.head.hash
            assert fact.final is None or fact.final.height <= fact.head.height
    finally:
        await source.close()
        await source.close()  # closing twice is harmless


@case()
async def a_node_of_another_network_is_refused(h: Harness) -> None:
    """A wrong chain id or genesis is ``Misconfigured``, and never retried into acceptance."""
    if h.faults is not None:
        h.faults.wrong_chain = True
        source = h.source()
    else:
        other = str(int(h.spec.chain_id) + 1) if h.spec.chain_id.isdigit() else "0" * len(h.spec.chain_id)
        services = Services(clock=SystemClock(), random=random.Random(1), observer=SilentObserver())
        source = open_source(msgspec.structs.replace(h.spec, chain_id=other), services)
    try:
        await source.open()
    except Misconfigured:
        pass
    else:
        raise AssertionError("a node of another network was accepted")
    finally:
        await source.close()


@case("blocks")
async def blocks_link_by_parent_hash(h: Harness) -> None:
    """Headers and blocks agree with each other; every block names its predecessor."""
    async with reading(h) as replica:
        start = replica.position
        await h.mine(5)
        view = await _view(replica)
        refs = [await view.header(height) for height in range(start.height, view.head.height + 1)]
        assert refs[0].same(start)
        assert all(b.parent == a.hash for a, b in itertools.pairwise(refs))
        blocks = await view.blocks(start.height + 1, view.head.height)
        assert [b.ref for b in blocks] == refs[1:]


@case("blocks")
async def an_empty_range_is_empty_and_a_range_past_the_head_is_transient(h: Harness) -> None:
    """No block is made up, and none is silently left out."""
    async with reading(h) as replica:
        view = await _view(replica)
        assert list(await view.blocks(view.head.height + 1, view.head.height)) == []
        await _is_transient(view.blocks(view.head.height, view.head.height + 3))
        await _is_transient(view.header(view.head.height + 1000))


@case("blocks")
async def blocks_without_payments_are_reported_too(h: Harness) -> None:
    """The cursor moves over blocks in which nothing is ours."""
    async with reading(h) as replica:
        before = replica.position.height
        await h.mine(3)
        await replica.settle()
        assert replica.position.height >= before + 3
        assert replica.facts == {}


@case()
async def a_payment_is_reported_once_with_its_exact_amount(h: Harness) -> None:
    """To the base unit, in the native coin, with identity and position."""
    async with reading(h) as replica:
        txid = await h.pay(price(h.spec.native))
        await h.mine()
        await replica.see(txid)
        check_paid(replica, h, txid, price(h.spec.native))
        await h.mine(2)
        await replica.settle()
        check_paid(replica, h, txid, price(h.spec.native))


@case()
async def an_underpayment_and_its_rest_are_told_exactly(h: Harness) -> None:
    """Nothing is rounded up to the price, and two payments to one address do not become one."""
    whole = price(h.spec.native)
    async with reading(h) as replica:
        short = await h.pay(whole // 2)
        await h.mine()
        rest = await h.pay(whole - whole // 2)
        await h.mine()
        await replica.see(short, rest)
        check_paid(replica, h, short, whole // 2)
        check_paid(replica, h, rest, whole - whole // 2)


@case("memo")
async def a_memo_arrives_byte_for_byte(h: Harness) -> None:
    """The raw bytes as carried; their meaning is not for the adapter."""
    async with reading(h) as replica:
        memo = memo_for(h, "rock-n_roll")
        txid = await h.pay(price(h.spec.native), memo=memo)
        await h.mine()
        await replica.see(txid)
        assert check_paid(replica, h, txid, price(h.spec.native)).memo == memo.encode()


@case("memo")
async def payments_of_one_block_keep_their_own_memos(h: Harness) -> None:
    """Amounts and memos of neighbours are not mixed up."""
    async with reading(h) as replica:
        sent = {}
        for n in range(3):
            memo = memo_for(h, f"{n}")
            sent[await h.pay(price(h.spec.native, n), memo=memo)] = (price(h.spec.native, n), memo.encode())
        await h.mine()
        await replica.see(*sent)
        assert {t.txid: (t.amount, t.memo) for t in replica.facts.values()} == sent


@case("outputs")
async def payments_of_one_transaction_are_told_apart(h: Harness) -> None:
    """Each has an index of its own, and all of them count."""
    async with reading(h) as replica:
        txid = await h.pay(price(h.spec.native), outputs=2)
        await h.mine()
        await replica.see(txid)
        found = replica.of(txid)
        assert [t.amount for t in found] == [price(h.spec.native)] * 2
        assert len({t.index for t in found}) == 2


@case("token")
async def a_token_payment_names_its_token(h: Harness) -> None:
    """By contract or mint, never by symbol; the amount in the token's own units."""
    token = next(a for a in h.spec.assets[1:])
    async with reading(h) as replica:
        txid = await h.pay(price(token), asset_id=token.asset_id)
        await h.mine()
        await replica.see(txid)
        assert check_paid(replica, h, txid, price(token), token).asset_id == token.asset_id


@case("token", "memo")
async def a_token_payment_carries_a_memo(h: Harness) -> None:
    """As the native coin does."""
    token = next(a for a in h.spec.assets[1:])
    async with reading(h) as replica:
        memo = memo_for(h)
        txid = await h.pay(price(token), asset_id=token.asset_id, memo=memo)
        await h.mine()
        await replica.see(txid)
        assert check_paid(replica, h, txid, price(token), token).memo == memo.encode()


@case("fail")
async def a_failed_payment_never_counts(h: Harness) -> None:
    """It may be reported, then as ``ok`` False; its good neighbour counts."""
    async with reading(h) as replica:
        bad = await h.pay(price(h.spec.native), memo=memo_for(h), ok=False)
        good = await h.pay(price(h.spec.native, 1))
        await h.mine()
        await replica.see(good)
        check_paid(replica, h, good, price(h.spec.native, 1))
        assert all(t.ok is False for t in replica.of(bad))


@case("stranger")
async def only_watched_addresses_are_reported(h: Harness) -> None:
    """And one that is watched later is reported from then on."""
    async with reading(h) as replica:
        stranger = h.wallet()
        first = await h.pay(price(h.spec.native), to=stranger)
        ours = await h.pay(price(h.spec.native))
        await h.mine()
        await replica.see(ours)
        assert replica.of(first) == []
        replica.source.watch([stranger])
        second = await h.pay(price(h.spec.native), to=stranger)
        await h.mine()
        await replica.see(second)
        assert [t.amount for t in replica.of(second)] == [price(h.spec.native)]


@case("mempool")
async def a_payment_is_seen_before_it_is_mined(h: Harness) -> None:
    """As ``Unconfirmed``, with the identity that it has in the block."""
    async with reading(h) as replica:
        txid = await h.pay(price(h.spec.native))
        await replica.until(lambda: any(t.txid == txid for t in replica.sightings.values()))
        (seen,) = [t for t in replica.sightings.values() if t.txid == txid]
        assert seen.amount == price(h.spec.native)
        assert replica.of(txid) == []
        await h.mine()
        await replica.see(txid)
        assert check_paid(replica, h, txid, price(h.spec.native)).key == seen.key


@case()
async def what_is_mined_becomes_final(h: Harness) -> None:
    """The chain's own word for it, where it has one, reaches the payment's block and never passes the head."""
    async with reading(h) as replica:
        txid = await h.pay(price(h.spec.native))
        await h.mine()
        await replica.see(txid)
        await h.finalize()
        await replica.settle()
        position = check_paid(replica, h, txid, price(h.spec.native)).position
        assert isinstance(position, InBlock)
        assert replica.final is None or replica.final.height >= position.block.height


# -- the cases: what leaves us --------------------------------------------------------------------


def check_sent(replica: Replica, txid: str, amount: int, to: str, asset: Asset) -> Transfer:
    """Assert that exactly this left us by a transaction, that nothing of it is income, and what it cost; return it."""
    found = replica.of(txid)
    assert all("internal" in t.flags for t in found if t.direction == "in")
    left = [t for t in found if t.direction == "out" and t.index != FEE]
    assert [(t.amount, t.asset, t.to, t.ok) for t in left] == [(amount, asset.code, to, True)]
    for cost in (t for t in found if t.index == FEE):
        assert cost.amount == 0
        assert cost.network_fee
        assert cost.to is None
        assert cost.spends == left[0].spends
    return left[0]


@case("send")
async def what_leaves_us_is_reported_as_leaving(h: Harness) -> None:
    """With asset, amount, destination and memo; change is no income; a payment to us stays one."""
    async with reading(h) as replica:
        first = await h.pay(price(h.spec.native) * 3)
        await h.mine()
        await replica.see(first)
        creator = h.wallet()
        memo = "payout:7" if "memo" in h.can else None
        sent = await h.send(price(h.spec.native, 1), creator, memo=memo)
        second = await h.pay(price(h.spec.native, 2))
        await h.mine()
        await replica.see(sent, second)
        out = check_sent(replica, sent, price(h.spec.native, 1), creator, h.spec.native)
        assert out.memo == (memo.encode() if memo else None)
        check_paid(replica, h, second, price(h.spec.native, 2))


@case("send", "token")
async def a_token_that_leaves_us_is_reported_as_leaving(h: Harness) -> None:
    """The fee is in the native coin, the token's amount whole."""
    token = next(a for a in h.spec.assets[1:])
    async with reading(h) as replica:
        first = await h.pay(price(token) * 3, asset_id=token.asset_id)
        await h.mine()
        await replica.see(first)
        creator = h.wallet()
        sent = await h.send(price(token, 1), creator, asset_id=token.asset_id)
        await h.mine()
        await replica.see(sent)
        check_sent(replica, sent, price(token, 1), creator, token)


@case("send", "reorg")
async def what_left_us_in_a_block_that_is_gone_has_not_left(h: Harness) -> None:
    """An outgoing transfer follows the best chain as an incoming one does."""
    async with reading(h) as replica:
        first = await h.pay(price(h.spec.native) * 3)
        await h.mine()
        await replica.see(first)
        creator = h.wallet()
        sent = await h.send(price(h.spec.native, 1), creator)
        await h.mine()
        await replica.see(sent)
        before = check_sent(replica, sent, price(h.spec.native, 1), creator, h.spec.native)
        await h.move(sent)
        await replica.until(lambda: bool(replica.of(sent)) and _left(replica, sent).position != before.position)
        assert _left(replica, sent).key == before.key
        await h.drop(sent)
        await replica.until(lambda: not replica.of(sent))
        check_paid(replica, h, first, price(h.spec.native) * 3)


def _left(replica: Replica, txid: str) -> Transfer:
    return next(t for t in replica.of(txid) if t.direction == "out" and t.index != FEE)


# -- the cases: catching up ----------------------------------------------------------------------


@case()
async def catching_up_in_spans_equals_following_one_by_one(h: Harness) -> None:
    """The same facts, however many blocks are asked for at once, final or not."""
    async with reading(h) as live:
        start = live.position
        sent = []
        for n in range(6):
            sent.append(await h.pay(price(h.spec.native, n), memo=memo_for(h, str(n)) if "memo" in h.can else None))
            await h.mine(1 + n % 2)
            await live.settle()
        await h.finalize()
        sent.append(await h.pay(price(h.spec.native, 9)))
        await h.mine()
        await live.see(*sent)
        for span in (1, 3, None):
            async with reading(h, start=start, span=span) as late:
                await late.see(*sent)
                same_facts(late, live)


@case()
async def our_restart_loses_nothing(h: Harness) -> None:
    """What was paid while nobody read is there when a new source goes on where the old one stood."""
    async with reading(h) as before:
        first = await h.pay(price(h.spec.native))
        await h.mine()
        await before.see(first)
        stood = before.position
    second = await h.pay(price(h.spec.native, 1))
    await h.mine(2)
    async with reading(h, start=stood) as after:
        await after.see(second)
        check_paid(after, h, second, price(h.spec.native, 1))


@case("restart")
async def the_nodes_restart_loses_nothing(h: Harness) -> None:
    """The same source goes on when the node is back."""
    async with reading(h) as replica:
        first = await h.pay(price(h.spec.native))
        await h.mine()
        await replica.see(first)
        await h.restart()
        second = await h.pay(price(h.spec.native, 1))
        await h.mine()
        await replica.see(second)
        check_paid(replica, h, first, price(h.spec.native))
        check_paid(replica, h, second, price(h.spec.native, 1))


# -- the cases: reorganisations ------------------------------------------------------------------


@case("reorg")
async def a_payment_that_a_reorg_drops_is_gone(h: Harness) -> None:
    """And the payments around it stay."""
    async with reading(h) as replica:
        kept = await h.pay(price(h.spec.native))
        await h.mine()
        await replica.see(kept)
        gone = await h.pay(price(h.spec.native, 1))
        await h.mine()
        await replica.see(gone)
        await h.drop(gone)
        await replica.until(lambda: not replica.of(gone))
        assert replica.of(gone) == []
        check_paid(replica, h, kept, price(h.spec.native))
        later = await h.pay(price(h.spec.native, 2))
        await h.mine()
        await replica.see(later)
        check_paid(replica, h, later, price(h.spec.native, 2))


@case("reorg")
async def a_payment_that_a_reorg_moves_keeps_its_identity(h: Harness) -> None:
    """Same transaction, same index, same facts; another block."""
    async with reading(h) as replica:
        txid = await h.pay(price(h.spec.native), memo=memo_for(h) if "memo" in h.can else None)
        await h.mine()
        await replica.see(txid)
        before = check_paid(replica, h, txid, price(h.spec.native))
        await h.move(txid)
        await replica.until(lambda: bool(replica.of(txid)) and replica.of(txid)[0].position != before.position)
        after = check_paid(replica, h, txid, price(h.spec.native))
        assert after.position != before.position
        assert msgspec.structs.replace(after, position=None) == msgspec.structs.replace(before, position=None)


@case("reorg", "blocks")
async def a_reader_that_slept_through_a_reorg_agrees_with_one_that_watched(h: Harness) -> None:
    """The end of the story is the same for both."""
    async with reading(h) as watched, reading(h) as slept:
        gone = await h.pay(price(h.spec.native))
        await h.mine()
        await watched.settle()
        await slept.settle()
        await h.drop(gone)
        kept = await h.pay(price(h.spec.native, 1))
        await h.mine(2)
        await watched.see(kept)
        await h.move(kept)
        await h.mine()
        for replica in (watched, slept):
            await replica.see(kept)
            assert replica.of(gone) == []
        same_facts(watched, slept)


# -- the cases: misbehaviour ---------------------------------------------------------------------


async def _fault_is_transient(h: Harness, **fault: Any) -> None:
    """Switch a fault on, pay meanwhile: reading is Transient, and afterwards nothing is lost."""
    assert h.faults is not None
    async with reading(h) as replica:
        for name, value in fault.items():
            setattr(h.faults, name, value)
        txid = await h.pay(price(h.spec.native))
        await h.mine()
        await _is_transient(replica.sync())
        assert replica.of(txid) == []
        for name in fault:
            setattr(h.faults, name, getattr(Faults(), name))
        await replica.see(txid)
        check_paid(replica, h, txid, price(h.spec.native))


@case("faults")
async def half_an_answer_is_transient(h: Harness) -> None:
    """Cut JSON is never read as what it would have said."""
    await _fault_is_transient(h, half_body=True)


@case("faults")
async def a_node_that_says_slow_down_is_transient(h: Harness) -> None:
    """HTTP 429."""
    await _fault_is_transient(h, status=429)


@case("faults")
async def a_broken_node_is_transient(h: Harness) -> None:
    """HTTP 500."""
    await _fault_is_transient(h, status=500)


@case("faults")
async def a_busy_node_is_transient(h: Harness) -> None:
    """HTTP 503."""
    await _fault_is_transient(h, status=503)


@case("faults")
async def a_silent_node_is_transient(h: Harness) -> None:
    """It takes the request and never answers: our own deadline ends it."""
    h.hurry()
    await _fault_is_transient(h, hang=True)


@case("faults")
async def a_node_that_fails_now_and_then_loses_nothing(h: Harness) -> None:
    """A fifth of the requests fail; every payment is still reported once."""
    assert h.faults is not None
    async with reading(h) as replica:
        h.faults.error_rate = 0.2
        sent = []
        for n in range(5):
            sent.append(await h.pay(price(h.spec.native, n)))
            await h.mine()
            await replica.settle()
        h.faults.error_rate = 0.0
        await replica.see(*sent)
        for n, txid in enumerate(sent):
            check_paid(replica, h, txid, price(h.spec.native, n))


@case("faults")
async def a_lagging_node_takes_nothing_back(h: Harness) -> None:
    """A head that goes backwards is an old view of the same chain, no reorg."""
    assert h.faults is not None
    async with reading(h) as replica:
        txid = await h.pay(price(h.spec.native))
        await h.mine(3)
        await replica.see(txid)
        h.faults.stale_by = 2
        with contextlib.suppress(Transient):  # a source may say so itself
            await replica.sync()
        check_paid(replica, h, txid, price(h.spec.native))
        h.faults.stale_by = 0
        later = await h.pay(price(h.spec.native, 1))
        await h.mine()
        await replica.see(later)
        check_paid(replica, h, txid, price(h.spec.native))


async def _view(replica: Replica) -> BlockView:
    return await cast(BlockSource, replica.source).view()


async def _is_transient(awaitable: Awaitable[Any]) -> None:
    """Assert that it raises ``Transient`` within the time a source may take."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            await awaitable
    except Transient:
        return
    except TimeoutError:
        raise AssertionError(f"no answer and no Transient in {PATIENCE_S:g} s") from None
    raise AssertionError("no Transient was raised")


__all__: Sequence[str] = ["CASES", "Case", "Harness", "Replica", "case", "missing", "reading"]
