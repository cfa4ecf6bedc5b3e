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
from chainwatch.tickets import qr, uri
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
    """The ticket, when there is one; ``text`` and ``kind`` as of a ``Note``."""

    text: str
    kind: str
    url: str


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """A purchase in words.  ``payable``: money may still be sent.  ``over``: nothing more will change here.

    ``uri`` and ``qr`` (a drawing) ask for what is missing *now*: whoever pays in parts must not scan the whole again.
    """

    missing: str
    fiat: str
    payable: bool
    uri: str
    qr: str
    hold: str
    expires: str
    expires_ms: int
    expires_text: str
    steps: tuple[Step, ...]
    note: Note
    ticket: TicketLine | None
    over: bool


def picture(state: PurchaseState) -> Picture:
    """Say a purchase in words."""
    buys = not state.expired and not state.closed
    payable = state.state in ("open", "underpaid") and buys and state.payment_address is not None
    expires_ms = parse_ms(state.expires_at) or 0
    text = state.uri or state.payment_address
    return Picture(
        missing=state.missing or "0",
        fiat=_fiat(state),
        payable=payable,
        uri=(state.uri or "") if payable else "",
        qr=qr.svg(text).decode() if payable and text else "",
        hold=HELD if state.held else NOT_HELD,
        expires=state.expires_at,
        expires_ms=expires_ms,
        expires_text=_until(parse_ms(state.created_at) or 0, expires_ms),
        steps=_steps(state),
        note=_note(state),
        ticket=_ticket(state),
        over=state.state in purchases.FINAL,
    )


def _until(created_ms: int, expires_ms: int) -> str:
    """Return the end of a hold: a time of today is enough for what ends in minutes."""
    whole = shown_ms(expires_ms)
    return whole.partition(", ")[2] if expires_ms - created_ms < HALF_DAY_MS else whole


HALF_DAY_MS = 43_200_000


def _fiat(state: PurchaseState) -> str:
    """Say what the whole price was quoted from."""
    if state.fiat is None or state.missing_base != state.amount_base:
        return ""
    symbol = state.currency.rpartition(":")[2]
    return f"{state.fiat.amount} {state.fiat.currency} at {state.fiat.rate} {state.fiat.currency} for 1 {symbol}"


HELD = "Your seat is held until"
NOT_HELD = "No seat is held: whoever pays first gets it. The price is good until"

_TICKET = {
    "used": "It has been used.",
    "suspended": "Its payment left the chain; it counts again as soon as the payment does.",
    "cancelled": "The event is cancelled; your money is due back.",
    "refunded": "It was refunded.",
    "revoked": "It was taken back.",
}


def _ticket(state: PurchaseState) -> TicketLine | None:
    if (ticket := state.ticket) is None:
        return None
    good = ticket.state in ("active", "used")
    said = f"Number {ticket.ticket_number} is yours." if good else f"Number {ticket.ticket_number}:"
    note = _TICKET.get(ticket.state, "")
    return TicketLine(f"{said} {note}".strip(), "good" if good else "warn", f"/t/{ticket.token}")


def _steps(state: PurchaseState) -> tuple[Step, ...]:
    """Return the four steps: sent, in a block, confirmed, ticket (or the money back); none when nothing comes."""
    at = {"seen": 1, "confirming": 2, "minted": 4, "suspended": 1, "cancelled": 4, "revoked": 4}.get(state.state, 0)
    paid = any(p.state not in ("orphaned", "failed") for p in state.payments)
    if at == 0 and paid and state.state != "underpaid":
        at = 3  # it counts; what it waits for stands in the note
    if not paid and state.state != "open":
        return ()
    if state.state in ("open", "underpaid") and (state.expired or state.closed):
        return ()
    counted = [p.confirmations for p in state.payments if p.confirmations]
    depth = counted[-1] if counted else ""
    of = f" ({depth.replace('/', ' of ')})" if at == 2 and depth else ""
    texts = (
        ("sent", "Your payment was seen" if at else f"Waiting for {'the rest of ' if paid else ''}your payment"),
        ("block", "It is in a block" if at >= 2 else "In a block of the chain"),
        ("confirmed", "It is confirmed" if at >= 3 else f"Confirmed{of}"),
        ("minted", _LAST.get(state.state, "Your ticket is here" if state.ticket else "Your ticket")),
    )
    if state.state == "refunded":
        at = 4
    return tuple(Step(name, text, done=at > i, now=at == i) for i, (name, text) in enumerate(texts))


