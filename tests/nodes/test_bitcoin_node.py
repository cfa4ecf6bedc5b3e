"""The Bitcoin adapter against real nodes on regtest: bcoin (npm), and bitcoind where one is installed.

``CHAINWATCH_TOOLS`` names the folder in which npm installed bcoin (default ``.tools``)::

    npm install --ignore-scripts --prefix .tools bcoin@1.0.2

``BITCOIND`` names a bitcoind that is not on the PATH.
"""

import asyncio
import contextlib
import os
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import aiohttp
import msgspec
import pytest

from chainwatch.adapters import decode, open_source
from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.adapters.rpc import Limits, Rpc, RpcError
from chainwatch.adapters.utxo import UtxoSource
from chainwatch.clock import SystemClock
from chainwatch.config.networks import spec
from chainwatch.testing.contract import CASES, Case, missing, price
from chainwatch.testing.nodeshop import EVENT, Shop
from chainwatch.testing.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
BCOIN = Path(os.environ.get("CHAINWATCH_TOOLS", ROOT / ".tools")) / "node_modules" / "bcoin"
BITCOIND = os.environ.get("BITCOIND") or shutil.which("bitcoind")
REGTEST = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"
MATURE = 110
"""Blocks after which the first rewards can be spent."""
READY_S = 60.0
SEED = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"
"""The payer's wallet: BIP-39's first test vector."""
KEY = "of-a-chain-without-worth"
"""The nodes' password."""

pytestmark = [pytest.mark.network, pytest.mark.node]


def services() -> Services:
    return Services(clock=SystemClock(), random=random.Random(3), observer=SilentObserver())


class Regtest(Protocol):
    """A node with a wallet that can spend."""

    can: frozenset[str]
    url: str
    options: Mapping[str, Any]
    rpc: Rpc

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def restart(self) -> None: ...
    async def new_address(self) -> str: ...
    async def send(self, outputs: list[tuple[str, int]], memo: bytes | None) -> str: ...


class Process:
    """A child that is ended by its own pid."""

    def __init__(self, *command: str, env: dict[str, str] | None = None) -> None:
        self._command, self._env = command, {**os.environ, **(env or {})}
        self._child: asyncio.subprocess.Process | None = None

    async def start(self, rpc: Rpc) -> None:
        """Start it and wait until it answers."""
        quiet = asyncio.subprocess.DEVNULL
        self._child = await asyncio.create_subprocess_exec(
            *self._command, stdin=quiet, stdout=quiet, stderr=quiet, env=self._env
        )
        await rpc.call("getblockchaininfo")  # asked again until it answers

    async def stop(self) -> None:
        """End it, and wait for the end."""
        if self._child is None or self._child.returncode is not None:
            return
        self._child.terminate()
        try:
            async with asyncio.timeout(20):
                await self._child.wait()
        except TimeoutError:
            self._child.kill()
            await self._child.wait()


def plain_rpc(url: str) -> Rpc:
    return Rpc("node", [url], services(), limits=Limits(deadline_s=READY_S, attempt_s=30))


