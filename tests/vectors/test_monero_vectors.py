"""Monero: the shared vectors, and published ones typed in."""

from collections.abc import Callable
from typing import Any

import pytest

from chainwatch.verifiers import Policy, Reason, verify
from chainwatch.verifiers.monero import check_signature

Load = Callable[[str], list[dict[str, Any]]]


def test_every_monero_vector_gets_the_verdict_it_says(vectors: Load) -> None:
    wrong = {}
    for row in vectors("monero"):
        extra = row["extra"]
        policy = Policy(
            unsafe_allow_v1=bool(extra.get("allow_v1")), unsafe_allow_view_key=bool(extra.get("allow_view_key"))
        )
        message = row["message"] if row.get("message_hex") is None else bytes.fromhex(row["message_hex"])
        answer = verify(
            address=row["address"], chain=row["chain"], message=message, signature=row["signature"], policy=policy
        )
        if answer.ok is not row["valid"]:
            wrong[row["id"]] = answer
    assert wrong == {}


def test_a_view_key_signature_is_refused_by_policy_alone(vectors: Load) -> None:
    rows = [r for r in vectors("monero") if "view-key" in (r.get("tags") or []) and r["id"].startswith("v2-")]
    assert rows
    for row in rows:
        asked = {k: row[k] for k in ("address", "chain", "message", "signature")}
        assert verify(**asked).reason is Reason.POLICY
        allowed = verify(**asked, policy=Policy(unsafe_allow_view_key=True))
        assert (allowed.ok, allowed.detail["key"]) == (True, "view")


def test_monero_s_own_tests_of_check_signature(vectors: Load) -> None:
    rows = vectors("monero_check_signature")
    wrong = []
    for row in rows:
        parts = (row["extra"]["prefix_hash"], row["extra"]["pubkey"], row["signature"])
        if check_signature(*map(bytes.fromhex, parts)) is not row["valid"]:
            wrong.append(row["id"])
    assert wrong == []
    assert len(rows) == 512


# --- published vectors

FUZZ_CORPUS = {
    "address": "9uVsvEryzpN8WH2t1WWhFFCG5tS8cBNdmJYNRuckLENFimfauV5pZKeS1P2CbxGkSDTUPHXWwiYE5ZGSXDAGbaZgDxobqDN",
    "message": "test",
    "signature": "SigV1WbMcLkLKXz3Su9iFUp9aYF5vSfpVetcytVWAgqhn3KNe1kidn7M2KfTRpuK8G1ba1w2u5mbyoWbkLPy2Gm97BM4W",
}
"""Source: monero-project/monero, tests/data/fuzz/signature/SIG1 with tests/fuzz/signature.cpp."""


def test_the_signature_in_monero_s_fuzz_corpus() -> None:
    assert verify(**FUZZ_CORPUS).reason is Reason.POLICY
    result = verify(**FUZZ_CORPUS, policy=Policy(unsafe_allow_v1=True))
    assert (result.ok, result.warnings) == (True, ("sig_v1",))


@pytest.mark.parametrize(
    ("prefix_hash", "key", "signature", "valid"),
    [
        (
            "57fd3427123988a99aae02ce20312b61a88a39692f3462769947467c6e4c3961",
            "a5e61831eb296ad2b18e4b4b00ec0ff160e30b2834f8d1eda4f28d9656a2ec75",
            "cd89c4cbb1697ebc641e77fdcd843ff9b2feaf37cfeee078045ef1bb8f0efe0bb5fd0131fbc314121d9c19e046aea55140165441941906a757e574b8b775c008",
            True,
        ),
        (
            "0d56f36ad04fdd9092fc3c7bbbf44b79a08b78f0b6f8b54f2e3a9a1d32e5d179",
            "6cdd24b6b94138c4dc28de51cdb29934a3113dd3b730a69769999f404bc568c4",
            "ccf2ca4757e64a1b4837be8d6f56c7be6b9faeee5844b09a070223cb9b47b5ff79d6c18792a7dca908a16c253aed1c0c31db5d321ce8b5da85b5f87913d45608",
            False,
        ),
    ],
)
def test_the_first_and_the_last_check_signature_of_monero_s_tests(
    prefix_hash: str, key: str, signature: str, valid: bool
) -> None:
    """Source: monero-project/monero, tests/crypto/tests.txt."""
    parts = (bytes.fromhex(prefix_hash), bytes.fromhex(key), bytes.fromhex(signature))
    assert check_signature(*parts) is valid
