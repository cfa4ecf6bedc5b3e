"""EVM signatures against ethers: what it signs we accept, what either refuses both refuse."""

import random
from collections.abc import Callable
from typing import Any

import coincurve
import pytest

from chainwatch.verifiers import Verification, verify
from chainwatch.verifiers.curves import keccak256
from chainwatch.verifiers.eip712 import digest

pytestmark = [pytest.mark.node, pytest.mark.timeout(120)]


def account(key: coincurve.PrivateKey) -> str:
    return "0x" + keccak256(key.public_key.format(False)[1:])[12:].hex()


def ours(address: str, text: str, signature: str) -> Verification:
    return verify(address=address, message=text, signature=signature, scheme="eip191")


def mutated(chance: random.Random, text: str, signature: str) -> tuple[str, str]:
    """One bit of the signature, or one character of the text; never a v that only the library's laxness allows."""
    if chance.random() < 0.3:
        return text + chance.choice("\n \u200bx"), signature
    raw = bytearray.fromhex(signature[2:])
    bit = chance.randrange(64 * 8)  # r and s; what v may be is decided by the vectors
    raw[bit // 8] ^= 1 << bit % 8
    return text, "0x" + raw.hex()


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


def test_ethers_and_we_agree_on_the_digests_of_random_typed_data(oracle: Callable[[str, str], Any]) -> None:
    chance = random.Random(712)
    key = coincurve.PrivateKey(chance.randbytes(32))
    domain = {"name": "Tickets", "version": "1", "chainId": 1}
    cases = [random_struct(chance) for _ in range(400)]
    theirs = oracle("evm", "ethers").ask(
        [{"op": "typed", "key": "0x" + key.to_hex(), "domain": domain, "types": t, "message": m} for t, m in cases]
    )
    for (types, message), answer in zip(cases, theirs, strict=True):
        document = {"types": dict(types), "primaryType": "Access", "domain": domain, "message": message}
        assert "0x" + digest(document)[0].hex() == answer["digest"]
        assert verify(address=account(key), typed_data=document, signature=answer["signature"])
