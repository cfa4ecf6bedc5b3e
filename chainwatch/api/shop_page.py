"""``/`` and ``/e/<id>``: what is on sale, and a form to buy it.  Small on purpose: a platform has pages of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web
from sqlalchemy import Connection

from chainwatch.api import event_types, paging, purchases
from chainwatch.api.backend import Backend
from chainwatch.api.endpoints import Call, Endpoint
from chainwatch.api.event_types import Event
from chainwatch.api.pages import render
from chainwatch.api.pay_page import NETWORKS
from chainwatch.api.problems import Problem
from chainwatch.api.purchase_types import NewPurchase
from chainwatch.errors import Rejected
from chainwatch.ledger import events, queries
from chainwatch.times import parse_ms, shown_ms

HINT = "This is a built-in network of simulated nodes: buy with a simulated wallet, nothing is real."


class ListQuery(paging.Page, frozen=True):
    """Which page."""


async def listed(call: Call) -> web.Response:
    """Draw what is on sale."""
    wanted = events.Filter(selling_ms=call.now_ms)
    after = paging.after_id(call.query)

    def body(connection: Connection) -> tuple[list[Any], bool, dict[int, queries.Offer]]:
        rows, more = paging.cut(events.search(connection, wanted, paging.wanted(call.query), after), call.query)
        return rows, more, queries.offers_of(connection, [r.id for r in rows])

    rows, more, offers = await call.backend.store.read(body)
    shown = event_types.shown(rows, offers, call.backend.assets())
    return render.page(
        "events.html",
        events=[_line(e) for e in shown],
        next=paging.cursor_of(rows[-1].id) if more else "",
        hint=HINT if call.backend.simulation is not None else "",
    )


def _line(event: Event) -> dict[str, Any]:
    prices = {_price(t.ticket_price, t.ticket_currency) for t in event.tiers}
    price = f"{len(event.tiers)} kinds of ticket"
    if len(prices) < 2:
        price = _price(event.ticket_price, event.ticket_currency)
    return {
        "id": event.id,
        "title": event.title,
        "description": event.description,
        "start": event.event_start,
        "start_text": shown_ms(parse_ms(event.event_start)),
        "price": price,
        "left": _left(event),
        "admission": event.admission,
    }


def _price(amount: str, currency: str) -> str:
    chain, _, token = currency.rpartition(":")
    where = f" on {NETWORKS.get(chain, chain)}" if chain else ""
    return f"{amount} {token}{where}" if amount.strip("0.") else "free"


def _left(event: Event) -> str:
    if event.sold_out:
        return "sold out"
    if event.tickets_available is None:
        return ""
    return f"{event.tickets_available} of {event.max_attendees} seats left"


async def show(call: Call) -> web.Response:
    """Draw one event with the form to buy."""
    return await _page(call, {}, "")


async def _page(call: Call, chosen: Mapping[str, str], said: str) -> web.Response:
    def body(connection: Connection) -> tuple[Any, queries.Offer]:
        row = events.find(connection, call.path["id"])
        return row, queries.offers_of(connection, [row.id])[row.id]

    try:
        row, offer = await call.backend.store.read(body)
    except Rejected:
        return render.problem(404, "No such event", "nothing is sold under this address")
    event = event_types.event_of(row, offer, call.backend.assets())
    why_not = _why_not(event, call.now_ms)
    return render.page(
        "event.html",
        status=400 if said else 200,
        event=_line(event),
        tiers=[
            {"code": t.code, "title": t.title, "price": _price(t.ticket_price, t.ticket_currency)} for t in event.tiers
        ],
        assets=[{"code": code, "text": _offer(event, code)} for code in _coins(event)],
        chosen={name: chosen.get(name, "") for name in ("tier", "asset", "wallet", "invite")},
        said=render.sentence(said) if said else "",
        on_sale=not why_not,
        why_not=why_not,
        simulated=call.backend.simulation is not None,
    )


def _coins(event: Event) -> list[str]:
    """Return the coins that are taken, the one in which the price is named first."""
    return sorted(event.supported_crypto, key=lambda code: code != event.ticket_currency)


def _offer(event: Event, code: str) -> str:
    """Return a coin as the form offers it; with its amount where every ticket costs the same."""
    prices = () if event.tiers else event.prices
    amount = next((p.amount for p in prices if p.currency == code and p.amount), None)
    chain, _, token = code.rpartition(":")
    name = NETWORKS.get(chain or token, chain)
    coin = f"{amount} {token}" if amount and amount.strip("0.") else token
    return f"{coin} on {name}" if chain else (f"{coin} ({name})" if name else coin)


def _why_not(event: Event, now_ms: int) -> str:
    if event.status != "active":
        return f"The event is {event.status}."
    if (over := parse_ms(event.ended_at or event.event_end)) is not None and now_ms > over:
        return "The event is over."
    if event.sold_out:
        return "It is sold out."
    if (start := parse_ms(event.sales_start)) is not None and now_ms < start:
        return f"Sales begin on {shown_ms(start)}."
    if (end := parse_ms(event.sales_end)) is not None and now_ms > end:
        return "Sales have ended."
    return ""


async def buy(call: Call) -> web.Response:
    """Open a purchase from the form, and go to where it is paid."""
    form = {k: v[:512] for k, v in (await call.form()).items()}
    wallet = form.get("wallet", "").strip()
    simulation = call.backend.simulation
    try:
        if not wallet and simulation is not None:
            wallet = simulation.wallet(form.get("asset", ""))
        asked = msgspec.convert(
            {
                "event_id": call.path["id"],
                "payment_method": form.get("asset", ""),
                "wallet_address": wallet,
                **{k: v for k in ("tier", "invite") if (v := form.get(k, "").strip())},
            },
            NewPurchase,
        )
        call.body = _signed(call, asked)
        opened = await purchases.buy(call)
    except Rejected as error:
        return await _page(call, form, str(error))
    except Problem as problem:
        return await _page(call, form, problem.detail)
    except msgspec.ValidationError:
        return await _page(call, form, "Name the wallet that the ticket shall belong to.")
    return web.Response(status=303, headers={"Location": f"/pay/{opened.purchase_id}"})


def _signed(call: Call, asked: NewPurchase) -> NewPurchase:
    """Let a simulated wallet sign for its purchase, as its holder's software would."""
    if call.backend.simulation is None:
        return asked
    text = purchases.text_to_sign(call.backend, call.path["id"], asked)
    signature = call.backend.simulation.sign(asked.wallet_address, text)
    return asked if signature is None else msgspec.structs.replace(asked, message=text, signature=signature)


def endpoints(_backend: Backend) -> Sequence[Endpoint]:
    """Return the routes."""
    common: dict[str, Any] = {"tag": "pages", "documented": False}
    return (
        Endpoint(method="GET", path="/", handler=listed, query=ListQuery, summary="What is on sale", **common),
        Endpoint(method="GET", path="/e/{id}", handler=show, summary="An event, for people", **common),
        Endpoint(method="POST", path="/e/{id}", handler=buy, summary="Buy from the form", limit="purchases", **common),
    )
