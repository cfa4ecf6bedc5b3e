"""The door of virtual events over HTTP: who gets in, who does not, why, and what is left behind."""

import asyncio
import base64
import dataclasses
import hmac
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from sqlalchemy import update

from chainwatch.access import AccessMessage, AccessReason, attempts, challenges, nonces
from chainwatch.access import sessions as session_rules
from chainwatch.access.admission import Admission, Attempt
from chainwatch.ledger.tables import attendance, audit_log, entries, outbox, purchases, sessions, tickets
from chainwatch.testing.guests import (
    ALICE,
    GUEST,
    HOUR,
    STRANGER,
    NoContracts,
    challenge,
    contract,
    door,
    hive,
    join,
    rows,
    set_event,
    set_ticket,
    signed,
    verify,
)
from chainwatch.testing.served import NOW_MS, served
from chainwatch.testing.tickets import make_event, mint
from chainwatch.testing.wallets import BitcoinWallet, EvmWallet, HiveWallet, MoneroWallet, SolanaWallet
from chainwatch.verifiers import Unavailable
from chainwatch.verifiers.recorded import RecordedChain

# -- who gets in ---------------------------------------------------------------------------------------

WALLETS: list[Any] = [GUEST, BitcoinWallet("guest"), SolanaWallet("guest"), ALICE, MoneroWallet("guest")]


@pytest.mark.parametrize("wallet", WALLETS, ids=lambda w: type(w).__name__)
async def test_every_kind_of_wallet_asks_joins_and_leaves(wallet: Any, tmp_path: Path) -> None:
    toml = '[access]\nwebsocket_url = "wss://rooms.example/{event_id}"\n'
    async with door(tmp_path, toml=toml, wallets=[wallet]) as api:
        body = await signed(api, wallet)
        asked = await verify(api, body)
        assert (asked["access_granted"], asked["hasAccess"], asked["reason"]) == (True, True, "granted")
        status, joined = await api.post("/api/events/gala/join", body)
        assert (status, joined["access_granted"], joined["ticket_id"]) == (200, True, asked["ticket_id"])
        assert joined["websocket_url"] == "wss://rooms.example/gala"
        api.clock.advance(119)
        bearer = "Bearer " + joined["session_token"]
        status, left = await api.post("/api/events/gala/leave", {"chat_messages_sent": 3}, Authorization=bearer)
        assert (status, left["total_duration_minutes"]) == (200, 2)
        (stay,) = rows(api, attendance)
        assert (stay.joined_ms - NOW_MS, stay.left_ms - stay.joined_ms) == (1, 119_000)
        assert (stay.wallet_address, stay.chat_messages_sent) == (wallet.address, 3)


async def test_without_a_signature_the_answer_is_what_to_sign(tmp_path: Path) -> None:
    async with door(tmp_path) as api:
        # As the platform's client asks: camelCase, no signature, and its empty Authorization.
        asked = await verify(api, {"walletAddress": GUEST.address})
        assert (asked["access_granted"], asked["reason"]) == (False, "challenge_required")
        body = {"walletAddress": GUEST.address, "signature": GUEST.sign_message(asked["challenge"]["message"])}
        body["message"] = asked["challenge"]["message"]
        assert (await verify(api, body))["access_granted"]
        status, refused = await api.post("/api/events/gala/join", {"wallet_address": GUEST.address})
        assert (status, refused["code"], refused["access_granted"]) == (401, "challenge_required", False)


async def test_asking_changes_nothing_but_the_audit_log(tmp_path: Path) -> None:
    async with door(tmp_path, entry_policy="once") as api:
        body = await signed(api, GUEST)
        for _ in range(3):
            assert (await verify(api, body))["access_granted"]
        assert rows(api, entries) == rows(api, attendance) == rows(api, sessions) == []
        assert [t.state for t in rows(api, tickets)] == ["active"]
        assert len([a for a in rows(api, audit_log) if a.action == "access.verify"]) == 3
        assert (await api.post("/api/events/gala/join", body))[0] == 200
        assert (await verify(api, await signed(api, GUEST)))["reason"] == "already_redeemed"
        assert (await verify(api, body))["reason"] == "replayed"


