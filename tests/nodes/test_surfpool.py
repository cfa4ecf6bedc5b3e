"""The Solana adapter against a real node: surfpool, a validator's runtime behind the real JSON-RPC.

``CHAINWATCH_TOOLS`` names the folder in which npm installed ``@solana/surfpool-linux-x64-gnu`` (default
``.tools``).  Where it is not like mainnet: block times are a thousand times too small, no slot is
skipped, batches are refused, ``minContextSlot`` hides what is older, nothing is ever undone, and it forgets
its chain when it ends.
"""

import asyncio
import base64
import contextlib
import os
import random
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.adapters.rpc import Limits
from chainwatch.adapters.solana import SolanaSource, token_account
from chainwatch.adapters.solana_tx import MEMO_V1, MEMO_V2, SPL
from chainwatch.clock import SystemClock
from chainwatch.config.networks import spec
from chainwatch.errors import Transient
from chainwatch.model import Asset, InBlock
from chainwatch.testing.contract import CASES, check_paid, memo_for, missing, price
from chainwatch.testing.nodeshop import EVENT, Shop
from chainwatch.testing.replica import reading

ROOT = Path(__file__).resolve().parents[2]
NODES = Path(os.environ.get("CHAINWATCH_TOOLS", ROOT / ".tools"))
SURFPOOL = NODES / "node_modules" / "@solana" / "surfpool-linux-x64-gnu"
SLOT_MS = 20
SCRIPT = """
const [where, slot, payer] = process.argv.slice(1);
const {Surfnet} = require(where);
const net = Surfnet.startWithConfig(
  {offline: true, blockProductionMode: "clock", slotTimeMs: +slot, airdropAddresses: [payer], airdropSol: 1e13});
console.log(net.rpcUrl);
setInterval(() => net.drainEvents && net.drainEvents(), 1000);
process.on("SIGTERM", () => { try { net.stop() } catch (e) {} process.exit(0) });
"""

pytestmark = [
    pytest.mark.network,
    pytest.mark.node,
    pytest.mark.skipif(
        not SURFPOOL.exists() or shutil.which("node") is None,
        reason=f"surfpool is not installed in {NODES} (npm @solana/surfpool-linux-x64-gnu, and node)",
    ),
]

PAYER = Keypair.from_seed(b"chainwatch surfpool test payer..")


