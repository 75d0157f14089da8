"""A settings file that was merely found in the current folder, and the source of every value."""

import os
from pathlib import Path

import pytest

from orchestrator.errors import SettingsError
from orchestrator.settings.load import load_settings

FILE = Path("config.toml")


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_found_file_that_others_may_write_is_refused(mode: int) -> None:
    FILE.write_text("[rate]\nburst = 7\n")
    FILE.chmod(mode)
    with pytest.raises(SettingsError, match="others may write") as caught:
        load_settings()
    assert (caught.value.file, caught.value.hint) == ("config.toml", "chmod go-w config.toml")
    assert load_settings(FILE).rate.burst == 7


def test_a_found_file_of_another_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    FILE.write_text("[rate]\nburst = 7\n")
    owner = FILE.stat().st_uid
    if owner == 0:
        os.chown(FILE, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(SettingsError, match="another user owns"):
        load_settings()


def test_a_found_address_never_gets_the_key_of_another_source(monkeypatch: pytest.MonkeyPatch) -> None:
    FILE.write_text('[cloud]\nbase_url = "https://elsewhere.example/api/v1"\n')
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", "phak_5ecret")
    with pytest.raises(SettingsError, match="would receive the API key of environment") as caught:
        load_settings().credentials()
    assert "--config config.toml" in str(caught.value.hint)
    assert load_settings(FILE).credentials().base_url == "https://elsewhere.example/api/v1"
    FILE.write_text('[cloud]\nbase_url = "http://127.0.0.1:8000/api/v1"\n')
    assert load_settings().credentials().api_key == "phak_5ecret"
    monkeypatch.delenv("PHALA_CLOUD_API_KEY")
    FILE.write_text('[cloud]\nbase_url = "https://elsewhere.example/api/v1"\napi_key = "phak_own"\n')
    assert load_settings().credentials().api_key == "phak_own"


def test_the_source_of_every_value_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    FILE.write_text("[rate]\nburst = 7\nper_teepod = 3\nmax_in_flight = 4\n")
    monkeypatch.setenv("ORCHESTRATOR_RATE__PER_TEEPOD", "5")
    origin = load_settings(None, ("rate.max_in_flight=6",)).origin
    assert (origin.file, origin.is_found) == (FILE, True)
    assert origin.sources == {
        "rate.burst": "config.toml",
        "rate.per_teepod": "environment",
        "rate.max_in_flight": "command line",
    }
