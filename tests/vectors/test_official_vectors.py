"""The well-known vectors of every scheme, typed in with their sources, so that the proof stands without other files.

``official.json`` has rows of the command line's format, with ``valid`` (or ``status``), ``source``, sometimes ``note``.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from chainwatch.verifiers import SCHEMES, Reason
from chainwatch.verifiers.jsonl import answer_lines, verify_row

ROWS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("official.json").read_text("utf-8"))


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['scheme']}-{row['id']}" for row in ROWS])
def test_the_verdict_is_the_published_one(row: dict[str, Any]) -> None:
    result = verify_row(row)
    assert result.ok is row["valid"], result
    assert result.reason is not Reason.INTERNAL
    assert result.scheme in (row["scheme"], None)  # none: the address or another argument was refused before any scheme
    if "status" in row:
        assert result.status == row["status"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_has_a_vector_with_a_source(scheme: str) -> None:
    """A scheme that nothing published vouches for must not be added."""
    rows = [row for row in ROWS if row["scheme"] == scheme and len(row["source"]) > 10]
    assert any(row["valid"] or "status" in row for row in rows)


def test_rows_go_through_the_command_s_engine_one_answer_a_line() -> None:
    lines = [json.dumps(row) for row in ROWS]
    answers = [json.loads(line) for line in answer_lines(["", *lines, "not json", "[]", '"text"'])]
    assert len(answers) == len(ROWS) + 3
    for row, answer in zip(ROWS, answers, strict=False):
        assert (answer["id"], answer["valid"]) == (row["id"], row["valid"])
        assert set(answer) == {"id", "valid", "status", "scheme", "reason"}
    assert {answer["status"] for answer in answers[len(ROWS) :]} == {"malformed"}
