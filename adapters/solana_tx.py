"""From a Solana transaction to the value that moved in it.  Pure: no I/O, no clock.

Instructions say what was asked for, the balances before and after say what happened.  The instructions
tell several payments in one transaction apart (``index`` is the instruction's place, ``i`` or ``i.j``);
the amounts follow the balances: every instruction is replayed on the balances before, and where the
result is not the balance after, the balance rules and the transfer carries ``balance_differs``
(Token-2022 transfer fees, a delegate that takes the money back, a program we cannot read).

Sources: the System program's and SPL Token's instruction enums (solana-system-interface, spl-token,
spl-token-2022), and agave's ``transaction-status/src/parse_*.rs`` for the names in jsonParsed.
"""

from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from chainwatch.adapters.solana_book import Book, Movement, reduce, u64
from chainwatch.adapters.solana_wire import (
    SHORT_DATA,
    Row,
    Step,
    TokenAmount,
    View,
    accounts_of,
    from_base58,
    key_at,
    short_base58,
)
from chainwatch.model import Asset, Position, Transfer, fee_of

SYSTEM = "11111111111111111111111111111111"
SPL = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"
SPL_2022 = "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"
MEMO_V1 = "Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo"
MEMO_V2 = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"
MAX_MEMO = 4096
"""Bytes of memo that are kept: more than any signed transaction holds (1,232, and 4,096 in version 1)."""


class Info(msgspec.Struct, rename="camel", gc=False):
    """The fields of a parsed system or token instruction, whichever it is."""

    source: str | None = None
    destination: str | None = None
    lamports: int | None = None
    new_account: str | None = None
    nonce_account: str | None = None
    account: str | None = None
    mint: str | None = None
    owner: str | None = None
    amount: str | None = None
    token_amount: TokenAmount | None = None
    fee_amount: TokenAmount | None = None
    authority: str | None = None
    multisig_authority: str | None = None


class Parsed(msgspec.Struct, gc=False):
    """A parsed instruction of a type that is read below."""

    type: str
    info: Info = msgspec.field(default_factory=Info)


class Kind(msgspec.Struct, gc=False):
    """A parsed instruction of any type: the same names may hold something else in it."""

    type: str


_parsed = msgspec.json.Decoder(Parsed)
_kind = msgspec.json.Decoder(Kind)
_text = msgspec.json.Decoder(str)


def _le(data: bytes, start: int, size: int = 8) -> int:
    if len(data) < start + size:
        raise ValueError("an instruction that ends too soon")
    return int.from_bytes(data[start : start + size], "little")


# -- one instruction -----------------------------------------------------------------------------

Accounts = Sequence[str | None]


def _tokens(info: Info) -> int:
    return u64(info.token_amount.amount if info.token_amount is not None else info.amount)


def _system_parsed(book: Book, path: str, program: str, kind: str, info: Info) -> None:
    target = info.new_account if kind.startswith("createAccount") else info.destination
    source = info.nonce_account if kind == "withdrawFromNonce" else info.source
    book.move(path, program, source, target, u64(info.lamports))


def _system_raw(book: Book, path: str, program: str, data: bytes, accounts: Accounts) -> None:
    tag = _le(data, 0, 4)
    if tag in (0, 2, 5):  # CreateAccount, Transfer, WithdrawNonceAccount(lamports, …): from, to
        book.move(path, program, accounts[0], accounts[1], _le(data, 4))
    elif tag == 3:  # CreateAccountWithSeed(base, seed, lamports, …): from, to
        seed = _le(data, 36)
        if seed > 32:
            raise ValueError("a seed of more than 32 bytes")
        book.move(path, program, accounts[0], accounts[1], _le(data, 44 + seed))
    elif tag == 11:  # TransferWithSeed(lamports, seed, owner): from, base, to
        book.move(path, program, accounts[0], accounts[2], _le(data, 4))


def _token_parsed(book: Book, path: str, program: str, kind: str, info: Info) -> None:
    if kind.startswith("transfer"):
        fee = u64(info.fee_amount.amount) if info.fee_amount is not None else 0
        authority = info.authority or info.multisig_authority
        book.send(path, program, info.source, info.destination, _tokens(info), info.mint, authority, fee)
    elif kind.startswith("mintTo"):
        book.send(path, program, None, info.account, _tokens(info), info.mint)
    elif kind.startswith("burn"):
        book.send(path, program, info.account, None, _tokens(info), info.mint)
    elif kind == "closeAccount":
        book.close(path, program, info.account, info.destination)
    else:
        book.begin(program, info.account, info.mint, info.owner)


