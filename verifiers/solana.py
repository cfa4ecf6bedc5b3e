"""Solana: ed25519 over the message itself, or over one of the envelopes that wallets put around it.

The signature rule is dalek's ``verify_strict``, which is what the chain applies and what libsodium implements: S below
the group order, canonical R, no small-order key.  OpenSSL's and tweetnacl's laxer rules accept forged signatures for
the System Program's address.

An envelope is rebuilt from the expected text and the wallet's key; bytes that a wallet says it signed
(``expect["signed_message"]``) are parsed strictly and must hold this text and this signer.  Raw signatures
carry no cluster, so an answer says nothing about mainnet or devnet.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import sha256
from typing import Any

from chainwatch.verifiers import siwe
from chainwatch.verifiers.encodings import EncodingError, base58_bytes, base64_bytes, hex_bytes
from chainwatch.verifiers.result import Reason, Request, Verification
from chainwatch.verifiers.solana_envelopes import (
    KIT_LEDGER_TEXT,
    MAX_V0_TEXT,
    SDK_LEDGER_TEXT,
    ZERO_DOMAIN,
    envelope_v0,
    envelope_v0_sdk,
    envelope_v1,
    is_utf8,
    parse_envelope,
)

MAX_TRANSACTION = 1_232
"""Bytes of a serialised transaction: one IPv6 packet (Agave ``PACKET_DATA_SIZE``)."""
MEMO_PROGRAMS = (
    "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr",
    "Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo",
)
COMPUTE_BUDGET = "ComputeBudget111111111111111111111111111111"
MAX_JSON = 1024
"""Characters of a signature as JSON: 64 numbers with their names and blanks."""
_ENVELOPES = ("solana-offchain-v0-sdk", "solana-offchain-v0", "solana-offchain-v1")
EXPECTED = frozenset({"signed_message"})
"""What ``expect`` may say of a text: the bytes that were signed, which wallets return whether there is an envelope or
not."""
EXPECTED_OF_V0 = EXPECTED | {"application_domain", "domain"}
EXPECTED_OF_SIGN_IN = EXPECTED | siwe.EXPECTED
_ENVELOPE_ALONE = frozenset({"signed_message", "application_domain"})
"""What says nothing of a sign-in text."""


def choose(request: Request) -> tuple[str, ...]:
    """A transaction when the signature is one; else the sign-in text; else raw, then the three envelopes.

    Expectations that only a sign-in text can meet leave no other scheme.
    """
    signature = request.signature
    if isinstance(signature, str | bytes) and len(signature) > 130 and signature[:1] not in ("[", "{"):
        return ("solana-memo-tx",)
    if siwe.looks_like(request.message, siwe.SOLANA) or set(request.expect or ()) - _ENVELOPE_ALONE:
        return ("siws",)
    return ("solana-raw", *_ENVELOPES)


# --- the signature's transport


def signature_candidates(signature: object) -> Iterator[bytes]:
    """The 64 bytes that ``signature`` may stand for: raw bytes, base58, base64, hex, 64 numbers, a serialised Buffer.

    Each is decoded strictly (one text per value); a text can be canonical in two alphabets, so there may be two.
    """
    if isinstance(signature, bytes):
        if len(signature) == 64:
            yield signature
    elif isinstance(signature, tuple):
        yield from _numbers(signature)
    elif isinstance(signature, str) and signature[:1] in ("[", "{") and len(signature) <= MAX_JSON:
        yield from _json_numbers(signature)
    elif isinstance(signature, str) and 64 <= len(signature) <= 130 and signature.isascii():
        for decode in (base58_bytes, base64_bytes, _base64url_bytes, _prefixed_hex_bytes):
            try:
                data = decode(signature)
            except EncodingError:
                continue
            if len(data) == 64:
                yield data


def _base64url_bytes(text: str) -> bytes:
    """RFC 4648 §5 without padding; the standard alphabet is another decoder's."""
    if "+" in text or "/" in text or "=" in text:
        raise EncodingError("not base64url")
    return base64_bytes(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))


def _prefixed_hex_bytes(text: str) -> bytes:
    return hex_bytes(text.removeprefix("0x"))


