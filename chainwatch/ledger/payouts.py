"""What creators are owed, and when it falls due.

Due = the latest end the event ever had + the delay.  An event in dispute, or with money on a chain
whose final blocks were undone, is frozen.
"""

from collections.abc import Collection

from sqlalchemy import Connection, insert, select

from chainwatch.ledger import outbox
from chainwatch.ledger.tables import cursors, events, ledger_lines, payouts, transfers


def fall_due(connection: Connection, now_ms: int, delay_ms: int) -> int:
    """Make due what creators are owed and no payout covers yet; return the number of new payouts."""
    alarmed = {r.chain for r in connection.execute(select(cursors.c.chain).where(cursors.c.alarm != ""))}
    over = connection.execute(
        select(events.c.id, events.c.slug, events.c.creator_account, events.c.latest_end_ms).where(
            events.c.latest_end_ms.is_not(None),
            events.c.latest_end_ms <= now_ms - delay_ms,
            events.c.dispute.is_(False),
            events.c.status != "cancelled",
            events.c.tickets_sold > 0,
        )
    ).all()
    made = 0
    for event in over:
        for asset, amount in _uncovered(connection, event.id, alarmed).items():
            row = {
                "event_id": event.id,
                "creator_account": event.creator_account,
                "asset": asset,
                "amount": amount,
                "state": "due",
                "due_ms": event.latest_end_ms + delay_ms,
                "created_ms": now_ms,
                "updated_ms": now_ms,
            }
            connection.execute(insert(payouts).values(row))
            data = {"event_id": event.slug or str(event.id), "asset": asset}
            outbox.post(connection, now_ms, [outbox.Message("payout.due", f"event:{event.id}", data)])
            made += 1
    return made


def _uncovered(connection: Connection, event_id: int, alarmed: Collection[str]) -> dict[str, int]:
    """Return what the creator account of an event holds beyond its payouts, by asset, but for alarmed chains."""
    owed: dict[str, int] = {}
    for line in connection.execute(
        select(ledger_lines.c.asset, ledger_lines.c.amount, transfers.c.chain)
        .join_from(ledger_lines, transfers)
        .where(ledger_lines.c.event_id == event_id, ledger_lines.c.account == "creator")
    ):
        if line.chain not in alarmed:
            owed[line.asset] = owed.get(line.asset, 0) - line.amount
    for payout in connection.execute(select(payouts.c.asset, payouts.c.amount).where(payouts.c.event_id == event_id)):
        owed[payout.asset] = owed.get(payout.asset, 0) - payout.amount
    return {asset: amount for asset, amount in owed.items() if amount > 0}
