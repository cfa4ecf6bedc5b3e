"""The Bitcoin family through an Esplora indexer's HTTP API, for those who run no node.

Blocks come raw and are scanned as from a node, so nothing depends on the indexer's own address index;
only what is not mined yet is looked up by address: the newest each time, older ones ever more rarely.
API: Blockstream/esplora ``API.md`` (blockstream.info, mempool.space, electrs).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from chainwatch.adapters.base import Services
from chainwatch.adapters.coins import Watched, watched_of
from chainwatch.adapters.fees import low_fee, seen_fee_rate
from chainwatch.adapters.rawblock import Tx
from chainwatch.adapters.rpc import Endpoint, HttpRefused, Rpc, label
from chainwatch.adapters.utxo import (
    About,
    HeaderFacts,
    Options,
    UtxoSource,
    block_hash_of,
    options_of,
    rpc_of,
)
from chainwatch.errors import Inconsistent, Misconfigured, Transient
from chainwatch.model import BlockRef, ChainSpec, Transfer, Unconfirmed

LOOK_UPS, MOST_LOOK_UPS = 20, 500
"""Newest addresses looked up for one mempool snapshot, by default and at most: each asks a shared server."""
RAREST = 14
"""Older addresses are looked up half as often for each ``mempool_addresses`` before them, down to 1 in 2^14 times."""
PAGE = 50
"""Unconfirmed transactions of one address in one answer; an address with as many is no purchase's."""


class EsploraOptions(Options):
    """The operator's keys of a chain that is read from Esplora servers."""

    mempool_addresses: int = LOOK_UPS
    """Newest addresses looked up each time for payments that are not mined yet, about as many older ones in turn; 0
    shows none."""


class _Header(msgspec.Struct):
    id: str
    height: int
    timestamp: int
    previousblockhash: str | None = None


class _Output(msgspec.Struct):
    scriptpubkey: str
    value: int


class _Input(msgspec.Struct):
    txid: str
    vout: int


class _Tx(msgspec.Struct):
    txid: str
    vin: list[_Input]
    vout: list[_Output]
    fee: int = 0
    weight: int = 0

    def pays(self, rate: int) -> bool:
        """Does it pay ``rate`` (base units a thousand virtual bytes)?  Not known is not enough."""
        return self.weight > 0 and self.fee * 4000 >= rate * self.weight


class _Stats(msgspec.Struct):
    funded_txo_sum: int
    spent_txo_sum: int


class _Address(msgspec.Struct):
    chain_stats: _Stats


