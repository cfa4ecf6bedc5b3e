"""Hive's encrypted memos: ``#`` and base58 of (payer's key, payee's key, nonce, check, cipher text).

Source: hive-js ``auth/memo`` and dhive ``memo``, which agree.  Keys and cipher come from beem, imported when a
memo key is configured; the one rule of beem that is not used is how it takes off the length before the text, which
drops characters of memos that happen to begin with a byte near their length (it is exact here).
"""

import re
from pathlib import Path
from typing import Any

from chainwatch.errors import Misconfigured

ENCRYPTED = re.compile(r"#[1-9A-HJ-NP-Za-km-z]{129,2800}", re.ASCII)
"""An encrypted memo: two keys, nonce, check and one cipher block are 95 bytes, which no base58 writes shorter.

A text such as ``#SATS`` begins alike and is none; 2,048 bytes is the longest memo that the chain takes.
"""

_WIF = re.compile(r"5[1-9A-HJ-NP-Za-km-z]{50}", re.ASCII)
_KEY_FILE = 256
"""Bytes read of a key file: a key has 51."""
_FIXED = 33 + 33 + 8 + 4
"""Bytes before the cipher text: the two keys, the nonce and the check."""


class MemoKey:
    """The private memo key of a receiving account: it reads memos and can spend nothing."""

    def __init__(self, wif: str) -> None:
        """``wif`` is the key as wallets export it; ``ValueError``, which never quotes it, when it is none."""
        from beemgraphenebase.account import PrivateKey  # slow to import, rarely needed

        if not _WIF.fullmatch(wif):
            raise ValueError("not a private key in WIF form")
        try:
            key = PrivateKey(wif, prefix="STM")
            self.public = str(key.pubkey)
            self._public_hex = repr(key.pubkey)
            self._secret = bytes.fromhex(repr(key))
        except Exception as error:
            raise ValueError(f"not a private key ({type(error).__name__})") from None

    def __repr__(self) -> str:
        return f"MemoKey({self.public!r})"

    def decrypt(self, memo: str) -> bytes | None:
        """Return the plain text of an encrypted memo; None when this key does not open it."""
        try:
            return self._decrypt(memo)
        except Exception:  # hostile bytes reach beem here: whatever it raises means "not readable"
            return None

    def _decrypt(self, memo: str) -> bytes | None:
        from beembase.memo import extract_memo_data, init_aes
        from Cryptodome.Util.Padding import unpad

        payer, payee, nonce, check, tail = extract_memo_data(memo)
        if self._public_hex not in (repr(payer), repr(payee)):
            return None
        other = payer if repr(payee) == self._public_hex else payee
        aes, expected = init_aes(self._shared(repr(other)), nonce)
        cipher = without_length(bytes.fromhex(tail), always=True)
        if check != expected or not cipher or len(cipher) % 16:
            return None
        return without_length(unpad(aes.decrypt(cipher), 16))

    def _shared(self, other: str) -> str:
        """Return x of the common point, in hex (beem computes it too, but a thousand times slower)."""
        import coincurve

        point: Any = coincurve.PublicKey(bytes.fromhex(other)).multiply(self._secret)
        x: bytes = point.format()[1:]
        return x.hex()


def without_length(data: bytes, *, always: bool = False) -> bytes:
    """Take off a leading varint if it is exactly the length of what follows it.

    Some wallets write it before the text (dhive), some do not (beem); a number that is only near the length is the
    text's own first letter.  ``always``: data that does not begin with its length is empty.
    """
    length = shift = 0
    for i, byte in enumerate(data[:3]):  # three bytes count to two million, memos to two thousand
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            if length == len(data) - i - 1:
                return data[i + 1 :]
            break
    return b"" if always else data


def read_key(path: Any, where: str) -> MemoKey:
    """Read a private memo key from a file; ``Misconfigured`` names ``where``, never the key.

    Who may read the file was checked where the configuration was read.
    """
    try:
        with Path(path).open("rb") as file:
            text = file.read(_KEY_FILE)
    except (OSError, TypeError, ValueError) as error:
        raise Misconfigured(f"{where} cannot be read ({type(error).__name__})") from None
    try:
        return MemoKey(text.decode("ascii").strip())
    except ValueError as error:
        reason = "not text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise Misconfigured(f"{where} holds no private memo key: {reason}") from None