async def test_a_signature_with_the_challenge_s_timestamp_alone_finds_its_text(tmp_path: Path) -> None:
    async with door(tmp_path) as api:
        for more in ("", "&chain=ETH", "&chain=eip155:1", "&chain=evm", "&form=line", "&form=line&chain=EVM"):
            api.clock.advance(1)
            given = await challenge(api, GUEST, more=more)
            body = {"wallet_address": GUEST.address, "signature": GUEST.sign_message(given["message"])}
            status, answer = await api.post("/api/events/gala/join", body | {"timestamp": given["timestamp"]})
            assert status == 200, answer
        polygon = await challenge(api, GUEST, more="&chain=eip155:137")
        assert "Chain ID: 137" in polygon["message"]
        body = {"wallet_address": GUEST.address.lower(), "signature": GUEST.sign_message(polygon["message"])}
        status, answer = await api.post("/api/events/gala/join", body | {"message": polygon["message"]})
        assert status == 200, answer


async def test_no_text_is_issued_that_is_not_recognised(tmp_path: Path) -> None:
    """The one-line form names no chain id: only configured chains are looked for."""
    async with door(tmp_path) as api:
        asked = f"/api/events/gala/challenge?wallet={GUEST.address}&chain=eip155:10"
        status, answer = await api.get(f"{asked}&form=line")
        assert (status, answer["code"]) == (400, "bad_wallet"), answer
        _, given = await api.get(asked)
        body = {"walletAddress": GUEST.address, "message": given["message"]}
        body["signature"] = GUEST.sign_message(given["message"])
        _, answer = await api.post("/api/events/gala/verify-access", body)
        assert answer["access_granted"], answer


@pytest.mark.parametrize("line", [False, True])
async def test_a_text_is_ours_word_for_word(line: bool, tmp_path: Path) -> None:
    async with door(tmp_path) as api:
        given = challenges.issue(api.backend, "gala", GUEST.address, line=line)
        (reading,) = challenges.readings(api.backend, GUEST.address, "ETH")
        assert challenges.ours(api.backend, given, reading) is AccessReason.OK
        others = [
            dataclasses.replace(given, event="gala2"),
            dataclasses.replace(given, issued_ms=given.issued_ms + 1),
            dataclasses.replace(given, expires_ms=(given.expires_ms or 0) + 1),
            dataclasses.replace(given, domain="elsewhere.example"),
            dataclasses.replace(given, address=GUEST.address.lower()),
            dataclasses.replace(given, word="Solana"),
            dataclasses.replace(given, nonce="x" * len(given.nonce or "")),
        ]
        if not line:
            others.append(dataclasses.replace(given, uri=f"{given.uri}/else"))
            others.append(dataclasses.replace(given, chain_id="137"))
        for other in others:
            assert AccessMessage.parse(other.render()) == other
            assert challenges.ours(api.backend, other, reading) is not AccessReason.OK, other


async def test_a_timestamp_that_was_not_signed_is_never_searched_for(tmp_path: Path) -> None:
    """The platform's client computes a new Date.now() after signing."""
    async with door(tmp_path) as api:
        given = await challenge(api, GUEST)
        body = {"wallet_address": GUEST.address, "signature": GUEST.sign_message(given["message"])}
        status, answer = await api.post("/api/events/gala/join", body | {"timestamp": given["timestamp"] + 1})
        assert (status, answer["code"]) == (403, "bad_signature")
        both = body | {"timestamp": given["timestamp"] + 1, "message": given["message"]}
        assert (await api.post("/api/events/gala/join", both))[1]["code"] == "timestamp_mismatch"


# -- who does not --------------------------------------------------------------------------------------


async def test_reasons_of_texts_and_signatures(tmp_path: Path) -> None:
    async with door(tmp_path) as api:
        make_event(api.store, api.backend.contexts, "other", NOW_MS)
        body = await signed(api, GUEST)
        text = body["message"]
        nonce = (await challenge(api, GUEST))["nonce"]
        wrong: list[tuple[str, dict[str, Any]]] = [
            ("bad_signature", await signed(api, GUEST, STRANGER)),
            ("no_ticket", await signed(api, STRANGER)),
            ("wallet", body | {"wallet_address": STRANGER.address}),
            ("malformed", body | {"message": text + "\n"}),
            ("bad_signature", body | {"signature": "0x" + "00" * 65}),
            ("bad_signature", body | {"signature": [1, 2, 3]}),
        ]
        for reason, changed in (
            ("unknown_nonce", text.replace(nonce, "A" * 22)),
            ("domain", text.replace("127.0.0.1:8080 wants", "evil.example wants")),
            ("unknown_nonce", text.replace("Chain ID: 1\n", "Chain ID: 56\n")),
        ):
            wrong.append((reason, body | {"message": changed, "signature": GUEST.sign_message(changed)}))
        for reason, attempt in wrong:
            asked = await verify(api, attempt)
            if reason == "unknown_nonce":
                assert asked["reason"] in ("unknown_nonce", "chain_id")
            else:
                assert asked["reason"] == reason, attempt
            assert not asked["access_granted"]
            status, refused = await api.post("/api/events/gala/join", attempt)
            assert (status, refused["access_granted"]) == (403, False)
        other = await api.post("/api/events/other/join", body)
        assert (other[0], other[1]["code"]) == (403, "event")
        assert (await api.post("/api/events/none/join", body))[0] == 404
        assert (await api.post("/api/events/gala/join", body | {"wallet_address": "nobody at all"}))[0] == 400
        # None of this used the challenge up.
        assert (await api.post("/api/events/gala/join", body))[0] == 200


