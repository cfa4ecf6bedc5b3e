"""Wallets that sign as the real ones do: for tests, benchmarks and the demo.  The daemon never imports this module.

Keys are made from a seed, so that a failing case is the same on every machine.
"""

import base64
import json
from hashlib import blake2b, sha256
from typing import Any, Literal

import coincurve
import nacl.bindings
import nacl.signing

from chainwatch.verifiers import Wallet, curves, scripts
from chainwatch.verifiers.addresses import detect_wallet, eip55
from chainwatch.verifiers.bip322 import to_spend_outpoint
from chainwatch.verifiers.bitcoin import message_digest
from chainwatch.verifiers.encodings import (
    BECH32,
    base58_text,
    base58check_text,
    bech32_text,
    cn_base58_text,
    compact_size,
    fives_of_bytes,
    segwit_text,
)
from chainwatch.verifiers.hive import is_canonical
from chainwatch.verifiers.monero import ORDER, hash_v1, hash_v2
from chainwatch.verifiers.transactions import SIGHASH_ALL, Input, Transaction

Kind = Literal["p2pkh", "p2pkh-uncompressed", "p2sh-p2wpkh", "p2wpkh", "p2tr"]
_VERSIONS = {"BTC": (0, 5), "LTC": (0x30, 0x32), "DOGE": (0x1E, 0x16), "DASH": (0x4C, 0x10)}
_OP_RETURN = ((0, b"\x6a"),)


def secret(seed: str) -> bytes:
    """A private key made from ``seed``."""
    return sha256(b"chainwatch.testing " + seed.encode()).digest()


def _message_bytes(message: str | bytes) -> bytes:
    return message.encode() if isinstance(message, str) else message


class BitcoinWallet:
    """One key and one address of the Bitcoin family."""

    def __init__(self, seed: str, kind: Kind = "p2wpkh", chain: str = "BTC") -> None:
        self.key = coincurve.PrivateKey(secret(seed))
        self.kind: Kind = kind
        self.chain = chain
        self.public_key: bytes = self.key.public_key.format(kind != "p2pkh-uncompressed")
        self.address = self._address()

    def _address(self) -> str:
        program = curves.hash160(self.public_key)
        pay_to_key, pay_to_script = _VERSIONS[self.chain]
        if self.kind in ("p2pkh", "p2pkh-uncompressed"):
            return base58check_text(bytes([pay_to_key]) + program)
        if self.kind == "p2sh-p2wpkh":
            return base58check_text(bytes([pay_to_script]) + curves.hash160(b"\x00\x14" + program))
        hrp = {"BTC": "bc", "LTC": "ltc"}[self.chain]
        if self.kind == "p2wpkh":
            return segwit_text(hrp, 0, program)
        output_key = curves.taproot_output_key(self.public_key)
        assert output_key is not None
        return segwit_text(hrp, 1, output_key)

    @property
    def wallet(self) -> Wallet:
        """The address as our rules read it."""
        return next(found for found in detect_wallet(self.address) if found.chain == self.chain)

    def sign_message(self, message: str | bytes, *, electrum: bool = False) -> str:
        """Legacy signature in base64: BIP-137's header, or Electrum's, which is P2PKH's for every type."""
        signed = self.key.sign_recoverable(message_digest(self.chain, _message_bytes(message)), hasher=None)
        base = {"p2pkh-uncompressed": 27, "p2pkh": 31, "p2sh-p2wpkh": 35, "p2wpkh": 39, "p2tr": 31}[self.kind]
        if electrum and self.kind != "p2pkh-uncompressed":
            base = 31
        return base64.b64encode(bytes([base + signed[64]]) + signed[:64]).decode()

    def sign_bip322(self, message: str | bytes, *, prefix: bool = True) -> str:
        """BIP-322: simple for native segwit, full for the other types."""
        tx = self.to_sign(message)
        if self.wallet.witness_version is None:
            return "ful" + base64.b64encode(serialize(tx)).decode()
        return ("smp" if prefix else "") + base64.b64encode(_stack(tx.inputs[0].witness)).decode()

    def to_sign(
        self,
        message: str | bytes,
        *,
        version: int = 0,
        lock_time: int = 0,
        sequence: int = 0,
        sighash: int = SIGHASH_ALL,
    ) -> Transaction:
        """The signed virtual transaction of BIP-322; ``sighash`` other than ALL only labels the signature."""
        output = scripts.script_pubkey(self.wallet)
        outpoint = to_spend_outpoint(_message_bytes(message), output)

        def spending(script_sig: bytes = b"", witness: tuple[bytes, ...] = ()) -> Transaction:
            return Transaction(version, (Input(outpoint, script_sig, sequence, witness),), _OP_RETURN, lock_time)

        program = curves.hash160(self.public_key)
        if self.kind == "p2tr":
            digest = spending().taproot_digest(0, output, 0)
            return spending(witness=(self._tweaked().sign_schnorr(digest),))
        if self.kind in ("p2wpkh", "p2sh-p2wpkh"):
            script_sig = b"" if self.kind == "p2wpkh" else scripts.push(b"\x00\x14" + program)
            digest = spending(script_sig).segwit_digest(0, b"\x76\xa9\x14" + program + b"\x88\xac", 0)
            return spending(script_sig, (self._der(digest, sighash), self.public_key))
        signature = self._der(spending().legacy_digest(0, output), sighash)
        return spending(scripts.push(signature) + scripts.push(self.public_key))

    def _der(self, digest: bytes, sighash: int) -> bytes:
        signed: bytes = self.key.sign(digest, hasher=None)
        return signed + bytes([sighash])

    def _tweaked(self) -> coincurve.PrivateKey:
        """The key of the output: BIP-341's tweak over an even internal key."""
        even = self.public_key[0] == 2
        number = self.key.to_int() if even else curves.SECP256K1_N - self.key.to_int()
        tweak = int.from_bytes(curves.tagged_hash(b"TapTweak", self.public_key[1:]), "big")
        return coincurve.PrivateKey.from_int((number + tweak) % curves.SECP256K1_N)


