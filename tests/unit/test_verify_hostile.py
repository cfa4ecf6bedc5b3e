"""Whatever is passed, the answer is a ``Verification``: never an exception, never a long computation, never yes."""

import asyncio
import base64
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import coincurve
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainwatch.testing.effort import bounded
from chainwatch.testing.rows import signed_rows
from chainwatch.verifiers import SCHEMES, Policy, Reason, Status, Verification, averify, verify
from chainwatch.verifiers.bip322 import to_spend_outpoint
from chainwatch.verifiers.encodings import compact_size, segwit_text
from chainwatch.verifiers.jsonl import answer_row, verify_row
from chainwatch.verifiers.recorded import RecordedChain
from chainwatch.verifiers.result import BTC_HEADERS, MAX_MESSAGE, MAX_SIGNATURE, STATUS_OF
from chainwatch.verifiers.scripts import opcodes, push
from chainwatch.verifiers.transactions import Input, Transaction

ADDRESSES = [
    "17URFPGUkbWFPuKUGwDBaZfKNPvLRyHJZK",
    "3EfN14SyT9157ErRxGqPC2JPgprMnhmntJ",
    "bc1qguqr59xmjpu0x6w7njja5z7p7qg29n5xvr3pq6",
    "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
    "bc1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qccfmv3",
    "bc1pfeessrawgf",
    "ltc1qdhd5ee26ylh5lj647c4gc87gs5s9ax6s2rpx3g",
    "DH5yaieqoZN36fDVciNyRueRGvGLR3mr7L",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0x0000000000000000000000000000000000000000",
    "11111111111111111111111111111111",
    "So11111111111111111111111111111111111111112",
    "alice",
    "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A",
    "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t",
    "stake1uyehkck0lajq8gr28t9uxnuvgcqrc6070x3k9r8048z8y5gh6ffgw",
]
CHAINS = [
    None,
    "BTC",
    "LTC",
    "BCH",
    "GRS",
    "ETH",
    "eip155:137",
    "SOL",
    "HIVE",
    "XMR",
    "monero:test",
    "tron:mainnet",
    "ADA",
]

huge = st.builds(lambda sign, digits: sign * 10**digits, st.sampled_from([1, -1]), st.sampled_from([400, 5000]))
"""No float holds these, and Python refuses to write the second."""
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    huge,
    st.floats(),
    st.text(max_size=40),
    st.binary(max_size=40),
)
LOOSE = [
    replace(
        Policy(), **{name: True for name in Policy.__dataclass_fields__ if name != "btc_headers"}, btc_headers=headers
    )
    for headers in BTC_HEADERS
]
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
bodies = st.binary(max_size=300)
signatures = st.one_of(
    st.text(max_size=200),
    bodies,
    bodies.map(lambda data: base64.b64encode(data).decode()),
    st.builds(
        lambda prefix, data: prefix + base64.b64encode(data).decode(), st.sampled_from(["smp", "ful", "pof"]), bodies
    ),
    st.binary(min_size=65, max_size=65).map(lambda data: "0x" + data.hex()),
    st.binary(min_size=65, max_size=65).map(lambda data: base64.b64encode(data).decode()),
    st.binary(min_size=64, max_size=64).map(list),
    st.lists(scalars, max_size=5),
    documents,
)
members = st.fixed_dictionaries(
    {},
    optional={
        "types": documents,
        "primaryType": scalars,
        "domain": documents,
        "message": documents,
        "alice": documents,
        "pubkey": scalars,
        "key_auths": documents,
        "signed_message": scalars,
        "time": scalars,
        "nonce": scalars,
        "app": scalars,
        "max_age": scalars,
        "application_domain": scalars,
    },
)
questions = st.fixed_dictionaries(
    {
        "address": st.one_of(st.sampled_from(ADDRESSES), scalars),
        "message": st.one_of(st.text(max_size=80), st.binary(max_size=80), st.none(), documents),
        "signature": signatures,
        "chain": st.one_of(st.sampled_from(CHAINS), scalars),
        "scheme": st.one_of(st.none(), st.sampled_from(list(SCHEMES)), scalars),
        "typed_data": st.one_of(st.none(), members, documents),
        "authorities": st.one_of(st.none(), members, documents),
        "role": st.one_of(st.just("posting"), scalars),
        "expect": st.one_of(st.none(), members, documents),
        "now": st.one_of(st.none(), scalars, st.just("2024-11-20T00:00:00Z")),
        "policy": st.sampled_from([Policy(), *LOOSE]),
    }
)


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """Load every library once: the promise of time is for what comes after."""
    for address in ADDRESSES:
        for scheme in SCHEMES:
            verify(address=address, message="x", signature="smpAA==", scheme=scheme)
            verify(address=address, message="x", signature="00" * 65, scheme=scheme, typed_data={"types": {}})


