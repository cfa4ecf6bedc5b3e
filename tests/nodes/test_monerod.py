"""The Monero adapter against monerod on regtest and two monero-wallet-rpc: a payer's, and our view-only one.

Debian's package ``monero`` has all three programs.  Everything listens on 127.0.0.1.
"""

import asyncio
import contextlib
import random
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.adapters.monero import MoneroSource
from chainwatch.adapters.rpc import Limits
from chainwatch.clock import SystemClock
from chainwatch.config.networks import spec as known_spec
from chainwatch.errors import ChainwatchError, Misconfigured, Transient
from chainwatch.model import ChainSpec, InBlock, Unconfirmed
from chainwatch.testing.contract import CASES, Case, missing, price
from chainwatch.testing.nodeshop import Shop
from chainwatch.testing.ports import free_ports

PROGRAMS = ("monerod", "monero-wallet-rpc")
pytestmark = [
    pytest.mark.network,
    pytest.mark.node,
    # A RandomX hash for each block, and the first test waits for ninety of them: ten seconds, on a busy machine five
    # minutes.
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not all(shutil.which(p) for p in PROGRAMS), reason="monerod is not installed (apt-get install monero)"
    ),
]

XMR = 10**12
LOGIN = "watch:correct-horse"
RIPE = 90
"""Blocks mined first: coinbases ripen after 60, and a transaction wants 16 outputs to hide among."""


READY_S = 240
"""How long a program may take to answer after it was started: two seconds, on a busy machine a minute and more."""


def post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, msgspec.json.encode(body), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return msgspec.json.decode(answer.read())


def call(port: int, method: str, **params: Any) -> Any:
    answer = post(
        f"http://127.0.0.1:{port}/json_rpc", {"jsonrpc": "2.0", "id": "0", "method": method, "params": params}
    )
    if "error" in answer:
        raise RuntimeError(f"{method}: {answer['error']}")
    return answer["result"]


