"""Recorded data of the Bitcoin main and test networks: every file of the manifest, every trap that it names.

The files lie beside the repository (``CHAINWATCH_SHARED``, default ``../shared``); without them these tests
are skipped.
"""

import json
import os
import re
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from bitcoin.core import CTransaction

from chainwatch.adapters import decode
from chainwatch.adapters.derivation import refuse_private
from chainwatch.adapters.rawblock import Format, read_block, read_tx
from chainwatch.adapters.scripts import Prefixes, is_data, to_address, to_script
from chainwatch.config.networks import known, spec
from chainwatch.errors import Misconfigured, Rejected
from chainwatch.model import InBlock, Transfer

SHARED = Path(os.environ.get("CHAINWATCH_SHARED", Path(__file__).parents[3] / "shared"))
FOLDER = SHARED / "chaindata" / "bitcoin"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no recorded Bitcoin data at {FOLDER}")

BTC = spec("BTC")
MANIFEST: list[dict[str, Any]] = (
    json.loads((FOLDER / "manifest.json").read_text("utf-8")) if (FOLDER / "manifest.json").exists() else []
)


def read(*names: str) -> list[Transfer]:
    return list(decode([(FOLDER / name).read_bytes() for name in names], BTC))


def loaded(name: str) -> Any:
    return json.loads((FOLDER / name).read_text("utf-8"))


# What each file must give: number of transfers (block rewards are none), or the reason it is refused.
EXPECTED: dict[str, int | str] = {
    "blocks/block413567.raw": 3580,
    "blocks/mainnet_000000000000000000000c835b.raw": 6013,
    "blocks/testnet4_40000.json": 35,
    "blocks/signet_31500.json": 2,
    "rpc/get_block_response.json": 2,
    "rpc/get_block_response_2.json": 3,
    "rpc/get_block_hash_response.json": "malformed",
    "rpc/get_block_hash_out_of_range_response.json": "node_error",
    "rpc/rpc_in_warmup_response.json": "node_error",
    "rpc/raw_mempool.json": "malformed",
    "electrum/protocol_examples.json": "malformed",
    "vectors/raw_txs_rust_bitcoin.json": 13,
    "vectors/tx_valid.json": "malformed",
    "vectors/tx_invalid.json": "malformed",
    "vectors/key_io_valid.json": "malformed",
    "vectors/key_io_invalid.json": "malformed",
    "rpc/getrawtransaction_inputs_200000.json": 91,
    "rpc/getblock_v2_91880.json": 2,
    "rpc/getblock_v2_0.json": 0,
    "chainstorage/btc_getblockresponse.json": 3,
    "chainstorage/get_block.json": 3,
    "chainstorage/get_block_multisig_case.json": 0,
    "chainstorage/get_raw_transaction.json": 1,
    "chainstorage/get_block_err_txnovoutnil.json": 3,
}


def test_every_file_of_the_manifest_is_accounted_for() -> None:
    assert {entry["file"] for entry in MANIFEST} == EXPECTED.keys()


@pytest.mark.parametrize("entry", MANIFEST, ids=lambda e: e["file"])
def test_each_file_gives_its_transfers_or_a_typed_refusal(entry: dict[str, Any]) -> None:
    expected = EXPECTED[entry["file"]]
    if isinstance(expected, str):
        with pytest.raises(Rejected) as caught:
            read(entry["file"])
        assert caught.value.code == expected
        return
    found = read(entry["file"])
    assert len(found) == expected
    assert len({t.key for t in found}) == expected
    for transfer in found:
        assert transfer.asset == "BTC"
        assert transfer.amount >= 0
        if "height" in entry and transfer.position is not None:
            assert isinstance(transfer.position, InBlock)
            assert transfer.position.block.height == entry["height"]


@pytest.mark.parametrize("name", ["blocks/block413567.raw", "blocks/mainnet_000000000000000000000c835b.raw"])
def test_a_main_network_block_has_the_outputs_that_the_manifest_counts(name: str) -> None:
    entry = next(e for e in MANIFEST if e["file"] == name)
    counted = {k: int(n) for k, n in re.findall(r"'(\w+)': (\d+)", entry["what"])}
    block = read_block((FOLDER / name).read_bytes(), Format())
    assert block.header.id in entry["what"]
    assert block.count == int(re.search(r"(\d+) txs", entry["what"]).group(1))  # type: ignore[union-attr]
    scripts = [s for tx in block.txs for _, s in tx.outputs]
    assert len(scripts) == sum(counted.values())
    assert sum(map(is_data, scripts)) == counted["op_return"]
    assert Counter(len(s) for s in scripts if not is_data(s))[25] == counted["p2pkh"]
    found = read(name)
    assert len(found) == len(scripts) - len(block.txs[0].outputs)
    assert all(isinstance(t.position, InBlock) and t.position.block.hash == block.header.id for t in found)


