"""``backfill`` while no daemon runs: the command is the chain's writer, and gives the lease back."""

import random
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from chainwatch.backfill import scan_again
from chainwatch.clock import SystemClock
from chainwatch.config import settings as config
from chainwatch.devnet.network import Devnet
from chainwatch.devnet.node import Payment
from chainwatch.errors import Misconfigured
from chainwatch.ledger import events, leases
from chainwatch.ledger.tables import tickets
from chainwatch.model import Asset
from chainwatch.parts import open_store
from chainwatch.wallets import is_address_of

pytestmark = pytest.mark.network


async def test_without_a_daemon_the_command_is_the_writer_and_gives_its_lease_back(
    network: Devnet, tmp_path: Path
) -> None:
    """What was paid before an account was followed is found; while another holds the lease it only queues."""
    sections: Any = {"HIVE": (await network.start())["HIVE"] | {"start": "tip"}}
    (tmp_path / "c.toml").touch()
    checks = config.Checks(is_wallet=is_address_of)
    environ = {"STATE_DIRECTORY": str(tmp_path)}
    settings = config.load(tmp_path / "c.toml", environ=environ, chains=sections, checks=checks)
    node = network.nodes["HIVE"]
    store = open_store(settings)
    with pytest.raises(Misconfigured, match="never followed"):
        await scan_again(settings, "HIVE", 1, None)
    first = node.chain.head.ref.height + 1
    node.pay(Payment(sections["HIVE"]["receive"][0], 5000, memo="event:gala:wallet:alice"))
    for _ in range(30):
        node.chain.mine()
    with store.transaction() as connection:
        new = events.NewEvent(id="gala", title="gala", ticket_price="5", ticket_currency="HIVE")
        events.create(connection, new, {"HIVE": Asset("HIVE", "HIVE", 3)}, 2000, 1, "test")
    await follow_once(settings)
    with store.reading() as connection:
        assert connection.execute(select(tickets)).all() == []  # a first run begins at the tip
    for _ in range(5):  # so that a block of ours is final
        node.chain.mine()
    job = await scan_again(settings, "HIVE", first, None)
    assert job.done_ms is not None
    with store.reading() as connection:
        assert [t.wallet for t in connection.execute(select(tickets))] == ["alice"]
        assert leases.holder_of(connection, "chain:HIVE", SystemClock().now_ms()) is None
    again = await scan_again(settings, "HIVE", first, None)
    assert again.done_ms is not None
    with store.reading() as connection:
        assert len(connection.execute(select(tickets)).all()) == 1
    store.close()


async def follow_once(settings: Any) -> None:
    """Follow to the tip, as a daemon that ends at once."""
    from chainwatch import adapters
    from chainwatch.adapters.base import Services, SilentObserver
    from chainwatch.parts import contexts, open_issuer
    from chainwatch.testing.reports import Collected
    from chainwatch.watcher import Watcher

    store, clock, rng = open_store(settings), SystemClock(), random.Random(2)
    context = contexts(settings, open_issuer(settings))["HIVE"]
    source = adapters.open_source(context.spec, Services(clock=clock, random=rng, observer=SilentObserver()))
    watcher = Watcher(context, source, store, clock=clock, rng=rng, reports=Collected(), holder="daemon")
    await source.open()
    while await watcher.poll():
        pass
    await watcher.stop()
    store.close()
