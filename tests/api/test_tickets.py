"""A ticket in its holder's hand: by its token, by the wallet's word; taken back, certified, forgotten."""

import asyncio
import base64
import contextlib
import hmac
import re
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
from sqlalchemy import update

from chainwatch.ledger import events, tombstones
from chainwatch.ledger.audit import audit
from chainwatch.ledger.tables import (
    attendance,
    audit_log,
    challenge_wallets,
    erased_wallets,
    outbox,
    purchases,
    refunds,
    tickets,
    transfers,
)
from chainwatch.testing.guests import (
    GUEST,
    HOUR,
    STRANGER,
    contract,
    door,
    join,
    operator_key,
    rows,
    set_event,
    set_ticket,
    verify,
)
from chainwatch.testing.guests import signed as signed_join
from chainwatch.testing.served import NOW_MS, Served
from chainwatch.testing.tickets import mint
from chainwatch.testing.wallets import EvmWallet
from chainwatch.tickets import codes


async def own(api: Served, wallet: Any, purpose: str = "my-tickets", **change: Any) -> tuple[int, Any]:
    api.clock.advance(0.001)
    status, given = await api.get(f"/api/{purpose}/challenge?wallet={wallet.address}")
    assert status == 200, given
    body = {"wallet_address": wallet.address, "message": given["message"]}
    body["signature"] = wallet.sign_message(given["message"])
    return await api.post(f"/api/{purpose}", body | change)


async def token_of(api: Served, wallet: Any = GUEST) -> str:
    status, answer = await own(api, wallet)
    assert status == 200, answer
    return str(answer["tickets"][0]["token"])


# -- the wallet's word -----------------------------------------------------------------------------------


async def test_who_paid_by_memo_alone_finds_his_tickets_by_signing(tmp_path: Path) -> None:
    async with door(tmp_path, wallets=[GUEST, STRANGER]) as api:
        mint(api.store, api.backend.contexts["HIVE"], "gala", [GUEST.address], NOW_MS)
        status, answer = await own(api, GUEST)
        assert status == 200
        held = answer["tickets"]
        assert [t["ticket"]["number"] for t in held] == [3, 1]
        assert {t["ticket"]["wallet_address"] for t in held} == {GUEST.address}
        for t in held:  # each token opens its ticket: it was computed again, nobody stores it
            status, shown = await api.get(f"/api/tickets/{t['token']}")
            assert (status, shown["ticket_id"]) == (200, t["ticket"]["ticket_id"])


async def test_my_tickets_takes_each_text_once_and_only_its_wallet_s(tmp_path: Path) -> None:
    async with door(tmp_path, wallets=[GUEST, STRANGER]) as api:
        _, given = await api.get(f"/api/my-tickets/challenge?wallet={GUEST.address}")
        text = given["message"]
        body = {"wallet_address": GUEST.address, "message": text, "signature": GUEST.sign_message(text)}
        assert (await api.post("/api/my-tickets", body))[0] == 200
        assert (await api.post("/api/my-tickets", body))[1]["code"] == "replayed"
        api.clock.advance(1)
        _, given = await api.get(f"/api/my-tickets/challenge?wallet={GUEST.address}")
        text = given["message"]
        forged = body | {"message": text, "signature": STRANGER.sign_message(text)}
        assert (await api.post("/api/my-tickets", forged))[1]["code"] == "bad_signature"
        other = body | {"wallet_address": STRANGER.address, "message": text, "signature": STRANGER.sign_message(text)}
        assert (await api.post("/api/my-tickets", other))[1]["code"] == "malformed"
        # An access text shows nothing, a text of my-tickets erases nothing.
        access = await signed_join(api, GUEST)
        assert (await api.post("/api/my-tickets", access))[1]["code"] == "malformed"
        good = body | {"message": text, "signature": GUEST.sign_message(text)}
        assert (await api.post("/api/erase", good))[1]["code"] == "malformed"
        assert (await api.post("/api/events/gala/join", good))[1]["code"] == "malformed"


