"""Rules of BIP-322 that only a correctly signed wrong transaction can break: each is signed here, by the right key."""

import base64
from dataclasses import replace

import coincurve
import pytest

from chainwatch.testing.wallets import BitcoinWallet, Kind, secret, serialize
from chainwatch.verifiers import Verification, curves, detect_wallet, scripts, verify
from chainwatch.verifiers.bip322 import to_spend_outpoint
from chainwatch.verifiers.encodings import base58check_text
from chainwatch.verifiers.transactions import Input, Transaction

TEXT = "Access event summit-24 at 1732060800000"
KEY = coincurve.PrivateKey(secret("rules"))
PUBLIC = KEY.public_key.format(True)
OP_RETURN = ((0, b"\x6a"),)
ONE_KEY = scripts.push(PUBLIC) + b"\xac"
ONE_OF_ONE = b"\x51" + scripts.push(PUBLIC) + b"\x51\xae"


def ask(address: str, tx: Transaction) -> Verification:
    return verify(address=address, message=TEXT, signature="ful" + base64.b64encode(serialize(tx)).decode())


def blank(address: str, outputs: tuple[tuple[int, bytes], ...] = OP_RETURN) -> Transaction:
    outpoint = to_spend_outpoint(TEXT.encode(), scripts.script_pubkey(detect_wallet(address)[0]))
    return Transaction(0, (Input(outpoint),), outputs)


def filled(tx: Transaction, script_sig: bytes, witness: tuple[bytes, ...] = ()) -> Transaction:
    return replace(tx, inputs=(replace(tx.inputs[0], script_sig=script_sig, witness=witness),))


def signature(digest: bytes, *, high_s: bool = False) -> bytes:
    """DER and SIGHASH_ALL; ``high_s``: the twin that ECDSA accepts as well."""
    compact = KEY.sign_recoverable(digest, hasher=None)
    r, s = int.from_bytes(compact[:32], "big"), int.from_bytes(compact[32:64], "big")
    integers = b"".join([_der_integer(number) for number in (r, curves.SECP256K1_N - s if high_s else s)])
    return b"\x30" + bytes([len(integers)]) + integers + b"\x01"


def _der_integer(number: int) -> bytes:
    body = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return b"\x02" + bytes([len(body)]) + body


def p2pkh(
    outputs: tuple[tuple[int, bytes], ...] = OP_RETURN, *, high_s: bool = False, witness: tuple[bytes, ...] = ()
) -> Verification:
    address = base58check_text(b"\x00" + curves.hash160(PUBLIC))
    tx = blank(address, outputs)
    digest = tx.legacy_digest(0, scripts.script_pubkey(detect_wallet(address)[0]))
    return ask(address, filled(tx, scripts.push(signature(digest, high_s=high_s)) + scripts.push(PUBLIC), witness))


def p2sh(redeem: bytes, before: bytes = b"", witness: tuple[bytes, ...] = ()) -> Verification:
    address = base58check_text(b"\x05" + curves.hash160(redeem))
    tx = blank(address)
    signed = signature(tx.legacy_digest(0, redeem))
    return ask(address, filled(tx, before + scripts.push(signed) + scripts.push(redeem), witness))


@pytest.mark.parametrize("kind", ["p2pkh", "p2sh-p2wpkh", "p2wpkh", "p2tr"])
def test_nobody_signs_for_an_address_with_a_key_of_his_own(kind: Kind) -> None:
    """Everything is in order with these signatures, but the key or script is not the one of the address."""
    thief = BitcoinWallet("thief", kind)
    thief.address = BitcoinWallet("victim", kind).address
    result = verify(address=thief.address, message=TEXT, signature=thief.sign_bip322(TEXT))
    assert result.reason == ("bad_signature" if kind == "p2tr" else "wrong_signer")


def test_a_legacy_spend_has_no_witness() -> None:
    """It would be malleable by anybody: no signature covers what is in a witness that the script does not read."""
    assert p2pkh()
    assert p2pkh(witness=(b"x",)).reason == "rule_violated"
    assert p2sh(ONE_KEY)
    assert p2sh(ONE_KEY, witness=(b"x",)).reason == "rule_violated"


@pytest.mark.parametrize("outputs", [((1, b"\x6a"),), ((0, b"\x6a\x00"),), ((0, b""),), OP_RETURN * 2, ()])
def test_a_transaction_that_pays_anybody_is_no_signature_of_a_message(outputs: tuple[tuple[int, bytes], ...]) -> None:
    assert p2pkh(outputs).reason in ("rule_violated", "malformed_signature")


def test_the_high_s_twin_of_a_script_s_signature_is_refused() -> None:
    assert p2pkh(high_s=True).reason == "non_canonical"


def test_the_extra_element_of_a_multisig_is_empty() -> None:
    """NULLDUMMY."""
    assert p2sh(ONE_OF_ONE, before=b"\x00")
    assert p2sh(ONE_OF_ONE, before=b"\x51").reason == "rule_violated"
    assert p2sh(ONE_OF_ONE).reason == "rule_violated"
    assert p2sh(ONE_OF_ONE, before=b"\x00\x00").reason == "rule_violated"


def test_a_nested_segwit_spend_pushes_its_program_and_nothing_else() -> None:
    wallet = BitcoinWallet("rules", "p2sh-p2wpkh")
    tx = wallet.to_sign(TEXT)
    assert ask(wallet.address, tx)
    padded = replace(tx, inputs=(replace(tx.inputs[0], script_sig=b"\x51" + tx.inputs[0].script_sig),))
    assert ask(wallet.address, padded).reason == "rule_violated"
