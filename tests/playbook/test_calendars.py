"""Calendars in .ics files: the moments and days of events, compared with RFC 5545."""

import os
import time
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import PlaybookError
from orchestrator.playbook import calendars
from orchestrator.playbook.calendars import DaysOff, read_calendar
from orchestrator.playbook.ics import CalendarError, find_days_off
from tests.playbook.times import fired, left_out, timetable, utc

BERLIN = ZoneInfo("Europe/Berlin")
MIDNIGHT = utc(2000, 1, 1)


def ics(*events: str, uid: str | None = None, head: str = "") -> bytes:
    """Make a calendar of events from their lines, with a UID per event by default."""
    body = "".join(
        f"BEGIN:VEVENT\nUID:{number if uid is None else uid}\n{event}\nEND:VEVENT\n"
        for number, event in enumerate(events)
    )
    text = f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//test\n{head}{body}END:VCALENDAR\n"
    return text.replace("\n", "\r\n").encode()


def calendar(*events: str, uid: str | None = None, head: str = "") -> DaysOff:
    return find_days_off(ics(*events, uid=uid, head=head), BERLIN)


def days(found: DaysOff, year: int, month: int) -> dict[int, str]:
    """List the days of a month with an event of whole days."""
    named = {day: found.event_at(MIDNIGHT, date(year, month, day)) for day in range(1, 29)}
    return {day: name for day, name in named.items() if name}


def test_an_event_of_one_day_covers_that_day() -> None:
    found = calendar("DTSTART;VALUE=DATE:20270503\nSUMMARY:Fair")
    assert days(found, 2027, 5) == {3: "Fair"}
    assert days(found, 2028, 5) == {}


@pytest.mark.parametrize(
    "end", ["DTEND;VALUE=DATE:20270503", "DURATION:PT0S", "DURATION:P0D", "DURATION:P1D", "DTEND;VALUE=DATE:20270504"]
)
def test_every_form_of_a_one_day_event_covers_that_day(end: str) -> None:
    """Many programs write an end equal to the start, and every calendar program shows the day."""
    assert days(calendar(f"DTSTART;VALUE=DATE:20270503\n{end}"), 2027, 5) == {3: "an event"}


def test_an_event_of_several_days_excludes_its_end() -> None:
    found = calendar("DTSTART;VALUE=DATE:20270503\nDTEND;VALUE=DATE:20270506")
    assert days(found, 2027, 5) == dict.fromkeys((3, 4, 5), "an event")
    assert days(calendar("DTSTART;VALUE=DATE:20270503\nDURATION:P2D"), 2027, 5).keys() == {3, 4}
    assert days(calendar("DTSTART;VALUE=DATE:20270503\nDURATION:P1W"), 2027, 5).keys() == set(range(3, 10))


def test_an_event_across_new_year_covers_days_of_both_years() -> None:
    found = calendar("DTSTART;VALUE=DATE:20271220\nDTEND;VALUE=DATE:20280105")
    assert set(days(found, 2027, 12)) == set(range(20, 29))
    assert set(days(found, 2028, 1)) == {1, 2, 3, 4}


def test_yearly_holidays_repeat_except_for_exceptions() -> None:
    found = calendar(
        "DTSTART;VALUE=DATE:20200101\nRRULE:FREQ=YEARLY\nEXDATE;VALUE=DATE:20290101\nSUMMARY:New Year",
        "DTSTART;VALUE=DATE:20201126\nRRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=4TH\nSUMMARY:Thanksgiving",
    )
    assert [days(found, year, 1) for year in (2019, 2020, 2028, 2029, 2150)] == [
        {},
        {1: "New Year"},
        {1: "New Year"},
        {},
        {1: "New Year"},
    ]
    assert [list(days(found, year, 11)) for year in (2027, 2028)] == [[25], [23]]


@pytest.mark.parametrize("uid", ["same", ""])
def test_all_events_with_the_same_uid_count(uid: str) -> None:
    found = calendar("DTSTART;VALUE=DATE:20270503", "DTSTART;VALUE=DATE:20270505", uid=uid)
    assert set(days(found, 2027, 5)) == {3, 5}