class Regtest:
    """The three processes, on fixed ports, so that each can go away and come back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemon_port, self.p2p_port, self.payer_port, self.view_port = free_ports(4)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.login_file = folder / "login"
        self.login_file.write_text(LOGIN)
        self.login_file.chmod(0o600)
        self.payer = self.shop = ""

    def start(self) -> None:
        self.start_daemon()
        self._wallet("payer", self.payer_port, "--wallet-dir", str(self.folder), "--disable-rpc-login")
        self._wait(lambda: self.payer_wallet("get_version"))
        self.payer_wallet("create_wallet", filename="shop", password="", language="English")
        self.shop = self.payer_wallet("get_address")["address"]
        view_key = self.payer_wallet("query_key", key_type="view_key")["key"]
        self.payer_wallet("close_wallet")
        self.payer_wallet(
            "generate_from_keys", filename="view", address=self.shop, viewkey=view_key, password="", restore_height=0
        )
        self.payer_wallet("close_wallet")
        self.payer_wallet("create_wallet", filename="payer", password="", language="English")
        self.payer = self.payer_wallet("get_address")["address"]
        self.mine(RIPE)
        self.start_view()

    def start_daemon(self) -> None:
        local = ["--rpc-bind-ip", "127.0.0.1", "--p2p-bind-ip", "127.0.0.1", "--no-zmq", "--rpc-ssl", "disabled"]
        ports = ["--rpc-bind-port", str(self.daemon_port), "--p2p-bind-port", str(self.p2p_port)]
        quiet = ["--non-interactive", "--check-updates", "disabled", "--disable-dns-checkpoints", "--log-level", "0"]
        chain = [
            "--regtest",
            "--keep-fakechain",
            "--offline",
            "--fixed-difficulty",
            "1",
            "--data-dir",
            str(self.folder / "chain"),
        ]
        self._processes["daemon"] = self._spawn(["monerod", *chain, *local, *ports, *quiet], "daemon")
        self._wait(lambda: self.daemon("get_info"))

    def start_view(self) -> None:
        self._wallet(
            "view", self.view_port, "--wallet-file", str(self.folder / "view"), "--password", "", "--rpc-login", LOGIN
        )
        self._wait(lambda: self._listening(self.view_port))

    def _wallet(self, name: str, port: int, *extra: str) -> None:
        node = ["--daemon-address", f"127.0.0.1:{self.daemon_port}", "--trusted-daemon", "--daemon-ssl", "disabled"]
        local = ["--rpc-bind-ip", "127.0.0.1", "--rpc-bind-port", str(port), "--rpc-ssl", "disabled"]
        log = ["--log-level", "0", "--log-file", str(self.folder / f"{name}-wallet.log")]
        self._processes[name] = self._spawn(["monero-wallet-rpc", *node, *local, *log, *extra], name)

    def _spawn(self, command: list[str], name: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.out").open("ab") as out:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=self.folder
            )

    def _listening(self, port: int) -> None:
        socket.create_connection(("127.0.0.1", port), 1).close()

    def _wait(self, probe: Any) -> None:
        end = time.monotonic() + READY_S
        while True:
            try:
                probe()
            except (OSError, RuntimeError):
                dead = [name for name, process in self._processes.items() if process.poll() is not None]
                if dead or time.monotonic() > end:
                    print(*((self.folder / f"{name}.out").read_text("utf-8", "replace")[-2000:] for name in dead))
                    raise
                time.sleep(0.05)  # polling another process: it has no other way to say that it is ready
            else:
                return

    def stop(self, name: str, with_signal: signal.Signals = signal.SIGTERM) -> None:
        process = self._processes.pop(name)
        process.send_signal(with_signal)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop_all(self) -> None:
        for name in list(self._processes):
            self.stop(name)

    def daemon(self, method: str, **params: Any) -> Any:
        return call(self.daemon_port, method, **params)

    def other(self, path: str, **params: Any) -> Any:
        return post(f"http://127.0.0.1:{self.daemon_port}/{path}", params)

    def payer_wallet(self, method: str, **params: Any) -> Any:
        return call(self.payer_port, method, **params)

    def refresh_payer(self) -> None:
        """Bring the payer up to date; it needs a moment to find a daemon that came back."""
        self._wait(lambda: self.payer_wallet("refresh"))

    def mine(self, n: int) -> None:
        while n > 0:  # a busy machine hashes one block a second: no request may last a minute
            self.daemon("generateblocks", amount_of_blocks=min(n, 10), wallet_address=self.payer)
            n -= 10

    def height(self) -> int:
        return int(self.daemon("get_info")["height"]) - 1

    def pool(self) -> list[str]:
        return [tx["id_hash"] for tx in self.other("get_transaction_pool").get("transactions", [])]

    def pop(self, depth: int) -> None:
        """Undo blocks and forget their transactions."""
        self.other("pop_blocks", nblocks=depth)
        self.daemon("flush_txpool")


class NodeHarness:
    can = frozenset({"outputs", "reorg", "mempool", "restart", "stranger"})
    faults = None

    def __init__(self, regtest: Regtest) -> None:
        self.regtest = regtest
        self.spec: ChainSpec = known_spec(
            "XMR",
            chain_id="fakechain",
            endpoints=(f"http://127.0.0.1:{regtest.view_port}",),
            options={
                "daemon": f"http://127.0.0.1:{regtest.daemon_port}",
                "login_file": str(regtest.login_file),
            },
        )
        self._spare: list[str] = []

    async def prepare(self, first: int) -> None:
        source = self.source()
        await source.open()
        addresses = list(await source.addresses(first, 8))
        await source.close()
        self.spec = msgspec.structs.replace(self.spec, receive=tuple(addresses[:2]))
        self._spare = addresses[2:]

    def source(self, *, patience: float = 45, **changes: Any) -> MoneroSource:
        services = Services(clock=SystemClock(), random=random.Random(1), observer=SilentObserver())
        limits = Limits(deadline_s=patience, attempt_s=patience, concurrency=2)
        return MoneroSource(msgspec.structs.replace(self.spec, **changes), services, wallet=limits, daemon=limits)

    def wallet(self) -> str:
        return self._spare.pop()

    async def pay(
        self,
        amount: int,
        *,
        to: str | None = None,
        asset_id: str | None = None,
        memo: str | None = None,
        ok: bool = True,
        outputs: int = 1,
        unlock_time: int = 0,
    ) -> str:
        payees = self.spec.receive[:outputs] if to is None else (to,)
        destinations = [{"address": p, "amount": amount} for p in payees]

        def transfer() -> str:
            self.regtest.refresh_payer()
            return str(
                self.regtest.payer_wallet("transfer", destinations=destinations, unlock_time=unlock_time)["tx_hash"]
            )

        return await asyncio.to_thread(transfer)

    async def mine(self, n: int = 1) -> None:
        def until_in_a_block() -> None:
            self.regtest.mine(n)
            # A transaction stays out of blocks until the node's own relaying has taken note of it.
            for _ in range(20):
                if not self.regtest.pool():
                    return
                self.regtest.mine(1)
            raise AssertionError("the pool is never mined")

        await asyncio.to_thread(until_in_a_block)

    async def finalize(self) -> None:
        await self.mine(10)

    def _raw(self, txid: str) -> tuple[int, str]:
        (tx,) = self.regtest.other("get_transactions", txs_hashes=[txid])["txs"]
        return self.regtest.height() - tx["block_height"] + 1, tx["as_hex"]

    async def drop(self, txid: str) -> None:
        depth, _ = self._raw(txid)
        self.regtest.pop(depth)
        await self.mine(depth + 1)

    async def move(self, txid: str) -> None:
        depth, raw = self._raw(txid)
        self.regtest.pop(depth)
        await self.mine(1)
        answer = self.regtest.other("send_raw_transaction", tx_as_hex=raw, do_sanity_checks=False)
        assert answer["status"] == "OK", answer
        await self.mine(depth)

    async def restart(self) -> None:
        def again() -> None:
            self.regtest.stop("view")
            self.regtest.stop("daemon")
            self.regtest.start_daemon()
            self.regtest.start_view()

        await asyncio.to_thread(again)


@pytest.fixture(scope="module")
def regtest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Regtest]:
    made = Regtest(tmp_path_factory.mktemp("monero"))
    try:
        made.start()
        yield made
    finally:
        made.stop_all()
        shutil.rmtree(made.folder / "chain", ignore_errors=True)


NUMBERS = iter(range(1, 10_000, 8))
"""Every test has subaddresses of its own, and so never sees another one's payments."""


