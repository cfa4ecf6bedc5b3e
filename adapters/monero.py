"""Monero through monero-wallet-rpc on a view-only wallet, beside the monerod that it follows.

**What is read.**  The wallet is refreshed, then asked for everything since ``OVERLAP`` blocks below
the position, pool included, and for every open payment that this did not show.  It counts only if the
wallet stands exactly where its daemon stands, before and after: between a reorganisation of the daemon and
the wallet's next block, wallet-rpc goes on listing payments of blocks that are gone as ``in``, with
confirmations, and lists them in ``pool`` too.

**What a block is.**  wallet-rpc knows heights only.  With the option ``daemon`` blocks have the hashes that
monerod gives them, and reorganisations are seen as such.  Without it a block is ``height:<n>``: an open
payment that a reorganisation moves or removes is still noticed, because every read overlaps, but not the
reorganisation itself (so a confirmed payment that it removes stays), nor a daemon that lags.  A chain is
followed in one of the two ways for good.

**What is believed.**  An amount counts only as far as the wallet holds one-time outputs for it, each one-time
key once (the burning bug).  Finality is depth alone: Monero has no final block.

Options: ``daemon`` (URL of monerod), ``login_file`` and ``daemon_login_file`` (``user:password``, digest
authentication), ``account`` (whose subaddresses are handed out; payments to all accounts are read).
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import msgspec

from chainwatch.adapters.base import Services, Window
from chainwatch.adapters.monero_node import DAEMON, WALLET, MoneroNode, is_by_height
from chainwatch.adapters.monero_wire import (
    ById,
    Entries,
    Entry,
    Header,
    KeyProof,
    Output,
    Outputs,
    Subaddress,
    decode,
    received,
)
from chainwatch.adapters.rpc import Endpoint, Limits, RpcError
from chainwatch.errors import Inconsistent, Persistent, Rejected, Transient
from chainwatch.model import BlockRef, ChainSpec, InBlock, NodeFacts, Position, Transfer, Unconfirmed

__all__ = ["MoneroSource", "decode", "open_source"]

OVERLAP = 40
"""Blocks read again below the position: twice the deepest reorganisation on record (18, on 2025-09-14)."""
DEEP_OVERLAP = 1_000
"""The same once the position itself turns out to be gone: the fork may lie far below it."""
SPAN = 20_000
"""Blocks in one window of a catch-up, four weeks: its payments stay far below the largest body."""
TRIES = 3
"""Readings of a window that a new block may spoil: blocks are two minutes apart."""

NO_TRANSACTION = -8
"""wallet-rpc's code for a transaction that the wallet does not know."""

Id = tuple[str, str]
Fact = tuple[str, str, int, int]
"""What a verdict is about: transaction, index, amount, height."""


def open_source(spec: ChainSpec, services: Services) -> "MoneroSource":
    """Build the source of a configured chain (see ``adapters.base``)."""
    return MoneroSource(spec, services)


