"""The server that the database tests stand on."""

import os
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from chainwatch.testing import postgres as module
from chainwatch.testing.postgres import NoPostgres, Postgres

pytestmark = pytest.mark.network


def test_each_database_is_fresh_and_a_template_is_made_once(postgres_database: Callable[..., str]) -> None:
    prepared: list[str] = []

    def prepare(url: str) -> None:
        prepared.append(url)
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE t (n integer)")

    for _ in range(2):
        with psycopg.connect(postgres_database("one table", prepare)) as connection:
            connection.execute("INSERT INTO t VALUES (1)")
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (1,)
    assert len(prepared) == 1


def test_a_stopped_server_leaves_nothing_behind(postgres: Postgres) -> None:
    assert postgres is not None  # where this one runs, another can
    server = Postgres()
    server.start()
    home, pid = server._home, server._server.pid if server._server else 0
    server.stop()
    assert not home.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_machine_without_it_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "Path", lambda _: tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHAINWATCH_POSTGRES_BIN", raising=False)
    with pytest.raises(NoPostgres, match="not installed"):
        Postgres()
