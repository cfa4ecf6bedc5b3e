"""Invites and approvals: who may buy a ticket of an event that is not open to all.

An invite's code is a bearer secret, kept as a hash.  A purchase takes one of its uses; one that expires without
a ticket gives it back (pretix#1405: a cancelled voucher went on blocking its quota).
"""

import hashlib
import secrets
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from chainwatch.errors import Rejected
from chainwatch.ledger import outbox
from chainwatch.ledger.tables import approvals, invites

CODE_BYTES = 12
"""96 random bits: a code is guessed online only."""

MAX_USES = 100_000
"""Of one invite: more is an open event."""

STATES = ("requested", "approved", "denied")


def make(
    connection: Connection, event_id: int, *, uses: int, wallet: str | None, now_ms: int, actor: str, public_id: str
) -> str:
    """Make an invite for ``uses`` tickets, for ``wallet`` only if it is given; return its code, which is not kept."""
    if not 1 <= uses <= MAX_USES:
        raise Rejected("bad_uses", f"an invite has 1 to {MAX_USES} uses")
    code = secrets.token_urlsafe(CODE_BYTES)
    row = {"event_id": event_id, "code_hash": _hash(code), "wallet": wallet, "uses": uses, "created_ms": now_ms}
    made = connection.execute(insert(invites).values(row).returning(invites.c.id)).scalar_one()
    outbox.audit(connection, now_ms, actor, "invite_made", f"event:{public_id}", {"invite": made, "uses": uses})
    return code


def revoke(connection: Connection, event_id: int, invite_id: int, now_ms: int, actor: str, public_id: str) -> None:
    """End an invite; purchases that are open keep what they took."""
    ended = connection.execute(
        update(invites)
        .where(invites.c.id == invite_id, invites.c.event_id == event_id, invites.c.revoked_ms.is_(None))
        .values(revoked_ms=now_ms)
    )
    if ended.rowcount != 1:
        raise Rejected("unknown_invite", f"the event has no invite {invite_id} in force")
    outbox.audit(connection, now_ms, actor, "invite_revoked", f"event:{public_id}", {"invite": invite_id})


def use(connection: Connection, event_id: int, code: str, wallet: str) -> int:
    """Take one use of an invite; return its id.  ``Rejected`` ``bad_invite`` says no more than that."""
    row = connection.execute(
        update(invites)
        .where(
            invites.c.code_hash == _hash(code),
            invites.c.event_id == event_id,
            invites.c.revoked_ms.is_(None),
            invites.c.used < invites.c.uses,
            invites.c.wallet.is_(None) | (invites.c.wallet == wallet),
        )
        .values(used=invites.c.used + 1)
        .returning(invites.c.id)
    ).scalar_one_or_none()
    if row is None:
        raise Rejected("bad_invite", "this invite is not valid for this event and wallet, or it is used up")
    return int(row)


def use_again(connection: Connection, invite_id: int) -> bool:
    """Take a use for a purchase that gave its own back and is paid late; False when none is left."""
    taken = connection.execute(
        update(invites)
        .where(invites.c.id == invite_id, invites.c.revoked_ms.is_(None), invites.c.used < invites.c.uses)
        .values(used=invites.c.used + 1)
    )
    return taken.rowcount == 1


def give_back(connection: Connection, invite_ids: Sequence[int]) -> None:
    """Give uses back, one for each mention of an invite."""
    for invite_id, n in sorted(Counter(invite_ids).items()):
        connection.execute(update(invites).where(invites.c.id == invite_id).values(used=invites.c.used - n))


def listing(connection: Connection, event_id: int, limit: int | None = None, after: int = 0) -> Sequence[Row[Any]]:
    """Return the invites of an event, in the order of their ids from behind ``after``."""
    columns = [c for c in invites.c if c.name != "code_hash"]
    mine = select(*columns).where(invites.c.event_id == event_id, invites.c.id > after)
    return connection.execute(mine.order_by(invites.c.id).limit(limit)).all()


def _hash(code: str) -> bytes:
    return hashlib.sha256(code.encode()).digest()


# -- approvals -----------------------------------------------------------------------------------------


def request(connection: Connection, event_id: int, wallet: str, now_ms: int) -> str:
    """Ask to buy; return the state of the request.  Asking again changes nothing."""
    state = state_of(connection, event_id, wallet)
    if state is None:
        row = {"event_id": event_id, "wallet": wallet, "state": "requested", "actor": "", "created_ms": now_ms}
        connection.execute(insert(approvals).values(row))
        state = "requested"
    return state


def decide(
    connection: Connection, event_id: int, wallet: str, approved: bool, now_ms: int, actor: str, public_id: str
) -> None:
    """Approve or deny a wallet, whether it asked or not; a later word replaces an earlier one."""
    state = "approved" if approved else "denied"
    values = {"state": state, "actor": actor, "decided_ms": now_ms}
    done = connection.execute(
        update(approvals).where(approvals.c.event_id == event_id, approvals.c.wallet == wallet).values(values)
    )
    if done.rowcount == 0:
        connection.execute(insert(approvals).values(event_id=event_id, wallet=wallet, created_ms=now_ms, **values))
    outbox.audit(connection, now_ms, actor, f"guest_{state}", f"event:{public_id}")


def state_of(connection: Connection, event_id: int, wallet: str) -> str | None:
    """Return the state of a wallet's request; None when it never asked."""
    found = select(approvals.c.state).where(approvals.c.event_id == event_id, approvals.c.wallet == wallet)
    return connection.execute(found).scalar_one_or_none()


def requests(
    connection: Connection, event_id: int, state: str = "requested", limit: int | None = None, after: int = 0
) -> Sequence[Row[Any]]:
    """Return the wallets whose request is in ``state``, in the order of their ids from behind ``after``."""
    asked = select(approvals).where(
        approvals.c.event_id == event_id, approvals.c.state == state, approvals.c.id > after
    )
    return connection.execute(asked.order_by(approvals.c.id).limit(limit)).all()
