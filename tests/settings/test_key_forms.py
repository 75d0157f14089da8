"""Keys as other tools hand them over, and hints at TOML that cannot be read."""

from pathlib import Path

import pytest

from orchestrator.errors import SettingsError
from orchestrator.settings.load import load_settings


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", " {} ", "\t{}\n\n"])
def test_blanks_around_a_key_in_the_environment_do_not_count(monkeypatch: pytest.MonkeyPatch, around: str) -> None:
    """A secret that is made from a file often ends with a newline."""
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", around.format("phak_x"))
    assert load_settings().key() == "phak_x"


@pytest.mark.parametrize("key", ['"phak_5ecret"', "'phak_5ecret'", '"phak_5ecret', "phak_5ecret'\n"])
def test_quotes_around_a_key_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str) -> None:
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", key)
    with pytest.raises(SettingsError, match="quotes") as caught:
        load_settings()
    assert "5ecret" not in f"{caught.value} {caught.value.hint}"
    monkeypatch.delenv("PHALA_CLOUD_API_KEY")
    file = tmp_path / "key"
    file.write_text(key)
    file.chmod(0o600)
    with pytest.raises(SettingsError, match="quotes") as caught:
        load_settings(None, (f"cloud.api_key_file={file}",)).key()
    assert "5ecret" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[cloud]\nbase_url = https://x.example/api/v1\n", "text needs quotes"),
        ("[cloud]\napi_key_file\n", "KEY = VALUE"),
        ("[cloud\n", "[NAME]"),
        ('[cloud]\nbase_url = "https://x.example\n', "a quote is missing"),
        ("[guards.protect]\nname = ['a'\n", "a ] is missing"),
        ("[rate]\nburst = 1\nburst = 2\n", "twice"),
        ("[rate]\nburst = 1\n[rate]\n", "twice"),
        ("[rate]\nburst = 1 2\n", "one setting a line"),
        ('[cloud]\napi_key_file = "C:\\keys"\n', "backslash"),
    ],
)
def test_the_hint_at_a_toml_error_fits_the_error(tmp_path: Path, text: str, hint: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match="not valid TOML") as caught:
        load_settings(file)
    assert hint in (caught.value.hint or ""), caught.value
    if "needs quotes" not in hint and "one setting" not in hint:
        assert "text needs quotes" not in (caught.value.hint or "")
