"""Large payments wait until several nodes show them alike: one lying node can delay them, never mint.

What "alike" means is the adapter's: a block whose hash proves its content needs no more than its hash from the
others; where it does not, they must show the same transfers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import msgspec

from chainwatch.adapters.endpoints import Endpoint
from chainwatch.errors import ChainwatchError, Misconfigured, Rejected, Transient
from chainwatch.model import ChainSpec, Transfer
from chainwatch.units import parse_units


class QuorumOption(msgspec.Struct, forbid_unknown_fields=True):
    """``quorum = {above = "1.0", nodes = 2}``: above so many coins, so many nodes must agree.

    ``above`` is an amount of the native coin, or a table of amounts by asset: ``{ETH = "1.0", USDC = "2000"}``.
    """

    above: str | dict[str, str]
    nodes: int


def option_of(spec: ChainSpec) -> QuorumOption | None:
    """Return the key of a chain whose other keys are read one by one; ``Misconfigured`` for another shape."""
    try:
        option: QuorumOption | None = msgspec.convert(spec.options.get("quorum"), QuorumOption | None)
    except msgspec.ValidationError as error:
        raise Misconfigured(f"[chains.{spec.code}] quorum: {error}") from error
    return option


Ask = Callable[[Endpoint], Awaitable[object]]


class Quorum:
    """``nodes`` of ``endpoints`` must agree on what is above ``above`` (asset code to base units).

    ``vet`` makes an endpoint prove its network first, if it has not (``Rpc.vet``).
    """

    def __init__(self, above: Mapping[str, int], nodes: int, endpoints: Sequence[Endpoint], vet: Ask) -> None:
        self._above, self._nodes, self._endpoints, self._vet = above, nodes, endpoints, vet

    @classmethod
    def of(
        cls, spec: ChainSpec, option: QuorumOption | None, endpoints: Sequence[Endpoint], vet: Ask
    ) -> "Quorum | None":
        """Read the operator's key; ``Misconfigured`` for amounts, assets and numbers of nodes that cannot be."""
        if option is None:
            return None
        where = f"[chains.{spec.code}] quorum"
        written = option.above if isinstance(option.above, dict) else {spec.native.code: option.above}
        assets = {name: a for a in spec.assets for name in (a.code, a.code.removeprefix(f"{spec.code}:"))}
        above: dict[str, int] = {}
        for name, text in written.items():
            if name not in assets:
                raise Misconfigured(f"{where}: above names {name!r:.40}, which is no asset of this chain")
            try:
                above[assets[name].code] = parse_units(text, assets[name].decimals)
            except Rejected as error:
                raise Misconfigured(f"{where}: above is no decimal number of coins: {error}") from error
        if option.nodes < 2:
            raise Misconfigured(f"{where}: nodes must be 2 or more")
        return cls(above, option.nodes, endpoints, vet)

    def warnings(self) -> tuple[str, ...]:
        """Return what ``check`` should say about a quorum that these endpoints can never reach."""
        if self._nodes <= len(self._endpoints):
            return ()
        return (f"quorum needs {self._nodes} endpoints: with {len(self._endpoints)} large payments wait",)

    def large(self, transfers: Iterable[Transfer]) -> list[Transfer]:
        """Return the successful transfers of every asset that brings too much together: splitting gains nothing."""
        counted = [t for t in transfers if t.ok and t.asset in self._above]
        totals: dict[str | None, int] = {}
        for t in counted:
            totals[t.asset] = totals.get(t.asset, 0) + t.amount
        return [t for t in counted if totals[t.asset] > self._above[t.asset or ""]]

    async def confirm(self, on: Endpoint, agrees: Ask, what: str) -> None:
        """Ask every other endpoint; ``Transient`` until enough agree with ``on`` about ``what`` (a text for people).

        No answer is no vote.
        """

        async def vote(endpoint: Endpoint) -> bool:
            try:
                await self._vet(endpoint)
                return bool(await agrees(endpoint))
            except ChainwatchError:
                return False

        votes = 1 + sum(await asyncio.gather(*(vote(e) for e in self._endpoints if e is not on)))
        if votes < self._nodes:
            raise Transient(f"{what}: {votes} of {self._nodes} nodes show it alike")
