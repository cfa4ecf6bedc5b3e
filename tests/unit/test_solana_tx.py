"""What a Solana transaction pays us: balances rule, instructions tell payments apart."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.keypair import Keypair

from chainwatch.adapters.solana import decode, token_account
from chainwatch.adapters.solana_tx import (
    MEMO_V1,
    MEMO_V2,
    PROGRAMS,
    SPL,
    SPL_2022,
    SYSTEM,
    Ours,
    Table,
    payments,
    read,
)
from chainwatch.adapters.solana_wire import Row, short_base58
from chainwatch.config.networks import spec
from chainwatch.errors import Rejected
from chainwatch.memo import BadMemo, Memo, parse
from chainwatch.model import Transfer
from chainwatch.verifiers.encodings import base58_text

SOL = spec("SOL")
USDC = SOL.assets[1]
MINT = USDC.asset_id or ""


def key(n: int) -> str:
    return str(Keypair.from_seed(bytes([n]) * 32).pubkey())


US, PAYER, OTHER, PROGRAM, REFERENCE = key(1), key(2), key(3), key(4), key(5)
ATA = token_account(US, MINT, SPL)
PAYER_ATA = token_account(PAYER, MINT, SPL)
FEE = 5_000


class Tx:
    """Builds a jsonParsed ``getTransaction`` answer whose balances are what the test says."""

    def __init__(self) -> None:
        self.keys: dict[str, bool] = {PAYER: True}
        self.top: list[dict[str, Any]] = []
        self.inner: dict[int, list[dict[str, Any]]] = {}
        self.lamports: dict[str, int] = {}
        self.tokens: dict[str, tuple[str, str, str, int, int]] = {}
        self.err: Any = None
        self.overrides: dict[str, Any] = {}

    def add(self, program: str, parsed: Any, inside: int | None = None) -> "Tx":
        instruction = {"programId": program, "program": "x", "parsed": parsed}
        (self.top if inside is None else self.inner.setdefault(inside, [])).append(instruction)
        self.keys.setdefault(program, False)
        for word in parsed["info"].values() if isinstance(parsed, dict) else ():
            if isinstance(word, str) and len(word) > 30:
                self.keys.setdefault(word, False)
        return self

    def sol(
        self, amount: int, to: str = US, source: str = PAYER, *, inside: int | None = None, grow: bool = True
    ) -> "Tx":
        if grow:
            self.grow(source, -amount).grow(to, amount)
        info = {"source": source, "destination": to, "lamports": amount}
        return self.add(SYSTEM, {"type": "transfer", "info": info}, inside)

    def usdc(
        self, amount: int, *, arrives: int | None = None, mint: str = MINT, program: str = SPL, to: str = ATA
    ) -> "Tx":
        info = {
            "source": PAYER_ATA,
            "destination": to,
            "authority": PAYER,
            "mint": mint,
            "tokenAmount": {"amount": str(amount), "decimals": 6},
        }
        arrives = amount if arrives is None else arrives
        self.balance(PAYER_ATA, PAYER, -amount, mint, program).balance(to, US, arrives, mint, program)
        return self.add(program, {"type": "transferChecked", "info": info})

    def call(self, program: str = PROGRAM) -> "Tx":
        """A top-level instruction of a program that we do not know."""
        self.keys.setdefault(program, False)
        self.top.append({"programId": program, "accounts": [], "data": "1"})
        return self

    def memo(self, text: str, program: str = MEMO_V2, inside: int | None = None) -> "Tx":
        return self.add(program, text, inside)

    def names(self, *accounts: str, signed: bool = False) -> "Tx":
        for account in accounts:
            self.keys[account] = signed
        return self

    def grow(self, account: str, amount: int) -> "Tx":
        self.keys.setdefault(account, False)
        self.lamports[account] = self.lamports.get(account, 0) + amount
        return self

    def balance(self, account: str, owner: str, amount: int, mint: str = MINT, program: str = SPL) -> "Tx":
        self.keys.setdefault(account, False)
        before = self.tokens.get(account, (owner, mint, program, 10**9, 10**9))
        self.tokens[account] = (*before[:4], before[4] + amount)
        return self

    def answer(self) -> dict[str, Any]:
        keys = list(self.keys)
        rich = 10**12
        token_balances = [
            [
                {
                    "accountIndex": keys.index(a),
                    "mint": mint,
                    "owner": owner,
                    "programId": program,
                    "uiTokenAmount": {"amount": str(amounts[side]), "decimals": 6},
                }
                for a, (owner, mint, program, *amounts) in self.tokens.items()
            ]
            for side in (0, 1)
        ]
        meta = {
            "err": self.err,
            "fee": FEE,
            "preBalances": [rich] * len(keys),
            "postBalances": [rich + self.lamports.get(k, 0) - (FEE if i == 0 else 0) for i, k in enumerate(keys)],
            "preTokenBalances": token_balances[0],
            "postTokenBalances": token_balances[1],
            "innerInstructions": [{"index": i, "instructions": c} for i, c in self.inner.items()],
        } | self.overrides
        message = {
            "accountKeys": [{"pubkey": k, "signer": s, "writable": True} for k, s in self.keys.items()],
            "instructions": self.top,
        }
        return {"slot": 7, "blockTime": 1, "meta": meta, "transaction": {"signatures": ["sig"], "message": message}}

    def row(self) -> Row:
        return msgspec.json.decode(json.dumps(self.answer()), type=Row)

    def paid(self) -> list[Transfer]:
        row = self.row()
        ours = Ours({US: (US, SOL.native), ATA: (US, USDC)}, {REFERENCE})
        return payments(read(row, row.view(PROGRAMS)), ours, Table("SOL", SOL.assets), None)

    def decoded(self) -> list[Transfer]:
        return list(decode([json.dumps(self.answer()).encode()], SOL))


def facts(transfers: list[Transfer]) -> list[tuple[str, str | None, int, tuple[str, ...]]]:
    return [(t.index, t.asset, t.amount, t.flags) for t in transfers]


DIFFERS = ("balance_differs",)

# -- amounts -------------------------------------------------------------------------------------


def test_what_the_instructions_say_and_the_balances_show_is_paid():
    assert facts(Tx().sol(70).usdc(30).paid()) == [("0", "SOL", 70, ()), ("1", "SOL:USDC", 30, ())]


def test_a_transfer_fee_is_not_ours():
    """Token-2022 withholds it on our account: the balance counts, not the instruction (field notes S5)."""
    assert facts(Tx().usdc(1_000, arrives=990).paid()) == [("0", "SOL:USDC", 990, DIFFERS)]
    assert facts(Tx().usdc(1_000, arrives=990).decoded()) == [("0", "SOL:USDC", 990, DIFFERS)]


def test_a_fee_that_the_instruction_names_is_no_surprise():
    tx = Tx().usdc(1_000, arrives=990)
    tx.top[0]["parsed"]["type"] = "transferCheckedWithFee"
    tx.top[0]["parsed"]["info"]["feeAmount"] = {"amount": "10"}
    assert facts(tx.paid()) == [("0", "SOL:USDC", 990, ())]


def test_a_fee_over_several_payments_is_shared_and_their_sum_is_exact():
    tx = Tx().usdc(100, arrives=99).usdc(101, arrives=100).usdc(7, arrives=6)
    paid = tx.paid()
    assert sum(t.amount for t in paid) == 99 + 100 + 6
    assert [t.index for t in paid] == ["0", "1", "2"]
    assert all(t.amount <= asked for t, asked in zip(paid, (100, 101, 7), strict=True))


def test_money_that_a_delegate_takes_back_in_the_same_transaction_never_arrived():
    """A permanent delegate (Token-2022) can pull what was just paid: the balance did not grow."""
    tx = Tx().usdc(500)
    info = {"source": ATA, "destination": PAYER_ATA, "authority": PAYER, "mint": MINT, "tokenAmount": {"amount": "500"}}
    tx.add(SPL, {"type": "transferChecked", "info": info}).balance(ATA, US, -500).balance(PAYER_ATA, PAYER, 500)
    assert tx.paid() == []


def test_what_we_sent_ourselves_in_the_same_transaction_does_not_shrink_what_arrived():
    tx = Tx().sol(900).sol(400, to=OTHER, source=US).names(US, signed=True)
    arrived, left = tx.paid()
    assert (arrived.index, arrived.direction, arrived.amount, arrived.flags) == ("0", "in", 900, ())
    assert (left.index, left.direction, left.amount, left.to, left.sender) == ("1", "out", 400, OTHER, (US,))


def test_money_that_no_known_instruction_brought_is_counted_by_the_balance():
    """A program may move lamports of its own accounts without asking the System program."""
    (t,) = Tx().call().grow(US, 1_234).names(US).paid()
    assert (t.index, t.amount, t.flags, t.sender) == (f"b{2}", 1_234, DIFFERS, ())


def test_a_batch_of_token_transfers_that_we_cannot_read_is_counted_by_the_balance():
    tx = Tx().balance(ATA, US, 77)
    tx.keys[SPL] = False
    tx.top.append({"programId": SPL, "accounts": [PAYER_ATA, ATA, PAYER], "data": "Zz" * 20})
    assert [(t.amount, t.flags) for t in tx.paid()] == [(77, DIFFERS)]


def test_an_account_that_closes_to_us_pays_all_it_held():
    tx = Tx().grow(OTHER, -(10**12)).grow(US, 10**12)
    tx.add(SPL, {"type": "closeAccount", "info": {"account": OTHER, "destination": US, "owner": PAYER}})
    (t,) = tx.paid()
    assert (t.index, t.asset, t.amount, t.flags) == ("0", "SOL", 10**12, ())


def test_tokens_minted_to_us_are_counted_and_come_from_nobody():
    tx = Tx().balance(ATA, US, 5)
    tx.add(SPL, {"type": "mintTo", "info": {"mint": MINT, "account": ATA, "amount": "5", "mintAuthority": PAYER}})
    (t,) = tx.paid()
    assert (t.asset, t.amount, t.sender) == ("SOL:USDC", 5, ())


def test_the_rent_of_our_new_token_account_is_no_payment_in_sol():
    """The buyer opens it for us; the lamports stay in that account."""
    tx = Tx().grow(PAYER, -2_039_280).grow(ATA, 2_039_280)
    info = {"source": PAYER, "newAccount": ATA, "lamports": 2_039_280, "space": 165, "owner": SPL}
    tx.add(SYSTEM, {"type": "createAccount", "info": info}).usdc(10)
    assert facts(tx.paid()) == [("1", "SOL:USDC", 10, ())]


def test_a_token_account_that_is_closed_and_opened_again_in_the_payment_gets_what_came_last():
    """We swept and closed it, the buyer opens it anew: what it held before has left, what came is paid."""
    tx = Tx().names(US, signed=True).balance(PAYER_ATA, PAYER, 90)
    out = {"source": ATA, "destination": PAYER_ATA, "authority": US, "amount": "100"}
    tx.add(SPL, {"type": "transfer", "info": out})
    tx.grow(ATA, -(10**12)).grow(US, 10**12)
    tx.add(SPL, {"type": "closeAccount", "info": {"account": ATA, "destination": US, "owner": US}})
    tx.grow(PAYER, -2_039_280).grow(ATA, 2_039_280)
    made = {"source": PAYER, "newAccount": ATA, "lamports": 2_039_280, "space": 165, "owner": SPL}
    tx.add(SYSTEM, {"type": "createAccount", "info": made})
    tx.add(SPL, {"type": "initializeAccount3", "info": {"account": ATA, "mint": MINT, "owner": US}})
    info = {"source": PAYER_ATA, "destination": ATA, "authority": PAYER, "mint": MINT,
            "tokenAmount": {"amount": "10", "decimals": 6}}  # fmt: skip
    tx.add(SPL, {"type": "transferChecked", "info": info})
    tx.tokens[ATA] = (US, MINT, SPL, 100, 10)
    paid = tx.paid()
    assert [(t.index, t.asset, t.amount) for t in paid if t.direction == "in" and "internal" not in t.flags] == [
        ("4", "SOL:USDC", 10)
    ]
    assert [(t.index, t.asset, t.amount) for t in paid if t.direction == "out"] == [("0", "SOL:USDC", 100)]


def test_a_transfer_from_our_wallet_to_itself_is_no_payment():
    assert Tx().sol(50, to=US, source=US).names(US, signed=True).paid() == []


def test_what_comes_from_an_account_of_ours_is_marked_internal():
    tx = Tx().names(US, signed=True)
    tx.grow(ATA, -(10**12)).grow(US, 10**12)
    tx.add(SPL, {"type": "closeAccount", "info": {"account": ATA, "destination": US, "owner": US}})
    assert [t.flags for t in tx.paid()] == [("internal",)]


def test_a_token_of_another_mint_or_program_is_not_ours():
    """Anyone can make a token that is called USDC (field notes S3)."""
    fake = key(9)
    assert Tx().usdc(10, mint=fake).paid() == []
    assert Tx().usdc(10, program=SPL_2022).paid() == []
    assert [(t.asset, t.asset_id) for t in Tx().usdc(10, mint=fake).decoded()] == [(None, fake)]


def test_balances_that_are_missing_are_not_guessed():
    for name in ("preTokenBalances", "postTokenBalances"):
        tx = Tx().usdc(10)
        tx.overrides[name] = None
        with pytest.raises(ValueError, match="balances"):
            tx.paid()
    tx = Tx().sol(10)
    tx.overrides["postBalances"] = []
    with pytest.raises(ValueError, match="balances"):
        tx.paid()


# -- did it succeed ------------------------------------------------------------------------------


@pytest.mark.parametrize("err", [{"InstructionError": [0, {"Custom": 1}]}, "InvalidRentPayingAccount", "AccountInUse"])
def test_a_failed_payment_is_not_ok_whatever_form_its_error_has(err):
    tx = Tx().sol(10, grow=False)
    tx.err = err
    assert [(t.amount, t.ok) for t in tx.paid()] == [(10, False)]
    assert [t.ok for t in tx.decoded()] == [False]


def test_a_missing_meta_or_error_is_unknown_and_never_success():
    answer = Tx().sol(10).answer()
    for change in ({"meta": None}, {"meta": {k: v for k, v in answer["meta"].items() if k != "err"}}):
        document = json.dumps(answer | change).encode()
        assert [t.ok for t in decode([document], SOL)] == [None]
    without = {k: v for k, v in answer.items() if k != "meta"}
    assert [(t.ok, t.amount) for t in decode([json.dumps(without).encode()], SOL)] == [(None, 10)]


# -- memos and references ------------------------------------------------------------------------


def wallet(text: str) -> str | None:
    return text if text in (US, PAYER, OTHER) else None


def test_both_memo_programs_are_read():
    for program in (MEMO_V1, MEMO_V2):
        (t,) = Tx().sol(1).memo("cw:abcdefgh", program).paid()
        assert (t.memo, t.flags) == (b"cw:abcdefgh", ())


def test_two_different_memos_in_one_transaction_are_ambiguous():
    first, second = f"event:1:wallet:{PAYER}", f"event:2:wallet:{OTHER}"
    (t,) = Tx().memo(first, MEMO_V1).sol(1).memo(second).paid()
    assert parse(t.memo, wallet) == BadMemo("ambiguous")
    (t,) = Tx().memo(first).sol(1).memo(first, MEMO_V1).paid()
    assert isinstance(parse(t.memo, wallet), Memo), "the same memo twice says one thing"


def test_two_memos_never_grow_together_into_a_third():
    (t,) = Tx().memo("event:1:wal").sol(1).memo(f"let:{PAYER}").paid()
    assert not isinstance(parse(t.memo, wallet), Memo)


def test_a_memo_from_inside_another_program_is_not_trusted():
    """The payer need not have written it; next to the payer's own it is ignored."""
    (t,) = Tx().sol(1).call().memo(f"event:1:wallet:{OTHER}", inside=1).paid()
    assert t.flags == ("memo_untrusted",)
    (t,) = Tx().sol(1).call().memo(f"event:1:wallet:{OTHER}", inside=1).memo(f"event:2:wallet:{PAYER}").paid()
    assert (t.memo, t.flags) == (f"event:2:wallet:{PAYER}".encode(), ())


