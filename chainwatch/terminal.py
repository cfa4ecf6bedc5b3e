"""What every command shares: its options, its settings, its way to the ledger, and how it answers."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from chainwatch.config.settings import Settings

NO, USAGE, UNREACHABLE = 1, 2, 3
"""Exit codes: the answer is no · wrong usage or configuration · an outside part is not reachable."""

ConfigOption = Annotated[Path | None, typer.Option("--config", help="Configuration file.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]


def group(text: str, **more: Any) -> typer.Typer:
    """Return a group of commands that takes the options of all its commands before them too."""
    return typer.Typer(no_args_is_help=True, help=text, callback=_before, **more)


def _before(context: typer.Context, config: ConfigOption = None, json: JsonOption = False) -> None:
    """What is said before a command is the default of every command below; what is said nearer to it counts."""
    said = {"config": config, "json": json}
    context.default_map = _below(context.command, {name: value for name, value in said.items() if value})


def _below(command: Any, said: dict[str, Any]) -> dict[str, Any]:
    return {**said, **{name: _below(inner, said) for name, inner in getattr(command, "commands", {}).items()}}


BUILT_IN = Path("devnet", "chains.json")
"""Below the state directory: the chains and prices of the built-in network that ran there last."""


def settings_of(config: Path | None, *, built_in: bool = True, **more: Any) -> "Settings":
    """Read the configuration, every adapter's options included; ``Misconfigured`` names the line.

    ``built_in``: where no chain is configured, those of the built-in network are taken, so that every command works
    beside ``run --devnet``.
    """
    from chainwatch import adapters
    from chainwatch.access.message import is_domain, is_uri_prefix
    from chainwatch.adapters.base import Services, SilentObserver
    from chainwatch.clock import SystemClock, system_random
    from chainwatch.config import settings
    from chainwatch.config.chains import Checks
    from chainwatch.wallets import is_address_of

    services = Services(clock=SystemClock(), random=system_random(), observer=SilentObserver())
    # No I/O: an adapter looks at its options here, so that what it refuses is named with its line.
    checks = Checks(
        is_wallet=is_address_of,
        adapter=lambda spec: adapters.open_source(spec, services),
        is_domain=is_domain,
        is_uri_prefix=is_uri_prefix,
    )
    found = settings.load(config, checks=checks, **more)
    kept = found.state_dir / BUILT_IN
    if not built_in or found.chains or "chains" in more or not kept.exists():
        return found
    network = msgspec.json.decode(kept.read_bytes(), type=dict[str, dict[str, Any]])
    found = settings.load(config, checks=checks, chains=network["chains"], **more)
    rates = msgspec.structs.replace(found.rates, fixed=found.rates.fixed or network["fixed"])
    return msgspec.structs.replace(found, rates=rates)


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Write what was said; when nobody reads it any more (``… | head -1``) go on quietly: the exit code answers too."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(data: Any, as_json: bool, human: Callable[[Any], None]) -> None:
    """Answer in JSON, or through ``human``."""
    with reader_may_leave():
        if as_json:
            sys.stdout.write(msgspec.json.encode(data).decode() + "\n")
        else:
            human(data)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; None is a dash."""
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
    with console.capture() as drawn:
        console.print(table)
    print(drawn.get(), end="")  # rich itself would exit with 1 when nobody reads


def in_ledger(config: Path | None, body: "Callable[[Connection, Settings], Any]", *, write: bool = False) -> Any:
    """Run ``body`` on one look at the configured database, or as one transaction."""
    from chainwatch.parts import open_store

    settings = settings_of(config, with_secrets=False)
    store = open_store(settings)
    try:
        with store.transaction() if write else store.reading() as connection:
            return body(connection, settings)
    finally:
        store.close()


def known_assets() -> Any:
    """Every asset of every known chain: for a database whose chains run elsewhere (the devnet's)."""
    from chainwatch.config import networks

    return {a.code: a for code in networks.known() for a in networks.spec(code).assets}


def decimal_of(asset: str | None, base_units: int | None) -> str | None:
    """Return an amount as JSON shows it beside ``…_base``: decimal text; None where the asset is none that we know."""
    from chainwatch.units import format_units

    if base_units is None or (known := known_assets().get(asset)) is None:
        return None
    return format_units(base_units, known.decimals)


def amount_of(asset: str | None, base_units: int | None) -> str:
    """Return an amount as people read it in a table: with its coin; base units when the asset is none that we know."""
    if base_units is None:
        return "-"
    decimal = decimal_of(asset, base_units)
    return f"{decimal} {asset}" if decimal is not None else f"{base_units} base units of {asset or 'no known asset'}"


def written(value: Any, asset: str | None = None) -> Any:
    """Return plain data as JSON shows it: times in RFC 3339, amounts as decimal text with base units, text too, beside.

    What ends in ``_ms`` is a time and becomes ``…_at``; ``asset`` says what amounts are in where the data does not.
    """
    from chainwatch.times import format_ms

    if isinstance(value, list | tuple):
        return [written(inner, asset) for inner in value]
    if not isinstance(value, dict):
        return value
    asset = value.get("asset", asset)
    done: dict[str, Any] = {}
    for key, inner in value.items():
        if key.endswith("_ms"):
            done[f"{key.removesuffix('_ms')}_at"] = format_ms(inner)
        elif key in ("amount", "paid", "missing"):
            done |= {key: decimal_of(asset, inner), f"{key}_base": None if inner is None else str(inner)}
        else:
            done[key] = written(inner, asset)
    return done
