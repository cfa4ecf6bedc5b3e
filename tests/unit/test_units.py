"""Decimal text and base units."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.errors import Rejected
from chainwatch.model import MAX_BASE_UNITS
from chainwatch.units import format_units, parse_units


@given(st.integers(0, MAX_BASE_UNITS), st.integers(0, 30))
def test_every_amount_comes_back_from_its_text(amount: int, decimals: int) -> None:
    assert parse_units(format_units(amount, decimals), decimals) == amount


def test_wei_that_a_float_would_round() -> None:
    assert parse_units("1234567.123456789012345678", 18) == 1234567123456789012345678
    assert parse_units("0.005", 18) == 5_000_000_000_000_000


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1e3", "1,5", ".5", "5.", "0.0001", "1" * 77, "٣", " 1", "0x10", "nan"]
)
def test_what_is_no_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(Rejected):
        parse_units(text, 3)


def test_negative_base_units_format_with_their_sign() -> None:
    assert format_units(-1, 3) == "-0.001"
    assert format_units(7, 0) == "7"
