"""Scans of the folder of playbooks: reads, repeated reads, and kept versions."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from orchestrator.errors import PlaybookError
from orchestrator.playbook.calendars import CalendarReader
from orchestrator.playbook.ics import CalendarError, find_days_off
from orchestrator.service.folder import PlaybookFolder
from tests.service.host import MONDAY

ONE = """\
name: one
schedule: {cron: "0 2 * * *", timezone: Europe/Berlin, not_on: [days.ics]}
steps: [{action: stop, select: {all: true}}]
"""
DAYS = """\
BEGIN:VCALENDAR
VERSION:2.0
PRODID:x
BEGIN:VEVENT
UID:1
DTSTAMP:20270101T000000Z
DTSTART;VALUE=DATE:20270303
SUMMARY:Day off
END:VEVENT
END:VCALENDAR
""".replace("\n", "\r\n")


def read_here(_reader: CalendarReader, data: bytes, zone: ZoneInfo, _file: Path) -> dict[str, Any]:
    """Evaluate a calendar as the process of its own does."""
    try:
        return find_days_off(data, zone).document()
    except CalendarError as error:
        return {"error": str(error)}


def fail(*_: object) -> dict[str, Any]:
    raise PlaybookError("the calendar can't be read")


@pytest.fixture(autouse=True)
def _no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluate calendars in this process: starting another takes most of the time of these tests."""
    monkeypatch.setattr(CalendarReader, "_read_in_process", read_here)


@pytest.fixture
def playbooks(tmp_path: Path) -> Path:
    folder = tmp_path / "playbooks"
    folder.mkdir()
    (folder / "one.yaml").write_text(ONE)
    (folder / "days.ics").write_text(DAYS)
    return folder


def folder_of(playbooks: Path) -> PlaybookFolder:
    return PlaybookFolder(playbooks, playbooks.parent / "kept")


def test_what_did_not_change_is_not_read_again(playbooks: Path) -> None:
    folder = folder_of(playbooks)
    first = folder.scan({}).watched["one"]
    assert folder.scan({}).watched["one"] is first


def test_a_calendar_that_changes_changes_what_is_left_out_and_not_when_it_fires(playbooks: Path) -> None:
    folder = folder_of(playbooks)
    first = folder.scan({}).watched["one"]
    (playbooks / "days.ics").write_text(DAYS.replace("20270303", "20270304"))
    second = folder.scan({}).watched["one"]
    assert (first.when == second.when, first.left_out == second.left_out) == (True, False)


@pytest.mark.parametrize("broken", ["days.ics", "one.yaml"])
def test_what_is_broken_or_missing_leaves_the_last_valid_version(playbooks: Path, broken: str) -> None:
    folder = folder_of(playbooks)
    first = folder.scan({}).watched["one"]
    text = (playbooks / broken).read_text()
    (playbooks / broken).write_text("nonsense: [")
    reading = folder.scan({})
    assert reading.watched["one"] is first
    assert [(fault.keeps, Path(fault.file).name) for fault in reading.faults] == [("one", "one.yaml")]
    (playbooks / broken).write_text(text)
    assert folder.scan({}).faults == ()


def test_the_last_valid_version_is_known_to_the_next_service_and_to_that_folder_alone(playbooks: Path) -> None:
    folder_of(playbooks).scan({})
    (playbooks / "one.yaml").write_text("nonsense: [")
    reading = folder_of(playbooks).scan({})
    assert (list(reading.watched), [fault.keeps for fault in reading.faults]) == (["one"], ["one"])
    other = playbooks.rename(playbooks.with_name("other"))
    assert list(folder_of(other).scan({}).watched) == []


def test_what_is_kept_of_a_file_goes_with_it(playbooks: Path) -> None:
    folder = folder_of(playbooks)
    folder.scan({})
    (playbooks / "one.yaml").unlink()
    reading = folder.scan({})
    assert (list(reading.watched), reading.unsettled) == (["one"], frozenset({str(playbooks / "one.yaml")}))
    assert folder.scan({}).watched == {}
    (playbooks / "one.yaml").write_text("nonsense: [")
    assert folder_of(playbooks).scan({}).watched == {}


def test_two_playbooks_of_one_name_are_both_refused_where_neither_was_there_before(playbooks: Path) -> None:
    (playbooks / "two.yaml").write_text(ONE)
    reading = folder_of(playbooks).scan({})
    assert reading.watched == {}
    assert all("the name 'one' is also used in" in fault.message for fault in reading.faults)
    assert len(reading.faults) == 2
    owner = str(playbooks / "two.yaml")
    assert folder_of(playbooks).scan({"one": owner}).watched["one"].file == owner


def test_a_folder_that_is_not_there_is_an_error_and_no_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        folder_of(tmp_path / "nowhere").scan({})


def test_a_misspelt_key_leaves_the_last_valid_version(playbooks: Path) -> None:
    folder = folder_of(playbooks)
    folder.scan({})
    (playbooks / "one.yaml").write_text(ONE.replace("schedule:", "sschedule:"))
    for reading in (folder.scan({}), folder.scan({}), folder_of(playbooks).scan({})):
        assert (list(reading.watched), [fault.keeps for fault in reading.faults]) == (["one"], ["one"])
        assert "sschedule" in reading.faults[0].message


