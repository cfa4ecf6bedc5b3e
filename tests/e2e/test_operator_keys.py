"""Operators' keys from the shell: shown once, listed, revoked; the first one of the built-in network."""

import json
import stat
import subprocess
import sys
from pathlib import Path

from chainwatch.devnet import welcome
from chainwatch.devnet.network import SAMPLES
from chainwatch.ledger import devices, events, operators, schema
from chainwatch.ledger.store import Store
from chainwatch.terminal import known_assets


def chainwatch(state: Path, *words: str) -> tuple[int, str]:
    command = [str(Path(sys.executable).parent / "chainwatch"), *words]
    environ = {"STATE_DIRECTORY": str(state), "PATH": "/usr/bin:/bin", "HOME": str(state)}
    ran = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=240, check=False, cwd=state)
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


def test_the_visitor_s_keys_are_made_once_kept_for_their_owner_and_made_anew_with_the_database(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        store = Store(f"sqlite:///{tmp_path}/{folder}.db")
        schema.upgrade(store)
        with store.transaction() as connection:
            new = events.NewEvent(id=SAMPLES[0][0], title="x", ticket_price="1", ticket_currency="HIVE")
            events.create(connection, new, known_assets(), 2000, 1, "test")
            keys = welcome.keys(connection, tmp_path, 1)
            assert welcome.keys(connection, tmp_path, 2) == keys
            found = operators.find(connection, keys.operator)
            assert devices.authenticate(connection, keys.door, 3) is not None
        store.close()
        assert found is not None
        assert found.scopes == frozenset(operators.SCOPES)
        for name, key in (("operator-key", keys.operator), ("door-key", keys.door)):
            assert (tmp_path / name).read_text().strip() == key
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
