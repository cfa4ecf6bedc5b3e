"""The delivery service over real HTTP, to receivers that fail, hang, redirect, vanish and lie."""

import asyncio
import random
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from chainwatch.config.sections import Webhooks
from chainwatch.errors import Transient
from chainwatch.ledger import deliveries, leases, outbox, queries, schema, webhooks
from chainwatch.ledger.store import Store
from chainwatch.metrics import Metrics
from chainwatch.outbox import AT_ONCE, LEASE_MS, RETRY_MS, Outbox, lookup
from chainwatch.testing.clock import FakeClock
from chainwatch.testing.receiver import Receiver, always, at_random
from chainwatch.tickets.token import Issuer

NOW = 1_760_000_000_000
ISSUER = Issuer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


class Post:
    """A delivery service with its clock in the test's hand, over a database that outlives it."""

    def __init__(self, store: Store, clock: FakeClock, holder: str = "a", **more: Any) -> None:
        self.store, self.clock = store, clock
        self.metrics = Metrics(clock)
        self.settings = Webhooks(allow_private=True, timeout_seconds=30)
        self.outbox = Outbox(
            settings=lambda: self.settings,
            store=store,
            issuer=ISSUER,
            metrics=self.metrics,
            clock=clock,
            rng=random.Random(3),
            holder=holder,
            **more,
        )

    async def round(self, after_s: float = 0) -> None:
        self.clock.advance(after_s)
        await self.outbox.round()
        await self.outbox.idle()

    async def until_quiet(self, rounds: int = 2000, step_s: float = 1) -> None:
        for _ in range(rounds):
            await self.round(step_s)
            if not pending(self.store):
                return
        raise AssertionError(f"{pending(self.store)} messages are still waiting")


def pending(store: Store) -> int:
    with store.reading() as connection:
        return queries.status(connection).outbox_pending


def add(store: Store, url: str, *types: str) -> tuple[int, str]:
    """Make an endpoint; return its id and secret."""
    with store.transaction() as connection:
        hook = webhooks.create(connection, url, types or ("*",), now_ms=NOW, actor="test", allow_private=True)
        return hook.id, hook.secrets(ISSUER, NOW)[0]


def post(store: Store, *messages: tuple[str, int]) -> None:
    """Queue messages: (subject, number)."""
    with store.transaction() as connection:
        made = [outbox.Message("payment.seen", subject, {"s": subject, "n": n}) for subject, n in messages]
        outbox.post(connection, NOW, made)


def listed(store: Store, **how: Any) -> list[deliveries.Delivery]:
    with store.reading() as connection:
        return deliveries.listing(connection, limit=1000, **how)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store(f"sqlite:///{tmp_path}/outbox.db")
    schema.upgrade(opened)
    yield opened
    opened.close()


@pytest.fixture
async def service(store: Store, clock: FakeClock) -> AsyncIterator[Post]:
    made = Post(store, clock)
    yield made
    await made.outbox.close()


Receive = Callable[..., Receiver]


@pytest.fixture
def receive(clock: FakeClock) -> Receive:
    return lambda **how: Receiver(now_s=lambda: clock.now_ms() / 1000, **how)


async def test_a_message_arrives_signed_and_is_delivered(store: Store, service: Post, receive: Receive) -> None:
    async with receive() as receiver:
        hook, receiver.secret = add(store, receiver.url)
        post(store, ("a", 1))
        await service.round()
        (got,) = receiver.taken
        assert (got.type, got.data, got.good, got.id) == ("payment.seen", {"s": "a", "n": 1}, True, "msg_1")
        (one,) = listed(store, webhook_id=hook)
        assert (one.state, one.attempts, one.last_status) == ("delivered", 1, 200)
        assert pending(store) == 0
        await service.round(3600)
        assert len(receiver.requests) == 1


@pytest.mark.parametrize("seed", range(6))
async def test_events_of_one_purchase_arrive_in_order_whatever_fails(
    store: Store, clock: FakeClock, receive: Receive, seed: int
) -> None:
    """Webhooks that got lost (btcpayserver/btcpayserver#3146, #4978), came for ever (#6826) or out of order (#1160)."""
    rng = random.Random(seed)
    async with receive(answer=at_random(rng, 0.4)) as receiver:
        _, receiver.secret = add(store, receiver.url)
        counts: dict[str, int] = defaultdict(int)
        service = Post(store, clock)
        for _ in range(12):
            messages = []
            for _ in range(rng.randrange(8)):
                subject = f"purchase:{rng.randrange(6)}"
                counts[subject] += 1
                messages.append((subject, counts[subject]))
            post(store, *messages)
            await service.round(rng.choice((0, 1, 5, 60)))
            if rng.random() < 0.3:  # the daemon restarts
                await service.outbox.close()
                service = Post(store, clock, f"restarted-{clock.now_ms()}")
        await service.until_quiet(step_s=600)
        await service.outbox.close()
    taken: dict[str, list[int]] = defaultdict(list)
    for message in receiver.taken:
        taken[message.data["s"]].append(message.data["n"])
    assert dict(taken) == {subject: list(range(1, n + 1)) for subject, n in counts.items()}
    assert len({m.id for m in receiver.taken}) == sum(counts.values())
    after_it_was_taken = [m.id for m in receiver.requests if m.answered == 200]
    assert len(after_it_was_taken) == len(set(after_it_was_taken))  # and none twice: nothing crashed here


