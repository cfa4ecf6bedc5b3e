"""Strict encodings: every function returns the one value of a text, or raises ``EncodingError``.

Strict means one text per value: no blanks, no other alphabet, no leftover bits, no alternative padding.
What accepts several texts for the same bytes lets one signature pass for many.
"""

import binascii
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import sha256

B58_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BECH32_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_NONE = 0xFF


def _digits(alphabet: str) -> bytes:
    """Table for ``bytes.translate``: the value of each character, ``_NONE`` for those outside the alphabet."""
    table = bytearray([_NONE] * 256)
    for value, char in enumerate(alphabet):
        table[ord(char)] = value
    return bytes(table)


_B58 = _digits(B58_ALPHABET)
_BECH32 = _digits(BECH32_ALPHABET)
MAX_BASE58 = 1024
"""Characters: base58 costs the square of its length, and nothing we read is longer than a few hundred."""


class EncodingError(ValueError):
    """The text is not a canonical encoding of anything."""


# --- base16, base64


def hex_bytes(text: str) -> bytes:
    """Bytes of plain hex, either case, no prefix, no blanks (``bytes.fromhex`` allows blanks)."""
    try:
        return binascii.unhexlify(text)
    except ValueError as error:  # odd length, other characters, non-ASCII
        raise EncodingError("not hex") from error


def base64_bytes(text: str | bytes) -> bytes:
    """Bytes of canonical base64 (RFC 4648 §4): padded, standard alphabet, zero leftover bits, nothing around it."""
    try:
        raw = text.encode("ascii") if isinstance(text, str) else text
        data = binascii.a2b_base64(raw, strict_mode=True)
    except ValueError as error:
        raise EncodingError("not base64") from error
    if binascii.b2a_base64(data, newline=False) != raw:
        raise EncodingError("not canonical base64")
    return data


# --- base58


def _base58_number(text: str) -> int:
    """The number that the characters write, five at a time: most of the work is then in small integers."""
    try:
        digits = text.encode("ascii").translate(_B58)
    except UnicodeEncodeError as error:
        raise EncodingError("not base58") from error
    if _NONE in digits:
        raise EncodingError("not base58")
    number, odd = 0, len(digits) % 5
    for digit in digits[:odd]:
        number = number * 58 + digit
    rest = iter(digits[odd:])
    for a, b, c, d, e in zip(rest, rest, rest, rest, rest, strict=True):
        number = number * 656356768 + (((a * 58 + b) * 58 + c) * 58 + d) * 58 + e
    return number


def base58_bytes(text: str, limit: int = MAX_BASE58) -> bytes:
    """Bytes of base58 (Bitcoin alphabet): each leading ``1`` is one zero byte.  At most ``limit`` characters."""
    if len(text) > limit:
        raise EncodingError("base58 too long")
    number = _base58_number(text)
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def base58_text(data: bytes) -> str:
    """The base58 of ``data``."""
    number = int.from_bytes(data, "big")
    chars = []
    while number:
        number, digit = divmod(number, 58)
        chars.append(B58_ALPHABET[digit])
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + "".join(reversed(chars))


def checksum4(payload: bytes) -> bytes:
    """The checksum of base58check: the first four bytes of the double SHA-256."""
    return sha256(sha256(payload).digest()).digest()[:4]


def base58check_bytes(text: str) -> bytes:
    """Payload (version included) of base58check: the last four bytes are the double SHA-256's first four."""
    data = base58_bytes(text)
    payload, checksum = data[:-4], data[-4:]
    if len(data) < 5 or checksum4(payload) != checksum:
        raise EncodingError("base58check: wrong checksum")
    return payload


def base58check_text(payload: bytes) -> str:
    """The base58check of ``payload`` (version included)."""
    return base58_text(payload + checksum4(payload))


# --- Monero's base58: blocks of 8 bytes in 11 characters, a shorter last block

_CN_SIZES = {2: 1, 3: 2, 5: 3, 6: 4, 7: 5, 9: 6, 10: 7, 11: 8}


def cn_base58_bytes(text: str) -> bytes:
    """Bytes of Monero's block-wise base58 (cryptonote ``base58.cpp``)."""
    if len(text) > MAX_BASE58:
        raise EncodingError("base58 too long")
    out = []
    for start in range(0, len(text), 11):
        block = text[start : start + 11]
        size = _CN_SIZES.get(len(block))
        if size is None:
            raise EncodingError("cn_base58: impossible length")
        number = _base58_number(block)
        if number >> (8 * size):
            raise EncodingError("cn_base58: block overflows")
        out.append(number.to_bytes(size, "big"))
    return b"".join(out)


