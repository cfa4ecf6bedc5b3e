"""The command line: thin.  Every command takes ``--config FILE`` and ``--json``.

Exit codes: 0 done · 1 the answer is no · 2 wrong usage or configuration · 3 an outside part is not reachable.
Heavy parts are imported by the command that needs them: ``chainwatch --help`` must be quick.
"""

import asyncio
import random
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import msgspec
import typer

from chainwatch.cli_access import operator
from chainwatch.cli_books import ledger
from chainwatch.cli_door import devices
from chainwatch.cli_events import event
from chainwatch.cli_money import creator, payouts, refunds
from chainwatch.cli_sales import guests, purchase, review
from chainwatch.cli_verify import verify
from chainwatch.cli_webhooks import webhooks
from chainwatch.errors import ChainwatchError, Misconfigured, Rejected
from chainwatch.terminal import (
    BUILT_IN,
    NO,
    UNREACHABLE,
    USAGE,
    ConfigOption,
    JsonOption,
    amount_of,
    group,
    in_ledger,
    reader_may_leave,
    say,
    settings_of,
    table,
    written,
)

if TYPE_CHECKING:
    from chainwatch.config.settings import Settings

HELP = """Sees every payment on every chain, mints one ticket for each, and says whether a signature is by a wallet.

Every command takes --config FILE (default: /etc/chainwatch/chainwatch.toml, then ./chainwatch.toml) and --json,
before it or after it.

Exit codes: 0 done · 1 the answer is no · 2 wrong usage or configuration · 3 an outside part is not reachable.
"""

app = group(HELP, add_completion=False, pretty_exceptions_enable=False)
db = group("The database.")
keys = group("Signing keys, operators' keys.")
app.add_typer(event, name="event")
app.add_typer(devices, name="devices")
app.add_typer(guests, name="guests")
app.add_typer(purchase, name="purchase")
app.add_typer(review, name="review")
app.add_typer(webhooks, name="webhooks")
app.add_typer(payouts, name="payouts")
app.add_typer(refunds, name="refunds")
app.add_typer(creator, name="creator")
app.add_typer(ledger, name="ledger")
app.add_typer(db, name="db")
app.add_typer(keys, name="keys")
keys.add_typer(operator, name="operator")
app.command()(verify)


def main() -> NoReturn:
    """Run the command line; turn errors into exit codes and one line on standard error."""
    code = 0
    try:
        with reader_may_leave():
            code = app(standalone_mode=False)  # what a command exits with is returned here, not raised
    except typer.Abort:
        sys.exit(130)
    except ChainwatchError as error:
        _complain(str(error))
        sys.exit(USAGE if isinstance(error, Misconfigured | Rejected) else UNREACHABLE)
    except KeyboardInterrupt:
        sys.exit(130)
    except SystemExit as left:
        # typer and rich leave with 1 when nobody reads their output any more; none of our commands leaves so.
        sys.exit(0 if left.code == 1 else left.code)
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:  # an option names it
        _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        sys.exit(USAGE)
    except OSError as error:  # a full disk, say: nothing in the configuration is wrong, and trying again may do
        _complain(str(error))
        sys.exit(UNREACHABLE)
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("click", "typer") and hasattr(error, "format_message"):
            _complain(error.format_message())
            sys.exit(USAGE)
        raise
    sys.exit(code if isinstance(code, int) else 0)


def _complain(why: str) -> None:
    """Say on standard error what is wrong, in one line; nothing where the help has been shown instead."""
    if why:
        print(f"chainwatch: {' '.join(why.split())}", file=sys.stderr)


def _until_stopped(run: Callable[[asyncio.Event], Coroutine[Any, Any, Any]]) -> Any:
    """Run until SIGINT or SIGTERM sets the event; a second one ends the process at once."""

    async def supervise() -> Any:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, lambda: sys.exit(130) if stop.is_set() else stop.set())
        return await run(stop)

    with asyncio.Runner(loop_factory=fast_loop()) as runner:
        return runner.run(supervise())


def fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's event loop where it is installed (``pip install chainwatch[fast]``); None: Python's own."""
    try:
        import uvloop
    except ImportError:
        return None
    made: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return made


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
    settings = settings_of(config, built_in=False)
    logs.configure(secrets=settings.secrets)
    if not settings.chains:
        raise Misconfigured("no chain is configured: see `config/chainwatch.example.toml`, or try `run --devnet`")
    _until_stopped(lambda stop: _run(settings, config, stop))


async def _run(settings: "Settings", config: Path | None, stop: asyncio.Event) -> None:
    from chainwatch import progress
    from chainwatch.app import App
    from chainwatch.clock import SystemClock, system_random

    daemon = App(settings, clock=SystemClock(), rng=system_random())

    def reload() -> None:
        daemon.reload(lambda: settings_of(config, built_in=False))

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    bars = asyncio.create_task(progress.show(daemon.watchers, daemon.clock))
    try:
        await daemon.run(stop)
    finally:
        bars.cancel()
        await asyncio.gather(bars, return_exceptions=True)


async def _run_devnet(config: Path | None, stop: asyncio.Event) -> None:
    from chainwatch.app import App
    from chainwatch.clock import SystemClock
    from chainwatch.config.settings import state_dir
    from chainwatch.devnet import network, welcome
    from chainwatch.devnet.storefront import Storefront
    from chainwatch.parts import assets

    clock, rng = SystemClock(), random.Random()
    net = network.Devnet(clock=clock, rng=rng, directory=state_dir() / "devnet")
    tasks = []
    try:
        sections = await net.start()
        settings = network.complete(settings_of(config, chains=sections))
        kept = msgspec.json.encode({"chains": sections, "fixed": settings.rates.fixed})
        (settings.state_dir / BUILT_IN).write_bytes(kept)
        store = Storefront(net, settings.state_dir / "devnet" / "wallets.json")
        daemon = App(settings, clock=clock, rng=rng, simulation=store)
        store.serve(daemon)
        known = assets(settings)
        bps, now_ms = settings.tickets.commission_bps, clock.now_ms()
        await daemon.store.write(network.sample_events, known, bps, now_ms)
        visitor = await daemon.store.write(welcome.keys, settings.state_dir, now_ms)
        offers = await daemon.store.read(network.offers, known)
        ready = asyncio.Event()
        tasks = [asyncio.create_task(net.mine(daemon)), asyncio.create_task(net.buy(daemon, offers))]
        tasks.append(asyncio.create_task(_say_when(ready, lambda: welcome.text(daemon, visitor))))
        await daemon.run(stop, ready)
    finally:
        await network.gathered(*tasks)
        await net.stop()


async def _say_when(ready: asyncio.Event, text: Callable[[], str]) -> None:
    await ready.wait()
    print(text(), flush=True)


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
        table("What happened", columns, rows)
        table("\nHow payments end", ("paid", "ended as"), [(e.played, e.came or "FAILED") for e in report.endings])
        verdict = "all came out right" if report.good() else "NOT all came out right"
        print(f"\naudit: {report.differences} differences · {report.seconds:.0f} s · {verdict}")

    say(report, json, human)
    raise typer.Exit(0 if report.good() else NO)


# -- looking ---------------------------------------------------------------------------------------------


@app.command()
def check(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Validate the configuration, ask every node who it is, and the database for its schema."""
    from chainwatch.checks import check as ask

    lines = asyncio.run(ask(settings_of(config)))

    def human(_: Any) -> None:
        for line in lines:
            print(f"{'ok  ' if line.ok else 'FAIL'}  {line.part}: {line.text}")

    say(lines, json, human)
    codes = {line.code for line in lines if not line.ok}
    raise typer.Exit(max(codes) if codes else 0)