@pytest.fixture
async def harness(regtest: Regtest) -> NodeHarness:
    made = NodeHarness(regtest)
    await made.prepare(next(NUMBERS))
    return made


@contextlib.asynccontextmanager
async def opened(source: MoneroSource) -> AsyncIterator[MoneroSource]:
    try:
        await source.open()
        yield source
    finally:
        await source.close()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
async def test_real_node(case: Case, harness: NodeHarness) -> None:
    if reason := missing(case, harness):
        pytest.skip(reason)
    await case(harness)


@pytest.mark.timeout(900)  # 720 RandomX hashes: 50 s on an idle machine, ten minutes on one that is very busy
async def test_a_day_of_blocks_mints_every_payment_once(harness: NodeHarness, tmp_path: Path) -> None:
    """720 blocks; each purchase has a subaddress of its own, handed out before we went away."""
    async with Shop(harness.spec, tmp_path, price(harness.spec.native)) as shop:
        buyers = [f"buyer{n}" for n in range(6)]
        await harness.pay(shop.price, to=await shop.address_for("early"))
        await harness.mine()
        await shop.settle()
        addresses = [await shop.address_for(buyer) for buyer in (*buyers, "short")]
        await shop.close()
        for address in addresses[:-1]:
            await harness.pay(shop.price, to=address)
            await harness.mine(120)
        short = await harness.pay(shop.price - 1, to=addresses[-1])
        await harness.mine()
        await shop.open()
        await shop.poll()
        await shop.close()
        await shop.open()
        await shop.settle()
        shop.check_sold(["early", *buyers], (short, shop.price - 1))


async def test_check_names_wallet_and_daemon_and_refuses_another_network(harness: NodeHarness, check: Any) -> None:
    genesis = harness.regtest.daemon("get_block_header_by_height", height=0)["block_header"]["hash"]
    code, lines = await check(harness.spec)
    assert code == 0, lines
    for told in ("monero-wallet-rpc ", "monerod ", "network fakechain,", f"genesis {genesis},", "head "):
        assert told in lines[0]
    assert "no finality of its own; a payment counts at depth 10" in lines[0]
    code, lines = await check(harness.spec, chain_id="mainnet")
    assert code == 2
    assert "is of fakechain, not of mainnet" in lines[0]


