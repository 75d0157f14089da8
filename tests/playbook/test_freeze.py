"""Freezes: the forms of times, the moments in many zones and over clock changes, and the end of a freeze."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.playbook.calendars import DaysOff
from orchestrator.playbook.freeze import Freeze, FreezeGuard, Times, find_free_moment, find_freeze
from orchestrator.playbook.guards import merge_guards
from orchestrator.playbook.local_time import next_change
from orchestrator.playbook.schema import Guards

DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
ZONES = [
    *("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Nuuk"),
    *("Pacific/Apia", "Africa/Casablanca", "Antarctica/Troll"),
]
HINTS = "hint"


def freeze(*on: str, zone: str = "Europe/Berlin", guard: FreezeGuard = "not_during", **more: Any) -> Freeze:  # noqa: ANN401
    return Freeze(guard, Times.model_validate({"timezone": zone, "on": list(on)}), **more)


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin"))


@pytest.mark.parametrize(
    ("entry", "frozen", "free"),
    [
        ("2026-12-24", "2026-12-24T23:59", "2026-12-25T00:00"),
        ("2026-12-24..2027-01-02", "2027-01-02T23:59", "2027-01-03T00:00"),
        ("FRI 17:00..MON 08:00", "2026-11-30T07:59", "2026-11-30T08:00"),
        ("fri 17:00 .. mon 08:00", "2026-11-27T17:00", "2026-11-27T16:59"),
        ("17:00..08:00", "2026-11-26T00:00", "2026-11-26T08:00"),
        ("12:00..24:00", "2026-11-26T23:59", "2026-11-27T00:00"),
        ("SAT..SUN", "2026-11-29T23:59", "2026-11-30T00:00"),
        ("SUN..MON", "2026-11-30T23:59", "2026-12-01T00:00"),
        ("WED", "2026-11-25T00:00", "2026-11-26T00:00"),
    ],
)
def test_an_entry_covers_its_time_and_not_its_end(entry: str, frozen: str, free: str) -> None:
    each = freeze(entry)
    assert each.find_entry(berlin(frozen)) == entry
    assert each.find_entry(berlin(free)) is None


@pytest.mark.parametrize(
    ("fields", "says", "hint"),
    [
        ({"timezone": "Europe/Berln", "on": ["WED"]}, "no time zone 'Europe/Berln'", "Europe/Berlin"),
        ({"timezone": "UTC", "on": ["FRY 17:00..MON 08:00"]}, "no weekday 'FRY'", "MON, TUE"),
        ({"timezone": "UTC", "on": ["17:00..17:00"]}, "ends at its start", "00:00..24:00"),
        ({"timezone": "UTC", "on": ["24:00..00:00"]}, "ends at its start", "00:00..24:00"),
        ({"timezone": "UTC", "on": ["MON 08:00..MON 08:00"]}, "ends at its start", "MON..SUN"),
        ({"timezone": "UTC", "on": ["25:00..08:00"]}, "a window of the day", "FRI 17:00"),
        ({"timezone": "UTC", "on": ["2026-02-30"]}, "no such day", "YYYY-MM-DD"),
        ({"timezone": "UTC", "on": ["weekends"]}, "a window of the day", ".ics"),
        ({"timezone": "UTC", "on": []}, "must name a time", ""),
        ({"on": ["WED"]}, "Field required", ""),
    ],
)
def test_other_forms_are_errors_with_a_hint(fields: dict[str, Any], says: str, hint: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Times.model_validate(fields)
    (error,) = refused.value.errors()
    assert says in error["msg"]
    assert hint in str(error.get("ctx", {}).get(HINTS, ""))


@pytest.mark.parametrize("whole", ["00:00..24:00", "MON..SUN", "2000-01-01..2199-12-31"])
def test_a_freeze_that_is_always_on_has_no_end(whole: str) -> None:
    assert find_free_moment([freeze(whole)], berlin("2026-11-26T12:00")) is None
    frozen = find_freeze([freeze(whole)], berlin("2026-11-26T12:00"))
    assert frozen is not None
    assert frozen.text == f"frozen with no end within a year ({whole}, Europe/Berlin)"


def test_a_freeze_names_its_entry_and_its_end_over_all_freezes() -> None:
    freezes = [freeze("FRI 17:00..MON 08:00"), freeze("MON", zone="UTC")]
    frozen = find_freeze(freezes, berlin("2026-11-28T12:00"))
    assert frozen is not None
    assert frozen.text == "frozen until 2026-12-01 01:00+01:00 (FRI 17:00..MON 08:00, Europe/Berlin)"
    assert find_freeze(freezes, berlin("2026-11-27T12:00")) is None
    outside = find_freeze([freeze("MON 08:00..FRI 17:00", guard="only_during")], berlin("2026-11-28T12:00"))
    assert outside is not None
    assert outside.text == "frozen until 2026-11-30 08:00+01:00 (outside MON 08:00..FRI 17:00, Europe/Berlin)"


def test_all_rules_of_only_during_must_allow_the_time() -> None:
    both = [freeze("08:00..18:00", guard="only_during"), freeze("16:00..20:00", guard="only_during", zone="UTC")]
    assert find_freeze(both, berlin("2026-11-26T17:30")) is None
    assert find_freeze(both, berlin("2026-11-26T12:00")) is not None
    assert find_freeze(both, berlin("2026-11-26T18:30")) is not None


def test_events_of_a_calendar_freeze_their_days_and_hours() -> None:
    hours = ((datetime(2026, 11, 26, 9, tzinfo=UTC), datetime(2026, 11, 26, 10, tzinfo=UTC), "Release"),)
    calendar = DaysOff({date(2026, 12, 24): "Christmas", date(2026, 12, 25): "Christmas"}, hours)
    found = freeze("team.ics", calendars={"team.ics": calendar})
    assert find_freeze([found], berlin("2026-11-26T09:59")) is None
    during = find_freeze([found], berlin("2026-11-26T10:30"))
    assert during is not None
    assert during.text == "frozen until 2026-11-26 11:00+01:00 (Release (team.ics), Europe/Berlin)"
    holiday = find_freeze([found], berlin("2026-12-24T10:30"))
    assert holiday is not None
    assert holiday.until == berlin("2026-12-26T00:00")
    only = freeze("team.ics", guard="only_during", calendars={"team.ics": calendar})
    assert find_free_moment([only], berlin("2026-11-26T11:00")) == berlin("2026-12-24T00:00")


def test_guards_of_playbook_settings_and_workspace_add_up() -> None:
    one, other = ({"timezone": "UTC", "on": [day]} for day in ("MON", "TUE"))
    merged = merge_guards(
        Guards.model_validate({"not_during": one}),
        Guards.model_validate({"not_during": [other], "only_during": other}),
    )
    assert [[each.text for each in times.on] for times in merged.not_during or ()] == [["TUE"], ["MON"]]
    assert [times.document() for times in merged.only_during or ()] == [other]


clocks = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 1, 30, 45]))
daily = st.builds("{}..{}".format, clocks, clocks)
weekly = st.builds("{} {}..{} {}".format, st.sampled_from(DAYS), clocks, st.sampled_from(DAYS), clocks)
near_changes = st.builds(
    lambda zone, year, minutes: (zone, next_change(ZoneInfo(zone), datetime(year, 1, 1, tzinfo=UTC)), minutes),
    st.sampled_from(ZONES),
    st.integers(2009, 2028),
    st.integers(-4 * 24 * 60, 4 * 24 * 60),
)


def reckon(entry: str, wall: datetime) -> bool:
    """Reckon independently: compare minutes since midnight, or since Monday's midnight."""

    def minutes(text: str) -> int:
        *day, clock = text.split()
        hour, minute = map(int, clock.split(":"))
        return (DAYS.index(day[0]) * 1440 if day else 0) + hour * 60 + minute

    start, end = map(minutes, entry.split(".."))
    now = wall.hour * 60 + wall.minute + (wall.weekday() * 1440 if entry[0].isalpha() else 0)
    period = 7 * 1440 if entry[0].isalpha() else 1440
    return (now - start) % period < (end - start) % period


