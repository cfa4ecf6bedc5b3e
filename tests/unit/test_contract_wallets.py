"""Contract wallets: which answers of a chain mean yes, which no, and which nothing."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from chainwatch.testing.wallets import EvmWallet
from chainwatch.verifiers import Policy, Reverted, Unavailable, averify, verify
from chainwatch.verifiers.erc1271 import IS_VALID_SIGNATURE
from chainwatch.verifiers.erc6492 import DEPLOYLESS_VALIDATOR
from chainwatch.verifiers.ethereum import ERC6492_SUFFIX
from chainwatch.verifiers.recorded import RecordedChain

SAFE = "0x" + "5a" * 20
OWNER = EvmWallet("owner")
MAGIC = IS_VALID_SIGNATURE + bytes(28)
SIWE = (
    "tickets.example wants you to sign in with your Ethereum account:\n{}\n\nhello\n\nURI: https://tickets.example/\n"
    "Version: 1\nChain ID: {}\nNonce: 0123456789abcdef\nIssued At: 2024-11-20T00:00:00Z"
)


class Chain:
    """A resolver whose answers are given, and which remembers what it was asked."""

    def __init__(self, *, chain_id: int = 1, code: bytes = b"\x60", call: bytes | Exception = MAGIC) -> None:
        self.chain_id, self.code, self.call = chain_id, code, call
        self.calls: list[tuple[str | None, bytes]] = []

    async def evm_chain_id(self) -> int:
        return self.chain_id

    async def evm_code(self, address: str) -> bytes:
        return self.code

    async def evm_call(self, *, to: str | None, data: bytes) -> bytes:
        self.calls.append((to, data))
        if isinstance(self.call, Exception):
            raise self.call
        return self.call

    async def hive_accounts(self, names: Sequence[str]) -> list[dict[str, Any]]:
        raise Unavailable("not Hive")


async def ask(node: Chain, **more: Any) -> Any:
    return await averify(**({"address": SAFE, "message": "hello", "signature": "0x", "resolver": node} | more))


@pytest.mark.parametrize(
    ("answer", "valid"),
    [
        (MAGIC, True),
        (MAGIC + bytes(32), True),
        (IS_VALID_SIGNATURE, False),
        (IS_VALID_SIGNATURE + b"\x01" + bytes(27), False),
        (bytes(28) + IS_VALID_SIGNATURE, False),
        (bytes.fromhex("20c13b0b") + bytes(28), False),
        (b"", False),
        (bytes(31) + b"\x01", False),
        (MAGIC + bytes(1024), False),
        (Reverted("with the magic value as revert data"), False),
    ],
    ids=["32", "64", "4", "dirty", "right", "legacy", "empty", "one", "long", "revert"],
)
async def test_only_the_whole_magic_word_is_a_yes(answer: Any, valid: bool) -> None:
    result = await ask(Chain(call=answer))
    assert (result.ok, result.method) == (valid, "erc1271")
    assert result.reason in ("ok", "contract_refused")


@pytest.mark.parametrize("signature", ["0x", "0x01", "0x" + "ab" * 65, "0x" + "ab" * 130, b"", b"\x01" * 600])
async def test_the_signature_reaches_the_contract_untouched(signature: Any) -> None:
    """siwe-py #63: signatures of 130 bytes were refused before the contract was asked."""
    chain = Chain()
    assert await ask(chain, signature=signature)
    ((to, data),) = chain.calls
    raw = signature if isinstance(signature, bytes) else bytes.fromhex(signature[2:])
    assert (to or "").lower() == SAFE
    assert data[:4] == IS_VALID_SIGNATURE
    assert data[68:100] == len(raw).to_bytes(32, "big")
    assert data[100:] == raw + bytes(-len(raw) % 32)


async def test_the_key_of_a_delegated_account_still_rules_it() -> None:
    """OpenZeppelin #5707: "has code, so ask the contract" turns EIP-7702 users away."""
    chain = Chain(code=bytes.fromhex("ef0100") + bytes(20), call=Reverted("no isValidSignature there"))
    signed = OWNER.sign_message("hello")
    result = await ask(chain, address=OWNER.address, signature=signed)
    assert (result.ok, result.method, chain.calls) == (True, "ecdsa", [])
    other = await ask(Chain(code=chain.code), address=OWNER.address, signature=EvmWallet("x").sign_message("hello"))
    assert (other.ok, other.method, other.warnings) == (True, "erc1271", ("delegated_code",))


