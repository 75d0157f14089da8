"""Firings of schedules on virtual time, over whole years with clock changes."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.playbook.firings import ClockCase, Firing, Timetable, find_next_firing, list_firings
from orchestrator.playbook.local_time import resolve_local_time
from tests.playbook.times import ZONES, fired, format_times, left_out, timetable, utc

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
SPRING = utc(2027, 3, 27), utc(2027, 3, 30)
AUTUMN = utc(2027, 10, 30), utc(2027, 11, 2)
YEARS = st.integers(2001, 2190)
ALL_ZONES = st.sampled_from(sorted(available_timezones() - {"localtime", "Factory"}))
TIMES = st.tuples(st.integers(0, 23), st.integers(0, 59))


def year_of(year: int) -> list[date]:
    return [date(year, 1, 1) + timedelta(days=n) for n in range((date(year + 1, 1, 1) - date(year, 1, 1)).days)]


def assert_once_a_day(zone: str, year: int, hour: int, minute: int) -> None:
    """Check that each local day has a single firing: after the gap, or at the first of two moments."""
    found = list(list_firings(timetable(f"{minute} {hour} * * *", zone), utc(year - 1, 12, 30), utc(year + 1, 1, 3)))
    days = [each for each in found if each.wanted.year == year]
    assert [each.wanted.date() for each in days] == year_of(year)
    assert all(before.planned < after.planned for before, after in pairwise(found))
    clocks = ZoneInfo(zone)
    for each in days:
        local = each.planned.astimezone(clocks)
        wall, before = (moment.replace(tzinfo=None) for moment in (local, (each.planned - SECOND).astimezone(clocks)))
        if isinstance(each, Firing) and each.decision is ClockCase.GAP:
            assert before < each.wanted < wall
        elif isinstance(each, Firing):
            assert (wall, local.fold) == (each.wanted, 0)
        else:
            assert each.reason.startswith("there is no ")


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("year", [2026, 2027, 2028])
def test_a_stop_at_half_past_two_fires_once_on_each_day_of_the_year(zone: str, year: int) -> None:
    assert_once_a_day(zone, year, 2, 30)


@pytest.mark.parametrize("zone", ZONES)
def test_a_stop_at_any_time_of_the_night_fires_once_on_each_day(zone: str) -> None:
    for hour, minute in ((0, 0), (0, 15), (1, 45), (2, 0), (3, 0), (23, 45)):
        assert_once_a_day(zone, 2027, hour, minute)


@given(ALL_ZONES, YEARS, TIMES)
def test_a_daily_time_fires_once_a_day_in_any_zone_and_year(zone: str, year: int, time: tuple[int, int]) -> None:
    assert_once_a_day(zone, year, *time)


def test_a_time_in_a_gap_fires_right_after_the_gap() -> None:
    found = fired(timetable("30 2 * * *"), *SPRING)
    assert format_times(found) == ["03-27 02:30+0100 plain", "03-28 03:00+0200 gap", "03-29 02:30+0200 plain"]
    assert found[1].note == "moved from 02:30, a skipped time: clocks went from 02:00 to 03:00"


def test_a_repeated_time_fires_at_its_first_moment() -> None:
    found = fired(timetable("30 2 * * *"), *AUTUMN)
    assert format_times(found) == ["10-30 02:30+0200 plain", "10-31 02:30+0200 fold", "11-01 02:30+0100 plain"]
    assert found[1].note == "first of two; no second firing at 02:30 +01:00"


def test_gaps_of_half_an_hour_and_at_midnight_are_gaps() -> None:
    lord_howe = fired(timetable("15 2 * * *", "Australia/Lord_Howe"), utc(2027, 10, 2), utc(2027, 10, 3))
    assert format_times(lord_howe) == ["10-03 02:30+1100 gap"]
    cairo = fired(timetable("0 0 * * *", "Africa/Cairo"), utc(2027, 4, 29, 12), utc(2027, 4, 30, 12))
    assert format_times(cairo) == ["04-30 01:00+0300 gap"]
    nuuk = fired(timetable("30 23 * * SAT", "America/Nuuk"), utc(2027, 3, 27), utc(2027, 3, 29))
    assert format_times(nuuk) == ["03-28 00:00-0100 gap"]


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("*/15 2 * * *", ["03-28 03:00+0200 gap"]),
        ("30 */2 * * *", ["00:30+0100 plain", "03:00+0200 gap", "04:30+0200 plain"]),
        ("0 2,3 * * *", ["03-28 03:00+0200 gap"]),
    ],
)
def test_named_hours_follow_the_clock_and_equal_moments_fire_once(cron: str, expected: list[str]) -> None:
    start = utc(2027, 3, 27, 23)
    found = format_times(fired(timetable(cron), start, start + timedelta(hours=4)))
    assert [each.endswith(wanted) for each, wanted in zip(found, expected, strict=True)] == [True] * len(expected)


def test_a_time_on_the_moment_of_another_firing_is_listed_as_skipped() -> None:
    (other,) = left_out(timetable("0 2,3 * * *"), *SPRING)
    assert other.reason == "03:00 falls on the same moment as an earlier firing"
    assert other.wanted == datetime(2027, 3, 28, 3)  # noqa: DTZ001 - a local time


@pytest.mark.parametrize("cron", ["0 * * * *", "0 0-23 * * *", "0 */1 * * *"])
def test_every_spelling_of_every_hour_fires_every_hour(cron: str) -> None:
    for start, end in (SPRING, AUTUMN):
        moments = [each.planned for each in fired(timetable(cron), start, end)]
        assert moments == [start + timedelta(hours=n) for n in range(int((end - start) / timedelta(hours=1)))]
    again = [each for each in fired(timetable(cron), *AUTUMN) if each.decision is ClockCase.AGAIN]
    assert format_times(again) == ["10-31 02:00+0100 again"]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cron", ["*/15 * * * *", "20 * * * SUN", "0,59 * 1-15 * *"])
def test_a_schedule_of_every_hour_fires_at_each_clock_time(zone: str, cron: str) -> None:
    """Compared with a clock read once a minute, for three days around each clock change of the year."""
    clocks = ZoneInfo(zone)
    hours = [utc(2027, 1, 1) + timedelta(hours=n) for n in range(365 * 24)]
    offsets = [hour.astimezone(clocks).utcoffset() for hour in hours]
    changes = [hour for hour, before, after in zip(hours[1:], offsets, offsets[1:], strict=False) if before != after]
    minutes, days, weekdays = {
        "*/15 * * * *": (range(0, 60, 15), range(1, 32), range(1, 8)),
        "20 * * * SUN": ((20,), range(1, 32), (7,)),
        "0,59 * 1-15 * *": ((0, 59), range(1, 16), range(1, 8)),
    }[cron]
    for change in changes or [utc(2027, 7, 1)]:
        start = change - DAY
        ticks = [start + timedelta(minutes=n) for n in range(3 * 24 * 60)]
        expected = [
            tick
            for tick in ticks
            if (local := tick.astimezone(clocks)).minute in minutes
            and local.day in days
            and local.isoweekday() in weekdays
        ]
        assert [each.planned for each in fired(timetable(cron, zone), start, start + 3 * DAY)] == expected


@given(
    st.sampled_from(ZONES),
    st.sampled_from(["30 2 * * *", "*/20 1-3 * * *", "0 * * * *", "15 0 1 * MON", "*/7 * * * *"]),
    st.datetimes(datetime(2026, 1, 1), datetime(2028, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - asks for it
    st.integers(1, 5000),
    st.integers(1, 5000),
)
def test_splitting_a_period_changes_no_firing(zone: str, cron: str, start: datetime, first: int, second: int) -> None:
    table = timetable(cron, zone, jitter="30m", until="2028-10-01")
    middle = start + timedelta(minutes=first)
    end = middle + timedelta(minutes=second)
    assert [*list_firings(table, start, middle), *list_firings(table, middle, end)] == list(
        list_firings(table, start, end)
    )


def test_a_period_includes_its_start_and_excludes_its_end() -> None:
    table = timetable("30 2 * * *", "UTC")
    due = utc(2027, 1, 2, 2, 30)
    assert [each.planned for each in list_firings(table, due, due + DAY)] == [due]
    assert list(list_firings(table, due + SECOND, due + DAY)) == []


def test_a_day_skipped_by_clocks_has_no_firing() -> None:
    """Samoa changed from Thursday to Saturday."""
    table = timetable("30 2 * * *", "Pacific/Apia")
    time_range = utc(2011, 12, 29), utc(2011, 12, 31)
    assert format_times(fired(table, *time_range)) == ["12-29 02:30-1000 plain", "12-31 02:30+1400 plain"]
    assert [each.reason for each in left_out(table, *time_range)] == ["2011-12-30 does not exist in Pacific/Apia"]


# from, until, not_on


def test_nothing_fires_outside_of_from_and_until() -> None:
    table = timetable("0 0,12,23 * * *", **{"from": "2027-03-28", "until": "2027-10-31"})
    found = fired(table, utc(2027, 1, 1), utc(2028, 1, 1))
    assert format_times([found[0], found[-1]]) == ["03-28 00:00+0100 plain", "10-31 23:00+0100 plain"]
    left = left_out(table, utc(2027, 3, 27), utc(2027, 11, 1, 11))
    assert {each.reason for each in left} == {"before `from`, 2027-03-28", "after `until`, 2027-10-31"}


def test_from_and_until_as_times_are_included() -> None:
    edges = {"from": "2027-06-01T12:00", "until": "2027-06-02T10:00Z"}
    found = fired(timetable("0 * * * *", **edges), utc(2027, 5, 30), utc(2027, 6, 5))
    assert format_times([found[0], found[-1]]) == ["06-01 12:00+0200 plain", "06-02 12:00+0200 plain"]


@given(
    st.sampled_from(ZONES),
    st.dates(date(2027, 1, 1), date(2027, 12, 31)),
    st.integers(0, 40),
    st.integers(0, 100_000),
)
def test_no_jitter_moves_a_start_outside_of_from_and_until(zone: str, begins: date, length: int, jitter: int) -> None:
    until = begins + timedelta(days=length)
    table = timetable("45 */5 * * *", zone, jitter=jitter, until=str(until), **{"from": str(begins)})
    start = utc(begins.year, begins.month, begins.day) - 2 * DAY
    found = fired(table, start, start + timedelta(days=length + 6))
    assert found
    for each in found:
        assert begins <= each.moment.astimezone(ZoneInfo(zone)).date() <= until
        assert each.planned <= each.moment <= each.latest <= each.planned + timedelta(seconds=jitter)
    assert all(before.moment < after.planned for before, after in pairwise(found))


def test_each_skipped_date_names_its_entry() -> None:
    table = timetable("30 2 * * *", not_on=["2027-12-24", "2027-12-31..2028-01-01"])
    left = left_out(table, utc(2027, 12, 1), utc(2028, 2, 1))
    assert [(each.wanted.date().isoformat(), each.reason) for each in left] == [
        ("2027-12-24", "excluded by `not_on`: 2027-12-24"),
        ("2027-12-31", "excluded by `not_on`: 2027-12-31..2028-01-01"),
        ("2028-01-01", "excluded by `not_on`: 2027-12-31..2028-01-01"),
    ]


def test_a_date_is_the_date_of_the_wall_time_before_any_move() -> None:
    time_range = utc(2027, 3, 27), utc(2027, 3, 28, 12)
    for day, expected in (("2027-03-27", []), ("2027-03-28", ["03-28 00:00-0100 gap"])):
        assert format_times(fired(timetable("30 23 * * SAT", "America/Nuuk", not_on=day), *time_range)) == expected


def test_a_calendar_is_searched_by_moment_and_day() -> None:
    class Fair:
        def event_at(self, moment: datetime, day: date) -> str | None:
            return "fair" if day == date(2027, 5, 2) and moment == utc(2027, 5, 2, 0, 30) else None

    table = timetable("30 2 * * *", calendars={"town.ics": Fair()}, not_on="town.ics")
    (left,) = left_out(table, utc(2027, 5, 1), utc(2027, 5, 5))
    assert (left.reason, left.wanted.day) == ("excluded by `not_on`: fair (town.ics)", 2)


# jitter


def test_jitter_is_the_same_after_a_restart_and_differs_between_playbooks_and_days() -> None:
    table = timetable("30 2 * * *", jitter="1h")
    whole = fired(table, utc(2027, 1, 1), utc(2028, 1, 1))
    later = fired(table, utc(2027, 6, 1), utc(2027, 7, 1))
    assert [each for each in whole if each.planned.month == 6 or each.wanted.month == 6][: len(later)] == later
    shifts = [each.moment - each.planned for each in whole]
    assert len(set(shifts)) > 250
    other = Timetable("another", table.schedule)
    assert [each.moment for each in fired(other, utc(2027, 1, 1), utc(2028, 1, 1))] != [each.moment for each in whole]


def test_jitter_reaches_both_ends_of_its_window() -> None:
    shifts = {
        (each.moment - each.planned).total_seconds()
        for each in fired(timetable("*/10 * * * *", jitter="4s"), utc(2027, 1, 1), utc(2027, 1, 3))
    }
    assert shifts == {0, 1, 2, 3, 4}


def test_jitter_ends_before_the_next_firing_and_its_seed_is_fixed() -> None:
    found = fired(timetable("0,1 4 * * *", "UTC", jitter="1h"), utc(2027, 1, 1), utc(2027, 1, 2))
    assert [each.latest - each.planned for each in found] == [timedelta(seconds=59), timedelta(hours=1)]
    assert [f"{each.moment:%H:%M:%S}" for each in found] == SEEDED


SEEDED = ["04:00:45", "04:56:04"]
"""What a restart after an update must find again."""


def test_without_jitter_a_firing_starts_when_it_is_planned() -> None:
    (found,) = fired(timetable("30 2 * * *", "UTC"), utc(2027, 1, 1), utc(2027, 1, 2))
    assert found.planned == found.moment == found.latest


# the next one


def test_the_search_for_the_next_firing_begins_at_from() -> None:
    table = timetable("* * * * *", "UTC", **{"from": "2190-01-01"})
    coming = find_next_firing(table, utc(2027, 1, 1))
    assert coming is not None
    assert coming.planned == utc(2190, 1, 1)


def test_there_is_no_next_firing_after_until_or_within_a_year() -> None:
    assert find_next_firing(timetable("* * * * *", until="2027-01-01"), utc(2027, 1, 3)) is None
    assert find_next_firing(timetable("0 0 29 2 *"), utc(2028, 3, 1)) is None
    assert find_next_firing(timetable("0 0 29 2 *"), utc(2028, 3, 1), within=5 * 366 * DAY) is not None


# local times


@given(ALL_ZONES, st.datetimes(datetime(2001, 1, 1), datetime(2190, 1, 1)))  # noqa: DTZ001 - a local time
def test_a_moment_is_found_by_its_local_time(zone: str, wall: datetime) -> None:
    clocks, wall = ZoneInfo(zone), wall.replace(microsecond=0)
    resolved = resolve_local_time(wall, clocks)
    moments = [resolved.moment, *([resolved.second] if resolved.second else [])]
    assert [moment.astimezone(clocks).replace(tzinfo=None, fold=0) == wall for moment in moments] == [
        resolved.gap is None
    ] * len(moments)
