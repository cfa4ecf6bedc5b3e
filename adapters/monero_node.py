"""The two processes behind a Monero source: monero-wallet-rpc, and the monerod that it follows.

Here is what is asked of them besides payments: who they are, where they stand, which blocks there are,
which addresses the wallet holds.  Every call of one reading goes to one wallet (``wallet``).
"""

import contextlib
import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from chainwatch.adapters.base import Services
from chainwatch.adapters.logins import login
from chainwatch.adapters.monero_wire import (
    Addresses,
    Header,
    Headers,
    Height,
    Info,
    OneHeader,
    Split,
    Validity,
    Version,
)
from chainwatch.adapters.quorum import Quorum, option_of
from chainwatch.adapters.rpc import Endpoint, Limits, Rpc, RpcError
from chainwatch.errors import Inconsistent, Misconfigured, Rejected, Transient, Unreachable
from chainwatch.model import BlockRef, ChainSpec, NodeFacts

OPTIONS = frozenset({"daemon", "login_file", "daemon_login_file", "account", "quorum"})

HEADERS = 1_000
"""Headers in one request: what a restricted monerod allows."""
CREATE = 64
"""Subaddresses in one ``create_address``: wallet-rpc's own limit."""
POOL = 1_000
"""Most addresses handed out at once: a pool is refilled, not prefilled for years."""
INTEGRATED = 106
"""Characters of an integrated address (8 bytes of payment id more than the 95 of others)."""

WALLET = Limits(deadline_s=45, attempt_s=45, concurrency=2)
"""wallet-rpc answers one call at a time, and a refresh after a day's absence takes many seconds.  A longer
one goes on inside the wallet after we gave up waiting; until it is through, the chain is Transient."""
DAEMON = Limits(deadline_s=15)
"""monerod answers from its database, but holds calls back while it adds blocks."""

NO_WALLET, DENIED, WATCH_ONLY, OUT_OF_BOUND = -13, -7, -29, -15
"""Error codes of wallet-rpc (wallet_rpc_server_error_codes.h)."""


def by_height(height: int) -> Header:
    """Return a block of which nothing but the height is known."""
    return Header(height, f"height:{height}", "")


def is_by_height(ref: BlockRef) -> bool:
    """Was this block made by ``by_height``?"""
    return ref.hash.startswith("height:")


def _json_rpc(url: str) -> str:
    return url if url.rstrip("/").endswith("/json_rpc") else f"{url.rstrip('/')}/json_rpc"


