"""What every request meets: an id, problem documents, sizes, names in either spelling."""

from pathlib import Path

import msgspec
import pytest

from chainwatch.api import wire
from chainwatch.api.problems import Problem
from chainwatch.testing.served import served


async def test_what_is_not_there_is_a_problem_document_with_an_id(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        status, answer = await api.get("/nothing/here")
        assert status == 404
        assert answer["code"] == "not_found"
        assert answer["error"]
        assert answer["instance"].startswith("urn:request:")


class Body(msgspec.Struct):
    wallet_address: str
    timestamp: int | None = None


def test_the_platforms_client_writes_camel_case() -> None:
    assert wire.body(b'{"walletAddress": "a", "more": 1}', Body) == Body("a")
    assert wire.body(b'{"wallet_address": "a", "timestamp": 5}', Body) == Body("a", 5)
    with pytest.raises(Problem, match="twice"):
        wire.body(b'{"walletAddress": "a", "wallet_address": "b"}', Body)


@pytest.mark.parametrize("raw", [b"[1]", b"{", b'{"wallet_address": 5}', b'{"a":' * 5000, b"\xff", b"null"])
def test_what_is_no_such_body_is_a_problem(raw: bytes) -> None:
    with pytest.raises(Problem):
        wire.body(raw, Body)
