"""Externally owned EVM accounts: EIP-191 ``personal_sign``, EIP-712 typed data, EIP-4361 sign-in texts.

All three end in the same question: which account made this ECDSA signature over this digest?  A scheme
prepares the digest (``Question``), ``decide`` recovers and compares.  Contract wallets are asked
in ``erc1271``, with the same question, after ECDSA said no.

The key is recovered from the signature, so *some* account comes out for almost any bytes; what makes the
answer mean something is that the address was fixed beforehand.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from chainwatch.verifiers import siwe
from chainwatch.verifiers.curves import keccak256, low_s, recover
from chainwatch.verifiers.encodings import EncodingError, hex_bytes
from chainwatch.verifiers.result import Policy, Reason, Request, Verification

EIP191_PREFIX = b"\x19Ethereum Signed Message:\n"
ERC6492_SUFFIX = bytes.fromhex("6492" * 16)
_V = {0: 0, 1: 1, 27: 0, 28: 1}
_NOTHING: Mapping[str, Any] = {}
_OK = Reason.OK
"""Python 3.11 looks for a member of an enumeration for as long as it calls a function."""


@dataclass(frozen=True, slots=True)
class Question:
    """What an account is asked to have signed: a digest, and the chain id that the message itself names."""

    digest: bytes
    chain_id: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


Prepared = Question | Verification
"""A question, or the answer when the message itself is already wrong."""


def choose(request: Request) -> tuple[str, ...]:
    """Typed data, a sign-in text, or plain ``personal_sign``: the message decides.

    A text that begins like a sign-in message is judged as one, or the address and the times inside would go unread.
    """
    if request.typed_data is not None:
        return ("eip712",)
    if request.expect or siwe.looks_like(request.message, siwe.ETHEREUM):
        return ("siwe",)
    return ("eip191",)


# --- the three schemes


def personal_digest(message: bytes, prefix: bytes = EIP191_PREFIX) -> bytes:
    """EIP-191 version 0x45: keccak256(prefix ‖ decimal length in bytes ‖ message)."""
    return keccak256(_head(prefix, len(message)) + message)


@lru_cache(maxsize=1024)
def _head(prefix: bytes, length: int) -> bytes:
    """What stands before a message of this length; remembered, for the texts of a door have one length or two."""
    return b"%b%d" % (prefix, length)


def verify_eip191(request: Request) -> Verification:
    """``personal_sign`` (MetaMask, Ledger, Trezor, WalletConnect …) over exact bytes.

    1. digest = keccak256(0x19 "Ethereum Signed Message:\\n" ‖ length in bytes ‖ message);
    2. recover the account from the signature and compare (``decide``).

    The caller MUST make the message say what it is for (domain, nonce, time): the scheme binds none of these.
    """
    return _ecdsa(request, "eip191", personal_digest(request.message), _NOTHING)  # the hot path: no Question made


def prepare_eip191(request: Request) -> Prepared:
    """Step 1 of ``verify_eip191``."""
    return Question(personal_digest(request.message))


def verify_eip712(request: Request) -> Verification:
    """``eth_signTypedData_v4``: the caller gives the whole document as ``typed_data``.

    1. the document is well-formed and small (``eip712.digest``), and its chain the one that the request names;
    2. digest = keccak256(0x19 0x01 ‖ domain separator ‖ struct hash), without the last part for a bare domain;
    3. recover the account from the signature and compare (``decide``).

    The caller MUST have built the document, or compare its domain (name, chain, contract) and its values.
    """
    return decide(request, "eip712", prepare_eip712(request))


def prepare_eip712(request: Request) -> Prepared:
    """Steps 1 and 2 of ``verify_eip712``."""
    from chainwatch.verifiers import eip712

    if request.typed_data is None:
        return request.answer(Reason.MALFORMED_REQUEST, "eip712", detail={"missing": "typed_data"})
    try:
        digest, chain_id = eip712.digest(request.typed_data)
    except eip712.TypedDataError as error:
        return request.answer(Reason.MALFORMED_MESSAGE, "eip712", detail={"problem": str(error)})
    if request.wallet.network and chain_id is not None and chain_id != request.wallet.network:
        return request.answer(Reason.WRONG_NETWORK, "eip712", detail={"chain_id": chain_id})
    return Question(digest, chain_id)


def verify_siwe(request: Request) -> Verification:
    """Sign-In-With-Ethereum: an EIP-4361 text signed with ``personal_sign``.

    1. the text parses, to the last byte (``siwe.parse_ethereum``);
    2. the address inside is this wallet, the chain id the one that the request names;
    3. every field in ``expect`` is the expected one (``domain``, ``nonce``, ``uri``, ``request_id`` …);
    4. at ``expect["time"]``, else ``now``: not expired (now < Expiration Time), not early (now >= Not Before);
    5. EIP-191 signature by the account (``decide``).

    The caller MUST expect its own domain and a nonce of its own that was not used before; EIP-4361 sets no greatest
    age.
    """
    return decide(request, "siwe", prepare_siwe(request))


def prepare_siwe(request: Request) -> Prepared:
    """Steps 1 to 4 of ``verify_siwe``."""
    try:  # 1
        message = siwe.parse_ethereum(request.message.decode("ascii"))
    except ValueError as error:
        return request.answer(Reason.MALFORMED_MESSAGE, "siwe", detail={"problem": str(error)})
    if message.address.lower() != request.wallet.canonical.lower():  # 2
        return request.answer(Reason.MESSAGE_MISMATCH, "siwe", detail={"field": "address"})
    if request.wallet.network and message.chain_id != request.wallet.network:
        return request.answer(Reason.WRONG_NETWORK, "siwe", detail={"chain_id": message.chain_id})
    if request.expect and (name := siwe.mismatch(message, request.expect)):  # 3
        return request.answer(Reason.EXPECTATION_FAILED, "siwe", detail={"field": name})
    if problem := siwe.time_problem(message, siwe.expected_now(request.expect, request.now)):  # 4
        return request.answer(Reason(problem), "siwe")
    return Question(personal_digest(request.message), message.chain_id)


PREPARE: Mapping[str, Callable[[Request], Prepared]] = {
    "eip191": prepare_eip191,
    "eip712": prepare_eip712,
    "siwe": prepare_siwe,
}


# --- ECDSA


def decide(request: Request, scheme: str, prepared: Prepared) -> Verification:
    """Did the key of this account sign the question?

    1. the signature is ``0x`` + hex (or bytes) of 65 bytes r ‖ s ‖ v with v of 0, 1, 27, 28, or of 64 bytes (EIP-2098);
    2. s is in the lower half of the order (EIP-2), r and s are in range;
    3. the last 20 bytes of keccak256(recovered key) are the account.

    Anything longer, or empty, can only be a contract wallet's: ``needs_chain_state``.
    """
    if isinstance(prepared, Verification):
        return prepared
    return _ecdsa(request, scheme, prepared.digest, prepared.detail)


def _ecdsa(request: Request, scheme: str, digest: bytes, detail: Mapping[str, Any]) -> Verification:
    """The steps of ``decide``."""
    try:
        signature = signature_bytes(request.signature, request.policy)  # 1
    except EncodingError:
        return request.answer(Reason.MALFORMED_SIGNATURE, scheme)
    if len(signature) not in (64, 65):
        # Safe's on-chain approval is empty; several owners, WebAuthn and ERC-6492 are longer than one ECDSA signature.
        shaped = not signature or len(signature) > 65 or signature.endswith(ERC6492_SUFFIX)
        contract = request.policy.contracts and shaped
        return request.answer(Reason.NEEDS_CHAIN_STATE if contract else Reason.MALFORMED_SIGNATURE, scheme)
    account = signer(digest, signature, request.policy)  # 2
    wallet = request.wallet
    if account != wallet.payload:  # 3
        reason = account if isinstance(account, Reason) else Reason.WRONG_SIGNER
        return request.answer(reason, scheme, method="ecdsa")
    chain, malleable = wallet.chain or wallet.family, request.policy.allow_high_s
    # In the order of the fields: naming them costs as much again as filling them.
    return Verification(_OK, scheme, "ecdsa", wallet.canonical, chain, None, malleable, (), detail)


def signature_bytes(signature: object, policy: Policy) -> bytes:
    """The bytes of a signature as wallets return it: ``0x`` and hex in either case.  ``EncodingError`` otherwise."""
    if isinstance(signature, str):
        if signature[:2] == "0x" or (policy.normalise and signature[:2] == "0X"):
            return hex_bytes(signature[2:])
        if policy.normalise and signature:
            return hex_bytes(signature)
    elif isinstance(signature, bytes):
        return signature
    raise EncodingError("neither bytes nor 0x and hex")


def signer(digest: bytes, signature: bytes, policy: Policy) -> bytes | Reason:
    """The 20-byte account that made a 64- or 65-byte signature over ``digest``, or the reason why there is none."""
    if len(signature) == 64:  # EIP-2098: the parity is the top bit of s
        parity: int | None = signature[32] >> 7
        compact = signature[:32] + bytes([signature[32] & 0x7F]) + signature[33:]
    else:
        v = signature[64]
        parity = _V.get(v)
        if parity is None and policy.normalise and v >= 35:
            parity = (v - 35) & 1  # EIP-155 v of a transaction, which some wallets also write here
        compact = signature[:64]
    if parity is None:
        return Reason.MALFORMED_SIGNATURE
    if not low_s(compact) and not policy.allow_high_s:
        return Reason.NON_CANONICAL
    key = recover(compact, parity, digest, compressed=False)
    return Reason.BAD_SIGNATURE if key is None else keccak256(key[1:])[12:]
