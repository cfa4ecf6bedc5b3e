"""Who calls: operators by key and scope, creators by signatures that serve one request, nobody by an empty one."""

import logging
from pathlib import Path
from typing import Any

import pytest

from chainwatch.access import writes
from chainwatch.api import creator_auth
from chainwatch.errors import Rejected
from chainwatch.ledger import operators
from chainwatch.testing.callers import Creator, operator, resolving
from chainwatch.testing.served import NOW_MS, Served, served
from chainwatch.testing.wallets import HiveWallet
from chainwatch.verifiers.recorded import RecordedChain
from chainwatch.verifiers.result import Unavailable

EVENT = {"id": "gala", "title": "Gala", "ticket_price": "25", "ticket_currency": "HIVE"}


# -- operators ---------------------------------------------------------------------------------------


async def test_a_key_opens_what_its_scopes_name(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        events = await operator(api, "events", name="eve")
        money = await operator(api, "money", name="mona")
        read = await operator(api, "read", name="rea")
        assert (await api.post("/api/events", EVENT, **events))[0] == 200
        assert (await api.post("/api/events", EVENT, **money))[1]["code"] == "forbidden"
        assert (await api.post("/api/events", EVENT, **read))[1]["code"] == "forbidden"
        assert (await api.get("/api/payouts", **money))[0] == 200
        assert (await api.get("/api/payouts", **read))[0] == 200  # looks at everything
        assert (await api.get("/api/payouts", **events))[1]["code"] == "forbidden"
        assert (await api.get("/api/payouts"))[0] == 401


async def test_a_revoked_key_and_an_invented_one_open_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        headers = await operator(api)
        await operator(api, name="other")
        assert await api.store.write(operators.revoke, "olga", NOW_MS, "test")
        for each in (headers, {"Authorization": "Bearer cwk_invented"}, {"Authorization": "Bearer cwk_" + "a" * 5000}):
            status, answer = await api.get("/api/payouts", **each)
            assert (status, answer["code"]) == (401, "unauthorized")


async def test_keys_are_kept_as_hashes_with_their_last_use(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        key = (await operator(api))["Authorization"].removeprefix("Bearer ")
        await api.get("/api/payouts", Authorization=f"Bearer {key}")
        (row,) = await api.store.read(operators.listing)
        assert row.used_ms == NOW_MS
        assert not hasattr(row, "key_hash")
        with api.store.reading() as connection:
            dump = str(connection.exec_driver_sql("SELECT * FROM api_keys").all())
        assert key not in dump


@pytest.mark.parametrize(
    ("name", "scopes", "code"),
    [("", ["read"], "bad_name"), ("a\nb", ["read"], "bad_name"), ("a", ["root"], "bad_scope"), ("a", [], "bad_scope")],
)
async def test_keys_that_cannot_be(tmp_path: Path, name: str, scopes: list[str], code: str) -> None:
    async with served(tmp_path) as api:
        with pytest.raises(Rejected) as caught:
            await api.store.write(operators.add, name, scopes, NOW_MS, "test")
        assert caught.value.code == code


# -- creators that read ------------------------------------------------------------------------------

PATH = "/api/creators/alice/payout-addresses"


async def test_the_platforms_headers_open_reads(tmp_path: Path) -> None:
    alice = Creator("alice")
    async with served(tmp_path, resolver=resolving([alice])) as api:
        assert (await api.get(PATH, **alice.reads()))[0] == 200
        without_key = {k: v for k, v in alice.reads().items() if k != "x-pubkey"}
        assert (await api.get(PATH, **without_key))[0] == 200


@pytest.mark.parametrize(
    ("challenge", "changes"),
    [
        (str(NOW_MS // 1000 - 400), {}),  # older than [creators] header_seconds
        (str(NOW_MS // 1000 + 120), {}),
        (str(NOW_MS), {}),  # milliseconds
        ("now", {}),
        ("", {}),
        (str(NOW_MS // 1000), {"x-account": "bob"}),
        (str(NOW_MS // 1000), {"x-account": "no account!"}),
        (str(NOW_MS // 1000), {"x-signature": "00" * 65}),
        (str(NOW_MS // 1000), {"x-signature": "zz"}),
        (str(NOW_MS // 1000), {"x-pubkey": HiveWallet("mallory").public_key}),
        (str(NOW_MS // 1000), {"x-pubkey": "STMnonsense"}),
        (str(NOW_MS // 1000 - 1), {"x-challenge": str(NOW_MS // 1000)}),
    ],
)
async def test_headers_that_prove_nothing(tmp_path: Path, challenge: str, changes: dict[str, str]) -> None:
    alice = Creator("alice")
    async with served(tmp_path, resolver=resolving([alice, Creator("bob")])) as api:
        status, answer = await api.get(PATH, **alice.reads(challenge, **changes))
        assert status == 401, answer


async def test_headers_open_no_write_and_nobody_elses(tmp_path: Path) -> None:
    alice = Creator("alice")
    async with served(tmp_path, resolver=resolving([alice])) as api:
        assert (await api.post("/api/events", EVENT, **alice.reads()))[0] == 401
        status, answer = await api.get("/api/creators/bob/payout-addresses", **alice.reads())
        assert (status, answer["code"]) == (403, "forbidden")


async def test_the_memo_key_is_no_authority(tmp_path: Path) -> None:
    alice = Creator("alice")
    now = str(NOW_MS // 1000)
    memo = HiveWallet("memo")
    async with served(tmp_path, resolver=resolving([alice])) as api:
        headers = alice.reads(**{"x-pubkey": memo.public_key, "x-signature": memo.sign_message(now)})
        assert (await api.get(PATH, **headers))[1]["code"] == "bad_signature"


async def test_a_proof_is_asked_of_the_chain_once_in_half_a_minute(tmp_path: Path) -> None:
    alice = Creator("alice")
    asked = []

    class Counting(RecordedChain):
        async def hive_accounts(self, names: Any) -> Any:
            asked.append(names)
            return await super().hive_accounts(names)

    chain = Counting(accounts=[alice.account])
    async with served(tmp_path, resolver=lambda code: chain if code == "HIVE" else None) as api:
        for _ in range(5):
            assert (await api.get(PATH, **alice.reads()))[0] == 200
        assert len(asked) == 1
        api.clock.advance(31)
        await api.get(PATH, **alice.reads())
        assert len(asked) == 2


async def test_a_chain_that_does_not_answer_lets_nobody_in(tmp_path: Path) -> None:
    class Down(RecordedChain):
        async def hive_accounts(self, names: Any) -> Any:
            raise Unavailable("down")

    for resolver in (lambda _chain: Down(), lambda _chain: None):
        (tmp_path / str(id(resolver))).mkdir()
        async with served(tmp_path / str(id(resolver)), resolver=resolver) as api:
            assert (await api.get(PATH, **Creator("alice").reads()))[0] == 503


# -- creators that write -----------------------------------------------------------------------------


def allow(api: Served, cap: int | None = None) -> None:
    """Let the platform's premium check say yes."""

    async def permission(_settings: object, _account: str) -> object:
        return creator_permission(cap)

    api.backend.premium.permission = permission  # type: ignore[method-assign, assignment]


def creator_permission(cap: int | None) -> object:
    from chainwatch.api.premium import Permission

    return Permission(True, cap)


async def test_a_creator_makes_and_changes_its_own_event(tmp_path: Path) -> None:
    alice, bob = Creator("alice"), Creator("bob")
    async with served(tmp_path, resolver=resolving([alice, bob])) as api:
        allow(api)
        status, answer = await alice.write(api, "POST", "/api/events/create", EVENT)
        assert status == 200, answer
        assert answer["creator_account"] == "alice"
        changed = {"title": "The Gala"}
        assert (await alice.write(api, "PATCH", "/api/events/gala", changed))[1]["title"] == "The Gala"
        assert (await bob.write(api, "PATCH", "/api/events/gala", changed))[1]["code"] == "forbidden"
        in_her_name = {**EVENT, "id": "other", "creator_account": "alice"}
        assert (await bob.write(api, "POST", "/api/events", in_her_name))[1]["code"] == "forbidden"


async def test_cancelling_and_payout_addresses_need_the_active_authority(tmp_path: Path) -> None:
    alice = Creator("alice")
    addresses = {"addresses": {"HIVE": "alice-cold"}}
    async with served(tmp_path, resolver=resolving([alice, Creator("alice-cold")])) as api:
        allow(api)
        await alice.write(api, "POST", "/api/events", EVENT)
        for method, path, body in (("POST", "/api/events/gala/cancel", {}), ("PUT", PATH, addresses)):
            status, answer = await alice.write(api, method, path, body)
            assert (status, answer["code"]) == (401, "bad_signature")
            status, answer = await alice.write(api, method, path, body, key=alice.active)
            assert status == 200, answer
        status, shown = await api.get(PATH, **alice.reads())
        assert shown["addresses"][0]["address"] == "alice-cold"
        assert shown["addresses"][0]["in_force"] is False  # 72 hours first


async def test_a_signature_serves_its_request_once(tmp_path: Path) -> None:
    alice = Creator("alice")
    async with served(tmp_path, resolver=resolving([alice])) as api:
        allow(api)
        proof = await alice.proof(api, "POST", "/api/events", EVENT)
        other = {**EVENT, "id": "other"}
        for body, path in ((other, "/api/events"), (EVENT, "/api/events/create"), (EVENT, "/api/events?x=1")):
            status, answer = await api.post(path, body, **proof)
            assert (status, answer["code"]) == (401, "bad_challenge")
        assert (await api.post("/api/events", EVENT, **proof))[0] == 200
        status, answer = await api.post("/api/events", EVENT, **proof)
        assert (status, answer["code"]) == (401, "replayed")


async def test_a_challenge_ends(tmp_path: Path) -> None:
    alice = Creator("alice")
    async with served(tmp_path, resolver=resolving([alice])) as api:
        allow(api)
        proof = await alice.proof(api, "POST", "/api/events", EVENT)
        api.clock.advance(301)
        status, answer = await api.post("/api/events", EVENT, **proof)
        assert (status, answer["code"]) == (401, "expired")


@pytest.mark.parametrize("value", [":alice", "00:alice", f"{'00' * 65}:alice", "x:", ":", "a:b:c"])
async def test_an_empty_or_bare_signature_is_refused_where_one_is_needed(tmp_path: Path, value: str) -> None:
    alice = Creator("alice")
    async with served(tmp_path, resolver=resolving([alice])) as api:
        allow(api)
        status, _ = await api.post("/api/events", EVENT, Authorization=f"Bearer {value}")
        assert status == 401
        proof = await alice.proof(api, "POST", "/api/events", EVENT)
        proof["Authorization"] = f"Bearer {value}"
        assert (await api.post("/api/events", EVENT, **proof))[0] == 401
        assert (await api.get("/api/events", Authorization=f"Bearer {value}"))[0] == 200  # anonymous on public routes


async def test_two_uses_at_once_are_one(tmp_path: Path) -> None:
    import asyncio

    alice = Creator("alice")
    async with served(tmp_path, resolver=resolving([alice])) as api:
        allow(api)
        proof = await alice.proof(api, "POST", "/api/events", EVENT)
        answers = await asyncio.gather(*(api.post("/api/events", EVENT, **proof) for _ in range(8)))
        assert sorted(status for status, _ in answers) == [200] + [401] * 7


def test_the_text_names_all_that_it_binds() -> None:
    key = bytes(32)
    request = writes.Request("tickets.example", "alice", "POST", "/api/events", "0" * 64)
    made = writes.issue(key, request, NOW_MS, 300_000)
    for part in ("tickets.example", "alice", "POST /api/events", "0" * 64):
        assert part in made.message
    assert writes.check(key, request, made.token, NOW_MS) == made
    for other in (
        writes.Request("evil.example", "alice", "POST", "/api/events", "0" * 64),
        writes.Request("tickets.example", "bob", "POST", "/api/events", "0" * 64),
        writes.Request("tickets.example", "alice", "PATCH", "/api/events", "0" * 64),
        writes.Request("tickets.example", "alice", "POST", "/api/events", "1" * 64),
    ):
        with pytest.raises(Rejected, match="another request"):
            writes.check(key, other, made.token, NOW_MS)
    with pytest.raises(Rejected, match="another request"):
        writes.check(bytes(31) + b"\1", request, made.token, NOW_MS)


@pytest.mark.parametrize(
    "query",
    [
        "account=alice&method=GET&path=/a&body_sha256=" + "0" * 64,
        "account=alice&path=a&body_sha256=" + "0" * 64,
        "account=alice&path=/a%0Ab&body_sha256=" + "0" * 64,
        "account=alice&path=/a&body_sha256=" + "g" * 64,
        "account=not+hive!&path=/a&body_sha256=" + "0" * 64,
        "account=alice",
    ],
)
async def test_texts_that_are_not_made(tmp_path: Path, query: str) -> None:
    async with served(tmp_path) as api:
        status, _ = await api.get(f"/api/creators/challenge?{query}")
        assert status == 400


async def test_no_secret_reaches_a_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    alice = Creator("alice")
    with caplog.at_level(logging.DEBUG):
        async with served(tmp_path, resolver=resolving([alice])) as api:
            headers = await operator(api)
            await api.post("/api/events", EVENT, **headers)
            proof = await alice.proof(api, "POST", "/api/events", EVENT)
            await api.post("/api/events", EVENT, **proof)
            _, bought = await api.post(
                "/api/events/purchase", {"event_id": "gala", "payment_method": "HIVE", "wallet_address": "alice"}
            )
            await api.get(f"/api/purchases/{bought['purchase_id']}")
    secrets = (headers["Authorization"], proof["Authorization"].split(":")[0], bought["purchase_id"])
    assert not [s for s in secrets if s.removeprefix("Bearer ") in caplog.text]


def test_the_domain_is_the_configured_one() -> None:
    assert creator_auth.account_of("ALICE") in (None, "alice")
    assert creator_auth.account_of("a" * 1000) is None


async def test_a_payout_address_of_nobody_is_refused(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        headers = await operator(api)
        body = {"addresses": {"HIVE": "alice"}}
        for account in ("Not%20valid", "ALICE"):
            status, answer = await api.call("PUT", f"/api/creators/{account}/payout-addresses", body, **headers)
            assert (status, answer["code"]) == (400, "bad_account")
        assert (await api.post("/api/events", {**EVENT, "creator_account": "ALICE"}, **headers))[0] == 200
        assert (await api.call("PUT", "/api/creators/ALICE/payout-addresses", body, **headers))[0] == 200