def _token_raw(book: Book, path: str, program: str, data: bytes, accounts: Accounts) -> None:
    tag = data[0]
    if tag == 3:  # Transfer(amount): source, destination, authority
        book.send(path, program, accounts[0], accounts[1], _le(data, 1), None, accounts[2])
    elif tag == 12:  # TransferChecked(amount, decimals): source, mint, destination, authority
        book.send(path, program, accounts[0], accounts[2], _le(data, 1), accounts[1], accounts[3])
    elif tag == 26 and data[1] == 1:  # TransferCheckedWithFee(amount, decimals, fee): as TransferChecked
        book.send(path, program, accounts[0], accounts[2], _le(data, 2), accounts[1], accounts[3], _le(data, 11))
    elif tag in (7, 14):  # MintTo, MintToChecked(amount): mint, account
        book.send(path, program, None, accounts[1], _le(data, 1), accounts[0])
    elif tag in (8, 15):  # Burn, BurnChecked(amount): account, mint
        book.send(path, program, accounts[0], None, _le(data, 1), accounts[1])
    elif tag == 9:  # CloseAccount: account, destination
        book.close(path, program, accounts[0], accounts[1])
    elif tag == 1:  # InitializeAccount: account, mint, owner
        book.begin(program, accounts[0], accounts[1], accounts[2])
    elif tag in (16, 18) and len(data) == 33:  # InitializeAccount2, 3(owner): account, mint
        from solders.pubkey import Pubkey

        book.begin(program, accounts[0], accounts[1], str(Pubkey.from_bytes(data[1:])))


class Program(NamedTuple):
    """How a program's instructions are read: the parsed ``kinds`` that move value, and both encodings."""

    kinds: frozenset[str]
    parsed: Callable[[Book, str, str, str, Info], None]
    raw: Callable[[Book, str, str, bytes, Accounts], None]


_SYSTEM = Program(
    frozenset({"transfer", "transferWithSeed", "createAccount", "createAccountWithSeed", "withdrawFromNonce"}),
    _system_parsed,
    _system_raw,
)
_TOKEN = Program(
    frozenset(
        {
            *("transfer", "transferChecked", "transferCheckedWithFee", "mintTo", "mintToChecked", "burn"),
            *("burnChecked", "closeAccount", "initializeAccount", "initializeAccount2", "initializeAccount3"),
        }
    ),
    _token_parsed,
    _token_raw,
)
_READERS: Mapping[str, Program] = {SYSTEM: _SYSTEM, SPL: _TOKEN, SPL_2022: _TOKEN}
MEMOS = frozenset({MEMO_V1, MEMO_V2})
PROGRAMS = frozenset(_READERS) | MEMOS


def _replay(step: Step, keys: Sequence[str], book: Book) -> None:
    """Replay one system or token instruction; those that move nothing, or that we do not know, do nothing.

    The program itself refuses raw data that is too short or lacks accounts, so that it moves nothing:
    it is passed over, as is a kind added later, and the balances show what came of it.
    """
    path, program, instruction, wire = step.path, step.program, step.instruction, step.wire
    reader = _READERS[program]
    if instruction.parsed:
        try:
            answer = _parsed.decode(instruction.parsed)
        except msgspec.ValidationError:
            if _kind.decode(instruction.parsed).type in reader.kinds:
                raise
            return
        if answer.type in reader.kinds:
            reader.parsed(book, path, program, answer.type, answer.info)
        return
    if wire is not None:
        data, accounts = wire[0], [key_at(keys, a) for a in wire[1]]
    elif len(instruction.data) > SHORT_DATA:
        return
    else:
        data, accounts = short_base58(instruction.data), accounts_of(instruction, keys)
    try:
        reader.raw(book, path, program, data, accounts)
    except (ValueError, IndexError):
        return


def _memo(step: Step) -> bytes:
    """Return a memo's bytes: the parsed text, or the data itself where the node could not read it as UTF-8."""
    if step.wire is not None:
        return step.wire[0]
    if step.instruction.parsed:
        return str(_text.decode(step.instruction.parsed)).encode()
    return from_base58(step.instruction.data)


# -- one transaction -----------------------------------------------------------------------------


class Reading(msgspec.Struct, gc=False):
    """One transaction, read."""

    view: View
    ok: bool | None
    movements: Sequence[Movement]
    memo: bytes | None
    flags: tuple[str, ...]
    book: Book


