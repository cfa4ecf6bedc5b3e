"""Bars appear for long ways only, never run backwards past their start, and go when the way is over."""

import io

from rich.console import Console
from rich.progress import Progress

from chainwatch.progress import LONG, Bars


def test_a_bar_stands_while_a_chain_is_far_behind_and_goes_when_it_has_caught_up() -> None:
    progress = Progress(console=Console(file=io.StringIO(), force_terminal=True))
    bars = Bars(progress)
    bars.update([("HIVE", None), ("ETH", LONG - 1), ("BTC", LONG * 4)])
    assert [(t.description, t.total, t.completed) for t in progress.tasks] == [("BTC", LONG * 4, 0)]
    bars.update([("BTC", LONG)])
    assert [(t.total, t.completed) for t in progress.tasks] == [(LONG * 4, LONG * 3)]
    bars.update([("BTC", LONG * 5)])  # the head went on while a node did not answer
    assert [(t.total, t.completed) for t in progress.tasks] == [(LONG * 5, 0)]
    bars.update([("BTC", 0)])
    assert progress.tasks == []