def test_a_moved_occurrence_covers_its_new_day() -> None:
    series = "DTSTART;VALUE=DATE:20270503\nRRULE:FREQ=WEEKLY;COUNT=3\nSUMMARY:Freeze"
    moved = "RECURRENCE-ID;VALUE=DATE:20270510\nDTSTART;VALUE=DATE:20270512\nSUMMARY:Freeze"
    assert set(days(calendar(series, moved, uid="a"), 2027, 5)) == {3, 12, 17}
    assert set(days(calendar(series, f"{moved}\nSTATUS:CANCELLED", uid="a"), 2027, 5)) == {3, 17}
    assert set(days(calendar(moved), 2027, 5)) == {12}


def test_a_moved_time_is_found_in_any_zone() -> None:
    series = "DTSTART;TZID=America/New_York:20270503T180000\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;COUNT=2"
    moved = "RECURRENCE-ID:20270503T220000Z\nDTSTART:20270504T120000Z\nDURATION:PT1H"
    found = calendar(series, moved, uid="a")
    assert [begins for begins, _, _ in found.hours] == [utc(2027, 5, 4, 12), utc(2027, 5, 10, 22)]


def test_extra_and_cancelled_dates_count() -> None:
    found = calendar(
        "DTSTART;VALUE=DATE:20270503\nRRULE:FREQ=WEEKLY;COUNT=3\nRDATE;VALUE=DATE:20270505,20270506\n"
        "EXDATE;VALUE=DATE:20270510\nEXDATE:20270517T000000Z"
    )
    assert set(days(found, 2027, 5)) == {3, 5, 6}
    periods = calendar("DTSTART:20270503T100000Z\nDURATION:PT1H\nRDATE;VALUE=PERIOD:20270504T100000Z/PT3H")
    assert periods.event_at(utc(2027, 5, 4, 12, 59), date(2027, 5, 4)) == "an event"
    by_day = calendar("DTSTART:20270503T100000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=2\nEXDATE;VALUE=DATE:20270504")
    assert len(by_day.hours) == 1


@pytest.mark.parametrize("until", ["20270505", "20270505T080000Z", "20270505T235959"])
def test_a_rule_includes_its_last_day(until: str) -> None:
    whole = calendar(f"DTSTART;VALUE=DATE:20270503\nRRULE:FREQ=DAILY;UNTIL={until}")
    assert set(days(whole, 2027, 5)) == {3, 4, 5}
    timed = calendar(f"DTSTART;TZID=Europe/Berlin:20270503T100000\nDURATION:PT1H\nRRULE:FREQ=DAILY;UNTIL={until}")
    assert [begins.day for begins, _, _ in timed.hours] == [3, 4, 5]


def test_the_first_day_counts_even_without_a_match_of_the_rule() -> None:
    found = calendar("DTSTART;VALUE=DATE:20270505\nRRULE:FREQ=WEEKLY;BYDAY=MO;COUNT=2")
    assert set(days(found, 2027, 5)) == {5, 10, 17}


def test_an_event_with_times_includes_its_start_and_excludes_its_end() -> None:
    found = calendar(
        "DTSTART;TZID=America/New_York:20270503T180000\nDTEND;TZID=America/New_York:20270503T200000\nSUMMARY:A",
        "DTSTART:20270504T100000Z\nDTEND:20270504T110000Z\nSUMMARY:B",
        "DTSTART:20270505T100000\nDTEND:20270505T110000\nSUMMARY:C",
    )
    asked = [utc(2027, 5, 3, 22), utc(2027, 5, 3, 23, 59), utc(2027, 5, 4), utc(2027, 5, 4, 10), utc(2027, 5, 5, 8, 30)]
    assert [found.event_at(each, each.astimezone(BERLIN).date()) for each in asked] == ["A", "A", None, "B", "C"]


