"""Operators' keys from the shell: shown once, listed, revoked; the first one of the built-in network."""

import json
import stat
import subprocess
import sys
from pathlib import Path

from chainwatch.app import first_operator_key, operator_key_path
from chainwatch.ledger import operators, schema
from chainwatch.ledger.store import Store


def chainwatch(state: Path, *words: str) -> tuple[int, str]:
    command = [str(Path(sys.executable).parent / "chainwatch"), *words]
    environ = {"STATE_DIRECTORY": str(state), "PATH": "/usr/bin:/bin", "HOME": str(state)}
    ran = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60, check=False, cwd=state)
    return ran.returncode, ran.stdout + ran.stderr


def test_keys_are_added_listed_and_revoked(tmp_path: Path) -> None:
    code, out = chainwatch(tmp_path, "keys", "operator", "add", "olga", "--scope", "money", "--json")
    assert code == 0, out
    key = json.loads(out)["key"]
    assert key.startswith(operators.PREFIX)
    code, out = chainwatch(tmp_path, "keys", "operator", "list", "--json")
    (row,) = json.loads(out)
    assert (row["name"], row["scopes"], row["revoked"]) == ("olga", ["money"], None)
    assert key not in out
    assert chainwatch(tmp_path, "keys", "operator", "add", "olga")[0] == 2
    assert chainwatch(tmp_path, "keys", "operator", "add", "mallory", "--scope", "root")[0] == 2
    assert chainwatch(tmp_path, "keys", "operator", "revoke", "olga")[0] == 0
    assert chainwatch(tmp_path, "keys", "operator", "revoke", "olga")[0] == 1


def test_the_first_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/a.db")
    schema.upgrade(store)
    with store.transaction() as connection:
        key = first_operator_key(connection, tmp_path, 1)
        assert key is not None
        assert first_operator_key(connection, tmp_path, 2) is None
        found = operators.find(connection, key)
    store.close()
    assert found is not None
    assert found.scopes == frozenset(operators.SCOPES)
    path = operator_key_path(tmp_path)
    assert path.read_text().strip() == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
