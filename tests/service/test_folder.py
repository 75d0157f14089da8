"""The folder of playbooks: what is read, when it is read again, and what is kept."""

from pathlib import Path

import pytest

from orchestrator.service.folder import Folder

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


@pytest.fixture
def playbooks(tmp_path: Path) -> Path:
    folder = tmp_path / "playbooks"
    folder.mkdir()
    (folder / "one.yaml").write_text(ONE)
    (folder / "days.ics").write_text(DAYS)
    return folder


def folder_of(playbooks: Path) -> Folder:
    return Folder(playbooks, playbooks.parent / "kept")


def test_what_did_not_change_is_not_read_again(playbooks: Path) -> None:
    folder = folder_of(playbooks)
    first = folder.look({}).watched["one"]
    assert folder.look({}).watched["one"] is first


def test_a_calendar_that_changes_changes_what_is_left_out_and_not_when_it_fires(playbooks: Path) -> None:
    folder = folder_of(playbooks)
    first = folder.look({}).watched["one"]
    (playbooks / "days.ics").write_text(DAYS.replace("20270303", "20270304"))
    second = folder.look({}).watched["one"]
    assert (first.when == second.when, first.left_out == second.left_out) == (True, False)


@pytest.mark.parametrize("broken", ["days.ics", "one.yaml"])
def test_what_is_broken_or_missing_leaves_the_last_valid_version(playbooks: Path, broken: str) -> None:
    folder = folder_of(playbooks)
    first = folder.look({}).watched["one"]
    text = (playbooks / broken).read_text()
    (playbooks / broken).write_text("nonsense: [")
    reading = folder.look({})
    assert reading.watched["one"] is first
    assert [(fault.keeps, Path(fault.file).name) for fault in reading.faults] == [("one", "one.yaml")]
    (playbooks / broken).write_text(text)
    assert folder.look({}).faults == ()


def test_the_last_valid_version_is_known_to_the_next_service_and_to_that_folder_alone(playbooks: Path) -> None:
    folder_of(playbooks).look({})
    (playbooks / "one.yaml").write_text("nonsense: [")
    reading = folder_of(playbooks).look({})
    assert (list(reading.watched), [fault.keeps for fault in reading.faults]) == (["one"], ["one"])
    other = playbooks.rename(playbooks.with_name("other"))
    assert list(folder_of(other).look({}).watched) == []


def test_what_is_kept_of_a_file_goes_with_it(playbooks: Path) -> None:
    folder = folder_of(playbooks)
    folder.look({})
    (playbooks / "one.yaml").unlink()
    assert folder.look({}).watched == {}
    (playbooks / "one.yaml").write_text("nonsense: [")
    assert folder_of(playbooks).look({}).watched == {}


def test_two_playbooks_of_one_name_are_both_refused_where_neither_was_there_before(playbooks: Path) -> None:
    (playbooks / "two.yaml").write_text(ONE)
    reading = folder_of(playbooks).look({})
    assert reading.watched == {}
    assert all("another playbook is called 'one'" in fault.message for fault in reading.faults)
    assert len(reading.faults) == 2
    owner = str(playbooks / "two.yaml")
    assert folder_of(playbooks).look({"one": owner}).watched["one"].file == owner


def test_a_folder_that_is_not_there_is_an_error_and_no_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        folder_of(tmp_path / "nowhere").look({})
