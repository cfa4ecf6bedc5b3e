"""The Bitcoin scripts that wallets sign with, judged under the rules that BIP-322 requires.

Templates only: one key, m of n, their P2SH and P2WSH wrappings, and taproot's key path.  ``spend`` says who
satisfied a script, or raises ``Refusal`` with the reason; a script that is no template is
``UNKNOWN_SCRIPT``, for ``chainwatch.verifiers.engine`` to interpret where that is installed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256

from chainwatch.verifiers import curves
from chainwatch.verifiers.addresses import Wallet
from chainwatch.verifiers.encodings import EncodingError, der_signature
from chainwatch.verifiers.result import Reason
from chainwatch.verifiers.transactions import SIGHASH_ALL, SIGHASH_DEFAULT, Transaction

OP_CHECKSIG = 0xAC
OP_CHECKMULTISIG = 0xAE
MAX_KEYS = 20
"""Of one CHECKMULTISIG, by consensus."""
MAX_ELEMENT = 520
"""Bytes of one stack element, by consensus (a P2SH script is one)."""
MAX_SCRIPT = 10_000
"""Bytes of a script, by consensus."""
PAY_TO_ANCHOR = b"\x4e\x73"
"""Program of P2A, which anybody may spend with any witness (Bitcoin Core ``IsPayToAnchor``)."""


class Refusal(Exception):
    """The script is not satisfied, or cannot be judged here."""

    def __init__(self, reason: Reason, what: str) -> None:
        super().__init__(what)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Spend:
    """How a script was satisfied.  ``keys`` are those whose signatures were checked; empty: nobody's."""

    method: str
    keys: tuple[bytes, ...] = ()
    warnings: tuple[str, ...] = ()


def script_pubkey(wallet: Wallet) -> bytes:
    """The output script of a Bitcoin address."""
    payload = wallet.payload
    if wallet.kind == "p2pkh":
        return b"\x76\xa9\x14" + payload + b"\x88\xac"
    if wallet.kind == "p2sh":
        return b"\xa9\x14" + payload + b"\x87"
    version = wallet.witness_version or 0
    return bytes([0x50 + version if version else 0, len(payload)]) + payload


def push(data: bytes) -> bytes:
    """The minimal push of 2 to 75 bytes."""
    return bytes([len(data)]) + data


def spend(tx: Transaction, wallet: Wallet) -> Spend:
    """Who satisfied the output script of ``wallet``, worth 0, by the first input of ``tx``."""
    item, kind = tx.inputs[0], wallet.kind
    if kind == "p2pkh":
        return _spend_p2pkh(tx, wallet)
    if kind == "p2sh":
        return _spend_p2sh(tx, wallet)
    if item.script_sig:
        raise Refusal(Reason.RULE_VIOLATED, "a scriptSig where the address is segwit")
    if kind in ("p2wpkh", "p2wsh"):
        return _spend_v0(tx, wallet.payload)
    if kind == "p2tr":
        return _spend_taproot(tx, wallet)
    if wallet.witness_version == 1 and wallet.payload == PAY_TO_ANCHOR:
        return Spend("script", warnings=("anyone_can_spend",))
    raise Refusal(Reason.UPGRADEABLE_RULE, "a witness program of the future")


# --- signatures


def _check_ecdsa(signature: bytes, key: bytes, digest: bytes) -> bool:
    """One signature with its sighash byte, under SIGHASH_ALL, STRICTENC and LOW_S.  False: it is not of this key."""
    if not signature or signature[-1] != SIGHASH_ALL:
        raise Refusal(Reason.RULE_VIOLATED, "sighash is not ALL")
    der = signature[:-1]
    try:
        compact = der_signature(der)
    except EncodingError as error:
        raise Refusal(Reason.RULE_VIOLATED, "signature is not strict DER") from error
    if not curves.low_s(compact):
        raise Refusal(Reason.NON_CANONICAL, "high S")
    return curves.ecdsa_verify(key, der, digest)


def _is_key(data: bytes) -> bool:
    """STRICTENC: compressed or uncompressed, never hybrid."""
    return (len(data) == 33 and data[0] in (2, 3)) or (len(data) == 65 and data[0] == 4)


def _one_key(signature: bytes, key: bytes, digest: bytes) -> Spend:
    if not _check_ecdsa(signature, key, digest):
        raise Refusal(Reason.BAD_SIGNATURE, "signature does not verify")
    return Spend("ecdsa", (key,), ("uncompressed_key",) if len(key) == 65 else ())