STATES = [("refunded", "refunded"), ("cancelled", "cancelled"), ("revoked", "revoked"), ("suspended", "suspended")]


@pytest.mark.parametrize(("state", "reason"), STATES)
async def test_a_ticket_that_is_not_live_opens_nothing(state: str, reason: str, tmp_path: Path) -> None:
    async with door(tmp_path) as api:
        set_ticket(api, state=state)
        assert (await verify(api, await signed(api, GUEST)))["reason"] == reason
        assert (await join(api))[1]["code"] == reason


async def test_the_hours_of_an_event_to_the_millisecond(tmp_path: Path) -> None:
    times = {"event_start_ms": NOW_MS + HOUR, "event_end_ms": NOW_MS + 2 * HOUR}
    async with door(tmp_path, toml="[access]\nearly_minutes = 30\n", **times) as api:
        assert (await join(api, after_s=1799.999))[1]["code"] == "not_yet"
        status, joined = await join(api, after_s=0.001)
        assert status == 200
        status, last = await join(api, after_s=5399.999)
        assert status == 200
        # A session ends with the event, whatever is left of its five minutes.
        assert last["session_expires_at"] == "2025-10-09T10:53:20Z"
        assert (await join(api, after_s=0.001))[1]["code"] == "over"
        assert joined["session_expires_at"] == "2025-10-09T09:28:20Z"


async def test_the_live_gate_opens_early_and_closes_early(tmp_path: Path) -> None:
    async with door(tmp_path, event_start_ms=NOW_MS + 5 * HOUR, event_end_ms=NOW_MS + 9 * HOUR) as api:
        assert (await join(api))[1]["code"] == "not_yet"
        set_event(api, started_ms=NOW_MS)
        status, joined = await join(api)
        assert status == 200
        set_event(api, ended_ms=NOW_MS)
        assert (await join(api))[1]["code"] == "over"
        status, refused = await api.post("/api/sessions/refresh", Authorization="Bearer " + joined["session_token"])
        assert (status, refused["code"]) == (403, "over")


async def test_a_text_s_life_to_the_millisecond(tmp_path: Path) -> None:
    """Two audits of others found an off-by-one at a window's end (Myriad #419, Paygate #152)."""
    async with door(tmp_path) as api:
        body, twice = await signed(api, GUEST, after_s=1), await signed(api, GUEST, after_s=0)
        assert body == twice  # of one moment there is one challenge
        api.clock.advance(299.999)
        assert (await api.post("/api/events/gala/join", body))[0] == 200
        assert (await api.post("/api/events/gala/join", body))[1]["code"] == "replayed"
        late = await signed(api, GUEST, after_s=0)
        api.clock.advance(300)
        assert (await api.post("/api/events/gala/join", late))[1]["code"] == "expired"
        assert (await api.post("/api/events/gala/join", body))[1]["code"] == "expired"


@pytest.mark.parametrize(
    ("policy", "after_s", "second"),
    [("reentry", 1, 200), ("once", 1, 403), ("once", 90_000, 403), ("daily", 1, 403), ("daily", 90_000, 200)],
)
async def test_entry_policies(policy: str, after_s: int, second: int, tmp_path: Path) -> None:
    async with door(tmp_path, entry_policy=policy) as api:
        assert (await join(api))[0] == 200
        api.clock.advance(after_s)
        status, answer = await join(api)
        assert status == second
        if status == 403:
            assert answer["code"] == "already_redeemed"


