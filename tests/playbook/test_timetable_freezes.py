"""Freezes of a timetable: of the playbook and the settings, with calendars by the folder of their file."""

from pathlib import Path

import pytest

from orchestrator.errors import PlaybookError
from orchestrator.playbook.calendars import DaysOff
from orchestrator.playbook.schema import Guards
from orchestrator.playbook.timetable import list_freeze_calendars, load_freezes
from tests.playbook.loading import load

TEXT = """\
name: p
guards:
  not_during: {timezone: UTC, on: [team.ics]}
steps:
  - {action: %s, select: {all: true}}
"""
SETTINGS = Guards.model_validate({"only_during": {"timezone": "UTC", "on": ["/etc/ours.ics"]}})


def test_calendars_go_by_the_folder_of_the_playbook_and_the_settings_have_their_own(tmp_path: Path) -> None:
    read: list[Path] = []

    def note(file: Path, _zone: object) -> DaysOff:
        read.append(file)
        return DaysOff()

    loaded = load(tmp_path, TEXT % "stop")
    found = load_freezes(loaded, note, SETTINGS)
    assert [each.guard for each in found] == ["not_during", "only_during"]
    assert read == [tmp_path / "team.ics", Path("/etc/ours.ics")]
    assert list(list_freeze_calendars(loaded, SETTINGS)) == read


def test_a_playbook_with_starts_is_decided_by_its_plan(tmp_path: Path) -> None:
    assert load_freezes(load(tmp_path, TEXT % "start"), lambda *_: DaysOff(), SETTINGS) == ()


def test_a_broken_calendar_names_the_guard(tmp_path: Path) -> None:
    def fail(*_: object) -> DaysOff:
        raise PlaybookError("no calendar")

    with pytest.raises(PlaybookError, match=r"p.yaml: guards.not_during: no calendar"):
        load_freezes(load(tmp_path, TEXT % "stop"), fail)
