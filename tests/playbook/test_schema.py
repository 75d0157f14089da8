"""The JSON Schema, applied to the values of a usual YAML loader, as in an editor; and how playbooks are found."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from orchestrator.errors import PlaybookError
from orchestrator.playbook.load import find_playbook, load_playbook
from orchestrator.playbook.schema import json_schema
from tests.playbook.loading import FOLDER, SHIPPED, VALID

SCHEMA = jsonschema.Draft202012Validator(json_schema())


def faults(text: str) -> list[str]:
    return [each.message for each in SCHEMA.iter_errors(yaml.safe_load(text))]


def test_the_schema_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: str(file.stem))
def test_a_shipped_playbook_loads_and_matches_the_schema(file: Path) -> None:
    assert faults(file.read_text(encoding="utf-8")) == []
    open_ones = load_playbook(file, {}, allow_undefined=True).undefined
    loaded = load_playbook(file, dict.fromkeys(open_ones, "a1"))
    assert loaded.playbook.name == file.stem
    assert loaded.playbook.description


def test_five_playbooks_are_shipped() -> None:
    assert len(SHIPPED) == 5


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("max_targets: 5", 'max_targets: "${teepod}"'),
        ("max_targets: 5", "max_percent: 12.5%"),
        ("max_targets: 5", 'max_percent: "${teepod}"'),
        ("max_targets: 5", "protect: {app_id: 123}"),
        ("timeout: 10m", "timeout: 600"),
        ("timeout: 10m", 'timeout: "${teepod}"'),
        ("{required: true}", "prod-1"),
        ("{required: true}", "{default: 12}"),
        ('teepod: ["${teepod}"]', "teepod: 12"),
        ("guards:\n  max_targets: 5", "limits: {max_failures: 0, requests_per_second: 0.5}"),
        ("guards:\n  max_targets: 5", 'limits: {max_failures: 0%, burst: "${teepod}"}'),
        ("guards:\n  max_targets: 5", "limits: {requests_per_second: auto, dispatch: batch}"),
        ("guards:\n  max_targets: 5", 'schedule: {cron: "0 2 * * *", timezone: UTC, jitter: 5m, not_on: "2027-05-01"}'),
        ("guards:\n  max_targets: 5", 'schedule: {cron: "${teepod}", timezone: UTC, from: "${teepod}", not_on: []}'),
    ],
)
def test_the_schema_accepts_valid_playbooks(tmp_path: Path, old: str, new: str) -> None:
    text = VALID.replace(old, new)
    (tmp_path / "p.yaml").write_text(text)
    load_playbook(tmp_path / "p.yaml", {}, allow_undefined=True)
    assert faults(text) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("max_targets: 5", "max_targets: 0"),
        ("max_targets", "max_target"),
        ("action: stop", "action: halt"),
        ("name: example\n", ""),
        ("timeout: 10m", "timeout: soon"),
        ("guards:\n  max_targets: 5", 'schedule: {cron: "0 2 * * *"}'),
        ("guards:\n  max_targets: 5", 'schedule: {cron: "0 2 * * *", timezone: UTC, from: "tomorrow"}'),
        ('teepod: ["${teepod}"]', "teepod: []"),
    ],
)
def test_the_schema_refuses_invalid_playbooks(old: str, new: str) -> None:
    assert faults(VALID.replace(old, new))


def test_a_playbook_is_found_by_path_or_by_its_name_in_the_folder(tmp_path: Path) -> None:
    assert find_playbook("nightly-cost-stop", FOLDER) == FOLDER / "nightly-cost-stop.yaml"
    assert find_playbook(str(SHIPPED[0])) == SHIPPED[0]
    with pytest.raises(PlaybookError) as caught:
        find_playbook("nightly-cost", FOLDER)
    assert caught.value.hint == "did you mean 'nightly-cost-stop'?"
    with pytest.raises(PlaybookError, match="no playbook 'xyz'") as unknown:
        find_playbook("xyz", tmp_path)
    assert "shipped: emergency-stop-teepod, gpu-curfew, incident-contain-app, nightly-cost-stop, office-hours" in (
        unknown.value.hint or ""
    )
    with pytest.raises(PlaybookError):
        find_playbook("x" * 5000, tmp_path)


def test_a_playbook_of_the_folder_wins_over_a_shipped_one(tmp_path: Path) -> None:
    assert find_playbook("nightly-cost-stop", tmp_path) == FOLDER / "nightly-cost-stop.yaml"
    own = tmp_path / "nightly-cost-stop.yml"
    own.touch()
    assert find_playbook("nightly-cost-stop", tmp_path) == own
