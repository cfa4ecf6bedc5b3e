"""Recorded Hive data: every file of the collection, and every trap that its manifest names for this adapter."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from chainwatch.adapters.hive import decode
from chainwatch.config.networks import spec
from chainwatch.errors import Rejected
from chainwatch.model import InBlock, Transfer

SHARED = (
    Path(os.environ.get("CHAINWATCH_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "chaindata" / "hive"
)
HIVE = spec("HIVE")

OTHER = {
    "REST get_acc_op_types",
    "REST get_block_header",
    "REST get_operation_keys",
    "block_api.get_block_header",
    "condenser_api.get_account_votes",
    "condenser_api.get_accounts",
    "condenser_api.get_block_header",
    "condenser_api.get_dynamic_global_properties",
    "condenser_api.get_escrow",
    "database_api.get_config",
    "database_api.get_dynamic_global_properties",
    "database_api.get_version",
    "docs",
    "memo encryption",
}
"""Methods whose answers are no block, transaction or list of operations."""


def manifest() -> list[dict[str, object]]:
    path = SHARED / "manifest.json"
    return json.loads(path.read_text()) if path.exists() else []


def every_file() -> list[object]:
    found = [(str(i["file"]), str(i["method"])) for i in manifest()]
    if not found:
        return [pytest.param("", "", marks=pytest.mark.skip(reason=f"recorded chain data not at {SHARED}"))]
    return [pytest.param(name, method, id=name[-100:]) for name, method in found]


def read(*names: str) -> list[Transfer]:
    paths = [SHARED / name for name in names]
    if missing := [p.name for p in paths if not p.exists()]:
        pytest.skip(f"recorded chain data not here: {', '.join(missing)} (CHAINWATCH_SHARED)")
    return list(decode([p.read_bytes() for p in paths], HIVE))


def said(name: str, key: str) -> list[str]:
    return next((list(i.get(key, [])) for i in manifest() if i["file"] == name), [])  # type: ignore[call-overload]


@pytest.mark.parametrize(("name", "method"), every_file())
def test_every_recorded_file_decodes_or_is_refused_by_name(name: str, method: str) -> None:
    is_error = "_negative/" in name or "/negative/" in name or "/error_" in name
    if is_error or method in OTHER:
        with pytest.raises(Rejected) as refused:
            read(name)
        assert refused.value.code in ("node_error", "not_chain_data", "not_json")
        assert not is_error or refused.value.code == "node_error"
        return
    found = read(name)
    for transfer in found:
        assert transfer.chain == "HIVE"
        assert transfer.amount > 0
        assert transfer.asset in ("HIVE", "HBD")
        assert transfer.asset_id == {"HIVE": None, "HBD": "@@000000013"}[transfer.asset]
        assert transfer.ok is True
        assert transfer.index.isdigit()
        assert len(transfer.txid) == 40 or transfer.txid.startswith("virtual:")
        assert isinstance(transfer.position, InBlock)
    assert len({t.key for t in found}) == len(found)


def test_the_named_memos_arrive_as_they_were_written() -> None:
    """The manifest shows the beginning of each memo."""
    names = [str(i["file"]) for i in manifest() if i.get("memos") and i["method"] not in OTHER]
    if not names:
        pytest.skip(f"recorded chain data not at {SHARED}")
    for name in names:
        memos = [(t.memo or b"").decode() for t in read(name)]
        for memo in said(name, "memos"):
            assert any(m.startswith(memo) for m in memos), (name, memo)


EVENTS = "v4vapp/all_ops_log.events.json"
TRANSFERS = "v4vapp/logs_with_transfer_hive_events.events.json"
HISTORY = "hived_tavern/account_history_api_patterns/get_account_history/transfer_operation.pat.json"
LEGACY = "hived_tavern/condenser_api_patterns/get_account_history/transfer_operation.pat.json"


def test_an_event_list_holds_transfers_and_executed_recurrent_transfers_alone() -> None:
    """831 operations of 55 kinds; savings, power-ups, orders and rewards move value too and are none of ours."""
    found = read(EVENTS)
    assert len(found) == 28 + 15
    assert len(read(TRANSFERS)) == 42


def test_virtual_operations_get_a_transaction_id_of_their_own() -> None:
    """Theirs is all zeros, the same for every one of them."""
    virtual = [t for t in read(EVENTS) if t.txid.startswith("virtual:")]
    assert len(virtual) == 15
    assert ("HIVE", "virtual:94355802", "176") in {t.key for t in virtual}
    for t in virtual:
        assert isinstance(t.position, InBlock)
        assert t.txid == f"virtual:{t.position.block.height}"


def test_recurrent_transfers_may_have_an_empty_memo() -> None:
    virtual = [t for t in read(EVENTS) if t.txid.startswith("virtual:")]
    assert b"" in {t.memo for t in virtual}
    assert b"Bribe" in {t.memo for t in virtual}


def test_encrypted_memos_are_told_from_plain_ones_with_a_number_sign() -> None:
    """Two real encrypted memos stand beside ``Deposit to #SATS``."""
    found = read(TRANSFERS)
    assert sum("memo_unreadable" in t.flags for t in found) == 2
    plain = [t for t in found if b"#" in (t.memo or b"") and not t.flags]
    assert any(b"#SATS" in (t.memo or b"") for t in plain)


