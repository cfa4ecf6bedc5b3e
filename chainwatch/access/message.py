"""What a wallet signs to come in: build it, parse it, check it.  Pure: no clock, no store, no signature.

Two forms of the same message.  The usual one has EIP-4361's shape for every chain (on EVM it *is* EIP-4361, on
Solana Sign-In-With-Solana), its statement line being the platform's classic text::

    tickets.example wants you to sign in with your Ethereum account:
    0x791A…

    Access event summit-24 at 1732060800000

    URI: https://tickets.example/access
    Version: 1
    Chain ID: 1
    Nonce: k3J9xQ2mZ7aBcDeFgHiJkL
    Issued At: 2024-11-20T00:00:00.000Z
    Expiration Time: 2024-11-20T00:05:00.000Z
    Request ID: summit-24

and one line, for Ledger's printable-ASCII format, memo transactions and tiny screens::

    Access event summit-24 at 1732060800000 | tickets.example | solana:7nY7…H6E | nonce k3J9…JkL | exp 1732061100000

The classic texts, ``Access event <id> at <ms>`` and ``Access <id> at <ms>``, bind neither domain nor wallet nor nonce;
whether they are accepted at all is ``AccessPolicy.classic``.  ``parse`` and ``render`` are inverse: one text a message.
"""

import hmac
import re
from dataclasses import dataclass
from typing import Literal, Self

from chainwatch.access.nonce import MIN_KEY, NONCE_LENGTH, derive_nonce
from chainwatch.access.wording import (
    NAMES,
    WORD_OF,
    AccessReason,
    chain_id_of,
    read_wallet,
    time_ms,
    time_text,
    words_of,
)
from chainwatch.errors import Misconfigured, Rejected
from chainwatch.verifiers.addresses import Wallet

__all__ = [
    "MAX_TEXT",
    "MIN_KEY",
    "NONCE_LENGTH",
    "AccessMessage",
    "AccessPolicy",
    "AccessReason",
    "Form",
    "derive_nonce",
    "nonce_is_ours",
]

MAX_TEXT = 1_024
"""Characters of an access text: domain 255, address 128, URI 255, event twice 64, and fixed words."""
Form = Literal["sign-in", "line", "classic", "classic-short"]


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """Ours: exact domain, URIs below ``uri_prefix`` (which ends with a slash), and how long a text lives
    (milliseconds).

    ``max_skew_ms`` is how far ahead of us the issuer's clock may be; at the end of a life there is no tolerance.
    """

    domain: str
    uri_prefix: str
    max_age_ms: int = 300_000
    max_skew_ms: int = 60_000
    max_ttl_ms: int = 900_000
    classic: bool = False

    def __post_init__(self) -> None:
        if not is_domain(self.domain):
            raise Misconfigured(f"access domain {self.domain!r}: not a host name with an optional port")
        if not is_uri_prefix(self.uri_prefix):
            raise Misconfigured(f"access URI prefix {self.uri_prefix!r}: an https URI that ends with a slash")


_EVENT = r"[A-Za-z0-9_-]{1,64}"
_TS = r"[1-9][0-9]{12}"
_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9.\-]{0,252}[a-z0-9])?(?::[1-9][0-9]{0,4})?", re.ASCII)
_ADDRESS = r"[A-Za-z0-9._:\-]{3,128}"
_URI = re.compile(r"https?://[A-Za-z0-9.\-]+(?::[0-9]{1,5})?/[A-Za-z0-9\-._~/]{0,200}", re.ASCII)


def is_domain(text: str) -> bool:
    """Is this a domain that an access text can name: a host name in lower case, with an optional port?"""
    return _DOMAIN.fullmatch(text) is not None


def is_uri_prefix(text: str) -> bool:
    """Is this a URI that ends with a slash, and that an access text can name what lies below?"""
    return text.endswith("/") and _URI.fullmatch(text) is not None


