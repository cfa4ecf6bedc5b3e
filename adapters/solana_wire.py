"""The shapes of Solana's JSON-RPC answers, and one shape for all their encodings.

``getTransaction`` and ``getBlock`` answer in ``json`` (indices into a key list, data in base58),
``jsonParsed`` (instructions spelt out where the node knows the program), ``base64`` or ``base58`` (the
signed bytes).  ``Row.view`` makes of each the same ``View``: all account keys, and the instructions in the
order they ran.  Only the fields that are used are decoded (https://solana.com/docs/rpc/json-structures),
and the structs are kept from the garbage collector (``gc=False``): they are trees, and a block has 100,000.
"""

import base64
import binascii
import re
from collections.abc import Collection, Iterator, Sequence
from operator import mul
from typing import Annotated, Any

import msgspec

from chainwatch.verifiers.encodings import B58_ALPHABET, MAX_BASE58, base58_bytes

MAX_DATA = 16_384
"""Characters of one instruction's base58 data that are read: a program may pass 10 KiB to another
(MAX_INSTRUCTION_DATA_LEN), which is 14 thousand characters; base58 is quadratic, so longer is refused."""
SHORT_DATA = 300
"""Characters of base58 in the longest instruction that moves value (createAccountWithSeed, about 130 bytes)."""
MAX_WIRE = 65_536
"""Bytes of one signed transaction that are read.  The network's limit is 1,232 (4,096 for version 1)."""
U64 = 2**64 - 1

Index = Annotated[int, msgspec.Meta(ge=0)]
_DIGITS = bytes(B58_ALPHABET.find(chr(c)) % 256 for c in range(256))
_PLACES = tuple(58**n for n in reversed(range(SHORT_DATA)))
VOTE_IS_LAST = b'"Vote111111111111111111111111111111111111111"]'
"""How the keys of a vote end: the vote program's is the only one that is called, and the last."""
_TEXT = re.compile(rb"[A-Za-z0-9+/=]{64,}")


class Account(msgspec.Struct, gc=False):
    """An account key as jsonParsed gives it; tables are already looked up."""

    pubkey: str
    signer: bool = False


class Instruction(msgspec.Struct, rename="camel", gc=False):
    """An instruction in any encoding: compiled (indices), partially decoded, or parsed."""

    program_id_index: Index | None = None
    program_id: str | None = None
    accounts: msgspec.Raw = msgspec.Raw(b"[]")
    data: str = ""
    parsed: msgspec.Raw = msgspec.Raw()


class Header(msgspec.Struct, rename="camel", gc=False):
    """How many of the first keys have signed."""

    num_required_signatures: Index = 0


class Message(msgspec.Struct, rename="camel", gc=False):
    """What was signed.  Only compiled messages (json) have a header and plain keys."""

    account_keys: msgspec.Raw
    instructions: list[Instruction]
    header: Header | None = None


class Body(msgspec.Struct, gc=False):
    """A transaction that is not in bytes.  ``transactionDetails: accounts`` leaves the message out."""

    signatures: list[str]
    message: Message | None = None


class InnerInstructions(msgspec.Struct, gc=False):
    """What the instruction ``index`` made other programs do, in order."""

    index: Index
    instructions: list[Instruction]


class TokenAmount(msgspec.Struct, gc=False):
    """A token amount in base units, as decimal text."""

    amount: str


class TokenBalance(msgspec.Struct, rename="camel", gc=False):
    """What a token account held before or after.  Old nodes leave out ``owner`` and ``programId``."""

    account_index: Index
    mint: str
    ui_token_amount: TokenAmount
    owner: str | None = None
    program_id: str | None = None


class Loaded(msgspec.Struct, gc=False):
    """Keys that came from address lookup tables (version 0)."""

    writable: list[str] = []
    readonly: list[str] = []


class Meta(msgspec.Struct, rename="camel", gc=False):
    """What became of a transaction.  ``err`` is null, a text or an object; absent means: not told.

    The token balances are most of it and few transactions need them: ``token_balances`` reads them.
    """

    err: Any = msgspec.UNSET
    fee: Index = 0
    pre_balances: list[Index] = []
    post_balances: list[Index] = []
    inner_instructions: list[InnerInstructions] | None = None
    pre_token_balances: msgspec.Raw = msgspec.Raw(b"null")
    post_token_balances: msgspec.Raw = msgspec.Raw(b"null")
    loaded_addresses: Loaded | None = None


class Step(msgspec.Struct, gc=False):
    """One instruction: where it stands (``i``, or ``i.j`` for the j-th inside i), whose it is, what it holds."""

    path: str
    program: str
    instruction: Instruction
    wire: tuple[bytes, Sequence[int]] | None = None
    """Data and accounts, when they came as bytes."""


