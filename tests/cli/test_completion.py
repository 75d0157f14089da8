"""What completion offers: run ids, playbooks and variables, found without the modules that take long."""

from pathlib import Path

import pytest
from click.shell_completion import BashComplete, ShellComplete, get_completion_class

from orchestrator.audit.store import FileRunStore
from orchestrator.cli.completion import register_shells
from orchestrator.cli.main import COMPLETING, group
from orchestrator.playbook.load import load_playbook
from orchestrator.playbook.shipped import SHIPPED, list_playbooks

IDS = ["20261123T090000Z-4f2b", "20261123T080000Z-4f2a"]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, with two runs in its state folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCHESTRATOR_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    keep_runs(tmp_path / "state", *IDS)


def keep_runs(state: Path, *ids: str) -> None:
    store = FileRunStore(state)
    store.prepare()
    for run_id in ids:
        store.path_of(run_id).touch()


def offered(words: str) -> list[str]:
    """What is offered for the last of these words."""
    *args, incomplete = words.split(" ")
    return [
        item.value for item in ShellComplete(group, {}, "orchestrator", COMPLETING).get_completions(args, incomplete)
    ]


def test_test_offers_playbooks_with_cases_and_other_commands_no_cases_files() -> None:
    Path("playbooks").mkdir()
    Path("playbooks/tidy.yaml").touch()
    Path("playbooks/tidy.cases.yaml").touch()
    assert offered("test ti") == offered("plan ti") == ["tidy"]
    assert "nightly-cost-stop" in offered("test ")


@pytest.mark.parametrize(
    "command",
    [
        "show",
        "report",
        "resume",
        "resume --dry-run",
        "abandon",
        "restore",
        "approve",
        "reconcile",
        "audit show",
        "audit seal",
        "audit verify",
        "audit export",
    ],
)
def test_every_command_with_a_run_offers_run_ids_newest_first_and_last(command: str) -> None:
    assert offered(f"{command} ") == [*IDS, "last"]
    assert offered(f"{command} 20261123T08") == IDS[1:]
    assert offered(f"{command} la") == ["last"]


def test_run_ids_come_from_the_state_folder_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_runs(tmp_path / "named", "20270101T000000Z-0001")
    keep_runs(tmp_path / "found", "20270101T000000Z-0002")
    keep_runs(tmp_path / "line", "20270101T000000Z-0003")
    Path("named.toml").write_text(f"[audit]\nstate_dir = '{tmp_path / 'named'}'\n")
    Path("config.toml").write_text(f"[audit]\nstate_dir = '{tmp_path / 'found'}'\n")
    assert offered("show 2027") == ["2027"]
    assert offered(f"show --set audit.state_dir={tmp_path / 'line'} 2027") == ["20270101T000000Z-0003"]
    monkeypatch.delenv("ORCHESTRATOR_STATE_DIR")
    assert offered("show 2027") == ["20270101T000000Z-0002"]
    assert offered("show --config named.toml 2027") == ["20270101T000000Z-0001"]
    Path("config.toml").write_text("[audit\n")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    keep_runs(tmp_path / "xdg" / "orchestrator", "20270101T000000Z-0004")
    assert offered("show 2027") == ["20270101T000000Z-0004"]


@pytest.mark.parametrize("command", ["plan", "run", "validate", "schedule explain", "snooze"])
def test_every_command_with_a_playbook_offers_playbooks(command: str) -> None:
    Path("playbooks").mkdir()
    Path("playbooks/tidy.yaml").touch()
    assert offered(f"{command} tid") == ["tidy"]
    assert "nightly-cost-stop" in offered(f"{command} ")


def test_workspace_offers_the_workspaces_of_the_settings_file(tmp_path: Path) -> None:
    assert offered("plan --workspace ") == []
    file = tmp_path / "fleet.toml"
    file.write_text('[workspaces.prod]\napi_key_env = "A"\n[workspaces.dev]\napi_key_env = "B"\n')
    assert offered(f"plan --config {file} --workspace ") == ["prod", "dev"]
    assert offered(f"cvms --config {file} --workspace prod --workspace ") == ["dev"]
    file.write_text("workspaces = 3")
    assert offered(f"stop --config {file} --workspace d") == []


def test_var_offers_the_variables_of_the_chosen_playbook_without_a_value() -> None:
    variables = "  # which\n\n  pod: {required: true}\n  'other':\n    default: a\n    description: 'x: y'\n"
    Path("mine.yaml").write_text(f"name: x\nvars:\n{variables}steps: []\n")
    assert offered("run mine.yaml --var ") == ["pod=", "other="]
    assert offered("run mine.yaml --var po") == ["pod="]
    assert offered("run mine.yaml --var pod=1 --var ") == ["other="]
    assert offered("validate mine.yaml --var ") == ["pod=", "other="]
    for nothing in (
        "run --var ",
        "run missing --var ",
        "run /dev/zero --var ",
        "run . --var ",
        "run mine.yaml --var pod=",
    ):
        assert offered(nothing) == []


@pytest.mark.parametrize("name", list_playbooks(SHIPPED))
def test_the_scan_finds_exactly_the_variables_of_the_shipped_playbooks(name: str) -> None:
    loaded = load_playbook(SHIPPED / f"{name}.yaml", {}, allow_undefined=True)
    assert offered(f"plan {name} --var ") == [f"{variable}=" for variable in loaded.playbook.vars]


@pytest.mark.parametrize(
    ("words", "number", "read"),
    [
        ("orchestrator run x --var a = 1 --var ", 8, (["run", "x", "--var", "a=1", "--var"], "")),
        ("orchestrator run x --var a =", 5, (["run", "x", "--var"], "a=")),
        ("orchestrator run x --var a = b", 6, (["run", "x", "--var"], "a=b")),
        ("orchestrator sho", 1, ([], "sho")),
    ],
)
def test_bash_splits_words_at_an_equals_sign_and_completion_joins_them(
    monkeypatch: pytest.MonkeyPatch, words: str, number: int, read: tuple[list[str], str]
) -> None:
    register_shells()
    kind = get_completion_class("bash")
    assert kind is not None
    assert issubclass(kind, BashComplete)
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(number))
    assert kind(group, {}, "orchestrator", COMPLETING).get_completion_args() == read


def test_ids_of_fleet_runs_are_offered_among_the_run_ids_by_time(tmp_path: Path) -> None:
    fleets = tmp_path / "state" / "fleets"
    fleets.mkdir()
    (fleets / "fleet-20261123T083000Z-4f2a.jsonl").touch()
    assert offered("show ") == [IDS[0], "fleet-20261123T083000Z-4f2a", IDS[1], "last"]
    assert offered("show fleet-") == ["fleet-20261123T083000Z-4f2a"]
