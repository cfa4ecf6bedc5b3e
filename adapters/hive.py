"""Hive by JSON-RPC: HIVE and HBD, by ``transfer`` and by the executions of recurrent transfers.

Source: the Hive API (``block_api``, ``database_api``, ``account_history_api``), ``protocol/config.hpp``.
Recurrent transfers are virtual operations: no block holds them, so they are read beside the blocks, and every
block's reward to its producer is read with them as proof that the node's account history has come so far.
"""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from chainwatch.adapters.base import Balances, Services
from chainwatch.adapters.hive_decode import decode_documents
from chainwatch.adapters.hive_memo import read_key
from chainwatch.adapters.hive_view import Chain, HiveView
from chainwatch.adapters.hive_wire import Account, Accounts, Config, MaybeBlock, Properties, Version, height_of
from chainwatch.adapters.quorum import Quorum, QuorumOption
from chainwatch.adapters.rpc import Endpoint, HttpRefused, Limits, Rpc, RpcError
from chainwatch.errors import Inconsistent, Misconfigured, Transient, Unreachable
from chainwatch.model import BlockRef, ChainSpec, NodeFacts, Transfer

SPAN = 100
"""Blocks of one catch-up step: about 3 MB of JSON, 10 ms of decoding.  A thousand cost 158 MB of memory."""
ATTEMPT_S = 20.0
"""One request: a hundred full blocks from a public node on a slow line."""

MAX_ACCOUNTS = 1_000
"""Accounts of one look-up, as nodes allow; an operator has a handful."""

BALANCE_TRIES = 5
"""Readings of the balances that a new block may spoil: blocks are three seconds apart."""

STEEM_CHAIN_ID = "0" * 64
"""The chain that Hive left in 2020: same account names, same operations, other money."""


class Options(msgspec.Struct, forbid_unknown_fields=True):
    """The operator's keys of a Hive chain."""

    quorum: QuorumOption | None = None
    """Larger payments need so many nodes that show them alike."""
    recurrent: bool = True
    """See recurrent transfers too; every node must then offer ``account_history_api``."""
    memo_key_file: str | None = None
    """The receiving account's private memo key, to read encrypted memos."""
    timeout: float = 30.0
    """Seconds that one call may take, with all its retries."""


def open_source(spec: ChainSpec, services: Services) -> "HiveSource":
    """Build the source of a configured Hive chain; ``Misconfigured`` names the key that is wrong."""
    return HiveSource(spec, services)


def decode(documents: Sequence[bytes], spec: ChainSpec) -> Iterator[Transfer]:
    """Read recorded blocks, transactions and operations: see ``hive_decode``."""
    return decode_documents(documents, spec)


