"""An event as a calendar file (RFC 5545): one VEVENT that replaces itself when the event moves.  Pure."""

from datetime import UTC, datetime

from chainwatch.errors import Rejected

CONTENT_TYPE = "text/calendar"
MAX_LINE = 75
"""Octets of a line; a longer one is folded (RFC 5545, 3.1)."""
HOUR_MS = 3_600_000
REMIND = "-PT15M"


def ics(
    *,
    uid: str,
    title: str,
    description: str,
    url: str,
    start_ms: int | None,
    end_ms: int | None,
    changed_ms: int,
    cancelled: bool = False,
) -> bytes:
    """The file.  ``Rejected('no_date')`` when the event has no start.  Without an end it takes an hour."""
    if start_ms is None:
        raise Rejected("no_date", "the event has no date yet")
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//chainwatch//tickets//EN",
        "METHOD:PUBLISH",
        "BEGIN:VEVENT",
        f"UID:{uid}",
        f"DTSTAMP:{_time(changed_ms)}",
        f"LAST-MODIFIED:{_time(changed_ms)}",
        f"SEQUENCE:{changed_ms // 1000 % 2**31}",  # grows with each change, so that calendars take the newer
        f"DTSTART:{_time(start_ms)}",
        f"DTEND:{_time(end_ms if end_ms is not None else start_ms + HOUR_MS)}",
        f"SUMMARY:{_text(title)}",
        f"DESCRIPTION:{_text(description)}",
        f"URL:{url}",
        f"STATUS:{'CANCELLED' if cancelled else 'CONFIRMED'}",
        "BEGIN:VALARM",
        "ACTION:DISPLAY",
        f"DESCRIPTION:{_text(title)}",
        f"TRIGGER:{REMIND}",
        "END:VALARM",
        "END:VEVENT",
        "END:VCALENDAR",
    ]
    return b"".join(_folded(line) + b"\r\n" for line in lines)


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y%m%dT%H%M%SZ}"


def _text(value: str) -> str:
    """A TEXT value (RFC 5545, 3.3.11): no line break of its own, so nothing in a title can begin another property."""
    escaped = value.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")
    lines = escaped.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\\n".join("".join(c for c in line if c == "\t" or (ord(c) >= 32 and ord(c) != 127)) for line in lines)


def _folded(line: str) -> bytes:
    """Fold after at most 75 octets, never inside a character."""
    out, used = bytearray(), 0
    for char in line:
        data = char.encode("utf-8", "replace")
        if used + len(data) > MAX_LINE:
            out += b"\r\n "
            used = 1
        out += data
        used += len(data)
    return bytes(out)
