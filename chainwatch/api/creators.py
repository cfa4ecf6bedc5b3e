"""Creators: the text to sign before a write, and where they are paid."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta
from sqlalchemy import Connection

from chainwatch.access import writes
from chainwatch.api import creator_auth, payees
from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import Call, Endpoint, creator
from chainwatch.api.fields import Address, Text
from chainwatch.api.problems import Problem
from chainwatch.config.networks import canonical_code
from chainwatch.errors import Rejected
from chainwatch.ledger import creators, events
from chainwatch.ledger.events import Filter
from chainwatch.times import format_ms

CHALLENGE_MS = 300_000
"""Life of a text: long enough for a wallet on another device."""

MAX_CHAINS = 40


class ChallengeQuery(msgspec.Struct, kw_only=True):
    """The request that is going to be made."""

    account: Annotated[str, Meta(min_length=1, max_length=64)]
    path: Annotated[str, Meta(min_length=1, max_length=writes.MAX_PATH)]
    body_sha256: Annotated[str, Meta(min_length=64, max_length=64)]
    method: Text = "POST"


class ChallengeAnswer(msgspec.Struct, frozen=True):
    """``message`` is what the account signs; ``challenge`` goes into ``x-challenge``, unchanged."""

    message: str
    challenge: str
    expires_at: str


class PayoutAddress(msgspec.Struct, frozen=True):
    """``in_force``: payouts go there; before ``valid_from`` the creator's payouts on that chain are frozen."""

    chain: str
    address: str
    set_at: str
    valid_from: str
    in_force: bool


class PayoutAddresses(msgspec.Struct, frozen=True):
    """The newest address of each chain."""

    account: str
    addresses: list[PayoutAddress]


class NewAddresses(msgspec.Struct):
    """Chain code to address."""

    addresses: Annotated[dict[Text, Address], Meta(min_length=1, max_length=MAX_CHAINS)]


async def challenge(call: Call) -> ChallengeAnswer:
    """Make the text for one write."""
    asked: ChallengeQuery = call.query
    account = creator_auth.account_of(asked.account)
    if account is None:
        raise Problem("bad_account", "account is the name of a Hive account")
    request = creator_auth.request_of(call.backend, account, asked.method, asked.path, asked.body_sha256.lower())
    made = writes.issue(call.backend.issuer.secret(creator_auth.KEY), request, call.now_ms, CHALLENGE_MS)
    return ChallengeAnswer(made.message, made.token, format_ms(made.expires_ms) or "")


async def show(call: Call) -> PayoutAddresses:
    """List where a creator is paid."""
    return await call.backend.store.read(_read, _own(call), call.now_ms)


def _read(connection: Connection, account: str, now_ms: int) -> PayoutAddresses:
    newest: dict[str, PayoutAddress] = {}
    for r in creators.addresses(connection, account):  # newest first
        newest.setdefault(
            r.chain,
            PayoutAddress(
                chain=r.chain,
                address=r.address,
                set_at=format_ms(r.set_ms) or "",
                valid_from=format_ms(r.valid_from_ms) or "",
                in_force=r.valid_from_ms <= now_ms,
            ),
        )
    return PayoutAddresses(account, [newest[chain] for chain in sorted(newest)])


async def put(call: Call) -> PayoutAddresses:
    """Set addresses: all of those given, or none."""
    account, asked = _own(call), call.body
    wait_ms = call.backend.settings.payouts.address_change_hours * creators.HOUR_MS
    now_ms = call.now_ms
    wanted = {canonical_code(chain): address for chain, address in asked.addresses.items()}
    if unknown := sorted(set(wanted) - set(call.backend.contexts)):
        raise Problem("unknown_chain", f"{unknown[0]!r} is no configured chain")
    for chain, address in sorted(wanted.items()):
        await payees.check(call.backend, chain, address)

    def body(connection: Connection) -> PayoutAddresses:
        if creator_auth.account_of(account) != account and not events.search(connection, Filter(creator=account), 1):
            raise Rejected("bad_account", f"{account[:64]!r} is no Hive account, and no event is by it")
        for chain, address in sorted(wanted.items()):
            spec = call.backend.contexts[chain].spec
            creators.set_address(connection, account, chain, address, call.caller.actor, now_ms, wait_ms, spec)
        return _read(connection, account, now_ms)

    return await call.write(body)


def _own(call: Call) -> str:
    """Return the account of the path, which is the caller's own, or anybody's for an operator."""
    account = call.path["account"]
    if call.caller.kind == "creator" and call.caller.name != account:
        raise Problem("forbidden", "this is another account's")
    return account


def endpoints(_backend: Backend) -> Sequence[Endpoint]:
    """Return the routes."""
    path = "/api/creators/{account}/payout-addresses"
    return (
        Endpoint(
            method="GET",
            path="/api/creators/challenge",
            handler=challenge,
            summary="The text that a creator signs before a write",
            tag="creators",
            query=ChallengeQuery,
            answer=ChallengeAnswer,
            problems=("bad_account", "bad_method", "bad_path", "bad_body_hash"),
        ),
        Endpoint(
            method="GET",
            path=path,
            handler=show,
            summary="Where a creator is paid",
            tag="creators",
            who=creator("money"),
            answer=PayoutAddresses,
        ),
        Endpoint(
            method="PUT",
            path=path,
            handler=put,
            summary="Set where a creator is paid; takes effect after 72 hours",
            tag="creators",
            who=creator("money", "active"),
            body=NewAddresses,
            answer=PayoutAddresses,
            writes=True,
            problems=("unknown_chain", "bad_destination", "bad_account", "unavailable"),
        ),
    )
