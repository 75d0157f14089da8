"""A settings file that was merely found in the current folder, and the source of every value."""

import json
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link to another user")
def test_a_found_link_of_another_user_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("[rate]\nburst = 7\n")
    FILE.symlink_to(own)
    os.lchown(FILE, 12345, -1)
    with pytest.raises(SettingsError, match="another user owns"):
        load_settings()


def test_a_found_address_gets_the_key_of_the_environment_but_never_of_a_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FILE.write_text('[cloud]\nbase_url = "https://elsewhere.example/api/v1"\n')
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", "phak_5ecret")
    found = load_settings().credentials()
    assert (found.base_url, found.api_key) == ("https://elsewhere.example/api/v1", "phak_5ecret")
    monkeypatch.delenv("PHALA_CLOUD_API_KEY")
    monkeypatch.setenv("PHALA_CLOUD_DIR", str(tmp_path))
    file = tmp_path / "credentials.json"
    profiles = {"main": {"token": "phak_0ther"}}
    file.write_text(json.dumps({"schema_version": 1, "current_profile": "main", "profiles": profiles}))
    file.chmod(0o600)
    with pytest.raises(SettingsError, match="no API key for the address https://elsewhere"):
        load_settings().credentials()
    assert load_settings(None, ("cloud.profile=main",)).credentials().base_url.startswith("https://cloud-api.phala.com")


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
