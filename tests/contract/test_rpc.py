"""The HTTP client against servers on loopback that misbehave in every way we know."""

import asyncio
import base64
import json
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web

from chainwatch.adapters.base import Services
from chainwatch.adapters.rpc import HttpRefused, Limits, Rpc, RpcError, Throttled
from chainwatch.clock import SystemClock
from chainwatch.errors import Inconsistent, Misconfigured, Persistent, Transient, Unreachable

pytestmark = pytest.mark.network

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ManualClock:
    """Time moves only when somebody sleeps or the test says so; nothing really waits."""

    def __init__(self) -> None:
        self.t = 0.0
        self.slept: list[float] = []

    def now_ms(self) -> int:
        return 1_760_000_000_000 + int(self.t * 1000)

    def monotonic(self) -> float:
        return self.t

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.t += seconds
        await asyncio.sleep(0)


class Seen:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str, str]] = []
        self.health: list[tuple[str, bool]] = []

    def rpc(self, chain: str, endpoint: str, method: str, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.requests.append((chain, endpoint, method, outcome))

    def endpoint(self, chain: str, endpoint: str, up: bool) -> None:
        self.health.append((endpoint, up))

    def count(self, chain: str, what: str, n: int = 1) -> None:
        raise AssertionError(what)


class Stub:
    """A node: answers JSON-RPC well, until a test gives it another ``handler``."""

    def __init__(self, answer: Any = "fine") -> None:
        self.answer = answer
        self.handler: Handler | None = None
        self.calls: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        self.paths.append(request.raw_path)
        body = await request.read()
        self.calls.append(json.loads(body) if body else None)
        return await (self.handler or self.well)(request)

    async def well(self, request: web.Request) -> web.StreamResponse:
        call = self.calls[-1]
        if isinstance(call, list):
            return web.json_response([{"jsonrpc": "2.0", "id": c["id"], "result": c["params"]} for c in call])
        return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": self.answer})

    def says(self, text: str | bytes | None = None, *, status: int = 200, **headers: str) -> None:
        async def handler(request: web.Request) -> web.StreamResponse:
            body = text.encode() if isinstance(text, str) else text
            return web.Response(body=body, status=status, headers={k.replace("_", "-"): v for k, v in headers.items()})

        self.handler = handler

    def replies(self, make: Callable[[Any], Any], status: int = 200) -> None:
        async def handler(request: web.Request) -> web.StreamResponse:
            return web.json_response(make(self.calls[-1]), status=status)

        self.handler = handler


@asynccontextmanager
async def running(*stubs: Stub) -> AsyncIterator[None]:
    runners = []
    for stub in stubs:
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_route("*", "/{tail:.*}", stub.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        stub.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        runners.append(runner)
    try:
        yield
    finally:
        for runner in runners:
            await runner.cleanup()


@asynccontextmanager
async def client(
    *urls: str, clock: Any = None, seen: Seen | None = None, limits: Limits | None = None, **kwargs: Any
) -> AsyncIterator[Rpc]:
    services = Services(clock=clock or ManualClock(), random=random.Random(7), observer=seen or Seen())
    rpc = Rpc("BTC", urls, services, limits=limits, **kwargs)
    await rpc.open()
    try:
        yield rpc
    finally:
        await rpc.close()


class Head(msgspec.Struct):
    height: int


# -- answers --------------------------------------------------------------------------------------


async def test_an_answer_is_decoded_into_the_type_that_was_asked_for() -> None:
    node, seen = Stub({"height": 7, "more": [1, 2]}), Seen()
    async with running(node), client(node.url, seen=seen) as rpc:
        assert await rpc.call("getinfo", ["a"], result=Head) == Head(7)
        assert await rpc.call("getinfo", {"a": 1}) == {"height": 7, "more": [1, 2]}
    assert [c["params"] for c in node.calls] == [["a"], {"a": 1}]
    assert seen.requests == [("BTC", node.url, "getinfo", "ok")] * 2


async def test_null_is_a_result_where_the_type_allows_it() -> None:
    node = Stub(None)
    async with running(node), client(node.url) as rpc:
        assert await rpc.call("eth_getBlockByHash", result=Head | None) is None
        with pytest.raises(Inconsistent):
            await rpc.call("eth_getBlockByHash", result=Head)


async def test_a_result_of_another_shape_is_inconsistent_and_not_asked_again_of_the_same_node() -> None:
    node = Stub({"height": "seven"})
    async with running(node), client(node.url) as rpc:
        with pytest.raises(Inconsistent, match="height"):
            await rpc.call("getinfo", result=Head)
    assert len(node.calls) == 1


async def test_an_answer_to_another_request_is_refused() -> None:
    node = Stub()
    node.replies(lambda call: {"id": call["id"] + 1, "result": 1})
    async with running(node), client(node.url) as rpc:
        with pytest.raises(Inconsistent, match="another request"):
            await rpc.call("getblockcount")
        node.replies(lambda call: {"result": 1})
        with pytest.raises(Inconsistent, match="another request"):
            await rpc.call("getblockcount")


@pytest.mark.parametrize("status", [200, 404, 500])
async def test_an_error_object_is_an_answer_whatever_the_http_status(status: int) -> None:
    """The older bitcoind sends error objects with status 500 (404 for an unknown method) and a null result."""
    node, seen = Stub(), Seen()
    node.replies(
        lambda call: {"id": call["id"], "result": None, "error": {"code": -28, "message": "Loading block index…"}},
        status,
    )
    async with running(node), client(node.url, seen=seen) as rpc:
        with pytest.raises(RpcError) as caught:
            await rpc.call("getblockcount", result=int)
        assert (caught.value.code, caught.value.message) == (-28, "Loading block index…")
        assert len(node.calls) == 1
        assert rpc.best().failures == 0


async def test_the_data_of_an_error_object_is_kept() -> None:
    node = Stub()
    node.replies(lambda call: {"id": call["id"], "error": {"code": 3, "message": "reverted", "data": "0x08c379a0"}})
    async with running(node), client(node.url) as rpc:
        with pytest.raises(RpcError) as caught:
            await rpc.call("eth_call")
    assert caught.value.data == "0x08c379a0"


# -- nodes that misbehave -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "status", "kind"),
    [
        ("too many requests", "slow down", 429, Throttled),
        ("internal error", "oops", 500, Unreachable),
        ("bad gateway", "<html>bad gateway</html>", 502, Unreachable),
        ("not JSON", "<html>hello</html>", 200, Transient),
        ("half an answer", '{"jsonrpc": "2.0", "id": 1, "resu', 200, Transient),
        ("no bytes", "", 200, Transient),
        ("not UTF-8", b'{"id": 1, "result": "\xff\xfe"}', 200, Transient),
        ("deep nesting", '{"id": 1, "result": ' + "[" * 5000, 200, Transient),
    ],
)
async def test_a_bad_answer_is_tried_again_until_the_deadline(
    name: str, text: str | bytes, status: int, kind: type[Exception]
) -> None:
    node, clock = Stub(), ManualClock()
    node.says(text, status=status)
    async with running(node), client(node.url, clock=clock, limits=Limits(deadline_s=10)) as rpc:
        with pytest.raises(kind):
            await rpc.call("getblockcount")
    assert len(node.calls) > 2, name
    assert clock.t <= 10
    assert all(0 <= s <= 8 for s in clock.slept)


async def test_a_hiccup_is_not_seen_by_the_caller() -> None:
    node, seen = Stub(5), Seen()

    async def once(request: web.Request) -> web.StreamResponse:
        node.handler = None
        return web.Response(status=503)

    node.handler = once
    async with running(node), client(node.url, seen=seen) as rpc:
        assert await rpc.call("getblockcount", result=int) == 5
    assert [outcome for *_, outcome in seen.requests] == ["transient", "ok"]


async def test_a_connection_cut_in_the_middle_of_a_body_is_tried_again() -> None:
    node = Stub(5)

    async def cut(request: web.Request) -> web.StreamResponse:
        node.handler = None
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b'{"id": 1, "resu')
        assert request.transport is not None
        request.transport.close()
        return response

    node.handler = cut
    async with running(node), client(node.url) as rpc:
        assert await rpc.call("getblockcount", result=int) == 5


