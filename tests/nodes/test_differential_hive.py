"""Hive signatures against dhive, the library under Hive Keychain."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from chainwatch.verifiers import verify

pytestmark = [pytest.mark.node, pytest.mark.timeout(120)]


def accounts(public: str) -> dict[str, Any]:
    authority = {"weight_threshold": 1, "account_auths": [], "key_auths": [[public, 1]]}
    return {"alice": {"name": "alice", "posting": authority}}


def test_dhive_and_we_agree_on_two_thousand_messages(
    oracle: Callable[[str, str], Any], messages: Callable[..., list[str]]
) -> None:
    chance = random.Random(31)
    texts = messages()
    dhive = oracle("hive", "@hiveio/dhive")
    keys = [chance.randbytes(32).hex() for _ in range(8)]
    publics = dict(zip(keys, dhive.ask([{"op": "public", "key": key} for key in keys]), strict=True))
    owners = [chance.choice(keys) for _ in texts]
    signatures = dhive.ask([{"op": "sign", "key": k, "text": t} for k, t in zip(owners, texts, strict=True)])
    for key, text, signature in zip(owners, texts, signatures, strict=True):
        assert verify(address="alice", message=text, signature=signature, authorities=accounts(publics[key]))

    damaged = []
    for key, text, signature in zip(owners, texts, signatures, strict=True):
        raw = bytearray.fromhex(signature)
        if chance.random() < 0.3:
            text += chance.choice("\n \u200bx")
        else:
            bit = chance.randrange(8, 65 * 8)
            raw[bit // 8] ^= 1 << bit % 8
        damaged.append((publics[key], text, raw.hex()))
    theirs = dhive.ask([{"op": "recover", "text": text, "signature": signature} for _, text, signature in damaged])
    for (public, text, signature), recovered in zip(damaged, theirs, strict=True):
        answer = verify(address="alice", message=text, signature=signature, authorities=accounts(public))
        assert answer.ok is (recovered == public) is False
