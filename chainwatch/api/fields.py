"""Fields that several requests have, with the most that each may hold."""

from typing import Annotated, Any

from msgspec import Meta

from chainwatch.access.signed import MAX_TEXT
from chainwatch.api.problems import Problem

Text = Annotated[str, Meta(max_length=200)]
Code = Annotated[str, Meta(max_length=64)]
"""A name of ours: a chain's, a tier's, an invite's."""
Address = Annotated[str, Meta(min_length=1, max_length=256)]
"""A wallet's address, or where money goes."""
SignedText = Annotated[str, Meta(max_length=MAX_TEXT)]
"""A text of ours that a wallet signed."""
Signature = Annotated[str, Meta(max_length=16_384)] | Annotated[list[Any], Meta(max_length=128)]
"""As wallets give it: text, a list of 64 numbers (Solana), or a list of texts (Hive, several keys)."""

MAX_ID_DIGITS = 18
"""Digits of a number that the database counts up: below 2**63."""


def row_id(text: str, code: str) -> int:
    """Read a number that names a row; a problem ``code`` (``unknown_refund`` …) when it can be none."""
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_ID_DIGITS):
        raise Problem(code, f"there is no {code.removeprefix('unknown_')} {text[:40]!r}")
    return int(text)