class Bcoin:
    """bcoin keeps chain and wallet in memory: a restarted one is given its blocks and its seed again."""

    can = frozenset({"memo", "outputs", "reorg", "mempool", "stranger", "restart"})
    options: Mapping[str, Any] = MappingProxyType({"p2pkh": 60, "p2sh": [38], "hrp": "rb"})
    """bcoin's regtest has address prefixes of its own."""

    def __init__(self, folder: Path) -> None:
        port, self._wallet_port, p2p = free_ports(3)
        self.url, self._wallet = f"http://x:{KEY}@127.0.0.1:{port}", f"http://127.0.0.1:{self._wallet_port}"
        self._addresses, self._blocks = 0, list[str]()
        node = shutil.which("node") or "node"
        self._process = Process(
            *(node, "-r", str(Path(__file__).parent / "bcoin_preload.js"), str(BCOIN / "bin" / "node")),
            *("--network=regtest", "--memory=true", f"--prefix={folder}", "--workers=false", "--log-file=false"),
            *("--listen=false", "--no-dns=true", "--only=127.0.0.1:1", f"--port={p2p}", "--host=127.0.0.1"),
            "--replace-by-fee=true",  # Core's default: a transaction may say that it can be replaced
            *("--http-host=127.0.0.1", f"--http-port={port}", f"--api-key={KEY}", "--index-tx=true"),
            *("--wallet-http-host=127.0.0.1", f"--wallet-http-port={self._wallet_port}", f"--wallet-api-key={KEY}"),
            "--wallet-wallet-auth=false",
            env={"BCOIN_NETWORK": "regtest", "NODE_BACKEND": "js"},
        )
        self.rpc, self._wallet_rpc = plain_rpc(self.url), plain_rpc(f"http://x:{KEY}@127.0.0.1:{self._wallet_port}")

    async def start(self) -> None:
        await self.rpc.open()
        await self._wallet_rpc.open()
        await self._process.start(self.rpc)
        async with self._session() as session:
            seed = {"mnemonic": SEED}
            async with session.put(f"{self._wallet}/wallet/payer", json=seed) as response:
                assert response.status == 200, await response.text()
        await self._wallet_rpc.call("selectwallet", ["payer"])
        known, self._addresses = self._addresses, 0
        for _ in range(known):
            await self.new_address()
        for block in self._blocks:
            assert await self.rpc.call("submitblock", [block]) is None
        if not self._blocks:
            await self.rpc.call("generatetoaddress", [MATURE, await self.new_address()])

    async def stop(self) -> None:
        await self._wallet_rpc.close()
        await self.rpc.close()
        await self._process.stop()

    async def restart(self) -> None:
        height = await self.rpc.call("getblockcount")
        hashes = [await self.rpc.call("getblockhash", [h]) for h in range(1, height + 1)]
        self._blocks = [await self.rpc.call("getblock", [h, False], result=str) for h in hashes]
        await self.stop()
        await self.start()

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(headers={"Authorization": aiohttp.encode_basic_auth("x", KEY)})

    async def new_address(self) -> str:
        self._addresses += 1
        return str(await self._wallet_rpc.call("getnewaddress", ["default"]))

    async def send(self, outputs: list[tuple[str, int]], memo: bytes | None) -> str:
        body: dict[str, Any] = {"rate": 20000, "outputs": [{"address": a, "value": v} for a, v in outputs]}
        if memo is not None:
            push = bytes((0x4C, len(memo))) if len(memo) > 75 else bytes((len(memo),))
            body["outputs"].append({"value": 0, "script": (b"\x6a" + push + memo).hex()})
        # The wallet follows its node a moment behind: until then it has too little to spend.
        async with (
            asyncio.timeout(READY_S),
            self._session() as session,
        ):
            while True:
                async with session.post(f"{self._wallet}/wallet/payer/send", json=body) as response:
                    answer = await response.json()
                if "hash" in answer:
                    return str(answer["hash"])
                # After a restart it answers with a fault of its own until it has read the chain again.
                assert any(word in answer["error"]["message"] for word in ("funds", "toJSON")), answer
                await asyncio.sleep(0.05)


