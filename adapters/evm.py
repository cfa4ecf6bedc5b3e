"""EVM chains by JSON-RPC (Ethereum, Polygon, BNB Smart Chain, and any chain id of ``networks.toml``).

Source: Ethereum JSON-RPC (``ethereum/execution-apis``), EIP-20, EIP-55, EIP-658, EIP-695, EIP-1474.
What is seen: the native coin by full blocks, with a memo in the call data; the ERC-20 tokens that the
configuration names, with a memo behind the call's arguments; with ``traces`` the coin that contracts send.
The final block is the chain's own ``finalized`` tag; a node that has none has no final block.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from chainwatch.adapters.base import Balances, Services
from chainwatch.adapters.derivation import AccountKey
from chainwatch.adapters.derivation import parse as parse_key
from chainwatch.adapters.evm_decode import decode_documents
from chainwatch.adapters.evm_traces import FlatTrace, TracedTx, allow_deep_json
from chainwatch.adapters.evm_transfers import Names
from chainwatch.adapters.evm_types import EVM_ADDRESS, Header, address_topic, hash32, quantity
from chainwatch.adapters.evm_view import Chain, EvmView
from chainwatch.adapters.quorum import Quorum, QuorumOption
from chainwatch.adapters.rpc import Endpoint, HttpRefused, Limits, Rpc, RpcError, side_by_side
from chainwatch.errors import Inconsistent, Misconfigured, Transient, Unreachable
from chainwatch.model import BlockRef, ChainSpec, NodeFacts, Transfer

SPAN = 40
"""Blocks of one catch-up step: four requests at once of ten full blocks, some megabytes each on busy chains."""
BATCH = 10
"""Calls in one batch: ten full blocks stay far below the body limit, and public nodes take batches of ten."""

BALANCE_OF = "0x70a08231"
"""Selector of ``balanceOf(address)``."""


class Options(msgspec.Struct, forbid_unknown_fields=True):
    """The operator's keys of an EVM chain."""

    xpub: str | None = None
    """Account key (BIP-44, m/44'/60'/0') of the addresses that purchases get: for tokens and exchange withdrawals."""
    quorum: QuorumOption | None = None
    """Larger payments need so many nodes that show them alike."""
    traces: bool = False
    """See what contracts send, by the node's trace methods."""
    pending: bool = False
    """Show payments in the node's pending block as seen; many nodes make theirs up."""
    final_tag: str = "finalized"
    """The block tag that means final (``safe`` where nothing better exists); empty: this chain has none."""
    genesis: str | None = None
    """Hash of block 0 that every node must confirm, for chains that share a chain id."""
    batch: int = BATCH
    """Calls in one JSON-RPC batch; 1 for nodes that refuse batches."""
    timeout: float = 30.0
    """Seconds that one call may take, with all its retries."""


def open_source(spec: ChainSpec, services: Services) -> "EvmSource":
    """Build the source of a configured EVM chain; ``Misconfigured`` names the key that is wrong."""
    return EvmSource(spec, services)


def decode(documents: Sequence[bytes], spec: ChainSpec) -> Iterator[Transfer]:
    """Read recorded blocks, transactions, receipts, logs and traces: see ``evm_decode``."""
    return decode_documents(documents, spec)