async def test_a_contract_wallet_sees_the_tickets_of_its_chain_only(tmp_path: Path) -> None:
    owner, safe = EvmWallet("owner"), EvmWallet("any address will do").address
    resolvers: dict[str, Any] = {}
    async with door(tmp_path, wallets=[], resolver=resolvers.get) as api:
        mint(api.store, api.backend.contexts["ETH"], "gala", [safe], NOW_MS)
        mint(api.store, api.backend.contexts["HIVE"], "gala", [safe], NOW_MS)
        _, given = await api.get(f"/api/my-tickets/challenge?wallet={safe}&chain=ETH")
        text = given["message"]
        resolvers["ETH"], signature = contract(safe, owner, text)
        body = {"wallet_address": safe, "message": text, "signature": signature}
        status, answer = await api.post("/api/my-tickets", body)
        assert status == 200, answer
        assert [t["ticket"]["currency"] for t in answer["tickets"]] == ["ETH"]


async def test_a_contract_of_another_chain_claims_no_refund(tmp_path: Path) -> None:
    """Who deploys at the same address elsewhere is somebody else."""
    thief, safe = EvmWallet("thief"), EvmWallet("any address will do").address
    resolvers: dict[str, Any] = {}
    async with door(tmp_path, wallets=[], resolver=resolvers.get) as api:
        mint(api.store, api.backend.contexts["HIVE"], "gala", [safe], NOW_MS)
        (ticket,) = rows(api, tickets)
        key = operator_key(api, "events")
        await api.post(f"/api/tickets/{ticket.uuid}/revoke", {"reason": "x"}, Authorization=key)
        (refund,) = rows(api, refunds)
        path, asked = f"/api/refunds/{refund.id}", f"wallet={safe}&destination=thief-acc&chain=ETH"
        status, given = await api.get(f"{path}/challenge?{asked}")
        assert status == 200, given
        resolvers["ETH"], signature = contract(safe, thief, given["message"])
        body = {"wallet_address": safe, "destination": "thief-acc", "message": given["message"], "chain": "ETH"}
        status, answer = await api.post(f"{path}/claim", body | {"signature": signature})
        assert (status, rows(api, refunds)[0].destination) != (200, "thief-acc")
        assert answer["code"] in ("contract_chain", "bad_signature")


# -- by its token ------------------------------------------------------------------------------------------


async def test_a_ticket_shows_its_state_in_both_vocabularies(tmp_path: Path) -> None:
    async with door(tmp_path, event_start_ms=NOW_MS + HOUR) as api:
        token = await token_of(api)
        words = {"active": "valid", "used": "checked_in", "suspended": "pending", "refunded": "refunded"}
        for state, status in (words | {"cancelled": "void", "revoked": "void"}).items():
            set_ticket(api, state=state)
            _, shown = await api.get(f"/api/tickets/{token}")
            assert (shown["state"], shown["status"]) == (state, status)
        claims = jwt.decode(shown["jws"], options={"verify_signature": False})
        assert (claims["jti"], shown["event"]["id"]) == (shown["ticket_id"], "gala")
        for other in ("x" * 43, token[:-1], "x" * 500, "%00"):
            assert (await api.get(f"/api/tickets/{other}"))[0] in (400, 404)


async def test_its_code_comes_in_every_form(tmp_path: Path) -> None:
    async with door(tmp_path) as api:
        token = await token_of(api)
        _, shown = await api.get(f"/api/tickets/{token}")
        assert re.fullmatch(r"ticket:[0-9a-f-]{36}:v1:[\w-]{22}", shown["qr"])
        made = codes.Codes(api.backend.issuer)
        made.check(codes.read(shown["qr"]), NOW_MS)
        assert codes.signed(codes.read(shown["qr_v2"]), made.public)
        # As the page makes it, without a network, from what the answer says:
        rotating = shown["rotating"]
        step = NOW_MS // rotating["step_ms"]
        seed = base64.urlsafe_b64decode(rotating["seed"] + "=")
        proof = base64.urlsafe_b64encode(hmac.digest(seed, str(step).encode(), "sha256")[:9]).decode()
        made.check(codes.read(f"{rotating['code']}~{step}.{proof}"), NOW_MS)
        for form in ("qr.svg", "qr.svg?form=v2", "qr.png?scale=4"):
            async with api.session.get(f"{api.server.url}/api/tickets/{token}/{form}") as response:
                data = await response.read()
                assert response.status == 200
                assert data.startswith(b"<svg" if "svg" in form else b"\x89PNG")
        assert (await api.get(f"/api/tickets/{token}/qr.svg?form=v9"))[0] == 400


