"""From a Solana transaction to the value that moved in it.  Pure: no I/O, no clock.

Instructions say what was asked for, the balances before and after say what happened.  The instructions
tell several payments in one transaction apart (``index`` is the instruction's place, ``i`` or ``i.j``);
the amounts follow the balances: every instruction is replayed on the balances before, and where the
result is not the balance after, the balance rules and the transfer carries ``balance_differs``
(Token-2022 transfer fees, a delegate that takes the money back, a program we cannot read).

Sources: the System program's and SPL Token's instruction enums (solana-system-interface, spl-token,
spl-token-2022), and agave's ``transaction-status/src/parse_*.rs`` for the names in jsonParsed.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from chainwatch.adapters.solana_wire import (
    U64,
    Meta,
    Row,
    Step,
    TokenAmount,
    TokenBalance,
    View,
    accounts_of,
    from_base58,
    key_at,
    token_balances,
)
from chainwatch.model import Asset, Position, Transfer

SYSTEM = "11111111111111111111111111111111"
SPL = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"
SPL_2022 = "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"
MEMO_V1 = "Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo"
MEMO_V2 = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"
WRAPPED_SOL = "So11111111111111111111111111111111111111112"
"""The mint whose token accounts hold lamports: a token transfer of it moves both."""

MAX_MEMO = 4096
"""Bytes of memo that are kept: more than any signed transaction holds (1,232, and 4,096 in version 1)."""
SHORT_DATA = 300
"""Characters of base58 in the longest instruction read below (createAccountWithSeed, about 130 bytes)."""


class Info(msgspec.Struct, rename="camel"):
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


class Parsed(msgspec.Struct):
    """A parsed instruction; ``info`` differs by type."""

    type: str
    info: msgspec.Raw = msgspec.Raw(b"{}")


_parsed = msgspec.json.Decoder(Parsed)
_info = msgspec.json.Decoder(Info)
_text = msgspec.json.Decoder(str)


def u64(value: int | str | None) -> int:
    """Return an amount; ``ValueError`` for anything that is not in 0..2^64-1."""
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) <= 20):
            raise ValueError("an amount that is no number")
        value = int(value)
    if value is None or not 0 <= value <= U64:
        raise ValueError("an amount that is no u64")
    return value


def _le(data: bytes, start: int, size: int = 8) -> int:
    if len(data) < start + size:
        raise ValueError("an instruction that ends too soon")
    return int.from_bytes(data[start : start + size], "little")


# -- balances ------------------------------------------------------------------------------------


class Movement(msgspec.Struct):
    """Value that reached ``account``; for a token that is the token account, its ``owner`` the wallet."""

    index: str
    program: str | None
    source: str | None
    account: str | None
    amount: int
    token: bool = False
    mint: str | None = None
    authority: str | None = None
    differs: bool = False


class Book:
    """Balances of one transaction: replayed by the instructions, then held against what came out."""

    def __init__(self, keys: Sequence[str], meta: Meta | None) -> None:
        self.movements: list[Movement] = []
        self._keys, self._meta = keys, meta
        self._known = meta is not None and len(meta.pre_balances) == len(meta.post_balances) == len(keys)
        self._lamports: dict[str, int] = {}
        """How much each account grew by the instructions so far; the same for tokens."""
        self._held: dict[str, int] = {}
        self._before: dict[str, TokenBalance] | None = None
        self._after: dict[str, TokenBalance] | None = None
        self._tokens: dict[str, TokenBalance] | None = None

    @property
    def tokens(self) -> dict[str, TokenBalance]:
        """Every known token account by address: read from the data when first asked for."""
        if self._tokens is None:
            if self._meta is not None:
                self._before = self._by_account(self._meta.pre_token_balances)
                self._after = self._by_account(self._meta.post_token_balances)
            self._tokens = {**(self._before or {}), **(self._after or {})}
        return self._tokens

    def _by_account(self, raw: msgspec.Raw) -> dict[str, TokenBalance] | None:
        balances = token_balances(raw)
        try:
            return {self._keys[b.account_index]: b for b in balances} if balances is not None else None
        except IndexError as error:
            raise ValueError("a token balance of no account") from error

    # What one instruction does.  ``path`` is its place, ``program`` whose instruction it is.

    def move(self, path: str, program: str, source: str | None, target: str | None, amount: int) -> None:
        """Move lamports."""
        self._shift(self._lamports, source, target, amount)
        if amount:
            self.movements.append(Movement(path, program, source, target, amount))

    def send(
        self,
        path: str,
        program: str,
        source: str | None,
        target: str | None,
        amount: int,
        mint: str | None = None,
        authority: str | None = None,
        fee: int = 0,
    ) -> None:
        """Move tokens: without a source they are minted, without a target burnt."""
        tokens = self.tokens
        if mint is None:  # a plain transfer names no mint, its accounts do
            entry = tokens.get(target or "") or tokens.get(source or "")
            mint = entry.mint if entry is not None else None
        self._shift(self._held, source, target, amount, fee)
        if mint == WRAPPED_SOL:
            self._shift(self._lamports, source, target, amount)
        if target is not None and amount > fee:
            self.movements.append(Movement(path, program, source, target, amount - fee, True, mint, authority))

    def close(self, path: str, program: str, account: str | None, target: str | None) -> None:
        """Close a token account: all its lamports go to ``target``."""
        if account is None or account not in self._keys or self._meta is None or not self._known:
            return  # how much it held is not in the data
        before = (self._before or {}).get(account) if self.tokens else None
        self._held[account] = -_amount(before)  # only an empty account closes, or one of wrapped SOL
        held = self._meta.pre_balances[self._keys.index(account)] + self._lamports.get(account, 0)
        self.move(path, program, account, target, max(held, 0))

    def begin(self, program: str, account: str | None, mint: str | None, owner: str | None) -> None:
        """Open a token account: it may be closed again before the balances are taken."""
        if account is not None and mint is not None and account not in self.tokens:
            self.tokens[account] = TokenBalance(0, mint, TokenAmount("0"), owner, program)

    @staticmethod
    def _shift(balances: dict[str, int], source: str | None, target: str | None, amount: int, fee: int = 0) -> None:
        if source is not None:
            balances[source] = balances.get(source, 0) - amount
        if target is not None:
            balances[target] = balances.get(target, 0) + amount - fee

    # What came of it.

    def growth(self, account: str, token: bool) -> int | None:
        """Return how much ``account`` grew by its balances, the fee aside; None where they are not in the data."""
        if token:
            tokens_known = bool(self.tokens) or self._before is not None
            if not tokens_known or self._before is None or self._after is None:
                return None
            return _amount(self._after.get(account)) - _amount(self._before.get(account))
        if self._meta is None or not self._known or account not in self._keys:
            return None
        place = self._keys.index(account)
        fee = self._meta.fee if place == 0 else 0  # the first key pays it
        return self._meta.post_balances[place] - self._meta.pre_balances[place] + fee

    def excess(self, account: str, token: bool) -> int:
        """Return how much more ``account`` grew than the instructions explain (negative: less)."""
        growth = self.growth(account, token)
        return 0 if growth is None else growth - (self._held if token else self._lamports).get(account, 0)

    def settle(self) -> None:
        """Let the balances rule: what an account did not get in the end is taken off its movements."""
        done: set[tuple[str, bool]] = set()
        for m in self.movements:
            if m.account is None or (m.account, m.token) in done:
                continue
            done.add((m.account, m.token))
            missing = -self.excess(m.account, m.token)
            if missing > 0:
                reduce([o for o in self.movements if o.account == m.account and o.token == m.token], missing)


def _amount(balance: TokenBalance | None) -> int:
    return u64(balance.ui_token_amount.amount) if balance is not None else 0


def reduce(movements: Sequence[Movement], missing: int) -> None:
    """Take ``missing`` off ``movements`` in proportion (a fee is one), never below zero, and mark them."""
    total = sum(m.amount for m in movements)
    left = max(0, total - missing)
    given = 0
    for m in movements:
        share = m.amount * left // total if total else 0
        given += share
        m.amount, m.differs = share, True
    if movements:
        movements[-1].amount += left - given


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
    tag = _le(data, 0, 1)
    if tag == 3:  # Transfer(amount): source, destination, authority
        book.send(path, program, accounts[0], accounts[1], _le(data, 1), None, accounts[2])
    elif tag == 12:  # TransferChecked(amount, decimals): source, mint, destination, authority
        book.send(path, program, accounts[0], accounts[2], _le(data, 1), accounts[1], accounts[3])
    elif tag == 26 and _le(data, 1, 1) == 1:  # TransferCheckedWithFee(amount, decimals, fee): as TransferChecked
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
    path, program, instruction, wire = step
    reader = _READERS[program]
    if instruction.parsed:
        answer = _parsed.decode(instruction.parsed)
        if answer.type in reader.kinds:
            reader.parsed(book, path, program, answer.type, _info.decode(answer.info))
        return
    if wire is not None:
        data, accounts = wire[0], [key_at(keys, a) for a in wire[1]]
    elif len(instruction.data) > SHORT_DATA:
        return
    else:
        data, accounts = from_base58(instruction.data, SHORT_DATA), accounts_of(instruction, keys)
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


class Reading(NamedTuple):
    """One transaction, read."""

    view: View
    ok: bool | None
    movements: Sequence[Movement]
    memo: bytes | None
    flags: tuple[str, ...]
    book: Book


def read(row: Row, view: View) -> Reading:
    """Read a transaction.  ``ValueError`` (``msgspec.ValidationError`` is one) for what is none."""
    top: list[bytes] = []
    inner: list[bytes] = []
    book = Book(view.keys, row.meta)
    for step in view.steps:
        if step.program in MEMOS:
            (inner if "." in step.path else top).append(_memo(step))
        else:
            _replay(step, view.keys, book)
    if row.ok:
        book.settle()
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
        entry = book.tokens.get(m.account or "")
        program = (entry.program_id if entry is not None else None) or m.program
        return asset.code if asset is not None and program == (asset.program or SPL) else None


def owner_of(account: str | None, m: Movement, book: Book) -> str | None:
    """Return the wallet behind ``account``: a token account's owner where the data tells, else itself."""
    entry = book.tokens.get(account or "") if m.token else None
    return entry.owner if entry is not None and entry.owner is not None else account


