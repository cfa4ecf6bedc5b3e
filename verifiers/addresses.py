"""Every chain's address rules and checksums, behind one door: ``detect_wallet``.

Sources: BIP-13, BIP-173, BIP-350, the chain parameters of Bitcoin Core, Litecoin, Dogecoin and Dash; EIP-55;
CAIP-10; Solana (32 bytes in base58); Hive ``protocol/authority.cpp`` ``is_valid_account_name``; Monero
``cryptonote_basic_impl.cpp``; Tron (base58check of 0x41 and 20 bytes); CIP-19.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

from chainwatch.verifiers import encodings
from chainwatch.verifiers.chains import Chain, parse_chain
from chainwatch.verifiers.curves import keccak256
from chainwatch.verifiers.encodings import EncodingError

RECENT = 1024
"""Readings remembered: one request asks about the same address several times (text, claim, signature)."""
MAX_ADDRESS = 256
"""Characters: a Cardano pointer address or a CAIP-10 Monero address is at most half of this."""


@dataclass(frozen=True, slots=True)
class Wallet:
    """An address that a chain accepts.

    ``family`` names the rules: ``bitcoin`` (BTC, LTC, DOGE, DASH, BCH, GRS), ``evm``, ``solana``, ``hive``, ``monero``,
    ``tron``, ``cardano``.  ``chain`` is the code (``BTC``; ``eip155:…`` for an EVM chain without one), None where the
    address alone does not tell (evm).  ``network``: ``main``, ``test`` (also signet and regtest where they share its
    prefix), ``regtest``, ``stage``; for evm the chain id when one was given, else empty.  ``canonical`` is the one way
    to write the address (EIP-55, lower-case bech32).  ``payload`` is what it stands for: hash160, witness program,
    20-byte account, 32-byte key, Monero's spend ‖ view keys, the Hive name.  ``base`` is the standard form of an
    integrated Monero address.
    """

    family: str
    chain: str | None
    network: str
    kind: str
    canonical: str
    payload: bytes
    witness_version: int | None = None
    base: str | None = None

    @property
    def address_type(self) -> str:
        """``kind``: ``p2pkh``, ``p2tr``, ``account``, ``subaddress`` …"""
        return self.kind


class Finding(StrEnum):
    """Why a text that looks like an address is none."""

    EIP55_MISMATCH = "eip55_mismatch"
    """Hex of an EVM account whose mixed case is not its checksum: mistyped, or written by broken software."""
    NO_CHAIN = "no_chain"
    """No supported chain accepts it."""


def detect_wallet(text: object) -> tuple[Wallet, ...]:
    """Every reading of ``text`` as an address, most likely first; empty for what no chain accepts.

    ``text`` is an address or its CAIP-10 form (``eip155:1:0x…``); ASCII bytes will do, anything else is empty.
    """
    address = text if type(text) is str else _plain(text)
    return _detect(address) if len(address) <= MAX_ADDRESS else ()


@lru_cache(maxsize=RECENT)
def _detect(address: str) -> tuple[Wallet, ...]:
    if len(address) < 3 or not address.isascii():
        return ()
    return _detect_prefixed(address) if ":" in address else tuple(_readings(address))


def is_wallet(text: object) -> bool:
    """Does some supported chain accept ``text`` as an address?"""
    return bool(detect_wallet(text))


def find_fault(text: object) -> Finding | None:
    """Why ``text`` is no address; None when it is one.

    A wrong EIP-55 case is told apart, because money may have been paid with such a memo already.
    """
    if detect_wallet(text):
        return None
    address = _plain(text).rpartition(":")[2]
    return Finding.EIP55_MISMATCH if _EVM.fullmatch(address) else Finding.NO_CHAIN


def wallet_for(address: object, chain: Chain) -> Wallet | None:
    """``address`` as the given chain reads it; None when that chain does not accept it."""
    text = _plain(address)
    return _wallet_for(text, chain) if len(text) <= MAX_ADDRESS and text.isascii() else None


@lru_cache(maxsize=RECENT)
def _wallet_for(text: str, chain: Chain) -> Wallet | None:
    if chain.code == "BCH":
        readings = _cashaddr(text)
    elif chain.code == "GRS":
        readings = _groestl(text)
    elif chain.family == "cardano":
        readings = _cardano(text, raw=True)
    else:
        readings = iter(detect_wallet(text))
    for wallet in readings:
        if wallet.family != chain.family or (chain.networks and wallet.network not in chain.networks):
            continue
        if chain.family == "evm":
            if wallet.network and chain.reference and wallet.network != chain.reference:
                continue  # a CAIP-10 address of another chain
            return replace(wallet, chain=chain.code or wallet.chain, network=chain.reference or wallet.network)
        if chain.code in (None, wallet.chain):
            return wallet
    return None


def _plain(text: object) -> str:
    """``text`` as ``str``; empty for what is no text, or far too long for an address."""
    if isinstance(text, bytes | bytearray) and len(text) <= MAX_ADDRESS:
        return bytes(text).decode("latin-1")
    return str(text) if isinstance(text, str) and len(text) <= MAX_ADDRESS else ""


def _detect_prefixed(text: str) -> tuple[Wallet, ...]:
    """CAIP-10 (``namespace:reference:address``), or CashAddr with its prefix."""
    if text.lower().startswith("bitcoincash:"):
        return tuple(_cashaddr(text))
    name, _, address = text.rpartition(":")
    chain = parse_chain(name) if ":" in name else None
    wallet = wallet_for(address, chain) if chain else None
    return (wallet,) if wallet else ()


def _readings(text: str) -> Iterator[Wallet]:
    """Try the rules that the shape of ``text`` allows."""
    length = len(text)
    if text.startswith("0x"):
        yield from _evm(text)
        return
    hrp = text.rpartition("1")[0].lower()
    if hrp in _HRPS:
        yield from _segwit(text)
    if length <= 16:
        if _HIVE.fullmatch(text):
            yield Wallet("hive", "HIVE", "main", "account", text, text.encode())
    elif hrp in _CARDANO_HRPS:
        yield from _cardano(text)
    elif length in (95, 106):
        yield from _monero(text)
    elif 25 <= length <= 44:
        yield from _base58(text)


# --- EVM

_EVM = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)


def eip55(account: bytes) -> str:
    """EIP-55 form of a 20-byte account."""
    digits = account.hex()
    digest = keccak256(digits.encode()).hex()
    return "0x" + "".join([d.upper() if mask > "7" else d for d, mask in zip(digits, digest, strict=False)])


def _evm(text: str) -> Iterator[Wallet]:
    """0x and 40 hex digits; mixed case must be the EIP-55 checksum."""
    if not _EVM.fullmatch(text):
        return
    digits = text[2:]
    account = bytes.fromhex(digits)
    canonical = eip55(account)
    if text == canonical or digits.islower() or digits.isupper() or digits.isdigit():
        yield Wallet("evm", None, "", "account", canonical, account)


# --- Hive: 3 to 16 characters; segments of at least 3, a letter first, no dash last

_HIVE = re.compile(r"(?=.{3,16}\Z)[a-z][a-z0-9-]+[a-z0-9](?:\.[a-z][a-z0-9-]+[a-z0-9])*", re.ASCII)

# --- the Bitcoin family

_VERSIONS: dict[int, tuple[tuple[str, str, str], ...]] = {
    0x00: (("BTC", "main", "p2pkh"),),
    0x05: (("BTC", "main", "p2sh"), ("LTC", "main", "p2sh")),  # Litecoin's first P2SH prefix is Bitcoin's
    0x6F: (("BTC", "test", "p2pkh"), ("LTC", "test", "p2pkh")),
    0xC4: (("BTC", "test", "p2sh"), ("LTC", "test", "p2sh"), ("DOGE", "test", "p2sh")),
    0x30: (("LTC", "main", "p2pkh"),),
    0x32: (("LTC", "main", "p2sh"),),
    0x3A: (("LTC", "test", "p2sh"),),
    0x1E: (("DOGE", "main", "p2pkh"),),
    0x16: (("DOGE", "main", "p2sh"),),
    0x71: (("DOGE", "test", "p2pkh"),),
    0x4C: (("DASH", "main", "p2pkh"),),
    0x10: (("DASH", "main", "p2sh"),),
    0x8C: (("DASH", "test", "p2pkh"),),
    0x13: (("DASH", "test", "p2sh"),),
}
_HRPS: dict[str, tuple[str, str]] = {
    "bc": ("BTC", "main"),
    "tb": ("BTC", "test"),
    "bcrt": ("BTC", "regtest"),
    "ltc": ("LTC", "main"),
    "tltc": ("LTC", "test"),
    "rltc": ("LTC", "regtest"),
}
_TRON_VERSION = 0x41


def _base58(text: str) -> Iterator[Wallet]:
    """25 bytes with checksum: Bitcoin family or Tron; 32 bytes: Solana."""
    try:
        data = encodings.base58_bytes(text)
    except EncodingError:
        return
    if len(data) == 32:
        yield Wallet("solana", "SOL", "main", "account", text, data)
    elif len(data) == 25 and encodings.checksum4(data[:21]) == data[21:]:
        payload = data[1:21]
        for chain, network, kind in _VERSIONS.get(data[0], ()):
            yield Wallet("bitcoin", chain, network, kind, text, payload)
        if data[0] == _TRON_VERSION:
            yield Wallet("tron", "TRX", "main", "account", text, payload)


def _segwit(text: str, hrps: dict[str, tuple[str, str]] = _HRPS) -> Iterator[Wallet]:
    try:
        hrp, version, program = encodings.segwit_program(text)
    except EncodingError:
        return
    if hrp not in hrps:
        return
    chain, network = hrps[hrp]
    if version == 0:
        kind = "p2wpkh" if len(program) == 20 else "p2wsh"
    else:
        kind = "p2tr" if version == 1 and len(program) == 32 else "witness_unknown"
    yield Wallet("bitcoin", chain, network, kind, text.lower(), program, version)


def _cashaddr(text: str) -> Iterator[Wallet]:
    """Bitcoin Cash: CashAddr with or without prefix, 160-bit hashes only."""
    try:
        payload = encodings.cashaddr_payload(text, "bitcoincash")
    except EncodingError:
        return
    kind = {0: "p2pkh", 8: "p2sh"}.get(payload[0]) if len(payload) == 21 else None
    if kind:
        canonical = "bitcoincash:" + text.lower().removeprefix("bitcoincash:")
        yield Wallet("bitcoin", "BCH", "main", kind, canonical, payload[1:])


def _groestl(text: str) -> Iterator[Wallet]:
    """Groestlcoin, only where asked for.

    Its base58 checksum is Groestl-512, which no library here computes: four bytes go unchecked.  A signature
    still has to match all 160 bits of the hash, so this cannot let anybody in; it must not be used for paying.
    """
    if text.lower().startswith(("grs1", "tgrs1")):
        yield from _segwit(text, {"grs": ("GRS", "main"), "tgrs": ("GRS", "test")})
        return
    try:
        data = encodings.base58_bytes(text)
    except EncodingError:
        return
    kind = {0x24: "p2pkh", 0x05: "p2sh"}.get(data[0]) if len(data) == 25 else None
    if kind:
        yield Wallet("bitcoin", "GRS", "main", kind, text, data[1:21])


# --- Monero

_MONERO_PREFIXES: dict[int, tuple[str, str]] = {
    18: ("main", "standard"),
    19: ("main", "integrated"),
    42: ("main", "subaddress"),
    53: ("test", "standard"),
    54: ("test", "integrated"),
    63: ("test", "subaddress"),
    24: ("stage", "standard"),
    25: ("stage", "integrated"),
    36: ("stage", "subaddress"),
}
_MONERO_STANDARD = {network: prefix for prefix, (network, kind) in _MONERO_PREFIXES.items() if kind == "standard"}


def _monero(text: str) -> Iterator[Wallet]:
    """Prefix, spend key, view key, perhaps 8 bytes of payment id, and 4 bytes of Keccak-256.

    Whether the keys are points of the prime-order group is for the verifier: it costs more than all else here.
    """
    try:
        data = encodings.cn_base58_bytes(text)
    except EncodingError:
        return
    network, kind = _MONERO_PREFIXES.get(data[0], ("", ""))
    body, checksum = data[:-4], data[-4:]
    if not kind or len(body) != (73 if kind == "integrated" else 65) or keccak256(body)[:4] != checksum:
        return
    keys = body[1:65]
    base = None
    if kind == "integrated":
        standard = bytes([_MONERO_STANDARD[network]]) + keys
        base = encodings.cn_base58_text(standard + keccak256(standard)[:4])
    yield Wallet("monero", "XMR", network, kind, text, keys, base=base)


# --- Cardano (CIP-19, Shelley addresses)

_CARDANO_HRPS = {"addr": "main", "addr_test": "test", "stake": "main", "stake_test": "test"}
_MAX_CARDANO = 130
"""Characters: a base address has 103, a pointer address can have some more."""


def _cardano(text: str, *, raw: bool = False) -> Iterator[Wallet]:
    """Bech32; with ``raw`` also hex of the bytes or of a 28-byte key hash, as CIP-30 and devices give them."""
    if raw and not text.lower().startswith(("addr", "stake")):
        try:
            payload = encodings.hex_bytes(text)
        except EncodingError:
            return
        if len(payload) == 28:
            yield Wallet("cardano", "ADA", "main", "key_hash", text.lower(), payload)
            return
        hrp = ""
    else:
        try:
            hrp, values, variant = encodings.bech32_values(text, _MAX_CARDANO)
            payload = encodings.bytes_of_fives(values)
        except EncodingError:
            return
        if variant != encodings.BECH32:
            return
    kind = _cardano_kind(payload)
    network = "main" if payload and payload[0] & 15 == 1 else "test"
    if not kind or (payload[0] & 15) > 1:
        return
    if hrp and (hrp.startswith("stake") != kind.startswith("stake") or _CARDANO_HRPS.get(hrp) != network):
        return
    yield Wallet("cardano", "ADA", network, kind, text.lower(), payload)


def _cardano_kind(payload: bytes) -> str | None:
    """Name of the header's type if the length fits it."""
    if not payload:
        return None
    kind, length = payload[0] >> 4, len(payload)
    if kind <= 3:
        return "base" if length == 57 else None
    if kind <= 5:
        return "pointer" if 32 <= length <= 60 else None
    if kind in (6, 7):
        return "enterprise" if length == 29 else None
    if kind in (14, 15):
        return "stake" if length == 29 else None
    return None
