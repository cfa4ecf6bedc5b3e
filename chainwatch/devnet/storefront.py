"""Buyers behind a button: simulated wallets that pay a purchase and come in with its ticket.

They do what a buyer's software does, over the same HTTP API, so that the built-in network shows the real way.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiohttp

from chainwatch.devnet import door
from chainwatch.devnet.network import Devnet
from chainwatch.devnet.node import Payment
from chainwatch.errors import Rejected
from chainwatch.testing.wallets import HiveWallet
from chainwatch.times import parse_ms, shown_ms

if TYPE_CHECKING:
    from chainwatch.app import App

TIMEOUT = aiohttp.ClientTimeout(total=15)
MAX_WALLETS = 10_000
"""Wallets that are remembered: a simulation that was clicked so often starts afresh."""


class Storefront:
    """Simulated wallets by address.  What they were made from is kept in ``path``, so that a restart knows them."""

    def __init__(self, network: Devnet, path: Path | None = None) -> None:
        self._network, self._path = network, path
        self._app: App | None = None
        self._seeds: dict[str, tuple[str, str]] = {}
        if path is not None and path.exists():
            self._seeds = {address: (chain, seed) for address, (chain, seed) in json.loads(path.read_text()).items()}
        for address, (chain, seed) in self._seeds.items():
            self._announce(chain, address, seed)

    def serve(self, app: "App") -> None:
        """Name the daemon whose purchases are paid."""
        self._app = app

    def wallet(self, asset: str) -> str:
        """Return the address of a new wallet on the asset's chain."""
        chain = asset.partition(":")[0]
        chain = next((a.chain for a in self._known() if a.code == asset), chain)
        node = self._network.nodes.get(chain)
        if node is None:
            raise Rejected("unknown_currency", f"{asset!r} is not on the built-in network")
        if len(self._seeds) >= MAX_WALLETS:
            self._seeds.clear()
        seed = f"{self._network.rng.getrandbits(40):010x}"
        address = door.signer(node.spec, seed).address
        self._seeds[address] = (chain, seed)
        self._announce(chain, address, seed)
        if self._path is not None:
            self._path.write_text(json.dumps(self._seeds))
        return address

    def _known(self) -> Any:
        return () if self._app is None else self._app.backend.assets().values()

    def _announce(self, chain: str, address: str, seed: str) -> None:
        """A Hive account exists on its chain: the node tells its posting key to whoever asks."""
        node = self._network.nodes.get(chain)
        signer = door.signer(node.spec, seed) if node is not None else None
        if isinstance(signer, HiveWallet):
            getattr(node, "posting_keys")[address] = signer.public_key  # noqa: B009 (only Hive's node has them)

    def sign(self, address: str, text: str) -> str | None:
        """Return the signature of a simulated wallet; None when the address is none of ours."""
        if address not in self._seeds:
            return None
        chain, seed = self._seeds[address]
        return door.signer(self._network.nodes[chain].spec, seed).sign_message(text)

    async def pay(self, purchase_id: str) -> None:
        """Pay what a purchase is still missing."""
        state = await self._call("GET", f"/api/purchases/{purchase_id}")
        node = self._network.nodes.get(state["chain"])
        if node is None or state["missing_base"] == "0" or not state["payment_address"]:
            raise Rejected("nothing_to_pay", "nothing is to be paid any more")
        asset = next(a for a in self._known() if a.code == state["currency"])
        payment = Payment(
            to=state["payment_address"],
            amount=int(state["missing_base"]),
            asset_id=asset.asset_id,
            memo=state["memo"],
        )
        node.pay(payment)

    async def join(self, token: str) -> str:
        """Ask for a challenge, sign it with the ticket's wallet, and join."""
        ticket = await self._call("GET", f"/api/tickets/{token}")
        wallet, event = ticket["wallet_address"], ticket["event"]["id"]
        if wallet not in self._seeds:
            raise Rejected("unknown_wallet", "this ticket belongs to a wallet that is not simulated here")
        where = f"/api/events/{event}"
        challenge = await self._call("GET", f"{where}/challenge?wallet={quote(wallet)}&chain={self._seeds[wallet][0]}")
        body = {
            "wallet_address": wallet,
            "message": challenge["message"],
            "signature": self.sign(wallet, challenge["message"]),
        }
        joined = await self._call("POST", f"{where}/join", body)
        ends = shown_ms(parse_ms(joined.get("session_expires_at"))) or "its end"
        return (
            f"The wallet signed our challenge, and the door of {ticket['event']['title']!r} opened for ticket "
            f"{ticket['number']}. The session lives until {ends}."
        )

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        assert self._app is not None
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.request(method, self._app.server.url + path, json=body) as response,
        ):
            answer = await response.json()
        if response.status >= 400:
            raise Rejected(answer.get("code", "refused"), answer.get("error", "it was refused"))
        return answer
