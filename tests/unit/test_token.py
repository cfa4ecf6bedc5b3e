"""Tickets' tokens and signatures."""

from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chainwatch.errors import Misconfigured
from chainwatch.tickets.token import Issuer, generate_key, load_issuer, new_ref

CLAIMS = {"event": "1", "number": 7, "wallet": "alice", "unit": 1}


def issuer(byte: int = 1) -> Issuer:
    return Issuer(Ed25519PrivateKey.from_private_bytes(bytes([byte]) * 32))


def test_issuing_again_gives_the_same_ticket_and_another_key_another_one() -> None:
    assert issuer().issue("1|alice|HIVE", 1, CLAIMS) == issuer().issue("1|alice|HIVE", 1, CLAIMS)
    tokens = {issuer(k).issue(what, unit, CLAIMS).token for k in (1, 2) for what in ("a", "b") for unit in (1, 2)}
    assert len(tokens) == 8


def test_the_signature_is_a_standard_jws_that_others_can_check() -> None:
    signed = issuer().issue("x", 1, CLAIMS)
    public = jwt.PyJWK(issuer().jwk())
    claims = jwt.decode(signed.jws, public.key, algorithms=["EdDSA"])
    assert claims == {"jti": signed.uuid, **CLAIMS}
    assert jwt.get_unverified_header(signed.jws)["typ"] == "ticket+jwt"
    with pytest.raises(jwt.InvalidSignatureError):
        issuer(2).verify(signed.jws)
    head, body, tail = signed.jws.split(".")
    with pytest.raises(jwt.InvalidTokenError):
        issuer().verify(f"{head}.{body[:-2]}AA.{tail}")


def test_a_key_file_is_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "signing.pem"
    generate_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        generate_key(path)
    path.chmod(0o644)
    with pytest.raises(Misconfigured, match="other users"):
        load_issuer(path)
    path.chmod(0o600)
    path.write_text("no key")
    with pytest.raises(Misconfigured, match="cannot be read"):
        load_issuer(path)
    with pytest.raises(Misconfigured, match="keys generate"):
        load_issuer(tmp_path / "missing")


def test_references_fit_the_memo_grammar_and_do_not_repeat() -> None:
    refs = {new_ref() for _ in range(1000)}
    assert len(refs) == 1000
    assert all(len(r) == 16 and r.isalnum() and r.islower() for r in refs)
