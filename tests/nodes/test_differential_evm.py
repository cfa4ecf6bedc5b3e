"""EVM signatures against ethers (and siwe, tronweb): what it signs we accept, what either refuses both refuse."""

import os
import random
from collections.abc import Callable
from typing import Any

import coincurve
import pytest

from chainwatch.verifiers import Unavailable, Verification, averify, verify
from chainwatch.verifiers.addresses import eip55
from chainwatch.verifiers.curves import keccak256
from chainwatch.verifiers.eip712 import digest
from chainwatch.verifiers.encodings import base58check_text
from chainwatch.verifiers.erc6492 import DEPLOYLESS_VALIDATOR

pytestmark = [pytest.mark.node, pytest.mark.timeout(300)]


NOW = "2024-11-20T00:01:00Z"
COUNT = int(os.environ.get("CHAINWATCH_DIFFERENTIAL", "2000"))


def payload(key: coincurve.PrivateKey) -> bytes:
    return keccak256(key.public_key.format(False)[1:])[12:]


def account(key: coincurve.PrivateKey) -> str:
    return "0x" + payload(key).hex()


def ours(address: str, text: str, signature: str) -> Verification:
    return verify(address=address, message=text, signature=signature, scheme="eip191")


def mutated(chance: random.Random, text: str, signature: str) -> tuple[str, str]:
    """One bit of the signature, or one character of the text; never a v that only the library's laxness allows."""
    if chance.random() < 0.3:
        return text + chance.choice("\n \u200bx"), signature
    return text, flip(chance, signature)


def test_ethers_and_we_agree_on_two_thousand_messages(
    oracle: Callable[[str, str], Any], messages: Callable[..., list[str]]
) -> None:
    chance = random.Random(191)
    texts = messages()
    keys = [coincurve.PrivateKey(chance.randbytes(32)) for _ in range(8)]
    owners = [chance.choice(keys) for _ in texts]
    ethers = oracle("evm", "ethers")
    signatures = ethers.ask(
        [{"op": "sign", "key": "0x" + k.to_hex(), "text": t} for k, t in zip(owners, texts, strict=True)]
    )
    rows = list(zip(owners, texts, signatures, strict=True))
    assert [text for key, text, signature in rows if not ours(account(key), text, signature)] == []

    damaged = [(account(key), *mutated(chance, text, signature)) for key, text, signature in rows]
    theirs = ethers.ask([{"op": "recover", "text": text, "signature": signature} for _, text, signature in damaged])
    agreed = [
        (address, (answer or "").lower() == address) for (address, *_), answer in zip(damaged, theirs, strict=True)
    ]
    for (address, text, signature), (_, accepted) in zip(damaged, agreed, strict=True):
        assert ours(address, text, signature).ok is accepted is False


def test_the_same_key_gives_the_same_address_in_both(
    oracle: Callable[[str, str], Any], messages: Callable[..., list[str]]
) -> None:
    """Signatures of libsecp256k1, recovered by ethers to the address we compare with."""
    chance = random.Random(2)
    rows = []
    for text in messages(200):
        key = coincurve.PrivateKey(chance.randbytes(32))
        data = text.encode()
        signed = key.sign_recoverable(keccak256(b"\x19Ethereum Signed Message:\n%d%b" % (len(data), data)), hasher=None)
        rows.append((account(key), text, "0x" + signed[:64].hex() + f"{27 + signed[64]:02x}"))
    theirs = oracle("evm", "ethers").ask([{"op": "recover", "text": t, "signature": s} for _, t, s in rows])
    for (address, text, signature), answer in zip(rows, theirs, strict=True):
        assert answer.lower() == address
        assert ours(address, text, signature)


