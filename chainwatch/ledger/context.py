"""What one transaction of the ledger needs to know besides the database."""

from collections.abc import Callable, Mapping

import msgspec

from chainwatch.finality import Rule
from chainwatch.memo import CanonicalWallet
from chainwatch.model import Asset, ChainSpec
from chainwatch.tickets.token import Issuer


class Policy(msgspec.Struct, frozen=True):
    """Rules of the sale that the operator sets (times in milliseconds).

    ``unsigned_hold_percent``, ``seen_hold_percent``: the share of an event's seats that unsigned purchases, and
    purchases kept by a mempool sighting alone, may hold.  ``tolerance_bps``: what of a price may be missing, by asset.
    ``rate_age_ms``: how old a rate may be.  ``long_memo``: memos name event and wallet, where they fit.
    """

    commission_bps: int = 2000
    hold_ms: int = 15 * 60_000
    payout_delay_ms: int = 7 * 86_400_000
    seen_hold_ms: int = 120 * 60_000
    unsigned_hold_percent: int = 50
    seen_hold_percent: int = 25
    tolerance_bps: Mapping[str, int] = {}
    long_memo: bool = False
    rate_age_ms: int = 300_000

    def enough(self, asset: str, price: int) -> int:
        """Return the least that buys a ticket of ``price``: never nothing, however the tolerance is set."""
        return max(price - price * self.tolerance_bps.get(asset, 0) // 10_000, min(price, 1))


class Context(msgspec.Struct, frozen=True):
    """Injected into ``apply``: the chain, its rule, who signs, how references are made."""

    spec: ChainSpec
    rule: Rule
    policy: Policy
    issuer: Issuer
    canonical_wallet: CanonicalWallet
    new_ref: Callable[[], str]
    payout_rule: Rule | None = None
    """When money that leaves has left, and money that came may leave again; None: as ``rule``."""
    elsewhere: Mapping[str, Asset] = {}
    """Assets of the other configured chains: a purchase for one of them may be paid here by mistake."""

    @property
    def payout(self) -> Rule:
        """The rule of payouts and refunds."""
        return self.payout_rule or self.rule

    @property
    def chain(self) -> str:
        """The chain's code."""
        return self.spec.code

    def assets(self) -> Mapping[str, Asset]:
        """Assets of the chain by code."""
        return {a.code: a for a in self.spec.assets}

    def every_asset(self) -> dict[str, Asset]:
        """Assets of every configured chain by code."""
        return {**self.elsewhere, **self.assets()}
