"""What creators are owed, and when it falls due.

Due = the latest end the event ever had + the delay.  What is due and has not left is reckoned anew each time: owed by
the ledger's creator account, less what has left, less what other events of the same creator were paid too much (a
refund after the payout).  What a reorganisation took is not paid out before it is back, and what was paid of it is not
asked back.  An event in dispute, with an open review or with money on a chain whose final blocks were undone is frozen,
and so is a creator whose address on that chain is changing.

An event whose creator has got everything is ``PAID_UP`` and is not looked at again until its books change: however
many events there were, a pass reads those that are open.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from chainwatch.ledger import creators, locks, outbox
from chainwatch.ledger.bulk import among, chunks, insert_rows
from chainwatch.ledger.tables import cursors, events, ledger_lines, milestones, payouts, purchases, transfers

MOST = 1000
"""Rows of one answer."""

PAID_UP = "paid_up"
"""The milestone of an event whose creator is owed nothing."""

Key = tuple[int, str]
"""(event id, asset)."""


class Owed(msgspec.Struct):
    """The creator account of one event in one asset: what it holds, what has left, on which chain.

    ``lost``: the part of ``held`` whose blocks are gone.
    """

    event: Any
    chain: str
    held: int = 0
    left: int = 0
    lost: int = 0

    @property
    def rest(self) -> int:
        """What is still owed; negative when more has left than is owed now."""
        return self.held - self.left

    @property
    def here(self) -> int:
        """What of that can be paid now."""
        return self.rest - self.lost


def fall_due(connection: Connection, now_ms: int, delay_ms: int) -> int:
    """Bring payouts to what creators are owed now; return the number of new ones.

    One process at a time: two that reckon at once would each find the same money due.
    """
    locks.reckoning(connection)
    over, owed = _reckon(connection, now_ms - delay_ms)
    why = frozen(connection, owed, now_ms)
    wanted = _after_debts(owed)
    open_rows = {
        (r.event_id, r.asset): r
        for r in connection.execute(select(payouts).where(payouts.c.state.in_(("due", "frozen"))))
    }
    made = 0
    _close(connection, {i for i in over if not any(key[0] == i for key in open_rows | wanted)}, now_ms)
    for key in sorted(wanted.keys() | open_rows.keys()):
        reason = why.get(key, "") if key[0] in over else "not_over"
        row, amount = open_rows.get(key), wanted.get(key, 0)
        if row is not None:
            _bring(connection, row, amount, reason, now_ms)
        elif amount and not reason:
            event = owed[key].event
            _insert(connection, event, key[1], amount, event.latest_end_ms + delay_ms, now_ms)
            made += 1
    return made


def reopen(connection: Connection, event_ids: Iterable[int]) -> None:
    """The books of these events have changed (their rows are locked): they are looked at again."""
    for part in chunks(sorted(event_ids)):
        mine = among(connection, milestones.c.event_id, part), milestones.c.what == PAID_UP
        connection.execute(delete(milestones).where(*mine))


def _close(connection: Connection, event_ids: Collection[int], now_ms: int) -> None:
    """Mark those of these events that owe nothing as paid up.

    Their rows are locked and their books read once more, so that what is booked meanwhile reopens them; a row that
    somebody else holds is left for the next time.
    """
    for part in chunks(sorted(event_ids)):
        mine = select(events.c.id).where(among(connection, events.c.id, part)).order_by(events.c.id)
        held = set(connection.scalars(mine.with_for_update(skip_locked=True, key_share=True)))
        leaving = payouts.c.state.not_in(("settled", "cancelled"))
        held -= set(connection.scalars(select(payouts.c.event_id).where(leaving)))
        _, owed = _reckon(connection, now_ms, held)
        held -= {key[0] for key, one in owed.items() if one.rest or one.lost}
        insert_rows(connection, milestones, [{"event_id": i, "what": PAID_UP, "at_ms": now_ms} for i in sorted(held)])


def _reckon(
    connection: Connection, ended_ms: int, only: Collection[int] | None = None
) -> tuple[set[int], dict[Key, Owed]]:
    """Return the events that are over, and what is owed for them and for all that were paid out before.

    But for those that are paid up.  ``only``: of these events alone.
    """
    paid = select(payouts.c.event_id)
    ended = events.c.latest_end_ms.is_not(None) & (events.c.latest_end_ms <= ended_ms) & (events.c.tickets_sold > 0)
    columns = (events.c.id, events.c.slug, events.c.creator_account, events.c.latest_end_ms, events.c.dispute)
    closed = select(milestones.c.event_id).where(milestones.c.what == PAID_UP)
    asked = select(*columns).where(or_(ended, events.c.id.in_(paid)), events.c.id.not_in(closed))
    rows = [r for r in connection.execute(asked) if only is None or r.id in only]
    over = {r.id for r in rows if r.latest_end_ms is not None and r.latest_end_ms <= ended_ms}
    by_id = {r.id: r for r in rows}
    owed: dict[Key, Owed] = {}
    for part in chunks(by_id):
        for line in connection.execute(
            select(
                ledger_lines.c.event_id,
                ledger_lines.c.asset,
                ledger_lines.c.amount,
                transfers.c.chain,
                transfers.c.state,
            )
            .join_from(ledger_lines, transfers)
            .where(among(connection, ledger_lines.c.event_id, part))
            .where(ledger_lines.c.account == "creator", transfers.c.direction == "in")
        ):
            key = (line.event_id, line.asset)
            one = owed.setdefault(key, Owed(by_id[line.event_id], line.chain))
            one.held -= line.amount
            if line.state != "confirmed":
                one.lost -= line.amount
        gone = payouts.c.state.in_(("exported", "settled")), among(connection, payouts.c.event_id, part)
        for payout in connection.execute(select(payouts).where(*gone)):
            one = owed.setdefault((payout.event_id, payout.asset), Owed(by_id[payout.event_id], ""))
            one.left += payout.amount
    return over, owed


def frozen(connection: Connection, owed: dict[Key, Owed], now_ms: int) -> dict[Key, str]:
    """Return why an event pays nothing out in an asset now, for those that do not."""
    alarmed = {r.chain for r in connection.execute(select(cursors.c.chain).where(cursors.c.alarm != ""))}
    waiting = creators.changing(connection, now_ms)
    reviewed = set(
        connection.scalars(
            select(purchases.c.event_id)
            .join_from(transfers, purchases, transfers.c.purchase_id == purchases.c.id)
            .where(transfers.c.shown == "review")
            .distinct()
        )
    )
    found: dict[Key, str] = {}
    for key, one in owed.items():
        if one.event.dispute:
            found[key] = "dispute"
        elif one.chain in alarmed:
            found[key] = "final_reorg"
        elif one.event.id in reviewed:
            found[key] = "review"
        elif (one.event.creator_account, one.chain) in waiting:
            found[key] = "address_change"
    return found


def freezes(connection: Connection, event_ids: Iterable[int], asset: str, now_ms: int) -> dict[int, str]:
    """Return why each of these events pays nothing out in ``asset`` now, for those that do not.

    ``owed_less``: more is on its way than is owed since, for buyers have been refunded.
    """
    _, owed = _reckon(connection, now_ms, set(event_ids))
    less = {key: "owed_less" for key, one in owed.items() if one.here < 0}
    found = less | frozen(connection, owed, now_ms)
    return {key[0]: why for key, why in found.items() if key[1] == asset}


def _after_debts(owed: dict[Key, Owed]) -> dict[Key, int]:
    """Return what is to be paid for each event, after what its creator was paid too much elsewhere."""
    debts: dict[tuple[str, str], int] = {}
    for (_, asset), one in owed.items():
        if one.rest < 0:
            creditor = (one.event.creator_account, asset)
            debts[creditor] = debts.get(creditor, 0) - one.rest
    wanted: dict[Key, int] = {}
    for key, one in sorted(owed.items(), key=lambda item: item[0]):
        creditor = (one.event.creator_account, key[1])
        taken = min(max(one.here, 0), debts.get(creditor, 0))
        if taken:
            debts[creditor] -= taken
        if one.here > taken:
            wanted[key] = one.here - taken
    return wanted


def _bring(connection: Connection, row: Row[Any], amount: int, why: str, now_ms: int) -> None:
    state = "cancelled" if not amount else "frozen" if why else "due"
    values = {"amount": amount or row.amount, "state": state, "frozen_why": why if state == "frozen" else ""}
    if any(getattr(row, name) != value for name, value in values.items()):
        connection.execute(update(payouts).where(payouts.c.id == row.id).values(**values, updated_ms=now_ms))
        outbox.audit(connection, now_ms, "ledger", f"payout_{state}", f"payout:{row.id}", {"why": why})


def _insert(connection: Connection, event: Row[Any], asset: str, amount: int, due_ms: int, now_ms: int) -> None:
    row = {
        "event_id": event.id,
        "creator_account": event.creator_account,
        "asset": asset,
        "amount": amount,
        "state": "due",
        "due_ms": due_ms,
        "created_ms": now_ms,
        "updated_ms": now_ms,
    }
    connection.execute(insert(payouts).values(row))
    data = {"event_id": event.slug or str(event.id), "asset": asset}
    outbox.post(connection, now_ms, [outbox.Message("payout.due", f"event:{event.id}", data)])


def listing(connection: Connection, limit: int = 100, after: int = 0, state: str | None = None) -> Sequence[Row[Any]]:
    """Return payouts by id, with their event's slug, after id ``after``."""
    rows = (
        select(payouts, events.c.slug)
        .join_from(payouts, events)
        .where(payouts.c.id > after)
        .order_by(payouts.c.id)
        .limit(min(limit, MOST))
    )
    return connection.execute(rows.where(payouts.c.state == state) if state else rows).all()