class EvmSource:
    """An EVM chain, followed block by block (``BlockSource``)."""

    span = SPAN

    def __init__(self, spec: ChainSpec, services: Services) -> None:
        self._spec, self._services = spec, services
        self._options = _options(spec)
        self._chain_id = _chain_id(spec)
        limits = Limits(
            batch=self._options.batch,
            deadline_s=self._options.timeout,
            attempt_s=min(Limits().attempt_s, self._options.timeout),
        )
        rpc = Rpc(spec.code, spec.endpoints, services, limits=limits, probe="eth_chainId")
        self._chain = Chain(
            names=Names.of(spec),
            rpc=rpc,
            services=services,
            quorum=Quorum.of(spec, self._options.quorum, rpc.endpoints, lambda e: rpc.vet(e, self._vet)),
            traces=self._options.traces,
            pending=self._options.pending,
        )
        self._key = _account_key(spec, self._options.xpub)
        self.own_addresses = self._key is not None
        self._genesis = self._options.genesis and self._options.genesis.lower()
        self.watch((*spec.receive, *spec.also))
        for asset in spec.assets[1:]:
            if asset.asset_id is None or not EVM_ADDRESS.fullmatch(asset.asset_id):
                raise Misconfigured(f"[chains.{spec.code}] tokens: {asset.code} has no EVM contract address")

    async def open(self) -> Sequence[NodeFacts]:
        """Check every endpoint that answers: chain id, genesis, traces when they are asked for."""
        if self._options.traces:
            allow_deep_json()
        await self._chain.rpc.open()
        results = await side_by_side([self._try(endpoint) for endpoint in self._chain.rpc.endpoints])
        facts = [result for result in results if isinstance(result, NodeFacts)]
        if not facts:
            (failure, *_) = (result for result in results if isinstance(result, Exception))
            raise Unreachable(f"{self._spec.code}: no endpoint answers: {failure}") from failure
        return facts

    def watch(self, addresses: Iterable[str]) -> None:
        """Report payments to these addresses (any letter case) from now on."""
        for text in addresses:
            if not EVM_ADDRESS.fullmatch(text):
                raise Misconfigured(f"[chains.{self._spec.code}] receive: {text!r:.60} is no EVM address")
            self._chain.watched.add(text.lower())

    async def addresses(self, first: int, count: int) -> Sequence[str]:
        """Return receiving addresses ``first…`` of the account key; ``Misconfigured`` without one."""
        if self._key is None:
            raise Misconfigured(f"[chains.{self._spec.code}] has no xpub to derive addresses from")
        return [self._key.evm_address(index) for index in range(first, first + count)]

    async def view(self) -> EvmView:
        """Look through the best endpoint: its head and its final block, and once more its chain id."""
        endpoint = await self._chain.rpc.vetted(self._vet)
        head, final = await self._tips(endpoint)
        return EvmView(self._chain, endpoint, head, final)

    def leave(self, reason: str) -> bool:
        """See ``BlockSource.leave``."""
        return self._chain.rpc.leave(reason)

    async def wait(self, seconds: float) -> None:
        """Return after ``seconds``: plain HTTP nodes give no hints."""
        await self._services.clock.sleep(seconds)

    async def close(self) -> None:
        """Close the sockets."""
        await self._chain.rpc.close()

    # -- money that leaves ------------------------------------------------------------------------

    async def next_nonce(self, account: str) -> int:
        """Return ``eth_getTransactionCount`` of the pending block (``NonceSource``)."""
        rpc, question = self._chain.rpc, [account, "pending"]
        endpoint = await rpc.vetted(self._vet)
        return quantity(await rpc.call("eth_getTransactionCount", question, result=str, on=endpoint), "nonce")

    async def balances(self, height: int) -> Balances:
        """Return what our addresses hold at ``height``, of the coin and of each token (``BalanceSource``)."""
        tag, held = hex(height), sorted(self._chain.watched)
        calls: list[tuple[str, list[Any]]] = [("eth_getBalance", [a, tag]) for a in held]
        codes = [self._spec.native.code] * len(held)
        for contract, asset in self._chain.names.tokens.items():
            for account in held:
                data = BALANCE_OF + address_topic(account)[2:]
                calls.append(("eth_call", [{"to": contract, "data": data}, tag]))
                codes.append(asset.code)
        endpoint = await self._chain.rpc.vetted(self._vet)
        amounts: dict[str, int] = {}
        for code, answer in zip(codes, await self._chain.rpc.batch(calls, result=str, on=endpoint), strict=True):
            if isinstance(answer, RpcError):
                raise answer
            amounts[code] = amounts.get(code, 0) + quantity(answer, "balance")
        return Balances(height, amounts)

    # -- nodes -----------------------------------------------------------------------------------

    async def _try(self, endpoint: Endpoint) -> NodeFacts | Exception:
        try:
            return await self._vet(endpoint)
        except (Transient, HttpRefused) as error:
            return error

    async def _vet(self, endpoint: Endpoint) -> NodeFacts:
        """Check that this endpoint is a node of our network and can do what is asked of it."""
        rpc = self._chain.rpc
        self._check_chain_id(endpoint, await rpc.call("eth_chainId", result=str, on=endpoint))
        genesis = await self._check_genesis(endpoint)
        version = await rpc.call("web3_clientVersion", result=str, on=endpoint)
        warnings = []
        known = self._spec.params.get("genesis")
        if self._options.genesis is None and genesis is not None and known is not None and genesis != known:
            warnings.append(f"block 0 is {genesis}, not the main network's: a private or test network")
        head, final = await self._tips(endpoint)
        if final is None and self._options.final_tag:
            warnings.append(f"no {self._options.final_tag} block: nothing is final until there is one")
        if self._chain.quorum is not None:
            warnings += self._chain.quorum.warnings()
        if self._options.traces:
            self._chain.tracers[endpoint.name] = await self._find_tracer(endpoint, head)
        endpoint.checked = True
        return NodeFacts(
            endpoint=endpoint.name,
            version=version,
            network=f"eip155:{self._chain_id}",
            head=head,
            final=final,
            warnings=tuple(warnings),
            genesis=genesis,
        )

    def _check_chain_id(self, endpoint: Endpoint, text: str) -> None:
        found = quantity(text, "chain id")
        if found != self._chain_id:
            raise Misconfigured(
                f"{self._spec.code}: {endpoint.name} is a node of chain id {found}, not {self._chain_id}"
            )

    async def _check_genesis(self, endpoint: Endpoint) -> str | None:
        """Hold block 0 against the configured hash, or against what the first endpoint said."""
        try:
            block = await self._chain.rpc.call(
                "eth_getBlockByNumber", ["0x0", False], result=Header | None, on=endpoint
            )
        except RpcError:
            block = None  # a node without old blocks
        if block is None:
            return None
        found = hash32(block.hash)
        expected, self._genesis = self._genesis, self._genesis or found
        if expected is not None and found != expected:
            raise Misconfigured(f"{self._spec.code}: block 0 of {endpoint.name} is {found}, not {expected}")
        return found

    async def _tips(self, endpoint: Endpoint) -> tuple[BlockRef, BlockRef | None]:
        """Ask for the final block, then the head, so that the head is never the older one."""
        tag = self._options.final_tag
        calls: list[tuple[str, list[Any]]] = [("eth_chainId", [])]
        calls += [("eth_getBlockByNumber", [t, False]) for t in (tag, "latest") if t]
        answers = await self._chain.rpc.batch(calls, result=str | Header | None, on=endpoint)
        chain_id, head, tagged = answers[0], answers[-1], answers[1] if tag else None
        for answer in (chain_id, head):
            if isinstance(answer, RpcError):
                raise answer
        if not isinstance(head, Header):
            raise Transient(f"{self._spec.code}: {endpoint.name} has no head")
        try:
            self._check_chain_id(endpoint, chain_id)
        except Misconfigured as wrong:
            if endpoint.checked:  # another node stands behind the name now
                self._chain.rpc.fail(endpoint, str(wrong))
                raise Inconsistent(str(wrong)) from wrong
            raise
        final = tagged.ref if isinstance(tagged, Header) else None  # an error here: none is known yet
        if final is not None and final.height > head.ref.height:
            raise Inconsistent(f"{self._spec.code}: {endpoint.name}: the {tag} block is above the head")
        return head.ref, final

    async def _find_tracer(self, endpoint: Endpoint, head: BlockRef) -> str:
        """Find out which trace method an endpoint offers."""
        rpc = self._chain.rpc
        probes = (
            ("debug_traceBlockByHash", [head.hash, {"tracer": "callTracer"}], list[TracedTx] | None),
            ("trace_block", [hex(head.height)], list[FlatTrace] | None),
        )
        for method, params, shape in probes:
            if head.height == 0:
                return method  # a chain that has just begun: block 0 cannot be traced, later ones show it
            try:
                await rpc.call(method, params, result=shape, on=endpoint)
            except RpcError:
                continue
            return method
        raise Misconfigured(
            f"[chains.{self._spec.code}] traces = true, but {endpoint.name} offers neither "
            "debug_traceBlockByHash nor trace_block"
        )


