"""Settings: typed, checked as a whole, and refused with the line that is wrong.

Files in order: ``--config``, else ``/etc/chainwatch/chainwatch.toml``, else ``./chainwatch.toml``, else
embedded defaults.  Over the file, the environment: ``CHAINWATCH__SECTION__KEY``.
"""

import os
import stat
from collections.abc import Collection, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from chainwatch.config import networks
from chainwatch.config.chains import ChainSettings, Checks, Section
from chainwatch.config.finality import stricter
from chainwatch.config.secrets import Secret, is_placeholder, secret_file
from chainwatch.config.source import Source
from chainwatch.errors import Misconfigured

FILES = (Path("/etc/chainwatch/chainwatch.toml"), Path("chainwatch.toml"))
NO_CHECKS = Checks()
_DATABASES = frozenset({"sqlite", "postgresql", "postgresql+psycopg"})


class Database(msgspec.Struct, frozen=True):
    """``[database]``: where the ledger is kept."""

    url: str


class Http(msgspec.Struct, frozen=True):
    """``[http]``: where the daemon listens, and how the world reaches it."""

    listen: str
    public_url: str

    @property
    def host(self) -> str:
        """The address to bind."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port to bind; 0 takes a free one."""
        return int(self.listen.rpartition(":")[2])


class Tickets(msgspec.Struct, frozen=True):
    """``[tickets]``: money and seats.

    ``signing_key_file``: the systemd credential ``signing-key`` if there is one, else as configured;
    None: the key in the state directory.
    """

    signing_key_file: Path | None
    commission_bps: int
    payout_delay_days: int
    hold_minutes: int
    seen_hold_minutes: int


class Access(msgspec.Struct, frozen=True):
    """``[access]``: what a wallet signs at the door."""

    domain: str
    window_seconds: int
    classic_messages: bool


class Settings(msgspec.Struct, frozen=True):
    """Everything that an operator can say.  ``origin`` is the file it came from."""

    database: Database
    http: Http
    tickets: Tickets
    access: Access
    chains: Mapping[str, ChainSettings]
    state_dir: Path
    origin: str = "embedded defaults"
    secrets: tuple[Secret, ...] = ()
    """Every secret text that the settings hold, for the log filter."""


class _WrittenDatabase(msgspec.Struct):
    url: str = ""


class _WrittenHttp(msgspec.Struct):
    listen: str = "127.0.0.1:8080"
    public_url: str = ""


class _WrittenTickets(msgspec.Struct):
    signing_key_file: str = ""
    commission_bps: Annotated[int, Meta(ge=0, le=10_000)] = 2000
    payout_delay_days: Annotated[int, Meta(ge=0, le=365)] = 7
    hold_minutes: Annotated[int, Meta(ge=1, le=24 * 60)] = 15
    seen_hold_minutes: Annotated[int, Meta(ge=1, le=7 * 24 * 60)] = 120


class _WrittenAccess(msgspec.Struct):
    domain: str = ""
    window_seconds: Annotated[int, Meta(ge=30, le=3600)] = 300
    classic_messages: bool = True


class _Written(msgspec.Struct):
    database: _WrittenDatabase = msgspec.field(default_factory=_WrittenDatabase)
    http: _WrittenHttp = msgspec.field(default_factory=_WrittenHttp)
    tickets: _WrittenTickets = msgspec.field(default_factory=_WrittenTickets)
    access: _WrittenAccess = msgspec.field(default_factory=_WrittenAccess)
    chains: dict[str, dict[str, Any]] = {}


def example() -> str:
    """Return the annotated example configuration that ships with the wheel."""
    return (files("chainwatch.config") / "chainwatch.example.toml").read_text("utf-8")


