"""Which calls of a trace move value, in both dialects."""

import msgspec
import pytest

from chainwatch.adapters.evm_traces import MAX_DEPTH, FlatTrace, Frame, from_flat, from_frame, top_failed
from chainwatch.errors import Inconsistent

A, B, C = ("0x" + c * 40 for c in "abc")


def tree(**frame: object) -> Frame:
    return msgspec.convert({"type": "CALL", "from": A, "to": B, "value": "0x5", **frame}, Frame)


def call(**frame: object) -> dict[str, object]:
    return {"type": "CALL", "from": B, "to": C, "value": "0x7", **frame}


def paid(frame: Frame) -> list[tuple[str, int, bool]]:
    return [(t.index, t.amount, t.ok) for t in from_frame(frame)]


def test_the_top_call_is_the_transaction_itself() -> None:
    assert paid(tree()) == []


def test_paths_name_calls_in_order_of_execution() -> None:
    nested = tree(calls=[call(calls=[call(value="0x1"), call(value="0x2")]), call(value="0x3")])
    assert paid(nested) == [("t0", 7, True), ("t0.0", 1, True), ("t0.1", 2, True), ("t1", 3, True)]


@pytest.mark.parametrize("kind", ["DELEGATECALL", "CALLCODE", "STATICCALL"])
def test_calls_that_borrow_code_move_nothing(kind: str) -> None:
    """They show the caller's own value; what they call in turn does move."""
    assert paid(tree(calls=[call(type=kind, calls=[call(value="0x1")])])) == [("t0.0", 1, True)]


@pytest.mark.parametrize("kind", ["CALL", "CREATE", "CREATE2", "SELFDESTRUCT"])
def test_calls_that_move_value(kind: str) -> None:
    assert paid(tree(calls=[call(type=kind)])) == [("t0", 7, True)]


def test_everything_under_a_reverted_ancestor_is_undone() -> None:
    """Each frame below is well by itself: only the ancestor says that it was undone."""
    frame = tree(calls=[call(error="execution reverted", calls=[call(calls=[call(value="0x1")])]), call(value="0x3")])
    assert [(i, ok) for i, _, ok in paid(frame)] == [("t0", False), ("t0.0", False), ("t0.0.0", False), ("t1", True)]
    assert [ok for _, _, ok in paid(tree(error="out of gas", calls=[call()]))] == [False]


@pytest.mark.parametrize("kind", ["STATICCALL", "CALL", "DELEGATECALL"])
@pytest.mark.parametrize("precompile", [0x1, 0x4, 0x11, 0x100])
def test_a_call_of_a_precompile_has_no_place_as_in_the_other_dialect(kind: str, precompile: int) -> None:
    """``trace_block`` leaves these out; a Safe's payment, read again from another node, is the same payment."""
    check = call(type=kind, to=f"0x{precompile:040x}", value=None if kind == "STATICCALL" else "0x0")
    assert paid(tree(calls=[call(type="DELEGATECALL", calls=[check, call()])])) == [("t0.0", 7, True)]
    assert flat_paid(flat([]), flat([0], callType="delegatecall"), flat([0, 0])) == [("t0.0", B, 7, True)]


@pytest.mark.parametrize("to", ["0x" + "0" * 40, "0x" + "0" * 38 + "12", "0x" + "0" * 36 + "1001"])
def test_a_call_of_any_other_account_has_a_place(to: str) -> None:
    assert paid(tree(calls=[call(to=to, value="0x0"), call()])) == [("t1", 7, True)]


def test_coins_sent_to_a_precompile_have_a_place() -> None:
    assert paid(tree(calls=[call(to="0x" + "0" * 39 + "1"), call()])) == [("t0", 7, True), ("t1", 7, True)]


def test_an_early_tracers_bare_selfdestruct_moves_nothing_known() -> None:
    assert paid(tree(calls=[{"type": "SELFDESTRUCT"}])) == []


def test_a_trace_deeper_than_the_evm_allows_is_refused() -> None:
    frame = tree()
    for _ in range(MAX_DEPTH + 2):
        frame = Frame(type="CALL", sender=A, to=B, value="0x1", calls=[frame])
    with pytest.raises(Inconsistent):
        list(from_frame(frame))


@pytest.mark.parametrize("wrong", [{"value": "7"}, {"value": "0x1" + "0" * 64}, {"to": "0x12"}, {"from": None}])
def test_a_malformed_call_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(Inconsistent):
        paid(tree(calls=[call(**wrong)]))


def flat(path: list[int], *, kind: str = "call", error: str | None = None, **action: object) -> FlatTrace:
    moved = {"callType": "call", "from": A, "to": B, "value": "0x7", **action}
    shape = {"type": kind, "traceAddress": path, "action": moved, "error": error, "result": {"address": C}}
    return msgspec.convert(shape, FlatTrace)


def flat_paid(*traces: FlatTrace) -> list[tuple[str, str | None, int, bool]]:
    return [(t.index, t.to, t.amount, t.ok) for t in from_flat(traces)]


def test_flat_traces_read_the_same() -> None:
    traces = flat([]), flat([0]), flat([0, 0], callType="delegatecall"), flat([0, 0, 0]), flat([1], value="0x0")
    assert flat_paid(*traces) == [("t0", B, 7, True), ("t0.0.0", B, 7, True)]


def test_flat_traces_under_a_reverted_ancestor_are_undone() -> None:
    traces = flat([]), flat([0], error="Reverted"), flat([0, 0]), flat([1])
    assert [(i, ok) for i, _, _, ok in flat_paid(*traces)] == [("t0", False), ("t0.0", False), ("t1", True)]


def test_what_a_contract_is_created_with_goes_to_it() -> None:
    assert flat_paid(flat([]), flat([0], kind="create", to=None)) == [("t0", C, 7, True)]


def test_what_a_destroyed_contract_held_goes_to_its_heir() -> None:
    heir = flat([0], kind="suicide", address=A, refundAddress=C, balance="0x9", value=None)
    assert flat_paid(flat([]), heir) == [("t0", C, 9, True)]


def test_rewards_are_no_transfers() -> None:
    assert flat_paid(flat([], kind="reward"), flat([0], kind="reward")) == []


def test_the_top_flat_trace_tells_success() -> None:
    assert top_failed([flat([]), flat([0], error="Reverted")]) is False
    assert top_failed([flat([], error="Reverted")]) is True
    assert top_failed([flat([0])]) is None
