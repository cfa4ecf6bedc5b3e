"""Every type of message is really sent: a whole life of an event, told to the receiver that ships for tests.

One daemon on one simulated chain, driven over HTTP by its operator, its buyers and its guests; what only days or a
chain can bring (a payout address in force, a reorg, a payment of ours) is done to the database and to the node.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import update

from chainwatch.app import App
from chainwatch.clock import SystemClock
from chainwatch.config import settings as config
from chainwatch.devnet.network import Devnet, complete, gathered
from chainwatch.devnet.node import Payment
from chainwatch.ledger import operators, payouts
from chainwatch.ledger.outbox import TYPES
from chainwatch.ledger.tables import creator_addresses
from chainwatch.ledger.tables import events as event_table
from chainwatch.testing.receiver import Receiver
from chainwatch.testing.wallets import EvmWallet

pytestmark = pytest.mark.network

PROMISED = {
    *("payment.seen", "payment.confirmed", "payment.orphaned", "ticket.minted", "ticket.revoked"),
    *("refund.due", "refund.settled", "payout.due", "payout.settled", "event.sold_out", "event.nearly_sold_out"),
    *("access.granted", "access.denied", "event.starting", "event.cancelled"),
}
MINUTE_MS = 60_000
CONFIG = "[webhooks]\nallow_private = true\n[tickets]\npayout_delay_days = 0\n"


class House:
    """The daemon with its chain, an operator's key and a session."""

    def __init__(self, app: App, network: Devnet, session: aiohttp.ClientSession, key: str) -> None:
        self.app, self.network, self.session, self.key = app, network, session, key
        self.node = network.nodes["HIVE"]

    async def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        headers = {"Authorization": f"Bearer {self.key}"}
        async with self.session.request(method, self.app.server.url + path, json=body, headers=headers) as reply:
            answer = await reply.json()
            assert reply.status == status, answer
            return answer

    async def event(self, name: str, start_ms: int, **more: Any) -> None:
        body = {"id": name, "title": name, "ticket_price": "1", "ticket_currency": "HIVE", "creator_account": "carol"}
        body |= {"event_start": start_ms, "event_end": start_ms + 600 * MINUTE_MS, **more}
        await self.call("POST", "/api/events", body)

    async def pays(self, wallet: EvmWallet, event: str) -> tuple[str, str]:
        """Open a purchase and pay it; return its id and the transaction's."""
        ask = {"event_id": event, "payment_method": "HIVE", "wallet_address": wallet.address}
        made = await self.call("POST", "/api/events/purchase", ask)
        to, amount, memo = made["payment_address"], int(made["amount_base"]), made["memo"]
        return made["purchase_id"], self.node.pay(Payment(to=to, amount=amount, memo=memo))

    async def state(self, purchase: str, wanted: str) -> Any:
        async with asyncio.timeout(60):
            while (seen := await self.call("GET", f"/api/purchases/{purchase}"))["state"] != wanted:
                await asyncio.sleep(0.1)
        return seen

    async def leaves(self, kind: str) -> None:
        """Export what is due, and pay it from our account as the file says."""
        made = await self.call("POST", f"/api/{kind}/export", {"currency": "HIVE"})
        file = await self.call("GET", f"/api/exports/{made['id']}/document")
        for _, op in file["operations"]:
            amount = int(op["amount"].partition(" ")[0].replace(".", ""))
            self.node.pay(Payment(to=op["to"], amount=amount, memo=op["memo"], sender=op["from"]))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    clock, rng = SystemClock(), random.Random(5)
    network = Devnet(clock=clock, rng=rng, chains=("HIVE",), block_ms=200)
    (tmp_path / "c.toml").write_text(CONFIG)
    environ = {"STATE_DIRECTORY": str(tmp_path), "CHAINWATCH__HTTP__LISTEN": "127.0.0.1:0"}
    app = App(complete(config.load(tmp_path / "c.toml", environ=environ, chains=await network.start())), clock=clock,
              rng=rng)  # fmt: skip
    stop, ready = asyncio.Event(), asyncio.Event()
    tasks = [asyncio.create_task(app.run(stop, ready)), asyncio.create_task(network.mine())]
    try:
        await asyncio.wait_for(ready.wait(), 60)
        key = await app.store.write(operators.add, "olga", operators.SCOPES, clock.now_ms(), "test")
        async with aiohttp.ClientSession() as session:
            yield House(app, network, session, key)
    finally:
        stop.set()
        await gathered(tasks[1])
        await asyncio.gather(*tasks, return_exceptions=True)
        await network.stop()