_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"
_NONCE = r"[A-Za-z0-9]{16,64}"
_SIGN_IN = re.compile(
    rf"(?P<domain>{_DOMAIN.pattern}) wants you to sign in with your (?P<word>[A-Z][A-Za-z ]{{2,15}}) account:\n"
    rf"(?P<address>{_ADDRESS})\n\n"
    rf"Access event (?P<event>{_EVENT}) at (?P<timestamp>{_TS})\n\n"
    rf"URI: (?P<uri>{_URI.pattern})\n"
    rf"Version: 1\n"
    rf"Chain ID: (?P<chain_id>[A-Za-z0-9\-_]{{1,64}})\n"
    rf"Nonce: (?P<nonce>{_NONCE})\n"
    rf"Issued At: (?P<issued>{_TIME})\n"
    rf"Expiration Time: (?P<expires>{_TIME})\n"
    rf"Request ID: (?P<request_id>{_EVENT})",
    re.ASCII,
)
_LINE = re.compile(
    rf"Access event (?P<event>{_EVENT}) at (?P<timestamp>{_TS}) \| (?P<domain>{_DOMAIN.pattern})"
    rf" \| (?P<name>[a-z0-9]{{3,16}}):(?P<address>{_ADDRESS})"
    rf" \| nonce (?P<nonce>{_NONCE}) \| exp (?P<expires>{_TS})",
    re.ASCII,
)
_CLASSIC = re.compile(rf"Access (?P<long>event )?(?P<event>{_EVENT}) at (?P<timestamp>{_TS})", re.ASCII)


