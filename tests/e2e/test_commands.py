"""The commands as an operator runs them: answers, exit codes, and what a mistake says."""

import json
import sqlite3
from pathlib import Path

import pytest

from chainwatch.testing.process import Daemon, answer, command, get

pytestmark = pytest.mark.network


def test_events_are_made_shown_and_refused_by_name(tmp_path: Path) -> None:
    made = answer(tmp_path, "event", "create", "--title", "Gala", "--price", "5", "--currency", "HIVE", "--id", "gala",
                  "--accept", "HBD=1.5", "--capacity", "10", "--end", "2027-01-01T00:00:00Z")  # fmt: skip
    assert made == {"id": "gala"}
    shown = answer(tmp_path, "event", "show", "gala")
    assert shown["prices_base"] == {"HBD": "1500", "HIVE": "5000"}
    assert shown["event_end"] == "2027-01-01T00:00:00Z"
    assert [e["id"] for e in answer(tmp_path, "event", "list")] == ["gala"]
    for arguments, words in (
        (("--id", "gala", "--price", "1", "--currency", "HIVE"), "exists already"),
        (("--id", "Not A Slug", "--price", "1", "--currency", "HIVE"), "an event id is"),
        (("--price", "1.0005", "--currency", "HIVE"), "3 decimal places"),
        (("--price", "1", "--currency", "GOLD"), "no configured asset"),
        (("--price", "1", "--currency", "HIVE", "--start", "tomorrow"), "no time"),
    ):
        code, _, err = command(tmp_path, "event", "create", "--title", "x", *arguments)
        assert code == 2
        assert words in err
    assert command(tmp_path, "event", "show", "nowhere")[0] == 2


def test_audit_exits_with_1_when_somebody_touched_the_books(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--devnet") as daemon:
        daemon.ready()
        for _ in range(200):
            if (state := answer(tmp_path, "status"))["payments"].get("minted"):  # a free ticket is in no book
                break
        assert state["audit_differences"] == 0
        assert daemon.interrupt() == 0
    database = sqlite3.connect(tmp_path / "chainwatch.db")
    database.execute("UPDATE ledger_lines SET amount = '1' WHERE id = (SELECT min(id) FROM ledger_lines)")
    database.commit()
    database.close()
    code, out, _ = command(tmp_path, "audit")
    assert code == 1
    assert "imbalance" in out


def test_a_second_daemon_on_the_same_file_exits_with_2(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--devnet") as first:
        first.url()
        with Daemon(tmp_path, "--devnet") as second:
            assert second.process.wait(60) == 2
            assert "another chainwatch runs" in second.output()
        assert first.process.poll() is None


def test_the_daemon_answers_health_readiness_and_metrics(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--devnet") as daemon:
        daemon.ready()
        url = daemon.url()
        assert get(url + "/healthz")[0] == 200
        status, body = get(url + "/readyz")
        assert (status, json.loads(body)["status"]) == (200, "ready")
        metrics = get(url + "/metrics")[1].decode()
        for name in ("head_height", "scanned_height", "final_height", "tip_age_seconds", "ledger_imbalance"):
            assert f"chainwatch_{name}" in metrics
        assert "chainwatch_ledger_imbalance 0.0" in metrics
        assert daemon.interrupt() == 0


def test_a_range_is_scanned_again_by_the_running_daemon(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--devnet") as daemon:
        daemon.ready()
        done = answer(tmp_path, "backfill", "--chain", "ETH", "--from", "0")
        assert done["done_at"] is not None
        assert answer(tmp_path, "audit") == []
        code, _, err = command(tmp_path, "backfill", "--chain", "ETH", "--from", "999999")
        assert code == 2
        assert "nothing to scan" in err


def test_mistakes_exit_with_2_and_say_what_is_wrong(tmp_path: Path) -> None:
    config = tmp_path / "chainwatch.toml"
    config.write_text('[chains.ETH]\nendpoints = ["http://127.0.0.1:1"]\nreceive = ["0x00"]\n')
    code, _, err = command(tmp_path, "run", "--config", str(config))
    assert code == 2
    assert "line 3" in err
    assert command(tmp_path, "run", "--confg", "x")[0] == 2
    assert command(tmp_path, "no-such-command")[0] == 2
    assert command(tmp_path, "run", "--config", str(tmp_path / "missing.toml"))[0] == 2
    code, _, err = command(tmp_path, "decode", "--chain", "NOPE", "-")
    assert code == 2
    assert "no chain" in err


def test_a_node_that_is_not_there_is_exit_3(tmp_path: Path) -> None:
    config = tmp_path / "chainwatch.toml"
    receive = "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045"
    config.write_text(f'[chains.ETH]\nendpoints = ["http://127.0.0.1:1"]\nreceive = ["{receive}"]\ntimeout = 1.0\n')
    code, out, _ = command(tmp_path, "check", "--config", str(config))
    assert code == 3
    assert "FAIL  ETH" in out


def test_keys_are_made_once(tmp_path: Path) -> None:
    made = answer(tmp_path, "keys", "generate")
    assert Path(made["path"]).stat().st_mode & 0o777 == 0o600
    assert command(tmp_path, "keys", "generate")[0] == 2


def test_the_schema_is_brought_up_to_date_as_often_as_one_likes(tmp_path: Path) -> None:
    assert answer(tmp_path, "db", "upgrade") == answer(tmp_path, "db", "upgrade")


@pytest.mark.timeout(900)  # twenty seconds on an idle machine
def test_the_demo_proves_every_cell_and_exits_0(tmp_path: Path) -> None:
    code, out, err = command(tmp_path, "demo")
    assert code == 0, out + err
    assert "FAILED" not in out
    assert "all came out right" in out
