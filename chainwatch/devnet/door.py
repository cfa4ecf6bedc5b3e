"""The demo's door: a ticket's wallet signs our text and comes in; a stranger with the same text does not."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from chainwatch.access import AccessMessage, AccessPolicy
from chainwatch.access.signatures import VERIFY
from chainwatch.model import ChainSpec
from chainwatch.testing import wallets
from chainwatch.verifiers import verify

DOMAIN = "tickets.example"
ACCESS = AccessPolicy(DOMAIN, f"https://{DOMAIN}/")


class Signer(Protocol):
    """A simulated wallet that can sign."""

    address: str

    def sign_message(self, message: str) -> str:
        """Sign as the wallet's users do."""
        ...


def signer(spec: ChainSpec, seed: str) -> Signer:
    """Return a wallet of a chain that can sign, made from ``seed``."""
    return _SIGNERS[spec.family](spec, seed)


def _bitcoin(spec: ChainSpec, seed: str) -> Signer:
    segwit = spec.params.get("format", {}).get("segwit", True)
    return wallets.BitcoinWallet(seed, "p2wpkh" if segwit else "p2pkh", spec.code)


_SIGNERS: Mapping[str, Callable[[ChainSpec, str], Signer]] = {
    "bitcoin": _bitcoin,
    "evm": lambda _spec, seed: wallets.EvmWallet(seed),
    "hive": lambda _spec, seed: wallets.HiveWallet(f"guest-{seed}"),
    "monero": lambda _spec, seed: wallets.MoneroWallet(seed),
    "solana": lambda _spec, seed: wallets.SolanaWallet(seed),
}


def admitted(spec: ChainSpec, event: str, ticket: Signer, hand: Signer, now_ms: int) -> bool:
    """Would the wallet of ``ticket`` be let in with a signature by ``hand``?"""
    message = AccessMessage.build(
        domain=DOMAIN,
        uri=f"https://{DOMAIN}/access",
        event=event,
        chain=spec.code,
        address=ticket.address,
        nonce="A1b2C3d4E5f6G7h8I9j0K1",
        issued_ms=now_ms,
    )
    text = message.render()
    checked = AccessMessage.parse(text).check(
        ACCESS, event=event, chain=spec.code, address=ticket.address, now_ms=now_ms
    )
    authorities: Any = {ticket.address: ticket.account} if isinstance(ticket, wallets.HiveWallet) else None
    result = verify(
        chain=spec.code,
        address=ticket.address,
        message=text,
        signature=hand.sign_message(text),
        authorities=authorities,
        policy=VERIFY,
    )
    return checked == "ok" and result.ok
