"""A request that the wallet itself signs: my tickets, a refund's destination, erasure, a purchase that surely holds.

The wallet signs a text that says everything: our domain, what for (``purpose``), each value of the request, the wallet,
and until when.  EIP-4361's shape on every chain, so that wallets compare the domain::

    tickets.example wants you to sign in with your Ethereum account:
    0x791A…

    Request refund-claim: amount=0.05 destination=0x52908… refund=17

    URI: https://tickets.example/refund-claim
    Version: 1
    Chain ID: 1
    Nonce: k3J9xQ2mZ7aBcDeFgHiJkL
    Issued At: 2024-11-20T00:00:00.000Z
    Expiration Time: 2024-11-20T00:05:00.000Z
    Request ID: refund-claim

How to use it in a handler::

    text = signed.challenge(deps, "refund-claim", wallet=w, values={"refund": "17", "destination": d}).message
    …
    checked = await signed.check(deps, "refund-claim", wallet=w, message=m, signature=s, values={…the request's own…})
    if not checked: raise checked.rejected()          # or: checked = await signed.require(…), which raises
    # in the transaction that does what was asked:
    signed.consume(connection, checked)               # Rejected('replayed') when the text was used before

``values`` are those of the request that is about to be done: a text over other values does not fit.  They are single
words (``VALUE``): ids, amounts, addresses, hashes.  Nothing is stored before a text is used: the nonce is a keyed hash
of all that the text says.  A text of one purpose is none of another, an access text (``Access event …``) is none of
these, and these open no door.  A contract wallet is one chain's: ``Checked.contract_chain`` says which, and the caller
MUST do nothing about money or tickets of another chain (or pass ``contract_chains``).
"""

import re
from collections.abc import Collection, Mapping

import msgspec
from sqlalchemy import Connection

from chainwatch.access import deps as door
from chainwatch.access import nonces, signatures
from chainwatch.access.challenges import readings
from chainwatch.access.deps import Deps
from chainwatch.access.nonce import nonce_of
from chainwatch.access.signatures import Signature
from chainwatch.access.wording import chain_id_of, time_ms, time_text, words_of
from chainwatch.errors import Rejected
from chainwatch.verifiers.addresses import Wallet

PURPOSE = re.compile(r"[a-z][a-z-]{2,31}", re.ASCII)
KEY = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
VALUE = re.compile(r"[A-Za-z0-9._~:/@+*-]{1,256}", re.ASCII)
"""One word, of what EIP-4361 lets a statement hold and no wallet rewrites."""
MAX_VALUES = 16
"""Values of one request: what a person can still read before signing."""
MAX_TEXT = 8_192
"""Characters: sixteen values of 256 and their names, and the fixed lines."""

_FIELDS = re.compile(
    r"\nChain ID: (?P<chain_id>[A-Za-z0-9_-]{1,64})\nNonce: (?P<nonce>[A-Za-z0-9]{16,64})\n"
    r"Issued At: (?P<issued>[0-9T:.Z-]{24})\nExpiration Time: (?P<expires>[0-9T:.Z-]{24})\n",
    re.ASCII,
)


REFUSALS = (
    *("malformed", "expired", "future", "unknown_nonce", "bad_signature", "unsupported_signature", "contract_chain"),
    *("unavailable", "replayed"),
)
"""Every code with which a signed request may be refused: the ``reason`` of ``Checked``, and that of ``consume``."""


class Challenge(msgspec.Struct, frozen=True):
    """A text to sign."""

    message: str
    nonce: str
    expires_ms: int


class Checked(msgspec.Struct, frozen=True):
    """The answer: true when the wallet asked for exactly this, now.

    ``reason``: ``ok``; ``malformed`` (no such text for this request), ``expired``, ``future``, ``unknown_nonce`` (not
    issued by us), ``bad_signature``, ``contract_chain``, ``unsupported_signature``, ``unavailable`` (ask again: the
    chain did not answer).  ``wallet``: the canonical form.  ``contract_chain``: the code of the chain whose contract
    signed; None: a key of the wallet did.
    """

    reason: str
    wallet: str = ""
    contract_chain: str | None = None
    key: str = ""
    expires_ms: int = 0

    def __bool__(self) -> bool:
        return self.reason == "ok"

    def rejected(self) -> Rejected:
        """The refusal, as an error to raise."""
        return Rejected(self.reason, _TEXTS.get(self.reason, "the signature does not count"))


_TEXTS: Mapping[str, str] = {
    "malformed": "the signed text is not the one for this request",
    "expired": "the signed text is over: ask for a new one",
    "unknown_nonce": "the signed text was not issued by us",
    "bad_signature": "the signature is not by this wallet",
    "contract_chain": "a contract wallet counts only on the chain that its purchase is bound to",
    "unavailable": "the chain that knows the wallet does not answer: try again",
}