def test_a_memo_that_is_no_text_keeps_its_bytes():
    """The node leaves such an instruction unparsed, data in base58."""
    tx = Tx().sol(1)
    tx.keys[MEMO_V2] = False
    tx.top.append({"programId": MEMO_V2, "accounts": [], "data": "5Q"})
    (t,) = tx.paid()
    assert t.memo == b"\xff"


def test_a_memo_longer_than_any_transaction_is_unreadable_not_cut():
    (t,) = Tx().sol(1).memo("x" * 5_000).paid()
    assert (t.memo, t.flags) == (None, ("memo_unreadable",))


def test_a_reference_key_is_named_on_the_payment():
    """Solana Pay; a key that is not watched is nothing to us."""
    (t,) = Tx().sol(1).names(REFERENCE, key(8)).paid()
    assert t.references == (REFERENCE,)


def test_an_instruction_from_inside_has_an_index_of_two_parts():
    tx = Tx().call().sol(5, inside=0).sol(6, inside=0)
    assert facts(tx.paid()) == [("0.0", "SOL", 5, ()), ("0.1", "SOL", 6, ())]


# -- hostile data --------------------------------------------------------------------------------


def test_an_instruction_added_later_moves_nothing_and_stops_nothing():
    """``amountToUiAmount`` has a number where others have text; strangers may put it beside a payment."""
    tx = Tx().add(SPL, {"type": "amountToUiAmount", "info": {"mint": MINT, "amount": 5}}).sol(3)
    assert [t.amount for t in tx.paid()] == [3]


