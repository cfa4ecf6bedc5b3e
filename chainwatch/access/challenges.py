"""Challenges of the door: issued without a store, recognised again from what they say.

The text that a wallet is to sign is a function of event, wallet, chain and the time it was issued at, and its nonce a
keyed hash of all of that.  So a join that brings only wallet, signature and timestamp finds its text again: there are
as many candidates as readings of the address (an EVM account is one on every chain).
"""

from collections.abc import Iterator

import msgspec

from chainwatch.access import deps as door
from chainwatch.access.deps import Deps
from chainwatch.access.message import AccessMessage, AccessReason, nonce_is_ours, wallet_on
from chainwatch.errors import Rejected
from chainwatch.verifiers.addresses import Wallet, detect_wallet

PURPOSE = "access nonce"
MAX_READINGS = 12
"""Readings of one address that are looked at: Ethereum and ten further EVM chains, or the few of other families."""


class Reading(msgspec.Struct, frozen=True):
    """An address as one chain reads it.  ``chain``: the name that the verifiers know it by."""

    chain: str
    wallet: Wallet


class Candidate(msgspec.Struct, frozen=True):
    """A text that may be the one that was signed."""

    message: AccessMessage
    reading: Reading


def readings(deps: Deps, address: str, chain: str | None = None) -> list[Reading]:
    """Every reading of ``address``, most likely first; only those on ``chain`` (code, name, CAIP-2), if one is named.

    An EVM account is read on Ethereum first, then on every configured EVM chain.
    """
    if chain is not None:
        context = deps.contexts.get(chain)
        name = f"eip155:{context.spec.chain_id}" if context and context.spec.family == "evm" else chain
        wallet = wallet_on(name, address)
        return [] if wallet is None else [Reading(name, _with_network(wallet))]
    return list(_readings(deps, address))[:MAX_READINGS]


def _readings(deps: Deps, address: str) -> Iterator[Reading]:
    for found in detect_wallet(address):
        if found.family != "evm":
            if (wallet := wallet_on(found.chain or found.family, address)) is not None:
                yield Reading(found.chain or found.family, wallet)
            continue
        ids = [found.network] if found.network else ["1", *(s.chain_id for s in door.evm_specs(deps))]
        for chain_id in dict.fromkeys(ids):
            name = f"eip155:{chain_id}"
            if (wallet := wallet_on(name, address)) is not None:
                yield Reading(name, wallet)


def _with_network(wallet: Wallet) -> Wallet:
    """An EVM account on no chain in particular (``evm``) is read on Ethereum."""
    if wallet.family != "evm" or wallet.network:
        return wallet
    return wallet_on("eip155:1", wallet.canonical) or wallet


def issue(deps: Deps, event: str, address: str, chain: str | None = None, *, line: bool = False) -> AccessMessage:
    """The challenge for a wallet at an event, now.  ``Rejected('bad_wallet')``."""
    reading = next(iter(readings(deps, address, chain)), None)
    if reading is None:
        raise Rejected("bad_wallet", "no such wallet on this chain")
    return _issued(deps, event, reading, deps.now_ms(), line=line)


def _issued(deps: Deps, event: str, reading: Reading, issued_ms: int, *, line: bool = False) -> AccessMessage:
    return AccessMessage.issue(
        deps.issuer.secret(PURPOSE),
        domain=door.domain(deps),
        uri=door.uri(deps),
        event=event,
        chain=_chain_of(reading),
        address=reading.wallet.canonical,
        issued_ms=issued_ms,
        ttl_ms=door.window_ms(deps),
        form="line" if line else "sign-in",
    )


def _chain_of(reading: Reading) -> str:
    return "EVM" if reading.chain == "evm" else reading.chain


def recognise(
    deps: Deps, text: str, *, event: str, address: str, timestamp_ms: int | None, classic: bool, now_ms: int
) -> Candidate | AccessReason:
    """Read a text that came with its signature: the text and whose it is, or the first reason why it does not count.

    Everything but the signature and the use of the nonce is judged here.
    """
    try:
        message = AccessMessage.parse(text)
    except Rejected as error:
        return AccessReason(error.code)
    policy = door.text_policy(deps, classic=classic)
    refusals: list[AccessReason] = []
    found = readings(deps, address)
    if message.chain_id is not None and any(r.wallet.family == "evm" for r in found):
        found = readings(deps, address, f"eip155:{message.chain_id}")  # the text says which one of its chains it is
    for reading in found:
        chain = _chain_of(reading)
        reason = message.check(
            policy, event=event, chain=chain, address=address, now_ms=now_ms, timestamp_ms=timestamp_ms
        )
        if reason is AccessReason.OK and not message.is_classic:
            reason = _ours(deps, message, reading)
        if reason is AccessReason.OK:
            return Candidate(message, reading)
        refusals.append(reason)
    if not refusals:
        return AccessReason.WALLET
    # Of several readings the one that came furthest tells most.
    return next((r for r in refusals if r not in (AccessReason.WALLET, AccessReason.CHAIN_ID)), refusals[0])


def _ours(deps: Deps, message: AccessMessage, reading: Reading) -> AccessReason:
    """Did we issue this text to this wallet, on the chain that it names?"""
    wallet = reading.wallet
    if wallet.family == "evm" and message.chain_id not in (None, wallet.network):
        return AccessReason.CHAIN_ID
    key = deps.issuer.secret(PURPOSE)
    ours = nonce_is_ours(key, message, chain=_chain_of(reading), address=wallet.canonical)
    return AccessReason.OK if ours else AccessReason.UNKNOWN_NONCE


def candidates(
    deps: Deps, *, event: str, address: str, timestamp_ms: int, classic: bool, now_ms: int
) -> list[Candidate] | AccessReason:
    """The texts that a signature with only a timestamp may be over: our challenge of then, and the classic ones.

    Or the reason why none of them can count now.
    """
    policy = door.text_policy(deps, classic=classic)
    found = readings(deps, address)
    if not found:
        return AccessReason.WALLET
    try:
        texts = [
            Candidate(_issued(deps, event, reading, timestamp_ms, line=line), reading)
            for line in (False, True)
            for reading in found
        ]
        if classic:
            texts += [
                Candidate(AccessMessage.classic(event, timestamp_ms, short=short), reading)
                for short in (False, True)
                for reading in _one_of_each_family(found)
            ]
    except Rejected:  # no time of thirteen digits
        return AccessReason.MALFORMED
    reasons = [text.message.check_time(policy, now_ms) for text in texts]
    in_time = [text for text, reason in zip(texts, reasons, strict=True) if reason is AccessReason.OK]
    return in_time or reasons[0]


def _one_of_each_family(found: list[Reading]) -> list[Reading]:
    """A classic text names no chain: one reading of each family (and of each relative of Bitcoin) is enough."""
    return list(
        {(r.wallet.family, r.wallet.chain if r.wallet.family == "bitcoin" else ""): r for r in found[::-1]}.values()
    )
