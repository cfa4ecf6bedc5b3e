"""Recorded wallet-rpc and monerod answers: every entry is one transfer, and nothing else is any.

The recordings are read in place (``CHAINWATCH_SHARED``); their manifest names the traps.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chainwatch.adapters import decode
from chainwatch.adapters.monero import judge
from chainwatch.adapters.monero_wire import Entry, Output
from chainwatch.config.networks import spec as known_spec
from chainwatch.errors import Rejected
from chainwatch.model import InBlock, Transfer

SHARED = Path(os.environ.get("CHAINWATCH_SHARED", Path(__file__).parents[2] / ".." / "shared"))
FOLDER = SHARED / "chaindata" / "monero"
WALLET = "monero-python/test_jsonrpcwallet"

needs_recordings = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no recorded data at {FOLDER}")
XMR = 10**12
SPEC = known_spec("XMR")


def read(*documents: Any) -> list[Transfer]:
    raw = [d if isinstance(d, bytes) else msgspec.json.encode(d) for d in documents]
    return list(decode(raw, SPEC))


def recorded(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def wallet(name: str) -> list[Transfer]:
    return read(recorded(f"{WALLET}/test_{name}.json"))


def manifest() -> Iterator[str]:
    if FOLDER.is_dir():
        for item in msgspec.json.decode((FOLDER / "manifest.json").read_bytes()):
            yield item["file"]


def documented(method: str) -> list[Any]:
    examples = msgspec.json.decode(recorded("docs/wallet-rpc_examples.json"))
    return [e["response"] for e in examples if e["method"] == method]


# -- the manifest's traps ------------------------------------------------------------------------


@needs_recordings
def test_trap_several_transfers_for_one_txid_are_one_for_each_subaddress() -> None:
    """AcceptXMR 0.12.1, SHKeeper's unique (txid): one transaction may pay several orders."""
    found = wallet("incoming_by_tx_id-7ab84-get_transfer_by_txid")
    assert [(t.index, t.amount) for t in found] == [("0.8", XMR), ("0.19", XMR), ("0.29", 2 * XMR)]
    assert {t.txid for t in found} == {"7ab84fe2fb34467c590cde2f7d6ba7de5928a2db6c84c6ccfff8962eca0ad99c"}
    assert len({t.to for t in found}) == 3
    assert all(isinstance(t.position, InBlock) and t.position.block.height == 409227 for t in found)


@needs_recordings
def test_trap_self_transfer_is_an_outgoing_entry_and_no_income() -> None:
    """monero-ecosystem/monero-python#71: paid from us to us, the wallet lists it as ``out`` with amount 0."""
    (found,) = wallet("incoming_from_self__issue_71-1a75f-get_transfer_by_txid")
    assert found.amount == 0
    assert found.sender[0].startswith("56eDKfp")
    assert found.to is not None
    assert found.to.startswith("79QBvrVQ")


@needs_recordings
def test_trap_transaction_not_found_is_an_error_and_not_an_empty_answer() -> None:
    with pytest.raises(Rejected, match="-8") as refused:
        wallet("incoming_by_tx_id-e0b15-get_transfer_by_txid")
    assert refused.value.code == "node_error"


@needs_recordings
def test_trap_zero_payment_id_is_no_memo() -> None:
    """Every transaction with two outputs carries an encrypted id; zeros are what an honest wallet puts there."""
    (found,) = wallet("incoming_by_tx_id-55e75-get_transfer_by_txid")
    assert found.memo is None
    assert (found.amount, found.index, found.ok, found.flags) == (4 * XMR, "0.232", True, ())


@needs_recordings
def test_payment_ids_of_integrated_addresses_are_the_memo() -> None:
    for method in ("get_payments", "get_bulk_payments"):
        (answer,) = documented(method)
        (found,) = read(answer)
        assert found.memo == b"60900e5603bf96e3"
        assert (found.txid[:8], found.index, found.amount) == ("3292e83a", "0.0", XMR)
        assert isinstance(found.position, InBlock)
        assert found.position.block.height == 127606


@needs_recordings
@pytest.mark.parametrize("name", [f for f in manifest() if "fake_amount" in f and "get_transactions" in f])
def test_trap_fake_amount_a_raw_transaction_is_no_proof_of_any_amount(name: str) -> None:
    with pytest.raises(Rejected):
        read(recorded(name))


