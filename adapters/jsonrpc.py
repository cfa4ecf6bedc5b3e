"""JSON-RPC answers, bytes to values: pure, typed, in one pass where nothing is wrong.

``who`` stands in every error message: the chain and the endpoint's redacted name.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, cast

import msgspec

from chainwatch.errors import Inconsistent, Persistent, Transient, Unreachable

T = TypeVar("T")
Id = int | str | None
NULL = msgspec.Raw(b"null")

ERROR_TEXT = 300
"""Characters of a node's own error message that are kept: enough to recognise it."""
ERROR_DATA = 64 * 1024
"""Bytes of an error's ``data``: EVM revert data and logs fit, anything longer is no explanation."""


class RpcError(Transient):
    """The node answered with a JSON-RPC error object; adapters map the codes they know."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(f"node error {code}: {message}")
        self.code, self.message, self.data = code, message, data


class HttpRefused(Persistent):
    """HTTP 3xx or 4xx: the same request will not be answered by this node.  ``status`` says how."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _ErrorObject(msgspec.Struct):
    code: int = 0
    message: str = ""
    data: msgspec.Raw = NULL


class _Answer(msgspec.Struct, Generic[T]):
    """An answer whose result is decoded in the same pass (the usual case)."""

    result: T
    id: Id = None
    error: None = None


class _AnyAnswer(msgspec.Struct):
    """An answer before we know whether it is a result or an error."""

    id: Id = None
    result: msgspec.Raw = NULL
    error: _ErrorObject | str | None = None


def _bare(result: Any) -> Any:
    return result


def _one_of(result: Any) -> Any:
    return cast(Any, _Answer)[result]


def _many_of(result: Any) -> Any:
    return list.__class_getitem__(_one_of(result))


@functools.lru_cache(maxsize=256)  # types named in our own code: a few dozen
def _decoder(shape: Callable[[Any], Any], result: Any) -> Any:
    return msgspec.json.Decoder(shape(result))


BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding hostile bytes raises (msgspec.ValidationError is a DecodeError)."""


def decode(who: str, body: bytes | msgspec.Raw, result: Any) -> Any:
    """Decode JSON as ``result``: ``Inconsistent`` when it has another shape, ``Transient`` when it is no JSON."""
    try:
        return _decoder(_bare, result).decode(body)
    except msgspec.ValidationError as error:
        raise Inconsistent(f"{who}: unexpected answer: {error}") from error
    except BROKEN as error:
        raise Transient(f"{who}: broken JSON ({len(bytes(body))} bytes)") from error


def check_status(who: str, status: int) -> None:
    """Raise what an HTTP status without a usable body says."""
    if status >= 500 or status in (408, 425):
        raise Unreachable(f"{who} answers HTTP {status}")
    if status >= 300:
        raise HttpRefused(f"{who} refuses with HTTP {status}", status)


def read_answer(who: str, status: int, body: bytes, number: int, result: Any) -> Any:
    """Return the result of call ``number`` as ``result``, or raise the node's ``RpcError``."""
    if status < 300:
        try:
            answer = _decoder(_one_of, result).decode(body)
        except BROKEN:
            pass  # an error object, or nonsense: told apart below
        else:
            return _matching(who, answer.id, number, answer.result)
    loose = _loose(who, status, body, _AnyAnswer)
    # bitcoind sends its error objects with status 404 and 500: the id tells that the node itself speaks.
    if loose.error is not None and (loose.id == number or (loose.id is None and status < 300)):
        raise _rpc_error(who, loose.error)
    check_status(who, status)
    return _matching(who, loose.id, number, decode(who, loose.result, result))


def read_batch(who: str, status: int, body: bytes, numbers: Sequence[int], result: Any) -> list[Any]:
    """Return the results of calls ``numbers`` in their order; a failed one is an ``RpcError`` value.

    ``Inconsistent`` unless every id stands there exactly once and no other does.
    """
    try:
        pairs = [(a.id, a.result) for a in _decoder(_many_of, result).decode(body)] if status < 300 else []
    except BROKEN:
        pairs = []
    if not pairs:
        pairs = _read_mixed(who, status, body, result)
    by_id = dict(pairs)
    if len(by_id) != len(pairs):
        raise Inconsistent(f"{who} answers a batch with an id twice")
    if by_id.keys() != set(numbers):
        raise Inconsistent(f"{who} answers {len(by_id)} of a batch of {len(numbers)}, or others")
    return [by_id[n] for n in numbers]


def _read_mixed(who: str, status: int, body: bytes, result: Any) -> list[tuple[Id, Any]]:
    """Read a batch that holds error objects, each item on its own."""
    loose = _loose(who, status, body, list[_AnyAnswer] | _AnyAnswer)
    if isinstance(loose, _AnyAnswer):  # the batch as a whole was refused
        if loose.error is not None and status < 300:
            raise _rpc_error(who, loose.error)
        check_status(who, status)
        raise Inconsistent(f"{who} answers a batch with one object")
    check_status(who, status)
    return [(i.id, _rpc_error(who, i.error) if i.error is not None else decode(who, i.result, result)) for i in loose]


def _loose(who: str, status: int, body: bytes, shape: Any) -> Any:
    """Decode an answer that is not a plain result; an HTTP error without JSON-RPC in it keeps its status."""
    try:
        return decode(who, body, shape)
    except Transient:
        check_status(who, status)
        raise


def _matching(who: str, answered: Id, number: int, result: Any) -> Any:
    if answered != number:
        raise Inconsistent(f"{who} answers another request (id {answered!r:.40})")
    return result


def _rpc_error(who: str, error: _ErrorObject | str) -> RpcError:
    if isinstance(error, str):
        return RpcError(0, error[:ERROR_TEXT])
    data = decode(who, error.data, Any) if len(bytes(error.data)) <= ERROR_DATA else None
    return RpcError(error.code, error.message[:ERROR_TEXT], data)
