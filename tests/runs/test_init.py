"""The files of a new folder."""

from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.playbook.load import load_playbook
from orchestrator.runs.init import create_files
from orchestrator.settings.load import load_settings


def test_the_created_files_are_valid_and_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "fleet"
    assert len(create_files(folder).created) == 3
    assert load_playbook(folder / "playbooks/first.yaml", {}).playbook.name == "first"
    assert load_settings(folder / "config.toml").guards.max_targets == 50
    (folder / "config.toml").write_text("# mine\n")
    (folder / "playbooks/first.yaml").unlink()
    again = create_files(folder)
    assert again.created == (folder / "playbooks/first.yaml",)
    assert again.left == (folder / "config.toml", folder / "playbooks/playbook.schema.json")
    assert (folder / "config.toml").read_text() == "# mine\n"


def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "fleet").write_text("")
    with pytest.raises(UsageError, match=r"is not a folder|can't be created"):
        create_files(tmp_path / "fleet")
