"""Many rows in few round trips, on both databases.

Statements have the same text however many rows or keys they take: an IN list of parameters, or VALUES of
many rows, costs SQLAlchemy and psycopg more to render and to parse than the database to run.
"""

import functools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Table,
    Text,
    any_,
    bindparam,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import KeyedColumnElement
from sqlalchemy.sql.selectable import TableValuedAlias

CHUNK = 500
"""Keys or rows of one statement: the largest parameter stays well below a megabyte."""


def chunks(items: Iterable[Any], size: int = CHUNK) -> Iterator[list[Any]]:
    """Cut ``items`` into lists of at most ``size``."""
    held = list(items)
    return (held[i : i + size] for i in range(0, len(held), size))


def among(connection: Connection, column: KeyedColumnElement[Any], keys: Collection[Any]) -> ColumnElement[bool]:
    """Return ``column IN keys`` (integers or text) as one parameter: an array, or on SQLite a JSON list."""
    if connection.dialect.name == "postgresql":
        return column == any_(literal(list(keys), ARRAY(column.type)))
    listed = func.json_each(msgspec.json.encode(list(keys)).decode()).table_valued("value")
    return column.in_(select(listed.c.value))


def listed(dialect: str, column: KeyedColumnElement[Any], name: str) -> ColumnElement[bool]:
    """``among`` for a statement that is made once and kept: its keys come as parameter ``name``, by ``keys_for``."""
    if dialect == "postgresql":
        return column == any_(bindparam(name, type_=ARRAY(column.type)))
    given = func.json_each(bindparam(name, type_=Text)).table_valued("value")
    return column.in_(select(given.c.value))


def keys_for(dialect: str, keys: Collection[Any]) -> Any:
    """Return ``keys`` as the parameter of ``listed``."""
    return list(keys) if dialect == "postgresql" else msgspec.json.encode(list(keys)).decode()


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert ``rows``, which all have the same columns, in their order.

    SQLite is fastest with one prepared statement run many times, PostgreSQL with one array a column.
    """
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        _in_arrays(connection, _insert_arrays(table, tuple(rows[0])), rows)
    else:
        connection.execute(insert(table), rows)


def update_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Set the other columns of ``rows``, which all have the same ones, in the row whose id is ``row_id``."""
    if not rows:
        return
    names = tuple(rows[0])
    if connection.dialect.name == "postgresql":
        _in_arrays(connection, _update_arrays(table, names), rows)
    else:
        values: dict[str, Any] = {n: bindparam(n) for n in names if n != "row_id"}
        connection.execute(update(table).where(table.c.id == bindparam("row_id")).values(values), rows)


def _in_arrays(connection: Connection, statement: Executable, rows: Sequence[Mapping[str, Any]]) -> None:
    for part in chunks(rows):
        connection.execute(statement, {f"{name}s": [r[name] for r in part] for name in rows[0]})


@functools.cache  # a handful: one for each place that writes
def _insert_arrays(table: Table, names: tuple[str, ...]) -> Executable:
    rows = _unnest(table, names)
    return insert(table).from_select(list(names), select(*(rows.c[n] for n in names)))


@functools.cache
def _update_arrays(table: Table, names: tuple[str, ...]) -> Executable:
    rows = _unnest(table, names)
    values: dict[str, Any] = {n: rows.c[n] for n in names if n != "row_id"}
    return update(table).where(table.c.id == rows.c.row_id).values(values)


def _unnest(table: Table, names: tuple[str, ...]) -> TableValuedAlias:
    """Return the rows of equally long arrays, each the parameter named for its column with an ``s``."""
    columns = [table.c.id if n == "row_id" else table.c[n] for n in names]
    arrays = [bindparam(f"{n}s", type_=ARRAY(c.type)) for n, c in zip(names, columns, strict=True)]
    return func.unnest(*arrays).table_valued(*names).render_derived(name="given")
