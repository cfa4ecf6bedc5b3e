"""Challenges of the door: issued without a store, recognised again from what they say.

The text that a wallet is to sign is a function of event, wallet, chain and the time it was issued at, and its nonce a
keyed hash of all of that.  So a join that brings only wallet, signature and timestamp finds its text again: there are
as many candidates as readings of the address (an EVM account is one on every chain).
"""

import hmac
from collections.abc import Iterator

import msgspec

from chainwatch.access import deps as door
from chainwatch.access.deps import Deps
from chainwatch.access.message import AccessMessage, AccessReason
from chainwatch.access.nonce import wallet_nonce
from chainwatch.access.wording import read_wallet
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
        wallet = read_wallet(name, address)
        return [] if wallet is None else [Reading(name, _with_network(wallet))]
    return list(_readings(deps, address))[:MAX_READINGS]


def _readings(deps: Deps, address: str) -> Iterator[Reading]:
    for found in detect_wallet(address):
        if found.family != "evm":
            if (wallet := read_wallet(found.chain or found.family, address)) is not None:
                yield Reading(found.chain or found.family, wallet)
            continue
        ids = [found.network] if found.network else ["1", *(s.chain_id for s in door.evm_specs(deps))]
        for chain_id in dict.fromkeys(ids):
            name = f"eip155:{chain_id}"
            if (wallet := read_wallet(name, address)) is not None:
                yield Reading(name, wallet)


def _with_network(wallet: Wallet) -> Wallet:
    """An EVM account on no chain in particular (``evm``) is read on Ethereum."""
    if wallet.family != "evm" or wallet.network:
        return wallet
    return read_wallet("eip155:1", wallet.canonical) or wallet


def issue(deps: Deps, event: str, address: str, chain: str | None = None, *, line: bool = False) -> AccessMessage:
    """The challenge for a wallet at an event, now.  ``Rejected('bad_wallet')``."""
    reading = next(iter(readings(deps, address, chain)), None)
    if reading is None:
        raise Rejected("bad_wallet", "no such wallet on this chain")
    if line and reading.wallet not in [r.wallet for r in readings(deps, address)]:
        raise Rejected("bad_wallet", "the one-line text does not say its chain, and this is none that is looked for")
    issued_ms = deps.now_ms()
    return _made(deps, event, reading.wallet, issued_ms, issued_ms + door.window_ms(deps), line=line).checked()


def _made(
    deps: Deps, event: str, wallet: Wallet, issued_ms: int, expires_ms: int, *, line: bool = False
) -> AccessMessage:
    """The challenge with these times.  What comes from outside (event and times) is not looked at here."""
    domain = door.domain(deps)
    nonce = wallet_nonce(
        deps.issuer.secret(PURPOSE), wallet, domain=domain, event=event, issued_ms=issued_ms, expires_ms=expires_ms
    )
    return AccessMessage.written(
        wallet,
        domain=domain,
        uri=door.uri(deps),
        event=event,
        nonce=nonce,
        issued_ms=issued_ms,
        expires_ms=expires_ms,
        form="line" if line else "sign-in",
    )


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
    for reading in _readings_in(deps, message, address):
        reason = message.check(
            policy, event=event, chain=reading.chain, address=address, now_ms=now_ms, timestamp_ms=timestamp_ms
        )
        if reason is AccessReason.OK and not message.is_classic:
            reason = ours(deps, message, reading)
        if reason is AccessReason.OK:
            return Candidate(message, reading)
        refusals.append(reason)
    if not refusals:
        return AccessReason.WALLET
    # Of several readings the one that came furthest tells most.
    return next((r for r in refusals if r not in (AccessReason.WALLET, AccessReason.CHAIN_ID)), refusals[0])


def _readings_in(deps: Deps, message: AccessMessage, address: str) -> list[Reading]:
    """The readings that the text leaves: its chain id says which of its chains an EVM account is on."""
    if message.chain_id is not None and any(w.family == "evm" for w in detect_wallet(address)):
        return readings(deps, address, f"eip155:{message.chain_id}")
    return readings(deps, address)


def ours(deps: Deps, message: AccessMessage, reading: Reading) -> AccessReason:
    """Did we issue this very text to this wallet?  It is made again from its times and compared whole.

    Parsed messages are equal when their texts are, word for word; the nonce is compared in constant time.
    """
    wallet = reading.wallet
    if wallet.family == "evm" and message.chain_id not in (None, wallet.network):
        return AccessReason.CHAIN_ID
    line = message.form == "line"
    made = _made(deps, message.event, wallet, message.issued_ms, message.expires_ms or 0, line=line)
    same = hmac.compare_digest(made.nonce or "", message.nonce or "")
    return AccessReason.OK if same and made == message else AccessReason.UNKNOWN_NONCE


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
    try:  # event and time, all that is not ours in any of the texts
        classics = [AccessMessage.classic(event, timestamp_ms, short=short) for short in (False, True)]
    except Rejected:
        return AccessReason.MALFORMED
    expires_ms = timestamp_ms + door.window_ms(deps)
    texts = [
        Candidate(_made(deps, event, reading.wallet, timestamp_ms, expires_ms, line=line), reading)
        for line in (False, True)
        for reading in found
    ]
    if classic:
        texts += [Candidate(text, reading) for text in classics for reading in _one_of_each_family(found)]
    reasons = [text.message.check_time(policy, now_ms) for text in texts]
    in_time = [text for text, reason in zip(texts, reasons, strict=True) if reason is AccessReason.OK]
    return in_time or reasons[0]


def _one_of_each_family(found: list[Reading]) -> list[Reading]:
    """A classic text names no chain: one reading of each family (and of each relative of Bitcoin) is enough."""
    return list(
        {(r.wallet.family, r.wallet.chain if r.wallet.family == "bitcoin" else ""): r for r in found[::-1]}.values()
    )
