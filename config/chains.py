"""One ``[chains.<CODE>]`` section, laid over what ``networks.toml`` knows of that chain."""

import difflib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import msgspec

from chainwatch.config import networks
from chainwatch.config.finality import is_weaker, parse_finality, stricter
from chainwatch.config.secrets import Secret, is_placeholder, private_key, read_secret, secret_file
from chainwatch.config.source import KeyPath, Source
from chainwatch.errors import Misconfigured
from chainwatch.finality import Rule
from chainwatch.model import Asset, ChainSpec

IsWallet = Callable[[ChainSpec, str], bool]
"""Is this text an address of that chain, by its own rules (checksum included)?"""

AdapterCheck = Callable[[ChainSpec], object]
"""Let the adapter look at its options without any I/O (``adapters.open_source``); it raises ``Misconfigured``."""

COMMON = networks.COMMON_KEYS | {"params", "endpoints", "receive", "shared", "start", "payout_depth"}
SECRET_OPTIONS = frozenset({"login", "memo_key", "password", "auth_token", "view_key", "api_key"})
"""Options whose value is secret: written as ``<name>_file``, never in the configuration itself."""

_ENTIRE = ("adapter", "family", "chain_id", "block_time_ms", "finality", "assets")
_MAX_ENDPOINTS = 20  # health checks go to each of them
_MAX_RECEIVE = 1000  # configured by hand; derived addresses come from an xpub
_KEY_LIKE = re.compile(r"(?=.*\d)[A-Za-z0-9_-]{20,}")
_HASH_KEY = re.compile("genesis|hash|checkpoint")  # hashes have the shape of a key
_SCHEMES = frozenset({"http", "https"})


class ChainSettings(msgspec.Struct, frozen=True):
    """A configured chain: what its adapter gets, and what counts as paid."""

    spec: ChainSpec
    finality: Rule
    payout_finality: Rule
    secrets: tuple[Secret, ...] = ()
    """Every secret of this section (file contents, URL passwords), for the log filter."""
    where: str = ""
    """Where the section says what its network is, or begins: ``chainwatch.toml line 31``."""


class Checks(msgspec.Struct, frozen=True):
    """What the settings ask of parts that they must not import."""

    is_wallet: IsWallet | None = None
    adapter: AdapterCheck | None = None
    is_domain: Callable[[str], bool] | None = None
    """Can the texts that wallets sign name this domain?"""
    is_uri_prefix: Callable[[str], bool] | None = None
    """The same of the address of the site, with a slash at its end."""


class _Written(msgspec.Struct):
    """The keys with a fixed type; the rest is read one by one."""

    adapter: str
    family: str
    block_time_ms: int
    chain_id: int | str = ""
    endpoints: list[str] | str = []
    receive: list[str] | str = []
    shared: list[str] | str = []
    start: int | str = "tip"
    params: dict[str, Any] = {}


class _WrittenAsset(msgspec.Struct, forbid_unknown_fields=True):
    decimals: Annotated[int, msgspec.Meta(ge=0, le=30)]
    id: str | None = None
    contract: str | None = None
    mint: str | None = None
    program: str | None = None
    dust: Annotated[int, msgspec.Meta(ge=0)] = 0


_T = TypeVar("_T")