def check(result: Verification) -> None:
    assert isinstance(result, Verification)
    assert result.reason is not Reason.INTERNAL, result
    assert result.status is STATUS_OF[result.reason]
    assert bool(result) is result.ok is (result.status is Status.VALID)
    assert not result.ok or "anyone_can_spend" in result.warnings, result


@given(questions)
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_arguments_give_a_result(question: dict[str, Any]) -> None:
    check(bounded(lambda: verify(**question)))


@given(questions, st.lists(members, max_size=3))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_arguments_and_any_chain_s_answers_give_a_result(question: dict[str, Any], records: list[Any]) -> None:
    resolver = RecordedChain(records, chain_id=1, accounts=question["authorities"])
    check(bounded(lambda: asyncio.run(averify(**question, resolver=resolver))))


@given(
    st.one_of(documents, st.dictionaries(st.sampled_from(["id", "chain", "address", "message", "extra"]), documents))
)
@settings(max_examples=200, deadline=None)
def test_any_row_gets_an_answer(row: Any) -> None:
    answer = bounded(lambda: answer_row(row))
    assert answer["valid"] is False
    assert answer["reason"] != "internal"


GOOD = signed_rows()
"""A valid question of each scheme."""


@given(st.sampled_from(GOOD), st.data())
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_good_question_with_anything_in_one_place_gets_a_result(row: dict[str, Any], data: st.DataObject) -> None:
    """Deeper than random arguments come: all but one part is as it should be."""
    changed: dict[str, Any] = {**row, "extra": dict(row["extra"])}
    places = [(changed, key) for key in ("address", "message", "signature", "chain", "scheme")]
    places += [(changed["extra"], key) for key in [*row["extra"], "expect", "now", "role", "accounts", "typed_data"]]
    part, key = data.draw(st.sampled_from(places))
    part[key] = data.draw(st.one_of(documents, signatures, members))
    result = bounded(lambda: verify_row(changed))
    assert result.reason is not Reason.INTERNAL, result
    assert result.status is STATUS_OF[result.reason]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    ("message", "signature"),
    [
        ("x" * MAX_MESSAGE, "ab" * 65),
        ("é" * MAX_MESSAGE, "ab" * 65),
        ("x", "A" * MAX_SIGNATURE),
        ("x", "smp" + "A" * (MAX_SIGNATURE - 4)),
        ("x", "1" * MAX_SIGNATURE),
        ("x", "[" * MAX_SIGNATURE),
        ("x", "eyJ" + "W" * (MAX_SIGNATURE - 4)),
        ("x", ["ab" * 65] * 120),
        ("x", "0x" + "60" * 7000),
        ("\ud800", "ab" * 65),
        ("[" * 60_000, "ab" * 65),
    ],
    ids=["long", "long utf-8", "base64", "zeros", "base58", "brackets", "token", "many", "hex", "surrogate", "nesting"],
)
def test_the_largest_and_deepest_inputs_stay_cheap(address: str, message: str, signature: Any) -> None:
    for scheme in (None, *SCHEMES):
        check(bounded(lambda name=scheme: verify(address=address, message=message, signature=signature, scheme=name)))


