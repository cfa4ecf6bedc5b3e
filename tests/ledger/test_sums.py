"""The books' sums are exact on both databases, whatever the amounts."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from chainwatch.ledger.books import totals
from chainwatch.ledger.bulk import insert_rows
from chainwatch.ledger.tables import ledger_lines
from chainwatch.testing.shop import NOW_MS, Shop

pytestmark = pytest.mark.network

EDGE = [10**n + d for n in (0, 9, 17, 18, 19, 77) for d in (-1, 0, 1)] + [2**63 - 1, 2**63, 2**64]
AMOUNTS = st.one_of(
    st.sampled_from(EDGE), st.sampled_from(EDGE).map(lambda n: -n), st.integers(-(10**19), 10**19), st.integers(-99, 99)
)
LINES = st.lists(st.tuples(st.sampled_from(["HIVE", "BTC"]), st.sampled_from(["received", "creator"]), AMOUNTS))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(LINES)
def test_a_balance_is_the_sum_of_its_lines_to_the_last_unit(shop: Shop, lines: list[tuple[str, str, int]]) -> None:
    shop.check = False
    with shop.store.transaction() as connection:
        connection.execute(delete(ledger_lines))
    if not shop.chains["HIVE"]:
        shop.mine(shop.buys("alice", "nothing"))
    want: dict[tuple[str, str], int] = {}
    for asset, account, amount in lines:
        want[asset, account] = want.get((asset, account), 0) + amount
    rows = [
        {"transfer_id": 1, "event_id": None, "asset": s, "account": a, "amount": n, "at_ms": NOW_MS}
        for s, a, n in lines
    ]
    with shop.store.transaction() as connection:
        connection.execute(delete(ledger_lines))
        insert_rows(connection, ledger_lines, rows)
        assert totals(connection) == want
