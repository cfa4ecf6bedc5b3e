"""A ``verifiers.Resolver`` over real nodes: contract wallets on EVM chains, authorities on Hive.

Imported only where it is used: ``chainwatch.verifiers`` itself does no I/O.  Everything is bounded: time, gas, the
size of answers and the number of tries.  Nothing is ever sent as a transaction; an ERC-6492 signature carries
code of whoever made it, and only a simulated call may run that.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from chainwatch.model import ChainSpec
from chainwatch.verifiers.curves import kept_recursion_limit
from chainwatch.verifiers.recorded import execution_error
from chainwatch.verifiers.result import Reverted, Unavailable

TIMEOUT = 8.0
"""Seconds for one question: a person is waiting at the door, and a public node answers in one."""
GAS = 10_000_000
"""Gas of a simulated call: fifty owners' signatures or a P-256 check in Solidity need under two million, deploying a
wallet as much again; and the memory that an answer can fill is bounded by it, at 2.3 MB."""
MAX_ANSWER = 1 << 20
"""Bytes of a Hive answer: one account has at most three authorities of 40 members."""
MAX_CODE = 24_576
"""Bytes of contract code (EIP-170)."""
MAX_RETURN = 64 * 1024
"""Bytes of a call's return data that are looked at; the answer to ``isValidSignature`` is 32."""


class NodeResolver:
    """Asks EVM nodes (``evm``, a URL or several) through web3, and Hive nodes (``hive``), in order of preference.

    Use as ``async with NodeResolver(evm="https://…") as resolver``: the connections are closed at the end.  The answer
    is one node's word; who does not trust his nodes asks several and compares.
    """

    def __init__(
        self, *, evm: str | Sequence[str] | None = None, hive: Sequence[str] = (), timeout: float = TIMEOUT
    ) -> None:
        self._evm_urls = (evm,) if isinstance(evm, str) else tuple(evm or ())
        self._hive_urls = tuple(hive)
        self._timeout = timeout
        self._providers: dict[str, Any] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "NodeResolver":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
        for provider in self._providers.values():
            await provider.disconnect()
        self._session = None
        self._providers = {}

    # --- EVM

    async def evm_chain_id(self) -> int:
        """``eth_chainId``."""
        try:
            return int(await self._ask("eth_chainId", []), 16)
        except ValueError as error:
            raise Unavailable("eth_chainId: not a number") from error

    async def evm_code(self, address: str) -> bytes:
        """``eth_getCode`` at the latest block."""
        return _hex(await self._ask("eth_getCode", [address, "latest"]), MAX_CODE)

    async def evm_call(self, *, to: str | None, data: bytes) -> bytes:
        """``eth_call`` at the latest block, with a gas limit; longer answers than ``MAX_RETURN`` are cut."""
        call = {"data": "0x" + data.hex(), "gas": hex(GAS)} | ({"to": to} if to else {})
        return _hex(await self._ask("eth_call", [call, "latest"]), MAX_RETURN)

    async def _ask(self, method: str, params: list[Any]) -> str:
        """One JSON-RPC question, to the first node that answers.

        ``Reverted`` when the call ran and failed, ``Unavailable`` for everything else.
        """
        failed = Unavailable("no EVM node configured")
        for url in self._evm_urls:
            try:
                return await self._ask_one(url, method, params)
            except Unavailable as error:
                failed = error
        raise failed

    async def _ask_one(self, url: str, method: str, params: list[Any]) -> str:
        if url not in self._providers:
            self._providers[url] = _evm_provider(url, self._timeout)
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._providers[url].make_request(method, params)
        except Exception as error:  # web3 and aiohttp raise many kinds; each means that there was no answer
            raise Unavailable(f"{method}: {type(error).__name__}") from error
        failure = answer.get("error")
        if failure is not None:
            if method == "eth_call" and execution_error(failure):
                raise Reverted("execution reverted")
            raise Unavailable(f"{method}: the node answered with an error")
        result = answer.get("result")
        if not isinstance(result, str):
            raise Unavailable(f"{method}: no result")
        return result

    # --- Hive

    async def hive_accounts(self, names: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """``condenser_api.get_accounts`` of the first node that answers."""
        body = {"jsonrpc": "2.0", "id": 1, "method": "condenser_api.get_accounts", "params": [list(names)]}
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._timeout))
        for url in self._hive_urls:
            try:
                return await self._hive(self._session, url, body)
            except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, ValueError):
                continue
        raise Unavailable("no Hive node answered")

    async def _hive(self, session: aiohttp.ClientSession, url: str, body: object) -> list[Mapping[str, Any]]:
        async with session.post(url, json=body, allow_redirects=False) as response:
            response.raise_for_status()
            raw = bytearray()
            async for chunk in response.content.iter_chunked(1 << 16):
                raw += chunk
                if len(raw) > MAX_ANSWER:
                    raise ValueError("answer too large")
        result = msgspec.json.decode(raw, type=_Accounts).result
        if result is None:
            raise ValueError("the node answered with an error")
        return [msgspec.to_builtins(account) for account in result]


class _Authority(msgspec.Struct):
    """``authority`` of Hive's protocol."""

    weight_threshold: int
    account_auths: list[tuple[str, int]]
    key_auths: list[tuple[str, int]]


class _Account(msgspec.Struct):
    """What a signature needs of an account."""

    name: str
    owner: _Authority
    active: _Authority
    posting: _Authority
    memo_key: str


class _Accounts(msgspec.Struct):
    result: list[_Account] | None = None


class Resolvers:
    """One ``NodeResolver`` a configured chain, made when it is first asked."""

    def __init__(self, specs: Mapping[str, ChainSpec]) -> None:
        self._specs = specs
        self._open: dict[str, NodeResolver] = {}

    def __call__(self, chain: str) -> NodeResolver | None:
        """Return who answers for ``chain`` (a code); None where it is not configured, or needs no asking."""
        if chain not in self._open:
            spec = self._specs.get(chain)
            if spec is None or spec.family not in ("evm", "hive"):
                return None
            evm = spec.family == "evm"
            self._open[chain] = NodeResolver(evm=spec.endpoints) if evm else NodeResolver(hive=spec.endpoints)
        return self._open[chain]

    async def close(self) -> None:
        """Close all connections."""
        for resolver in self._open.values():
            await resolver.close()
        self._open = {}


def _evm_provider(url: str, timeout: float) -> Any:
    """Web3's asynchronous HTTP provider, without its retries: who asks again decides that himself."""
    with kept_recursion_limit():
        from web3 import AsyncHTTPProvider

    return AsyncHTTPProvider(
        url,
        request_kwargs={"timeout": aiohttp.ClientTimeout(total=timeout)},
        exception_retry_configuration=None,
    )


def _hex(text: str, limit: int) -> bytes:
    """Bytes of ``0x`` and hex, at most one more than ``limit``."""
    try:
        if text.startswith("0x"):
            return bytes.fromhex(text[2 : 2 + 2 * (limit + 1)])
    except ValueError:
        pass
    raise Unavailable("not hex")