def sender_of(m: Movement, book: Book) -> tuple[str, ...]:
    """Return who paid: the owner of what was debited, not who signed the fee."""
    entry = book.tokens.get(m.source or "") if m.token else None
    sender = (entry.owner if entry is not None else None) or m.authority or m.source
    return (sender,) if sender is not None else ()


def transfers(reading: Reading, table: Table, position: Position | None) -> Iterator[Transfer]:
    """Yield every movement of a transaction, whoever's."""
    for m in reading.movements:
        if not reading.view.txid:
            raise ValueError("a transaction without a signature has no id")
        yield Transfer(
            chain=table.chain,
            txid=reading.view.txid,
            index=m.index,
            asset=table.code(m, reading.book),
            asset_id=m.mint,
            amount=m.amount,
            to=owner_of(m.account, m, reading.book),
            sender=sender_of(m, reading.book),
            memo=reading.memo,
            ok=reading.ok,
            position=position,
            flags=_flags(reading, m, ()),
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


def payments(
    reading: Reading, signers: Collection[str], ours: Ours, table: Table, position: Position | None
) -> list[Transfer]:
    """Return what ``ours`` received, by the balances; ``ValueError`` where these are missing.

    An account that did not sign has not spent, but a delegate or a program may have: what left it is
    taken off.  What came by no instruction that we read is one more transfer, at ``b<place of the account>``.
    """
    mine: list[tuple[Movement, str, Asset]] = []
    for place, account in enumerate(reading.view.keys):
        if account not in ours.accounts:
            continue
        wallet, asset = ours.accounts[account]
        token = asset.asset_id is not None
        arrived = [
            m
            for m in reading.movements
            if m.account == account and m.source != account and table.code(m, reading.book) == asset.code
        ]
        if reading.ok:
            arrived += _settle_ours(reading, place, token, wallet in signers, arrived)
        mine += [(m, wallet, asset) for m in arrived if m.amount > 0]
    references = tuple(k for k in reading.view.keys if k in ours.references)
    return [
        Transfer(
            chain=table.chain,
            txid=reading.view.txid,
            index=m.index,
            asset=asset.code,
            asset_id=asset.asset_id,
            amount=m.amount,
            to=wallet,
            sender=sender_of(m, reading.book),
            memo=reading.memo,
            ok=reading.ok,
            position=position,
            flags=_flags(reading, m, ours.accounts),
            references=references,
        )
        for m, wallet, asset in mine
    ]


def _settle_ours(
    reading: Reading, place: int, token: bool, signed: bool, arrived: Sequence[Movement]
) -> list[Movement]:
    """Hold what arrived at our account against its balance; return what arrived unexplained."""
    account = reading.view.keys[place]
    credited = sum(m.amount for m in arrived)
    growth = reading.book.growth(account, token)
    if growth is None:
        raise ValueError("the balances before and after are missing")
    due = max(0, growth) if not signed else credited + max(0, reading.book.excess(account, token))
    if credited > due:
        reduce(arrived, credited - due)
    if credited >= due:
        return []
    return [Movement(f"b{place}", None, None, account, due - credited, token, differs=True)]
