"""What ``chainwatch decode`` prints of a transfer: exact, and null for what the data does not hold."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch import decoding
from chainwatch.decoding import line
from chainwatch.errors import Misconfigured, Rejected
from chainwatch.model import BlockRef, InBlock, Transfer, Unconfirmed

VITALIK = "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"
KEYS = ("chain", "txid", "index", "height", "asset", "asset_id", "amount_base", "from", "to", "memo")


def transfer(**more: Any) -> Transfer:
    given_: dict[str, Any] = {"memo": b"event:gala:wallet:alice", "sender": ("bobby",)} | more
    return Transfer("HIVE", "ab" * 20, "0", "HIVE", 5000, "till", "@@000000021", **given_)


def test_a_line_names_all_that_the_transfer_says() -> None:
    assert line(transfer(position=InBlock(BlockRef(7, "aa"), 1))) == {
        "chain": "HIVE",
        "txid": "ab" * 20,
        "index": "0",
        "height": 7,
        "asset": "HIVE",
        "asset_id": "@@000000021",
        "amount_base": "5000",
        "from": "bobby",
        "to": "till",
        "memo": "event:gala:wallet:alice",
        "event_id": "gala",
        "wallet": "alice",
        "ok": True,
    }


def test_amounts_are_text_so_that_no_reader_makes_them_floats() -> None:
    """JSON numbers above 2**53 lose their last digits in most readers; 2**256 - 1 has 78 digits."""
    huge = msgspec.structs.replace(transfer(), amount=2**256 - 1)
    assert line(huge)["amount_base"] == str(2**256 - 1)


@pytest.mark.parametrize("position", [None, Unconfirmed(1)])
def test_outside_a_block_there_is_no_height(position: Any) -> None:
    assert line(transfer(position=position))["height"] is None


@pytest.mark.parametrize(("sender", "shown"), [((), None), (("a",), "a"), (("a", "b"), ["a", "b"])])
def test_senders_are_none_one_or_a_list(sender: tuple[str, ...], shown: Any) -> None:
    assert line(transfer(sender=sender))["from"] == shown


def test_what_the_data_does_not_hold_is_null() -> None:
    bare = Transfer("ETH", "", "", None, 1, None, ok=None)
    shown = line(bare)
    assert [k for k in ("txid", "index", "height", "asset", "asset_id", "from", "to", "memo", "ok") if shown[k]] == []
    assert (shown["event_id"], shown["wallet"], shown["amount_base"]) == (None, None, "1")
    assert "memo_hex" not in shown


def test_a_memo_that_is_no_text_is_shown_in_hex_and_still_read_where_it_can_be() -> None:
    raw = b"event:gala:wallet:alice \xff\xfe"
    shown = line(transfer(memo=raw))
    assert shown["memo"] is None
    assert shown["memo_hex"] == raw.hex()
    assert (shown["event_id"], shown["wallet"]) == ("gala", "alice")


def test_an_empty_memo_is_a_memo_and_none_is_null() -> None:
    assert line(transfer(memo=b""))["memo"] == ""
    assert line(transfer(memo=None))["memo"] is None


@pytest.mark.parametrize("memo", [b"event:gala:wallet:al", b"event:a:wallet:alice event:b:wallet:alice", b"hello"])
def test_a_memo_that_cannot_be_followed_names_nobody(memo: bytes) -> None:
    shown = line(transfer(memo=memo))
    assert (shown["event_id"], shown["wallet"]) == (None, None)
    assert shown["memo"] == memo.decode()


def test_a_wallet_is_shown_in_its_canonical_form_and_a_name_is_never_cut() -> None:
    assert line(transfer(memo=f"event:1:wallet:{VITALIK.lower()}".encode()))["wallet"] == VITALIK
    assert line(transfer(memo=b"event:1:wallet:dlux-io"))["wallet"] == "dlux-io"
    assert line(transfer(memo=b"event:1:wallet:alice.smith"))["wallet"] == "alice.smith"


def test_a_failed_transfer_says_so() -> None:
    assert line(transfer(ok=False))["ok"] is False


@given(st.binary(max_size=300), st.integers(0, 2**256 - 1))
def test_any_memo_makes_a_line_of_json(memo: bytes, amount: int) -> None:
    shown = line(msgspec.structs.replace(transfer(memo=memo), amount=amount))
    again = msgspec.json.decode(msgspec.json.encode(shown))
    assert again == shown
    assert set(KEYS) <= shown.keys()
    assert (shown["memo"] is None) == ("memo_hex" in shown)
    back = bytes.fromhex(shown["memo_hex"]) if shown["memo"] is None else shown["memo"].encode()
    assert back == memo


OPERATION = {
    "trx_id": "ab" * 20,
    "block": 7,
    "trx_in_block": 0,
    "op_in_trx": 0,
    "virtual_op": 0,
    "timestamp": "2026-01-01T00:00:00",
    "op": ["transfer", {"from": "bobby", "to": "till", "amount": "5.000 HIVE", "memo": "event:gala:wallet:alice"}],
}


def test_files_are_read_and_narrowed_to_one_receiver(tmp_path: Path) -> None:
    (tmp_path / "op.json").write_bytes(msgspec.json.encode([OPERATION]))
    name = str(tmp_path / "op.json")
    (text,) = decoding.lines("HIVE", [name], None, None)
    shown = msgspec.json.decode(text)
    assert (shown["amount_base"], shown["to"], shown["wallet"]) == ("5000", "till", "alice")
    assert len(list(decoding.lines("HIVE", [name], "till", None))) == 1
    assert list(decoding.lines("HIVE", [name], "other", None)) == []


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"nowhere\.json"):
        list(decoding.lines("HIVE", [str(tmp_path / "nowhere.json")], None, None))


def test_too_much_at_once_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.json").write_bytes(b"[]" * 20)
    monkeypatch.setattr(decoding, "MAX_INPUT", 39)
    with pytest.raises(Misconfigured, match="more than 39 bytes"):
        list(decoding.lines("HIVE", [str(tmp_path / "a.json")], None, None))


@pytest.mark.parametrize("body", [b"", b"\xff", b"{", b"7", b"<html>"])
def test_what_is_no_data_of_the_chain_is_refused(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "a.json").write_bytes(body)
    with pytest.raises(Rejected):
        list(decoding.lines("HIVE", [str(tmp_path / "a.json")], None, None))


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("HIVE", "HIVE"), ("hive", "HIVE"), ("HBD", "HIVE"),
        ("hive:beeab0de000000000000000000000000", "HIVE"),
        ("ethereum", "ETH"), ("eip155:1", "ETH"), ("eip155:137", "MATIC"), ("POL", "MATIC"), ("eip155:56", "BNB"),
        ("bitcoin", "BTC"), ("bip122:000000000019d6689c085ae165831e93", "BTC"),
        ("bip122:12a765e31ffd4059bada1e25190f6e98", "LTC"), ("dogecoin", "DOGE"),
        ("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", "SOL"), ("monero:main", "XMR"), ("monero:stagenet", "XMR"),
    ],
)  # fmt: skip
def test_a_chain_is_named_as_verify_takes_it(name: str, code: str) -> None:
    assert decoding._spec(name, None).code == code


def test_a_chain_that_only_the_configuration_knows_has_a_caip_2_id_too(tmp_path: Path) -> None:
    config = tmp_path / "chainwatch.toml"
    config.write_text(
        '[chains.BASE]\nadapter = "evm"\nfamily = "evm"\nchain_id = 8453\nblock_time_ms = 2000\nfinality = 9\n'
        'endpoints = ["http://127.0.0.1:1"]\nreceive = ["0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"]\n'
        "assets = { BASE = { decimals = 18 } }\n"
    )
    assert decoding._spec("eip155:8453", config).native.code == "BASE"
    assert decoding._spec("BASE", config).native.code == "BASE"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("NOPE", "no chain 'NOPE'"),
        ("eip155", "a family of chains"),
        ("eip155:8453", "no chain"),
        ("BCH", "no chain 'BCH'"),
        ("bip122:ffff", "no chain"),
        ("", "no chain"),
    ],
)
def test_a_chain_that_nobody_knows_is_refused(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "empty.toml").touch()
    with pytest.raises(Misconfigured, match=said):
        decoding._spec(name, tmp_path / "empty.toml")


ONE_BTC = "0100000001" + "11" * 36 + "00ffffffff0100e1f505000000001976a914" + "00" * 20 + "88ac00000000"
"""One output of 1 BTC to the hash of twenty zeros."""


def test_hex_may_have_its_prefix_and_a_transaction_in_two_files_is_one(tmp_path: Path) -> None:
    for name, text in {"a": ONE_BTC, "b": f"0x{ONE_BTC}\n", "c": f'{{"result": "0x{ONE_BTC}", "error": null}}'}.items():
        (tmp_path / name).write_text(text)
    files = [str(tmp_path / name) for name in "abc"]
    alone = list(decoding.lines("BTC", files[:1], None, None))
    assert len(alone) == 1
    assert [list(decoding.lines("BTC", [f], None, None)) for f in files] == [alone] * 3
    assert list(decoding.lines("BTC", files, None, None)) == alone


def test_two_files_of_one_transaction_tell_together_what_each_knows(tmp_path: Path) -> None:
    """The bytes know no place and no payer, an indexer's answer both."""
    (tmp_path / "raw").write_text(ONE_BTC)
    (text,) = decoding.lines("BTC", [str(tmp_path / "raw")], None, None)
    txid = msgspec.json.decode(text)["txid"]
    script = "76a914" + "00" * 20 + "88ac"
    payer = {"scriptpubkey": "76a914" + "11" * 20 + "88ac", "value": 100000500}
    told = {"txid": txid, "vin": [{"prevout": payer}], "vout": [{"scriptpubkey": script, "value": 100000000}]}
    told["status"] = {"block_height": 9, "block_hash": "aa" * 32, "block_time": 1}
    (tmp_path / "esplora").write_bytes(msgspec.json.encode(told))
    (text,) = decoding.lines("BTC", [str(tmp_path / "raw"), str(tmp_path / "esplora")], None, None)
    shown = msgspec.json.decode(text)
    assert (shown["height"], shown["from"]) == (9, "12ZEw5Hcv1hTb6YUQJ69y1V7uhcoDz92PH")


