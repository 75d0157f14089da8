"""Calendars in .ics files: which moments and days their events take."""

from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from orchestrator.errors import PlaybookError
from orchestrator.playbook.calendars import IcsCalendar, read_calendar
from tests.playbook.times import fired, left_out, timetable, utc

BERLIN = ZoneInfo("Europe/Berlin")
MIDNIGHT = utc(2000, 1, 1)


def calendar(folder: Path, *events: str, zone: ZoneInfo = BERLIN) -> IcsCalendar:
    """A calendar of events, each given by its lines."""
    body = "".join(f"BEGIN:VEVENT\nUID:{number}\n{event}\nEND:VEVENT\n" for number, event in enumerate(events))
    file = folder / "c.ics"
    text = f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//test\n{body}END:VCALENDAR\n"
    file.write_bytes(text.replace("\n", "\r\n").encode())
    return read_calendar(file, zone)


def days(found: IcsCalendar, year: int, month: int) -> dict[int, str]:
    """The days of a month with an event that lasts all of them."""
    named = {day: found.event_at(MIDNIGHT, date(year, month, day)) for day in range(1, 29)}
    return {day: name for day, name in named.items() if name}


def test_an_event_of_a_day_takes_that_day(tmp_path: Path) -> None:
    found = calendar(tmp_path, "DTSTART;VALUE=DATE:20270503\nSUMMARY:Fair")
    assert days(found, 2027, 5) == {3: "Fair"}
    assert days(found, 2028, 5) == {}


def test_an_event_of_several_days_takes_them_up_to_its_end_which_is_not_part_of_it(tmp_path: Path) -> None:
    found = calendar(tmp_path, "DTSTART;VALUE=DATE:20270503\nDTEND;VALUE=DATE:20270506")
    assert days(found, 2027, 5) == dict.fromkeys((3, 4, 5), "an event")
    assert days(calendar(tmp_path, "DTSTART;VALUE=DATE:20270503\nDURATION:P2D"), 2027, 5).keys() == {3, 4}


def test_an_event_across_new_year_takes_days_of_both_years(tmp_path: Path) -> None:
    found = calendar(tmp_path, "DTSTART;VALUE=DATE:20271220\nDTEND;VALUE=DATE:20280105")
    assert set(days(found, 2027, 12)) == set(range(20, 29))
    assert set(days(found, 2028, 1)) == {1, 2, 3, 4}


def test_yearly_holidays_come_every_year_but_for_the_exceptions(tmp_path: Path) -> None:
    found = calendar(
        tmp_path,
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


def test_a_moved_occurrence_takes_the_day_that_it_was_moved_to(tmp_path: Path) -> None:
    file = tmp_path / "c.ics"
    series = "UID:a\nDTSTART;VALUE=DATE:20270503\nRRULE:FREQ=WEEKLY;COUNT=3\nSUMMARY:Freeze"
    moved = "UID:a\nRECURRENCE-ID;VALUE=DATE:20270510\nDTSTART;VALUE=DATE:20270512\nSUMMARY:Freeze"
    events = "".join(f"BEGIN:VEVENT\n{each}\nEND:VEVENT\n" for each in (series, moved))
    file.write_text(f"BEGIN:VCALENDAR\n{events}END:VCALENDAR\n")
    assert set(days(read_calendar(file, BERLIN), 2027, 5)) == {3, 12, 17}


def test_an_event_with_times_takes_what_is_planned_from_its_begin_on_and_before_its_end(tmp_path: Path) -> None:
    found = calendar(
        tmp_path,
        "DTSTART;TZID=America/New_York:20270503T180000\nDTEND;TZID=America/New_York:20270503T200000\nSUMMARY:A",
        "DTSTART:20270504T100000Z\nDTEND:20270504T110000Z\nSUMMARY:B",
        "DTSTART:20270505T100000\nDTEND:20270505T110000\nSUMMARY:C",
    )
    asked = [utc(2027, 5, 3, 22), utc(2027, 5, 3, 23, 59), utc(2027, 5, 4), utc(2027, 5, 4, 10), utc(2027, 5, 5, 8, 30)]
    assert [found.event_at(each, each.astimezone(BERLIN).date()) for each in asked] == ["A", "A", None, "B", "C"]


def test_an_event_that_was_called_off_takes_nothing(tmp_path: Path) -> None:
    assert days(calendar(tmp_path, "DTSTART;VALUE=DATE:20270503\nSTATUS:CANCELLED"), 2027, 5) == {}


def test_a_holiday_that_is_shown_as_free_is_a_holiday(tmp_path: Path) -> None:
    """Public calendars mark them so."""
    assert days(calendar(tmp_path, "DTSTART;VALUE=DATE:20270503\nTRANSP:TRANSPARENT"), 2027, 5) == {3: "an event"}


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ("SUMMARY:x", "can't be used"),
        ("DTSTART;VALUE=DATE:2027", "can't be used: Expected datetime"),
        ("DTSTART;VALUE=DATE:20270101\nRRULE:FREQ=SOMETIMES", "can't be used: Expected frequency"),
        ("DTSTART;VALUE=DATE:20270101\nRRULE:nonsense", "can't be used"),
        ("DTSTART;TZID=Mars/Base:20270101T100000\nDTEND:20270101T120000", "there is no time zone 'Mars/Base'"),
        ("DTSTART:20270101T000000\nRRULE:FREQ=SECONDLY", "an event that repeats within a day: 'an event'"),
        ("DTSTART:20270101T000000\nRRULE:FREQ=HOURLY\nSUMMARY:Tick", "repeats within a day: 'Tick'"),
    ],
)
def test_an_event_that_makes_no_sense_is_an_error_and_not_passed_over(tmp_path: Path, event: str, says: str) -> None:
    with pytest.raises(PlaybookError, match=says):
        calendar(tmp_path, event)


def test_a_schedule_leaves_out_what_falls_on_events(tmp_path: Path) -> None:
    found = calendar(
        tmp_path,
        "DTSTART;VALUE=DATE:20200101\nRRULE:FREQ=YEARLY\nSUMMARY:New Year",
        "DTSTART:20270112T220000\nDTEND:20270113T060000\nSUMMARY:Release",
    )
    table = timetable("30 2 * * *", calendars={"c.ics": found}, not_on="c.ics")
    stretch = utc(2026, 12, 31), utc(2027, 1, 15)
    assert [(each.wanted.day, each.reason) for each in left_out(table, *stretch)] == [
        (1, "not_on[0]: New Year (c.ics)"),
        (13, "not_on[0]: Release (c.ics)"),
    ]
    assert len(fired(table, *stretch)) == 13