class MoneroSource:
    """An ``AccountSource`` on one wallet, reached through one or more wallet-rpc processes."""

    own_addresses = True

    def __init__(
        self, spec: ChainSpec, services: Services, *, wallet: Limits = WALLET, daemon: Limits = DAEMON
    ) -> None:
        self.spec, self._services = spec, services
        self._node = MoneroNode(spec, services, wallet, daemon)
        self._payees: dict[tuple[str, str], str] = {}
        self._unresolved = set(spec.receive)
        self._first = spec.start if isinstance(spec.start, int) else None
        self._verdicts: dict[Fact, Verdict] = {}
        self._agreed: set[Transfer] = set()

    async def open(self) -> Sequence[NodeFacts]:
        """See ``AccountSource.open``; a wallet that could spend is ``Misconfigured``."""
        return await self._node.open()

    async def close(self) -> None:
        """Release sockets."""
        await self._node.close()

    def leave(self, reason: str) -> bool:
        """See ``BlockSource.leave``."""
        return self._node.wallets.leave(reason)

    async def wait(self, seconds: float) -> None:
        """Let ``seconds`` pass: a wallet gives no hint of news."""
        await self._services.clock.sleep(seconds)

    def watch(self, addresses: Iterable[str]) -> None:
        """Report payments to these subaddresses or integrated addresses of the wallet from now on."""
        self._unresolved.update(addresses)

    async def addresses(self, first: int, count: int) -> Sequence[str]:
        """Return ``count`` subaddresses of the configured account from number ``first`` up, ready to be watched.

        By number, so that it may be repeated: a number is the same address for ever, and missing ones are
        made.  A wallet restored from its keys looks 200 unused subaddresses ahead; hand out fewer than that.
        """
        return await self._node.addresses(await self._ready(), first, count)

    async def _ready(self) -> Endpoint:
        """Return the best wallet, checked since it last was out of use."""
        return await self._node.wallets.vetted(self._node.check)

    # -- reading ---------------------------------------------------------------------------------

    async def read(self, position: BlockRef | None, open_ids: Collection[Id]) -> Window:
        """Read one window (see ``AccountSource.read``).

        A window of a catch-up that ends below the head shows an open payment that is in a later block as
        unconfirmed: at the window's end it is in none.
        """
        node, code = self._node, self.spec.code
        if position is not None and position.hash and is_by_height(position) is (node.daemon is not None):
            before = "without" if node.daemon is not None else "with"
            raise Persistent(f"{code}: this chain has been followed {before} the option `daemon`: keep to it")
        wallet = await self._ready()
        if not await node.is_same(wallet):
            wallet.checked = False
            await node.wallets.vet(wallet, node.check)
        for _ in range(TRIES):
            tip = await node.tip(wallet)
            await node.wallets.call("refresh", {}, on=wallet)
            top = await node.height(wallet) - 1
            window = None
            if top == tip.height:
                if position is not None and top < position.height:
                    raise Transient(f"{code}: {wallet.name} is at {top}, below our position {position.height}")
                window = await self._window(wallet, tip, position, open_ids, OVERLAP)
            if (await node.tip(wallet)).same(tip):
                if window is None:
                    # Behind: it lags.  Ahead: its daemon has undone blocks and not yet replaced them.
                    raise Transient(f"{code}: {wallet.name} is at {top}, its daemon at {tip.height}")
                await self._confirm_large(wallet, window)
                return window
        raise Inconsistent(f"{code}: the chain moved each of {TRIES} times that {wallet.name} was read")

    async def _window(
        self, wallet: Endpoint, tip: BlockRef, position: BlockRef | None, open_ids: Collection[Id], overlap: int
    ) -> Window:
        now_ms = self._services.clock.now_ms()
        if position is None and self._first is None:
            self._first = tip.height
        first = min(self._first or 0, tip.height)
        news = first if position is None else position.height + 1
        end = min(tip.height, news + SPAN - 1)
        # Not below where the chain's first run began; a backfill begins lower and says so by its position.
        start = min(max(news - overlap, min(first, news - 1), 0), end)
        entries, ours = await self._entries(wallet, start, end, open_ids)
        verdicts = await self._judge(wallet, entries)
        paying = {e.height for e in entries if e.type == "in" and e.height <= end}
        heights = paying | {h - 1 for h in paying if h}
        # Blocks below the end and the position are shown too, payments or not: a fork is found among them.
        known = (range(max(top - overlap, 0), top + 1) for top in (end, min(news - 1, end)))
        headers = await self._node.headers(heights.union(*known))
        refs = {height: header.ref for height, header in headers.items()}
        moved = position is not None and position.hash and not refs.get(position.height, position).same(position)
        if moved and overlap < DEEP_OVERLAP:
            return await self._window(wallet, tip, position, open_ids, DEEP_OVERLAP)
        transfers = [self._transfer(e, headers, verdicts.get(e.id), e.txid in ours) for e in entries]
        return Window(
            endpoint=wallet.name,
            start=start,
            end=refs[end],
            head=tip,
            final=None,
            complete=True,
            transfers=tuple(sorted(transfers, key=_oldest_first)),
            refs=tuple(ref for height, ref in sorted(refs.items()) if height != end),
            time_ms=headers[end].timestamp * 1000 or (now_ms if end == tip.height else 0),
        )

    async def _entries(
        self, wallet: Endpoint, start: int, end: int, open_ids: Collection[Id]
    ) -> tuple[Sequence[Entry], set[str]]:
        """Return what came in to watched addresses, each id once, and the transactions that we sent ourselves."""
        question: dict[str, bool | int] = dict.fromkeys(
            ("in", "out", "pending", "failed", "pool", "all_accounts", "filter_by_height"), True
        )
        # The wallet takes min_height as exclusive; the first block of all pays nobody.
        question |= {"min_height": max(start - 1, 0), "max_height": end}
        lists = await self._node.wallets.call("get_transfers", question, result=Entries, on=wallet)
        while self._unresolved:
            address = next(iter(self._unresolved))
            self._payees[await self._node.standard(wallet, address)] = address
            self._unresolved.discard(address)
        found: dict[Id, Entry] = {}
        for entry in (*lists.in_, *lists.pool):
            self._take(found, entry)
        for txid, index in set(open_ids) - found.keys():
            for entry in await self._by_id(wallet, txid, index):
                if entry.id == (txid, index):
                    self._take(found, entry)
        return list(found.values()), {e.txid for e in (*lists.out, *lists.pending, *lists.failed)}

    async def _by_id(self, wallet: Endpoint, txid: str, index: str) -> Sequence[Entry]:
        """Return a transaction's entries; none when the wallet does not know it (any more)."""
        question = {"txid": txid, "account_index": int(index.partition(".")[0])}
        try:
            return (await self._node.wallets.call("get_transfer_by_txid", question, result=ById, on=wallet)).all()
        except RpcError as error:
            if error.code == NO_TRANSACTION:
                return ()
            raise

    def _take(self, found: dict[Id, Entry], entry: Entry) -> None:
        """Keep one entry of an id: the pool's rather than a block's, else the one that claims less."""
        standard = (entry.address, "")
        payee = self._payees.get((entry.address, entry.payment_id.lower())) or self._payees.get(standard)
        if entry.type not in ("in", "pool") or payee is None:
            return
        entry = msgspec.structs.replace(entry, address=payee)
        other = found.get(entry.id)
        if other is not None:
            self._services.observer.count(self.spec.code, "listed_twice")
        if other is None or (entry.type == "pool", -entry.amount) > (other.type == "pool", -other.amount):
            found[entry.id] = entry

    def _transfer(self, entry: Entry, headers: Mapping[int, Header], verdict: "Verdict | None", ours: bool) -> Transfer:
        flags = ("internal",) if ours else ()
        if verdict is not None and verdict.duplicate:
            flags = (*flags, "duplicate_output_key")
        block = headers[entry.height].ref if entry.type == "in" and entry.height in headers else None
        if block is not None and entry.height - 1 in headers:
            # A miner may set a block's time back, to the median of the sixty before it: not below its parent's.
            entry = msgspec.structs.replace(entry, timestamp=max(entry.timestamp, headers[entry.height - 1].timestamp))
        transfer = received(entry, self.spec, block=block, flags=flags)
        if isinstance(transfer.position, Unconfirmed):
            now = self._services.clock.now_ms()
            seen = min(transfer.position.first_seen_ms or now, now)
            return msgspec.structs.replace(transfer, position=Unconfirmed(seen))
        # An amount that no output carries is not known to have arrived.
        return transfer if verdict is None or verdict.backed else msgspec.structs.replace(transfer, ok=None)

    # -- money that leaves ------------------------------------------------------------------------

    async def prove(self, txid: str, tx_key: str, destination: str) -> Transfer:
        """Return what a transaction paid ``destination``, by its key (``check_tx_key``; ``ProofSource``).

        The payer's wallet has the key and shows it to nobody: that it is known here says that we paid.  The amount is
        all that the transaction paid this address.
        """
        wallet = await self._ready()
        question = {"txid": txid, "tx_key": tx_key, "address": destination}
        try:
            answer = await self._node.wallets.call("check_tx_key", question, result=KeyProof, on=wallet)
        except RpcError as error:
            raise Rejected("no_proof", f"{wallet.name}: {error.message[:200]}") from error
        if answer.received <= 0:
            raise Rejected("no_proof", f"{txid} paid nothing to that address")
        position: Position = Unconfirmed(self._services.clock.now_ms())
        if not answer.in_pool and answer.confirmations > 0:
            tip = await self._node.tip(wallet)
            height = tip.height - answer.confirmations + 1
            header = (await self._node.headers([height]))[height]
            position = InBlock(header.ref, header.timestamp * 1000)
        place = hashlib.sha256(destination.encode()).hexdigest()[:16]
        return Transfer(
            chain=self.spec.code,
            txid=txid,
            index=f"key:{place}",
            asset=self.spec.native.code,
            amount=answer.received,
            to=destination,
            position=position,
            flags=("proved",),
            direction="out",
        )

    # -- believing -------------------------------------------------------------------------------

    async def _confirm_large(self, wallet: Endpoint, window: Window) -> None:
        """Have large payments in blocks shown alike by other wallets (of other daemons); until enough do, wait."""
        quorum = self._node.quorum
        if quorum is None:
            return
        by_block: dict[BlockRef, list[Transfer]] = {}
        for transfer in window.transfers:
            if isinstance(transfer.position, InBlock):
                by_block.setdefault(transfer.position.block, []).append(transfer)
        large = {t for transfers in by_block.values() for t in quorum.large(transfers)}
        self._agreed &= large  # the overlap shows them again for a while
        asked = large - self._agreed

        async def agrees(other: Endpoint) -> bool:
            await self._node.wallets.call("refresh", {}, on=other)
            return all([await self._shows(other, t) for t in asked])

        if asked:
            await quorum.confirm(wallet, agrees, f"{self.spec.code}: {wallet.name}: a large payment")
            self._agreed |= asked

    async def _shows(self, wallet: Endpoint, transfer: Transfer) -> bool:
        """Does this wallet list the payment with the same amount, in a block of the same height?"""
        assert isinstance(transfer.position, InBlock)
        told = ("in", transfer.amount, transfer.position.block.height)
        entries = await self._by_id(wallet, transfer.txid, transfer.index)
        return any(e.id == (transfer.txid, transfer.index) and (e.type, e.amount, e.height) == told for e in entries)

    async def _judge(self, wallet: Endpoint, entries: Sequence[Entry]) -> dict[Id, "Verdict"]:
        """Hold entries in blocks against the outputs that the wallet has for them.

        Only subaddresses with something new are asked for, whole: a later payment to an old one-time
        key changes what the older one is worth.
        """
        facts = {fact(e): e for e in entries if e.type == "in"}
        kept = {f: v for f, v in self._verdicts.items() if f in facts and v.backed}  # the others are asked for again
        new = {facts[f].subaddr_index for f in facts.keys() - kept.keys()}
        accounts: dict[int, list[int]] = defaultdict(list)
        for subaddress in new:
            accounts[subaddress.major].append(subaddress.minor)
        outputs: list[Output] = []
        for major, minors in accounts.items():
            question = {"transfer_type": "all", "account_index": major, "subaddr_indices": sorted(minors)}
            answer = await self._node.wallets.call("incoming_transfers", question, result=Outputs, on=wallet)
            outputs += answer.transfers
        judged = dict(judge([e for e in facts.values() if e.subaddr_index in new], outputs))
        for verdict in judged.values():
            if verdict.duplicate or not verdict.backed:
                self._services.observer.count(self.spec.code, "burnt_output")
        self._verdicts = kept | judged
        return {(f[0], f[1]): verdict for f, verdict in self._verdicts.items()}


