"""Fleet runs of firings against two simulated clouds: start, refusal, stop, resume, and the status by the logs."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from orchestrator.audit.events import ActionIntent, RunStarted, TargetEnded, read_event
from orchestrator.audit.fleet_log import FleetFinished, FleetPlanned, FleetState
from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import FileRunStore, read_run
from orchestrator.outcome import Ending, Outcome
from orchestrator.playbook.load import LoadedPlaybook, load_playbook
from orchestrator.runs.firing import FiringClaim
from orchestrator.runs.fleet.unattended import UnattendedFleetRunner, decide_fleet_status
from orchestrator.runs.session import RunObserver
from orchestrator.runs.status import RunStatus, State, StopRequest
from orchestrator.runs.stores import fleet_store
from orchestrator.runs.unattended import UnattendedRunner
from orchestrator.settings.load import Settings, load_settings
from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
FLEET_ID = "fleet-20261123T120000Z-4f2a"
CLAIM = FiringClaim("nightly", NOON, NOON, FLEET_ID)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Watched(RunObserver):
    """Keeps the records and warnings of all runs, and stops at the first intent on request."""

    def __init__(self, site: "Site", name: str | None) -> None:
        self.site, self.name = site, name
        self.on_reply = lambda _: site.replied.add(name)

    def on_record(self, record: Record, state: RunState) -> None:
        event = read_event(record)
        if isinstance(event, RunStarted):
            self.site.started.append((self.name, state.started.fleet))
            self.site.has_started.set()
        if isinstance(event, ActionIntent) and self.site.stops_early:
            self.site.stop.request_end(Ending.SIGTERM)
        if isinstance(event, TargetEnded) and event.outcome == Outcome.SETTLED:
            self.site.settled.append(self.name)

    def on_warning(self, event: str, /, **facts: object) -> None:
        self.site.warnings.append((self.name, event, facts))


class Site:
    """The workspaces `prod` and `test`, each with a simulated cloud."""

    def __init__(self, folder: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.stop, self.stops_early = folder, StopRequest(), False
        self.has_started = anyio.Event()
        self.replied: set[str | None] = set()
        self.started: list[tuple[str | None, str | None]] = []
        self.settled: list[str | None] = []
        self.warnings: list[tuple[str | None, str, dict[str, object]]] = []
        world = {
            "fleet": {"cvms": 3, "stopped_share": 0},
            "timing": {"stop_seconds": [0.05, 0.1]},
            "workspaces": [{"workspace": {"name": "prod"}}, {"workspace": {"name": "test"}}],
        }
        cloud = stack.enter_context(BackgroundSimulator(parse_settings(world)))
        for name in ("prod", "test"):
            monkeypatch.setenv(f"KEY_{name}", cloud.workspaces.by_name[name].world.api_key)
            monkeypatch.setenv(f"ORCHESTRATOR_WORKSPACES__{name.upper()}__API_KEY_ENV", f"KEY_{name}")
        monkeypatch.setenv("PHALA_CLOUD_API_PREFIX", cloud.url)
        monkeypatch.setenv("ORCHESTRATOR_STATE_DIR", str(folder / "state"))
        config = folder / "settings.toml"
        config.write_text("[settle]\npoll_min = 0.05\npoll_max = 0.1\nrecheck_after = 0.1\n")
        self.settings: Settings = load_settings(config)
        self.runner = self.restart()

    def restart(self) -> UnattendedRunner:
        self.stop, self.stops_early = StopRequest(), False
        self.runner = UnattendedRunner(self.settings, self.observe, UnattendedFleetRunner(self.settings, self.observe))
        return self.runner

    def observe(self, _: FiringClaim, name: str | None) -> RunObserver:
        return Watched(self, name)

    def playbook(self, more: str = "") -> LoadedPlaybook:
        file = self.folder / "nightly.yaml"
        file.write_text(
            'name: nightly\nworkspaces: ["*"]\nschedule: {cron: "0 12 * * *", timezone: UTC}\n'
            "limits: {max_in_flight: 1, burst: 1, requests_per_second: 50}\n"
            f"steps: [{{action: stop, select: {{all: true}}}}]\n{more}"
        )
        return load_playbook(file, {})

    @property
    def state(self) -> FleetState:
        state = FleetState()
        read_run(fleet_store(self.settings).get_fleet(FLEET_ID), state.apply_record)
        return state


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack, monkeypatch)


async def test_a_firing_in_two_workspaces_is_one_fleet_run_under_the_claimed_id(site: Site) -> None:
    loaded = site.playbook("guards: {max_targets: 9}\n")
    assert site.runner.is_fleet(loaded)
    assert await site.runner.read_status(FLEET_ID) == RunStatus(State.NOTHING_SENT)
    ended = await site.runner.start(CLAIM, loaded, site.stop)
    assert (ended.exit_code, ended.interrupted, ended.reason) == (0, False, None)
    status = await site.runner.read_status(FLEET_ID)
    assert (status.state, status.exit_code) == (State.FINISHED, 0)
    assert sorted(site.started, key=str) == [("prod", FLEET_ID), ("test", FLEET_ID)]
    assert sorted(site.settled, key=str) == ["prod"] * 3 + ["test"] * 3
    assert site.replied == {"prod", "test"}
    trigger = {"schedule": "nightly", "planned": "2026-11-23T12:00:00.000000Z", "moment": "2026-11-23T12:00:00.000000Z"}
    assert site.state.started.trigger == trigger
    run = RunState()
    read_run(FileRunStore(site.folder / "state").get_run(next(iter(site.state.runs)).run_id), run.apply_record)
    assert run.started.record["trigger"] == trigger


async def test_a_stopped_service_interrupts_all_runs_and_the_next_start_resumes_them(site: Site) -> None:
    site.stops_early = True
    ended = await site.runner.start(CLAIM, site.playbook(), site.stop)
    assert (ended.exit_code, ended.interrupted) == (143, True)
    status = await site.runner.read_status(FLEET_ID)
    assert status.state is State.UNFINISHED
    assert status.last_at is not None
    assert len(site.settled) < 6
    resumed = await site.restart().resume(CLAIM, site.stop)
    assert (resumed.exit_code, resumed.interrupted, len(site.settled)) == (0, False, 6)
    assert (await site.runner.read_status(FLEET_ID)).state is State.FINISHED
    again = await site.restart().resume(CLAIM, site.stop)
    assert (again.exit_code, (await site.runner.read_status(FLEET_ID)).state) == (0, State.FINISHED)


async def test_a_stop_before_the_first_request_leaves_the_firing_to_the_next_start(site: Site) -> None:
    site.stop.request_end(Ending.SIGTERM)
    ended = await site.runner.start(CLAIM, site.playbook(), site.stop)
    assert (ended.interrupted, site.started, site.settled) == (True, [], [])
    assert (await site.runner.read_status(FLEET_ID)).state is State.NOTHING_SENT


async def test_a_guard_of_the_total_refuses_the_firing_with_one_notice(site: Site) -> None:
    loaded = site.playbook("fleet: {max_targets: 5}\n")
    for _ in range(2):
        ended = await site.runner.start(CLAIM, loaded, site.stop)
        assert ended.exit_code == 3
        assert "refused by a guard of the total" in str(ended.reason)
    assert (await site.runner.read_status(FLEET_ID)).state is State.NOTHING_SENT


async def test_a_firing_waits_for_another_live_run_in_one_of_the_workspaces(site: Site) -> None:
    loaded = site.playbook()
    waiting = FiringClaim("nightly", NOON, NOON, "fleet-20261123T120001Z-4f2a")
    ends = []
    async with anyio.create_task_group() as group:
        group.start_soon(site.runner.start, CLAIM, loaded, site.stop)
        with anyio.fail_after(20):
            await site.has_started.wait()
            ends.append(await site.runner.start(waiting, loaded, site.stop))
    assert [(each.waits, each.exit_code) for each in ends] == [(True, 3)]
    assert [(name, event) for name, event, _ in site.warnings if event == "waiting_for_run"] == [
        (None, "waiting_for_run")
    ]
    assert (await site.runner.read_status(waiting.run_id)).state is State.NOTHING_SENT


def planned(**more: object) -> FleetState:
    runs = [{"workspace": name, "run_id": f"run-{name}", "targets": 1} for name in ("a", "b")]
    state = FleetState(last_ts="2026-11-23T12:00:00.000Z", planned=FleetPlanned({"runs": runs}))
    if more:
        state.finished = FleetFinished(more)
    return state


LATER = RunStatus(State.UNFINISHED, NOON + timedelta(hours=2))
DONE = RunStatus(State.FINISHED, NOON + timedelta(hours=1), 0)


@pytest.mark.parametrize(
    ("state", "runs", "expected"),
    [
        (FleetState(), [], RunStatus(State.VOID)),
        (planned(exit_code=6), [], RunStatus(State.FINISHED, NOON, 6)),
        (planned(), [DONE, LATER], LATER),
        (planned(), [DONE, DONE], RunStatus(State.UNFINISHED, DONE.last_at)),
        (planned(), [LATER, RunStatus(State.HELD)], RunStatus(State.HELD)),
        (planned(), [LATER, RunStatus(State.ALTERED)], RunStatus(State.ALTERED)),
        (planned(), [LATER, RunStatus(State.NOTHING_SENT)], RunStatus(State.UNREADABLE)),
        (planned(), [LATER, RunStatus(State.VOID)], RunStatus(State.UNREADABLE)),
    ],
)
def test_the_status_of_a_fleet_run_follows_from_its_log_and_its_runs(
    state: FleetState, runs: list[RunStatus], expected: RunStatus
) -> None:
    assert decide_fleet_status(state, runs) == expected
