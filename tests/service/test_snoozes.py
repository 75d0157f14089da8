"""The file of snoozes, shared by the service and the command."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.errors import SettingsError
from orchestrator.service.scheduler import Snooze, Snoozed
from orchestrator.service.snoozes import FileSnoozeStore
from tests.service.host import MONDAY

DAY = timedelta(days=1)


def snoozed(begins: int, until: int) -> Snoozed:
    """A snooze between two days, counted from Monday."""
    return Snoozed(Snooze(MONDAY + begins * DAY, MONDAY + until * DAY), "me@here")


def test_what_was_put_is_read_again_and_others_may_not_read_it(tmp_path: Path) -> None:
    file = FileSnoozeStore(tmp_path)
    assert file.read_snoozes() == {}
    file.set_snooze("a", snoozed(0, 2))
    file.set_snooze("b", snoozed(1, 3))
    assert FileSnoozeStore(tmp_path).read_snoozes() == {"a": snoozed(0, 2), "b": snoozed(1, 3)}
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_a_snooze_that_is_made_longer_or_shorter_begins_where_it_did(tmp_path: Path) -> None:
    file = FileSnoozeStore(tmp_path)
    file.set_snooze("a", snoozed(0, 2))
    file.set_snooze("a", snoozed(1, 7))
    assert file.read_snoozes() == {"a": snoozed(0, 7)}
    file.set_snooze("a", snoozed(9, 10))  # that one was over
    assert file.read_snoozes() == {"a": snoozed(9, 10)}


def test_a_cleared_snooze_ends_now_and_what_it_left_out_stays_left_out(tmp_path: Path) -> None:
    file = FileSnoozeStore(tmp_path)
    file.set_snooze("a", snoozed(0, 9))
    assert file.clear_snooze("a", MONDAY + DAY)
    assert file.read_snoozes() == {"a": snoozed(0, 1)}
    assert not file.clear_snooze("a", MONDAY + 2 * DAY)
    assert not file.clear_snooze("b", MONDAY)


def test_what_is_long_over_is_forgotten(tmp_path: Path) -> None:
    file = FileSnoozeStore(tmp_path)
    file.set_snooze("a", snoozed(0, 1))
    file.set_snooze("b", snoozed(500, 501))
    assert list(file.read_snoozes()) == ["b"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"v": 1, "snoozes": {"a": {}}}', '{"v": 9, "snoozes": {}}'])
def test_a_file_that_is_not_what_was_written_is_an_error(tmp_path: Path, text: str) -> None:
    file = FileSnoozeStore(tmp_path)
    file.set_snooze("a", snoozed(0, 1))
    file.path.write_text(text)
    with pytest.raises(SettingsError, match=r"snoozes"):
        file.read_snoozes()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_root_writes_belongs_to_whom_the_folder_belongs_to(tmp_path: Path) -> None:
    file = FileSnoozeStore(tmp_path)
    file.path.parent.mkdir()
    os.chown(file.path.parent, 1234, 1234)
    file.set_snooze("a", snoozed(0, 1))
    assert {each.stat().st_uid for each in file.path.parent.iterdir()} == {1234}
