"""Settings that are lists: JSON or repetition, and protection that adds up over all sources."""

import os
from pathlib import Path

import pytest

from orchestrator.errors import SettingsError, UsageError
from orchestrator.playbook.guards import merge_guards
from orchestrator.playbook.schema import Guards
from orchestrator.settings.load import Settings, load_settings
from orchestrator.settings.sources import ADDING_UP, ANY_NAME, list_settings
from tests.playbook.fleet import cvm
from tests.playbook.loading import playbook
from tests.playbook.plans import plan_of

NAME = "guards.protect.name"
BROKEN = ["a-*,b-*", "a-*, b-*", '["a-*"', "[a-*]", "{a}", ""]


def protected(*assignments: str) -> list[str] | None:
    return load_settings(None, assignments).guards.protect.name


@pytest.mark.parametrize(
    "assignments",
    [
        (f'{NAME}=["a-*","b-*"]',),
        (f"{NAME}=a-*", f"{NAME}=b-*"),
        (f'{NAME}=["a-*"]', f"{NAME}=b-*"),
        (f'{NAME}=["a-*"]', f'{NAME}=["b-*"]'),
    ],
)
def test_json_and_repetition_form_one_list_that_protects(assignments: tuple[str, ...]) -> None:
    guards = merge_guards(Guards(), load_settings(None, assignments).guards)
    assert guards.protect.name == ["a-*", "b-*"]
    plan = plan_of(playbook({"all": "true"}), [cvm(1, "a-1"), cvm(2, "b-1"), cvm(3, "c-1")], guards=guards)
    assert [target.cvm.ref.name for target in plan.targets] == ["c-1"]


def test_of_a_setting_that_is_no_list_the_last_assignment_holds() -> None:
    assert load_settings(None, ("rate.burst=1", "rate.burst=2")).rate.burst == 2


LIST_SETTINGS = [tuple("prod" if part == ANY_NAME else part for part in path) for path in list_settings(Settings)]


@pytest.mark.parametrize("path", LIST_SETTINGS, ids=".".join)
@pytest.mark.parametrize("value", BROKEN)
def test_text_that_is_no_list_is_refused_for_every_list_setting(
    monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...], value: str
) -> None:
    dotted = ".".join(path)
    with pytest.raises(UsageError, match=f"--set {dotted}") as caught:
        load_settings(None, (f"{dotted}={value}",))
    assert caught.value.hint
    variable = "ORCHESTRATOR_" + "__".join(path).upper()
    if value or "guards" in path:
        monkeypatch.setenv(variable, value)
        with pytest.raises(SettingsError, match=f"environment variable {variable}"):
            load_settings()
        monkeypatch.delenv(variable)
    *tables, key = path
    Path("config.toml").write_text(f"[{'.'.join(tables)}]\n{key} = '{value}'\n")
    with pytest.raises(SettingsError) as in_file:
        load_settings(Path("config.toml"))
    assert (in_file.value.file, in_file.value.line) == ("config.toml", 2)


def test_protection_adds_up_over_all_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("config.toml").write_text(
        '[guards]\nkeep_running = {per = "app_id", min = 1}\n[guards.protect]\nname = "file-*"\n'
    )
    assert protected() == ["file-*"]
    monkeypatch.setenv("ORCHESTRATOR_GUARDS__PROTECT__NAME", '["environment-*"]')
    monkeypatch.setenv("ORCHESTRATOR_GUARDS__KEEP_RUNNING", '[{"per": "teepod", "min": "10%"}]')
    assert protected() == ["environment-*", "file-*"]
    assert protected(f"{NAME}=line-*") == ["line-*", "environment-*", "file-*"]
    assert protected(f"{NAME}=[]") == ["environment-*", "file-*"]
    guards = load_settings(None, ('guards.keep_running={"per": "app_id", "min": 2}',)).guards
    assert [(rule.per, str(rule.min)) for rule in guards.keep_running or ()] == [
        ("app_id", "2"),
        ("teepod", "10%"),
        ("app_id", "1"),
    ]


def test_every_list_of_the_guards_adds_up() -> None:
    assert {path for path in list_settings(Settings) if "guards" in path} == set(ADDING_UP)


