"""The EVM adapter against a real node: anvil, with chain ids 1, 137 and 56."""

import asyncio
import json
import random
import secrets
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import aiohttp
import msgspec
import pytest

from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.adapters.evm import EvmSource
from chainwatch.clock import SystemClock
from chainwatch.config.networks import spec
from chainwatch.errors import Misconfigured
from chainwatch.model import Asset
from chainwatch.testing.contract import CASES, Case, missing, price
from chainwatch.testing.nodeshop import EVENT, Shop
from chainwatch.testing.ports import free_ports
from chainwatch.testing.replica import Replica, reading
from chainwatch.testing.tools import find_tool, tools_dir
from chainwatch.verifiers.addresses import eip55

ANVIL = find_tool("anvil")
CONTRACTS = json.loads((Path(__file__).parent / "contracts" / "contracts.json").read_text())

pytestmark = [
    pytest.mark.network,
    pytest.mark.node,
    pytest.mark.skipif(ANVIL is None, reason=f"anvil is not in {tools_dir()} (npm: @foundry-rs/anvil)"),
]

REFUSER = "0x" + "fe" * 20
"""An account of ours whose code refuses every payment: a payment to it fails on chain."""
REFUSE = "0x60006000fd"
GAS = hex(500_000)


class Anvil:
    """An anvil process with our contracts on it: the contract suite's harness over a real node.

    ``light``, for thousands of blocks: it keeps no old states, and is older than the contracts that remember block
    hashes (EIP-2935), whose growing state makes each block slower than the last.  So no traces and no restart.
    """

    can = frozenset({"memo", "token", "fail", "reorg", "restart", "stranger", "outputs", "mempool"})
    faults = None

    def __init__(self, code: str, folder: Path, *, light: bool = False) -> None:
        (self._port,) = free_ports()
        self._code, self._state, self._light = code, folder / "state.json", light
        self._url = f"http://127.0.0.1:{self._port}"
        self._process: asyncio.subprocess.Process | None = None
        self._session = aiohttp.ClientSession()
        self._services = Services(clock=SystemClock(), random=random.Random(5), observer=SilentObserver())
        self.spec = spec(code)
        self.coin = self.payer = ""

    # -- the process -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Start anvil, deploy the contracts, describe the chain."""
        await self._launch()
        self._accounts = await self.rpc("eth_accounts")
        ours = eip55(secrets.token_bytes(20))
        await self.rpc("anvil_setCode", REFUSER, REFUSE)
        self.coin = await self._deploy("Coin")
        self.payer = await self._deploy("Payer")
        native = self.spec.native
        token = Asset(code=f"{self._code}:USDC", chain=self._code, decimals=6, asset_id=self.coin)
        self.spec = msgspec.structs.replace(
            self.spec,
            endpoints=(self._url,),
            receive=(ours, eip55(bytes.fromhex(REFUSER[2:]))),
            assets=(native, token),
            options={"traces": not self._light, "pending": True, "timeout": 30.0},
        )

    async def _launch(self) -> None:
        chain_id = spec(self._code).chain_id
        kept = ("--state", str(self._state), "--preserve-historical-states")
        self._process = await asyncio.create_subprocess_exec(
            *(str(ANVIL), "--host", "127.0.0.1", "--port", str(self._port), "--chain-id", chain_id, "--no-mining"),
            *("--slots-in-an-epoch", "1", "--quiet"),
            *(("--prune-history", "--hardfork", "shanghai") if self._light else kept),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        for _ in range(1200):  # a minute on a busy machine
            try:
                await self.rpc("eth_chainId")
            except aiohttp.ClientError:
                assert self._process.returncode is None, f"anvil ended with {self._process.returncode}"
                await asyncio.sleep(0.05)
            else:
                return
        raise AssertionError("anvil did not start")

    async def _end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(self._process.wait(), 30)

    async def stop(self) -> None:
        """End the process."""
        await self._end()
        await self._session.close()

    async def restart(self) -> None:
        """End anvil (it writes its chain to a file) and start it again at the same port."""
        await self._end()
        await self._launch()

    async def rpc(self, method: str, *params: Any) -> Any:
        """Call the node."""
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with self._session.post(self._url, json=call) as response:
            answer = await response.json()
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    # -- what it does ----------------------------------------------------------------------------

    async def _deploy(self, name: str) -> str:
        txid = await self.send(None, data=CONTRACTS[name]["bytecode"], gas=hex(3_000_000))
        await self.mine()
        receipt = await self.rpc("eth_getTransactionReceipt", txid)
        assert receipt["status"] == "0x1"
        return eip55(bytes.fromhex(receipt["contractAddress"][2:]))

    async def send(self, to: str | None, *, value: int = 0, data: str = "0x", gas: str = GAS) -> str:
        """Submit a transaction from the first development account."""
        tx = {"from": self._accounts[0], "value": hex(value), "data": data, "gas": gas}
        txid: str = await self.rpc("eth_sendTransaction", tx | ({} if to is None else {"to": to}))
        return txid

    def source(self) -> EvmSource:
        """Return a new source."""
        return EvmSource(self.spec, self._services)

    def wallet(self) -> str:
        """Return a fresh account."""
        return eip55(secrets.token_bytes(20))

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
        """Submit a payment."""
        to = to or self.spec.receive[0 if ok else 1]
        note = (memo or "").encode().hex()
        if asset_id is not None:
            return await self.send(asset_id, data=call("Coin", "transfer(address,uint256)", to, amount) + note)
        if outputs > 1:
            data = call("Payer", "pay(address[],uint256)", 64, amount, outputs, *[to] * outputs)
            return await self.send(self.payer, value=amount * outputs, data=data)
        return await self.send(to, value=amount, data="0x" + note)

    async def mine(self, n: int = 1) -> None:
        """Make blocks."""
        await self.rpc("anvil_mine", hex(n))

    async def finalize(self) -> None:
        """Make blocks until the present head is final."""
        head = int(await self.rpc("eth_blockNumber"), 16)
        while int((await self.rpc("eth_getBlockByNumber", "finalized", False))["number"], 16) < head:
            await self.mine()

    async def drop(self, txid: str) -> None:
        """Replace the blocks from the payment's on by empty ones."""
        await self.rpc("anvil_reorg", await self._depth(txid), [])

    async def move(self, txid: str) -> None:
        """Replace the blocks from the payment's on; the payment comes back one block higher."""
        raw = await self.rpc("eth_getRawTransactionByHash", txid)
        if await self._depth(txid) == 1:
            await self.mine()
        await self.rpc("anvil_reorg", await self._depth(txid), [[raw, 1]])

    async def _depth(self, txid: str) -> int:
        receipt = await self.rpc("eth_getTransactionReceipt", txid)
        return int(await self.rpc("eth_blockNumber"), 16) - int(receipt["blockNumber"], 16) + 1


def call(contract: str, signature: str, *words: str | int) -> str:
    """Encode a call whose arguments are all single words (dynamic ones spelled out by the caller)."""
    encoded = (w[2:].lower().rjust(64, "0") if isinstance(w, str) else f"{w:064x}" for w in words)
    return "0x" + CONTRACTS[contract]["selectors"][signature] + "".join(encoded)


@pytest.fixture(params=["ETH", "MATIC", "BNB"])
async def anvil(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Anvil]:
    code, _, light = request.param.partition(" ")
    node = Anvil(code, tmp_path, light=bool(light))
    try:
        await node.start()
        yield node
    finally:
        await node.stop()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
async def test_contract(case: Case, anvil: Anvil) -> None:
    if reason := missing(case, anvil):
        pytest.skip(reason)
    await case(anvil)


DAY_MS = 86_400_000


@pytest.mark.timeout(900)  # ten seconds to half a minute on an idle machine, minutes on one that is very busy
@pytest.mark.parametrize("anvil", ["ETH light", "MATIC light", "BNB light"], indirect=True)
async def test_a_day_of_blocks_mints_every_payment_once(anvil: Anvil, tmp_path: Path) -> None:
    """7,200 blocks of Ethereum, 43,200 of Polygon and more of BNB Smart Chain, while we were away."""
    blocks = DAY_MS // anvil.spec.block_time_ms
    async with Shop(anvil.spec, tmp_path, price(anvil.spec.native)) as shop:
        await anvil.pay(shop.price, memo=f"event:{EVENT}:wallet:early")
        await anvil.mine(2)
        await shop.settle()
        await shop.close()
        buyers = [f"buyer{n}" for n in range(12)]
        for buyer in buyers:
            await anvil.pay(shop.price, memo=f"event:{EVENT}:wallet:{buyer}")
            await anvil.mine(blocks // 12)
        short = await anvil.pay(shop.price - 1, memo=f"event:{EVENT}:wallet:short")
        await anvil.mine(2)
        await shop.open()
        await shop.poll()  # it ends again in the middle of catching up
        assert "buyer11" not in shop.sold_to()
        await shop.close()
        await shop.open()
        await shop.settle()
        shop.check_sold(["early", *buyers], (short, shop.price - 1))


async def test_check_names_the_node_and_refuses_one_of_another_chain(anvil: Anvil, check: Any) -> None:
    genesis = (await anvil.rpc("eth_getBlockByNumber", "0x0", False))["hash"]
    code, lines = await check(anvil.spec)
    assert code == 0, lines
    for told in ("anvil/", f"network eip155:{anvil.spec.chain_id},", f"genesis {genesis},", "head ", "final "):
        assert told in lines[0]
    assert any("block 0" in line for line in lines), "a private chain that borrows a main network's id"
    code, lines = await check(anvil.spec, chain_id=5)
    assert code == 2
    assert f"chain id {anvil.spec.chain_id}, not 5" in lines[0]


async def read_after(anvil: Anvil, replica: Replica, *txids: str) -> None:
    """Mine, and read until everything of these transactions that there is has been read."""
    await anvil.mine()
    await replica.settle()
    for txid in txids:
        receipt = await anvil.rpc("eth_getTransactionReceipt", txid)
        assert receipt["status"] == "0x1", f"the test's own transaction {txid} failed"


@pytest.mark.parametrize("anvil", ["ETH"], indirect=True)
class TestTraps:
    """What has cost others money, on a real chain."""

    async def test_a_refused_payment_is_reported_as_failed(self, anvil: Anvil) -> None:
        async with reading(anvil) as replica:
            txid = await anvil.pay(10**16, memo="event:1:wallet:x", ok=False)
            await anvil.mine()
            await replica.settle()
            (failed,) = replica.of(txid)
            assert (failed.ok, failed.amount, failed.index) == (False, 10**16, "v")

    @pytest.mark.parametrize("dialect", ["debug_traceBlockByHash", "trace_block"])
    async def test_an_internal_payment_is_seen_and_an_undone_one_is_not(self, anvil: Anvil, dialect: str) -> None:
        async with reading(anvil) as replica:
            tracers = cast(EvmSource, replica.source)._chain.tracers
            tracers |= dict.fromkeys(tracers, dialect)
            ours = anvil.spec.receive[0]
            paid = await anvil.send(anvil.payer, value=5, data=call("Payer", "pay(address[],uint256)", 64, 5, 1, ours))
            undone = await anvil.send(anvil.payer, value=5, data=call("Payer", "pretend(address,uint256)", ours, 5))
            await read_after(anvil, replica, paid, undone)
            (transfer,) = replica.of(paid)
            assert (transfer.amount, transfer.index, transfer.ok, transfer.memo) == (5, "t0", True, None)
            assert transfer.sender == (anvil.payer,)
            assert replica.of(undone) == []

    async def test_a_zero_token_transfer_pays_nothing(self, anvil: Anvil) -> None:
        """Anyone can move zero tokens in anyone's name."""
        async with reading(anvil) as replica:
            ours = anvil.spec.receive[0]
            poison = call("Coin", "transferFrom(address,address,uint256)", anvil.wallet(), ours, 0)
            txid = await anvil.send(anvil.coin, data=poison + b"event:1:wallet:x".hex())
            await read_after(anvil, replica, txid)
            assert replica.facts == {}

    async def test_a_token_that_is_not_configured_pays_nothing(self, anvil: Anvil) -> None:
        async with reading(anvil) as replica:
            other = await anvil._deploy("Coin")
            txid = await anvil.send(other, data=call("Coin", "transfer(address,uint256)", anvil.spec.receive[0], 10**9))
            await read_after(anvil, replica, txid)
            assert replica.facts == {}

    async def test_the_index_of_a_token_payment_is_its_place_in_the_receipt(self, anvil: Anvil) -> None:
        """Not the block-wide logIndex, which changes when the transaction is included elsewhere."""
        async with reading(anvil) as replica:
            first = await anvil.pay(1, asset_id=anvil.coin)
            second = await anvil.pay(2, asset_id=anvil.coin)
            await read_after(anvil, replica, first, second)
            assert [t.index for t in (*replica.of(first), *replica.of(second))] == ["l0", "l0"]

    async def test_the_head_of_a_chain_with_another_genesis_is_refused(self, anvil: Anvil) -> None:
        anvil.spec = msgspec.structs.replace(anvil.spec, options={"genesis": "0x" + "11" * 32})
        source = anvil.source()
        with pytest.raises(Misconfigured, match="block 0"):
            await source.open()
        await source.close()
