"""The API key from a command."""

import os
import select
import subprocess
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


@pytest.mark.parametrize("script", ["sleep 30; true", "sleep 30 >&- & exit 3"])
def test_a_failed_command_leaves_no_child_behind(script: str) -> None:
    os.mkfifo("alive")  # hung up as soon as no process of the command is left
    reader = os.open("alive", os.O_RDONLY | os.O_NONBLOCK)
    code = "import sys; from orchestrator.settings.key_command import *; read_key_from_command(sys.argv[1:], 0.5)"
    command = [sys.executable, "-c", code, "sh", "-c", f"exec 3>alive; {script}"]
    ended = subprocess.run(command, start_new_session=True, capture_output=True, timeout=20, check=False)
    assert b"SettingsError" in ended.stderr
    poll = select.poll()
    poll.register(reader, select.POLLHUP)
    events = poll.poll(5000)
    os.close(reader)
    assert events


def test_at_a_terminal_a_command_may_ask_for_a_passphrase() -> None:
    master, terminal = os.openpty()
    os.write(master, b"phak_typed\n")
    code = f"""if True:
        import os, sys
        from orchestrator.settings.key_command import read_key_from_command
        os.login_tty({terminal})
        sys.exit(read_key_from_command(["sh", "-c", "read key </dev/tty; echo $key"], 5) != "phak_typed")
    """
    ended = subprocess.run([sys.executable, "-c", code], pass_fds=[terminal], timeout=20, check=False)
    os.close(master)
    os.close(terminal)
    assert ended.returncode == 0


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