class View(msgspec.Struct, gc=False):
    """A transaction, whatever its encoding was: its keys, who signed, and the steps that were asked for."""

    txid: str
    keys: Sequence[str]
    signers: Sequence[str]
    steps: Sequence[Step]


class Row(msgspec.Struct, rename="camel", gc=False):
    """The result of ``getTransaction``, or one of ``getBlock``'s transactions."""

    transaction: Body | tuple[str, str] | str | None = None
    meta: Meta | None = None
    slot: Index | None = None
    block_time: int | None = None

    @property
    def ok(self) -> bool | None:
        """Did it succeed?  None: the data does not tell."""
        if self.meta is None or self.meta.err is msgspec.UNSET:
            return None
        return self.meta.err is None

    def view(self, programs: frozenset[str]) -> View:
        """Return the keys, and the steps of ``programs``; ``ValueError`` for what is no transaction."""
        body = self.transaction
        if body is None:
            raise ValueError("no transaction in it")
        if not isinstance(body, Body):
            data, encoding = body if isinstance(body, tuple) else (body, "base58")
            return self._from_wire(from_text(data, encoding), programs)
        message = body.message
        if message is None:
            raise ValueError("this data leaves the instructions out")
        txid = body.signatures[0] if body.signatures else ""
        if message.header is not None:
            plain = _plain_keys.decode(message.account_keys)
            keys, signers = self._with_loaded(plain), plain[: message.header.num_required_signatures]
        else:
            parsed = _parsed_keys.decode(message.account_keys)
            keys, signers = [k.pubkey for k in parsed], [k.pubkey for k in parsed if k.signer]
        called = programs.intersection(keys)
        if not called:  # a program that is called is a key: most of every block ends here
            return View(txid, keys, signers, ())
        return View(txid, keys, signers, self._steps(message.instructions, keys, called))

    def calls(self, programs: frozenset[str]) -> bool:
        """May this transaction call one of ``programs``?  No, cheaply, for most of a block (votes)."""
        body = self.transaction
        if not isinstance(body, Body) or body.message is None:
            return True  # the keys have to be read to tell, and ``view`` does that
        groups = self.meta.inner_instructions if self.meta is not None else None
        called = body.message.instructions
        if body.message.header is not None:  # the keys have to be decoded to tell, but for a vote
            keys = bytes(body.message.account_keys)
            last = called[0].program_id_index == keys.count(b",") if len(called) == 1 and not groups else False
            return not (last and keys.endswith(VOTE_IS_LAST))
        for instruction in called:
            if instruction.program_id in programs:
                return True
        return any(i.program_id in programs for g in groups or () for i in g.instructions)

    def _with_loaded(self, keys: Sequence[str]) -> Sequence[str]:
        """Add the keys from lookup tables; some clients have put them behind the others already."""
        meta = self.meta
        loaded = meta.loaded_addresses if meta is not None else None
        if meta is None or loaded is None or not (loaded.writable or loaded.readonly):
            return keys
        if 0 < len(meta.pre_balances) <= len(keys):
            return keys
        return [*keys, *loaded.writable, *loaded.readonly]

    def _steps(self, top: Sequence[Instruction], keys: Sequence[str], programs: Collection[str]) -> list[Step]:
        """Return the steps of ``programs`` (of these, some that are among ``keys``), in the order they ran."""
        called: dict[int | str | None, str] = {program: program for program in programs}
        if top and top[0].program_id is None:  # indices
            called.update((keys.index(program), program) for program in programs)
        groups = self.meta.inner_instructions if self.meta is not None else None
        inner = {g.index: g.instructions for g in groups} if groups else None
        steps = []
        for i, instruction in enumerate(top):
            program = called.get(instruction.program_id or instruction.program_id_index)
            if program is not None:
                steps.append(Step(str(i), program, instruction))
            if inner is not None and i in inner:
                for j, child in enumerate(inner[i]):
                    program = called.get(child.program_id or child.program_id_index)
                    if program is not None:
                        steps.append(Step(f"{i}.{j}", program, child))
        return steps

    def _from_wire(self, wire: bytes, programs: frozenset[str]) -> View:
        from solders.transaction import VersionedTransaction

        try:
            transaction = VersionedTransaction.from_bytes(wire)
        except Exception as error:  # solders raises its own types, and ValueError
            raise ValueError(f"not a Solana transaction: {error}") from error
        message = transaction.message
        plain = [str(k) for k in message.account_keys]
        keys, signers = self._with_loaded(plain), plain[: message.header.num_required_signatures]
        txid = str(transaction.signatures[0]) if transaction.signatures else ""
        called = programs.intersection(keys)
        if not called:  # unpacking the instructions is the slow part
            return View(txid, keys, signers, ())
        compiled = message.instructions
        top = [Instruction(program_id_index=c.program_id_index) for c in compiled]
        steps = self._steps(top, keys, called)
        for step in steps:
            if "." not in step.path:  # inner instructions are in ``meta``, and have both
                own = compiled[int(step.path)]
                step.wire = bytes(own.data), own.accounts
        return View(txid, keys, signers, steps)


