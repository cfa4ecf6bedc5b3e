"""``/t/<token>``: a ticket for people, with a code that changes every half minute and needs no network for it.

``/c/<certificate>``: what a certificate of attendance says, if it is ours.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from aiohttp import web
from markupsafe import Markup

from chainwatch.api import tickets
from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import Call, Endpoint
from chainwatch.api.pages import render
from chainwatch.errors import Rejected
from chainwatch.tickets import qr
from chainwatch.times import parse_ms, shown_ms


class State(NamedTuple):
    """A ticket's state in words."""

    text: str
    kind: str
    note: str = ""


STATES = {
    "active": State("good for entry", "good"),
    "suspended": State("suspended", "warn", "Its payment left the chain; it counts again as soon as the payment does."),
    "cancelled": State("cancelled", "bad", "The event is cancelled; your money is due back."),
    "refunded": State("refunded", "bad"),
    "revoked": State("taken back", "bad"),
}
USED = {
    "once": State("used", "", "Somebody has come in with it; it opens the door once."),
    "daily": State("good for entry", "good", "Once each day."),
    "reentry": State("good for entry", "good", "You may go out and come in again."),
}
"""A ticket that was used, by its event's entry policy."""
OVER = State("the event is over", "")
LIVE = frozenset({"active", "used"})


def state_of(ticket: tickets.Ticket, now_ms: int) -> State:
    """Say a ticket's state in words."""
    if ticket.state not in LIVE:
        state = STATES[ticket.state]
        return state._replace(note=ticket.reason) if ticket.reason else state
    ends_ms = parse_ms(ticket.event.event_end)
    if ends_ms is not None and now_ms >= ends_ms:
        return OVER
    return USED[ticket.event.entry_policy] if ticket.state == "used" else STATES["active"]


async def show(call: Call) -> web.Response:
    """Draw the page."""
    try:
        ticket = await tickets.ticket(call)
    except Rejected:
        return render.problem(404, "No such ticket", "the address may be cut short: open the link as it was given")
    start_ms = parse_ms(ticket.event.event_start)
    live = ticket.state in LIVE
    links = {name: "/api" + url.partition("/api")[2] for name, url in ticket.links.items()}
    return render.page(
        "ticket.html",
        ticket={
            "number": ticket.number,
            "wallet": ticket.wallet_address,
            "tier": ticket.tier or "",
            "first_entry": ticket.first_access_at,
            "first_entry_text": shown_ms(parse_ms(ticket.first_access_at)),
        },
        state=state_of(ticket, call.now_ms),
        event={"title": ticket.event.title, "start": ticket.event.event_start, "start_text": shown_ms(start_ms)},
        qr=Markup(qr.svg(ticket.qr).decode()) if live else "",  # noqa: S704 (our own drawing)
        rotating=ticket.rotating,
        links={
            "calendar": links.get("calendar", ""),
            "certificate": links["certificate"] if ticket.first_access_at is not None else "",
        },
        simulated=f"/simulated/join/{call.path['token']}" if live and call.backend.simulation is not None else "",
    )


async def certificate(call: Call) -> web.Response:
    """Say whether a certificate is ours: where the code on its paper leads."""
    try:
        said = await tickets.check_certificate(call)
    except Rejected:
        return render.problem(400, "Not a certificate of ours", "nobody here signed this, or it was changed")
    came_ms = parse_ms(said.attended_at)
    return render.page("certificate.html", said=said, came=shown_ms(came_ms))


def endpoints(_backend: Backend) -> Sequence[Endpoint]:
    """Return the routes."""
    common: dict[str, Any] = {"method": "GET", "tag": "pages", "documented": False}
    return (
        Endpoint(path="/t/{token}", handler=show, summary="A ticket, for people", **common),
        Endpoint(path="/c/{certificate}", handler=certificate, summary="Is this certificate ours?", **common),
    )
