"""Is it this wallet's signature: in worker threads, with the chain asked where the answer stands on one.

Contract wallets are one chain's: who made one elsewhere at the same address is somebody else.  So the caller names the
chains on which a contract counts (where the purchase was bound, or where it was paid), and the text names the one that
is asked.  A key's signature counts on every EVM chain.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from chainwatch.access.deps import Deps, chain_code
from chainwatch.verifiers import Policy, Reason, Status, Unavailable, Verification, averify, verify
from chainwatch.verifiers.addresses import Wallet
from chainwatch.verifiers.erc1271 import CONTRACT_MAY_DIFFER

VERIFY = Policy(require_signature_check=True, allow_timelocks=False)
"""Strict: no script that anybody can satisfy, no lock times that nobody compares with a chain."""
WORKERS = 2
"""Threads that verify: the libraries let the interpreter go while they compute, and there are few cores."""
_pool = ThreadPoolExecutor(WORKERS, "verify")

Chains = Collection[str] | Callable[[], Awaitable[Collection[str]]]
"""Codes of chains; or how to find them, asked only when a contract may have signed."""

Signature = str | Sequence[Any]
"""As wallets give it: text, a list of 64 numbers (Solana), a list of texts (Hive, several keys)."""


async def verified(
    deps: Deps,
    *,
    wallet: Wallet,
    chain: str,
    text: str,
    signature: Signature,
    chain_id: str | None = None,
    contract_chains: Chains = (),
) -> Verification:
    """Return the verifiers' answer; counted in the metrics.

    ``wallet``: the address as ``chain`` reads it.  ``chain_id``: the EIP-155 number in the text; a contract wallet is
    asked on that chain, if it is one of ``contract_chains`` (codes).
    """
    began = time.perf_counter()
    arguments: dict[str, Any] = {"address": wallet.canonical, "message": text, "signature": signature, "chain": chain}
    arguments |= {"now": deps.now_ms(), "policy": VERIFY}
    if wallet.family == "hive":
        answer = await _hive(deps, wallet, arguments)
    else:
        answer = await _in_thread(arguments)
        if wallet.family == "evm" and not answer and chain_id is not None:
            answer = await _contract(deps, answer, arguments, chain_id, contract_chains)
    deps.metrics.verified(answer.scheme, answer.status, time.perf_counter() - began)
    return answer


async def _in_thread(arguments: dict[str, Any]) -> Verification:
    return await asyncio.get_running_loop().run_in_executor(_pool, partial(verify, **arguments))


async def _hive(deps: Deps, wallet: Wallet, arguments: dict[str, Any]) -> Verification:
    """Who may sign for an account stands on the chain, and is asked each time."""
    resolver = deps.resolver("HIVE")
    if resolver is None:
        return await _in_thread(arguments)
    try:
        accounts = list(await resolver.hive_accounts([wallet.canonical]))
    except Unavailable:
        return Verification(Reason.NODE_UNREACHABLE, "hive-buffer", address=wallet.canonical, chain="HIVE")
    return await _in_thread(arguments | {"authorities": accounts})


async def _contract(
    deps: Deps, first: Verification, arguments: dict[str, Any], chain_id: str, allowed: Chains
) -> Verification:
    """Ask the contract, where a contract may have signed and its chain is one that counts."""
    code = chain_code(deps, chain_id)
    if code is None or first.reason not in CONTRACT_MAY_DIFFER:
        return first
    resolver = deps.resolver(code) if code in (await allowed() if callable(allowed) else allowed) else None
    if resolver is None:
        return first
    arguments = arguments | {"chain": f"eip155:{chain_id}"}
    return await averify(**arguments, resolver=resolver)


def refusal(answer: Verification) -> str:
    """The reason of a decision for an answer that is no: try again, not possible here, or no."""
    if answer.status is Status.UNAVAILABLE:
        return "unavailable"
    if answer.reason is Reason.NEEDS_CHAIN_STATE:
        return "contract_chain" if answer.chain not in ("HIVE", "hive") else "unavailable"
    if answer.status in (Status.UNSUPPORTED, Status.INCONCLUSIVE):
        return "unsupported_signature"
    return "bad_signature"