# --- scripts of one or several keys


@dataclass(frozen=True, slots=True)
class _Template:
    """``required`` of ``keys``; ``multisig`` scripts take an empty element first (NULLDUMMY)."""

    required: int
    keys: tuple[bytes, ...]
    multisig: bool


def _template(script: bytes) -> _Template | None:
    """``<key> CHECKSIG`` or ``m <keys> n CHECKMULTISIG``; None for anything else."""
    if len(script) in (35, 67) and script[0] == len(script) - 2 and script[-1] == OP_CHECKSIG and _is_key(script[1:-1]):
        return _Template(1, (script[1:-1],), multisig=False)
    if len(script) < 37 or script[-1] != OP_CHECKMULTISIG:
        return None
    required, offset = _small_number(script, 0)
    keys = []
    while script[offset] in (33, 65):
        keys.append(script[offset + 1 : offset + 1 + script[offset]])
        offset += 1 + script[offset]
        if offset >= len(script):
            return None
    count, offset = _small_number(script, offset)
    if offset != len(script) - 1 or not 1 <= required <= count <= MAX_KEYS or count != len(keys):
        return None
    return _Template(required, tuple(keys), multisig=True) if all(map(_is_key, keys)) else None


def _small_number(script: bytes, offset: int) -> tuple[int, int]:
    """The number pushed minimally at ``offset`` and what comes after it: OP_1 to OP_16, or one byte above; else 0."""
    if script[offset] == 1 and 17 <= script[offset + 1] <= MAX_KEYS:
        return script[offset + 1], offset + 2
    return max(script[offset] - 0x50, 0), offset + 1


def _satisfy(script: bytes, stack: tuple[bytes, ...], digest: Callable[[], bytes]) -> Spend:
    """The script by exactly the elements it needs (CLEANSTACK), each signature by a key of its own, in their order."""
    template = _template(script)
    if template is None:
        raise Refusal(Reason.UNKNOWN_SCRIPT, "not a script of one key or of m of n")
    if len(stack) != template.required + template.multisig:
        raise Refusal(Reason.RULE_VIOLATED, "another number of elements than the script takes")
    if not template.multisig:
        return _one_key(stack[0], template.keys[0], digest())
    if stack[0]:
        raise Refusal(Reason.RULE_VIOLATED, "NULLDUMMY")
    signed: list[bytes] = []
    keys, message = iter(template.keys), digest()
    for signature in stack[1:]:
        signer = next((key for key in keys if _check_ecdsa(signature, key, message)), None)
        if signer is None:
            raise Refusal(Reason.BAD_SIGNATURE, f"{len(signed)} of {template.required} signatures verify")
        signed.append(signer)
    return Spend("multisig", tuple(signed))


# --- output types


def _spend_p2pkh(tx: Transaction, wallet: Wallet) -> Spend:
    stack = pushes(tx.inputs[0].script_sig)
    if tx.inputs[0].witness or len(stack) != 2 or not _is_key(stack[1]):
        raise Refusal(Reason.RULE_VIOLATED, "not a signature and a key")
    if curves.hash160(stack[1]) != wallet.payload:
        raise Refusal(Reason.WRONG_SIGNER, "key of another address")
    return _one_key(stack[0], stack[1], tx.legacy_digest(0, script_pubkey(wallet)))


def _spend_p2sh(tx: Transaction, wallet: Wallet) -> Spend:
    item = tx.inputs[0]
    stack = pushes(item.script_sig)
    if not stack or curves.hash160(stack[-1]) != wallet.payload:
        raise Refusal(Reason.WRONG_SIGNER, "script of another address")
    redeem = stack[-1]
    if len(redeem) in (22, 34) and redeem[0] == 0 and redeem[1] == len(redeem) - 2:
        if len(stack) != 1:
            raise Refusal(Reason.RULE_VIOLATED, "more than the witness program in the scriptSig")
        return _spend_v0(tx, redeem[2:])
    if item.witness:
        raise Refusal(Reason.RULE_VIOLATED, "a witness where the script has none")
    return _satisfy(redeem, tuple(stack[:-1]), lambda: tx.legacy_digest(0, redeem))