class Verdict(msgspec.Struct, frozen=True):
    """``backed``: outputs carry the whole amount.  ``duplicate``: one of them repeats an older one-time key."""

    backed: bool
    duplicate: bool


def fact(entry: Entry) -> Fact:
    """Return what a verdict on an entry holds for."""
    return (*entry.id, entry.amount, entry.height)


def judge(entries: Iterable[Entry], outputs: Iterable[Output]) -> Iterator[tuple[Fact, Verdict]]:
    """Say of each entry whether the wallet's outputs carry it.

    Two outputs with one key have one key image: whoever spends one has burnt the other.  The first in
    the chain counts.
    """
    carried: dict[tuple[str, Subaddress], int] = defaultdict(int)
    repeated: set[tuple[str, Subaddress]] = set()
    keys: set[str] = set()
    for output in sorted(outputs, key=lambda o: (o.height, o.global_index)):
        place = (output.tx_hash, output.subaddress)
        carried[place] += output.amount
        if output.pubkey in keys:
            repeated.add(place)
        elif output.pubkey:
            keys.add(output.pubkey)
    for entry in entries:
        place = (entry.txid, entry.subaddr_index)
        whole = not entry.amounts or sum(entry.amounts) == entry.amount
        yield fact(entry), Verdict(backed=whole and carried[place] >= entry.amount, duplicate=place in repeated)


def _oldest_first(transfer: Transfer) -> tuple[bool, int, str, str]:
    position = transfer.position
    if position is None or isinstance(position, Unconfirmed):
        return (True, 0, transfer.txid, transfer.index)
    return (False, position.block.height, transfer.txid, transfer.index)