@dataclass(frozen=True, slots=True)
class AccessMessage:
    """One access text.  Times are Unix milliseconds; ``word`` is the chain's word (``Ethereum``), ``address`` as
    written.

    The one-line form has neither ``uri`` nor ``chain_id``; classic texts have only ``event`` and ``issued_ms``.
    """

    form: Form
    event: str
    issued_ms: int
    domain: str | None = None
    word: str | None = None
    address: str | None = None
    uri: str | None = None
    chain_id: str | None = None
    nonce: str | None = None
    expires_ms: int | None = None

    # --- build

    @classmethod
    def build(
        cls,
        *,
        domain: str,
        uri: str,
        event: str,
        chain: str,
        address: str,
        nonce: str,
        issued_ms: int,
        ttl_ms: int = 300_000,
        form: Literal["sign-in", "line"] = "sign-in",
    ) -> Self:
        """The message that ``address`` on ``chain`` (code, name or CAIP-2) is to sign.  ``Rejected`` when a part does
        not fit.

        The address is written in its canonical form.  Nothing that a text could not say exactly is accepted, least of
        all a line break.
        """
        wallet = read_wallet(chain, address)
        if wallet is None:
            raise Rejected(AccessReason.WALLET, "no such wallet on this chain")
        expires_ms = issued_ms + ttl_ms
        return cls.written(
            wallet,
            domain=domain,
            uri=uri,
            event=event,
            nonce=nonce,
            issued_ms=issued_ms,
            expires_ms=expires_ms,
            form=form,
        ).checked()

    @classmethod
    def written(
        cls,
        wallet: Wallet,
        *,
        domain: str,
        uri: str,
        event: str,
        nonce: str,
        issued_ms: int,
        expires_ms: int,
        form: Literal["sign-in", "line"] = "sign-in",
    ) -> Self:
        """``build`` for an address that its chain has read already, of parts that nobody looks at.

        It MUST NOT leave us before ``checked``; to hold it against a text that was parsed, nothing more is needed.
        """
        signs_in = form == "sign-in"
        return cls(
            form=form,
            event=event,
            issued_ms=issued_ms,
            domain=domain,
            word=words_of(wallet)[0],
            address=wallet.canonical.removeprefix("bitcoincash:"),
            uri=uri if signs_in else None,
            chain_id=chain_id_of(wallet) if signs_in else None,
            nonce=nonce,
            expires_ms=expires_ms,
        )

    def checked(self) -> Self:
        """Itself, when its text says exactly this message.  ``Rejected('malformed')`` for a part that no text says."""
        if self.parse(self.render()) != self:
            raise Rejected(AccessReason.MALFORMED, "a part that the text cannot say")
        return self

    @classmethod
    def issue(
        cls,
        key: bytes,
        *,
        domain: str,
        uri: str,
        event: str,
        chain: str,
        address: str,
        issued_ms: int,
        ttl_ms: int = 300_000,
        form: Literal["sign-in", "line"] = "sign-in",
    ) -> Self:
        """``build`` with the nonce of ``derive_nonce``: from event, wallet, chain and times it can be built again."""
        nonce = derive_nonce(
            key,
            domain=domain,
            event=event,
            chain=chain,
            address=address,
            issued_ms=issued_ms,
            expires_ms=issued_ms + ttl_ms,
        )
        return cls.build(
            domain=domain,
            uri=uri,
            event=event,
            chain=chain,
            address=address,
            nonce=nonce,
            issued_ms=issued_ms,
            ttl_ms=ttl_ms,
            form=form,
        )

    @classmethod
    def classic(cls, event: str, issued_ms: int, *, short: bool = False) -> Self:
        """The platform's classic text, ``Access event <id> at <ms>`` (``short``: without the word ``event``)."""
        return cls("classic-short" if short else "classic", event, issued_ms).checked()

    # --- text

    def render(self) -> str:
        """The exact text; the inverse of ``parse``."""
        if self.form == "classic-short":
            return f"Access {self.event} at {self.issued_ms}"
        statement = f"Access event {self.event} at {self.issued_ms}"
        if self.form == "classic":
            return statement
        if self.form == "line":
            name = NAMES.get(self.word or "", "")
            return f"{statement} | {self.domain} | {name}:{self.address} | nonce {self.nonce} | exp {self.expires_ms}"
        return (
            f"{self.domain} wants you to sign in with your {self.word} account:\n{self.address}\n\n{statement}\n\n"
            f"URI: {self.uri}\nVersion: 1\nChain ID: {self.chain_id}\nNonce: {self.nonce}\n"
            f"Issued At: {time_text(self.issued_ms)}\nExpiration Time: {time_text(self.expires_ms or 0)}\n"
            f"Request ID: {self.event}"
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a text of any form.  ``Rejected`` with ``malformed`` for everything else, to the last byte.

        A text that contradicts itself is told apart: ``event`` (statement and Request ID differ),
        ``timestamp_mismatch`` (statement and Issued At differ).
        """
        if not isinstance(text, str) or len(text) > MAX_TEXT:
            raise Rejected(AccessReason.MALFORMED, "not an access text")
        if match := _CLASSIC.fullmatch(text):
            return cls("classic" if match["long"] else "classic-short", match["event"], int(match["timestamp"]))
        if match := _LINE.fullmatch(text):
            if match["name"] not in WORD_OF:
                raise Rejected(AccessReason.MALFORMED, "no such chain")
            return cls(
                form="line",
                event=match["event"],
                issued_ms=int(match["timestamp"]),
                domain=match["domain"],
                word=WORD_OF[match["name"]],
                address=match["address"],
                nonce=match["nonce"],
                expires_ms=int(match["expires"]),
            )
        if match := _SIGN_IN.fullmatch(text):
            return cls._parse_sign_in(match)
        raise Rejected(AccessReason.MALFORMED, "not an access text")

    @classmethod
    def _parse_sign_in(cls, match: "re.Match[str]") -> Self:
        issued, expires = time_ms(match["issued"]), time_ms(match["expires"])
        if match["word"] not in NAMES or issued is None or expires is None:
            raise Rejected(AccessReason.MALFORMED, "no such chain, or no such time")
        if match["event"] != match["request_id"]:
            raise Rejected(AccessReason.EVENT, "statement and Request ID name two events")
        if int(match["timestamp"]) != issued:
            raise Rejected(AccessReason.TIMESTAMP_MISMATCH, "statement and Issued At differ")
        return cls(
            form="sign-in",
            event=match["event"],
            issued_ms=issued,
            domain=match["domain"],
            word=match["word"],
            address=match["address"],
            uri=match["uri"],
            chain_id=match["chain_id"],
            nonce=match["nonce"],
            expires_ms=expires,
        )

    # --- check

    @property
    def is_classic(self) -> bool:
        """Is this one of the two texts that bind nothing but event and time?"""
        return self.form in ("classic", "classic-short")

    def check(
        self,
        policy: AccessPolicy,
        *,
        event: str,
        chain: str,
        address: str,
        now_ms: int,
        timestamp_ms: int | None = None,
        chain_id: str | None = None,
    ) -> AccessReason:
        """Is this the text that this wallet must sign for this event, now?  The first reason why not, else ``ok``.

        1. a classic text only where the policy takes them;
        2. domain, exactly, and a URI below ours; 3. the claimed wallet, on its chain; 4. the chain id, if one is
           demanded;
        5. the event; 6. the timestamp that came beside the text, if one did;
        7. times (``check_time``).

        What is left MUST be done in this order: the signature; then the nonce is ours and unused, and is consumed in
        one atomic step.  A bad signature never consumes a nonce.
        """
        if self.is_classic:
            if not policy.classic:  # 1
                return AccessReason.CLASSIC_REFUSED
        else:
            if self.domain != policy.domain:  # 2
                return AccessReason.DOMAIN
            if self.uri is not None and not self.uri.startswith(policy.uri_prefix):
                return AccessReason.URI
            if not self._is_for(chain, address):  # 3
                return AccessReason.WALLET
            if chain_id is not None and self.chain_id is not None and self.chain_id != chain_id:  # 4
                return AccessReason.CHAIN_ID
        if self.event != event:  # 5
            return AccessReason.EVENT
        if timestamp_ms is not None and timestamp_ms != self.issued_ms:  # 6
            return AccessReason.TIMESTAMP_MISMATCH
        return self.check_time(policy, now_ms)  # 7

    def check_time(self, policy: AccessPolicy, now_ms: int) -> AccessReason:
        """Life within ``max_ttl``; issued at most ``max_skew`` ahead; ``max_age`` not over; now before the end."""
        if self.expires_ms is not None and not 0 < self.expires_ms - self.issued_ms <= policy.max_ttl_ms:
            return AccessReason.TTL
        if self.issued_ms > now_ms + policy.max_skew_ms:
            return AccessReason.FUTURE
        if now_ms - self.issued_ms > policy.max_age_ms:
            return AccessReason.EXPIRED
        if self.expires_ms is not None and now_ms >= self.expires_ms:
            return AccessReason.EXPIRED
        return AccessReason.OK

    def _is_for(self, chain: str, address: str) -> bool:
        """Does the text name this wallet?  Compared in canonical form, on the same chain word."""
        claimed = read_wallet(chain, address)
        if claimed is None or words_of(claimed)[0] != self.word:
            return False
        named = read_wallet(chain, self.address or "")
        return named is not None and named.canonical == claimed.canonical

    def replay_key(self, chain: str, address: str) -> str:
        """What may be used once: the nonce, or for classic texts (chain family, wallet, event, time).

        Never the signature's bytes: every scheme can write one signature in several ways.
        """
        if self.nonce is not None:
            return f"nonce:{self.nonce}"
        wallet = read_wallet(chain, address)
        if wallet is None:
            raise Rejected(AccessReason.WALLET, "no such wallet on this chain")
        return f"classic:{words_of(wallet)[1]}:{wallet.canonical}:{self.event}:{self.issued_ms}"

    def usable_until_ms(self, policy: AccessPolicy) -> int:
        """When ``check_time`` begins to refuse it for ever; what was used MUST be remembered until a skew later."""
        age_end = self.issued_ms + policy.max_age_ms + 1
        return age_end if self.expires_ms is None else min(age_end, self.expires_ms)


# --- nonces


def nonce_is_ours(key: bytes, message: AccessMessage, *, chain: str, address: str) -> bool:
    """Did we issue this very message to this wallet?  Constant time in the nonce."""
    if message.nonce is None or message.domain is None or message.expires_ms is None:
        return False
    try:
        wanted = derive_nonce(
            key,
            domain=message.domain,
            event=message.event,
            chain=chain,
            address=address,
            issued_ms=message.issued_ms,
            expires_ms=message.expires_ms,
        )
    except Rejected:
        return False
    return hmac.compare_digest(wanted, message.nonce)