@given(st.one_of(daily, weekly).filter(lambda text: len(set(text.split(".."))) == 2), near_changes)
def test_windows_hold_while_clocks_show_them_in_every_zone(entry: str, near: tuple[str, datetime, int]) -> None:
    zone, change, minutes = near
    at = (change + timedelta(minutes=minutes)).replace(second=0)
    wall = at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    assert (freeze(entry, zone=zone).find_entry(at) is not None) == reckon(entry, wall)


@given(st.integers(-3, 3), st.integers(0, 2), near_changes)
def test_dates_hold_while_clocks_show_these_days_in_every_zone(
    first: int, days: int, near: tuple[str, datetime, int]
) -> None:
    zone, change, minutes = near
    at, begin = change + timedelta(minutes=minutes), (change + timedelta(days=first)).date()
    end = begin + timedelta(days=days)
    expected = str(begin) <= f"{at.astimezone(ZoneInfo(zone)):%Y-%m-%d}" <= str(end)
    assert (freeze(f"{begin}..{end}", zone=zone).find_entry(at) is not None) == expected


@given(
    st.lists(
        st.one_of(st.one_of(daily, weekly).filter(lambda text: len(set(text.split(".."))) == 2), st.integers(-2, 2)),
        min_size=1,
        max_size=3,
    ),
    near_changes,
    st.sampled_from(["not_during", "only_during"]),
)
def test_the_end_of_a_freeze_is_the_first_free_minute(
    entries: list[str | int], near: tuple[str, datetime, int], guard: FreezeGuard
) -> None:
    zone, change, minutes = near
    at = (change + timedelta(minutes=minutes)).replace(second=0)
    dates = {number: (change + timedelta(days=number)).date() for number in entries if isinstance(number, int)}
    on = [f"{dates[each]}..{dates[each]}" if isinstance(each, int) else each for each in entries]
    each = freeze(*on, zone=zone, guard=guard)
    end = find_free_moment([each], at, timedelta(days=1))
    tick, last = at, at + timedelta(days=1)
    while tick <= last and each.find_block(tick) is not None:
        tick += timedelta(minutes=1)
    assert end == (tick if tick <= last else None)