@app.command()
def status(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Chains, payments by state, what is due, and whether the books agree."""
    from chainwatch.clock import SystemClock
    from chainwatch.ledger import queries
    from chainwatch.ledger.audit import audit as differences

    now_ms = SystemClock().now_ms()
    state, found, recent = in_ledger(
        config, lambda c, _: (queries.status(c), differences(c), queries.recent_payments(c, 10))
    )

    def human(_: Any) -> None:
        rows = [
            (c.chain, c.head, c.scanned, c.final, c.lag, _age(now_ms, c.tip_ms), c.endpoint, c.alarm)
            for c in state.chains
        ]
        table("Chains", ("chain", "head", "scanned", "final", "lag", "tip age", "node", "alarm"), rows)
        table("\nPayments", ("state", "count"), list(state.payments.items()))
        table("\nTickets", ("state", "count"), list(state.tickets.items()))
        short = [
            (
                p.chain,
                amount_of(p.asset, p.amount),
                p.shown,
                p.reason,
                p.slug or p.event_id,
                p.number,
                p.txid[:16],
            )
            for p in recent
        ]
        table("\nLatest payments", ("chain", "amount", "state", "why", "event", "ticket", "tx"), short)
        print(f"\nrefunds due {state.refunds_due} · payouts due {state.payouts_due} · review {state.review_open}")
        print(f"audit: {len(found)} differences")

    answer = {**written(msgspec.to_builtins(state)), "audit_differences": len(found)}
    for chain, shown in zip(state.chains, answer["chains"], strict=True):
        shown["tip_age_seconds"] = None if chain.tip_ms is None else max(now_ms - chain.tip_ms, 0) / 1000
    say(answer, json, human)


def _age(now_ms: int, then_ms: int | None) -> str | None:
    return None if then_ms is None else f"{max(now_ms - then_ms, 0) / 1000:.0f} s"


@app.command()
def audit(
    on_chain: Annotated[bool, typer.Option("--on-chain", help="Ask the chains what our addresses hold, too.")] = False,
    accept: Annotated[bool, typer.Option("--accept", help="Take what the chains differ by as explained.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Recompute every balance from the payments; print differences; exit 1 on any."""
    from chainwatch.ledger.audit import audit as differences

    holdings = []
    if on_chain:
        from chainwatch.cli_books import holding_dict, holding_text, reconcile

        holdings = reconcile(config, accept)
    found = in_ledger(config, lambda c, _: differences(c))

    def human(_: Any) -> None:
        for h in holdings:
            print(holding_text(h))
        for d in found:
            print(f"{d.what}: {d.subject}: {d.detail}")
        print(f"{len(found)} differences")

    asked = {"on_chain": [holding_dict(h) for h in holdings], "differences": found} if on_chain else found
    say(asked, json, human)
    raise typer.Exit(NO if found or any(h.difference for h in holdings) else 0)


@app.command("clear-alarm")
def clear_alarm(
    chain: Annotated[str, typer.Option("--chain")], config: ConfigOption = None, json: JsonOption = False
) -> None:
    """After a reorg of something final: let the chain's money be paid out again.  Exit 1: there was no alarm."""
    from chainwatch.clock import SystemClock
    from chainwatch.config.networks import canonical_code
    from chainwatch.ledger.apply import clear_alarm as clear

    code, now_ms = canonical_code(chain), SystemClock().now_ms()
    cleared = in_ledger(config, lambda c, _: clear(c, code, now_ms, "cli"), write=True)
    say({"cleared": cleared}, json, lambda d: print("cleared" if d["cleared"] else f"{code} has no alarm"))
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

    done = asyncio.run(scan_again(settings_of(config), chain, first, last))
    words = f"{done.chain}: blocks {done.first_height} to {done.last_height} were scanned again"
    say(written(msgspec.to_builtins(done)), json, lambda _: print(words))


# -- database and keys ---------------------------------------------------------------------------------------


@db.command("upgrade")
def db_upgrade(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Bring the database to this program's schema."""
    from chainwatch.ledger import schema
    from chainwatch.ledger.store import Store

    settings = settings_of(config, with_secrets=False)
    store = Store(settings.database.url)
    if store.path is not None:
        store.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        version = schema.upgrade(store)
    finally:
        store.close()
    say({"schema": version}, json, lambda d: print(f"the database has schema {d['schema']}"))


@keys.command("generate")
def keys_generate(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Make the signing key; never overwrites one."""
    from chainwatch.parts import key_path
    from chainwatch.tickets.token import generate_key, load_issuer

    path = key_path(settings_of(config, with_secrets=False))
    if path.exists():
        raise Misconfigured(f"{path} exists; move it away first (tickets signed with it could not be checked any more)")
    try:
        generate_key(path)
    except OSError as error:
        raise Misconfigured(f"{path}: {error.strerror}") from error
    kid = load_issuer(path).kid
    say({"path": str(path), "kid": kid}, json, lambda d: print(f"signing key {d['kid']} is in {d['path']}"))
