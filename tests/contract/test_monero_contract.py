"""The Monero adapter against the simulated wallet: the contract, and what only Monero has."""

import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chainwatch.adapters import monero as adapter
from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.adapters.monero import MoneroSource
from chainwatch.adapters.rpc import Limits
from chainwatch.config.networks import spec as known_spec
from chainwatch.devnet.monero import MoneroNode, make
from chainwatch.devnet.monero_wallet import SimWallet
from chainwatch.devnet.node import Payment
from chainwatch.errors import Inconsistent, Misconfigured, Persistent, Rejected, Transient
from chainwatch.model import BlockRef, InBlock, Transfer, Unconfirmed, Window
from chainwatch.testing.clock import LeapingClock
from chainwatch.testing.contract import CASES, Case, missing
from chainwatch.testing.simulated import HURRIED_S, SimHarness, bend

pytestmark = pytest.mark.network

XMR = 10**12


class Counting(SilentObserver):
    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def count(self, chain: str, what: str, n: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + n


class MoneroHarness(SimHarness):
    """A simulated node and wallet; with ``daemon`` False the source knows the wallet alone."""

    node: MoneroNode

    def __init__(self, journal: Path, daemon: bool) -> None:
        clock, rng, self._daemon, self.observer = LeapingClock(), random.Random(5), daemon, Counting()
        self.limits = Limits(concurrency=2)
        self.folder = journal.parent
        super().__init__(
            lambda: make(known_spec("XMR"), clock=clock, rng=rng, journal=journal),
            Services(clock=clock, random=random.Random(2), observer=self.observer),
            can={"outputs", "reorg", "mempool", "faults", "restart", "stranger"},
        )

    async def start(self) -> None:
        """Start with three subaddresses and three blocks."""
        await self.node.start()
        self.node.wallet.create(3)
        await self.mine(3)
        self.spec = known_spec(
            "XMR",
            endpoints=(self.node.url,),
            receive=tuple(self.node.wallet.addresses[1:3]),
            options={"daemon": self.node.url} if self._daemon else {},
        )

    def source(self, **changes: Any) -> MoneroSource:
        """Return a new, unopened source; ``changes``: fields of the spec."""
        spec = msgspec.structs.replace(self.spec, **changes)
        return MoneroSource(spec, self.services, wallet=self.limits, daemon=self.limits)

    def hurry(self) -> None:
        """Let sources made from now on give up after half a second."""
        self.limits = Limits(deadline_s=HURRIED_S, attempt_s=HURRIED_S, concurrency=2)

    def wallet(self) -> str:
        """Return a subaddress."""
        return self.node.new_subaddress()

    async def pay(self, amount: int, *, to: str | None = None, outputs: int = 1, **more: Any) -> str:
        """Pay to different subaddresses where nobody is named."""
        payees = self.spec.receive[:outputs] if to is None else (to,) * outputs
        return self.node.pay_many([Payment(payee, amount, **more) for payee in payees])

    async def finalize(self) -> None:
        """Make as many blocks as lock an output."""
        await self.mine(10)


@asynccontextmanager
async def harness(daemon: bool = True) -> AsyncIterator[MoneroHarness]:
    with tempfile.TemporaryDirectory() as folder:
        made = MoneroHarness(Path(folder) / "xmr.journal", daemon)
        await made.start()
        try:
            yield made
        finally:
            await made.stop()


@asynccontextmanager
async def opened(h: MoneroHarness, **changes: Any) -> AsyncIterator[MoneroSource]:
    source = h.source(**changes)
    try:
        await source.open()
        yield source
    finally:
        await source.close()


def the(window: Window, txid: str) -> Transfer:
    (found,) = [t for t in window.transfers if t.txid == txid]
    return found


@pytest.mark.parametrize("daemon", [True, False], ids=["by hash", "by height"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
async def test_contract(case: Case, daemon: bool) -> None:
    async with harness(daemon) as h:
        if reason := missing(case, h):
            pytest.skip(reason)
        await case(h)


# -- who may be read -----------------------------------------------------------------------------


async def test_a_wallet_that_could_spend_is_refused_without_its_key_being_asked_for() -> None:
    async with harness() as h:
        h.faults.omit = frozenset({"view_only"})
        source = h.source()
        with pytest.raises(Misconfigured, match="can spend"):
            await source.open()
        await source.close()
        assert "query_key" not in h.node.requests


async def test_a_receiving_address_of_another_wallet_is_refused() -> None:
    async with harness() as h:
        source = h.source(receive=(h.node.new_wallet(),))
        with pytest.raises(Misconfigured, match="does not hold"):
            await source.open()
        await source.close()


async def test_a_wallet_rpc_that_comes_back_with_another_wallet_is_not_read() -> None:
    """Restarted between two looks, it was never out of use: payments to ours would be passed, and open ones be gone."""
    async with harness() as h, opened(h) as source:
        start = (await source.read(None, ())).end
        txid = await h.pay(XMR)
        await h.mine()
        ours, h.node.wallet = h.node.wallet, SimWallet(b"another wallet's thirty-two bytes"[:32], "mainnet", None)
        for _ in range(2):
            with pytest.raises(Inconsistent, match="another one than before"):
                await source.read(start, [(txid, "0.1")])
        assert not source._node.wallets.endpoints[0].up
        h.node.wallet = ours
        assert the(await source.read(start, [(txid, "0.1")]), txid).amount == XMR


async def test_a_chain_is_not_followed_by_hash_and_by_height_in_turn() -> None:
    async with harness() as h:
        async with opened(h, options={}) as source:
            window = await source.read(None, ())
            assert window.end.hash == f"height:{window.end.height}"
        async with opened(h) as source:
            with pytest.raises(Persistent, match="daemon"):
                await source.read(window.end, ())
            real = (await source.read(None, ())).end
        async with opened(h, options={}) as source:
            with pytest.raises(Persistent, match="daemon"):
                await source.read(real, ())


async def test_a_daemon_of_another_network_is_refused_beside_the_right_wallet() -> None:
    async with harness() as h:
        info = h.node._get_info()
        h.node._get_info = lambda: {**info, "nettype": "stagenet"}  # type: ignore[method-assign]
        source = h.source()
        with pytest.raises(Misconfigured, match="is of stagenet, not of mainnet"):
            await source.open()
        await source.close()


async def test_a_daemon_whose_first_block_is_another_is_refused() -> None:
    async with harness() as h:
        source = h.source(params={"genesis": {"mainnet": "00" * 32}})
        with pytest.raises(Misconfigured, match="first block"):
            await source.open()
        await source.close()


async def test_check_says_when_no_daemon_is_named() -> None:
    async with harness(daemon=False) as h:
        source = h.source()
        (facts,) = await source.open()
        await source.close()
        assert any("height only" in w for w in facts.warnings)


async def test_a_block_s_time_is_never_before_its_parent_s() -> None:
    """A miner may set it back to the median of sixty blocks, and so make a late payment look timely."""
    async with harness() as h, opened(h) as source:
        start = (await source.read(None, ())).end
        await h.mine()
        txid = await h.pay(XMR)
        await h.mine()
        *_, parent, payer = h.node.chain.best
        set_back = msgspec.structs.replace(payer, time_ms=parent.time_ms - 3_600_000)
        h.node.chain.best[-1] = h.node.chain.by_hash[payer.ref.hash] = set_back
        position = the(await source.read(start, ()), txid).position
        assert isinstance(position, InBlock)
        assert position.time_ms == parent.time_ms // 1000 * 1000


QUORUM = {"above": "1", "nodes": 2}


async def test_a_large_payment_waits_until_a_second_wallet_shows_it_alike() -> None:
    async with harness() as h:
        other = MoneroNode(h.node.spec, clock=h.node.clock, rng=random.Random(9), chain=h.node.chain)
        other.wallet = h.node.wallet  # the same keys behind another wallet-rpc
        bend(other, twists := {})
        await other.start()
        options = {"daemon": h.node.url, "quorum": QUORUM}
        async with opened(h, options=options, endpoints=(h.node.url, other.url)) as source:
            start = (await source.read(None, ())).end
            twists["get_transfer_by_txid"] = lambda answer, _: {"transfers": []}
            small = await h.pay(XMR)
            await h.mine()
            assert the(await source.read(start, ()), small).ok, "not above the value: one wallet is enough"
            large = await h.pay(XMR + 1)
            await h.mine()
            with pytest.raises(Transient, match="1 of 2 nodes"):
                await source.read(start, ())
            twists.clear()
            assert the(await source.read(start, ()), large).ok
            before = other.requests.get("get_transfer_by_txid", 0)
            assert the(await source.read(start, ()), large).ok
            assert other.requests.get("get_transfer_by_txid", 0) == before, "it is asked once"
        await other.stop()


async def test_a_quorum_of_one_wallet_is_pointed_out() -> None:
    async with harness() as h:
        source = h.source(options={"daemon": h.node.url, "quorum": QUORUM})
        (facts,) = await source.open()
        await source.close()
        assert any("quorum needs 2" in w for w in facts.warnings)


# -- silence is no answer ------------------------------------------------------------------------


@pytest.mark.parametrize("omit", ["refresh", "ready"])
async def test_a_wallet_that_cannot_refresh_and_a_busy_daemon_are_transient_never_an_empty_window(omit: str) -> None:
    """btcpay-monero/btcpayserver-monero-plugin#73: a wallet that no longer hears its daemon shows nothing new."""
    async with harness() as h, opened(h) as source:
        start = (await source.read(None, ())).end
        txid = await h.pay(XMR)
        await h.mine()
        h.faults.omit = frozenset({omit})
        with pytest.raises(Transient):
            await source.read(start, ())
        h.faults.omit = frozenset()
        assert the(await source.read(start, ()), txid).ok is True


async def test_a_wallet_behind_its_daemon_is_transient() -> None:
    async with harness() as h, opened(h) as source:
        start = (await source.read(None, ())).end
        await h.mine(2)
        h.node.wallet.refresh = lambda chain: 0  # type: ignore[method-assign]
        with pytest.raises(Transient, match="its daemon at"):
            await source.read(start, ())


async def test_a_chain_that_ends_below_our_position_is_transient() -> None:
    """A node that lags, or was set up anew: nothing is taken for vanished."""
    async with harness() as h, opened(h) as source:
        head = h.node.chain.head.ref.height
        with pytest.raises(Transient, match="below our position"):
            await source.read(BlockRef(head + 1, ""), [("00" * 32, "0.1")])


async def test_a_payment_in_the_pool_is_in_no_block_not_even_the_first() -> None:
    async with harness() as h, opened(h, start=0) as source:
        start = (await source.read(None, ())).end
        txid = await h.pay(XMR)
        window = await source.read(start, ())
        assert window.start == 0
        assert isinstance(the(window, txid).position, Unconfirmed)


async def test_between_undone_and_replaced_blocks_nothing_counts() -> None:
    """The wallet goes on listing the payment as ``in`` with confirmations, and in ``pool``: field notes of 0.18."""
    async with harness() as h, opened(h) as source:
        start = (await source.read(None, ())).end
        txid = await h.pay(XMR)
        await h.mine(2)
        paid = await source.read(start, ())
        assert isinstance(the(paid, txid).position, InBlock)
        h.node.pop_blocks(2)
        with pytest.raises(Transient):
            await source.read(paid.end, [(txid, "0.1")])
        await h.mine(3)
        again = the(await source.read(paid.end, [(txid, "0.1")]), txid)
        assert isinstance(again.position, InBlock)
        assert again.position != the(paid, txid).position


async def test_without_a_daemon_a_payment_in_block_and_pool_at_once_is_unconfirmed() -> None:
    async with harness(daemon=False) as h, opened(h) as source:
        start = (await source.read(None, ())).end
        txid = await h.pay(XMR)
        await h.mine(2)
        end = (await source.read(start, ())).end
        h.node.pop_blocks(2)
        window = await source.read(end, [(txid, "0.1")])
        assert isinstance(the(window, txid).position, Unconfirmed)
        assert h.observer.counts["listed_twice"] >= 1


# -- what is believed ----------------------------------------------------------------------------


async def test_a_payment_with_an_unlock_time_is_flagged_locked() -> None:
    """monero-ecosystem/monero-python#127, monero-project/research-lab#78: it looks like any other payment."""
    async with harness() as h, opened(h) as source:
        start = (await source.read(None, ())).end
        locked, free = await h.pay(XMR, kind="locked"), await h.pay(XMR)
        assert the(await source.read(start, ()), locked).flags == ("locked",)
        await h.mine()
        window = await source.read(start, ())
        assert the(window, locked).flags == ("locked",)
        assert the(window, free).flags == ()


async def test_a_conflicting_transaction_is_flagged() -> None:
    async with harness() as h, opened(h) as source:
        start = (await source.read(None, ())).end
        txid = await h.pay(XMR, kind="double_spend")
        seen = the(await source.read(start, ()), txid)
        assert seen.flags == ("double_spend_seen",)
        assert isinstance(seen.position, Unconfirmed)


async def test_the_second_payment_to_a_one_time_key_is_flagged_and_the_first_is_not() -> None:
    """The burning bug (2018): whoever spends one such output has burnt the other."""
    async with harness() as h, opened(h) as source:
        start = (await source.read(None, ())).end
        first = await h.pay(XMR, kind="burnt")
        await h.mine()
        window = await source.read(start, ())
        second = await h.pay(XMR, kind="burnt")
        await h.mine()
        window = await source.read(window.end, [(first, "0.1")])
        assert the(window, first).flags == ()
        assert the(window, second).flags == ("duplicate_output_key",)
        again = await source.read(window.end, ())
        assert [t.flags for t in again.transfers] == [(), ("duplicate_output_key",)], "the verdict is remembered"
        assert h.observer.counts["burnt_output"] == 1


async def test_an_amount_that_no_output_carries_is_not_known_to_have_arrived() -> None:
    """Fake amounts, and public keys repeated to be counted again (2018): the outputs decide."""
    async with harness() as h, opened(h) as source:
        start = (await source.read(None, ())).end
        txid = await h.pay(XMR, kind="forged")
        await h.mine()
        assert the(await source.read(start, ()), txid).ok is None


async def test_an_entry_that_the_wallet_lists_twice_counts_once_and_for_the_smaller_amount() -> None:
    async with harness() as h, opened(h) as source:
        start = (await source.read(None, ())).end
        txid = await h.pay(XMR)
        await h.mine()
        listed = h.node._get_transfers

        def twice(**query: Any) -> dict[str, Any]:
            (entry,) = listed(**query)["in"]
            return {"in": [{**entry, "amount": 2 * XMR, "amounts": [2 * XMR]}, entry]}

        h.node._get_transfers = twice  # type: ignore[method-assign]
        assert the(await source.read(start, ()), txid).amount == XMR


async def test_outputs_of_a_subaddress_are_asked_for_only_when_it_has_something_new() -> None:
    async with harness() as h, opened(h) as source:
        window = await source.read(None, ())
        await h.pay(XMR)
        await h.mine()
        for _ in range(3):
            window = await source.read(window.end, ())
        assert h.node.requests["incoming_transfers"] == 1


# -- addresses -----------------------------------------------------------------------------------


async def test_addresses_go_by_number_and_asking_again_makes_no_more() -> None:
    async with harness() as h, opened(h) as source:
        first = await source.addresses(1, 150)
        assert len(set(first)) == 150
        assert first[:3] == h.node.wallet.addresses[1:4]
        assert await source.addresses(1, 150) == first
        assert await source.addresses(100, 20) == first[99:119]
        assert len(h.node.wallet.addresses) == 151
        for start, count in ((0, 0), (-1, 1), (1, 1001), (100_000, 1)):
            with pytest.raises(Rejected):
                await source.addresses(start, count)


async def test_a_handed_out_subaddress_is_the_same_after_the_wallet_restarted() -> None:
    async with harness() as h, opened(h) as source:
        before = await source.addresses(0, 40)
        await h.restart()
        assert await source.addresses(0, 40) == before


async def test_an_integrated_address_is_the_payee_and_its_payment_id_the_memo() -> None:
    from monero.address import address

    async with harness() as h, opened(h) as source:
        primary = h.node.wallet.addresses[0]
        ours, other = (str(address(primary).with_payment_id(n)) for n in ("00000000000001ab", "00000000000001ac"))
        source.watch([ours])
        start = (await source.read(None, ())).end
        txid, strange = await h.pay(XMR, to=ours), await h.pay(XMR, to=other)
        await h.mine()
        window = await source.read(start, ())
        assert (the(window, txid).to, the(window, txid).memo) == (ours, b"00000000000001ab")
        assert not [t for t in window.transfers if t.txid == strange]


async def test_several_outputs_to_one_subaddress_are_one_payment_and_several_subaddresses_are_several() -> None:
    """AcceptXMR 0.12.1: one transaction, many outputs, and only the first was counted."""
    async with harness() as h, opened(h) as source:
        start = (await source.read(None, ())).end
        one, two = h.spec.receive
        txid = h.node.pay_many([Payment(one, XMR), Payment(two, 2 * XMR), Payment(one, 3 * XMR)])
        await h.mine()
        window = await source.read(start, ())
        assert [(t.index, t.amount) for t in window.transfers if t.txid == txid] == [("0.1", 4 * XMR), ("0.2", 2 * XMR)]


# -- windows -------------------------------------------------------------------------------------


async def test_a_reorganisation_as_deep_as_the_deepest_on_record_is_inside_the_window() -> None:
    """18 blocks on 2025-09-14, with 117 transactions invalidated."""
    async with harness() as h, opened(h) as source:
        await h.mine(30)
        start = (await source.read(None, ())).end
        gone, stays = await h.pay(XMR), await h.pay(2 * XMR)
        await h.mine(18)
        before = await source.read(start, ())
        h.node.chain.reorg(18, drop=[gone], shift=5)
        window = await source.read(before.end, [(gone, "0.1"), (stays, "0.1")])
        assert [t.txid for t in window.transfers] == [stays]
        refs = {r.height: r for r in window.refs}
        assert refs[start.height].same(start), "the fork point is shown"
        assert not refs[before.end.height].same(before.end)


async def test_when_the_position_is_gone_the_window_reaches_far_below_it() -> None:
    async with harness() as h, opened(h) as source:
        fork = (await source.read(None, ())).end
        await h.mine(3 * adapter.OVERLAP)
        end = (await source.read(fork, ())).end
        h.node.chain.reorg(3 * adapter.OVERLAP)
        window = await source.read(end, ())
        assert fork in window.refs


async def test_a_catch_up_in_several_windows_loses_nothing_and_takes_nothing_for_vanished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adapter, "SPAN", 10)
    async with harness() as h, opened(h) as source:
        position = (await source.read(None, ())).end
        early = await h.pay(XMR)
        assert isinstance(the(await source.read(position, ()), early).position, Unconfirmed)
        h.node.chain.mine(())
        for _ in range(25):
            h.node.chain.mine(())
        h.node.chain.mine()  # only now, two windows ahead
        ends, last = [], None
        while last is None or last.end.height < last.head.height:
            last = await source.read(position, [(early, "0.1")])
            position = last.end
            ends.append(position.height)
            known = the(last, early)
            assert isinstance(known.position, Unconfirmed) is (position.height < h.node.chain.head.ref.height)
        assert ends == [13, 23, 30]


async def test_an_open_payment_older_than_the_overlap_is_still_looked_up() -> None:
    async with harness() as h, opened(h) as source:
        start = (await source.read(None, ())).end
        txid = await h.pay(XMR)
        await h.mine(2 * adapter.OVERLAP)
        window = await source.read(start, ())
        assert not [t for t in (await source.read(window.end, ())).transfers if t.txid == txid]
        kept = the(await source.read(window.end, [(txid, "0.1"), ("00" * 32, "0.1")]), txid)
        assert kept == the(window, txid)


async def test_a_first_run_from_the_tip_shows_no_older_payment_in_its_overlap() -> None:
    async with harness() as h:
        old = await h.pay(XMR)
        await h.mine(3)
        async with opened(h) as source:
            window = await source.read(None, ())
            await h.mine()
            for _ in range(2):
                assert not window.transfers
                window = await source.read(window.end, ())
        async with opened(h, start=1) as source:
            assert [t.txid for t in (await source.read(None, ())).transfers] == [old]


async def test_a_position_without_a_hash_is_taken_at_its_height() -> None:
    async with harness() as h, opened(h) as source:
        await h.mine(5)
        txid = await h.pay(XMR)
        await h.mine()
        window = await source.read(BlockRef(5, ""), ())
        assert [t.txid for t in window.transfers] == [txid]


async def test_a_backfill_below_the_first_run_reads_what_is_there() -> None:
    async with harness() as h:
        old = await h.pay(XMR)
        await h.mine(3)
        async with opened(h) as source:
            first = (await source.read(None, ())).end
            assert not (await source.read(first, ())).transfers
            assert [t.txid for t in (await source.read(BlockRef(4, ""), ())).transfers] == [old]


@pytest.mark.parametrize("daemon", [True, False])
async def test_a_window_says_up_to_what_time_the_chain_was_read(daemon: bool) -> None:
    """Holds end only once the chain is scanned past them, payments or not."""
    async with harness(daemon) as h, opened(h) as source:
        await h.mine()
        before = h.node.clock.now_ms()
        read_to = (await source.read(None, ())).time_ms
        block = h.node.chain.head.time_ms
        assert read_to == block // 1000 * 1000 if daemon else before <= read_to <= h.node.clock.now_ms()


# -- secrets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "mode", "complaint"),
    [
        ("user:secret", 0o644, "chmod"),
        ("user:secret", 0o620, "chmod"),
        ("secret", 0o600, "user:password"),
        ("user:secret\nother:x", 0o600, "user:password"),
        ("u" * 2000 + ":x", 0o600, "user:password"),
    ],
)
async def test_a_login_file_that_others_can_read_or_that_is_none_is_refused_without_being_quoted(
    tmp_path: Path, text: str, mode: int, complaint: str
) -> None:
    file = tmp_path / "login"
    file.write_text(text)
    file.chmod(mode)
    async with harness() as h:
        with pytest.raises(Misconfigured, match=complaint) as refused:
            h.source(options={"login_file": str(file)})
        assert "secret" not in str(refused.value)
        with pytest.raises(Misconfigured, match="login_file"):
            h.source(options={"login_file": str(tmp_path / "none")})
        with pytest.raises(Misconfigured, match="walet"):
            h.source(options={"walet": "x"})


async def test_the_simulated_wallet_keeps_its_keys_to_itself() -> None:
    async with harness() as h:
        (keys,) = [p for p in h.folder.iterdir() if p.suffix == ".wallet"]
        assert keys.stat().st_mode & 0o777 == 0o600