def _stack(items: tuple[bytes, ...]) -> bytes:
    return compact_size(len(items)) + b"".join([compact_size(len(item)) + item for item in items])


def serialize(tx: Transaction) -> bytes:
    """The transaction as BIP-144 writes it; the original way when it has no witness."""
    segwit = any(item.witness for item in tx.inputs)
    out = [tx.version.to_bytes(4, "little"), b"\x00\x01" if segwit else b"", compact_size(len(tx.inputs))]
    for item in tx.inputs:
        out += [item.outpoint, compact_size(len(item.script_sig)), item.script_sig, item.sequence.to_bytes(4, "little")]
    out.append(compact_size(len(tx.outputs)))
    for value, script in tx.outputs:
        out += [value.to_bytes(8, "little"), compact_size(len(script)), script]
    if segwit:
        out += [_stack(item.witness) for item in tx.inputs]
    return b"".join([*out, tx.lock_time.to_bytes(4, "little")])


class EvmWallet:
    """An account as MetaMask holds it."""

    def __init__(self, seed: str) -> None:
        self.key = coincurve.PrivateKey(secret(seed))
        self.address = eip55(curves.keccak256(self.key.public_key.format(False)[1:])[12:])

    prefix = b"\x19Ethereum Signed Message:\n"

    def sign_message(self, message: str | bytes) -> str:
        """``personal_sign``: r, s, v as 0x-hex."""
        data = _message_bytes(message)
        return self.sign_digest(curves.keccak256(self.prefix + str(len(data)).encode() + data))

    def sign_digest(self, digest: bytes) -> str:
        """r, s, v over 32 bytes, as 0x-hex."""
        signed: bytes = self.key.sign_recoverable(digest, hasher=None)
        return "0x" + (signed[:64] + bytes([27 + signed[64]])).hex()


class TronWallet(EvmWallet):
    """An account as TronLink holds it: EVM's key and hash, another prefix (TIP-191), another way to write it."""

    prefix = b"\x19TRON Signed Message:\n"

    def __init__(self, seed: str) -> None:
        super().__init__(seed)
        self.address = base58check_text(b"\x41" + bytes.fromhex(self.address[2:]))


class SolanaWallet:
    """A hot key as Phantom holds it."""

    def __init__(self, seed: str) -> None:
        self.key = nacl.signing.SigningKey(secret(seed))
        self.address = base58_text(bytes(self.key.verify_key))

    def sign_message(self, message: str | bytes) -> str:
        """``signMessage``: ed25519 over the bytes, in base58."""
        return base58_text(self.key.sign(_message_bytes(message)).signature)

    def sign_memo(self, message: str, *others: Any) -> str:
        """A transaction with a memo (Ledger) and a blockhash that never was, in base64; ``others``: instructions."""
        from solders.hash import Hash
        from solders.instruction import AccountMeta, Instruction
        from solders.keypair import Keypair
        from solders.message import Message
        from solders.pubkey import Pubkey
        from solders.transaction import Transaction

        key = Keypair.from_seed(bytes(self.key))
        program = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
        memo = Instruction(program, message.encode(), [AccountMeta(key.pubkey(), True, True)])
        blockhash = Hash.default()
        signed = Transaction([key], Message.new_with_blockhash([memo, *others], key.pubkey(), blockhash), blockhash)
        return base64.b64encode(bytes(signed)).decode()


