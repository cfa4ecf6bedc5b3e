"""Recorded Ethereum, Polygon and BNB data: every file of the collection, and every trap its manifests name."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from chainwatch.adapters.evm import decode
from chainwatch.config.networks import spec
from chainwatch.errors import Rejected
from chainwatch.model import InBlock, Transfer

SHARED = Path(os.environ.get("CHAINWATCH_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "chaindata"
FOLDERS = {"ethereum": "ETH", "polygon": "MATIC", "bnb": "BNB"}

NOT_CHAIN_DATA = ("eth_call", "newFilter", "expected_", "chainId", "syncing", "TransactionCount", "filter-error")
"""Parts of the names of files that are no block, transaction, receipt, log or trace of the JSON-RPC."""


def items(folder: str) -> list[dict[str, object]]:
    path = SHARED / folder / "manifest.json"
    return json.loads(path.read_text()) if path.exists() else []


def read(folder: str, *names: str) -> list[Transfer]:
    paths = [SHARED / folder / name for name in names]
    if missing := [p.name for p in paths if not p.exists()]:
        pytest.skip(f"recorded chain data not here: {', '.join(missing)} (CHAINWATCH_SHARED)")
    return list(decode([p.read_bytes() for p in paths], spec(FOLDERS[folder])))


def block(folder: str, height: int, *kinds: str) -> list[Transfer]:
    return read(folder, *(f"blocks/{height}.{kind}.json" for kind in kinds))


def native(transfers: Sequence[Transfer]) -> list[Transfer]:
    return [t for t in transfers if t.index == "v"]


def tokens(transfers: Sequence[Transfer]) -> list[Transfer]:
    return [t for t in transfers if t.index.startswith("l")]


def internal(transfers: Sequence[Transfer]) -> list[Transfer]:
    return [t for t in transfers if t.index.startswith("t")]


def every_file() -> list[object]:
    found = [(folder, str(item["file"])) for folder in FOLDERS for item in items(folder)]
    if not found:
        return [pytest.param("", "", marks=pytest.mark.skip(reason=f"recorded chain data not at {SHARED}"))]
    return [pytest.param(folder, name, id=f"{folder}/{name}"[-100:]) for folder, name in found]


@pytest.mark.parametrize(("folder", "name"), every_file())
def test_every_recorded_file_decodes_or_is_refused_by_name(folder: str, name: str) -> None:
    other = (
        any(part in name for part in NOT_CHAIN_DATA) or "/filter-error" in name or name.endswith("receipts-future.io")
    )
    if other and not name.endswith("receipts-future.io"):
        with pytest.raises(Rejected):
            read(folder, name)
        return
    for transfer in read(folder, name):
        assert transfer.chain == FOLDERS[folder]
        assert 0 <= transfer.amount < 2**256
        assert transfer.sender


# heights with the manifest's words: plain, with call data, failed with value, zero-amount, internal, ERC-20 logs
ETHEREUM = [
    (16899757, 29, 47, 3, 10, 95, 204),
    (11098450, 37, 16, 1, 0, 34, 131),
    (13998626, 2, 1, 0, 0, 5, 6),
]


@pytest.mark.parametrize(("height", "plain", "with_data", "failed", "zero", "traced", "erc20"), ETHEREUM)
def test_whole_ethereum_blocks_agree_with_their_manifest(
    height: int, plain: int, with_data: int, failed: int, zero: int, traced: int, erc20: int
) -> None:
    found = block("ethereum", height, "block", "receipts", "calltraces")
    assert len(native(found)) == plain + with_data
    assert sum(t.ok is False for t in native(found)) == failed
    assert all(t.ok is not None for t in found)
    assert len(tokens(found)) == erc20
    assert sum(t.amount == 0 for t in tokens(found)) >= zero
    assert len(internal(found)) == traced
    assert {t.position.block.height for t in found if isinstance(t.position, InBlock)} == {height}
    assert len({t.key for t in found}) == len(found)


def test_poisoning_logs_are_shown_with_amount_zero() -> None:
    """Zero-amount transfers of look-alike addresses fill a payer's history; they are facts, and pay nothing."""
    found = block("ethereum", 16899757, "receipts")
    assert sum(t.amount == 0 for t in found) == 10
    assert sum(t.amount == 0 for t in read("ethereum", "logs/USDT_16899757.json")) == 6
    assert sum(t.amount == 0 for t in read("ethereum", "logs/USDC_16899757.json")) == 2
    assert sum(t.amount == 0 for t in read("polygon", "logs/USDT_38102393.json")) == 7
    assert sum(t.amount == 0 for t in read("polygon", "logs/USDCe_38102393.json")) == 7


