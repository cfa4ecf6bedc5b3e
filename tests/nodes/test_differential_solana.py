"""Solana signatures against what wallets and pages use: tweetnacl, wallet-standard, Solana's kit, web3.js, OpenSSL.

What they sign we accept, what is damaged both refuse.
"""

import base64
import random
from collections.abc import Callable
from typing import Any

import pytest
from nacl.signing import SigningKey

from chainwatch.verifiers import verify
from chainwatch.verifiers.encodings import base58_text
from chainwatch.verifiers.solana_envelopes import envelope_v0_sdk

pytestmark = [pytest.mark.node, pytest.mark.timeout(300)]

Ask = Callable[[str, str], Any]
Messages = Callable[..., list[str]]


class Signers:
    """Eight keys, and for each text the one that signs it."""

    def __init__(self, seed: int, texts: list[str]) -> None:
        self.chance = random.Random(seed)
        self.texts = texts
        keys = [SigningKey(self.chance.randbytes(32)) for _ in range(8)]
        self.owners = [self.chance.choice(keys) for _ in texts]
        self.addresses = [base58_text(bytes(key.verify_key)) for key in self.owners]
        self.seeds = [bytes(key).hex() for key in self.owners]
        self.keys = [bytes(key.verify_key).hex() for key in self.owners]

    def rows(self, *columns: list[Any]) -> list[tuple[Any, ...]]:
        return list(zip(self.addresses, self.texts, *columns, strict=True))

    def flipped(self, data: str) -> str:
        """One bit of the hex."""
        raw = bytearray.fromhex(data)
        bit = self.chance.randrange(8 * len(raw))
        raw[bit // 8] ^= 1 << bit % 8
        return raw.hex()

    def damaged(self, signatures: list[str]) -> list[tuple[str, str]]:
        """``(text, signature)``, of which one was changed."""
        out = []
        for text, signature in zip(self.texts, signatures, strict=True):
            if self.chance.random() < 0.3:
                out.append((text + self.chance.choice("\n \u200bx"), signature))
            else:
                out.append((text, self.flipped(signature)))
        return out


def accepted(scheme: str | None, address: str, text: str, signature: Any) -> bool:
    return verify(address=address, message=text, signature=signature, scheme=scheme).ok


def test_tweetnacl_and_we_agree_on_two_thousand_messages(oracle: Ask, messages: Messages) -> None:
    signers = Signers(25519, messages())
    nacl = oracle("solana", "tweetnacl")
    signatures = nacl.ask(
        [{"op": "sign", "seed": s, "text": t} for s, t in zip(signers.seeds, signers.texts, strict=True)]
    )
    forms: tuple[Callable[[bytes], Any], ...] = (base58_text, bytes.hex, list, bytes)
    for address, text, signature in signers.rows(signatures):
        form = signers.chance.choice(forms)(bytes.fromhex(signature))
        assert accepted("solana-raw", address, text, form)

    damaged = signers.damaged(signatures)
    theirs = nacl.ask(
        [{"op": "verify", "key": k, "text": t, "signature": s} for k, (t, s) in zip(signers.keys, damaged, strict=True)]
    )
    assert theirs == [False] * len(damaged)
    for address, (text, changed) in zip(signers.addresses, damaged, strict=True):
        assert not accepted(None, address, text, bytes.fromhex(changed))


def test_tweetnacl_accepts_a_malleable_twin_that_we_refuse(oracle: Ask) -> None:
    """S plus the group order: the same signature to tweetnacl, another one to whoever counts signatures."""
    key = SigningKey(b"\x07" * 32)
    signed = key.sign(b"summit").signature
    order = 2**252 + 27742317777372353535851937790883648493
    twin = signed[:32] + (int.from_bytes(signed[32:], "little") + order).to_bytes(32, "little")
    public = bytes(key.verify_key)
    request = {"op": "verify", "key": public.hex(), "text": "summit", "signature": twin.hex()}
    assert oracle("solana", "tweetnacl").ask([request]) == [True]
    assert not verify(address=base58_text(public), message="summit", signature=twin)


# --- sign-in texts


def sign_in(chance: random.Random, address: str, text: str) -> dict[str, Any]:
    """The fields of a sign-in text: some of those that the standard has, ``text`` for its statement."""
    statement = " ".join(text.split())  # a line break would end it
    optional: dict[str, Callable[[], Any]] = {
        "uri": lambda: f"https://tickets.example/{chance.randrange(1 << 20)}",
        "version": lambda: "1",
        "chainId": lambda: chance.choice(["mainnet", "devnet", "solana:mainnet"]),
        "nonce": lambda: f"{chance.getrandbits(64):016x}",
        "issuedAt": lambda: "2024-11-20T00:00:00.000Z",
        "expirationTime": lambda: "2024-11-20T00:05:00Z",
        "notBefore": lambda: "2024-11-19T00:00:00Z",
        "requestId": lambda: f"summit-{chance.randrange(100)}",
        "resources": lambda: [f"https://tickets.example/{n}" for n in range(chance.randrange(1, 4))],
    }
    names = [name for name in optional if chance.random() < 0.6]
    fields = {name: optional[name]() for name in names}
    return {
        "domain": "tickets.example",
        "address": address,
        **({"statement": statement} if statement else {}),
        **fields,
    }


def test_wallet_standard_and_we_agree_on_two_thousand_sign_in_texts(oracle: Ask, messages: Messages) -> None:
    signers = Signers(4361, messages())
    standard = oracle("solana", "@solana/wallet-standard-util")
    signed = standard.ask(
        [
            {"op": "signIn", "seed": seed, "input": sign_in(signers.chance, address, text)}
            for seed, address, text in zip(signers.seeds, signers.addresses, signers.texts, strict=True)
        ]
    )
    signers.texts = [item["text"] for item in signed]
    signatures = [item["signature"] for item in signed]
    damaged = signers.damaged(signatures)
    questions = list(
        zip(signers.keys + signers.keys, [*zip(signers.texts, signatures, strict=True), *damaged], strict=True)
    )
    theirs = standard.ask(
        [{"op": "verifySignIn", "key": key, "text": text, "signature": s} for key, (text, s) in questions]
    )
    assert theirs[len(damaged) :] == [False] * len(damaged)
    refused = []
    for address, text, signature, said in signers.rows(signatures, theirs[: len(damaged)]):
        assert said is True
        if not accepted("siws", address, text, signature):
            refused.append(text)
    assert refused == []
    for address, (text, changed) in zip(signers.addresses, damaged, strict=True):
        assert not accepted("siws", address, text, changed)


# --- off-chain messages


@pytest.mark.parametrize("version", [0, 1])
def test_the_kit_and_we_agree_on_two_thousand_off_chain_messages(oracle: Ask, messages: Messages, version: int) -> None:
    scheme = f"solana-offchain-v{version}"
    signers = Signers(version, [text or "." for text in messages()])  # an empty one is none
    kit = oracle("solana", "@solana/offchain-messages")

    def questions(op: str, column: list[str], rows: list[tuple[str, str]]) -> list[dict[str, Any]]:
        name = "seed" if op == "signOffchain" else "key"
        return [
            {"op": op, "version": version, "address": a, name: value, "text": text, "signature": signature}
            for a, value, (text, signature) in zip(signers.addresses, column, rows, strict=True)
        ]

    signatures = kit.ask(questions("signOffchain", signers.seeds, [(text, "") for text in signers.texts]))
    assert None not in signatures
    assert [row for row in signers.rows(signatures) if not accepted(scheme, *row)] == []
    damaged = signers.damaged(signatures)
    assert kit.ask(questions("verifyOffchain", signers.keys, damaged)) == [False] * len(damaged)
    for address, (text, changed) in zip(signers.addresses, damaged, strict=True):
        assert not accepted(scheme, address, text, changed)


def test_openssl_and_we_agree_on_two_thousand_messages_of_the_command_line(oracle: Ask, messages: Messages) -> None:
    """The SDK's short envelope has no library in JavaScript; its bytes are published (``test_solana_vectors``)."""
    signers = Signers(16, [text or "." for text in messages()])
    nacl = oracle("solana", "tweetnacl")

    def envelope(text: str) -> str:
        return envelope_v0_sdk(text.encode()).hex()

    signatures = nacl.ask(
        [{"op": "signBytes", "seed": s, "data": envelope(t)} for s, t in zip(signers.seeds, signers.texts, strict=True)]
    )
    assert [row for row in signers.rows(signatures) if not accepted("solana-offchain-v0-sdk", *row)] == []
    damaged = signers.damaged(signatures)
    theirs = nacl.ask(
        [
            {"op": "verifyBytes", "key": k, "data": envelope(t), "signature": s}
            for k, (t, s) in zip(signers.keys, damaged, strict=True)
        ]
    )
    assert theirs == [False] * len(damaged)
    for address, (text, changed) in zip(signers.addresses, damaged, strict=True):
        assert not accepted("solana-offchain-v0-sdk", address, text, changed)


# --- a transaction that only carries a memo


def test_web3_js_and_we_agree_on_two_thousand_memo_transactions(oracle: Ask, messages: Messages) -> None:
    # No transaction is longer than a packet.
    signers = Signers(1232, [text for text in messages(2600) if len(text.encode()) <= 900][: len(messages())])
    assert len(signers.texts) == len(messages())
    web3 = oracle("solana", "@solana/web3.js")
    signed = web3.ask(
        [{"op": "signMemo", "seed": s, "text": t} for s, t in zip(signers.seeds, signers.texts, strict=True)]
    )
    assert None not in signed
    wrong = [r for r in signers.rows(signed) if not accepted("solana-memo-tx", *r[:2], base64_of(r[2]))]
    assert wrong == []
    damaged = signers.damaged(signed)
    theirs = web3.ask(
        [
            {"op": "verifyMemo", "address": a, "text": text, "transaction": transaction}
            for a, (text, transaction) in zip(signers.addresses, damaged, strict=True)
        ]
    )
    assert [row for row, said in zip(damaged, theirs, strict=True) if said] == []
    for address, (text, changed) in zip(signers.addresses, damaged, strict=True):
        assert not accepted("solana-memo-tx", address, text, base64_of(changed))


def base64_of(data: str) -> str:
    return base64.b64encode(bytes.fromhex(data)).decode()
