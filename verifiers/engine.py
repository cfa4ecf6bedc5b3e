"""Arbitrary Bitcoin scripts, by the script interpreter of ``btclib-wallet`` where it is installed.

Optional (``pip install chainwatch[scripts]``): without it such signatures are inconclusive.
"""

from typing import Any

from chainwatch.verifiers.result import Reason
from chainwatch.verifiers.scripts import MAX_KEYS, Refusal, Spend, opcodes

MAX_ENGINE = 3072
"""Characters of a signature given to the interpreter: enough for any script below ``MAX_WORK``."""
MAX_WORK = 2_500
"""Opcodes at most, a key that a signature is held against counting as ``CHECK`` of them: below 50 ms."""
CHECK = 250
"""What one key costs the interpreter (some 2 ms; it runs every script twice), in opcodes."""
_ONE_KEY = frozenset({0xAC, 0xAD, 0xBA})  # CHECKSIG, CHECKSIGVERIFY, CHECKSIGADD
_MANY_KEYS = frozenset({0xAE, 0xAF})  # CHECKMULTISIG, CHECKMULTISIGVERIFY


def _load() -> Any:
    try:
        from btclib_wallet import bip322
    except ImportError:
        return None
    return bip322


def _work(script: bytes) -> int:
    """How much running the script may cost.  There are no loops, so no opcode runs twice.

    Of CHECKMULTISIG the number of keys is the opcode before it, or may be anything: one key, pushed once and
    duplicated, is tried as often as twenty.
    """
    work = before = 0
    for opcode in opcodes(script):
        if opcode in _ONE_KEY:
            work += CHECK
        elif opcode in _MANY_KEYS:
            work += CHECK * (before - 0x50 if 0x51 <= before <= 0x60 else MAX_KEYS)
        work, before = work + 1, opcode
    return work


def interpret(address: str, message: bytes, encoded: str, script: bytes) -> Spend:
    """Run the interpreter over a prefixed signature that spends ``script``; ``Refusal`` unless it is satisfied.

    ``Spend.keys`` stays empty; the warning ``anyone_can_spend`` says that no signature at all was checked.
    """
    bip322 = _load()
    if bip322 is None:
        raise Refusal(Reason.UNKNOWN_SCRIPT, "no script interpreter installed (chainwatch[scripts])")
    if len(encoded) > MAX_ENGINE or _work(script) > MAX_WORK:
        raise Refusal(Reason.UNKNOWN_SCRIPT, "too costly to interpret")
    try:
        bip322.assert_as_valid(message, address, encoded, legacy=False)
        checked = _signatures(bip322, message, address, encoded)
    except bip322.InconclusiveError as error:
        raise Refusal(Reason.UPGRADEABLE_RULE, "the script uses what is left for upgrades") from error
    except Exception as error:  # whatever an interpreter makes of hostile scripts, it is not success
        raise Refusal(Reason.RULE_VIOLATED, "the script is not satisfied") from error
    return Spend("script", (), () if checked else ("anyone_can_spend",))


def _signatures(bip322: Any, message: bytes, address: str, encoded: str) -> int:
    """How many signatures the interpreter consumed on the way to success."""
    from btclib.script.engine import verify_transaction
    from btclib.script.script_pub_key import ScriptPubKey

    output = bip322.to_spend(message, ScriptPubKey.from_address(address).script)
    payload = bip322.Sig.b64decode(encoded).payload
    tx = payload if encoded.startswith("ful") else bip322.to_sign(output, witness=payload)
    consumed: list[int] = []
    verify_transaction(list(output.vout), tx, bip322.REQUIRED_RULES, hash_types=consumed)
    return len(consumed)
