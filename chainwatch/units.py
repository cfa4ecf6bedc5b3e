"""Base units and the decimal text that people write: exact, no floating point anywhere."""

import re

from chainwatch.errors import Rejected
from chainwatch.model import MAX_BASE_UNITS

_DECIMAL = re.compile(r"([0-9]{1,78})(?:\.([0-9]{1,78}))?", re.ASCII)  # 78 digits: MAX_BASE_UNITS


def parse_units(text: str, decimals: int) -> int:
    """Return the base units of a plain decimal such as ``0.005``.

    ``Rejected('amount')`` for signs, exponents, separators, more decimal places than the asset has,
    or more than the ledger can hold.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise Rejected("amount", f"{text[:80]!r} is not a plain decimal number")
    whole, fraction = match[1], match[2] or ""
    if len(fraction) > decimals:
        raise Rejected("amount", f"{text[:80]!r} has more than {decimals} decimal places")
    amount = int(whole + fraction.ljust(decimals, "0"))
    if amount > MAX_BASE_UNITS:
        raise Rejected("amount", f"{text[:80]!r} is more than can be stored")
    return amount


def format_units(amount: int, decimals: int) -> str:
    """Return base units as a plain decimal without trailing zeros: 5000000000000000 wei is ``0.005``."""
    sign, digits = ("-" if amount < 0 else ""), str(abs(amount)).rjust(decimals + 1, "0")
    whole, fraction = (digits[:-decimals], digits[-decimals:].rstrip("0")) if decimals else (digits, "")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"
