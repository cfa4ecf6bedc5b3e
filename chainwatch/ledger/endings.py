"""Where a payment can end, what that means, and the command that handles it: the one table.

The command line, the API, the metrics and docs/money.md speak from it; a test holds them against it, and
another holds it against what matching can say.
"""

import msgspec


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """``kind`` and ``reason`` as allocations have them.  ``name`` is the ending's own; ``next`` what is to be done and
    ``command`` the words behind ``chainwatch`` that handle it, both empty when nobody must do anything.
    """

    name: str
    kind: str
    reason: str
    means: str
    next: str = ""
    command: str = ""


_REVIEW = "review decide"
_REFUND = "refunds list"


def _ticket(name: str, reason: str, means: str) -> Ending:
    return Ending(name=name, kind="ticket", reason=reason, means=means)


def _refund(name: str, means: str, reason: str = "") -> Ending:
    what = "the buyer claims it, or an operator names where to; then it is exported and settles itself"
    return Ending(name=name, kind="refund", reason=reason or name, means=means, next=what, command=_REFUND)


def _review(name: str, means: str, next: str, reason: str = "") -> Ending:
    return Ending(name=name, kind="review", reason=reason or name, means=means, next=next, command=_REVIEW)


_LOOK = "find the buyer, then assign it to a purchase or refund it"

ENDINGS: tuple[Ending, ...] = (
    _ticket("exact", "", "it bought a ticket"),
    _ticket("late", "late", "it was paid after the purchase's time, and a seat was left: it bought a ticket"),
    Ending(
        name="under",
        kind="open",
        reason="underpaid",
        means="less than the price, and the purchase is open: the buyer may pay the rest",
    ),
    _refund("underpaid", "less than the price when the purchase expired; a top-up cancels it until it is exported"),
    Ending(
        name="over",
        kind="surplus",
        reason="overpaid",
        means="what was paid beyond the price",
        next="as a refund",
        command=_REFUND,
    ),
    Ending(
        name="duplicate",
        kind="surplus",
        reason="duplicate",
        means="a payment for a purchase that has its ticket already",
        next="as a refund",
        command=_REFUND,
    ),
    _refund("late_without_seat", "paid after the purchase's time, and no seat is left", "late"),
    _refund("sold_out", "paid in time, but no seat was left when it counted"),
    _refund("wallet_limit", "the wallet has as many tickets of the event as it may have"),
    _refund("invite_used", "paid late, and the invite has been used by others"),
    _refund("wrong_asset", "paid in a currency that the purchase or the event does not take"),
    _refund("tier_required", "a memo that does not say which kind of ticket, or one that is not there"),
    _refund("purchase_required", "a memo alone buys no ticket of this event (free, in money, for approved guests)"),
    _refund("unknown_event", "the memo names an event that does not exist"),
    _refund("event_cancelled", "the event is cancelled"),
    _refund("before_sales", "paid before sales began"),
    _refund("sales_closed", "paid after sales ended"),
    _refund("event_over", "paid after the event's end"),
    _refund("ticket_cancelled", "the purchase's ticket was cancelled"),
    _refund("ticket_revoked", "the purchase's ticket was revoked"),
    _refund("ticket_refunded", "the purchase's ticket was refunded"),
    _refund("refunded_by_operator", "an operator decided in review that it goes back", "operator"),
    _review("no_memo", "it came to the common account and says nothing of what it is for", _LOOK),
    _review("two_memos", "it names two purchases or events", _LOOK, "ambiguous"),
    _review("wrong_event", "reference, address, event and wallet contradict each other", _LOOK, "ref_disagrees"),
    _review("unknown_ref", "it names a purchase that does not exist", _LOOK),
    _review("bad_wallet", "the wallet in the memo is none of any chain", _LOOK),
    _review("bad_checksum", "the wallet in the memo is mistyped, and it is not the payer's", _LOOK),
    _review("bad_pairs", "the memo goes on in a way that cannot be read", _LOOK),
    _review("too_long", "the memo is longer than any that we read", _LOOK),
    _review("memo_unreadable", "an encrypted memo without the key to it", _LOOK),
    _review("memo_untrusted", "the memo stands where the payer need not have put it", _LOOK),
    _review("locked", "the money is locked beyond the chain's own rule (Monero)", "wait until it is spendable"),
    _review("duplicate_output_key", "the money can be spent only once with another (Monero's burning bug)", "keep it"),
    _review("mixed_inputs", "paid by us and by others at once", "find the buyer, then assign it, or keep it"),
    _review("double_spend_seen", "a conflicting transaction was seen", "look at the chain, then assign it or keep it"),
    _review("unpriced", "an asset that is not configured", "configure it and scan again, or keep it as foreign"),
    _review("no_rate", "late money of a price in fiat, and there was no rate at its time", "assign it, or refund it"),
    Ending(name="foreign_memo", kind="foreign", reason="", means="an account shared with others: not about tickets"),
    Ending(name="foreign", kind="foreign", reason="operator", means="an operator decided that it is not about tickets"),
    Ending(name="dust", kind="dust", reason="", means="too little to be returned; added up, told to nobody"),
    Ending(name="dust_by_operator", kind="dust", reason="operator", means="an operator decided to keep it"),
    Ending(name="internal", kind="internal", reason="", means="our own change and sweeps"),
    Ending(name="internal_by_operator", kind="internal", reason="operator", means="an operator knows it as our own"),
)
"""Every ending.  Dust keeps the reason for which it would have gone back: ``of`` finds it all the same."""

_BY_KEY = {(e.kind, e.reason): e for e in ENDINGS}


def of(kind: str, reason: str) -> Ending | None:
    """Return the ending of an allocation; None for none that we know (a test says that there is none)."""
    if kind == "dust" and reason != "operator":
        reason = ""
    return _BY_KEY.get((kind, reason))


def name_of(kind: str, reason: str) -> str:
    """Return the ending's name, for metrics and answers."""
    found = of(kind, reason)
    return found.name if found is not None else f"{kind}:{reason}"
