"""The promises over HTTP, to the letter, as somebody who has only the program sees them: one devnet for all tests.

Names of fields, statuses and codes here are what clients, dashboards and operators' scripts were told; nothing of the
program is imported but the wallets that sign.
"""

import base64
import hmac
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import jwt
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from chainwatch.testing.process import Daemon, answer, command
from chainwatch.testing.wallets import EvmWallet, HiveWallet

pytestmark = pytest.mark.network

EVENT = "genesis-concert"
HOUR_MS = 3_600_000
ROUTES = """
POST /api/events/create · POST /api/events · GET /api/events · GET /api/events/{id} · PATCH /api/events/{id}
POST /api/events/{id}/start · POST /api/events/{id}/end · POST /api/events/{id}/dispute · POST /api/events/{id}/cancel
POST /api/events/purchase · GET /api/purchases/{id} · GET /api/purchases/{id}/stream · GET /pay/{purchase_id}
GET /api/events/{id}/challenge · POST /api/events/{id}/verify-access · POST /api/events/{id}/join
POST /api/events/{id}/leave · POST /api/sessions/refresh · POST /api/my-tickets · POST /api/refunds/{id}/claim
PUT /api/creators/{account}/payout-addresses · POST /api/erase · GET /api/review · GET /api/payouts · GET /api/refunds
GET /api/webhooks · POST /api/webhooks · GET /api/events/{id}/attendees · GET /api/events/{id}/stats
GET /api/events/{id}/attendees.csv · GET /api/events/{id}/manifest · POST /api/checkin
POST /api/events/{id}/redemptions · GET /api/tickets/{token} · GET /api/tickets/{token}/qr.svg
GET /.well-known/jwks.json · GET /healthz · GET /readyz · GET /metrics
"""


