"""Guests at a door over HTTP, with wallets that sign: what the tests of access, tickets and analytics share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from chainwatch.ledger import operators
from chainwatch.ledger.tables import events as event_table
from chainwatch.ledger.tables import tickets
from chainwatch.testing.served import NOW_MS, Served, served
from chainwatch.testing.tickets import make_event, mint
from chainwatch.testing.wallets import EvmWallet, HiveWallet
from chainwatch.verifiers import ethereum
from chainwatch.verifiers.recorded import RecordedChain

ALICE = HiveWallet("alice")
GUEST, STRANGER = EvmWallet("guest"), EvmWallet("stranger")
HOUR = 3_600_000
LIMITS = "[http]\naccess_per_minute = 100000\naccess_per_minute_wallet = 100000\nrequests_per_minute = 100000\n"


class NoContracts(RecordedChain):
    """A node that knows Alice's account and of no contract anywhere."""

    async def evm_code(self, address: str) -> bytes:  # noqa: ARG002 (as the protocol has it)
        """No code."""
        return b""


def contract(address: str, owner: EvmWallet, text: str, chain_id: int = 1) -> tuple[RecordedChain, str]:
    """A chain on which a contract at ``address`` says yes to ``owner``'s signature of ``text``, and that signature."""
    signature = owner.sign_message(text)
    asked = "0x1626ba7e" + ethereum.personal_digest(text.encode()).hex()
    asked += f"{64:064x}{65:064x}" + signature[2:] + "00" * 31
    call = {"method": "eth_call", "params": [{"to": address, "data": asked}], "result": "0x1626ba7e" + "00" * 28}
    code = {"method": "eth_getCode", "params": [address], "result": "0x60"}
    return RecordedChain([code, call], chain_id=chain_id), signature


def hive(chain: str) -> Any:
    """What the chains of these tests answer."""
    return NoContracts(accounts=[ALICE.account], chain_id={"ETH": 1, "MATIC": 137}.get(chain))


@asynccontextmanager
async def door(
    folder: Path, *, url: str = "", toml: str = "", wallets: Any = (GUEST,), resolver: Any = hive, **event: Any
) -> AsyncIterator[Served]:
    """An event ``gala`` with a ticket for each of ``wallets``."""
    async with served(folder, url=url, toml=LIMITS + toml, resolver=resolver) as api:
        make_event(api.store, api.backend.contexts, "gala", NOW_MS, **event)
        mint(api.store, api.backend.contexts["ETH"], "gala", [w.address for w in wallets], NOW_MS)
        yield api


async def challenge(api: Served, wallet: Any, event: str = "gala", more: str = "") -> dict[str, Any]:
    """A challenge for ``wallet``."""
    status, answer = await api.get(f"/api/events/{event}/challenge?wallet={wallet.address}{more}")
    assert status == 200, answer
    return dict(answer)


async def signed(api: Served, wallet: Any, hand: Any = None, **change: Any) -> dict[str, Any]:
    """The body of a join by ``wallet``, signed by ``hand``; each at a moment of its own, as challenges are."""
    api.clock.advance(change.pop("after_s", 0.001))
    text = (await challenge(api, wallet))["message"]
    body = {"wallet_address": wallet.address, "message": text, "signature": (hand or wallet).sign_message(text)}
    return body | change


async def join(api: Served, wallet: Any = GUEST, **change: Any) -> tuple[int, Any]:
    """Sign and join; ``change``: other fields of the body, ``hand``, ``after_s``."""
    return await api.post("/api/events/gala/join", await signed(api, wallet, **change))


async def verify(api: Served, body: dict[str, Any]) -> Any:
    """The answer of verify-access."""
    status, answer = await api.post("/api/events/gala/verify-access", body)
    assert status == 200, answer
    return answer


def rows(api: Served, table: Any) -> list[Any]:
    """Every row of a table."""
    with api.store.reading() as connection:
        return list(connection.execute(select(table).order_by(table.c.id)))


def set_event(api: Served, **values: Any) -> None:
    """Set columns of every event."""
    with api.store.transaction() as connection:
        connection.execute(update(event_table).values(**values))


def set_ticket(api: Served, **values: Any) -> None:
    """Set columns of every ticket."""
    with api.store.transaction() as connection:
        connection.execute(update(tickets).values(**values))


def operator_key(api: Served, *scopes: str) -> str:
    """An operator's Authorization header, with a key of these scopes."""
    with api.store.transaction() as connection:
        return "Bearer " + operators.add(connection, "-".join(scopes), scopes, NOW_MS, "test")