def _spend_v0(tx: Transaction, program: bytes) -> Spend:
    """P2WPKH (20 bytes) and P2WSH (32 bytes), native or inside P2SH."""
    witness = tx.inputs[0].witness
    if any(len(element) > MAX_ELEMENT for element in witness[:-1]):
        raise Refusal(Reason.RULE_VIOLATED, "an element above 520 bytes")
    if len(program) == 20:
        if len(witness) != 2 or not _is_key(witness[1]):
            raise Refusal(Reason.RULE_VIOLATED, "not a signature and a key")
        if curves.hash160(witness[1]) != program:
            raise Refusal(Reason.WRONG_SIGNER, "key of another address")
        code = b"\x76\xa9\x14" + program + b"\x88\xac"
        return _one_key(witness[0], witness[1], tx.segwit_digest(0, code, 0))
    if not witness or len(witness[-1]) > MAX_SCRIPT:
        raise Refusal(Reason.RULE_VIOLATED, "no witness script, or one above 10,000 bytes")
    script = witness[-1]
    if sha256(script).digest() != program:
        raise Refusal(Reason.WRONG_SIGNER, "script of another address")
    return _satisfy(script, witness[:-1], lambda: tx.segwit_digest(0, script, 0))


def _spend_taproot(tx: Transaction, wallet: Wallet) -> Spend:
    """The key path; of a script path only its shape is judged here."""
    witness = tx.inputs[0].witness
    if not witness:
        raise Refusal(Reason.RULE_VIOLATED, "no witness")
    if len(witness) >= 2:
        if witness[-1][:1] == b"\x50":
            raise Refusal(Reason.UPGRADEABLE_RULE, "an annex")
        control = len(witness[-1]) - 33
        if control < 0 or control % 32 or control > 128 * 32:
            raise Refusal(Reason.RULE_VIOLATED, "neither a key path nor a control block")
        raise Refusal(Reason.UNKNOWN_SCRIPT, "a taproot script path")
    signature, hash_type = witness[0], SIGHASH_DEFAULT
    if len(signature) == 65:
        hash_type = signature[64]
        if hash_type != SIGHASH_ALL:
            raise Refusal(Reason.RULE_VIOLATED, "sighash is neither DEFAULT nor ALL")
    elif len(signature) != 64:
        raise Refusal(Reason.RULE_VIOLATED, "not a Schnorr signature")
    digest = tx.taproot_digest(hash_type, script_pubkey(wallet), 0)
    if not curves.schnorr_verify(wallet.payload, signature[:64], digest):
        raise Refusal(Reason.BAD_SIGNATURE, "signature does not verify")
    return Spend("schnorr", (wallet.payload,))


def opcodes(script: bytes) -> Iterator[int]:
    """The opcodes of a script, without the data they push; to its end or to where it is cut off."""
    offset = 0
    while offset < len(script):
        opcode, offset = script[offset], offset + 1
        yield opcode
        if opcode < 0x4C:
            offset += opcode
        elif opcode <= 0x4E:  # the length stands in 1, 2 or 4 bytes
            width = 1 << (opcode - 0x4C)
            offset += width + int.from_bytes(script[offset : offset + width], "little")


def pushes(script: bytes) -> list[bytes]:
    """The elements of a scriptSig that only pushes, minimally (SIGPUSHONLY, MINIMALDATA)."""
    stack = []
    offset = 0
    while offset < len(script):
        opcode, offset = script[offset], offset + 1
        if opcode == 0 or opcode == 0x4F or 0x51 <= opcode <= 0x60:  # small numbers
            stack.append(b"" if opcode == 0 else b"\x81" if opcode == 0x4F else bytes([opcode - 0x50]))
            continue
        width = {0x4C: 1, 0x4D: 2}.get(opcode, 0)
        if opcode > 0x4D or (opcode > 75 and not width):
            raise Refusal(Reason.RULE_VIOLATED, "scriptSig does more than push")
        size = int.from_bytes(script[offset : offset + width], "little") if width else opcode
        data = script[offset + width : offset + width + size]
        offset += width + size
        minimal = not (size == 1 and (1 <= data[0] <= 16 or data[0] == 0x81)) if data else False
        if len(data) != size or not minimal or size > MAX_ELEMENT or size < (0, 76, 256)[width]:
            raise Refusal(Reason.RULE_VIOLATED, "scriptSig is truncated or not minimal")
        stack.append(data)
    return stack
