"""RFC 3339 outside, Unix milliseconds inside."""

from datetime import UTC, datetime, timedelta

from chainwatch.errors import Rejected

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_ms(text: str | None) -> int | None:
    """Return the Unix milliseconds of an RFC 3339 time; ``Rejected('bad_time')`` for anything else."""
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise Rejected("bad_time", f"{text[:40]!r} is no time; write 2026-12-31T20:00:00Z") from error
    if when.tzinfo is None:
        raise Rejected("bad_time", f"{text[:40]!r} names no time zone; write 2026-12-31T20:00:00Z")
    return (when - _EPOCH) // timedelta(milliseconds=1)


def format_ms(ms: int | None) -> str | None:
    """Return Unix milliseconds as RFC 3339 UTC."""
    if ms is None:
        return None
    when = _EPOCH + timedelta(milliseconds=ms)
    return when.replace(tzinfo=None).isoformat(timespec="milliseconds" if ms % 1000 else "seconds") + "Z"


def shown_ms(ms: int | None) -> str:
    """Return Unix milliseconds as people read them: to the minute, in UTC, which it says."""
    if ms is None:
        return ""
    when = _EPOCH + timedelta(milliseconds=ms)
    return f"{when.day} {when:%B %Y, %H:%M} UTC"
