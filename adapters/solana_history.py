"""Which transactions name our accounts: ``getSignaturesForAddress``, newest first, page by page.

The method has no cursor that goes forward, so a listing begins at the newest signature and pages back
until it is below the slot that was read before.  Every page of a listing comes from one endpoint: two
nodes need not agree on what is newest.  Asked for what is before a signature that it does not know (it lags, or
keeps a shorter past, behind the same address), a node answers that there is nothing: so pages overlap by one.
"""

from collections.abc import Collection
from typing import Any

import msgspec

from chainwatch.adapters.rpc import Endpoint, Rpc, RpcError
from chainwatch.errors import Inconsistent, Misconfigured, Persistent
from chainwatch.model import BlockRef

FIRST_PAGE = 100
"""Signatures asked for first: polling a quiet account is then a small answer."""
PAGE = 1_000
"""Signatures asked for after that: the method's own limit."""
MAX_SIGNATURES = 1_000_000
"""Signatures held of one listing (about 300 MB), so that a node that lies cannot exhaust the memory.  An
account with more since the last read needs a later start, or a chain indexer, not this method."""

NO_HISTORY = -32011
"""agave: the node was started without ``--enable-rpc-transaction-history``."""


class Found(msgspec.Struct, rename="camel", frozen=True):
    """One entry of a listing.  ``err`` null: the transaction succeeded."""

    signature: str
    slot: int
    err: Any = None
    block_time: int | None = None


class History:
    """One listing: of ``accounts``, down to slot ``floor``; ``tip`` is the newest final block at its beginning.

    ``guard``: every page must come from a node that has reached ``tip`` (``minContextSlot``), for behind
    one address there may be several nodes.
    """

    def __init__(
        self, rpc: Rpc, endpoint: Endpoint, accounts: Collection[str], floor: int, tip: BlockRef, *, guard: bool = True
    ) -> None:
        self.endpoint, self.floor, self.tip = endpoint, floor, tip
        self._rpc, self._guard = rpc, guard
        self._open: dict[str, tuple[Found, ...]] = dict.fromkeys(accounts, ())
        """The last two that were listed of each account that is not done."""
        self._found: dict[str, Found] = {}
        self._order: dict[str, int] = {}

    @property
    def done(self) -> bool:
        """Has every account been listed down to the floor?"""
        return not self._open

    def oldest_first(self) -> list[Found]:
        """Return what was found, once each, by slot; inside a slot in the reverse of the node's order."""
        return sorted(self._found.values(), key=lambda f: (f.slot, -self._order[f.signature]))

    async def advance(self) -> None:
        """Read one more page of every account that is not done."""
        accounts = list(self._open)
        calls = [("getSignaturesForAddress", self._params(account)) for account in accounts]
        pages = await self._rpc.batch(calls, result=list[Found], on=self.endpoint)
        for account, page in zip(accounts, pages, strict=True):
            if isinstance(page, RpcError):
                if page.code == NO_HISTORY:
                    raise Misconfigured(f"{self.endpoint.name} keeps no transaction history: {page.message}") from page
                raise page
            self._take(account, page)
        if len(self._found) > MAX_SIGNATURES:
            raise Persistent(f"more than {MAX_SIGNATURES} transactions since slot {self.floor}: start later")

    def _params(self, account: str) -> list[Any]:
        listed = self._open[account]
        options: dict[str, Any] = {"commitment": "confirmed"}
        options |= {"minContextSlot": self.tip.height} if self._guard else {}
        options |= {"limit": PAGE, "before": listed[0].signature} if listed else {"limit": FIRST_PAGE}
        return [account, options]

    def _take(self, account: str, page: list[Found]) -> None:
        listed = self._open[account]
        if len(listed) == 2:
            if not page or page[0].signature != listed[1].signature:
                raise Inconsistent(
                    f"{self.endpoint.name} does not know the page before: another node, or the chain moved"
                )
            page = page[1:]
        for found in page:
            if listed and (found.slot > listed[-1].slot or found.signature == listed[-1].signature):
                raise Inconsistent(f"{self.endpoint.name} lists signatures out of order")
            listed = (*listed[-1:], found)
            if found.slot < self.floor:
                del self._open[account]
                return
            known = self._found.setdefault(found.signature, found)
            if known.slot != found.slot:
                raise Inconsistent(f"{self.endpoint.name} lists a transaction in two slots: the chain moved")
            self._order.setdefault(found.signature, len(self._order))
        if not page:  # a short page is no sign of the end: some nodes join two stores
            del self._open[account]
        else:
            self._open[account] = listed
