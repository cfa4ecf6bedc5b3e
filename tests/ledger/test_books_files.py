"""The books as files, what was sold, and what the chains say we hold."""

import csv
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from chainwatch import onchain
from chainwatch.adapters.base import Balances
from chainwatch.ledger import audit_out, events, journal, pool, revenue
from chainwatch.ledger import tickets as revoking
from chainwatch.ledger.audit import audit
from chainwatch.ledger.books import HELD
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import (
    addresses,
    export_items,
    exports,
    ledger_lines,
    payouts,
    purchases,
    refunds,
    tickets,
    transfers,
)
from chainwatch.ledger.tables import events as event_table
from chainwatch.testing.house import BUYERS, DAY, NOW, House

pytestmark = pytest.mark.network
OWN = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"


def story(store: Store) -> Any:
    """Tickets, a refund and a payout that left, their fees, and a withdrawal of the operator's."""
    h = House(store, "BTC")
    h.event()
    h.sell("gala", "alice", "bobby")
    h.mine(h.paid("stray", 100_000, "event:none:wallet:zed"), empty=2)
    h.over()
    h.address()
    h.enter()
    h.mine(h.spent(h.export("refunds"), "back"), empty=2)
    h.mine(h.spent(h.export(), "payout"), empty=2)
    h.mine(h.left("mine", [(BUYERS["BTC"], 1_000)], fee=300), empty=2)
    return h


def written(store: Store, h: Any, as_text: Any, **days: Any) -> str:
    with store.reading() as c:
        return "".join(as_text(journal.lines(c, {"BTC": h.spec.native}, **days)))


def test_the_csv_holds_every_line_once_and_sums_to_zero(store: Store) -> None:
    h = story(store)
    rows = list(csv.DictReader(io.StringIO(written(store, h, journal.as_csv))))
    assert len(rows) == len(h.rows(ledger_lines))
    assert sum(int(r["amount_base"]) for r in rows) == 0
    assert {r["account"] for r in rows} >= {
        "received",
        "commission",
        "creator",
        "paid_out",
        "network_fees",
        "withdrawn",
    }
    assert {r["subject"] for r in rows} == {"", "payout:1", "refund:1"}


