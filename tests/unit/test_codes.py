"""The texts in QR codes: made, read, proved; each forgery has its own refusal."""

import base64
import hashlib
import hmac
import uuid

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.errors import Rejected
from chainwatch.tickets import codes
from chainwatch.tickets.token import Issuer

NOW = 1_760_000_000_000
MINE = codes.Codes(Issuer(Ed25519PrivateKey.from_private_bytes(bytes(32))))
OTHER = codes.Codes(Issuer(Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32)))
TICKET = str(uuid.UUID(int=7, version=4))
ANOTHER = str(uuid.UUID(int=8, version=4))
V1, V2 = MINE.v1(TICKET), MINE.v2(TICKET, "gala", 12)


def refusal(text: str, at_ms: int = NOW) -> str:
    try:
        MINE.check(codes.read(text), at_ms)
    except Rejected as error:
        return error.code
    return ""


def test_a_v1_code_is_an_hmac_over_the_ticket_and_says_nothing_of_its_holder() -> None:
    assert f"ticket:{TICKET}:v1:{codes.read(V1).checksum}" == V1
    key = Issuer(Ed25519PrivateKey.from_private_bytes(bytes(32))).secret("qr v1")
    digest = hmac.new(key, f"ticket:{TICKET}:v1".encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64decode(codes.read(V1).checksum + "==") == digest[:16]
    assert refusal(V1) == ""


def test_a_v2_code_is_checked_with_the_public_key_alone() -> None:
    """Zupass and pretix: a door needs the issuer's key and nothing else."""
    code = codes.read(V2)
    assert (code.event, code.number) == ("gala", 12)
    assert codes.signed(code, MINE.public)
    assert not codes.signed(code, OTHER.public)
    assert refusal(V2) == ""
    assert code.plain == V1, "a scanner without Ed25519 finds it in the same manifest"


@pytest.mark.parametrize(
    "text",
    [
        OTHER.v1(TICKET),
        OTHER.v2(TICKET, "gala", 12),
        V1.replace(TICKET, ANOTHER),
        V2.replace("gala.12", "gala.13"),
        V2.replace("gala.12", "ball.12"),
        V2.replace(TICKET, ANOTHER),
        V2[:-86] + OTHER.v2(TICKET, "gala", 12)[-86:],
        codes.rotated(V1, MINE.seed(ANOTHER), NOW),
        codes.rotated(V1, bytes(32), NOW),
    ],
)
def test_a_forged_code_is_a_bad_checksum(text: str) -> None:
    assert refusal(text) == "bad_checksum"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ticket:",
        TICKET,
        V1.upper(),
        V1 + "A",
        V1[:-1],
        V1.replace(":v1:", ":v3:"),
        V1 + "~",
        V1 + "~1.",
        V1.replace("ticket", "tiсket"),
        V2.replace(".12.", ".012."),
        V2.replace(".12.", ".٣."),
        "x" * 10_000,
        "event:1:wallet:alice",
    ],
)
def test_what_is_no_code_of_ours_is_unknown(text: str) -> None:
    assert refusal(text) == "unknown"


@given(st.text())
def test_hostile_text_is_refused_and_never_raises_anything_else(text: str) -> None:
    assert refusal(text) == "unknown"


def test_a_rotating_code_is_computed_without_a_network_and_grows_old() -> None:
    """SafeTix stranded people without signal: the seed is with the page, the plain code opens the same door."""
    for fixed in (V1, V2):
        text = codes.rotated(fixed, MINE.seed(TICKET), NOW)
        assert codes.read(text).fixed == fixed
        assert refusal(text) == ""
        for late in (-codes.STEPS_OFF, codes.STEPS_OFF):
            assert refusal(text, NOW + late * codes.STEP_MS) == ""
        assert refusal(text, NOW + 6 * 60_000) == "old_code"
        assert refusal(text, NOW - 6 * 60_000) == "old_code"
    assert codes.rotated(V1, MINE.seed(TICKET), NOW) != codes.rotated(V1, MINE.seed(TICKET), NOW + codes.STEP_MS)
    assert refusal(V1, NOW + 10**9) == ""


def test_the_longest_code_is_read_and_fits_a_qr_code_that_telephones_read() -> None:
    longest = codes.rotated(MINE.v2(TICKET, "e" * 64, 10**18 - 1), MINE.seed(TICKET), 10**13)
    assert len(longest) <= codes.MAX_CODE
    assert codes.read(longest).number == 10**18 - 1
    assert len(V2) < 180


def test_a_manifest_s_hash_covers_the_whole_code_and_its_salt() -> None:
    """Over the uuid alone, whoever reads the uuid (it stands in webhooks) could say what the door accepts."""
    given_out = codes.manifest_hash(b"salt", V1)
    assert given_out == hashlib.sha256(b"salt" + V1.encode()).digest()[:16]
    assert codes.manifest_hash(b"other", V1) != given_out
    assert codes.manifest_hash(b"salt", V1[:-1] + ("A" if V1[-1] != "A" else "B")) != given_out


def test_the_keys_of_codes_differ_from_every_other_purpose() -> None:
    issuer = Issuer(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    keys = {issuer.public, issuer.signer("session").public, issuer.signer("manifest").public, MINE.public}
    assert len(keys) == 4
