"""What settings become, for the daemon and for single commands: the database, the keys, what the ledger is told.

Light on purpose: a command that looks at the ledger must not load the HTTP API for it.
"""

import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import inspect

from chainwatch.config.settings import Settings
from chainwatch.errors import Misconfigured, Rejected
from chainwatch.ledger import schema
from chainwatch.ledger.context import Context, Policy
from chainwatch.ledger.exports import Rules
from chainwatch.ledger.store import Store
from chainwatch.model import Asset
from chainwatch.tickets.token import Issuer, generate_key, load_issuer, new_ref
from chainwatch.units import parse_units
from chainwatch.wallets import canonical_wallet


def open_store(settings: Settings) -> Store:
    """Open the database.  An empty one is given the schema; an older one is refused with what to do."""
    store = Store(settings.database.url)
    if store.path is not None:
        store.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with store.reading() as connection:
        empty = not inspect(connection).get_table_names()
    if empty:
        schema.upgrade(store)
    schema.require(store)
    return store


def key_path(settings: Settings) -> Path:
    """Return where the signing key is."""
    return settings.tickets.signing_key_file or settings.state_dir / "signing-key.pem"


def open_issuer(settings: Settings) -> Issuer:
    """Read the signing key; the embedded defaults make one on the first start."""
    path = key_path(settings)
    if settings.tickets.signing_key_file is None and not path.exists():
        generate_key(path)
    return load_issuer(path)


def policy_of(settings: Settings) -> Policy:
    """Return the rules of the sale."""
    tickets = settings.tickets
    return Policy(
        commission_bps=tickets.commission_bps,
        hold_ms=tickets.hold_minutes * 60_000,
        payout_delay_ms=tickets.payout_delay_days * 86_400_000,
        seen_hold_ms=max(tickets.seen_hold_minutes, tickets.hold_minutes) * 60_000,
        unsigned_hold_percent=tickets.unsigned_hold_percent,
        seen_hold_percent=tickets.seen_hold_percent,
        tolerance_bps=tickets.tolerance_bps,
        long_memo=tickets.long_memo,
        rate_age_ms=settings.rates.max_age_seconds * 1000,
    )


def contexts(settings: Settings, issuer: Issuer) -> dict[str, Context]:
    """Return what the ledger needs to know of each chain."""
    policy, known = policy_of(settings), assets(settings)
    return {
        code: Context(
            spec=chain.spec,
            rule=chain.finality,
            policy=policy,
            issuer=issuer,
            canonical_wallet=canonical_wallet,
            new_ref=new_ref,
            elsewhere=known,
            payout_rule=chain.payout_finality,
        )
        for code, chain in settings.chains.items()
    }


def assets(settings: Settings) -> dict[str, Asset]:
    """Return every configured asset by code."""
    return {a.code: a for chain in settings.chains.values() for a in chain.spec.assets}


def payout_rules(settings: Settings) -> Rules:
    """Return ``[payouts]`` in base units; ``Misconfigured`` names an asset or an amount that is wrong."""
    known = assets(settings)

    def read(key: str, amounts: Mapping[str, str]) -> dict[str, int]:
        found = {}
        for code, text in amounts.items():
            if code not in known:
                raise Misconfigured(f"[payouts] {key}: {code!r} is no configured asset")
            try:
                found[code] = parse_units(text, known[code].decimals)
            except Rejected as error:
                raise Misconfigured(f"[payouts] {key}: {code}: {error}") from error
        return found

    return Rules(
        approve_above=read("approve_above", settings.payouts.approve_above),
        minimum=read("minimum", settings.payouts.minimum),
    )


def holder_name() -> str:
    """Return a name for this process that no other has, for leases."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
