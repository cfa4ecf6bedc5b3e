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

from chainwatch.adapters.solana_wire import U64, Instruction, Meta, Row, Step, TokenAmount, View, from_base58, key_at
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


class Act(NamedTuple):
    """What one instruction does to balances.  ``mint`` None with ``token`` True: found from the accounts."""

    kind: str
    """move, mint, burn, close or init."""
    source: str | None
    target: str | None
    amount: int = 0
    fee: int = 0
    token: bool = False
    mint: str | None = None
    authority: str | None = None


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


# -- one instruction -----------------------------------------------------------------------------


def _lamports(info: Info) -> Act:
    return Act("move", info.source, info.destination, u64(info.lamports))


def _funding(info: Info) -> Act:
    return Act("move", info.source, info.new_account, u64(info.lamports))


def _from_nonce(info: Info) -> Act:
    return Act("move", info.nonce_account, info.destination, u64(info.lamports))


def _system_raw(data: bytes, accounts: Sequence[str | None]) -> Act | None:
    tag = _le(data, 0, 4)
    if tag == 0:  # CreateAccount(lamports, space, owner): funder, new account
        return Act("move", accounts[0], accounts[1], _le(data, 4))
    if tag == 2:  # Transfer(lamports): from, to
        return Act("move", accounts[0], accounts[1], _le(data, 4))
    if tag == 3:  # CreateAccountWithSeed(base, seed, lamports, …): funder, new account
        seed = _le(data, 36)
        if seed > 32:
            raise ValueError("a seed of more than 32 bytes")
        return Act("move", accounts[0], accounts[1], _le(data, 44 + seed))
    if tag == 5:  # WithdrawNonceAccount(lamports): nonce account, to
        return Act("move", accounts[0], accounts[1], _le(data, 4))
    if tag == 11:  # TransferWithSeed(lamports, seed, owner): from, base, to
        return Act("move", accounts[0], accounts[2], _le(data, 4))
    return None


def _tokens(info: Info) -> int:
    return u64(info.token_amount.amount if info.token_amount is not None else info.amount)


def _token_transfer(info: Info) -> Act:
    fee = u64(info.fee_amount.amount) if info.fee_amount is not None else 0
    authority = info.authority or info.multisig_authority
    return Act("move", info.source, info.destination, _tokens(info), fee, True, info.mint, authority)


def _minted(info: Info) -> Act:
    return Act("mint", None, info.account, _tokens(info), 0, True, info.mint)


def _burned(info: Info) -> Act:
    return Act("burn", info.account, None, _tokens(info), 0, True, info.mint)


def _closed(info: Info) -> Act:
    return Act("close", info.account, info.destination)


def _opened(info: Info) -> Act:
    return Act("init", None, info.account, mint=info.mint, authority=info.owner)


def _token_raw(data: bytes, accounts: Sequence[str | None]) -> Act | None:
    tag = _le(data, 0, 1)
    if tag == 3:  # Transfer(amount): source, destination, authority
        return Act("move", accounts[0], accounts[1], _le(data, 1), 0, True, None, accounts[2])
    if tag == 12:  # TransferChecked(amount, decimals): source, mint, destination, authority
        return Act("move", accounts[0], accounts[2], _le(data, 1), 0, True, accounts[1], accounts[3])
    if tag == 26 and _le(data, 1, 1) == 1:  # TransferCheckedWithFee(amount, decimals, fee): as TransferChecked
        return Act("move", accounts[0], accounts[2], _le(data, 2), _le(data, 11), True, accounts[1], accounts[3])
    if tag in (7, 14):  # MintTo, MintToChecked(amount): mint, account
        return Act("mint", None, accounts[1], _le(data, 1), 0, True, accounts[0])
    if tag in (8, 15):  # Burn, BurnChecked(amount): account, mint
        return Act("burn", accounts[0], None, _le(data, 1), 0, True, accounts[1])
    if tag == 9:  # CloseAccount: account, destination
        return Act("close", accounts[0], accounts[1])
    if tag == 1:  # InitializeAccount: account, mint, owner
        return Act("init", None, accounts[0], mint=accounts[1], authority=accounts[2])
    if tag in (16, 18) and len(data) == 33:  # InitializeAccount2, 3(owner): account, mint
        from solders.pubkey import Pubkey

        return Act("init", None, accounts[0], mint=accounts[1], authority=str(Pubkey.from_bytes(data[1:])))
    return None


