"""The contract suite's harness over a simulated node: the same for every chain of the devnet."""

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from chainwatch import adapters
from chainwatch.adapters.base import AccountSource, BlockSource, Services
from chainwatch.devnet.node import Faults, Method, Payment, SimNode
from chainwatch.model import ChainSpec

HURRIED_S = 0.5
"""The deadline of a source that a case lets pass, in real seconds."""

Twist = Callable[[Any, tuple[Any, ...]], Any]
"""Function(honest answer, parameters) -> the answer that is sent.  Named parameters come as one mapping."""


def bend(node: SimNode, twists: Mapping[str, Twist]) -> None:
    """Let a test change answers of a simulated node: RPC method to twist, looked up at each call.

    The node's own answer is copied first; a method that it does not have answers None.
    """
    honest_methods = node.methods

    def methods() -> Mapping[str, Method]:
        honest = dict(honest_methods())
        return honest | {name: _bent(honest.get(name), twist) for name, twist in twists.items()}

    node.methods = methods  # type: ignore[method-assign]


def _bent(method: Method | None, twist: Twist) -> Method:
    def bent(*params: Any, **named: Any) -> Any:
        answer = None if method is None else copy.deepcopy(method(*params, **named))
        return twist(answer, (named,) if named else params)

    return bent


class SimHarness:
    """A ``SimNode`` as a ``Harness``.  ``start`` it before use and ``stop`` it at the end.

    ``make_node`` builds the node, after a restart again (from the same journal); ``options`` are
    the adapter's keys beside those that the node's own ``config`` names.  On a ``LeapingClock`` that both share,
    whatever is asked again costs no time, and a machine that stands still ends no deadline.
    """

    def __init__(
        self,
        make_node: Callable[[], SimNode],
        services: Services,
        *,
        can: Iterable[str],
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.can = frozenset(can)
        self._make_node, self.services, self._options = make_node, services, dict(options or {})
        self.node = make_node()
        self.spec: ChainSpec = self.node.spec

    @property
    def faults(self) -> Faults:
        """The node's misbehaviour."""
        return self.node.faults

    async def start(self) -> None:
        """Listen, and make the spec of a source that follows the node."""
        await self.node.start()
        self._describe()

    async def stop(self) -> None:
        """End the node."""
        await self.node.stop()

    def source(self) -> BlockSource | AccountSource:
        """Return a new, unopened source."""
        return adapters.open_source(self.spec, self.services)

    def hurry(self) -> None:
        """Let sources made from now on give up after half a second."""
        self.spec = msgspec.structs.replace(self.spec, options={**self.spec.options, "timeout": HURRIED_S})

    def wallet(self) -> str:
        """Return a fresh wallet of the chain."""
        return self.node.new_wallet()

    async def pay(
        self,
        amount: int,
        *,
        to: str | None = None,
        asset_id: str | None = None,
        memo: str | None = None,
        ok: bool = True,
        outputs: int = 1,
    ) -> str:
        """Submit one transaction; several payments in one need the node's ``pay_many``."""
        payment = Payment(to or self.spec.receive[0], amount, asset_id=asset_id, memo=memo, ok=ok)
        if outputs == 1:
            return self.node.pay(payment)
        txid: str = self.node.pay_many([payment] * outputs)  # type: ignore[attr-defined]
        return txid

    async def send(self, amount: int, to: str, *, asset_id: str | None = None, memo: str | None = None) -> str:
        """Let the operator's account pay."""
        payment = Payment(to, amount, asset_id=asset_id, memo=memo, sender=self.spec.receive[0])
        return self.node.pay(payment)

    async def mine(self, n: int = 1) -> None:
        """Make ``n`` blocks: the first takes the whole mempool."""
        for _ in range(n):
            self.node.chain.mine()

    async def finalize(self) -> None:
        """Make blocks until the present head is final."""
        head = self.node.chain.head.ref.height
        while self.node.chain.final.ref.height < head:
            self.node.chain.mine()

    async def drop(self, txid: str) -> None:
        """Reorganise from the payment's block on, without it."""
        self.node.chain.reorg(self._depth(txid), drop=[txid])

    async def move(self, txid: str) -> None:
        """Reorganise from the payment's block on; it comes back one block higher."""
        self.node.chain.reorg(self._depth(txid), shift=1)

    async def restart(self) -> None:
        """Stop the node; start one from its journal at the same port."""
        port = int(self.node.url.rsplit(":", 1)[1])
        await self.node.stop()
        self.node = self._make_node()
        await self.node.start(port)

    def _depth(self, txid: str) -> int:
        block = self.node.chain.find(txid)
        assert block is not None, f"{txid} is in no block"
        return self.node.chain.head.ref.height - block.ref.height + 1

    def _describe(self) -> None:
        """Lay the node's own section over its spec, as a configuration would."""
        section = self.node.config()
        fields = {f for f in ChainSpec.__struct_fields__ if f not in ("assets", "params", "options")}
        common = {k: v for k, v in section.items() if k in fields}
        options = {k: v for k, v in section.items() if k not in fields and k not in ("finality", "tokens")}
        self.spec = msgspec.structs.replace(
            self.node.spec,
            **{k: tuple(v) if isinstance(v, list) else v for k, v in common.items()}
            | {"chain_id": str(section.get("chain_id", self.node.spec.chain_id))},
            options={**self.node.spec.options, **options, **self._options},
        )
