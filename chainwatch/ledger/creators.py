"""Where creators are paid.

An address counts from ``[payouts] address_change_hours`` after it was set; until then the creator's payouts on
that chain are frozen, so that who stole a key must wait for its owner to notice.  Nothing is ever guessed: on Hive too
only what the creator's active authority or an operator has set.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from chainwatch.errors import Rejected
from chainwatch.ledger import destinations, outbox
from chainwatch.ledger.tables import creator_addresses
from chainwatch.model import ChainSpec

HOUR_MS = 3_600_000


def set_address(
    connection: Connection,
    account: str,
    chain: str,
    address: str,
    actor: str,
    now_ms: int,
    change_ms: int,
    spec: ChainSpec | None = None,
) -> int:
    """Name where a creator is paid on a chain; return when it takes effect.

    The caller has checked that ``actor`` is the creator's active authority or an operator.  ``change_ms``: how long
    it waits.  ``spec``: of the chain, where it is configured.  ``Rejected``: bad_account, bad_destination.
    """
    if not account or len(account) > 120:
        raise Rejected("bad_account", "which creator?")
    wanted = destinations.canonical(connection, chain, address, spec)
    now = in_force(connection, account, chain, now_ms)
    newest = _newest(connection, account, chain)
    if newest is not None and newest.address == wanted:
        return int(newest.valid_from_ms)  # said again: nothing changes, nothing waits longer
    valid_from_ms = now_ms + change_ms
    row = {
        "account": account,
        "chain": chain,
        "address": wanted,
        "set_by": actor,
        "set_ms": now_ms,
        "valid_from_ms": valid_from_ms,
    }
    connection.execute(insert(creator_addresses).values(row))
    detail = {"chain": chain, "address": wanted, "before": now, "valid_from_ms": valid_from_ms}
    outbox.audit(connection, now_ms, actor, "payout_address_set", f"creator:{account}", detail)
    return valid_from_ms


def in_force(connection: Connection, account: str, chain: str, now_ms: int) -> str | None:
    """Return where the creator is paid now; None: nowhere, or a change is waiting."""
    newest = _newest(connection, account, chain)
    return None if newest is None or newest.valid_from_ms > now_ms else str(newest.address)


def changing(connection: Connection, now_ms: int) -> set[tuple[str, str]]:
    """Return the (account, chain) whose newest address does not count yet."""
    rows = connection.execute(
        select(creator_addresses.c.account, creator_addresses.c.chain).where(creator_addresses.c.valid_from_ms > now_ms)
    )
    return {(r.account, r.chain) for r in rows}


def addresses(connection: Connection, account: str) -> Sequence[Row[Any]]:
    """Return every address a creator ever named, newest first."""
    rows = select(creator_addresses).where(creator_addresses.c.account == account)
    return connection.execute(rows.order_by(creator_addresses.c.id.desc())).all()


def _newest(connection: Connection, account: str, chain: str) -> Row[Any] | None:
    return connection.execute(
        select(creator_addresses)
        .where(creator_addresses.c.account == account, creator_addresses.c.chain == chain)
        .order_by(creator_addresses.c.id.desc())
        .limit(1)
    ).one_or_none()