def test_a_range_of_days_takes_its_start_and_leaves_its_end(store: Store) -> None:
    h = story(store)
    moments = sorted({r.at_ms for r in h.rows(ledger_lines)})
    at = moments[len(moments) // 2]
    before, after = (
        list(csv.DictReader(io.StringIO(written(store, h, journal.as_csv, **days))))
        for days in ({"to_ms": at}, {"from_ms": at})
    )
    assert len(before) + len(after) == len(h.rows(ledger_lines))
    assert before
    assert after


@pytest.mark.parametrize("asset", ["BTC", "ETH:USDC", "SOL:" + "x" * 44, "HBD", "9:@"])
def test_every_asset_has_a_name_that_beancount_takes(asset: str) -> None:
    assert journal._COMMODITY.fullmatch(journal.commodity(asset))


def checked(text: str, file: Path) -> list[Any]:
    """Return the transactions that beancount's own check finds in a file without an error."""
    pytest.importorskip("beancount")
    file.write_text(text, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "beancount.scripts.check", str(file)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    from beancount import loader

    entries, errors, _ = loader.load_file(str(file))
    assert errors == []
    return [e for e in entries if type(e).__name__ == "Transaction"]


def test_beancount_s_own_check_finds_nothing(store: Store, tmp_path: Path) -> None:
    h = story(store)
    found = checked(written(store, h, journal.as_beancount), tmp_path / "books.beancount")
    assert len(found) == len({(r.transfer_id, r.at_ms) for r in h.rows(ledger_lines)})


def test_beancount_takes_lines_of_two_clocks_and_keeps_like_names_apart(tmp_path: Path) -> None:
    """An account that is used before it is opened is an error; ``a_b`` is not the event ``a-b``."""
    pair = (("received", 5), ("creator", -5))
    lines = [
        journal.Line(at, n, event, account, "ETH", amount, 18, "ETH", f"0x{n}", "v", "")
        for n, (at, event) in enumerate([(NOW, "a_b"), (NOW - DAY, "a_b"), (NOW, "a-b")])
        for account, amount in pair
    ]
    found = checked("".join(journal.as_beancount(lines)), tmp_path / "books.beancount")
    assert len({posting.account for t in found for posting in t.postings}) == 4


def test_revenue_counts_live_tickets_and_says_what_was_undone(store: Store) -> None:
    h = story(store)
    h.event("expo", price=1_000)
    h.sell("expo", "alice")
    with store.reading() as c:
        by_event = revenue.revenue(c, ["event"])
        assert [(s.group, s.tickets, s.amount, s.commission, s.payout) for s in by_event] == [
            ("expo", 1, 100_000, 20_000, 80_000),
            ("gala", 2, 1_000_000, 200_000, 800_000),
        ]
        assert [(s.group, s.tickets) for s in revenue.revenue(c, ["currency"])] == [("BTC", 3)]
        assert [s.tickets for s in revenue.revenue(c, ["event", "tier"])] == [1, 2]
        hours = revenue.revenue(c, ["hour"])
        assert [s.tickets for s in hours] == [2, 1]
        assert all(s.group.endswith(":00Z") for s in hours)
        assert len(revenue.revenue(c, ["day"], to_ms=NOW + DAY)) == 1
    with store.transaction() as c:
        events.cancel(c, "gala", {"BTC": h.context}, h.now, "ann")
    with store.reading() as c:
        gala = revenue.revenue(c, ["event"])[1]
        assert (gala.tickets, gala.amount, gala.commission, gala.cancelled) == (0, 0, 0, 2)


def test_revenue_is_what_the_books_say_however_it_is_grouped(store: Store) -> None:
    """A ticket that was used keeps its money when it is revoked, until its event is cancelled."""
    h = House(store)
    for name in ("gala", "expo"):
        h.event(name)
        h.sell(name, "alice", "bobby", "carol")
    of_gala = [t for t in h.rows(tickets) if t.event_id == 1]
    with store.transaction() as c:
        came = update(tickets).where(tickets.c.id == of_gala[0].id)
        c.execute(came.values(state="used", first_access_ms=h.now))
        for t in of_gala[:2]:
            revoking.revoke(c, t.uuid, "stolen", {"HIVE": h.context}, h.now, "ann")

    def same() -> list[int]:
        books = h.books()
        for by in ("event", "tier", "currency", "day", "hour"):
            with store.reading() as c:
                groups = revenue.revenue(c, [by])
            assert sum(g.commission for g in groups) == -books.get("commission", 0)
            assert sum(g.payout for g in groups) == -books.get("creator", 0)
            assert all(g.commission + g.payout == g.amount for g in groups)
        return [sum(g.tickets for g in groups), sum(g.cancelled for g in groups)]

    assert same() == [4, 2]
    with store.transaction() as c:
        events.cancel(c, "gala", {"HIVE": h.context}, h.now, "ann")
    assert same() == [3, 3]


def test_what_we_hold_is_what_came_less_what_left(store: Store) -> None:
    h = story(store)
    books = h.books()
    with store.reading() as c:
        held = audit_out.holdings(c, "BTC", 10**9)["BTC"]
    assert (
        held
        == sum(books.get(account, 0) for account in HELD)
        == 1_100_000 - sum(t.amount + (t.network_fee or 0) for t in h.rows(transfers) if t.direction == "out")
    )


def test_the_chain_s_word_is_held_against_ours(store: Store) -> None:
    """A fee-on-transfer token, or an internal transfer that nobody traced, shows as a difference."""
    h = story(store)
    height = h.blocks[-1].ref.height
    with store.reading() as c:
        held = audit_out.holdings(c, "BTC", height)["BTC"]
        (right,) = onchain.compare(c, h.spec, Balances(height, {"BTC": held}))
        (less,) = onchain.compare(c, h.spec, Balances(height, {"BTC": held - 7}))
        (later,) = onchain.compare(c, h.spec, Balances(height + 1, {"BTC": held - 7}))
    assert (right.difference, less.difference) == (0, -7)
    assert (later.behind, later.difference) == (True, 0)
    with store.transaction() as c:
        onchain.accept(c, [less], h.now, "ann")
        (accepted,) = onchain.compare(c, h.spec, Balances(height, {"BTC": held - 7}))
        (worse,) = onchain.compare(c, h.spec, Balances(height, {"BTC": held - 8}))
    assert (accepted.difference, worse.difference) == (0, -1)


@pytest.mark.parametrize(
    ("table", "values", "what"),
    [
        (export_items, {"amount": 1}, "export"),
        (export_items, {"destination": "mallory"}, "settlement"),
        (payouts, {"state": "due"}, "export"),
        (refunds, {"settled_transfer_id": None}, "settlement"),
        (transfers, {"network_fee": 1}, "ledger"),
        (transfers, {"state": "orphaned"}, "settlement"),
        (ledger_lines, {"amount": 1}, "imbalance"),
    ],
    ids=lambda v: str(v) if isinstance(v, dict) else getattr(v, "name", v),
)
def test_the_audit_sees_what_somebody_touched(store: Store, table: Any, values: dict[str, Any], what: str) -> None:
    h = story(store)
    left = [t.id for t in h.rows(transfers) if t.direction == "out"]
    where = table.c.id.in_(left) if table is transfers else table.c.id > 0
    with store.transaction() as c:
        c.execute(update(table).where(where).values(values))
        assert what in {d.what for d in audit(c)}


ELSEWHERE = [  # sums that stay right, while the money is another's
    (ledger_lines, {"asset": "HBD"}),
    (ledger_lines, {"event_id": 2}),
    (refunds, {"asset": "LTC"}),
    (refunds, {"chain": "LTC"}),
    (refunds, {"event_id": 2}),
    (refunds, {"reason": "late"}),
    (refunds, {"settled_txid": "other"}),
    (payouts, {"asset": "LTC"}),
    (payouts, {"event_id": 2}),
    (payouts, {"creator_account": "mallory"}),
    (payouts, {"settled_txid": None}),
    (exports, {"total": 1}),
    (exports, {"asset": "LTC"}),
    (exports, {"chain": "LTC"}),
    (export_items, {"asset": "LTC"}),
    (export_items, {"chain": "LTC"}),
    (tickets, {"event_id": 2}),
    (tickets, {"asset": "LTC"}),
    (tickets, {"state": "cancelled"}),
    (transfers, {"shown": "review"}),
    (transfers, {"asset": "LTC"}),
    (transfers, {"purchase_id": 2}),
    (transfers, {"direction": "out"}),
    (transfers, {"direction": "in"}),
    (purchases, {"event_id": 2}),
    (purchases, {"asset": "LTC"}),
    (purchases, {"held": True}),
    (addresses, {"purchase_id": 2}),
    (event_table, {"commission_bps": 1}),
    (event_table, {"creator_account": "mallory"}),
]


def only_one(table: Any, values: dict[str, Any]) -> Any:
    """Return the first row that would change."""
    (name, value), *_ = values.items()
    rows = select(table.c.id).where(table.c[name].is_distinct_from(value)).order_by(table.c.id).limit(1)
    return table.c.id == rows.scalar_subquery()


@pytest.mark.parametrize(
    ("table", "values"), ELSEWHERE, ids=lambda v: str(v) if isinstance(v, dict) else getattr(v, "name", v)
)
def test_the_audit_sees_money_that_was_given_to_another(store: Store, table: Any, values: dict[str, Any]) -> None:
    h = story(store)
    h.event("expo")
    h.mine(h.paid("lost", 70_000, None), empty=2)
    with store.transaction() as c:
        pool.add(c, "BTC", 1, [OWN], h.now)
        c.execute(update(addresses).values(purchase_id=1))
        c.execute(update(purchases).where(purchases.c.id == 1).values(pay_to=OWN))
        assert audit(c) == []
        changed = c.execute(update(table).where(only_one(table, values)).values(values))
        assert changed.rowcount == 1
        assert audit(c) != []
        c.rollback()


def test_the_audit_sees_money_that_is_in_review_and_not_in_the_queue(store: Store) -> None:
    h = story(store)
    h.mine(h.paid("lost", 70_000, None), empty=2)
    with store.transaction() as c:
        c.execute(update(transfers).where(transfers.c.shown == "review").values(shown="dust"))
        assert [d.what for d in audit(c)] == ["shown"]