@pytest.mark.parametrize("lamports", [-1, 2**64, 1.5, "7", None, True])
def test_an_amount_that_is_no_u64_is_rejected(lamports):
    answer = Tx().sol(1).answer()
    answer["transaction"]["message"]["instructions"][0]["parsed"]["info"]["lamports"] = lamports
    with pytest.raises(Rejected):
        list(decode([json.dumps(answer).encode()], SOL))


@pytest.mark.parametrize("amount", ["-1", "1_0", "٣", "1e3", "", "9" * 21])
def test_a_token_amount_that_is_no_number_is_rejected(amount):
    answer = Tx().usdc(1).answer()
    answer["transaction"]["message"]["instructions"][0]["parsed"]["info"]["tokenAmount"]["amount"] = amount
    with pytest.raises(Rejected):
        list(decode([json.dumps(answer).encode()], SOL))


def raw(data: bytes, accounts: list[int], keys: list[str]) -> bytes:
    from bitcoin.base58 import encode

    message = {
        "header": {"numRequiredSignatures": 1},
        "accountKeys": keys,
        "instructions": [{"programIdIndex": len(keys) - 1, "accounts": accounts, "data": encode(data)}],
    }
    return json.dumps({"slot": 1, "transaction": {"signatures": ["s"], "message": message}, "meta": None}).encode()