# -- the traps -------------------------------------------------------------------------------------


def _paying_twice(transfers: list[Transfer]) -> int:
    pairs = Counter((t.txid, t.to) for t in transfers if t.to is not None)
    return len({txid for (txid, _), n in pairs.items() if n > 1})


@pytest.mark.parametrize(
    ("name", "times"), [("blocks/block413567.raw", 2), ("blocks/mainnet_000000000000000000000c835b.raw", 13)]
)
def test_trap_transactions_that_pay_one_script_twice_count_twice(name: str, times: int) -> None:
    """`tx paying same script twice`: keyed by (txid, address) one of the two would be lost."""
    found = read(name)
    assert _paying_twice(found) == times
    assert len({t.key for t in found}) == len(found)


@pytest.mark.parametrize(
    ("name", "at_least"), [("blocks/block413567.raw", 2), ("blocks/mainnet_000000000000000000000c835b.raw", 20)]
)
def test_trap_op_return_that_is_no_text_is_kept_as_bytes(name: str, at_least: int) -> None:
    """`OP_RETURN non-UTF8`: the coinbase's commitment is one of those that the manifest counts."""
    data = [t for t in read(name) if t.to is None and t.memo is not None]

    def is_text(memo: bytes) -> bool:
        try:
            memo.decode()
        except UnicodeDecodeError:
            return False
        return True

    assert sum(not is_text(t.memo or b"") for t in data) >= at_least - 1
    assert all(t.amount == 0 for t in data)


def test_real_payment_memos_are_read_and_stand_on_every_output_of_their_transaction() -> None:
    entry = next(e for e in MANIFEST if "memos" in e)
    found = read(entry["file"])
    for line in entry["memos"]:
        txid, _, memo = line.partition(": ")
        outputs = [t for t in found if t.txid == txid]
        assert len(outputs) > 1
        assert {t.memo for t in outputs} == {memo.encode()}


def test_trap_dust_outputs_are_transfers_too() -> None:
    found = read("blocks/mainnet_000000000000000000000c835b.raw")
    assert sum(0 < t.amount < 546 for t in found) == 13


def test_trap_runes_op_13_and_pushes_are_read() -> None:
    """`OP_RETURN multi-push/opcodes`: it stands in the signet block's coinbase, which is a reward and left out."""
    raw = bytes.fromhex(loaded("blocks/signet_31500.json")["block"])
    (coinbase, *others) = read_block(raw, Format()).txs
    assert any(is_data(s) for _, s in coinbase.outputs)
    assert {t.txid for t in read("blocks/signet_31500.json")} == {t.txid for t in others}


def test_trap_a_duplicate_coinbase_is_never_credited() -> None:
    """BIP-30: e3bf3d07… is the coinbase of blocks 91722 and 91880, one id for two rewards."""
    assert not [t for t in read("rpc/getblock_v2_91880.json") if t.txid.startswith("e3bf3d07")]


def test_trap_the_genesis_coinbase_is_no_transfer() -> None:
    assert read("rpc/getblock_v2_0.json") == []


@pytest.mark.parametrize("name", ["rpc/getblock_v2_91880.json", "rpc/getrawtransaction_inputs_200000.json"])
def test_trap_amounts_that_are_json_floats_are_exact(name: str) -> None:
    document = json.loads((FOLDER / name).read_text("utf-8"), parse_float=Decimal)
    txs = document if isinstance(document, list) else document.get("result", document)["tx"][1:]
    expected = [int(Decimal(o["value"]) * 10**8) for tx in txs for o in tx["vout"]]
    assert [t.amount for t in read(name)] == expected


def test_trap_old_and_new_spellings_of_addresses_are_one() -> None:
    """`scriptPubKey.addresses[]` before 22.0, `.address` after: the script decides."""
    for name in ("rpc/getrawtransaction_inputs_200000.json", "chainstorage/get_block.json"):
        document = loaded(name)
        txs = document if isinstance(document, list) else document.get("result", document)["tx"][1:]
        told = [o["scriptPubKey"] for tx in txs for o in tx["vout"]]
        for transfer, key in zip(read(name), told, strict=True):
            spelled = key.get("address") or (key.get("addresses") or [None])[0]
            assert transfer.to == (spelled if key["type"] not in ("pubkey", "multisig") else None)


