"""Messages to endpoints: handed out once, in order, tried again, given up, sent again; on both databases."""

from collections.abc import Sequence

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, select, update

from chainwatch.errors import Rejected
from chainwatch.finality import Rule, Tier
from chainwatch.follower import Step
from chainwatch.ledger import deliveries, events, outbox, queries, reminders, webhooks
from chainwatch.ledger.apply import apply
from chainwatch.ledger.context import Context, Policy
from chainwatch.ledger.deliveries import Outcome
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import deliveries as delivery_table
from chainwatch.ledger.tables import events as event_table
from chainwatch.ledger.tables import outbox as outbox_table
from chainwatch.model import Asset, Block, BlockRef, ChainSpec, InBlock, Transfer, Unconfirmed
from chainwatch.testing.shop import Shop
from chainwatch.tickets.token import Issuer, new_ref
from chainwatch.wallets import canonical_wallet

pytestmark = pytest.mark.network

NOW = 1_760_000_000_000
MINUTE, DAY = 60_000, 86_400_000
URL = "https://example.org/hook"


def add(store: Store, *types: str, url: str = URL) -> int:
    with store.transaction() as connection:
        return webhooks.create(connection, url, types or ("*",), now_ms=NOW, actor="test").id


def post(store: Store, *messages: tuple[str, str], now_ms: int = NOW) -> None:
    with store.transaction() as connection:
        made = [outbox.Message(type_, subject, {"n": i}) for i, (type_, subject) in enumerate(messages)]
        outbox.post(connection, now_ms, made)


def hand_out(store: Store, now_ms: int = NOW) -> int:
    with store.transaction() as connection:
        return deliveries.hand_out(connection, now_ms)


def due(store: Store, hook: int, now_ms: int = NOW) -> list[deliveries.Due]:
    with store.reading() as connection:
        return deliveries.due(connection, hook, now_ms, 100)


def said(items: Sequence[deliveries.Due]) -> list[str]:
    return [item.body.decode().partition('"data":')[2] for item in items]


def record(store: Store, hook: int, *outcomes: Outcome, now_ms: int = NOW) -> None:
    with store.transaction() as connection:
        deliveries.record(connection, hook, outcomes, now_ms)


def waiting(store: Store) -> tuple[int, int | None]:
    with store.reading() as connection:
        status = queries.status(connection)
        return status.outbox_pending, status.outbox_oldest_ms


def test_what_nobody_subscribes_to_is_done(store: Store) -> None:
    post(store, ("ticket.minted", "a"), ("refund.due", "b"))
    assert waiting(store) == (2, NOW)
    assert hand_out(store) == 2
    assert waiting(store) == (0, None)
    hook = add(store, "payout.due")
    post(store, ("ticket.minted", "a"))
    hand_out(store)
    assert (due(store, hook), waiting(store)) == ([], (0, None))


def test_each_endpoint_gets_what_it_asked_for_once(store: Store) -> None:
    every, some = add(store), add(store, "ticket.minted", "refund.due")
    post(store, ("ticket.minted", "a"), ("access.denied", "b"), ("refund.due", "c"))
    assert (hand_out(store), hand_out(store)) == (3, 0)
    assert len(due(store, every)) == 3
    assert said(due(store, some)) == ['{"n":0}}', '{"n":2}}']
    assert waiting(store) == (5, NOW)
    first = due(store, some)[0]
    assert first.body == b'{"type":"ticket.minted","timestamp":"2025-10-09T08:53:20Z","data":{"n":0}}'
    assert first.message_id == due(store, every)[0].message_id  # the same message has the same id for everybody


