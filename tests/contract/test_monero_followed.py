"""Monero from the simulated wallet to the ledger: windows become facts, and reorganisations undo them."""

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.adapters.monero import MoneroSource
from chainwatch.clock import SystemClock
from chainwatch.config.networks import spec as known_spec
from chainwatch.devnet.monero import MoneroNode, make
from chainwatch.devnet.node import Payment
from chainwatch.errors import Transient
from chainwatch.finality import Rule, Tier
from chainwatch.ledger.context import Context, Policy
from chainwatch.ledger.tables import cursors, transfers
from chainwatch.testing.inline import InlineLedger
from chainwatch.testing.reports import Collected
from chainwatch.tickets.token import Issuer
from chainwatch.watcher import Watcher

pytestmark = pytest.mark.network

XMR = 10**12
DEPTH = 10


class Followed:
    """A simulated wallet, and the watcher that follows it into a ledger in memory."""

    def __init__(self, node: MoneroNode, options: dict[str, Any]) -> None:
        clock, rng = SystemClock(), random.Random(3)
        spec = known_spec(
            "XMR", endpoints=(node.url,), receive=tuple(node.wallet.addresses[:1]), options=options, start=0
        )
        self.node, self.ledger, self.reports = node, InlineLedger(), Collected()
        self.source = MoneroSource(spec, Services(clock=clock, random=rng, observer=SilentObserver()))
        context = Context(
            spec=spec,
            rule=Rule((Tier(depth=DEPTH),)),
            policy=Policy(),
            issuer=Issuer(Ed25519PrivateKey.generate()),
            canonical_wallet=lambda text: text,
            new_ref=lambda: f"{rng.getrandbits(60):x}",
        )
        self.watcher = Watcher(
            context, self.source, self.ledger, clock=clock, rng=rng, reports=self.reports, holder="test"
        )

    def pay(self, amount: int) -> str:
        return self.node.pay(Payment(self.node.wallet.addresses[0], amount))

    def mine(self, n: int) -> None:
        for _ in range(n):
            self.node.chain.mine()

    async def states(self) -> dict[str, tuple[str, int | None]]:
        """Follow to the tip; return each payment's state and height."""
        while await self.watcher.poll():
            pass
        with self.ledger.reading() as connection:
            return {t.txid: (t.state, t.height) for t in connection.execute(select(transfers))}


@pytest.fixture(params=[True, False], ids=["by hash", "by height"])
async def followed(request: pytest.FixtureRequest) -> AsyncIterator[Followed]:
    node = make(known_spec("XMR"), clock=SystemClock(), rng=random.Random(4))
    await node.start()
    made = Followed(node, {"daemon": node.url} if request.param else {})
    made.mine(3)
    await made.source.open()
    try:
        yield made
    finally:
        await made.source.close()
        await node.stop()
        made.ledger.close()


async def test_a_payment_is_seen_confirms_and_is_confirmed_at_its_depth(followed: Followed) -> None:
    txid = followed.pay(XMR)
    assert await followed.states() == {txid: ("seen", None)}
    followed.mine(1)
    assert await followed.states() == {txid: ("confirming", 4)}
    followed.mine(DEPTH - 2)
    assert await followed.states() == {txid: ("confirming", 4)}
    followed.mine(1)
    assert await followed.states() == {txid: ("confirmed", 4)}


async def test_a_reorganisation_orphans_one_payment_and_moves_another(followed: Followed) -> None:
    gone, moved = followed.pay(XMR), followed.pay(2 * XMR)
    followed.mine(5)
    assert await followed.states() == {gone: ("confirming", 4), moved: ("confirming", 4)}
    followed.node.chain.reorg(5, drop=[gone], shift=3)
    assert await followed.states() == {gone: ("orphaned", None), moved: ("confirming", 7)}
    followed.mine(DEPTH)
    assert await followed.states() == {gone: ("orphaned", None), moved: ("confirmed", 7)}


async def test_a_payment_that_a_reorganisation_puts_back_into_the_pool_is_in_no_block(followed: Followed) -> None:
    """However deep its old height comes to lie: it counts from the block that it is mined in again."""
    txid = followed.pay(XMR)
    followed.mine(2)
    assert await followed.states() == {txid: ("confirming", 4)}
    (tx,) = (t for b in followed.node.chain.best for t in b.txs)
    followed.node.chain.reorg(2, extra=1, drop=[txid])
    followed.node.chain.submit(tx)
    assert await followed.states() == {txid: ("seen", None)}
    for _ in range(DEPTH + 2):
        followed.node.chain.mine(())
        assert await followed.states() == {txid: ("seen", None)}
    followed.mine(1)
    height = followed.node.chain.head.ref.height
    assert await followed.states() == {txid: ("confirming", height)}
    followed.mine(DEPTH - 1)
    assert await followed.states() == {txid: ("confirmed", height)}


async def test_a_payment_whose_outputs_come_late_counts_once_they_are_there(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = followed.node._incoming_transfers
    monkeypatch.setattr(followed.node, "_incoming_transfers", lambda **_: {})
    txid = followed.pay(XMR)
    followed.mine(DEPTH)
    assert await followed.states() == {txid: ("confirming", 4)}
    monkeypatch.setattr(followed.node, "_incoming_transfers", listed)
    followed.mine(1)
    assert await followed.states() == {txid: ("confirmed", 4)}


async def test_a_reorganisation_of_the_first_blocks_ever_read_is_followed(followed: Followed) -> None:
    followed.mine(5)
    await followed.states()
    followed.node.chain.reorg(2)
    txid = followed.pay(XMR)
    followed.mine(DEPTH)
    assert await followed.states() == {txid: ("confirmed", 10)}


async def test_while_the_daemon_has_undone_blocks_nothing_becomes_confirmed(followed: Followed) -> None:
    txid = followed.pay(XMR)
    followed.mine(DEPTH - 1)
    assert (await followed.states())[txid] == ("confirming", 4)
    followed.node.pop_blocks(DEPTH - 1)
    try:
        state, _ = (await followed.states())[txid]
    except Transient:
        state = "confirming"
    assert state in ("seen", "confirming", "orphaned")
    followed.mine(DEPTH)
    assert (await followed.states())[txid] == ("confirmed", 4)


async def test_the_chain_is_scanned_up_to_its_last_block_though_nobody_pays(followed: Followed) -> None:
    await followed.states()
    followed.mine(1)
    await followed.states()
    with followed.ledger.reading() as connection:
        cursor = connection.execute(select(cursors)).one()
    assert cursor.height == followed.node.chain.head.ref.height
    assert cursor.tip_ms >= followed.node.chain.head.time_ms // 1000 * 1000
