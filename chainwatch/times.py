"""RFC 3339 outside, Unix milliseconds inside."""

from datetime import UTC, datetime

from chainwatch.errors import Rejected


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
    return int(when.timestamp()) * 1000 + when.microsecond // 1000


def format_ms(ms: int | None) -> str | None:
    """Return Unix milliseconds as RFC 3339 UTC."""
    if ms is None:
        return None
    seconds, rest = divmod(ms, 1000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:03}Z" if rest else f"{text}Z"
