"""``chainwatch event``: events from the shell."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainwatch.errors import Misconfigured
from chainwatch.terminal import ConfigOption, JsonOption, group, in_ledger, known_assets, say, table

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from chainwatch.config.settings import Settings

event = group("Events from the shell.")

AcceptOption = Annotated[
    list[str] | None, typer.Option("--accept", help="Further coin, as HBD=1.5; for a price in money its code, as HBD.")
]
TierOption = Annotated[
    list[str] | None,
    typer.Option("--tier", help="Kind of ticket, as code=vip,price=20,quantity=50,title=VIP,HBD=6,until=<time>."),
]
AllotOption = Annotated[list[str] | None, typer.Option("--allotment", help="Seats set aside, as press=20.")]
TimeOption = Annotated[str | None, typer.Option(help="RFC 3339.")]
AdmissionOption = Annotated[str | None, typer.Option("--admission", help="open, approval or invite.")]
EntryOption = Annotated[str | None, typer.Option("--entry", help="once, reentry or daily.")]
DoorOption = Annotated[str | None, typer.Option("--door", help="wallet, qr or both.")]
LimitOption = Annotated[int | None, typer.Option("--per-wallet", min=1, help="Tickets that a wallet may have.")]


@event.command("create")
def event_create(
    title: Annotated[str, typer.Option("--title")],
    price: Annotated[str, typer.Option("--price", help="Decimal, in --currency.")],
    currency: Annotated[str, typer.Option("--currency", help="Asset code, or USD, EUR …")],
    id: Annotated[str | None, typer.Option("--id", help="Number or slug; given when left out.")] = None,
    accept: AcceptOption = None,
    tier: TierOption = None,
    allotment: AllotOption = None,
    capacity: Annotated[int | None, typer.Option("--capacity", min=1)] = None,
    creator: Annotated[str, typer.Option("--creator")] = "",
    category: Annotated[str, typer.Option("--category")] = "",
    start: TimeOption = None,
    end: TimeOption = None,
    sales_start: TimeOption = None,
    sales_end: TimeOption = None,
    fee_on_top: Annotated[bool, typer.Option("--fee-on-top", help="The buyer pays the commission.")] = False,
    per_wallet: LimitOption = None,
    open_per_wallet: Annotated[int, typer.Option("--open-per-wallet", min=1)] = 1,
    admission: AdmissionOption = None,
    entry: EntryOption = None,
    door: DoorOption = None,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="Attendance without wallets.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Put an event on sale."""
    from chainwatch.clock import SystemClock
    from chainwatch.ledger import events
    from chainwatch.parts import assets
    from chainwatch.times import parse_ms

    prices, coins = _accepted(accept)
    new = events.NewEvent(
        id=id,
        title=title,
        ticket_price=price,
        ticket_currency=currency,
        prices=prices,
        accept=coins,
        tiers=[_tier(t) for t in tier or ()],
        allotments=[_allotment(a) for a in allotment or ()],
        max_attendees=capacity,
        creator_account=creator,
        event_category=category,
        event_start_ms=parse_ms(start),
        event_end_ms=parse_ms(end),
        sales_start_ms=parse_ms(sales_start),
        sales_end_ms=parse_ms(sales_end),
        fee_on_top=fee_on_top,
        tickets_per_wallet=per_wallet,
        open_per_wallet=open_per_wallet,
        anonymous=anonymous,
        **_given(admission=admission, entry_policy=entry, door=door),
    )

    def body(connection: "Connection", settings: "Settings") -> str:
        bps, now_ms = settings.tickets.commission_bps, SystemClock().now_ms()
        return events.create(connection, new, assets(settings) or known_assets(), bps, now_ms, "cli")

    created = in_ledger(config, body, write=True)
    say({"id": created}, json, lambda d: print(f"event {d['id']} is on sale"))


