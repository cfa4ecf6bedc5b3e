"""A ledger that runs its transactions at once, in the caller's thread: deterministic, for simulation and tests."""

import itertools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, event

from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import metadata

P = ParamSpec("P")
T = TypeVar("T")


_NAMES = itertools.count()


class Crash(BaseException):
    """The process dies here.  Not an ``Exception``: nothing in the product may catch it."""


class InlineLedger(Store):
    """A store without threads that can be made to die at any statement.

    ``crash_in``: the number of statements after which ``Crash`` is raised; None: never.
    """

    def __init__(self, url: str | None = None) -> None:
        # A named database in memory outlives the connection that a crash takes with it.
        super().__init__(url or f"sqlite:///file:ledger-{next(_NAMES)}?mode=memory&cache=shared&uri=true")
        self.crash_in: int | None = None
        self._anchor = self.engine.raw_connection()
        metadata.create_all(self.engine)
        event.listen(self.engine, "before_cursor_execute", self._count)

    def close(self) -> None:
        """Forget the database."""
        self._anchor.close()
        super().close()

    def _count(self, *_args: object) -> None:
        if self.crash_in is not None:
            self.crash_in -= 1
            if self.crash_in < 0:
                self.crash_in = None
                raise Crash

    async def write(self, body: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``body`` as one transaction, here and now."""
        with self.transaction() as connection:
            return body(connection, *args, **kwargs)

    async def write_together(
        self, body: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run ``body`` as one transaction of its own, here and now."""
        return await self.write(body, *args, **kwargs)

    async def read(self, body: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``body`` on one look, here and now."""
        with self.reading() as connection:
            return body(connection, *args, **kwargs)