def test_a_failed_message_holds_back_later_ones_of_its_subject_only(store: Store) -> None:
    hook, other = add(store), add(store)
    post(store, *(("payment.seen", s) for s in ("a", "b", "a", "b", "a")))
    hand_out(store)
    assert said(due(store, hook)) == ['{"n":0}}', '{"n":1}}']
    a, b = due(store, hook)
    record(store, hook, Outcome(a.id, False, 500, "HTTP 500", NOW + MINUTE), Outcome(b.id, True, 200))
    assert said(due(store, hook)) == ['{"n":3}}']
    assert said(due(store, hook, NOW + MINUTE)) == ['{"n":0}}', '{"n":3}}']
    assert len(due(store, other)) == 2  # another endpoint has its own order
    record(store, hook, Outcome(a.id, True, 200), now_ms=NOW + MINUTE)
    assert said(due(store, hook, NOW + MINUTE)) == ['{"n":2}}', '{"n":3}}']


def test_a_dead_letter_lets_the_next_one_go_and_can_be_sent_again(store: Store) -> None:
    hook = add(store)
    post(store, ("payment.seen", "a"), ("payment.confirmed", "a"))
    hand_out(store)
    (first,) = due(store, hook)
    record(store, hook, Outcome(first.id, False, 500, "HTTP 500", None))
    assert said(due(store, hook)) == ['{"n":1}}']
    with store.transaction() as connection:
        (dead,) = deliveries.listing(connection, webhook_id=hook, state="dead")
        assert (dead.attempts, dead.last_status, dead.last_error, dead.type) == (1, 500, "HTTP 500", "payment.seen")
        assert deliveries.redeliver_dead(connection, hook, since_ms=NOW + 1, now_ms=NOW, actor="test") == 0
        assert deliveries.redeliver_dead(connection, hook, since_ms=NOW, now_ms=NOW + 5 * DAY, actor="test") == 1
    (again,) = due(store, hook, NOW + 5 * DAY)
    assert (again.id, again.attempts, again.since_ms) == (first.id, 0, NOW + 5 * DAY)  # three days begin anew
    assert again.message_id == first.message_id


def test_one_delivery_is_sent_again_and_a_stranger_s_is_not(store: Store) -> None:
    hook, other = add(store), add(store)
    post(store, ("payment.seen", "a"))
    hand_out(store)
    (first,) = due(store, hook)
    record(store, hook, Outcome(first.id, True, 204))
    with store.transaction() as connection:
        for wrong in ((other, first.id), (hook, 999)):
            with pytest.raises(Rejected) as caught:
                deliveries.redeliver(connection, *wrong, now_ms=NOW, actor="test")
            assert caught.value.code == "unknown_delivery"
        deliveries.redeliver(connection, hook, first.id, now_ms=NOW, actor="test")
    assert due(store, hook) == [first]


def test_what_waits_behind_a_failure_goes_on_when_an_operator_sends_it_again(store: Store) -> None:
    hook = add(store)
    post(store, ("payment.seen", "a"), ("payment.seen", "a"))
    hand_out(store)
    (first,) = due(store, hook)
    record(store, hook, Outcome(first.id, False, 500, "HTTP 500", NOW + DAY))
    assert due(store, hook) == []
    with store.transaction() as connection:
        deliveries.redeliver(connection, hook, first.id, now_ms=NOW, actor="test")
    record(store, hook, Outcome(first.id, True, 200))
    assert said(due(store, hook)) == ['{"n":1}}']


def test_an_outcome_that_comes_too_late_changes_nothing(store: Store) -> None:
    hook = add(store)
    post(store, ("payment.seen", "a"))
    hand_out(store)
    (first,) = due(store, hook)
    record(store, hook, Outcome(first.id, True, 200))
    record(store, hook, Outcome(first.id, False, 500, "late", NOW + MINUTE))
    with store.reading() as connection:
        (one,) = deliveries.listing(connection)
        assert (one.state, one.attempts, one.last_status) == ("delivered", 1, 200)


