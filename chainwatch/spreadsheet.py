"""Cells of CSV files that people open in a spreadsheet."""

import re

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would run (OWASP, CSV injection)."""
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)


def cell(value: object) -> object:
    """Return a value as a cell that no spreadsheet takes for a formula; numbers stay numbers, also as text."""
    if isinstance(value, str) and value.startswith(_FORMULA) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value
