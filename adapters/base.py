"""What an adapter is: it turns what a node says into ``Transfer``s, and decides nothing.

Two contracts, because chains come in two kinds of source (``BlockSource``: connect and
disconnect by block; ``AccountSource``: what happened to our accounts in a window).
No adapter decides a reorg, a confirmation or a payment: those are ``chainwatch.follower``,
``chainwatch.finality`` and ``chainwatch.matching``.

A module of this folder offers to the registry (``chainwatch.adapters.REGISTRY``):

- ``open_source(spec: ChainSpec, services: Services) -> BlockSource | AccountSource``:
  no I/O; raises ``Misconfigured`` naming the key for options it does not know.
- ``decode(documents: Sequence[bytes], spec: ChainSpec) -> Iterator[Transfer]``: recorded data in
  (``chainwatch decode``), every transfer out, ours or not; pure; ``Rejected`` for what is not that chain's data.
"""

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from chainwatch.clock import Clock
from chainwatch.model import Block, BlockRef, NodeFacts, Transfer
from chainwatch.model import Window as Window


class Observer(Protocol):
    """Where the adapters report; the daemon counts it in metrics, tests collect it."""

    def rpc(self, chain: str, endpoint: str, method: str, outcome: str, seconds: float) -> None:
        """Record one request.  ``outcome``: ok, transient, persistent, timeout, too_large."""
        ...

    def endpoint(self, chain: str, endpoint: str, up: bool) -> None:
        """Record that an endpoint was taken out of use, or came back."""
        ...

    def count(self, chain: str, what: str, n: int = 1) -> None:
        """Count an oddity worth a metric (memo_unreadable, bloom_without_log …)."""
        ...


class SilentObserver:
    """Reports go nowhere."""

    def rpc(self, chain: str, endpoint: str, method: str, outcome: str, seconds: float) -> None:
        """Drop it."""

    def endpoint(self, chain: str, endpoint: str, up: bool) -> None:
        """Drop it."""

    def count(self, chain: str, what: str, n: int = 1) -> None:
        """Drop it."""


class Services(msgspec.Struct, frozen=True):
    """What an adapter may use of the outside: injected, so that tests and simulation own it."""

    clock: Clock
    random: random.Random
    observer: Observer


class BlockView(Protocol):
    """What **one** endpoint says at one moment.  Every call goes to that endpoint.

    Requirements: ``head`` and ``final`` come from the same endpoint; ``final`` is the block that
    the chain itself declares final (irreversible, ``finalized`` tag, ChainLock), None where the
    chain has no such notion.  When the endpoint fails, ``Transient`` is raised and the view is
    over: the watcher asks for a new one.
    """

    endpoint: str
    head: BlockRef
    final: BlockRef | None

    async def header(self, height: int) -> BlockRef:
        """Return the block at ``height`` on this endpoint's present chain."""
        ...

    async def blocks(self, first: int, last: int) -> Sequence[Block]:
        """Return blocks ``first..last`` in order, each fully read or none of them.

        Each block's number and the link to its predecessor inside the answer are checked, and
        all the checks of DESIGN invariant 7.  A block whose facts are not all known
        (a missing receipt, say) raises ``Transient``: unknown is not success.
        """
        ...

    async def mempool(self) -> Sequence[Transfer] | None:
        """Return every unconfirmed transfer to us, or None when this source cannot tell.

        The caller uses it only when it stands at ``head`` (evicted is only knowable at the tip).
        """
        ...


class BlockSource(Protocol):
    """A chain that is followed block by block (Hive, EVM, Bitcoin by node or Esplora)."""

    span: int
    """The most blocks to ask of one ``blocks`` call in catch-up."""

    async def open(self) -> Sequence[NodeFacts]:
        """Check every reachable endpoint: version, chain id or genesis, what it can do.

        ``Misconfigured`` for a node of another network, ``Unreachable`` when none answers.
        """
        ...

    def watch(self, addresses: Iterable[str]) -> None:
        """Add addresses (canonical text) whose transfers ``blocks`` reports from now on."""
        ...

    async def view(self) -> BlockView:
        """Return a fresh look through the best endpoint."""
        ...

    def leave(self, reason: str) -> bool:
        """Let another endpoint take the best one's place for a while; False where none is in use.

        For what no single answer shows: a node whose head stands still, or whose every answer is refused further up.
        """
        ...

    async def wait(self, seconds: float) -> None:
        """Return after ``seconds``, or sooner when the node hints at news (ZMQ, websocket)."""
        ...

    async def close(self) -> None:
        """Release sockets."""
        ...


class CoinSource(Protocol):
    """A source of a chain whose money is outputs: it must know ours to see them spent."""

    def hold(self, coins: Mapping[str, int]) -> None:
        """Add outputs of ours (``txid:vout`` to amount) to those whose spending is reported."""
        ...


class Balances(msgspec.Struct, frozen=True):
    """What our addresses hold by the chain's own word, at one height: asset code to base units."""

    height: int
    amounts: Mapping[str, int]


class BalanceSource(Protocol):
    """A source that can ask the chain what our addresses hold (not a view-only Monero wallet)."""

    async def balances(self, height: int) -> Balances:
        """Return it at ``height`` where the node knows the past, else at its head."""
        ...


class NonceSource(Protocol):
    """A source whose accounts number their transactions (EVM)."""

    async def next_nonce(self, account: str) -> int:
        """Return the number of the account's next transaction, those that wait in the pool counted."""
        ...


class RawSource(Protocol):
    """A source that can show whole transactions (Bitcoin family)."""

    async def raw_transactions(self, places: Mapping[str, str]) -> Mapping[str, bytes]:
        """Return transactions by id; ``places`` names each one's block.  What a node cannot show is left out."""
        ...


class ProofSource(Protocol):
    """A source that can prove a payment of ours which its wallet does not see (Monero)."""

    async def prove(self, txid: str, tx_key: str, destination: str) -> Transfer:
        """Return what the transaction paid ``destination``; ``Rejected`` ``no_proof`` when it paid nothing there."""
        ...


class AddressSource(Protocol):
    """A source that can derive addresses of our own (an xpub, a view-only wallet)."""

    own_addresses: bool
    """Is it configured to?  (A Bitcoin chain without an xpub is not.)"""

    async def addresses(self, first: int, count: int) -> Sequence[str]:
        """Return addresses ``first…``: a number is the same address for ever, so asking again is harmless."""
        ...


class AccountSource(Protocol):
    """A chain that is read by account (Solana signatures, a Monero wallet).

    Order: ``transfers`` oldest first.  ``read`` overlaps what was read before by as much as the
    chain may reorganise, so that a payment that moved to another block is seen again.
    """

    async def open(self) -> Sequence[NodeFacts]:
        """As ``BlockSource.open``."""
        ...

    def watch(self, addresses: Iterable[str]) -> None:
        """Add accounts or subaddresses to read."""
        ...

    async def read(self, position: BlockRef | None, open_ids: Collection[tuple[str, str]]) -> Window:
        """Read from ``position`` (None: the tip as it is now) through the best endpoint.

        ``open_ids`` are the (txid, index) of our transfers that are not final yet.
        """
        ...

    def leave(self, reason: str) -> bool:
        """As ``BlockSource.leave``."""
        ...

    async def wait(self, seconds: float) -> None:
        """As ``BlockSource.wait``."""
        ...

    async def close(self) -> None:
        """Release sockets."""
        ...
