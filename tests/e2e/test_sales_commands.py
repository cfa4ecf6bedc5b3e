"""Selling from the shell: tiers, prices in money, changes, guests, review; and what a mistake says."""

from pathlib import Path

import pytest

from chainwatch.testing.process import answer, command

pytestmark = pytest.mark.network


def test_an_event_with_tiers_is_made_changed_begun_and_ended(tmp_path: Path) -> None:
    answer(tmp_path, "event", "create", "--title", "Gala", "--price", "5", "--currency", "HIVE", "--id", "gala",
           "--tier", "code=vip,price=20,quantity=5,HBD=6,until=2027-01-01T00:00:00Z", "--tier", "code=ga,price=5",
           "--allotment", "press=3", "--capacity", "20", "--per-wallet", "2", "--fee-on-top")  # fmt: skip
    shown = answer(tmp_path, "event", "show", "gala")
    assert [(t["code"], t["quantity"], t["prices_base"]) for t in shown["tiers"]] == [
        ("vip", 5, {"HBD": "6000", "HIVE": "20000"}),
        ("ga", None, {"HIVE": "5000"}),
    ]
    assert (shown["seats_reserved"], shown["tickets_per_wallet"], shown["fee_on_top"]) == (3, 2, True)
    changed = answer(tmp_path, "event", "change", "gala", "--capacity", "30", "--allotment", "press=1", "--door", "qr")
    assert (changed["max_attendees"], changed["seats_reserved"], changed["door"]) == (30, 1, "qr")
    assert answer(tmp_path, "event", "dispute", "gala")["dispute"]
    assert not answer(tmp_path, "event", "dispute", "gala", "--settled")["dispute"]
    assert answer(tmp_path, "event", "start", "gala")["started"]
    assert answer(tmp_path, "event", "end", "gala")["ended"]


def test_what_is_written_wrong_is_said_and_exits_with_2(tmp_path: Path) -> None:
    made = ("event", "create", "--title", "x", "--id", "x")
    for arguments, words in (
        ((*made, "--price", "25", "--currency", "USD"), "needs the coins"),
        ((*made, "--price", "5", "--currency", "HIVE", "--tier", "vip"), "write it as code=vip"),
        ((*made, "--price", "5", "--currency", "HIVE", "--tier", "code=vip,price=5,quantity=many"), "whole number"),
        ((*made, "--price", "5", "--currency", "HIVE", "--allotment", "press"), "press=20"),
        (("event", "change", "x"), "nothing to change"),
        (("review", "decide", "1"), "say one of"),
        (("review", "decide", "1", "--refund"), "no payment 1"),
        (("purchase", "show", "nothing"), "no such purchase"),
    ):
        code, _, err = command(tmp_path, *arguments)
        assert code == 2, arguments
        assert words in err


def test_guests_are_invited_and_approved(tmp_path: Path) -> None:
    answer(tmp_path, "event", "create", "--title", "x", "--id", "x", "--price", "25", "--currency", "USD",
           "--accept", "HIVE", "--accept", "BTC", "--admission", "invite")  # fmt: skip
    assert answer(tmp_path, "event", "show", "x")["prices_base"] == {"BTC": None, "HIVE": None}
    assert len(answer(tmp_path, "guests", "invite", "x", "--uses", "2")["code"]) >= 16
    assert answer(tmp_path, "guests", "approve", "x", "alice") == {"wallet": "alice", "state": "approved"}
    assert answer(tmp_path, "guests", "revoke", "x", "1")["revoked"]
    assert answer(tmp_path, "guests", "list", "x")["invites"][0]["revoked"]
    assert answer(tmp_path, "review", "list") == []
