"""The checks of the surroundings, with a fake of the API."""

import re
from functools import partial
from pathlib import Path

import anyio
import pytest

from orchestrator.check import Check, find_exit_code
from orchestrator.errors import SettingsError
from orchestrator.reply import Identity, Reply
from orchestrator.runs.api_profile import ApiProfile, FileApiProfileStore, fingerprint_workspace
from orchestrator.runs.doctor import run_checks
from orchestrator.settings.credentials import Credentials
from orchestrator.settings.load import Settings
from orchestrator.settings.model import AuditSection, CloudSection, NotifySection
from orchestrator.times import utc_now
from tests.notify.mailbox import mailbox


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
    assert [check.name for check in checks if not check.ok] == ["settings", "playbooks"]
    assert find_exit_code(checks) == 2


async def read_well(settings: Settings, found: Credentials) -> Reply[Identity]:
    del settings, found
    return Reply(value=Identity("ann", "Fleet", "ws_1", 0.0), http_status=200)


def check(settings: Settings, playbooks: Path, *, send_test: bool = False) -> dict[str, Check]:
    return {
        each.name: each
        for each in anyio.run(partial(run_checks, lambda: settings, read_well, playbooks, send_test=send_test))
    }


def test_the_rate_of_earlier_runs_is_shown(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    before = check(settings, tmp_path)["rate limit"]
    workspace = fingerprint_workspace("phak_5ecret")
    settings.audit.state_dir.mkdir(0o700)
    profiles = FileApiProfileStore(settings.audit.state_dir, dict)
    profiles.merge_profile(settings.cloud.base_url, workspace, ApiProfile(requests_per_second=7.5), utc_now())
    after = check(settings, tmp_path)["rate limit"]
    assert (before.ok, "unknown" in before.message, after.ok, "accepts 7.5" in after.message) == (
        True,
        True,
        True,
        True,
    )
    profiles.path.write_text("{")
    assert "can't be read" in check(settings, tmp_path)["rate limit"].message


def test_the_state_folder_has_mode_and_free_space_and_is_closed_to_others(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    assert "created by the first run" in check(settings, tmp_path)["state folder"].message
    settings.audit.state_dir.mkdir(0o700)
    found = check(settings, tmp_path)["state folder"]
    assert found.ok
    assert re.search(r"mode 0700, \d+\.\d GB free", found.message)
    settings.audit.state_dir.chmod(0o770)
    found = check(settings, tmp_path)["state folder"]
    assert (found.ok, found.exit_code) == (False, 2)
    assert "chmod 700" in found.message


def test_a_calendar_of_a_playbook_has_to_be_readable(tmp_path: Path) -> None:
    schedule = '{cron: "0 20 * * *", timezone: UTC, not_on: [days.ics]}'
    (tmp_path / "a.yaml").write_text(f"name: a\nschedule: {schedule}\nsteps: [{{action: stop, select: {{name: x}}}}]\n")
    found = check(settings_of(tmp_path), tmp_path)
    assert (found["playbooks"].ok, found["calendars"].ok, found["calendars"].exit_code) == (True, False, 2)
    assert "days.ics" in found["calendars"].message


def test_a_test_notice_goes_through_each_channel_only_when_asked(tmp_path: Path) -> None:
    with mailbox() as box:
        notify = NotifySection.model_validate({"webhook_url": box.url, "slack_url": "http://127.0.0.1:9/hooks/5ecret"})
        settings = settings_of(tmp_path).replace_sections(notify=notify)
        assert "configured" in check(settings, tmp_path)["notifications"].message
        assert box.got == []
        checks = anyio.run(partial(run_checks, lambda: settings, read_well, tmp_path, send_test=True))
    webhook, slack = [each for each in checks if each.name == "notifications"]
    assert (webhook.ok, webhook.message, slack.ok) == (True, "webhook: test notice accepted", False)
    assert slack.message.startswith("slack: no connection")
    assert "5ecret" not in slack.message
    assert find_exit_code(checks) == 2
    (got,) = box.got
    assert (got["event"], got["run_id"]) == ("test", None)
    assert got["text"].startswith("[test] ")