async def test_nobody_need_look_at_a_page_for_a_message_to_go_out(
    store: Store, clock: FakeClock, receive: Receive
) -> None:
    """lnbits/lnbits#1893: webhooks fired only while a browser had the page open; bitcart/bitcart#481."""
    service = Post(store, clock)
    running = asyncio.create_task(service.outbox.run())
    async with receive() as receiver:
        _, receiver.secret = add(store, receiver.url)
        post(store, ("a", 1))
        async with asyncio.timeout(60):
            while not receiver.taken:
                clock.advance(1)
                await asyncio.sleep(0.01)
        assert len(receiver.taken) == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_crash_between_sending_and_writing_down_sends_again_with_the_same_id(
    store: Store, clock: FakeClock, receive: Receive, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receive() as receiver:
        _, receiver.secret = add(store, receiver.url)
        post(store, ("a", 1), ("a", 2))
        service = Post(store, clock)

        async def crash(*_args: Any) -> None:
            raise Transient("the power went")

        with monkeypatch.context() as patched:
            patched.setattr(store, "write_together", crash)
            await service.round()
        await service.outbox.close()
        again = Post(store, clock, "b")
        await again.until_quiet()
        await again.outbox.close()
    assert [m.data["n"] for m in receiver.requests] == [1, 1, 2]
    assert [m.data["n"] for m in receiver.taken] == [1, 2]


async def test_one_of_several_daemons_delivers_and_another_takes_over(
    store: Store, clock: FakeClock, receive: Receive
) -> None:
    async with receive() as receiver:
        _, receiver.secret = add(store, receiver.url)
        one, two = Post(store, clock, "one"), Post(store, clock, "two")
        await one.round()
        post(store, ("a", 1))
        await two.round()
        assert receiver.requests == []
        await two.round(LEASE_MS / 1000 + 1)  # the first one is gone
        assert len(receiver.taken) == 1
        with store.reading() as connection:
            assert leases.holder_of(connection, "outbox", clock.now_ms()) == "two"
        await one.outbox.close()
        await two.outbox.close()
        with store.reading() as connection:
            assert leases.holder_of(connection, "outbox", clock.now_ms()) is None


async def test_whoever_lost_the_lease_sends_nothing_more_of_what_it_had_read(
    store: Store, clock: FakeClock, receive: Receive
) -> None:
    """Another daemon has told it meanwhile: an old message after the newer ones of its purchase."""
    one = Post(store, clock, "one")
    async with receive() as receiver:
        _, receiver.secret = add(store, receiver.url)
        post(store, *((f"s{n}", n) for n in range(AT_ONCE * 3)))
        whole = one.outbox._attempt
        sent = 0

        async def attempt(hook: webhooks.Webhook, due: deliveries.Due) -> deliveries.Outcome:
            nonlocal sent
            outcome = await whole(hook, due)
            if (sent := sent + 1) == AT_ONCE:
                clock.advance(LEASE_MS / 1000 + 1)
                with store.transaction() as connection:
                    assert leases.acquire(connection, "outbox", "two", clock.now_ms(), LEASE_MS) is not None
            return outcome

        one.outbox._attempt = attempt  # type: ignore[method-assign]
        await one.round()
        assert len(receiver.requests) == AT_ONCE
        await one.outbox.close()


async def test_an_answer_is_not_unpacked(store: Store, service: Post) -> None:
    """A thousandfold of what came over the wire would be in memory before anybody had looked at it."""
    asked: list[str | None] = []

    async def packed(request: web.Request) -> web.Response:
        asked.append(request.headers.get("Accept-Encoding"))
        return web.Response(body=b"this is not gzip", headers={"Content-Encoding": "gzip"})

    app = web.Application()
    app.router.add_post("/", packed)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    add(store, f"http://127.0.0.1:{runner.addresses[0][1]}/")
    post(store, ("a", 1))
    await service.round()
    await runner.cleanup()
    assert listed(store)[0].state == "delivered"
    assert asked == ["identity"]


async def test_after_three_days_a_message_is_a_dead_letter(store: Store, service: Post, receive: Receive) -> None:
    async with receive(answer=always(503)) as receiver:
        hook, receiver.secret = add(store, receiver.url)
        post(store, ("a", 1), ("a", 2))
        await service.until_quiet(step_s=3600)
        first, second = sorted(listed(store, webhook_id=hook, state="dead"), key=lambda d: d.id)
        assert (first.last_error, first.done_ms is not None and first.done_ms - NOW >= RETRY_MS) == ("HTTP 503", True)
        assert 12 <= first.attempts <= 16
        assert second.attempts == 1  # it waited for as long, and was tried once
        receiver.answer = always(200)
        with store.transaction() as connection:
            now_ms = service.clock.now_ms()
            assert deliveries.redeliver_dead(connection, hook, since_ms=0, now_ms=now_ms, actor="test") == 2
        await service.until_quiet()
        assert [m.data["n"] for m in receiver.taken] == [1, 2]


async def test_a_redirect_is_a_failure_and_is_not_followed(store: Store, service: Post, receive: Receive) -> None:
    async with receive(answer=always(302)) as receiver:
        add(store, receiver.url)
        post(store, ("a", 1))
        await service.round()
        assert len(receiver.requests) == 1
        assert listed(store)[0].last_error == "HTTP 302 (redirects are not followed)"


async def test_410_ends_it(store: Store, service: Post, receive: Receive) -> None:
    async with receive(answer=always(410)) as receiver:
        hook, _ = add(store, receiver.url)
        post(store, *(("a", n) for n in range(5)))
        await service.round()
        await service.round(86_400)
        assert len(receiver.requests) == 1
    with store.reading() as connection:
        assert webhooks.find(connection, hook).disabled_ms is not None
    assert pending(store) == 0


async def test_a_slow_endpoint_holds_up_no_other(store: Store, service: Post, receive: Receive) -> None:
    service.settings = Webhooks(allow_private=True, timeout_seconds=5)
    async with receive(answer=always(0)) as slow, receive() as quick:
        hook, _ = add(store, slow.url)
        add(store, quick.url)
        post(store, *((f"s{n}", n) for n in range(20)))
        await service.outbox.round()
        async with asyncio.timeout(60):
            while len(quick.taken) < 20:
                await asyncio.sleep(0.01)
        assert not any(d.attempts for d in listed(store, webhook_id=hook))  # the slow one's first are still under way
        await service.outbox.idle()
        assert len(slow.requests) == AT_ONCE
        assert {d.last_error for d in listed(store) if d.state == "pending" and d.attempts} == {"no answer within 5 s"}
        await service.round(0.1)
        assert len(slow.requests) == AT_ONCE  # left alone for a moment


async def test_requests_at_once_are_bounded(store: Store, service: Post) -> None:
    now, most = 0, 0

    async def slow(_request: web.Request) -> web.Response:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await asyncio.sleep(0.02)
        now -= 1
        return web.Response()

    app = web.Application()
    app.router.add_post("/", slow)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    add(store, f"http://127.0.0.1:{runner.addresses[0][1]}/")
    post(store, *((f"s{n}", n) for n in range(60)))
    await service.until_quiet()
    await runner.cleanup()
    assert most == AT_ONCE


async def test_an_endless_answer_is_not_read_to_its_end(store: Store, service: Post) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100_000):
            await response.write(b"x" * 1024)
        return response

    app = web.Application()
    app.router.add_post("/", endless)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    add(store, f"http://127.0.0.1:{runner.addresses[0][1]}/")
    post(store, ("a", 1))
    await asyncio.wait_for(service.round(), 60)
    await runner.cleanup()
    assert listed(store)[0].state == "delivered"


