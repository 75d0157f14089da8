"""The file of snoozes, shared by the service and the command."""

import os
from pathlib import Path

import pytest

from orchestrator.errors import SettingsError
from orchestrator.service.snoozes import FileSnoozeStore
from tests.snooze_contract import SnoozeContract, snoozed


class TestFileSnoozes(SnoozeContract):
    """The contract over a file."""

    @pytest.fixture
    def snoozes(self, tmp_path: Path) -> FileSnoozeStore:
        return FileSnoozeStore(tmp_path)


def test_others_may_not_read_the_file(tmp_path: Path) -> None:
    file = FileSnoozeStore(tmp_path)
    file.set_snooze("a", snoozed(0, 2))
    assert file.path.stat().st_mode & 0o777 == 0o600


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
