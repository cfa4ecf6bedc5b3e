"""Logging: one line an event, for people on a terminal, as JSON everywhere else.

Use the standard library: ``log.info("minted", extra={"chain": "HIVE", "ticket": 7})``.  Whatever is in
``extra`` becomes a field.  Every text passes the redaction on its way out: secrets, signatures and URL
credentials go, wallet addresses are shortened, control characters are escaped (memos are hostile text).
"""

import datetime
import logging
import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

import msgspec

HIDDEN = "***"
MAX_TEXT = 4000  # characters of one field: a node's error page must not fill the disk

_PRIORITY = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}  # sd-daemon(3)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_B58 = "1-9A-HJ-NP-Za-km-z"
_URL_LOGIN = re.compile(r"(?<=://)[^/\s@]+@")
_BEARER = re.compile(r"(?i)\b(bearer|basic|signature[=:]|token[=:]|password[=:]|api[-_]?key[=:])\s*[^\s,;&\"']+")
_PRIVATE_KEY = re.compile(rf"\b(?:[A-Za-z]prv[{_B58}]{{80,}}|[5KL9c][{_B58}]{{50,51}})\b")
_HEX_SIGNATURE = re.compile(r"\b(?:0[xX])?[0-9a-fA-F]{128,}\b")
_BASE64_SIGNATURE = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{80,}={0,2}")
_ADDRESS = re.compile(
    r"\b0[xX][0-9a-fA-F]{40}\b"
    r"|\b(?:bc|tb|bcrt|ltc|tltc)1[02-9ac-hj-np-z]{11,87}\b"
    rf"|\b(?=[A-Za-z]*[0-9])(?=[a-z0-9]*[A-Z])(?=[A-Z0-9]*[a-z])[{_B58}]{{26,110}}\b"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def short(address: str) -> str:
    """Return an address that a person recognises and nobody can use: ``0x5290…9EE7``."""
    return address if len(address) <= 16 else f"{address[:6]}…{address[-4:]}"


class Redaction:
    """Takes out of a text what must never be in a log."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: tuple[str, ...] = ()
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Hide these texts too.  Shorter than four characters they would blank ordinary words."""
        longest_first = sorted({*self._secrets, *(str(s) for s in secrets if len(s) >= 4)}, key=len, reverse=True)
        self._secrets = tuple(longest_first)

    def __call__(self, text: str) -> str:
        """Return ``text`` fit to be seen."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        text = _URL_LOGIN.sub(f"{HIDDEN}@", text)
        text = _BEARER.sub(lambda m: f"{m[1]} {HIDDEN}", text)
        text = _PRIVATE_KEY.sub(HIDDEN, text)
        text = _HEX_SIGNATURE.sub("<signature>", text)
        text = _BASE64_SIGNATURE.sub(lambda m: short(m[0]) if _ADDRESS.fullmatch(m[0]) else "<signature>", text)
        text = _ADDRESS.sub(lambda m: short(m[0]), text)
        return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text)} characters)"


class _Formatter(logging.Formatter):
    def __init__(self, redaction: Redaction) -> None:
        super().__init__()
        self.redaction = redaction

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return what ``extra`` carried, fit to be seen."""
        return {k: self._clean(v) for k, v in vars(record).items() if k not in _STANDARD}

    def trouble(self, record: logging.LogRecord) -> str:
        """Return the traceback, if any, fit to be seen."""
        return self.redaction(self.formatException(record.exc_info)) if record.exc_info else ""

    def _clean(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.redaction(str(value))


class HumanFormatter(_Formatter):
    """``12:00:01 warning  watcher  node lags  chain=HIVE blocks=7``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line (and the traceback, indented)."""
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC).strftime("%H:%M:%S")
        message = _escaped(self.redaction(record.getMessage()))
        fields = "".join(f" {k}={_escaped(str(v))}" for k, v in self.fields(record).items())
        name = record.name.removeprefix("chainwatch.")
        line = f"{time} {record.levelname.lower():<8} {name:<10} {message}{' ' if fields else ''}{fields}"
        trouble = "".join(f"\n    {_escaped(row)}" for row in self.trouble(record).splitlines())
        return line + trouble


class JsonFormatter(_Formatter):
    """One JSON object a line; under systemd with the priority prefix that journald reads."""

    def __init__(self, redaction: Redaction, *, prefix: bool = False) -> None:
        super().__init__(redaction)
        self._prefix = prefix

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        row = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.redaction(record.getMessage()),
            **{f"field_{k}" if k in {"time", "level", "logger"} else k: v for k, v in self.fields(record).items()},
        }
        if trouble := self.trouble(record):
            row["exception"] = trouble
        prefix = f"<{_PRIORITY.get(record.levelno, 6)}>" if self._prefix else ""
        return prefix + _escaped(msgspec.json.encode(row).decode("utf-8"))  # \uXXXX is JSON as well


def under_journald(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Is ``stream`` connected to the journal (systemd.exec(5), JOURNAL_STREAM)?"""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def configure(
    *,
    level: int = logging.INFO,
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Redaction:
    """Send everything that is logged in this process to ``stream`` (stderr).  Called once, by the command line."""
    out = sys.stderr if stream is None else stream
    redaction = Redaction(secrets)
    handler = logging.StreamHandler(out)
    if out.isatty():
        handler.setFormatter(HumanFormatter(redaction))
    else:
        handler.setFormatter(JsonFormatter(redaction, prefix=under_journald(out, environ)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # A line for every request (they are counted instead) and for every start of the schema tool.
    for talkative in ("aiohttp.access", "alembic"):
        logging.getLogger(talkative).setLevel(max(level, logging.WARNING))
    return redaction


def _escaped(text: str) -> str:
    return _CONTROL.sub(lambda m: f"\\u{ord(m[0]):04x}", text)
