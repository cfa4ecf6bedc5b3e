"""Purchases: opened by anybody, seen by whoever holds their id, alive over server-sent events."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web
from sqlalchemy import Connection

from chainwatch.access import signed
from chainwatch.api import amounts, stream
from chainwatch.api import purchase_types as types
from chainwatch.api.backend import Backend, Request
from chainwatch.api.endpoints import Call, Endpoint
from chainwatch.api.purchase_types import ChallengeAnswer, ChallengeQuery, NewPurchase, Purchase, PurchaseState
from chainwatch.api.wallet_kind import CONTRACT, UNKNOWN
from chainwatch.errors import Rejected
from chainwatch.ledger import events, quotes, views
from chainwatch.ledger.context import Context
from chainwatch.ledger.crowd import Buyer
from chainwatch.ledger.quotes import Ask
from chainwatch.tickets import qr
from chainwatch.times import format_ms
from chainwatch.wallets import canonical_wallet

PURPOSE = "purchase"
_EVM = re.compile(r"0[xX][0-9a-fA-F]{40}", re.ASCII)
_PURCHASE_ID = re.compile(r"[A-Za-z0-9_-]{20,64}", re.ASCII)

NOTICE = (
    "This wallet is a contract on {chain}. It can prove itself there only, so the ticket is bound to {chain}: "
    "at the door, sign with it on that network. Refunds go to an address that you name."
)


async def buy(call: Call) -> Purchase:
    """Open a purchase."""
    body: NewPurchase = call.body
    asset = amounts.code(body.payment_method, call.backend.assets())
    context = call.backend.context_of(asset)
    if context is None:
        raise Rejected("unknown_currency", f"{body.payment_method!r} is no configured asset")
    wallet = _wallet(body.wallet_address)
    checked = await _signed(call, body, asset, wallet)
    bound = checked.contract_chain if checked is not None else None
    kind, chain = (CONTRACT, bound) if bound else await _kind(call, wallet, body.wallet_chain, context)
    ask = Ask(
        event_id=str(body.event_id),
        wallet=wallet,
        asset=asset,
        tier=body.tier,
        allotment=body.allotment,
        invite=body.invite,
        signed=checked is not None,
        wallet_chain=chain,
    )
    notice = NOTICE.format(chain=chain) if kind == CONTRACT else None

    def told(quote: quotes.Quote) -> Purchase:
        return types.purchase_of(quote, call.backend, kind, chain, notice)

    if checked is None:
        return told(await call.backend.crowd.ask(_request(call, Buyer(ask, context), told)))
    now_ms = call.now_ms

    def open_signed(connection: Connection) -> Purchase:
        """Use the wallet's text up and open its purchase, both or neither."""
        signed.consume(connection, checked)
        return told(quotes.quote(connection, ask, context, now_ms))

    return await call.backend.store.write_often(call.keeping(open_signed))


def _request(call: Call, buyer: Buyer, told: Callable[[quotes.Quote], Purchase]) -> Request:
    """Return what is asked of the crowd: the answer is kept where it is decided."""
    keep = call.keep
    return Request(buyer, None if keep is None else lambda connection, quote: keep(connection, told(quote)))


def _wallet(text: str) -> str:
    """Return a wallet in its canonical form.  A wrong checksum is named: it is a typing error, or somebody's trick."""
    wallet = canonical_wallet(text)
    if wallet is None:
        if _EVM.fullmatch(text) and canonical_wallet(text.lower()):
            raise Rejected("bad_checksum", "the checksum of this address is wrong (EIP-55): copy it again")
        raise Rejected("bad_wallet", f"{text[:120]!r} is no wallet of any supported chain")
    return wallet


async def _signed(call: Call, body: NewPurchase, asset: str, wallet: str) -> signed.Checked | None:
    """Return the proof that the wallet asked for this purchase; None when it is not signed."""
    if body.signature is None and body.message is None:
        return None
    if not body.signature or not body.message:
        raise Rejected("bad_request", "a signed purchase has both message and signature")
    return await signed.require(
        call.backend,
        PURPOSE,
        wallet=wallet,
        message=body.message,
        signature=body.signature,
        values=_values(str(body.event_id), asset, body.tier),
        chain=body.wallet_chain,
    )


def _values(event_id: str, asset: str, tier: str | None) -> dict[str, str]:
    return {"event": event_id, "currency": asset} | ({"tier": tier} if tier else {})


async def _kind(call: Call, wallet: str, wanted: str | None, paid_on: Context) -> tuple[str, str | None]:
    """Say whether an EVM wallet is a contract, and the chain that it is then bound to."""
    if not _EVM.fullmatch(wallet):
        return "key", None
    contexts = call.backend.contexts
    context = contexts.get(wanted.upper()) if wanted else paid_on
    if context is None or context.spec.family != "evm":
        return UNKNOWN, None
    kind = await call.backend.wallet_kinds.of(context.chain, wallet, call.backend.resolver(context.chain))
    return kind, context.chain if kind == CONTRACT or wanted else None


