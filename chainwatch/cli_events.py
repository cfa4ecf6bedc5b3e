"""``chainwatch event``: events from the shell."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainwatch.errors import Misconfigured
from chainwatch.terminal import ConfigOption, JsonOption, in_ledger, known_assets, say, table

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from chainwatch.config.settings import Settings

event = typer.Typer(no_args_is_help=True, help="Events from the shell.")


@event.command("create")
def event_create(
    title: Annotated[str, typer.Option("--title")],
    price: Annotated[str, typer.Option("--price", help="Decimal, in --currency.")],
    currency: Annotated[str, typer.Option("--currency", help="Asset code, or USD, EUR …")],
    id: Annotated[str | None, typer.Option("--id", help="Number or slug; given when left out.")] = None,
    accept: Annotated[list[str] | None, typer.Option("--accept", help="Further coin, as HBD=1.5.")] = None,
    capacity: Annotated[int | None, typer.Option("--capacity", min=1)] = None,
    creator: Annotated[str, typer.Option("--creator")] = "",
    start: Annotated[str | None, typer.Option("--start", help="RFC 3339.")] = None,
    end: Annotated[str | None, typer.Option("--end", help="RFC 3339.")] = None,
    sales_start: Annotated[str | None, typer.Option("--sales-start")] = None,
    sales_end: Annotated[str | None, typer.Option("--sales-end")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Put an event on sale."""
    from chainwatch.app import assets
    from chainwatch.clock import SystemClock
    from chainwatch.ledger import events
    from chainwatch.times import parse_ms

    prices = {}
    for item in accept or ():
        code, equals, amount = item.partition("=")
        if not equals:
            raise Misconfigured(f"--accept {item!r}: write it as HBD=1.5")
        prices[code] = amount
    new = events.NewEvent(
        id=id,
        title=title,
        ticket_price=price,
        ticket_currency=currency,
        prices=prices,
        max_attendees=capacity,
        creator_account=creator,
        event_start_ms=parse_ms(start),
        event_end_ms=parse_ms(end),
        sales_start_ms=parse_ms(sales_start),
        sales_end_ms=parse_ms(sales_end),
    )

    def body(connection: "Connection", settings: "Settings") -> str:
        bps, now_ms = settings.tickets.commission_bps, SystemClock().now_ms()
        return events.create(connection, new, assets(settings) or known_assets(), bps, now_ms, "cli")

    created = in_ledger(config, body, write=True)
    say({"id": created}, json, lambda d: print(f"event {d['id']} is on sale"))


def _event_dict(row: Any, prices: dict[str, int] | None = None) -> dict[str, Any]:
    from chainwatch.times import format_ms

    return {
        "id": row.slug or str(row.id),
        "title": row.title,
        "ticket_price": row.ticket_price,
        "ticket_currency": row.ticket_currency,
        "max_attendees": row.max_attendees,
        "tickets_sold": row.tickets_sold,
        "tickets_held": row.tickets_held,
        "status": row.status,
        "creator_account": row.creator_account,
        "event_start": format_ms(row.event_start_ms),
        "event_end": format_ms(row.event_end_ms),
        "sales_start": format_ms(row.sales_start_ms),
        "sales_end": format_ms(row.sales_end_ms),
        **({"prices_base": {a: str(n) for a, n in prices.items()}} if prices is not None else {}),
    }


@event.command("list")
def event_list(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Events, oldest first."""
    from chainwatch.ledger import events

    rows = [_event_dict(r) for r in in_ledger(config, lambda c, _: events.listing(c, 1000))]
    names = ("id", "title", "ticket_price", "ticket_currency", "tickets_sold", "max_attendees", "status")

    def human(found: list[dict[str, Any]]) -> None:
        table("Events", names, [["" if r[n] is None else r[n] for n in names] for r in found])

    say(rows, json, human)


@event.command("show")
def event_show(event_id: str, config: ConfigOption = None, json: JsonOption = False) -> None:
    """One event."""
    from chainwatch.ledger import events

    def body(connection: "Connection", _settings: "Settings") -> dict[str, Any]:
        row = events.find(connection, event_id)
        return _event_dict(row, events.prices_of(connection, row.id))

    say(in_ledger(config, body), json, lambda e: print("\n".join(f"{k}: {v}" for k, v in e.items())))


@event.command("cancel")
def event_cancel(event_id: str, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Cancel an event: every ticket's refund falls due."""
    from chainwatch.app import contexts, open_issuer
    from chainwatch.clock import SystemClock
    from chainwatch.ledger import events

    def body(connection: "Connection", settings: "Settings") -> int:
        by_chain = contexts(settings, open_issuer(settings))
        by_asset = {a.code: c for c in by_chain.values() for a in c.spec.assets}
        return events.cancel(connection, event_id, by_asset, SystemClock().now_ms(), "cli")

    n = in_ledger(config, body, write=True)
    say(
        {"id": event_id, "tickets_cancelled": n}, json, lambda _: print(f"{event_id} is cancelled, {n} tickets with it")
    )