def test_an_old_encrypted_memo_is_recognised() -> None:
    """Block 4.9 million, among order ids in plain text."""
    assert [("memo_unreadable" in t.flags) for t in read(HISTORY)].count(True) == 1
    assert len(read(HISTORY)) == 16


def test_json_memos_are_text_like_any_other() -> None:
    """A memo that is JSON of a side chain's contract call moves nothing but its dust."""
    found = [t for t in read(EVENTS) if (t.memo or b"").startswith(b'{"id":"ssc-mainnet-hive"')]
    assert found
    assert {t.asset for t in found} <= {"HIVE", "HBD"}


def test_self_transfers_are_internal() -> None:
    found = [t for t in read(TRANSFERS) + read(EVENTS) if t.sender == (t.to,)]
    assert found
    assert all("internal" in t.flags for t in found)


def test_dust_keeps_its_exact_amount() -> None:
    assert Counter(t.amount for t in read(EVENTS))[1] >= 1


def test_legacy_amounts_and_nai_amounts_read_alike() -> None:
    (legacy,) = read(LEGACY)
    assert (legacy.amount, legacy.asset, legacy.asset_id) == (1, "HBD", "@@000000013")
    assert legacy.key == ("HIVE", "6ae67278f73b29b19b7d2eb52f1144752f4441ce", "0")
    assert legacy.position == InBlock(legacy.position.block, 1470907953000)  # type: ignore[union-attr]


def test_the_same_operation_in_two_files_is_one_transfer() -> None:
    assert read(HISTORY, HISTORY) == read(HISTORY)


def test_a_thousand_blocks_of_one_answer_are_read() -> None:
    assert read("hived_tavern/block_api_patterns/get_block_range/one.pat.json") == []


# -- shapes that the collection lacks ------------------------------------------------------------


def transfer(amount: object, **more: object) -> dict[str, object]:
    return {"from": "alice", "to": "dlux-tickets", "amount": amount, "memo": "event:1:wallet:alice", **more}


def decoded(value: object) -> list[Transfer]:
    return list(decode([json.dumps(value).encode()], HIVE))


TXID = "6ae67278f73b29b19b7d2eb52f1144752f4441ce"


def test_steem_and_sbd_are_never_an_asset_of_ours() -> None:
    """The sister chain has the same accounts, operations and transaction format; its coins are not Hive's."""
    for text in ("1.000 STEEM", "1.000 SBD", "1.000 TESTS", "1.000000 HIVE", "1.0 HIVE", "1.000000 VESTS"):
        (found,) = decoded([["transfer", transfer(text)]])
        assert found.asset is None
        assert found.asset_id == text.split()[1]


