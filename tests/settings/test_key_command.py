"""The API key from a command."""

import sys
import time
from pathlib import Path

import pytest

from orchestrator.errors import SettingsError
from orchestrator.settings.key_command import read_key_from_command
from orchestrator.settings.load import load_settings


def test_the_output_without_its_newline_is_the_key() -> None:
    assert read_key_from_command(["printf", "phak_x\\n"]) == "phak_x"


def test_no_shell_reads_the_arguments() -> None:
    assert read_key_from_command(["echo", "$HOME;ls"]) == "$HOME;ls"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["no-such-program-anywhere"], "can't be started"),
        (["sh", "-c", "echo phak_5ecret; echo phak_5ecret >&2; exit 3"], "failed with exit code 3"),
        (["sh", "-c", "kill -9 $$"], "failed with signal 9"),
        (["true"], "printed nothing"),
        (["printf", "phak_5ecret two words"], "is not a key"),
        (["printf", "phak_5ecret\\nphak_second"], "is not a key"),
        (["yes", "phak_5ecret"], "is not a key"),
    ],
)
def test_a_failure_shows_nothing_of_the_output(
    capfd: pytest.CaptureFixture[str], command: list[str], message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        read_key_from_command(command)
    shown = f"{caught.value} {caught.value.hint} {''.join(capfd.readouterr())}"
    assert "5ecret" not in shown
    assert caught.value.hint


@pytest.mark.parametrize("script", ["sleep 30", "exec >&-; sleep 30", "sleep 30 & echo phak_x"])
def test_a_command_has_a_time_limit(script: str) -> None:
    begun = time.monotonic()
    with pytest.raises(SettingsError, match="did not end within"):
        read_key_from_command(["sh", "-c", script], time_limit=0.1)
    assert time.monotonic() - begun < 5


def test_a_command_is_honoured_from_everywhere_but_a_file_merely_found(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Path("config.toml")
    config.write_text('[cloud]\napi_key_command = ["touch", "ran"]\napi_key_file = "/nowhere"\nprofile = "x"\n')
    with pytest.raises(SettingsError, match="there is no API key") as caught:
        load_settings().key()
    assert "cloud.api_key_command is ignored" in str(caught.value.hint)
    assert len(load_settings().origin.warnings) == 3
    assert not Path("ran").exists()
    config.write_text('[cloud]\napi_key_command = ["echo", "phak_file"]\n')
    assert load_settings(config).key() == "phak_file"
    monkeypatch.setenv("ORCHESTRATOR_CLOUD__API_KEY_COMMAND", f'["{sys.executable}", "-c", "print(1)"]')
    assert load_settings().key() == "1"
    monkeypatch.delenv("ORCHESTRATOR_CLOUD__API_KEY_COMMAND")
    user = Path("../home/.config/orchestrator")
    user.mkdir(parents=True)
    config.rename(user / "config.toml")
    assert load_settings().key() == "phak_file"