class Esplora:
    """The backend that asks an indexer."""

    def __init__(
        self, spec: ChainSpec, services: Services, rpc: Rpc, watched: Watched, look_ups: int, fee_rate: int
    ) -> None:
        self._spec, self._services, self._rpc, self._watched = spec, services, rpc, watched
        self._look_ups, self._fee_rate = look_ups, fee_rate
        self._first_seen: dict[str, int] = {}
        self._looks = 0
        self._busy: dict[str, None] = {}
        """Addresses that something was on its way to at the last look: their turn is each time."""

    async def about(self, _endpoint: Endpoint) -> About:
        """Esplora tells neither version nor network: its genesis block is checked instead."""
        return About("esplora", self._spec.code)

    async def tip(self, endpoint: Endpoint) -> str:
        """GET ``/blocks/tip/hash``."""
        return await self._hash(endpoint, "/blocks/tip/hash")

    async def hash_at(self, endpoint: Endpoint, height: int) -> str:
        """GET ``/block-height/:height``; above the head its 404 is ``Transient``."""
        return await self._hash(endpoint, f"/block-height/{height}")

    async def header(self, endpoint: Endpoint, block_hash: str) -> HeaderFacts:
        """GET ``/block/:hash``."""
        answer = await self._get(endpoint, f"/block/{block_hash}", _Header)
        if answer.id != block_hash:
            raise Inconsistent(f"{self._spec.code}: {endpoint.name}: asked for block {block_hash}, told of {answer.id}")
        return HeaderFacts(answer.id, answer.height, answer.timestamp, answer.previousblockhash)

    async def raw_block(self, endpoint: Endpoint, block_hash: str) -> bytes:
        """GET ``/block/:hash/raw``."""
        body: bytes = await self._get(endpoint, f"/block/{block_hash}/raw", None)
        return body

    async def final(self, _endpoint: Endpoint, _head: HeaderFacts) -> BlockRef | None:
        """No chain that Esplora serves declares blocks final."""
        return None

    async def mempool(self, endpoint: Endpoint) -> list[Transfer] | None:
        """GET ``/address/:address/txs/mempool`` for the addresses whose turn it is (``_due``).

        The answers are moments apart: when two of them hold transactions that spend the same coin, one has
        replaced the other meanwhile, and nothing is told until the next look.
        """
        if not self._look_ups:
            return None
        txs: dict[str, _Tx] = {}
        busy: dict[str, None] = {}
        for address in self._due():
            found = await self._get(endpoint, f"/address/{address}/txs/mempool", list[_Tx])
            txs.update((tx.txid, tx) for tx in found[:PAGE])
            if found and len(busy) < MOST_LOOK_UPS:
                busy[address] = None
        self._busy = busy
        spent = [(i.txid, i.vout) for tx in txs.values() for i in tx.vin]
        if len(set(spent)) != len(spent):
            return None
        now = self._services.clock.now_ms()
        self._first_seen = {txid: self._first_seen.get(txid, now) for txid in txs}
        return [t for tx in txs.values() for t in self._payments(endpoint, tx)]

    def _due(self) -> list[str]:
        """Return the addresses to look up now: configured, busy and newest ones always, every other one in its turn.

        The first time all of them: what was on its way before a restart still is, and must not be taken for gone.
        """
        self._looks += 1
        newest_first = list(self._watched.scripts.values())[::-1]
        if self._looks == 1:
            return list(dict.fromkeys([*self._spec.receive, *newest_first[:MOST_LOOK_UPS]]))
        due = [*newest_first[: self._look_ups], *self._spec.receive, *self._busy]
        for start in range(self._look_ups, len(newest_first), self._look_ups):
            period = 2 ** min(start // self._look_ups, RAREST)
            older = newest_first[start : start + self._look_ups]
            due += [address for i, address in enumerate(older, start) if (i + self._looks) % period == 0]
        return list(dict.fromkeys(due))

    async def raw_transaction(self, endpoint: Endpoint, txid: str, _block_hash: str) -> bytes | None:
        """GET ``/tx/:txid/raw``."""
        try:
            body: bytes = await self._rpc.get(f"/tx/{txid}/raw", on=endpoint, result=None)
        except HttpRefused:
            return None
        return body

    async def balance(self, endpoint: Endpoint, addresses: Sequence[str]) -> tuple[int, int]:
        """GET ``/address/:address`` for each of them, between two looks at the tip."""
        tip = await self.tip(endpoint)
        held = 0
        for address in addresses:
            stats = (await self._get(endpoint, f"/address/{address}", _Address)).chain_stats
            held += stats.funded_txo_sum - stats.spent_txo_sum
        head = await self.header(endpoint, tip)
        if await self.tip(endpoint) != tip:
            raise Transient(f"{self._spec.code}: {endpoint.name}: a block came while balances were read")
        return head.height, held

    def _payments(self, endpoint: Endpoint, tx: _Tx) -> list[Transfer]:
        try:
            scripts = [bytes.fromhex(o.scriptpubkey) for o in tx.vout]
        except ValueError as error:
            raise Inconsistent(f"{self._spec.code}: {endpoint.name}: a script is not hex") from error
        outputs = tuple((o.value, s) for o, s in zip(tx.vout, scripts, strict=True))
        plain = Tx(tx.txid, tuple((i.txid, i.vout) for i in tx.vin), outputs, coinbase=False)
        found = self._watched.payments(plain, Unconfirmed(self._first_seen[tx.txid]))
        return found if not self._fee_rate or tx.pays(self._fee_rate) else low_fee(found)

    async def _hash(self, endpoint: Endpoint, path: str) -> str:
        text = (await self._get(endpoint, path, None)).decode("ascii", "replace").strip()
        return block_hash_of(text, f"{self._spec.code}: {endpoint.name}: {label(path)}")

    async def _get(self, endpoint: Endpoint, path: str, result: Any) -> Any:
        try:
            return await self._rpc.get(path, on=endpoint, result=result)
        except HttpRefused as error:
            if error.status in (400, 404):  # no such block (any more): another view will know
                raise Transient(f"{self._spec.code}: {endpoint.name}: {label(path)}: HTTP {error.status}") from error
            raise


def open_source(spec: ChainSpec, services: Services) -> UtxoSource:
    """Build the source of a chain that is read from Esplora servers."""
    options = options_of(spec, EsploraOptions)
    if not 0 <= options.mempool_addresses <= MOST_LOOK_UPS:
        raise Misconfigured(f"chain {spec.code}: mempool_addresses must be between 0 and {MOST_LOOK_UPS}")
    rpc, watched = rpc_of(spec, services, options, probe="/blocks/tip/hash"), watched_of(spec)
    fee_rate = seen_fee_rate(spec, options.seen_fee_rate)
    backend = Esplora(spec, services, rpc, watched, options.mempool_addresses, fee_rate)
    return UtxoSource(spec, services, options, rpc, backend, watched)


def decode(documents: Sequence[bytes], spec: ChainSpec) -> Iterator[Transfer]:
    """Read recorded chain data; see ``chainwatch.adapters.bitcoin_records``."""
    from chainwatch.adapters.bitcoin_records import decode as read

    return read(documents, spec)
