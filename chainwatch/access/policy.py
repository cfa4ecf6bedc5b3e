"""Who may come in when: the rules that ask nobody but the rows, for those who only ask."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from chainwatch.ledger.entries import DAY_MS, window

LIVE = ("active", "used")


def refusal(ticket: Row[Any], event: Row[Any], now_ms: int, early_ms: int) -> str:
    """Why the entry guard would refuse this ticket's wallet now (its words); the empty text: it would not.

    Says what ``ledger.entries`` will decide under lock; changes nothing.
    """
    if ticket.state not in LIVE:
        return str(ticket.state) if ticket.state in ("cancelled", "refunded", "suspended") else "revoked"
    if event.door == "qr":
        return "door_qr_only"
    if closed := window(event, now_ms, early_ms):
        return closed
    if event.entry_policy == "once" and ticket.entries:
        return "already_redeemed"
    if event.entry_policy == "daily" and ticket.entries and ticket.last_entry_ms // DAY_MS == now_ms // DAY_MS:
        return "already_redeemed"
    return ""


def counting(tickets: Sequence[Row[Any]], contract_chain: str | None, chain_of: dict[str, str]) -> list[Row[Any]]:
    """The tickets that this signature speaks for: a contract wallet's only those bound to its chain, or paid on it.

    ``chain_of``: asset code to chain code.  Live ones first, by number.
    """
    of_chain = [
        t for t in tickets if contract_chain is None or contract_chain == (t.wallet_chain or chain_of.get(t.asset))
    ]
    return sorted(of_chain, key=lambda t: (t.state not in LIVE, t.number))


def contract_chains(tickets: Sequence[Row[Any]], chain_of: dict[str, str]) -> set[str]:
    """The chains on which a contract wallet counts for one of these tickets."""
    return {code for t in tickets if (code := t.wallet_chain or chain_of.get(t.asset))}
