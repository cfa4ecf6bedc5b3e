"""Signatures as Standard Webhooks has them, read by its own library."""

import base64
import random
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from standardwebhooks import Webhook as Standard
from standardwebhooks import WebhookVerificationError

from chainwatch.ledger.webhooks import Webhook
from chainwatch.outbox import LONGEST_S, RETRY_MS, headers, retry_ms, sign
from chainwatch.testing.receiver import signed
from chainwatch.tickets.token import Issuer

ISSUER = Issuer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
BODY = '{"type":"ticket.minted","timestamp":"2026-11-26T10:00:00Z","data":{"event_id":"gala","ü":1}}'.encode()


def hook(generation: int = 1, previous_until_ms: int | None = None, id_: int = 1) -> Webhook:
    return Webhook(id_, "https://example.org/", ("*",), "", generation, previous_until_ms, 0, None, "")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_the_example_of_the_specification() -> None:
    """https://github.com/standard-webhooks/standard-webhooks: the vector of its libraries' tests."""
    secret, message_id, timestamp = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert sign([secret], message_id, timestamp, b'{"test": 2432232314}') == expected


def test_the_standard_library_accepts_ours_and_no_change_of_it() -> None:
    (secret,) = hook().secrets(ISSUER, now_ms())
    sent = headers([secret], "msg_1", now_ms(), BODY)
    assert Standard(secret).verify(BODY, sent)["data"]["event_id"] == "gala"
    assert signed(secret, sent, BODY, time.time())
    for body, change in (
        (BODY + b" ", {}),
        (BODY, {"webhook-id": "msg_2"}),
        (BODY, {"webhook-timestamp": str(int(sent["webhook-timestamp"]) - 1)}),
        (BODY, {"webhook-timestamp": str(int(sent["webhook-timestamp"]) - 301)}),
        (BODY, {"webhook-signature": "v1," + base64.b64encode(bytes(32)).decode()}),
        (BODY, {"webhook-signature": ""}),
    ):
        with pytest.raises(WebhookVerificationError):
            Standard(secret).verify(body, {**sent, **change})
        assert not signed(secret, {**sent, **change}, body, time.time())


def test_during_a_rotation_both_secrets_sign_and_then_only_the_new_one() -> None:
    now = now_ms()
    (old,) = hook().secrets(ISSUER, now)
    both = hook(2, now + 1).secrets(ISSUER, now)
    assert len(both) == 2
    assert both[1] == old
    sent = headers(both, "msg_1", now, BODY)
    for secret in both:
        assert Standard(secret).verify(BODY, sent)
    assert hook(2, now).secrets(ISSUER, now) == both[:1]


def test_every_endpoint_and_generation_has_a_secret_of_its_own() -> None:
    made = {s for i in (1, 2, 11) for g in (1, 2, 11) for s in hook(g, None, i).secrets(ISSUER, 0)}
    assert len(made) == 9
    assert all(len(base64.b64decode(s.removeprefix("whsec_"))) == 32 for s in made)


def test_retries_grow_to_twelve_hours_and_end_after_three_days() -> None:
    rng, now, pauses = random.Random(1), 0, []
    while (again := retry_ms(len(pauses) + 1, 0, now, rng)) is not None:
        pauses.append((again - now) / 1000)
        now = again
    wanted = [min(5 * 3**i, LONGEST_S) for i in range(len(pauses))]
    assert all(w <= pause <= w * 1.1 for w, pause in zip(wanted, pauses, strict=True))
    assert 12 <= len(pauses) <= 16
    assert RETRY_MS <= now <= RETRY_MS + LONGEST_S * 1100