def test_the_network_of_a_caip_2_id_gives_the_addresses(tmp_path: Path) -> None:
    file = tmp_path / "tx.hex"
    file.write_text(ONE_BTC)

    def address(chain: str) -> Any:
        (text,) = decoding.lines(chain, [str(file)], None, None)
        return msgspec.json.decode(text)["to"]

    assert address("bip122:000000000019d6689c085ae165831e93") == "1111111111111111111114oLvT2"
    assert address("bip122:000000000933ea01ad0ee984209779ba") == "mfWxJ45yp2SFn7UciZyNpvDKrzbhyfKrY8"


@pytest.mark.parametrize("chain", ["HIVE", "XMR"])
def test_a_batch_is_read_as_its_answers_are(tmp_path: Path, chain: str) -> None:
    entry = {"txid": "cd" * 32, "amount": 7, "address": "till", "height": 5, "type": "in", "timestamp": 1}
    entry |= {"subaddr_index": {"major": 0, "minor": 1}, "payment_id": "0" * 16}
    result: Any = {"ops": [OPERATION]} if chain == "HIVE" else {"in": [entry]}
    one = {"jsonrpc": "2.0", "id": 1, "result": result}
    (tmp_path / "one.json").write_bytes(msgspec.json.encode(one))
    (tmp_path / "batch.json").write_bytes(b" " + msgspec.json.encode([one, {**one, "result": type(result)()}]))
    alone = list(decoding.lines(chain, [str(tmp_path / "one.json")], None, None))
    assert len(alone) == 1
    assert list(decoding.lines(chain, [str(tmp_path / "batch.json")], None, None)) == alone