def test_trap_fake_amount_an_entry_counts_only_as_far_as_outputs_carry_it() -> None:
    txid = "ab" * 32
    entry = Entry(txid=txid, amount=5 * XMR, height=10, amounts=(5 * XMR,))
    for outputs, backed in (
        ([Output(tx_hash=txid, amount=5 * XMR, pubkey="01")], True),
        ([Output(tx_hash=txid, amount=2 * XMR, pubkey="01"), Output(tx_hash=txid, amount=3 * XMR, pubkey="02")], True),
        ([Output(tx_hash=txid, amount=5 * XMR - 1, pubkey="01")], False),
        ([Output(tx_hash="cd" * 32, amount=5 * XMR, pubkey="01")], False),
        ([], False),
    ):
        ((_, verdict),) = judge([entry], outputs)
        assert (verdict.backed, verdict.duplicate) == (backed, False)
    ((_, verdict),) = judge([Entry(txid=txid, amount=XMR, amounts=(1, 2))], [Output(tx_hash=txid, amount=XMR)])
    assert not verdict.backed, "its parts do not make its sum"


def test_a_repeated_one_time_key_belongs_to_the_first_payment_in_the_chain() -> None:
    """The burning bug of 2018; outputs are listed in any order."""
    early, late = (Entry(txid=c * 64, amount=XMR, height=h) for c, h in (("a", 10), ("b", 11)))
    outputs = [
        Output(tx_hash="b" * 64, amount=XMR, pubkey="01", block_height=11, global_index=7),
        Output(tx_hash="a" * 64, amount=XMR, pubkey="01", block_height=10, global_index=3),
    ]
    verdicts = {fact[0][0]: v.duplicate for fact, v in judge([early, late], outputs)}
    assert verdicts == {"a": False, "b": True}
    assert not any(v.duplicate for _, v in judge([early, late], [Output(tx_hash="a" * 64, amount=1)] * 2)), "no keys"


@needs_recordings
@pytest.mark.parametrize("name", [f for f in manifest() if "timelock" in f and f.endswith(".json")])
def test_trap_timelocked_payment_is_not_readable_without_the_wallet(name: str) -> None:
    with pytest.raises(Rejected):
        read(recorded(name))


def test_trap_timelocked_payment_is_flagged_locked() -> None:
    """AcceptXMR *timelock_rejection*: any unlock time at all, not the wallet's own ``locked`` (ten blocks)."""
    entry = {"txid": "ab" * 32, "amount": 1, "type": "in", "height": 9, "locked": True}
    assert [t.flags for t in read({"result": {"in": [entry]}})] == [()]
    assert [t.flags for t in read({"result": {"in": [{**entry, "unlock_time": 2477800}]}})] == [("locked",)]
    payment = {"tx_hash": "ab" * 32, "amount": 1, "unlock_time": 1}
    assert [t.flags for t in read({"payments": [payment]})] == [("locked",)]


def test_the_largest_unlock_time_is_an_unlock_time() -> None:
    """It is the payer's to write, any 64 bits of it: one such payment must not make the others unreadable."""
    entry = {"txid": "ab" * 32, "amount": 1, "type": "in", "height": 9, "unlock_time": 2**64 - 1}
    assert [t.flags for t in read({"result": {"in": [entry]}})] == [("locked",)]
    payment = {"tx_hash": "ab" * 32, "amount": 1, "unlock_time": 2**64 - 1}
    assert [t.flags for t in read({"payments": [payment]})] == [("locked",)]


@needs_recordings
@pytest.mark.parametrize(
    "name", [f for f in manifest() if f.endswith((".json", ".tx")) and not f.startswith(WALLET) and "README" not in f]
)
def test_what_monerod_says_holds_no_payment(name: str) -> None:
    """Blocks (alternative ones too), raw transactions, view tags, pre-RingCT amounts, coinbases, errors, pools."""
    with pytest.raises(Rejected):
        read(recorded(name))


@needs_recordings
def test_every_recorded_wallet_answer_is_read_or_rejected() -> None:
    counts = {}
    for name in (f for f in manifest() if f.startswith(WALLET)):
        try:
            counts[name.rpartition("/")[2]] = len(read(recorded(name)))
        except Rejected:
            assert "get_transfer" not in name or "e0b15" in name, name
    assert counts == {
        "test_incoming_by_tx_id-30-get_transfer_by_txid.json": 1,
        "test_incoming_by_tx_id-31b52-get_transfer_by_txid.json": 1,
        "test_incoming_by_tx_id-55e75-get_transfer_by_txid.json": 1,
        "test_incoming_by_tx_id-7ab84-get_transfer_by_txid.json": 3,
        "test_incoming_from_self__issue_71-1a75f-get_transfer_by_txid.json": 1,
        "test_outgoing_by_tx_id-362c3-get_transfer_by_txid.json": 1,
        "test_outgoing_by_tx_id-eda89-get_transfer_by_txid.json": 1,
    }