def test_what_a_reverted_call_would_have_sent_is_not_ok() -> None:
    """Coinbase paid out for such traces in 2018: two of the 95 calls with value in this block moved nothing."""
    calls = internal(block("ethereum", 16899757, "block", "calltraces"))
    assert Counter(t.ok for t in calls) == {True: 93, False: 2}
    assert all(t.txid and t.memo is None for t in calls)


def test_erc721_beside_erc20_is_no_transfer_of_ours() -> None:
    """42 NFT transfers share the first topic with 204 token transfers."""
    found = block("ethereum", 16899757, "receipts")
    assert len(found) == 204
    assert Counter(t.asset for t in found) == {None: 173, "ETH:USDT": 18, "ETH:USDC": 13}


def test_transfer_events_without_indexed_arguments_are_left_alone() -> None:
    assert len(block("ethereum", 7280016, "receipts")) == 40


def test_failed_transactions_with_value_are_not_ok() -> None:
    found = native(block("ethereum", 16899757, "block", "receipts"))
    assert sum(t.ok is False for t in found) == 3
    assert sum(t.ok is False for t in native(block("ethereum", 11098450, "block", "receipts"))) == 1


def test_a_block_alone_does_not_tell_success() -> None:
    assert {t.ok for t in block("ethereum", 16899757, "block")} == {None}


def test_a_trace_tells_success_where_the_receipt_is_not_at_hand() -> None:
    with_receipts = {t.key: t.ok for t in native(block("ethereum", 16899757, "block", "receipts"))}
    with_traces = {t.key: t.ok for t in native(block("ethereum", 16899757, "block", "calltraces"))}
    assert with_traces == with_receipts


def test_contract_creation_is_paid_to_the_created_contract_or_to_nobody_known() -> None:
    found = block("ethereum", 7280016, "block", "receipts")
    assert len(native(found)) == 38 + 5


@pytest.mark.parametrize(("height", "plain", "with_data"), [(4404763, 36, 6), (4370006, 6, 1), (7280016, 38, 5)])
def test_older_blocks_agree_with_their_manifest(height: int, plain: int, with_data: int) -> None:
    found = native(block("ethereum", height, "block", "receipts"))
    assert len(found) == plain + with_data
    assert all(t.ok for t in found)


def test_a_calldata_memo_is_read() -> None:
    (paid,) = read("ethereum", "memo/tx_hello_calldata.json")
    assert paid.memo == b"hello!"
    assert paid.amount == 0xF3DBB76162000
    assert paid.to == "0xF02c1c8e6114b1Dbe8937a39260b5b0a374432bB"
    assert paid.asset == "ETH"
    assert paid.ok is None


def test_receipts_before_byzantium_do_not_tell_success_whatever_they_say() -> None:
    """Early nodes wrote a meaningless status 0x0 beside the state root (rosetta's recordings)."""
    folder = SHARED / "ethereum" / "rosetta"
    if not folder.exists():
        pytest.skip(f"recorded chain data not at {folder}")
    paths = sorted(folder.glob("*.json"))
    found = list(decode([p.read_bytes() for p in paths], spec("ETH")))
    assert len(native(found)) == 5
    assert {t.ok for t in native(found)} == {None}


