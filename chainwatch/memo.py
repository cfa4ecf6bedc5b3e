"""The memo grammar, and nothing else.

``event:<id>:wallet:<address>`` with optional further ``:key:value`` pairs, or the short form
``cw:<ref>``.  ``<id>`` is 1-64 of ``A-Za-z0-9_-``; ``<address>`` is a wallet by its own chain's rules,
which the caller supplies.  It may stand inside a longer text.  Nothing is ever cut short to make it
fit: ``event:1:wallet:dlux-io`` is the wallet ``dlux-io`` or an error, never ``dlux``.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping

import msgspec

MAX_BYTES = 16 * 1024
"""Longest memo looked at.  Hive carries 2,048 bytes, Bitcoin's largest standard OP_RETURN is far below."""

MAX_MEMOS = 16
"""Most memos told apart in one text: the third already only says ``ambiguous``."""

_REF = r"[a-z0-9]{8,32}"
_START = re.compile(rf"event:([A-Za-z0-9_-]{{1,64}}):wallet:|cw:({_REF})", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9._:-]*", re.ASCII)
_KEY = re.compile(r"[a-z][a-z0-9_]{0,15}", re.ASCII)
_VALUE = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_CAIP_NAMESPACES = frozenset({"eip155", "bip122", "solana", "hive", "monero"})

CanonicalWallet = Callable[[str], str | None]
"""Return the canonical form of a wallet of any supported chain, None for anything else."""


class Memo(msgspec.Struct, frozen=True):
    """What a memo names.  The short form has only ``ref``.

    ``wallet`` is canonical.  ``suspect_wallet`` stands in its place when the text has the shape of
    an EVM address whose mixed-case checksum is wrong: paid already, so matching decides (DESIGN, rulings).
    """

    event_id: str | None = None
    wallet: str | None = None
    ref: str | None = None
    suspect_wallet: str | None = None
    pairs: Mapping[str, str] = {}


class NoMemo(msgspec.Struct, frozen=True):
    """Nothing in this text speaks of us."""


class BadMemo(msgspec.Struct, frozen=True):
    """The text speaks of us and cannot be followed: ``ambiguous``, ``bad_wallet``, ``bad_pairs``, ``too_long``."""

    reason: str
    event_id: str | None = None


_EVM_SHAPE = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)


def parse(memo: bytes | str | None, canonical_wallet: CanonicalWallet) -> Memo | NoMemo | BadMemo:
    """Read a memo.  Any bytes give an answer; none raises."""
    if not memo:
        return NoMemo()
    if len(memo) > MAX_BYTES:
        return BadMemo("too_long")
    text = memo if isinstance(memo, str) else memo.decode("utf-8", "replace")
    found: list[Memo | BadMemo] = []
    at = 0
    while (start := _START.search(text, at)) is not None and len(found) < MAX_MEMOS:
        at = start.end()
        if start.start() and _continues_a_word(text[start.start() - 1]):
            continue
        one, at = _read(text, start, canonical_wallet)
        found.append(one)
    if not found:
        return NoMemo()
    if any(other != found[0] for other in found[1:]):
        return BadMemo("ambiguous")
    return found[0]


def _read(text: str, start: re.Match[str], canonical_wallet: CanonicalWallet) -> tuple[Memo | BadMemo, int]:
    """Read the memo that begins at ``start``; return it and where the text goes on."""
    event_id, ref = start.group(1), start.group(2)
    if ref is not None:
        end = start.end()
        cut = end < len(text) and (_continues_a_word(text[end]) or text[end] in ":.")
        return (BadMemo("bad_pairs") if cut else Memo(ref=ref)), end
    token = _TOKEN.match(text, start.end())
    assert token is not None
    end = token.end()
    if end < len(text) and _continues_a_word(text[end]):
        return BadMemo(
            "bad_wallet", event_id
        ), end  # a homoglyph or a broken byte goes on: cutting it would name another wallet
    return _wallet_and_pairs(event_id, token.group().split(":"), canonical_wallet), end


def _wallet_and_pairs(event_id: str, parts: list[str], canonical_wallet: CanonicalWallet) -> Memo | BadMemo:
    taken = 1
    wallet = None
    if len(parts) >= 3 and parts[0] in _CAIP_NAMESPACES:  # CAIP-10: namespace:reference:address
        wallet = canonical_wallet(":".join(parts[:3]))
        taken = 3 if wallet else 1
    if wallet is None:
        wallet = canonical_wallet(parts[0])
    rest = parts[taken:]
    keys, values = rest[0::2], rest[1::2]
    if len(keys) != len(values) or len(set(keys)) != len(keys):
        return BadMemo("bad_pairs", event_id)
    if not all(_KEY.fullmatch(k) for k in keys) or not all(_VALUE.fullmatch(v) for v in values):
        return BadMemo("bad_pairs", event_id)
    pairs = dict(zip(keys, values, strict=True))
    ref = pairs.get("ref")
    if wallet is not None:
        return Memo(event_id, wallet, ref, pairs=pairs)
    if _EVM_SHAPE.fullmatch(parts[0]):
        return Memo(event_id, None, ref, suspect_wallet=parts[0], pairs=pairs)
    return BadMemo("bad_wallet", event_id)


def _continues_a_word(char: str) -> bool:
    """Would this character, next to a memo, make it part of something longer?"""
    if char.isascii():
        return char.isalnum() or char in "_-"
    return char == "\ufffd" or unicodedata.category(char)[0] in "LNMC"


def long_form(event_id: str, wallet: str, ref: str | None = None) -> str:
    """Write the memo that ``parse`` reads."""
    return f"event:{event_id}:wallet:{wallet}" + (f":ref:{ref}" if ref else "")


def short_form(ref: str) -> str:
    """Write the memo of a purchase: short enough for every carrier, and it names no wallet for ever."""
    return f"cw:{ref}"