def test_410_disables_and_what_waited_can_be_had_after_enabling(store: Store) -> None:
    hook = add(store)
    post(store, ("payment.seen", "a"), ("payment.seen", "b"))
    hand_out(store)
    first, _ = due(store, hook)
    record(store, hook, Outcome(first.id, False, 410, "HTTP 410", None, gone=True))
    assert waiting(store) == (0, None)
    post(store, ("payment.seen", "c"))
    hand_out(store)
    with store.transaction() as connection:
        held = webhooks.find(connection, hook)
        assert held.disabled_why == "it answered 410 Gone"
        for refused in (
            lambda: deliveries.ping(connection, hook, NOW),
            lambda: deliveries.redeliver(connection, hook, first.id, now_ms=NOW, actor="test"),
            lambda: deliveries.redeliver_dead(connection, hook, since_ms=0, now_ms=NOW, actor="test"),
        ):
            with pytest.raises(Rejected) as caught:
                refused()
            assert caught.value.code == "webhook_disabled"
        webhooks.change(connection, hook, webhooks.Changes(enabled=True), now_ms=NOW, actor="test")
        assert deliveries.redeliver_dead(connection, hook, since_ms=0, now_ms=NOW, actor="test") == 2
        assert deliveries.counts(connection, hook) == {"pending": 2, "dead": 0}


def test_a_test_message_goes_to_one_endpoint_whatever_it_asks_for(store: Store) -> None:
    hook, other = add(store, "payout.due"), add(store)
    with store.transaction() as connection:
        deliveries.ping(connection, hook, NOW)
    hand_out(store)
    (one,) = due(store, hook)
    assert b'"type":"webhook.test"' in one.body
    assert due(store, other) == []


def test_endpoints_are_made_changed_rotated_and_deleted(store: Store) -> None:
    hook = add(store, "ticket.minted", "ticket.minted")
    with store.transaction() as connection:
        held = webhooks.find(connection, hook)
        assert (held.types, held.generation) == (("ticket.minted",), 1)
        changes = webhooks.Changes(url="https://example.org/other", types=("*",), description="shop")
        held = webhooks.change(connection, hook, changes, now_ms=NOW, actor="test")
        assert (held.url, held.types, held.description) == ("https://example.org/other", ("*",), "shop")
        held = webhooks.rotate(connection, hook, now_ms=NOW, actor="test")
        assert (held.generation, held.previous_until_ms) == (2, NOW + DAY)
        held = webhooks.rotate(connection, hook, now_ms=NOW, actor="test", overlap_ms=0)
        assert (held.generation, held.previous_until_ms) == (3, None)
        webhooks.remove(connection, hook, now_ms=NOW, actor="test")
        assert webhooks.listing(connection) == []
        with pytest.raises(Rejected, match="no webhook"):
            webhooks.find(connection, hook)
    assert add(store) != hook  # an id, and so a secret, is never used again


@pytest.mark.parametrize(
    ("url", "types", "code"),
    [
        ("http://example.org/", ("*",), "bad_url"),
        ("https://127.0.0.1/", ("*",), "bad_url"),
        (URL, (), "bad_types"),
        (URL, ("ticket.sold",), "bad_types"),
    ],
)
def test_wrong_endpoints_are_refused(store: Store, url: str, types: tuple[str, ...], code: str) -> None:
    with store.transaction() as connection, pytest.raises(Rejected) as caught:
        webhooks.create(connection, url, types, now_ms=NOW, actor="test")
    assert caught.value.code == code


def test_the_number_of_endpoints_is_bounded(store: Store) -> None:
    for _ in range(webhooks.MAX_WEBHOOKS):
        add(store)
    with pytest.raises(Rejected, match="50 endpoints"):
        add(store)


def test_old_messages_are_forgotten_but_for_those_that_wait(store: Store) -> None:
    hook = add(store)
    post(store, ("payment.seen", "a"), ("payment.seen", "b"), ("payment.seen", "c"))
    hand_out(store)
    a, b, _ = due(store, hook)
    record(store, hook, Outcome(a.id, True, 200), Outcome(b.id, False, 500, "x", None))
    post(store, ("payment.seen", "d"), now_ms=NOW + DAY)
    with store.transaction() as connection:
        assert deliveries.prune(connection, NOW) == 0
        assert deliveries.prune(connection, NOW + 1) == 2
        assert connection.execute(select(func.count()).select_from(outbox_table)).scalar_one() == 2
        assert connection.execute(select(delivery_table.c.subject)).scalars().all() == ["c"]