def _numbers(items: Any) -> Iterator[bytes]:
    if len(items) == 64 and all(type(item) is int and 0 <= item <= 255 for item in items):
        yield bytes(items)


def _json_numbers(text: str) -> Iterator[bytes]:
    """``[1, 2, …]``, ``{"type": "Buffer", "data": […]}`` or ``{"0": 1, "1": 2, …}`` (a Uint8Array through JSON)."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    if isinstance(value, dict):
        if value.get("type") == "Buffer" and set(value) == {"type", "data"}:
            value = value["data"]
        else:
            value = [value.get(str(index)) for index in range(64)] if len(value) == 64 else None
    if isinstance(value, list):
        yield from _numbers(value)


@cache
def _solders() -> tuple[Any, Any]:
    """``Signature.from_bytes`` and ``Pubkey.from_bytes``; imported at first use (50 ms)."""
    from solders.pubkey import Pubkey
    from solders.signature import Signature

    return Signature.from_bytes, Pubkey.from_bytes


def strict_verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """ed25519 as Agave checks it (ed25519-dalek ``verify_strict``): 32-byte key, 64-byte signature."""
    signature_of, key_of = _solders()
    return bool(signature_of(signature).verify(key_of(public_key), message))


def _signed(request: Request, *preimages: bytes) -> tuple[Reason, int]:
    """Which of the preimages the wallet's key signed: ``(OK, index)``, or why none."""
    reason = Reason.MALFORMED_SIGNATURE
    for signature in signature_candidates(request.signature):
        reason = Reason.WRONG_SIGNER
        for index, preimage in enumerate(preimages):
            if strict_verify(request.wallet.payload, signature, preimage):
                return Reason.OK, index
    return reason, 0


# --- raw messages and sign-in texts


def verify_raw(request: Request) -> Verification:
    """``signMessage`` of Phantom, Solflare, Backpack: ed25519 over the message's bytes.

    1. the signature is 64 bytes, in one of the transports of ``signature_candidates``;
    2. ed25519 (strict) by the address, which is the public key.

    The caller MUST make the message name domain, wallet and a nonce: nothing is bound beside its bytes.
    """
    reason, _ = _signed(request, request.message)
    return request.answer(reason, "solana-raw", method="ed25519")


def verify_siws(request: Request) -> Verification:
    """Sign-In-With-Solana 1.0 (``solana:signIn``).

    1. the text parses, to the last byte (``siwe.parse_solana``), and renders to itself;
    2. the address inside is this wallet (wallet-standard's own ``verifySignIn`` does not compare them);
    3. every field in ``expect`` is the expected one;
    4. ed25519 over the text, or over an off-chain envelope of it (Phantom's mobile wallet adds one);
    5. times: with ``expect["time"]`` an expired or early text is refused; else it is a warning, as the standard's
       verification compares no times.

    The caller MUST expect its own domain and an unused nonce, and MUST refuse the warnings ``expired`` and
    ``not_yet_valid``.
    """
    try:  # 1
        text = request.message.decode()
        message = siwe.parse_solana(text)
    except ValueError as error:
        return request.answer(Reason.MALFORMED_MESSAGE, "siws", detail={"problem": str(error)[:200]})
    if siwe.render(message) != text:
        return request.answer(Reason.MALFORMED_MESSAGE, "siws", detail={"problem": "not canonical"})
    if message.address != request.wallet.canonical:  # 2
        return request.answer(Reason.MESSAGE_MISMATCH, "siws", detail={"field": "address"})
    expect = request.expect or {}
    if name := siwe.mismatch(message, expect):  # 3
        return request.answer(Reason.EXPECTATION_FAILED, "siws", detail={"field": name})
    reason, index = _signed(request, request.message, *_envelopes(request))  # 4
    if reason is not Reason.OK:
        return request.answer(reason, "siws", method="ed25519")
    problem = siwe.time_problem(message, siwe.expected_now(expect, request.now))  # 5
    if problem and expect.get("time") is not None:
        return request.answer(Reason(problem), "siws", method="ed25519")
    detail = {"envelope": _ENVELOPES[index - 1]} if index else {}
    warnings = (problem,) if problem else ()
    return request.answer(Reason.OK, "siws", method="ed25519", warnings=warnings, detail=detail)


