"""``/pay/<purchase id>``: what to pay, and how far it is, from the first sighting to the ticket.

The server draws everything, so that it works without a script; the script only keeps it true.  Both show a
``Picture``: the purchase in words.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web
from markupsafe import Markup

from chainwatch.api import purchases, stream
from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import Call, Endpoint
from chainwatch.api.pages import render
from chainwatch.api.purchase_types import PurchaseState
from chainwatch.errors import Rejected
from chainwatch.ledger import events
from chainwatch.tickets import qr
from chainwatch.times import format_ms, parse_ms, shown_ms

NETWORKS = {
    "BTC": "Bitcoin",
    "ETH": "Ethereum",
    "MATIC": "Polygon",
    "BNB": "BNB Smart Chain",
    "SOL": "Solana",
    "HIVE": "Hive",
    "XMR": "Monero",
    "DASH": "Dash",
    "LTC": "Litecoin",
    "DOGE": "Dogecoin",
}
"""What people call a chain; others go by their code."""


class Step(msgspec.Struct, frozen=True):
    """One step of the way; ``now``: it is being waited for."""

    name: str
    text: str
    done: bool = False
    now: bool = False


class Note(msgspec.Struct, frozen=True):
    """What a person should know; ``kind``: good, warn, bad, or nothing."""

    text: str = ""
    kind: str = ""


class TicketLine(msgspec.Struct, frozen=True):
    """The ticket, when there is one."""

    number: int
    url: str
    note: str


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """A purchase in words.  ``payable``: money may still be sent.  ``over``: nothing more will change here."""

    missing: str
    payable: bool
    held: bool
    expires_ms: int
    steps: tuple[Step, ...]
    note: Note
    ticket: TicketLine | None
    over: bool


def picture(state: PurchaseState) -> Picture:
    """Say a purchase in words."""
    ticket = None
    if state.ticket is not None:
        url = f"/t/{state.ticket.token}"
        ticket = TicketLine(state.ticket.ticket_number, url, _TICKET.get(state.ticket.state, state.ticket.state))
    return Picture(
        missing=state.missing or "0",
        payable=state.state in ("open", "underpaid") and not state.expired and state.payment_address is not None,
        held=state.held,
        expires_ms=parse_ms(state.expires_at) or 0,
        steps=_steps(state),
        note=_note(state),
        ticket=ticket,
        over=state.state in purchases.FINAL,
    )


_TICKET = {
    "active": "",
    "used": "It has been used.",
    "suspended": "Its payment left the chain; it counts again as soon as the payment does.",
    "cancelled": "The event is cancelled; your money is due back.",
    "refunded": "It was refunded.",
    "revoked": "It was taken back.",
}


def _steps(state: PurchaseState) -> tuple[Step, ...]:
    """Return the four steps: sent, in a block, confirmed, ticket."""
    at = {"seen": 1, "confirming": 2, "minted": 4, "suspended": 1, "cancelled": 4}.get(state.state, 0)
    if at == 0 and any(p.state not in ("orphaned", "failed") for p in state.payments):
        at = 3  # it counts; what it waits for stands in the note
    counted = [p.confirmations for p in state.payments if p.confirmations]
    depth = counted[-1] if counted else ""
    of = f" ({depth.replace('/', ' of ')})" if at == 2 and depth else ""
    texts = (
        ("sent", "Your payment was seen" if at else "Waiting for your payment"),
        ("block", "It is in a block" if at >= 2 else "In a block of the chain"),
        ("confirmed", "It is confirmed" if at >= 3 else f"Confirmed{of}"),
        ("minted", "Your ticket is here" if state.ticket else "Your ticket"),
    )
    return tuple(Step(name, text, done=at > i, now=at == i) for i, (name, text) in enumerate(texts))


def _note(state: PurchaseState) -> Note:
    """Return what stands out, in one sentence or two."""
    symbol = state.currency.rpartition(":")[2]
    if state.state == "underpaid":
        return Note(
            f"{state.paid} {symbol} came; {state.missing} {symbol} are missing. Send the rest as before.", "warn"
        )
    if state.state == "refund_due":
        reasons = sorted({_WHY.get(r.reason, r.reason.replace("_", " ")) for r in state.refunds})
        return Note(f"Your money is due back: {'; '.join(reasons) or 'it could not buy a ticket'}.", "warn")
    if state.state == "refunded":
        return Note("Your money was sent back.", "good")
    if state.state == "review":
        return Note("A person looks at your payment; nothing is lost.", "warn")
    if state.state == "suspended":
        return Note(
            "The block with your payment left the chain. This mends itself when it is in a block again.", "warn"
        )
    if state.state == "cancelled":
        return Note("The event is cancelled; your money is due back.", "bad")
    if state.state == "expired" or (state.state == "open" and state.expired):
        return Note(
            "The time is over. Money that still comes buys a ticket if a seat is left, else it is due back.", "bad"
        )
    surplus = [r for r in state.refunds if r.kind == "surplus"]
    if state.state == "minted" and surplus:
        return Note(f"You paid {surplus[0].amount} {symbol} too much; that is due back.", "warn")
    return Note()


_WHY = {
    "underpaid": "less than the price came",
    "sold_out": "no seat was left",
    "late": "it came late and no seat was left",
    "wrong_asset": "another coin came than this purchase takes",
    "event_cancelled": "the event is cancelled",
    "sales_closed": "sales had ended",
    "before_sales": "sales had not begun",
    "event_over": "the event is over",
    "wallet_limit": "the wallet has as many tickets as it may have",
}


async def show(call: Call) -> web.Response:
    """Draw the page."""
    try:
        state = await purchases.state_of(call, call.path["purchase_id"])
    except Rejected as error:
        return render.problem(404, "No such purchase", str(error))
    backend = call.backend
    row = await backend.store.read(events.find, state.event_id)
    shown = picture(state)
    asset = backend.assets().get(state.currency)
    start = format_ms(row.event_start_ms)
    purchase_id = call.path["purchase_id"]
    return render.page(
        "pay.html",
        event={"title": state.event_title, "start": start, "start_text": shown_ms(row.event_start_ms)},
        view=_view(state, asset),
        payable=shown.payable,
        steps=shown.steps,
        note=shown.note,
        ticket=shown.ticket,
        qr=_code(state),
        stream=f"/pay/{purchase_id}/live",
        now_ms=call.now_ms,
        simulated=f"/simulated/pay/{purchase_id}" if backend.simulation is not None else "",
    )


def _view(state: PurchaseState, asset: Any) -> dict[str, Any]:
    expires_ms = parse_ms(state.expires_at) or 0
    return {
        "ref": state.ref,
        "tier_title": state.tier or "",
        "missing": state.missing or "0",
        "symbol": state.currency.rpartition(":")[2],
        "network": NETWORKS.get(state.chain, state.chain),
        "token": asset.asset_id if asset is not None and ":" in state.currency else "",
        "address": state.payment_address or "",
        "memo": state.memo or "",
        "uri": state.uri or "",
        "fiat_amount": state.fiat.amount if state.fiat else "",
        "fiat_currency": state.fiat.currency if state.fiat else "",
        "rate": state.fiat.rate if state.fiat else "",
        "held": state.held,
        "expires": state.expires_at,
        "expires_ms": expires_ms,
        "expires_text": shown_ms(expires_ms),
    }


def _code(state: PurchaseState) -> Markup:
    """Return the QR code as a part of the page: our own drawing, with nothing of anybody's in it but dots."""
    text = state.uri or state.payment_address
    return Markup(qr.svg(text).decode()) if text else Markup()  # noqa: S704


async def live(call: Call) -> web.StreamResponse:
    """Send the picture again whenever it changes."""

    async def read(_: Call) -> Picture:
        return picture(await purchases.state_of(call, call.path["purchase_id"]))

    return await stream.states(call, read, lambda p: p.over)


def endpoints(_backend: Backend) -> Sequence[Endpoint]:
    """Return the routes."""
    common: dict[str, Any] = {"method": "GET", "tag": "pages"}
    path = "/pay/{purchase_id}"
    return (
        Endpoint(
            path=path,
            handler=show,
            summary="What to pay, for people",
            content_type="text/html",
            problems=("unknown_purchase",),
            **common,
        ),
        Endpoint(
            path=f"{path}/live",
            handler=live,
            summary="The same, as it changes",
            endless=True,
            documented=False,
            **common,
        ),
    )