class Bitcoind:
    """Bitcoin Core with two wallets' worth of coins in one."""

    can = frozenset({"memo", "outputs", "reorg", "mempool", "stranger", "restart"})
    options: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, folder: Path) -> None:
        port, p2p = free_ports(2)
        self.url = f"http://u:{KEY}@127.0.0.1:{port}"
        self._process = Process(
            *(str(BITCOIND), "-regtest", f"-datadir={folder}", "-rpcuser=u", f"-rpcpassword={KEY}", f"-rpcport={port}"),
            *("-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1", f"-bind=127.0.0.1:{p2p}", "-listenonion=0"),
            *("-dnsseed=0", "-fixedseeds=0", "-discover=0", "-txindex=1", "-fallbackfee=0.0001", "-server=1"),
        )
        self.rpc, self._wallet = plain_rpc(self.url), plain_rpc(f"{self.url}/wallet/payer")

    async def start(self) -> None:
        fresh = self._wallet.best().last_tried == float("-inf")
        await self.rpc.open()
        await self._wallet.open()
        await self._process.start(self.rpc)
        if fresh:
            await self.rpc.call("createwallet", ["payer"])
            await self.rpc.call("generatetoaddress", [MATURE, await self.new_address()])
        else:
            await self.rpc.call("loadwallet", ["payer"])

    async def stop(self) -> None:
        await self._wallet.close()
        await self.rpc.close()
        await self._process.stop()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def new_address(self) -> str:
        return str(await self._wallet.call("getnewaddress", ["", "bech32"]))

    async def send(self, outputs: list[tuple[str, int]], memo: bytes | None) -> str:
        wanted: list[dict[str, str]] = [{a: f"{v // 10**8}.{v % 10**8:08}"} for a, v in outputs]
        if memo is not None:
            wanted.append({"data": memo.hex()})
        return str((await self._wallet.call("send", [wanted, None, "unset", 10]))["txid"])


class NodeHarness:
    """The contract suite's harness over a regtest node; each has receiving addresses of its own."""

    faults = None

    def __init__(self, node: Regtest) -> None:
        self.node, self.can = node, node.can
        self.spec = spec("BTC")
        self._miner = ""
        self._spare: list[str] = []
        self._raw: dict[str, str] = {}

    async def prepare(self) -> None:
        ours = [await self.node.new_address() for _ in range(2)]
        self._miner, self._second = await self.node.new_address(), ours[1]
        self._spare = [await self.node.new_address() for _ in range(8)]
        self.spec = msgspec.structs.replace(
            self.spec,
            endpoints=(self.node.url,),
            receive=tuple(ours),
            chain_id=await self.node.rpc.call("getblockhash", [0]),
            options={**self.node.options, "timeout": 30.0},
        )
        for txid in await self.node.rpc.call("getrawmempool"):  # what another test left
            self._raw[txid] = await self.node.rpc.call("getrawtransaction", [txid])
        await self.mine()

    def source(self) -> UtxoSource:
        source = open_source(self.spec, services())
        assert isinstance(source, UtxoSource)
        return source

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
    ) -> str:
        assert asset_id is None
        assert ok
        targets = [to] if to else list(self.spec.receive)[:outputs]  # Core refuses one address twice
        txid = await self.node.send([(t, amount) for t in targets], memo.encode() if memo is not None else None)
        self._raw[txid] = await self.node.rpc.call("getrawtransaction", [txid])
        return txid

    async def mine(self, n: int = 1) -> None:
        await self.node.rpc.call("generatetoaddress", [n, self._miner])

    async def finalize(self) -> None:
        await self.mine(6)

    async def drop(self, txid: str) -> None:
        for _ in range(await self._undo(txid) + 1):
            await self._mine_empty(without=txid)

    async def move(self, txid: str) -> None:
        depth = await self._undo(txid)
        await self._mine_empty(without=txid)
        with contextlib.suppress(RpcError):  # Core has it back in its mempool
            await self.node.rpc.call("sendrawtransaction", [self._raw[txid]])
        await self.mine(depth + 1)

    async def restart(self) -> None:
        await self.node.restart()

    async def _undo(self, txid: str) -> int:
        """Take the transaction's block, and all above it, off; return how many those were."""
        verbose = await self.node.rpc.call("getrawtransaction", [txid, True])
        await self.node.rpc.call("invalidateblock", [verbose["blockhash"]])
        return int(verbose["confirmations"])

    async def _mine_empty(self, without: str) -> None:
        try:
            await self.node.rpc.call("generateblock", [self._miner, []])
        except RpcError:  # bcoin: what was taken off is not in its mempool either
            assert without not in await self.node.rpc.call("getrawmempool")
            await self.mine()