@pytest.mark.parametrize(
    ("data", "accounts"),
    [
        (b"", [0, 1]),
        (b"\x02\0\0\0", [0, 1]),
        (b"\x02\0\0\0" + bytes(7), [0, 1]),
        (b"\x02\0\0\0" + b"\x01" * 8, [0]),
        (b"\x03\0\0\0" + bytes(32) + b"\xff" * 8 + bytes(16), [0, 1]),
        (b"\xff\xff\xff\xff", [0, 1]),
    ],
)
def test_a_broken_system_instruction_moves_nothing(data, accounts):
    assert list(decode([raw(data, accounts, [PAYER, US, SYSTEM])], SOL)) == []


def test_an_account_that_the_data_does_not_hold_is_null():
    """Index 7 of three keys: a lookup table's, and there is no meta that resolves it."""
    (t,) = decode([raw(b"\x02\0\0\0" + b"\x01" + bytes(7), [0, 7], [PAYER, US, SYSTEM])], SOL)
    assert (t.to, t.amount, t.ok) == (None, 1, None)


def test_an_index_below_zero_is_no_index():
    document = raw(b"\x02\0\0\0" + b"\x01" + bytes(7), [0, -1], [PAYER, US, SYSTEM])
    with pytest.raises(Rejected):
        list(decode([document], SOL))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"null",
        b"[]x",
        b"{}",
        b"[{}]",
        b'{"result": 5}',
        b'{"error": {"code": -32004, "message": "Block not available"}}',
        b'{"transaction": {"signatures": ["x"]}}',
        b'{"transaction": ["AAAA", "base64"]}',
        b'{"transaction": ["0OIl", "base58"]}',
        b'{"transaction": ["AAAA", "base91"]}',
        b"[" * 100_000,
        b'"text"',
        b"\xff\xfe\x00",
    ],
)
def test_what_is_no_solana_data_is_rejected(document):
    with pytest.raises(Rejected):
        list(decode([document], SOL))


