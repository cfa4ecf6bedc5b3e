"""What the Bitcoin schemes accept and refuse, and the reasons they give."""

import base64
from hashlib import sha256

import coincurve
import pytest

from chainwatch.testing.wallets import BitcoinWallet, serialize
from chainwatch.verifiers import Policy, Reason, Status, Verification, curves, verify
from chainwatch.verifiers.encodings import base58check_text, compact_size, segwit_text
from chainwatch.verifiers.transactions import Input, Transaction, parse_transaction

TEXT = "Access event summit-24 at 1732060800000"
LEGACY_KINDS = ["p2pkh", "p2pkh-uncompressed", "p2sh-p2wpkh", "p2wpkh"]
BIP322_KINDS = ["p2pkh", "p2sh-p2wpkh", "p2wpkh", "p2tr"]


def ask(wallet: BitcoinWallet, signature: object, text: str | bytes = TEXT, **options: object) -> Verification:
    return verify(address=wallet.address, message=text, signature=signature, chain=wallet.chain, **options)


def full(tx: Transaction) -> str:
    return "ful" + base64.b64encode(serialize(tx)).decode()


def simple(*items: bytes) -> str:
    body = compact_size(len(items)) + b"".join(compact_size(len(item)) + item for item in items)
    return "smp" + base64.b64encode(body).decode()


# --- legacy messages


@pytest.mark.parametrize("kind", LEGACY_KINDS)
def test_every_wallet_s_own_signature_is_valid_and_says_who(kind: str) -> None:
    wallet = BitcoinWallet("a", kind)
    result = ask(wallet, wallet.sign_message(TEXT))
    assert result.ok
    assert (result.scheme, result.method, result.chain) == ("bip137", "ecdsa", "BTC")
    assert (result.address, result.public_key) == (wallet.address, wallet.public_key.hex())
    assert result.malleable
    assert ask(wallet, wallet.sign_message(TEXT, electrum=True)).ok
    assert ask(wallet, base64.b64decode(wallet.sign_message(TEXT))).ok  # the raw 65 bytes
    assert ask(wallet, wallet.sign_message(TEXT).encode()).ok


def test_taproot_accepts_a_legacy_signature_only_by_the_loose_policy() -> None:
    """What UniSat and OKX send for taproot accounts (okx/js-wallet-sdk#158)."""
    wallet = BitcoinWallet("a", "p2tr")
    signature = wallet.sign_message(TEXT)
    assert ask(wallet, signature).reason is Reason.WRONG_ADDRESS_TYPE
    assert ask(wallet, signature, policy=Policy(btc_headers="loose")).ok
    assert not ask(BitcoinWallet("b", "p2tr"), signature, policy=Policy(btc_headers="loose"))


def test_a_recovered_key_is_compared_with_the_wallet_not_trusted() -> None:
    """secretkeylabs/xverse-core#223: a key recovered from the signature "verifies" every message."""
    wallet, other = BitcoinWallet("a"), BitcoinWallet("b")
    assert ask(other, wallet.sign_message(TEXT)).reason is Reason.WRONG_SIGNER
    assert ask(wallet, wallet.sign_message(TEXT), TEXT + " ").reason is Reason.WRONG_SIGNER


def test_the_high_s_twin_is_valid_here_and_marked() -> None:
    wallet = BitcoinWallet("a", "p2pkh")
    data = base64.b64decode(wallet.sign_message(TEXT))
    s = curves.SECP256K1_N - int.from_bytes(data[33:], "big")
    twin = bytes([31 + ((data[0] - 31) ^ 1)]) + data[1:33] + s.to_bytes(32, "big")
    result = ask(wallet, base64.b64encode(twin).decode())
    assert result.ok
    assert "high_s" in result.warnings


@pytest.mark.parametrize("chain", ["LTC", "DOGE", "DASH"])
def test_another_chain_s_magic_is_another_message(chain: str) -> None:
    coin, bitcoin = BitcoinWallet("a", "p2pkh", chain), BitcoinWallet("a", "p2pkh")
    assert ask(coin, coin.sign_message(TEXT)).ok
    assert not ask(coin, bitcoin.sign_message(TEXT))
    assert not ask(bitcoin, coin.sign_message(TEXT))


def test_pay_to_script_stands_for_segwit_only_where_there_is_segwit() -> None:
    """Elsewhere that script takes no signature at all: whoever sees it can spend."""
    for chain in ("BTC", "LTC", "DOGE", "DASH"):
        wallet = BitcoinWallet("a", "p2sh-p2wpkh", chain)
        for electrum in (True, False):
            result = ask(wallet, wallet.sign_message(TEXT, electrum=electrum))
            assert result.reason == ("ok" if chain in ("BTC", "LTC") else "wrong_address_type"), chain