async def test_the_calendar_file_replaces_itself(tmp_path: Path) -> None:
    times = {"event_start_ms": NOW_MS + HOUR, "event_end_ms": NOW_MS + 3 * HOUR}
    async with door(tmp_path, title="Gala; with, commas\nand more", **times) as api:
        token = await token_of(api)
        status, text = await api.get(f"/api/tickets/{token}/calendar.ics")
        assert status == 200
        assert "DTSTART:20251009T095320Z\r\n" in text
        assert "SUMMARY:Gala\\; with\\, commas\\nand more\r\n" in text
        assert token not in text
        (link,) = re.findall(r"^URL:(.*)\r$", text, re.MULTILINE)
        status, page = await api.get(urlsplit(link).path)
        assert (status, "Gala; with, commas" in page) == (200, True)  # for people
        set_event(api, status="cancelled", updated_ms=NOW_MS + 5000)
        _, later = await api.get(f"/api/tickets/{token}/calendar.ics")
        assert "STATUS:CANCELLED" in later
        sequence = [int(re.search(r"SEQUENCE:(\d+)", t)[1]) for t in (text, later)]  # type: ignore[index]
        assert sequence[1] > sequence[0]
        set_event(api, event_start_ms=None)
        assert (await api.get(f"/api/tickets/{token}/calendar.ics"))[1]["code"] == "no_date"


async def test_who_was_there_gets_a_certificate_that_verifies(tmp_path: Path) -> None:
    async with door(tmp_path, title="Gala ünder 星") as api:
        token = await token_of(api)
        assert (await api.get(f"/api/tickets/{token}/certificate.pdf"))[1]["code"] == "not_attended"
        _, joined = await join(api)
        api.clock.advance(240)
        await api.post("/api/events/gala/leave", Authorization="Bearer " + joined["session_token"])
        async with api.session.get(f"{api.server.url}/api/tickets/{token}/certificate.pdf") as response:
            data = await response.read()
        assert (response.status, response.content_type, data[:5]) == (200, "application/pdf", b"%PDF-")
        (link,) = set(re.findall(rb"/URI \((http[^)]*)\)", data))
        jws = link.decode().rpartition("/")[2]
        assert link.decode() == f"{api.backend.settings.http.public_url}/c/{jws}"
        status, checked = await api.get(f"/api/certificates/{jws}")
        assert (status, checked["valid"], checked["title"], checked["minutes"]) == (200, True, "Gala ünder 星", 4)
        status, page = await api.get(f"/c/{jws}")
        assert (status, "This certificate is ours" in page, "Gala ünder 星" in page) == (200, True, True)
        assert GUEST.address not in str(jwt.decode(jws, options={"verify_signature": False}))
        for forged in (jws[:-4] + "AAAA", joined["session_token"], "x.y.z"):
            assert (await api.get(f"/api/certificates/{forged}"))[1]["code"] == "bad_certificate"
            status, page = await api.get(f"/c/{forged}")
            assert (status, "Not a certificate of ours" in page) == (400, True)

        # Without asking us: the statement that is attached, and the public key, as docs/api.md has it.
        assert jws.encode() in attachments(data)
        documented: dict[str, Any] = {}
        text = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
        (block,) = [b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "check_certificate" in b]
        exec(block, documented)
        check = documented["check_certificate"]
        said = await asyncio.to_thread(check, api.server.url, jws)
        assert (said["event"], said["ticket"], said["title"]) == ("gala", checked["ticket_id"], "Gala ünder 星")
        for forged in (jws[:-4] + "AAAA", joined["session_token"]):
            with pytest.raises(jwt.InvalidTokenError):
                await asyncio.to_thread(check, api.server.url, forged)


