"""Solana signatures against tweetnacl, the library that most pages in browsers use."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from nacl.signing import SigningKey

from chainwatch.verifiers import verify
from chainwatch.verifiers.encodings import base58_text

pytestmark = [pytest.mark.node, pytest.mark.timeout(120)]


def test_tweetnacl_and_we_agree_on_two_thousand_messages(
    oracle: Callable[[str, str], Any], messages: Callable[..., list[str]]
) -> None:
    chance = random.Random(25519)
    texts = messages()
    keys = [SigningKey(chance.randbytes(32)) for _ in range(8)]
    owners = [chance.choice(keys) for _ in texts]
    nacl = oracle("solana", "tweetnacl")
    signatures = nacl.ask(
        [{"op": "sign", "seed": bytes(k).hex(), "text": t} for k, t in zip(owners, texts, strict=True)]
    )
    forms: tuple[Callable[[bytes], Any], ...] = (base58_text, bytes.hex, list, bytes)
    for key, text, signature in zip(owners, texts, signatures, strict=True):
        form = chance.choice(forms)(bytes.fromhex(signature))
        assert verify(address=base58_text(bytes(key.verify_key)), message=text, signature=form, scheme="solana-raw")

    damaged = []
    for key, text, signature in zip(owners, texts, signatures, strict=True):
        raw = bytearray.fromhex(signature)
        if chance.random() < 0.3:
            text += chance.choice("\n \u200bx")
        else:
            bit = chance.randrange(512)
            raw[bit // 8] ^= 1 << bit % 8
        damaged.append((bytes(key.verify_key), text, bytes(raw)))
    theirs = nacl.ask([{"op": "verify", "key": k.hex(), "text": t, "signature": s.hex()} for k, t, s in damaged])
    for (public, text, changed), accepted in zip(damaged, theirs, strict=True):
        assert verify(address=base58_text(public), message=text, signature=changed).ok is accepted is False


def test_tweetnacl_accepts_a_malleable_twin_that_we_refuse(oracle: Callable[[str, str], Any]) -> None:
    """S plus the group order: the same signature to tweetnacl, another one to whoever counts signatures."""
    key = SigningKey(b"\x07" * 32)
    signed = key.sign(b"summit").signature
    order = 2**252 + 27742317777372353535851937790883648493
    twin = signed[:32] + (int.from_bytes(signed[32:], "little") + order).to_bytes(32, "little")
    public = bytes(key.verify_key)
    request = {"op": "verify", "key": public.hex(), "text": "summit", "signature": twin.hex()}
    assert oracle("solana", "tweetnacl").ask([request]) == [True]
    assert not verify(address=base58_text(public), message="summit", signature=twin)
