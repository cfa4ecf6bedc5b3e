"""What a spreadsheet would run is quoted."""

import pytest

from chainwatch.spreadsheet import cell


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1 a", "-", "@SUM(A1)", "\t=1", "\r=1", "=HYPERLINK(1)", "-1\n=1"])
def test_what_a_spreadsheet_would_run_is_quoted(text: str) -> None:
    assert cell(text) == "'" + text


@pytest.mark.parametrize("value", ["gala", "", "-1", "-12.5", "7", -5, 0, None])
def test_anything_else_stays(value: object) -> None:
    assert cell(value) == value