@pytest.mark.parametrize("attempt_s", [0.1, 3600.0], ids=["tried again", "one attempt for all of it"])
async def test_a_node_that_hangs_is_given_up_at_the_deadline(attempt_s: float) -> None:
    node, seen = Stub(), Seen()
    release = asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    node.handler = hang
    limits = Limits(deadline_s=0.5, attempt_s=attempt_s)
    async with running(node), client(node.url, clock=SystemClock(), seen=seen, limits=limits) as rpc:
        async with asyncio.timeout(60):
            with pytest.raises(Unreachable, match="in time"):
                await rpc.call("getblockcount")
        release.set()
    assert {outcome for *_, outcome in seen.requests} == {"timeout"}


async def test_no_wait_goes_past_the_deadline_even_when_the_node_asks_for_it() -> None:
    node, clock = Stub(), ManualClock()
    node.says("", status=429, Retry_After="3600")
    async with running(node), client(node.url, clock=clock) as rpc:
        with pytest.raises(Throttled) as caught:
            await rpc.call("getblockcount")
    assert caught.value.retry_after_s == 3600
    assert clock.t <= 30
    assert len(node.calls) == 1


async def test_retry_after_is_honoured_within_the_deadline() -> None:
    node, clock = Stub(5), ManualClock()

    async def once(request: web.Request) -> web.StreamResponse:
        node.handler = None
        return web.Response(status=429, headers={"Retry-After": "9"})

    node.handler = once
    async with running(node), client(node.url, clock=clock) as rpc:
        assert await rpc.call("getblockcount", result=int) == 5
    assert clock.slept == [9.0]


