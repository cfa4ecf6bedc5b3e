"""Every recorded Solana answer decodes, and every trap that its manifest names is a test."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from chainwatch.adapters.solana import decode
from chainwatch.adapters.solana_book import WRAPPED_SOL
from chainwatch.config.networks import spec
from chainwatch.errors import Rejected
from chainwatch.model import InBlock, Transfer

SHARED = Path(os.environ.get("CHAINWATCH_SHARED", Path(__file__).resolve().parents[3] / "shared"))
FOLDER = SHARED / "chaindata" / "solana"
MANIFEST = json.loads((FOLDER / "manifest.json").read_text()) if FOLDER.exists() else []

pytestmark = pytest.mark.skipif(not MANIFEST, reason=f"no recorded chain data in {FOLDER}")

NOT_CHAIN_DATA = {
    "solders/inline_rpc_responses.json",  # a list of test names with answers of fifty other methods
    "memo/extract_memos_spec.json",  # rules in words
    "tx-parser/broken_data_0.json",  # its name says it
}
USDC = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"


def files(word: str = "") -> list[str]:
    return [entry["file"] for entry in MANIFEST if word in entry["file"]]


def read(name: str) -> list[Transfer]:
    return list(decode([(FOLDER / name).read_bytes()], spec("SOL")))


def only(word: str) -> list[Transfer]:
    (name,) = files(word)
    return read(name)


def brief(transfers: list[Transfer]) -> list[tuple[str, str | None, int, str | None, str | None]]:
    return [(t.index, t.asset, t.amount, t.sender[0] if t.sender else None, t.to) for t in transfers]


# -- everything decodes --------------------------------------------------------------------------


@pytest.mark.parametrize("name", [f for f in files() if f not in NOT_CHAIN_DATA])
def test_a_recorded_answer_decodes(name):
    transfers = read(name)
    entry = next(e for e in MANIFEST if e["file"] == name)
    assert len({t.key for t in transfers}) == len(transfers)
    for t in transfers:
        assert t.chain == "SOL"
        assert t.txid
        assert t.amount > 0
        assert t.to is not None
        assert t.sender or "pumpfun_create" in name  # tokens that are minted come from nobody
        assert t.ok is not None
        assert t.flags == (), "the replayed instructions explain every balance of the recorded transactions"
        assert isinstance(t.position, InBlock)
    if entry["method"].startswith("getTransaction") and transfers:
        assert {t.position.block.height for t in transfers} == {entry["height"]}


@pytest.mark.parametrize("name", sorted(NOT_CHAIN_DATA))
def test_what_is_no_chain_data_is_rejected(name):
    with pytest.raises(Rejected):
        read(name)


@pytest.mark.parametrize("entry", [e for e in MANIFEST if e.get("memos")], ids=lambda e: e["file"])
def test_the_memos_that_the_manifest_names_are_read(entry):
    wanted = {m.partition(": ")[2].encode() for m in entry["memos"]}
    document = json.loads((FOLDER / entry["file"]).read_bytes())
    found = {t.memo for t in read(entry["file"])} - {None}
    if len(document["result"].get("transactions", ())) == 0:
        assert found == wanted
    else:
        assert found <= wanted  # the memo of the recorded blocks stands in a transaction that moves nothing


def test_the_three_encodings_of_one_block_give_the_same_movements():
    """json, jsonParsed and base64 of block 139015678."""
    json_, parsed, wire = (read(f"solders/get_block_{e}_encoding.json") for e in ("json", "json_parsed", "base64"))
    assert json_ == parsed == wire
    assert len(json_) == 8


def test_a_bare_transaction_in_base64_or_bytes_decodes_with_what_it_holds():
    """No result is in it, and no mint: those are null, never guessed."""
    import base64

    block = json.loads((FOLDER / "solders/get_block_base64_encoding.json").read_bytes())["result"]
    text = block["transactions"][1]["transaction"][0]
    for document in (text.encode(), base64.b64decode(text), base64.b64decode(text).hex().encode()):
        for t in decode([document], spec("SOL")):
            assert (t.ok, t.position) == (None, None)


# -- the traps of the manifest -------------------------------------------------------------------

TRAPS: dict[str, Callable[[], None]] = {}


def trap(*names: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register the test of a trap by the beginning of its name in the manifest."""

    def register(function: Callable[[], None]) -> Callable[[], None]:
        TRAPS.update(dict.fromkeys(names, function))
        return function

    return register