def attachments(pdf: bytes) -> list[bytes]:
    """The streams of a PDF, unpacked."""
    found = []
    for raw in re.findall(rb">>\nstream\n(.*?)\nendstream", pdf, re.DOTALL):
        found.append(raw)
        with contextlib.suppress(zlib.error):
            found[-1] = zlib.decompress(raw)
    return found


# -- taken back ------------------------------------------------------------------------------------------


async def test_an_operator_revokes_and_the_refund_falls_due(tmp_path: Path) -> None:
    async with door(tmp_path) as api:
        _, joined = await join(api)
        (ticket,) = rows(api, tickets)
        with api.store.transaction() as connection:  # nobody came in with it yet
            connection.execute(update(tickets).values(state="active", first_access_ms=None))
        path, reason = f"/api/tickets/{ticket.uuid}/revoke", {"reason": "stolen"}
        assert (await api.post(path, reason))[0] == 401
        assert (await api.post(path, reason, Authorization=operator_key(api, "read")))[0] == 403
        key = operator_key(api, "events")
        assert (await api.post(path, reason, Authorization=key))[1] == {"ticket_id": ticket.uuid, "state": "revoked"}
        assert (await api.post(path, reason, Authorization=key))[1]["code"] == "conflict"
        assert [(r.state, r.kind) for r in rows(api, refunds)] == [("due", "refund")]
        bearer = "Bearer " + joined["session_token"]
        assert (await api.post("/api/sessions/refresh", Authorization=bearer))[0] == 401
        assert (await verify(api, await signed_join(api, GUEST)))["reason"] == "revoked"
        assert "ticket.revoked" in [m.type for m in rows(api, outbox)]
        with api.store.reading() as connection:
            assert audit(connection) == []


async def test_a_used_ticket_that_is_revoked_is_not_paid_back_unless_its_event_is_cancelled(tmp_path: Path) -> None:
    async with door(tmp_path) as api:
        await join(api)
        (ticket,) = rows(api, tickets)
        key = operator_key(api, "events")
        done = await api.post(f"/api/tickets/{ticket.uuid}/revoke", {"reason": "disturbed"}, Authorization=key)
        assert done == (200, {"ticket_id": ticket.uuid, "state": "revoked"})
        assert (await verify(api, await signed_join(api, GUEST)))["reason"] == "revoked"
        assert rows(api, refunds) == []
        for expected in ([], [("due", "event_cancelled")]):
            with api.store.reading() as connection:
                assert audit(connection) == []
            assert [(r.state, r.reason) for r in rows(api, refunds)] == expected
            assert rows(api, tickets)[0].state == "revoked"
            with api.store.transaction() as connection:
                events.cancel(connection, "gala", api.backend.contexts, api.clock.now_ms(), "test")


# -- forgotten -------------------------------------------------------------------------------------------


def everything(api: Served) -> str:
    """Every row of every table as text."""
    from chainwatch.ledger.tables import metadata

    with api.store.reading() as connection:
        found = [repr(tuple(r)) for t in metadata.sorted_tables for r in connection.execute(t.select())]
    return "\n".join(found)