# -- configuration -------------------------------------------------------------------------------


def _options(spec: ChainSpec) -> Options:
    where = f"[chains.{spec.code}]"
    try:
        options = msgspec.convert(dict(spec.options), Options)
    except msgspec.ValidationError as error:
        raise Misconfigured(f"{where} {error}") from error
    if not 1 <= options.batch <= 1000:
        raise Misconfigured(f"{where} batch must be 1 to 1000")
    if not options.timeout > 0:
        raise Misconfigured(f"{where} timeout must be positive")
    if options.final_tag not in ("finalized", "safe", ""):
        raise Misconfigured(f'{where} final_tag must be "finalized", "safe" or empty')
    if options.genesis is not None and not re.fullmatch(r"0x[0-9a-fA-F]{64}", options.genesis):
        raise Misconfigured(f"{where} genesis is no block hash")
    return options


def _chain_id(spec: ChainSpec) -> int:
    text = str(spec.chain_id)
    if not (text.isascii() and text.isdigit()):
        raise Misconfigured(f"[chains.{spec.code}] chain_id must be the EIP-155 number, not {text!r:.40}")
    return int(text)


def _account_key(spec: ChainSpec, xpub: str | None) -> AccountKey | None:
    if xpub is None:
        return None
    try:
        key = parse_key(xpub)
    except Misconfigured as error:
        raise Misconfigured(f"[chains.{spec.code}] xpub: {error}") from error
    if key.kind != "pkh" or key.test:
        raise Misconfigured(f"[chains.{spec.code}] xpub: an EVM account key begins with xpub")
    return key