async def test_a_wallet_with_two_tickets_comes_in_twice(tmp_path: Path) -> None:
    async with door(tmp_path, entry_policy="once") as api:
        mint(api.store, api.backend.contexts["HIVE"], "gala", [GUEST.address], NOW_MS)
        found = {(await join(api))[1].get("ticket_id") for _ in range(2)}
        assert len(found) == 2
        assert (await join(api))[0] == 403


async def test_an_event_that_lets_in_by_code_only_lets_no_wallet_in(tmp_path: Path) -> None:
    async with door(tmp_path, door="qr") as api:
        assert (await join(api))[1]["code"] == "door_qr_only"


# -- once ----------------------------------------------------------------------------------------------


async def test_of_a_hundred_joins_with_one_challenge_exactly_one_gets_in(database: str, tmp_path: Path) -> None:
    async with door(tmp_path, url=database) as api:
        body = await signed(api, GUEST)
        answers = await asyncio.gather(*(api.post("/api/events/gala/join", body) for _ in range(100)))
        assert sorted(status for status, _ in answers) == [200] + [403] * 99
        assert {a["code"] for status, a in answers if status == 403} == {"replayed"}
        assert len([e for e in rows(api, entries) if e.admitted]) == 1
        assert len(rows(api, sessions)) == len(rows(api, attendance)) == 1


async def test_of_fifty_joins_with_a_challenge_each_once_lets_one_in(database: str, tmp_path: Path) -> None:
    async with door(tmp_path, url=database, entry_policy="once") as api:
        bodies = [await signed(api, GUEST) for _ in range(50)]
        answers = await asyncio.gather(*(api.post("/api/events/gala/join", body) for body in bodies))
        assert sorted(status for status, _ in answers) == [200] + [403] * 49


async def test_a_denied_join_with_a_valid_signature_uses_its_text_up(tmp_path: Path) -> None:
    """Who overheard it could come in with it once the gate opens."""
    async with door(tmp_path, event_start_ms=NOW_MS + HOUR) as api:
        body = await signed(api, GUEST)
        assert (await api.post("/api/events/gala/join", body))[1]["code"] == "not_yet"
        set_event(api, started_ms=NOW_MS)
        assert (await api.post("/api/events/gala/join", body))[1]["code"] == "replayed"
        assert (await join(api, after_s=0))[1]["code"] == "replayed"  # the same moment, the same challenge
        assert (await join(api))[0] == 200


async def test_what_was_used_is_remembered_as_long_as_its_text_could_pass(tmp_path: Path) -> None:
    async with door(tmp_path) as api:
        ahead = NOW_MS + 60_000  # a classic text of a clock that is a minute fast lives longest
        text = f"Access event gala at {ahead}"
        body = {"wallet_address": GUEST.address, "signature": GUEST.sign_message(text), "timestamp": ahead}
        assert (await api.post("/api/events/gala/join", body))[0] == 200
        for seconds in (1, 299, 59.999):
            api.clock.advance(seconds)
            await api.store.write(nonces.forget, api.clock.now_ms())
            assert (await api.post("/api/events/gala/join", body))[1]["code"] == "replayed"
        api.clock.advance(0.002)
        assert (await api.post("/api/events/gala/join", body))[1]["code"] == "expired"
        api.clock.advance(600)
        assert await api.store.write(nonces.forget, api.clock.now_ms()) == 1


async def test_attempts_are_forgotten_after_their_days(tmp_path: Path) -> None:
    async with door(tmp_path) as api:
        await join(api, STRANGER)
        await join(api)
        before = len(rows(api, audit_log))
        assert await api.store.write(attempts.forget, NOW_MS) == 0
        assert await api.store.write(attempts.forget, NOW_MS + HOUR) == 2
        assert len(rows(api, audit_log)) == before - 2


# -- classic texts ---------------------------------------------------------------------------------------


def classic(text: str, ms: int, **more: Any) -> dict[str, Any]:
    return {"wallet_address": GUEST.address, "signature": GUEST.sign_message(text), "timestamp": ms} | more


