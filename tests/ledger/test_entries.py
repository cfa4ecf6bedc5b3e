"""The one entry guard, on both databases: each refusal, each policy, retries, races, offline doors."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, func, select, update

from chainwatch.errors import Rejected
from chainwatch.ledger import devices, doors, entries, events
from chainwatch.ledger.entries import Entry
from chainwatch.ledger.scans import ORDER_LEAST, Scan, check_in, check_in_all
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import entries as entry_table
from chainwatch.ledger.tables import events as event_table
from chainwatch.ledger.tables import outbox, tickets
from chainwatch.testing.doors import make_event, order_of, sell
from chainwatch.tickets import codes as qr
from chainwatch.tickets.token import Issuer

pytestmark = pytest.mark.network

NOW = 1_760_000_000_000
HOUR, DAY = 3_600_000, 86_400_000
ISSUER = Issuer(Ed25519PrivateKey.from_private_bytes(bytes(32)))
CODES = qr.Codes(ISSUER)


class Venue:
    """One event with ten tickets and two devices, North (1) and South (2)."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.uuids: dict[str, list[str]] = {}
        self.devices: dict[str, int] = {}
        self.nonces = 0
        self.event("gala", entry_policy="once")

    def event(self, slug: str, count: int = 10, a_purchase: int = 1, **values: Any) -> None:
        with self.store.transaction() as connection:
            row = make_event(connection, slug, NOW, **values)
            self.uuids[slug] = sell(connection, row, count, ISSUER, NOW, a_purchase=a_purchase)
            for gate in ("North", "South"):
                self.devices[f"{slug} {gate}"] = devices.add(connection, row, gate, NOW, "test")[0]

    def code(self, number: int, slug: str = "gala") -> str:
        return CODES.v1(self.uuids[slug][number - 1])

    def change(self, slug: str = "gala", **values: Any) -> None:
        with self.store.transaction() as connection:
            connection.execute(update(event_table).where(event_table.c.slug == slug).values(**values))

    def set_state(self, number: int, state: str, slug: str = "gala") -> None:
        with self.store.transaction() as connection:
            uuid = self.uuids[slug][number - 1]
            connection.execute(update(tickets).where(tickets.c.uuid == uuid).values(state=state))

    def scan(self, code: str = "", gate: str = "North", at: int = NOW, slug: str = "gala", **more: Any) -> Entry:
        self.nonces += 1
        nonce = more.pop("nonce", f"n{self.nonces}")
        now = more.pop("now", max(at, NOW))
        scan = Scan(nonce=nonce, at_ms=at, gate=gate, code=code, **more)
        with self.store.transaction() as connection:
            return check_in(connection, [scan], self.devices[f"{slug} {gate}"], CODES, now)[0]

    def rows(self, **where: Any) -> list[Any]:
        with self.store.reading() as connection:
            wanted = select(entry_table).order_by(entry_table.c.id)
            return list(connection.execute(wanted.filter_by(**where)))

    def ticket(self, number: int, slug: str = "gala") -> Any:
        with self.store.reading() as connection:
            return connection.execute(select(tickets).where(tickets.c.uuid == self.uuids[slug][number - 1])).one()


@pytest.fixture
def venue(store: Store) -> Venue:
    return Venue(store)


# -- answers -------------------------------------------------------------------------------------------


def test_a_ticket_comes_in_once_and_then_hears_when_and_where_it_did(venue: Venue) -> None:
    """alf.io's Back Office #17: a duplicate scan was silent.  Unlock #9243: the second scan was green."""
    first = venue.scan(venue.code(3), "North", NOW)
    assert (first.result, first.number, first.admitted) == ("accepted", 3, True)
    assert (first.first and first.first.at_ms, first.first and first.first.gate) == (NOW, "North")
    second = venue.scan(venue.code(3), "South", NOW + 61_001)
    assert (second.result, second.number, second.admitted) == ("already_redeemed", 3, False)
    assert second.first is not None
    assert (second.first.at_ms, second.first.gate) == (NOW, "North")
    row = venue.ticket(3)
    assert (row.state, row.entries, row.total_access_count) == ("used", 1, 1)
    assert (row.first_access_ms, row.last_access_ms, row.last_entry_ms) == (NOW, NOW, NOW)