async def test_an_oversized_body_is_dropped_while_it_streams() -> None:
    node, seen = Stub(), Seen()
    sent = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            for _ in range(2000):
                await response.write(b"x" * 65536)
                sent += 65536
        except (ConnectionError, OSError):
            pass
        return response

    node.handler = flood
    limits = Limits(max_body=100_000)
    async with running(node), client(node.url, seen=seen, limits=limits) as rpc:
        with pytest.raises(Transient, match="more than 100000 bytes"):
            await rpc.call("getblockcount")
        with pytest.raises(Transient, match="more than 100000 bytes"):
            await rpc.get("/block/raw")
    assert {outcome for *_, outcome in seen.requests} == {"too_large"}
    assert sent < 120 * 1024**2
    node.says(b"x" * 200_000)
    async with running(node), client(node.url, seen=seen, limits=limits) as rpc:
        with pytest.raises(Transient, match="more than 100000 bytes"):
            await rpc.call("getblockcount")


async def test_a_compressed_bomb_is_measured_unpacked() -> None:
    import zlib

    node = Stub()
    node.says(zlib.compress(b" " * 5_000_000), Content_Encoding="deflate")
    async with running(node), client(node.url, limits=Limits(max_body=100_000)) as rpc:
        with pytest.raises(Transient):
            await rpc.call("getblockcount")


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 405])
async def test_a_refusal_is_persistent_and_names_the_status(status: int) -> None:
    node = Stub()
    node.says("no", status=status, Location="http://127.0.0.1:1/")
    async with running(node), client(node.url) as rpc:
        with pytest.raises(HttpRefused, match=str(status)) as caught:
            await rpc.call("getblockcount")
    assert isinstance(caught.value, Persistent)
    assert caught.value.status == status
    assert len(node.calls) == 1


async def test_a_port_nobody_listens_on_is_unreachable() -> None:
    node = Stub()
    async with running(node):
        pass
    async with client(node.url) as rpc:
        with pytest.raises(Unreachable):
            await rpc.call("getblockcount")


# -- several nodes --------------------------------------------------------------------------------


async def test_another_node_answers_when_the_first_fails() -> None:
    bad, good, clock = Stub(), Stub(5), ManualClock()
    bad.says("", status=503)
    async with running(bad, good), client(bad.url, good.url, clock=clock) as rpc:
        assert await rpc.call("getblockcount", result=int) == 5
        assert clock.t == 0, "there is no reason to wait before asking somebody else"
        assert rpc.best().name == bad.url, "one failure does not change the node in use"


async def test_a_node_goes_out_of_use_after_repeated_failures_and_back_when_stable() -> None:
    """bitcart/bitcart daemons/genericprocessor: a node that flaps must not make the watcher flap."""
    main, spare, clock, seen = Stub(1), Stub(2), ManualClock(), Seen()
    main.says("", status=503)
    async with running(main, spare), client(main.url, spare.url, clock=clock, seen=seen) as rpc:
        for _ in range(3):
            assert await rpc.call("getblockcount", result=int) == 2
        assert rpc.best().name == spare.url
        assert seen.health == [(main.url, False)]
        main.handler = None
        used = [await _later(rpc, clock, 15) for _ in range(4)]
        assert used == [2, 2, 2, 2], "it answers probes, and is not trusted yet"
        await _later(rpc, clock, 15)
        assert await _later(rpc, clock, 15) == 1
        assert seen.health == [(main.url, False), (main.url, True)]


