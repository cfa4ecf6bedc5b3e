"""The only place that knows JSON: bodies and queries to typed values, answers to bytes.

Field names are snake_case; requests may write camelCase too (the platform's client does both).  Amounts are strings:
``amount_base`` in base units, ``amount`` as people write it.  Times are RFC 3339; a bare integer in a request is Unix
milliseconds.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import inspect

from chainwatch.api.problems import Problem
from chainwatch.errors import ChainwatchError
from chainwatch.times import parse_ms

T = TypeVar("T")

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

MAX_DEPTH = 16
"""Levels of a JSON body: the deepest legitimate one, typed data of a signature, has six."""

MAX_DIGITS = 15
"""Digits of Unix milliseconds: those of the year 9999."""

MAX_FIELDS = 50
"""Fields of a form: the largest one of ours has six."""

_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def encode(value: Any) -> bytes:
    """Return an answer's JSON."""
    return msgspec.json.encode(value)


def snake(name: str) -> str:
    """``walletAddress`` -> ``wallet_address``."""
    return _BORDER.sub("_", name).lower()


def body(raw: bytes, kind: type[T], *, any_text: bool = False) -> T:
    """Read a JSON body of ``kind``; ``Problem`` ``bad_request`` names the field that is wrong.

    Numbers with a point come as their text (``25.00``): they are money, and money is never a float.  ``any_text``: a
    text may hold the character 0 (``refuse_nul``).
    """
    try:
        data = _DECODER.decode(raw or b"{}")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Problem("bad_json", "the body is not JSON") from error
    if not isinstance(data, dict):
        raise Problem("bad_request", "the body is not a JSON object")
    if _depth(data) > MAX_DEPTH:
        raise Problem("bad_request", f"the body is nested deeper than {MAX_DEPTH} levels")
    if not any_text and b"\\u0000" in raw:
        refuse_nul(_texts(data))
    return convert(data, kind)


_DECODER = msgspec.json.Decoder(float_hook=str)


def _depth(value: Any) -> int:
    """Return how deep containers are nested, without recursion, no further than one level too deep."""
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        depth += 1
        found: list[Any] = []
        for item in level:
            found += item.values() if isinstance(item, dict) else item
        level = [item for item in found if isinstance(item, dict | list)]
    return depth


def _texts(value: Any) -> Iterable[str]:
    """Return every text of a body, names too.  It goes no deeper than ``MAX_DEPTH``."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in (*value, *value.values()) if isinstance(value, dict) else value:
            yield from _texts(item)


def refuse_nul(texts: Iterable[str]) -> None:
    """Refuse the character 0: nobody writes it, PostgreSQL holds none, and C libraries end a text there."""
    if any("\0" in text for text in texts):
        raise Problem("bad_request", "a text holds the character U+0000")


def form(raw: bytes) -> dict[str, str]:
    """Read a form as browsers send it; ``Problem`` ``bad_request`` when it is none."""
    try:
        fields = dict(parse_qsl(raw.decode(), True, errors="strict", max_num_fields=MAX_FIELDS))
    except ValueError as error:
        raise Problem("bad_request", "this is no form") from error
    refuse_nul(fields.values())
    return fields


def convert(data: Mapping[str, Any], kind: type[T], *, strict: bool = True) -> T:
    """Read ``data`` as ``kind``; keys may be camelCase.  Unknown keys are ignored: clients send more than we read."""
    struct: Any = kind
    rename = _renaming(struct)
    try:
        return msgspec.convert(rename(data) if rename is not None else data, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise Problem("bad_request", str(error).replace(" - at `$.", ": `")) from error


def query(items: Mapping[str, str], kind: type[T]) -> T:
    """Read a query string as ``kind``: numbers and truth values are written as text there."""
    refuse_nul(items.values())
    return convert(items, kind, strict=False)


def time_ms(value: str | int | None, name: str) -> int | None:
    """Read a time of a request: RFC 3339, or Unix milliseconds as a number (in a query: as its digits)."""
    if value is None or isinstance(value, int):
        return value
    if value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS:
        return int(value)
    try:
        return parse_ms(value)
    except ChainwatchError as error:
        raise Problem("bad_request", f"{name}: {error}") from error


# -- names -----------------------------------------------------------------------------------------------

Rename = Callable[[Any], Any]
"""Returns the same value with the keys of its objects as we write them; what is of another type stays as it is."""


@functools.cache
def _renaming(kind: Any) -> Rename | None:
    return _renaming_of(inspect.type_info(kind))


def _renaming_of(info: inspect.Type) -> Rename | None:
    """Return what renames the keys in a value of a type; None where it holds no object with names of ours."""
    match info:
        case inspect.StructType(fields=fields):
            found = {f.encode_name: (f.encode_name, _renaming_of(f.type)) for f in fields}
            return partial(_object, names=found | {f.name: found[f.encode_name] for f in fields})
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            each = _renaming_of(item)
            return None if each is None else partial(_items, rename=each)
        case inspect.DictType(value_type=item):  # its keys are values: codes of coins, names
            each = _renaming_of(item)
            return None if each is None else partial(_values, rename=each)
        case inspect.UnionType(types=types):
            choices = [r for t in types if (r := _renaming_of(t)) is not None]
            return partial(_any, renames=choices) if choices else None
    return None


def _object(data: Any, names: Mapping[str, tuple[str, Rename | None]]) -> Any:
    if not isinstance(data, Mapping):
        return data
    renamed: dict[str, Any] = {}
    for key, value in data.items():
        known = names.get(key) or names.get(snake(key))
        if known is None:
            continue
        name, rename = known
        if name in renamed and renamed[name] != value:
            raise Problem("bad_request", f"{name} is given twice, differently")
        renamed[name] = value if rename is None else rename(value)
    return renamed


def _items(data: Any, rename: Rename) -> Any:
    return [rename(item) for item in data] if isinstance(data, list) else data


def _values(data: Any, rename: Rename) -> Any:
    return {key: rename(item) for key, item in data.items()} if isinstance(data, Mapping) else data


def _any(data: Any, renames: Sequence[Rename]) -> Any:
    return functools.reduce(lambda value, rename: rename(value), renames, data)
