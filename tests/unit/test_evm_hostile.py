"""Hostile recordings get a typed refusal, never a stray exception."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.adapters.evm import decode
from chainwatch.config.networks import spec
from chainwatch.errors import Rejected

A, B, C, H, P = *("0x" + c * 40 for c in "abc"), "0x" + "1" * 64, "0x" + "2" * 64
TOPIC = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"

TX = {"hash": H, "from": A, "to": B, "value": "0x5", "input": "0x6d656d6f", "blockHash": P, "blockNumber": "0x7"}
LOG = {
    "address": C,
    "topics": [TOPIC, "0x" + "0" * 24 + "a" * 40, "0x" + "0" * 24 + "b" * 40],
    "data": "0x" + "0" * 63 + "9",
    "transactionHash": H,
    "blockHash": P,
    "blockNumber": "0x7",
    "logIndex": "0x0",
}
DOCUMENTS: dict[str, Any] = {
    "block": {"hash": P, "number": "0x7", "parentHash": H, "timestamp": "0x1", "transactions": [TX]},
    "transaction": TX,
    "receipt": {"transactionHash": H, "blockHash": P, "blockNumber": "0x7", "status": "0x1", "logs": [LOG]},
    "logs": [LOG],
    "tree": [
        {
            "txHash": H,
            "result": {
                "type": "CALL",
                "from": A,
                "to": B,
                "value": "0x0",
                "calls": [{"type": "CALL", "from": B, "to": C, "value": "0x3"}],
            },
        }
    ],
    "flat": [
        {
            "action": {"callType": "call", "from": A, "to": B, "value": "0x3"},
            "traceAddress": [0],
            "type": "call",
            "transactionHash": H,
            "blockHash": P,
        }
    ],
}
JUNK = [
    None,
    0,
    -1,
    2**300,
    1.5,
    True,
    "",
    "0x",
    "0x" + "f" * 65,
    "0x-1",
    "0x1_0",
    " 0x1",
    "٣",
    "\ud800",
    [],
    {},
    [[]],
    "x" * 9,
]


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [leaf for key, child in children for leaf in leaves(child, (*path, key))]


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], by)
    return copy


def try_decode(data: bytes) -> str | None:
    """Return the code of the refusal, None when it decodes; anything else is a stray exception."""
    try:
        for transfer in decode([data], spec("ETH")):
            assert 0 <= transfer.amount < 2**256
    except Rejected as refused:
        return refused.code
    return None


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_the_documents_as_they_are_hold_one_transfer(kind: str) -> None:
    assert len(list(decode([json.dumps(DOCUMENTS[kind]).encode()], spec("ETH")))) == 1


def test_the_documents_together_hold_one_transfer_of_each_kind() -> None:
    found = list(decode([json.dumps(d).encode() for d in DOCUMENTS.values()], spec("ETH")))
    assert sorted(t.index for t in found) == ["l0", "t0", "v"]


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_any_field_may_be_anything(kind: str) -> None:
    document = DOCUMENTS[kind]
    for path in leaves(document):
        for junk in JUNK:
            try_decode(json.dumps(replaced(document, path, junk)).encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=300))
def test_any_bytes_may_come(data: bytes) -> None:
    try_decode(data)


NAMES = ["result", "error", "hash", "from", "value", "logs", "transactionHash", "type", "calls", "action"]
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=9)


@given(
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
        max_leaves=12,
    )
)
def test_any_json_may_come(value: Any) -> None:
    try_decode(json.dumps(value).encode("utf-8", "surrogatepass"))


@given(st.integers())
def test_cut_documents_are_refused(seed: int) -> None:
    whole = json.dumps(DOCUMENTS["block"]).encode()
    with pytest.raises(Rejected):
        list(decode([whole[: random.Random(seed).randrange(1, len(whole))]], spec("ETH")))


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"result":' * 100_000, b"[[]]", b"\xff\xfe", b"", b">>\n<< {"])
def test_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(Rejected):
        list(decode([data], spec("ETH")))


def test_a_node_error_is_no_empty_answer() -> None:
    with pytest.raises(Rejected) as refused:
        list(decode([b'{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"header not found"}}'], spec("ETH")))
    assert refused.value.code == "node_error"