async def _later(rpc: Rpc, clock: ManualClock, seconds: float) -> int:
    """Let time pass, let the probe that became due finish, then ask."""
    clock.t += seconds
    rpc.best()
    await asyncio.gather(*rpc._probes)
    return int(await rpc.call("getblockcount", result=int))


async def test_a_flapping_node_stays_out_longer_each_time() -> None:
    main, spare, clock, seen = Stub(1), Stub(2), ManualClock(), Seen()
    async with running(main, spare), client(main.url, spare.url, clock=clock, seen=seen) as rpc:
        away = []
        for _ in range(3):
            rpc.fail(rpc.endpoints[0], "lagging")
            left = clock.t
            while await _later(rpc, clock, 15) == 2:
                assert clock.t - left < 3600
            away.append(clock.t - left)
        assert away[0] < away[1] < away[2] <= 660


async def test_one_failed_probe_starts_the_trial_again() -> None:
    main, spare, clock, seen = Stub(1), Stub(2), ManualClock(), Seen()
    async with running(main, spare), client(main.url, spare.url, clock=clock, seen=seen) as rpc:
        rpc.fail(rpc.endpoints[0], "wrong network")
        for _ in range(3):
            await _later(rpc, clock, 15)
        main.says("", status=500)
        await _later(rpc, clock, 15)
        main.handler = None
        assert [await _later(rpc, clock, 15) for _ in range(4)] == [2, 2, 2, 2]


async def test_an_endpoint_that_was_taken_out_must_be_checked_again() -> None:
    node = Stub()
    async with running(node), client(node.url) as rpc:
        endpoint = rpc.best()
        endpoint.checked = True
        rpc.fail(endpoint, "wrong network")
        assert not endpoint.checked
        assert not endpoint.up


async def test_when_all_are_down_one_is_tried_again() -> None:
    one, two, clock = Stub(1), Stub(2), ManualClock()
    async with running(one, two), client(one.url, two.url, clock=clock) as rpc:
        rpc.fail(rpc.endpoints[0], "lagging")
        clock.t += 1
        rpc.fail(rpc.endpoints[1], "lagging")
        one.says("", status=500)
        assert await rpc.call("getblockcount", result=int) == 2


async def test_a_call_bound_to_an_endpoint_never_goes_elsewhere() -> None:
    one, two = Stub(1), Stub(2)
    async with running(one, two), client(one.url, two.url) as rpc:
        assert await rpc.call("getblockcount", result=int, on=rpc.endpoints[1]) == 2
        two.says("", status=500)
        with pytest.raises(Transient):
            await rpc.call("getblockcount", result=int, on=rpc.endpoints[1])
        assert one.calls == []
        assert len(two.calls) == 4, "it is left once it is out of use and another one is there"


async def test_a_refusing_node_beside_a_slow_one_is_not_hopeless() -> None:
    refusing, slow = Stub(), Stub()
    refusing.says("", status=401)
    slow.says("", status=503)
    async with running(refusing, slow), client(refusing.url, slow.url) as rpc:
        with pytest.raises(Transient):
            await rpc.call("getblockcount")
        assert not rpc.endpoints[0].up
    async with running(refusing), client(refusing.url) as rpc:
        with pytest.raises(HttpRefused):
            await rpc.call("getblockcount")


async def test_a_node_that_refuses_leaves_its_place_to_another() -> None:
    """A wrong path or password on one node of two must not stop the chain."""
    for status in (401, 404):
        refusing, good = Stub(), Stub(5)
        refusing.says("", status=status)
        async with running(refusing, good), client(refusing.url, good.url) as rpc:
            with pytest.raises(Unreachable, match=str(status)):
                await rpc.call("getblockcount", on=rpc.best())
            assert rpc.best().name == good.url
            assert await rpc.call("getblockcount", result=int, on=rpc.best()) == 5


async def test_no_more_requests_run_at_once_than_allowed() -> None:
    node, running_now, most = Stub(), 0, 0

    async def slow(request: web.Request) -> web.StreamResponse:
        nonlocal running_now, most
        running_now += 1
        most = max(most, running_now)
        for _ in range(20):
            await asyncio.sleep(0)
        running_now -= 1
        return web.json_response({"id": json.loads(await request.read())["id"], "result": 1})

    node.handler = slow

    async with running(node), client(node.url, limits=Limits(concurrency=3)) as rpc:
        await asyncio.gather(*(rpc.call("getblockcount") for _ in range(30)))
    assert most == 3


# -- batches --------------------------------------------------------------------------------------