# -- an event that starts soon -------------------------------------------------------------------------------


def test_an_event_that_starts_is_told_an_hour_and_a_quarter_before(store: Store) -> None:
    start = NOW + 2 * 60 * MINUTE
    with store.transaction() as connection:
        for name, at in (("gala", start), ("late", NOW + 5 * MINUTE), ("off", start), ("open", None)):
            new = events.NewEvent(id=name, title=name, ticket_price="1", ticket_currency="HIVE", event_start_ms=at)
            events.create(connection, new, {"HIVE": Asset("HIVE", "HIVE", 3)}, 0, NOW, "test")
        connection.execute(update(event_table).where(event_table.c.slug == "off").values(status="cancelled"))

    def told(now_ms: int) -> list[str]:
        with store.transaction() as connection:
            connection.execute(update(outbox_table).values(done_ms=1))
            reminders.tell_starting(connection, now_ms)
            fresh = select(outbox_table.c.payload).where(outbox_table.c.done_ms.is_(None)).order_by(outbox_table.c.id)
            return list(connection.execute(fresh.where(outbox_table.c.type == "event.starting")).scalars())

    assert told(NOW) == ['{"event_id":"late","minutes":15}']  # once, not for the hour too
    assert told(start - 60 * MINUTE - 1) == []
    assert told(start - 60 * MINUTE) == ['{"event_id":"gala","minutes":60}']
    assert told(start - 15 * MINUTE - 1) == []
    assert told(start - 15 * MINUTE) == ['{"event_id":"gala","minutes":15}']
    assert told(start - 1) == []
    with store.transaction() as connection:
        connection.execute(update(event_table).where(event_table.c.slug == "gala").values(event_start_ms=start + DAY))
    assert told(start + DAY - 60 * MINUTE) == ['{"event_id":"gala","minutes":60}']  # moved: told for its new time
    assert told(start + DAY) == []


# -- what a purchase says, in its order -----------------------------------------------------------------------


def test_messages_hold_ids_and_states_alone(shop: Shop) -> None:
    """Receivers log them: no wallet, no memo, no amount, no secret."""
    shop.event(max_attendees=1, event_start_ms=shop.now_ms + 60_000)
    quote = shop.ask("alice")
    paid, late = shop.pays(quote, 5005, sender=("alice",)), shop.buys("bobby-the-buyer", sender=("bobby-the-buyer",))
    shop.see(paid)
    shop.mine(paid, late)
    shop.reorg(1, paid)
    with shop.store.transaction() as connection:
        reminders.tell_starting(connection, shop.now_ms)
    shop.cancel()
    with shop.store.reading() as connection:
        rows = connection.execute(select(outbox_table.c.type, outbox_table.c.payload)).all()
    told = {r.type for r in rows}
    assert {
        "payment.seen",
        "payment.confirmed",
        "ticket.minted",
        "refund.due",
        "event.sold_out",
        "event.cancelled",
    } <= told
    for r in rows:
        said = msgspec.json.decode(r.payload)
        assert said.keys() <= {
            *("chain", "txid", "index", "ref", "event_id", "ticket_id", "number", "kind", "reason", "minutes")
        }, r.type
        for secret in ("alice", "bobby", quote.purchase_id, "5005"):
            assert secret not in r.payload