@pytest.mark.parametrize("form", ["Access event gala at {}", "Access gala at {}"])
async def test_classic_texts_join_once_and_inside_the_window(form: str, tmp_path: Path) -> None:
    async with door(tmp_path) as api:
        text = form.format(NOW_MS)
        body = classic(text, NOW_MS)
        # verify-access takes none, with or without the text.
        assert (await verify(api, body))["reason"] == "bad_signature"
        assert (await verify(api, body | {"message": text}))["reason"] == "classic_refused"
        assert (await api.post("/api/events/gala/join", body))[0] == 200
        assert (await api.post("/api/events/gala/join", body))[1]["code"] == "replayed"
        assert (await api.post("/api/events/gala/join", body | {"message": text}))[1]["code"] == "replayed"
        old = NOW_MS - 300_001
        assert (await api.post("/api/events/gala/join", classic(form.format(old), old)))[1]["code"] == "expired"
        edge = NOW_MS - 300_000
        assert (await api.post("/api/events/gala/join", classic(form.format(edge), edge)))[0] == 200
        ahead = NOW_MS + 60_001
        assert (await api.post("/api/events/gala/join", classic(form.format(ahead), ahead)))[1]["code"] == "future"
        assert b'chainwatch_access_classic_total{decision="granted"} 2.0' in api.backend.metrics.render()


async def test_a_wallet_that_has_used_a_challenge_signs_no_classic_text_any_more(tmp_path: Path) -> None:
    async with door(tmp_path) as api:
        body = classic(f"Access event gala at {NOW_MS}", NOW_MS)
        assert (await api.post("/api/events/gala/join", body))[0] == 200
        assert (await join(api))[0] == 200
        later = NOW_MS + 1
        again = classic(f"Access event gala at {later}", later)
        assert (await api.post("/api/events/gala/join", again))[1]["code"] == "classic_refused"


async def test_classic_texts_end_at_the_event_s_sunset_or_altogether(tmp_path: Path) -> None:
    async with door(tmp_path, classic_until_ms=NOW_MS + 1000) as api:
        text = f"Access event gala at {NOW_MS}"
        api.clock.advance(1)
        body = classic(text, NOW_MS, message=text)
        assert (await api.post("/api/events/gala/join", body))[1]["code"] == "classic_refused"
    (tmp_path / "off").mkdir()
    async with door(tmp_path / "off", toml="[access]\nclassic_messages = false\n") as api:
        assert (await api.post("/api/events/gala/join", body))[1]["code"] == "classic_refused"
        assert (await api.post("/api/events/gala/join", classic(text, NOW_MS)))[1]["code"] == "bad_signature"


# -- chains that must be asked ---------------------------------------------------------------------------


class Silent(RecordedChain):
    async def hive_accounts(self, names: Any) -> Any:
        raise Unavailable("no node")


async def test_a_chain_that_does_not_answer_is_unavailable_and_uses_nothing_up(tmp_path: Path) -> None:
    answers: list[Any] = [Silent()]
    async with door(tmp_path, wallets=[ALICE], resolver=lambda _c: answers[0]) as api:
        body = await signed(api, ALICE)
        for path in ("verify-access", "join"):
            status, answer = await api.post(f"/api/events/gala/{path}", body)
            assert (status, answer["code"]) == (503, "unavailable")
        answers[0] = hive("HIVE")
        assert (await api.post("/api/events/gala/join", body))[0] == 200


async def test_an_account_that_changed_its_key_is_refused_at_once(tmp_path: Path) -> None:
    accounts = [ALICE.account]
    async with door(tmp_path, wallets=[ALICE], resolver=lambda _c: NoContracts(accounts=accounts)) as api:
        assert (await verify(api, await signed(api, ALICE)))["access_granted"]
        accounts[0] = HiveWallet("thief").account | {"name": "alice"}
        assert (await verify(api, await signed(api, ALICE)))["reason"] == "bad_signature"


SAFE, OWNER = EvmWallet("an address").address, EvmWallet("owner")


@pytest.mark.parametrize(("paid_on", "bound", "let_in"), [("ETH", None, 1), ("HIVE", "ETH", 1), ("HIVE", None, 0)])
async def test_a_contract_wallet_counts_where_it_was_bound_or_paid(
    paid_on: str, bound: str | None, let_in: int, tmp_path: Path
) -> None:
    resolvers: dict[str, Any] = {}
    async with door(tmp_path, wallets=[], resolver=resolvers.get) as api:
        mint(api.store, api.backend.contexts[paid_on], "gala", [SAFE], NOW_MS)
        with api.store.transaction() as connection:
            connection.execute(update(purchases).values(wallet_chain=bound))
        _, given = await api.get(f"/api/events/gala/challenge?wallet={SAFE}&chain=ETH")
        resolvers["ETH"], signature = contract(SAFE, OWNER, given["message"])
        body = {"wallet_address": SAFE, "message": given["message"], "signature": signature}
        assert (await verify(api, body))["access_granted"] is bool(let_in)
        status, answer = await api.post("/api/events/gala/join", body)
        assert status == (200 if let_in else 403)
        if not let_in:
            assert answer["code"] in ("contract_chain", "bad_signature")
        resolvers["ETH"] = RecordedChain()  # a node that does not answer
        api.clock.advance(1)
        _, given = await api.get(f"/api/events/gala/challenge?wallet={SAFE}&chain=ETH")
        body = {"wallet_address": SAFE, "message": given["message"], "signature": OWNER.sign_message(given["message"])}
        status, answer = await api.post("/api/events/gala/join", body)
        assert status == (503 if let_in else 403)


