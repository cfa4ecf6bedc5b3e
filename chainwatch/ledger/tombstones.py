"""What is left of an erased wallet: a keyed hash, so that a backfill or a reorganisation does not bring it back.

In the place of the wallet stands its pseudonym.  Money that names the wallet later still finds the purchase that it
belongs to, and nobody who reads the database learns whose it was: the key is outside of it.
"""

import hmac
from collections.abc import Iterable

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


def shadows(connection: Connection, issuer: Issuer, wallets: Iterable[str]) -> dict[str, str]:
    """Return those of ``wallets`` that were erased, with their pseudonyms."""
    if connection.execute(select(erased_wallets.c.erased_ms).limit(1)).first() is None:
        return {}
    keys = {key_of(issuer, w): w for w in wallets}
    found: dict[str, str] = {}
    for part in chunks(keys):
        for key in connection.scalars(select(erased_wallets.c.wallet_key).where(erased_wallets.c.wallet_key.in_(part))):
            found[keys[bytes(key)]] = pseudonym(bytes(key))
    return found