def cn_base58_text(data: bytes) -> str:
    """The Monero base58 of ``data``."""
    lengths = {size: length for length, size in _CN_SIZES.items()}
    out = []
    for start in range(0, len(data), 8):
        block = data[start : start + 8]
        number = int.from_bytes(block, "big")
        chars = []
        for _ in range(lengths[len(block)]):
            number, digit = divmod(number, 58)
            chars.append(B58_ALPHABET[digit])
        out.append("".join(reversed(chars)))
    return "".join(out)


# --- bech32 and bech32m (BIP-173, BIP-350)

BECH32 = 1
BECH32M = 0x2BC830A3
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def _remainders() -> tuple[int, ...]:
    """What the top five bits of the checksum state fold back in, for each of their 32 values."""
    table = []
    for top in range(32):
        value = 0
        for bit, generator in enumerate(_GENERATORS):
            if top >> bit & 1:
                value ^= generator
        table.append(value)
    return tuple(table)


_FOLD = _remainders()


def _polymod(values: Iterable[int], state: int = 1) -> int:
    for value in values:
        state = ((state & 0x1FFFFFF) << 5) ^ value ^ _FOLD[state >> 25]
    return state


@lru_cache(maxsize=64)
def _hrp_state(hrp: str) -> int:
    """State of the checksum after the prefix, which is one of a handful."""
    return _polymod([ord(char) >> 5 for char in hrp] + [0] + [ord(char) & 31 for char in hrp])


def bech32_values(text: str, limit: int = 90) -> tuple[str, bytes, int]:
    """``(hrp, 5-bit values without checksum, BECH32 or BECH32M)``.

    ``limit`` is BIP-173's 90 characters; Cardano's longer addresses (CIP-19) raise it.
    """
    lowered = text.lower()
    if len(text) > limit or (text != lowered and text != text.upper()):
        raise EncodingError("bech32: too long or of mixed case")
    hrp, separator, data = lowered.rpartition("1")
    if (
        not separator
        or not hrp
        or len(data) < 6
        or not lowered.isascii()
        or not all("!" <= char <= "~" for char in hrp)
    ):
        raise EncodingError("bech32: no separator, prefix or checksum")
    values = data.encode("ascii").translate(_BECH32)
    if _NONE in values:
        raise EncodingError("bech32: other characters")
    variant = _polymod(values, _hrp_state(hrp))
    if variant not in (BECH32, BECH32M):
        raise EncodingError("bech32: wrong checksum")
    return hrp, values[:-6], variant


def bech32_text(hrp: str, values: Sequence[int], variant: int) -> str:
    """The lower-case bech32 (or bech32m) of 5-bit ``values``."""
    state = _polymod([*values, 0, 0, 0, 0, 0, 0], _hrp_state(hrp)) ^ variant
    checksum = [state >> 5 * (5 - index) & 31 for index in range(6)]
    return hrp + "1" + "".join([BECH32_ALPHABET[value] for value in (*values, *checksum)])