@pytest.mark.parametrize("state", ["cancelled", "refunded", "revoked", "suspended"])
def test_a_ticket_that_is_not_live_is_refused_by_the_name_of_its_state(venue: Venue, state: str) -> None:
    """kompassi #1016: a cancelled order's ticket still opened the door."""
    venue.set_state(1, state)
    assert venue.scan(venue.code(1)).result == state


def test_a_suspended_ticket_that_is_restored_comes_in_and_only_once(venue: Venue) -> None:
    assert venue.scan(venue.code(1)).result == "accepted"
    venue.set_state(1, "suspended")
    assert venue.scan(venue.code(1)).result == "suspended"
    venue.set_state(1, "active")
    assert venue.scan(venue.code(1)).result == "already_redeemed", "its entry is not forgotten with its state"


def test_another_event_s_ticket_is_refused_and_nothing_is_said_of_it(venue: Venue) -> None:
    venue.event("ball")
    answer = venue.scan(venue.code(2, "ball"))
    assert (answer.result, answer.number, answer.first) == ("wrong_event", None, None)
    assert venue.scan(venue.code(2, "ball"), slug="ball").result == "accepted"


def test_the_event_s_time_and_its_live_gate_rule_the_door(venue: Venue) -> None:
    venue.change(event_start_ms=NOW + 2 * HOUR, event_end_ms=NOW + 4 * HOUR)
    assert venue.scan(venue.code(1), at=NOW).result == "not_yet"
    assert venue.scan(venue.code(1), at=NOW + 2 * HOUR - entries.EARLY_MS).result == "accepted"
    assert venue.scan(venue.code(2), at=NOW + 4 * HOUR).result == "over"
    venue.change(started_ms=NOW - 1)
    assert venue.scan(venue.code(3), at=NOW).result == "accepted", "opened by hand before its time"
    venue.change(ended_ms=NOW + HOUR)
    assert venue.scan(venue.code(4), at=NOW + HOUR).result == "over", "closed by hand"
    venue.change(status="cancelled")
    assert venue.scan(venue.code(4), at=NOW).result == "cancelled"


@pytest.mark.parametrize("at", [NOW - 10 * HOUR, NOW + HOUR, 0])
def test_a_device_s_clock_does_not_open_a_door(venue: Venue, at: int) -> None:
    """A live scan is judged by our time where the device's is far from it."""
    venue.change(event_end_ms=NOW - HOUR)
    assert venue.scan(venue.code(1), at=at, now=NOW).result == "over"
    assert venue.rows()[-1].at_ms == NOW


def test_door_wallet_takes_no_code_and_door_qr_no_wallet(venue: Venue) -> None:
    venue.change(door="wallet")
    assert venue.scan(venue.code(1)).result == "door_wallet_only"
    assert venue.scan(order_id=order_of("gala", 0)).result == "door_wallet_only"
    assert by_wallet(venue, 1, "w1").result == "accepted"
    venue.change(door="qr")
    assert by_wallet(venue, 2, "w2").result == "door_qr_only"
    assert venue.scan(venue.code(2)).result == "accepted"


def by_wallet(venue: Venue, number: int, nonce: str, at: int = NOW) -> Entry:
    with venue.store.transaction() as connection:
        row = connection.execute(select(tickets).where(tickets.c.uuid == venue.uuids["gala"][number - 1])).one()
        event = events.find(connection, "gala")
        return entries.admit(
            connection, row, event, method="wallet", device_id=None, gate="", nonce=nonce, at_ms=at, now_ms=at
        )


def test_qr_and_wallet_share_one_guard(venue: Venue) -> None:
    assert venue.scan(venue.code(1)).result == "accepted"
    assert by_wallet(venue, 1, "w").result == "already_redeemed"
    assert by_wallet(venue, 2, "w").result == "accepted"
    refused = venue.scan(venue.code(2))
    assert refused.result == "already_redeemed"
    assert by_wallet(venue, 2, "w").result == "accepted", "the same nonce is the same entry"
    assert venue.ticket(2).entries == 1


def test_forged_and_unknown_codes_are_told_apart_and_leave_a_row_without_their_text(venue: Venue) -> None:
    other = qr.Codes(Issuer(Ed25519PrivateKey.from_private_bytes(bytes([9]) * 32)))
    forged, strange = other.v1(venue.uuids["gala"][0]), CODES.v1("0" * 8 + "-0000-0000-0000-" + "0" * 12)
    assert venue.scan(forged).result == "bad_checksum"
    assert venue.scan(strange).result == "unknown"
    assert venue.scan("https://example.org/").result == "unknown"
    rows = venue.rows()
    assert [r.result for r in rows] == ["bad_checksum", "unknown", "unknown"]
    assert all(r.ticket_id is None and len(r.code_hash) == 32 for r in rows)
    assert venue.scan(venue.code(1)).result == "accepted", "a forgery costs its ticket nothing"


