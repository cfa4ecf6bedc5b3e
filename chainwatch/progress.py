"""Bars on a terminal for chains that have a long way to catch up; where nobody looks, the log and the metrics tell."""

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from chainwatch.clock import Clock
from chainwatch.watcher import Watcher

LONG = 500
"""Blocks behind from which a bar is worth its line; less is read in a second or two."""
REFRESH_S = 0.5


class Bars:
    """One bar for each chain that is far behind; it goes when the chain has caught up."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, tuple[TaskID, int]] = {}

    def update(self, lags: Sequence[tuple[str, int | None]]) -> None:
        """Take (chain, blocks behind; None: not known yet)."""
        for chain, lag in lags:
            if lag is None:
                continue
            if chain not in self._tasks and lag >= LONG:
                self._tasks[chain] = (self._progress.add_task(chain, total=lag), lag)
            elif chain in self._tasks:
                task, most = self._tasks[chain]
                most = max(most, lag)
                self._tasks[chain] = (task, most)
                self._progress.update(task, total=most, completed=most - lag)
                if lag < LONG // 10:
                    self._progress.remove_task(task)
                    del self._tasks[chain]


async def show(watchers: Sequence[Watcher], clock: Clock) -> None:
    """Draw bars on standard error until cancelled; nothing where it is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return
    columns = (TextColumn("{task.description} catching up"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bars = Bars(progress)
        while True:
            bars.update([(w.chain, w.condition.lag) for w in watchers])
            await clock.sleep(REFRESH_S)