async def test_batches_are_split_and_their_answers_come_in_order() -> None:
    node = Stub()
    node.replies(lambda calls: [{"id": c["id"], "result": c["params"][0]} for c in reversed(calls)])
    async with running(node), client(node.url, limits=Limits(batch=10)) as rpc:
        assert await rpc.batch([("echo", [i]) for i in range(35)], result=int) == list(range(35))
        assert await rpc.batch([]) == []
    assert sorted(len(c) for c in node.calls) == [5, 10, 10, 10]


async def test_an_error_in_a_batch_is_a_value_beside_the_others() -> None:
    node = Stub()

    def answer(calls: Any) -> Any:
        bad = {"id": calls[1]["id"], "result": None, "error": {"code": -5, "message": "No such transaction"}}
        return [bad, *({"id": c["id"], "result": c["params"][0], "error": None} for c in calls if c is not calls[1])]

    node.replies(answer)
    async with running(node), client(node.url) as rpc:
        one, two, three = await rpc.batch([("echo", [i]) for i in range(3)], result=int)
    assert (one, three) == (0, 2)
    assert isinstance(two, RpcError)
    assert two.code == -5


@pytest.mark.parametrize(
    "spoil",
    [
        lambda items: items[:-1],
        lambda items: [*items, items[0]],
        lambda items: [{**items[0], "id": 999}, *items[1:]],
        lambda items: [{"result": 1}, *items[1:]],
        lambda items: [],
        lambda items: {"id": None, "result": 1},
    ],
    ids=["missing", "twice", "foreign", "without id", "empty", "not a list"],
)
async def test_a_batch_whose_ids_do_not_fit_is_inconsistent(spoil: Callable[[Any], Any]) -> None:
    node = Stub()
    node.replies(lambda calls: spoil([{"id": c["id"], "result": 1} for c in calls]))
    async with running(node), client(node.url) as rpc:
        with pytest.raises(Inconsistent):
            await rpc.batch([("echo", [i]) for i in range(3)], result=int)


async def test_a_batch_refused_as_a_whole_tells_the_nodes_error() -> None:
    node = Stub()
    node.replies(lambda calls: {"id": None, "error": {"code": -32600, "message": "batches are not supported"}})
    async with running(node), client(node.url) as rpc:
        with pytest.raises(RpcError, match="not supported"):
            await rpc.batch([("echo", [1])])


async def test_a_batch_size_of_one_makes_plain_calls() -> None:
    node = Stub()

    def answer(call: Any) -> Any:
        if call["params"] == [1]:
            return {"id": call["id"], "error": {"code": -5, "message": "no"}}
        return {"id": call["id"], "result": call["params"][0]}

    node.replies(answer)
    async with running(node), client(node.url, limits=Limits(batch=1)) as rpc:
        answers = await rpc.batch([("echo", [i]) for i in range(3)], result=int)
    assert answers[0] == 0
    assert isinstance(answers[1], RpcError)
    assert answers[2] == 2
    assert all(isinstance(c, dict) for c in node.calls)


# -- REST -----------------------------------------------------------------------------------------


async def test_get_returns_bytes_or_typed_json_and_tells_404() -> None:
    node, seen = Stub(), Seen()
    async with running(node), client(node.url + "/api/", seen=seen) as rpc:
        node.says(b"\x00\xff")
        assert await rpc.get("/block/00ab12/raw") == b"\x00\xff"
        node.says('{"height": 3}')
        assert await rpc.get("/tip?x=1", result=Head) == Head(3)
        assert await rpc.post("/get_info", {"a": 1}, result=Head) == Head(3)
        node.says("Block not found", status=404)
        with pytest.raises(HttpRefused) as caught:
            await rpc.get("/block-height/900000000")
        assert caught.value.status == 404
        assert rpc.best().up
    assert node.paths == ["/api/block/00ab12/raw", "/api/tip?x=1", "/api/get_info", "/api/block-height/900000000"]
    assert [method for _, _, method, _ in seen.requests] == [
        "GET /block/*/raw",
        "GET /tip",
        "POST /get_info",
        "GET /block-height/*",
    ]


# -- credentials ----------------------------------------------------------------------------------

SECRETS = ("hunter2", "hunt%40er", "tok3n-path", "k3y-query", "alice")


