"""The scenarios of ``access_policy.json`` through the door itself: every step a join, in order."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from chainwatch.access import AccessMessage, AccessReason, challenges
from chainwatch.access.admission import Admission, Attempt
from chainwatch.ledger.tables import challenge_wallets, used_nonces
from chainwatch.testing.guests import hive
from chainwatch.testing.served import NOW_MS, Served, served
from chainwatch.testing.tickets import make_event, mint
from chainwatch.wallets import canonical_wallet

EVENT = "evt_42"
OURS = {"domain": "dlux.io", "uri_prefix": "https://dlux.io/", "event": EVENT}
LIVES = {"max_age_ms": 300_000, "max_future_skew_ms": 60_000, "max_ttl_ms": 900_000}
TOML = '[http]\npublic_url = "https://dlux.io"\n[access]\ndomain = "dlux.io"\nclassic_messages = {}\n'


def scenarios(shared: Path) -> list[dict[str, Any]]:
    path = shared / "vectors" / "access_policy.json"
    if not path.exists():
        pytest.skip(f"no shared vectors: {path}")
    return [row for row in json.loads(path.read_text("utf-8")) if row["valid"] is not None]


async def knock(api: Served, admission: Admission, step: dict[str, Any]) -> str:
    api.clock.advance((step["now"] - api.clock.now_ms()) / 1000)
    decision = await admission.join(
        Attempt(
            event=EVENT,
            wallet=step["address"],
            signature=step["signature"],
            message=step["message"],
            timestamp_ms=step.get("timestamp"),
        )
    )
    return "ok" if decision.granted else decision.reason


def forget(api: Served) -> None:
    with api.store.transaction() as connection:
        connection.execute(delete(used_nonces))
        connection.execute(delete(challenge_wallets))


@pytest.mark.parametrize("classic", [True, False])
async def test_every_scenario_goes_as_the_vectors_say(
    classic: bool, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [r for r in scenarios(shared) if r["extra"]["policy"]["allow_legacy"] is classic]
    issued: set[str] = set()

    def ours(_deps: Any, message: AccessMessage, _reading: Any) -> AccessReason:
        # Their nonces are random; ours are derived (test_access, test_access_fuzz).
        return AccessReason.OK if message.nonce in issued else AccessReason.UNKNOWN_NONCE

    monkeypatch.setattr(challenges, "ours", ours)
    wrong: dict[str, Any] = {}
    async with served(tmp_path, toml=TOML.format(str(classic).lower()), resolver=hive) as api:
        make_event(api.store, api.backend.contexts, EVENT, NOW_MS)
        found = {canonical_wallet(step["address"]) for row in rows for step in row["extra"]["steps"]} - {None}
        mint(api.store, api.backend.contexts["ETH"], EVENT, sorted(str(w) for w in found), NOW_MS)
        admission = Admission(api.backend)
        for row in rows:
            policy = row["extra"]["policy"]
            assert {k: policy[k] for k in OURS} == OURS
            assert {k: policy[k] for k in LIVES} == LIVES
            forget(api)
            issued.clear()
            issued |= set(row["extra"]["issued_nonces"])
            steps = row["extra"]["steps"]
            answers = [await knock(api, admission, step) for step in steps]
            # One vector demands one EVM chain of a key.  By our ruling a key is one wallet on all of them.
            expected = ["ok" if step["expect"] == "chain_id" else step["expect"] for step in steps]
            if answers != expected:
                wrong[row["id"]] = (answers, expected)
    assert wrong == {}
    assert len(rows) > 5
