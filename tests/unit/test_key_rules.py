"""Which key may speak for a Monero or a Cardano address: real signatures by the wrong key, and what they are told."""

from typing import Any

import nacl.bindings
import pytest

from chainwatch.testing.wallets import CardanoWallet, MoneroWallet, cbor_bytes
from chainwatch.verifiers import Policy, Verification, curves, verify
from chainwatch.verifiers.cardano import blake2b_224
from chainwatch.verifiers.encodings import (
    BECH32,
    bech32_text,
    cn_base58_bytes,
    cn_base58_text,
    fives_of_bytes,
)
from chainwatch.verifiers.monero import ORDER, check_signature, hash_v2

TEXT = "Access event summit-24 at 1732060800000"
IDENTITY = b"\x01" + bytes(31)
"""The neutral element as a key: anybody can sign for it."""

# --- Monero


def ask(wallet: MoneroWallet, signature: str, **policy: bool) -> Verification:
    return verify(address=wallet.address, message=TEXT, signature=signature, policy=Policy(**policy))


def test_the_spend_key_signs_and_the_view_key_does_not() -> None:
    """Light-wallet servers and shops hold view keys; wallet2's ``verify`` says "good signature" to both."""
    wallet, other = MoneroWallet("a"), MoneroWallet("b")
    assert ask(wallet, wallet.sign_message(TEXT)).detail["key"] == "spend"
    by_view = wallet.sign_message(TEXT, view=True)
    assert ask(wallet, by_view).reason == "policy"
    assert ask(wallet, by_view, unsafe_allow_v1=True).reason == "policy"
    assert ask(wallet, by_view, unsafe_allow_view_key=True).ok
    assert ask(wallet, other.sign_message(TEXT)).reason == "wrong_signer"


def test_the_first_version_binds_no_address_and_is_refused() -> None:
    wallet = MoneroWallet("a")
    old = wallet.sign_message(TEXT, version=1)
    assert ask(wallet, old).reason == "policy"
    assert ask(wallet, old, unsafe_allow_v1=True).warnings == ("sig_v1",)
    assert not ask(wallet, "SigV2" + old[5:], unsafe_allow_v1=True)
    assert not ask(wallet, "SigV1" + wallet.sign_message(TEXT)[5:], unsafe_allow_v1=True)


def test_scalars_above_the_order_are_not_another_way_to_write_a_signature() -> None:
    wallet = MoneroWallet("a")
    proof = cn_base58_bytes(wallet.sign_message(TEXT)[5:])
    for at in (0, 32):
        number = int.from_bytes(proof[at : at + 32], "little") + ORDER
        twin = proof[:at] + number.to_bytes(32, "little") + proof[at + 32 :]
        assert ask(wallet, "SigV2" + cn_base58_text(twin)).reason == "wrong_signer"


def test_an_address_whose_key_anybody_has_cannot_sign() -> None:
    """wallet2 accepts these: with a small-order key the challenge drops out of the equation."""
    view, response = MoneroWallet("a").view_key, (7).to_bytes(32, "little")
    data = bytes([18]) + IDENTITY + view
    address = cn_base58_text(data + curves.keccak256(data)[:4])
    digest = hash_v2(IDENTITY, view, 0, TEXT.encode())
    point = nacl.bindings.crypto_scalarmult_ed25519_base_noclamp(response)
    challenge = int.from_bytes(curves.keccak256(digest + IDENTITY + point), "little") % ORDER
    forged = challenge.to_bytes(32, "little") + response
    assert not check_signature(digest, IDENTITY, forged)
    result = verify(address=address, message=TEXT, signature="SigV2" + cn_base58_text(forged))
    assert result.reason == "weak_key"


# --- Cardano


def signed(
    wallet: CardanoWallet, payload: bytes, *, header: bytes = b"\xa2\x01\x27", unsigned: bytes = b"\xa1\x66hashed\xf4"
) -> str:
    """A COSE_Sign1 with this address in its header; ``header`` and ``unsigned`` are the beginnings of its maps."""
    protected = cbor_bytes(header + b"\x67address" + cbor_bytes(payload))
    text = cbor_bytes(TEXT.encode())
    signature = wallet.key.sign(b"\x84\x6aSignature1" + protected + b"\x40" + text).signature
    return (b"\x84" + protected + unsigned + text + cbor_bytes(signature)).hex()


def asked(address: str, signature: str, key: str) -> Any:
    return verify(address=address, message=TEXT, signature=[signature, key]).reason


def test_the_key_and_the_signed_address_are_both_those_of_the_wallet() -> None:
    victim, thief = CardanoWallet("victim"), CardanoWallet("thief")
    assert asked(victim.address, signed(victim, victim.payload), victim.cose_key) == "ok"
    assert asked(victim.address, signed(thief, victim.payload), thief.cose_key) == "wrong_signer"
    assert asked(victim.address, signed(thief, thief.payload), thief.cose_key) == "wrong_signer"
    assert asked(victim.address, signed(victim, thief.payload), victim.cose_key) == "wrong_signer"
    assert asked(victim.address, signed(thief, victim.payload), victim.cose_key) == "bad_signature"


@pytest.mark.parametrize(
    "changes",
    [
        {"header": b"\xa3\x01\x27\x02\x81\x63new"},  # critical: to be refused by who does not know it (RFC 9052, 3.1)
        {"header": b"\xa2\x01\x26"},  # ES256
        {"header": b"\xa3\x01\x27\x01\x27"},  # a key twice
        {"unsigned": b"\xa2\x66hashed\xf4\x61x\x01"},  # nobody signed this
        {"unsigned": b"\xa1\x66hashed\x01"},
        {"unsigned": b"\xbf\x66hashed\xf4\xff"},  # of indefinite length
    ],
)
def test_headers_that_are_not_understood_are_refused(changes: dict[str, bytes]) -> None:
    wallet = CardanoWallet("a")
    assert asked(wallet.address, signed(wallet, wallet.payload, **changes), wallet.cose_key) == "malformed_signature"


def test_a_small_order_key_signs_for_no_address() -> None:
    wallet = CardanoWallet("a")
    payload = b"\x61" + blake2b_224(IDENTITY)
    key = wallet.cose_key[:-64] + IDENTITY.hex()
    address = bech32_text("addr", fives_of_bytes(payload), BECH32)
    assert asked(address, signed(wallet, payload)[:-128] + (IDENTITY + bytes(32)).hex(), key) == "weak_key"