def read(row: Row, view: View, of: Container[str] | None = None) -> Reading:
    """Read a transaction.  ``ValueError`` (``msgspec.ValidationError`` is one) for what is none.

    ``of``: the accounts that will be asked about; None: all.
    """
    top: list[bytes] = []
    inner: list[bytes] = []
    book = Book(view.keys, row.meta)
    for step in view.steps:
        if step.program in MEMOS:
            (inner if "." in step.path else top).append(_memo(step))
        else:
            _replay(step, view.keys, book)
    if row.ok:
        book.settle(of)
    memo, flags = _join(top, inner)
    return Reading(view, row.ok, book.movements, memo, flags, book)


def _join(top: list[bytes], inner: list[bytes]) -> tuple[bytes | None, tuple[str, ...]]:
    """Join a transaction's memos by a newline, so that two of them are two to the memo grammar.

    A memo from inside another program's call need not be the payer's word: it counts only where
    there is no other, and is marked.
    """
    memos = top or inner
    if not memos:
        return None, ()
    memo = b"\n".join(memos)
    if len(memo) > MAX_MEMO:
        return None, ("memo_unreadable",)
    return memo, () if top else ("memo_untrusted",)


# -- transfers -----------------------------------------------------------------------------------


class Table:
    """The configured assets: a token counts by mint **and** program, never by symbol."""

    def __init__(self, chain: str, assets: Sequence[Asset]) -> None:
        self.chain = chain
        self.native = assets[0].code
        self.by_mint = {a.asset_id: a for a in assets if a.asset_id is not None}

    def code(self, m: Movement, book: Book) -> str | None:
        """Return the asset's code; None for what is not configured."""
        if not m.token:
            return self.native
        asset = self.by_mint.get(m.mint or "")
        entry = book.token_account(m.account)
        program = (entry.program_id if entry is not None else None) or m.program
        return asset.code if asset is not None and program == (asset.program or SPL) else None

    @staticmethod
    def holds(account: str, asset: Asset, book: Book) -> bool:
        """Are the balances of ``account`` in ``asset``?  A wallet's are lamports."""
        if asset.asset_id is None:
            return True
        entry = book.token_account(account)
        return entry is None or (entry.mint == asset.asset_id and entry.program_id in (None, asset.program or SPL))


def owner_of(account: str | None, m: Movement, book: Book) -> str | None:
    """Return the wallet behind ``account``: a token account's owner where the data tells, else itself."""
    entry = book.token_account(account) if m.token else None
    return entry.owner if entry is not None and entry.owner is not None else account


def sender_of(m: Movement, book: Book) -> tuple[str, ...]:
    """Return who paid: the owner of what was debited, not who signed the fee."""
    if not m.token:
        return (m.source,) if m.source is not None else ()
    entry = book.token_account(m.source)
    sender = (entry.owner if entry is not None else None) or m.authority or m.source
    return (sender,) if sender is not None else ()


def transfers(reading: Reading, table: Table, position: Position | None) -> Iterator[Transfer]:
    """Yield every movement of a transaction, whoever's."""
    book, txid, memo, ok = reading.book, reading.view.txid, reading.memo, reading.ok
    if reading.movements and not txid:
        raise ValueError("a transaction without a signature has no id")
    flags, differs = reading.flags, (*reading.flags, "balance_differs")
    for m in reading.movements:
        yield Transfer(
            table.chain,
            txid,
            m.index,
            table.code(m, book) if m.token else table.native,
            m.amount,
            owner_of(m.account, m, book) if m.token else m.account,
            m.mint,
            sender_of(m, book),
            memo,
            ok,
            position,
            differs if m.differs else flags,
        )


def _flags(reading: Reading, m: Movement, ours: Collection[str]) -> tuple[str, ...]:
    flags = reading.flags
    if m.differs:
        flags += ("balance_differs",)
    if m.source is not None and (m.source in ours or owner_of(m.source, m, reading.book) in ours):
        flags += ("internal",)
    return flags


class Ours(msgspec.Struct):
    """What we are paid at.

    ``accounts`` maps each wallet and each of its token accounts to the wallet and the asset that counts
    there (lamports sent to a token account are its rent).  ``references`` are Solana Pay reference keys:
    read-only keys of a payment that name the purchase, https://docs.solanapay.com/spec#reference.
    """

    accounts: dict[str, tuple[str, Asset]]
    references: set[str]


