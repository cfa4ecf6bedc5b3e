"""``chainwatch verify``: one JSON row in, one JSON row out.

A row is ``{"id", "chain", "address", "message" or "message_hex", "signature", "scheme"?, "extra"?}``.  ``extra``
carries what a scheme needs besides: ``typed_data``; ``accounts``, ``role``, ``allow_higher_authority``,
``follow_account_auths`` (Hive), ``app`` (HiveSigner); ``tx_base64`` (a Solana memo transaction), ``preimage``
(the bytes of an off-chain message); ``allow_v1``, ``allow_view_key`` (Monero); ``key`` (CIP-30), ``pubkey`` (CIP-8);
``expect`` and ``now`` (sign-in texts); ``rpc`` (recorded chain answers).  The answer has the same ``id`` and
``valid``, ``status``, ``scheme``, ``reason``.  No I/O: a chain is asked through the recorded answers only.
"""

import json
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from chainwatch.verifiers import averify
from chainwatch.verifiers.chains import parse_chain
from chainwatch.verifiers.encodings import EncodingError, hex_bytes
from chainwatch.verifiers.recorded import RecordedChain
from chainwatch.verifiers.result import Policy, Reason, Verification

MAX_ROW = 4 * 1024 * 1024
"""Bytes of one line: the largest recorded row holds a few contracts' code, some 100 kB."""

_POLICIES = {
    "allow_v1": "unsafe_allow_v1",
    "allow_view_key": "unsafe_allow_view_key",
    "follow_account_auths": "unsafe_follow_account_auths",
    "allow_higher_authority": "allow_higher_authority",
}
"""What a row may loosen (``extra``), and the policy's name for it."""

_EXPECTED = (("app", "app", "hivesigner-token"), ("preimage", "signed_message", "solana-offchain"))
"""What a row may expect beside ``expect``: key in ``extra``, in ``expect``, and how the schemes begin that read it."""


def read_lines(source: BinaryIO) -> Iterator[bytes]:
    """The lines of a file; of one longer than a row may be only the beginning, which is then no row."""
    while line := source.readline(MAX_ROW + 1):
        yield line
        while len(line) > MAX_ROW and not line.endswith(b"\n"):
            line = source.readline(MAX_ROW + 1)


def answer_lines(lines: Iterable[str | bytes]) -> Iterator[str]:
    """One line of JSON for each line that is not blank; a line that is no row is answered as malformed."""
    for line in lines:
        if line.strip():
            yield json.dumps(_answer_line(line))


def _answer_line(line: str | bytes) -> dict[str, Any]:
    try:
        row = json.loads(line) if len(line) <= MAX_ROW else None
    except (ValueError, RecursionError):
        row = None
    return answer_row(row)


def answer_row(row: object) -> dict[str, Any]:
    """The answer to one row, as the command line writes it."""
    given: Mapping[str, Any] = row if isinstance(row, Mapping) else {}
    result = verify_row(given)
    identity = given.get("id")
    return {
        "id": identity if isinstance(identity, str | int | None) else None,
        "valid": result.ok,
        "status": str(result.status),
        "scheme": result.scheme,
        "reason": str(result.reason),
    }


def verify_row(row: Mapping[str, Any]) -> Verification:
    """The verification that a row asks for.

    1. ``message`` is text, ``message_hex`` bytes.
    2. The signature may stand beside its key (CIP-30), or be a transaction of its own (``tx_base64``).
    3. ``extra`` becomes arguments and named loosenings; nothing is loosened that the row does not name.
    4. Recorded answers are the chain; without any, schemes that need a chain say so.
    """
    extra = row.get("extra")
    if extra is None:
        extra = {}
    if not isinstance(extra, Mapping):
        return Verification(Reason.MALFORMED_REQUEST, detail={"what": "extra"})
    # 1. message
    message = row.get("message")
    digits = row.get("message_hex")
    if message is None and digits is not None:
        try:
            message = hex_bytes(digits if isinstance(digits, str) else "no text")
        except EncodingError:
            return Verification(Reason.MALFORMED_MESSAGE, detail={"what": "message_hex"})
    # 2. signature
    signature = row.get("signature")
    if isinstance(extra.get("key"), str) and isinstance(signature, str) and _is_cardano(row.get("chain")):
        signature = [signature, extra["key"]]
    if signature is None and isinstance(extra.get("tx_base64"), str):
        signature = extra["tx_base64"]
    # 3. arguments
    expect = extra.get("expect")
    named = row.get("scheme")
    for key, name, scheme in _EXPECTED:
        if isinstance(extra.get(key), str) and (not isinstance(named, str) or named.startswith(scheme)):
            expect = {**(expect if isinstance(expect, Mapping) else {}), name: extra[key]}
    authorities = extra.get("accounts")
    if authorities is None and isinstance(extra.get("pubkey"), str):
        authorities = {"pubkey": extra["pubkey"]}
    loosened = {name: True for key, name in _POLICIES.items() if extra.get(key) is True}
    # 4. chain
    return _run(
        averify(
            address=row.get("address"),  # type: ignore[arg-type]  # whatever it is, it is answered
            message=message,
            signature=signature,
            resolver=_recorded(row, extra),
            chain=row.get("chain"),
            scheme=named,
            typed_data=extra.get("typed_data"),
            authorities=authorities,
            role="posting" if extra.get("role") is None else extra["role"],
            expect=expect,
            now=extra.get("now"),
            policy=Policy(**loosened),  # type: ignore[arg-type]
        )
    )


def _is_cardano(chain: object) -> bool:
    parsed = parse_chain(chain)
    return parsed is not None and parsed.family == "cardano"


def _recorded(row: Mapping[str, Any], extra: Mapping[str, Any]) -> RecordedChain | None:
    """The row's recorded answers as a resolver; None when it brings none, and needs none."""
    records = extra.get("rpc", [] if extra.get("needs_rpc") else None)
    if not isinstance(records, list):
        return None
    parsed = parse_chain(row.get("chain"))
    return RecordedChain(records, chain_id=(parsed.reference or None) if parsed else None)


def _run(question: Coroutine[Any, Any, Verification]) -> Verification:
    """Drive a coroutine that never waits: recorded answers are there at once, so no event loop is needed."""
    try:
        question.send(None)
    except StopIteration as done:
        answer: Verification = done.value
        return answer
    question.close()
    raise RuntimeError("recorded answers do not wait")