class Item(Row, gc=False):
    """A ``getTransaction`` or a ``getBlock`` result; a block does not name its own slot."""

    transactions: list[Row] | None = None
    blockhash: str | None = None
    previous_blockhash: str | None = None
    parent_slot: Index | None = None


class Document(Item, gc=False):
    """An answer: bare, or inside ``result``."""

    result: Item | msgspec.UnsetType | None = msgspec.UNSET
    error: Any = None


_documents = msgspec.json.Decoder(Document | list[Document])


_plain_keys = msgspec.json.Decoder(list[str])
_parsed_keys = msgspec.json.Decoder(list[Account])
_accounts = msgspec.json.Decoder(list[Index | str])
_token_balances = msgspec.json.Decoder(list[TokenBalance] | None)


def token_balances(raw: msgspec.Raw) -> list[TokenBalance] | None:
    """Return token balances; None where the node did not keep them."""
    balances: list[TokenBalance] | None = _token_balances.decode(raw)
    return balances


def accounts_of(instruction: Instruction, keys: Sequence[str]) -> list[str | None]:
    """Return an instruction's accounts in its own order."""
    places: list[Any] = _accounts.decode(instruction.accounts)
    try:
        return [keys[a] for a in places]
    except (IndexError, TypeError):  # keys themselves, or more than the data holds
        return [key_at(keys, a) for a in places]


def key_at(keys: Sequence[str], index: int | str | None) -> str | None:
    """Return the account at ``index`` (jsonParsed gives the key itself); None when the data does not hold it."""
    if isinstance(index, str):
        return index
    return keys[index] if index is not None and index < len(keys) else None


def short_base58(text: str) -> bytes:
    """Decode an instruction's few bytes: what ``base58_bytes`` does, faster; at most ``SHORT_DATA`` characters."""
    digits = text.encode().translate(_DIGITS)
    if 255 in digits or len(digits) > SHORT_DATA:
        raise ValueError("not base58, or long")
    number: int = sum(map(mul, digits, _PLACES[SHORT_DATA - len(digits) :]))
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return data if not digits or digits[0] else bytes(len(digits) - len(digits.lstrip(b"\0"))) + data


def from_base58(text: str, limit: int = MAX_DATA) -> bytes:
    """Decode base58 of at most ``limit`` characters; ``ValueError`` for anything else."""
    if len(text) <= MAX_BASE58:
        return base58_bytes(text)
    if len(text) > limit:
        raise ValueError(f"{len(text)} characters of base58, at most {limit} are read")
    from bitcoin.base58 import InvalidBase58Error, decode  # long memos only

    try:
        return bytes(decode(text))
    except InvalidBase58Error as error:
        raise ValueError("not base58") from error


def from_text(data: str, encoding: str) -> bytes:
    """Decode an encoded transaction (``base64`` or ``base58``)."""
    if len(data) > MAX_WIRE:
        raise ValueError(f"a transaction of {len(data)} characters")
    if encoding == "base64":
        try:
            return base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError("not base64") from error
    if encoding == "base58":
        return from_base58(data)
    raise ValueError(f"unknown encoding {encoding!r}")


def read_document(document: bytes) -> Iterator[Item]:
    """Read one recorded file: JSON in any of the shapes above, or a bare signed transaction.

    A bare transaction is bytes, hex or base64 (base58 could be mistaken for it).  ``ValueError`` for anything else.
    """
    text = document.strip()
    if text[:1] not in (b"{", b"["):
        yield Item(transaction=(base64.b64encode(_bare(document, text)).decode(), "base64"))
        return
    answers = _documents.decode(text)
    for answer in answers if isinstance(answers, list) else [answers]:
        if answer.error is not None:
            raise ValueError(f"the answer is an error: {str(answer.error)[:200]}")
        item = answer if answer.result is msgspec.UNSET else answer.result
        if item is None:
            continue  # the node does not know that transaction, or the slot was skipped
        if item.transaction is None and item.transactions is None and item.blockhash is None:
            raise ValueError("neither a transaction nor a block")
        yield item


def _bare(document: bytes, text: bytes) -> bytes:
    if _TEXT.fullmatch(text) is None:
        return document
    if re.fullmatch(rb"([0-9a-fA-F]{2})+", text):
        return bytes.fromhex(text.decode())
    return from_text(text.decode(), "base64")