async def challenge(call: Call) -> ChallengeAnswer:
    """Make the text that the wallet signs before a purchase."""
    asked: ChallengeQuery = call.query
    asset = amounts.code(asked.payment_method, call.backend.assets())
    if call.backend.context_of(asset) is None:
        raise Rejected("unknown_currency", f"{asked.payment_method!r} is no configured asset")
    event_id = call.path["id"]
    await call.backend.store.read(events.find, event_id)
    made = signed.challenge(
        call.backend,
        PURPOSE,
        wallet=_wallet(asked.wallet),
        values=_values(event_id, asset, asked.tier),
        chain=asked.wallet_chain,
    )
    return ChallengeAnswer(made.message, format_ms(made.expires_ms) or "")


def text_to_sign(backend: Backend, event_id: str, asked: NewPurchase) -> str:
    """Return the text that the wallet of this very purchase signs."""
    asset = amounts.code(asked.payment_method, backend.assets())
    values = _values(event_id, asset, asked.tier)
    return signed.challenge(
        backend, PURPOSE, wallet=_wallet(asked.wallet_address), values=values, chain=asked.wallet_chain
    ).message


async def state(call: Call) -> PurchaseState:
    """Return a purchase."""
    return await state_of(call, call.path["id"])


async def state_of(call: Call, purchase_id: str) -> PurchaseState:
    """Return the purchase that the secret ``purchase_id`` opens."""
    if not _PURCHASE_ID.fullmatch(purchase_id):
        raise Rejected("unknown_purchase", "no such purchase")
    backend = call.backend
    rules = {code: c.rule for code, c in backend.contexts.items()}
    view = await backend.store.read(views.view, purchase_id, backend.now_ms(), rules)
    return types.state_of(view, backend)


FINAL = frozenset({"minted", "cancelled"})
"""States after which a stream ends: what comes later is told to the wallet's tickets."""


async def live(call: Call) -> web.StreamResponse:
    """Tell the purchase's state now, and whenever it changes, until it has its ticket."""
    return await stream.states(call, state, lambda s: s.state in FINAL)


async def picture(call: Call) -> web.Response:
    """Return the payment URI as a QR code."""
    shown = await state(call)
    text = shown.uri or shown.payment_address
    if text is None or shown.closed is not None:
        raise Rejected("nothing_to_pay", "nothing is to be paid")
    if call.path["kind"] == "png":
        return web.Response(body=qr.png(text), content_type="image/png")
    return web.Response(body=qr.svg(text), content_type="image/svg+xml", headers={"Content-Security-Policy": _INERT})


_INERT = "default-src 'none'; style-src 'unsafe-inline'; sandbox"

_REFUSED = (
    *("unknown_event", "bad_wallet", "bad_checksum", "bad_chain", "unknown_currency", "not_for_sale", "sold_out"),
    *("tier_required", "unknown_tier", "unknown_allotment", "approval_required", "invite_required", "bad_invite"),
    *("signature_required", "purchase_open", "wallet_limit", "no_rate", "no_address", *signed.REFUSALS),
)


def endpoints(_backend: Backend) -> Sequence[Endpoint]:
    """Return the routes."""
    common: dict[str, Any] = {"tag": "purchases"}
    one: dict[str, Any] = common | {"method": "GET", "problems": ("unknown_purchase",)}
    path = "/api/purchases/{id}"
    return (
        Endpoint(
            method="POST",
            path="/api/events/purchase",
            handler=buy,
            summary="Open a purchase: what to pay, where to, until when",
            body=NewPurchase,
            answer=Purchase,
            limit="purchases",
            writes=True,
            problems=_REFUSED,
            **common,
        ),
        Endpoint(
            method="GET",
            path="/api/events/{id}/purchase-challenge",
            handler=challenge,
            summary="The text to sign for a purchase that surely holds its seat",
            query=ChallengeQuery,
            answer=ChallengeAnswer,
            limit="access",
            problems=("unknown_event", "bad_wallet", "bad_checksum", "unknown_currency", "malformed"),
            **common,
        ),
        Endpoint(path=path, handler=state, summary="A purchase's state", answer=PurchaseState, **one),
        Endpoint(
            path=f"{path}/stream",
            handler=live,
            summary="A purchase's state as it changes (server-sent events)",
            content_type="text/event-stream",
            endless=True,
            **one,
        ),
        Endpoint(
            path=f"{path}/qr.{{kind:svg|png}}",
            handler=picture,
            summary="The payment URI as a QR code",
            content_type="image/svg+xml",
            **{**one, "problems": ("unknown_purchase", "nothing_to_pay")},
        ),
    )
