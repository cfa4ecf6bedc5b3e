"""Whoever reads a function sees all of it at once."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("chainwatch", "adapters", "verifiers", "config")
HISTORY = ROOT / "chainwatch/ledger/migrations/versions"
"""Lists of tables as they once were: never changed again, and nobody reads one from end to end."""
MAX_LINES = 70


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and number of lines of each function in a file, those inside classes and functions too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_no_function_is_longer_than_70_lines() -> None:
    files = [f for folder in FOLDERS for f in (ROOT / folder).rglob("*.py") if HISTORY not in f.parents]
    found = [(f"{f.relative_to(ROOT)} {name}", lines) for f in files for name, lines in functions(f)]
    assert len(found) > 2000
    assert [(name, lines) for name, lines in found if lines > MAX_LINES] == []
