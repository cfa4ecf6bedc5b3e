"""An address of its own for each purchase, from a public account key: BIP-32 with BIP-44, 49, 84, 86.

A key is ``xpub…``, ``ypub…``, ``zpub…`` (SLIP-132 tells the kind of address) or an output descriptor
(BIP-380 to 386).  Only public derivation exists here: no private key is ever read, and one that is
offered is refused without being repeated.  The curve is coincurve's.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from chainwatch.adapters.scripts import Prefixes, prefixes, to_address, witness_script
from chainwatch.errors import Misconfigured
from chainwatch.model import ChainSpec
from chainwatch.verifiers.addresses import eip55
from chainwatch.verifiers.curves import hash160, is_public_key, keccak256, reencode, taproot_output_key
from chainwatch.verifiers.encodings import EncodingError, base58check_bytes

HARDENED = 1 << 31

PUBLIC: dict[int, tuple[str, bool]] = {
    0x0488B21E: ("pkh", False),  # xpub (BIP-32), BIP-44
    0x049D7CB2: ("sh(wpkh)", False),  # ypub, BIP-49
    0x04B24746: ("wpkh", False),  # zpub, BIP-84
    0x043587CF: ("pkh", True),  # tpub
    0x044A5262: ("sh(wpkh)", True),  # upub
    0x045F1CF6: ("wpkh", True),  # vpub
    0x019DA462: ("pkh", False),  # Ltub (Litecoin)
    0x01B26EF6: ("sh(wpkh)", False),  # Mtub
    0x02FACAFD: ("pkh", False),  # dgub (Dogecoin)
    0x02FE52CC: ("pkh", False),  # drkp (Dash)
}
"""Version bytes of public keys (SLIP-132): kind of address, and whether of a test network."""

KINDS = frozenset({"pkh", "sh(wpkh)", "wpkh", "tr"})


class AccountKey(msgspec.Struct, frozen=True):
    """A public key from which addresses grow.  ``path`` leads from the key to the numbered addresses."""

    kind: str
    public_key: bytes
    chain_code: bytes
    test: bool = False
    path: tuple[int, ...] = (0,)

    def child(self, number: int) -> "AccountKey":
        """Return child ``number`` (BIP-32 public derivation; below 2^31)."""
        if not 0 <= number < HARDENED:
            raise Misconfigured("only unhardened children follow from a public key")
        import coincurve

        digest = hmac.digest(self.chain_code, self.public_key + number.to_bytes(4, "big"), hashlib.sha512)
        # An invalid child (one in 2^127, BIP-32) raises ValueError: no such number will ever be met.
        point = coincurve.PublicKey(self.public_key).add(digest[:32])
        return msgspec.structs.replace(self, public_key=point.format(True), chain_code=digest[32:])

    def key_at(self, index: int) -> bytes:
        """Return the compressed public key of address ``index``."""
        key = self
        for number in (*self.path, index):
            key = key.child(number)
        return key.public_key

    def script(self, index: int) -> bytes:
        """Return the scriptPubKey of address ``index``."""
        return SCRIPTS[self.kind](self.key_at(index))

    def address(self, index: int, known: Prefixes) -> str:
        """Return address ``index`` on the network with these prefixes."""
        address = to_address(self.script(index), known)
        if address is None:
            raise Misconfigured(f"this network has no addresses of the kind {self.kind}")
        return address

    def evm_address(self, index: int) -> str:
        """Return address ``index`` of an EVM account key (BIP-44, coin type 60), with EIP-55 checksum."""
        point = reencode(self.key_at(index), compressed=False)
        assert point is not None  # a key that we derived is on the curve
        return eip55(keccak256(point[1:])[12:])


def deriver(spec: ChainSpec) -> Callable[[int], str] | None:
    """Return the function from a number to a chain's own address of a purchase; None without ``xpub``.

    ``Misconfigured`` when the key cannot serve that chain.
    """
    text = spec.options.get("xpub")
    if text is None:
        return None
    key = parse(text)
    if spec.family == "evm":
        return key.evm_address
    if spec.family != "bitcoin":
        raise Misconfigured(f"chain {spec.code}: its addresses do not follow from an xpub")
    known = prefixes(spec.params, spec.options, spec.chain_id)
    if key.test and spec.chain_id == spec.params.get("networks", {}).get("main", {}).get("genesis"):
        raise Misconfigured(f"chain {spec.code}: the xpub is of a test network")
    key.address(0, known)  # a kind of address that the network does not have is told now
    return lambda index: key.address(index, known)


def _pkh(key: bytes) -> bytes:
    return b"\x76\xa9\x14" + hash160(key) + b"\x88\xac"


def _wpkh(key: bytes) -> bytes:
    return witness_script(0, hash160(key))


def _sh_wpkh(key: bytes) -> bytes:
    return b"\xa9\x14" + hash160(_wpkh(key)) + b"\x87"


def _tr(key: bytes) -> bytes:
    output = taproot_output_key(key)
    assert output is not None  # a key that we derived is on the curve
    return witness_script(1, output)


SCRIPTS: dict[str, Callable[[bytes], bytes]] = {"pkh": _pkh, "sh(wpkh)": _sh_wpkh, "wpkh": _wpkh, "tr": _tr}
"""Kind of address to the function from public key to scriptPubKey."""


def parse(text: Any) -> AccountKey:
    """Read an extended public key or a descriptor; ``Misconfigured`` says what is wrong and never repeats the key."""
    if not isinstance(text, str) or not text.isascii() or len(text) > 512:
        raise Misconfigured("xpub: not an extended public key or a descriptor")
    text = text.strip()
    refuse_private(text)
    if "(" in text:
        return _parse_descriptor(text)
    return _parse_extended(text)


def refuse_private(text: Any) -> None:
    """Raise ``Misconfigured`` for anything that could spend: extended private keys, WIF, raw keys, seed words."""
    if not isinstance(text, str):
        return
    words = text.split()
    seed = len(words) in (12, 15, 18, 21, 24) and all(w.isalpha() for w in words)
    tokens = re.findall(r"[0-9A-Za-z]+", text) if len(text) <= 4096 else []
    if seed or any(_is_private(token) for token in tokens):
        raise Misconfigured("a private key or seed stands where a public key is asked for: remove it, it is exposed")


def _is_private(token: str) -> bool:
    if re.fullmatch(r"(0x)?[0-9a-fA-F]{64}", token):
        return True
    if re.match(r"([xyztuvYZUV]|Lt|Mt|dg|drk)(prv|pv|v)[1-9A-HJ-NP-Za-km-z]{50}", token):
        return True
    try:
        payload = base58check_bytes(token)
    except EncodingError:
        return False
    if len(payload) == 78:
        return payload[45] == 0  # BIP-32: a private key is written with a zero before it
    return len(payload) in (33, 34) and payload[0] >= 0x80  # WIF, without and with compression mark


def _parse_extended(text: str) -> AccountKey:
    try:
        data = base58check_bytes(text)
    except EncodingError as error:
        raise Misconfigured(f"xpub: {error}") from error
    kind, test = PUBLIC.get(int.from_bytes(data[:4], "big"), ("", False))
    if len(data) != 78 or not kind:
        raise Misconfigured("xpub: not an extended public key of a kind that we know (xpub, ypub, zpub, tpub …)")
    if not is_public_key(data[45:]):
        raise Misconfigured("xpub: its key is not on the curve")
    return AccountKey(kind, data[45:], data[13:45], test)


# -- descriptors --------------------------------------------------------------------------------

_DESCRIPTOR = re.compile(
    r"(?P<open>pkh\(|wpkh\(|tr\(|sh\(wpkh\()"
    r"(?:\[[0-9a-fA-F]{8}(?:/[0-9]+[h'H]?)*\])?"  # where the key comes from: for signers only
    r"(?P<key>[1-9A-HJ-NP-Za-km-z]+)"
    r"(?P<path>(?:/(?:[0-9]+|<[0-9]+;[0-9]+>))*)/\*"
    r"(?P<close>\)+)",
    re.ASCII,
)


def _parse_descriptor(text: str) -> AccountKey:
    body, mark, checksum = text.partition("#")
    if mark and descriptor_checksum(body) != checksum:
        raise Misconfigured("descriptor: wrong checksum")
    match = _DESCRIPTOR.fullmatch(body)
    if not match or len(match["close"]) != match["open"].count("("):
        raise Misconfigured("descriptor: only pkh, wpkh, sh(wpkh) and tr with one ranged key (…/*) are read")
    kind = "sh(wpkh)" if match["open"].startswith("sh") else match["open"][:-1]
    key = _parse_extended(match["key"])
    path = tuple(int(step.lstrip("<").partition(";")[0]) for step in match["path"].split("/")[1:])
    if any(step >= HARDENED for step in path):
        raise Misconfigured("descriptor: a step of its path is too large")
    return msgspec.structs.replace(key, kind=kind, path=path)


_INPUT = "0123456789()[],'/*abcdefgh@:$%{}IJKLMNOPQRSTUVWXYZ&+-.;<=>?!^_|~ijklmnopqrstuvwxyzABCDEFGH`#\"\\ "
_OUTPUT = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0xF5DEE51989, 0xA9FDCA3312, 0x1BAB10E32D, 0x3706B1677A, 0x644D626FFD)


def _polymod(symbols: Sequence[int]) -> int:
    state = 1
    for symbol in symbols:
        top = state >> 35
        state = (state & 0x7FFFFFFFF) << 5 ^ symbol
        for bit, generator in enumerate(_GENERATOR):
            if top >> bit & 1:
                state ^= generator
    return state


def descriptor_checksum(body: str) -> str:
    """Return the eight characters that BIP-380 puts behind ``#``; ``Misconfigured`` for other characters."""
    symbols, groups = [], []
    for char in body:
        value = _INPUT.find(char)
        if value < 0:
            raise Misconfigured("descriptor: a character that cannot stand in one")
        symbols.append(value & 31)
        groups.append(value >> 5)
        if len(groups) == 3:
            symbols.append(groups[0] * 9 + groups[1] * 3 + groups[2])
            groups = []
    if groups:
        symbols.append(groups[0] if len(groups) == 1 else groups[0] * 3 + groups[1])
    state = _polymod([*symbols, *[0] * 8]) ^ 1
    return "".join(_OUTPUT[state >> 5 * (7 - i) & 31] for i in range(8))
