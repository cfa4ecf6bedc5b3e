"""A payout made from our unsigned file, signed by a real wallet, on a real node: it settles by itself.

Each file is read by another library than the one that wrote it: python-bitcoinlib and btclib for the PSBT, eth-account
for the EVM's JSON, solders for Solana's instructions, monero-wallet-rpc for its own parameters, and dhive and wax for
Hive (on the simulated node: there is no real one for tests).
"""

import asyncio
import base64
import importlib.util
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from chainwatch.adapters import open_source
from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.clock import SystemClock
from chainwatch.config.networks import spec
from chainwatch.errors import Rejected
from chainwatch.payfiles import Options
from chainwatch.testing.till import Till
from chainwatch.testing.tools import node_modules

pytestmark = [pytest.mark.network, pytest.mark.node]
HERE = Path(__file__).parent


def harness(name: str) -> ModuleType:
    """The node harnesses stand in the files of their adapters' tests."""
    found = importlib.util.spec_from_file_location(f"nodes_{name}", HERE / f"test_{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules.setdefault(found.name, module)
    found.loader.exec_module(module)
    return module


def services() -> Services:
    return Services(clock=SystemClock(), random=random.Random(3), observer=SilentObserver())


async def until_settled(till: Till, mine: Any, rounds: int = 6) -> None:
    for _ in range(rounds):
        await mine()
        await till.read()
        if till.payout().state == "settled":
            return
    raise AssertionError(f"the payout is {till.payout().state}")


@pytest.fixture(autouse=True)
async def _closed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Close every till, whatever became of its test: what it leaves open would fail somebody else's."""
    made: list[Till] = []
    build = Till.__init__

    def kept(self: Till, *args: Any, **kwargs: Any) -> None:
        build(self, *args, **kwargs)
        made.append(self)

    monkeypatch.setattr(Till, "__init__", kept)
    yield
    for till in made:
        await till.close()


async def exported(till: Till, asset: str, destination: str, options: Options) -> dict[str, Any]:
    """Export the payout as soon as its money is deep enough for that."""
    async with asyncio.timeout(60):
        while True:
            try:
                return till.export(asset, destination, options)
            except Rejected as no:
                if "deep enough" not in str(no):
                    raise
            await asyncio.sleep(0.2)
            await till.read()


# -- EVM -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asset", ["ETH", "ETH:USDC"])
async def test_anvil_mines_what_eth_account_signed_of_our_json(asset: str, tmp_path: Path) -> None:
    nodes = harness("anvil")
    if nodes.ANVIL is None:
        pytest.skip("anvil is not installed")
    from eth_account import Account

    key = Account.create("till")
    node = nodes.Anvil("ETH", tmp_path)
    await node.start()
    try:
        node.spec = msgspec.structs.replace(node.spec, receive=(key.address,))
        till = Till(node.spec, node.source())
        price = 10**16 if asset == "ETH" else 5_000_000
        till.event(asset, price)
        await till.read()
        await node.rpc("anvil_setBalance", key.address, hex(10**18))  # what pays for gas
        contract = node.coin if asset != "ETH" else None
        await node.pay(price, asset_id=contract, memo=f"event:gala:wallet:{node.wallet()}")
        await node.mine(3)
        await till.read()
        assert till.sold() == 1
        creator = node.wallet()
        nonce = await till.watcher.source.next_nonce(key.address)  # type: ignore[attr-defined]
        assert nonce == 0
        options = Options(nonce=nonce, max_fee_per_gas=10 * 10**9, priority_fee_per_gas=10**9)
        file = till.export(asset, creator, options)
        (one,) = file["transactions"]
        unsigned = {k: v for k, v in one["transaction"].items() if k != "from"}
        for name in ("value", "maxFeePerGas", "maxPriorityFeePerGas"):
            unsigned[name] = int(unsigned[name])
        signed = Account.sign_transaction(unsigned, key.key)
        txid = await node.rpc("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
        await until_settled(till, node.mine)
        assert till.payout().settled_txid == txid
        assert till.payout().destination == creator
        balances = await till.watcher.source.balances(int(await node.rpc("eth_blockNumber"), 16))  # type: ignore[attr-defined]
        fee = int(await node.rpc("eth_getBalance", creator, "latest"), 16) if asset == "ETH" else 0
        assert fee == (price * 8 // 10 if asset == "ETH" else 0)
        if asset != "ETH":
            assert balances.amounts[asset] == price - price * 8 // 10
    finally:
        await node.stop()


# -- Bitcoin ---------------------------------------------------------------------------------------


def sign_psbt(text: str, secrets: dict[bytes, Any]) -> bytes:
    """Sign P2WPKH inputs with python-bitcoinlib by what the PSBT says (BIP-143); return the transaction."""
    from bitcoin.core import (
        CMutableTransaction,
        CScript,
        CScriptWitness,
        CTransaction,
        CTxInWitness,
        CTxWitness,
        Hash160,
    )
    from bitcoin.core.script import SIGHASH_ALL, SIGVERSION_WITNESS_V0, SignatureHash

    unsigned, inputs = read_psbt(base64.b64decode(text))
    tx = CMutableTransaction.from_tx(CTransaction.deserialize(unsigned))
    witnesses = []
    for i, (amount, script) in enumerate(inputs):
        key = secrets[script[2:]]
        assert Hash160(key.pub) == script[2:]
        code = CScript(b"\x76\xa9\x14" + script[2:] + b"\x88\xac")
        digest = SignatureHash(code, tx, i, SIGHASH_ALL, amount=amount, sigversion=SIGVERSION_WITNESS_V0)
        witnesses.append(CTxInWitness(CScriptWitness([key.sign(digest) + bytes([SIGHASH_ALL]), key.pub])))
    tx.wit = CTxWitness(witnesses)
    return bytes(tx.serialize())


def read_psbt(data: bytes) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Read BIP-174 by hand: the unsigned transaction, and each input's witness UTXO."""
    assert data[:5] == b"psbt\xff"
    at, maps = 5, []
    while at < len(data):
        entries: dict[bytes, bytes] = {}
        while data[at]:
            size = data[at]
            name, at = data[at + 1 : at + 1 + size], at + 1 + size
            length, at = (
                (data[at], at + 1) if data[at] < 253 else (int.from_bytes(data[at + 1 : at + 3], "little"), at + 3)
            )
            entries[name], at = data[at : at + length], at + length
        maps.append(entries)
        at += 1
    unsigned = maps[0][b"\x00"]
    utxos = [m[b"\x01"] for m in maps[1:] if b"\x01" in m]
    return unsigned, [(int.from_bytes(u[:8], "little"), u[9:]) for u in utxos]


@pytest.mark.parametrize("kind", ["bcoin", "bitcoind"])
async def test_a_bitcoin_node_mines_what_another_library_signed_of_our_psbt(kind: str) -> None:
    nodes = harness("bitcoin_node")
    if kind == "bcoin" and (not nodes.BCOIN.exists() or shutil.which("node") is None):
        pytest.skip("bcoin is not installed")
    if kind == "bitcoind" and nodes.BITCOIND is None:
        pytest.skip("no bitcoind")
    from bitcoin.core import Hash160
    from bitcoin.wallet import CBitcoinSecret

    from chainwatch.adapters.scripts import prefixes, to_address, witness_script

    secret = CBitcoinSecret.from_secret_bytes(b"chainwatch till's key for tests.")
    with tempfile.TemporaryDirectory(prefix="chainwatch-node-", ignore_cleanup_errors=True) as folder:
        async with nodes.running(kind, Path(folder)) as h:
            known = prefixes(h.spec.params, h.spec.options, h.spec.chain_id)
            ours = to_address(witness_script(0, Hash160(secret.pub)), known)
            assert ours is not None
            h.spec = msgspec.structs.replace(h.spec, receive=(ours,))
            if kind == "bcoin":
                await h.mine(450)  # its regtest learns of segregated witness by three windows of votes
            till = Till(h.spec, h.source())
            till.event("BTC", 1_000_000)
            await till.read()
            wallet = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"
            await h.pay(1_000_000, memo=f"event:gala:wallet:{wallet}")
            await h.mine(3)
            await till.read()
            assert till.sold() == 1
            creator = to_address(witness_script(0, Hash160(b"creator")), known)
            assert creator is not None
            file = export_bitcoin(till, creator)
            raw = sign_psbt(file["psbt"], {Hash160(secret.pub): secret})
            txid = await h.node.rpc.call("sendrawtransaction", [raw.hex()])
            await until_settled(till, h.mine)
            assert till.payout().settled_txid == txid
            assert await change_is_internal(till, txid)


def export_bitcoin(till: Till, creator: str) -> dict[str, Any]:
    """bcoin's regtest prefix is its own, so the address is entered as it stands."""
    from chainwatch.ledger import destinations

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(destinations, "canonical", lambda _c, _chain, text, _spec=None: text)
        return till.export("BTC", creator, Options(fee_rate=20_000))


async def change_is_internal(till: Till, txid: str) -> bool:
    from sqlalchemy import select

    from chainwatch.ledger.tables import allocations, transfers

    with till.ledger.reading() as c:
        rows = c.execute(
            select(allocations.c.kind, transfers.c.amount)
            .join_from(allocations, transfers)
            .where(transfers.c.txid == txid)
        ).all()
        fees = c.execute(
            select(transfers.c.network_fee).where(transfers.c.txid == txid, transfers.c.idx == "fee")
        ).all()
    (kind, change), (fee,) = rows[0], fees[0]
    return bool(kind == "internal" and change + fee == 200_000)


# -- Solana ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("asset", ["SOL", "SOL:USDC"])
async def test_surfpool_runs_what_solders_signed_of_our_instructions(asset: str) -> None:
    nodes = harness("surfpool")
    if not nodes.SURFPOOL.exists() or shutil.which("node") is None:
        pytest.skip("surfpool is not installed")
    from solders.instruction import AccountMeta, Instruction
    from solders.keypair import Keypair
    from solders.pubkey import Pubkey

    key = Keypair.from_seed(b"chainwatch till's key for tests.")
    started = nodes.url.__wrapped__() if hasattr(nodes.url, "__wrapped__") else nodes.url()
    node = nodes.Surfpool(next(started))
    try:
        node.receive = key.pubkey()
        await node.start()
        till = Till(node.spec, node.source())
        price = 10**9 if asset == "SOL" else 5_000_000
        till.event(asset, price)
        await till.read()
        contract = None if asset == "SOL" else str(node.mint)
        memo = f"event:gala:wallet:{node.wallet()}"
        if asset != "SOL":
            await node.pay(10**9)  # what pays for signatures
        txid = await node.pay(price, asset_id=contract, memo=memo)
        for _ in range(600):
            await till.read()
            if till.sold():
                break
            await asyncio.sleep(0.1)
        assert till.sold() == 1
        creator = node.wallet()
        file = await exported(till, asset, creator, Options())
        (one,) = file["transactions"]
        assert one["uri"].startswith(f"solana:{creator}?amount=")
        instructions = [
            Instruction(
                Pubkey.from_string(i["programId"]),
                bytes.fromhex(i["data_hex"]),
                [
                    AccountMeta(Pubkey.from_string(a["pubkey"]), is_signer=a["isSigner"], is_writable=a["isWritable"])
                    for a in i["accounts"]
                ],
            )
            for i in one["instructions"]
        ]
        txid = await node.send(*instructions, key=key)
        await until_settled(till, lambda: asyncio.sleep(0.3), rounds=200)
        assert till.payout().settled_txid == txid
    finally:
        await node.stop()
        started.close()


# -- Monero ----------------------------------------------------------------------------------------


@pytest.mark.timeout(400)
async def test_monero_wallet_rpc_takes_our_parameters_and_its_key_settles_them(tmp_path: Path) -> None:
    nodes = harness("monerod")
    if not all(shutil.which(p) for p in nodes.PROGRAMS):
        pytest.skip("monerod is not installed")
    regtest = nodes.Regtest(tmp_path)
    await asyncio.to_thread(regtest.start)
    try:
        h = nodes.NodeHarness(regtest)
        await h.prepare(31)  # beyond those that purchases take
        till = Till(h.spec, h.source(), depth=10)
        till.event("XMR", 10**12)
        await till.read()
        await h.pay(10**12, to=till.own("alice", "XMR", 10**12))
        for _ in range(4):
            await h.mine(12)
            await till.read()
            if till.sold():
                break
        assert till.sold() == 1
        creator = regtest.payer
        file = till.export("XMR", creator, Options())
        await asyncio.to_thread(spend, regtest, file)
        sent = spend.answer  # type: ignore[attr-defined]
        await h.mine(12)
        await till.read()
        assert till.payout().state == "exported"  # a view-only wallet does not see what left
        proof = await till.watcher.source.prove(sent["tx_hash"], sent["tx_key"], creator)  # type: ignore[attr-defined]
        (found,) = till.prove([proof])
        assert found.subject == "payout:1"
        await till.read()
        assert till.payout().state == "settled"
    finally:
        await asyncio.to_thread(regtest.stop_all)


def spend(regtest: Any, file: dict[str, Any]) -> None:
    """Open the shop's own wallet, the one that can spend, and hand it our call as it stands."""
    regtest.payer_wallet("close_wallet")
    regtest.payer_wallet("open_wallet", filename="shop", password="")
    wanted = sum(d["amount"] for d in file["params"]["destinations"])
    end = time.monotonic() + 60
    while True:  # what came is spendable ten blocks later, and the wallet must have read them
        regtest.refresh_payer()
        if regtest.payer_wallet("get_balance")["unlocked_balance"] > wanted:
            break
        assert time.monotonic() < end, "the shop's wallet does not see its money unlocked"
        time.sleep(0.5)
    spend.answer = regtest.payer_wallet(file["method"], **file["params"])  # type: ignore[attr-defined]
    regtest.payer_wallet("close_wallet")
    regtest.payer_wallet("open_wallet", filename="payer", password="")
    regtest.refresh_payer()


# -- Hive ------------------------------------------------------------------------------------------


async def test_dhive_signs_and_wax_checks_our_hive_transaction() -> None:
    modules = node_modules()
    packages = [modules / "@hiveio" / name for name in ("dhive", "wax")]
    if not all(p.is_dir() for p in packages) or shutil.which("node") is None:
        pytest.skip("@hiveio/dhive and @hiveio/wax are not installed")
    from chainwatch.devnet import hive as devnet
    from chainwatch.devnet.node import Payment

    node = devnet.make(spec("HIVE"), clock=SystemClock(), rng=random.Random(5))
    url = await node.start()
    try:
        known = spec("HIVE", endpoints=(url,), receive=tuple(node.config()["receive"]))
        till = Till(known, open_source(known, services()))
        till.event("HIVE", 5_000)
        await till.read()
        ours = known.receive[0]
        node.pay(Payment(ours, 5_000, memo="event:gala:wallet:alice"))
        for _ in range(4):
            node.chain.mine()
        await till.read()
        assert till.sold() == 1
        file = till.export("HIVE", "carol", Options())
        process = await asyncio.create_subprocess_exec(
            "node",
            *(str(HERE / "hive_sign.mjs"), str(modules), file["chain_id"], json.dumps(file["transaction"])),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 100)
        assert process.returncode == 0, err.decode()[-2000:]
        signed = json.loads(out)
        assert signed["wax_digest"] == signed["dhive_digest"]
        assert len(signed["signatures"]) == 1
        (name, body), *_ = signed["operations"]
        assert (name, body["from"], body["to"], body["amount"], body["memo"]) == (
            *("transfer", ours, "carol", "4.000 HIVE", "payout:1"),
        )
        # The simulated node checks no signature: it is given what was signed.
        paid = Payment(body["to"], 4_000, memo=body["memo"], sender=body["from"])
        node.pay(paid)
        await until_settled(till, mine_on(node))
    finally:
        await node.stop()


def mine_on(node: Any) -> Any:
    async def mine() -> None:
        node.chain.mine()

    return mine