async def test_one_transaction_to_two_subaddresses_one_of_them_twice(harness: NodeHarness) -> None:
    async with opened(harness.source()) as source:
        start = (await source.read(None, ())).end
        one, two = harness.spec.receive
        destinations = [{"address": a, "amount": n * XMR // 100} for a, n in ((one, 1), (two, 2), (one, 4))]
        harness.regtest.refresh_payer()
        txid = harness.regtest.payer_wallet("transfer", destinations=destinations)["tx_hash"]
        await harness.mine()
        paid = [t for t in (await source.read(start, ())).transfers if t.txid == txid]
        assert {(t.to, t.amount) for t in paid} == {(one, 5 * XMR // 100), (two, 2 * XMR // 100)}
        assert [t.flags for t in paid] == [(), ()], "every amount is carried by outputs"
        assert all(t.ok for t in paid)


async def test_a_payment_that_is_locked_for_long_says_so(harness: NodeHarness) -> None:
    """monero-project/research-lab#78: it arrives as an ordinary payment with confirmations."""
    async with opened(harness.source()) as source:
        start = (await source.read(None, ())).end
        txid = await harness.pay(XMR // 100, unlock_time=500_000_000)
        await harness.mine()
        (paid,) = (await source.read(start, ())).transfers
        assert (paid.txid, paid.flags) == (txid, ("locked",))


async def test_an_integrated_address_is_the_payee_and_its_payment_id_the_memo(harness: NodeHarness) -> None:
    made = harness.regtest.payer_wallet(
        "make_integrated_address", standard_address=harness.regtest.shop, payment_id="00000000000001ab"
    )["integrated_address"]
    async with opened(harness.source()) as source:
        source.watch([made])
        start = (await source.read(None, ())).end
        await harness.pay(XMR // 100, to=made)
        await harness.mine()
        (paid,) = (await source.read(start, ())).transfers
        assert (paid.to, paid.memo, paid.index) == (made, b"00000000000001ab", "0.0")


async def test_between_undone_and_replaced_blocks_nothing_counts(harness: NodeHarness) -> None:
    """wallet-rpc itself still calls the payment ``in``, two confirmations deep."""
    async with opened(harness.source()) as source:
        start = (await source.read(None, ())).end
        txid = await harness.pay(XMR // 100)
        await harness.mine(2)
        window = await source.read(start, ())
        (paid,) = window.transfers
        assert isinstance(paid.position, InBlock)
        harness.regtest.other("pop_blocks", nblocks=2)
        assert txid in harness.regtest.pool()
        with pytest.raises(Transient):
            await source.read(window.end, [(txid, paid.index)])
        await harness.mine(3)
        (again,) = (await source.read(window.end, [(txid, paid.index)])).transfers
        assert isinstance(again.position, InBlock)
        assert again.position != paid.position


async def test_without_a_daemon_it_is_unconfirmed_or_as_it_was_and_gone_once_replaced(harness: NodeHarness) -> None:
    options = {"login_file": str(harness.regtest.login_file)}
    async with opened(harness.source(options=options)) as source:
        start = (await source.read(None, ())).end
        txid = await harness.pay(XMR // 100)
        (seen,) = (await source.read(start, ())).transfers
        assert isinstance(seen.position, Unconfirmed)
        await harness.mine(2)
        window = await source.read(start, ())
        assert [t.txid for t in window.transfers] == [txid]
        harness.regtest.pop(2)
        await harness.mine(3)
        assert (await source.read(window.end, [(txid, seen.index)])).transfers == ()


async def test_a_daemon_that_is_gone_is_transient_even_for_the_wallet_alone(harness: NodeHarness) -> None:
    """btcpay-monero/btcpayserver-monero-plugin#73: wallet-rpc itself goes on answering from memory."""
    options = {"login_file": str(harness.regtest.login_file)}
    async with opened(harness.source(options=options)) as alone, opened(harness.source(patience=3)) as source:
        start, by_hash = (await alone.read(None, ())).end, (await source.read(None, ())).end
        await asyncio.to_thread(harness.regtest.stop, "daemon")
        try:
            with pytest.raises(Transient):
                await alone.read(start, ())
            with pytest.raises(Transient):
                await source.read(by_hash, ())
        finally:
            await asyncio.to_thread(harness.regtest.start_daemon)
        txid = await harness.pay(XMR // 100)
        await harness.mine()
        assert [t.txid for t in (await alone.read(start, ())).transfers] == [txid]


async def test_addresses_that_were_handed_out_outlive_a_killed_wallet(harness: NodeHarness) -> None:
    async with opened(harness.source()) as source:
        handed_out = await source.addresses(400, 70)
        await asyncio.to_thread(harness.regtest.stop, "view", signal.SIGKILL)
        await asyncio.to_thread(harness.regtest.start_view)
        async with opened(harness.source(receive=(handed_out[-1],))) as after:
            assert await after.addresses(400, 70) == handed_out


async def test_a_wallet_that_can_spend_is_refused(harness: NodeHarness) -> None:
    source = harness.source(endpoints=(f"http://127.0.0.1:{harness.regtest.payer_port}",), receive=(), options={})
    with pytest.raises(Misconfigured, match="can spend"):
        await source.open()
    await source.close()


async def test_a_wrong_password_is_refused_and_not_repeated_in_the_error(harness: NodeHarness, tmp_path: Path) -> None:
    file = tmp_path / "login"
    file.write_text("watch:wrong-horse")
    file.chmod(0o600)
    source = harness.source(options={"login_file": str(file)})
    with pytest.raises(ChainwatchError) as refused:
        await source.open()
    await source.close()
    assert "horse" not in str(refused.value)
    assert "401" in str(refused.value)
