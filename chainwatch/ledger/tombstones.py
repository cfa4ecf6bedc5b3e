"""What is left of an erased wallet: a keyed hash, so that a backfill or a reorganisation does not bring it back.

In the place of the wallet stands its pseudonym.  Money that names the wallet later still finds the purchase that it
belongs to, and nobody who reads the database learns whose it was: the key is outside of it.  Who buys anew after that
is a new customer under the real wallet, or the ticket would open nothing.
"""

import hmac
from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection, select

from chainwatch.ledger.bulk import chunks
from chainwatch.ledger.tables import erased_wallets
from chainwatch.tickets.token import Issuer

PREFIX = "erased:"


def key_of(issuer: Issuer, wallet: str) -> bytes:
    """Return the tombstone of a wallet (canonical form): 32 bytes."""
    return hmac.digest(issuer.secret("tombstones"), wallet.encode(), "sha256")


def pseudonym(key: bytes) -> str:
    """Return what stands in the wallet's place: no chain has such an address."""
    return f"{PREFIX}{key[:16].hex()}"


class Shadow(msgspec.Struct, frozen=True):
    """What stands in an erased wallet's place, and since when."""

    name: str
    erased_ms: int


def shadows(connection: Connection, issuer: Issuer, wallets: Iterable[str]) -> dict[str, Shadow]:
    """Return those of ``wallets`` that were erased."""
    if connection.execute(select(erased_wallets.c.erased_ms).limit(1)).first() is None:
        return {}
    keys = {key_of(issuer, w): w for w in wallets}
    found: dict[str, Shadow] = {}
    for part in chunks(keys):
        for row in connection.execute(select(erased_wallets).where(erased_wallets.c.wallet_key.in_(part))):
            key = bytes(row.wallet_key)
            found[keys[key]] = Shadow(pseudonym(key), row.erased_ms)
    return found
