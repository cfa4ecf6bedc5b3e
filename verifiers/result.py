"""The values of a verification: what was asked, by which policy, and the answer.

A scheme is two plain functions of these values (the second only where a chain must be asked)::

    def verify_bip137(request: Request) -> Verification: ...
    async def averify_erc1271(request: Request, resolver: Resolver) -> Verification: ...

Neither raises on hostile input: whatever is wrong with it is a ``Reason``.  The door in
``chainwatch.verifiers`` has parsed the address, encoded the message and capped every size
before a scheme sees the request; the signature arrives as the caller gave it, because what
encodings are acceptable is the scheme's own rule.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

from chainwatch.verifiers.addresses import Wallet

MAX_MESSAGE = 64 * 1024
"""Bytes of message: the longest text any wallet lets a person sign is far below."""
MAX_SIGNATURE = 24 * 1024
"""Characters or bytes of one signature: a Safe of fifty owners, a full BIP-322 transaction of hundreds of inputs, or
Cardano's, which holds the message itself, in hex: of 10 kB."""
MAX_SIGNATURES = 128
"""Items of a signature list: 64 numbers of a Solana wallet, or the keys of a Hive authority (at most 40)."""
MAX_DOCUMENT = 256 * 1024
"""Bytes of typed data, as JSON."""


class Status(StrEnum):
    """What the caller should do: let in, refuse, refuse, tell, try again, refuse."""

    VALID = "valid"
    INVALID = "invalid"
    INCONCLUSIVE = "inconclusive"
    UNSUPPORTED = "unsupported"
    UNAVAILABLE = "unavailable"
    MALFORMED = "malformed"


class Reason(StrEnum):
    """Why.  Each reason belongs to exactly one status (``STATUS_OF``)."""

    OK = "ok"
    # invalid: well-formed, and the answer is no
    WRONG_SIGNER = "wrong_signer"
    BAD_SIGNATURE = "bad_signature"
    WRONG_NETWORK = "wrong_network"
    WRONG_ADDRESS_TYPE = "wrong_address_type"
    NON_CANONICAL = "non_canonical"
    WEAK_KEY = "weak_key"
    RULE_VIOLATED = "rule_violated"
    AUTHORITY_NOT_MET = "authority_not_met"
    UNKNOWN_ACCOUNT = "unknown_account"
    CONTRACT_REFUSED = "contract_refused"
    MESSAGE_MISMATCH = "message_mismatch"
    EXPECTATION_FAILED = "expectation_failed"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    POLICY = "policy"
    # malformed: not even well-formed
    MALFORMED_ADDRESS = "malformed_address"
    MALFORMED_MESSAGE = "malformed_message"
    MALFORMED_SIGNATURE = "malformed_signature"
    MALFORMED_REQUEST = "malformed_request"
    TOO_LARGE = "too_large"
    # unsupported
    UNSUPPORTED = "unsupported"
    UNKNOWN_CHAIN = "unknown_chain"
    UNKNOWN_SCHEME = "unknown_scheme"
    NEEDS_CHAIN_STATE = "needs_chain_state"
    # inconclusive
    UNKNOWN_SCRIPT = "unknown_script"
    UPGRADEABLE_RULE = "upgradeable_rule"
    INTERNAL = "internal"
    # unavailable
    NODE_UNREACHABLE = "node_unreachable"

    @property
    def status(self) -> Status:
        """The one status this reason belongs to."""
        return STATUS_OF[self]


STATUS_OF: dict[Reason, Status] = {
    Reason.OK: Status.VALID,
    Reason.MALFORMED_ADDRESS: Status.MALFORMED,
    Reason.MALFORMED_MESSAGE: Status.MALFORMED,
    Reason.MALFORMED_SIGNATURE: Status.MALFORMED,
    Reason.MALFORMED_REQUEST: Status.MALFORMED,
    Reason.TOO_LARGE: Status.MALFORMED,
    Reason.UNSUPPORTED: Status.UNSUPPORTED,
    Reason.UNKNOWN_CHAIN: Status.UNSUPPORTED,
    Reason.UNKNOWN_SCHEME: Status.UNSUPPORTED,
    Reason.NEEDS_CHAIN_STATE: Status.UNSUPPORTED,
    Reason.UNKNOWN_SCRIPT: Status.INCONCLUSIVE,
    Reason.UPGRADEABLE_RULE: Status.INCONCLUSIVE,
    Reason.INTERNAL: Status.INCONCLUSIVE,  # a fault of ours; unknown is not success
    Reason.NODE_UNREACHABLE: Status.UNAVAILABLE,
}
STATUS_OF.update({reason: Status.INVALID for reason in Reason if reason not in STATUS_OF})


