"""Settings: typed, checked as a whole, and refused with the line that is wrong.

Files in order: ``--config``, else ``/etc/chainwatch/chainwatch.toml``, else ``./chainwatch.toml``, else
embedded defaults.  Over the file, the environment: ``CHAINWATCH__SECTION__KEY``.
"""

import os
import stat
from collections.abc import Collection, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from chainwatch.config import networks
from chainwatch.config.chains import ChainSettings, Checks, Section
from chainwatch.config.finality import stricter
from chainwatch.config.secrets import Secret, is_placeholder, read_secret, secret_file
from chainwatch.config.sections import (
    SECTIONS,
    Access,
    Creators,
    Database,
    Http,
    Payouts,
    Rates,
    Tickets,
    Webhooks,
)
from chainwatch.config.source import Source
from chainwatch.errors import Misconfigured

FILES = (Path("/etc/chainwatch/chainwatch.toml"), Path("chainwatch.toml"))
NO_CHECKS = Checks()
_DATABASES = frozenset({"sqlite", "postgresql", "postgresql+psycopg"})


class Settings(msgspec.Struct, frozen=True):
    """Everything that an operator can say.  ``origin`` is the file it came from."""

    database: Database
    http: Http
    tickets: Tickets
    access: Access
    chains: Mapping[str, ChainSettings]
    state_dir: Path
    rates: Rates = Rates()
    payouts: Payouts = Payouts()
    webhooks: Webhooks = Webhooks()
    creators: Creators = Creators()
    keys: Mapping[str, Secret] = {}
    """The contents of secret files, as ``section.name`` (``access.turn_secret``)."""
    origin: str = "embedded defaults"
    secrets: tuple[Secret, ...] = ()
    """Every secret text that the settings hold, for the log filter."""


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
    return explicit if explicit is not None else next((p for p in candidates if _is_there(p)), None)


def _is_there(path: Path) -> bool:
    """Is there such a file?  One that we may not look at is: reading it says why, other defaults would surprise."""
    try:
        return path.is_file()
    except PermissionError:
        return True


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
    source.check_keys((), (*SECTIONS, "chains"))
    for section, kind in SECTIONS.items():
        source.check_keys((section,), kind.__struct_fields__)
    for name in source.table("chains"):
        source.table("chains", name)
    written = {section: _section(source, section, kind) for section, kind in SECTIONS.items()}
    state = state_dir(environ)
    chains = _chains(source, environ, base, checks, with_secrets=with_secrets)
    http = _http(source, written["http"])
    tickets, access = written["tickets"], written["access"]
    key_file = tickets.signing_key_file
    database = _database(source, written["database"], state)
    keys = _keys(source, written, base, environ) if with_secrets else {}
    password = urlsplit(database.url).password
    return Settings(
        database=database,
        http=http,
        tickets=msgspec.structs.replace(
            tickets, signing_key_file=secret_file("signing-key", base / key_file if key_file else None, environ=environ)
        ),
        access=_access(source, access, http, checks),
        chains=chains,
        state_dir=state,
        rates=written["rates"],
        payouts=written["payouts"],
        webhooks=written["webhooks"],
        creators=written["creators"],
        keys=keys,
        origin=source.name,
        secrets=(
            *(s for c in chains.values() for s in c.secrets),
            *keys.values(),
            *((Secret(password),) if password else ()),
        ),
    )


def _section(source: Source, name: str, kind: type[msgspec.Struct]) -> Any:
    """Read one section; what comes from the environment may write a list as ``a,b``."""
    table = dict(source.table(name))
    for field in msgspec.structs.fields(kind):
        if isinstance(field.default, tuple) and isinstance(value := table.get(field.encode_name), str):
            table[field.encode_name] = [part.strip() for part in value.split(",") if part.strip()]
        if field.encode_name == "signing_key_file" and table.get("signing_key_file") == "":
            del table["signing_key_file"]
    try:
        return msgspec.convert(table, kind, dec_hook=_path)
    except msgspec.ValidationError as error:
        message, _, at = str(error).partition(" - at `$.")
        at = at.strip("`").replace("[...]", "")
        source.refuse((name, *at.split(".")) if at else (name,), f"is not right: {message}")


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise TypeError(f"{kind} from {type(value)}")


