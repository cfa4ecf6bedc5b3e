"""Tron: ``signMessageV2`` of TronLink, EVM's ``personal_sign`` with another prefix and another address form."""

from chainwatch.verifiers.ethereum import Question, decide, personal_digest
from chainwatch.verifiers.result import Reason, Request, Verification

TIP191_PREFIX = b"\x19TRON Signed Message:\n"


def choose(_: Request) -> tuple[str, ...]:
    """Version 2 only: version 1 hashed with a fixed length of 32, so that texts could be exchanged for digests."""
    return ("tron-v2",)


def verify_v2(request: Request) -> Verification:
    """TIP-191.

    1. digest = keccak256(0x19 "TRON Signed Message:\\n" ‖ length in bytes ‖ message);
    2. recover the account, low-S and v as in EIP-191, and compare with the 20 bytes behind the prefix 0x41;
    3. Tron has no contract wallets that this library could ask: other lengths are malformed.
    """
    answer = decide(request, "tron-v2", Question(personal_digest(request.message, TIP191_PREFIX)))  # 1, 2
    if answer.reason is Reason.NEEDS_CHAIN_STATE:  # 3
        return request.answer(Reason.MALFORMED_SIGNATURE, "tron-v2")
    return answer