async def test_a_rotated_secret_signs_beside_the_old_one(store: Store, service: Post, receive: Receive) -> None:
    async with receive() as receiver:
        hook, old = add(store, receiver.url)
        with store.transaction() as connection:
            rotated = webhooks.rotate(connection, hook, now_ms=NOW, actor="test", overlap_ms=3_600_000)
        new = rotated.secrets(ISSUER, NOW)[0]
        receiver.secret = old
        post(store, ("a", 1))
        await service.round()
        receiver.secret = new
        post(store, ("a", 2))
        await service.round()
        receiver.secret = old
        post(store, ("a", 3))
        await service.round(3600)
        assert [(m.data["n"], m.good) for m in receiver.requests] == [(1, True), (2, True), (3, False)]


async def test_the_metrics_count_attempts(store: Store, service: Post, receive: Receive) -> None:
    async with receive(answer=always(500)) as receiver:
        add(store, receiver.url)
        post(store, ("a", 1))
        await service.round()
        receiver.answer = always(200)
        await service.until_quiet()
    shown = service.metrics.render().decode()
    for outcome, n in (("delivered", 1), ("failed", 1), ("dead", 0)):
        assert f'chainwatch_webhook_attempts_total{{outcome="{outcome}"}} {n}.0' in shown


async def test_old_messages_are_forgotten_by_keep_days(store: Store, service: Post, receive: Receive) -> None:
    async with receive() as receiver:
        add(store, receiver.url)
        post(store, ("a", 1))
        await service.round()
        service.settings = msgspec.structs.replace(service.settings, keep_days=3)
        await service.round(3 * 86_400)
        await service.round(3600)
        assert listed(store) == []