def test_nfc_is_tried_only_when_asked_for_and_said() -> None:
    """Trezor signs the NFC form of what it is given."""
    wallet = BitcoinWallet("a")
    signature = wallet.sign_message("Zo\u00eb")
    assert not ask(wallet, signature, "Zoe\u0308")
    result = ask(wallet, signature, "Zoe\u0308", policy=Policy(try_nfc=True))
    assert result.ok
    assert "nfc" in result.warnings


def test_the_network_of_an_address_is_reported_because_nobody_signs_it() -> None:
    wallet = BitcoinWallet("a", "p2pkh")
    test_address = base58check_text(b"\x6f" + curves.hash160(wallet.public_key))
    result = verify(address=test_address, message=TEXT, signature=wallet.sign_message(TEXT), chain="BTC")
    assert result.ok
    assert result.detail["network"] == "test"
    pinned = "bip122:000000000019d6689c085ae165831e93"
    refused = verify(address=test_address, message=TEXT, signature=wallet.sign_message(TEXT), chain=pinned)
    assert refused.reason is Reason.WRONG_NETWORK


def test_a_policy_that_does_not_exist_is_the_programmer_s_mistake() -> None:
    with pytest.raises(ValueError, match="btc_headers"):
        Policy(btc_headers="any")


# --- BIP-322


@pytest.mark.parametrize("kind", BIP322_KINDS)
def test_every_wallet_s_own_bip322_signature_is_valid(kind: str) -> None:
    wallet = BitcoinWallet("a", kind)
    result = ask(wallet, wallet.sign_bip322(TEXT))
    assert result.ok, result
    assert result.method == ("schnorr" if kind == "p2tr" else "ecdsa")
    assert result.scheme == ("bip322-simple" if kind in ("p2wpkh", "p2tr") else "bip322-full")
    assert not result.warnings
    assert ask(BitcoinWallet("b", kind), wallet.sign_bip322(TEXT)).status is Status.INVALID
    assert ask(wallet, wallet.sign_bip322(TEXT), TEXT + "\n").status is Status.INVALID


def test_a_key_must_hash_to_the_address() -> None:
    """RUSTSEC: the crate bip322 up to 0.0.10 let any key sign for any P2WPKH or P2SH address."""
    victim, thief = BitcoinWallet("victim"), BitcoinWallet("thief")
    outpoint = victim.to_sign(TEXT).inputs[0].outpoint
    unsigned = Transaction(0, (Input(outpoint),), ((0, b"\x6a"),))
    for program in (curves.hash160(thief.public_key), curves.hash160(victim.public_key)):
        digest = unsigned.segwit_digest(0, b"\x76\xa9\x14" + program + b"\x88\xac", 0)
        forged = simple(thief.key.sign(digest, hasher=None) + b"\x01", thief.public_key)
        assert ask(victim, forged).reason is Reason.WRONG_SIGNER


@pytest.mark.parametrize("sighash", [0, 2, 3, 0x81, 0x82, 0x83, 0xFF])
def test_only_sighash_all_is_accepted(sighash: int) -> None:
    """bip322-js ignores the byte for segwit version 0."""
    for kind in ("p2wpkh", "p2pkh", "p2sh-p2wpkh"):
        wallet = BitcoinWallet("a", kind)
        result = ask(wallet, full(wallet.to_sign(TEXT, sighash=sighash)))
        assert result.reason is Reason.RULE_VIOLATED
    taproot = BitcoinWallet("a", "p2tr")
    (signature,) = taproot.to_sign(TEXT).inputs[0].witness
    assert not ask(taproot, simple(signature + bytes([sighash])))


def test_a_full_signature_reports_its_time_locks_and_policy_can_refuse_them() -> None:
    wallet = BitcoinWallet("a")
    signature = full(wallet.to_sign(TEXT, version=2, lock_time=2016, sequence=144))
    result = ask(wallet, signature)
    assert result.ok
    assert "timelock" in result.warnings
    assert (result.detail["lock_time"], result.detail["sequence"]) == (2016, 144)
    assert ask(wallet, signature, policy=Policy(allow_timelocks=False)).reason is Reason.POLICY


