"""Who calls the API in tests: an operator with a key, creators with a Hive account that sign."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chainwatch.ledger import operators
from chainwatch.testing.served import NOW_MS, Served
from chainwatch.testing.wallets import HiveWallet
from chainwatch.verifiers.recorded import RecordedChain
from chainwatch.verifiers.result import Resolver


async def operator(api: Served, *scopes: str, name: str = "olga") -> dict[str, str]:
    """Make a key; return the header that shows it."""
    key = await api.store.write(operators.add, name, scopes or operators.SCOPES, NOW_MS, "test")
    return {"Authorization": f"Bearer {key}"}


class Creator:
    """A Hive account: its posting and its active key are two."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.posting, self.active = HiveWallet(name), HiveWallet(f"{name} active")

    @property
    def account(self) -> dict[str, Any]:
        """As the chain has it."""
        active = {"weight_threshold": 1, "account_auths": [], "key_auths": [[self.active.public_key, 1]]}
        return {**self.posting.account, "name": self.name, "active": active, "memo_key": HiveWallet("memo").public_key}

    def reads(self, challenge: str = str(NOW_MS // 1000), **changes: str) -> dict[str, str]:
        """The platform's headers."""
        return {
            "x-account": self.name,
            "x-challenge": challenge,
            "x-pubkey": self.posting.public_key,
            "x-signature": self.posting.sign_message(challenge),
        } | changes

    async def write(
        self, api: Served, method: str, path: str, body: Any = None, *, key: HiveWallet | None = None
    ) -> tuple[int, Any]:
        """Ask for a text, sign it, make the request."""
        headers = await self.proof(api, method, path, body, key=key)
        return await api.call(method, path, body, **headers)

    async def proof(
        self, api: Served, method: str, path: str, body: Any = None, *, key: HiveWallet | None = None
    ) -> dict[str, str]:
        """The headers of one write."""
        raw = b"" if body is None else msgspec.json.encode(body)
        digest = hashlib.sha256(raw).hexdigest()
        asked = f"/api/creators/challenge?account={self.name}&method={method}&path={path}&body_sha256={digest}"
        status, answer = await api.get(asked)
        assert status == 200, answer
        signature = (key or self.posting).sign_message(answer["message"])
        return {"Authorization": f"Bearer {signature}:{self.name}", "x-challenge": answer["challenge"]}


def resolving(creators: Sequence[Creator], more: Mapping[str, Resolver] = {}) -> Any:
    """Return the resolvers of a backend on whose Hive these accounts are."""
    hive = RecordedChain(accounts=[c.account for c in creators])
    return lambda chain: hive if chain == "HIVE" else more.get(chain)
