"""Chains that the real watcher follows."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chainwatch.testing.followed import Followed, followed


@pytest.fixture(params=["HIVE", "ETH"])
async def chain(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Followed]:
    """A chain with a memo field, and one without."""
    async with followed(request.param, tmp_path) as scene:
        yield scene


@pytest.fixture
async def hive(tmp_path: Path) -> AsyncIterator[Followed]:
    """Hive alone."""
    async with followed("HIVE", tmp_path) as scene:
        yield scene


@pytest.fixture
async def eth(tmp_path: Path) -> AsyncIterator[Followed]:
    """Ethereum alone."""
    async with followed("ETH", tmp_path) as scene:
        yield scene