def test_v2_and_rotating_codes_are_the_same_ticket(venue: Venue) -> None:
    uuid = venue.uuids["gala"][4]
    v2 = CODES.v2(uuid, "gala", 5)
    assert venue.scan(qr.rotated(v2, CODES.seed(uuid), NOW)).result == "accepted"
    assert venue.scan(v2).result == "already_redeemed"
    assert venue.scan(venue.code(5)).result == "already_redeemed"
    old = qr.rotated(venue.code(6), CODES.seed(venue.uuids["gala"][5]), NOW - HOUR)
    assert venue.scan(old).result == "old_code"
    assert venue.scan(venue.code(6)).result == "accepted"


def test_every_attempt_leaves_a_row_with_its_answer(venue: Venue) -> None:
    answers = [venue.scan(venue.code(1)), venue.scan(venue.code(1), "South"), venue.scan("nonsense")]
    assert [r.result for r in venue.rows()] == [a.result for a in answers]
    assert [r.admitted for r in venue.rows()] == [True, False, False]


def test_webhooks_hear_of_entries_by_ids_alone(venue: Venue) -> None:
    venue.scan(venue.code(1))
    venue.scan(venue.code(1), nonce="again")
    venue.scan(venue.code(1), nonce="again")
    with venue.store.reading() as connection:
        found = connection.execute(select(outbox).order_by(outbox.c.id)).all()
        bought = connection.execute(select(tickets.c.purchase_id).where(tickets.c.number == 1)).scalar_one()
    assert [f.type for f in found] == ["access.granted", "access.denied"]
    assert {f.subject for f in found} == {f"purchase:{bought}"}, "the ticket first, then its entry"
    assert json.loads(found[0].payload) == {
        "event_id": "gala",
        "ticket_id": venue.uuids["gala"][0],
        "number": 1,
        "method": "qr",
    }
    assert "buyer" not in found[0].payload + found[1].payload


# -- policies ------------------------------------------------------------------------------------------


def test_reentry_lets_a_ticket_in_again_and_again_and_tells_the_first_time(venue: Venue) -> None:
    venue.change(entry_policy="reentry")
    for i in range(3):
        answer = venue.scan(venue.code(1), at=NOW + i * HOUR)
        assert answer.result == "accepted"
        assert answer.first is not None
        assert answer.first.at_ms == NOW
    assert venue.ticket(1).entries == 3


