"""Cardano signatures against the Cardano Foundation's verifier: what is damaged both refuse, what is not neither."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from chainwatch.testing.wallets import CardanoWallet
from chainwatch.verifiers import verify

pytestmark = [pytest.mark.node, pytest.mark.timeout(300)]


def ours(wallet: CardanoWallet, text: str, signature: str) -> tuple[bool, bool]:
    """As CIP-30 gives it, with its COSE key; and as CIP-8, with the key alone."""
    cip30 = verify(address=wallet.address, message=text, signature=[signature, wallet.cose_key], scheme="cip30")
    key = {"pubkey": wallet.public_key.hex()}
    cip8 = verify(address=wallet.address, message=text, signature=signature, authorities=key, scheme="cip8")
    return cip30.ok, cip8.ok


def test_the_foundation_s_verifier_and_we_agree_on_two_thousand_messages(
    oracle: Callable[[str, str], Any], messages: Callable[..., list[str]]
) -> None:
    chance = random.Random(30)
    wallets = [CardanoWallet(f"differential {number}") for number in range(8)]
    # It takes an empty payload for one that is missing: those are decided by the vectors.
    texts = [text or "." for text in messages()]
    owners = [chance.choice(wallets) for _ in texts]
    whole = [(wallet, text, wallet.sign_message(text)) for wallet, text in zip(owners, texts, strict=True)]
    damaged = []
    for wallet, text, signature in whole:
        kind = chance.randrange(4)
        if kind == 0:
            damaged.append((wallet, text + chance.choice("\n \u200bx"), signature))
        elif kind == 1:
            damaged.append((chance.choice([item for item in wallets if item is not wallet]), text, signature))
        else:
            raw = bytearray.fromhex(signature)
            bit = chance.randrange(8 * (len(raw) - 64), 8 * len(raw))  # of the ed25519 signature
            raw[bit // 8] ^= 1 << bit % 8
            damaged.append((wallet, text, raw.hex()))
    questions = [
        {"signature": signature, "key": wallet.cose_key, "text": text, "address": wallet.address}
        for wallet, text, signature in whole + damaged
    ]
    theirs = oracle("cardano", "@cardano-foundation/cardano-verify-datasignature").ask(questions)
    assert [case for case, said in zip(whole, theirs, strict=False) if said is not True] == []
    assert [case for case, said in zip(damaged, theirs[len(whole) :], strict=True) if said] == []
    assert [case for case in whole if ours(*case) != (True, True)] == []
    assert [case for case in damaged if ours(*case) != (False, False)] == []