async def test_a_wallet_not_deployed_yet_is_asked_by_one_simulated_deployment() -> None:
    chain = Chain(code=b"", call=b"\x01")
    signature = b"factory and calldata and signature" + ERC6492_SUFFIX
    result = await ask(chain, signature=signature)
    assert (result.ok, result.method) == (True, "erc6492")
    ((to, data),) = chain.calls
    assert to is None
    assert data.startswith(DEPLOYLESS_VALIDATOR)
    for no in (b"\x00", b"", b"\x01\x00", b"\x02", bytes(31) + b"\x01", Reverted("factory")):
        assert (await ask(Chain(code=b"", call=no), signature=signature)).reason == "contract_refused"


async def test_an_account_without_code_is_what_ecdsa_says() -> None:
    chain = Chain(code=b"")
    wrong = await ask(chain, signature=OWNER.sign_message("hello"))
    assert (wrong.reason, chain.calls) == ("wrong_signer", [])
    assert (await ask(chain)).reason == "wrong_signer"


@pytest.mark.parametrize(("named", "node", "status"), [("eip155:1", 137, "unavailable"), ("eip155:137", 137, "valid")])
async def test_the_chain_that_answers_is_the_one_that_was_named(named: str, node: int, status: str) -> None:
    assert (await ask(Chain(chain_id=node), chain=named)).status == status


async def test_a_sign_in_text_names_the_chain_of_its_contract_wallet() -> None:
    text = SIWE.format(SAFE, 137)
    assert (await ask(Chain(chain_id=137), message=text)).ok
    assert (await ask(Chain(chain_id=1), message=text)).status == "unavailable"
    assert (await ask(Chain(chain_id=1), message=text, chain="eip155:1")).reason == "wrong_network"


@pytest.mark.parametrize(
    "error", [Unavailable("no"), TimeoutError(), OSError("reset"), KeyError("result"), ValueError()]
)
@pytest.mark.parametrize("method", ["evm_chain_id", "evm_code", "evm_call"])
async def test_whatever_a_resolver_raises_is_no_answer_and_never_a_no(method: str, error: Exception) -> None:
    chain = Chain()

    async def fail(*_: Any, **__: Any) -> Any:
        raise error

    setattr(chain, method, fail)
    assert (await ask(chain)).reason == "node_unreachable"


async def test_without_a_chain_to_ask_the_answer_says_that_one_is_needed() -> None:
    for signature in ("0x", "0x" + "ab" * 130, b"x" + ERC6492_SUFFIX):
        assert verify(address=SAFE, message="hello", signature=signature).reason == "needs_chain_state"
    assert verify(address=SAFE, message="hello", signature="0x" + "ab" * 40).reason == "malformed_signature"
    closed = Policy(contracts=False)
    assert verify(address=SAFE, message="hello", signature="0x", policy=closed).reason == "malformed_signature"
    chain = Chain()
    refused = await ask(chain, signature=OWNER.sign_message("hello"), policy=closed)
    assert (refused.reason, chain.calls) == ("wrong_signer", [])


@pytest.mark.parametrize(
    ("record", "raised"),
    [
        ({"error": {"code": 3, "message": "execution reverted"}}, Reverted),
        ({"error": {"code": -32603, "message": "EVM error OutOfGas"}}, Reverted),
        ({"error": "execution reverted"}, Reverted),
        ({"error": {"code": -32015, "message": "VM execution error."}}, Reverted),
        ({"error": {"code": -32000, "message": "stack underflow (0 <=> 1)"}}, Reverted),
        ({"error": {"code": -32603, "message": "EVM error InvalidFEOpcode"}}, Reverted),
        ({"error": {"code": -32603, "message": "Internal error; see the stack trace"}}, Unavailable),
        ({"error": {"code": [3], "message": None}}, Unavailable),
        ({"error": {"code": -32005, "message": "limit exceeded"}}, Unavailable),
        ({"result": None}, Unavailable),
        ({"result": "0xzz"}, Unavailable),
        ({}, Unavailable),
    ],
)
async def test_a_recorded_failure_is_a_no_only_when_the_call_itself_failed(
    record: dict[str, Any], raised: type[Exception]
) -> None:
    call = {"method": "eth_call", "params": [{"to": SAFE, "data": "0x00"}, "latest"], **record}
    with pytest.raises(raised):
        await RecordedChain([call], chain_id=1).evm_call(to=SAFE, data=b"\x00")


async def test_what_was_not_recorded_is_unavailable() -> None:
    asked: list[Callable[[RecordedChain], Awaitable[Any]]] = [
        lambda chain: chain.evm_chain_id(),
        lambda chain: chain.evm_code(SAFE),
        lambda chain: chain.evm_call(to=None, data=b""),
        lambda chain: chain.hive_accounts(["alice"]),
    ]
    for question in asked:
        with pytest.raises(Unavailable):
            await question(RecordedChain())
