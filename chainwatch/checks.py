"""``chainwatch check``: ask every outside part who it is, one line each."""

import asyncio
import random
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Connection

from chainwatch import adapters, ticker
from chainwatch.adapters.base import Services, SilentObserver
from chainwatch.clock import SystemClock
from chainwatch.config.chains import ChainSettings
from chainwatch.config.finality import describe
from chainwatch.config.settings import Settings
from chainwatch.errors import ChainwatchError, Misconfigured, Transient
from chainwatch.ledger import pool, rates, schema
from chainwatch.ledger.store import Store
from chainwatch.model import NodeFacts
from chainwatch.tickets.token import load_issuer

T = TypeVar("T")

REFUSED, SILENT = 2, 3

PATIENCE_S = 12.0
"""How long a node may take to say who it is: the daemon would go on asking, a person waits for the answer."""


class Line(msgspec.Struct, frozen=True):
    """One part: what it said, or why not.  ``code`` is the exit code that a failure asks for."""

    part: str
    ok: bool
    text: str
    code: int = 0


async def check(settings: Settings) -> list[Line]:
    """Ask all parts at once; never raises for what a part says."""
    lines = [Line("configuration", True, settings.origin), _database(settings), _key(settings), *_ranges(settings)]
    asked = await asyncio.gather(*(_chain(c) for c in settings.chains.values()), _rates(settings))
    return lines + [line for part in asked for line in part]


def _database(settings: Settings) -> Line:
    part = "database"
    try:
        store = Store(settings.database.url)
        if store.path is not None and not store.path.exists():
            return Line(part, True, f"{store.shown_url} is not there yet: the first start makes it")
        try:
            with store.reading() as connection:
                have = schema.current(connection)
        finally:
            store.close()
    except ChainwatchError as error:
        return _failed(part, error)
    if have not in (None, schema.newest()):
        text = f"{store.shown_url} has schema {have}, this program needs {schema.newest()}: run `chainwatch db upgrade`"
        return Line(part, False, text, REFUSED)
    return Line(part, True, f"{store.shown_url} {'is empty' if have is None else f'has schema {have}'}")


def _read(settings: Settings, ask: Callable[[Connection], T]) -> T | None:
    """Ask the ledger, which is left as it is; None where there is none of our version: its own line says why."""
    try:
        store = Store(settings.database.url)
        if store.path is not None and not store.path.exists():
            return None
        try:
            with store.reading() as connection:
                return ask(connection) if schema.current(connection) == schema.newest() else None
        finally:
            store.close()
    except ChainwatchError:
        return None


def _ranges(settings: Settings) -> list[Line]:
    """Say which addresses the operator's own wallets must look at, for chains where purchases have their own."""
    found = _read(settings, lambda c: {code: pool.derived(c, code) for code in settings.chains}) or {}
    return [
        Line(code, True, f"a wallet that spends what buyers pay must scan its addresses 0 to {newest}")
        for code, newest in found.items()
        if newest is not None
    ]


def _key(settings: Settings) -> Line:
    path = settings.tickets.signing_key_file
    if path is None:
        return Line("signing key", True, "the one in the state directory, made on the first start")
    try:
        return Line("signing key", True, f"{path}, key id {load_issuer(path).kid}")
    except ChainwatchError as error:
        return _failed("signing key", error)


async def _rates(settings: Settings) -> list[Line]:
    """Ask the price sources about what events need; nobody is asked when none needs a rate."""
    wanted = _read(settings, rates.wanted)
    if not wanted:
        return []
    try:
        asked = await ticker.states(settings.rates, ticker.hive_url(settings.chains), wanted, SystemClock())
    except ChainwatchError as error:
        return [_failed("rates", error)]
    lines = [Line(f"rates {s.source}", s.ok, s.text, 0 if s.ok else SILENT) for s in asked]
    good = sum(line.ok for line in lines)
    if not settings.rates.fixed and good >= settings.rates.quorum:  # the others do without it
        lines = [line if line.ok else Line(line.part, True, f"warning: {line.text}") for line in lines]
    return lines


async def _chain(chain: ChainSettings) -> list[Line]:
    spec = chain.spec
    clock = SystemClock()
    services = Services(clock=clock, random=random.SystemRandom(), observer=SilentObserver())
    try:
        source = adapters.open_source(spec, services)
        try:
            async with asyncio.timeout(PATIENCE_S):
                return [line for facts in await source.open() for line in _facts(chain, facts)]
        finally:
            await source.close()
    except TimeoutError:
        nodes = ", ".join(sorted({f"{u.hostname}:{u.port}" for u in map(urlsplit, spec.endpoints)}))
        return [Line(spec.code, False, f"no answer from {nodes} within {PATIENCE_S:.0f} s", SILENT)]
    except ChainwatchError as error:
        where = f"{chain.where}: " if isinstance(error, Misconfigured) and chain.where else ""
        return [_failed(spec.code, error, where)]


def _facts(chain: ChainSettings, facts: NodeFacts) -> list[Line]:
    spec = chain.spec
    who = f"{facts.endpoint} {facts.version}, network {facts.network}"
    genesis = f", genesis {facts.genesis}" if facts.genesis else ""
    final = f"final {facts.final.height}" if facts.final else "no finality of its own"
    rule = f"a payment counts at {describe(chain.finality, spec.native)}"
    lines = [Line(spec.code, True, f"{who}{genesis}, head {facts.head.height}, {final}; {rule}")]
    lines += [Line(spec.code, True, f"{facts.endpoint} warning: {w}") for w in facts.warnings]
    return lines


def _failed(part: str, error: ChainwatchError, where: str = "") -> Line:
    text = " ".join(f"{where}{error}".split())  # a database says it in two lines
    return Line(part, False, text, SILENT if isinstance(error, Transient) else REFUSED)
