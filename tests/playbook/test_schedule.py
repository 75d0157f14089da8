"""The `schedule` section of a playbook, and its errors."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.errors import PlaybookError
from orchestrator.playbook.schedule import Schedule
from orchestrator.playbook.timetable import load_timetable, load_wake_timetable
from tests.playbook.loading import VALID, load, refusal

SCHEDULE = """\
schedule:
  cron: "30 2 * * MON-FRI"
  timezone: Europe/Berlin
  jitter: 10m
  not_on:
    - "2027-12-24"
    - "2027-12-31..2028-01-02"
  from: "2027-01-01"
  until: "2028-06-30T18:00"
  on_missed: run_once
  on_overlap: queue
"""
TEXT = SCHEDULE + VALID


def test_a_schedule_is_read(tmp_path: Path) -> None:
    schedule = load(tmp_path, TEXT, teepod="a").playbook.schedule
    assert schedule is not None
    assert (schedule.cron, schedule.timezone, schedule.jitter) == ("30 2 * * MON-FRI", "Europe/Berlin", 600)
    assert [each.text for each in schedule.not_on] == ["2027-12-24", "2027-12-31..2028-01-02"]
    assert (str(schedule.from_), str(schedule.until)) == ("2027-01-01", "2028-06-30 18:00:00")
    assert (schedule.on_missed, schedule.on_overlap) == ("run_once", "queue")


def test_the_defaults_of_a_schedule_are_cautious() -> None:
    """A missed stop is not made up for at an unplanned hour, and no run waits behind another run."""
    schedule = Schedule.model_validate({"cron": "0 0 * * *", "timezone": "UTC"})
    assert (schedule.on_missed, schedule.on_overlap, schedule.jitter) == ("skip", "skip", 0)


@pytest.mark.parametrize(
    ("old", "new", "line", "says", "hint"),
    [
        ('cron: "30 2 * * MON-FRI"', 'cron: "30 2 * *"', 2, "schedule.cron: must be a cron expression", "five fields"),
        ('cron: "30 2 * * MON-FRI"', 'cron: "0 30 2 * * *"', 2, "must be a cron expression", "five fields"),
        ('cron: "30 2 * * MON-FRI"', 'cron: "@daily"', 2, "must be a cron expression, not '@daily'", "five fields"),
        ('cron: "30 2 * * MON-FRI"', "cron: []", 2, "schedule.cron: must be a cron expression", "five fields"),
        (
            '"30 2 * * MON-FRI"',
            '"60 2 * * *"',
            2,
            "schedule.cron: the cron expression '60 2 * * *' has a bad minute",
            "59",
        ),
        ('"30 2 * * MON-FRI"', '"30 24 * * *"', 2, "has a bad hour", "hour takes 0 to 23"),
        ('"30 2 * * MON-FRI"', '"30 2 * * FUN"', 2, "has a bad day-of-week", "SUN to SAT"),
        ('"30 2 * * MON-FRI"', '"30 2 * MAI *"', 2, "has a bad month", "JAN to DEC"),
        ('"30 2 * * MON-FRI"', '"30 2 30 2 *"', 2, "has a bad day-of-month", "1 to 31"),
        ('  cron: "30 2 * * MON-FRI"\n', "", 1, "the key 'cron' is missing in schedule", None),
        ("  timezone: Europe/Berlin\n", "", 1, "the key 'timezone' is missing in schedule", None),
        (
            "Europe/Berlin",
            "Europe/Berln",
            3,
            "schedule.timezone: there is no time zone 'Europe/Berln'",
            "'Europe/Berlin'",
        ),
        ("Europe/Berlin", "europe/berlin", 3, "there is no time zone", "did you mean 'Europe/Berlin'?"),
        ("Europe/Berlin", "Berlin time", 3, "there is no time zone", "such as Europe/Berlin"),
        ("Europe/Berlin", "Europe", 3, "there is no time zone 'Europe'", None),
        ("Europe/Berlin", "../../etc/passwd", 3, "there is no time zone", "such as"),
        ("Europe/Berlin", "right/Europe/Berlin", 3, "there is no time zone", None),
        ("Europe/Berlin", '"\\0"', 3, "there is no time zone", None),
        ("jitter: 10m", "jitter: soon", 4, "schedule.jitter: 'soon' is not a duration", None),
        ('"2027-12-24"', "Christmas", 6, "schedule.not_on[0]: must be a date, a range of dates or an .ics file", ".."),
        ('"2027-12-24"', "2027-02-30", 6, "schedule.not_on[0]: there is no such day: '2027-02-30'", "YYYY-MM-DD"),
        ('"2027-12-24"', "1927-02-03", 6, "is not between 2000 and 2199", "year"),
        ("31..2028-01-02", "31..2027-01-02", 7, "ends before its start", "put the earlier date first"),
        ('"2027-12-24"', "{on: x}", 6, "schedule.not_on[0]: must be a date", None),
        ('"2027-01-01"', "soon", 8, "schedule.from: must be a date or a time, not 'soon'", "2027-12-24T18:00"),
        ('"2027-01-01"', "20270101", 8, "schedule.from: must be a date or a time", None),
        ('"2027-01-01"', '"2027-01-01T25:00"', 8, "schedule.from: there is no such time", "hh:mm"),
        ('"2027-01-01"', '"2028-07-01"', 9, "schedule.until: 2028-06-30 18:00:00 is before `from`", "swap"),
        ("run_once", "always", 10, "schedule.on_missed must be 'run_once' or 'skip', not 'always'", None),
        ("queue", "kill", 11, "schedule.on_overlap must be 'skip' or 'queue', not 'kill'", None),
        ("on_missed", "on_mised", 10, "unknown key 'on_mised' in schedule", "did you mean 'on_missed'?"),
        ("  from:", "  form:", 8, "unknown key 'form' in schedule", "did you mean 'from'?"),
        ("  from:", "  from_:", 8, "unknown key 'from_' in schedule", "did you mean 'from'?"),
        (SCHEDULE, "schedule: daily\n", 1, "schedule must be a mapping of keys to values", None),
    ],
)
def test_an_error_names_line_and_key(
    tmp_path: Path, old: str, new: str, *, line: int, says: str, hint: str | None
) -> None:
    assert old in TEXT
    error = refusal(tmp_path, TEXT.replace(old, new, 1), teepod="a")
    assert says in error.message
    assert error.line == line
    assert hint is None or hint in (error.hint or "")


def test_a_schedule_may_last_a_single_day() -> None:
    same = {"from": "2027-01-01", "until": "2027-01-01"}
    assert Schedule.model_validate({"cron": "0 0 * * *", "timezone": "UTC", **same}).from_ is not None


@given(st.text("0123456789*/,-#LWSUNJA?@ ", max_size=30))
def test_any_text_is_a_cron_expression_or_is_refused(text: str) -> None:
    try:
        schedule = Schedule.model_validate({"cron": text, "timezone": "UTC"})
    except ValidationError:
        return
    assert len(schedule.cron.split()) == 5


def test_variables_are_put_into_a_schedule(tmp_path: Path) -> None:
    text = TEXT.replace("Europe/Berlin", '"${teepod}"')
    schedule = load(tmp_path, text, teepod="Asia/Kolkata").playbook.schedule
    assert schedule is not None
    assert schedule.timezone == "Asia/Kolkata"
    assert refusal(tmp_path, text, teepod="Nowhere").line == 3


def test_only_a_schedule_with_open_variables_is_not_checked(tmp_path: Path) -> None:
    text = TEXT.replace('- "2027-12-24"', '- "${teepod}"').replace('- "2027-12-31..2028-01-02"', '- "${teepod}"')
    assert load(tmp_path, text, open_ones=True).playbook.schedule is None
    assert refusal(tmp_path, text.replace("max_targets", "max_target"), open_ones=True).line == 16


def test_a_playbook_without_a_schedule_has_no_timetable(tmp_path: Path) -> None:
    assert load_timetable(load(tmp_path, VALID, teepod="a")) is None


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, "can't be read: No such file or directory"),
        (b"<html>Please log in</html>", "can't be used"),
        (b"", "can't be used"),
        (b"\xff\xfe\x00", "can't be used"),
        (b"x" * 5_000_001, ": more than 5,000,000 bytes"),
    ],
)
def test_the_error_of_an_unusable_calendar_names_line_and_key(tmp_path: Path, data: bytes | None, says: str) -> None:
    """A run does not need the calendar: only the timetable reads the calendar."""
    if data is not None:
        (tmp_path / "holidays.ics").write_bytes(data)
    loaded = load(tmp_path, TEXT.replace('"2027-12-31..2028-01-02"', "holidays.ics"), teepod="a")
    with pytest.raises(PlaybookError, match=says) as caught:
        load_timetable(loaded)
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "p.yaml"), 7)
    assert caught.value.message.startswith(f"schedule.not_on[1]: the calendar {tmp_path / 'holidays.ics'}")
    of_content = says == "can't be used"
    assert (caught.value.hint or "").startswith(
        "correct the event" if of_content else "the path is relative to the playbook"
    )


WAKE = 'wake: {cron: "0 7 * * MON-FRI", not_on: ["2027-12-24"]}\n'


def test_a_wake_has_times_of_its_own_in_the_zone_of_the_schedule(tmp_path: Path) -> None:
    wake = load_wake_timetable(load(tmp_path, WAKE + TEXT, teepod="a"))
    assert wake is not None
    times = wake.schedule
    assert (wake.name, wake.wakes) == ("example (wake)", "example")
    assert (times.cron, times.timezone, times.from_, times.jitter) == ("0 7 * * MON-FRI", "Europe/Berlin", None, 0)
    assert (times.on_missed, times.on_overlap) == ("run_once", "queue")
    assert [each.text for each in times.not_on] == ["2027-12-24"]
    own = load_wake_timetable(load(tmp_path, WAKE.replace("not_on", "timezone: UTC, not_on") + TEXT, teepod="a"))
    assert own is not None
    assert own.schedule.timezone == "UTC"
    assert load_wake_timetable(load(tmp_path, TEXT, teepod="a")) is None


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (WAKE + VALID, "wake: needs a `schedule`", "add `schedule`"),
        (
            WAKE.replace("not_on", "timezone: Europe/Berln, not_on") + TEXT,
            "wake.timezone: there is no time zone",
            "did",
        ),
        (WAKE.replace("0 7", "99 7") + TEXT, "wake.cron: the cron expression", "minute takes 0 to 59"),
        (WAKE.replace("cron", "include_gpus: 1, cron") + TEXT, "wake.include_gpus", ""),
    ],
)
def test_a_wrong_wake_is_an_error_at_its_place(tmp_path: Path, text: str, message: str, hint: str) -> None:
    error = refusal(tmp_path, text, teepod="a")
    assert message in str(error)
    assert ":1: " in str(error)
    assert hint in (error.hint or "")


def test_a_broken_calendar_of_a_wake_is_named(tmp_path: Path) -> None:
    loaded = load(tmp_path, WAKE.replace("2027-12-24", "off.ics") + TEXT, teepod="a")
    with pytest.raises(PlaybookError, match=r"wake\.not_on\[0\]: "):
        load_wake_timetable(loaded)