@event.command("change")
def event_change(
    event_id: str,
    title: Annotated[str | None, typer.Option("--title")] = None,
    price: Annotated[str | None, typer.Option("--price", help="Replaces every price.")] = None,
    currency: Annotated[str | None, typer.Option("--currency")] = None,
    accept: AcceptOption = None,
    tier: TierOption = None,
    allotment: AllotOption = None,
    capacity: Annotated[int | None, typer.Option("--capacity", min=1)] = None,
    unlimited: Annotated[bool, typer.Option("--unlimited", help="No capacity.")] = False,
    start: TimeOption = None,
    end: TimeOption = None,
    sales_start: TimeOption = None,
    sales_end: TimeOption = None,
    per_wallet: LimitOption = None,
    admission: AdmissionOption = None,
    entry: EntryOption = None,
    door: DoorOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Change an event, also while sales run: open purchases keep what they were told."""
    from chainwatch.clock import SystemClock
    from chainwatch.ledger import events
    from chainwatch.parts import assets
    from chainwatch.times import parse_ms

    changes = _given(
        title=title,
        ticket_price=price,
        ticket_currency=currency,
        max_attendees=capacity,
        event_start_ms=parse_ms(start),
        event_end_ms=parse_ms(end),
        sales_start_ms=parse_ms(sales_start),
        sales_end_ms=parse_ms(sales_end),
        tickets_per_wallet=per_wallet,
        admission=admission,
        entry_policy=entry,
        door=door,
        tiers=[_tier(t) for t in tier] if tier else None,
        allotments=[_allotment(a) for a in allotment] if allotment else None,
    )
    if accept:
        changes["prices"], changes["accept"] = _accepted(accept)
    if unlimited:
        changes["max_attendees"] = None
    if not changes:
        raise Misconfigured("nothing to change: name at least one option")

    def body(connection: "Connection", settings: "Settings") -> dict[str, Any]:
        known = assets(settings) or known_assets()
        events.change(connection, event_id, events.Changes(**changes), known, SystemClock().now_ms(), "cli")
        return _whole(connection, event_id)

    say(in_ledger(config, body, write=True), json, lambda e: print(f"event {e['id']} is changed"))


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _accepted(items: list[str] | None) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return prices in coins, and coins that a price in money is accepted in."""
    prices: dict[str, str] = {}
    coins = []
    for item in items or ():
        code, equals, amount = item.partition("=")
        if equals:
            prices[code] = amount
        else:
            coins.append(code)
    return prices, tuple(coins)


def _tier(text: str) -> Any:
    """Read ``code=vip,price=20,quantity=50,title=VIP,currency=HIVE,from=…,until=…`` and further coins (``HBD=6``)."""
    from chainwatch.ledger.events import NewTier
    from chainwatch.times import parse_ms

    fields = {}
    for item in text.split(","):
        key, equals, value = item.partition("=")
        if not equals:
            raise Misconfigured(f"--tier {text!r}: write it as code=vip,price=20,quantity=50")
        fields[key.strip()] = value.strip()
    try:
        return NewTier(
            code=fields.pop("code"),
            ticket_price=fields.pop("price"),
            title=fields.pop("title", ""),
            ticket_currency=fields.pop("currency", None),
            quantity=int(fields.pop("quantity")) if "quantity" in fields else None,
            sales_start_ms=parse_ms(fields.pop("from", None)),
            sales_end_ms=parse_ms(fields.pop("until", None)),
            prices=fields,
        )
    except (KeyError, ValueError) as error:
        raise Misconfigured(f"--tier {text!r}: it needs a code, a price, and a whole number as quantity") from error


def _allotment(text: str) -> Any:
    from chainwatch.ledger.events import NewAllotment

    code, equals, seats = text.partition("=")
    if not equals or not seats.isascii() or not seats.isdigit():
        raise Misconfigured(f"--allotment {text!r}: write it as press=20")
    return NewAllotment(code=code, quantity=int(seats))


# -- looking -------------------------------------------------------------------------------------------


def _event_dict(row: Any) -> dict[str, Any]:
    from chainwatch.times import format_ms

    return {
        "id": row.slug or str(row.id),
        "title": row.title,
        "ticket_price": row.ticket_price,
        "ticket_currency": row.ticket_currency,
        "fee_on_top": row.fee_on_top,
        "max_attendees": row.max_attendees,
        "tickets_sold": row.tickets_sold,
        "tickets_held": row.tickets_held,
        "seats_reserved": row.seats_reserved,
        "status": row.status,
        "dispute": row.dispute,
        "by_memo": row.by_memo,
        "admission": row.admission,
        "entry_policy": row.entry_policy,
        "door": row.door,
        "tickets_per_wallet": row.tickets_per_wallet,
        "creator_account": row.creator_account,
        "event_start": format_ms(row.event_start_ms),
        "event_end": format_ms(row.event_end_ms),
        "sales_start": format_ms(row.sales_start_ms),
        "sales_end": format_ms(row.sales_end_ms),
        "started": format_ms(row.started_ms),
        "ended": format_ms(row.ended_ms),
    }


def _whole(connection: "Connection", event_id: str) -> dict[str, Any]:
    """An event with its prices, tiers and allotments."""
    from chainwatch.ledger import events, offers
    from chainwatch.times import format_ms

    row = events.find(connection, event_id)
    of_tiers = offers.tier_prices_of(connection, row.id)
    tiers = [
        {
            "code": t.code,
            "title": t.title,
            "ticket_price": t.ticket_price,
            "ticket_currency": t.ticket_currency,
            "quantity": t.quantity,
            "sold": t.sold,
            "held": t.held,
            "sales_start": format_ms(t.sales_start_ms),
            "sales_end": format_ms(t.sales_end_ms),
            "prices_base": _texts(of_tiers.get(t.id, {})),
        }
        for t in offers.tiers_of(connection, row.id)
    ]
    aside = [
        {"code": a.code, "quantity": a.quantity, "sold": a.sold, "held": a.held}
        for a in offers.allotments_of(connection, row.id)
    ]
    prices = _texts(events.prices_of(connection, row.id))
    return {**_event_dict(row), "prices_base": prices, "tiers": tiers, "allotments": aside}


def _texts(prices: dict[str, int | None]) -> dict[str, str | None]:
    return {asset: None if n is None else str(n) for asset, n in prices.items()}


@event.command("list")
def event_list(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Events, oldest first."""
    from chainwatch.ledger import events

    rows = [_event_dict(r) for r in in_ledger(config, lambda c, _: events.listing(c, 1000))]
    names = (
        "id",
        "title",
        "ticket_price",
        "ticket_currency",
        "tickets_sold",
        "tickets_held",
        "max_attendees",
        "status",
    )

    def human(found: list[dict[str, Any]]) -> None:
        table("Events", names, [["" if r[n] is None else r[n] for n in names] for r in found])

    say(rows, json, human)


@event.command("show")
def event_show(event_id: str, config: ConfigOption = None, json: JsonOption = False) -> None:
    """One event."""
    shown = in_ledger(config, lambda c, _: _whole(c, event_id))
    say(shown, json, lambda e: print("\n".join(f"{k}: {v}" for k, v in e.items())))


# -- its life ------------------------------------------------------------------------------------------


@event.command("start")
def event_start(event_id: str, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Open the live gate."""
    from chainwatch.ledger import events

    _step(events.start, event_id, config, json, "has started")


@event.command("end")
def event_end(event_id: str, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Close the live gate for good: money that is paid later goes back."""
    from chainwatch.ledger import events

    _step(events.end, event_id, config, json, "has ended")


@event.command("dispute")
def event_dispute(
    event_id: str,
    settled: Annotated[bool, typer.Option("--settled", help="The dispute is over.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Say that an event is in dispute: nothing is paid out until it is settled."""
    from chainwatch.ledger import events

    def step(connection: "Connection", public_id: str, now_ms: int, actor: str) -> None:
        events.dispute(connection, public_id, now_ms, actor, not settled)

    _step(step, event_id, config, json, "is out of dispute" if settled else "is in dispute: nothing is paid out")


def _step(step: Any, event_id: str, config: Any, json: bool, words: str) -> None:
    from chainwatch.clock import SystemClock

    def body(connection: "Connection", _settings: "Settings") -> dict[str, Any]:
        step(connection, event_id, SystemClock().now_ms(), "cli")
        return _whole(connection, event_id)

    say(in_ledger(config, body, write=True), json, lambda e: print(f"event {e['id']} {words}"))


@event.command("cancel")
def event_cancel(event_id: str, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Cancel an event: every ticket's refund falls due."""
    from chainwatch.clock import SystemClock
    from chainwatch.ledger import events
    from chainwatch.parts import contexts, open_issuer

    def body(connection: "Connection", settings: "Settings") -> int:
        by_chain = contexts(settings, open_issuer(settings))
        return events.cancel(connection, event_id, by_chain, SystemClock().now_ms(), "cli")

    n = in_ledger(config, body, write=True)
    say(
        {"id": event_id, "tickets_cancelled": n}, json, lambda _: print(f"{event_id} is cancelled, {n} tickets with it")
    )
