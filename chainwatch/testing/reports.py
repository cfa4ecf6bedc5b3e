"""A collector of what watchers and adapters report, for tests."""

from collections import Counter

from chainwatch.model import BlockRef


class Collected:
    """Implements ``watcher.Reports`` and ``adapters.base.Observer``; keeps plain numbers."""

    def __init__(self) -> None:
        self.heights: dict[str, int] = {}
        self.reorgs: list[tuple[str, int]] = []
        self.tickets = 0
        self.endings: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.payments: Counter[tuple[str | None, str]] = Counter()
        self.down: set[str] = set()
        self.calls: Counter[tuple[str, str]] = Counter()

    def follow(self, chain: str) -> None:
        """Note the chain."""
        self.heights.setdefault(chain, -1)

    def tip(self, chain: str, head: BlockRef, final: BlockRef | None = None, time_ms: int = 0) -> None:
        """Not kept."""

    def scanned(self, chain: str, height: int) -> None:
        """Keep the cursor."""
        self.heights[chain] = height

    def reorg(self, chain: str, depth: int) -> None:
        """Keep the depth."""
        self.reorgs.append((chain, depth))

    def lease(self, chain: str, held: bool) -> None:
        """Not kept."""

    def minted(self, _chain: str, _latency_s: float) -> None:
        """Count it."""
        self.tickets += 1

    def payment(self, _chain: str, asset: str | None, state: str, n: int = 1) -> None:
        """Count it."""
        self.payments[asset, state] += n

    def ended(self, _chain: str, ending: str, n: int = 1) -> None:
        """Count it."""
        self.endings[ending] += n

    def count(self, _chain: str, what: str, n: int = 1) -> None:
        """Count it."""
        self.counts[what] += n

    def rpc(self, _chain: str, _endpoint: str, method: str, outcome: str, _seconds: float) -> None:
        """Count it."""
        self.calls[method, outcome] += 1

    def endpoint(self, _chain: str, endpoint: str, up: bool) -> None:
        """Keep those that are out of use."""
        (self.down.discard if up else self.down.add)(endpoint)