def _keys(source: Source, written: Mapping[str, Any], base: Path, environ: Mapping[str, str]) -> dict[str, Secret]:
    """Read the secrets that sections name by file, or that systemd hands out."""
    found: dict[str, Secret] = {}
    for section, values in written.items():
        for key in values.__struct_fields__:
            if not key.endswith("_file") or key == "signing_key_file":
                continue
            name = key.removesuffix("_file")
            configured = getattr(values, key)
            credential = f"{section}-{name}".replace("_", "-")
            path = secret_file(credential, base / configured if configured else None, environ=environ)
            if path is None:
                continue
            try:
                found[f"{section}.{name}"] = read_secret(path)
            except Misconfigured as error:
                source.refuse((section, key), f"is not usable: {error}")
    return found


def reload(old: Settings, new: Settings) -> Settings:
    """Return what may be in force without a restart.

    Depths rise at once and fall only at restart, so that nobody loosens what counts as paid
    under payments that are on their way.  Terms of sale and of the door apply at once.  What the running
    parts were built with (database, listening address, chains, nodes, accounts) stays until a restart.
    """
    chains = {code: _reload_chain(chain, new.chains.get(code, chain)) for code, chain in old.chains.items()}
    kept = msgspec.structs.replace(new.tickets, signing_key_file=old.tickets.signing_key_file)
    http = msgspec.structs.replace(new.http, listen=old.http.listen)
    sections = {name: getattr(new, name) for name in ("access", "rates", "payouts", "webhooks", "creators", "keys")}
    secrets = tuple(dict.fromkeys((*old.secrets, *new.secrets)))
    return msgspec.structs.replace(old, http=http, tickets=kept, chains=chains, secrets=secrets, **sections)


def listening(settings: Settings, port: int) -> Settings:
    """Return the settings of a daemon that took a free port: what was derived from port 0 names the real one."""
    http, access = settings.http, settings.access
    if http.public_url.endswith(":0"):
        http = msgspec.structs.replace(http, public_url=f"{http.public_url[:-1]}{port}")
    if access.domain.endswith(":0"):
        access = msgspec.structs.replace(access, domain=f"{access.domain[:-1]}{port}")
    return msgspec.structs.replace(settings, http=http, access=access)


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
        where=new.where,
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
    return _related(chains)


def _related(chains: Mapping[str, ChainSettings]) -> dict[str, ChainSettings]:
    """Tell every EVM chain of the others: an address of ours on one of them is ours on all."""
    found = {}
    for code, chain in chains.items():
        others = [c.spec for c in chains.values() if c.spec.family == "evm" == chain.spec.family and c is not chain]
        own = {a.lower() for a in chain.spec.receive}
        also = {a.lower(): a for o in others for a in o.receive if a.lower() not in own}
        shared = dict.fromkeys((*chain.spec.shared, *(a for o in others for a in o.shared)))
        spec = msgspec.structs.replace(
            chain.spec, kin=tuple(o.code for o in others), also=tuple(also.values()), shared=tuple(shared)
        )
        found[code] = msgspec.structs.replace(chain, spec=spec)
    return found


def _database(source: Source, written: Database, state: Path) -> Database:
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


def _access(source: Source, written: Access, http: Http, checks: Checks) -> Access:
    """What wallets sign names the domain and the site: with one that no text can say, every guest would be refused."""
    domain = written.domain or urlsplit(http.public_url).netloc
    # Port 0 is replaced when the daemon has a port (``listening``); the door writes the domain in lower case.
    if checks.is_domain is not None and not checks.is_domain(domain.lower().removesuffix(":0")):
        if written.domain:
            source.refuse(("access", "domain"), 'is not a host name with an optional port: "tickets.example"')
        key = "public_url" if source.table("http").get("public_url") else "listen"
        source.refuse(("http", key), f"gives no domain for what wallets sign ({domain!r:.80}): write [access] domain")
    if checks.is_uri_prefix is not None and not checks.is_uri_prefix(f"{http.public_url}/"):
        why = "is not an address that the text a wallet signs can hold: letters, digits and -._~/ after http(s)://"
        source.refuse(("http", "public_url"), why)
    return msgspec.structs.replace(written, domain=domain)


def _http(source: Source, written: Http) -> Http:
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
    return msgspec.structs.replace(written, public_url=public_url.rstrip("/"))