def test_overlapping_times_lose_no_event() -> None:
    found = calendar(
        "DTSTART:20270504T100000Z\nDTEND:20270504T200000Z\nSUMMARY:long",
        "DTSTART:20270504T110000Z\nDTEND:20270504T120000Z\nSUMMARY:short",
        "DTSTART:20270504T190000Z\nDTEND:20270504T220000Z\nSUMMARY:late",
    )
    asked = [utc(2027, 5, 4, hour) for hour in (9, 10, 11, 13, 19, 21, 22)]
    names = [None, "long", "long", "long", "long", "late", None]
    assert [found.event_at(each, each.date()) for each in asked] == names


def test_a_repeated_time_follows_the_clocks_of_its_zone() -> None:
    by_zone = calendar("DTSTART;TZID=Europe/Berlin:20270327T220000\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=2")
    named = "X-WR-TIMEZONE:Europe/Berlin\n"
    by_name = calendar("DTSTART:20270327T210000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=2", head=named)
    assert [begins.hour for begins, _, _ in by_zone.hours] == [21, 20]
    assert by_name.hours == by_zone.hours


def test_a_cancelled_event_covers_nothing() -> None:
    assert days(calendar("DTSTART;VALUE=DATE:20270503\nSTATUS:CANCELLED"), 2027, 5) == {}


def test_a_transparent_holiday_counts() -> None:
    """Public calendars mark holidays as transparent."""
    assert days(calendar("DTSTART;VALUE=DATE:20270503\nTRANSP:TRANSPARENT"), 2027, 5) == {3: "an event"}


@pytest.mark.parametrize("fault", ["CREATED:00000101T000000Z", "GEO:here", "SUMMARY:a\nSUMMARY:b", "no property"])
def test_faults_in_properties_without_a_time_do_not_matter(fault: str) -> None:
    assert set(days(calendar(f"DTSTART;VALUE=DATE:20270503\n{fault}"), 2027, 5)) == {3}