_LAST = {
    "refund_due": "Your money comes back",
    "refunded": "Your money was sent back",
    "cancelled": "Your money comes back",
    "revoked": "Your ticket was taken back",
}
"""The last step of what ends without a ticket."""


def _note(state: PurchaseState) -> Note:
    """Return what stands out, in one sentence or two."""
    symbol = state.currency.rpartition(":")[2]
    if state.state == "underpaid":
        came = f"{state.paid} {symbol} came; {state.missing} {symbol} are missing"
        if state.closed:
            return Note(f"{came}. {_CLOSED[state.closed]}: send nothing more, what came goes back.", "bad")
        if state.expired:
            return Note(f"{came}. The time is over: what came goes back.", "bad")
        return Note(f"{came}. Send the rest as before.", "warn")
    if state.state == "refund_due":
        reasons = sorted({_WHY.get(r.reason, r.reason.replace("_", " ")) for r in state.refunds})
        nowhere = any(r.destination is None and r.state == "due" for r in state.refunds)
        where = f" Tell the seller where to send it, with the reference {state.ref}." if nowhere else ""
        return Note(f"Your money is due back: {'; '.join(reasons) or 'it could not buy a ticket'}.{where}", "warn")
    if state.state == "refunded":
        return Note("Your money was sent back.", "good")
    if state.state == "review":
        return Note("A person looks at your payment; nothing is lost.", "warn")
    if state.state in ("open", "expired") and state.closed:
        return Note(f"{_CLOSED[state.closed]}. Send nothing: money that comes now goes back.", "bad")
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

_CLOSED = {
    "event_cancelled": "The event is cancelled",
    "sales_closed": "Sales have ended",
    "before_sales": "Sales have not begun",
    "event_over": "The event is over",
}
"""Why an event sells nothing now (``PurchaseState.closed``)."""


async def show(call: Call) -> web.Response:
    """Draw the page."""
    try:
        state = await purchases.state_of(call, call.path["purchase_id"])
    except Rejected:
        return render.problem(404, "No such purchase", "the address may be cut short: open the link as it was given")
    backend = call.backend
    row = await backend.store.read(events.find, state.event_id)
    shown = picture(state)
    asset = backend.assets().get(state.currency)
    start = format_ms(row.event_start_ms)
    purchase_id = call.path["purchase_id"]
    return render.page(
        "pay.html",
        event={
            "id": state.event_id,
            "title": state.event_title,
            "start": start,
            "start_text": shown_ms(row.event_start_ms),
        },
        view=_view(state, asset) | _memo(state, backend),
        shown=shown,
        qr=Markup(shown.qr),  # noqa: S704 (our own drawing, with nothing of anybody's in it but dots)
        stream=f"/pay/{purchase_id}/live",
        now_ms=call.now_ms,
        simulated=f"/simulated/pay/{purchase_id}" if backend.simulation is not None else "",
    )


def _view(state: PurchaseState, asset: Any) -> dict[str, Any]:
    return {
        "ref": state.ref,
        "tier_title": state.tier or "",
        "symbol": state.currency.rpartition(":")[2],
        "network": NETWORKS.get(state.chain, state.chain),
        "token": asset.asset_id if asset is not None and ":" in state.currency else "",
        "address": state.payment_address or "",
    }


_CARRIERS = {
    "bitcoin": ", in an OP_RETURN output",
    "evm": " as the transaction's data",
    "evm token": " behind the arguments of the token's transfer",
}
"""Where wallets put a memo, on chains that have no field of that name (``docs/chains.md``)."""


def _memo(state: PurchaseState, backend: Backend) -> dict[str, Any]:
    """Say what the memo is, where it goes, and whether it goes there by itself: who scans the code looks no further.

    ``memo_hex``: as EVM wallets want it.  ``memo_apart``: neither code nor button bring it.
    """
    context = backend.context_of(state.currency)
    family = context.spec.family if context is not None else ""
    token = " token" if family == "evm" and ":" in state.currency else ""
    memo = state.memo or ""
    return {
        "memo": memo,
        "memo_where": _CARRIERS.get(family + token, ""),
        "memo_hex": f"0x{memo.encode().hex()}" if family == "evm" else "",
        "memo_apart": family not in uri.MEMO_IN_URI,
    }


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
