"""The scenarios of ``access_policy.json``: every step of every one, in order, with a store of used nonces."""

from collections.abc import Callable
from typing import Any

from chainwatch.access import AccessMessage, AccessPolicy, AccessReason
from chainwatch.errors import Rejected
from chainwatch.verifiers import verify


class Door:
    """What the daemon does around the pure parts: signature, then nonce, in this order."""

    def __init__(self, policy: dict[str, Any], issued: list[str]) -> None:
        self.policy = AccessPolicy(
            domain=policy["domain"],
            uri_prefix=policy["uri_prefix"],
            max_age_ms=policy["max_age_ms"],
            max_skew_ms=policy["max_future_skew_ms"],
            max_ttl_ms=policy["max_ttl_ms"],
            classic=policy["allow_legacy"],
        )
        self.event = policy["event"]
        self.issued = set(issued) if policy["require_issued_nonce"] else None
        self.used: set[str] = set()

    def knock(self, step: dict[str, Any]) -> str:
        chain, address = step["chain"], step["address"]
        try:
            message = AccessMessage.parse(step["message"])
        except Rejected as refused:
            return refused.code
        reason = message.check(
            self.policy,
            event=self.event,
            chain=chain,
            address=address,
            now_ms=step["now"],
            timestamp_ms=step.get("timestamp"),
            chain_id=None if step.get("chain_id") is None else str(step["chain_id"]),
        )
        if reason is not AccessReason.OK:
            return reason
        now = step["now"] / 1000
        if not verify(address=address, chain=chain, message=step["message"], signature=step["signature"], now=now):
            return AccessReason.BAD_SIGNATURE
        if message.nonce is not None and self.issued is not None and message.nonce not in self.issued:
            return AccessReason.UNKNOWN_NONCE
        key = message.replay_key(chain, address)
        if key in self.used:
            return AccessReason.REPLAYED
        self.used.add(key)
        return AccessReason.OK


def test_every_scenario_goes_step_by_step_as_the_vectors_say(vectors: Callable[[str], list[dict[str, Any]]]) -> None:
    wrong = {}
    rows = vectors("access_policy")
    for row in rows:
        door = Door(row["extra"]["policy"], row["extra"]["issued_nonces"])
        answers = [door.knock(step) for step in row["extra"]["steps"]]
        expected = [step["expect"] for step in row["extra"]["steps"]]
        if answers != expected:
            wrong[row["id"]] = (answers, expected)
    assert wrong == {}
    assert len(rows) >= 50