@pytest.mark.parametrize("accents", [2_047, 30_000])
def test_accents_in_the_wrong_order_cost_no_more_than_other_texts(accents: int) -> None:
    """Python sorts the accents of a letter one by one: a text of 64 kB took two seconds."""
    text = "a" + "\u0315" * (accents // 2) + "\u0300" * (accents // 2)
    question = {"message": text, "signature": "0x" + "11" * 65, "policy": Policy(try_nfc=True)}
    for address in ADDRESSES:
        check(bounded(lambda where=address: verify(address=where, **question)))


def test_a_script_tries_only_so_many_keys() -> None:
    """One key, duplicated, costs the interpreter as much as twenty: 200 characters of signature took 120 ms."""
    pytest.importorskip("btclib_wallet.bip322", reason="the script engine (chainwatch[scripts]) is not installed")
    key = coincurve.PrivateKey(b"\x01" * 32)
    first, others = key.public_key.format(), coincurve.PrivateKey(b"\x02" * 32).public_key.format()
    many = b"\x51" + push(first) + push(others) + b"\x76" * 18 + push(bytes([20])) + b"\xae"
    one, fifteen = push(first) + b"\xad", b"\x51" + push(first) + push(others) + b"\x76" * 13 + b"\x5f\xaf"
    for script, keys in (
        (many, 20),
        (many + b"\x69\x51", 20),
        ((fifteen + b"\x51\x75") * 8 + b"\x51", 120),
        (one * 40 + b"\x51", 40),
        (one * 8 + b"\x51", 8),
        (one + b"\x61" * 150 + b"\x51", 1),
    ):
        answer = bounded(lambda script=script: spent(script, key))
        assert answer.reason == ("ok" if keys <= 8 else "unknown_script")


def spent(script: bytes, key: coincurve.PrivateKey) -> Verification:
    """A spend of ``script`` by as many signatures of one key as it asks for, each with the empty element before it."""
    address = segwit_text("bc", 0, sha256(script).digest())
    outpoint = to_spend_outpoint(b"x", b"\x00\x20" + sha256(script).digest())
    digest = Transaction(0, (Input(outpoint),), ((0, b"\x6a"),)).segwit_digest(0, script, 0)
    signature = key.sign(digest, hasher=None) + b"\x01"
    checks = [opcode for opcode in opcodes(script) if opcode in (0xAD, 0xAE, 0xAF)]
    stack = [item for opcode in checks for item in ((signature,) if opcode == 0xAD else (b"", signature))]
    witness = b"".join(compact_size(len(item)) + item for item in (*stack, script))
    encoded = base64.b64encode(compact_size(len(stack) + 1) + witness).decode()
    return verify(address=address, message="x", signature="smp" + encoded)


def test_what_is_too_large_is_refused_before_it_is_read() -> None:
    for arguments in (
        {"message": "x" * (MAX_MESSAGE + 1), "signature": "ab"},
        {"message": b"x" * (MAX_MESSAGE + 1), "signature": "ab"},
        {"message": "é" * (MAX_MESSAGE // 2 + 1), "signature": "ab"},
        {"message": "x", "signature": "a" * (MAX_SIGNATURE + 1)},
        {"message": "x", "signature": bytearray(MAX_SIGNATURE + 1)},
        {"message": "x", "signature": ["a" * (MAX_SIGNATURE // 2), "b" * (MAX_SIGNATURE // 2 + 1)]},
        {"message": "x", "signature": [0] * 129},
        {"message": "x", "signature": "ab", "expect": {"x": [[]] * 30_000}},
        {"message": "x", "signature": "ab", "expect": {"x": "y" * 300_000}},
    ):
        assert verify(address="alice", **arguments).reason is Reason.TOO_LARGE
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}
    assert verify(address="alice", message="x", signature="ab", expect=deep).reason is Reason.TOO_LARGE
    # Authorities come from a node; of them no more is read than an account can have.
    signature = "1f" + "11" * 64
    for authorities in (
        deep,
        [[]] * 30_000,
        {"alice": {"name": "alice", "posting": {"key_auths": [["STM", 1]] * 30_000}}},
    ):
        check(
            bounded(
                lambda given=authorities: verify(address="alice", message="x", signature=signature, authorities=given)
            )
        )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"address": "alice", "message": None, "signature": "ab"}, Reason.MALFORMED_MESSAGE),
        ({"address": "alice", "message": 5, "signature": "ab"}, Reason.MALFORMED_MESSAGE),
        ({"address": "alice", "message": "\ud800", "signature": "ab"}, Reason.MALFORMED_MESSAGE),
        ({"address": "alice", "message": "x", "signature": None}, Reason.MALFORMED_SIGNATURE),
        ({"address": "alice", "message": "x", "signature": [1.5]}, Reason.MALFORMED_SIGNATURE),
        ({"address": "no such wallet", "message": "x", "signature": "ab"}, Reason.MALFORMED_ADDRESS),
        ({"address": "alice", "message": "x", "signature": "ab", "chain": "FOO"}, Reason.UNKNOWN_CHAIN),
        ({"address": "alice", "message": "x", "signature": "ab", "chain": "BTC"}, Reason.WRONG_NETWORK),
        ({"address": "alice", "message": "x", "signature": "ab", "scheme": "foo"}, Reason.UNKNOWN_SCHEME),
        ({"address": "alice", "message": "x", "signature": "ab", "scheme": "bip137"}, Reason.UNSUPPORTED),
        ({"address": "alice", "message": "x", "signature": "ab", "policy": None}, Reason.MALFORMED_REQUEST),
        ({"address": "alice", "message": "x", "signature": "ab", "now": "yesterday"}, Reason.MALFORMED_REQUEST),
        (
            {"address": "alice", "message": "x", "signature": "ab", "now": datetime(2024, 1, 1)},  # noqa: DTZ001
            Reason.MALFORMED_REQUEST,
        ),
        ({"address": "alice", "message": "x", "signature": "ab", "now": float("nan")}, Reason.MALFORMED_REQUEST),
        ({"address": "alice", "message": "x", "signature": "1f" + "11" * 64}, Reason.BAD_SIGNATURE),
    ],
)
def test_what_is_wrong_is_named(arguments: dict[str, Any], reason: Reason) -> None:
    result = verify(**arguments)
    assert result.reason is reason
    assert not result


@pytest.mark.parametrize(
    ("address", "chain"),
    [
        ("eip155:1:0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "eip155:137"),
        ("eip155:1:0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "MATIC"),
        ("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "BTC"),
        ("17URFPGUkbWFPuKUGwDBaZfKNPvLRyHJZK", "ETH"),
        ("17URFPGUkbWFPuKUGwDBaZfKNPvLRyHJZK", "evm"),
        ("17URFPGUkbWFPuKUGwDBaZfKNPvLRyHJZK", "bip122:000000000933ea01ad0ee984209779ba"),
        ("alice", "SOL"),
    ],
)
def test_an_address_that_names_its_chain_is_not_one_of_another(address: str, chain: str) -> None:
    assert verify(address=address, message="x", signature="0x" + "11" * 65, chain=chain).reason is Reason.WRONG_NETWORK


def test_times_are_text_moments_seconds_or_milliseconds() -> None:
    from chainwatch.verifiers.prepare import prepare

    rest = dict.fromkeys(("chain", "scheme", "typed_data", "authorities", "expect"))
    for now in ("2024-11-20T00:00:00Z", datetime(2024, 11, 20, tzinfo=UTC), 1732060800, 1732060800000, 1732060800.0):
        request = prepare(
            address="alice", message="x", signature="ab", role="posting", now=now, policy=Policy(), **rest
        )
        assert not isinstance(request, Verification)
        assert request.now == 1732060800


def test_a_row_may_say_null_for_what_it_does_not_say() -> None:
    names = ("role", "now", "expect", "rpc", "app", "accounts", "typed_data", "key", "pubkey", "tx_base64", "preimage")
    for row in GOOD:
        assert verify_row({**row, "extra": dict.fromkeys(names) | row["extra"]}), row


def test_what_another_scheme_would_need_does_not_stand_in_the_way_of_the_one_that_is_named() -> None:
    for row in GOOD:
        if not row["scheme"].startswith(("hivesigner", "solana-offchain")):
            assert verify_row({**row, "extra": {"app": "tickets", "preimage": "00"} | row["extra"]}), row


def test_every_reason_has_one_status_and_only_ok_is_valid() -> None:
    assert set(STATUS_OF) == set(Reason)
    assert [reason for reason in Reason if STATUS_OF[reason] is Status.VALID] == [Reason.OK]


def test_every_loosening_is_off_by_default_except_those_that_wallets_need() -> None:
    """A default that lets more in must be argued for here."""
    on = {name for name in Policy.__dataclass_fields__ if getattr(Policy(), name) is True}
    assert on == {"allow_lenient_p2sh", "allow_timelocks", "contracts", "allow_memo_tx"}
    assert Policy().btc_headers == "electrum"
