"""Many rows in few round trips, on both databases."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, insert

CHUNK = 500
"""Keys of one IN list: far below the parameter limits of SQLite (32,766) and PostgreSQL (65,535)."""


def chunks(items: Iterable[Any], size: int = CHUNK) -> Iterator[list[Any]]:
    """Cut ``items`` into lists of at most ``size``."""
    held = list(items)
    return (held[i : i + size] for i in range(0, len(held), size))


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert ``rows``, which all have the same columns.

    SQLite is fastest with one prepared statement run many times.  PostgreSQL would make a round trip of
    each: asked for the keys, SQLAlchemy sends many rows in one statement.
    """
    if not rows:
        return
    statement = insert(table)
    if connection.dialect.name == "postgresql":
        connection.execute(statement.returning(*table.primary_key.columns), rows).all()
    else:
        connection.execute(statement, rows)
