"""What accounts hold by a validator's word (``getMultipleAccounts``): all of it at one slot."""

from collections.abc import Sequence
from typing import Any

import msgspec

from chainwatch.adapters.base import Balances
from chainwatch.adapters.rpc import Endpoint, Rpc, side_by_side
from chainwatch.adapters.solana_book import u64
from chainwatch.adapters.solana_tx import Ours
from chainwatch.errors import Inconsistent

MAX_ACCOUNTS = 100
"""Accounts of one answer, as nodes allow.  A wallet has two accounts a token, so ten wallets can have more."""
READINGS = 5
"""How often more than one answer is asked for until all are of one slot; slots pass every 0.4 seconds."""


class Context(msgspec.Struct):
    """At which slot."""

    slot: int


class Held(msgspec.Struct):
    """One account; ``data`` is parsed for token accounts."""

    lamports: int
    data: Any = None

    def amount(self, mint: str | None) -> int:
        """Return lamports, or for a mint what the token account holds."""
        if mint is None:
            return self.lamports
        try:
            info = self.data["parsed"]["info"]
            return u64(info["tokenAmount"]["amount"]) if info["mint"] == mint else 0
        except (TypeError, KeyError) as error:
            raise ValueError("a token account that the node cannot read") from error


class Accounts(msgspec.Struct):
    """The answer: null for an account that is not there."""

    context: Context
    value: list[Held | None]


async def balances(rpc: Rpc, on: Endpoint, chain: str, ours: Ours) -> Balances:
    """Return what our wallets and token accounts hold at the newest final slot; ``Inconsistent`` when it moved on."""
    keys = sorted(ours.accounts)
    slot, held = await _at_one_slot(rpc, on, chain, keys)
    amounts: dict[str, int] = {}
    for key, account in zip(keys, held, strict=True):
        _, asset = ours.accounts[key]
        try:
            amount = 0 if account is None else account.amount(asset.asset_id)
        except ValueError as error:
            raise Inconsistent(f"{chain}: account {key}: {error}") from error
        amounts[asset.code] = amounts.get(asset.code, 0) + amount
    return Balances(slot, amounts)


async def _at_one_slot(rpc: Rpc, on: Endpoint, chain: str, keys: Sequence[str]) -> tuple[int, list[Held | None]]:
    """Read accounts in answers of one slot, so that money moving between two of ours counts once."""
    options = {"commitment": "finalized", "encoding": "jsonParsed"}
    parts = [keys[i : i + MAX_ACCOUNTS] for i in range(0, len(keys), MAX_ACCOUNTS)] or [keys]
    for _ in range(READINGS):
        answers = await side_by_side(
            [rpc.call("getMultipleAccounts", [part, options], result=Accounts, on=on) for part in parts]
        )
        if any(len(a.value) != len(part) for a, part in zip(answers, parts, strict=True)):
            raise Inconsistent(f"{chain}: not every account was answered")
        if len({a.context.slot for a in answers}) == 1:
            return answers[0].context.slot, [held for a in answers for held in a.value]
    raise Inconsistent(f"{chain}: {len(keys)} accounts were not answered at one slot")
