"""The Bitcoin family against the shared vectors: every named policy, every curve case, and reasons that tell."""

from collections.abc import Callable
from typing import Any

import pytest

from chainwatch.verifiers import Policy, Status, verify
from chainwatch.verifiers.curves import ecdsa_verify, low_s, recover, sha256d
from chainwatch.verifiers.encodings import EncodingError, der_signature

Load = Callable[[str], list[dict[str, Any]]]
POLICIES = {
    "policy:strict-bip137": Policy(btc_headers="bip137"),
    "policy:loose": Policy(btc_headers="loose"),
    "policy:core(pure-python)": Policy(btc_headers="core"),
    "chainwatch-ref(electrum-policy)": Policy(),
}


def message_of(row: dict[str, Any]) -> str | bytes:
    return row["message"] if row["message"] is not None else bytes.fromhex(row["message_hex"])


@pytest.mark.parametrize("name", POLICIES)
def test_each_header_policy_accepts_exactly_what_its_definition_accepts(vectors: Load, name: str) -> None:
    wrong = []
    for row in vectors("bitcoin_legacy"):
        result = verify(
            address=row["address"],
            message=message_of(row),
            signature=row["signature"],
            scheme="bip137",
            chain="bitcoin",
            policy=POLICIES[name],
        )
        if result.ok is not (row["verdicts"][name] is True):
            wrong.append((row["id"], row["verdicts"][name], result))
    assert not wrong


def test_bip322_without_the_script_engine_is_inconclusive_for_unknown_scripts_only(
    vectors: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chainwatch.verifiers.engine._load", lambda: None)
    unjudged = []
    for row in vectors("bitcoin_bip322"):
        result = verify(
            address=row["address"],
            message=message_of(row),
            signature=row["signature"],
            scheme=row["scheme"],
            chain="bitcoin",
        )
        assert not (result.ok and not row["valid"]), row["id"]
        if row["valid"] and not result.ok:
            assert result.status is Status.INCONCLUSIVE, (row["id"], result)
            unjudged.append(row)
    kinds = {(row["extra"] or {}).get("type") for row in unjudged if row.get("extra")} | {
        tag for row in unjudged for tag in row.get("tags", [])
    }
    assert len(unjudged) <= 12
    assert kinds <= {None, "p2tr-time-lock", "p2wsh-time-lock", "scriptpath", "anyone-can-spend", "official", "policy"}


def test_what_btclib_s_interpreter_and_bitcoin_core_s_say_is_what_we_say(vectors: Load) -> None:
    """Core's interpreter with BIP-322's flags judged every row; where we differ it is a named policy."""
    lenient = {"lenient-p2sh"}
    for row in vectors("bitcoin_bip322"):
        core = row["verdicts"].get("bitcoin-core-interpreter(+bip322 rules)")
        if isinstance(core, bool) and core is not row["valid"]:
            strict = verify(
                address=row["address"],
                message=message_of(row),
                signature=row["signature"],
                chain="bitcoin",
                policy=Policy(allow_lenient_p2sh=False),
            )
            assert strict.ok is core or not lenient & set(row.get("tags", [])), row["id"]


@pytest.mark.parametrize("scheme", ["ecdsa-secp256k1-der-lows", "ecdsa-secp256k1-compact"])
def test_wycheproof_s_ecdsa_cases(vectors: Load, scheme: str) -> None:
    rows = [row for row in vectors("secp256k1_wycheproof") if row["scheme"] == scheme]
    assert len(rows) > 200
    wrong = []
    for row in rows:
        key, signature = bytes.fromhex(row["extra"]["pubkey"]), bytes.fromhex(row["signature"])
        digest = _digest(row["extra"]["hash"], bytes.fromhex(row["message_hex"]))
        accept = _der(key, signature, digest) if scheme.endswith("lows") else _compact(key, signature, digest)
        if accept is not row["valid"]:
            wrong.append((row["id"], row["note"]))
    assert not wrong


def _digest(name: str, message: bytes) -> bytes:
    if name == "sha256d":
        return sha256d(message)
    import hashlib

    return hashlib.new(name, message).digest()[:32]


def _der(key: bytes, signature: bytes, digest: bytes) -> bool:
    try:
        return low_s(der_signature(signature)) and ecdsa_verify(key, signature, digest)
    except EncodingError:
        return False


def _compact(key: bytes, signature: bytes, digest: bytes) -> bool:
    """Recovery is how the compact form is verified: one of the four candidates is the key."""
    if len(signature) != 64:
        return False
    return any(recover(signature, number, digest, compressed=False) == key for number in range(4))
