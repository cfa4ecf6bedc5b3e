"""What becomes of a payment.  Pure: facts in, a decision out; no clock, no database.

A purchase gathers payments (one opened by a memo alone is *implicit*).  ``decide`` looks at all of
them at once, every time anything about one of them changes, and says where each base unit belongs.
Nothing is counted up or down, so doing it again changes nothing.
"""

from collections.abc import Mapping, Sequence
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
    ``was_confirmed``: it counted once and its block is gone now.  ``dust``: the limit of its own asset.
    ``resolution``: what an operator decided of it in review (``refund``, ``foreign``, ``dust``, ``internal``;
    ``assign``: it counts here, whatever made it doubtful).
    """

    transfer_id: int
    amount: int
    asset: str | None
    state: State
    paid_ms: int
    gone: tuple[Allocation, ...] = ()
    was_confirmed: bool = False
    flags: tuple[str, ...] = ()
    dust: int = 0
    resolution: str = ""

    @property
    def here(self) -> int:
        """What of it is still with us."""
        return self.amount - sum(a.amount for a in self.gone)


class Sale(msgspec.Struct, frozen=True):
    """What matching must know of an event and the tier that is bought.  None for a time: no bound."""

    status: str
    sales_start_ms: int | None
    sales_end_ms: int | None
    event_end_ms: int | None
    by_memo: bool = True
    """May a memo alone buy?  (Free, approval-only and tiered events need a purchase.)"""


class Order(msgspec.Struct, frozen=True):
    """A purchase as matching sees it.

    ``price`` in base units of ``asset``; None when there is none, for the reason ``unsold``.  ``enough``: the least
    that buys (the price less the operator's tolerance; None: the price).  ``fee``: the commission in the price;
    it is ``bps`` of what is paid (None: it stands beside the ticket's price, and less of both is in less money).
    ``expired``: its time is over *and* its chain has been scanned past that time.  ``expires_ms``: money paid after it
    is late; None: there was no such time.  ``ticket``: the state of its ticket, None before minting; ``funded``: what
    that ticket was minted for; ``used``: somebody came in with it.
    """

    asset: str
    price: int | None
    expired: bool
    ticket: str | None
    dust: int = 0
    fee: int = 0
    enough: int | None = None
    funded: int | None = None
    expires_ms: int | None = None
    unsold: str = "wrong_asset"
    used: bool = False
    bps: int | None = None

    def commission(self, paid: int) -> int:
        """Return the platform's part of what was paid of the price, rounded down."""
        if self.bps is not None:
            return paid * self.bps // 10_000
        return paid * self.fee // self.price if self.price else 0

    def late(self, p: Paid) -> bool:
        """Was this paid after the purchase's time?"""
        return self.expires_ms is not None and p.paid_ms > self.expires_ms


class Decision(msgspec.Struct, frozen=True):
    """``allocations`` by transfer id, for every confirmed payment (and suspended funding).

    ``mint``: the money (``paid``) is there and the sale is on, so a seat shall be taken; when that is refused the
    caller asks again with the reason.  ``ticket``: what a minted ticket's state shall be.
    """

    allocations: dict[int, tuple[Allocation, ...]]
    mint: bool = False
    paid: int = 0
    ticket: str | None = None


class Stray(msgspec.Struct, frozen=True):
    """A confirmed transfer that no purchase claims.

    ``memo_problem``: ``no_memo``, ``unknown_event``, ``unknown_ref``, ``ambiguous``, ``bad_wallet`` …
    ``shared``: it came to an account that other services use too.  ``resolution``: as of ``Paid``.
    """

    amount: int
    asset: str | None
    memo_problem: str
    shared: bool = False
    dust: int = 0
    flags: tuple[str, ...] = ()
    resolution: str = ""


REVIEWED_FLAGS = ("locked", "duplicate_output_key", "double_spend_seen", "memo_untrusted", "mixed_inputs")
"""Facts of a transfer that a person must look at before its money counts."""

LIVE_TICKETS = frozenset({"active", "used", "suspended"})

RESOLVED: Mapping[str, Kind] = {"refund": "refund", "foreign": "foreign", "dust": "dust", "internal": "internal"}
"""What an operator may decide of money in review, and where it then belongs."""


def decide(sale: Sale, order: Order, payments: Sequence[Paid], *, refused: str = "") -> Decision:
    """Say where every base unit of a purchase belongs.

    Steps: 1. money that left again stays where it went.  2. what cannot count (other asset, locked,
    paid when nothing was on sale) goes by its own reason, or as an operator decided.  3. a live ticket keeps what it
    was minted for; the rest is surplus.  4. enough money asks for a seat, and goes back when that is ``refused``
    (``sold_out``, ``wallet_limit`` …).  5. too little waits, and goes back when the purchase has expired.

    A ticket that was used keeps its money even when it is revoked: only its event's cancelling gives that back.
    """
    allocations: dict[int, tuple[Allocation, ...]] = {}
    usable: list[Paid] = []
    kept = order.ticket == "revoked" and order.used and sale.status != "cancelled"
    ticketed = order.ticket in LIVE_TICKETS or kept
    for p in payments:
        if p.state != "confirmed":
            if p.gone:
                allocations[p.transfer_id] = p.gone
        elif not p.here:
            allocations[p.transfer_id] = p.gone  # 1
        elif (stray := _stray(sale, order, p)) is not None:
            allocations[p.transfer_id] = (*p.gone, stray)  # 2
        elif not ticketed and (reason := forbids(sale, p.paid_ms) or _ended(order)):
            allocations[p.transfer_id] = (*p.gone, _back(order, p, reason))  # 2
        else:
            usable.append(p)
    price = order.price
    if ticketed and price is not None:
        return _ticketed(order, price, usable, payments, allocations)  # 3
    total = sum(p.here for p in usable)
    paid = price is not None and bool(usable) and total >= (price if order.enough is None else order.enough)
    if paid and not refused:
        return Decision(allocations, mint=True, paid=total)  # 4
    for p in usable:
        if paid:
            rest = _back(order, p, "late" if refused == "sold_out" and order.late(p) else refused)  # 4
        elif order.expired:
            rest = _back(order, p, "underpaid")  # 5
        else:
            rest = Allocation("open", p.here, "underpaid")
        allocations[p.transfer_id] = (*p.gone, rest)
    return Decision(allocations)


def _ended(order: Order) -> str:
    """Return why a purchase that had a ticket gets no other one."""
    return f"ticket_{order.ticket}" if order.ticket is not None and order.ticket not in LIVE_TICKETS else ""


def _back(order: Order, p: Paid, reason: str) -> Allocation:
    """Send back what is still here; below the limit it costs more to return than it is."""
    limit = max(p.dust, order.dust if p.asset == order.asset else 0)
    return Allocation("dust" if p.here < limit else "refund", p.here, reason)


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
    if p.resolution in RESOLVED:
        return Allocation(RESOLVED[p.resolution], p.here, "operator")
    if p.asset is None:
        return Allocation("review", p.here, "unpriced")
    if p.resolution != "assign":
        for flag in REVIEWED_FLAGS:
            if flag in p.flags:
                return Allocation("review" if p.here >= p.dust else "dust", p.here, flag)
    if p.asset != order.asset:
        return _back(order, p, "wrong_asset")
    if order.price is None:
        if order.unsold == "no_rate":
            closed = forbids(sale, p.paid_ms)  # then it buys nothing at any rate
            return _back(order, p, closed) if closed else Allocation("review", p.here, "no_rate")
        return _back(order, p, order.unsold if sale.by_memo else "purchase_required")
    return None


def _ticketed(
    order: Order,
    price: int,
    usable: list[Paid],
    payments: Sequence[Paid],
    allocations: dict[int, tuple[Allocation, ...]],
) -> Decision:
    """Allocate to a ticket that exists: first come first, what it was minted for; what is over is surplus.

    A payment whose surplus has left already comes before all: it has bought the ticket with the rest, and what is paid
    earlier and mined later does not make that a second surplus of the same payment.
    Funding whose block is gone suspends the ticket and keeps its place until it confirms again,
    unless other confirmed money covers the price.
    """
    cost = price if order.funded is None else order.funded
    covered = sum(p.here for p in usable) >= cost
    funding = list(usable)
    if not covered:
        funding += [p for p in payments if p.was_confirmed and p.state != "confirmed" and p.here]
    funding.sort(key=lambda p: (not p.gone, p.paid_ms, p.transfer_id))
    spent = 0
    for p in funding:
        take = min(cost - spent, p.here)
        parts = []
        if take:
            commission = order.commission(spent + take) - order.commission(spent)
            parts.append(Allocation("ticket", take, "late" if order.late(p) else "", commission=commission))
        spent += take
        if (over := p.here - take) and p.state == "confirmed":
            reason = "overpaid" if take else "duplicate"
            parts.append(Allocation("dust" if over < order.dust else "surplus", over, reason))
        allocations[p.transfer_id] = (*p.gone, *parts)
    if order.ticket not in LIVE_TICKETS:
        return Decision(allocations, ticket=order.ticket)
    if covered:
        return Decision(allocations, ticket="active" if order.ticket == "suspended" else order.ticket)
    return Decision(allocations, ticket="suspended")


def route(t: Stray) -> Allocation:
    """Say where a confirmed transfer goes that belongs to no purchase."""
    if t.resolution in RESOLVED:
        return Allocation(RESOLVED[t.resolution], t.amount, "operator")
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