def payments(reading: Reading, ours: Ours, table: Table, position: Position | None) -> list[Transfer]:
    """Return what ``ours`` received and paid, by the balances; ``ValueError`` where these are missing.

    An account that did not sign has not spent, but a delegate or a program may have: what left it is
    taken off.  What came by no instruction that we read is one more transfer, at ``b<place of the account>``.
    """
    mine: list[tuple[Movement, str, Asset]] = []
    here = [(place, key) for place, key in enumerate(reading.view.keys) if key in ours.accounts]
    for place, account in here:
        wallet, asset = ours.accounts[account]
        token = asset.asset_id is not None
        arrived = [
            m
            for m in reading.movements
            if m.account == account and m.source != account and table.code(m, reading.book) == asset.code
        ]
        if reading.ok and table.holds(account, asset, reading.book):
            arrived += _settle_ours(reading, place, token, wallet in reading.view.signers, arrived)
        mine += [(m, wallet, asset) for m in arrived if m.amount > 0]
    references = tuple(k for k in reading.view.keys if k in ours.references) if mine and ours.references else ()
    return [
        Transfer(
            table.chain,
            reading.view.txid,
            m.index,
            asset.code,
            m.amount,
            wallet,
            asset.asset_id,
            sender_of(m, reading.book),
            reading.memo,
            reading.ok,
            position,
            _flags(reading, m, ours.accounts),
            references,
        )
        for m, wallet, asset in mine
    ] + _paid(reading, here, ours, table, position)


def _paid(
    reading: Reading, here: Sequence[tuple[int, str]], ours: Ours, table: Table, position: Position | None
) -> list[Transfer]:
    """Return what left ``ours`` for others, and what the transaction cost when one of them paid for it.

    What left an account that signed by no instruction that we read is one more row, at ``b<place of the account>``.
    """
    left: list[tuple[Movement, str, Asset]] = []
    for place, account in here:
        wallet, asset = ours.accounts[account]
        token = asset.asset_id is not None
        gone = [
            msgspec.structs.replace(m)
            for m in reading.movements
            if m.source == account and m.account not in ours.accounts and table.code(m, reading.book) == asset.code
        ]
        if reading.ok and table.holds(account, asset, reading.book):
            gone += _settle_gone(reading, place, token, wallet in reading.view.signers, gone)
        left += [(m, wallet, asset) for m in gone]
    found = [
        Transfer(
            chain=table.chain,
            txid=reading.view.txid,
            index=m.index,
            asset=asset.code,
            asset_id=asset.asset_id,
            amount=m.amount,
            to=owner_of(m.account, m, reading.book),
            sender=(wallet,),
            memo=reading.memo,
            ok=reading.ok,
            position=position,
            flags=(*reading.flags, "balance_differs") if m.differs else reading.flags,
            direction="out",
        )
        for m, wallet, asset in left
        if m.amount > 0
    ]
    payer = reading.view.keys[0] if reading.view.keys else ""
    if payer in ours.accounts:
        found.append(fee_of(table.chain, reading.view.txid, table.native, reading.book.fee, payer, position, ()))
    return found


def _settle_ours(
    reading: Reading, place: int, token: bool, signed: bool, arrived: Sequence[Movement]
) -> list[Movement]:
    """Hold what arrived at our account against its balance; return what arrived unexplained."""
    account = reading.view.keys[place]
    credited = sum(m.amount for m in arrived)
    growth = reading.book.growth(account, token)
    if growth is None:
        raise ValueError("the balances before and after are missing")
    due = max(0, growth)
    if signed:
        due = credited + max(0, growth - reading.book.explained(account, token))
    if credited > due:
        reduce(arrived, credited - due)
    if credited >= due:
        return []
    return [Movement(f"b{place}", None, None, account, due - credited, token, differs=True)]


def _settle_gone(reading: Reading, place: int, token: bool, signed: bool, gone: Sequence[Movement]) -> list[Movement]:
    """Hold what left our account against its balance; return what left unexplained.

    Where it did not sign, what left was taken off what arrived first: only a balance that fell has paid.
    """
    account = reading.view.keys[place]
    if not signed:
        if not gone:
            return []
        total, fell = sum(m.amount for m in gone), max(0, -(reading.book.growth(account, token) or 0))
        if total > fell:
            reduce(gone, total - fell)
        return []
    missing = -reading.book.excess(account, token)
    return [Movement(f"b{place}", None, account, None, missing, token, differs=True)] if missing > 0 else []
