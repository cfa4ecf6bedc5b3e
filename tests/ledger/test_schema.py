"""Migrations: they make what the tables say, on both databases, and a strange database is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from chainwatch.errors import Misconfigured, Unreachable
from chainwatch.ledger import schema
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import metadata


def differences(store: Store) -> list[object]:
    schema.upgrade(store)
    with store.reading() as connection:
        found = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata)
    return [d for d in found if "alembic_version" not in str(d)]


def test_migrations_make_what_the_tables_say_on_sqlite(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/x.db")
    assert differences(store) == []
    store.close()


@pytest.mark.network
def test_migrations_make_what_the_tables_say_on_postgresql(postgres_database: Callable[..., str]) -> None:
    store = Store(postgres_database())
    assert differences(store) == []
    store.close()


def test_upgrading_twice_changes_nothing(tmp_path: Path) -> None:
    """NBXplorer's CanRunMigrateTwice."""
    store = Store(f"sqlite:///{tmp_path}/x.db")
    assert schema.upgrade(store) == schema.upgrade(store)
    store.close()


def test_a_database_of_another_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/x.db")
    with pytest.raises(Misconfigured, match="chainwatch db upgrade"):
        schema.require(store)
    schema.upgrade(store)
    schema.require(store)
    with store.transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Misconfigured, match="9999"):
        schema.require(store)
    store.close()


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", ""])
def test_another_kind_of_database_is_misconfigured(url: str) -> None:
    with pytest.raises(Misconfigured):
        Store(url)


@pytest.mark.network
def test_a_database_that_does_not_answer_is_unreachable_and_shows_no_password() -> None:
    store = Store("postgresql://me:secret@127.0.0.1:1/none")
    assert "secret" not in store.shown_url
    with pytest.raises(Unreachable) as caught, store.reading():
        pass
    assert "secret" not in str(caught.value)
    store.close()
