"""BIP-322 generic signed messages, version 2.0.0: simple, full and legacy; proof of funds is unsupported.

A message becomes a virtual output of the wallet's script (``to_spend``); a signature is what spends it (``to_sign``).
Neither transaction can ever be broadcast.
"""

from hashlib import sha256

from chainwatch.verifiers import curves, engine, scripts
from chainwatch.verifiers.addresses import Wallet
from chainwatch.verifiers.bitcoin import verify_compact
from chainwatch.verifiers.encodings import EncodingError, base64_bytes, compact_size
from chainwatch.verifiers.result import Reason, Request, Verification
from chainwatch.verifiers.scripts import Refusal, Spend
from chainwatch.verifiers.transactions import Input, Transaction, parse_transaction, parse_witness

_TAG = sha256(b"BIP0322-signed-message").digest() * 2
_OUTPUTS = ((0, b"\x6a"),)
"""The one output of every ``to_sign``: nothing, to OP_RETURN."""
_VERSIONS = (0, 2)


def message_hash(message: bytes) -> bytes:
    """BIP-340 tagged hash of the message; no magic, no length."""
    return sha256(_TAG + message).digest()


def to_spend_outpoint(message: bytes, script_pubkey: bytes) -> bytes:
    """Output 0 of ``to_spend``: its txid, which holds message and script, and the number."""
    return (
        curves.sha256d(
            b"\x00\x00\x00\x00\x01"  # version 0, one input
            + bytes(32)
            + b"\xff\xff\xff\xff\x22\x00\x20"  # no output number; scriptSig of 34 bytes: OP_0, push of 32
            + message_hash(message)
            + b"\x00\x00\x00\x00\x01"  # sequence 0, one output
            + bytes(8)
            + compact_size(len(script_pubkey))
            + script_pubkey
            + b"\x00\x00\x00\x00"  # lock time 0
        )
        + b"\x00\x00\x00\x00"
    )


def verify_simple(request: Request) -> Verification:
    """BIP-322 simple: the witness stack alone.

    1. The signature is canonical base64, with the prefix ``smp`` or with none, of one witness stack.
    2. The address is native segwit; P2SH-P2WPKH passes by policy (``allow_lenient_p2sh``) and is warned of.
    3. ``to_spend`` is built of message and script; ``to_sign`` spends it with version, lock time and sequence 0.
    4. The witness satisfies the script under the required rules: SIGHASH_ALL (taproot: or DEFAULT), strict DER, low S,
       clean stack, minimal data, no failed signature; the key or script must hash to the address.
    5. A script that nobody's signature satisfied is refused by policy (``require_signature_check``), else warned of.

    The network is not signed: the caller MUST compare ``Wallet.network`` with the one it expects.
    Source: BIP-322 v2.0.0, "Signing" and "Verification process".
    """
    scheme = "bip322-simple"
    # 1. decode
    body = _decode(request.signature, "smp")
    try:
        witness = parse_witness(base64_bytes(body)) if body is not None else None
    except EncodingError as error:
        return request.answer(Reason.MALFORMED_SIGNATURE, scheme, detail={"what": str(error)})
    if witness is None or (not witness and request.wallet.kind != "witness_unknown"):  # an anchor takes an empty one
        return request.answer(Reason.MALFORMED_SIGNATURE, scheme, detail={"what": "no witness stack"})
    # 2. address
    wallet, script_sig = request.wallet, b""
    warnings: tuple[str, ...] = ()
    if wallet.witness_version is None:
        if wallet.kind != "p2sh" or not request.policy.allow_lenient_p2sh or len(witness) != 2:
            return request.answer(Reason.WRONG_ADDRESS_TYPE, scheme, detail={"type": wallet.kind})
        script_sig = scripts.push(b"\x00\x14" + curves.hash160(witness[1]))
        warnings = ("lenient_p2sh",)
    # 3. the virtual transactions
    outpoint = to_spend_outpoint(request.message, scripts.script_pubkey(wallet))
    tx = Transaction(0, (Input(outpoint, script_sig, 0, witness),), _OUTPUTS)
    # 4. and 5.
    return _judge(request, scheme, tx, f"smp{body}", warnings)


