"""The command line: thin.  Every command takes ``--config FILE`` and ``--json``.

Exit codes: 0 done · 1 the answer is no · 2 wrong usage or configuration · 3 an outside part is not reachable.
Heavy parts are imported by the command that needs them: ``chainwatch --help`` must be quick.
"""

import asyncio
import random
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import msgspec
import typer

from chainwatch.errors import ChainwatchError, Misconfigured, Rejected

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from chainwatch.config.settings import Settings

NO, USAGE, UNREACHABLE = 1, 2, 3

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
event = typer.Typer(no_args_is_help=True, help="Events from the shell.")
db = typer.Typer(no_args_is_help=True, help="The database.")
keys = typer.Typer(no_args_is_help=True, help="Signing keys.")
app.add_typer(event, name="event")
app.add_typer(db, name="db")
app.add_typer(keys, name="keys")

ConfigOption = Annotated[Path | None, typer.Option("--config", help="Configuration file.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]


def main() -> NoReturn:
    """Run the command line; turn errors into exit codes and one line on standard error."""
    try:
        code = app(standalone_mode=False)  # what a command exits with is returned here, not raised
    except typer.Abort:
        sys.exit(130)
    except ChainwatchError as error:
        print(f"chainwatch: {error}", file=sys.stderr)
        sys.exit(USAGE if isinstance(error, Misconfigured | Rejected) else UNREACHABLE)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("click", "typer") and hasattr(error, "format_message"):
            print(f"chainwatch: {error.format_message()}", file=sys.stderr)
            sys.exit(USAGE)
        raise
    sys.exit(code if isinstance(code, int) else 0)


# -- shared --------------------------------------------------------------------------------------------


def _settings(config: Path | None, **more: Any) -> "Settings":
    from chainwatch import adapters
    from chainwatch.adapters.base import Services, SilentObserver
    from chainwatch.clock import SystemClock, system_random
    from chainwatch.config import settings
    from chainwatch.config.chains import Checks
    from chainwatch.wallets import is_address_of

    services = Services(clock=SystemClock(), random=system_random(), observer=SilentObserver())
    # No I/O: an adapter looks at its options here, so that what it refuses is named with its line.
    checks = Checks(is_wallet=is_address_of, adapter=lambda spec: adapters.open_source(spec, services))
    return settings.load(config, checks=checks, **more)


def _say(data: Any, as_json: bool, human: Callable[[Any], None]) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode(data).decode() + "\n")
    else:
        human(data)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*("-" if cell is None else str(cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table)


def _in_ledger(config: Path | None, body: "Callable[[Connection, Settings], Any]", *, write: bool = False) -> Any:
    """Run ``body`` on one look at the configured database, or as one transaction."""
    from chainwatch.app import open_store

    settings = _settings(config, with_secrets=False)
    store = open_store(settings)
    try:
        with store.transaction() if write else store.reading() as connection:
            return body(connection, settings)
    finally:
        store.close()


def _until_stopped(run: Callable[[asyncio.Event], Coroutine[Any, Any, Any]]) -> Any:
    """Run until SIGINT or SIGTERM sets the event; a second one ends the process at once."""

    async def supervise() -> Any:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, lambda: sys.exit(130) if stop.is_set() else stop.set())
        return await run(stop)

    return asyncio.run(supervise())


# -- the daemon ----------------------------------------------------------------------------------------


@app.command()
def run(
    devnet: Annotated[bool, typer.Option("--devnet", help="With a built-in network of simulated nodes.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """The daemon: watch every configured chain, mint, serve HTTP and metrics."""
    from chainwatch import logs

    del json  # logs are JSON already when nobody looks at a terminal
    if devnet:
        logs.configure()
        _until_stopped(lambda stop: _run_devnet(config, stop))
        return
    settings = _settings(config)
    logs.configure(secrets=settings.secrets)
    if not settings.chains:
        raise Misconfigured("no chain is configured: see `config/chainwatch.example.toml`, or try `run --devnet`")
    _until_stopped(lambda stop: _run(settings, config, stop))


async def _run(settings: "Settings", config: Path | None, stop: asyncio.Event) -> None:
    from chainwatch.app import App
    from chainwatch.clock import SystemClock, system_random

    daemon = App(settings, clock=SystemClock(), rng=system_random())
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: daemon.reload(lambda: _settings(config)))
    await daemon.run(stop)


async def _run_devnet(config: Path | None, stop: asyncio.Event) -> None:
    from chainwatch.app import App, assets
    from chainwatch.clock import SystemClock
    from chainwatch.config.settings import state_dir
    from chainwatch.devnet import network

    clock, rng = SystemClock(), random.Random()
    net = network.Devnet(clock=clock, rng=rng, directory=state_dir() / "devnet")
    tasks = []
    try:
        settings = _settings(config, chains=await net.start())
        daemon = App(settings, clock=clock, rng=rng)
        known = assets(settings)
        bps, now_ms = settings.tickets.commission_bps, clock.now_ms()
        await daemon.store.write(network.sample_events, known, bps, now_ms)
        offers = await daemon.store.read(network.offers, known)
        ready = asyncio.Event()
        tasks = [asyncio.create_task(net.mine()), asyncio.create_task(net.buy(daemon, offers))]
        tasks.append(asyncio.create_task(_where_to_look(daemon, ready)))
        await daemon.run(stop, ready)
    finally:
        await network.gathered(*tasks)
        await net.stop()


async def _where_to_look(daemon: Any, ready: asyncio.Event) -> None:
    await ready.wait()
    url = daemon.server.url
    print(
        f"""
chainwatch is running on a network of simulated nodes: {", ".join(daemon.contexts)}.
Buyers come every few seconds; their payments become tickets.

  {url}/readyz    is every chain followed
  {url}/metrics   Prometheus
  chainwatch status      chains, payments, tickets (in another terminal: .venv/bin/chainwatch status)
  chainwatch event list  what is for sale
  chainwatch audit       do the books agree

state: {daemon.settings.state_dir}   database: {daemon.store.shown_url}
Ctrl-C stops it.
""",
        flush=True,
    )


@app.command()
def demo(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Every chain, every way a payment can end, on a temporary database; exit 0 only when all came out right."""
    import logging

    from chainwatch import logs
    from chainwatch.clock import SystemClock
    from chainwatch.devnet.demo import demo as play

    del config
    logs.configure(level=logging.ERROR)
    report = asyncio.run(play(SystemClock(), random.Random()))

    def human(_: Any) -> None:
        rows = [
            (r.chain, r.asset, *(cell or "FAILED" for cell in (r.ticket, r.reorg, r.underpaid, r.sold_out, r.access)))
            for r in report.rows
        ]
        columns = ("chain", "coin", "paid", "reorg survived", "one unit short", "one too many", "at the door")
        _table("What happened", columns, rows)
        verdict = "all came out right" if report.good() else "NOT all came out right"
        print(f"\naudit: {report.differences} differences · {report.seconds:.0f} s · {verdict}")

    _say(report, json, human)
    raise typer.Exit(0 if report.good() else NO)


# -- looking ---------------------------------------------------------------------------------------------


@app.command()
def check(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Validate the configuration, ask every node who it is, and the database for its schema."""
    from chainwatch.checks import check as ask

    lines = asyncio.run(ask(_settings(config)))

    def human(_: Any) -> None:
        for line in lines:
            print(f"{'ok  ' if line.ok else 'FAIL'}  {line.part}: {line.text}")

    _say(lines, json, human)
    codes = {line.code for line in lines if not line.ok}
    raise typer.Exit(max(codes) if codes else 0)


@app.command()
def status(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Chains, payments by state, what is due, and whether the books agree."""
    from chainwatch.clock import SystemClock
    from chainwatch.ledger import queries
    from chainwatch.ledger.audit import audit as differences

    now_ms = SystemClock().now_ms()
    state, found, recent = _in_ledger(
        config, lambda c, _: (queries.status(c), differences(c), queries.recent_payments(c, 10))
    )

    def human(_: Any) -> None:
        rows = [
            (c.chain, c.head, c.scanned, c.final, c.lag, _age(now_ms, c.tip_ms), c.endpoint, c.alarm)
            for c in state.chains
        ]
        _table("Chains", ("chain", "head", "scanned", "final", "lag", "tip age", "node", "alarm"), rows)
        _table("\nPayments", ("state", "count"), list(state.payments.items()))
        _table("\nTickets", ("state", "count"), list(state.tickets.items()))
        short = [
            (p.chain, p.asset, _amount(p.asset, p.amount), p.shown, p.reason, p.slug or p.event_id, p.number, p.txid[:16])
            for p in recent
        ]
        _table("\nLatest payments", ("chain", "asset", "amount", "state", "why", "event", "ticket", "tx"), short)
        print(f"\nrefunds due {state.refunds_due} · payouts due {state.payouts_due} · review {state.review_open}")
        print(f"audit: {len(found)} differences")

    answer = {**msgspec.to_builtins(state), "audit_differences": len(found)}
    _say(answer, json, human)


def _amount(asset: str | None, base_units: int) -> str:
    """Return an amount as people write it; base units when the asset is none that we know."""
    from chainwatch.units import format_units

    known = _known_assets().get(asset)
    return format_units(base_units, known.decimals) if known else f"{base_units} base units"


def _age(now_ms: int, then_ms: int | None) -> str | None:
    return None if then_ms is None else f"{max(now_ms - then_ms, 0) / 1000:.0f} s"


@app.command()
def audit(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Recompute every balance from the payments; print differences; exit 1 on any."""
    from chainwatch.ledger.audit import audit as differences

    found = _in_ledger(config, lambda c, _: differences(c))

    def human(_: Any) -> None:
        for d in found:
            print(f"{d.what}: {d.subject}: {d.detail}")
        print(f"{len(found)} differences")

    _say(found, json, human)
    raise typer.Exit(NO if found else 0)


@app.command("clear-alarm")
def clear_alarm(
    chain: Annotated[str, typer.Option("--chain")], config: ConfigOption = None, json: JsonOption = False
) -> None:
    """After a reorg of something final: let the chain's money be paid out again.  Exit 1: there was no alarm."""
    from chainwatch.clock import SystemClock
    from chainwatch.config.networks import canonical_code
    from chainwatch.ledger.apply import clear_alarm as clear

    code, now_ms = canonical_code(chain), SystemClock().now_ms()
    cleared = _in_ledger(config, lambda c, _: clear(c, code, now_ms, "cli"), write=True)
    _say({"cleared": cleared}, json, lambda d: print("cleared" if d["cleared"] else f"{code} has no alarm"))
    raise typer.Exit(0 if cleared else NO)


@app.command()
def decode(
    chain: Annotated[str, typer.Option("--chain", help="Chain code: HIVE, ETH, BTC …")],
    files: Annotated[list[str], typer.Argument(help="Files of one block, or - for standard input.")],
    to: Annotated[str | None, typer.Option("--to", help="Only transfers to this address.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Recorded chain data in, one JSON line per value transfer out."""
    from chainwatch.decoding import lines

    del json  # always JSON
    for line in lines(chain, files, to, config):
        sys.stdout.write(line + "\n")


@app.command()
def backfill(
    chain: Annotated[str, typer.Option("--chain")],
    first: Annotated[int, typer.Option("--from", min=0)],
    last: Annotated[int | None, typer.Option("--to", min=0)] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Scan a range of blocks again; harmless to repeat."""
    from chainwatch.backfill import scan_again

    done = asyncio.run(scan_again(_settings(config), chain, first, last))
    _say(done, json, lambda d: print(f"{d.chain}: blocks {d.first_height} to {d.last_height} were scanned again"))


@app.command()
def verify(
    chain: Annotated[str | None, typer.Option("--chain")] = None,
    address: Annotated[str | None, typer.Option("--address")] = None,
    message: Annotated[str | None, typer.Option("--message")] = None,
    signature: Annotated[str | None, typer.Option("--signature")] = None,
    jsonl: Annotated[str | None, typer.Option("--jsonl", help="File of JSON lines, or -.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """One signature, or one a line: is it by that wallet?"""
    del config  # every command takes it; this one asks nothing of it
    if jsonl is not None:
        from chainwatch.verifiers.jsonl import answer_lines, read_lines

        source = sys.stdin.buffer if jsonl == "-" else _open(jsonl)
        with source:
            for line in answer_lines(read_lines(source)):
                print(line, flush=jsonl == "-")  # whoever writes to a pipe may wait for each answer
        return
    if address is None or message is None or signature is None:
        raise Misconfigured("verify needs --address, --message and --signature, or --jsonl FILE")
    from chainwatch.verifiers import verify as ask

    result = ask(chain=chain, address=address, message=message, signature=signature)
    answer = {
        "valid": result.ok,
        "status": str(result.status),
        "scheme": result.scheme,
        "reason": str(result.reason),
    }
    _say(answer, json, lambda a: print(f"valid: {a['scheme']}" if a["valid"] else f"{a['status']}: {a['reason']}"))
    raise typer.Exit(0 if result.ok else NO)


def _open(path: str) -> Any:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise Misconfigured(f"{path}: {error.strerror}") from error


# -- events ------------------------------------------------------------------------------------------------


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
        return events.create(connection, new, assets(settings) or _known_assets(), bps, now_ms, "cli")

    created = _in_ledger(config, body, write=True)
    _say({"id": created}, json, lambda d: print(f"event {d['id']} is on sale"))


def _known_assets() -> Any:
    """Every asset of every known chain: for a database whose chains run elsewhere (the devnet's)."""
    from chainwatch.config import networks

    return {a.code: a for code in networks.known() for a in networks.spec(code).assets}


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

    rows = [_event_dict(r) for r in _in_ledger(config, lambda c, _: events.listing(c, 1000))]
    names = ("id", "title", "ticket_price", "ticket_currency", "tickets_sold", "max_attendees", "status")

    def human(found: list[dict[str, Any]]) -> None:
        _table("Events", names, [["" if r[n] is None else r[n] for n in names] for r in found])

    _say(rows, json, human)


@event.command("show")
def event_show(event_id: str, config: ConfigOption = None, json: JsonOption = False) -> None:
    """One event."""
    from chainwatch.ledger import events

    def body(connection: "Connection", _settings: "Settings") -> dict[str, Any]:
        row = events.find(connection, event_id)
        return _event_dict(row, events.prices_of(connection, row.id))

    _say(_in_ledger(config, body), json, lambda e: print("\n".join(f"{k}: {v}" for k, v in e.items())))


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

    n = _in_ledger(config, body, write=True)
    _say(
        {"id": event_id, "tickets_cancelled": n}, json, lambda _: print(f"{event_id} is cancelled, {n} tickets with it")
    )


# -- database and keys ---------------------------------------------------------------------------------------


@db.command("upgrade")
def db_upgrade(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Bring the database to this program's schema."""
    from chainwatch.ledger import schema
    from chainwatch.ledger.store import Store

    settings = _settings(config, with_secrets=False)
    store = Store(settings.database.url)
    if store.path is not None:
        store.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        version = schema.upgrade(store)
    finally:
        store.close()
    _say({"schema": version}, json, lambda d: print(f"the database has schema {d['schema']}"))


@keys.command("generate")
def keys_generate(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Make the signing key; never overwrites one."""
    from chainwatch.app import key_path
    from chainwatch.tickets.token import generate_key, load_issuer

    path = key_path(_settings(config, with_secrets=False))
    if path.exists():
        raise Misconfigured(f"{path} exists; move it away first (tickets signed with it could not be checked any more)")
    try:
        generate_key(path)
    except OSError as error:
        raise Misconfigured(f"{path}: {error.strerror}") from error
    kid = load_issuer(path).kid
    _say({"path": str(path), "kid": kid}, json, lambda d: print(f"signing key {d['kid']} is in {d['path']}"))