@pytest.mark.parametrize("length", range(0, len(ONE), 7))
def test_a_half_written_file_leaves_the_last_valid_version(playbooks: Path, length: int) -> None:
    folder = folder_of(playbooks)
    folder.scan({})
    (playbooks / "one.yaml").write_text(ONE[:length])
    assert list(folder.scan({}).watched) == ["one"]
    (playbooks / "one.yaml").write_text(ONE)
    reading = folder.scan({})
    assert (list(reading.watched), reading.faults, reading.unsettled) == (["one"], (), frozenset())


def test_a_link_whose_target_is_away_leaves_the_last_valid_version(playbooks: Path) -> None:
    file, target = playbooks / "one.yaml", playbooks.parent / "target.yaml"
    file.rename(target)
    file.symlink_to(target)
    folder = folder_of(playbooks)
    folder.scan({})
    target.rename(away := target.with_name("away"))
    for _ in range(3):
        reading = folder.scan({})
        assert (list(reading.watched), [fault.keeps for fault in reading.faults]) == (["one"], ["one"])
    away.rename(target)
    assert folder.scan({}).faults == ()


def test_only_a_valid_playbook_without_a_schedule_that_is_seen_twice_ends_one(playbooks: Path) -> None:
    folder = folder_of(playbooks)
    folder.scan({})
    (playbooks / "one.yaml").write_text(
        "name: one\nvars: {a: {required: true}}\nsteps: [{action: stop, select: {all: true}}]\n"
    )
    reading = folder.scan({})
    assert (list(reading.watched), reading.unsettled) == (["one"], frozenset({str(playbooks / "one.yaml")}))
    reading = folder.scan({})
    assert (reading.watched, reading.faults, reading.unsettled) == ({}, (), frozenset())


def test_a_file_that_an_earlier_service_had_is_gone_when_two_looks_say_so(playbooks: Path) -> None:
    folder_of(playbooks).scan({})
    owners = {"one": str(playbooks / "one.yaml")}
    (playbooks / "one.yaml").unlink()
    folder = folder_of(playbooks)
    assert list(folder.scan(owners).watched) == ["one"]
    reading = folder.scan(owners)
    assert (reading.watched, reading.unsettled) == ({}, frozenset())


def test_the_last_valid_version_has_its_days_off_also_after_a_restart(playbooks: Path) -> None:
    first = folder_of(playbooks).scan({}).watched["one"]
    (playbooks / "days.ics").write_text(DAYS.replace("DTSTART", "RRULE:FREQ=DAILY;INTERVAL=0\r\nDTSTART"))
    kept = folder_of(playbooks).scan({})
    (fault,) = kept.faults
    assert ("INTERVAL" in fault.message, "Day off" in fault.message, fault.keeps) == (True, True, "one")
    assert kept.watched["one"].timetable.calendars == first.timetable.calendars
    assert kept.watched["one"].left_out == first.left_out


def test_a_calendar_that_did_not_change_is_not_worked_out_again_at_the_next_start(
    playbooks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_of(playbooks).scan({})
    monkeypatch.setattr(CalendarReader, "_read_in_process", fail)
    assert folder_of(playbooks).scan({}).faults == ()


def test_a_file_that_can_not_be_used_is_read_again_after_a_while(
    playbooks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = MONDAY
    folder = PlaybookFolder(playbooks, playbooks.parent / "kept", wall=lambda: now)
    with monkeypatch.context() as context:
        context.setattr(CalendarReader, "_read_in_process", fail)
        assert len(folder.scan({}).faults) == 1
    now += timedelta(minutes=4)
    assert len(folder.scan({}).faults) == 1
    now += timedelta(minutes=2)
    assert folder.scan({}).faults == ()


@pytest.mark.parametrize(
    "text",
    [
        "services: {web: {image: x}}\n",
        "site_name: docs\nnav: !!python/name:x\n",
        "kind: A\n---\nkind: B\n",
        "- hosts: all\n",
        "",
        "schedule: [weekly]\nupdates: []\n",
        "stages: [a]\nbase: &base {a: b}\nother: *base\n",
    ],
)
def test_files_of_other_tools_are_left_alone(playbooks: Path, text: str) -> None:
    (playbooks / "other.yaml").write_text(text)
    assert folder_of(playbooks).scan({}).faults == ()


@pytest.mark.parametrize("text", [ONE.replace("schedule:", "sschedule:"), ONE + "x: [", ONE + "a: !tag b\n"])
def test_a_new_file_that_was_to_be_a_scheduled_playbook_is_told(playbooks: Path, text: str) -> None:
    (playbooks / "two.yaml").write_text(text)
    assert [Path(fault.file).name for fault in folder_of(playbooks).scan({}).faults] == ["two.yaml"]


def test_cases_beside_a_playbook_are_left_alone_even_if_they_look_like_a_playbook(playbooks: Path) -> None:
    (playbooks / "one.cases.yaml").write_text(ONE.replace("name: one", "name: other"))
    assert list(folder_of(playbooks).scan({}).watched) == ["one"]