def test_order_of_documents_does_not_matter() -> None:
    names = [f"blocks/16899757.{kind}.json" for kind in ("block", "receipts", "calltraces")]
    forth, back = read("ethereum", *names), read("ethereum", *reversed(names))
    assert {t.key: t for t in forth} == {t.key: t for t in back}


def test_a_log_search_beside_its_receipts_adds_nothing() -> None:
    alone = read("ethereum", "blocks/16899757.receipts.json")
    assert read("ethereum", "blocks/16899757.receipts.json", "logs/USDT_16899757.json") == alone


def test_a_log_without_its_receipt_has_no_known_place_in_it() -> None:
    assert {t.index for t in read("ethereum", "logs/USDT_16899757.json")} == {""}


def test_whole_polygon_block_agrees_with_its_manifest() -> None:
    found = block("polygon", 38102393, "block", "receipts", "calltraces")
    assert len(native(found)) == 2 + 3
    assert sum(t.amount == 0 for t in tokens(found)) == 22
    assert len(internal(found)) == 11
    assert Counter(t.asset for t in native(found)) == {"MATIC": 5}


def test_polygon_fee_logs_are_no_transfers() -> None:
    """The 0x…1010 contract logs every fee and native transfer once more."""
    folder = SHARED / "polygon" / "polygon-etl"
    paths = [str(p.relative_to(SHARED / "polygon")) for p in sorted(folder.rglob("*eth_getTransactionReceipt*.json"))]
    found = read("polygon", *paths) if paths else pytest.skip(f"recorded chain data not at {folder}")
    assert paths
    assert all(t.asset_id != "0x0000000000000000000000000000000000001010" for t in found)
    assert len(found) == 3


def test_polygon_state_sync_receipt_is_read() -> None:
    """From and to nobody, gas 0; its logs are bridge deposits."""
    (deposit,) = read("polygon", "fixtures/polygon_fixture_bor_receipt_34155965.json")
    assert deposit.sender == ("0x0000000000000000000000000000000000000000",)
    assert deposit.ok is True
    assert deposit.memo is None


def test_bsc_system_transaction_is_a_transfer_like_any_other() -> None:
    """Gas price 0, from the validator to 0x…1000: value moved, though nobody of ours is paid."""
    (system,) = read("bnb", "testnet_nexus/01_eth_getTransactionByHash.json")
    assert system.to == "0x0000000000000000000000000000000000001000"
    assert system.asset == "BNB"
    assert read("bnb", "testnet_nexus/03_eth_getTransactionByHash.json") == []


def test_blob_and_set_code_transactions_are_read() -> None:
    (blob,) = read("ethereum", "execution-apis/eth_getTransactionByHash/get-blob-tx.io")
    assert blob.amount > 0
    assert read("ethereum", "execution-apis/eth_getTransactionByHash/get-setcode-tx.io") == []


@pytest.mark.parametrize(
    "name", ["eth_getTransactionByHash/get-notfound-tx.io", "eth_getBlockByNumber/get-block-notfound.io"]
)
def test_not_found_is_no_transfer(name: str) -> None:
    assert read("ethereum", f"execution-apis/{name}") == []


def test_withdrawals_and_rewards_are_no_transfers() -> None:
    rewarded = "ethereum-etl/test_export_traces_job/block_with_error/web3_response.trace_block_0xf45bf.json"
    assert read("ethereum", rewarded) == []
    assert read("ethereum", "helios/block.json") == []


@pytest.mark.parametrize("folder", ["ethereum", "polygon"])
def test_the_main_networks_genesis_is_the_recorded_one(folder: str) -> None:
    etl = "ethereum-etl" if folder == "ethereum" else "polygon-etl"
    name = f"{etl}/test_export_blocks_job/block_without_transactions/web3_response.eth_getBlockByNumber_0x0_true.json"
    path = SHARED / folder / name
    if not path.exists():
        pytest.skip(f"recorded chain data not here: {path.name} (CHAINWATCH_SHARED)")
    assert json.loads(path.read_text())["result"]["hash"] == spec(FOLDERS[folder]).params["genesis"]
