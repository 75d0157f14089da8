"""Profiles of the vendor's credentials file, and their rank among the sources of a key."""

import json
from pathlib import Path

import pytest

from orchestrator.errors import SettingsError, UsageError
from orchestrator.settings.load import load_settings

DEFAULT_URL = "https://cloud-api.phala.com/api/v1"
PROFILES = {
    "dev": {"token": "phak_dev", "api_prefix": "https://dev.example/api/v1", "workspace": {"name": "Dev"}},
    "prod": {"token": "phak_prod"},
}


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "vendor"
    folder.mkdir()
    monkeypatch.setenv("PHALA_CLOUD_DIR", str(folder))
    write_credentials(folder, {"schema_version": 1, "current_profile": "dev", "profiles": PROFILES})
    return folder


def write_credentials(folder: Path, document: object) -> None:
    file = folder / "credentials.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    file.chmod(0o600)


def pair(*assignments: str) -> tuple[str, str]:
    found = load_settings(None, assignments).credentials()
    return found.base_url, found.api_key


@pytest.mark.usefixtures("vendor")
def test_the_current_profile_ranks_below_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pair() == ("https://dev.example/api/v1", "phak_dev")
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", "phak_env")
    assert pair() == (DEFAULT_URL, "phak_env")


@pytest.mark.usefixtures("vendor")
def test_an_explicit_profile_goes_with_its_own_address_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", "phak_env")
    monkeypatch.setenv("PHALA_CLOUD_API_PREFIX", "https://env.example/api/v1")
    assert pair("cloud.profile=dev") == ("https://dev.example/api/v1", "phak_dev")
    assert pair("cloud.profile=prod") == (DEFAULT_URL, "phak_prod")
    with pytest.raises(UsageError, match="exclude each other"):
        pair("cloud.profile=dev", "cloud.base_url=https://other.example")
    monkeypatch.setenv("ORCHESTRATOR_CLOUD__PROFILE", "dev")
    with pytest.raises(UsageError, match=r"the profile \(.*\) and --set cloud.base_url exclude each other"):
        pair("cloud.base_url=https://other.example")


@pytest.mark.usefixtures("vendor")
def test_an_address_without_a_key_never_gets_the_key_of_the_current_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHALA_CLOUD_API_PREFIX", "https://env.example/api/v1")
    with pytest.raises(SettingsError, match="no API key for the address"):
        pair()


def test_the_old_file_holds_a_bare_key(vendor: Path) -> None:
    (vendor / "credentials.json").unlink()
    (vendor / "api-key").write_text("phak_old\n")
    (vendor / "api-key").chmod(0o600)
    assert pair() == (DEFAULT_URL, "phak_old")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_credentials_of_others_are_refused_only_where_they_are_used(
    vendor: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (vendor / "credentials.json").chmod(mode)
    with pytest.raises(SettingsError, match="others may read") as caught:
        pair()
    assert (caught.value.file, "chmod 600" in str(caught.value.hint)) == (str(vendor / "credentials.json"), True)
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", "phak_env")
    assert pair()[1] == "phak_env"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ('{"token": "phak_secret"', "not valid JSON"),
        ("[]", "not a JSON object"),
        ({"profiles": {}}, "`schema_version` is missing"),
        ({"schema_version": 2, "profiles": {}}, "`schema_version` is unknown"),
        ({"schema_version": 1}, "`profiles` is missing"),
        ({"schema_version": 1, "current_profile": 7, "profiles": {}}, "`current_profile` is not text"),
        ({"schema_version": 1, "current_profile": "dve", "profiles": PROFILES}, "there is no profile 'dve'"),
        ({"schema_version": 1, "current_profile": "a", "profiles": {"a": {}}}, "no `token`"),
        (
            {"schema_version": 1, "current_profile": "a", "profiles": {"a": {"token": "phak_secret word"}}},
            "`token` of profile 'a' can't be used",
        ),
        (
            {
                "schema_version": 1,
                "current_profile": "a",
                "profiles": {"a": {"token": "phak_secret", "api_prefix": "http://x.example/api/v1"}},
            },
            "`api_prefix` of profile 'a' can't be used: must be https",
        ),
    ],
)
def test_a_broken_credentials_file_is_named_without_its_keys(vendor: Path, document: object, message: str) -> None:
    write_credentials(vendor, document)
    with pytest.raises(SettingsError, match=message) as caught:
        pair()
    assert caught.value.file == str(vendor / "credentials.json")
    assert "phak_secret" not in f"{caught.value} {caught.value.hint}"


def test_an_unknown_profile_gets_a_hint(vendor: Path) -> None:
    with pytest.raises(SettingsError, match="there is no profile 'prd'") as caught:
        pair("cloud.profile=prd")
    assert "prod" in str(caught.value.hint)
    (vendor / "credentials.json").unlink()
    with pytest.raises(SettingsError, match="needs the vendor's credentials file"):
        pair("cloud.profile=prod")