# --- off-chain messages


def verify_offchain_v0_sdk(request: Request) -> Verification:
    """The SDK's short envelope (``solana sign-offchain-message``, Ledger before 1.8); see ``verify_offchain_v0``."""
    return _verify_offchain(request, "solana-offchain-v0-sdk")


def verify_offchain_v0(request: Request) -> Verification:
    """Off-chain message, version 0 with application domain and signers (Ledger, kit).

    1. the envelope: the signed bytes if the caller has them (``expect["signed_message"]``, hex or bytes), parsed
       strictly; else rebuilt for this signer alone, with the zero domain and the expected ones;
    2. its text is the message, the wallet is among its signers, its form is this scheme's;
    3. its application domain is the expected one (``expect["application_domain"]``, 32 bytes as hex or base58, or
       ``expect["domain"]``, whose SHA-256 it then is); without an expectation a domain is a warning;
    4. ed25519 (strict) over the envelope.

    The caller MUST compare ``detail["application_domain"]`` when it did not name one.
    """
    return _verify_offchain(request, "solana-offchain-v0")


def verify_offchain_v1(request: Request) -> Verification:
    """Off-chain message, version 1 (``solana:signOffchainMessage``); see ``verify_offchain_v0``."""
    return _verify_offchain(request, "solana-offchain-v1")


def _verify_offchain(request: Request, scheme: str) -> Verification:
    expect = request.expect or {}
    domain = _expected_domain(expect)
    given = expect.get("signed_message")
    if given is None:  # 1
        return _verify_rebuilt(request, scheme, domain)
    data = _bytes_of(given)
    readings = [reading for reading in parse_envelope(data or b"") if reading.scheme == scheme]
    if data is None or not readings:
        return request.answer(Reason.MALFORMED_MESSAGE, scheme)
    envelope = readings[0]
    if envelope.text != request.message:  # 2
        return request.answer(Reason.MESSAGE_MISMATCH, scheme)
    if envelope.signers and request.wallet.payload not in envelope.signers:
        return request.answer(Reason.WRONG_SIGNER, scheme)
    if domain is not None and envelope.application_domain != domain:  # 3
        return request.answer(Reason.EXPECTATION_FAILED, scheme, detail={"field": "application_domain"})
    reason, _ = _signed(request, data)  # 4
    return _told(request, scheme, reason, envelope.application_domain, checked=domain is not None)


def _verify_rebuilt(request: Request, scheme: str, domain: bytes | None) -> Verification:
    """Steps 1 and 4 with envelopes built here."""
    text = request.message
    if not text or len(text) > MAX_V0_TEXT or not is_utf8(text):
        return request.answer(Reason.MALFORMED_MESSAGE, scheme)
    wanted = ZERO_DOMAIN if domain is None else domain
    if scheme == "solana-offchain-v0-sdk":
        envelopes = [envelope_v0_sdk(text)]
    elif scheme == "solana-offchain-v1":
        envelopes = [envelope_v1(text, request.wallet.payload)]
    else:
        limits = (
            {SDK_LEDGER_TEXT, KIT_LEDGER_TEXT} if SDK_LEDGER_TEXT < len(text) <= KIT_LEDGER_TEXT else {SDK_LEDGER_TEXT}
        )
        envelopes = [envelope_v0(text, request.wallet.payload, wanted, limit) for limit in limits]
    reason, _ = _signed(request, *envelopes)
    return _told(request, scheme, reason, wanted, checked=domain is not None)


def _told(request: Request, scheme: str, reason: Reason, domain: bytes, *, checked: bool) -> Verification:
    """The answer, with the application domain where it is not the empty one."""
    foreign = reason is Reason.OK and domain != ZERO_DOMAIN and scheme == "solana-offchain-v0"
    return request.answer(
        reason,
        scheme,
        method="ed25519",
        warnings=("application_domain_not_checked",) if foreign and not checked else (),
        detail={"application_domain": domain.hex()} if foreign else {},
    )


def _envelopes(request: Request) -> tuple[bytes, ...]:
    """The three envelopes of the message, in the order of ``_ENVELOPES``."""
    text, key = request.message, request.wallet.payload
    if not text or len(text) > MAX_V0_TEXT:
        return ()
    return envelope_v0_sdk(text), envelope_v0(text, key), envelope_v1(text, key)


