"""Where single scans are decided: those that come at the same time share a transaction, for a door must not stall."""

from collections.abc import Sequence

from sqlalchemy import Connection

from chainwatch.api.backend import Backend
from chainwatch.errors import Rejected
from chainwatch.ledger.entries import Entry
from chainwatch.ledger.grouped import Grouped
from chainwatch.ledger.scans import Scan, check_in_all
from chainwatch.tickets.codes import Codes


class Desk:
    """One for all devices of the daemon."""

    def __init__(self, backend: Backend, codes: Codes) -> None:
        def body(connection: Connection, scans: Sequence[tuple[int, Scan]]) -> Sequence[Entry | Rejected]:
            early_ms = backend.settings.access.early_minutes * 60_000
            return check_in_all(connection, scans, codes, backend.now_ms(), early_ms)

        self._scans: Grouped[tuple[int, Scan], Entry] = Grouped(backend.store, body)

    async def decide(self, device_id: int, scan: Scan) -> Entry:
        """Return the answer, once it is committed; ``Rejected`` when the device was revoked."""
        return await self._scans.ask((device_id, scan))