def verify_full(request: Request) -> Verification:
    """BIP-322 full: the whole of ``to_sign``, judged as it was sent, not rebuilt.

    1. The signature is the prefix ``ful`` (by policy ``allow_unprefixed_full``: or none) and canonical base64 of one
       transaction, with nothing after it.
    2. Its first input spends output 0 of ``to_spend``; there is no other (more are a proof of funds).
    3. Its one output pays 0 to a bare OP_RETURN.
    4. The script is satisfied under the required rules, as for simple.
    5. A script that nobody's signature satisfied is refused by policy, else warned of.
    6. The upgradeable rule: a version other than 0 and 2 is inconclusive.
    7. Lock time T and sequence S are reported in ``detail``; by policy (``allow_timelocks``) they must be 0.

    With the warning ``timelock`` it is valid at time T and age S only: the caller MUST compare both with the chain.
    Source: BIP-322 v2.0.0, "Full" and "Verification process".
    """
    scheme = "bip322-full"
    # 1. decode
    body = _decode(request.signature, "ful", bare=request.policy.allow_unprefixed_full)
    try:
        tx = parse_transaction(base64_bytes(body)) if body is not None else None
    except EncodingError as error:
        return request.answer(Reason.MALFORMED_SIGNATURE, scheme, detail={"what": str(error)})
    if tx is None or not tx.inputs:
        return request.answer(Reason.MALFORMED_SIGNATURE, scheme, detail={"what": "no full signature"})
    # 2. input
    if tx.inputs[0].outpoint != to_spend_outpoint(request.message, scripts.script_pubkey(request.wallet)):
        return request.answer(Reason.WRONG_SIGNER, scheme, detail={"what": "of another message or address"})
    if len(tx.inputs) > 1:
        return request.answer(Reason.NEEDS_CHAIN_STATE, scheme, detail={"what": "proof of funds"})
    # 3. output
    if tx.outputs != _OUTPUTS:
        return request.answer(Reason.RULE_VIOLATED, scheme, detail={"what": "outputs"})
    # 4. to 7.
    return _judge(request, scheme, tx, f"ful{body}", ())


def verify_legacy(request: Request) -> Verification:
    """BIP-322's legacy form: BIP-137's compact signature, for P2PKH alone.

    1. The address is P2PKH.
    2. The steps of ``chainwatch.verifiers.bitcoin.verify_bip137``, which see for what the caller MUST do.
    """
    # 1. address
    if request.wallet.kind != "p2pkh":
        return request.answer(Reason.WRONG_ADDRESS_TYPE, "bip322-legacy", detail={"type": request.wallet.kind})
    # 2. compact signature
    return verify_compact(request, "bip322-legacy")


def verify_pof(request: Request) -> Verification:
    """BIP-322 proof of funds: unsupported, because it speaks of outputs that only the chain knows.

    1. Whatever is signed, the answer is ``unsupported``: the caller MUST NOT take it for valid or invalid.
    """
    # 1. answer
    return request.answer(Reason.UNSUPPORTED, "bip322-pof", detail={"what": "proof of funds"})


def _decode(signature: object, prefix: str, *, bare: bool = True) -> str | None:
    """The base64 after the prefix, which may be absent when ``bare``; None when the form is another."""
    if isinstance(signature, bytes):
        signature = signature.decode("latin-1")
    if not isinstance(signature, str) or not signature:
        return None
    if signature.startswith(prefix):
        return signature[3:]
    return signature if bare and signature[:3] not in ("smp", "ful", "pof") else None


def _judge(request: Request, scheme: str, tx: Transaction, encoded: str, warnings: tuple[str, ...]) -> Verification:
    """The script, then what policy and the upgradeable rules say of the transaction."""
    wallet, policy = request.wallet, request.policy
    if wallet.chain != "BTC":
        return request.answer(Reason.UNSUPPORTED, scheme, detail={"what": "BIP-322 is Bitcoin's"})
    try:
        found = _spend(request, tx, encoded)
    except Refusal as refusal:
        return request.answer(refusal.reason, scheme, detail={"what": str(refusal)})
    warnings += found.warnings
    lock_time, sequence = tx.lock_time, tx.inputs[0].sequence
    reason = Reason.OK
    if "anyone_can_spend" in warnings and policy.require_signature_check:
        reason = Reason.POLICY
    elif tx.version not in _VERSIONS:
        reason = Reason.UPGRADEABLE_RULE
    elif lock_time or sequence:
        warnings += ("timelock",)
        reason = Reason.OK if policy.allow_timelocks else Reason.POLICY
    return Verification(
        reason,
        scheme,
        found.method,
        wallet.canonical,
        wallet.chain,
        found.keys[0].hex() if len(found.keys) == 1 else None,
        warnings=warnings,
        detail={
            "network": wallet.network,
            "keys": [key.hex() for key in found.keys],
            "lock_time": lock_time,
            "sequence": sequence,
        },
    )


def _spend(request: Request, tx: Transaction, encoded: str) -> Spend:
    """By template, or by the interpreter for any other script."""
    try:
        return scripts.spend(tx, request.wallet)
    except Refusal as refusal:
        if refusal.reason is not Reason.UNKNOWN_SCRIPT:
            raise
    return engine.interpret(request.wallet.canonical, request.message, encoded, _revealed(tx, request.wallet))


def _revealed(tx: Transaction, wallet: Wallet) -> bytes:
    """The script that the spend reveals: of P2WSH and P2SH the last element, of taproot the one before it."""
    item = tx.inputs[0]
    if not item.witness:
        return scripts.pushes(item.script_sig)[-1]
    return item.witness[-2] if wallet.kind == "p2tr" else item.witness[-1]
