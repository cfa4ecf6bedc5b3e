"""Contract wallets: ERC-1271, ERC-6492, EIP-7702, asked through a resolver.

The order matters.  ECDSA first: an account with code may be an EOA that delegated (EIP-7702), whose key
still rules it, and validators that look at the code first turn such users away.  Then the ERC-6492
suffix, then the code at the address.  The signature reaches the contract untouched: any length,
empty included (Safe's on-chain approval); what it must look like is the contract's rule, not ours.

A contract's yes is worth what the contract is worth: one that always says yes is "valid" for its address.
``method`` tells (``erc1271``, ``erc6492``), so that a caller can refuse.  The answer is true of one block: verify at
the time of use.  A message that does not name the wallet is valid for every wallet of the same owner key.
"""

from collections.abc import Callable

from chainwatch.verifiers import ethereum
from chainwatch.verifiers.encodings import EncodingError
from chainwatch.verifiers.erc6492 import DEPLOYLESS_VALIDATOR
from chainwatch.verifiers.ethereum import ERC6492_SUFFIX, Prepared, Question, signature_bytes
from chainwatch.verifiers.result import Reason, Request, Resolver, Reverted, Unavailable, Verification

IS_VALID_SIGNATURE = bytes.fromhex("1626ba7e")
"""Selector of ``isValidSignature(bytes32,bytes)``, and what it returns for yes (ERC-1271)."""
MAX_ANSWER = 1024
"""Bytes a contract may return.  The ABI says 32; some return a second word; more is an attack on the reader."""
DELEGATION = bytes.fromhex("ef0100")
"""EIP-7702: the code of a delegated account is this and 20 bytes of address."""


# --- without a chain: what ECDSA can tell


def verify_erc1271(request: Request) -> Verification:
    """``averify_erc1271`` without a chain to ask: valid by ECDSA, or ``needs_chain_state``."""
    return _offline(request, "erc1271")


def verify_erc6492(request: Request) -> Verification:
    """``averify_erc6492`` without a chain to ask."""
    return _offline(request, "erc6492")


def verify_eip7702(request: Request) -> Verification:
    """``averify_eip7702`` without a chain to ask: the account's own key."""
    return _offline(request, "eip7702")


def _offline(request: Request, scheme: str) -> Verification:
    answer = ethereum.decide(request, scheme, _prepare(request, scheme))
    if answer.ok or answer.reason not in CONTRACT_MAY_DIFFER:
        return answer
    return request.answer(Reason.NEEDS_CHAIN_STATE, scheme)


CONTRACT_MAY_DIFFER = frozenset(
    {
        Reason.WRONG_SIGNER,
        Reason.BAD_SIGNATURE,
        Reason.NON_CANONICAL,
        Reason.NEEDS_CHAIN_STATE,
        Reason.MALFORMED_SIGNATURE,
    }
)
"""What the refusal of a key's signature may say without being the last word on a contract wallet."""


# --- with a chain


async def averify_eip191(request: Request, resolver: Resolver) -> Verification:
    """``personal_sign`` by an account or a contract wallet (``averify_erc1271``)."""
    return await _averify(request, resolver, "eip191")


async def averify_eip712(request: Request, resolver: Resolver) -> Verification:
    """Typed data by an account or a contract wallet (``averify_erc1271``)."""
    return await _averify(request, resolver, "eip712")


async def averify_siwe(request: Request, resolver: Resolver) -> Verification:
    """EIP-4361 by an account or a contract wallet (``averify_erc1271``), whose chain is the one in the text."""
    return await _averify(request, resolver, "siwe")


async def averify_erc6492(request: Request, resolver: Resolver) -> Verification:
    """A wallet that may not be deployed yet; the same steps as ``averify_erc1271``."""
    return await _averify(request, resolver, "erc6492")


async def averify_eip7702(request: Request, resolver: Resolver) -> Verification:
    """An account that delegated to code; the same steps as ``averify_erc1271``."""
    return await _averify(request, resolver, "eip7702")


async def averify_erc1271(request: Request, resolver: Resolver) -> Verification:
    """The digest of the message (EIP-191, typed data or sign-in text), signed by whatever controls the address.

    1. an ECDSA signature of the account's own key: valid, whatever code there is (EIP-7702);
    2. the chain that answers is the one that the request and the message name;
    3. a signature with the ERC-6492 suffix: one ``eth_call`` of the universal validator, which must return 0x01;
    4. code at the address: ``isValidSignature(digest, signature)`` must succeed and return a word that is exactly the
       magic value, left-aligned (not its first four bytes, not revert data), in at most ``MAX_ANSWER`` bytes;
    5. no code: what ECDSA said.
    A resolver that gets no answer: ``unavailable``, never ``invalid``.

    The caller MUST verify again when the answer is used later, and MUST put the wallet's address into the message.
    """
    return await _averify(request, resolver, "erc1271")