def test_all_that_happens_to_a_purchase_is_one_subject_in_order(store: Store) -> None:
    """The payment is told before its ticket, and both under one subject: a receiver never sees them turned round."""
    spec = ChainSpec("HIVE", "hive", "hive", (Asset("HIVE", "HIVE", 3),), (), ("till",))
    issuer = Issuer(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    context = Context(spec, Rule((Tier(depth=2),)), Policy(), issuer, canonical_wallet, new_ref)
    hook = add(store)

    def block(height: int, *paid: Transfer) -> Step:
        ref = BlockRef(height, f"h{height}", f"h{height - 1}")
        cursor = BlockRef(height - 1, f"h{height - 1}") if height > 1 else None
        return Step("HIVE", cursor, ref, ref, None, blocks=(Block(ref, NOW + height, paid),))

    def pay(txid: str, memo: str, height: int, amount: int = 5000) -> Transfer:
        position = InBlock(BlockRef(height, f"h{height}")) if height else Unconfirmed(NOW)
        return Transfer("HIVE", txid, "0", "HIVE", amount, "till", memo=memo.encode(), position=position)

    with store.transaction() as connection:
        new = events.NewEvent(id="gala", title="g", ticket_price="5", ticket_currency="HIVE", max_attendees=10)
        events.create(connection, new, {"HIVE": spec.assets[0]}, 2000, NOW, "test")
        apply(connection, block(1, pay("t1", "event:gala:wallet:alice", 1), pay("t2", "event:gala:wallet:bobby", 1, 9000)), context, 1, NOW)  # noqa: E501  # fmt: skip
        apply(connection, block(2), context, 1, NOW)
    hand_out(store)
    told: dict[str, list[tuple[str, str]]] = {}
    while batch := due(store, hook):
        for one in batch:
            with store.reading() as connection:
                (row,) = [d for d in deliveries.listing(connection) if d.id == one.id]
            told.setdefault(row.subject, []).append((row.type, one.body.decode().partition('"data":')[2]))
            record(store, hook, Outcome(one.id, True, 200))
    alice, bobby = sorted((s for s in told if s.startswith("purchase:")), key=lambda s: len(told[s]))
    assert [t for t, _ in told[alice]] == ["payment.seen", "payment.confirmed", "ticket.minted"]
    assert [t for t, _ in told[bobby]] == ["payment.seen", "payment.confirmed", "ticket.minted", "refund.due"]
    assert all("alice" not in data and "bobby" not in data for rows in told.values() for _, data in rows)  # ids only
    assert all('"event_id":"gala"' in data for t, data in told[alice])
    assert '"kind":"surplus"' in told[bobby][3][1]
    assert all(t in outbox.TYPES for rows in told.values() for t, _ in rows)


@pytest.mark.parametrize("handed_out", [False, True])
def test_a_sighting_that_was_not_taken_comes_before_the_confirmation(store: Store, handed_out: bool) -> None:
    """A payment by memo has no purchase while it is only seen; later both are of one subject."""
    spec = ChainSpec("HIVE", "hive", "hive", (Asset("HIVE", "HIVE", 3),), (), ("till",))
    issuer = Issuer(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    context = Context(spec, Rule((Tier(depth=1),)), Policy(), issuer, canonical_wallet, new_ref)
    hook = add(store)
    seen = Transfer("HIVE", "t", "0", "HIVE", 5000, "till", memo=b"event:gala:wallet:alice", position=Unconfirmed(NOW))
    first, second = BlockRef(1, "h1", "h0"), BlockRef(2, "h2", "h1")
    paid = msgspec.structs.replace(seen, position=InBlock(BlockRef(2, "h2")))
    with store.transaction() as connection:
        new = events.NewEvent(id="gala", title="g", ticket_price="5", ticket_currency="HIVE")
        events.create(connection, new, {"HIVE": spec.assets[0]}, 2000, NOW, "test")
        sighting = Step("HIVE", None, first, first, None, blocks=(Block(first, NOW, ()),), snapshot=(seen,))
        apply(connection, sighting, context, 1, NOW)
    if handed_out:
        hand_out(store)
    with store.transaction() as connection:
        step = Step("HIVE", BlockRef(1, "h1"), second, second, None, blocks=(Block(second, NOW, (paid,)),))
        apply(connection, step, context, 1, NOW)
    hand_out(store)
    types = []
    while batch := due(store, hook):
        assert len(batch) == 1
        types.append(msgspec.json.decode(batch[0].body)["type"])
        record(store, hook, Outcome(batch[0].id, True, 200))
    assert types == ["payment.seen", "payment.confirmed", "ticket.minted"]
