"""Hive signatures against dhive, the library under Hive Keychain."""

import base64
import random
from collections.abc import Callable
from typing import Any

import pytest

from chainwatch.verifiers import verify

pytestmark = [pytest.mark.node, pytest.mark.timeout(300)]


def accounts(public: str) -> dict[str, Any]:
    authority = {"weight_threshold": 1, "account_auths": [], "key_auths": [[public, 1]]}
    return {"alice": {"name": "alice", "posting": authority}}


SCHEMES = ("hive-buffer", "hiveauth-challenge")
"""Two names for the same signature."""


def ours(public: str, text: str, signature: str, scheme: str) -> bool:
    return verify(address="alice", message=text, signature=signature, authorities=accounts(public), scheme=scheme).ok


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
        for scheme in SCHEMES:
            assert ours(publics[key], text, signature, scheme)

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
        for scheme in SCHEMES:
            assert ours(public, text, signature, scheme) is (recovered == public) is False


def test_dhive_and_we_agree_on_two_thousand_login_tokens(
    oracle: Callable[[str, str], Any], messages: Callable[..., list[str]]
) -> None:
    """The app's name is the random text: what JavaScript writes into JSON we must write in the same way."""
    chance = random.Random(32)
    dhive = oracle("hive", "@hiveio/dhive")
    key = chance.randbytes(32).hex()
    (public,) = dhive.ask([{"op": "public", "key": key}])
    apps = [text[:5_000] for text in messages()]
    tokens = dhive.ask(
        [{"op": "token", "key": key, "author": "alice", "app": app, "timestamp": 1_732_060_800} for app in apps]
    )
    refused = [app for app, token in zip(apps, tokens, strict=True) if not logged_in(public, app, token)]
    assert refused == []
    damaged = [damaged_token(chance, token) for token in tokens]
    theirs = dhive.ask([{"op": "tokenSigner", "token": token} for token in damaged])
    for app, token, said in zip(apps, damaged, theirs, strict=True):
        # dhive's base64 and JSON take more than one way to write a token; what both accept is whom and what it names.
        if logged_in(public, app, token):
            assert said == [public, app, "alice", "login"]
        if said != [public, app, "alice", "login"]:
            assert not logged_in(public, app, token)
    assert (
        sum(said == [public, app, "alice", "login"] for app, said in zip(apps, theirs, strict=True)) < len(apps) // 20
    )


def logged_in(public: str, app: str, token: str) -> bool:
    asked = {"message": "", "signature": token, "authorities": accounts(public), "expect": {"app": app}}
    return verify(address="alice", scheme="hivesigner-token", **asked).ok


def damaged_token(chance: random.Random, token: str) -> str:
    """One bit of what the token holds, or one character of it."""
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    if chance.random() < 0.7:
        bit = chance.randrange(8 * len(raw))
        raw[bit // 8] ^= 1 << bit % 8
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")
    at = chance.randrange(len(token))
    return token[:at] + ("x" if token[at] != "x" else "y") + token[at + 1 :]
