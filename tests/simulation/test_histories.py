"""Seeded histories of the real watcher, follower, matching and ledger, judged by an oracle of its own.

The oracle knows only the fake chain and what was sold; it shares no code with what it judges.
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
from chainwatch.ledger import seats, settle
from chainwatch.ledger.audit import audit
from chainwatch.ledger.tables import allocations, cursors, events, ledger_lines, refunds, tickets, transfers
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
        self._ledger(connection, sum(v["amount"] for v in truth.values()))
        self._tickets(connection, truth, confirmed)

    def _truth(self) -> tuple[dict[tuple[str, str], dict[str, Any]], set[tuple[str, str]]]:
        truth: dict[tuple[str, str], dict[str, Any]] = {}
        failed = set()
        for block in self.history.chain.best:
            for tx in block.txs:
                for i, t in enumerate(tx.transfers):
                    if t.to != RECEIVE:
                        continue
                    if not t.ok:
                        failed.add((tx.txid, str(i)))
                        continue
                    words = (t.memo or b"").decode().split(":")
                    good = len(words) == 4 and words[3].startswith("buyer") and " " not in (t.memo or b"").decode()
                    truth[tx.txid, str(i)] = {
                        "amount": t.amount,
                        "asset": t.asset_id,
                        "event": words[1] if good else None,
                        "wallet": words[3] if good else None,
                        "time_ms": block.time_ms,
                    }
        return truth, failed

    def _ledger(self, connection: Connection, received: int) -> None:
        sums: dict[tuple[str, str], int] = defaultdict(int)
        for line in connection.execute(select(ledger_lines)):
            sums[line.asset, line.account] += line.amount
        for asset in {a for a, _ in sums}:
            assert sum(n for (a, _), n in sums.items() if a == asset) == 0, "the ledger does not sum to zero"
        assert sum(n for (_, account), n in sums.items() if account == "received") == received
        assert not any(n for (_, account), n in sums.items() if account == "loss")

    def _tickets(self, connection: Connection, truth: dict[Any, Any], rows: dict[Any, Any]) -> None:
        held = defaultdict(dict)
        bps = {e.slug: e.commission_bps for e in connection.execute(select(events))}
        slugs = {e.id: e.slug for e in connection.execute(select(events))}
        for t in connection.execute(select(tickets)):
            assert t.state == "active"
            held[slugs[t.event_id]][t.wallet] = t
        owed: dict[int, int] = defaultdict(int)
        for r in connection.execute(select(refunds).where(refunds.c.state == "due")):
            owed[r.transfer_id] += r.amount
        for sold in self.sold.values():
            paid: dict[str, list[Any]] = defaultdict(list)
            for key, v in truth.items():
                if v["event"] == sold.id and v["asset"] is None:
                    paid[v["wallet"]].append((v, rows[key]))
            self._one_event(sold, paid, held[sold.id], bps[sold.id], owed)

    def _one_event(
        self, sold: Any, paid: dict[str, list[Any]], held: dict[str, Any], bps: int, owed: dict[int, int]
    ) -> None:
        surely, perhaps = set(), set()
        for wallet, payments in paid.items():
            if sum(v["amount"] for v, _ in payments) >= sold.price:
                perhaps.add(wallet)  # a mempool sighting may have come before its block
            in_time = [v for v, _ in payments if sold.sales_end_ms is None or v["time_ms"] <= sold.sales_end_ms]
            if sum(v["amount"] for v in in_time) >= sold.price:
                surely.add(wallet)
        assert held.keys() <= perhaps, "a ticket without its price"
        if sold.capacity is None:
            assert surely <= held.keys(), "paid and no ticket"
        else:
            assert len(held) <= sold.capacity
            assert len(held) >= min(sold.capacity, len(surely)), "a seat stays empty though it was paid"
        assert sorted(t.number for t in held.values()) == list(range(1, len(held) + 1))
        for wallet, payments in paid.items():
            total = sum(v["amount"] for v, _ in payments)
            back = sum(owed[row.id] for _, row in payments)
            if wallet in held:
                t = held[wallet]
                assert (t.amount_paid, t.commission) == (sold.price, sold.price * bps // 10_000)
                assert t.payout == sold.price - t.commission
                assert back == total - sold.price, "surplus"
            else:
                assert back == total, "money kept without a ticket"


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
    ("target", "name", "bug"),
    [
        (seats, "_sell", _no_guard),
        (finality, "state", _one_block_early),
        (settle, "settle", _counts_failed),
        (settle, "decide", _keeps_a_unit),
    ],
    ids=["no capacity guard", "counts one block early", "counts failed transactions", "keeps one unit of a refund"],
)
def test_the_oracle_catches_planted_bugs(
    monkeypatch: pytest.MonkeyPatch, target: Any, name: str, bug: Callable[..., Any]
) -> None:
    monkeypatch.setattr(target, name, bug)
    for seed in range(40):
        try:
            asyncio.run(run(seed))
        except AssertionError:
            return
    pytest.fail("40 histories and nobody noticed")