@pytest.fixture(params=["bcoin", "bitcoind"], scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if name == "bcoin" and (not BCOIN.exists() or shutil.which("node") is None):
        pytest.skip(f"bcoin is not installed in {BCOIN.parent} (npm bcoin@1.0.2)")
    if name == "bitcoind" and BITCOIND is None:
        pytest.skip("no bitcoind on PATH and none named by BITCOIND")
    return name


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="chainwatch-node-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextlib.asynccontextmanager
async def running(kind: str, folder: Path) -> AsyncIterator[NodeHarness]:
    node: Regtest = Bcoin(folder) if kind == "bcoin" else Bitcoind(folder)
    try:
        await node.start()
        harness = NodeHarness(node)
        await harness.prepare()
        yield harness
    finally:
        await node.stop()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
async def test_contract(case: Case, kind: str, folder: Path) -> None:
    async with running(kind, folder) as harness:
        if reason := missing(case, harness):
            pytest.skip(reason)
        await case(harness)


async def test_a_day_of_blocks_mints_every_payment_once(kind: str, folder: Path, tmp_path: Path) -> None:
    """144 blocks and a payment in every twelfth, while we were away."""
    async with (
        running(kind, folder) as harness,
        Shop(harness.spec, tmp_path, price(harness.spec.native)) as shop,
    ):
        await harness.pay(shop.price, memo=f"event:{EVENT}:wallet:early")
        await harness.mine()
        await shop.settle()
        await shop.close()
        buyers = [f"buyer{n}" for n in range(12)]
        for buyer in buyers:
            await harness.pay(shop.price, memo=f"event:{EVENT}:wallet:{buyer}")
            await harness.mine(12)
        short = await harness.pay(shop.price // 2, memo=f"event:{EVENT}:wallet:short")
        await harness.mine()
        await shop.open()
        await shop.poll()  # it ends again in the middle of catching up
        await shop.close()
        await shop.open()
        await shop.settle()
        shop.check_sold(["early", *buyers], (short, shop.price // 2))


async def test_check_names_the_node_and_refuses_one_of_another_network(kind: str, folder: Path, check: Any) -> None:
    async with running(kind, folder) as harness:
        # An operator's addresses are those of the network: bcoin's own prefixes are not.
        told = msgspec.structs.replace(harness.spec, receive=("mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn",), options={})
        code, lines = await check(told)
        assert code == 0, lines
        assert f"network regtest, genesis {REGTEST}, head " in lines[0]
        assert kind in lines[0] if kind == "bcoin" else "Satoshi" in lines[0]
        assert "no finality of its own; a payment counts at depth 2 below 0.01 BTC, else depth 6" in lines[0]
        main = spec("BTC").chain_id
        code, lines = await check(told, chain_id=main, receive=["1BoatSLRHtKNngkdXEeobR76b53LETtpyT"])
        assert code == 2
        assert f"genesis block is {REGTEST}, chain_id says {main}" in lines[0]


async def test_every_answer_of_the_node_decodes_to_the_same_transfers(kind: str, folder: Path) -> None:
    """Raw block, verbose block, raw and verbose transaction: one truth."""
    async with running(kind, folder) as harness:
        txid = await harness.pay(5_000_000, memo=f"event:1:wallet:{harness.wallet()}", outputs=2)
        await harness.mine()
        rpc = harness.node.rpc
        best = await rpc.call("getbestblockhash")
        raw = await rpc.call("getblock", [best, False], result=str)
        details = [True, True] if kind == "bcoin" else [2]
        answers = [
            raw.encode(),
            bytes.fromhex(raw),
            msgspec.json.encode({"result": await rpc.call("getblock", [best, *details]), "error": None, "id": 1}),
            (await rpc.call("getrawtransaction", [txid], result=str)).encode(),
            msgspec.json.encode(await rpc.call("getrawtransaction", [txid, True])),
        ]
        told = [[(t.txid, t.index, t.amount, t.to, t.memo) for t in decode([a], harness.spec)] for a in answers]
        assert all(t == told[0] for t in told)
        assert {(i, a) for _, i, a, to, _ in told[0] if to in harness.spec.receive} >= {
            (i, 5_000_000) for _, i, a, to, _ in told[0] if a == 5_000_000
        }
        assert sum(a == 5_000_000 for _, _, a, _, _ in told[0]) == 2
