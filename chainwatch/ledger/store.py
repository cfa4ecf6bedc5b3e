"""The door to the database: plain synchronous transactions, run whole in one writer thread.

The async side awaits ``write(body, …)``; the simulation and the command line call ``transaction()``
themselves.  SQLite: WAL, foreign keys, ``synchronous=FULL``, ``BEGIN IMMEDIATE``.  PostgreSQL: psycopg.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DataError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import QueuePool, StaticPool

from chainwatch.errors import ChainwatchError, Inconsistent, Misconfigured, Rejected, Transient, Unreachable

P = ParamSpec("P")
T = TypeVar("T")

BUSY_MS = 10_000
"""How long SQLite waits for another writer (a backup, an operator's command) before it gives up."""

TOGETHER = 64
"""Small writes that share one commit at most: beyond it the first of them would wait for the last."""

READERS = 4
"""Reading threads: more would only queue for the interpreter lock."""


WRITES = "writes"
"""In a connection's ``info``: how many of its statements were no plain ``SELECT``."""

Answer = tuple[Any, BaseException | None]
"""What a body returned, or raised."""


class Store:
    """One database.  ``url`` is SQLAlchemy's: ``sqlite:////path/file.db`` or ``postgresql://…``."""

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except SQLAlchemyError as error:
            raise Misconfigured("database url cannot be read; write sqlite:////path or postgresql://host/db") from error
        backend = parsed.get_backend_name()
        if backend not in ("sqlite", "postgresql"):
            raise Misconfigured(f"database {backend!r}: there are sqlite and postgresql")
        if backend == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        self.is_sqlite = backend == "sqlite"
        in_memory = parsed.database in (None, "", ":memory:") or "mode" in parsed.query
        self.path = Path(str(parsed.database)) if self.is_sqlite and not in_memory else None
        self.shown_url = parsed.render_as_string(hide_password=True)
        if self.is_sqlite:
            connect_args = {"check_same_thread": False, "timeout": BUSY_MS / 1000}
            pool: dict[str, Any] = {"poolclass": QueuePool, "pool_size": READERS + 1}
            if not parsed.database:
                pool = {"poolclass": StaticPool}
            self.engine: Engine = create_engine(parsed, connect_args=connect_args, **pool)
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            self.engine = create_engine(parsed, pool_size=READERS + 1, pool_pre_ping=True)
            event.listen(self.engine, "connect", _prepare_postgres)
        self._writer = ThreadPoolExecutor(1, "ledger-writer")
        self._readers = ThreadPoolExecutor(READERS, "ledger-reader")
        self._waiting: deque[tuple[Callable[[Connection], Any], asyncio.Future[Any], bool]] = deque()
        event.listen(self.engine, "before_cursor_execute", _note_write)

    # -- synchronous -----------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction: all of it is committed, or none."""
        with _translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent look; nothing is written."""
        options: dict[str, Any] = {"reading": True} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        with _translated(), self.engine.connect().execution_options(**options) as connection:
            yield connection
            connection.rollback()

    # -- from the event loop ---------------------------------------------------------------------

    async def write(self, body: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``body(connection, …)`` as one transaction in the writer thread."""

        def run() -> T:
            with self.transaction() as connection:
                return body(connection, *args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._writer, run)

    async def write_together(
        self, body: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run ``body(connection, …)`` whole or not at all, in a transaction that small writes share.

        For many callers at once (purchases, entries): what waits while the writer is busy is committed together,
        each body behind a savepoint of its own, so that one that raises undoes only itself.  It returns after the
        commit.  A body must not depend on being first or last in the transaction.
        """
        return await self._together(lambda connection: body(connection, *args, **kwargs), False)

    async def write_often(self, body: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As ``write_together``, for a body that may be run twice: it does nothing but in the database.

        While only such bodies wait they run without savepoints, which are two of a small write's few statements.  If
        one raises after it has written, all is undone and run again, each behind its savepoint.
        """
        return await self._together(lambda connection: body(connection, *args, **kwargs), True)

    async def _together(self, run: Callable[[Connection], T], repeatable: bool) -> T:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._waiting.append((run, done, repeatable))
        self._writer.submit(self._flush, loop)
        return await done

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        """Commit what waits; whoever asked later finds that it was done already."""
        group = [self._waiting.popleft() for _ in range(min(len(self._waiting), TOGETHER))]
        group = [one for one in group if not one[1].cancelled()]
        if not group:
            return
        runs = [run for run, _, _ in group]
        answers: list[Answer] | None = None
        try:
            if all(repeatable for _, _, repeatable in group):
                answers = self._bare(runs)
            if answers is None:
                answers = self._nested(runs)
        except Exception as error:  # the commit itself: nobody's write is there
            answers = [(None, error)] * len(group)
        loop.call_soon_threadsafe(_answer, [(done, *a) for (_, done, _), a in zip(group, answers, strict=True)])

    def _nested(self, runs: Sequence[Callable[[Connection], Any]]) -> list[Answer]:
        """Run bodies in one transaction, each behind a savepoint of its own."""
        answers: list[Answer] = []
        with self.transaction() as connection:
            for run in runs:
                try:
                    with _translated(), connection.begin_nested():
                        answers.append((run(connection), None))
                except Exception as error:
                    answers.append((None, error))
        return answers

    def _bare(self, runs: Sequence[Callable[[Connection], Any]]) -> list[Answer] | None:
        """Run bodies in one transaction without savepoints; None, and nothing done, when one failed half-way."""
        answers: list[Answer] = []
        whole = False
        try:
            with self.transaction() as connection:
                for run in runs:
                    before = connection.info.get(WRITES, 0)
                    try:
                        answers.append((run(connection), None))
                    except Rejected as error:
                        if connection.info.get(WRITES, 0) != before:
                            raise
                        answers.append((None, error))  # it has only looked: there is nothing to undo
                whole = True
        except Exception:
            if whole:
                raise  # by the commit: nobody knows whether it is there, so nothing is run again
            return None  # undone; the second run says to each what is its own
        return answers

    async def read(self, body: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``body(connection, …)`` on one consistent look in a reading thread."""

        def run() -> T:
            with self.reading() as connection:
                return body(connection, *args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._readers, run)

    def close(self) -> None:
        """End the threads and the connections."""
        self._writer.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        self.engine.dispose()


def _answer(answers: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
    for done, result, error in answers:
        if done.cancelled():
            continue  # the caller went away; what it asked for is committed all the same
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)


def _note_write(
    connection: Connection, _cursor: Any, statement: str, _parameters: Any, _context: Any, _many: bool
) -> None:
    if not statement.startswith("SELECT"):
        connection.info[WRITES] = connection.info.get(WRITES, 0) + 1


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # we begin transactions ourselves
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_MS}",
        "cache_size=-16000",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _prepare_postgres(connection: Any, _record: Any) -> None:
    from psycopg.types.array import ListBinaryDumper

    # As text, psycopg looks through every item for what must be escaped: 25 times as slow.
    connection.adapters.register_dumper(list, ListBinaryDumper)


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get("reading", False)
    connection.exec_driver_sql("BEGIN DEFERRED" if reading else "BEGIN IMMEDIATE")


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the driver's errors into ours: what a second try may cure is Transient."""
    try:
        yield
    except ChainwatchError:
        raise
    except OperationalError as error:
        if "unable to open database" in str(error.orig) or "onnect" in str(error.orig):
            raise Unreachable(f"database: {error.orig}") from error
        raise Transient(f"database: {error.orig}") from error
    except DataError as error:  # a node's text that no database takes, such as one with a zero byte
        raise Inconsistent(f"the database cannot hold what came: {error.orig}") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise Unreachable(f"database: {error.orig}") from error
        raise


def ping(connection: Connection) -> None:
    """Touch the database."""
    connection.execute(text("SELECT 1"))