class Section:
    """The reader of one section; every refusal names its line."""

    def __init__(self, source: Source, name: str, environ: Mapping[str, str], base: Path, checks: Checks) -> None:
        self.source, self.name, self.environ, self.base, self.checks = source, name, environ, base, checks
        self.code = networks.canonical_code(name)
        self.own = source.table("chains", name)
        self.known = networks.known().get(self.code, {})
        self.secrets: list[Secret] = []

    def __str__(self) -> str:
        return f"[chains.{self.name}] "

    def read(self, *, with_secrets: bool) -> ChainSettings:
        """Return the chain as configured; ``Misconfigured`` for anything that is wrong."""
        missing = [] if self.known else [k for k in _ENTIRE if k not in self.own]
        if missing:
            self.refuse((), f"is no chain that is known here: its section must say {', '.join(missing)} too")
        self._no_private_keys(self.own, ())
        merged = {**self.known, **self.own}
        if unknown := sorted(set(self.own.get("params", {})) & COMMON):
            self.refuse(("params", unknown[0]), "is a key of the section itself, not of 'params'")
        constants = {k: v for k, v in self.known.items() if k not in COMMON}
        written = self._convert(merged, _Written, ())
        spec = ChainSpec(
            code=self.code,
            adapter=written.adapter,
            family=written.family,
            assets=self._assets(),
            endpoints=self._endpoints(written.endpoints),
            chain_id=str(written.chain_id),
            start=self._start(written.start),
            block_time_ms=written.block_time_ms,
            params={**constants, **written.params},
            options=self._options(with_secrets=with_secrets),
        )
        receive = self._receive(written.receive, spec)
        spec = msgspec.structs.replace(spec, receive=receive, shared=self._shared(written.shared, receive))
        finality, payout = self._finality(merged, spec.native.decimals)
        if with_secrets:
            self._ask_adapter(spec)
        where = self.source.where(("chains", self.name, "chain_id"))
        return ChainSettings(spec, finality, payout, tuple(self.secrets), where)

    def refuse(self, path: KeyPath, why: str, *, value: str | None = None) -> NoReturn:
        """Raise ``Misconfigured`` naming the place of ``path`` inside this section."""
        self.source.refuse(("chains", self.name, *path), why, value=value)

    # -- the parts of a section ------------------------------------------------------------------

    def _assets(self) -> tuple[Asset, ...]:
        for key in ("assets", "tokens"):
            self._convert(self.own.get(key, {}), dict[str, dict[str, Any]], (key,))
        merged = networks.overlay(self.known, self.own)
        for key in ("assets", "tokens"):
            for name, asset in merged.get(key, {}).items():
                self._convert(asset, _WrittenAsset, (key, name))
        assets = networks.assets_of(self.code, merged)
        nameless = [a.code for a in assets if a.code.startswith(f"{self.code}:") and a.asset_id is None]
        if nameless:
            self.refuse(("tokens",), f"has {nameless[0]} without its 'contract' or 'mint'")
        return assets

    def _endpoints(self, value: list[str] | str) -> tuple[str, ...]:
        urls = _listed(value)
        if not urls:
            self.refuse(("endpoints",), "is missing: name at least one node")
        if len(urls) > _MAX_ENDPOINTS:
            self.refuse(("endpoints",), f"has more than {_MAX_ENDPOINTS} nodes")
        for url in urls:
            try:
                parts = urlsplit(url)
                bad = parts.scheme not in _SCHEMES or not parts.hostname or parts.port == 0
            except ValueError:
                bad = True
            if bad:
                self.refuse(("endpoints",), "has an entry that is not an http(s) URL", value=url)
            if parts.password is not None:
                if is_placeholder(parts.password):
                    self.refuse(("endpoints",), "has a URL with a default password", value=url)
                self.secrets.append(Secret(parts.password))
            # Providers put their keys into the path or the query: 20 characters are no word.
            self.secrets += [Secret(word) for word in re.split(r"[/?&=]", url) if _KEY_LIKE.fullmatch(word)]
        if len(set(urls)) != len(urls):
            self.refuse(("endpoints",), "names a node twice: that is no second opinion")
        return urls

    def _receive(self, value: list[str] | str, spec: ChainSpec) -> tuple[str, ...]:
        addresses = _listed(value)
        if len(addresses) > _MAX_RECEIVE:
            self.refuse(("receive",), f"has more than {_MAX_RECEIVE} addresses")
        for address in addresses:
            if self.checks.is_wallet is not None and not self.checks.is_wallet(spec, address):
                self.refuse(("receive",), f"has {address[:100]!r}, no valid {self.code} address", value=address)
        if not addresses and "xpub" not in spec.options and spec.family != "monero":
            self.refuse(("receive",), "is missing: where do buyers pay to?")
        return tuple(dict.fromkeys(addresses))

    def _shared(self, value: list[str] | str, receive: tuple[str, ...]) -> tuple[str, ...]:
        shared = _listed(value)
        for account in shared:
            if account not in receive:
                self.refuse(("shared",), f"names {account[:100]!r}, which is not in 'receive'", value=account)
        return shared

    def _start(self, value: int | str) -> int | str:
        if value != "tip" and not (isinstance(value, int) and value >= 0):
            self.refuse(("start",), 'is "tip" or a height')
        return value

    def _finality(self, merged: Mapping[str, Any], decimals: int) -> tuple[Rule, Rule]:
        finality = self._rule("finality", merged["finality"], decimals)
        if "payout_depth" in self.own and "payout_finality" in self.own:
            self.refuse(("payout_depth",), "and 'payout_finality' say the same thing: keep one")
        key = "payout_depth" if "payout_depth" in self.own else "payout_finality"
        if key not in merged:
            return finality, finality
        payout = self._rule(key, merged[key], decimals)
        # Money must not leave on less than what a ticket needs.  An operator's stricter `finality`
        # lifts the shipped payout rule with it; a weaker rule of their own is a mistake to name.
        if key in self.own and is_weaker(payout, finality):
            self.refuse((key,), "is weaker than 'finality'")
        return finality, stricter(finality, payout)

    def _rule(self, key: str, value: Any, decimals: int) -> Rule:
        try:
            return parse_finality(value, decimals)
        except ValueError as error:
            self.refuse((key,), f"is not right: {error}")

    # -- what only the adapter knows -------------------------------------------------------------

    def _options(self, *, with_secrets: bool) -> Mapping[str, Any]:
        options: dict[str, Any] = {}
        for key, value in self.own.items():
            if key in COMMON:
                continue
            if key in SECRET_OPTIONS:
                self.refuse((key,), f"is a secret: put it into a file and write {key}_file")
            if difflib.get_close_matches(key, COMMON, 1, cutoff=0.8):
                self.source.unknown(("chains", self.name), key, COMMON)
            options[key] = self._secret_file(key, value) if with_secrets and key.endswith("_file") else value
        return options

    def _secret_file(self, key: str, value: Any) -> str:
        """Return the path of a secret that is there and fit to be used; the adapter reads it."""
        if not isinstance(value, str) or not value:
            self.refuse((key,), "is the path of a file")
        name = f"{self.code}-{key.removesuffix('_file')}".lower().replace("_", "-")
        path = secret_file(name, self.base / value, environ=self.environ)
        assert path is not None  # one was given
        try:
            secret = read_secret(path)
        except Misconfigured as error:
            self.refuse((key,), f"is not usable: {error}")
        # A login is user:password; what must not be seen is the password, alone too.
        self.secrets += [secret, *(Secret(part) for part in secret.split(":")[1:])]
        return str(path)

    def _ask_adapter(self, spec: ChainSpec) -> None:
        if self.checks.adapter is None:
            return
        try:
            self.checks.adapter(spec)
        except Misconfigured as error:
            words = re.findall(r"[A-Za-z0-9_]+", str(error))
            named = next((word for word in words if word in self.own), None)  # the key comes before what it needs
            place = self.source.where(("chains", self.name, *([named] if named else ())))
            prefix = "" if f"chains.{self.code}" in str(error) else str(self)
            raise Misconfigured(f"{place}: {prefix}{error}") from error

    def _no_private_keys(self, value: Any, path: KeyPath) -> None:
        """Refuse spending keys wherever an operator may have pasted one; the message never shows it."""
        if isinstance(value, dict):
            for key, inner in value.items():
                # The constants of a network have the shape of a key.
                if path or key not in {"params", "chain_id"}:
                    self._no_private_keys(inner, (*path, key))
        elif isinstance(value, list):
            for inner in value:
                self._no_private_keys(inner, path)
        elif isinstance(value, str) and (kind := private_key(value, hashes=bool(_HASH_KEY.search(path[0])))):
            self.refuse(path, f"holds {kind}; only public keys and addresses belong here", value=value)

    def _convert(self, value: Any, kind: type[_T], path: KeyPath) -> _T:
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            message, _, at = str(error).partition(" - at `$")
            inner = tuple(p for p in at.strip("`").replace("[...]", "").split(".") if p)
            self.refuse((*path, *inner), f"is not right: {message}")


def _listed(value: list[str] | str) -> tuple[str, ...]:
    """Return a list of texts; from the environment also ``a,b``."""
    items = value.split(",") if isinstance(value, str) else value
    return tuple(item.strip() for item in items if item.strip())
