"""``chainwatch devices``, and a venue set up as docs/door.md says it."""

from pathlib import Path
from urllib.parse import parse_qs

import pytest

from chainwatch.testing.process import answer, command

pytestmark = pytest.mark.network


def test_devices_are_added_listed_and_revoked(tmp_path: Path) -> None:
    event = ("event", "create", "--title", "Gala", "--price", "5", "--currency", "HIVE", "--id", "gala")
    answer(tmp_path, *event)
    made = answer(tmp_path, "devices", "add", "gala", "--name", "North gate", "--url", "https://door.example/")
    address, _, fragment = made["enrol_url"].partition("#")
    assert address == "https://door.example/door"
    assert parse_qs(fragment)["key"] == [made["key"]]
    assert len(parse_qs(fragment)["pin"][0]) == 43
    shown = answer(tmp_path, "devices", "list", "gala")
    assert [(d["id"], d["name"], d["seen_at"], d["revoked_at"]) for d in shown] == [
        (made["id"], "North gate", None, None)
    ]
    code, out, _ = command(tmp_path, "devices", "add", "gala", "--name", "South", "--url", "http://10.0.0.5:8080")
    assert code == 0
    assert "http://10.0.0.5:8080/door#key=cwd_" in out
    assert "https" in out, "a telephone gives the camera to https alone: said before the evening"
    assert command(tmp_path, "devices", "revoke", "gala", str(made["id"]))[0] == 0
    assert command(tmp_path, "devices", "revoke", "gala", str(made["id"]))[0] == 1
    assert answer(tmp_path, "devices", "list", "gala")[0]["revoked_at"] is not None
    for arguments, words in (
        (("add", "nowhere", "--name", "x"), "no event"),
        (("add", "gala", "--name", " "), "characters"),
        (("revoke", "gala", "99"), "no device"),
    ):
        code, _, err = command(tmp_path, "devices", *arguments)
        assert code == 2
        assert words in err