DAY = "SUMMARY:Fair\nDTSTART;VALUE=DATE:20270101"
TIME = "SUMMARY:Fair\nDTSTART:20270101T100000Z\nDURATION:PT1H"


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ("SUMMARY:Fair", "has no DTSTART"),
        ("SUMMARY:Fair\nDTSTART;VALUE=DATE:2027", "cannot be read: DTSTART:2027"),
        ("SUMMARY:Fair\nDTSTART;VALUE=DATE:00000101", "cannot be read: DTSTART:00000101"),
        ("SUMMARY:Fair\nDTSTART:PT1H", "neither a day nor a time"),
        ("SUMMARY:Fair\nDTSTART", "cannot be read"),
        (f"{DAY}\nDTSTART;VALUE=DATE:20270102", "more than one DTSTART"),
        (f"{DAY}\nRRULE:FREQ=SOMETIMES", "cannot be read: RRULE:FREQ=SOMETIMES"),
        (f"{DAY}\nRRULE:nonsense", "without FREQ"),
        (f"{DAY}\nRRULE:INTERVAL=2", "without FREQ"),
        (f"{DAY}\nRRULE:FREQ=DAILY;INTERVAL=0", "INTERVAL below 1"),
        (f"{DAY}\nRRULE:FREQ=DAILY;INTERVAL=-1", "INTERVAL below 1"),
        (f"{DAY}\nRRULE:FREQ=DAILY;COUNT=0", "COUNT below 1"),
        (f"{DAY}\nRRULE:FREQ=DAILY;COUNT=2;UNTIL=20270301", "both COUNT and UNTIL"),
        (f"{DAY}\nRRULE:FREQ=DAILY;X-SOMETHING=2", "the unknown part X-SOMETHING"),
        (f"{DAY}\nRRULE:FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY out of range"),
        (f"{DAY}\nRRULE:FREQ=WEEKLY;BYDAY=2MO", "numbered BYDAY"),
        (f"{DAY}\nRRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "days that never exist"),
        (f"{DAY}\nEXRULE:FREQ=DAILY", "EXRULE"),
        (f"{DAY}\nDTEND;VALUE=DATE:20261231", "ends before its start"),
        (f"{DAY}\nDURATION:-P1D", "ends before its start"),
        (f"{DAY}\nDURATION:PT1H", "whole days, but its DURATION does not"),
        (f"{DAY}\nDTEND:20270101T120000Z", "must both be days, or both be times"),
        (f"{DAY}\nDTEND;VALUE=DATE:20270102\nDURATION:P1D", "both DTEND and DURATION"),
        (f"{DAY}\nRECURRENCE-ID;RANGE=THISANDFUTURE;VALUE=DATE:20270101", "THISANDFUTURE"),
        ("SUMMARY:Fair\nDTSTART:20270101T100000Z", "a time but no end"),
        ("SUMMARY:Fair\nDTSTART:20270101T100000Z\nDTEND:20270101T100000Z", "a time but no end"),
        ("SUMMARY:Fair\nDTSTART:20270101T100000Z\nDTEND:20270101T090000Z", "ends before its start"),
        ("SUMMARY:Fair\nDTSTART;TZID=Mars/Base:20270101T100000\nDTEND:20270101T120000", "no time zone 'Mars/Base'"),
        (f"{TIME}\nEXDATE;TZID=Mars/Base:20270101T100000", "no time zone 'Mars/Base'"),
        (f"{TIME}\nRRULE:FREQ=SECONDLY", "repeats within a day"),
        (f"{TIME}\nRRULE:FREQ=HOURLY", "repeats within a day"),
        (f"{TIME}\nRRULE:FREQ=DAILY;BYHOUR=1,2;BYMINUTE=0,1", "repeats within a day"),
        (f"{TIME}\nRDATE;VALUE=PERIOD:20270104T100000Z/20270104T090000Z", "RDATE with an invalid period"),
    ],
)
def test_an_invalid_event_is_an_error_with_its_name(event: str, says: str) -> None:
    with pytest.raises(CalendarError, match=says) as raised:
        calendar("SUMMARY:fine\nDTSTART;VALUE=DATE:20270505", event)
    assert ("'Fair'" in str(raised.value), "UID 1" in str(raised.value)) == (True, True)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no events"),
        (b"hello", "not an iCalendar file|no events"),
        (ics(), "no events"),
        (ics("DTSTART;VALUE=DATE:20270503", "DTSTART;VALUE=DATE:20270504")[:-60], "cut off"),
        (ics("DTSTART;VALUE=DATE:20270503") + ics("DTSTART;VALUE=DATE:20270504")[:-20], "cut off"),
    ],
)
def test_a_file_without_events_or_without_its_end_is_an_error(data: bytes, says: str) -> None:
    with pytest.raises(CalendarError, match=says):
        find_days_off(data, BERLIN)


def test_two_calendars_in_one_file_both_count() -> None:
    found = find_days_off(ics("DTSTART;VALUE=DATE:20270503") + ics("DTSTART;VALUE=DATE:20270504"), BERLIN)
    assert set(days(found, 2027, 5)) == {3, 4}


def test_too_many_days_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.playbook.ics.MAX_TIMES", 3_000)
    many = [f"DTSTART;VALUE=DATE:200001{day:02}\nRRULE:FREQ=YEARLY" for day in range(1, 21)]
    with pytest.raises(CalendarError, match="more than 3,000 days, at an event"):
        calendar(*many)