def test_daily_counts_by_utc_day(venue: Venue) -> None:
    venue.change(entry_policy="daily")
    midnight = (NOW // entries.DAY_MS + 1) * entries.DAY_MS
    assert venue.scan(venue.code(1), at=midnight - 2).result == "accepted"
    refused = venue.scan(venue.code(1), "South", at=midnight - 1)
    assert refused.result == "already_redeemed"
    assert refused.first is not None
    assert refused.first.at_ms == midnight - 2
    assert venue.scan(venue.code(1), at=midnight).result == "accepted"
    assert venue.scan(venue.code(1), at=midnight + 1).result == "already_redeemed"


# -- retries -------------------------------------------------------------------------------------------


def test_the_same_nonce_is_the_same_scan_with_the_same_answer(venue: Venue) -> None:
    """pretix's redeem: a device that never saw the answer asks again and must not shut its own guest out."""
    first = venue.scan(venue.code(1), nonce="x")
    again = venue.scan(venue.code(1), nonce="x", at=NOW + 5000)
    assert again.replayed
    assert (again.result, again.at_ms, again.first) == (first.result, first.at_ms, first.first)
    refused = venue.scan(venue.code(1), "South", nonce="y", at=NOW + 1)
    assert venue.scan(venue.code(1), "South", nonce="y").result == refused.result == "already_redeemed"
    assert len(venue.rows()) == 2
    assert venue.ticket(1).entries == 1
    strays = [venue.scan("nonsense", nonce="z") for _ in range(3)]
    assert [s.replayed for s in strays] == [False, True, True]
    assert len(venue.rows()) == 3


def test_nonces_are_scoped_to_device_and_ticket(venue: Venue) -> None:
    """Else whoever guesses a device's counter answers for another ticket with a stored green."""
    assert venue.scan(venue.code(1), nonce="1").result == "accepted"
    assert venue.scan(venue.code(2), nonce="1").result == "accepted"
    assert venue.scan(venue.code(1), "South", nonce="1").result == "already_redeemed"


def test_an_answer_stays_what_it_was_after_an_earlier_scan_was_drained(venue: Venue) -> None:
    venue.scan(venue.code(1), "North", NOW)
    refused = venue.scan(venue.code(1), "South", NOW + 5, nonce="s")
    venue.scan(venue.code(1), "South", NOW - HOUR, admitted=True)
    again = venue.scan(venue.code(1), "South", NOW + 5, nonce="s")
    assert (again.result, again.first) == (refused.result, refused.first)


# -- offline logs --------------------------------------------------------------------------------------


def test_a_scan_that_already_happened_is_recorded_as_what_it_was(venue: Venue) -> None:
    """pretixscan #3187: a green offline scan was logged as a failure when it came in."""
    green = venue.scan(venue.code(1), at=NOW - HOUR, admitted=True)
    assert (green.result, green.at_ms) == ("accepted", NOW - HOUR)
    red = venue.scan(venue.code(2), at=NOW - HOUR, admitted=False, shown="revoked")
    assert (red.result, red.admitted) == ("revoked", False)
    strange = venue.scan(venue.code(3), at=NOW - HOUR, admitted=False, shown="<script>")
    assert strange.result == "refused"
    assert venue.ticket(2).entries == 0
    assert venue.scan(venue.code(2)).result == "accepted", "what a device refused is not used up"


def test_a_conflict_is_named_with_both_gates_and_times_whatever_comes_first(venue: Venue) -> None:
    """GET Protocol's two scanners, both offline; Zupass #549 heard of it minutes later."""
    late = venue.scan(venue.code(1), "South", NOW - 1000, admitted=True)
    early = venue.scan(venue.code(1), "North", NOW - 9000, admitted=True)
    assert late.result == "accepted"
    assert (early.result, early.admitted) == ("conflict", True)
    with venue.store.reading() as connection:
        (found,) = doors.conflicts(connection, events.find(connection, "gala"), 10)
    assert found.number == 1
    assert [(p.gate, p.device, p.at_ms) for p in found.passages] == [
        ("North", "North", NOW - 9000),
        ("South", "South", NOW - 1000),
    ]
    live = venue.scan(venue.code(1))
    assert live.first is not None
    assert (live.result, live.first.at_ms, live.first.gate) == ("already_redeemed", NOW - 9000, "North")


def test_whoever_was_let_in_against_a_revocation_is_a_conflict_too(venue: Venue) -> None:
    venue.set_state(1, "refunded")
    venue.event("ball")
    assert venue.scan(venue.code(1), at=NOW - 5, admitted=True).result == "refunded"
    assert venue.scan(venue.code(2, "ball"), at=NOW - 4, admitted=True).result == "wrong_event"
    assert venue.scan("nonsense", at=NOW - 3, admitted=True).result == "unknown"
    with venue.store.reading() as connection:
        found = doors.conflicts(connection, events.find(connection, "gala"), 10)
    assert sorted((c.number or 0, c.why) for c in found) == [(0, "unknown"), (0, "wrong_event"), (1, "refunded")]
    assert venue.ticket(1).state == "refunded", "an entry does not bring a refunded ticket back to life"
    assert all(c.passages for c in found)


def test_a_door_that_was_answered_too_late_and_let_them_in_says_so(venue: Venue) -> None:
    """The same nonce: first the question whose answer never came, then the log that says what the door did."""
    venue.scan(venue.code(1), "North", NOW)
    assert venue.scan(venue.code(1), "South", NOW + 10, nonce="s").result == "already_redeemed"
    drained = venue.scan(venue.code(1), "South", NOW + 10, nonce="s", admitted=True)
    assert (drained.result, drained.admitted) == ("conflict", True)
    assert [r.result for r in venue.rows()] == ["accepted", "conflict"]
    assert venue.scan(venue.code(1), "South", NOW + 10, nonce="s", admitted=True).result == "conflict"
    stray = venue.scan("nonsense", nonce="q")
    assert not stray.admitted
    assert venue.scan("nonsense", nonce="q", admitted=True).admitted


def test_a_log_may_be_drained_twice(venue: Venue) -> None:
    once = [venue.scan(venue.code(n), at=NOW - n, nonce=f"d{n}", admitted=True).result for n in range(1, 6)]
    twice = [venue.scan(venue.code(n), at=NOW - n, nonce=f"d{n}", admitted=True).result for n in range(1, 6)]
    assert once == twice == ["accepted"] * 5
    assert len(venue.rows()) == 5


def test_one_batch_decides_in_the_order_in_which_things_happened(venue: Venue) -> None:
    scans = [Scan(nonce=f"b{i}", at_ms=NOW - i, gate="North", code=venue.code(1), admitted=True) for i in range(3)]
    with venue.store.transaction() as connection:
        answers = check_in(connection, [*scans, scans[0]], venue.devices["gala North"], CODES, NOW)
    assert [a.result for a in answers] == ["conflict", "conflict", "accepted", "conflict"]
    assert answers[3].replayed
    assert len(venue.rows()) == 3


def test_a_daily_log_conflicts_by_the_day_on_which_it_happened(venue: Venue) -> None:
    venue.change(entry_policy="daily")
    day = entries.DAY_MS
    results = [venue.scan(venue.code(1), at=NOW - d * day, admitted=True).result for d in (0, 2, 1, 2)]
    assert results == ["accepted", "accepted", "accepted", "conflict"]


# -- order ids -----------------------------------------------------------------------------------------


def test_a_late_buyer_comes_in_by_order_id_and_is_marked(venue: Venue) -> None:
    answer = venue.scan(order_id=order_of("gala", 6))
    assert (answer.result, answer.number) == ("accepted", 7)
    assert venue.rows()[0].method == "order"
    assert venue.scan(order_id=order_of("gala", 6)).result == "already_redeemed"
    assert venue.scan(venue.code(7)).result == "already_redeemed"


def test_a_public_reference_opens_nothing(venue: Venue) -> None:
    """It stands in memos for the whole world to read."""
    assert venue.scan(order_id="gala-6").result == "unknown"
    assert venue.scan("gala-6").result == "unknown"


def test_an_order_of_several_tickets_lets_each_in_and_a_retry_takes_no_second_one(venue: Venue) -> None:
    venue.event("ball", 4, a_purchase=2, entry_policy="once")
    order = order_of("ball", 0)
    assert venue.scan(order_id=order, slug="ball", nonce="a").number == 1
    assert venue.scan(order_id=order, slug="ball", nonce="a").number == 1
    assert venue.scan(order_id=order, slug="ball", nonce="b").number == 2
    assert venue.scan(order_id=order, slug="ball", nonce="c").result == "already_redeemed"
    assert venue.ticket(1, "ball").entries == venue.ticket(2, "ball").entries == 1
    assert venue.scan(order_id=order).result == "wrong_event"


def test_an_order_passes_over_a_ticket_of_it_that_opens_nothing(venue: Venue) -> None:
    venue.event("duo", count=2, a_purchase=2)
    venue.set_state(1, "revoked", "duo")
    entry = venue.scan(order_id=order_of("duo", 0), slug="duo")
    assert (entry.result, entry.number) == ("accepted", 2)


def test_an_order_of_two_lets_both_in_on_each_day(venue: Venue) -> None:
    venue.event("fair", count=2, a_purchase=2, entry_policy="daily")
    order = order_of("fair", 0)
    days = [[venue.scan(order_id=order, at=NOW + day * DAY + i, slug="fair") for i in range(2)] for day in range(3)]
    assert [[e.result for e in day] for day in days] == [["accepted", "accepted"]] * 3


def test_two_doors_that_take_one_order_in_the_same_transaction_let_two_in(venue: Venue) -> None:
    venue.event("duo", count=2, a_purchase=2)
    scan = Scan(nonce="a", at_ms=NOW, order_id=order_of("duo", 0))
    with venue.store.transaction() as connection:
        found = check_in_all(connection, [(venue.devices[f"duo {g}"], scan) for g in ("North", "South")], CODES, NOW)
    assert sorted((e.result, e.number) for e in found if isinstance(e, Entry)) == [("accepted", 1), ("accepted", 2)]


def test_entries_by_order_id_are_capped(venue: Venue) -> None:
    """Whoever films payment pages must not fill a hall."""
    venue.event("ball", ORDER_LEAST + 2, entry_policy="once")
    results = [venue.scan(order_id=order_of("ball", n), slug="ball").result for n in range(ORDER_LEAST + 1)]
    assert results == ["accepted"] * ORDER_LEAST + ["order_limit"]
    assert venue.scan(venue.code(ORDER_LEAST + 1, "ball"), slug="ball").result == "accepted", "its code still does"


# -- devices -------------------------------------------------------------------------------------------


def test_a_key_is_shown_once_kept_as_a_hash_and_revocable(venue: Venue) -> None:
    with venue.store.transaction() as connection:
        event = events.find(connection, "gala")
        device_id, key = devices.add(connection, event, " Gate 3 ", NOW, "operator:op")
        found = devices.authenticate(connection, key, NOW)
        assert found is not None
        assert (found.id, found.name, found.event) == (device_id, "Gate 3", "gala")
        row = devices.listing(connection, event)[-1]
        assert key.encode() not in row.key_hash
        for wrong in ("", "cwd_", key[:-1], key + "x", key[4:], "cwd_" + "x" * 1000):
            assert devices.authenticate(connection, wrong, NOW) is None
        assert devices.revoke(connection, event, device_id, NOW, "operator:op")
        assert not devices.revoke(connection, event, device_id, NOW, "operator:op")
        assert devices.authenticate(connection, key, NOW) is None
        with pytest.raises(Rejected, match="revoked"):
            check_in(connection, [Scan(nonce="1", at_ms=NOW, code="x")], device_id, CODES, NOW)
        for name in ("", " ", "x" * 41, "a\nb"):
            with pytest.raises(Rejected) as refused:
                devices.add(connection, event, name, NOW, "x")
            assert refused.value.code == "bad_name"


def test_another_event_s_device_is_not_revoked_from_here(venue: Venue) -> None:
    venue.event("ball")
    with venue.store.transaction() as connection, pytest.raises(Rejected) as refused:
        devices.revoke(connection, events.find(connection, "ball"), venue.devices["gala North"], NOW, "x")
    assert refused.value.code == "unknown_device"


# -- races ---------------------------------------------------------------------------------------------

ROUNDS = 100


def test_two_devices_within_a_millisecond_exactly_one_is_green(venue: Venue, ledger_url: str) -> None:
    """GET Protocol: two scanners within seconds admitted one ticket twice.  Two processes' worth of connections."""
    venue.event("race", ROUNDS, entry_policy="once")
    stores = [Store(ledger_url), Store(ledger_url)]
    start = threading.Barrier(2)
    answers: list[list[str]] = [[], []]

    def run(side: int) -> None:
        device = venue.devices[f"race {('North', 'South')[side]}"]
        for number in range(1, ROUNDS + 1):
            scan = Scan(nonce="same", at_ms=NOW, gate=str(side), code=venue.code(number, "race"))
            start.wait(60)
            with stores[side].transaction() as connection:
                answers[side].append(check_in(connection, [scan], device, CODES, NOW)[0].result)

    together(run)
    for store in stores:
        store.close()
    pairs = [sorted(pair) for pair in zip(*answers, strict=True)]
    assert pairs == [["accepted", "already_redeemed"]] * ROUNDS


def test_the_same_scan_sent_twice_at_once_is_one_entry(venue: Venue, ledger_url: str) -> None:
    venue.event("race", ROUNDS, entry_policy="reentry")
    stores = [Store(ledger_url), Store(ledger_url)]
    start = threading.Barrier(2)
    answers: list[list[str]] = [[], []]

    def run(side: int) -> None:
        for number in range(1, ROUNDS + 1):
            texts = (venue.code(number, "race"), f"stray {number}")
            start.wait(60)
            for text in texts:
                with stores[side].transaction() as connection:
                    scan = Scan(nonce=f"n{number}", at_ms=NOW, code=text)
                    answers[side].append(
                        check_in(connection, [scan], venue.devices["race North"], CODES, NOW)[0].result
                    )

    together(run)
    for store in stores:
        store.close()
    assert answers == [["accepted", "unknown"] * ROUNDS] * 2
    with venue.store.reading() as connection:
        assert count(connection) == 2 * ROUNDS
        assert set(connection.execute(select(tickets.c.entries).where(tickets.c.state == "used")).scalars()) == {1}


def count(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(entry_table)).scalar_one())


def together(run: Callable[[int], None]) -> None:
    failed: list[BaseException] = []

    def guarded(side: int) -> None:
        try:
            run(side)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(side,)) for side in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