def test_any_other_list_of_a_higher_source_replaces_the_lower_one(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("config.toml").write_text('[notify]\non = ["start"]\n')
    monkeypatch.setenv("ORCHESTRATOR_NOTIFY__ON", "end")
    assert load_settings().notify.on == ("end",)
    assert load_settings(None, ("notify.on=failure",)).notify.on == ("failure",)


def test_an_entry_that_can_not_be_used_is_blamed_on_its_own_source(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("config.toml").write_text('[guards.protect]\nteepod = ["1", ""]\n')
    monkeypatch.setenv("ORCHESTRATOR_GUARDS__PROTECT__TEEPOD", '["2"]')
    with pytest.raises(SettingsError) as caught:
        load_settings(None, ("guards.protect.teepod=3",))
    assert (caught.value.file, caught.value.line) == ("config.toml", 2)
    assert caught.value.message == "guards.protect.teepod[1]: must not be empty"
    Path("config.toml").unlink()
    monkeypatch.setenv("ORCHESTRATOR_GUARDS__PROTECT__TEEPOD", '["2", 5]')
    with pytest.raises(SettingsError, match=r"ORCHESTRATOR_GUARDS__PROTECT__TEEPOD: .*teepod\[1\]"):
        load_settings(None, ("guards.protect.teepod=3",))


@pytest.mark.parametrize(
    ("variable", "value"),
    [("ORCHESTRATOR_GUARDS", '{"protect": {"name": ["a-*"]}}'), ("ORCHESTRATOR_GUARDS__PROTECT", '{"name": ["a-*"]}')],
)
def test_protection_in_two_forms_of_variable_is_refused_since_one_would_be_lost(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert load_settings().guards.protect.name == ["a-*"]
    monkeypatch.setenv("ORCHESTRATOR_GUARDS__PROTECT__NAME", '["b-*"]')
    with pytest.raises(SettingsError, match=f"{variable} and ORCHESTRATOR_GUARDS__PROTECT__NAME both set") as caught:
        load_settings()
    assert caught.value.hint == "put all entries into one of them"


def test_a_list_entry_with_quotes_around_it_is_refused() -> None:
    with pytest.raises(UsageError, match="has quotes around it"):
        load_settings(None, ('guards.protect.name="web-1"',))


def test_a_whole_mapping_beside_a_field_of_it_on_the_command_line_is_refused() -> None:
    both = ('guards.protect={"name": ["a-*"]}', 'guards.protect.name=["b-*"]')
    with pytest.raises(UsageError, match=r"guards\.protect and --set guards\.protect\.name exclude each other"):
        load_settings(None, both)


def test_a_variable_in_capitals_and_in_small_letters_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_GUARDS__PROTECT__NAME", '["a-*"]')
    monkeypatch.setenv("orchestrator_guards__protect__name", '["b-*"]')
    with pytest.raises(SettingsError, match="is set twice"):
        load_settings()


def test_of_thousands_of_unknown_keys_fifty_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[rate]\n" + "".join(f"k{number} = 1\n" for number in range(6000)))
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    assert len(caught.value.more) == 50
    assert caught.value.more[-1].message == "5,950 more findings are not listed"


def test_a_pipe_is_no_settings_file_and_no_key_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(SettingsError, match="not a regular file"):
        load_settings(pipe)
    with pytest.raises(SettingsError, match="not a regular file"):
        load_settings(None, (f"cloud.api_key_file={pipe}",)).key()


def test_the_path_of_a_calendar_in_a_freeze_goes_by_the_folder_of_the_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(
        '[guards]\nnot_during = {timezone = "UTC", on = ["SAT", "a.ics"]}\n'
        '[workspaces.eu]\napi_key_env = "EU"\nguards.only_during = [{timezone = "UTC", on = "sub/b.ics"}]\n'
    )
    settings = load_settings(file, ('guards.not_during={"timezone": "UTC", "on": ["c.ics"]}',))
    on = [times.document()["on"] for times in settings.guards.not_during or ()]
    assert on == [["c.ics"], ["SAT", str(tmp_path / "a.ics")]]
    own = settings.workspaces["eu"].guards.only_during
    assert [times.document()["on"] for times in own or ()] == [[str(tmp_path / "sub" / "b.ics")]]
