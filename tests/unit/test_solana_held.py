"""What Solana accounts hold is one slot's: more accounts than one answer has are asked in parts."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from chainwatch.adapters import solana_held
from chainwatch.adapters.rpc import Endpoint, Rpc
from chainwatch.adapters.solana_tx import Ours
from chainwatch.errors import Inconsistent
from chainwatch.model import Asset

ENDPOINT = cast(Endpoint, object())
SOL = Asset(code="SOL", chain="SOL", asset_id=None, decimals=9)


class Node:
    """Answers 7 lamports for every account, at the slots it is told."""

    def __init__(self, slots: list[int]) -> None:
        self.slots, self.asked = slots, []

    async def call(self, method: str, params: Any, *, result: Any, on: Endpoint) -> Any:
        assert on is ENDPOINT
        keys, options = params
        assert (method, options["commitment"]) == ("getMultipleAccounts", "finalized")
        self.asked.append(len(keys))
        slot = self.slots.pop(0) if len(self.slots) > 1 else self.slots[0]
        return result(solana_held.Context(slot), [solana_held.Held(7) for _ in keys])


def ours(count: int) -> Ours:
    return cast(Ours, SimpleNamespace(accounts={f"account{n:04}": ("wallet", SOL) for n in range(count)}))


async def test_accounts_beyond_one_answer_are_counted_too() -> None:
    node = Node([9])
    told = await solana_held.balances(cast(Rpc, node), ENDPOINT, "SOL", ours(250))
    assert (told.height, told.amounts) == (9, {"SOL": 250 * 7})
    assert node.asked == [100, 100, 50]


async def test_answers_of_different_slots_are_asked_again() -> None:
    node = Node([9, 10, 11])
    told = await solana_held.balances(cast(Rpc, node), ENDPOINT, "SOL", ours(150))
    assert (told.height, told.amounts) == (11, {"SOL": 150 * 7})


async def test_slots_that_never_agree_are_no_answer() -> None:
    node = Node(list(range(100)))
    with pytest.raises(Inconsistent, match="one slot"):
        await solana_held.balances(cast(Rpc, node), ENDPOINT, "SOL", ours(101))
    assert len(node.asked) == 2 * solana_held.READINGS