# -- where we do not call ----------------------------------------------------------------------------------


def force(store: Store, url: str) -> None:
    """Make an endpoint as an older, looser configuration let it be made."""
    with store.transaction() as connection:
        webhooks.create(connection, url, ("*",), now_ms=NOW, actor="test", allow_private=True)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"])
async def test_no_spelling_of_loopback_is_called(store: Store, clock: FakeClock, receive: Receive, host: str) -> None:
    async with receive() as receiver:
        port = receiver.url.rsplit(":", 1)[1]
        force(store, f"https://{host}:{port}")
        service = Post(store, clock)
        service.settings = Webhooks(timeout_seconds=30)
        post(store, ("a", 1))
        await service.round()
        await service.outbox.close()
        assert receiver.requests == []
    (one,) = listed(store)
    assert one.state == "pending"
    assert "public" in one.last_error


async def test_a_name_is_judged_at_the_moment_of_connecting(store: Store, clock: FakeClock) -> None:
    """DNS rebinding: the first answer is public, the next is ours.  The address that was judged is the one called."""
    answers = [["8.8.8.8", "10.0.0.7"], ["169.254.169.254"], ["64:ff9b::a00:7"], ["100.64.1.1"]]
    asked = []

    async def look_up(host: str, _port: int, _family: socket.AddressFamily) -> list[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    force(store, "https://rebinding.example/hook")
    service = Post(store, clock, look_up=look_up)
    service.settings = Webhooks(timeout_seconds=30)
    post(store, ("a", 1))
    for i in range(4):
        await service.round(3600 * i)
        assert "rebinding.example is at an address that is not public" in listed(store)[0].last_error
    assert asked == ["rebinding.example"] * 4
    await service.outbox.close()


async def test_the_connection_goes_to_the_address_that_was_looked_up(
    store: Store, clock: FakeClock, receive: Receive
) -> None:
    async with receive() as receiver:
        port = receiver.url.split(":")[2]
        add(store, f"http://receiver.example:{port}")

        async def look_up(_host: str, _port: int, _family: socket.AddressFamily) -> list[str]:
            return ["127.0.0.1"]

        service = Post(store, clock, look_up=look_up)
        post(store, ("a", 1))
        await service.round()
        await service.outbox.close()
        assert len(receiver.taken) == 1


async def test_a_name_that_is_nowhere_is_a_failure(store: Store, clock: FakeClock) -> None:
    async def look_up(_host: str, _port: int, _family: socket.AddressFamily) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    add(store, "http://nowhere.example/")
    service = Post(store, clock, look_up=look_up)
    post(store, ("a", 1))
    await service.round()
    await service.outbox.close()
    assert "Name or service not known" in listed(store)[0].last_error


async def test_the_system_s_resolver_answers() -> None:
    assert "127.0.0.1" in await lookup("localhost", 80, socket.AF_INET)


async def test_plain_http_is_not_called_any_more_once_that_is_forbidden(
    store: Store, clock: FakeClock, receive: Receive
) -> None:
    async with receive() as receiver:
        add(store, receiver.url)
        service = Post(store, clock)
        service.settings = Webhooks()
        post(store, ("a", 1))
        await service.round()
        await service.outbox.close()
        assert receiver.requests == []
        assert "https" in listed(store)[0].last_error


async def test_a_fault_of_the_database_stops_nothing_for_ever(
    store: Store, service: Post, receive: Receive, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receive() as receiver:
        _, receiver.secret = add(store, receiver.url)
        post(store, ("a", 1))
        real, calls = deliveries.due, 0

        def due(connection: Connection, webhook_id: int, now_ms: int, limit: int) -> list[deliveries.Due]:
            nonlocal calls
            calls += 1
            if limit > 1 and calls < 4:
                raise Transient("database: busy")
            return real(connection, webhook_id, now_ms, limit)

        monkeypatch.setattr(deliveries, "due", due)
        await service.until_quiet()
        assert len(receiver.taken) == 1