def _expected_domain(expect: Mapping[str, Any]) -> bytes | None:
    """The application domain to demand; None: any."""
    if (wanted := expect.get("application_domain")) is not None:
        data = _bytes_of(wanted)
        return data if data is not None and len(data) == 32 else b"no such domain"
    if isinstance(name := expect.get("domain"), str):
        return sha256(name.encode("utf-8", "replace")).digest()
    return None


def _bytes_of(value: object) -> bytes | None:
    """Bytes given as bytes, hex or base58."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        for decode in (_prefixed_hex_bytes, base58_bytes):
            try:
                return decode(value)
            except EncodingError:
                continue
    return None


# --- a transaction that only carries a memo

_MEMO_TX = re.compile(r"[A-Za-z0-9+/]+={0,2}", re.ASCII)


def verify_memo_tx(request: Request) -> Verification:
    """A signed transaction whose memo is the message: the fallback of Ledger devices (``extra.tx_base64``).

    1. the signature is a whole legacy or version 0 transaction (bytes or base64), nothing behind it, no lookup tables;
    2. its instructions are one memo (program v1 or v2) and otherwise only compute budget: anything else may be a
       real transaction that was harvested;
    3. the memo is the message;
    4. the wallet is a required signer, and its signature over the transaction message is there (ed25519, strict).

    Signed is not sent: the caller MUST ask for it with an unusable blockhash, so that nobody can broadcast it.
    """
    scheme = "solana-memo-tx"
    if not request.policy.allow_memo_tx:
        return request.answer(Reason.POLICY, scheme)
    raw = _transaction_bytes(request.signature)
    transaction = _parse_transaction(raw) if raw else None  # 1
    if transaction is None:
        return request.answer(Reason.MALFORMED_SIGNATURE, scheme)
    message = transaction.message
    keys = [str(key) for key in message.account_keys]
    memos = []
    for instruction in message.instructions:  # 2
        program = keys[instruction.program_id_index] if instruction.program_id_index < len(keys) else ""
        if program in MEMO_PROGRAMS:
            memos.append(bytes(instruction.data))
        elif program != COMPUTE_BUDGET:
            return request.answer(Reason.RULE_VIOLATED, scheme, detail={"rule": "an instruction beside the memo"})
    if len(memos) != 1:
        return request.answer(Reason.RULE_VIOLATED, scheme, detail={"rule": "not exactly one memo"})
    if memos[0] != request.message:  # 3
        return request.answer(Reason.MESSAGE_MISMATCH, scheme)
    required = message.header.num_required_signatures  # 4
    signers = [bytes(key) for key in message.account_keys[:required]]
    signatures = transaction.signatures
    if len(signatures) != required or request.wallet.payload not in signers:
        return request.answer(Reason.WRONG_SIGNER, scheme)
    signature = bytes(signatures[signers.index(request.wallet.payload)])
    signed = _message_bytes(message)
    ok = strict_verify(request.wallet.payload, signature, signed)
    return request.answer(Reason.OK if ok else Reason.WRONG_SIGNER, scheme, method="ed25519")


def _transaction_bytes(signature: object) -> bytes | None:
    if isinstance(signature, str) and _MEMO_TX.fullmatch(signature):
        try:
            signature = base64_bytes(signature)
        except EncodingError:
            return None
    return signature if isinstance(signature, bytes) and len(signature) <= MAX_TRANSACTION else None


def _parse_transaction(raw: bytes) -> Any:
    """A ``solders`` transaction that serialises to exactly ``raw`` and looks nothing up; else None."""
    from solders.transaction import VersionedTransaction

    try:
        transaction = VersionedTransaction.from_bytes(raw)
        if bytes(transaction) != raw or getattr(transaction.message, "address_table_lookups", None):
            return None
    except BaseException as error:  # solders raises its own kinds, and a panic of its core is a BaseException
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return None
    return transaction


def _message_bytes(message: Any) -> bytes:
    """The bytes that signers of a transaction sign: version 0 messages with their prefix 0x80."""
    from solders.message import to_bytes_versioned

    data: bytes = to_bytes_versioned(message)
    return data