def test_an_asset_is_its_nai_with_its_precision() -> None:
    for nai, precision in (("@@000000037", 6), ("@@000000021", 6), ("@@000000013", 0), ("HIVE", 3)):
        amount = {"amount": "1000", "precision": precision, "nai": nai}
        (found,) = decoded([{"type": "transfer_operation", "value": transfer(amount)}])
        assert found.asset is None
    (found,) = decoded({"type": "transfer_operation", "value": transfer("0.001 HBD")})
    assert (found.asset, found.amount, found.ok, found.txid, found.position) == ("HBD", 1, None, "", None)


def test_tokens_of_a_side_chain_are_not_seen() -> None:
    """Hive-Engine moves its SWAP.HIVE by custom_json, whose text says HIVE and is worth nothing here."""
    payload = {"contractName": "tokens", "contractPayload": {"symbol": "SWAP.HIVE", "to": "dlux-tickets"}}
    body = {"id": "ssc-mainnet-hive", "json": json.dumps(payload), "required_auths": ["alice"]}
    assert decoded([{"type": "custom_json_operation", "value": body}]) == []


def test_other_operations_that_move_value_are_not_payments() -> None:
    for name in ("transfer_to_savings", "transfer_to_vesting", "recurrent_transfer", "failed_recurrent_transfer"):
        assert decoded([[name, transfer("1.000 HIVE")]]) == []


def block(**changes: object) -> dict[str, object]:
    return {
        "block_id": "0000000a" + "0" * 32,
        "previous": "00000009" + "0" * 32,
        "timestamp": "2025-03-22T10:12:51",
        "transactions": [{"operations": [["vote", {}], ["transfer", transfer("1.000 HIVE")]]}],
        "transaction_ids": [TXID],
        **changes,
    }


def test_a_transfer_in_a_block_has_its_place() -> None:
    for shape in (
        block(),
        {"block": block()},
        {"blocks": [block()]},
        [block()],
        {"result": {"block": block()}, "id": 1},
    ):
        (found,) = decoded(shape)
        assert found.key == ("HIVE", TXID, "1")
        assert isinstance(found.position, InBlock)
        assert (found.position.block.height, found.position.time_ms) == (10, 1742638371000)


@pytest.mark.parametrize(
    "value",
    [
        {},
        [1, 2],
        "text",
        None,
        block(block_id="xyz"),
        block(timestamp="yesterday"),
        block(transaction_ids=[TXID, TXID]),
        block(transactions={"a": 1}),
        {"blocks": {}},
        {"ops": [[1]]},
        [["transfer", {"from": "a", "to": "b", "amount": "-1.000 HIVE"}]],
        [["transfer", {"from": "a", "to": "b", "amount": {"amount": "1e3", "precision": 3, "nai": "@@000000021"}}]],
        [["transfer", {"from": "a", "to": "b", "amount": {"amount": "٣", "precision": 3, "nai": "@@000000021"}}]],
        [["transfer", {"from": "a", "to": "b", "amount": "99999999999999999.000 HIVE"}]],
        [["transfer", {"from": "a", "to": ["b"], "amount": "1.000 HIVE"}]],
        {"operations": 3},
        {"history": [[1, 2, 3]]},
        {"history": [7]},
        {"transaction_json": 7, "block_num": 1},
        {"operations": [["transfer", transfer("1.000 HIVE")]], "block_num": True},
    ],
)
def test_what_is_no_hive_data_is_rejected(value: object) -> None:
    with pytest.raises(Rejected):
        decoded(value)


def test_not_found_is_no_transfer() -> None:
    assert decoded({"jsonrpc": "2.0", "result": None, "id": 1}) == []
    assert decoded({"jsonrpc": "2.0", "result": {}, "id": 1}) == []


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[" * 100_000, b'{"blocks": [', b"0x00"])
def test_bytes_that_are_no_json_are_rejected(data: bytes) -> None:
    with pytest.raises(Rejected):
        list(decode([data], HIVE))