@trap("several SOL transfers in one tx")
def test_several_payments_of_one_transaction_are_told_apart():
    payer = "7crim3zBdwd3wsR65Tf3Y7q8wYWHqZwEU1ATi98XQ7e7"
    transfers = only("devnet-multi-sol-memo")
    assert brief(transfers) == [
        ("1", "SOL", 100_000_000, payer, "GQaASwJHkkzi4j2nnjvYBErKwHFGu554oFWU6h4gV8JP"),
        ("2", "SOL", 50_000_000, payer, "CSMd42huTby7YceoTtDLmb8N41aWJnB38dRtSUfgUPdS"),
    ]
    assert {t.memo for t in transfers} == {b"test-multi-transfer-receipt"}
    assert [t.index for t in only("mainnet-multi-sol")] == ["3", "4"]


@trap("transfer to self", "self transfer (source==destination)")
def test_a_transfer_to_oneself_is_shown_with_its_amount():
    (native,) = only("native-sol-transfer-to-self")
    assert (native.amount, native.sender) == (100_000_000, (native.to,))
    rent, usdc = only("send-usdc-transfer-to-self-2")
    assert (rent.index, rent.asset, rent.amount) == ("1.1", "SOL", 2_039_280)
    assert (usdc.index, usdc.asset, usdc.asset_id, usdc.amount) == ("2", "SOL:USDC", USDC, 1_000_000)
    assert [t.amount for t in only("client-solana-block_v2") if t.sender == (t.to,)] == [6_977]


@trap("20 system transfers of 1 lamport each in one tx", "FAILED tx meta.err=")
def test_a_failed_transaction_moved_nothing():
    """The err is an object (InstructionError, InsufficientFundsForRent): the transfers are shown, ok False."""
    spam = only("spam-2")
    assert len(spam) == 20
    assert {(t.amount, t.ok) for t in spam} == {(1, False)}
    assert {t.ok for t in only("parser-solana-block_241043141_v2")} == {False}


@trap("meta.err is a plain string, not an object")
def test_an_err_in_plain_text_is_a_failure_too():
    """The first of three has err "InvalidRentPayingAccount", the second an object."""
    (name,) = files("parser-solana-transaction_err")
    document = json.loads((FOLDER / name).read_bytes())
    assert "InvalidRentPayingAccount" in [row["meta"]["err"] for row in document["transactions"]]
    transfers = read(name)
    assert transfers
    assert {t.ok for t in transfers} == {False}
    # the same transfer inside the transaction whose err is the plain text
    good = next(r for r in document["transactions"] if isinstance(r["meta"]["err"], dict))
    good["meta"]["err"] = "InvalidRentPayingAccount"
    again = list(decode([json.dumps(good | {"slot": 1}).encode()], spec("SOL")))
    assert {t.ok for t in again} <= {False}


@trap("Token-2022 program")
def test_a_token_2022_transfer_is_read_like_any_other():
    transfers = only("swap-a16z-usdt-sol")
    token = next(t for t in transfers if t.index == "0.1")
    assert (token.asset, token.asset_id, token.amount) == (
        None,
        "HeLp6NuQkmYB4pYWo2zYs22mESHXPQYzXbB8n4V98jwC",
        21_898_077,
    )
    # the account of wrapped SOL is opened, filled and closed inside the transaction
    assert brief(transfers)[-1] == (
        "1.0",
        "SOL",
        2_067_448,
        "CUGD6t9tqqdQnq35Cr28S3yQLxw3ecLGSGgk6HoSxtDA",
        "FQT9SSwEZ6UUQxsmTzgt5JzjrS4M5zm13M1QiYF8TEo6",
    )


@trap("v0 tx with loadedAddresses (ALT)")
def test_accounts_from_lookup_tables_are_named():
    """Without them the indices of the instructions point past the message's own keys."""
    transfers = only("swap-sol-to-usdc")
    assert ("4.2", "SOL:USDC", 167_225) in [(t.index, t.asset, t.amount) for t in transfers]
    assert all(t.to and len(t.to) >= 32 for t in transfers)
    (name,) = files("jupiterAggregatorV6_Route_1")
    with_tables = read(name)
    (document,) = json.loads((FOLDER / name).read_bytes())
    loaded = document["meta"].pop("loadedAddresses")
    assert loaded["writable"]
    bare = list(decode([json.dumps(document).encode()], spec("SOL")))
    assert len(bare) < len(with_tables) or any(t.to is None for t in bare)


