"""Many rows at once, on both databases: every value arrives as it was given, in the order given."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import BigInteger, Boolean, Column, Connection, LargeBinary, MetaData, Table, Text, select

from chainwatch.ledger.bulk import CHUNK, among, insert_rows, update_rows
from chainwatch.ledger.store import Store
from chainwatch.ledger.types import BaseUnits, BigKey
from chainwatch.model import MAX_BASE_UNITS

metadata = MetaData()
things = Table(
    "things",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("name", Text, nullable=False),
    Column("amount", BaseUnits),
    Column("data", LargeBinary),
    Column("flag", Boolean, nullable=False, default=True),
    Column("at_ms", BigInteger),
)
TEXTS = ("", "plain", 'quote " and \\ backslash', "{1,2}", "NULL", "null", "a\nb", "ж漢🎫", "'; drop table things; --")


@pytest.fixture(params=["sqlite", "postgresql"])
def connection(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Connection]:
    make: Callable[..., str] = (
        (lambda: f"sqlite:///{tmp_path}/bulk.db")
        if request.param == "sqlite"
        else request.getfixturevalue("postgres_database")
    )
    store = Store(make())
    with store.transaction() as opened:
        metadata.create_all(opened)
        yield opened
    store.close()


def stored(connection: Connection) -> list[dict[str, Any]]:
    return [dict(r._mapping) for r in connection.execute(select(things).order_by(things.c.id))]


def row(i: int, **given: Any) -> dict[str, Any]:
    return {"name": f"n{i}", "amount": i, "data": None, "at_ms": i, **given}


def test_rows_are_numbered_in_the_order_they_were_given_across_statements(connection: Connection) -> None:
    """Outbox messages of one subject keep their order by it."""
    names = [f"n{i * 7919 % 100_003}" for i in range(2 * CHUNK + 1)]
    insert_rows(connection, things, [row(0, name=n) for n in names])
    assert [r["name"] for r in stored(connection)] == names
    assert all(r["flag"] is True for r in stored(connection))  # the column's default


def test_every_value_arrives_as_it_was_given(connection: Connection) -> None:
    amounts = (0, 1, 2**31, 2**63, 10**30, MAX_BASE_UNITS, None, 5, -1)
    blobs = (b"", b"\0", b"\\x00", b"{}", bytes(range(256)), None, b"a", None, b"NULL")
    rows = [row(i, name=t, amount=a, data=d) for i, (t, a, d) in enumerate(zip(TEXTS, amounts, blobs, strict=True))]
    insert_rows(connection, things, rows)
    assert [(r["name"], r["amount"], r["data"]) for r in stored(connection)] == list(
        zip(TEXTS, amounts, blobs, strict=True)
    )


def test_a_column_of_nothing_but_null_arrives(connection: Connection) -> None:
    insert_rows(connection, things, [row(i, amount=None, at_ms=None) for i in range(3)])
    assert [(r["amount"], r["data"], r["at_ms"]) for r in stored(connection)] == [(None, None, None)] * 3


def test_only_the_rows_named_are_changed_and_only_in_the_columns_named(connection: Connection) -> None:
    insert_rows(connection, things, [row(i) for i in range(CHUNK + 10)])
    before = stored(connection)
    changes = [{"row_id": r["id"], "amount": MAX_BASE_UNITS - r["id"], "name": f"new{r['id']}"} for r in before[5:-1]]
    update_rows(connection, things, changes)
    after = stored(connection)
    assert after[:5] == before[:5]
    assert after[-1] == before[-1]
    assert [{**b, "amount": MAX_BASE_UNITS - b["id"], "name": f"new{b['id']}"} for b in before[5:-1]] == after[5:-1]


def test_keys_are_found_by_their_exact_value(connection: Connection) -> None:
    insert_rows(connection, things, [row(i, name=t) for i, t in enumerate(TEXTS)])
    for text in TEXTS:
        assert connection.scalars(select(things.c.name).where(among(connection, things.c.name, [text]))).all() == [text]
    found = connection.scalars(select(things.c.id).where(among(connection, things.c.id, [1, 3, 10**18])))
    assert sorted(found) == [1, 3]
    assert connection.scalars(select(things.c.id).where(among(connection, things.c.name, []))).all() == []
    assert connection.scalars(select(things.c.id).where(among(connection, things.c.id, []))).all() == []
