"""Where money may be sent: an address by the rules of its own chain, in the one form in which chains report it."""

from sqlalchemy import Connection, select

from chainwatch.errors import Rejected
from chainwatch.ledger.tables import addresses
from chainwatch.model import ChainSpec
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


def on_network(spec: ChainSpec, text: str) -> None:
    """Refuse the address of another network of the same chain (a testnet's here); ``Rejected`` ``bad_destination``."""
    if not is_on_network(spec, text):
        raise Rejected("bad_destination", f"{text[:120]!r} is an address of another network than our {spec.code}")


def is_on_network(spec: ChainSpec, text: str) -> bool:
    """Can the configured network pay ``text``?  One payment that it cannot fails the whole file that holds it."""
    known, main = parse_chain(spec.code), _is_main(spec)
    wallet = wallet_for(text, known) if known is not None else None
    return wallet is None or main is None or (wallet.network == "main") == main


def _is_main(spec: ChainSpec) -> bool | None:
    """Is it the chain's main network?  None where addresses do not tell, or an operator has said how they begin."""
    if spec.family == "monero":
        return spec.chain_id in ("mainnet", "fakechain")  # a regtest writes addresses as the main network does
    main = spec.params.get("networks", {}).get("main")
    if main is None or {"hrp", "p2pkh", "p2sh"} & set(spec.options):
        return None
    return bool(spec.chain_id == main["genesis"])
