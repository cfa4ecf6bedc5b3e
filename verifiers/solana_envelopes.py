"""The envelopes of Solana's off-chain messages: build and read.  Bytes only; nothing is verified here.

Sources: solana-sdk ``offchain-message`` (the short form of version 0), Solana's proposal "off-chain message signing"
(version 0 with application domain and signers), SRFC-3 (version 1), and what Ledger's application and the kit write.
"""

from dataclasses import dataclass

ENVELOPE = b"\xffsolana offchain"
"""Signing domain of off-chain messages; 0xff can begin no transaction."""
MAX_V0_TEXT = 65_515
"""Bytes of text that the 16-bit length of a version 0 envelope leaves room for."""
ZERO_DOMAIN = bytes(32)
"""The application domain of a message that names none."""


@dataclass(frozen=True, slots=True)
class OffchainMessage:
    """What an envelope holds.  ``signers`` is empty in the SDK's short form, which names none."""

    scheme: str
    text: bytes
    signers: tuple[bytes, ...] = ()
    application_domain: bytes = ZERO_DOMAIN


SDK_LEDGER_TEXT = 1_212
KIT_LEDGER_TEXT = 1_232
"""Bytes of text that still count as signable on a Ledger: the SDK's and the kit's limits differ."""


def _text_format(text: bytes, ledger_text: int = SDK_LEDGER_TEXT) -> int:
    """0: printable ASCII, 1: UTF-8 a Ledger can hold, 2: longer UTF-8 (solana-sdk ``OffchainMessage``)."""
    if len(text) > ledger_text:
        return 2
    return 0 if all(0x20 <= byte <= 0x7E for byte in text) else 1


def envelope_v0_sdk(text: bytes) -> bytes:
    """The 20-byte header of the solana-sdk crate, its command line, and Ledger's first applications."""
    return ENVELOPE + bytes([0, _text_format(text)]) + len(text).to_bytes(2, "little") + text


def envelope_v0(
    text: bytes, signer: bytes, application_domain: bytes = ZERO_DOMAIN, ledger_text: int = SDK_LEDGER_TEXT
) -> bytes:
    """Version 0 as specified: application domain, format, signers, length."""
    head = bytes([0]) + application_domain + bytes([_text_format(text, ledger_text), 1]) + signer
    return ENVELOPE + head + len(text).to_bytes(2, "little") + text


def envelope_v1(text: bytes, signer: bytes) -> bytes:
    """Version 1 (SRFC-3): sorted signers, then the text without a length."""
    return ENVELOPE + bytes([1, 1]) + signer + text


def parse_envelope(data: bytes) -> tuple[OffchainMessage, ...]:
    """Every strict reading of an envelope: the two forms of version 0 look alike, so there may be two."""
    if not data.startswith(ENVELOPE) or len(data) < len(ENVELOPE) + 2:
        return ()
    version, body = data[len(ENVELOPE)], data[len(ENVELOPE) + 1 :]
    parsers = {0: (_parse_v0, _parse_v0_sdk), 1: (_parse_v1,)}.get(version, ())
    readings = (parse(body) for parse in parsers)
    return tuple(reading for reading in readings if reading is not None)


def _parse_v0(body: bytes) -> OffchainMessage | None:
    """application domain (32) ‖ format ‖ number of signers ‖ signers ‖ length (2) ‖ text."""
    if len(body) < 36:
        return None
    kind, count = body[32], body[33]
    at = 34 + 32 * count
    signers = tuple(body[34 + 32 * i : 66 + 32 * i] for i in range(count))
    text = body[at + 2 :]
    if not count or len(set(signers)) != count or not _sound(kind, body[at : at + 2], text):
        return None
    return OffchainMessage("solana-offchain-v0", text, signers, body[:32])


def _parse_v0_sdk(body: bytes) -> OffchainMessage | None:
    """format ‖ length (2) ‖ text."""
    if len(body) < 3 or not _sound(body[0], body[1:3], body[3:]):
        return None
    return OffchainMessage("solana-offchain-v0-sdk", body[3:])


def _parse_v1(body: bytes) -> OffchainMessage | None:
    """number of signers ‖ signers, sorted and distinct ‖ UTF-8 text."""
    count = body[0]
    signers = tuple(body[1 + 32 * i : 33 + 32 * i] for i in range(count))
    text = body[1 + 32 * count :]
    if not count or not text or list(signers) != sorted(set(signers)) or not is_utf8(text):
        return None
    return OffchainMessage("solana-offchain-v1", text, signers)


def _sound(kind: int, length: bytes, text: bytes) -> bool:
    """Do format and length of a version 0 envelope fit its text?  Format 0 is ASCII; a text is never empty."""
    if not text or len(length) != 2 or int.from_bytes(length, "little") != len(text) or kind > 2:
        return False
    return all(0x20 <= byte <= 0x7E for byte in text) if kind == 0 else is_utf8(text)


def is_utf8(text: bytes) -> bool:
    """Is it text at all?"""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
