"""The shared vectors, read in place: one JSON list a family (``CHAINWATCH_SHARED``, default ``../shared``)."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Rows = list[dict[str, Any]]


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], Rows]:
    """``vectors("hive")``: all rows of a family that are cases; skips where the shared folder is not."""
    default = Path(__file__).parents[3] / "shared"
    folder = Path(os.environ.get("CHAINWATCH_SHARED", default)) / "vectors"

    def load(family: str) -> Rows:
        path = folder / f"{family}.json"
        if not path.exists():
            pytest.skip(f"no shared vectors: {path} (set CHAINWATCH_SHARED)")
        rows: Rows = json.loads(path.read_text("utf-8"))
        return [row for row in rows if row["valid"] is not None]

    return load
