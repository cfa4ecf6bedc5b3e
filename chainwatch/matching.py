"""What becomes of a payment.  Pure: facts in, a decision out; no clock, no database.

A purchase gathers payments (one opened by a memo alone is *implicit*).  ``decide`` looks at all of
them at once, every time anything about one of them changes, and says where each base unit belongs.
Nothing is counted up or down, so doing it again changes nothing.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

Kind = Literal["ticket", "refund", "surplus", "review", "dust", "internal", "foreign", "open"]
"""Where base units belong.  ``open``: confirmed and waiting for more (underpaid, not yet expired)."""

State = Literal["seen", "confirming", "confirmed", "orphaned", "failed"]


class Allocation(msgspec.Struct, frozen=True):
    """``amount`` base units of one transfer belong to ``kind``, for ``reason``.

    ``commission``: the platform's part of money that bought a ticket.
    """

    kind: Kind
    amount: int
    reason: str = ""
    commission: int = 0


class Paid(msgspec.Struct, frozen=True):
    """One payment of a purchase.

    ``paid_ms``: the earlier of our first sighting and its block's time.  ``gone``: parts whose refund
    has left (exported or settled): that money never counts towards a ticket again.
    ``was_confirmed``: it counted once and its block is gone now.
    """

    transfer_id: int
    amount: int
    asset: str | None
    state: State
    paid_ms: int
    gone: tuple[Allocation, ...] = ()
    was_confirmed: bool = False
    flags: tuple[str, ...] = ()

    @property
    def here(self) -> int:
        """What of it is still with us."""
        return self.amount - sum(a.amount for a in self.gone)


class Sale(msgspec.Struct, frozen=True):
    """What matching must know of an event.  None for a time: no bound."""

    status: str
    sales_start_ms: int | None
    sales_end_ms: int | None
    event_end_ms: int | None
    by_memo: bool = True
    """May a memo alone buy?  (Free, approval-only and tiered events need a purchase.)"""


class Order(msgspec.Struct, frozen=True):
    """A purchase as matching sees it.

    ``price`` in base units of ``asset``; None when the event does not sell for that asset.
    ``expired``: its time is over *and* its chain has been scanned past that time.
    ``ticket``: the state of its ticket, None before minting.
    """

    asset: str
    price: int | None
    expired: bool
    ticket: str | None
    dust: int = 0
    commission_bps: int = 0


class Decision(msgspec.Struct, frozen=True):
    """``allocations`` by transfer id, for every confirmed payment (and suspended funding).

    ``mint``: the money is there and the sale is on, so a seat shall be taken; when none is left the
    caller asks again with ``sold_out=True``.  ``ticket``: what a minted ticket's state shall be.
    """

    allocations: dict[int, tuple[Allocation, ...]]
    mint: bool = False
    ticket: str | None = None


class Stray(msgspec.Struct, frozen=True):
    """A confirmed transfer that no purchase claims.

    ``memo_problem``: ``no_memo``, ``unknown_event``, ``unknown_ref``, ``ambiguous``, ``bad_wallet`` …
    ``shared``: it came to an account that other services use too.
    """

    amount: int
    asset: str | None
    memo_problem: str
    shared: bool = False
    dust: int = 0
    flags: tuple[str, ...] = ()


REVIEWED_FLAGS = ("locked", "duplicate_output_key", "double_spend_seen", "memo_untrusted")
"""Facts of a transfer that a person must look at before its money counts."""

LIVE_TICKETS = frozenset({"active", "used", "suspended"})


def decide(sale: Sale, order: Order, payments: Sequence[Paid], *, sold_out: bool = False) -> Decision:
    """Say where every base unit of a purchase belongs.

    Steps: 1. money that left again stays where it went.  2. what cannot count (other asset, locked,
    paid when nothing was on sale) goes by its own reason.  3. a live ticket keeps its price; the rest is
    surplus.  4. enough money asks for a seat, and goes back when there is none.  5. too little waits, and
    goes back when the purchase has expired.
    """
    allocations: dict[int, tuple[Allocation, ...]] = {}
    usable: list[Paid] = []
    ticketed = order.ticket in LIVE_TICKETS
    for p in payments:
        if p.state != "confirmed":
            if p.gone:
                allocations[p.transfer_id] = p.gone
        elif not p.here:
            allocations[p.transfer_id] = p.gone  # 1
        elif (stray := _stray(sale, order, p)) is not None:
            allocations[p.transfer_id] = (*p.gone, stray)  # 2
        elif not ticketed and (reason := forbids(sale, p.paid_ms)):
            allocations[p.transfer_id] = (*p.gone, Allocation("refund", p.here, reason))  # 2
        else:
            usable.append(p)
    price = order.price
    if ticketed and price is not None:
        return _ticketed(order, price, usable, payments, allocations)  # 3
    paid = price is not None and bool(usable) and sum(p.here for p in usable) >= price
    if paid and not sold_out:
        return Decision(allocations, mint=True)  # 4
    for p in usable:
        if paid:
            rest = Allocation("refund", p.here, "sold_out")  # 4
        elif order.expired:
            rest = Allocation("dust" if p.here < order.dust else "refund", p.here, "underpaid")  # 5
        else:
            rest = Allocation("open", p.here, "underpaid")
        allocations[p.transfer_id] = (*p.gone, rest)
    return Decision(allocations)


def forbids(sale: Sale, paid_ms: int) -> str:
    """Return why an event does not sell for money paid at ``paid_ms``, or the empty text."""
    if sale.status == "cancelled":
        return "event_cancelled"
    if sale.status != "active":
        return "sales_closed"
    if not sale.by_memo:
        return "purchase_required"
    if sale.sales_start_ms is not None and paid_ms < sale.sales_start_ms:
        return "before_sales"
    if sale.sales_end_ms is not None and paid_ms > sale.sales_end_ms:
        return "sales_closed"
    if sale.event_end_ms is not None and paid_ms > sale.event_end_ms:
        return "event_over"
    return ""


def _stray(sale: Sale, order: Order, p: Paid) -> Allocation | None:
    """Return where a payment goes that can never count towards this purchase; None when it can."""
    for flag in REVIEWED_FLAGS:
        if flag in p.flags:
            return Allocation("review", p.here, flag)
    if p.asset is None:
        return Allocation("review", p.here, "unpriced")
    if p.asset != order.asset or order.price is None:
        return Allocation("refund", p.here, "wrong_asset" if sale.by_memo else "purchase_required")
    return None


def _ticketed(
    order: Order,
    price: int,
    usable: list[Paid],
    payments: Sequence[Paid],
    allocations: dict[int, tuple[Allocation, ...]],
) -> Decision:
    """Allocate to a ticket that exists: first come first, the price; what is over is surplus.

    Funding whose block is gone suspends the ticket and keeps its place until it confirms again,
    unless other confirmed money covers the price.
    """
    covered = sum(p.here for p in usable) >= price
    funding = list(usable)
    if not covered:
        funding += [p for p in payments if p.was_confirmed and p.state != "confirmed" and p.here]
        funding.sort(key=lambda p: (p.paid_ms, p.transfer_id))
    spent = 0
    for p in funding:
        take = min(price - spent, p.here)
        parts = []
        if take:
            before, after = (n * order.commission_bps // 10_000 for n in (spent, spent + take))
            parts.append(Allocation("ticket", take, commission=after - before))
        spent += take
        if (over := p.here - take) and p.state == "confirmed":
            parts.append(Allocation("dust" if over < order.dust else "surplus", over, "overpaid"))
        allocations[p.transfer_id] = (*p.gone, *parts)
    if covered:
        return Decision(allocations, ticket="active" if order.ticket == "suspended" else order.ticket)
    return Decision(allocations, ticket="suspended")


def route(t: Stray) -> Allocation:
    """Say where a confirmed transfer goes that belongs to no purchase."""
    if "internal" in t.flags:
        return Allocation("internal", t.amount)
    if t.asset is None:
        return Allocation("review", t.amount, "unpriced")
    if t.amount < t.dust:
        return Allocation("dust", t.amount)
    for flag in (*REVIEWED_FLAGS, "memo_unreadable"):
        if flag in t.flags:
            return Allocation("review", t.amount, flag)
    if t.memo_problem == "no_memo" and t.shared:
        return Allocation("foreign", t.amount)
    if t.memo_problem == "unknown_event":
        return Allocation("refund", t.amount, "unknown_event")
    return Allocation("review", t.amount, t.memo_problem)


_SHOWN = {"ticket": "minted", "refund": "refund_due", "open": "confirmed"}
_ORDER = ("review", "ticket", "refund", "surplus", "open", "dust", "internal", "foreign")


def shown_state(state: str, allocations: Sequence[Allocation]) -> str:
    """Return a payment's state as people see it: the summary of its allocations, else its way there."""
    if state != "confirmed" or not allocations:
        return state
    kinds = {a.kind for a in allocations}
    kind = next(k for k in _ORDER if k in kinds)
    return _SHOWN.get(kind, kind)
