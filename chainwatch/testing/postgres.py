"""A real PostgreSQL for tests: started from the machine's binaries, on a unix socket, gone afterwards.

PostgreSQL refuses to run as root, so root starts it as the first of ``USERS`` that exists.  Nothing is
flushed to disk (``fsync=off``): a test's database need not survive the machine.  Measurements ask for ``durable``.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

USERS = ("chainwatch-test", "postgres", "nobody")
ROLE = "chainwatch"
START_S, STOP_S = 120.0, 30.0  # a cold start takes about a second; a busy machine more


class NoPostgres(Exception):
    """This machine cannot run PostgreSQL; the text says why."""


class Postgres:
    """One server; every test takes a database of its own from it."""

    def __init__(self, *, durable: bool = False) -> None:
        self._durable = durable
        self._bin = _binaries()
        self._as = _unprivileged()
        # Short and open to the server's user: a socket's path has at most 107 bytes, pytest's folders are root's.
        self._home = Path(tempfile.mkdtemp(prefix="cw-pg-"))
        self._log = self._home / "log"
        self._templates: dict[str, str] = {}
        self._server: subprocess.Popen[bytes] | None = None
        if self._as:
            os.chown(self._home, self._as["user"], self._as["group"])

    def start(self) -> None:
        """Make the data directory and start the server.  ``NoPostgres`` when that does not work."""
        data = self._home / "data"
        initdb = [
            str(self._bin / "initdb"),
            "-D",
            str(data),
            "-U",
            ROLE,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]
        made = subprocess.run(
            initdb, capture_output=True, check=False, timeout=START_S, cwd=self._home, env=self._environ(), **self._as
        )
        if made.returncode:
            self.stop()
            raise NoPostgres(f"initdb failed: {made.stderr.decode(errors='replace').strip()[-300:]}")
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._home),
            "max_connections": "60",
            "shared_buffers": "32MB",
        }
        if not self._durable:
            options |= dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes", "autovacuum"), "off")
        with self._log.open("wb") as log:
            self._server = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(data), *(f"--{k}={v}" for k, v in options.items())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._home,
                env=self._environ(),
                **self._as,
            )
        self._await_ready()

    def url(self, database: str) -> str:
        """Return the URL of a database, as ``[database] url`` takes it."""
        return f"postgresql://{ROLE}@/{database}?host={self._home}"

    def create(self, template: str | None = None) -> str:
        """Make a fresh database (a copy of ``template``) and return its URL."""
        name = f"test_{secrets.token_hex(6)}"
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self._run(statement.format(sql.Identifier(name), sql.Identifier(template or "template0")))
        return self.url(name)

    def drop(self, url: str) -> None:
        """Drop a database, whoever is still connected."""
        self._run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(_database(url))))

    def template(self, key: str, prepare: Callable[[str], None]) -> str:
        """Return the name of a database that ``prepare(url)`` has filled, made once for each ``key``.

        ``prepare`` must close its connections: a database with guests cannot be copied.
        """
        if key not in self._templates:
            url = self.create()
            prepare(url)
            self._templates[key] = _database(url)
        return self._templates[key]

    def stop(self) -> None:
        """End the server by its process id and remove its files."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)  # fast shutdown
            try:
                self._server.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._server.send_signal(signal.SIGQUIT)  # immediate shutdown, takes its children along
                self._server.wait(STOP_S)
            self._server = None
        shutil.rmtree(self._home, ignore_errors=True)

    def _run(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def _await_ready(self) -> None:
        assert self._server is not None
        deadline = time.monotonic() + START_S
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
            except psycopg.OperationalError as error:
                if self._server.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
                tail = self._log.read_text(errors="replace").strip()[-300:]
                self.stop()
                raise NoPostgres(f"the server did not start: {tail}") from error
            return

    def _environ(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", ""), "HOME": str(self._home), "LC_ALL": "C", "TZ": "UTC"}


def _database(url: str) -> str:
    return urlsplit(url).path.lstrip("/")


def _binaries() -> Path:
    """Return the folder that holds both ``initdb`` and ``postgres``, the newest version first."""

    def version(folder: Path) -> float:
        digits = folder.parent.name
        return float(digits) if digits.replace(".", "", 1).isdigit() else 0.0

    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=version, reverse=True)
    if given := os.environ.get("CHAINWATCH_POSTGRES_BIN"):
        folders.insert(0, Path(given))
    if on_path := shutil.which("initdb"):
        folders.append(Path(on_path).parent)
    for folder in folders:
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder
    raise NoPostgres("PostgreSQL is not installed (apt-get install postgresql)")


def _unprivileged() -> dict[str, Any]:
    """Return the arguments with which root starts the server as somebody else."""
    if os.geteuid() != 0:
        return {}
    for name in USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise NoPostgres(f"PostgreSQL does not run as root, and there is no user {' or '.join(USERS)}")
