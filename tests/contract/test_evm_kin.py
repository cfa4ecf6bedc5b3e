"""An EVM address of ours is ours on every configured EVM chain: whoever pays on the wrong one is seen and paid back."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select

from chainwatch.devnet.node import Payment
from chainwatch.ledger import events, pool, quotes
from chainwatch.ledger.tables import refunds
from chainwatch.model import Asset
from chainwatch.testing.followed import Followed, followed
from chainwatch.verifiers.addresses import eip55

pytestmark = pytest.mark.network

TILL = eip55(b"T" * 20)
OWN = [eip55(bytes([n]) * 20) for n in range(1, 4)]
ETHER = Asset("ETH", "ETH", 18)


@pytest.fixture
async def bnb(tmp_path: Path) -> AsyncIterator[Followed]:
    """BNB is followed, Ethereum is configured beside it."""
    async with followed("BNB", tmp_path) as scene:
        scene.spec = msgspec.structs.replace(scene.spec, kin=("ETH",), also=(TILL,))
        scene.context = msgspec.structs.replace(scene.context, spec=scene.spec, elsewhere={"ETH": ETHER})
        derive(scene, "ETH", 1, OWN[0])
        with scene.store.transaction() as connection:
            party = events.NewEvent(id="party", title="party", ticket_price="0.01", ticket_currency="ETH")
            events.create(connection, party, {"ETH": ETHER}, 2000, scene.clock.now_ms(), "test")
        await scene.restart()
        await scene.settle()
        yield scene


def derive(scene: Followed, chain: str, first: int, *derived: str) -> None:
    with scene.store.transaction() as connection:
        pool.add(connection, chain, first, derived, scene.clock.now_ms())


def ask(scene: Followed, wallet: str) -> quotes.Quote:
    """A purchase in ether, as the process that follows Ethereum opens it."""
    ether = msgspec.structs.replace(scene.spec, code="ETH", assets=(ETHER,), receive=(TILL,), kin=("BNB",), also=())
    context = msgspec.structs.replace(scene.context, spec=ether)
    asked = quotes.Ask(event_id="party", wallet=wallet, asset="ETH", signed=True)
    with scene.store.transaction() as connection:
        return quotes.quote(connection, asked, context, scene.clock.now_ms())


async def test_a_payment_on_the_wrong_evm_chain_is_seen_and_owed_back_there(bnb: Followed) -> None:
    first = ask(bnb, bnb.node.new_wallet())
    derive(bnb, "ETH", 2, OWN[1])  # while BNB is being followed
    second = ask(bnb, bnb.node.new_wallet())
    assert (first.address, second.address) == (OWN[0], OWN[1])
    paid = [bnb.node.pay(Payment(q.address, q.amount)) for q in (first, second)]
    await bnb.arrive()
    assert [bnb.shown(txid) for txid in paid] == ["refund_due", "refund_due"]
    with bnb.store.reading() as connection:
        owed = connection.execute(select(refunds).order_by(refunds.c.id)).all()
    assert [(r.chain, r.asset, r.amount, r.reason) for r in owed] == [("BNB", "BNB", 10**16, "wrong_asset")] * 2
    assert bnb.tickets() == []


async def test_a_memo_to_the_account_of_another_evm_chain_buys(bnb: Followed) -> None:
    """The account is the operator's there too."""
    wallet = bnb.node.new_wallet()
    paid = bnb.node.pay(Payment(TILL, bnb.price, memo=f"event:gala:wallet:{wallet}"))
    await bnb.arrive()
    assert (bnb.shown(paid), bnb.tickets()) == ("minted", [wallet])


async def test_an_address_that_two_chains_have_given_out_is_each_chain_s_own(bnb: Followed) -> None:
    """With one account key for both, number 3 is one address: paid here it is what was bought here."""
    derive(bnb, "ETH", 3, OWN[2])
    derive(bnb, "BNB", 3, OWN[2])
    ask(bnb, bnb.node.new_wallet())  # takes number 1
    elsewhere = ask(bnb, bnb.node.new_wallet())
    wallet = bnb.node.new_wallet()
    asked = quotes.Ask(event_id="gala", wallet=wallet, asset="BNB", signed=True)
    with bnb.store.transaction() as connection:
        here = quotes.quote(connection, asked, bnb.context, bnb.clock.now_ms())
    assert elsewhere.address == here.address == OWN[2]
    bnb.node.pay(Payment(here.address, here.amount))
    await bnb.arrive()
    assert bnb.tickets() == [wallet]
