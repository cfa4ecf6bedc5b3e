"""Where each setting was written: the TOML file with its line numbers, and the environment over it."""

import difflib
import math
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from chainwatch.errors import Misconfigured

PREFIX = "CHAINWATCH__"
MAX_BYTES = 1024 * 1024  # a thousand chains fit; a larger file is not a configuration

_HEADER = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r""""([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+)""")
_AT_LINE = re.compile(r"^(.*?) \(at line (\d+), column \d+\)$", re.DOTALL)

_AMOUNTS = frozenset({"above", "approve_above", "fixed", "minimum"})
"""Keys of decimal amounts, or of tables of such by coin: text, as in the file."""
_CODES = _AMOUNTS | {"assets", "tokens", "tolerance_bps"}
"""Keys of tables by coin, whose code is taken as it is written; a rate's currency too."""

KeyPath = tuple[str, ...]


class Source:
    """A configuration as written: ``data`` is file and environment together."""

    def __init__(self, name: str, text: str = "", environ: Mapping[str, str] | None = None) -> None:
        """``name`` is what messages call the file.  ``Misconfigured`` when ``text`` is not TOML."""
        self.name = name
        self._lines = text.splitlines()
        self._variables: dict[KeyPath, str] = {}
        try:
            self.data: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            where = _AT_LINE.match(str(error))
            message = f"{name} line {where[2]}: {where[1]}" if where else f"{name}: {error}"
            raise Misconfigured(message) from error
        for variable, value in sorted((environ or {}).items()):
            if variable.startswith(PREFIX):
                self._overlay(variable, value)

    @classmethod
    def of_file(cls, path: Path, environ: Mapping[str, str]) -> "Source":
        """Read ``path``; ``Misconfigured`` when that is not possible."""
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
            text = raw.decode("utf-8")
        except OSError as error:
            raise Misconfigured(f"{path} cannot be read: {os.strerror(error.errno or 0)}") from error
        except UnicodeDecodeError as error:
            raise Misconfigured(f"{path} is not UTF-8 text") from error
        if len(raw) > MAX_BYTES:
            raise Misconfigured(f"{path} is larger than {MAX_BYTES} bytes")
        return cls(path.name, text, environ)

    # -- what was written ------------------------------------------------------------------------

    def table(self, *path: str) -> dict[str, Any]:
        """Return the table at ``path``, empty when there is none; ``Misconfigured`` when it is no table."""
        value: Any = self.data
        for depth, part in enumerate(path, 1):
            value = value.get(part, {})
            if not isinstance(value, dict):
                self.refuse(path[:depth], "is a section, not a value")
        found: dict[str, Any] = value
        return found

    def check_keys(self, path: KeyPath, allowed: Iterable[str]) -> None:
        """Refuse any key of the table at ``path`` that is not in ``allowed``, with the likely right one."""
        names = sorted(allowed)
        for key in self.table(*path):
            if key not in names:
                self.unknown(path, key, names)

    def unknown(self, path: KeyPath, key: str, names: Iterable[str]) -> NoReturn:
        """Refuse ``key`` of the table at ``path``."""
        near = difflib.get_close_matches(key, list(names), n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        what = "unknown key" if path else "unknown section"
        raise Misconfigured(f"{self.where((*path, key))}: {_section(path)}{what} {key!r}{hint}")

    def refuse(self, path: KeyPath, why: str, *, value: str | None = None) -> NoReturn:
        """Raise ``Misconfigured`` that names the place and the key.  ``value`` finds its own line in a list."""
        raise Misconfigured(f"{self.where(path, value)}: {_section(path[:-1])}{path[-1]!r} {why}")

    def where(self, path: KeyPath, value: str | None = None) -> str:
        """Say where ``path`` was set: ``<file> line <n>`` or the environment variable."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._variables:
                return f"environment variable {self._variables[path[:length]]}"
        if line := self._line_of(path, value):
            return f"{self.name} line {line}"
        below = next((name for known, name in self._variables.items() if known[: len(path)] == path), None)
        return f"environment variable {below}" if below else self.name  # a section that only a variable names

    # -- the environment -------------------------------------------------------------------------

    def _overlay(self, variable: str, text: str) -> None:
        path = _path_of(variable)
        if len(path) < 2 or not all(path):
            raise Misconfigured(f"environment variable {variable}: name it {PREFIX}SECTION__KEY")
        table = self.data
        for part in path[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise Misconfigured(f"environment variable {variable}: {part!r} is a value, not a section")
        table[path[-1]] = _value(text, amount=not _AMOUNTS.isdisjoint(path))
        self._variables[path] = variable

    # -- lines -----------------------------------------------------------------------------------

    def _line_of(self, path: KeyPath, value: str | None) -> int | None:
        """Find the line that sets ``path``, or the longest part of it that has one."""
        found: dict[KeyPath, int] = {}
        table: KeyPath = ()
        for number, line in enumerate(self._lines, 1):
            if header := _HEADER.match(line):
                table = _split(header[1])
                found.setdefault(table, number)
            elif key := _KEY.match(line):
                found.setdefault((*table, *_split(key[1])), number)
        for length in range(len(path), 0, -1):
            if line_number := found.get(path[:length]):
                return self._line_with(line_number, value)
        return None

    def _line_with(self, first: int, value: str | None) -> int:
        """Return the first line from ``first`` on that holds ``value``: lists often stand one item a line."""
        if value:
            for number, line in enumerate(self._lines[first - 1 :], first):
                if value in line:
                    return number
        return first


def _split(dotted: str) -> KeyPath:
    return tuple(a or b or c for a, b, c in _PART.findall(dotted))


def _section(path: KeyPath) -> str:
    return f"[{'.'.join(path)}] " if path else ""


def _path_of(variable: str) -> KeyPath:
    """Return the path that a variable names: sections and keys are lower case, codes of chains upper case."""
    path: KeyPath = ()
    for part in variable.removeprefix(PREFIX).split("__"):
        if path == ("chains",):
            part = part.upper()
        elif not path or (path[-1] not in _CODES and path[:2] != ("rates", "fixed")):
            part = part.lower()
        path = (*path, part)
    return path


def _value(text: str, *, amount: bool = False) -> Any:
    """Read an environment value: TOML for numbers, booleans, lists, tables and quoted text, else as it is.

    ``amount``: a number is text, so that it is read exactly.
    """
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    value = parsed.get("value")
    if isinstance(value, int) and text[:2].lower() == "0x":
        return text  # an address or a hash, not a number
    if isinstance(value, float) and not math.isfinite(value):
        return text  # a word
    kinds = (list, dict, str) if amount else (bool, int, float, list, dict, str)
    return value if len(parsed) == 1 and isinstance(value, kinds) else text