async def test_a_wallet_is_erased_and_the_books_still_balance(tmp_path: Path) -> None:
    async with door(tmp_path, wallets=[GUEST, STRANGER], event_end_ms=NOW_MS + HOUR) as api:
        assert (await join(api))[0] == 200
        status, refused = await own(api, GUEST, "erase")
        assert (status, refused["code"]) == (409, "ticket_live")
        api.clock.advance(3600)
        status, done = await own(api, GUEST, "erase")
        assert (status, done) == (200, {"erased_tickets": 1, "erased_purchases": 1, "kept": 0})
        assert GUEST.address.lower() not in everything(api).lower().replace("0x", "0x")
        assert STRANGER.address in everything(api)
        assert len(rows(api, transfers)) == 2
        assert rows(api, attendance)[0].wallet_address.startswith(tombstones.PREFIX)
        with api.store.reading() as connection:
            assert audit(connection) == []
            assert len(connection.execute(erased_wallets.select()).all()) == 1
            assert connection.execute(challenge_wallets.select()).all() == []
        assert [a.actor for a in rows(api, audit_log) if a.action == "wallet_erased"] == ["wallet"]


async def test_a_payment_that_is_scanned_again_does_not_bring_an_erased_wallet_back(tmp_path: Path) -> None:
    async with door(tmp_path, event_end_ms=NOW_MS + HOUR) as api:
        api.clock.advance(3600)
        assert (await own(api, GUEST, "erase"))[0] == 200
        mint(api.store, api.backend.contexts["ETH"], "gala", [GUEST.address], NOW_MS)
        found = everything(api)
        assert GUEST.address not in found
        assert GUEST.address.encode() not in b"".join(t.memo or b"" for t in rows(api, transfers))
        assert len(rows(api, purchases)) == 1  # filed with the purchase that it repeats


async def test_what_is_owed_keeps_its_wallet_until_it_is_paid(tmp_path: Path) -> None:
    async with door(tmp_path, event_end_ms=NOW_MS + HOUR) as api:
        (ticket,) = rows(api, tickets)
        key = operator_key(api, "events")
        await api.post(f"/api/tickets/{ticket.uuid}/revoke", {"reason": "x"}, Authorization=key)
        status, done = await own(api, GUEST, "erase")
        assert (status, done["kept"], done["erased_purchases"]) == (200, 1, 0)
        assert rows(api, purchases)[0].wallet == GUEST.address
        where = EvmWallet("elsewhere").address
        path, asked = "/api/refunds/1", f"destination={where}"
        text = (await api.get(f"{path}/challenge?wallet={GUEST.address}&{asked}"))[1]["message"]
        claim = {"wallet_address": GUEST.address, "destination": where, "message": text}
        assert (await api.post(f"{path}/claim", claim | {"signature": GUEST.sign_message(text)}))[0] == 200
        with api.store.transaction() as connection:
            connection.execute(update(refunds).values(state="settled"))
        status, done = await own(api, GUEST, "erase")
        assert (done["kept"], done["erased_purchases"]) == (0, 1)
        assert GUEST.address not in everything(api)


async def test_a_stranger_is_not_told_that_there_is_a_refund(tmp_path: Path) -> None:
    async with door(tmp_path, event_end_ms=NOW_MS + HOUR) as api:
        (ticket,) = rows(api, tickets)
        await api.post(f"/api/tickets/{ticket.uuid}/revoke", {"reason": "x"}, Authorization=operator_key(api, "events"))
        asked = f"challenge?wallet={STRANGER.address}&destination={STRANGER.address}"
        there, none = [await api.get(f"/api/refunds/{i}/{asked}") for i in (1, 2)]
        assert there[0] == none[0] == 404
        assert there[1]["detail"].replace("1", "2") == none[1]["detail"]


async def test_an_operator_erases_on_request_and_others_do_not(tmp_path: Path) -> None:
    async with door(tmp_path, event_end_ms=NOW_MS + HOUR) as api:
        api.clock.advance(3600)
        body = {"wallet_address": GUEST.address}
        status, refused = await api.post("/api/erase", body)
        assert (status, refused["code"]) == (401, "challenge_required")
        assert (await api.post("/api/erase", body, Authorization=operator_key(api, "read")))[0] == 403
        assert (await api.post("/api/erase", body, Authorization=operator_key(api, "events")))[0] == 200
        assert [a.actor for a in rows(api, audit_log) if a.action == "wallet_erased"] == ["operator:events"]