def bytes_of_fives(values: Iterable[int]) -> bytes:
    """Bytes of 5-bit values; what is left over must be less than one value, and zero."""
    number = count = 0
    for value in values:
        number = number << 5 | value
        count += 5
    left = count % 8
    if left >= 5 or number & ((1 << left) - 1):
        raise EncodingError("leftover bits")
    return (number >> left).to_bytes(count // 8, "big")


def fives_of_bytes(data: bytes) -> list[int]:
    """5-bit values of ``data``, the last filled up with zero bits."""
    missing = -8 * len(data) % 5
    number = int.from_bytes(data, "big") << missing
    return [number >> shift & 31 for shift in range(8 * len(data) + missing - 5, -1, -5)]


def segwit_program(text: str) -> tuple[str, int, bytes]:
    """``(hrp, witness version, program)`` of a segwit address: bech32 for version 0, bech32m from 1 on (BIP-350)."""
    hrp, values, variant = bech32_values(text)
    if not values or values[0] > 16:
        raise EncodingError("segwit: no witness version")
    version = values[0]
    program = bytes_of_fives(values[1:])
    if variant != (BECH32M if version else BECH32):
        raise EncodingError("segwit: the other checksum variant")
    if not 2 <= len(program) <= 40 or (version == 0 and len(program) not in (20, 32)):
        raise EncodingError("segwit: impossible program length")
    return hrp, version, program


def segwit_text(hrp: str, version: int, program: bytes) -> str:
    """The segwit address of a witness program."""
    return bech32_text(hrp, [version, *fives_of_bytes(program)], BECH32M if version else BECH32)


# --- CashAddr (the Bitcoin Cash specification "cashaddr")

_CASH_GENERATORS = (0x98F2BC8E61, 0x79B76D99E2, 0xF33E5FB3C4, 0xAE2EABE2A8, 0x1E4F43E470)


def cashaddr_payload(text: str, prefix: str) -> bytes:
    """Version byte and hash of a CashAddr; ``prefix`` may be left away in the text."""
    lowered = text.lower()
    if text != lowered and text != text.upper():
        raise EncodingError("cashaddr: mixed case")
    body = lowered.removeprefix(prefix + ":")
    try:
        values = body.encode("ascii").translate(_BECH32)
    except UnicodeEncodeError as error:
        raise EncodingError("cashaddr: other characters") from error
    if _NONE in values:
        raise EncodingError("cashaddr: other characters")
    state = 1
    for value in [*(ord(char) & 31 for char in prefix), 0, *values]:
        top = state >> 35
        state = (state & 0x07FFFFFFFF) << 5 ^ value
        for bit, generator in enumerate(_CASH_GENERATORS):
            if top >> bit & 1:
                state ^= generator
    if len(values) < 8 or state != 1:
        raise EncodingError("cashaddr: wrong checksum")
    return bytes_of_fives(values[:-8])


# --- Bitcoin's and Monero's integers


def compact_size(number: int) -> bytes:
    """Bitcoin's CompactSize of ``number``."""
    if number < 0xFD:
        return number.to_bytes(1, "little")
    for marker, size in ((b"\xfd", 2), (b"\xfe", 4), (b"\xff", 8)):
        if number < 1 << 8 * size:
            return marker + number.to_bytes(size, "little")
    raise EncodingError("CompactSize: above 64 bits")


def read_compact_size(data: bytes, offset: int) -> tuple[int, int]:
    """``(number, next offset)``; refuses truncated and non-minimal forms."""
    if offset >= len(data):
        raise EncodingError("CompactSize: truncated")
    first = data[offset]
    if first < 0xFD:
        return first, offset + 1
    size = 2 << (first - 0xFD)
    end = offset + 1 + size
    number = int.from_bytes(data[offset + 1 : end], "little")
    if end > len(data) or number < (0xFD if size == 2 else 1 << 4 * size):
        raise EncodingError("CompactSize: truncated or not minimal")
    return number, end


def varint(number: int) -> bytes:
    """LEB128 as Monero and Protocol Buffers write it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


# --- DER of an ECDSA signature (BIP-66)


def der_signature(data: bytes) -> bytes:
    """``r ‖ s`` (64 bytes) of a strict DER signature without sighash byte (BIP-66, and 32 bytes each at most)."""
    if not 8 <= len(data) <= 72 or data[0] != 0x30 or data[1] != len(data) - 2:
        raise EncodingError("DER: not one sequence")
    r, offset = _der_integer(data, 2)
    s, offset = _der_integer(data, offset)
    if offset != len(data):
        raise EncodingError("DER: trailing bytes")
    return r + s


def _der_integer(data: bytes, offset: int) -> tuple[bytes, int]:
    """One positive, minimal integer as 32 bytes, and where it ends."""
    if offset + 2 > len(data) or data[offset] != 0x02:
        raise EncodingError("DER: not an integer")
    start, end = offset + 2, offset + 2 + data[offset + 1]
    body = data[start:end]
    if not body or end > len(data) or body[0] & 0x80:
        raise EncodingError("DER: truncated or negative")
    if body[0] == 0 and (len(body) == 1 or not body[1] & 0x80):
        raise EncodingError("DER: zero or padded")
    magnitude = body.lstrip(b"\0")
    if len(magnitude) > 32:
        raise EncodingError("DER: above 256 bits")
    return magnitude.rjust(32, b"\0"), end
