"""Durations as people write them, and the times of day."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.times import LONGEST, format_duration, parse_duration


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("40s", 40),
        ("10m", 600),
        ("1h30m", 5400),
        ("2d", 172800),
        ("40", 40),
        (" 40 ", 40),
        ("0.5s", 0.5),
        ("1.5h", 5400),
        ("0", 0),
        ("0s", 0),
        (40, 40),
        (0.25, 0.25),
    ],
)
def test_a_duration_is_a_number_of_seconds_or_text_with_units(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    ["", " ", "soon", "-1", "-1s", "1m1h", "1h 30m", "10 m", "1e3", "nan", "inf", "1_0", "٣s", "10M", "s", "1s1s"],
)
def test_other_text_is_no_duration(written: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(written)


@pytest.mark.parametrize("value", [-1, math.nan, -math.inf, True, None, [], {}])
def test_other_values_are_no_durations(value: object) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(value)


@pytest.mark.parametrize("value", [10**400, math.inf, "9" * 400, "3651d", LONGEST * 1.01])
def test_a_wait_of_more_than_ten_years_is_refused_rather_than_overflowing(value: object) -> None:
    with pytest.raises(ValueError, match="ten years"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.44, "0.4s"), (9.96, "10s"), (40, "40s"), (600, "10m"), (5400, "1h30m"), (90061, "1d1h1m1s")],
)
def test_a_duration_is_shown_as_people_write_it(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=int(LONGEST)))
def test_what_is_shown_of_whole_seconds_reads_back_as_the_same(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text(alphabet="0123456789.dhms ", max_size=30))
def test_no_text_gives_anything_but_seconds_or_a_value_error(text: str) -> None:
    try:
        assert 0 <= parse_duration(text) <= LONGEST
    except ValueError:
        return
