"""The tables, one module a subject; all are imported from here, so that every foreign key finds its table.

Times are Unix milliseconds (``_ms``), amounts base units, states short words.  A change needs a migration in
``migrations/versions``; a test compares the two.
"""

from chainwatch.ledger.tables.access import attendance, challenge_wallets, devices, entries, sessions, used_nonces
from chainwatch.ledger.tables.base import metadata
from chainwatch.ledger.tables.chains import addresses, backfills, blocks, cursors, leases, transfers
from chainwatch.ledger.tables.messages import deliveries, milestones, outbox, webhooks
from chainwatch.ledger.tables.money import (
    allocations,
    creator_addresses,
    export_items,
    exports,
    ledger_lines,
    payouts,
    refunds,
)
from chainwatch.ledger.tables.records import api_keys, audit_log, erased_wallets, idempotency
from chainwatch.ledger.tables.sales import (
    allotments,
    approvals,
    event_prices,
    events,
    invites,
    purchases,
    rates,
    tickets,
    tier_prices,
    tiers,
)

__all__ = [
    "addresses",
    "allocations",
    "allotments",
    "api_keys",
    "approvals",
    "attendance",
    "audit_log",
    "backfills",
    "blocks",
    "challenge_wallets",
    "creator_addresses",
    "cursors",
    "deliveries",
    "devices",
    "entries",
    "erased_wallets",
    "event_prices",
    "events",
    "export_items",
    "exports",
    "idempotency",
    "invites",
    "leases",
    "ledger_lines",
    "metadata",
    "milestones",
    "outbox",
    "payouts",
    "purchases",
    "rates",
    "refunds",
    "sessions",
    "tickets",
    "tier_prices",
    "tiers",
    "transfers",
    "used_nonces",
    "webhooks",
]
