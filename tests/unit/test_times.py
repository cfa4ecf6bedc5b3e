"""Times: RFC 3339 outside, Unix milliseconds inside, and nothing guessed."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.errors import Rejected
from chainwatch.times import format_ms, parse_ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.001Z", 1),
        ("2026-12-31T20:00:00Z", 1_798_747_200_000),
        ("2026-12-31T21:00:00+01:00", 1_798_747_200_000),
        ("2026-12-31T14:30:00-05:30", 1_798_747_200_000),
        ("2026-12-31T20:00:00.999Z", 1_798_747_200_999),
        ("2026-12-31T20:00:00.999999Z", 1_798_747_200_999),  # cut, never rounded into the next second
        ("2024-02-29T00:00:00Z", 1_709_164_800_000),
    ],
)
def test_a_time_with_its_zone_is_read_to_the_millisecond(text: str, ms: int) -> None:
    """lnbits/lnbits PR#728: charges expired at once where the zone was guessed."""
    assert parse_ms(text) == ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-12-31T20:00:00",  # no zone: whose evening?
        "2026-12-31",
        "20:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-12-31T25:00:00Z",
        "2026-12-31T20:00:00+25:00",
        "1798747200",
        "1798747200000",
        "٢٠٢٦-12-31T20:00:00Z",
        "2026-12-31T20:00:00Z; DROP",
        "0000-01-01T00:00:00Z",
        "x" * 10_000,
    ],
)
def test_what_is_no_time_or_names_no_zone_is_refused_in_few_words(text: str) -> None:
    with pytest.raises(Rejected) as refused:
        parse_ms(text)
    assert refused.value.code == "bad_time"
    assert len(str(refused.value)) < 150


def test_no_time_is_no_time() -> None:
    assert parse_ms(None) is None
    assert format_ms(None) is None


def test_milliseconds_are_written_only_when_there_are_some() -> None:
    assert format_ms(1_798_747_200_000) == "2026-12-31T20:00:00Z"
    assert format_ms(1_798_747_200_007) == "2026-12-31T20:00:00.007Z"
    assert format_ms(0) == "1970-01-01T00:00:00Z"


def test_the_zone_of_the_machine_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        monkeypatch.setenv("TZ", "Pacific/Kiritimati")
        time.tzset()
        assert format_ms(1_798_747_200_000) == "2026-12-31T20:00:00Z"
        assert parse_ms("2026-12-31T20:00:00Z") == 1_798_747_200_000
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_every_millisecond_from_year_1_to_9999_comes_back(ms: int) -> None:
    text = format_ms(ms)
    assert text is not None
    assert parse_ms(text) == ms


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    with contextlib.suppress(Rejected):
        assert isinstance(parse_ms(text), int)
