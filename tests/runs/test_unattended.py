"""Notices of scheduled runs, and of firings without a run."""

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from orchestrator.playbook.load import load_playbook
from orchestrator.runs.firing import FiringClaim
from orchestrator.runs.fleet.unattended import UnattendedFleetRunner
from orchestrator.runs.session import RunObserver
from orchestrator.runs.status import State, StopRequest
from orchestrator.runs.unattended import UnattendedRunner
from orchestrator.settings.load import Settings, load_settings
from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings
from tests.notify.mailbox import Mailbox, mailbox

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
PLAYBOOK = """\
name: nightly
guards: {{max_targets: {most}}}
schedule: {{cron: "0 12 * * *", timezone: UTC}}
steps: [{{action: stop, select: {{all: true}}}}]
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def settings(folder: Path, sim: BackgroundSimulator, box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("PHALA_CLOUD_API_KEY", sim.api_key)
    monkeypatch.setenv("PHALA_CLOUD_API_PREFIX", sim.url)
    monkeypatch.setenv("ORCHESTRATOR_STATE_DIR", str(folder / "state"))
    monkeypatch.setenv("ORCHESTRATOR_NOTIFY__WEBHOOK_URL", box.url)
    config = folder / "none.toml"
    config.write_text("[settle]\npoll_min = 0.05\npoll_max = 0.1\nrecheck_after = 0.1\n")
    return load_settings(config)


class Watcher(RunObserver):
    """Keeps the name of the workspace of every reply."""

    def __init__(self, name: str | None, names: list[str | None]) -> None:
        self.on_reply = lambda _: names.append(name)


def runner_of(settings: Settings, names: list[str | None] | None = None) -> UnattendedRunner:
    def observe(_: FiringClaim, name: str | None) -> RunObserver:
        return Watcher(name, [] if names is None else names)

    return UnattendedRunner(settings, observe, UnattendedFleetRunner(settings, observe))


async def test_a_scheduled_run_sends_notices_and_a_refused_firing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = parse_settings({"fleet": {"cvms": 4, "stopped_share": 0}, "timing": {"stop_seconds": [0.05, 0.1]}})
    claims = [FiringClaim("nightly", NOON, NOON, f"20261123T12000{number}Z-4f2a") for number in range(2)]
    with BackgroundSimulator(world) as sim, mailbox() as box:
        runner = runner_of(settings(tmp_path, sim, box, monkeypatch))
        file = tmp_path / "nightly.yaml"
        file.write_text(PLAYBOOK.format(most=1))
        refused = [await runner.start(claims[0], load_playbook(file, {}), StopRequest()) for _ in range(2)]
        file.write_text(PLAYBOOK.format(most=9))
        ended = await runner.start(claims[1], load_playbook(file, {}), StopRequest())
        # Another process may finish the run just before this resume: nothing is written after the end.
        again = await runner.resume(claims[1], StopRequest())
        assert (again.exit_code, (await runner.read_status(claims[1].run_id)).state) == (0, State.FINISHED)
    assert ([each.exit_code for each in refused], ended.exit_code) == ([3, 3], 0)
    assert box.events == ["refused", "run.started", "run.finished"]
    assert box.got[0]["id"] == f"refused-{claims[0].run_id}"
    assert "by the schedule nightly" in box.got[1]["text"]


async def test_a_firing_runs_in_the_workspace_of_the_playbook_and_a_missing_one_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = parse_settings({"fleet": {"cvms": 2, "stopped_share": 0}, "timing": {"stop_seconds": [0.05, 0.1]}})
    claims = [FiringClaim("nightly", NOON, NOON, f"20261123T12000{number}Z-4f2a") for number in range(2)]
    with BackgroundSimulator(world) as sim, mailbox() as box:
        monkeypatch.setenv("PROD_KEY", sim.api_key)
        monkeypatch.setenv("ORCHESTRATOR_WORKSPACES__PROD__API_KEY_ENV", "PROD_KEY")
        loaded = settings(tmp_path, sim, box, monkeypatch)
        monkeypatch.setenv("PHALA_CLOUD_API_KEY", "phak_wrong")
        names: list[str | None] = []
        runner = runner_of(loaded, names)
        file = tmp_path / "nightly.yaml"
        file.write_text(PLAYBOOK.format(most=9) + "workspaces: [test]\n")
        refused = await runner.start(claims[0], load_playbook(file, {}), StopRequest())
        file.write_text(PLAYBOOK.format(most=9) + "workspaces: prod\n")
        ended = await runner.start(claims[1], load_playbook(file, {}), StopRequest())
    assert (refused.exit_code, ended.exit_code, set(names)) == (2, 0, {"prod"})
    assert "matches no workspace" in str(refused.reason)
    assert box.got[1]["workspace_name"] == "prod"
    assert "nightly in prod started" in box.got[1]["text"]


async def test_other_work_goes_on_while_a_command_prints_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, file, stop = tmp_path / "key", tmp_path / "nightly.yaml", StopRequest()
    os.mkfifo(key)
    file.write_text(PLAYBOOK.format(most=1))
    monkeypatch.setenv("ORCHESTRATOR_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("ORCHESTRATOR_CLOUD__API_KEY_COMMAND", f'["cat", "{key}"]')
    runner = runner_of(load_settings())
    ended = []

    async def start() -> None:
        claim = FiringClaim("nightly", NOON, NOON, "20261123T120000Z-4f2a")
        ended.append(await runner.start(claim, load_playbook(file, {}), stop))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(start)
            while True:
                with suppress(OSError):  # no reader until the command has opened its file
                    writer = os.open(key, os.O_WRONLY | os.O_NONBLOCK)
                    break
                await anyio.sleep(0.01)
            stop.requested.set()  # the run ends as soon as the key is read
            os.write(writer, b"phak_x\n")
            os.close(writer)
    assert [each.interrupted for each in ended] == [True]


async def test_a_log_that_cannot_be_read_is_a_state_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with BackgroundSimulator(parse_settings({"fleet": {"cvms": 1}})) as sim, mailbox() as box:
        runner = runner_of(settings(tmp_path, sim, box, monkeypatch))
        assert (await runner.read_status("20261123T120000Z-4f2a")).state is State.NOTHING_SENT
        (tmp_path / "state" / "runs" / "20261123T120000Z-4f2a.jsonl").mkdir(parents=True)  # opens, and cannot be read
        assert (await runner.read_status("20261123T120000Z-4f2a")).state is State.UNREADABLE