def random_struct(chance: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    """Types and a value: every elementary kind, arrays of two ranks, a nested struct."""
    kinds: dict[str, Callable[[], Any]] = {
        "string": lambda: chance.choice(["", "summit", "Zoë 🎟", "a\nb"]),
        "bool": lambda: chance.random() < 0.5,
        "address": lambda: "0x" + chance.randbytes(20).hex(),
        "bytes": lambda: "0x" + chance.randbytes(chance.randrange(70)).hex(),
        "bytes7": lambda: "0x" + chance.randbytes(7).hex(),
        "bytes32": lambda: "0x" + chance.randbytes(32).hex(),
        "uint8": lambda: chance.randrange(256),
        "uint256": lambda: str(chance.getrandbits(256)),
        "int64": lambda: str(chance.randrange(-(2**63), 2**63)),
        "uint16[]": lambda: [chance.randrange(1 << 16) for _ in range(chance.randrange(4))],
        "string[2]": lambda: ["a", "b"],
        "int8[][2]": lambda: [[chance.randrange(-128, 128)], []],
    }
    names = chance.sample(sorted(kinds), chance.randrange(1, 8))
    inner = chance.sample(sorted(kinds), 2)
    types = {
        "Access": [*({"name": f"f{i}", "type": kind} for i, kind in enumerate(names)), {"name": "p", "type": "Part[]"}],
        "Part": [{"name": f"g{i}", "type": kind} for i, kind in enumerate(inner)],
    }
    value = {f"f{i}": kinds[kind]() for i, kind in enumerate(names)}
    value["p"] = [{f"g{i}": kinds[kind]() for i, kind in enumerate(inner)} for _ in range(chance.randrange(3))]
    return types, value


def test_ethers_and_we_agree_on_two_thousand_random_typed_data(oracle: Callable[[str, str], Any]) -> None:
    chance = random.Random(712)
    key = coincurve.PrivateKey(chance.randbytes(32))
    domain = {"name": "Tickets", "version": "1", "chainId": 1}
    cases = [random_struct(chance) for _ in range(COUNT)]
    ethers = oracle("evm", "ethers")
    signed = ethers.ask(
        [{"op": "typed", "key": "0x" + key.to_hex(), "domain": domain, "types": t, "message": m} for t, m in cases]
    )
    damaged = []
    for (types, message), answer in zip(cases, signed, strict=True):
        document = {"types": dict(types), "primaryType": "Access", "domain": domain, "message": message}
        assert "0x" + digest(document)[0].hex() == answer["digest"]
        assert verify(address=account(key), typed_data=document, signature=answer["signature"])
        damaged.append((types, *damaged_struct(chance, types, message, answer["signature"])))
    questions = [
        {"op": "typedRecover", "domain": domain, "types": types, "message": message, "signature": signature}
        for types, message, signature in damaged
    ]
    for (types, message, signature), answer in zip(damaged, ethers.ask(questions), strict=True):
        document = {"types": dict(types), "primaryType": "Access", "domain": domain, "message": message}
        said = (answer or "").lower() == account(key)
        assert verify(address=account(key), typed_data=document, signature=signature).ok is said is False


def damaged_struct(
    chance: random.Random, types: dict[str, Any], message: dict[str, Any], signature: str
) -> tuple[dict[str, Any], str]:
    """One bit of the signature, or another part in the list."""
    if chance.random() < 0.5:
        return message, flip(chance, signature)
    part = {item["name"]: blank(item["type"]) for item in types["Part"]}
    return message | {"p": [*message["p"], part]}, signature


def flip(chance: random.Random, signature: str) -> str:
    """One bit of r or s; what v may be is decided by the vectors."""
    raw = bytearray.fromhex(signature[2:])
    bit = chance.randrange(64 * 8)
    raw[bit // 8] ^= 1 << bit % 8
    return "0x" + raw.hex()


def blank(kind: str) -> Any:
    """Some value of a type of ``random_struct``."""
    if kind.endswith("[]"):
        return []
    if kind == "int8[][2]":
        return [[], []]
    if kind == "string[2]":
        return ["", ""]
    if kind.startswith("bytes") and kind != "bytes":
        return "0x" + "00" * int(kind[5:])
    return {"string": "", "bool": False, "address": "0x" + "00" * 20, "bytes": "0x"}.get(kind, 0)


# --- sign-in texts


def sign_in(chance: random.Random, address: str, text: str) -> dict[str, Any]:
    """Fields of EIP-4361: those that must be, some of those that may, ``text`` (printable ASCII) for its statement."""
    statement = "".join(char for char in text if " " <= char <= "~" and char not in '"<>[]{}|^`\\').strip()
    optional = {
        "expirationTime": "2100-01-01T00:00:00Z",
        "notBefore": "2020-01-01T00:00:00.000Z",
        "requestId": f"summit-{chance.randrange(100)}",
        "resources": [f"https://tickets.example/{n}" for n in range(chance.randrange(1, 4))],
    }
    return {
        "domain": "tickets.example",
        "address": address,
        **({"statement": statement} if statement else {}),
        "uri": f"https://tickets.example/{chance.randrange(1 << 20)}",
        "version": "1",
        "chainId": chance.choice([1, 56, 137]),
        "nonce": f"{chance.getrandbits(64):016x}",
        "issuedAt": "2024-11-20T00:00:00.000Z",
        **{name: value for name, value in optional.items() if chance.random() < 0.5},
    }


def test_siwe_and_we_agree_on_two_thousand_sign_in_texts(
    oracle: Callable[[str, str], Any], messages: Callable[..., list[str]]
) -> None:
    chance = random.Random(4361)
    keys = [coincurve.PrivateKey(chance.randbytes(32)) for _ in range(8)]
    owners = [chance.choice(keys) for _ in messages()]
    siwe = oracle("evm", "siwe")
    fields = [sign_in(chance, eip55(payload(key)), text) for key, text in zip(owners, messages(), strict=True)]
    texts = siwe.ask([{"op": "siweText", "fields": item} for item in fields])
    assert None not in texts
    signatures = siwe.ask(
        [{"op": "sign", "key": "0x" + k.to_hex(), "text": t} for k, t in zip(owners, texts, strict=True)]
    )
    whole = list(zip(texts, signatures, strict=True))
    damaged = [mutated(chance, text, signature) for text, signature in whole]
    theirs = siwe.ask([{"op": "siweSigner", "text": t, "signature": s} for t, s in whole + damaged])
    assert theirs[: len(whole)] == [True] * len(whole)
    for key, (text, signature), said in zip(owners + owners, whole + damaged, theirs, strict=True):
        mine = verify(address=account(key), message=text, signature=signature, scheme="siwe", now=NOW)
        assert mine.ok is bool(said), (text, mine)


# --- contract wallets: what the contract decodes is what ethers decodes


class Contract:
    """A resolver whose chain is ethers: one contract wallet, deployed, delegated to, or not there yet."""

    def __init__(self, ethers: Any, owner: str, code: bytes) -> None:
        self._ethers, self._owner, self._code = ethers, owner, code

    async def evm_chain_id(self) -> int:
        return 1

    async def evm_code(self, address: str) -> bytes:
        return self._code

    async def evm_call(self, *, to: str | None, data: bytes) -> bytes:
        question = {"op": "call1271"} if to else {"op": "call6492", **VALIDATOR}
        (answer,) = self._ethers.ask([{**question, "owner": self._owner, "data": "0x" + data.hex()}])
        return bytes.fromhex(answer[2:])

    async def hive_accounts(self, names: Any) -> Any:
        raise Unavailable("no Hive here")


WALLET, FACTORY, CALL = "0x" + "5a" * 20, "0x" + "fa" * 20, "0x" + "c0ffee" * 11
VALIDATOR = {"wallet": WALLET, "factory": FACTORY, "call": CALL, "code": "0x" + DEPLOYLESS_VALIDATOR.hex()}


@pytest.mark.parametrize("scheme", ["erc1271", "erc6492", "eip7702"])
async def test_ethers_decodes_what_contract_wallets_are_asked_and_both_agree(
    oracle: Callable[[str, str], Any], messages: Callable[..., list[str]], scheme: str
) -> None:
    """Two thousand messages each; for a delegated account the key that delegated, and its contract's other owner."""
    chance = random.Random(scheme)
    ethers = oracle("evm", "ethers")
    owner, delegator = (coincurve.PrivateKey(chance.randbytes(32)) for _ in range(2))
    address = account(delegator) if scheme == "eip7702" else WALLET
    code = {"erc1271": b"\x60", "erc6492": b"", "eip7702": bytes.fromhex("ef0100") + b"\x11" * 20}[scheme]
    chain = Contract(ethers, account(owner), code)
    texts = messages()
    keys = [delegator if scheme == "eip7702" and chance.random() < 0.5 else owner for _ in texts]
    signatures = ethers.ask(
        [{"op": "sign", "key": "0x" + k.to_hex(), "text": t} for k, t in zip(keys, texts, strict=True)]
    )
    damaged = [mutated(chance, text, signature) for text, signature in zip(texts, signatures, strict=True)]
    cases = [(text, signature, True) for text, signature in zip(texts, signatures, strict=True)]
    cases += [(text, signature, False) for text, signature in damaged]
    if scheme == "erc6492":
        parts = {"op": "wrap6492", "factory": FACTORY, "call": CALL}
        wrapped = ethers.ask([parts | {"signature": signature} for _, signature, _ in cases])
        cases = [(text, outer, good) for (text, _, good), outer in zip(cases, wrapped, strict=True)]
    for text, signature, good in cases:
        answer = await averify(address=address, message=text, signature=signature, scheme=scheme, resolver=chain)
        assert answer.ok is good, (text, answer)
        assert answer.status != "unavailable"


# --- Tron


def test_tronweb_and_we_agree_on_two_thousand_messages(
    oracle: Callable[[str, str], Any], messages: Callable[..., list[str]]
) -> None:
    chance = random.Random(191)
    texts = messages()
    keys = [coincurve.PrivateKey(chance.randbytes(32)) for _ in range(8)]
    owners = [chance.choice(keys) for _ in texts]
    addresses = [base58check_text(b"\x41" + payload(key)) for key in owners]
    tronweb = oracle("evm", "tronweb")
    signatures = tronweb.ask(
        [{"op": "tronSign", "key": k.to_hex(), "text": t} for k, t in zip(owners, texts, strict=True)]
    )
    whole = list(zip(texts, signatures, strict=True))
    damaged = [mutated(chance, text, signature) for text, signature in whole]
    theirs = tronweb.ask([{"op": "tronRecover", "text": t, "signature": s} for t, s in whole + damaged])
    for number, (address, (text, signature)) in enumerate(zip(addresses + addresses, whole + damaged, strict=True)):
        said = theirs[number] == address
        assert verify(address=address, message=text, signature=signature, scheme="tron-v2").ok is said
        assert said is (number < len(whole))