async def test_the_domain_is_the_configured_one_whatever_a_request_says(tmp_path: Path) -> None:
    toml = '[http]\npublic_url = "https://tickets.example"\n'
    async with served(tmp_path, toml=toml) as api:
        make_event(api.store, api.backend.contexts, "gala", NOW_MS)
        path = f"/api/events/gala/challenge?wallet={GUEST.address}"
        for headers in (
            {"Host": "evil.example"},
            {"X_Forwarded_Host": "evil.example"},
            {"Origin": "https://evil.example"},
        ):
            _, given = await api.get(path, **headers)
            assert given["message"].startswith("tickets.example wants you")
            assert "evil" not in given["message"]


# -- sessions --------------------------------------------------------------------------------------------


def bearer(answer: Any) -> str:
    return "Bearer " + str(answer["session_token"])


async def test_a_session_token_verifies_offline_against_the_jwks(tmp_path: Path) -> None:
    async with door(tmp_path) as api:
        _, joined = await join(api)
        _, keys = await api.get("/.well-known/jwks.json")
        token = joined["session_token"]
        header = jwt.get_unverified_header(token)
        assert (header["typ"], header["alg"]) == ("session+jwt", "EdDSA")
        (key,) = [k for k in jwt.PyJWKSet(keys["keys"]).keys if k.key_id == header["kid"]]
        options: Any = {"verify_exp": False, "verify_iat": False}
        claims = jwt.decode(token, key, algorithms=["EdDSA"], audience="127.0.0.1:8080", options=options)
        assert (claims["event"], claims["number"], claims["wallet"]) == ("gala", 1, GUEST.address)
        assert claims["exp"] - claims["iat"] == 300


async def test_refreshing_rotates_and_ends(tmp_path: Path) -> None:
    async with door(tmp_path) as api:
        _, first = await join(api)
        api.clock.advance(299)
        status, second = await api.post("/api/sessions/refresh", Authorization=bearer(first))
        assert status == 200
        assert (await api.post("/api/sessions/refresh", Authorization=bearer(first)))[0] == 401
        api.clock.advance(299)
        status, third = await api.post("/api/sessions/refresh", Authorization=bearer(second))
        assert status == 200
        set_ticket(api, state="revoked")
        status, refused = await api.post("/api/sessions/refresh", Authorization=bearer(third))
        assert (status, refused["code"]) == (403, "revoked")
        set_ticket(api, state="used")
        assert (await api.post("/api/sessions/refresh", Authorization=bearer(third)))[0] == 401


async def test_a_session_that_nobody_refreshes_is_over_after_five_minutes(tmp_path: Path) -> None:
    async with door(tmp_path) as api:
        _, joined = await join(api)
        api.clock.advance(300)
        assert (await api.post("/api/sessions/refresh", Authorization=bearer(joined)))[0] == 401
        assert await api.store.write(session_rules.sweep, api.clock.now_ms()) == 1
        (stay,) = rows(api, attendance)
        assert (stay.left_ms - stay.joined_ms, stay.total_duration_minutes) == (300_000, 5)


async def test_a_new_join_ends_the_session_before(tmp_path: Path) -> None:
    async with door(tmp_path) as api:
        _, first = await join(api)
        api.clock.advance(60)
        _, second = await join(api)
        assert (await api.post("/api/sessions/refresh", Authorization=bearer(first)))[0] == 401
        assert (await api.post("/api/sessions/refresh", Authorization=bearer(second)))[0] == 200
        one, two = rows(api, sessions)
        assert (one.ended_why, one.ended_ms, two.ended_ms) == ("joined_again", two.started_ms, None)
        assert len(rows(api, entries)) == 2


