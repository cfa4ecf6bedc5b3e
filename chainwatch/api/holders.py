"""What a wallet may ask about itself, by signing for it: its tickets, and to be forgotten."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection, Row

from chainwatch.access import holders, policy, signed
from chainwatch.api import tickets as shown
from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import Call, Endpoint, Who
from chainwatch.api.fields import Address, Code, Signature, SignedText
from chainwatch.api.problems import Problem
from chainwatch.errors import Rejected
from chainwatch.ledger import erasure, outbox, tickets
from chainwatch.times import format_ms
from chainwatch.wallets import canonical_wallet

TICKETS, ERASE = "my-tickets", "erase"


class WhoQuery(msgspec.Struct):
    """``chain`` (code or CAIP-2): for a contract wallet, where it is."""

    wallet: Address
    chain: Code | None = None


class SignedChallenge(msgspec.Struct):
    """``message`` is signed as it is, byte for byte, and serves once."""

    message: str
    nonce: str
    expires_at: str


class SignedBody(msgspec.Struct):
    """The wallet's word."""

    wallet_address: Address
    message: SignedText
    signature: Signature
    chain: Code | None = None


class EraseBody(msgspec.Struct):
    """The wallet's word; an operator says only whose data."""

    wallet_address: Address
    message: SignedText | None = None
    signature: Signature | None = None
    chain: Code | None = None


class MyTickets(msgspec.Struct):
    """The newest first."""

    tickets: list[shown.Held]


class Erasure(msgspec.Struct):
    """``kept``: purchases whose wallet stays until what is owed to it is paid; then ask again."""

    erased_tickets: int
    erased_purchases: int
    kept: int


async def challenge(purpose: str, call: Call) -> SignedChallenge:
    """A text for the wallet to sign."""
    asked: WhoQuery = call.query
    made = signed.challenge(call.backend, purpose, wallet=asked.wallet, values={}, chain=asked.chain)
    return SignedChallenge(made.message, made.nonce, format_ms(made.expires_ms) or "")


async def _proved(call: Call, purpose: str) -> signed.Checked:
    body: SignedBody | EraseBody = call.body
    if not body.message or not body.signature:
        raise Problem("challenge_required", "sign the text of the challenge with the wallet")
    signature = tuple(body.signature) if isinstance(body.signature, list) else body.signature
    return await signed.require(
        call.backend,
        purpose,
        wallet=body.wallet_address,
        message=body.message,
        signature=signature,
        values={},
        chain=body.chain,
    )


async def my_tickets(call: Call) -> MyTickets:
    """The wallet's tickets with their tokens: the way in for those who paid by memo alone."""
    checked = await _proved(call, TICKETS)

    def body(connection: Connection) -> Sequence[Row[Any]]:
        signed.consume(connection, checked)
        return tickets.of_wallet(connection, checked.wallet)

    rows = await call.backend.store.write_together(body)
    counting = policy.counting(rows, checked.contract_chain, holders.chain_of_assets(call.backend))
    return MyTickets(shown.held(call.backend, sorted(counting, key=lambda r: -r.id)))


async def erase(call: Call) -> Erasure:
    """Erase what accounting need not keep."""
    now_ms, backend = call.now_ms, call.backend
    checked = None if call.caller.kind == "operator" else await _proved(call, ERASE)
    wallet = checked.wallet if checked else canonical_wallet(call.body.wallet_address)
    if wallet is None:
        raise Rejected("bad_wallet", "this is no wallet of any supported chain")
    actor = "wallet" if checked else call.caller.actor

    def body(connection: Connection) -> Erasure:
        if checked is not None:
            signed.consume(connection, checked)
            _whole(backend, tickets.of_wallet(connection, wallet), checked)
        done = erasure.erase(connection, backend.issuer, wallet, now_ms)
        outbox.audit(connection, now_ms, actor, "wallet_erased", holders.alias(backend.issuer, wallet))
        return Erasure(done.tickets, done.purchases, done.kept)

    return await call.write(body)


def _whole(backend: Backend, rows: Sequence[Row[Any]], checked: signed.Checked) -> None:
    """A contract of one chain does not speak for what its address holds on another."""
    if len(policy.counting(rows, checked.contract_chain, holders.chain_of_assets(backend))) != len(rows):
        raise Rejected("contract_chain", "this address has tickets bound to another chain: ask an operator")


def endpoints(_backend: Backend) -> Sequence[Endpoint]:
    """The routes of holders."""
    texts = [
        Endpoint(
            method="GET",
            path=f"/api/{purpose}/challenge",
            handler=partial(challenge, purpose),
            summary=f"The text that a wallet signs for {purpose}",
            tag="holders",
            query=WhoQuery,
            answer=SignedChallenge,
            limit="access",
            problems=("bad_wallet",),
        )
        for purpose in (TICKETS, ERASE)
    ]
    return (
        *texts,
        Endpoint(
            method="POST",
            path="/api/my-tickets",
            handler=my_tickets,
            summary="The tickets of the wallet that signs",
            tag="holders",
            body=SignedBody,
            answer=MyTickets,
            limit="access",
            problems=(*signed.REFUSALS, "challenge_required"),
        ),
        Endpoint(
            method="POST",
            path="/api/erase",
            handler=erase,
            summary="Erase a wallet's data",
            tag="holders",
            who=Who(("operator", "public"), "events"),
            body=EraseBody,
            answer=Erasure,
            writes=True,
            limit="access",
            problems=(*signed.REFUSALS, "challenge_required", "bad_wallet", "ticket_live"),
        ),
    )