_SYSTEM_PARSED: Mapping[str, Callable[[Info], Act]] = {
    "transfer": _lamports,
    "transferWithSeed": _lamports,
    "createAccount": _funding,
    "createAccountWithSeed": _funding,
    "withdrawFromNonce": _from_nonce,
}
_TOKEN_PARSED: Mapping[str, Callable[[Info], Act]] = {
    "transfer": _token_transfer,
    "transferChecked": _token_transfer,
    "transferCheckedWithFee": _token_transfer,
    "mintTo": _minted,
    "mintToChecked": _minted,
    "burn": _burned,
    "burnChecked": _burned,
    "closeAccount": _closed,
    "initializeAccount": _opened,
    "initializeAccount2": _opened,
    "initializeAccount3": _opened,
}
_Raw = Callable[[bytes, Sequence[str | None]], Act | None]
_READERS: Mapping[str, tuple[Mapping[str, Callable[[Info], Act]], _Raw]] = {
    SYSTEM: (_SYSTEM_PARSED, _system_raw),
    SPL: (_TOKEN_PARSED, _token_raw),
    SPL_2022: (_TOKEN_PARSED, _token_raw),
}
MEMOS = frozenset({MEMO_V1, MEMO_V2})
PROGRAMS: Mapping[str, object] = {**_READERS, **dict.fromkeys(MEMOS)}


def _act(step: Step, keys: Sequence[str]) -> Act | None:
    """Read one system or token instruction; None for those that move nothing or that we do not know.

    The program itself refuses raw data that is too short or lacks accounts, so that it moves nothing:
    it is passed over, as is a kind added later, and the balances show what came of it.
    """
    parsed, raw = _READERS[step.program]
    instruction = step.instruction
    if bytes(instruction.parsed):
        answer = _parsed.decode(instruction.parsed)
        reader = parsed.get(answer.type)
        return reader(_info.decode(answer.info)) if reader is not None else None
    data = step.raw
    if data is None:
        if len(instruction.data) > SHORT_DATA:
            return None
        data = from_base58(instruction.data, SHORT_DATA)
    try:
        return raw(data, [key_at(keys, a) for a in instruction.accounts])
    except (ValueError, IndexError):
        return None


def _memo(instruction: Instruction, raw: bytes | None) -> bytes:
    """Return a memo's bytes: the parsed text, or the data itself where the node could not read it as UTF-8."""
    if raw is not None:
        return raw
    if bytes(instruction.parsed):
        return str(_text.decode(instruction.parsed)).encode()
    return from_base58(instruction.data)


# -- one transaction -----------------------------------------------------------------------------


class Movement(msgspec.Struct):
    """Value that reached ``account``; for a token that is the token account, its ``owner`` the wallet."""

    index: str
    source: str | None
    account: str | None
    amount: int
    token: bool = False
    mint: str | None = None
    program: str | None = None
    authority: str | None = None
    differs: bool = False


class TokenAccount(msgspec.Struct):
    """A token account named in the balances, or opened by an instruction."""

    mint: str
    owner: str | None
    program: str | None
    before: int = 0
    after: int = 0