class Reply:
    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Site:
    """The running program: its address, its state folder, the keys that it gave its visitor."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.operator = {"Authorization": "Bearer " + (folder / "operator-key").read_text().strip()}
        self.door = {"Authorization": "Bearer " + (folder / "door-key").read_text().strip()}

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        data = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if data is not None else {}
        asked = urllib.request.Request(self.url + path, data, sent | (headers or {}), method=method)
        try:
            with urllib.request.urlopen(asked, timeout=60) as reply:
                return Reply(reply.status, reply.headers, reply.read())
        except urllib.error.HTTPError as error:
            return Reply(error.code, error.headers, error.read())

    def get(self, path: str, headers: dict[str, str] | None = None) -> Reply:
        return self.call("GET", path, headers=headers)

    def post(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        return self.call("POST", path, {} if body is None else body, headers)

    def buy(self, wallet: str, method: str = "ETH", event: str = EVENT) -> Any:
        """Open a purchase, pay it with the simulated wallet, and wait for the ticket."""
        ask = {"event_id": event, "payment_method": method, "wallet_address": wallet}
        made = self.post("/api/events/purchase", ask)
        assert made.status == 200, made.body
        purchase = made.json
        self.post(f"/simulated/pay/{purchase['purchase_id']}")
        state = until(lambda: self.get(f"/api/purchases/{purchase['purchase_id']}").json, lambda s: s["ticket"])
        return purchase, state


def until(look: Callable[[], Any], good: Callable[[Any], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not good(seen := look()):
        assert time.monotonic() < end, seen
        time.sleep(0.2)
    return seen


def is_time(text: str) -> bool:
    return text.endswith("Z") and datetime.fromisoformat(text.replace("Z", "+00:00")).year > 2000


def is_problem(reply: Reply, status: int, code: str) -> bool:
    said = reply.json
    return (
        (reply.status, said["status"], said["code"]) == (status, status, code)
        and reply.headers["Content-Type"].startswith("application/problem+json")
        and isinstance(said["error"], str)
        and {"type", "title", "detail"} <= said.keys()
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("devnet")
    with Daemon(folder, "--devnet") as daemon:
        daemon.ready()
        yield Site(daemon.url(), folder)
        assert daemon.interrupt() == 0


@pytest.fixture(scope="module")
def guest(site: Site) -> tuple[EvmWallet, Any, Any]:
    """A wallet with a ticket of the event that goes on now."""
    wallet = EvmWallet("guest")
    purchase, state = site.buy(wallet.address)
    return wallet, purchase, state


# -- the document --------------------------------------------------------------------------------------


def test_the_document_is_valid_openapi_3_1_and_has_every_route(site: Site) -> None:
    document = site.get("/openapi.json").json
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()
    for route in ROUTES.replace("\n", " · ").split(" · "):
        if route:
            method, path = route.split()
            assert method.lower() in document["paths"][path], route


# -- frame -----------------------------------------------------------------------------------------------


def test_errors_are_problem_documents(site: Site) -> None:
    assert is_problem(site.get("/api/events/nowhere"), 404, "unknown_event")
    assert is_problem(site.get("/nowhere"), 404, "not_found")
    assert is_problem(site.post("/healthz"), 405, "method_not_allowed")
    assert is_problem(site.post("/api/events/purchase", {}), 400, "bad_request")
    assert is_problem(site.get("/api/purchases/nothing"), 404, "unknown_purchase")
    bad = {"event_id": EVENT, "payment_method": "ETH", "wallet_address": "0x9858EfFD232B4033E47d90003D41EC34EcaEda95"}
    assert is_problem(site.post("/api/events/purchase", bad), 400, "bad_checksum")


def test_an_empty_signature_is_anonymous_where_everybody_may_and_refused_elsewhere(site: Site) -> None:
    nobody = {"Authorization": "Bearer :disregardfiat"}
    body = {"event_id": EVENT, "payment_method": "HIVE", "wallet_address": "dlux-io", "user_account": "disregardfiat"}
    assert site.get("/api/events", nobody).status == 200
    assert site.get(f"/api/events/{EVENT}", nobody).status == 200
    assert site.post("/api/events/purchase", body, nobody).status == 200
    assert site.post(f"/api/events/{EVENT}/verify-access", {"walletAddress": "dlux-io"}, nobody).status == 200
    for method, path in (
        *(("GET", f"/api/{name}") for name in ("review", "payouts", "refunds", "webhooks")),
        *(("GET", f"/api/events/{EVENT}/{name}") for name in ("attendees", "stats", "attendees.csv", "manifest")),
        *(("POST", f"/api/events/{EVENT}/{name}") for name in ("start", "end", "dispute", "cancel", "leave")),
        *(("POST", path) for path in ("/api/events/create", "/api/events", "/api/checkin", "/api/sessions/refresh")),
        ("PUT", "/api/creators/alice/payout-addresses"),
        ("PATCH", f"/api/events/{EVENT}"),
    ):
        assert is_problem(site.call(method, path, {} if method != "GET" else None, nobody), 401, "unauthorized"), path
        assert is_problem(site.call(method, path, {} if method != "GET" else None), 401, "unauthorized"), path


def test_a_preflight_allows_authorization(site: Site) -> None:
    """The built-in network is tried out from pages of any site."""
    for path in ("/api/events", f"/api/events/{EVENT}/join", "/api/review"):
        asked = {
            "Origin": "https://vr.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type",
        }
        reply = site.call("OPTIONS", path, headers=asked)
        assert reply.status in (200, 204)
        assert "authorization" in reply.headers["Access-Control-Allow-Headers"].lower()
        assert "POST" in reply.headers["Access-Control-Allow-Methods"]
        assert reply.headers["Access-Control-Allow-Origin"] in ("*", asked["Origin"])


# -- events ----------------------------------------------------------------------------------------------


def test_events_are_made_in_either_spelling_changed_and_cancelled(site: Site) -> None:
    now_ms = int(time.time() * 1000)
    snake = {"id": "made-1", "title": "One", "ticket_price": "0.05", "ticket_currency": "ETH", "event_start": now_ms,
             "event_end": "2030-01-01T00:00:00Z", "max_attendees": 5, "event_category": "concert"}  # fmt: skip
    camel = {"id": 4711, "title": "Two", "ticketPrice": 0.05, "ticketCurrency": "ETH", "eventStart": now_ms,
             "eventEnd": now_ms + HOUR_MS, "maxAttendees": 5, "supportedCrypto": ["ETH"]}  # fmt: skip
    key = {"Idempotency-Key": "7d4c9c2e-0000-4000-8000-000000000001"}
    first = site.post("/api/events/create", snake, site.operator | key)
    again = site.post("/api/events/create", snake, site.operator | key)
    assert (first.status, again.status) == (200, 200)
    assert first.json == again.json
    assert is_problem(site.post("/api/events/create", camel, site.operator | key), 409, "idempotency_mismatch")
    second = site.post("/api/events", camel, site.operator)
    assert second.status == 200, second.body
    one, two = first.json, second.json
    assert (one["id"], two["id"]) == ("made-1", "4711")
    assert [p for p in one["prices"] if p["currency"] == "ETH"] == [
        {"currency": "ETH", "amount": "0.05", "amount_base": "50000000000000000"}
    ]
    assert is_time(one["event_start"])
    assert datetime.fromisoformat(one["event_start"].replace("Z", "+00:00")).timestamp() * 1000 == pytest.approx(now_ms)
    changed = site.call("PATCH", "/api/events/made-1", {"title": "Uno", "maxAttendees": 6}, site.operator)
    assert (changed.json["title"], changed.json["max_attendees"]) == ("Uno", 6)
    assert site.post("/api/events/made-1/start", headers=site.operator).json["live"] is True
    assert site.post("/api/events/made-1/dispute", headers=site.operator).json["dispute"] is True
    assert site.post("/api/events/made-1/end", headers=site.operator).json["live"] is False
    cancelled = site.post("/api/events/made-1/cancel", headers=site.operator)
    assert cancelled.status == 200
    assert site.get("/api/events/made-1").json["status"] == "cancelled"


def test_lists_have_filters_and_pages(site: Site) -> None:
    def ids(query: str) -> list[str]:
        reply = site.get(f"/api/events?{query}")
        assert reply.status == 200, reply.body
        return [e["id"] for e in reply.json["events"]]

    whole = ids("limit=100")
    page = site.get("/api/events?limit=2").json
    assert page.keys() == {"events", "next_cursor"}
    assert [e["id"] for e in page["events"]] == whole[:2]
    assert ids(f"limit=2&cursor={page['next_cursor']}") == whole[2:4] == ids("limit=2&offset=2")
    assert EVENT in ids("upcoming=true&limit=100")
    assert ids("creator=nobody-here") == []
    assert EVENT in ids("creator=devnet-creator&limit=100")
    assert ids("category=nothing-like-it") == []
    assert EVENT in ids("currency=HIVE&min_price=1&max_price=2&limit=100")
    assert EVENT not in ids("currency=HIVE&min_price=2&limit=100")
    assert EVENT not in ids("starts_after=2029-01-01T00:00:00Z")
    assert EVENT in ids("starts_before=2029-01-01T00:00:00Z&limit=100")
    assert EVENT in ids(f"starts_before={int(time.time() * 1000)}&limit=100")


# -- buying ----------------------------------------------------------------------------------------------


def test_a_purchase_says_what_to_pay_and_becomes_a_ticket(site: Site, guest: tuple[EvmWallet, Any, Any]) -> None:
    wallet, purchase, state = guest
    wanted = {"purchase_id", "ref", "held", "payment_address", "amount", "amount_base", "currency", "memo", "uri"}
    assert wanted | {"qr_svg_url", "expires_at"} <= purchase.keys()
    assert purchase["held"] is True
    assert (purchase["amount"], purchase["amount_base"], purchase["currency"]) == ("0.001", str(10**15), "ETH")
    assert is_time(purchase["expires_at"])
    assert purchase["uri"].startswith("ethereum:")
    assert purchase["memo"]
    assert len(purchase["purchase_id"]) >= 22  # 128 bits
    assert site.get(f"/api/purchases/{purchase['ref']}").status == 404  # the public reference opens nothing
    picture = site.call("GET", purchase["qr_svg_url"].removeprefix(site.url))
    assert picture.status in (200, 409)  # paid: there is nothing left to show
    assert (state["state"], state["payments"][0]["state"]) == ("minted", "minted")
    assert state["payments"][0]["amount_base"] == str(10**15)
    count, _, wanted = state["payments"][0]["confirmations"].partition("/")
    assert int(count) == int(wanted)  # "4/12" of a payment that counts told nobody anything
    assert b"<html" in site.get(f"/pay/{purchase['purchase_id']}").body
    ticket = site.get(f"/api/tickets/{state['ticket']['token']}").json
    assert ticket["wallet_address"] == wallet.address
    uuid = ticket["ticket_id"]
    assert re.fullmatch(rf"ticket:{uuid}:v1:[A-Za-z0-9_-]+", ticket["qr"])
    image = site.get(f"/api/tickets/{state['ticket']['token']}/qr.svg")
    assert image.headers["Content-Type"].startswith("image/svg+xml")


@pytest.mark.parametrize("method", ["HIVE", "HBD", "BTC", "SOL", "XMR", "DASH", "MATIC", "BNB", "ETH:USDC"])
def test_every_kind_of_coin_gets_an_address_an_amount_and_a_code(site: Site, method: str) -> None:
    wallet = EvmWallet(f"asks for {method}").address
    body = {"eventId": "vr-gallery", "paymentMethod": method, "walletAddress": wallet}
    key = {"Idempotency-Key": f"purchase-by-{method.lower().replace(':', '-')}-000000"}
    reply = site.post("/api/events/purchase", body, key)
    assert reply.status == 200, reply.body
    assert site.post("/api/events/purchase", body, key).json == reply.json
    made = reply.json
    assert made["payment_address"]
    assert made["currency"] == method
    assert int(made["amount_base"]) > 0
    picture = site.call("GET", made["qr_svg_url"].removeprefix(site.url))
    assert (picture.status, picture.headers["Content-Type"].partition(";")[0]) == (200, "image/svg+xml")
    stream = urllib.request.urlopen(f"{site.url}/api/purchases/{made['purchase_id']}/stream", timeout=60)
    with stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        lines = [stream.readline().decode() for _ in range(5)]
    assert any(line.startswith("data:") and '"state":"open"' in line for line in lines), lines


# -- coming in -------------------------------------------------------------------------------------------


def test_a_question_without_a_signature_says_what_to_sign(site: Site, guest: tuple[EvmWallet, Any, Any]) -> None:
    reply = site.post(f"/api/events/{EVENT}/verify-access", {"walletAddress": guest[0].address})
    assert reply.status == 200
    assert {"access_granted", "hasAccess", "reason", "ticket_id", "checked_at"} <= reply.json.keys()
    assert (reply.json["access_granted"], reply.json["hasAccess"]) == (False, False)
    assert reply.json["reason"] == "challenge_required"
    assert is_time(reply.json["checked_at"])
    assert is_problem(site.post(f"/api/events/{EVENT}/join", {"wallet_address": guest[0].address}), 401,
                      "challenge_required")  # fmt: skip


def test_who_signs_the_challenge_is_let_in_once(site: Site, guest: tuple[EvmWallet, Any, Any]) -> None:
    wallet, _, state = guest
    token = state["ticket"]["token"]
    challenge = site.get(f"/api/events/{EVENT}/challenge?wallet={wallet.address}").json
    assert {"message", "nonce", "expires_at"} <= challenge.keys()
    assert challenge["nonce"] in challenge["message"]
    assert re.search(rf"^Access event {EVENT} at \d{{13}}$", challenge["message"], re.MULTILINE)
    signature = wallet.sign_message(challenge["message"])
    ask = {"walletAddress": wallet.address, "signature": signature}
    stamp = int(re.findall(r" at (\d{13})$", challenge["message"], re.MULTILINE)[0])
    for more in ({"message": challenge["message"]}, {"timestamp": stamp}, {"timestamp": stamp}):
        said = site.post(f"/api/events/{EVENT}/verify-access", ask | more).json
        assert (said["access_granted"], said["hasAccess"], said["reason"]) == (True, True, "granted")
        assert said["ticket_id"] == state["ticket"]["ticket_id"]
    body = {"wallet_address": wallet.address, "signature": signature, "timestamp": stamp}
    before = site.get(f"/api/tickets/{token}").json["total_access_count"]
    joined = site.post(f"/api/events/{EVENT}/join", body)
    assert joined.status == 200, joined.body
    said = joined.json
    assert said["access_granted"] is True
    assert said["websocket_url"].startswith("wss://")
    assert said["turn_credentials"].keys() == {"username", "credential", "ttl", "uris"}
    assert int(said["turn_credentials"]["username"].partition(":")[0]) > time.time()
    assert len(base64.b64decode(said["turn_credentials"]["credential"])) == hmac.new(b"", b"", "sha1").digest_size
    keys = {k["kid"]: k for k in site.get("/.well-known/jwks.json").json["keys"]}
    used = jwt.PyJWK(keys[jwt.get_unverified_header(said["session_token"])["kid"]])
    claims = jwt.decode(said["session_token"], used, algorithms=["EdDSA"], options={"verify_aud": False})
    assert claims["event"] == EVENT
    ticket = site.get(f"/api/tickets/{token}").json
    assert ticket["total_access_count"] == before + 1  # an entry counts once
    jws = jwt.PyJWK(keys[jwt.get_unverified_header(ticket["jws"])["kid"]])
    assert jwt.decode(ticket["jws"], jws, algorithms=["EdDSA"])["event"] == EVENT
    assert is_problem(site.post(f"/api/events/{EVENT}/join", body), 403, "replayed")
    session = {"Authorization": f"Bearer {said['session_token']}"}
    fresh = site.post("/api/sessions/refresh", headers=session)
    assert fresh.status == 200
    session = {"Authorization": f"Bearer {fresh.json['session_token']}"}
    left = site.post(f"/api/events/{EVENT}/leave", headers=session)
    assert left.status == 200
    assert is_problem(site.post(f"/api/events/{EVENT}/leave", headers=session), 401, "bad_session")
    present = site.get(f"/api/events/{EVENT}/attendees", site.operator).json["attendees"]
    assert present[0]["wallet_address"] == wallet.address
    assert present[0]["left_at"]


def test_a_classic_text_is_taken_once_and_not_of_who_has_used_a_challenge(site: Site) -> None:
    wallet = EvmWallet("classic")
    site.buy(wallet.address, "BNB")
    now_ms = int(time.time() * 1000)
    for i, text in enumerate((f"Access event {EVENT} at {now_ms}", f"Access {EVENT} at {now_ms + 1}")):
        body = {"wallet_address": wallet.address, "signature": wallet.sign_message(text), "timestamp": now_ms + i}
        assert site.post(f"/api/events/{EVENT}/join", body).status == 200
        assert is_problem(site.post(f"/api/events/{EVENT}/join", body), 403, "replayed")
    old_ms = now_ms - 2 * HOUR_MS
    old = {"wallet_address": wallet.address, "signature": wallet.sign_message(f"Access event {EVENT} at {old_ms}")}
    assert is_problem(site.post(f"/api/events/{EVENT}/join", old | {"timestamp": old_ms}), 403, "expired")
    message = site.get(f"/api/events/{EVENT}/challenge?wallet={wallet.address}").json["message"]
    body = {"wallet_address": wallet.address, "signature": wallet.sign_message(message), "message": message}
    assert site.post(f"/api/events/{EVENT}/join", body).status == 200
    later = now_ms + 2
    classic = {"wallet_address": wallet.address, "signature": wallet.sign_message(f"Access event {EVENT} at {later}")}
    refused = site.post(f"/api/events/{EVENT}/join", classic | {"timestamp": later})
    assert is_problem(refused, 403, "classic_refused")


def test_a_holder_finds_its_tickets_by_its_signature_alone(site: Site, guest: tuple[EvmWallet, Any, Any]) -> None:
    wallet, _, state = guest
    message = site.get(f"/api/my-tickets/challenge?wallet={wallet.address}").json["message"]
    body = {"wallet_address": wallet.address, "message": message, "signature": wallet.sign_message(message)}
    found = site.post("/api/my-tickets", body).json["tickets"]
    assert [t["token"] for t in found] == [state["ticket"]["token"]]
    assert site.post("/api/my-tickets", body).status == 401


# -- the venue's door ----------------------------------------------------------------------------------------


def test_a_scanner_has_a_signed_manifest_one_scan_and_a_drained_log(
    site: Site, guest: tuple[EvmWallet, Any, Any]
) -> None:
    code = site.get(f"/api/tickets/{guest[2]['ticket']['token']}").json["qr"]
    manifest = site.get(f"/api/events/{EVENT}/manifest", site.door)
    assert manifest.status == 200
    keys = {k["kid"]: k for k in site.get("/.well-known/jwks.json").json["keys"]}
    signed = manifest.json["signature"]
    key = jwt.PyJWK(keys[jwt.get_unverified_header(signed)["kid"]])
    assert jwt.decode(signed, key, algorithms=["EdDSA"], options={"verify_aud": False})
    scan = {"nonce": "scan-1", "code": code, "gate": "North"}
    first, again = (site.post("/api/checkin", scan, site.door).json for _ in range(2))
    assert (first["accepted"], first["state"], first["replayed"]) == (True, "accepted", False)
    assert (again["accepted"], again["at"], again["replayed"]) == (True, first["at"], True)
    forged = code[:-4] + ("AAAA" if not code.endswith("AAAA") else "BBBB")
    assert site.post("/api/checkin", scan | {"nonce": "scan-2", "code": forged}, site.door).json["state"] == (
        "bad_checksum"
    )
    log = {"scans": [{"nonce": "scan-3", "at": int(time.time() * 1000), "admitted": True, "code": code, "gate": "S"}]}
    drained = site.post(f"/api/events/{EVENT}/redemptions", log, site.door).json
    assert [r["nonce"] for r in drained["results"]] == ["scan-3"]
    assert is_problem(site.get("/api/events/vr-gallery/manifest", site.door), 403, "forbidden")


# -- creators and operators ------------------------------------------------------------------------------


def test_payout_addresses_wait_72_hours(site: Site) -> None:
    body = {"addresses": {"ETH": EvmWallet("creator").address}}
    said = site.call("PUT", "/api/creators/alice/payout-addresses", body, site.operator).json["addresses"][0]
    assert said["in_force"] is False
    times = [datetime.fromisoformat(said[n].replace("Z", "+00:00")) for n in ("set_at", "valid_from")]
    assert (times[1] - times[0]).total_seconds() == 72 * 3600


def test_operators_see_the_queues_and_the_attendance(site: Site, guest: tuple[EvmWallet, Any, Any]) -> None:
    for path, name in (("/api/review", "items"), ("/api/payouts", "payouts"), ("/api/refunds", "refunds")):
        reply = site.get(path, site.operator)
        assert reply.status == 200
        assert isinstance(reply.json[name], list)
    stats = site.get(f"/api/events/{EVENT}/stats", site.operator).json
    assert stats["tickets_live"] >= 1
    assert all(isinstance(s["amount_base"], str) for s in stats["sales"])
    csv = site.get(f"/api/events/{EVENT}/attendees.csv", site.operator)
    assert csv.headers["Content-Type"].startswith("text/csv")
    assert guest[0].address not in csv.body.decode()


def test_a_refund_is_claimed_by_the_wallet_that_it_is_due_to(site: Site) -> None:
    wallet = EvmWallet("too late")
    body = {"id": "doomed", "title": "Doomed", "ticket_price": "0.001", "ticket_currency": "ETH"}
    assert site.post("/api/events", body, site.operator).status == 200
    purchase, _ = site.buy(wallet.address, "ETH", "doomed")
    assert site.post("/api/events/doomed/cancel", headers=site.operator).json["tickets_cancelled"] == 1
    state = site.get(f"/api/purchases/{purchase['purchase_id']}").json
    refund = state["refunds"][0]
    assert (refund["state"], refund["reason"], refund["amount_base"]) == ("due", "event_cancelled", str(10**15))
    where = EvmWallet("elsewhere").address
    path = f"/api/refunds/{refund['id']}"
    message = site.get(f"{path}/challenge?wallet={wallet.address}&destination={where}").json["message"]
    thief = EvmWallet("thief")
    claim = {"wallet_address": wallet.address, "destination": where, "message": message}
    assert site.post(f"{path}/claim", claim | {"signature": thief.sign_message(message)}).status == 401
    claimed = site.post(f"{path}/claim", claim | {"signature": wallet.sign_message(message)})
    assert claimed.status == 200, claimed.body
    listed = site.get("/api/refunds", site.operator).json["refunds"]
    assert next(r for r in listed if r["id"] == refund["id"])["destination"] == where


def test_who_has_no_ticket_is_erased_on_request(site: Site) -> None:
    reply = site.post("/api/erase", {"wallet_address": EvmWallet("gone").address}, site.operator)
    assert reply.status == 200, reply.body


# -- the rest ----------------------------------------------------------------------------------------------

METRICS = """
chainwatch_head_height{chain} chainwatch_scanned_height{chain} chainwatch_final_height{chain}
chainwatch_tip_age_seconds{chain} chainwatch_rpc_requests_total{chain,endpoint,method,outcome}
chainwatch_rpc_seconds_bucket chainwatch_reorgs_total{chain} chainwatch_reorg_depth_bucket{chain}
chainwatch_payments_total{chain,asset,state} chainwatch_tickets_minted_total{chain} chainwatch_refunds_due
chainwatch_payouts_due chainwatch_review_open chainwatch_mint_latency_seconds_bucket
chainwatch_verify_total{scheme,result} chainwatch_verify_seconds_bucket{scheme}
chainwatch_access_decisions_total{decision,reason} chainwatch_outbox_pending chainwatch_outbox_oldest_seconds
chainwatch_ledger_imbalance chainwatch_lease_held{chain} chainwatch_build_info
"""


def test_every_metric_has_its_labels(site: Site, guest: tuple[EvmWallet, Any, Any]) -> None:
    wallet = guest[0]
    message = site.get(f"/api/events/{EVENT}/challenge?wallet={wallet.address}").json["message"]
    ask = {"walletAddress": wallet.address, "message": message, "signature": wallet.sign_message(message)}
    assert site.post(f"/api/events/{EVENT}/verify-access", ask).json["access_granted"]
    exposed = site.get("/metrics")
    assert exposed.headers["Content-Type"].startswith("text/plain")
    lines = exposed.body.decode().splitlines()
    for wanted in METRICS.split():
        name, _, labels = wanted.rstrip("}").partition("{")
        found = [line for line in lines if re.match(rf"{name}[{{ ]", line)]
        assert found, wanted
        for label in filter(None, labels.split(",")):
            assert f'{label}="' in found[0], wanted
    assert "chainwatch_ledger_imbalance 0.0" in lines
    assert wallet.address.lower() not in exposed.body.decode().lower()


def test_health_and_readiness(site: Site) -> None:
    assert site.get("/healthz").status == 200
    ready = site.get("/readyz")
    assert ready.status == 200
    assert {"database", "HIVE", "BTC", "ETH", "MATIC", "BNB", "SOL", "XMR", "DASH"} <= ready.json["parts"].keys()


def test_the_shell_sees_the_same(site: Site, guest: tuple[EvmWallet, Any, Any]) -> None:
    status = answer(site.folder, "status")
    for chain in status["chains"]:
        assert {"chain", "head", "scanned", "final", "lag", "tip_age_seconds", "endpoint"} <= chain.keys()
    assert status["payments"]["minted"] >= 1
    assert {"refunds_due", "payouts_due", "audit_differences"} <= status.keys()
    assert status["audit_differences"] == 0
    assert answer(site.folder, "audit") == []
    assert EVENT in [e["id"] for e in answer(site.folder, "event", "list")]
    for kind in ("payouts", "refunds"):
        for row in answer(site.folder, kind, "list"):
            assert re.fullmatch(r"\d+(\.\d+)?", row["amount"])
            assert row["amount_base"].isdigit()
    code, _, err = command(site.folder, "backfill", "--chain", "ETH", "--from", "9", "--to", "3")
    assert code == 2
    assert "--to 3 lies before --from 9" in err
    assert command(site.folder, "backfill", "--chain", "ETH", "--from", "0", "--to", "5")[0] == 0


def test_every_command_finds_the_built_in_chains(site: Site) -> None:
    """They stood in no file, so that `check` asked nobody and no refund could be exported."""
    parts = {line["part"]: line["ok"] for line in answer(site.folder, "check")}
    assert {"HIVE", "BTC", "ETH", "MATIC", "BNB", "SOL", "XMR", "DASH", "database"} <= parts.keys()
    assert all(parts.values())
    code, _, err = command(site.folder, "payouts", "export", "--asset", "HIVE")
    assert (code, "no payout is due" in err or "nothing" in err) == (2, True)
    code, _, err = command(site.folder, "run")  # but the daemon itself follows nothing that nobody asked for
    assert (code, "no chain is configured" in err) == (2, True)


def test_a_hive_account_proves_itself_on_its_chain(site: Site) -> None:
    """The built-in network knows its simulated accounts only: any other is ``invalid`` or has no ticket, never an
    error."""
    wallet = HiveWallet("somebody")
    message = site.get(f"/api/events/{EVENT}/challenge?wallet=somebody").json["message"]
    ask = {"walletAddress": "somebody", "message": message, "signature": wallet.sign_message(message)}
    reply = site.post(f"/api/events/{EVENT}/verify-access", ask)
    assert (reply.status, reply.json["access_granted"]) == (200, False)
