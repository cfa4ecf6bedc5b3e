"""Imports run one way (DESIGN invariant 1), and the verifier library is light."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {"chainwatch": "chainwatch", "adapters": "chainwatch.adapters"}
FOLDERS |= {"verifiers": "chainwatch.verifiers", "config": "chainwatch.config"}

BASE = {"model", "errors", "clock", "units", "times", "spreadsheet"}
PURE = {"memo", "finality", "matching", "follower", "tickets", "access.message", "access.nonce", "access.wording"}
CHECKS = {"verifiers"}

# Who may import whom, by the first name that fits (the longest first).  A layer may always import itself.
# A new module needs a line here: it says which part of the house it belongs to.
LAYERS: dict[str, set[str]] = {
    "": set(),
    "errors": set(),
    "model": set(),
    "clock": set(),
    "units": {"errors", "model"},
    "times": {"errors"},
    "spreadsheet": set(),
    "memo": BASE,
    "finality": BASE,
    "matching": BASE | {"finality", "memo"},
    "follower": BASE | {"finality"},
    "tickets": BASE,
    "access.wording": BASE | CHECKS,
    "access.nonce": BASE | CHECKS | {"access.wording"},
    "access.message": BASE | CHECKS | {"access.wording", "access.nonce"},
    "verifiers": set(),
    "adapters": {
        "model",
        "errors",
        "clock",
        "memo",
        "units",
        "verifiers.addresses",
        "verifiers.encodings",
        "verifiers.curves",
    },
    "config": BASE | {"finality"},
    "outside": BASE,
    "ledger": BASE | PURE | CHECKS | {"outside"},
    "payfiles": BASE | {"adapters", "ledger"},
    "onchain": BASE | {"adapters", "ledger"},
    "logs": BASE,
    "notify": BASE,
    "metrics": BASE,
    "patience": BASE,
    "watcher": BASE | PURE | {"adapters", "ledger", "patience"},
    "wallets": BASE | CHECKS,
    "resolver": BASE | CHECKS | {"adapters"},
    "background": BASE | {"ledger"},
    "markets": BASE | {"tickets"},
    "ticker": BASE | {"tickets", "ledger", "markets", "metrics", "background", "config"},
    "outbox": BASE | PURE | {"ledger", "metrics", "background", "config", "outside"},
    "access": BASE | PURE | CHECKS | {"ledger", "config", "metrics", "wallets"},
    "api": BASE
    | PURE
    | CHECKS
    | {"adapters", "ledger", "access", "watcher", "outbox", "metrics", "logs", "config", "wallets", "resolver"}
    | {"markets", "outside", "payfiles"},
}
TOP = {
    "app",
    "parts",
    "cli",
    "cli_events",
    "cli_books",
    "cli_money",
    "cli_sales",
    "cli_access",
    "cli_webhooks",
    "cli_door",
    "cli_verify",
    "terminal",
    "progress",
    "__main__",
    "backfill",
    "checks",
    "decoding",
    "devnet",
    "testing",
}
"""The composition root, the commands and what ships for tests: they may import everything below, and each other."""


def modules() -> dict[str, Path]:
    """Module name below ``chainwatch.`` -> file."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join((package, *(p for p in parts if p != "__init__")))
            found[name.removeprefix("chainwatch").removeprefix(".")] = path
    return found


def layer(name: str) -> str | None:
    """The line of the table that a module falls under."""
    parts = name.split(".")
    candidates = [".".join(parts[:n]) for n in range(len(parts), 0, -1)] if name else [""]
    return next((c for c in candidates if c in LAYERS or c in TOP), None)


def imports(name: str, path: Path, known: set[str]) -> set[str]:
    """Modules of ours that a file imports, wherever in the file: also late, and for type checkers."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: write imports in full"
            base = node.module or ""
            names = [
                f"{base}.{a.name}" if f"{base}.{a.name}".removeprefix("chainwatch.") in known else base
                for a in node.names
            ]
        else:
            continue
        found |= {n.removeprefix("chainwatch").removeprefix(".") for n in names if n.split(".")[0] == "chainwatch"}
    return found - {name}


def allowed(importer: str, imported: str) -> bool:
    if importer in TOP:
        return True
    target = layer(imported)
    if target == importer:
        return True
    permitted = LAYERS[importer]
    return target in permitted or any(imported == p or imported.startswith(f"{p}.") for p in permitted)


def test_every_module_has_its_place_in_the_table() -> None:
    assert [name for name in modules() if layer(name) is None] == []


def test_imports_run_one_way() -> None:
    known = modules()
    wrong = [
        f"{name} imports {other}"
        for name, path in sorted(known.items())
        for other in sorted(imports(name, path, set(known)))
        if (place := layer(name)) is not None and not allowed(place, other)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("adapters.evm", "ledger.apply"),
        ("adapters.evm", "follower"),
        ("verifiers.hive", "model"),
        ("memo", "verifiers"),
    ],
)
def test_the_table_forbids_what_the_design_forbids(importer: str, imported: str) -> None:
    place = layer(importer)
    assert place is not None
    assert not allowed(place, imported)


HEAVY = ("aiohttp", "sqlalchemy", "web3", "beem", "solana", "solders", "eth_account", "bitcoin", "monero", "msgspec")
PROBE = """
import json, sys, time
before = time.process_time()
import chainwatch.verifiers
cost = time.process_time() - before
print(json.dumps([cost, sorted(sys.modules)]))
"""


def probe() -> tuple[float, set[str]]:
    ran = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, check=True, timeout=240)
    cost, names = json.loads(ran.stdout)
    return cost, {name.split(".")[0] for name in names}


def test_importing_the_verifiers_pulls_in_no_client_and_no_database() -> None:
    assert probe()[1].isdisjoint(HEAVY)


def test_importing_the_verifiers_takes_less_than_80_ms_of_processor_time() -> None:
    """Processor time, best of five: a busy machine must not fail it."""
    assert min(probe()[0] for _ in range(5)) < 0.08