class Book:
    """Balances of one transaction: replayed by the instructions, then held against what came out."""

    def __init__(self, keys: Sequence[str], meta: Meta | None) -> None:
        self.movements: list[Movement] = []
        self.tokens: dict[str, TokenAccount] = {}
        self.known = meta is not None and len(meta.pre_balances) == len(meta.post_balances) == len(keys)
        self.tokens_known = False
        self.before: dict[str, int] = {}
        self.after: dict[str, int] = {}
        self.lamports: dict[str, int] = {}
        self.held: dict[str, int] = {}
        if meta is None:
            return
        if self.known:
            self.before = dict(zip(keys, meta.pre_balances, strict=True))
            self.after = dict(zip(keys, meta.post_balances, strict=True))
            if keys:
                self.before[keys[0]] -= meta.fee  # the first key pays the fee
            self.lamports = dict(self.before)
        before, after = meta.pre_token_balances, meta.post_token_balances
        self.tokens_known = before is not None and after is not None
        for balances, is_after in ((before or (), False), (after or (), True)):
            for b in balances:
                account = key_at(keys, b.account_index)
                if account is None:
                    raise ValueError("a token balance of no account")
                entry = self.tokens.setdefault(account, TokenAccount(b.mint, b.owner, b.program_id))
                if is_after:
                    entry.after = u64(b.ui_token_amount.amount)
                else:
                    entry.before = u64(b.ui_token_amount.amount)
        self.held = {account: entry.before for account, entry in self.tokens.items()}

    def apply(self, step: Step, act: Act) -> None:
        """Replay one instruction."""
        if act.kind == "init":
            if act.target is not None and act.mint is not None:
                self.tokens.setdefault(act.target, TokenAccount(act.mint, act.authority, step.program))
            return
        if act.kind == "close":
            if act.source is None or act.source not in self.lamports:
                return  # how much it held is not in the data
            self.held[act.source] = 0  # only an empty account closes, or one of wrapped SOL
            act = act._replace(amount=self.lamports[act.source])
        mint = act.mint or self._mint(act) if act.token else None
        if act.token:
            self._shift(self.held, act.source, -act.amount)
            self._shift(self.held, act.target, act.amount - act.fee)
        if not act.token or mint == WRAPPED_SOL:
            self._shift(self.lamports, act.source, -act.amount)
            self._shift(self.lamports, act.target, act.amount)
        if act.kind != "burn" and act.amount > act.fee:
            self.movements.append(
                Movement(
                    step.path,
                    act.source,
                    act.target,
                    act.amount - act.fee,
                    act.token,
                    mint,
                    step.program,
                    act.authority,
                )
            )

    @staticmethod
    def _shift(balances: dict[str, int], account: str | None, amount: int) -> None:
        if account is not None:
            balances[account] = balances.get(account, 0) + amount

    def _mint(self, act: Act) -> str | None:
        """Return the mint of a plain token transfer: it names none, its accounts do."""
        for account in (act.target, act.source):
            if account in self.tokens:
                return self.tokens[account].mint
        return None

    def excess(self, account: str, token: bool) -> int:
        """Return how much more ``account`` holds than the instructions explain (negative: less)."""
        if token:
            if not self.tokens_known:
                return 0
            entry = self.tokens.get(account)
            return (entry.after if entry is not None else 0) - self.held.get(account, 0)
        if not self.known or account not in self.after:
            return 0
        return self.after[account] - self.lamports[account]

    def growth(self, account: str, token: bool) -> int:
        """Return how much ``account`` grew, the fee aside; ``ValueError`` where the balances are not in the data."""
        if token and self.tokens_known:
            entry = self.tokens.get(account)
            return entry.after - entry.before if entry is not None else 0
        if not token and self.known:
            return self.after[account] - self.before[account]
        raise ValueError("the balances before and after are missing")

    def settle(self) -> None:
        """Let the balances rule: what an account did not get in the end is taken off its movements."""
        groups: dict[tuple[str, bool], list[Movement]] = {}
        for m in self.movements:
            if m.account is not None:
                groups.setdefault((m.account, m.token), []).append(m)
        for (account, token), movements in groups.items():
            missing = -self.excess(account, token)
            if missing > 0:
                reduce(movements, missing)


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
            (inner if "." in step.path else top).append(_memo(step.instruction, step.raw))
        elif (act := _act(step, view.keys)) is not None:
            book.apply(step, act)
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
        program = (entry.program if entry is not None else None) or m.program
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


def payments(reading: Reading, ours: Ours, table: Table, position: Position | None) -> list[Transfer]:
    """Return what ``ours`` received, by the balances.

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
            arrived += _settle_ours(reading, place, token, wallet in reading.view.signers, arrived)
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
    due = max(0, growth) if not signed else credited + max(0, reading.book.excess(account, token))
    if credited > due:
        reduce(arrived, credited - due)
    if credited >= due:
        return []
    return [Movement(f"b{place}", None, account, due - credited, token, differs=True)]
