"""Named workspaces: their keys, rates and guards, and the choice by patterns."""

from pathlib import Path

import pytest

from orchestrator.errors import SettingsError, UsageError
from orchestrator.settings.load import load_settings
from orchestrator.settings.workspaces import match_workspaces

TWO = """
[cloud]
base_url = "https://eu.example/api/v1"
api_key = "phak_default"
[rate]
requests_per_second = 7
burst = 3
[guards]
max_targets = 50
[guards.protect]
name = ["kms-*"]
[workspaces.prod]
api_key_env = "PROD_KEY"
requests_per_second = 2
guards = {max_targets = 10, protect = {name = ["db-*"]}}
[workspaces.test]
api_key_file = "test.key"
base_url = "https://us.example/api/v1"
"""


@pytest.fixture
def config(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROD_KEY", "phak_prod")
    key = folder / "test.key"
    key.write_text("phak_test\n")
    key.chmod(0o600)
    file = folder / "two.toml"
    file.write_text(TWO)
    return file


def test_a_workspace_has_its_own_key_and_address(config: Path) -> None:
    settings = load_settings(config)
    prod, test = settings.for_workspace("prod"), settings.for_workspace("test")
    assert (prod.key(), prod.credentials().base_url) == ("phak_prod", "https://eu.example/api/v1")
    assert (test.key(), test.find_base_url()) == ("phak_test", "https://us.example/api/v1")
    assert (settings.workspace_name, settings.key(), prod.workspace_name) == (None, "phak_default", "prod")


def test_a_workspace_has_its_own_rate_and_the_shared_rest(config: Path) -> None:
    settings = load_settings(config)
    assert settings.for_workspace("prod").rate.requests_per_second == 2
    assert settings.for_workspace("test").rate == settings.rate
    assert settings.for_workspace("prod").settle == settings.settle


def test_the_stricter_guard_holds_and_protections_add_up(config: Path) -> None:
    settings = load_settings(config)
    guards = settings.for_workspace("prod").guards
    assert (guards.max_targets, guards.protect.name) == (10, ["kms-*", "db-*"])
    assert guards.recheck_after == settings.guards.recheck_after
    assert settings.for_workspace("test").guards.max_targets == 50


def test_the_environment_and_the_command_line_set_fields_of_a_workspace(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_WORKSPACES__PROD__GUARDS__PROTECT__NAME", '["a-*", "b-*"]')
    settings = load_settings(config, ("workspaces.test.burst=9", "workspaces.test.guards.protect.name=c-*"))
    assert settings.workspaces["prod"].guards.protect.name == ["a-*", "b-*", "db-*"]
    assert settings.workspaces["test"].guards.protect.name == ["c-*"]
    assert settings.for_workspace("test").rate.burst == 9


def test_the_highest_source_with_a_key_of_a_workspace_gives_the_key(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_KEY", "phak_other")
    settings = load_settings(config, ("workspaces.test.api_key_env=OTHER_KEY",))
    assert settings.for_workspace("test").key() == "phak_other"
    assert settings.for_workspace("prod").key() == "phak_prod"


def test_a_missing_key_file_of_one_of_forty_names_its_workspace(folder: Path) -> None:
    file = folder / "forty.toml"
    file.write_text("".join(f"[workspaces.w{n}]\napi_key_file = 'key-{n}'\n" for n in range(40)))
    key = folder / "key-22"
    key.write_text("phak_22")
    key.chmod(0o600)
    settings = load_settings(file)
    assert settings.for_workspace("w22").key() == "phak_22"
    with pytest.raises(SettingsError, match="API key of workspace w23 can't be read: No such file") as caught:
        settings.for_workspace("w23").credentials()
    assert caught.value.file == "key-23"


def test_an_empty_variable_names_its_workspace(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROD_KEY", "\n")
    with pytest.raises(SettingsError, match=r"workspace prod.*PROD_KEY") as caught:
        load_settings(config).for_workspace("prod").credentials()
    assert "workspaces.prod.api_key_file" in (caught.value.hint or "")


def test_an_unusable_key_is_never_shown(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROD_KEY", '"phak_5ecret"')
    with pytest.raises(SettingsError, match="quotes") as caught:
        load_settings(config).for_workspace("prod").credentials()
    assert "5ecret" not in str(caught.value)


def test_a_missing_key_file_names_its_workspace(config: Path, folder: Path) -> None:
    (folder / "test.key").unlink()
    with pytest.raises(SettingsError, match="workspace test"):
        load_settings(config).for_workspace("test").credentials()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("[workspaces.prod]", "needs either api_key_file or api_key_env"),
        ('[workspaces.prod]\napi_key_file = "a"\napi_key_env = "B"', "needs either api_key_file or api_key_env"),
        ('[workspaces.prod]\napi_key_env = "B"\nburts = 2', "burts"),
        ('[workspaces."a b"]\napi_key_env = "B"', "workspaces.a b: a name has at most"),
        ('[workspaces.a__b]\napi_key_env = "B"', "workspaces.a__b: a name has at most"),
        ('[workspaces.prod]\napi_key_env = "phak_5ecret"', "not the key itself"),
        ('[workspaces.prod]\napi_key_file = "phak_5ecret"', "must be the path of a file"),
        ("[workspaces]\nprod = 3", "workspaces.prod must be a mapping"),
    ],
)
def test_an_invalid_section_is_an_error_with_its_line(folder: Path, section: str, message: str) -> None:
    file = folder / "bad.toml"
    file.write_text(section)
    with pytest.raises(SettingsError, match=message) as caught:
        load_settings(file)
    assert caught.value.line in {1, 2, 3}
    assert "5ecret" not in f"{caught.value.message} {caught.value.hint}"


def test_a_merely_found_file_names_no_key_file_and_sends_no_variable_elsewhere(folder: Path) -> None:
    (folder / "config.toml").write_text(
        '[workspaces.a]\napi_key_file = "k"\n'
        '[workspaces.b]\napi_key_env = "B"\nbase_url = "https://elsewhere.example/api/v1"\n'
        '[workspaces.c]\napi_key_env = "C"\n'
    )
    settings = load_settings()
    assert list(settings.workspaces) == ["c"]
    assert [each.split(": ")[1].split(" ")[0] for each in settings.origin.warnings] == ["workspaces.a", "workspaces.b"]


def test_an_unknown_workspace_is_an_error_with_the_nearest_name(config: Path) -> None:
    with pytest.raises(UsageError, match="no workspace 'prdo'") as caught:
        load_settings(config).for_workspace("prdo")
    assert caught.value.hint == "did you mean 'prod'?"


KNOWN = ("prod-eu", "prod-us", "test")


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [((), ()), (("prod-*",), ("prod-eu", "prod-us")), (("test", "prod-us"), ("prod-us", "test")), (("*",), KNOWN)],
)
def test_patterns_match_in_the_order_of_the_settings(patterns: tuple[str, ...], chosen: tuple[str, ...]) -> None:
    assert match_workspaces(KNOWN, patterns, "--workspace") == chosen


def test_a_pattern_without_a_match_is_refused_even_beside_a_match() -> None:
    with pytest.raises(UsageError, match="--workspace 'tset' matches no workspace") as caught:
        match_workspaces(KNOWN, ("prod-*", "tset"), "--workspace")
    assert caught.value.hint == "did you mean 'test'?"
