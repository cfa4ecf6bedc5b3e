"""Is a wallet a contract?  Then its owner is told before paying: it counts at the door on one chain only.

(The Devcon shop turned contract wallets away after they had paid.)  One question to a node, shortly, for few at once,
and remembered: during a drop most buyers are not asked about, and hear ``unknown``.
"""

import asyncio
from collections import OrderedDict

from chainwatch.verifiers import Unavailable
from chainwatch.verifiers.result import Resolver

WAIT_S = 1.0
"""A buyer waits for the answer; a node that is well answers in a tenth of it."""
AT_ONCE = 8
"""Questions under way; whoever comes beyond it hears ``unknown``."""
MOST = 10_000

DELEGATED = b"\xef\x01\x00"
"""Code of an account with a key that also runs a contract (EIP-7702): its key still signs."""

KEY, CONTRACT, UNKNOWN = "key", "contract", "unknown"


class WalletKinds:
    """What is known of EVM accounts, by chain and address."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._asking = 0

    async def of(self, chain: str, address: str, resolver: Resolver | None) -> str:
        """Return ``key``, ``contract`` or ``unknown``."""
        key = (chain, address)
        if (kind := self._known.get(key)) is not None:
            return kind
        if resolver is None or self._asking >= AT_ONCE:
            return UNKNOWN
        self._asking += 1
        try:
            async with asyncio.timeout(WAIT_S):
                code = await resolver.evm_code(address)
        except (TimeoutError, Unavailable):
            return UNKNOWN
        finally:
            self._asking -= 1
        kind = CONTRACT if code and not code.startswith(DELEGATED) else KEY
        if kind == CONTRACT:  # an account without code may get some (a wallet that is deployed by its first payment)
            self._known[key] = kind
            if len(self._known) > MOST:
                self._known.popitem(last=False)
        return kind