@trap("missing/invalid fields")
def test_a_broken_file_is_rejected_with_a_stable_code():
    with pytest.raises(Rejected) as caught:
        only("broken_data_0")
    assert caught.value.code == "not_solana"


@trap("byte length, not char length", "several memos joined by", "unparsable")
def test_the_memo_text_of_the_signature_list_is_not_what_we_read():
    """``getSignaturesForAddress`` joins memos by "; " with byte counts, a text that a payer can imitate.

    The memos are read from the transaction: two of them are two lines, one that holds "; " is one, and
    bytes that are no text stay bytes.
    """
    (examples,) = [e["examples"] for e in json.loads((FOLDER / "memo/extract_memos_spec.json").read_bytes())]
    for example in examples:
        memos = [m.encode() for m in example.get("data_utf8", ())] + [
            bytes.fromhex(m) for m in example.get("data_hex", ())
        ]
        joined = "; ".join(f"[{len(m)}] {_text_or_not(m)}" for m in memos)
        assert joined == example["memo"]
        assert _transfer_with_memos(memos).memo == b"\n".join(memos)
    assert _transfer_with_memos([b"[9] Test memo; [4] x"]).memo == b"[9] Test memo; [4] x"


def _text_or_not(memo: bytes) -> str:
    try:
        return memo.decode()
    except UnicodeDecodeError:
        return "(unparsable)"


def _transfer_with_memos(memos: list[bytes]) -> Transfer:
    """Return the SOL transfer of JSON4 with these memos in place of its own."""
    from bitcoin.base58 import encode

    document = json.loads((FOLDER / "agavesim/JSON4.json").read_bytes())
    instructions = document["result"]["transaction"]["message"]["instructions"]
    del instructions[3:]
    instructions += [{"accounts": [], "programIdIndex": 4, "data": encode(memo)} for memo in memos]
    (transfer,) = decode([json.dumps(document).encode()], spec("SOL"))
    return transfer


def test_every_trap_of_the_manifest_has_a_test():
    named = {t for entry in MANIFEST for t in entry.get("traps", ())}
    assert [t for t in named if not any(t.startswith(known) for known in TRAPS)] == []


# -- single facts --------------------------------------------------------------------------------


def test_a_transfer_with_seed_names_the_derived_account_as_payer():
    assert brief(only("devnet-transfer-with-seed")) == [
        (
            "0",
            "SOL",
            50_000_000,
            "7zGpuMNcJr1h64UWeXYvSJegu8YGdm8rpi2SermJGMyE",
            "6S1VL44mL4WZrLGF9f7qQN5CFJ3PTVFxpnt1GdSe4uMs",
        )
    ]


def test_a_token_payment_names_wallets_not_token_accounts():
    """Behind an advanced durable nonce; the payer of the fee is another than the payer."""
    assert brief(only("mainnet-single-usdc")) == [
        (
            "1",
            "SOL:USDC",
            3_800_000,
            "3V9bd3EN5aNuhE4RiHGbZ1eZakJ1F9cDb8V4YLjCG8cg",
            "B2v68t8MXb9zUms1VQKuCcvjrjKDK6fLd8ZngqmBGy1M",
        )
    ]


def test_inner_transfers_have_an_index_of_two_parts():
    assert [(t.index, t.asset, t.amount) for t in only("surfpool-multi-transfer")] == [
        ("2.0", "SOL:USDC", 1),
        ("2.1", "SOL:USDC", 1_357),
        ("2.2", "SOL:USDC", 9_998_641),
        ("2.3", "SOL:USDC", 1),
        ("2.4", "SOL", 2_039_280),
    ]


def test_wrapped_sol_is_a_token_of_its_own():
    """Lamports and the token that stands for them are not the same money."""
    wrapped = [t for t in only("swap-sol-to-usdc") if t.asset_id == WRAPPED_SOL]
    assert wrapped
    assert {t.asset for t in wrapped} == {None}


def test_a_program_that_only_looks_like_the_configured_one_does_not_make_the_token():
    """The mint counts together with its program."""
    chain = spec("SOL")
    other = tuple(
        msgspec.structs.replace(a, program="TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb") if a.asset_id else a
        for a in chain.assets
    )
    document = (FOLDER / files("mainnet-single-usdc")[0]).read_bytes()
    (t,) = decode([document], msgspec.structs.replace(chain, assets=other))
    assert (t.asset, t.asset_id) == (None, USDC)
