"""A node's mempool, read by difference: each transaction is fetched once.

One ``getrawmempool`` is one consistent state of the node: it never holds two transactions that spend
the same coin.  A snapshot is exactly the payments of the transactions in that list, so a conflict
never shows both sides, and what was replaced or evicted is simply not there any more.
"""

from chainwatch.adapters.base import Services
from chainwatch.adapters.coins import Watched
from chainwatch.adapters.fees import Entry, low_fee
from chainwatch.adapters.rawblock import Format, read_tx
from chainwatch.adapters.rpc import Endpoint, Rpc, RpcError
from chainwatch.errors import Inconsistent, Rejected
from chainwatch.model import ChainSpec, Transfer, Unconfirmed

FETCH = 2000
"""New transactions fetched for one snapshot: some seconds; a full mempool takes a few minutes of passes."""
LARGEST = 500_000
"""Transactions in the largest mempool that is followed: Core's default of 300 MB holds about a third of it."""


class Mempool:
    """What the nodes' mempools hold for us.  ``fee_rate``: what a payment must pay to be more than a sighting."""

    def __init__(
        self, spec: ChainSpec, services: Services, rpc: Rpc, watched: Watched, form: Format, fee_rate: int
    ) -> None:
        self._spec, self._services, self._rpc, self._watched, self._form = spec, services, rpc, watched, form
        self._fee_rate = fee_rate
        # By transaction id, which commits to the content: what one endpoint showed is true of every other.
        self._known: dict[str, tuple[Transfer, ...]] = {}

    async def snapshot(self, endpoint: Endpoint) -> list[Transfer] | None:
        """Return every payment to us in this endpoint's mempool; None while not all of it is known yet."""
        listed = await self._rpc.call("getrawmempool", [False], result=list[str], on=endpoint)
        if len(listed) > LARGEST:
            self._services.observer.count(self._spec.code, "mempool_too_large")
            return None
        present = set(listed)
        self._known = {txid: found for txid, found in self._known.items() if txid in present}
        new = [txid for txid in listed if txid not in self._known]
        gone = await self._fetch(endpoint, new[:FETCH])
        if len(new) > FETCH:
            return None
        return [t for txid in listed if txid not in gone for t in self._known[txid]]

    async def _fetch(self, endpoint: Endpoint, txids: list[str]) -> set[str]:
        """Fetch and read transactions; return those that left the mempool before we asked."""
        if not txids:
            return set()
        answers = await self._rpc.batch([("getrawtransaction", [t]) for t in txids], result=str, on=endpoint)
        position, gone = Unconfirmed(self._services.clock.now_ms()), set()
        for txid, answer in zip(txids, answers, strict=True):
            if isinstance(answer, RpcError):
                gone.add(txid)
                continue
            try:
                tx = read_tx(bytes.fromhex(answer), self._form)
            except (Rejected, ValueError):
                # No payment can be read from it; it may still be mined, and is then read in its block.
                self._services.observer.count(self._spec.code, "mempool_unreadable")
                self._known[txid] = ()
                continue
            found = self._watched.payments(tx, position)
            if found and tx.txid != txid:
                raise Inconsistent(f"{self._spec.code}: {endpoint.name} answers {tx.txid} when asked for {txid}")
            self._known[txid] = tuple(found)
        await self._weigh(endpoint, [t for t in txids if any(f.direction == "in" for f in self._known.get(t, ()))])
        return gone

    async def _weigh(self, endpoint: Endpoint, txids: list[str]) -> None:
        """Mark those of our payments whose fee is too low."""
        if not txids or not self._fee_rate:
            return
        answers = await self._rpc.batch([("getmempoolentry", [t]) for t in txids], result=Entry, on=endpoint)
        for txid, entry in zip(txids, answers, strict=True):
            if isinstance(entry, RpcError) or not entry.pays(self._fee_rate, self._spec.native.decimals):
                self._known[txid] = tuple(low_fee(self._known[txid]))
