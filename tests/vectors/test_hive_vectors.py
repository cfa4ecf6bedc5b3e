"""Hive: the shared vectors, one by one, by name of scheme and without."""

from collections.abc import Callable
from typing import Any

from chainwatch.verifiers import Policy, averify, verify
from chainwatch.verifiers.recorded import RecordedChain

Load = Callable[[str], list[dict[str, Any]]]


def question(row: dict[str, Any]) -> dict[str, Any]:
    extra = row["extra"]
    policy = Policy(
        unsafe_follow_account_auths=bool(extra.get("follow_account_auths")),
        allow_higher_authority=bool(extra.get("allow_higher_authority")),
    )
    expect = {"app": extra["app"]} if "app" in extra else None
    shared = {"address": row["address"], "chain": row["chain"], "message": row["message"], "policy": policy}
    return shared | {"signature": row["signature"], "role": extra["role"], "expect": expect}


def test_every_hive_vector_gets_the_verdict_it_says(vectors: Load) -> None:
    rows = vectors("hive")
    for scheme in (True, False):
        wrong = [
            row["id"]
            for row in rows
            if verify(
                **question(row),
                scheme=row["scheme"] if scheme else None,
                authorities=row["extra"]["accounts"],
            ).ok
            is not row["valid"]
        ]
        assert wrong == []


async def test_the_same_accounts_from_a_node_give_the_same_verdicts(vectors: Load) -> None:
    wrong = []
    for row in vectors("hive"):
        resolver = RecordedChain(accounts=row["extra"]["accounts"])
        answer = await averify(**question(row), scheme=row["scheme"], resolver=resolver)
        if answer.ok is not row["valid"]:
            wrong.append(row["id"])
    assert wrong == []


def test_every_hivesigner_vector_is_judged_the_same_when_the_app_is_named(vectors: Load) -> None:
    rows = [row for row in vectors("hive") if row["scheme"] == "hivesigner-token"]
    assert rows
    for row in rows:
        asked = question(row) | {"expect": {"app": "dlux-io"}}
        assert verify(**asked, scheme=row["scheme"], authorities=row["extra"]["accounts"]).ok is row["valid"]
