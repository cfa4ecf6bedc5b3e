"""Every rule that the program promises to keep names its tests (``rules.toml``), and each of them is there."""

import ast
import functools
import tomllib
from pathlib import Path

TESTS = Path(__file__).parents[1]
RULES: dict[str, dict[str, list[str]]] = tomllib.loads(Path(__file__).with_name("rules.toml").read_text("utf-8"))


@functools.cache
def found_in(file: str) -> set[str]:
    """The tests that pytest finds in a file of ours, and what a hypothesis state machine runs as."""
    path = TESTS / file
    if not path.is_file():
        return set()
    found: set[str] = set()
    body = ast.parse(path.read_text("utf-8")).body
    for node in [*body, *(inner for kind in body if isinstance(kind, ast.ClassDef) for inner in kind.body)]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            found.add(node.name)
        elif isinstance(node, ast.Assign) and ast.unparse(node.value).endswith(".TestCase"):
            found.add(f"{ast.unparse(node.targets[0])}::runTest")
    return found


@functools.cache
def contract_cases() -> set[str]:
    """The cases that run over every adapter."""
    tree = ast.parse((TESTS.parent / "chainwatch/testing/contract.py").read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef) and node.decorator_list}


def exists(test: str) -> bool:
    file, _, name = test.partition("::")
    name, bracket, case = name.partition("[")
    return name in found_in(file) and (not bracket or case.removesuffix("]") in contract_cases())


def test_every_rule_has_tests_and_each_of_them_is_there() -> None:
    assert {rule for part in RULES.values() for rule, tests in part.items() if not tests} == set()
    named = {test for part in RULES.values() for tests in part.values() for test in tests}
    assert {test for test in named if not exists(test)} == set()


def test_no_invariant_is_left_out() -> None:
    assert {rule.split()[0] for rule in RULES["Invariants"]} == {str(n) for n in range(1, 15)}