class HiveWallet:
    """An account whose posting authority is one key, as Hive Keychain holds it."""

    def __init__(self, name: str) -> None:
        self.address = name
        self.key = coincurve.PrivateKey(secret(name))
        public_key: bytes = self.key.public_key.format(True)
        self.public_key = "STM" + base58_text(public_key + curves.ripemd160(public_key)[:4])

    @property
    def account(self) -> dict[str, object]:
        """What ``condenser_api.get_accounts`` says of it, as far as authority goes."""
        posting = {"weight_threshold": 1, "account_auths": [], "key_auths": [[self.public_key, 1]]}
        return {"name": self.address, "posting": posting}

    def sign_message(self, message: str | bytes) -> str:
        """``requestSignBuffer``: a canonical recoverable signature over SHA-256, as hex."""
        from coincurve._libsecp256k1 import ffi  # the nonce function's data has no public way in

        digest = sha256(_message_bytes(message)).digest()
        for attempt in range(256):  # each has an even chance or better to be canonical
            nonce = (ffi.NULL, ffi.new("unsigned char[32]", attempt.to_bytes(32, "big")))
            signed: bytes = self.key.sign_recoverable(digest, hasher=None, custom_nonce=nonce)
            if is_canonical(signed[:64]):
                return (bytes([31 + signed[64]]) + signed[:64]).hex()
        raise AssertionError("no canonical signature among 256 nonces")

    def login_token(self, app: str, timestamp: int, /, **changes: Any) -> tuple[str, str]:
        """``(the JSON that is signed, the base64url token with its signature)`` of a HiveSigner login."""
        value: dict[str, Any] = {"signed_message": {"type": "login", "app": app}, "authors": [self.address]}
        value = value | {"timestamp": timestamp} | changes
        preimage = json.dumps(value, separators=(",", ":"))
        token = json.dumps(value | {"signatures": [self.sign_message(preimage)]}, separators=(",", ":"))
        return preimage, base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


class MoneroWallet:
    """A standard address as monero-wallet-cli makes it: the view key is the hash of the spend key."""

    def __init__(self, seed: str) -> None:
        self._spend = int.from_bytes(secret(seed), "little") % ORDER
        self._view = int.from_bytes(curves.keccak256(_scalar(self._spend)), "little") % ORDER
        self.spend_key, self.view_key = _point(self._spend), _point(self._view)
        data = bytes([18]) + self.spend_key + self.view_key
        self.address = cn_base58_text(data + curves.keccak256(data)[:4])

    def sign_message(self, message: str | bytes, *, version: int = 2, view: bool = False) -> str:
        """``sign`` (SigV2) or what it wrote before 0.17 (SigV1); ``view``: by the view key, as view-only wallets do."""
        data = _message_bytes(message)
        digest = hash_v1(data) if version == 1 else hash_v2(self.spend_key, self.view_key, int(view), data)
        key, public_key = (self._view, self.view_key) if view else (self._spend, self.spend_key)
        nonce = int.from_bytes(curves.keccak256(_scalar(key) + digest), "little") % ORDER
        challenge = int.from_bytes(curves.keccak256(digest + public_key + _point(nonce)), "little") % ORDER
        response = (nonce - challenge * key) % ORDER
        return f"SigV{version}" + cn_base58_text(_scalar(challenge) + _scalar(response))


def _scalar(number: int) -> bytes:
    return number.to_bytes(32, "little")


def _point(number: int) -> bytes:
    point: bytes = nacl.bindings.crypto_scalarmult_ed25519_base_noclamp(_scalar(number))
    return point


class CardanoWallet:
    """An enterprise address (CIP-19, type 6) of one key, as CIP-30 wallets sign with it."""

    def __init__(self, seed: str) -> None:
        self.key = nacl.signing.SigningKey(secret(seed))
        self.public_key = bytes(self.key.verify_key)
        self.payload = b"\x61" + blake2b(self.public_key, digest_size=28).digest()
        self.address = bech32_text("addr", fives_of_bytes(self.payload), BECH32)

    @property
    def cose_key(self) -> str:
        """The COSE_Key that ``signData`` gives beside the signature, as hex."""
        return (bytes.fromhex("a4010103272006215820") + self.public_key).hex()

    def sign_message(self, message: str | bytes) -> str:
        """``signData``: a COSE_Sign1 with the address in its protected header, as hex."""
        protected = b"\xa2\x01\x27\x67address" + cbor_bytes(self.payload)
        body = cbor_bytes(protected), cbor_bytes(_message_bytes(message))
        signature: bytes = self.key.sign(b"\x84\x6aSignature1" + body[0] + b"\x40" + body[1]).signature
        return (b"\x84" + body[0] + b"\xa1\x66hashed\xf4" + body[1] + cbor_bytes(signature)).hex()


def cbor_bytes(data: bytes) -> bytes:
    """CBOR of a byte string below 64 KiB."""
    size = len(data)
    if size < 24:
        return bytes([0x40 | size]) + data
    return (b"\x58" + bytes([size]) if size < 256 else b"\x59" + size.to_bytes(2, "big")) + data
