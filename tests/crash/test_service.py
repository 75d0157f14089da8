"""`kill -9` of `serve` at any moment, over several firings of a fleet playbook: each firing happens once.

The clock of every process is minutes ahead of the clock of the process before.
"""

import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from orchestrator.audit.fleet_log import FleetState
from orchestrator.audit.verify import Verdict, read_log
from orchestrator.service.journal import FileJournalStore
from orchestrator.simulator.machine import SimulatedCvm
from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings
from orchestrator.times import parse_timestamp
from tests.crash.test_crash import KILLED, WHERES, environment_of, read
from tests.crash.victim import Moment, start
from tests.e2e.site import until

NAMES = ("a", "b", "c")
PLAYBOOK = """
name: minutely
schedule: {cron: "* * * * *", timezone: UTC, on_missed: run_once, on_overlap: queue}
limits: {requests_per_second: 100, burst: 10, max_in_flight: 8, per_teepod: 8}
workspaces: ["*"]
steps:
  - action: stop
    select: {all: true}
"""
MINUTE = 60.0


class Machine:
    """A state folder, the service of one fleet playbook, and its simulated workspaces.

    Attributes:
        cvms: the CVMs of all workspaces.
        raised: how often all CVMs were up before a firing.
        deaths: how often a process died at its own moment.
    """

    def __init__(self, folder: Path, simulator: BackgroundSimulator, rng: Random) -> None:
        self.folder, self.rng, self.output = folder, rng, folder / "output.txt"
        self.simulator = simulator
        self.cvms: list[SimulatedCvm] = []
        self.raised, self.deaths, self.ahead = 0, 0, 0.0
        self.environment = environment_of(simulator, folder)
        for name, (key, workspace) in zip(NAMES, simulator.workspaces.by_key.items(), strict=True):
            self.environment |= {f"KEY_{name}": key, f"ORCHESTRATOR_WORKSPACES__{name}__API_KEY_ENV": f"KEY_{name}"}
            self.cvms += workspace.world.cvms
        (folder / "playbooks").mkdir()
        (folder / "playbooks" / "minutely.yaml").write_text(PLAYBOOK)
        self.journal = FileJournalStore(folder / "state")

    def live(self, moment: Moment | None) -> None:
        """Start the service, and let it die at a moment; else kill the idle service, or stop it without a moment."""
        begun = datetime.now(UTC) + timedelta(seconds=self.ahead)
        args = ["serve", "--listen", "none", "--playbooks", str(self.folder / "playbooks")]
        process = start(args, self.environment, moment, self.output, ahead=self.ahead)
        until(lambda: process.exitcode is not None or self.is_idle(begun))
        if process.exitcode is None:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL if moment else signal.SIGTERM)
        else:
            self.deaths += 1
        process.join(30)
        assert process.exitcode == (KILLED if moment else 0), self.output.read_text()
        self.ahead += self.rng.uniform(1.0, 3.0) * MINUTE

    def is_idle(self, begun: datetime) -> bool:
        """Check for a decision about the firing that was due, and the end of all; the first process has none."""
        state = self.journal.read_state()
        known = state.playbooks.get("minutely")
        if known is None or state.claims:
            return False
        if not self.ahead:
            return True
        return any(parse_timestamp(planned) > begun - timedelta(seconds=MINUTE) for planned in known.decided)

    def raise_cvms(self) -> None:
        """Start all CVMs, unless a firing is unfinished."""
        cvms_are_down = all(cvm.phase_at(self.simulator.now()).status == "stopped" for cvm in self.cvms)
        if not self.journal.read_state().claims and cvms_are_down:
            self.raised += 1
            for cvm in self.cvms:
                self.simulator.world.set_status(cvm, "running", self.simulator.now())

    def hold_to_the_promises(self) -> None:
        """Check the CVMs for one stop a firing, and the fleet logs against the logs of all runs."""
        assert self.journal.read_state().claims == {}
        assert {cvm.phase_at(self.simulator.now()).status for cvm in self.cvms} == {"stopped"}
        stops = self.raised + 1
        assert {len(cvm.operations) for cvm in self.cvms} == {stops}
        assert {cvm.effective_stops for cvm in self.cvms} == {stops}
        settled = 0
        for log in (self.folder / "state" / "fleets").glob("*.jsonl"):
            fleet = FleetState()
            verdict = read_log(log, fleet.apply_record).verdict
            if not fleet.has_plan:
                continue
            assert (verdict, fleet.finished is not None) == (Verdict.WHOLE, True), self.output.read_text()
            assert fleet.finished is not None
            settled += fleet.finished.counts.get("settled", 0)
            for end in fleet.finished.runs:
                whole, state = read(self.folder / "state" / "runs" / f"{end.run_id}.jsonl")
                assert (whole, state.started.fleet) == (Verdict.WHOLE, log.stem)
                assert state.finished is not None
                assert state.finished.hash == end.hash
        assert settled == stops * len(self.cvms)


def kill_and_restart(folder: Path, seed: int, lives: int) -> None:
    """Kill several processes of the service, then let the last live."""
    rng = Random(seed)
    settings = {
        "workspaces": len(NAMES),
        "fleet": {"cvms": 5, "seed": seed, "stopped_share": 0, "gpu_share": 0},
        "timing": {"stop_seconds": [0.05, 0.4], "latency": [0, 0.02], "read_lag": 0.1},
    }
    with BackgroundSimulator(parse_settings(settings)) as simulator:
        machine = Machine(folder, simulator, rng)
        for number in range(lives):
            where = WHERES[(seed + number) % len(WHERES)]
            machine.live(Moment(where, rng.randint(1, 30), rng.uniform(0.1, 2.0 if where == "after_seconds" else 0.9)))
            machine.raise_cvms()
        machine.live(None)
        machine.hold_to_the_promises()
        assert machine.deaths


@pytest.mark.parametrize("seed", [3])
def test_each_firing_of_a_fleet_playbook_happens_once_however_often_the_service_is_killed(
    tmp_path: Path, seed: int
) -> None:
    kill_and_restart(tmp_path, seed, lives=4)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 120))
def test_each_firing_of_an_hour_happens_once(tmp_path: Path, seed: int) -> None:
    kill_and_restart(tmp_path, seed, lives=20)
