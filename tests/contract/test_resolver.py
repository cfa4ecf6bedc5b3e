"""The resolver over real HTTP: what a node says, and every way in which it may not answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from chainwatch.resolver import GAS, MAX_ANSWER, MAX_RETURN, NodeResolver
from chainwatch.testing.wallets import HiveWallet
from chainwatch.verifiers import Reverted, Unavailable, averify

pytestmark = pytest.mark.network

Answer = Callable[[dict[str, Any]], Awaitable[web.StreamResponse]]
SAFE = "0x" + "5a" * 20
MAGIC = "0x1626ba7e" + "00" * 28


class Node:
    """One HTTP server whose next answers the test decides."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answers: dict[str, Any] = {"eth_chainId": "0x1", "eth_getCode": "0x60", "eth_call": MAGIC}
        self.error: dict[str, Any] = {}
        self.raw: Answer | None = None
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        if self.raw is not None:
            return await self.raw(body)
        method = body["method"]
        if method in self.error:
            return web.json_response({"jsonrpc": "2.0", "id": body["id"], "error": self.error[method]})
        return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": self.answers.get(method)})


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    made = Node()
    application = web.Application()
    application.router.add_post("/", made.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield made
    await runner.cleanup()


async def ask(node: Node, **more: Any) -> Any:
    async with NodeResolver(evm=node.url, timeout=60) as resolver:
        return await averify(address=SAFE, message="hello", signature="0x", resolver=resolver, **more)


async def test_an_approval_on_chain_is_a_valid_signature(node: Node) -> None:
    result = await ask(node, chain="eip155:1")
    assert (result.ok, result.method, result.detail["chain_id"]) == (True, "erc1271", "1")
    call = next(body for body in node.asked if body["method"] == "eth_call")["params"][0]
    assert (call["to"].lower(), call["gas"]) == (SAFE, hex(GAS))


async def test_a_contract_that_reverts_says_no(node: Node) -> None:
    node.error["eth_call"] = {"code": 3, "message": "execution reverted", "data": MAGIC}
    assert (await ask(node)).reason == "contract_refused"


@pytest.mark.parametrize("method", ["eth_chainId", "eth_getCode", "eth_call"])
async def test_a_node_that_fails_is_unavailable_and_never_invalid(node: Node, method: str) -> None:
    """viem swallows such errors and says false: a guest with a good signature is turned away."""
    node.error[method] = {"code": -32005, "message": "daily request count exceeded, request rate limited"}
    assert (await ask(node)).status == "unavailable"


@pytest.mark.parametrize("result", [None, 5, "0xzz", "60", {"a": 1}])
async def test_an_answer_that_makes_no_sense_is_no_answer(node: Node, result: Any) -> None:
    node.answers["eth_call"] = result
    assert (await ask(node)).status == "unavailable"


async def test_a_node_of_another_chain_cannot_answer(node: Node) -> None:
    node.answers["eth_chainId"] = "0x89"
    assert (await ask(node, chain="eip155:1")).status == "unavailable"


async def test_an_answer_longer_than_any_contract_gives_is_a_no(node: Node) -> None:
    node.answers["eth_call"] = MAGIC + "00" * 100_000
    assert (await ask(node)).reason == "contract_refused"
    async with NodeResolver(evm=node.url, timeout=60) as resolver:
        assert len(await resolver.evm_call(to=SAFE, data=b"")) == MAX_RETURN + 1


async def test_nobody_there_and_a_node_that_never_answers_are_unavailable(node: Node) -> None:
    async with NodeResolver(evm="http://127.0.0.1:1/") as resolver:
        with pytest.raises(Unavailable):
            await resolver.evm_chain_id()
    never = asyncio.Event()

    async def hang(_: dict[str, Any]) -> web.StreamResponse:
        await never.wait()
        return web.Response()

    node.raw = hang
    try:
        async with NodeResolver(evm=node.url, hive=[node.url], timeout=0.2) as resolver:
            with pytest.raises(Unavailable):
                await resolver.evm_code(SAFE)
            with pytest.raises(Unavailable):
                await resolver.hive_accounts(["alice"])
    finally:
        never.set()


async def test_no_node_configured_is_unavailable() -> None:
    async with NodeResolver() as resolver:
        with pytest.raises(Unavailable):
            await resolver.evm_chain_id()
        with pytest.raises(Unavailable):
            await resolver.hive_accounts(["alice"])


async def test_a_revert_is_told_apart_from_a_failure(node: Node) -> None:
    node.error["eth_call"] = {"code": -32000, "message": "execution reverted: custom"}
    async with NodeResolver(evm=node.url, timeout=60) as resolver:
        with pytest.raises(Reverted):
            await resolver.evm_call(to=None, data=b"\x00")
    assert "to" not in node.asked[-1]["params"][0]


# --- Hive


def account(wallet: HiveWallet) -> dict[str, Any]:
    authority = {"weight_threshold": 1, "account_auths": [], "key_auths": [[wallet.public_key, 1]]}
    return {
        "name": wallet.address,
        "owner": authority,
        "active": authority,
        "posting": authority,
        "memo_key": wallet.public_key,
        "json_metadata": "much more that nobody reads",
    }


async def test_authorities_come_from_the_first_hive_node_that_answers(node: Node) -> None:
    wallet = HiveWallet("alice")
    node.answers["condenser_api.get_accounts"] = [account(wallet)]
    async with NodeResolver(hive=["http://127.0.0.1:1/", node.url], timeout=60) as resolver:
        result = await averify(
            address="alice", message="hello", signature=wallet.sign_message("hello"), resolver=resolver
        )
    assert result.ok
    assert node.asked[-1]["params"] == [["alice"]]


async def test_an_account_that_does_not_exist_is_a_no_and_not_an_outage(node: Node) -> None:
    node.answers["condenser_api.get_accounts"] = []
    async with NodeResolver(hive=[node.url], timeout=60) as resolver:
        signed = HiveWallet("alice").sign_message("hello")
        result = await averify(address="alice", message="hello", signature=signed, resolver=resolver)
    assert result.reason == "unknown_account"


async def test_hive_nodes_that_lie_about_the_form_or_the_size_are_unavailable(node: Node) -> None:
    signed = HiveWallet("alice").sign_message("hello")

    async def huge(_: dict[str, Any]) -> web.StreamResponse:
        return web.Response(body=b'{"result": [' + b" " * MAX_ANSWER + b"]}")

    async def error(_: dict[str, Any]) -> web.StreamResponse:
        return web.json_response({"error": {"message": "upstream timed out"}})

    async def html(_: dict[str, Any]) -> web.StreamResponse:
        return web.Response(text="<html>", status=502)

    async def redirect(_: dict[str, Any]) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": "http://127.0.0.1:1/"})

    async def shape(_: dict[str, Any]) -> web.StreamResponse:
        return web.json_response({"result": [{"name": "alice", "posting": "all"}]})

    for raw in (huge, error, html, redirect, shape):
        node.raw = raw
        async with NodeResolver(hive=[node.url], timeout=60) as resolver:
            result = await averify(address="alice", message="hello", signature=signed, resolver=resolver)
        assert result.status == "unavailable", raw.__name__