async def test_tokens_of_other_kinds_are_no_sessions(tmp_path: Path) -> None:
    async with door(tmp_path) as api:
        _, joined = await join(api)
        issuer = api.backend.issuer
        claims = jwt.decode(joined["session_token"], options={"verify_signature": False})
        forged = [
            rows(api, tickets)[0].jws,
            issuer.sign(claims),
            issuer.signer("manifest").sign(claims),
            issuer.signer("session").sign(claims | {"aud": "elsewhere.example"}),
            issuer.signer("session").sign(claims | {"exp": NOW_MS // 1000}),
            issuer.signer("session").sign({k: v for k, v in claims.items() if k != "exp"}),
            jwt.encode(claims, None, algorithm="none", headers={"typ": "session+jwt"}),
            jwt.encode(claims, "x" * 64, algorithm="HS256", headers={"typ": "session+jwt"}),
            joined["session_token"][:-4] + "AAAA",
            "a.b.c",
        ]
        for token in forged:
            status, answer = await api.post("/api/sessions/refresh", Authorization=f"Bearer {token}")
            assert (status, answer["code"]) == (401, "bad_session"), token
        assert (await api.post("/api/sessions/refresh"))[0] == 401
        assert (await api.post("/api/events/other/leave", Authorization=bearer(joined)))[0] == 403


async def test_an_anonymous_event_names_no_wallet(tmp_path: Path) -> None:
    async with door(tmp_path, anonymous=True) as api:
        _, joined = await join(api)
        claims = jwt.decode(joined["session_token"], options={"verify_signature": False})
        assert GUEST.address.lower() not in str(claims).lower()
        assert "ticket" not in claims
        (stay,) = rows(api, attendance)
        assert stay.wallet_address == claims["sub"] != GUEST.address


# -- what comes with it ------------------------------------------------------------------------------------


def secret(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


async def test_turn_credentials_are_coturn_s(tmp_path: Path) -> None:
    file = secret(tmp_path, "turn", "north-of-the-river")
    toml = f'[access]\nturn_secret_file = "{file}"\nturn_uris = ["turn:relay.example:3478"]\n'
    async with door(tmp_path, toml=toml, event_end_ms=NOW_MS + 30 * 60_000) as api:
        seen = set()
        for _ in range(30):
            _, joined = await join(api)
            turn = joined["turn_credentials"]
            expiry, name = turn["username"].split(":")
            mac = hmac.digest(b"north-of-the-river", turn["username"].encode(), "sha1")
            assert turn["credential"] == base64.b64encode(mac).decode()
            assert int(expiry) == api.clock.now_ms() // 1000 + turn["ttl"]
            assert 0 < turn["ttl"] <= 3600
            assert int(expiry) <= NOW_MS // 1000 + 30 * 60  # never past the event
            assert GUEST.address.lower() not in name
            assert turn["uris"] == ["turn:relay.example:3478"]
            seen.add((expiry, name))
            api.clock.advance(20)
        assert len(seen) == 1  # all at the event's end: one credential however often they join


async def test_a_default_turn_secret_is_refused(tmp_path: Path) -> None:
    from chainwatch.config import settings
    from chainwatch.errors import Misconfigured

    file = secret(tmp_path, "turn", "default_secret")
    with pytest.raises(Misconfigured, match="placeholder"):
        settings.parse(f'[access]\nturn_secret_file = "{file}"\n', environ={"STATE_DIRECTORY": str(tmp_path)})


async def test_livekit_gets_its_own_token(tmp_path: Path) -> None:
    file = secret(tmp_path, "livekit", "APIxyz:" + "river-bank-" * 4)
    toml = f'[access]\nlivekit_key_file = "{file}"\nlivekit_url = "wss://live.example"\n'
    async with door(tmp_path, toml=toml) as api:
        _, joined = await join(api)
        options: Any = {"verify_exp": False, "verify_nbf": False}
        token = joined["livekit"]["token"]
        claims = jwt.decode(token, "river-bank-" * 4, algorithms=["HS256"], options=options)
        assert (claims["iss"], claims["video"]["room"], claims["video"]["roomJoin"]) == ("APIxyz", "gala", True)
        assert claims["exp"] <= NOW_MS // 1000 + 300


# -- what is left behind ---------------------------------------------------------------------------------


async def test_every_attempt_is_in_the_audit_log_without_a_wallet(tmp_path: Path) -> None:
    async with door(tmp_path) as api:
        await verify(api, {"walletAddress": GUEST.address})
        await join(api, GUEST, hand=STRANGER)
        await join(api, STRANGER)
        await join(api)
        found = [a for a in rows(api, audit_log) if a.action.startswith("access.")]
        said = [(a.action, msgspec.json.decode(a.detail)["reason"]) for a in found]
        assert said == [
            ("access.verify", "challenge_required"),
            ("access.join", "bad_signature"),
            ("access.join", "no_ticket"),
            ("access.join", "granted"),
        ]
        text = " ".join(f"{a.actor} {a.subject} {a.detail}" for a in found).lower()
        assert GUEST.address.lower() not in text
        assert "0x" not in text


async def test_like_denials_of_a_minute_are_counted_in_one_row(tmp_path: Path) -> None:
    async with door(tmp_path) as api:
        body = await signed(api, GUEST, STRANGER)
        for _ in range(20):
            await api.post("/api/events/gala/join", body)
        (row,) = [a for a in rows(api, audit_log) if a.action == "access.join"]
        assert row.times == 20
        api.clock.advance(60)
        await api.post("/api/events/gala/join", body)
        assert [a.times for a in rows(api, audit_log) if a.action == "access.join"] == [20, 1]


async def test_joins_are_told_to_the_outside_and_counted(tmp_path: Path) -> None:
    async with door(tmp_path) as api:
        await join(api, STRANGER)
        await join(api)
        told = [(m.type, msgspec.json.decode(m.payload)["reason"]) for m in rows(api, outbox) if "access" in m.type]
        assert told == [("access.denied", "no_ticket"), ("access.granted", "granted")]
        assert all(GUEST.address not in m.payload for m in rows(api, outbox) if "access" in m.type)
        text = api.backend.metrics.render().decode()
        assert 'chainwatch_access_decisions_total{decision="granted",reason="granted"} 1.0' in text
        assert 'chainwatch_verify_total{result="valid",scheme="siwe"} 2.0' in text


async def test_attempts_over_the_limit_are_refused_and_counted_in_one_row(tmp_path: Path) -> None:
    async with served(tmp_path, toml="[http]\naccess_per_minute_wallet = 5\n") as api:
        make_event(api.store, api.backend.contexts, "gala", NOW_MS)
        body = {"walletAddress": GUEST.address}
        found = [(await api.post("/api/events/gala/verify-access", body))[0] for _ in range(25)]
        assert found == [200] * 5 + [429] * 20
        api.clock.advance(1)
        said: list[tuple[str, int]] = []
        async with asyncio.timeout(60):
            while len(said) < 2:
                await asyncio.sleep(0.01)
                said = [(msgspec.json.decode(a.detail)["reason"], a.times) for a in rows(api, audit_log)[1:]]
        assert said == [("challenge_required", 5), ("rate_limited", 20)]


async def test_one_wallet_has_one_limit_however_it_is_written(tmp_path: Path) -> None:
    async with served(tmp_path, toml="[http]\naccess_per_minute_wallet = 3\n") as api:
        make_event(api.store, api.backend.contexts, "gala", NOW_MS)
        written = (GUEST.address, GUEST.address.lower(), "0x" + GUEST.address[2:].upper(), GUEST.address.lower())
        said = [await api.post("/api/events/gala/verify-access", {"walletAddress": wallet}) for wallet in written]
        assert [status for status, _ in said] == [200, 200, 200, 429]


async def test_denials_that_come_together_are_counted_in_one_row(tmp_path: Path) -> None:
    async with door(tmp_path) as api:
        admission, attempt = Admission(api.backend), Attempt(event="gala", wallet=GUEST.address)
        await asyncio.gather(*(admission.ask(attempt) for _ in range(50)))
        await asyncio.gather(*(admission.join(attempt) for _ in range(20)))
        assert sorted(r.times for r in rows(api, audit_log) if r.action in attempts.ACTIONS) == [20, 50]


async def test_a_row_number_that_is_given_again_is_not_taken_for_ones_own(tmp_path: Path) -> None:
    """SQLite gives the number of a row that was rolled back to the next one: who counts must look whose it is."""
    async with door(tmp_path) as api:
        counting = attempts.Attempts()
        mine, other = (
            attempts.Entry(f"wallet:{who}", attempts.JOIN, "gala", "no_ticket", False, {}) for who in ("a", "b")
        )
        with api.store.engine.connect() as connection:
            counting.deny(connection, NOW_MS, mine)
            connection.rollback()
        for entry in (other, mine):
            assert await api.store.write(attempts.Attempts().deny if entry is other else counting.deny, NOW_MS, entry)
        found = [(r.actor, r.times) for r in rows(api, audit_log) if r.action == attempts.JOIN]
        assert found == [("wallet:b", 1), ("wallet:a", 1)]
