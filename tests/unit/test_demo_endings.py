"""The acts of ``chainwatch demo`` on a machine that stands still now and then."""

import pytest

from chainwatch.devnet.endings import Ending, Stage
from chainwatch.errors import Rejected


class Playing(Stage):
    """A stage without a chain: each play of the act comes out as the test says."""

    def __init__(self, *outcomes: bool) -> None:
        self.outcomes, self.plays = list(outcomes), 0

    async def act(self) -> str:
        self.plays += 1
        return "txid"

    async def _comes(self, name: str, txid: str) -> bool:
        return self.outcomes.pop(0)


@pytest.mark.parametrize(
    ("outcomes", "plays", "came"),
    [((True,), 1, "wrong asset"), ((False, True), 2, "wrong asset"), ((False, False), 2, "")],
)
async def test_an_act_that_came_out_otherwise_is_played_once_more(
    outcomes: tuple[bool, ...], plays: int, came: str
) -> None:
    stage, row = Playing(*outcomes), Ending("wrong_asset", "another coin")
    await stage._act(row, stage.act)
    assert (stage.plays, row.came) == (plays, came)


async def test_an_act_that_cannot_be_played_again_leaves_the_others_alone() -> None:
    stage, row = Playing(False), Ending("late_without_seat", "the seat is gone")

    async def act() -> str:
        if not stage.plays:
            return await stage.act()
        raise Rejected("sold_out")

    await stage._act(row, act)
    assert row.came == ""
