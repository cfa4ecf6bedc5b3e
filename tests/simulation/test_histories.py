"""Seeded histories of the real watcher, follower, matching and ledger, judged by an oracle of its own.

Buyers pay by memo, or open purchases and pay those: to addresses of their own, in parts, too little, too much, late,
in another coin.  The oracle knows only the fake chain, what was sold and what buyers were told; it shares no code
with what it judges.
`CHAINWATCH_HISTORIES=n` runs n histories (default 500), `CHAINWATCH_SEED=s` replays one.
"""

import asyncio
import logging
import os
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, select

from chainwatch import finality, matching
from chainwatch.ledger import holds, pool, seats, settle
from chainwatch.ledger import purchases as purchase_of
from chainwatch.ledger.audit import audit
from chainwatch.ledger.tables import (
    allocations,
    cursors,
    events,
    ledger_lines,
    purchases,
    refunds,
    tickets,
    transfers,
)
from chainwatch.testing.history import RECEIVE, History

HISTORIES = int(os.environ.get("CHAINWATCH_HISTORIES", "500"))
GROUPS = 10
STEPS = 100


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of faults make thousands of lines; the other tests keep theirs."""
    caplog.set_level(logging.CRITICAL, logger="chainwatch")


class Oracle:
    """What must be true, from the chain alone."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.sold = {s.id: s for s in history.sold}

    # -- at any commit -----------------------------------------------------------------------------

    def at_any_time(self, connection: Connection) -> None:
        """Nothing oversold; nothing counted that is not buried; the cursor is a block that existed."""
        chain = self.history.chain
        for e in connection.execute(select(events)):
            assert e.max_attendees is None or e.tickets_sold + e.tickets_held <= e.max_attendees, "oversold"
        buried = chain.final.ref.height
        for t in connection.execute(select(transfers).where(transfers.c.state == "confirmed")):
            block = chain.at(t.height)
            assert block is not None, "counted in no block"
            assert block.ref.hash == t.block_hash, "counted in a block that left the chain"
            assert t.height <= buried, "counted before it was final"
        for c in connection.execute(select(cursors)):
            assert chain.by_hash[c.hash].ref.height == c.height, "the cursor's hash is another height's"

    # -- when all is quiet -------------------------------------------------------------------------

    def at_the_end(self, connection: Connection) -> None:
        """Every payment of the best chain is where it belongs, and nothing else is anywhere."""
        truth, failed = self._truth()
        rows = {(t.txid, t.idx): t for t in connection.execute(select(transfers))}
        confirmed = {k: t for k, t in rows.items() if t.state == "confirmed"}
        assert confirmed.keys() == truth.keys(), "payments counted are not those of the chain"
        assert {k: t.amount for k, t in confirmed.items()} == {k: v["amount"] for k, v in truth.items()}
        assert {k for k, t in rows.items() if t.state == "failed"} == failed, "failed transactions"
        placed: dict[int, int] = defaultdict(int)
        for a in connection.execute(select(allocations)):
            assert a.amount > 0
            placed[a.transfer_id] += a.amount
        assert {t.id: t.amount for t in confirmed.values() if t.amount} == dict(placed), "not allocated exactly once"
        for key, v in truth.items():
            if v["bill"] is None and v["amount"]:
                kinds = {a.kind for a in connection.execute(select(allocations)) if a.transfer_id == rows[key].id}
                assert kinds <= {"review", "refund"}, "money that nobody asked for was used"
        assert not any(e.tickets_held for e in connection.execute(select(events))), "a hold that never ends"
        self._ledger(connection, sum(v["amount"] for v in truth.values()))
        self._tickets(connection, truth, confirmed)

    def _truth(self) -> tuple[dict[tuple[str, str], dict[str, Any]], set[tuple[str, str]]]:
        truth: dict[tuple[str, str], dict[str, Any]] = {}
        failed = set()
        ours = {RECEIVE} | {a.address for a in self.history.asked}
        for block in self.history.chain.best:
            for tx in block.txs:
                for i, t in enumerate(tx.transfers):
                    if t.to not in ours:
                        continue
                    if not t.ok:
                        failed.add((tx.txid, str(i)))
                        continue
                    truth[tx.txid, str(i)] = {
                        "amount": t.amount,
                        "asset": t.asset_id,
                        "bill": self._bill(t.to, (t.memo or b"").decode()),
                        "time_ms": block.time_ms,
                    }
        return truth, failed

    def _bill(self, to: str, memo: str) -> tuple[str, ...] | None:
        """What a payment is for: (ref,) of a purchase, (event, wallet) of a memo, None when that cannot be told."""
        words = memo.split(":")
        by_memo: tuple[str, ...] | None = None
        if words[0] == "cw":
            by_memo = (words[1],)
        elif len(words) == 4 and words[3].isalnum() and words[3].islower() and words[1] in self.sold:
            by_memo = (words[1], words[3])
        if to == RECEIVE:
            return by_memo
        (asked,) = (a for a in self.history.asked if a.address == to)
        return (asked.ref,) if by_memo in (None, (asked.ref,), (asked.event, asked.wallet)) else None

    def _ledger(self, connection: Connection, received: int) -> None:
        sums: dict[tuple[str, str], int] = defaultdict(int)
        for line in connection.execute(select(ledger_lines)):
            sums[line.asset, line.account] += line.amount
        for asset in {a for a, _ in sums}:
            assert sum(n for (a, _), n in sums.items() if a == asset) == 0, "the ledger does not sum to zero"
        assert sum(n for (_, account), n in sums.items() if account == "received") == received
        assert not any(n for (_, account), n in sums.items() if account == "loss")

    def _tickets(self, connection: Connection, truth: dict[Any, Any], rows: dict[Any, Any]) -> None:
        held: dict[str, dict[tuple[str, ...], Any]] = defaultdict(dict)
        bps = {e.slug: e.commission_bps for e in connection.execute(select(events))}
        bought = {
            p.id: (p.ref,) if p.implicit_key is None else (slug, p.wallet)
            for p, slug in ((row, row.slug) for row in connection.execute(_PURCHASES))
        }
        slugs = {e.id: e.slug for e in connection.execute(select(events))}
        for t in connection.execute(select(tickets)):
            assert t.state == "active"
            held[slugs[t.event_id]][bought[t.purchase_id]] = t
        owed: dict[int, int] = defaultdict(int)
        for r in connection.execute(select(refunds).where(refunds.c.state == "due")):
            owed[r.transfer_id] += r.amount
        asked = {a.ref: a for a in self.history.asked}
        for sold in self.sold.values():
            paid: dict[tuple[str, ...], list[Any]] = defaultdict(list)
            for key, v in truth.items():
                bill = v["bill"]
                event = None if bill is None else asked[bill[0]].event if len(bill) == 1 else bill[0]
                if event == sold.id and v["asset"] is None:
                    paid[bill].append((v, rows[key]))
                elif event == sold.id:
                    assert owed[rows[key].id] == v["amount"], "another coin is owed back"
            self._one_event(sold, paid, held[sold.id], bps[sold.id], owed)
            for bill, t in held[sold.id].items():
                assert t.wallet == (asked[bill[0]].wallet if len(bill) == 1 else bill[1]), "somebody else's ticket"

    def _one_event(
        self,
        sold: Any,
        paid: dict[tuple[str, ...], list[Any]],
        held: dict[tuple[str, ...], Any],
        bps: int,
        owed: dict[int, int],
    ) -> None:
        surely, perhaps = set(), set()
        for bill, payments in paid.items():
            if sum(v["amount"] for v, _ in payments) >= sold.price:
                perhaps.add(bill)  # a mempool sighting may have come before its block
            if self._by(payments, sold.sales_end_ms) >= sold.price:
                surely.add(bill)
        assert held.keys() <= perhaps, "a ticket without its price"
        self._seats(sold, paid, held, surely)
        assert sorted(t.number for t in held.values()) == list(range(1, len(held) + 1))
        for bill, payments in paid.items():
            total = sum(v["amount"] for v, _ in payments)
            back = sum(owed[row.id] for _, row in payments)
            if bill in held:
                t = held[bill]
                assert (t.amount_paid, t.commission) == (sold.price, sold.price * bps // 10_000)
                assert t.payout == sold.price - t.commission
                assert back == total - sold.price, "surplus"
            else:
                assert back == total, "money kept without a ticket"

    @staticmethod
    def _by(payments: list[Any], end_ms: int | None) -> int:
        """How much is in blocks that were made by then."""
        return sum(v["amount"] for v, _ in payments if end_ms is None or v["time_ms"] <= end_ms)

    def _seats(self, sold: Any, paid: dict[Any, list[Any]], held: dict[Any, Any], surely: set[Any]) -> None:
        """Who paid has a seat while there is one, and in any case who held it and paid in time."""
        holding = [a for a in self.history.asked if a.event == sold.id and a.held]
        for a in holding:
            end = a.expires_ms if sold.sales_end_ms is None else min(a.expires_ms, sold.sales_end_ms)
            if self._by(paid.get((a.ref,), []), end) >= sold.price:
                assert (a.ref,) in held, "a seat that was held and paid in time is gone"
        if sold.capacity is None:
            assert surely <= held.keys(), "paid and no ticket"
            return
        assert len(held) <= sold.capacity
        if surely - held.keys():  # each seat that stayed empty was held for somebody who did not pay in time
            idle = [a for a in holding if (a.ref,) not in held]
            assert sold.capacity - len(held) <= len(idle), "a seat stays empty though it was paid"


_PURCHASES = select(purchases, events.c.slug).join_from(purchases, events)


async def run(seed: int) -> History:
    """Run one history under the oracle's eyes."""
    history = History(seed)
    oracle = Oracle(history)
    for n in range(STEPS):
        crashes = history.crashes
        await history.step()
        if history.crashes > crashes or n % 10 == 0:
            with history.ledger.reading() as connection:
                oracle.at_any_time(connection)
                assert audit(connection) == []
    await history.settle()
    with history.ledger.reading() as connection:
        oracle.at_any_time(connection)
        oracle.at_the_end(connection)
        assert audit(connection) == []
    history.ledger.close()
    return history


@pytest.mark.timeout(900)
@pytest.mark.parametrize("group", range(GROUPS))
def test_every_history_ends_as_the_chain_says(group: int) -> None:
    if "CHAINWATCH_SEED" in os.environ:
        asyncio.run(run(int(os.environ["CHAINWATCH_SEED"])))
        return
    crashes = reorgs = minted = 0
    for seed in range(group, HISTORIES, GROUPS):
        try:
            history = asyncio.run(run(seed))
        except Exception as error:
            raise AssertionError(f"CHAINWATCH_SEED={seed}: {error}") from error
        crashes += history.crashes
        reorgs += history.reorgs
        minted += history.reports.tickets
    assert crashes
    assert reorgs
    assert minted


# -- the oracle sees what it is for ----------------------------------------------------------------------


def _no_guard(connection: Connection, event_id: int, batch: Any) -> int:
    row = connection.execute(select(events.c.last_number).where(events.c.id == event_id)).scalar_one()
    n = len(batch)
    connection.execute(
        events.update()
        .where(events.c.id == event_id)
        .values(tickets_sold=events.c.tickets_sold + n, last_number=row + n)
    )
    return int(row + n)


def _one_block_early(*args: Any) -> Any:
    state = _STATE(*args)
    return finality.Confirmed() if isinstance(state, finality.Confirming) and state.n >= 2 else state


def _counts_failed(connection: Connection, *args: Any) -> Any:
    connection.execute(transfers.update().where(transfers.c.state == "failed").values(state="confirmed"))
    return _SETTLE(connection, *args)


def _keeps_a_unit(*args: Any, **kwargs: Any) -> Any:
    decision = _DECIDE(*args, **kwargs)
    for key, parts in decision.allocations.items():
        if parts and parts[0].kind == "refund" and parts[0].amount > 1:
            decision.allocations[key] = (matching.Allocation("refund", parts[0].amount - 1, parts[0].reason),)
    return decision


_STATE, _SETTLE, _DECIDE = finality.state, settle.settle, matching.decide


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("target", "name", "bug", "first"),
    [
        (seats, "_sell", _no_guard, 0),
        (finality, "state", _one_block_early, 0),
        (settle, "settle", _counts_failed, 0),
        (settle, "decide", _keeps_a_unit, 0),
        (pool, "all_of", lambda *_: [], 0),
        (purchase_of, "_disagrees", lambda *_: False, 0),
        (holds, "_kept_by", lambda *_, **__: "", 14),
    ],
    ids=[
        "no capacity guard",
        "counts one block early",
        "counts failed transactions",
        "keeps one unit of a refund",
        "forgets handed out addresses at a restart",
        "believes the address against the memo",
        "lets a hold run out though it was paid in time",
    ],
)
def test_the_oracle_catches_planted_bugs(
    monkeypatch: pytest.MonkeyPatch, target: Any, name: str, bug: Callable[..., Any], first: int
) -> None:
    """``first``: the seed to begin with; a bug that shows rarely need not wait for it."""
    monkeypatch.setattr(target, name, bug)
    for seed in range(first, first + 40):
        try:
            asyncio.run(run(seed))
        except AssertionError:
            return
    pytest.fail("40 histories and nobody noticed")