async def test_every_promised_type_is_sent_signed(house: House) -> None:
    assert set(TYPES) == PROMISED
    async with Receiver() as receiver:
        made = await house.call("POST", "/api/webhooks", {"url": receiver.url, "types": ["*"]}, 201)
        receiver.secret = made["secret"]
        now_ms = int(time.time() * 1000)
        await _sold_and_entered(house, now_ms)
        await _revoked(house, now_ms)
        await _orphaned(house, now_ms)
        await _paid_back(house, now_ms)
        await _paid_out(house, now_ms)
        for _ in range(300):
            if not (missing := PROMISED - {m.type for m in receiver.taken}):
                break
            await asyncio.sleep(0.2)
        assert not missing
        assert all(m.good for m in receiver.requests)
        for message in receiver.taken:
            assert message.id
            assert message.timestamp.endswith("Z")


async def _sold_and_entered(house: House, now_ms: int) -> None:
    """``event.starting``, a sale to the last seat, a guest who comes in and one who comes twice with one text."""
    await house.event("soon", now_ms + 10 * MINUTE_MS, max_attendees=1)
    guest = EvmWallet("guest")
    purchase, _ = await house.pays(guest, "soon")
    await house.state(purchase, "minted")
    challenge = await house.call("GET", f"/api/events/soon/challenge?wallet={guest.address}")
    body = {"wallet_address": guest.address, "message": challenge["message"]}
    body["signature"] = guest.sign_message(challenge["message"])
    await house.call("POST", "/api/events/soon/join", body)
    stranger = EvmWallet("stranger")
    challenge = await house.call("GET", f"/api/events/soon/challenge?wallet={stranger.address}")
    body = {"wallet_address": stranger.address, "message": challenge["message"]}
    body["signature"] = stranger.sign_message(challenge["message"])
    assert (await house.call("POST", "/api/events/soon/join", body, 403))["code"] == "no_ticket"


async def _revoked(house: House, now_ms: int) -> None:
    await house.event("banned", now_ms + 600 * MINUTE_MS)
    purchase, _ = await house.pays(EvmWallet("banned"), "banned")
    ticket = (await house.state(purchase, "minted"))["ticket"]["ticket_id"]
    await house.call("POST", f"/api/tickets/{ticket}/revoke", {"reason": "house rules"})


async def _orphaned(house: House, now_ms: int) -> None:
    """A payment whose block leaves the chain, and which no other block takes."""
    await house.event("lost", now_ms + 600 * MINUTE_MS)
    house.network.paused.add("HIVE")
    await asyncio.sleep(0.5)
    purchase, txid = await house.pays(EvmWallet("lost"), "lost")
    before = house.node.chain.mine().ref
    await house.state(purchase, "confirming")
    house.node.chain.reorg(house.node.chain.head.ref.height - before.height + 1, extra=1, drop=[txid])
    await house.state(purchase, "open")
    house.network.paused.discard("HIVE")


async def _paid_back(house: House, now_ms: int) -> None:
    """A cancelled event, and the refund that leaves."""
    await house.event("doomed", now_ms + 600 * MINUTE_MS)
    purchase, _ = await house.pays(EvmWallet("doomed"), "doomed")
    await house.state(purchase, "minted")
    assert (await house.call("POST", "/api/events/doomed/cancel"))["tickets_cancelled"] == 1
    refund = (await house.call("GET", f"/api/purchases/{purchase}"))["refunds"][0]
    await house.call("PUT", f"/api/refunds/{refund['id']}/destination", {"destination": "zed"})
    await house.leaves("refunds")
    await _settled(house, "refunds")


async def _paid_out(house: House, now_ms: int) -> None:
    """The creator's money, once the event is over and the address is in force."""
    await house.call("PUT", "/api/creators/carol/payout-addresses", {"addresses": {"HIVE": "carol"}})

    def days_go_by(connection: Any) -> None:
        connection.execute(update(creator_addresses).values(valid_from_ms=1))
        over = {"event_end_ms": now_ms - 2, "latest_end_ms": now_ms - 2}
        over = {name: value for name, value in over.items() if name in event_table.c}
        connection.execute(update(event_table).where(event_table.c.slug == "soon").values(**over))
        payouts.fall_due(connection, int(time.time() * 1000), 0)

    await house.app.store.write(days_go_by)
    (due,) = (await house.call("GET", "/api/payouts"))["payouts"]
    assert (due["state"], due["amount"], due["amount_base"]) == ("due", "0.8", "800")
    await house.leaves("payouts")
    await _settled(house, "payouts")


async def _settled(house: House, kind: str) -> None:
    async with asyncio.timeout(60):
        while "settled" not in {row["state"] for row in (await house.call("GET", f"/api/{kind}"))[kind]}:
            await asyncio.sleep(0.1)