def test_an_answer_of_null_holds_nothing():
    assert list(decode([b'{"jsonrpc":"2.0","result":null,"id":1}'], SOL)) == []


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([SYSTEM, SPL, US, MEMO_V2, "1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), JSON), min_size=1, max_size=3))
def test_a_mutated_answer_is_read_or_rejected(changes):
    """No hostile node gets a stray exception out of the decoder."""
    answer = Tx().sol(7).usdc(8).memo("hi").call().sol(9, inside=0).answer()
    for at, value in changes:
        places = list(_places(answer))
        holder, name = places[at % len(places)]
        holder[name] = value
    try:
        found = list(decode([json.dumps(answer).encode("utf-8", "surrogatepass")], SOL))
    except Rejected:
        return
    assert all(0 <= t.amount < 2**64 for t in found)


def _places(value: Any) -> Any:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in list(entries):
        yield value, name
        yield from _places(inner)


def test_a_long_memo_in_compiled_form_is_read_whole():
    """A memo fills the transaction: 1,366 characters of base58 for 1,000 bytes."""
    from bitcoin.base58 import encode

    memo = b"event:7:wallet:" + PAYER.encode() + b" " + b"x" * 940
    message = {
        "header": {"numRequiredSignatures": 1},
        "accountKeys": [PAYER, US, SYSTEM, MEMO_V2],
        "instructions": [
            {"programIdIndex": 2, "accounts": [0, 1], "data": encode(b"\x02\0\0\0\x01" + bytes(7))},
            {"programIdIndex": 3, "accounts": [], "data": encode(memo)},
        ],
    }
    document = json.dumps({"slot": 1, "transaction": {"signatures": ["s"], "message": message}, "meta": None})
    (t,) = decode([document.encode()], SOL)
    assert t.memo == memo


def compiled(keys: list[str], instructions: list[dict[str, Any]], **meta: Any) -> bytes:
    message = {"header": {"numRequiredSignatures": 1}, "accountKeys": keys, "instructions": instructions}
    balances = {"preBalances": [10**10] * len(keys), "postBalances": [10**10] * len(keys), "fee": 0, "err": None}
    row = {"transaction": {"signatures": ["s"], "message": message}, "meta": balances | meta}
    return json.dumps({"blockhash": "h", "parentSlot": 1, "transactions": [row]}, separators=(",", ":")).encode()


def test_only_a_plain_vote_is_passed_over_unread():
    """Three quarters of every block are votes, told from the end of their keys; what merely looks like one is read."""
    vote, pay = "Vote111111111111111111111111111111111111111", {"accounts": [0, 1], "data": "3Bxs412MvVNQj175"}
    grown = {"postBalances": [9 * 10**9, 11 * 10**9, 10**10, 10**10]}
    keys = [PAYER, US, SYSTEM, vote]
    assert list(decode([compiled(keys, [{"programIdIndex": 3, "accounts": [0], "data": "1"}])], SOL)) == []
    (t,) = decode([compiled(keys, [{"programIdIndex": 2, **pay}], **grown)], SOL)
    assert t.to == US
    inside = [{"index": 0, "instructions": [{"programIdIndex": 2, **pay}]}]
    called = [{"programIdIndex": 3, "accounts": [0], "data": "1"}]
    (t,) = decode([compiled(keys, called, innerInstructions=inside, **grown)], SOL)
    assert (t.to, t.index) == (US, "0.0")


@given(st.binary(max_size=200))
def test_an_instructions_data_is_read_as_base58_says(data):
    assert short_base58(base58_text(data)) == data


@pytest.mark.parametrize("text", ["0", "3Bxs4O", "é", "1" * 301, "\0"])
def test_what_is_no_base58_is_no_instruction(text):
    with pytest.raises(ValueError, match="base58"):
        short_base58(text)


def test_an_instruction_of_another_type_may_use_the_same_names_for_something_else():
    """Token-2022's amountToUiAmount has a number where a transfer has text: it moves nothing and harms nothing."""
    odd = {"type": "amountToUiAmount", "info": {"mint": MINT, "amount": 5, "authority": ["x"]}}
    tx = Tx().usdc(10)
    tx.top.append({"programId": SPL, "program": "x", "parsed": odd})
    assert [t.amount for t in tx.paid()] == [10]
    tx.top[-1]["parsed"] = odd | {"type": "transfer"}
    with pytest.raises(ValueError, match="amount"):
        tx.paid()
