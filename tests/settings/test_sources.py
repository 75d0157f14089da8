"""Where settings come from, and which source wins."""

from decimal import Decimal
from pathlib import Path

import pytest

from orchestrator.errors import SettingsError, UsageError
from orchestrator.settings.load import load_settings


def key_file(folder: Path, key: str, mode: int = 0o600) -> Path:
    file = folder / "key"
    file.write_text(f"{key}\n")
    file.chmod(mode)
    return file


def test_without_anything_the_defaults_hold(folder: Path) -> None:
    settings = load_settings()
    assert settings.cloud.base_url == "https://cloud-api.phala.com/api/v1"
    assert (settings.rate.requests_per_second, settings.rate.burst) == (5, 5)
    assert (settings.rate.max_in_flight, settings.rate.per_teepod) == (10, 10)
    assert (settings.settle.timeout, settings.settle.recheck_after) == (600, 2)
    assert settings.billing.storage_usd_per_gb_hour == Decimal("0.000139")
    assert settings.audit.state_dir == folder.parent / "home/.local/state/orchestrator"


def test_command_line_over_environment_over_file_over_default(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def burst(*assignments: str) -> int:
        return load_settings(None, assignments).rate.burst

    assert burst() == 5
    user = folder.parent / "home/.config/orchestrator"
    user.mkdir(parents=True)
    (user / "config.toml").write_text("[rate]\nburst = 6\nper_teepod = 60\n")
    assert burst() == 6
    Path("config.toml").write_text("[rate]\nburst = 7\nmax_in_flight = 70\n")
    assert burst() == 7
    monkeypatch.setenv("ORCHESTRATOR_RATE__BURST", "8")
    assert burst() == 8
    assert burst("rate.burst=9") == 9
    rate = load_settings(None, ("rate.burst=9",)).rate
    assert (rate.max_in_flight, rate.per_teepod, rate.burst) == (70, 10, 9)


def test_a_named_file_is_read_instead_of_the_one_in_the_folder(folder: Path) -> None:
    Path("config.toml").write_text("[rate]\nburst = 7\nper_teepod = 70\n")
    other = folder / "other.toml"
    other.write_text("[rate]\nburst = 3\n")
    assert (load_settings(other).rate.burst, load_settings(other).rate.per_teepod) == (3, 10)


def test_our_names_rank_above_the_vendor_s_and_those_above_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("config.toml").write_text('[cloud]\nbase_url = "https://file/"\napi_key = "file"\n')
    assert (load_settings().cloud.base_url, load_settings().key()) == ("https://file", "file")
    monkeypatch.setenv("PHALA_CLOUD_API_PREFIX", "https://vendor/api/v1/")
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", "vendor")
    assert (load_settings().cloud.base_url, load_settings().key()) == ("https://vendor/api/v1", "vendor")
    monkeypatch.setenv("ORCHESTRATOR_CLOUD__BASE_URL", "https://ours")
    monkeypatch.setenv("ORCHESTRATOR_CLOUD__API_KEY", "ours")
    assert (load_settings().cloud.base_url, load_settings().key()) == ("https://ours", "ours")
    assert load_settings(None, ("cloud.base_url=https://line",)).cloud.base_url == "https://line"


def test_a_key_or_its_file_holds_by_the_rank_of_its_source(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = key_file(folder, "from-file")
    config = Path("settings.toml")
    config.write_text(f'[cloud]\napi_key_file = "{file}"\n')
    assert load_settings(config).key() == "from-file"
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", "vendor")
    assert load_settings(config).key() == "vendor"
    monkeypatch.setenv("ORCHESTRATOR_CLOUD__API_KEY_FILE", str(file))
    assert load_settings(config).key() == "from-file"
    monkeypatch.setenv("ORCHESTRATOR_CLOUD__API_KEY", "ours")
    monkeypatch.delenv("ORCHESTRATOR_CLOUD__API_KEY_FILE")
    assert load_settings().key() == "ours"
    assert load_settings(None, (f"cloud.api_key_file={file}",)).key() == "from-file"


def test_empty_variables_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("config.toml").write_text('[cloud]\napi_key = "file"\n[rate]\nburst = 7\n')
    for name in ("ORCHESTRATOR_RATE__BURST", "PHALA_CLOUD_API_KEY", "PHALA_CLOUD_API_PREFIX", "ORCHESTRATOR_STATE_DIR"):
        monkeypatch.setenv(name, "")
    settings = load_settings()
    assert (settings.rate.burst, settings.key()) == (7, "file")


@pytest.mark.parametrize("name", ["ORCHESTRATOR_GUARDS__PROTECT__NAME", "ORCHESTRATOR_GUARDS__MAX_TARGETS"])
def test_an_empty_guard_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, " ")
    with pytest.raises(SettingsError, match=f"environment variable {name} is empty"):
        load_settings()


def test_an_empty_variable_is_not_blamed_for_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("config.toml").write_text("[rate]\nburst = 0\n")
    monkeypatch.setenv("ORCHESTRATOR_RATE__BURST", "")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert (caught.value.file, caught.value.line) == ("config.toml", 2)


def test_the_state_folder_has_a_short_name_and_the_long_one_wins(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    Path("config.toml").write_text('[audit]\nstate_dir = "/file"\n')
    assert load_settings().audit.state_dir == Path("/file")
    monkeypatch.setenv("ORCHESTRATOR_STATE_DIR", "~/short")
    assert load_settings().audit.state_dir == folder.parent / "home/short"
    monkeypatch.setenv("ORCHESTRATOR_AUDIT__STATE_DIR", "/long")
    assert load_settings().audit.state_dir == Path("/long")


def test_a_tilde_is_the_home_folder(folder: Path) -> None:
    (folder.parent / "home").mkdir()
    key_file(folder.parent / "home", "from-home")
    Path("settings.toml").write_text('[cloud]\napi_key_file = "~/key"\n')
    assert load_settings(Path("settings.toml")).key() == "from-home"


def test_guards_of_the_environment_keep_text_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_GUARDS__PROTECT__NAME", "kms-*")
    monkeypatch.setenv("ORCHESTRATOR_GUARDS__PROTECT__TEEPOD", '["1", "prod-*"]')
    monkeypatch.setenv("ORCHESTRATOR_GUARDS__MAX_PERCENT", "12.5%")
    guards = load_settings(None, ("guards.protect.app_id=0x12", "guards.max_targets=7")).guards
    assert (guards.protect.name, guards.protect.teepod, guards.protect.app_id) == (["kms-*"], ["1", "prod-*"], ["0x12"])
    assert (guards.max_percent, guards.max_targets) == (Decimal("12.5"), 7)


@pytest.mark.parametrize("value", ["12", "012", "0x12", "12e4", "null", "true", "no"])
def test_a_variable_for_a_list_is_text_unless_it_looks_like_a_list(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ORCHESTRATOR_GUARDS__PROTECT__TEEPOD", value)
    assert load_settings().guards.protect.teepod == [value]


def test_a_section_may_be_one_variable_of_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_RATE", '{"burst": 8}')
    assert load_settings().rate.burst == 8
    monkeypatch.setenv("ORCHESTRATOR_RATE", '{"burst": 0}')
    with pytest.raises(SettingsError, match=r"environment variable ORCHESTRATOR_RATE: rate.burst must be at least 1"):
        load_settings()


@pytest.mark.parametrize("value", ["0.000139", '"0.000139"'])
def test_the_storage_price_is_exact_however_it_is_written(value: str) -> None:
    Path("config.toml").write_text(f"[billing]\nstorage_usd_per_gb_hour = {value}\n")
    assert load_settings().billing.storage_usd_per_gb_hour == Decimal("0.000139")


@pytest.mark.parametrize(
    "assignment",
    ["rate.burst", "rate=5", "=5", "", ".burst=5", "rate.=5", "rat.burst=5", "_env_file.x=1", "rate..burst=1"],
)
def test_an_assignment_that_can_not_be_understood_is_a_usage_error(assignment: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        load_settings(None, (assignment,))


def test_a_key_is_not_taken_from_the_command_line_and_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        load_settings(None, ("cloud.api_key=phak_secret",))
    assert "phak_secret" not in f"{caught.value}{caught.value.hint}"
