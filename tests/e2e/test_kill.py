"""`kill -9` of `chainwatch run --devnet` at any moment: after a restart the books agree."""

import random
import time
from pathlib import Path

import pytest

from chainwatch.ledger import queries, schema
from chainwatch.ledger.audit import audit
from chainwatch.ledger.store import Store
from chainwatch.testing.process import Daemon, answer, command

pytestmark = pytest.mark.network

KILLS = 50
GROUPS = 2


def books(folder: Path) -> tuple[int, int]:
    """Differences that the audit finds, and tickets that exist, read from the file as the kill left it."""
    store = Store(f"sqlite:///{folder}/chainwatch.db")
    try:
        with store.reading() as connection:
            if schema.current(connection) is None:
                return 0, 0
            return len(audit(connection)), sum(queries.status(connection).tickets.values())
    finally:
        store.close()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("group", range(GROUPS))
def test_killed_at_any_moment_and_restarted_the_books_agree(tmp_path: Path, group: int) -> None:
    rng = random.Random(group)
    tickets = 0
    for n in range(KILLS // GROUPS):
        with Daemon(tmp_path, "--devnet") as daemon:
            if n % 5 == 4:
                daemon.ready()
                time.sleep(rng.uniform(0.0, 2.0))
            else:
                time.sleep(rng.uniform(0.3, 3.0))
        differences, now = books(tmp_path)
        assert differences == 0, f"after kill {n}"
        assert now >= tickets, f"tickets were lost by kill {n}"
        tickets = now
    with Daemon(tmp_path, "--devnet") as daemon:
        daemon.ready()
        assert "Unfollowable" not in daemon.output()
        end = time.monotonic() + 120
        while time.monotonic() < end and books(tmp_path)[1] <= tickets:
            time.sleep(0.5)
        assert books(tmp_path)[1] > tickets, "it mints no more"
        assert answer(tmp_path, "audit") == []
        assert daemon.interrupt() == 0
    code, out, _ = command(tmp_path, "audit")
    assert (code, out) == (0, "0 differences\n")