async def test_credentials_reach_the_node_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    node, seen, clock = Stub(5), Seen(), ManualClock()
    async with running(node):
        url = node.url.replace("http://", "http://alice:hunter2@") + "/v1/tok3n-path?apikey=k3y-query"
        with caplog.at_level(logging.DEBUG):
            async with client(url, seen=seen, clock=clock) as rpc:
                assert await rpc.call("getblockcount", result=int) == 5
                assert node.paths == ["/v1/tok3n-path?apikey=k3y-query"]
                sent = node.headers[0]["Authorization"].removeprefix("Basic ")
                assert base64.b64decode(sent) == b"alice:hunter2"
                texts = [repr(rpc), repr(rpc.endpoints), str(rpc.best().name)]
                for status in (500, 429, 401, 404):
                    node.says("alice:hunter2", status=status)
                    texts += await _failure_texts(rpc)
                node.says("no json")
                texts += await _failure_texts(rpc)
    async with client(url, seen=seen, clock=clock) as rpc:  # nobody listens any more
        texts += await _failure_texts(rpc)
    texts += [record.getMessage() for record in caplog.records if record.name.startswith("chainwatch")]
    texts += [str(seen.requests), str(seen.health)]
    assert not [t for t in texts if any(s in t for s in SECRETS)]


async def _failure_texts(rpc: Rpc) -> list[str]:
    with pytest.raises((Transient, Persistent)) as caught:
        await rpc.call("getblockcount")
    texts, error = [], caught.value
    walk: list[BaseException | None] = [error]
    while walk:
        item = walk.pop()
        if item is not None:
            texts += [str(item), repr(item)]
            walk += [item.__cause__, item.__context__]
    return texts


async def test_a_connect_timeout_does_not_carry_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiohttp writes the whole URL, query included, into ConnectionTimeoutError."""
    import aiohttp

    async with client("http://127.0.0.1:9/tok3n-path?apikey=k3y-query") as rpc:

        def refuse(*_: Any, **__: Any) -> Any:
            raise aiohttp.InvalidURL("http://127.0.0.1:9/tok3n-path?apikey=k3y-query")

        assert rpc._session is not None
        monkeypatch.setattr(rpc._session, "request", refuse)
        assert not [t for t in await _failure_texts(rpc) if any(s in t for s in SECRETS)]


@pytest.mark.parametrize("url", ["ftp://alice:hunter2@x/", "hunter2", "http://", "http://alice:hunter2@x:port/", ""])
def test_an_unusable_url_is_misconfigured_and_not_quoted(url: str) -> None:
    services = Services(clock=ManualClock(), random=random.Random(1), observer=Seen())
    with pytest.raises(Misconfigured) as caught:
        Rpc("BTC", [url], services)
    assert "endpoints[0]" in str(caught.value)
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in str(error)
        error = error.__cause__ or error.__context__


async def test_two_keys_at_one_provider_are_two_names() -> None:
    async with client("https://x.example/a", "https://x.example/b", "https://y.example") as rpc:
        assert [e.name for e in rpc.endpoints] == [
            "https://x.example:443",
            "https://x.example:443#2",
            "https://y.example:443",
        ]


async def test_digest_login_answers_the_servers_challenge() -> None:
    node = Stub(5)

    async def challenge(request: web.Request) -> web.StreamResponse:
        if not request.headers.get("Authorization", "").startswith("Digest "):
            header = 'Digest realm="monero-rpc",qop="auth",algorithm=MD5,nonce="n0nce",stale=false'
            return web.Response(status=401, headers={"WWW-Authenticate": header})
        return await node.well(request)

    node.handler = challenge
    async with running(node), client(node.url, login="alice:hunter2", digest=True) as rpc:
        assert await rpc.call("get_height", path="/json_rpc", result=int) == 5
    last = node.headers[-1]["Authorization"]
    assert 'username="alice"' in last
    assert "hunter2" not in last
    assert set(node.paths) == {"/json_rpc"}


# -- what is logged -------------------------------------------------------------------------------


async def test_one_line_a_minute_while_a_node_is_down_and_one_when_it_returns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    main, spare, clock = Stub(1), Stub(2), ManualClock()
    main.says("", status=503)
    with caplog.at_level(logging.INFO):
        async with running(main, spare), client(main.url, spare.url, clock=clock) as rpc:
            for _ in range(3):
                await rpc.call("getblockcount")
            for _ in range(20):  # five minutes of failing probes
                await _later(rpc, clock, 15)
            downs = [r for r in caplog.records if "out of use" in r.getMessage()]
            assert 5 <= len(downs) <= 6
            assert all(r.levelno == logging.WARNING and main.url in r.getMessage() for r in downs)
            main.handler = None
            for _ in range(6):
                await _later(rpc, clock, 15)
            assert len([r for r in caplog.records if "back in use" in r.getMessage()]) == 1
