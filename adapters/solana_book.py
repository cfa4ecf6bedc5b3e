"""The balances of one Solana transaction, replayed instruction by instruction.

Instructions say what was asked for, the balances before and after say what happened.  Both are kept
here: where they disagree the balance rules, and the movement is marked.
"""

from collections.abc import Container, Mapping, Sequence

import msgspec

from chainwatch.adapters.solana_wire import U64, Meta, TokenAmount, TokenBalance, token_balances

WRAPPED_SOL = "So11111111111111111111111111111111111111112"
"""The mint whose token accounts hold lamports: a token transfer of it moves both."""


def u64(value: int | str | None) -> int:
    """Return an amount; ``ValueError`` for anything that is not in 0..2^64-1."""
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) <= 20):
            raise ValueError("an amount that is no number")
        value = int(value)
    if value is None or not 0 <= value <= U64:
        raise ValueError("an amount that is no u64")
    return value


class Movement(msgspec.Struct, gc=False):
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
        self._before: Mapping[str, TokenBalance] | None = None
        self._after: Mapping[str, TokenBalance] | None = None
        self._opened: dict[str, TokenBalance] = {}
        self._unread = meta is not None

    def token_account(self, account: str | None) -> TokenBalance | None:
        """Return the mint, owner and program of a token account, as far as the data tells."""
        if self._unread:
            self._read_tokens()
        if account is None:
            return None
        if self._after is not None and account in self._after:
            return self._after[account]
        if self._before is not None and account in self._before:
            return self._before[account]
        return self._opened.get(account)

    def _read_tokens(self) -> None:
        """Read the token balances, when first asked for."""
        self._unread = False
        if self._meta is not None:
            self._before = self._by_account(self._meta.pre_token_balances)
            self._after = self._by_account(self._meta.post_token_balances)

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
        if mint is None:  # a plain transfer names no mint, its accounts do
            entry = self.token_account(target) or self.token_account(source)
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
        if self._unread:
            self._read_tokens()
        # Only an empty account closes, or one of wrapped SOL.
        self._held[account] = -_amount(self._before.get(account)) if self._before is not None else 0
        held = self._meta.pre_balances[self._keys.index(account)] + self._lamports.get(account, 0)
        self.move(path, program, account, target, max(held, 0))

    def begin(self, program: str, account: str | None, mint: str | None, owner: str | None) -> None:
        """Open a token account: it may be closed again before the balances are taken."""
        if account is not None and mint is not None:
            self._opened[account] = TokenBalance(0, mint, TokenAmount("0"), owner, program)

    @staticmethod
    def _shift(balances: dict[str, int], source: str | None, target: str | None, amount: int, fee: int = 0) -> None:
        if source is not None:
            balances[source] = balances.get(source, 0) - amount
        if target is not None:
            balances[target] = balances.get(target, 0) + amount - fee

    # What came of it.

    @property
    def fee(self) -> int | None:
        """What the first key paid for the transaction; None where the data does not tell."""
        return None if self._meta is None else self._meta.fee

    def growth(self, account: str, token: bool) -> int | None:
        """Return how much ``account`` grew by its balances, the fee aside; None where they are not in the data."""
        if token:
            if self._unread:
                self._read_tokens()
            if self._before is None or self._after is None:
                return None
            return _amount(self._after.get(account)) - _amount(self._before.get(account))
        if self._meta is None or not self._known:
            return None
        try:
            place = self._keys.index(account)
        except ValueError:
            return None
        fee = self._meta.fee if place == 0 else 0  # the first key pays it
        return self._meta.post_balances[place] - self._meta.pre_balances[place] + fee

    def excess(self, account: str, token: bool) -> int:
        """Return how much more ``account`` grew than the instructions explain (negative: less)."""
        growth = self.growth(account, token)
        return 0 if growth is None else growth - self.explained(account, token)

    def explained(self, account: str, token: bool) -> int:
        """Return how much ``account`` grew by the instructions."""
        return (self._held if token else self._lamports).get(account, 0)

    def settle(self, of: Container[str] | None = None) -> None:
        """Let the balances rule: what an account did not get in the end is taken off its movements.

        ``of``: only what these accounts got or paid is asked for.
        """
        done: set[tuple[str, bool]] = set()
        for m in self.movements:
            if m.account is None or (place := (m.account, m.token)) in done:
                continue
            if of is not None and m.account not in of and m.source not in of:
                continue
            done.add(place)
            missing = -self.excess(m.account, m.token)
            if missing > 0:
                reduce([o for o in self.movements if o.account == m.account and o.token == m.token], missing)


def _amount(balance: TokenBalance | None) -> int:
    return u64(balance.ui_token_amount.amount) if balance is not None else 0


def reduce(movements: Sequence[Movement], missing: int) -> None:
    """Take ``missing`` off ``movements`` in proportion (a fee is one), never below zero, and mark them."""
    total = sum(m.amount for m in movements)
    left = max(0, total - missing)
    shares = [m.amount * left // total if total else 0 for m in movements]
    over = left - sum(shares)  # fewer units than movements: one each to those that were rounded down
    for m, share in zip(movements, shares, strict=True):
        one = 1 if over and share < m.amount else 0
        over -= one
        m.amount, m.differs = share + one, True
