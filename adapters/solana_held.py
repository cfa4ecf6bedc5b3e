"""What accounts hold by a validator's word (``getMultipleAccounts``): all of it at one slot."""

from typing import Any

import msgspec

from chainwatch.adapters.base import Balances
from chainwatch.adapters.rpc import Rpc
from chainwatch.adapters.solana_book import u64
from chainwatch.adapters.solana_tx import Ours
from chainwatch.errors import Inconsistent

MAX_ACCOUNTS = 100
"""Accounts of one answer, as nodes allow: an operator has a wallet or two and their token accounts."""


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


async def balances(rpc: Rpc, chain: str, ours: Ours) -> Balances:
    """Return what our wallets and token accounts hold at the newest final slot."""
    keys = sorted(ours.accounts)[:MAX_ACCOUNTS]
    options = {"commitment": "finalized", "encoding": "jsonParsed"}
    answer = await rpc.call("getMultipleAccounts", [keys, options], result=Accounts)
    if len(answer.value) != len(keys):
        raise Inconsistent(f"{chain}: {len(answer.value)} of {len(keys)} accounts were answered")
    amounts: dict[str, int] = {}
    for key, account in zip(keys, answer.value, strict=True):
        _, asset = ours.accounts[key]
        try:
            amount = 0 if account is None else account.amount(asset.asset_id)
        except ValueError as error:
            raise Inconsistent(f"{chain}: account {key}: {error}") from error
        amounts[asset.code] = amounts.get(asset.code, 0) + amount
    return Balances(answer.context.slot, amounts)
