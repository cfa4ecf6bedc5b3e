"""Internal transfers: native coin that a contract sends, which no log tells of.

Two dialects: geth's ``callTracer`` (a tree per transaction) and OpenEthereum's ``trace_block`` (a flat
list with trace addresses).  Value under a reverted ancestor never moved, whatever its own frame says:
crediting it is how exchanges lost money in 2018.  ``DELEGATECALL``, ``CALLCODE`` and ``STATICCALL`` move nothing
between accounts: the value they show is the caller's own, inherited.
"""

import sys
from collections.abc import Iterator, Sequence

import msgspec

from chainwatch.adapters.evm_types import Wire, address, quantity
from chainwatch.errors import Inconsistent

MAX_DEPTH = 1024
"""The EVM's own limit on the depth of calls."""

PRECOMPILES = frozenset(f"0x{n:040x}" for n in (*range(0x1, 0x12), 0x100))
"""Addresses of functions that are built into the EVM: up to Prague's BLS12-381 (EIP-2537), and EIP-7951."""

_MOVES_VALUE = frozenset({"CALL", "CREATE", "CREATE2", "SELFDESTRUCT", "SUICIDE"})


def allow_deep_json() -> None:
    """Let the decoder go as deep as calls can be nested.

    A frame is two levels of JSON, and the interpreter's default of 1000 would let anybody who nests 500 calls
    keep us from reading the block.
    """
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 4 * MAX_DEPTH))


class Frame(Wire):
    """A call as geth's ``callTracer`` shows it.  Early tracers leave out everything but the type of a SELFDESTRUCT."""

    type: str = ""
    sender: str | None = msgspec.field(name="from", default=None)
    to: str | None = None
    value: str | None = None
    error: str | None = None
    calls: list["Frame"] | None = None


class TracedTx(Wire):
    """One transaction of ``debug_traceBlockByHash``; older nodes do not name it."""

    result: Frame | None = None
    tx_hash: str | None = None
    error: str | None = None


class Action(Wire):
    """What a flat trace did; the fields differ by its type."""

    call_type: str | None = None
    sender: str | None = msgspec.field(name="from", default=None)
    to: str | None = None
    value: str | None = None
    address: str | None = None
    refund_address: str | None = None
    balance: str | None = None


class Outcome(Wire):
    """The result of a flat trace: the address of what was created."""

    address: str | None = None


class FlatTrace(Wire):
    """One call of ``trace_block``."""

    action: Action
    trace_address: list[int]
    type: str
    transaction_hash: str | None = None
    block_hash: str | None = None
    error: str | None = None
    result: Outcome | None = None


class Internal(msgspec.Struct, frozen=True):
    """Value that moved (``ok``), or would have, at ``path`` inside a transaction."""

    path: tuple[int, ...]
    sender: str
    to: str | None
    amount: int
    ok: bool

    @property
    def index(self) -> str:
        """The transfer's index: ``t`` and the path, ``t0.1``."""
        return "t" + ".".join(map(str, self.path))


def from_frame(top: Frame) -> Iterator[Internal]:
    """Yield the internal transfers of one ``callTracer`` tree in order of execution (the top call itself is not)."""
    stack: list[tuple[Frame, tuple[int, ...], bool]] = [(top, (), bool(top.error))]
    while stack:
        frame, path, reverted = stack.pop()
        reverted = reverted or bool(frame.error)
        amount = quantity(frame.value, "call value") if frame.value is not None else 0
        if path and amount and frame.type.upper() in _MOVES_VALUE:
            if frame.sender is None:
                raise Inconsistent("a call without a sender carries value")
            to = None if frame.to is None else address(frame.to)
            yield Internal(path, address(frame.sender), to, amount, not reverted)
        if len(path) > MAX_DEPTH:
            raise Inconsistent("calls nested deeper than the EVM allows")
        children = [child for child in frame.calls or () if not _is_built_in(child)]
        stack.extend((child, (*path, i), reverted) for i, child in reversed(list(enumerate(children))))


def _is_built_in(frame: Frame) -> bool:
    """Is this a call of a precompile without value?

    The flat dialect leaves them out (geth's ``flatCallTracer``, reth, Erigon), a tree counts them: a path that counted
    them would be another one on the next node, and the payment a second payment.
    """
    if frame.to is None or frame.to.lower() not in PRECOMPILES:
        return False
    return frame.value is None or quantity(frame.value, "call value") == 0


def from_flat(traces: Sequence[FlatTrace]) -> Iterator[Internal]:
    """Yield the internal transfers in the flat traces of one transaction, in their order."""
    reverted = {tuple(t.trace_address) for t in traces if t.error}
    for trace in traces:
        path = tuple(trace.trace_address)
        parties = _flat_parties(trace)
        if not path or parties is None:
            continue
        sender, to, value = parties
        amount = quantity(value, "trace value")
        if amount:
            ok = not any(path[:n] in reverted for n in range(len(path) + 1))
            yield Internal(path, address(sender), None if to is None else address(to), amount, ok)


def top_failed(traces: Sequence[FlatTrace]) -> bool | None:
    """Did the transaction of these flat traces fail?  None when its top call is not among them."""
    return next((bool(t.error) for t in traces if not t.trace_address), None)


def _flat_parties(trace: FlatTrace) -> tuple[str, str | None, str] | None:
    """Return (sender, receiver, value) of a trace that can move value."""
    action = trace.action
    if trace.type == "suicide":
        sender, to, value = action.address, action.refund_address, action.balance
    elif trace.type == "create":
        sender, to, value = action.sender, trace.result.address if trace.result else None, action.value
    elif trace.type == "call" and (action.call_type or "call") == "call":
        sender, to, value = action.sender, action.to, action.value
    else:
        return None  # a reward, or a call that moves nothing
    if sender is None or value is None:
        raise Inconsistent(f"a {trace.type} trace lacks its sender or value")
    return sender, to, value