@contextlib.contextmanager
def started() -> Iterator[str]:
    """Run a surfpool; its URL."""
    process = subprocess.Popen(
        ["node", "-e", SCRIPT, str(SURFPOOL), str(SLOT_MS), str(PAYER.pubkey())],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Start one surfpool for the whole file; each test has wallets of its own."""
    with started() as where:
        yield where


class Surfpool:
    """The contract suite's harness over the running node."""

    can = frozenset({"memo", "token", "outputs", "fail", "mempool", "stranger"})
    faults = None

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = aiohttp.ClientSession()
        self.mint = Keypair().pubkey()
        self.receive = Keypair().pubkey()
        self.services = Services(clock=SystemClock(), random=random.Random(7), observer=SilentObserver())
        self.spec = spec("SOL")

    async def start(self) -> None:
        """Wait for the first final block; make a token."""
        await self.reach(32)
        token = Asset(code="SOL:USDC", chain="SOL", decimals=6, asset_id=str(self.mint), program=SPL)
        self.spec = msgspec.structs.replace(
            self.spec,
            chain_id=await self.rpc("getGenesisHash"),
            endpoints=(self._url,),
            receive=(str(self.receive),),
            assets=(self.spec.native, token),
            options={"batch": 1, "min_context_slot": False},
        )
        mint = (
            (1).to_bytes(4, "little") + bytes(PAYER.pubkey()) + (10**15).to_bytes(8, "little") + b"\x06\x01" + bytes(36)
        )
        account = {"lamports": 1_461_600, "owner": SPL, "data": mint.hex()}
        await self.rpc("surfnet_setAccount", str(self.mint), account)
        for owner, amount in ((PAYER.pubkey(), 10**15), (self.receive, 0)):
            await self.rpc("surfnet_setTokenAccount", str(owner), str(self.mint), {"amount": amount})

    async def stop(self) -> None:
        """Close our own session."""
        await self._session.close()

    async def rpc(self, method: str, *params: Any) -> Any:
        """Call the node."""
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with self._session.post(self._url, json=call) as response:
            answer = await response.json()
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def source(self) -> SolanaSource:
        """Return a source of this node."""
        limits = Limits(deadline_s=60, attempt_s=30, batch=1)
        return SolanaSource(self.spec, self.services, limits=limits)

    def wallet(self) -> str:
        """Return a fresh wallet."""
        return str(Keypair().pubkey())

    def transfer(self, amount: int, to: Pubkey, asset_id: str | None) -> Instruction:
        """Return a System or SPL Token transfer of the payer."""
        if asset_id is None:
            return transfer(TransferParams(from_pubkey=PAYER.pubkey(), to_pubkey=to, lamports=amount))
        ends = [Pubkey.from_string(token_account(str(w), asset_id, SPL)) for w in (PAYER.pubkey(), to)]
        metas = [
            AccountMeta(ends[0], is_signer=False, is_writable=True),
            AccountMeta(Pubkey.from_string(asset_id), is_signer=False, is_writable=False),
            AccountMeta(ends[1], is_signer=False, is_writable=True),
            AccountMeta(PAYER.pubkey(), is_signer=True, is_writable=False),
        ]
        return Instruction(Pubkey.from_string(SPL), b"\x0c" + amount.to_bytes(8, "little") + b"\x06", metas)

    @staticmethod
    def memo(text: str, program: str = MEMO_V2) -> Instruction:
        """Return a memo instruction."""
        return Instruction(Pubkey.from_string(program), text.encode(), [])

    async def send(self, *instructions: Instruction, key: Keypair = PAYER) -> str:
        """Sign and send; return when the node has run it.

        A block hash is good for 150 slots, three seconds here: on a busy machine it may be over before the
        transaction is there.  Then it can never run, and is signed anew.
        """
        async with asyncio.timeout(60):
            while True:
                value = (await self.rpc("getLatestBlockhash", {"commitment": "confirmed"}))["value"]
                made_of = Hash.from_string(value["blockhash"])
                message = MessageV0.try_compile(key.pubkey(), list(instructions), [], made_of)
                wire = base64.b64encode(bytes(VersionedTransaction(message, [key]))).decode()
                txid = await self.rpc("sendTransaction", wire, {"encoding": "base64", "skipPreflight": True})
                if await self._ran(txid, value["blockhash"]):
                    return str(txid)

    async def _ran(self, txid: str, blockhash: str) -> bool:
        """Wait until the node has run a transaction; False once its block hash is over."""
        while True:
            good = (await self.rpc("isBlockhashValid", blockhash, {"commitment": "processed"}))["value"]
            if (await self.rpc("getSignatureStatuses", [txid]))["value"][0] is not None:
                return True
            if not good:
                return False
            await asyncio.sleep(0.01)

    async def pay(self, amount, *, to=None, asset_id=None, memo=None, ok=True, outputs=1) -> str:
        """Pay; the lamports that nobody has make it fail on chain."""
        target = Pubkey.from_string(to) if to else self.receive
        # Solana drops an exact copy of a recent transaction: a tiny payment to nobody makes each one new.
        nonce = transfer(TransferParams(from_pubkey=PAYER.pubkey(), to_pubkey=Keypair().pubkey(), lamports=10**6))
        instructions = [self.transfer(amount if ok else 10**19, target, asset_id)] * outputs
        return await self.send(*instructions, *([self.memo(memo)] if memo is not None else []), nonce)

    async def mine(self, n: int = 1) -> None:
        """Wait until ``n`` more slots than now are final: the node's own clock makes them."""
        await self.reach(await self.rpc("getSlot", {"commitment": "processed"}) + n)

    async def reach(self, slot: int) -> None:
        """Wait until ``slot`` is final; the node's own clock makes the slots."""
        for _ in range(3_000):
            if await self.rpc("getSlot", {"commitment": "finalized"}) >= slot:
                return
            await asyncio.sleep(SLOT_MS / 1000)
        raise AssertionError(f"slot {slot} never became final")

    async def finalize(self) -> None:
        """As ``mine``: what is in a block that we report is final."""
        await self.mine()

    async def drop(self, txid: str) -> None:
        """Not possible here."""
        raise AssertionError("surfpool undoes nothing")

    move = drop

    async def restart(self) -> None:
        """Not possible here."""
        raise AssertionError("surfpool forgets its chain")


@contextlib.asynccontextmanager
async def surfpool(url: str) -> AsyncIterator[Surfpool]:
    harness = Surfpool(url)
    try:
        await harness.start()
        yield harness
    finally:
        await harness.stop()


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
async def test_contract(case, url):
    async with surfpool(url) as h:
        if reason := missing(case, h):
            pytest.skip(reason)
        await case(h)


DAY = 86_400_000 // 400
"""Slots of a day."""


async def test_a_day_of_slots_mints_every_payment_once(tmp_path):
    """A node of its own travels from payment to payment: twelve times two hours of slots."""
    with started() as url:
        async with surfpool(url) as h, Shop(h.spec, tmp_path, price(h.spec.native)) as shop:
            await a_day(h, shop)


async def a_day(h, shop):
    """Let a day pass while the shop is closed; then everybody has a ticket, once."""
    await h.pay(shop.price, memo=f"event:{EVENT}:wallet:early")
    await h.mine()
    await shop.settle()
    await shop.close()
    began = await h.rpc("getSlot")
    buyers = [f"buyer{n}" for n in range(12)]
    for n, buyer in enumerate(buyers, 1):
        await h.pay(shop.price, memo=f"event:{EVENT}:wallet:{buyer}")
        await h.rpc("surfnet_timeTravel", {"absoluteSlot": began + n * DAY // 12})
    short = await h.pay(shop.price - 1, memo=f"event:{EVENT}:wallet:short")
    await h.mine()
    assert await h.rpc("getSlot") >= began + DAY
    await shop.open()
    await shop.poll()
    await shop.close()
    await shop.open()
    await shop.settle()
    shop.check_sold(["early", *buyers], (short, shop.price - 1))


async def test_check_names_the_node_and_refuses_one_of_another_cluster(url, check):
    async with surfpool(url) as h:
        genesis = h.spec.chain_id
        code, lines = await check(h.spec)
        assert code == 0, lines
        for told in ("surfnet ", f"network solana:{genesis[:32]},", f"genesis {genesis},", "head ", "final "):
            assert told in lines[0]
        mainnet = spec("SOL").chain_id
        code, lines = await check(h.spec, chain_id=mainnet)
        assert code == 2
        assert genesis in lines[0]
        assert mainnet in lines[0]


async def test_a_payment_is_reported_with_the_time_of_the_listing_not_of_the_block(url):
    """This node's blocks say January 1970: the signature list is right."""
    async with surfpool(url) as h, reading(h) as replica:
        txid = await h.pay(price(h.spec.native))
        await h.mine()
        await replica.see(txid)
        position = check_paid(replica, h, txid, price(h.spec.native)).position
        assert isinstance(position, InBlock)
        assert abs(position.time_ms - SystemClock().now_ms()) < 600_000


async def test_memos_of_both_programs_are_read_and_two_of_them_are_two(url):
    async with surfpool(url) as h, reading(h) as replica:
        first, second = memo_for(h, "1"), memo_for(h, "2")
        pay = h.transfer(price(h.spec.native), h.receive, None)
        old = await h.send(pay, h.memo(first, MEMO_V1))
        both = await h.send(h.memo(first, MEMO_V1), pay, h.memo(second))
        await h.mine()
        await replica.see(old, both)
        assert check_paid(replica, h, old, price(h.spec.native)).memo == first.encode()
        paid = check_paid(replica, h, both, price(h.spec.native))
        assert paid.memo == f"{first}\n{second}".encode()
        assert paid.index == "1"


async def test_sol_and_a_token_in_one_transaction_are_two_payments(url):
    async with surfpool(url) as h, reading(h) as replica:
        token = h.spec.assets[1]
        txid = await h.send(
            h.transfer(price(h.spec.native), h.receive, None), h.transfer(price(token), h.receive, token.asset_id)
        )
        await h.mine()
        await replica.see(txid)
        assert [(t.index, t.asset, t.amount, t.sender) for t in replica.of(txid)] == [
            ("0", "SOL", price(h.spec.native), (str(PAYER.pubkey()),)),
            ("1", "SOL:USDC", price(token), (str(PAYER.pubkey()),)),
        ]


async def test_a_reference_key_is_found_without_asking_for_it(url):
    """Solana Pay: the key stands read-only among the transfer's accounts."""
    async with surfpool(url) as h, reading(h) as replica:
        reference = Keypair().pubkey()
        replica.source.watch([f"reference:{reference}"])
        plain = h.transfer(price(h.spec.native), h.receive, None)
        named = AccountMeta(reference, is_signer=False, is_writable=False)
        txid = await h.send(Instruction(plain.program_id, plain.data, [*plain.accounts, named]))
        await h.mine()
        await replica.see(txid)
        assert check_paid(replica, h, txid, price(h.spec.native)).references == (str(reference),)


async def test_a_long_absence_is_caught_up_over_several_pages(url):
    """More payments than one page lists, read by a source that begins where another one stood."""
    async with surfpool(url) as h:
        async with reading(h) as before:
            stood = before.position
        sent = {}
        for n in range(130):
            sent[await h.pay(price(h.spec.native, n))] = price(h.spec.native, n)
        await h.mine()
        async with reading(h, start=stood) as after:
            await after.see(*sent)
            assert {t.txid: t.amount for t in after.facts.values()} == sent
            heights = [t.position.block.height for t in after.facts.values()]
            assert heights == sorted(heights)


async def test_a_node_that_lost_its_chain_takes_nothing_back(url):
    """Its slots begin anew: that is a node behind us.  Last in the file, for the node is empty after it."""
    async with surfpool(url) as h, reading(h) as replica:
        txid = await h.pay(price(h.spec.native))
        await h.mine()
        await replica.see(txid)
        await h.rpc("surfnet_resetNetwork")
        with pytest.raises(Transient):
            await replica.sync()
        check_paid(replica, h, txid, price(h.spec.native))
