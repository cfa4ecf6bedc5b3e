"""``chainwatch ledger``: the books as files, what was sold; and ``audit --on-chain``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from chainwatch.cli_money import context_of, now_ms, on_chain, operator
from chainwatch.errors import Misconfigured, Rejected
from chainwatch.terminal import (
    ConfigOption,
    JsonOption,
    amount_of,
    decimal_of,
    group,
    in_ledger,
    known_assets,
    say,
    settings_of,
    table,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from chainwatch import onchain
    from chainwatch.config.settings import Settings

ledger = group("The books.")

FromDay = Annotated[str | None, typer.Option("--from", help="RFC 3339 or a day (2026-01-31); included.")]
ToDay = Annotated[str | None, typer.Option("--to", help="As --from; not included.")]
GROUPS = ("event", "tier", "currency", "day", "hour")


def moment(text: str | None) -> int | None:
    """Read a time or a day (UTC)."""
    from chainwatch.times import parse_ms

    return parse_ms(f"{text}T00:00:00Z" if text is not None and len(text) == 10 else text)


@ledger.command("export")
def ledger_export(
    format: Annotated[str, typer.Option("--format", help="csv, beancount or json.")] = "csv",
    first: FromDay = None,
    last: ToDay = None,
    out: Annotated[Path | None, typer.Option("--out", help="A file instead of standard output.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Write the books' lines of a range of days."""
    from chainwatch.ledger import journal

    writers = {"csv": journal.as_csv, "beancount": journal.as_beancount, "json": journal.as_json}
    format = "json" if json else format
    if format not in writers:
        raise Rejected("format", f"--format {format!r}: there are {', '.join(writers)}")

    def body(connection: "Connection", _settings: "Settings") -> None:
        found = journal.lines(connection, _assets(_settings), moment(first), moment(last))
        if out is None:
            sys.stdout.writelines(writers[format](found))
            return
        with out.open("w", encoding="utf-8", newline="") as file:
            file.writelines(writers[format](found))

    in_ledger(config, body)


def _assets(settings: "Settings") -> Any:
    from chainwatch.parts import assets

    return {**known_assets(), **assets(settings)}


@ledger.command("revenue")
def ledger_revenue(
    by: Annotated[
        list[str] | None, typer.Option("--by", help="event, tier, currency, day, hour; several nest.")
    ] = None,
    first: FromDay = None,
    last: ToDay = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """What was sold, by event or otherwise; ``--by hour`` is tickets per hour."""
    from chainwatch.ledger import revenue

    groups = by or ["event"]
    if wrong := [g for g in groups if g not in GROUPS]:
        raise Rejected("by", f"--by {wrong[0]!r}: there are {', '.join(GROUPS)}")
    wanted = cast("list[revenue.By]", groups)
    found = in_ledger(config, lambda c, _: revenue.revenue(c, wanted, moment(first), moment(last)))
    rows = [
        {
            "group": s.group,
            "asset": s.asset,
            "tickets": s.tickets,
            **_both(s.asset, {"amount": s.amount, "commission": s.commission, "payout": s.payout}),
            "cancelled": s.cancelled,
        }
        for s in found
    ]

    def human(_: Any) -> None:
        shown = [
            [s.group, s.tickets, *(amount_of(s.asset, n) for n in (s.amount, s.commission, s.payout)), s.cancelled]
            for s in found
        ]
        columns = (" ".join(groups), "tickets", "sold for", "commission", "creator", "cancelled")
        table("Revenue", columns, shown)

    say(rows, json, human)


def _both(asset: str, amounts: dict[str, int]) -> dict[str, str | None]:
    """Amounts as JSON shows them: decimal text, and base units as text beside it."""
    decimals: dict[str, str | None] = {name: decimal_of(asset, n) for name, n in amounts.items()}
    return decimals | {f"{name}_base": str(n) for name, n in amounts.items()}


def _ask(config: Path | None, settings: "Settings", code: str) -> "list[onchain.Holding]":
    """Ask one chain; none where it cannot be asked."""
    from chainwatch import onchain
    from chainwatch.ledger import pool, queries

    context = context_of(settings, code)
    kin = context.spec.kin
    watch: list[str] = in_ledger(config, lambda c, _: [*pool.all_of(c, code), *pool.newer(c, kin, 0)[1]])
    height: int = in_ledger(config, lambda c, _: queries.scanned(c, code))
    told = on_chain(context, watch, lambda source: onchain.balances(source, height))
    if told is None:
        return []
    compared: list[onchain.Holding] = in_ledger(config, lambda c, _: onchain.compare(c, context.spec, told))
    return compared


def reconcile(config: Path | None, accept: bool) -> "list[onchain.Holding]":
    """Hold every chain's balances against what came and left."""
    from chainwatch import onchain

    settings = settings_of(config)
    if not settings.chains:
        raise Misconfigured("no chain is configured: there is nobody to ask")
    found: list[onchain.Holding] = []
    for code in settings.chains:
        found += _ask(config, settings, code)
    if accept:
        in_ledger(config, lambda c, _: onchain.accept(c, found, now_ms(), operator()), write=True)
        found = [onchain.accepted(h) for h in found]
    return found


def holding_text(h: "onchain.Holding") -> str:
    """Return what came out for one asset."""
    if h.behind:
        return f"{h.chain}: {h.asset}: not scanned to block {h.height} yet"
    held = f"{amount_of(h.asset, h.on_chain)} on chain"
    if h.difference:
        return f"on_chain: {h.asset}: {held}, {amount_of(h.asset, h.difference)} unexplained"
    return f"{h.chain}: {h.asset}: {held}, as known"


def holding_dict(h: "onchain.Holding") -> dict[str, Any]:
    """Return the same as JSON shows it."""
    amounts = {"on_chain": h.on_chain, "known": h.known, "accepted": h.accepted, "difference": h.difference}
    place = {"chain": h.chain, "asset": h.asset, "height": h.height}
    return place | _both(h.asset, amounts) | {"behind": h.behind}
