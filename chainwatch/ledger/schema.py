"""The schema's version: what the database has, what this program needs, and the way between."""

from importlib.resources import as_file, files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from chainwatch.errors import Misconfigured
from chainwatch.ledger.store import Store


def _config(location: str) -> Config:
    config = Config()
    config.set_main_option("script_location", location.replace("%", "%%"))
    return config


def newest() -> str:
    """Return the version that this program needs."""
    with as_file(files("chainwatch.ledger") / "migrations") as location:
        head = ScriptDirectory.from_config(_config(str(location))).get_current_head()
    assert head is not None
    return head


def current(connection: Connection) -> str | None:
    """Return the version that the database has, None when it is empty."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(store: Store) -> str:
    """Bring the database to the newest version, in one transaction; return that version."""
    with as_file(files("chainwatch.ledger") / "migrations") as location, store.transaction() as connection:
        config = _config(str(location))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return newest()


def require(store: Store) -> None:
    """Refuse a database of another version: ``Misconfigured`` says what to do."""
    with store.reading() as connection:
        have, empty = current(connection), not inspect(connection).get_table_names()
    need = newest()
    if have == need:
        return
    what = "is empty" if empty else f"has schema {have}"
    raise Misconfigured(f"database {store.shown_url} {what}, this program needs {need}: run `chainwatch db upgrade`")