def test_trap_a_transaction_without_outputs_is_read_from_its_bytes_or_refused() -> None:
    """`malformed RPC answer`: a missing `vout` must not look like a transaction that pays nobody."""
    document = loaded("chainstorage/btc_getblockresponse.json")
    cut = next(tx for tx in document.get("result", document)["tx"][1:] if "vout" not in tx)
    assert [t.amount for t in read("chainstorage/btc_getblockresponse.json") if t.txid == cut["txid"]] == [140733]
    for change in ({"hex": None}, {"txid": "00" * 32}, {"hex": cut["hex"][:-2]}):
        with pytest.raises(Rejected):
            list(decode([json.dumps({"height": 1, "hash": "00", "tx": [{**cut, **change}]}).encode()], BTC))


def test_a_bare_multisig_output_has_no_address() -> None:
    block = loaded("chainstorage/get_block_multisig_case.json")
    outputs = [o for tx in block.get("result", block)["tx"] for o in tx["vout"]]
    script = next(o["scriptPubKey"]["hex"] for o in outputs if o["scriptPubKey"]["type"] == "multisig")
    assert to_address(bytes.fromhex(script), Prefixes(0, (5,), "bc")) is None


def test_raw_block_and_its_description_agree() -> None:
    name = "blocks/testnet4_40000.json"
    document = loaded(name)
    raw = list(decode([document["block"].encode()], BTC))
    both = read(name)
    assert [t.key for t in raw] == [t.key for t in both]
    assert {t.txid for t in both} == set(document["tx"][1:])


def test_a_block_of_ids_places_the_transactions_of_another_file() -> None:
    """`getblock` 1 names its transactions; their outputs come from a raw transaction beside it."""
    document = loaded("blocks/testnet4_40000.json")
    block = read_block(bytes.fromhex(document["block"]), Format())
    txid = document["tx"][1]
    listing = {k: v for k, v in document.items() if k != "block"}
    raw = bytes.fromhex(document["block"])
    tx = next(t for t in block.txs if t.txid == txid)
    start = raw.index(bytes.fromhex(tx.inputs[0][0])[::-1]) - 7  # version, marker, flag, one input
    end = next(e for e in range(start + 60, len(raw)) if _is_tx(raw[start:e], txid))
    found = list(decode([json.dumps({"result": listing, "error": None, "id": 1}).encode(), raw[start:end]], BTC))
    assert found
    assert all(isinstance(t.position, InBlock) and t.position.block.height == 40000 for t in found)


def _is_tx(data: bytes, txid: str) -> bool:
    try:
        return read_tx(data, Format()).txid == txid
    except Rejected:
        return False


# -- vectors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vectors/tx_valid.json", "vectors/tx_invalid.json"])
def test_cores_transaction_vectors_read_as_the_library_reads_them(name: str) -> None:
    compared = 0
    for row in loaded(name):
        if len(row) < 3:
            continue
        raw = bytes.fromhex(row[1])
        try:
            ours = read_tx(raw, Format())
        except Rejected:
            assert row[2] == "BADTX" or name.endswith("invalid.json")
            continue
        theirs = CTransaction.deserialize(raw)
        assert ours.txid == theirs.GetTxid()[::-1].hex()
        assert [s for _, s in ours.outputs] == [bytes(o.scriptPubKey) for o in theirs.vout]
        compared += 1
    assert compared > 80


def test_raw_transactions_of_rust_bitcoin_have_their_ids_and_amounts() -> None:
    for row in loaded("vectors/raw_txs_rust_bitcoin.json"):
        tx = read_tx(bytes.fromhex(row["hex"]), Format())
        assert tx.txid == row["txid"]
        assert [a for a, _ in tx.outputs] == [a for a, _ in row["outputs"]]


def test_cores_address_vectors() -> None:
    networks = {n: Prefixes(s["p2pkh"], tuple(s["p2sh"]), s["hrp"]) for n, s in known()["BTC"]["networks"].items()}
    checked = 0
    for text, payload, about in loaded("vectors/key_io_valid.json"):
        if about["isPrivkey"]:
            if about["chain"] == "main":
                with pytest.raises(Misconfigured):
                    refuse_private(text)
            continue
        prefixes = networks[about["chain"]]
        assert to_script(text, prefixes).hex() == payload
        assert to_address(bytes.fromhex(payload), prefixes) == (
            text.lower() if text.lower().startswith(f"{prefixes.hrp}1") else text
        )
        checked += 1
    assert checked > 40


def test_cores_invalid_addresses_are_addresses_of_no_network() -> None:
    for (text,) in loaded("vectors/key_io_invalid.json"):
        for section in known()["BTC"]["networks"].values():
            with pytest.raises(Misconfigured):
                to_script(text, Prefixes(section["p2pkh"], tuple(section["p2sh"]), section["hrp"]))