def state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return (made if need be, mode 0700) the one directory for database, keys and journals.

    ``$STATE_DIRECTORY`` (systemd), else ``$XDG_STATE_HOME/chainwatch``, else ``~/.local/state/chainwatch``.
    """
    if given := environ.get("STATE_DIRECTORY", "").split(":")[0]:
        path = Path(given)
    elif (state_home := environ.get("XDG_STATE_HOME", "")).startswith("/"):  # relative ones are invalid (XDG)
        path = Path(state_home) / "chainwatch"
    elif home := environ.get("HOME", ""):
        path = Path(home) / ".local/state/chainwatch"
    else:
        raise Misconfigured("no place for state: set STATE_DIRECTORY, XDG_STATE_HOME or HOME")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise Misconfigured(f"state directory {path}: {error.strerror}") from error
    return path


def find_file(explicit: Path | None = None, candidates: Collection[Path] = FILES) -> Path | None:
    """Return the configuration file to read: the one asked for, else the first that is there."""
    return explicit if explicit is not None else next((p for p in candidates if p.is_file()), None)


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    checks: Checks = NO_CHECKS,
    chains: Mapping[str, Mapping[str, Any]] | None = None,
    with_secrets: bool = True,
) -> Settings:
    """Read the configuration that ``--config`` names or the machine offers, the environment over it.

    ``chains``: sections that stand in for those of the file (the built-in devnet).
    ``with_secrets=False`` reads no secret file: for commands that talk to no node.
    """
    found = find_file(path)
    source = Source.of_file(found, environ) if found else Source("embedded defaults", "", environ)
    if chains is not None:
        source.data["chains"] = {code: dict(section) for code, section in chains.items()}
    base = found.resolve().parent if found else Path.cwd()
    return build(source, environ=environ, checks=checks, base=base, with_secrets=with_secrets)


def parse(text: str, *, environ: Mapping[str, str] | None = None, checks: Checks = NO_CHECKS) -> Settings:
    """Read a configuration given as text (tests, ``check`` of a draft)."""
    variables = os.environ if environ is None else environ
    return build(Source("chainwatch.toml", text, variables), environ=variables, checks=checks)


def build(
    source: Source,
    *,
    environ: Mapping[str, str],
    checks: Checks = NO_CHECKS,
    base: Path = Path(),
    with_secrets: bool = True,
) -> Settings:
    """Check everything that was written and return it typed.  ``base``: what relative secret files are relative to."""
    source.check_keys((), _Written.__struct_fields__)
    for section in ("database", "http", "tickets", "access"):
        source.check_keys((section,), globals()[f"_Written{section.title()}"].__struct_fields__)
    for name in source.table("chains"):
        source.table("chains", name)
    try:
        written = msgspec.convert(source.data, _Written)
    except msgspec.ValidationError as error:
        message, _, at = str(error).partition(" - at `$.")
        at = at.strip("`").replace("[...]", "")
        source.refuse(tuple(at.split(".")) if at else ("chains",), f"is not right: {message}")
    state = state_dir(environ)
    chains = _chains(source, environ, base, checks, with_secrets=with_secrets)
    http = _http(source, written.http)
    key_file = written.tickets.signing_key_file
    database = _database(source, written.database, state)
    password = urlsplit(database.url).password
    return Settings(
        database=database,
        http=http,
        tickets=Tickets(
            signing_key_file=secret_file("signing-key", base / key_file if key_file else None, environ=environ),
            commission_bps=written.tickets.commission_bps,
            payout_delay_days=written.tickets.payout_delay_days,
            hold_minutes=written.tickets.hold_minutes,
            seen_hold_minutes=written.tickets.seen_hold_minutes,
        ),
        access=Access(
            domain=written.access.domain or urlsplit(http.public_url).netloc,
            window_seconds=written.access.window_seconds,
            classic_messages=written.access.classic_messages,
        ),
        chains=chains,
        state_dir=state,
        origin=source.name,
        secrets=(*(s for c in chains.values() for s in c.secrets), *((Secret(password),) if password else ())),
    )


def reload(old: Settings, new: Settings) -> Settings:
    """Return what may be in force without a restart.

    Depths rise at once and fall only at restart, so that nobody loosens what counts as paid
    under payments that are on their way.  Terms of sale and of the door apply at once.  What the running
    parts were built with (database, listening address, chains, nodes, accounts) stays until a restart.
    """
    chains = {code: _reload_chain(chain, new.chains.get(code, chain)) for code, chain in old.chains.items()}
    kept = msgspec.structs.replace(new.tickets, signing_key_file=old.tickets.signing_key_file)
    http = msgspec.structs.replace(new.http, listen=old.http.listen)
    secrets = tuple(dict.fromkeys((*old.secrets, *new.secrets)))
    return msgspec.structs.replace(old, http=http, tickets=kept, access=new.access, chains=chains, secrets=secrets)


def waits_for_restart(applied: Settings, new: Settings) -> tuple[str, ...]:
    """Name what ``new`` says and ``reload`` did not apply, for the operator's log."""
    waiting = []
    if applied.database != new.database:
        waiting.append("database.url")
    if applied.http.listen != new.http.listen:
        waiting.append("http.listen")
    if applied.tickets.signing_key_file != new.tickets.signing_key_file:
        waiting.append("tickets.signing_key_file")
    codes = sorted({*applied.chains, *new.chains})
    return (*waiting, *(f"chains.{c}" for c in codes if applied.chains.get(c) != new.chains.get(c)))


def _reload_chain(old: ChainSettings, new: ChainSettings) -> ChainSettings:
    return msgspec.structs.replace(
        old,
        finality=stricter(old.finality, new.finality),
        payout_finality=stricter(old.payout_finality, new.payout_finality),
    )


def _chains(
    source: Source, environ: Mapping[str, str], base: Path, checks: Checks, *, with_secrets: bool
) -> dict[str, ChainSettings]:
    chains: dict[str, ChainSettings] = {}
    identities: dict[tuple[str, str], str] = {}
    for name in source.table("chains"):
        code = networks.canonical_code(name)
        if code in chains:
            source.refuse(("chains", name), f"is {code} again, which has a section already")
        chain = Section(source, name, environ, base, checks).read(with_secrets=with_secrets)
        identity = (chain.spec.family, chain.spec.chain_id)
        # The same network under two names would count every payment twice.
        if chain.spec.chain_id and identity in identities:
            source.refuse(("chains", name), f"has the chain id of {identities[identity]}: one chain, one section")
        identities[identity] = code
        chains[code] = chain
    return chains


def _database(source: Source, written: _WrittenDatabase, state: Path) -> Database:
    url = written.url or f"sqlite:///{state / 'chainwatch.db'}"
    try:
        parts = urlsplit(url)
        known = parts.scheme in _DATABASES
    except ValueError:
        known = False
    if not known:
        source.refuse(("database", "url"), "is neither sqlite:///… nor postgresql://…")
    if parts.password is not None and is_placeholder(parts.password):
        source.refuse(("database", "url"), "has a default password")
    return Database(url)


def _http(source: Source, written: _WrittenHttp) -> Http:
    host, _, port = written.listen.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        source.refuse(("http", "listen"), 'is not "<address>:<port>"')
    public_url = written.public_url or f"http://{written.listen}"
    try:
        parts = urlsplit(public_url)
        good = parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc and not parts.query
    except ValueError:
        good = False
    if not good:
        source.refuse(("http", "public_url"), "is not a plain http(s) URL")
    return Http(written.listen, public_url.rstrip("/"))
