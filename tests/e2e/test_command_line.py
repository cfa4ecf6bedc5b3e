"""The command line itself: options before and after a command, a reader that leaves, one line for each mistake."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chainwatch.cli import app
from chainwatch.testing.process import answer, command

CONFIG = """
[database]
url = "sqlite:///{folder}/named.db"
"""


@pytest.fixture
def named(tmp_path: Path) -> str:
    """A configuration whose database is not the one that a command finds by itself."""
    file = tmp_path / "named.toml"
    file.write_text(CONFIG.format(folder=tmp_path))
    made = ("event", "create", "--title", "Gala", "--price", "5", "--currency", "HIVE", "--id", "gala")
    assert answer(tmp_path, *made, "--config", str(file)) == {"id": "gala"}
    return str(file)


@pytest.mark.parametrize("where", [0, 1, 2])
def test_the_configuration_is_named_before_a_command_inside_it_or_after_it(
    tmp_path: Path, named: str, where: int
) -> None:
    words = ["event", "list"]
    words[where:where] = ["--config", named, "--json"]
    code, out, err = command(tmp_path, *words)
    assert (code, err) == (0, "")
    assert [e["id"] for e in json.loads(out)] == ["gala"]


def test_what_stands_nearer_to_the_command_counts(tmp_path: Path, named: str) -> None:
    gone = str(tmp_path / "gone.toml")
    code, out, _ = command(tmp_path, "--config", gone, "event", "list", "--config", named, "--json")
    assert (code, [e["id"] for e in json.loads(out)]) == (0, ["gala"])
    code, _, err = command(tmp_path, "--config", named, "event", "--config", gone, "list")
    assert code == 2
    assert "gone.toml cannot be read" in err


def _commands(group: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, found in group.commands.items():
        if hasattr(found, "commands"):
            yield from _commands(found, *path, name)
        else:
            yield (*path, name), found


def test_every_command_takes_both_options() -> None:
    import typer.main

    lacking = [
        " ".join(path)
        for path, found in _commands(typer.main.get_command(app))
        if not {"--config", "--json"} <= {o for p in found.params for o in p.opts}
    ]
    assert lacking == []


def piped(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run a command whose reader has gone before it writes; return exit code and stderr."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "chainwatch", *arguments],
            env={**os.environ, "STATE_DIRECTORY": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=write,
            stderr=subprocess.PIPE,
            timeout=240,
            check=False,
        )
    finally:
        os.close(write)
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize(
    "arguments",
    [("status",), ("status", "--json"), ("event", "list"), ("ledger", "export"), ("--help",), ("event", "--help")],
)
def test_a_reader_that_leaves_ends_a_command_quietly(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert piped(tmp_path, *arguments) == (0, "")


def test_long_output_ends_with_its_reader(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"id": n}) + "\n" for n in range(5000))
    (tmp_path / "rows.jsonl").write_text(rows)
    assert piped(tmp_path, "verify", "--jsonl", str(tmp_path / "rows.jsonl")) == (0, "")


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_no_stays_a_no_though_nobody_reads_why(tmp_path: Path, form: tuple[str, ...]) -> None:
    """``set -o pipefail; chainwatch audit | head -1`` must not turn a difference into success."""
    asked = ("verify", "--chain", "HIVE", "--address", "alice", "--message", "x", "--signature", "00")
    assert piped(tmp_path, *asked, *form) == (1, "")


def test_a_mistake_is_one_line_on_standard_error(tmp_path: Path) -> None:
    silent = tmp_path / "silent.toml"
    silent.write_text('[database]\nurl = "postgresql://watch:f7Kq2@127.0.0.1:1/x"\n')
    for arguments, exit_code in (
        (("status", "--config", str(silent)), 3),
        (("status", "--config", str(tmp_path)), 2),
        (("ledger", "export", "--out", str(tmp_path / "no" / "where.csv")), 2),
        (("event", "show"), 2),
    ):
        code, out, err = command(tmp_path, *arguments)
        assert (code, out, err.count("\n")) == (exit_code, "", 1), err
        assert err.startswith("chainwatch: ")
        assert "f7Kq2" not in err


@pytest.mark.parametrize("kind", ["payouts", "refunds"])
def test_a_state_that_there_is_not_does_not_read_as_nothing_owed(tmp_path: Path, kind: str) -> None:
    code, out, err = command(tmp_path, kind, "list", "--state", "deu")
    assert (code, out) == (2, "")
    assert "there are due, frozen" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_line_and_nobody_s_mistake(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "chainwatch", "status", "--json"],
            env={**os.environ, "STATE_DIRECTORY": str(tmp_path)},
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=240,
            check=False,
        )
    assert (done.returncode, done.stderr) == (3, b"chainwatch: [Errno 28] No space left on device\n")


def test_without_a_command_the_help_is_shown_and_nothing_else(tmp_path: Path) -> None:
    code, out, err = command(tmp_path)
    assert code == 2
    assert "decode" in out + err
    assert "chainwatch: " not in err


def test_check_says_each_part_in_one_line(tmp_path: Path) -> None:
    silent = tmp_path / "silent.toml"
    silent.write_text('[database]\nurl = "postgresql://watch:f7Kq2@127.0.0.1:1/x"\n')
    code, out, _ = command(tmp_path, "check", "--config", str(silent))
    assert code == 3
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["ok", "configuration:"],
        ["FAIL", "database:"],
        ["ok", "signing"],
    ]


def test_a_file_that_cannot_be_written_is_named_and_the_books_are_json_too(tmp_path: Path) -> None:
    assert answer(tmp_path, "ledger", "export") == []
    assert "nowhere" in command(tmp_path, "ledger", "export", "--out", str(tmp_path / "nowhere" / "x.csv"))[2]
