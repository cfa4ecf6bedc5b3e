"""Solana and ed25519: the shared vectors, and published ones typed in."""

from collections.abc import Callable
from typing import Any

import pytest

from chainwatch.verifiers import Reason, siwe, solana_envelopes, verify
from chainwatch.verifiers.curves import ed25519_verify
from chainwatch.verifiers.encodings import base58_text

Load = Callable[[str], list[dict[str, Any]]]


def ask(row: dict[str, Any], scheme: str | None) -> bool:
    extra = row.get("extra") or {}
    expect = dict(extra.get("expect") or {})
    if "preimage" in extra:
        expect["signed_message"] = extra["preimage"]
    return bool(
        verify(
            address=row["address"],
            chain=row["chain"],
            scheme=scheme,
            message=row["message"],
            signature=row["signature"],
            expect=expect or None,
            now=extra.get("now"),
        )
    )


def test_every_solana_vector_gets_the_verdict_it_says(vectors: Load) -> None:
    rows = [row for row in vectors("solana") if row.get("signature") is not None]
    assert [row["id"] for row in rows if ask(row, row["scheme"]) is not row["valid"]] == []
    assert {row["scheme"] for row in rows} >= {"solana-raw", "siws", "solana-offchain-v1", "solana-memo-tx"}


def test_the_scheme_is_found_without_naming_it(vectors: Load) -> None:
    rows = [row for row in vectors("solana") if row.get("signature") is not None]
    assert [row["id"] for row in rows if ask(row, None) is not row["valid"]] == []


def test_texts_of_the_reference_parser_parse_and_render_to_themselves(vectors: Load) -> None:
    rows = [r for r in vectors("solana") if r["scheme"] == "siws" and (r["extra"].get("kind_") == "parse")]
    for row in rows:
        message = siwe.parse_solana(row["message"])
        assert siwe.render(message) == row["message"]
        assert siwe.mismatch(message, row["extra"]["fields"]) is None
    assert rows


def test_every_ed25519_edge_case_is_decided_by_the_strict_rule(vectors: Load) -> None:
    """Wycheproof, "Taming the many EdDSAs" (speccheck), C2SP's CCTV; OpenSSL and tweetnacl fail some of these."""
    rows = vectors("ed25519_edge")
    wrong = [
        row["id"]
        for row in rows
        if ed25519_verify(
            bytes.fromhex(row["extra"]["pubkey"]), bytes.fromhex(row["signature"]), bytes.fromhex(row["message_hex"])
        )
        is not row["valid"]
    ]
    assert wrong == []
    assert len(rows) > 1_000


# --- published vectors

RFC8032 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]
"""Source: RFC 8032, 7.1, tests 1 to 3."""


@pytest.mark.parametrize(("key", "message", "signature"), RFC8032)
def test_the_first_tests_of_rfc8032(key: str, message: str, signature: str) -> None:
    address = base58_text(bytes.fromhex(key))
    data = bytes.fromhex(signature)
    for form in (signature, data, base58_text(data), list(data)):
        result = verify(address=address, message=bytes.fromhex(message), signature=form, chain="SOL")
        assert (result.ok, result.scheme) == (True, "solana-raw")


@pytest.mark.parametrize(
    ("text", "serialised"),
    [
        ("Test Message", "ff736f6c616e61206f6666636861696e00000c0054657374204d657373616765"),
        (
            "Тестовое сообщение",
            "ff736f6c616e61206f6666636861696e00012300d0a2d0b5d181d182d0bed0b2d0bed0b520d181d0bed0bed0b1d189d0b5d0bdd0b8d0b5",
        ),
    ],
)
def test_the_serialised_messages_of_the_sdk(text: str, serialised: str) -> None:
    """Source: anza-xyz/solana-sdk, offchain-message/src/lib.rs, its tests."""
    assert solana_envelopes.envelope_v0_sdk(text.encode()).hex() == serialised
    readings = solana_envelopes.parse_envelope(bytes.fromhex(serialised))
    assert [(reading.scheme, reading.text.decode()) for reading in readings] == [("solana-offchain-v0-sdk", text)]


def test_a_memo_transaction_signed_by_a_hardware_wallet() -> None:
    """Source: trezor-firmware, common/tests/fixtures/solana/sign_tx.memo_program.json, "memo"."""
    transaction = (
        "AQpptd956m3AB/6m2b5yqUuxndP5V8djRzfDNFKyU5+HCyUcuI72ObT18nIMXeGmvt9fm4i17g+gqa2HY08SGQkBAAECANFpncsYEbULsAVfEwREYxKC"
        "QuN6RjtS9sl6H27viK0FSlNamSkhBk0k6HFg2jh8fDW13bySu4HkH6hAQQVEjRrqV8mQanytZW/2GziTq9pj9LayEMk5hV56tuVASSE9AQEBAAtIZWxs"
        "byBXb3JsZA=="
    )
    wallet = "14CCvQzQzHCVgZM3j9soPnXuJXh1RmCfwLVUcdfbZVBS"
    result = verify(address=wallet, message="Hello World", signature=transaction)
    assert (result.ok, result.scheme) == (True, "solana-memo-tx")
    assert verify(address=wallet, message="Hello world", signature=transaction).reason is Reason.MESSAGE_MISMATCH


def test_a_forgery_for_the_system_programs_address_is_refused() -> None:
    """The address 1111…1111 is a small-order point: with S = 0 and R the identity every message "verifies".

    OpenSSL, tweetnacl and noble's default accept such signatures.
    """
    forged = b"\x01" + bytes(63)
    assert not verify(address="1" * 32, message="Access event evt_42 at 1732060800000", signature=forged)
