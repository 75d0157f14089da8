"""What `--since` and `--until` mean."""

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.errors import UsageError
from orchestrator.history.time_range import TimeRange, parse_time_range

NOW = datetime(2026, 11, 23, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "begin"),
    [
        ("30d", NOW - timedelta(days=30)),
        ("1d12h", NOW - timedelta(hours=36)),
        ("90m", NOW - timedelta(minutes=90)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T08:30", datetime(2026, 11, 20, 8, 30, tzinfo=UTC)),
        (" 2026-11-20 08:30 ", datetime(2026, 11, 20, 8, 30, tzinfo=UTC)),
        ("2026-11-20T08:30+02:00", datetime(2026, 11, 20, 6, 30, tzinfo=UTC)),
    ],
)
def test_a_moment_is_so_long_ago_or_a_date_or_a_time_which_is_utc_without_an_offset(text: str, begin: datetime) -> None:
    assert parse_time_range(text, None, NOW) == TimeRange(begin, None)


def test_until_a_date_is_until_its_end_and_until_a_time_is_until_then() -> None:
    assert parse_time_range(None, "2026-11-20", NOW).until == datetime(2026, 11, 21, tzinfo=UTC)
    assert parse_time_range(None, "2026-11-20T10:00Z", NOW).until == datetime(2026, 11, 20, 10, tzinfo=UTC)


def test_a_stretch_has_its_first_moment_and_not_its_last() -> None:
    asked = parse_time_range("2026-11-20", "2026-11-20", NOW)
    assert datetime(2026, 11, 20, tzinfo=UTC) in asked
    assert datetime(2026, 11, 21, tzinfo=UTC) not in asked
    assert NOW in TimeRange()


@pytest.mark.parametrize("text", ["30", "yesterday", "2026-13-01", "4000d", "1h1d", "-3d", "", "2026-11-20T25:00"])
def test_what_is_neither_is_refused_with_what_it_takes(text: str) -> None:
    with pytest.raises(UsageError, match=r"--since") as caught:
        parse_time_range(text, None, NOW)
    assert "a duration (30d, 12h: back from now), a date (2027-12-24)" in (caught.value.hint or "")


def test_the_refusal_says_what_is_wrong() -> None:
    with pytest.raises(UsageError, match=r"^--since: 'yesterday' is not a duration, a date or a time$"):
        parse_time_range("yesterday", None, NOW)


@pytest.mark.parametrize(("since", "until"), [("1h", "2h"), ("2027-01-01", None), ("2026-11-20", "2026-11-19")])
def test_a_stretch_without_any_time_is_refused(since: str, until: str | None) -> None:
    with pytest.raises(UsageError, match="not before"):
        parse_time_range(since, until, NOW)
