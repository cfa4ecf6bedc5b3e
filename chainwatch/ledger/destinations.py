"""Where money may be sent: an address by the rules of its own chain, in the one form in which chains report it."""

from sqlalchemy import Connection, select

from chainwatch.errors import Rejected
from chainwatch.ledger.tables import addresses
from chainwatch.verifiers.addresses import detect_wallet, wallet_for
from chainwatch.verifiers.chains import parse_chain

OWN_CHAINS = ("evm", "bitcoin")
"""Families of which an operator may configure a chain that no table knows."""


def canonical(connection: Connection, chain: str, text: str) -> str:
    """Return ``text`` as ``chain`` writes the address.

    ``Rejected`` ``bad_destination`` for what is no address of that chain, or one of our own.
    """
    known = parse_chain(chain)
    if known is not None:
        wallet = wallet_for(text, known)
    else:
        wallet = next((w for w in detect_wallet(text) if w.family in OWN_CHAINS), None)
    if wallet is None:
        raise Rejected("bad_destination", f"{text[:120]!r} is no address of {chain}")
    ours = select(addresses.c.id).where(addresses.c.chain == chain, addresses.c.address == wallet.canonical)
    if connection.execute(ours).first() is not None:
        raise Rejected("bad_destination", "that is an address of our own")
    return wallet.canonical