class HiveSource:
    """Hive, followed block by block (``BlockSource``)."""

    span = SPAN

    def __init__(self, spec: ChainSpec, services: Services) -> None:
        self._spec, self._services = spec, services
        self._options = _options(spec)
        self._chain_id = spec.chain_id.lower()
        if self._chain_id == STEEM_CHAIN_ID:
            raise Misconfigured(f"[chains.{spec.code}] chain_id is Steem's, which is another chain than Hive")
        limits = Limits(deadline_s=self._options.timeout, attempt_s=min(ATTEMPT_S, self._options.timeout))
        rpc = Rpc(
            spec.code, spec.endpoints, services, limits=limits, probe="database_api.get_dynamic_global_properties"
        )
        path, where = self._options.memo_key_file, f"[chains.{spec.code}] memo_key_file"
        memo_key = read_key(path, where) if path is not None else None
        self._chain = Chain(spec, rpc, services, memo_key=memo_key, recurrent=self._options.recurrent)
        self._chain.quorum = Quorum.of(spec, self._options.quorum, rpc.endpoints, lambda e: rpc.vet(e, self._vet))
        self.watch(spec.receive)

    async def open(self) -> Sequence[NodeFacts]:
        """Check every endpoint that answers: chain id, account history, our accounts and their memo keys."""
        rpc = self._chain.rpc
        await rpc.open()
        facts, failure = [], None
        for endpoint in rpc.endpoints:
            try:
                facts.append(await self._vet(endpoint))
            except (Transient, HttpRefused) as error:
                failure = failure or error
        if not facts:
            raise Unreachable(f"{self._spec.code}: no endpoint answers: {failure}") from failure
        return facts

    def watch(self, addresses: Iterable[str]) -> None:
        """Report payments to these accounts from now on."""
        self._chain.watched.update(addresses)

    async def view(self) -> HiveView:
        """Look through the best endpoint: its head and its last irreversible block."""
        endpoint = await self._chain.rpc.vetted(self._vet)
        head, final = await self._tips(endpoint)
        return HiveView(self._chain, endpoint, head, final)

    def leave(self, reason: str) -> bool:
        """See ``BlockSource.leave``."""
        return self._chain.rpc.leave(reason)

    async def wait(self, seconds: float) -> None:
        """Return after ``seconds``: Hive nodes give no hints."""
        await self._services.clock.sleep(seconds)

    async def close(self) -> None:
        """Close the sockets."""
        await self._chain.rpc.close()

    # -- nodes -----------------------------------------------------------------------------------

    async def _vet(self, endpoint: Endpoint) -> NodeFacts:
        """Check that this endpoint is a node of our network and can do what is asked of it."""
        version, chain_id = await self._identity(endpoint)
        if chain_id.lower() != self._chain_id:
            steem = " (Steem's)" if chain_id == STEEM_CHAIN_ID else ""
            raise Misconfigured(
                f"{self._spec.code}: {endpoint.name} is a node of chain id {chain_id:.64}{steem}, not {self._chain_id}"
            )
        warnings = await self._check_accounts(endpoint)
        if self._chain.quorum is not None:
            warnings += self._chain.quorum.warnings()
        head, final = await self._tips(endpoint)
        if not self._chain.recurrent:
            warnings.append("recurrent = false: payments by recurrent transfer are not seen")
        elif not await HiveView(self._chain, endpoint, head, final).has_history():
            raise Misconfigured(
                f"[chains.{self._spec.code}] recurrent = true needs account_history_api, which {endpoint.name} does "
                "not offer; with recurrent = false payments by recurrent transfer are not seen"
            )
        endpoint.checked = True
        return NodeFacts(
            endpoint=endpoint.name,
            version=version,
            network=f"hive:{self._chain_id[:32]}",  # CAIP-2
            head=head,
            final=final,
            warnings=tuple(warnings),
        )

    async def _identity(self, endpoint: Endpoint) -> tuple[str, str]:
        """Return the node's version and chain id, from whichever of two calls tells them."""
        rpc = self._chain.rpc
        try:
            answer = await rpc.call("database_api.get_version", {}, result=Version, on=endpoint)
            if answer.chain_id is not None:
                return answer.blockchain_version or "unknown", answer.chain_id
        except RpcError:
            pass  # a node whose database_api is not public
        config = await rpc.call("condenser_api.get_config", [], result=Config, on=endpoint)
        if config.chain_id is None:
            raise Inconsistent(f"{self._spec.code}: {endpoint.name} does not tell its chain id")
        return config.version or "unknown", config.chain_id

    async def _tips(self, endpoint: Endpoint) -> tuple[BlockRef, BlockRef]:
        """Return the head and the last irreversible block.

        Public nodes answer ``block_api`` from an indexer that may be a block behind: the head is then not there
        yet, and we look no further than the irreversible block.
        """
        rpc, where = self._chain.rpc, f"{self._spec.code}: {endpoint.name}"
        tip = await rpc.call("database_api.get_dynamic_global_properties", {}, result=Properties, on=endpoint)
        final_height = tip.last_irreversible_block_num
        if final_height > tip.head_block_number or height_of(tip.head_block_id) != tip.head_block_number:
            raise Inconsistent(f"{where}: head {tip.head_block_number} and irreversible {final_height} do not agree")
        final = await self._block(endpoint, final_height)
        if final is None:
            raise Transient(f"{where} does not show its irreversible block {final_height} yet")
        head = final if final_height == tip.head_block_number else await self._block(endpoint, tip.head_block_number)
        if head is None:
            return final, final
        parted = head.height == final.height + 1 and head.parent != final.hash
        if head.hash != tip.head_block_id or parted:  # the number alone would make another fork's block irreversible
            raise Inconsistent(f"{where} answers from two forks: its head is {tip.head_block_id}, it shows {head.hash}")
        return head, final

    async def _block(self, endpoint: Endpoint, height: int) -> BlockRef | None:
        answer = await self._chain.rpc.call(
            "block_api.get_block", {"block_num": height}, result=MaybeBlock, on=endpoint
        )
        if answer.block is None:
            return None
        ref = answer.block.ref
        if ref.height != height:
            raise Inconsistent(f"{self._spec.code}: {endpoint.name} answers block {ref.height} for {height}")
        return ref

    # -- money that leaves ------------------------------------------------------------------------

    async def balances(self, height: int) -> Balances:  # noqa: ARG002 (a Hive node knows the present only)
        """Return what our accounts hold at the head, which must not move meanwhile (``BalanceSource``).

        Savings, vests, orders and conversions are not in it: what was moved there has left the account.
        """
        rpc, chain = self._chain.rpc, self._chain
        endpoint = await rpc.vetted(self._vet)
        names = sorted(chain.watched)[:MAX_ACCOUNTS]
        for _ in range(BALANCE_TRIES):
            before, _final = await self._tips(endpoint)
            answer = await rpc.call("database_api.find_accounts", {"accounts": names}, result=Accounts, on=endpoint)
            after, _final = await self._tips(endpoint)
            if before.same(after):
                break
        else:
            raise Transient(f"{self._spec.code}: {endpoint.name}: a block came each time that balances were read")
        amounts: dict[str, int] = {}
        for account in answer.accounts:
            for held in (account.balance, account.hbd_balance):
                if held is not None:
                    amount, code, _ = chain.assets.read(held)
                    if code is not None:
                        amounts[code] = amounts.get(code, 0) + amount
        return Balances(after.height, amounts)

    # -- accounts --------------------------------------------------------------------------------

    async def _check_accounts(self, endpoint: Endpoint) -> list[str]:
        """Return warnings about our accounts; ``Misconfigured`` for a memo key that is not theirs, or spends."""
        names = sorted(self._chain.watched)
        if not names:
            return []
        params = {"accounts": names[:MAX_ACCOUNTS]}
        try:
            answer = await self._chain.rpc.call("database_api.find_accounts", params, result=Accounts, on=endpoint)
        except RpcError as error:
            if self._chain.memo_key is not None:
                raise
            return [f"our accounts could not be looked up: {error.message}"]
        known = {account.name for account in answer.accounts}
        warnings = [f"no account {name} on this chain" for name in names[:MAX_ACCOUNTS] if name not in known]
        return warnings + self._check_memo_key(answer.accounts)

    def _check_memo_key(self, accounts: Sequence[Account]) -> list[str]:
        key, where = self._chain.memo_key, f"[chains.{self._spec.code}] memo_key_file"
        if key is None or not accounts:
            return []
        for account in accounts:
            for role in ("owner", "active"):
                authority = account.owner if role == "owner" else account.active
                if any(public == key.public for public, _ in authority.key_auths):
                    raise Misconfigured(f"{where} holds the {role} key of {account.name}: only a memo key may be here")
        strange = [account.name for account in accounts if account.memo_key != key.public]
        if len(strange) == len(accounts):
            raise Misconfigured(f"{where} is not the memo key of {', '.join(strange)}")
        return [f"encrypted memos to {name} cannot be read: it has another memo key" for name in strange]


# -- configuration -------------------------------------------------------------------------------


def _options(spec: ChainSpec) -> Options:
    where = f"[chains.{spec.code}]"
    try:
        options = msgspec.convert(dict(spec.options), Options)
    except msgspec.ValidationError as error:
        raise Misconfigured(f"{where} {error}") from error
    if not options.timeout > 0:
        raise Misconfigured(f"{where} timeout must be positive")
    return options