class MoneroNode:
    """One wallet (behind one or more wallet-rpc processes) and, when it is named, its daemon."""

    def __init__(self, spec: ChainSpec, services: Services, wallet: Limits, daemon: Limits) -> None:
        unknown = sorted(spec.options.keys() - OPTIONS)
        if unknown:
            raise Misconfigured(f"chains.{spec.code}.{unknown[0]}: the monero adapter knows no such key")
        self.spec = spec
        self.wallets = wallets = self._rpc(spec.endpoints, services, wallet, login(spec, "login_file"))
        self.quorum = Quorum.of(spec, option_of(spec), wallets.endpoints, lambda e: wallets.vet(e, self.check))
        self.daemon: Rpc | None = None
        url = spec.options.get("daemon")
        if url is not None:
            if not isinstance(url, str):
                raise Misconfigured(f"chains.{spec.code}.daemon: the URL of monerod is wanted")
            self.daemon = self._rpc([url], services, daemon, login(spec, "daemon_login_file"))
        self.account = spec.options.get("account", 0)
        if type(self.account) is not int or self.account < 0:
            raise Misconfigured(f"chains.{spec.code}.account: the number of a wallet account is wanted")
        self._primary = ""
        self._standard: dict[str, tuple[str, str]] = {}

    def _rpc(self, urls: Sequence[str], services: Services, limits: Limits, pair: str | None) -> Rpc:
        return Rpc(
            self.spec.code,
            [_json_rpc(url) for url in urls],
            services,
            limits=limits,
            login=pair,
            digest=pair is not None,
            probe="get_version",
        )

    async def open(self) -> Sequence[NodeFacts]:
        """Check the daemon and every wallet-rpc that answers (see ``AccountSource.open``)."""
        await self.wallets.open()
        if self.daemon is not None:
            await self.daemon.open()
            with contextlib.suppress(Transient):  # each wallet's check asks again, and tells
                await self._check_daemon(self.daemon.best())
        facts: list[NodeFacts] = []
        failures: list[Transient] = []
        for endpoint in self.wallets.endpoints:
            try:
                facts.append(await self.check(endpoint))
            except RpcError as error:
                if error.code in (NO_WALLET, DENIED):
                    raise self._refusal(endpoint, error) from error
                failures.append(error)
            except Transient as error:
                failures.append(error)
        if not facts:
            raise Unreachable(f"{self.spec.code}: no wallet is ready: {failures[0]}") from failures[0]
        return facts

    async def close(self) -> None:
        """Release sockets."""
        await self.wallets.close()
        if self.daemon is not None:
            await self.daemon.close()

    # -- who they are ----------------------------------------------------------------------------

    async def check(self, wallet: Endpoint) -> NodeFacts:
        """Refuse a wallet of another network, another wallet than before, and one that could spend."""
        name, head, genesis = "", None, None
        warnings = list(self.quorum.warnings()) if self.quorum is not None else []
        if self.daemon is not None:
            await self.daemon.vetted(self._check_daemon)
            info, genesis = await self._info(self.daemon), (await self._header_run(0, 0))[0].hash
            name, head = f", monerod {info.version}", await self.tip(wallet)
            if not info.synchronized:
                warnings.append(f"monerod is still synchronising: at {info.height} of {info.target_height}")
        else:
            warnings.append("no daemon is named: blocks are known by height only")
        version = await self.wallets.call("get_version", {}, result=Version, on=wallet)
        await self._check_address(wallet)
        await self._check_view_only(wallet)
        for address in self.spec.receive:
            await self._check_receive(wallet, address)
        height = await self.height(wallet)
        if head is not None and height - 1 != head.height:
            warnings.append(f"the wallet is at {height - 1}, its daemon at {head.height}")
        wallet.checked = True
        return NodeFacts(
            endpoint=wallet.name,
            version=f"monero-wallet-rpc {version}{name}",
            network=self.spec.chain_id,
            head=head or by_height(height - 1).ref,
            warnings=tuple(warnings),
            genesis=genesis,
        )

    async def _check_daemon(self, endpoint: Endpoint) -> None:
        """Refuse a daemon of another network: by its own word, and by its first block."""
        assert self.daemon is not None
        info = await self._info(self.daemon)
        where = f"chains.{self.spec.code}.daemon: {endpoint.name}"
        if info.nettype != self.spec.chain_id:
            raise Misconfigured(f"{where} is of {info.nettype or '?'}, not of {self.spec.chain_id}")
        genesis: Mapping[str, str] = self.spec.params.get("genesis", {})
        (first,) = await self._header_run(0, 0)
        if first.hash != (known := genesis.get(info.nettype, first.hash)):
            raise Misconfigured(f"{where}: its first block is {first.hash}, that of {info.nettype} is {known}")
        endpoint.checked = True

    async def _info(self, daemon: Rpc) -> Info:
        info = await daemon.call("get_info", {}, result=Info)
        self._not_busy(info.status)
        return info

    async def is_same(self, wallet: Endpoint) -> bool:
        """Is it the wallet that was checked?  Its process may have come back with another file since."""
        question = {"account_index": 0, "address_index": [0]}
        answer = await self.wallets.call("get_address", question, result=Addresses, on=wallet)
        return answer.address == self._primary

    async def _check_address(self, wallet: Endpoint) -> None:
        # A regtest daemon calls itself fakechain; its wallets are those of the main network.
        wanted = "mainnet" if self.spec.chain_id == "fakechain" else self.spec.chain_id
        primary = (await self.wallets.call("get_address", {"account_index": 0}, result=Addresses, on=wallet)).address
        question = {"address": primary, "any_net_type": True}
        validity = await self.wallets.call("validate_address", question, result=Validity, on=wallet)
        if not validity.valid or validity.nettype != wanted:
            raise self._refused(wallet, f"is of {validity.nettype or 'no network'}, not of {wanted}")
        if self._primary not in ("", primary):
            raise self._refused(wallet, "is another one than before")
        self._primary = primary

    async def _check_view_only(self, wallet: Endpoint) -> None:
        """Ask the wallet to sign nothing: a view-only one says what it is, and no key has to be shown."""
        try:
            await self.wallets.call("sign_transfer", {"unsigned_txset": ""}, on=wallet)
        except RpcError as error:
            if error.code == WATCH_ONLY:
                return
            if error.code in (NO_WALLET, DENIED):
                raise
        raise self._refused(
            wallet,
            "can spend; make a view-only one of it (monero-wallet-cli --generate-from-view-key) "
            "and keep the spend key off this machine",
        )

    async def _check_receive(self, wallet: Endpoint, address: str) -> None:
        try:
            standard, _ = await self.standard(wallet, address)
            await self.wallets.call("get_address_index", {"address": standard}, on=wallet)
        except RpcError as error:
            if error.code in (NO_WALLET, DENIED):
                raise
            raise self._refused(wallet, f"does not hold {address[:8]}… of `receive`") from error

    def _refused(self, wallet: Endpoint, why: str) -> Misconfigured:
        return Misconfigured(f"chains.{self.spec.code}.endpoints: the wallet at {wallet.name} {why}")

    def _refusal(self, wallet: Endpoint, error: RpcError) -> Misconfigured:
        """Turn an answer that only an operator can change into what to do about it."""
        if error.code == NO_WALLET:
            return self._refused(wallet, "is not open; start wallet-rpc with --wallet-file")
        return self._refused(wallet, "is behind --restricted-rpc, which cannot refresh; a view-only wallet needs none")

    # -- where they stand ------------------------------------------------------------------------

    async def height(self, wallet: Endpoint) -> int:
        """Return how many blocks the wallet has processed: its top block is one lower."""
        return (await self.wallets.call("get_height", {}, result=Height, on=wallet)).height

    async def tip(self, wallet: Endpoint) -> BlockRef:
        """Return the daemon's top block; without a daemon the wallet's."""
        if self.daemon is None:
            return by_height(await self.height(wallet) - 1).ref
        await self.daemon.vetted(self._check_daemon)
        answer = await self.daemon.call("get_last_block_header", {}, result=OneHeader)
        self._not_busy(answer.status)
        if answer.block_header is None:
            raise Inconsistent(f"{self.spec.code}: monerod shows no last block")
        return answer.block_header.ref

    async def headers(self, heights: Collection[int]) -> dict[int, Header]:
        """Return the blocks at these heights, neighbours in one request."""
        if self.daemon is None:
            return {h: by_height(h) for h in heights}
        found: dict[int, Header] = {}
        for _, run in itertools.groupby(enumerate(sorted(set(heights))), lambda pair: pair[1] - pair[0]):
            numbers = [height for _, height in run]
            for first in range(0, len(numbers), HEADERS):
                part = numbers[first : first + HEADERS]
                found |= {h.height: h for h in await self._header_run(part[0], part[-1])}
        return found

    async def _header_run(self, first: int, last: int) -> Sequence[Header]:
        assert self.daemon is not None
        question = {"start_height": first, "end_height": last}
        answer = await self.daemon.call("get_block_headers_range", question, result=Headers)
        self._not_busy(answer.status)
        if [h.height for h in answer.headers] != list(range(first, last + 1)):
            raise Inconsistent(f"{self.spec.code}: monerod does not show blocks {first} to {last}")
        if any(after.prev_hash != before.hash for before, after in itertools.pairwise(answer.headers)):
            raise Inconsistent(f"{self.spec.code}: blocks {first} to {last} do not connect: the chain moved")
        return answer.headers

    def _not_busy(self, status: str) -> None:
        if status != "OK":
            raise Transient(f"{self.spec.code}: monerod answers {status[:40]}")

    # -- addresses -------------------------------------------------------------------------------

    async def standard(self, wallet: Endpoint, address: str) -> tuple[str, str]:
        """Return the address behind an integrated one and its payment id; others as they are, without one."""
        if len(address) != INTEGRATED:
            return (address, "")
        if address not in self._standard:
            question = {"integrated_address": address}
            split = await self.wallets.call("split_integrated_address", question, result=Split, on=wallet)
            self._standard[address] = (split.standard_address, split.payment_id.lower())
        return self._standard[address]

    async def addresses(self, wallet: Endpoint, first: int, count: int) -> Sequence[str]:
        """Return subaddresses by number, making those that are missing (see ``MoneroSource.addresses``)."""
        if not (first >= 0 and 0 < count <= POOL):
            raise Rejected("bad_range", f"1 to {POOL} addresses, from number 0 up")
        numbers = range(first, first + count)
        question: dict[str, Any] = {"account_index": self.account, "address_index": list(numbers)}
        try:
            held = await self.wallets.call("get_address", question, result=Addresses, on=wallet)
        except RpcError as error:
            if error.code != OUT_OF_BOUND:
                raise
            await self._create(wallet, first + count)
            held = await self.wallets.call("get_address", question, result=Addresses, on=wallet)
        by_number = {a.address_index: a.address for a in held.addresses}
        if not by_number.keys() >= set(numbers):
            raise Inconsistent(f"{self.spec.code}: {wallet.name} does not list the addresses that it made")
        return [by_number[n] for n in numbers]

    async def _create(self, wallet: Endpoint, total: int) -> None:
        account = {"account_index": self.account}
        held = len((await self.wallets.call("get_address", account, result=Addresses, on=wallet)).addresses)
        if total - held > POOL:
            raise Rejected("bad_range", f"the account has {held} addresses; the next ones come first")
        for made in range(held, total, CREATE):
            await self.wallets.call("create_address", {**account, "count": min(CREATE, total - made)}, on=wallet)
        await self.wallets.call("store", {}, on=wallet)  # a wallet that is killed forgets what it did not store