@dataclass(slots=True)  # not frozen: that would triple what filling it costs, in every verification
class Verification:
    """The answer.  ``if verification:`` is true only for ``valid``.

    ``scheme`` and ``method`` say how (``bip137`` by ``ecdsa``; ``erc1271`` by ``contract``), ``address``
    is the canonical form, ``chain`` the code (``BTC``) or the family (``evm``).  ``public_key`` is hex
    where the scheme reveals it.  ``malleable``: a stranger can make another valid signature of this one (ECDSA without
    a low-S rule, contracts); without it there are still several texts of one: never use its bytes as an identity.
    ``warnings`` are stable words.  ``detail`` holds facts for people and logs (header, sequence, weight, block …).
    """

    reason: Reason
    scheme: str | None = None
    method: str | None = None
    address: str | None = None
    chain: str | None = None
    public_key: str | None = None
    malleable: bool = False
    warnings: tuple[str, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> Status:
        """``valid``, ``invalid``, ``inconclusive``, ``unsupported``, ``unavailable`` or ``malformed``."""
        return STATUS_OF[self.reason]

    @property
    def ok(self) -> bool:
        """Is the signature by this wallet?"""
        return self.reason is Reason.OK

    def __bool__(self) -> bool:
        return self.reason is Reason.OK


BTC_HEADERS = ("electrum", "bip137", "core", "loose")


@dataclass(frozen=True, slots=True)
class Policy:
    """The strict default, and every loosening by name.  ``unsafe_…``: an impostor may profit.

    ``btc_headers``: what the header byte of a legacy signature may say of the address type.
    ``electrum``: 27–34 serve P2PKH, 31–34 also P2SH-P2WPKH and P2WPKH when the key hashes to the address,
    35–42 exactly their type; ``bip137``: each range exactly its type; ``core``: P2PKH only, any
    header byte; ``loose``: any header for any type, taproot included (what UniSat and OKX send).
    """

    try_nfc: bool = False
    """Also try the NFC form of a text (of up to 4,096 characters), which Trezor signs; reported as the warning
    ``nfc``."""
    btc_headers: Literal["electrum", "bip137", "core", "loose"] = "electrum"
    allow_lenient_p2sh: bool = True
    """BIP-322 simple for P2SH-P2WPKH, the witness alone: not in the BIP, sent by Xverse and bip322-js."""
    allow_unprefixed_full: bool = False
    """BIP-322 version 1: a full transaction without the prefix ``ful``."""
    require_signature_check: bool = False
    """BIP-322: refuse scripts that anyone can satisfy without a key (``chainwatch.access`` sets it)."""
    allow_timelocks: bool = True
    """BIP-322 full: accept a lock time or sequence; the caller MUST compare ``detail`` with the chain."""
    allow_high_s: bool = False
    """EVM and Tron: accept the malleable twin of a signature."""
    allow_noncanonical: bool = False
    """Hive: accept signatures that Graphene nodes refuse."""
    normalise: bool = False
    """EVM: accept a missing ``0x`` and v >= 35."""
    contracts: bool = True
    """EVM: ask contract wallets (ERC-1271, ERC-6492) when a resolver is given."""
    allow_memo_tx: bool = True
    """Solana: accept a memo transaction when that is what is offered (Ledger)."""
    allow_higher_authority: bool = False
    """Hive: active or owner keys where posting is asked for."""
    unsafe_follow_account_auths: bool = False
    """Hive: every application with posting rights could sign in as the user."""
    unsafe_allow_view_key: bool = False
    """Monero: whoever was given the view key (merchants, light-wallet servers) could sign in."""
    unsafe_allow_v1: bool = False
    """Monero: SigV1 binds neither the key nor the mode."""

    def __post_init__(self) -> None:
        if self.btc_headers not in BTC_HEADERS:  # the programmer's mistake, not the visitor's
            raise ValueError(f"btc_headers is one of {', '.join(BTC_HEADERS)}")


DEFAULT = Policy()


class Unavailable(Exception):
    """Raised by a resolver: the chain could not be asked.  Becomes ``unavailable``, never ``invalid``."""


class Reverted(Exception):
    """Raised by a resolver: the chain answered, and the call reverted."""


class Resolver(Protocol):
    """How ``averify`` asks a chain.  Every method raises ``Unavailable`` when there is no answer.

    Implementations MUST bound time, gas and the size of answers, and MUST only ever simulate
    (``eth_call``): an ERC-6492 signature carries code chosen by whoever sent it.
    """

    async def evm_chain_id(self) -> int:
        """Chain id of the node that the two below ask."""
        ...

    async def evm_code(self, address: str) -> bytes:
        """``eth_getCode`` at the latest block; empty for an account without code."""
        ...

    async def evm_call(self, *, to: str | None, data: bytes) -> bytes:
        """``eth_call`` at the latest block (``to`` None: deployless); ``Reverted`` when it reverts."""
        ...

    async def hive_accounts(self, names: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """``condenser_api.get_accounts``; names that do not exist are absent from the answer."""
        ...


@dataclass(slots=True)  # not frozen, as above; schemes do not change it
class Request:
    """One question in canonical form, as every scheme function gets it.

    ``wallet`` is the address, parsed for one chain.  ``message`` is the exact bytes; ``text`` the same
    when the caller gave a string.  ``signature`` is as given: str, bytes, or a tuple.  ``now`` is Unix
    seconds, what times inside the message are compared with; the door has read the clock if the caller gave none.
    """

    wallet: Wallet
    message: bytes
    signature: str | bytes | tuple[Any, ...]
    text: str | None = None
    scheme: str | None = None
    typed_data: Mapping[str, Any] | None = None
    authorities: Any = None
    role: str = "posting"
    expect: Mapping[str, Any] | None = None
    now: float = 0.0
    policy: Policy = DEFAULT

    def answer(self, reason: Reason, scheme: str | None, **facts: Any) -> Verification:
        """An answer about this wallet; ``facts`` are the other fields of ``Verification``."""
        return Verification(
            reason=reason,
            scheme=scheme,
            address=self.wallet.canonical,
            chain=self.wallet.chain or self.wallet.family,
            **facts,
        )