def _prepare(request: Request, scheme: str) -> Prepared:
    """The question of the message's own scheme."""
    if scheme not in ethereum.PREPARE:
        scheme = ethereum.choose(request)[0]
    prepare: Callable[[Request], Prepared] = ethereum.PREPARE[scheme]
    return prepare(request)


async def _averify(request: Request, resolver: Resolver, scheme: str) -> Verification:
    """The steps of ``averify_erc1271``."""
    question = _prepare(request, scheme)
    first = ethereum.decide(request, scheme, question)  # 1
    if first.ok or isinstance(question, Verification) or not request.policy.contracts:
        return first
    try:
        signature = signature_bytes(request.signature, request.policy)
    except EncodingError:
        return first
    try:
        chain_id = str(await resolver.evm_chain_id())  # 2
        problem = _other_chain(request, question, scheme, chain_id)
        if problem is not None:  # not "if problem": a refusal is false
            return problem
        if signature.endswith(ERC6492_SUFFIX):  # 3
            return await _ask_validator(request, resolver, scheme, question, signature, chain_id)
        code = await resolver.evm_code(request.wallet.canonical)
        if code:  # 4
            return await _ask_contract(request, resolver, scheme, question, signature, chain_id, code)
    except Unavailable as error:
        return _unreachable(request, scheme, error)
    except Exception as error:  # a resolver is somebody else's code: whatever it raises is no answer, and no verdict
        return _unreachable(request, scheme, error)
    if first.reason is Reason.NEEDS_CHAIN_STATE:  # 5
        return request.answer(Reason.WRONG_SIGNER, scheme, detail={"chain_id": chain_id, "code": False})
    return first


def _unreachable(request: Request, scheme: str, error: Exception) -> Verification:
    detail = {"error": f"{type(error).__name__}: {error}"[:200]}
    return request.answer(Reason.NODE_UNREACHABLE, scheme, detail=detail)


def _other_chain(request: Request, question: Question, scheme: str, chain_id: str) -> Verification | None:
    """A node of another chain than the one that request or message name (preparing it, they were found to agree)."""
    wanted = request.wallet.network or question.chain_id
    if wanted and wanted != chain_id:  # this node cannot know that wallet
        detail = {"chain_id": wanted, "node_chain_id": chain_id}
        return request.answer(Reason.NODE_UNREACHABLE, scheme, detail=detail)
    return None


async def _ask_contract(
    request: Request,
    resolver: Resolver,
    scheme: str,
    question: Question,
    signature: bytes,
    chain_id: str,
    code: bytes,
) -> Verification:
    """Step 4."""
    delegated = len(code) == 23 and code.startswith(DELEGATION)
    warnings = ("delegated_code",) if delegated else ()
    detail = {"chain_id": chain_id, **({"delegate": "0x" + code[3:].hex()} if delegated else {})}
    data = IS_VALID_SIGNATURE + _words(question.digest, (64).to_bytes(32, "big")) + _dynamic(signature)
    try:
        answer = await resolver.evm_call(to=request.wallet.canonical, data=data)
    except Reverted:
        answer = b""
    yes = 32 <= len(answer) <= MAX_ANSWER and answer[:32] == IS_VALID_SIGNATURE + bytes(28)
    reason = Reason.OK if yes else Reason.CONTRACT_REFUSED
    return request.answer(reason, scheme, method="erc1271", malleable=yes, warnings=warnings, detail=detail)


async def _ask_validator(
    request: Request, resolver: Resolver, scheme: str, question: Question, signature: bytes, chain_id: str
) -> Verification:
    """Step 3.  Only ever simulated: the factory call inside the signature is code of whoever sent it."""
    head = _words(request.wallet.payload.rjust(32, b"\0"), question.digest, (96).to_bytes(32, "big"))
    try:
        answer = await resolver.evm_call(to=None, data=DEPLOYLESS_VALIDATOR + head + _dynamic(signature))
    except Reverted:
        answer = b""
    yes = answer == b"\x01"
    reason = Reason.OK if yes else Reason.CONTRACT_REFUSED
    return request.answer(reason, scheme, method="erc6492", malleable=yes, detail={"chain_id": chain_id})


def _words(*words: bytes) -> bytes:
    return b"".join(words)


def _dynamic(data: bytes) -> bytes:
    """ABI encoding of ``bytes``: length, then the data padded to whole words."""
    return len(data).to_bytes(32, "big") + data + bytes(-len(data) % 32)