@given(
    st.dates(date(2000, 1, 1), date(2030, 12, 31)),
    st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]),
    st.integers(1, 5),
    st.integers(1, 20),
    st.integers(0, 9),
)
def test_a_simple_rule_covers_the_counted_days(
    first: date, frequency: str, interval: int, count: int, length: int
) -> None:
    """The days are counted by hand; months and years without such a day are skipped."""
    begins: list[date] = []
    step = 0
    while len(begins) < count:
        months = {"MONTHLY": 1, "YEARLY": 12}.get(frequency)
        if months is None:
            begins.append(first + timedelta(days=step * interval * (7 if frequency == "WEEKLY" else 1)))
        else:
            month = first.month - 1 + step * interval * months
            with suppress(ValueError):
                begins.append(first.replace(year=first.year + month // 12, month=month % 12 + 1))
        step += 1
    ends = first + timedelta(days=length)
    found = calendar(
        f"DTSTART;VALUE=DATE:{first:%Y%m%d}\nDTEND;VALUE=DATE:{ends:%Y%m%d}\n"
        f"RRULE:FREQ={frequency};INTERVAL={interval};COUNT={count}"
    )
    expected = {day + timedelta(days=each) for day in begins for each in range(max(length, 1))}
    assert set(found.days) == {day for day in expected if day.year < 2200}


def test_days_off_survive_a_round_trip_through_json() -> None:
    found = calendar(
        "DTSTART;VALUE=DATE:20200101\nRRULE:FREQ=YEARLY\nSUMMARY:New Year",
        "DTSTART;VALUE=DATE:20270503\nDTEND;VALUE=DATE:20270506",
        "DTSTART:20270504T100000Z\nDTEND:20270504T110000Z\nSUMMARY:B",
    )
    assert DaysOff.of(found.document()) == found


# the process that reads a file


def test_another_process_reads_a_calendar(tmp_path: Path) -> None:
    file = tmp_path / "c.ics"
    file.write_bytes(ics("DTSTART;VALUE=DATE:20270503\nSUMMARY:Fair"))
    assert days(read_calendar(file, BERLIN), 2027, 5) == {3: "Fair"}
    file.write_bytes(ics("DTSTART;VALUE=DATE:20270503\nRRULE:FREQ=DAILY;INTERVAL=0\nSUMMARY:Fair"))
    with pytest.raises(PlaybookError, match=r"'Fair' .*INTERVAL below 1"):
        read_calendar(file, BERLIN)


def test_a_slow_calendar_is_an_error_with_the_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule never matches, so the library checks each day until the year 9999."""
    monkeypatch.setattr(calendars, "CPU_SECONDS", 1)
    file = tmp_path / "c.ics"
    rule = "RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"
    file.write_bytes(ics(*[f"DTSTART;VALUE=DATE:20270503\n{rule}\nSUMMARY:Fair"] * 3))
    began = time.process_time()
    with pytest.raises(PlaybookError, match=r"'Fair' .*takes too long"):
        read_calendar(file, BERLIN)
    assert time.process_time() - began < 1


def test_a_process_without_output_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    file = tmp_path / "c.ics"
    file.write_bytes(ics("DTSTART;VALUE=DATE:20270503\nSUMMARY:Not read"))
    with pytest.raises(PlaybookError, match="too much memory"):
        read_calendar(file, BERLIN)


@pytest.mark.timeout(60)
def test_a_pipe_or_a_folder_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ics")
    (tmp_path / "folder.ics").mkdir()
    for name in ("pipe.ics", "folder.ics"):
        with pytest.raises(PlaybookError, match=r"not a regular file|Is a directory"):
            read_calendar(tmp_path / name, BERLIN)


def test_a_calendar_above_the_size_limit_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendars, "MAX_BYTES", 100)
    (tmp_path / "c.ics").write_bytes(ics("DTSTART;VALUE=DATE:20270503"))
    with pytest.raises(PlaybookError, match="more than 100 bytes"):
        read_calendar(tmp_path / "c.ics", BERLIN)


def test_a_schedule_skips_firings_during_events() -> None:
    found = calendar(
        "DTSTART;VALUE=DATE:20200101\nRRULE:FREQ=YEARLY\nSUMMARY:New Year",
        "DTSTART:20270112T220000\nDTEND:20270113T060000\nSUMMARY:Release",
    )
    table = timetable("30 2 * * *", calendars={"c.ics": found}, not_on="c.ics")
    time_range = utc(2026, 12, 31), utc(2027, 1, 15)
    assert [(each.wanted.day, each.reason) for each in left_out(table, *time_range)] == [
        (1, "excluded by `not_on`: New Year (c.ics)"),
        (13, "excluded by `not_on`: Release (c.ics)"),
    ]
    assert len(fired(table, *time_range)) == 13
