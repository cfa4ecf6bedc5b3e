"""Paying creators and refunds from the shell: the commands, their answers and exit codes."""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from chainwatch import cli_money
from chainwatch.ledger import exports, schema
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import creator_addresses, ledger_lines
from chainwatch.testing.house import House, tid
from chainwatch.testing.process import answer, command

pytestmark = pytest.mark.network

CONFIG = """
[chains.HIVE]
endpoints = ["http://127.0.0.1:9"]
timeout = 2.0
receive = ["till"]
[payouts]
approve_above = { HIVE = "7.999" }
"""


@pytest.fixture
def house(tmp_path: Path) -> Any:
    """A creator who is owed 8 HIVE and a refund of 0.05."""
    (tmp_path / "chainwatch.toml").write_text(CONFIG)
    store = Store(f"sqlite:///{tmp_path}/chainwatch.db")
    schema.upgrade(store)
    h = House(store)
    h.event()
    h.sell("gala", "alice", "bobby")
    h.mine(h.paid("stray", 50, "event:none:wallet:zed"), empty=3)
    h.over()
    yield h
    store.close()


def test_a_payout_and_a_refund_from_due_to_settled(house: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ann")
    (due,) = answer(tmp_path, "payouts", "list", "--state", "due")
    assert (due["event"], due["creator"], due["amount"], due["amount_base"]) == ("gala", "carol", "8", "8000")
    code, _, err = command(tmp_path, "payouts", "export")
    assert code == 2
    assert "no address on HIVE is in force" in err
    assert answer(tmp_path, "creator", "address", "carol", "--chain", "HIVE", "--set", "carol")[0]["address"] == "carol"
    with house.store.transaction() as c:  # three days later
        c.execute(creator_addresses.update().values(valid_from_ms=1))
    house.over()
    (refund,) = answer(tmp_path, "refunds", "list")
    assert (refund["amount"], refund["reason"], refund["destination"]) == ("0.05", "unknown_event", None)
    assert answer(tmp_path, "refunds", "enter", "1", "--to", "zed")["destination"] == "zed"
    code, _, err = command(tmp_path, "payouts", "export", "--asset", "HIVE")
    assert (code, "they leave before payouts" in err) == (2, True)
    file = answer(tmp_path, "refunds", "export")
    assert file["operations"][0][1] == {"from": "till", "to": "zed", "amount": "0.050 HIVE", "memo": "refund:1"}
    out = tmp_path / "payouts.json"
    waiting = answer(tmp_path, "payouts", "export", "--out", str(out))
    assert (waiting["state"], out.exists()) == ("waiting", False)
    code, _, err = command(tmp_path, "payouts", "approve", "2")
    assert (code, "another one than made" in err) == (2, True)
    monkeypatch.setenv("SUDO_USER", "bob")
    if os.geteuid():  # nobody else can call us bob
        with house.store.transaction() as c:
            exports.approve(c, 2, house.context, house.plan, house.now, "cli:bob")
        answer(tmp_path, "payouts", "show", "2", "--out", str(out))
    else:
        assert answer(tmp_path, "payouts", "approve", "2", "--out", str(out))["state"] == "exported"
    assert json.loads(out.read_text())["operations"][0][1]["amount"] == "8.000 HIVE"
    assert answer(tmp_path, "payouts", "void", "2")["state"] == "exported"
    house.mine(house.left("both", [("carol", 8_000), ("zed", 50)]), empty=2)
    assert [r["subject"] for r in answer(tmp_path, "payouts", "settle", "--txid", tid("both"))] == [
        "payout:1",
        "refund:1",
    ]
    assert command(tmp_path, "payouts", "settle", "--txid", "nothing")[0] == 2
    assert answer(tmp_path, "payouts", "list")[0]["state"] == "settled"
    assert answer(tmp_path, "refunds", "list")[0]["state"] == "settled"
    assert command(tmp_path, "audit")[0] == 0


def test_nobody_but_root_is_believed_a_name_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """``USER=bob chainwatch payouts approve 3`` was enough to be one's own second operator."""
    me = cli_money.operator()
    for name in ("SUDO_USER", "USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, "bob")
    assert (cli_money.operator() == "cli:bob") is (os.geteuid() == 0)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli_money.operator() != "cli:bob"
    monkeypatch.delenv("SUDO_USER")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert cli_money.operator() != "cli:bob"
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    assert cli_money.operator() == "cli:4000000000" != me


def test_the_books_as_files_and_what_was_sold(house: Any, tmp_path: Path) -> None:
    code, out, _ = command(tmp_path, "ledger", "export", "--to", "2026-01-01")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert sum(int(r["amount_base"]) for r in rows) == 0
    assert len(rows) == len(house.rows(ledger_lines))
    code, out, _ = command(tmp_path, "ledger", "export", "--format", "beancount", "--from", "2020-01-01")
    assert (code, "Assets:Chain:Received" in out) == (0, True)
    assert command(tmp_path, "ledger", "export", "--format", "xls")[0] == 2
    (gala,) = answer(tmp_path, "ledger", "revenue", "--by", "event", "--by", "currency")
    assert (gala["group"], gala["tickets"], gala["amount_base"], gala["commission_base"]) == (
        *("gala HIVE", 2, "10000", "2000"),
    )
    assert command(tmp_path, "ledger", "revenue", "--by", "moon")[0] == 2
    code, _, err = command(tmp_path, "audit", "--on-chain")
    assert code == 3  # nobody answers at that node
    assert "HIVE" in err
