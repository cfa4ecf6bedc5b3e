"""Published vectors, typed in with their sources, so that the proof stands without other files.

``official.json`` has rows of the command line's format, with ``valid`` and ``source``.  Schemes for which nobody
published a signature are named in ``WITHOUT_PUBLISHED_VECTOR`` with the reason; ``chainwatch.testing.rows`` signs for
those.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from chainwatch.testing.rows import signed_rows
from chainwatch.verifiers import SCHEMES, Reason, verify
from chainwatch.verifiers.jsonl import answer_lines, verify_row

ROWS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("official.json").read_text("utf-8"))
SIGNED = signed_rows()

WITHOUT_PUBLISHED_VECTOR: dict[str, str] = {
    "bip322-pof": "BIP-322 has no vector of its proof of funds; the answer is unsupported whatever is signed",
    "eip7702": "EIP-7702 and viem publish code that signs on a local chain, no signature of such an account",
    "solana-offchain-v1": "anza-xyz/kit publishes serialised messages (test_solana_vectors); its signatures are mocks",
    "hiveauth-challenge": "its documentation publishes none; the primitive is hive-buffer's",
    "hivesigner-token": "the tokens that are published are of type code, which is no login: one is here, refused",
}


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['scheme']}-{row['id']}" for row in ROWS])
def test_the_verdict_is_the_published_one(row: dict[str, Any]) -> None:
    result = verify_row(row)
    assert result.ok is row["valid"], result
    assert result.reason is not Reason.INTERNAL
    assert result.scheme in (row["scheme"], None)  # none: the address or another argument was refused before any scheme


@pytest.mark.parametrize("row", SIGNED, ids=[f"{row['id']}-{n}" for n, row in enumerate(SIGNED)])
@pytest.mark.parametrize("named", [True, False], ids=["scheme named", "scheme found"])
def test_what_is_signed_here_is_valid_for_its_message_and_wallet_alone(row: dict[str, Any], named: bool) -> None:
    asked = row if named else {key: value for key, value in row.items() if key != "scheme"}
    assert verify_row(asked), verify_row(asked)
    if named:
        assert verify_row(row).scheme == row["scheme"]
    assert not verify_row(asked | {"message": row["message"] + "."}) or row["message"] == ""


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_has_a_published_vector_or_says_why_not(scheme: str) -> None:
    """A scheme that nothing vouches for must not be added unnoticed, and no excuse may outlive its reason."""
    published = [row for row in ROWS if row["scheme"] == scheme and row["valid"] and len(row["source"]) > 10]
    assert bool(published) is (scheme not in WITHOUT_PUBLISHED_VECTOR)
    if not published:
        assert len(WITHOUT_PUBLISHED_VECTOR[scheme]) > 10
        assert scheme == "bip322-pof" or any(row["scheme"] == scheme for row in SIGNED)


def test_only_what_was_published_is_among_the_published() -> None:
    assert set(WITHOUT_PUBLISHED_VECTOR) <= set(SCHEMES)
    assert len({row["id"] for row in ROWS}) == len(ROWS) <= 64
    assert not [row["id"] for row in ROWS if "generated " in row["source"]]
    # Trezor's tests are LGPL: read in place, but for one fact.
    assert [row["id"] for row in ROWS if "trezor" in row["source"].lower()] == ["trezor-memo"]


def test_a_proof_of_funds_is_unsupported_whatever_it_says() -> None:
    address = "bc1q9vza2e8x573nczrlzms0wvx3gsqjx7vavgkx0l"
    for signature in ("pof", "pofAA==", "pof" + ROWS[0]["signature"]):
        assert verify(address=address, message="", signature=signature).status == "unsupported"


def test_rows_go_through_the_command_s_engine_one_answer_a_line() -> None:
    rows = [*ROWS, *SIGNED]
    lines = [json.dumps(row) for row in rows]
    answers = [json.loads(line) for line in answer_lines(["", *lines, "not json", "[]", '"text"'])]
    assert len(answers) == len(rows) + 3
    for row, answer in zip(rows, answers, strict=False):
        assert (answer["id"], answer["valid"]) == (row["id"], row["valid"])
        assert set(answer) == {"id", "valid", "status", "scheme", "reason"}
    assert {answer["status"] for answer in answers[len(rows) :]} == {"malformed"}
