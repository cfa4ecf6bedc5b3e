"""How deep money must be: by what its transaction and its whole purchase bring together; on both databases."""

import msgspec
import pytest

from chainwatch.finality import Rule, Tier
from chainwatch.testing.shop import Seats, Shop

pytestmark = pytest.mark.network

RULE = Rule((Tier(below=80_000, depth=1), Tier(depth=3)))
"""Satoshi: small payments count at once, others at the third block."""


@pytest.fixture
def tiered(shop: Shop) -> Shop:
    """A shop whose Bitcoin chain waits longer for more; a ticket is 0.001 BTC."""
    shop.contexts["BTC"] = msgspec.structs.replace(shop.contexts["BTC"], rule=RULE)
    shop.event(ticket_currency="BTC", ticket_price="0.001", max_attendees=5)
    return shop


def test_halves_of_a_price_wait_as_long_as_the_whole_even_in_one_block(tiered: Shop) -> None:
    """By a memo, to a purchase's own address, by its short memo: splitting gains nothing."""
    tiered.addresses("BTC", "own1", "own2")
    own, short = tiered.ask("alice", "BTC"), tiered.ask("bobby", "BTC")
    short = msgspec.structs.replace(short, address="btc-till", memo=f"cw:{short.ref}")
    halves = [tiered.pays(own, 50_000), tiered.pays(own, 50_000)]
    halves += [tiered.pays(short, 50_000), tiered.pays(short, 50_000)]
    halves += [tiered.buys("carol", amount=50_000, asset="BTC") for _ in range(2)]
    tiered.mine(*halves)
    assert tiered.seats().sold == 0
    tiered.mine(chain="BTC")
    assert tiered.seats().sold == 0
    tiered.mine(chain="BTC")
    assert tiered.seats() == Seats(3, 0)


def test_one_transaction_to_many_purchases_is_as_large_as_all_of_them(tiered: Shop) -> None:
    tiered.change(ticket_price="0.0005")
    paid = [msgspec.structs.replace(tiered.buys(w, amount=50_000, asset="BTC"), index=str(i), txid="both")
            for i, w in enumerate(("alice", "bobby"))]  # fmt: skip
    tiered.mine(*paid)
    assert tiered.seats().sold == 0
    tiered.mine(tiered.buys("carol", amount=50_000, asset="BTC"))
    assert tiered.wallets() == ["carol"]
    tiered.mine(chain="BTC")
    assert tiered.seats().sold == 3
