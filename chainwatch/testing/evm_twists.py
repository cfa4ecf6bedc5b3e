"""Lies of an EVM node: twists (``chainwatch.testing.simulated.bend``) of its logs, receipts and blocks."""

from collections.abc import Callable
from typing import Any

from chainwatch.testing.simulated import Twist


def with_logs(change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Twist:
    """Bend every log of a log search; None leaves the log out."""
    return lambda logs, _: [x for log in logs if (x := change(log)) is not None]


def in_receipt(change: Callable[[dict[str, Any]], Any]) -> Twist:
    """Bend a receipt, when there is one."""

    def twist(receipt: Any, _: Any) -> Any:
        if receipt is not None:
            change(receipt)
        return receipt

    return twist


def in_block(change: Callable[[dict[str, Any]], Any]) -> Twist:
    """Bend full blocks."""

    def twist(block: Any, params: Any) -> Any:
        if block is not None and params[1]:
            change(block)
        return block

    return twist
