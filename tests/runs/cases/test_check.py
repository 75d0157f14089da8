"""Check cases: settings, moments, inventory files, and errors with the line of the case."""

from functools import partial
from pathlib import Path

import anyio
import pytest

from orchestrator.errors import PlaybookError
from orchestrator.playbook.shipped import SHIPPED, list_playbooks
from orchestrator.runs.cases.check import CaseChecker
from orchestrator.runs.cases.schema import load_cases
from tests.runs.cases.files import PLAYBOOK, check, one_case

FROZEN = (
    "name: night\nguards: {not_during: {timezone: UTC, on: SAT..SUN}}\nsteps: [{action: stop, select: {all: true}}]\n"
)
NEEDS = "name: night\nvars: {pod: {required: true}}\nsteps: [{action: stop, select: {teepod: '${pod}'}}]\n"
FILE = (
    '{"format": "orchestrator-inventory", "version": 1, "read_at": "2026-11-28T10:00:00Z", "workspace": null,'
    ' "cvms": [{"name": "dev-1", "id": "cvm_1", "status": "running", "teepod": null, "future": 1}]}'
)


@pytest.mark.parametrize("name", list_playbooks(SHIPPED))
def test_every_shipped_playbook_passes_its_cases(name: str) -> None:
    loaded = load_cases(SHIPPED / f"{name}.cases.yaml")
    results = anyio.run(partial(CaseChecker().check_cases, loaded))
    assert [(each.name, each.differences) for each in results if not each.is_ok] == []


def test_settings_of_the_case_count_and_those_of_the_user_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCHESTRATOR_GUARDS__MAX_TARGETS", "1")
    (tmp_path / "config.toml").write_text("[guards]\nmax_targets = 1\n")
    (tmp_path / "keep.yaml").write_text("keep: [{name: dev-2, until: 2199-01-01, owner: jane, reason: demo}]")
    playbook = PLAYBOOK.replace("max_targets: 2, ", "")
    assert check(tmp_path, one_case("{exit_code: 0}"), playbook)[0].is_ok
    settings = "    settings: {guards: {max_targets: 1}, keep: {file: keep.yaml}}\n"
    expect = "{exit_code: 3, skipped: {kept: dev-2}, guards: {max_targets: refused}}"
    assert check(tmp_path, one_case(expect, settings), playbook)[0].is_ok


def test_an_inventory_file_lies_beside_the_cases_and_gives_the_moment(tmp_path: Path) -> None:
    (tmp_path / "fleet.json").write_text(FILE)
    saturday = one_case("{guards: {not_during: refused}}", inventory="fleet.json")
    assert check(tmp_path, saturday, FROZEN)[0].is_ok
    monday = one_case("{guards: {not_during: ok}}", "    now: 2026-11-30T10:00:00Z\n", "fleet.json")
    assert check(tmp_path, monday, FROZEN)[0].is_ok


def test_a_playbook_that_plan_refuses_is_a_case_of_exit_code_2(tmp_path: Path) -> None:
    assert check(tmp_path, one_case("{exit_code: 2}"), NEEDS)[0].is_ok
    with pytest.raises(PlaybookError, match="there is no plan to compare"):
        check(tmp_path, one_case("{exit_code: 2, warnings: []}"), NEEDS)


@pytest.mark.parametrize(
    ("playbook", "text", "line", "message"),
    [
        (NEEDS, one_case("{exit_code: 0}"), 3, "case 'a case': the variable 'pod' has no value"),
        (
            PLAYBOOK,
            one_case("{exit_code: 0}", "    vars: {pattern2: x}\n"),
            6,
            "the playbook has no variable 'pattern2'",
        ),
        (PLAYBOOK, one_case("\n      targets:\n        stop2: []"), 7, "no step 'stop2' with an action"),
        (PLAYBOOK, one_case("{targets: [dev-1]}"), 5, "the playbook has several steps"),
        (PLAYBOOK, one_case("{exit_code: 0}", inventory="none.json"), 4, "inventory file can't be read"),
        (PLAYBOOK, one_case("{exit_code: 0}", inventory="[{id: cvm_1}, {id: cvm_1}]"), 4, "two CVMs"),
        (PLAYBOOK, one_case("{exit_code: 0}", "    settings: {keep: {file: none.yaml}}\n"), 6, "is missing"),
        (FROZEN, one_case("{exit_code: 0}"), 3, "the guards have times, but the case has no `now`"),
        (
            FROZEN,
            one_case("{firings: {from: 2026-12-22, to: 2026-12-25, at: []}}", "    now: 2026-12-22\n"),
            5,
            "has no schedule",
        ),
    ],
)
def test_a_case_that_can_not_be_checked_is_refused_with_its_line(
    tmp_path: Path, playbook: str, text: str, line: int, message: str
) -> None:
    with pytest.raises(PlaybookError) as caught:
        check(tmp_path, text, playbook)
    assert message in caught.value.message
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "night.cases.yaml"), line)


def test_firings_in_a_freeze_do_not_count(tmp_path: Path) -> None:
    playbook = PLAYBOOK.replace("protect:", "not_during: {timezone: UTC, on: TUE}, protect:")
    text = one_case("{firings: {from: 2026-12-21, to: 2026-12-23, at: 2026-12-21T18:30Z}}", "    now: 2026-12-21\n")
    assert check(tmp_path, text, playbook)[0].is_ok
