"""How values are stored, the same on SQLite and PostgreSQL."""

from typing import Any

from sqlalchemy import NUMERIC, BigInteger, Dialect, Integer, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

BigKey = BigInteger().with_variant(Integer(), "sqlite")
"""A row id: SQLite numbers rows by itself only when the column is plain INTEGER."""


class BaseUnits(TypeDecorator[int]):
    """An exact integer of up to 78 digits (uint256 has 78).

    PostgreSQL: NUMERIC(78,0).  SQLite: TEXT, for its NUMERIC turns large integers into floats; sums
    are therefore made in Python.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Pick the column type."""
        return dialect.type_descriptor(NUMERIC(78, 0) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        """Integer in."""
        if value is None or dialect.name == "postgresql":
            return value
        return str(value)

    def process_result_value(self, value: Any, _dialect: Dialect) -> int | None:
        """Integer out."""
        return None if value is None else int(value)
