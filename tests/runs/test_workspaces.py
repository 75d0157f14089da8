"""The settings of a run's workspace, by option, playbook or log."""

from pathlib import Path

import pytest

from orchestrator.audit.replay import RunState
from orchestrator.errors import UsageError
from orchestrator.playbook.schema import Playbook
from orchestrator.runs.workspaces import (
    choose_names,
    choose_settings,
    explain_mismatch,
    settings_of_name,
    settings_of_run,
)
from orchestrator.settings.load import Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("PHALA_CLOUD_DIR", str(tmp_path))
    monkeypatch.delenv("PHALA_CLOUD_API_KEY", raising=False)
    file = tmp_path / "settings.toml"
    file.write_text("".join(f'[workspaces.{name}]\napi_key_env = "KEY"\n' for name in ("prod-eu", "prod-us", "dev")))
    return load_settings(file)


def with_profile(settings: Settings) -> Settings:
    assert settings.origin.file is not None
    return load_settings(Path(settings.origin.file), ("cloud.profile=x",))


def test_the_option_wins_over_the_playbook_and_a_simulated_cloud_has_no_workspaces(settings: Settings) -> None:
    assert choose_names(settings, ("dev",), ["prod-*"]) == ("dev",)
    assert choose_names(settings, (), ["prod-*"]) == ("prod-eu", "prod-us")
    assert choose_names(settings, (), ["prod-*"], simulate=True) == ()
    assert choose_settings(settings, ["dev"]).workspace_name == "dev"


def test_named_workspaces_without_a_choice_and_without_a_default_key_are_refused(settings: Settings) -> None:
    with pytest.raises(UsageError, match="no default API key") as caught:
        choose_names(settings)
    assert caught.value.hint == "add --workspace NAME (or '*' for all); the settings have prod-eu, prod-us, dev"


def test_a_profile_of_the_command_line_excludes_the_workspaces_of_a_playbook(settings: Settings) -> None:
    profile = with_profile(settings)
    with pytest.raises(UsageError, match="--profile and the playbook's `workspaces` exclude each other"):
        choose_names(profile, (), ["dev"])
    assert choose_names(profile) == ()


def test_a_workspace_ignored_in_a_found_file_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.toml").write_text('[workspaces.dev]\napi_key_file = "k"\n')
    with pytest.raises(UsageError, match="--workspace 'dev' matches no workspace") as caught:
        choose_names(load_settings(), ("dev",))
    assert "workspaces.dev is ignored; use --config config.toml" in (caught.value.hint or "")


def test_several_matches_are_refused_where_a_command_acts_in_one_workspace(settings: Settings) -> None:
    with pytest.raises(UsageError, match=r"2 workspaces match \(prod-eu, prod-us\)") as caught:
        choose_settings(settings, ["prod-*"])
    assert caught.value.hint == "name one workspace, such as --workspace prod-eu"


def test_a_workspace_chosen_in_a_program_stays(settings: Settings) -> None:
    chosen = settings.for_workspace("dev")
    assert choose_settings(chosen, ["prod-*"]) is chosen
    assert settings_of_name(chosen, "dev", "the run") is chosen


def run_of(name: str | None) -> RunState:
    state = RunState()
    named = {} if name is None else {"workspace_name": name}
    state.apply_record({"event": "run.started", "run_id": "x", "ts": "2026-11-23T08:00:00.000000Z", **named})
    return state


def test_a_run_has_the_settings_of_its_workspace(settings: Settings) -> None:
    assert settings_of_run(settings, run_of("dev")).workspace_name == "dev"
    assert settings_of_run(settings, run_of(None)) is settings


def test_a_run_of_an_unknown_workspace_or_with_a_profile_is_refused(settings: Settings) -> None:
    with pytest.raises(UsageError, match="the run belongs to workspace 'deb', and the settings have no such") as caught:
        settings_of_run(settings, run_of("deb"))
    assert caught.value.hint is not None
    assert "[workspaces.deb]" in caught.value.hint
    assert "did you mean 'dev'?" in caught.value.hint
    with pytest.raises(UsageError, match="the run belongs to workspace 'dev': leave --profile out"):
        settings_of_run(with_profile(settings), run_of("dev"))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, None),
        ({"workspaces": ["prod-*"], "fleet": {"first": "prod-us"}}, None),
        ({"workspaces": ["prod-*", "tset"]}, "matches no workspace of the settings"),
        ({"workspaces": ["prod-*"], "fleet": {"first": "dev"}}, "`fleet.first` names 'dev'"),
    ],
)
def test_workspaces_of_a_playbook_unknown_to_the_settings_are_explained(
    settings: Settings, keys: dict[str, object], expected: str | None
) -> None:
    steps = [{"action": "stop", "select": {"all": True}}]
    found = explain_mismatch(settings, Playbook.model_validate({"name": "x", "steps": steps, **keys}))
    assert (found is None) if expected is None else (found is not None and expected in found)
