"""`chainwatch check`: every node says who it is, and a node of another network is refused by name."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from chainwatch.checks import Line, check
from chainwatch.config import settings as config
from chainwatch.devnet.network import CHAINS, Devnet
from chainwatch.ledger import events, pool, schema
from chainwatch.ledger.store import Store
from chainwatch.ledger.tables import event_prices
from chainwatch.ledger.tables import events as event_table
from chainwatch.model import Asset
from chainwatch.wallets import is_address_of

pytestmark = pytest.mark.network


async def ask(net: Devnet, sections: Any, folder: Path) -> list[Line]:
    (folder / "empty.toml").touch()
    loaded = config.load(
        folder / "empty.toml",
        environ={"STATE_DIRECTORY": str(folder)},
        chains=sections,
        checks=config.Checks(is_wallet=is_address_of),
    )
    return await check(loaded)


async def test_every_chain_names_its_version_network_and_final_block(network: Devnet, tmp_path: Path) -> None:
    sections = await network.start()
    lines = {line.part: line for line in await ask(network, sections, tmp_path) if " warning: " not in line.text}
    assert {line.ok for line in lines.values()} == {True}
    assert set(CHAINS) <= lines.keys()
    for code in CHAINS:
        assert "network " in lines[code].text
        assert "head " in lines[code].text
        assert "final" in lines[code].text
        assert "a payment counts at " in lines[code].text
        assert ("genesis " in lines[code].text) is (code != "HIVE"), "Hive and Steem have one first block: the chain id"


async def test_the_range_that_an_operator_s_wallet_must_scan_is_told(network: Devnet, tmp_path: Path) -> None:
    """Sparrow and Electrum stop after 20 unused addresses in a row; whoever restores one must know how far to go."""
    sections = await network.start()
    asked = {code: sections[code] for code in ("BTC", "SOL", "HIVE")}

    async def told() -> list[tuple[str, str]]:
        return [(line.part, line.text) for line in await ask(network, asked, tmp_path) if "must scan" in line.text]

    assert await told() == []  # no database yet
    store = Store(f"sqlite:///{tmp_path}/chainwatch.db")
    schema.upgrade(store)
    assert await told() == []  # nothing was derived
    with store.transaction() as connection:
        pool.add(connection, "BTC", 1, [f"own{n}" for n in range(1, 38)], 1)
        pool.add(connection, "SOL", 1, ["reference:key"], 1)
    store.close()
    assert await told() == [("BTC", "a wallet that spends what buyers pay must scan its addresses 0 to 37")]


async def test_price_sources_are_asked_when_an_event_needs_them(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        '[rates]\nsources = ["kraken", "coinbase"]\nurls = {kraken = "http://127.0.0.1:9", coinbase = "http://127.0.0.1:9"}'
    )
    loaded = config.load(tmp_path / "c.toml", environ={"STATE_DIRECTORY": str(tmp_path)})

    async def lines() -> list[tuple[str, bool, int]]:
        return [(line.part, line.ok, line.code) for line in await check(loaded) if line.part.startswith("rates")]

    assert await lines() == []  # no database yet
    store = Store(loaded.database.url)
    schema.upgrade(store)
    with store.transaction() as connection:
        new = events.NewEvent(title="x", ticket_price="1", ticket_currency="BTC")
        events.create(connection, new, {"BTC": Asset("BTC", "BTC", 8)}, 0, 1, "test")
        assert await lines() == []  # priced in coins
    with store.transaction() as connection:
        connection.execute(update(event_prices).values(amount=None))
        connection.execute(update(event_table).values(ticket_currency="USD"))
    store.close()
    assert await lines() == [("rates kraken", False, 3), ("rates coinbase", False, 3)]


@pytest.mark.parametrize("code", ["HIVE", "BTC", "ETH", "SOL", "XMR"])
async def test_a_node_of_another_network_is_refused_by_name(network: Devnet, tmp_path: Path, code: str) -> None:
    sections = await network.start()
    network.nodes[code].faults.wrong_chain = True
    found = [line for line in await ask(network, {code: sections[code]}, tmp_path) if line.part == code]
    assert [(line.ok, line.code) for line in found] == [(False, 2)]
    assert "127.0.0.1" in found[0].text or f"chains.{code}" in found[0].text
