"""Where money may be sent: an address by the rules of its own chain, in the one form in which chains report it."""

from collections.abc import Iterable

from sqlalchemy import Connection, select

from chainwatch.errors import Rejected
from chainwatch.ledger.tables import addresses
from chainwatch.model import ChainSpec
from chainwatch.verifiers.addresses import detect_wallet, wallet_for
from chainwatch.verifiers.chains import parse_chain

OWN_CHAINS = ("evm", "bitcoin")
"""Families of which an operator may configure a chain that no table knows."""
_OURS = "that is an address of our own"


def canonical(connection: Connection, chain: str, text: str, spec: ChainSpec | None = None) -> str:
    """Return ``text`` as ``chain`` writes the address.

    ``Rejected`` ``bad_destination`` for what is no address of that chain, or one of our own; and, where the chain is
    configured (``spec``), for one of our accounts, for a token's contract (what goes there comes back to nobody) and
    for an address of another network of the same chain (a testnet's here).
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
        raise Rejected("bad_destination", _OURS)
    if spec is not None:
        _check_spec(spec, wallet.canonical)
    return wallet.canonical


def _check_spec(spec: ChainSpec, address: str) -> None:
    if is_ours(spec, address):
        raise Rejected("bad_destination", _OURS)
    if _same(spec, address, [a.asset_id for a in spec.assets if a.asset_id]):
        raise Rejected("bad_destination", "that is the contract of a token, not a wallet")
    if not is_on_network(spec, address):
        raise Rejected("bad_destination", f"{address!r} is an address of another network than our {spec.code}")


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


def is_ours(spec: ChainSpec, destination: str) -> bool:
    """Is this a receiving account?  What is sent there never leaves us, so that nothing would settle it."""
    return _same(spec, destination, spec.receive)


def _same(spec: ChainSpec, destination: str, among: Iterable[str]) -> bool:
    if spec.family == "evm":
        return destination.lower() in {one.lower() for one in among}
    return destination in among
