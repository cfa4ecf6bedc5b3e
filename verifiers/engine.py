"""Arbitrary Bitcoin scripts, by the script interpreter of ``btclib-wallet`` where it is installed.

Optional (``pip install chainwatch[scripts]``): without it such signatures are inconclusive.
"""

from typing import Any

from chainwatch.verifiers.result import Reason
from chainwatch.verifiers.scripts import Refusal, Spend

MAX_ENGINE = 3072
"""Characters of a signature given to the interpreter, which takes milliseconds for each thousand opcodes."""
MAX_CHECKS = 16
"""Bytes that could be signature opcodes in one witness element of script size; each costs milliseconds."""
_SIGNATURE_OPCODES = (0xAC, 0xAD, 0xAE, 0xAF, 0xBA)


def _load() -> Any:
    try:
        from btclib_wallet import bip322
    except ImportError:
        return None
    return bip322


def interpret(address: str, message: bytes, encoded: str, script: bytes) -> Spend:
    """Run the interpreter over a prefixed signature that spends ``script``; ``Refusal`` unless it is satisfied.

    ``Spend.keys`` stays empty; the warning ``anyone_can_spend`` says that no signature at all was checked.
    """
    bip322 = _load()
    if bip322 is None:
        raise Refusal(Reason.UNKNOWN_SCRIPT, "no script interpreter installed (chainwatch[scripts])")
    if len(encoded) > MAX_ENGINE or sum(map(script.count, _SIGNATURE_OPCODES)) > MAX_CHECKS:
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