def text(
    purpose: str,
    domain: str,
    uri: str,
    wallet: Wallet,
    values: Mapping[str, str],
    *,
    nonce: str,
    issued_ms: int,
    expires_ms: int,
) -> str:
    """The exact text for ``wallet`` (an address as its chain reads it).  ``Rejected`` for what it cannot say."""
    if not PURPOSE.fullmatch(purpose):
        raise Rejected("malformed", "not a purpose")
    if len(values) > MAX_VALUES or not all(KEY.fullmatch(k) and VALUE.fullmatch(v) for k, v in values.items()):
        raise Rejected("malformed", "a value that a signed text cannot say")
    said = " ".join(f"{k}={values[k]}" for k in sorted(values))
    return (
        f"{domain} wants you to sign in with your {words_of(wallet)[0]} account:\n"
        f"{wallet.canonical.removeprefix('bitcoincash:')}\n\n"
        f"Request {purpose}{': ' + said if said else ''}\n\n"
        f"URI: {uri}\nVersion: 1\nChain ID: {chain_id_of(wallet)}\nNonce: {nonce}\n"
        f"Issued At: {time_text(issued_ms)}\nExpiration Time: {time_text(expires_ms)}\n"
        f"Request ID: {purpose}"
    )


def challenge(
    deps: Deps, purpose: str, *, wallet: str, values: Mapping[str, str], chain: str | None = None
) -> Challenge:
    """Issue a text for ``wallet`` to sign.  ``chain`` (code or CAIP-2) where an address is of several, or a contract
    wallet's EVM chain; else the first that accepts the address (Ethereum for EVM).  ``Rejected('bad_wallet')``.
    """
    reading = next(iter(readings(deps, wallet, chain)), None)
    if reading is None:
        raise Rejected("bad_wallet", "no such wallet on this chain")
    issued_ms = deps.now_ms()
    expires_ms = issued_ms + door.window_ms(deps)
    return _challenge(deps, purpose, reading.wallet, values, issued_ms, expires_ms)


def _challenge(
    deps: Deps, purpose: str, wallet: Wallet, values: Mapping[str, str], issued_ms: int, expires_ms: int
) -> Challenge:
    domain = door.domain(deps)
    said = [f"{k}={values[k]}" for k in sorted(values)]
    named = (purpose, domain, words_of(wallet)[1], wallet.network, wallet.canonical)
    bound: list[str | int] = [*named, issued_ms, expires_ms, *said]
    nonce = nonce_of(deps.issuer.secret("signed request nonce"), bound)
    message = text(
        purpose,
        domain,
        door.uri(deps, purpose),
        wallet,
        values,
        nonce=nonce,
        issued_ms=issued_ms,
        expires_ms=expires_ms,
    )
    return Challenge(message, nonce, expires_ms)


async def check(
    deps: Deps,
    purpose: str,
    *,
    wallet: str,
    message: str,
    signature: Signature,
    values: Mapping[str, str],
    chain: str | None = None,
    contract_chains: Collection[str] | None = None,
) -> Checked:
    """Did ``wallet`` sign our text for ``purpose`` over exactly ``values``, and is it in time?  Consumes nothing.

    ``contract_chains``: codes of the chains on which a contract wallet counts; None: any that is configured.
    """
    found = _FIELDS.search(message) if len(message) <= MAX_TEXT else None
    issued_ms, expires_ms = (time_ms(found["issued"]), time_ms(found["expires"])) if found else (None, None)
    if found is None or issued_ms is None or expires_ms is None:
        return Checked("malformed")
    now_ms = deps.now_ms()
    if not 0 < expires_ms - issued_ms <= door.MAX_TTL_MS:
        return Checked("malformed")
    if issued_ms > now_ms + door.MAX_SKEW_MS:
        return Checked("future")
    if now_ms >= expires_ms:
        return Checked("expired")
    reason = "malformed"
    for reading in readings(deps, wallet, chain):
        if chain_id_of(reading.wallet) != found["chain_id"]:
            continue
        try:
            ours = _challenge(deps, purpose, reading.wallet, values, issued_ms, expires_ms)
        except Rejected:
            return Checked("malformed")
        if ours.message != message:
            if ours.message.replace(ours.nonce, found["nonce"]) == message:
                reason = "unknown_nonce"
            continue
        evm = found["chain_id"] if reading.wallet.family == "evm" else None
        counted = list(deps.contexts) if contract_chains is None else contract_chains
        answer = await signatures.verified(
            deps,
            wallet=reading.wallet,
            chain=reading.chain,
            text=message,
            signature=signature,
            chain_id=evm,
            contract_chains=counted,
        )
        if not answer:
            return Checked(signatures.refusal(answer), reading.wallet.canonical)
        by_contract = evm is not None and answer.method not in (None, "ecdsa")
        return Checked(
            "ok",
            reading.wallet.canonical,
            door.chain_code(deps, evm or "") if by_contract else None,
            f"signed:{ours.nonce}",
            expires_ms,
        )
    return Checked(reason)


async def require(
    deps: Deps,
    purpose: str,
    *,
    wallet: str,
    message: str,
    signature: Signature,
    values: Mapping[str, str],
    chain: str | None = None,
    contract_chains: Collection[str] | None = None,
) -> Checked:
    """``check``; ``Rejected`` with its reason when the answer is no."""
    checked = await check(
        deps,
        purpose,
        wallet=wallet,
        message=message,
        signature=signature,
        values=values,
        chain=chain,
        contract_chains=contract_chains,
    )
    if not checked:
        raise checked.rejected()
    return checked


def consume(connection: Connection, checked: Checked) -> None:
    """Use the text up, in the transaction that does what it asked for.  ``Rejected('replayed')`` when it was used."""
    if not checked:
        raise checked.rejected()
    if not nonces.consume(connection, checked.key, checked.expires_ms):
        raise Rejected("replayed", "this signed text was used before: ask for a new one")
