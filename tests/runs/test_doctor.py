"""The checks of the surroundings, with a fake of the API."""

from pathlib import Path

import anyio
import pytest

from orchestrator.errors import SettingsError
from orchestrator.reply import Identity, Reply
from orchestrator.runs.doctor import find_exit_code, run_checks
from orchestrator.settings.credentials import Credentials
from orchestrator.settings.load import Settings
from orchestrator.settings.model import AuditSection, CloudSection


def settings_of(folder: Path) -> Settings:
    return Settings(
        cloud=CloudSection.model_validate({"api_key": "phak_5ecret"}), audit=AuditSection(state_dir=folder / "state")
    )


@pytest.mark.parametrize(
    ("reply", "code", "failed"),
    [
        (Reply(value=Identity("ann", "Fleet", "ws_1", 1.0), http_status=200), 0, []),
        (Reply(value=Identity("ann", "Fleet", "ws_1", -300.0), http_status=200), 5, ["clock"]),
        (Reply(http_status=401, problem="HTTP 401"), 5, ["API"]),
    ],
)
def test_the_cloud_decides_on_5(tmp_path: Path, reply: Reply[Identity], code: int, failed: list[str]) -> None:
    async def read(settings: Settings, found: Credentials) -> Reply[Identity]:
        del settings, found
        return reply

    checks = anyio.run(run_checks, lambda: settings_of(tmp_path), read, tmp_path / "playbooks")
    assert [check.name for check in checks if not check.ok] == failed
    assert find_exit_code(checks) == code
    assert "5ecret" not in repr(checks)


def test_playbooks_are_checked_even_with_broken_settings(tmp_path: Path) -> None:
    def load() -> Settings:
        raise SettingsError("broken")

    async def read(settings: Settings, found: Credentials) -> Reply[Identity]:
        raise AssertionError((settings, found))

    (tmp_path / "a.yaml").write_text("name: [")
    checks = anyio.run(run_checks, load, read, tmp_path)
    assert ([check.name for check in checks], find_exit_code(checks)) == (["settings", "playbooks"], 2)