def test_an_unknown_version_is_inconclusive_not_invalid() -> None:
    wallet = BitcoinWallet("a")
    assert ask(wallet, full(wallet.to_sign(TEXT, version=3))).status is Status.INCONCLUSIVE
    # Broken besides, it is invalid: the required rules come first.
    assert ask(BitcoinWallet("b"), full(wallet.to_sign(TEXT, version=3))).status is Status.INVALID


def test_the_supplied_transaction_is_judged_not_a_rebuilt_one() -> None:
    """btcsuite/btcd#2521: copying the witness into a transaction of one's own hides what was really signed."""
    wallet = BitcoinWallet("a")
    tx = wallet.to_sign(TEXT)
    item = tx.inputs[0]
    for changed in (
        Transaction(tx.version, tx.inputs, tx.outputs, 1),
        Transaction(2, tx.inputs, tx.outputs),
        Transaction(0, (Input(item.outpoint, b"", 1, item.witness),), tx.outputs),
        Transaction(0, tx.inputs, ((1, b"\x6a"),)),
        Transaction(0, tx.inputs, ((0, b"\x6a\x00"),)),
        Transaction(0, tx.inputs, (*tx.outputs, *tx.outputs)),
        Transaction(0, (Input(item.outpoint[:32] + b"\x01\0\0\0", b"", 0, item.witness),), tx.outputs),
        Transaction(0, (Input(item.outpoint, b"\x51", 0, item.witness),), tx.outputs),
    ):
        assert ask(wallet, full(changed)).status is Status.INVALID
    assert parse_transaction(serialize(tx)) == tx


def test_a_proof_of_funds_is_unsupported_in_either_form() -> None:
    wallet = BitcoinWallet("a")
    tx = wallet.to_sign(TEXT)
    more = Transaction(0, (*tx.inputs, Input(b"\x11" * 36)), tx.outputs)
    assert ask(wallet, full(more)).status is Status.UNSUPPORTED
    assert ask(wallet, "pof" + base64.b64encode(b"psbt\xff").decode()).status is Status.UNSUPPORTED


def test_an_unprefixed_full_transaction_needs_an_opt_in() -> None:
    wallet = BitcoinWallet("a", "p2wpkh")
    bare = full(wallet.to_sign(TEXT))[3:]
    assert not ask(wallet, bare)
    result = ask(wallet, bare, policy=Policy(allow_unprefixed_full=True))
    assert (result.ok, result.scheme) == (True, "bip322-full")


def test_nested_segwit_as_simple_is_warned_of_and_can_be_refused() -> None:
    wallet = BitcoinWallet("a", "p2sh-p2wpkh")
    signature = simple(*wallet.to_sign(TEXT).inputs[0].witness)
    result = ask(wallet, signature)
    assert result.ok
    assert result.warnings == ("lenient_p2sh",)
    assert ask(wallet, signature, policy=Policy(allow_lenient_p2sh=False)).reason is Reason.WRONG_ADDRESS_TYPE


@pytest.mark.parametrize("wrong", ["SMP", "smp ", " smp", "smpsmp", "smp\n", "foo", "ful", "pof"])
def test_the_prefix_is_exact(wrong: str) -> None:
    wallet = BitcoinWallet("a")
    assert not ask(wallet, wrong + wallet.sign_bip322(TEXT, prefix=False))


def test_bip322_is_bitcoin_s_alone() -> None:
    """A signature says nothing of the chain: on Litecoin the same bytes would pass for another coin's wallet."""
    assert ask(BitcoinWallet("a", "p2wpkh", "LTC"), BitcoinWallet("a").sign_bip322(TEXT)).status is Status.UNSUPPORTED


# --- scripts


def p2wsh(script: bytes) -> str:
    return segwit_text("bc", 0, sha256(script).digest())


def spend_p2wsh(script: bytes, *keys: coincurve.PrivateKey, dummy: bool = True) -> str:
    """BIP-322 simple of ``script``, signed by ``keys`` in this order."""
    from chainwatch.verifiers.bip322 import to_spend_outpoint

    output = b"\x00\x20" + sha256(script).digest()
    tx = Transaction(0, (Input(to_spend_outpoint(TEXT.encode(), output)),), ((0, b"\x6a"),))
    digest = tx.segwit_digest(0, script, 0)
    signatures = [key.sign(digest, hasher=None) + b"\x01" for key in keys]
    return simple(*([b""] if dummy else []), *signatures, script)


KEYS = [coincurve.PrivateKey(bytes([number]) * 32) for number in range(1, 5)]
MULTISIG = b"\x52" + b"".join(b"\x21" + key.public_key.format() for key in KEYS[:3]) + b"\x53\xae"