# -- the documented answers ----------------------------------------------------------------------


@needs_recordings
def test_documented_get_transfers_and_by_txid() -> None:
    (answer,) = documented("get_transfers")
    (found,) = read(answer)
    assert (found.index, found.amount, found.asset) == ("1.0", 200_000_000_000, "XMR")
    assert found.position is not None
    assert isinstance(found.position, InBlock)
    assert (found.position.block.height, found.position.time_ms) == (153624, 1_535_918_400_000)
    one, two = documented("get_transfer_by_txid")
    assert [t.index for t in read(one)] == ["0.0"]
    assert [t.index for t in read(two)] == ["0.1", "0.2"]


@needs_recordings
def test_documented_incoming_transfers_new_and_old() -> None:
    """Old wallets give the bare minor index and no height, one example spells ``blockheight``."""
    full, available, _ = documented("incoming_transfers")
    assert [(t.index, t.amount) for t in read(full)] == [
        ("0.3", 60000000000000),
        ("0.3", 27126892247503),
        ("0.3", 27169374733655),
    ]
    assert [t.position.block.height if isinstance(t.position, InBlock) else None for t in read(full)] == [
        2758159,
        2758161,
        2758670,
    ]
    assert [(t.index, t.position) for t in read(available)] == [("0.3", None)] * 2


@needs_recordings
def test_an_outgoing_entry_with_two_destinations_names_neither() -> None:
    (found,) = wallet("outgoing_by_tx_id-362c3-get_transfer_by_txid")
    assert (found.amount, found.to, found.index) == (520_000_000_000, None, "1.0")
    assert found.sender == (
        "79kTZg96pMf2Dt9rLEWnLzTUB8XC1wMhxaJyxa79hJu6bK9CfFnfbSL1GJNZbqhv9xPqJhRj2Yfb7QUWa2zeEw56H4KiUfN",
    )


def test_pool_pending_failed_and_miners_rewards() -> None:
    entry = {"txid": "ab" * 32, "amount": 7, "address": "4xyz", "subaddr_index": {"major": 1, "minor": 2}}
    answer = {
        "in": [{**entry, "type": "block", "height": 5, "unlock_time": 65}],
        "pool": [{**entry, "type": "pool", "timestamp": 3, "double_spend_seen": True}],
        "pending": [{**entry, "type": "pending"}],
        "failed": [{**entry, "type": "failed"}],
    }
    pending, failed, pool = read(answer)
    assert not isinstance(pool.position, InBlock)
    assert (pool.to, pool.flags, pool.index) == ("4xyz", ("double_spend_seen",), "1.2")
    assert (pending.ok, failed.ok) == (None, False)
    assert (pending.to, pending.sender) == (None, ("4xyz",))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'"in"',
        b"[" * 5000,
        {"result": []},
        {"result": {"status": "BUSY"}},
        {"status": "BUSY", "in": []},
        {"error": {"code": -13, "message": "No wallet file"}},
        {"in": {}},
        {"in": [1]},
        {"in": 5},
        {"transfers": "x"},
        {"payments": [{}]},
        {"in": [{"txid": "ab" * 32}]},
        {"in": [{"txid": "ab" * 32, "amount": -1}]},
        {"in": [{"txid": "ab" * 32, "amount": 1.5}]},
        {"in": [{"txid": "ab" * 32, "amount": 10**30}]},
        {"in": [{"txid": "ab" * 31, "amount": 1}]},
        {"in": [{"txid": "ab" * 32, "amount": 1, "subaddr_index": {"major": -1, "minor": 0}}]},
        {"transfers": [{"tx_hash": "zz" * 32, "amount": 1}]},
    ],
    ids=repr,
)
def test_hostile_documents_are_rejected_with_a_code(document: Any) -> None:
    with pytest.raises(Rejected) as refused:
        read(document)
    assert refused.value.code in ("not_chain_data", "node_error")


def test_a_wallet_without_transfers_has_none() -> None:
    assert read({"id": "0", "jsonrpc": "2.0", "result": {}}) == []
    assert read({"in": []}, {"result": {"transfers": []}}) == []
