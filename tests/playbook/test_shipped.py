"""Playbooks by name: cases files beside playbooks are no playbooks."""

from pathlib import Path

from orchestrator.playbook.shipped import is_cases_file, list_playbooks, locate_playbook


def test_cases_files_are_no_playbooks(tmp_path: Path) -> None:
    for name in ("night.yaml", "night.cases.yaml", "day.yml", "day.cases.yml", "suitcases.yaml"):
        (tmp_path / name).touch()
    assert list_playbooks(tmp_path) == ["day", "night", "suitcases"]
    assert [name for name in ("night.yaml", "night.cases.yaml", "suitcases.yaml") if is_cases_file(Path(name))] == [
        "night.cases.yaml"
    ]
    assert locate_playbook("night", tmp_path) == tmp_path / "night.yaml"
