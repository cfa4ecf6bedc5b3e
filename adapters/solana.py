"""Solana by JSON-RPC: an ``AccountSource`` that reads what touched our accounts.

A window ends at a **finalized** slot, which no fork can take back, so the position only ever moves over
what is final.  What is confirmed and not yet final (a dozen seconds) is reported as ``Unconfirmed``.
Watched are our wallets and, for each configured token, their associated token accounts: an SPL payment
names the token account, not the wallet.  Solana Pay reference keys cost no request: whatever pays us
names one of these accounts, so every payment is listed there, and the keys it names are looked up in a set.

What is not trusted: the order of pages, the slot of an answer, an answer of null (a listed transaction
that the node cannot show is waited for), a skipped slot (no block, no error), the node's word on its network.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from chainwatch.adapters import solana_held
from chainwatch.adapters.base import Balances, Services, Window
from chainwatch.adapters.quorum import Quorum, option_of
from chainwatch.adapters.rpc import Endpoint, Limits, Rpc, RpcError
from chainwatch.adapters.solana_decode import decode_documents
from chainwatch.adapters.solana_history import Found, History
from chainwatch.adapters.solana_tx import PROGRAMS, SPL, Ours, Table, payments, read
from chainwatch.adapters.solana_wire import Row
from chainwatch.errors import ChainwatchError, Inconsistent, Misconfigured, Transient, Unreachable
from chainwatch.model import BlockRef, ChainSpec, InBlock, NodeFacts, Position, Transfer, Unconfirmed
from chainwatch.verifiers.encodings import base58_text

REFERENCE = "reference:"
"""``watch("reference:<key>")`` adds a Solana Pay reference key; without the prefix it is an account to read."""

OVERLAP = 150
"""Slots read again each time (a minute): providers index signatures apart from blocks and may be behind."""
ROUNDS = 20
"""Pages of each account in one ``read``; a longer listing goes on in the next one."""
TRANSACTIONS = 500
"""Transactions fetched in one ``read`` (up to a slot's end): some ten megabytes of JSON."""
SIGHTINGS = 200
"""Confirmed transactions shown as unconfirmed, oldest first, so that one that was shown stays; the rest are
seen when they are final."""
REMEMBERED = 8_192
"""Final transactions and blocks kept, so that the overlap costs nothing (a few megabytes)."""
FALLBACKS = 3
"""Earlier blocks tried when the node cannot show the one it calls finalized."""

# https://github.com/anza-xyz/agave/blob/master/rpc-client-api/src/custom_error.rs
BLOCK_CLEANED_UP, BLOCK_NOT_AVAILABLE, UNHEALTHY = -32001, -32004, -32005
SLOT_SKIPPED, SLOT_SKIPPED_LONG_TERM = -32007, -32009
STATUS_NOT_YET, UNSUPPORTED_VERSION, MIN_CONTEXT_SLOT = -32014, -32015, -32016
SKIPPED = frozenset({SLOT_SKIPPED, SLOT_SKIPPED_LONG_TERM})
NO_BLOCK = SKIPPED | {BLOCK_CLEANED_UP, BLOCK_NOT_AVAILABLE, STATUS_NOT_YET}
LAGGING = frozenset({UNHEALTHY, MIN_CONTEXT_SLOT})

OPTIONS = frozenset({"batch", "overlap", "min_context_slot", "quorum"})
"""An operator's keys: ``batch`` (calls in one request; 1 for nodes that refuse batches), ``overlap`` (slots),
``min_context_slot`` (false for a node that takes it for a filter, as surfpool 1.5 does), ``quorum``."""


class _Head(msgspec.Struct, rename="camel"):
    """A block without its transactions."""

    blockhash: str
    previous_blockhash: str = ""
    block_time: int | None = None


class _Version(msgspec.Struct, rename={"solana": "solana-core", "surfnet": "surfnet-version"}):
    solana: str = ""
    surfnet: str = ""


def open_source(spec: ChainSpec, services: Services) -> "SolanaSource":
    """Build the source of a configured chain."""
    return SolanaSource(spec, services)


def decode(documents: Sequence[bytes], spec: ChainSpec) -> Iterator[Transfer]:
    """Read recorded blocks and transactions: see ``solana_decode``."""
    return decode_documents(documents, spec)


def token_account(wallet: str, mint: str, program: str) -> str:
    """Return the associated token account of ``wallet`` for ``mint``; ``ValueError`` for what is no key."""
    from solders.pubkey import Pubkey

    associated = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")
    seeds = [bytes(Pubkey.from_string(key)) for key in (wallet, program, mint)]
    return str(Pubkey.find_program_address(seeds, associated)[0])


class SolanaSource:
    """Reads the accounts of ``spec.receive`` (and those watched later) through the best endpoint."""

    def __init__(self, spec: ChainSpec, services: Services, *, limits: Limits | None = None) -> None:
        if unknown := sorted(set(spec.options) - OPTIONS):
            raise Misconfigured(f"[chains.{spec.code}] {unknown[0]}: no such key for the solana adapter")
        limits = limits or Limits()
        if "batch" in spec.options:
            limits = msgspec.structs.replace(limits, batch=self._positive(spec, "batch"))
        self._overlap = self._positive(spec, "overlap") if "overlap" in spec.options else OVERLAP
        self._guard = bool(spec.options.get("min_context_slot", True))
        self.spec, self._services = spec, services
        self._rpc = Rpc(spec.code, spec.endpoints, services, limits=limits, probe="getHealth")
        self._quorum = Quorum.of(spec, option_of(spec), self._rpc.endpoints, lambda e: self._rpc.vet(e, self._check))
        self._table = Table(spec.code, spec.assets)
        self._ours = Ours({}, set())
        self._listings: dict[bool, History] = {}
        """What was begun and is not read to its end, of the following and of a backfill (True): each has its own."""
        self._read: OrderedDict[str, tuple[Transfer, ...]] = OrderedDict()
        self._seen: dict[str, tuple[Transfer, ...]] = {}
        self._blocks: OrderedDict[int, BlockRef] = OrderedDict()
        self._times: OrderedDict[int, int] = OrderedDict()
        self.watch(spec.receive)

    @staticmethod
    def _positive(spec: ChainSpec, key: str) -> int:
        value = spec.options[key]
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise Misconfigured(f"[chains.{spec.code}] {key}: a positive number is wanted")
        return value

    # -- reference keys ---------------------------------------------------------------------------

    own_addresses = True

    async def addresses(self, first: int, count: int) -> Sequence[str]:
        """Return ``reference:<key>`` for numbers ``first…``: Solana Pay keys, one for each purchase.

        A reference is any 32 bytes that a transaction names; nobody signs for it.  By number, so that asking
        again gives the same ones.
        """
        seed = " ".join(("chainwatch reference", self.spec.code, *self.spec.receive))
        digests = (hashlib.sha256(f"{seed} {n}".encode()).digest() for n in range(first, first + count))
        return [REFERENCE + base58_text(digest) for digest in digests]

    async def balances(self, height: int) -> Balances:  # noqa: ARG002 (a validator knows the present only)
        """Return what our wallets and token accounts hold at the newest final slot (``BalanceSource``)."""
        endpoint = await self._rpc.vetted(self._check)
        return await solana_held.balances(self._rpc, endpoint, self.spec.code, self._ours)

    # -- set-up ----------------------------------------------------------------------------------

    def watch(self, addresses: Iterable[str]) -> None:
        """Add wallets (with their token accounts), or ``reference:<key>`` reference keys."""
        for address in addresses:
            key = self._key(address.removeprefix(REFERENCE))
            if address.startswith(REFERENCE):
                self._ours.references.add(key)
                continue
            self._ours.accounts[key] = (key, self.spec.native)
            for asset in self.spec.assets:
                if asset.asset_id is not None:
                    account = token_account(key, self._key(asset.asset_id), self._key(asset.program or SPL))
                    self._ours.accounts[account] = (key, asset)

    def _key(self, text: str) -> str:
        from solders.pubkey import Pubkey

        try:
            return str(Pubkey.from_string(text))
        except ValueError as error:
            raise Misconfigured(f"chain {self.spec.code}: {text[:64]!r} is no Solana address") from error

    async def open(self) -> Sequence[NodeFacts]:
        """Ask every endpoint what it is."""
        await self._rpc.open()
        answers = await asyncio.gather(*(self._facts(e) for e in self._rpc.endpoints), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, Transient):
                raise answer
        facts = [a for a in answers if isinstance(a, NodeFacts)]
        if not facts:
            raise Unreachable(f"{self.spec.code}: no node answers: {answers[0]}")
        return facts

    async def close(self) -> None:
        """Release sockets."""
        await self._rpc.close()

    def leave(self, reason: str) -> bool:
        """See ``BlockSource.leave``."""
        return self._rpc.leave(reason)

    async def wait(self, seconds: float) -> None:
        """Return after ``seconds``."""
        await self._services.clock.sleep(seconds)

    async def _facts(self, endpoint: Endpoint) -> NodeFacts:
        genesis = await self._check(endpoint)
        version = await self._rpc.call("getVersion", result=_Version, on=endpoint)
        warnings = list(self._quorum.warnings()) if self._quorum is not None else []
        try:
            await self._rpc.call("getHealth", on=endpoint)
        except RpcError as error:
            warnings.append(f"not healthy: {error.message}")
        final, head = await self._tip(endpoint, "finalized"), await self._tip(endpoint, "confirmed")
        probe = History(self._rpc, endpoint, list(self._ours.accounts)[:1], final.height, final, guard=self._guard)
        await probe.advance()  # a node without transaction history says so here, not at the first payment
        return NodeFacts(
            endpoint=endpoint.name,
            version=f"surfnet {version.surfnet}" if version.surfnet else version.solana or "unknown",
            network=f"solana:{genesis[:32]}",  # CAIP-2
            head=head if head.height >= final.height else final,
            final=final,
            warnings=tuple(warnings),
            genesis=genesis,
        )

    async def _check(self, endpoint: Endpoint) -> str:
        """Ask for the genesis hash; ``Misconfigured`` when it is another network's."""
        genesis = await self._rpc.call("getGenesisHash", result=str, on=endpoint)
        if genesis != self.spec.chain_id:
            raise Misconfigured(
                f"chain {self.spec.code}: {endpoint.name} is of another network: its genesis is {genesis[:64]!r}, "
                f"not {self.spec.chain_id!r}"
            )
        endpoint.checked = True
        return genesis

    # -- blocks ----------------------------------------------------------------------------------

    async def _tip(self, endpoint: Endpoint, commitment: str) -> BlockRef:
        """Return the newest block of ``commitment`` that this node can show.

        Its bank may be ahead of its block store by a moment, and the slot after a skipped one has no block.
        """
        slot = await self._rpc.call("getSlot", [{"commitment": commitment}], result=int, on=endpoint)
        if (ref := await self._block(endpoint, slot, commitment)) is not None:
            return ref
        params = [max(slot - 64, 0), slot - 1, {"commitment": commitment}]
        earlier = await self._rpc.call("getBlocks", params, result=list[int], on=endpoint) if slot else []
        for candidate in sorted(earlier, reverse=True)[:FALLBACKS]:
            if (ref := await self._block(endpoint, candidate, commitment)) is not None:
                return ref
        raise Transient(f"{self.spec.code}: {endpoint.name} cannot show its {commitment} block {slot}")

    async def _block(self, endpoint: Endpoint, slot: int, commitment: str = "finalized") -> BlockRef | None:
        """Return the block at ``slot``, None when the slot was skipped or the node cannot show it."""
        (ref,) = await self._blocks_at(endpoint, [slot], commitment)
        return ref

    async def _blocks_at(
        self, endpoint: Endpoint, slots: Sequence[int], commitment: str = "finalized"
    ) -> list[BlockRef | None]:
        options = {
            "commitment": commitment,
            "transactionDetails": "none",
            "rewards": False,
            "maxSupportedTransactionVersion": 0,
        }
        wanted = [s for s in dict.fromkeys(slots) if s not in self._blocks]
        answers = (
            await self._rpc.batch([("getBlock", [s, options]) for s in wanted], result=_Head | None, on=endpoint)
            if wanted
            else []
        )
        fresh: dict[int, BlockRef] = {}
        times: dict[int, int] = {}
        for slot, answer in zip(wanted, answers, strict=True):
            if isinstance(answer, RpcError):
                if answer.code not in NO_BLOCK:
                    raise self._judged(endpoint, answer)
            elif answer is not None:
                times[slot] = (answer.block_time or 0) * 1000
                fresh[slot] = BlockRef(slot, answer.blockhash, answer.previous_blockhash)
        found = [self._blocks.get(s) or fresh.get(s) for s in slots]
        if commitment == "finalized":
            self._blocks.update(fresh)
            self._times.update(times)
            _forget(self._blocks)
            _forget(self._times)
        return found

    def _judged(self, endpoint: Endpoint, error: RpcError) -> ChainwatchError:
        """A node that says it is behind is left alone for a while."""
        if error.code in LAGGING:
            self._rpc.fail(endpoint, f"behind: {error.message}")
        return error

    # -- reading ---------------------------------------------------------------------------------

    async def read(self, position: BlockRef | None, open_ids: Collection[tuple[str, str]]) -> Window:  # noqa: ARG002
        """Read from ``position`` to the newest final block, or as far as one call may go.

        ``open_ids`` need no look-up: what is not final is listed anew every time.
        """
        endpoint = await self._rpc.vetted(self._check)
        final = await self._tip(endpoint, "finalized")
        if position is not None and final.height < position.height:
            self._rpc.fail(endpoint, "behind: its finalized slot is below ours")
            raise Transient(
                f"{self.spec.code}: {endpoint.name} lags: finalized {final.height}, we stand at {position.height}"
            )
        start = max((position or final).height - self._overlap, 0) if position is not None else final.height + 1
        refs = await self._standing(endpoint, position)
        again = position is not None and not position.hash  # a backfill knows no block of its range
        try:
            history = await self._listing(endpoint, start, position or final, final, again)
            if not history.done:
                return Window(endpoint.name, start, position or final, final, final, complete=False, refs=refs)
            return await self._window(history, start, position or final, final, refs)
        except RpcError as error:
            raise self._judged(endpoint, error) from error
        except Misconfigured as wrong:  # it keeps no history any more
            self._rpc.fail(endpoint, str(wrong))
            raise Inconsistent(str(wrong)) from wrong

    async def _standing(self, endpoint: Endpoint, position: BlockRef | None) -> tuple[BlockRef, ...]:
        """Return the node's block at our position, for the follower to compare, where the node still has it."""
        if position is None or not position.hash:
            return ()
        ref = await self._block(endpoint, position.height)
        return (ref,) if ref is not None else ()

    async def _listing(
        self, endpoint: Endpoint, start: int, position: BlockRef, final: BlockRef, again: bool
    ) -> History:
        """Go on with the listing that was begun, or begin one."""
        history = self._listings.get(again)
        goes_on = (
            history is not None
            and history.endpoint is endpoint
            and history.floor <= start
            and history.tip.height > position.height
        )
        if history is None or not goes_on:
            history = History(self._rpc, endpoint, list(self._ours.accounts), start, final, guard=self._guard)
        self._listings[again] = history
        for _ in range(ROUNDS):
            if history.done:
                break
            try:
                await history.advance()
            except Inconsistent:
                del self._listings[again]  # the chain moved under the listing: begin again
                raise
        return history

    async def _window(
        self, history: History, start: int, position: BlockRef, final: BlockRef, refs: tuple[BlockRef, ...]
    ) -> Window:
        listed = history.oldest_first()
        ripe = [f for f in listed if start <= f.slot <= history.tip.height]
        now, later = self._share(ripe, position.height)
        end = history.tip
        if later:
            block = await self._block(history.endpoint, now[-1].slot)
            if block is None:
                raise Transient(f"{self.spec.code}: {history.endpoint.name} cannot show block {now[-1].slot}")
            end = block
        else:
            self._listings = {again: other for again, other in self._listings.items() if other is not history}
        found = list(await self._final_transfers(history.endpoint, now))
        if not later:
            found += await self._sightings(history.endpoint, [f for f in listed if f.slot > history.tip.height])
        return Window(
            endpoint=history.endpoint.name,
            start=start,
            end=end,
            head=final,
            final=final,
            complete=True,
            transfers=tuple(found),
            refs=tuple(r for r in refs if r.height < end.height),
            time_ms=self._times.get(end.height, 0),
        )

    def _share(self, ripe: Sequence[Found], position: int) -> tuple[Sequence[Found], Sequence[Found]]:
        """Split what is to be read into what this call reads and the rest, between two slots.

        This call always gets past ``position``, however much the overlap holds.
        """
        fetched = 0
        for i, found in enumerate(ripe):
            if fetched >= TRANSACTIONS and found.slot != ripe[i - 1].slot and ripe[i - 1].slot > position:
                return ripe[:i], ripe[i:]
            fetched += found.signature not in self._read
        return ripe, ()

    async def _final_transfers(self, endpoint: Endpoint, listed: Sequence[Found]) -> Iterator[Transfer]:
        """Read final transactions; each one must be there, and be what the listing said."""
        wanted = [f for f in listed if f.signature not in self._read]
        rows = await self._transactions(endpoint, wanted)
        parsed: dict[str, list[Transfer]] = {}
        for found, row in zip(wanted, rows, strict=True):
            if row is None:
                raise Transient(f"{self.spec.code}: {endpoint.name} lists a transaction that it cannot show")
            parsed[found.signature] = self._payments(endpoint, found, row, None)
        if self._quorum is not None:
            await self._confirm_large(self._quorum, endpoint, wanted, parsed)
        slots = sorted({f.slot for f in wanted if parsed[f.signature]})
        blocks = dict(zip(slots, await self._blocks_at(endpoint, slots), strict=True))
        results: dict[str, tuple[Transfer, ...]] = {}
        for found in wanted:
            found_here = parsed[found.signature]
            block = blocks.get(found.slot)
            if found_here and block is None:
                raise Transient(f"{self.spec.code}: {endpoint.name} cannot show block {found.slot}")
            where = InBlock(block, (found.block_time or 0) * 1000) if block is not None else None
            results[found.signature] = tuple(msgspec.structs.replace(t, position=where) for t in found_here)
        self._read.update(results)
        answer = [t for f in listed for t in self._read[f.signature]]
        _forget(self._read)
        return iter(answer)

    async def _confirm_large(
        self, quorum: Quorum, on: Endpoint, listed: Sequence[Found], parsed: Mapping[str, Sequence[Transfer]]
    ) -> None:
        """Have a slot's large payments shown alike, and as final, by other endpoints; until enough do, wait."""
        by_slot: dict[int, list[Transfer]] = {}
        for found in listed:
            by_slot.setdefault(found.slot, []).extend(parsed[found.signature])
        for slot, transfers in by_slot.items():
            large = set(quorum.large(transfers))
            asked = [f for f in listed if f.slot == slot and not large.isdisjoint(parsed[f.signature])]
            if not asked:
                continue

            async def agrees(other: Endpoint, asked: Sequence[Found] = asked, large: set[Transfer] = large) -> bool:
                rows = await self._transactions(other, asked, "finalized")
                shown = [self._payments(other, f, row, None) for f, row in zip(asked, rows, strict=True) if row]
                return large <= {t for transfers in shown for t in transfers}

            await quorum.confirm(on, agrees, f"{self.spec.code}: {on.name}: a large payment in slot {slot}")

    async def _sightings(self, endpoint: Endpoint, listed: Sequence[Found]) -> list[Transfer]:
        """Show what is confirmed and not yet final; what the node cannot show yet is left for later."""
        shown = [f for f in listed if f.err is None][:SIGHTINGS]
        wanted = [f for f in shown if f.signature not in self._seen]
        now = Unconfirmed(self._services.clock.now_ms())
        seen = {f.signature: self._seen[f.signature] for f in shown if f.signature in self._seen}
        for found, row in zip(wanted, await self._transactions(endpoint, wanted), strict=True):
            if row is not None and row.ok:
                seen[found.signature] = tuple(self._payments(endpoint, found, row, now))
        self._seen = seen
        return [t for f in shown for t in seen.get(f.signature, ())]

    async def _transactions(
        self, endpoint: Endpoint, listed: Sequence[Found], commitment: str = "confirmed"
    ) -> list[Row | None]:
        """Fetch transactions in order; None where the node answers null."""
        if not listed:
            return []

        def call(found: Found, version: int) -> tuple[str, list[Any]]:
            options = {
                "encoding": "jsonParsed",
                "commitment": commitment,
                "maxSupportedTransactionVersion": version,
            }
            return "getTransaction", [found.signature, options]

        rows = await self._rpc.batch([call(f, 0) for f in listed], result=Row | None, on=endpoint)
        for i, row in enumerate(rows):
            if isinstance(row, RpcError):
                if row.code != UNSUPPORTED_VERSION:
                    raise row
                # A later version: jsonParsed and the balances are the same, and one stranger's transaction
                # of a new kind must not stop the chain.
                rows[i] = await self._rpc.call(*call(listed[i], 255), result=Row | None, on=endpoint)
        return rows

    def _payments(self, endpoint: Endpoint, found: Found, row: Row, position: Position | None) -> list[Transfer]:
        """Read one fetched transaction; what is unknown or contradicts the listing is ``Inconsistent``."""
        try:
            view = row.view(PROGRAMS)
            if view.txid != found.signature or (row.slot is not None and row.slot != found.slot):
                raise ValueError("another transaction or slot than was asked for")
            if row.ok is None or row.ok != (found.err is None):
                raise ValueError("whether it succeeded is not known")
            return payments(read(row, view, self._ours.accounts), self._ours, self._table, position)
        except ValueError as error:
            self._rpc.fail(endpoint, "an impossible transaction")
            raise Inconsistent(
                f"{self.spec.code}: {endpoint.name}: transaction {found.signature[:88]}: {error}"
            ) from error


def _forget(cache: "OrderedDict[Any, Any]") -> None:
    while len(cache) > REMEMBERED:
        cache.popitem(last=False)