def test_two_of_three_takes_two_different_keys_in_their_order() -> None:
    def judge(*keys: coincurve.PrivateKey) -> Verification:
        return verify(address=p2wsh(MULTISIG), message=TEXT, signature=spend_p2wsh(MULTISIG, *keys))

    first, second, third, stranger = KEYS
    for pair in ((first, second), (first, third), (second, third)):
        result = judge(*pair)
        assert result.ok
        assert result.method == "multisig"
        assert result.detail["keys"] == [key.public_key.format().hex() for key in pair]
    for wrong in ((second, first), (first, first), (first, stranger), (first,), (first, second, third)):
        assert judge(*wrong).status is Status.INVALID


@pytest.mark.parametrize(("required", "count"), [(1, 1), (1, 16), (16, 16), (2, 17), (17, 17), (20, 20), (2, 21)])
def test_a_multisig_has_up_to_twenty_keys(required: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From 17 on the numbers are pushed as a byte."""
    monkeypatch.setattr("chainwatch.verifiers.engine._load", lambda: None)
    keys = [coincurve.PrivateKey(bytes([number]) * 32) for number in range(1, count + 1)]

    def number(value: int) -> bytes:
        return bytes([0x50 + value]) if value <= 16 else bytes([1, value])

    listed = b"".join(b"\x21" + key.public_key.format() for key in keys)
    script = number(required) + listed + number(count) + b"\xae"
    result = verify(address=p2wsh(script), message=TEXT, signature=spend_p2wsh(script, *keys[-required:]))
    assert (result.reason, result.method) == (("ok", "multisig") if count <= 20 else ("unknown_script", None))
    longer = b"\x01" + bytes([required]) + listed + number(count) + b"\xae"  # which only some numbers are minimally
    if required <= 16:
        result = verify(address=p2wsh(longer), message=TEXT, signature=spend_p2wsh(longer, *keys[-required:]))
        assert result.reason == "unknown_script"


@pytest.mark.parametrize("cut", range(1, 75))
def test_a_script_that_breaks_off_is_no_multisig(cut: int) -> None:
    script = MULTISIG[:cut] + b"\xae"
    result = verify(address=p2wsh(script), message=TEXT, signature=spend_p2wsh(script, KEYS[0], KEYS[1]))
    assert not result
    assert result.reason is not Reason.INTERNAL


def test_a_script_of_one_key_is_a_wallet_too() -> None:
    script = b"\x21" + KEYS[0].public_key.format() + b"\xac"
    assert verify(address=p2wsh(script), message=TEXT, signature=spend_p2wsh(script, KEYS[0], dummy=False)).ok
    assert not verify(address=p2wsh(script), message=TEXT, signature=spend_p2wsh(script, KEYS[1], dummy=False))


def test_what_anybody_can_spend_is_warned_of_and_refused_by_policy() -> None:
    """A script without a signature proves nothing of the one who knocks."""
    pytest.importorskip("btclib_wallet.bip322", reason="the script engine (chainwatch[scripts]) is not installed")
    for address, signature in (
        (p2wsh(b"\x51"), simple(b"\x51")),
        ("bc1pfeessrawgf", simple()),
    ):
        result = verify(address=address, message=TEXT, signature=signature)
        assert result.ok
        assert "anyone_can_spend" in result.warnings
        strict = Policy(require_signature_check=True)
        assert verify(address=address, message=TEXT, signature=signature, policy=strict).reason is Reason.POLICY


def test_an_unknown_script_without_the_engine_is_inconclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainwatch.verifiers.engine._load", lambda: None)
    result = verify(address=p2wsh(b"\x51"), message=TEXT, signature=simple(b"\x51"))
    assert (result.status, result.reason) == (Status.INCONCLUSIVE, Reason.UNKNOWN_SCRIPT)
    # Of another address it is invalid, engine or not.
    assert verify(address=p2wsh(b"\x52"), message=TEXT, signature=simple(b"\x51")).status is Status.INVALID


def test_future_witness_versions_are_inconclusive() -> None:
    address = segwit_text("bc", 2, bytes(32))
    assert verify(address=address, message=TEXT, signature=simple(b"")).status is Status.INCONCLUSIVE
    taproot = BitcoinWallet("a", "p2tr")
    (signature,) = taproot.to_sign(TEXT).inputs[0].witness
    assert ask(taproot, simple(signature, b"\x50annex")).status is Status.INCONCLUSIVE
