"""`kill -9` of a fleet run at any moment, and `resume FLEET_ID`: nothing is lost or stopped twice, the logs agree."""

from pathlib import Path
from random import Random

import pytest

from orchestrator.audit.fleet_log import FleetState
from orchestrator.audit.verify import Verdict, read_log
from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings
from tests.crash.test_crash import KILLED, PLAYBOOK, WHERES, environment_of, read
from tests.crash.victim import Moment, run

NAMES = ("a", "b", "c")


def crash_and_resume_fleet(folder: Path, seed: int) -> None:
    rng = Random(seed)
    playbook, output = folder / "crash.yaml", folder / "output.txt"
    text = PLAYBOOK.replace("DISPATCH", "single").replace("ACTION", "stop").replace("RATE", "100")
    playbook.write_text(text + ("fleet: {first: b}\n" if seed % 3 == 2 else ""))
    deaths = [Moment(WHERES[seed % len(WHERES)], rng.randint(1, 30), rng.uniform(0.05, 0.9))]
    deaths += [Moment(rng.choice(WHERES), rng.randint(1, 20), rng.random()) for _ in range(rng.randint(0, 2))]
    settings = {
        "workspaces": len(NAMES),
        "fleet": {"cvms": 10, "seed": seed, "stopped_share": 0, "gpu_share": 0},
        "timing": {"stop_seconds": [0.05, 0.4], "latency": [0, 0.02], "read_lag": 0.1},
    }
    with BackgroundSimulator(parse_settings(settings)) as simulator:
        environment = environment_of(simulator, folder)
        for name, key in zip(NAMES, simulator.workspaces.by_key, strict=True):
            environment[f"KEY_{name}"] = key
            environment[f"ORCHESTRATOR_WORKSPACES__{name}__API_KEY_ENV"] = f"KEY_{name}"
        command = ["run", str(playbook), "--workspace", "*", "--yes"]
        code, log = KILLED, None
        for death in [*deaths, None]:
            code = run(command, environment, death, output)
            log = next((folder / "state" / "fleets").glob("*.jsonl"), None)
            if code != KILLED:
                break
            if log is not None:
                command = ["resume", log.stem, "--yes"]
        assert log is not None, output.read_text()
        fleet, cvms = FleetState(), [cvm for each in simulator.workspaces.by_key.values() for cvm in each.world.cvms]
        read_log(log, fleet.apply_record)
        if not fleet.has_plan:
            assert (code, [cvm for cvm in cvms if cvm.operations]) == (3, []), output.read_text()
            return
        _hold_to_the_promises(folder, log, code, output)
        assert {len(cvm.operations) for cvm in cvms} == {1}
        assert {cvm.effective_stops for cvm in cvms} == {1}
        assert run(["audit", "verify", log.stem], environment, None, output) == 0, output.read_text()


def _hold_to_the_promises(folder: Path, log: Path, code: int, output: Path) -> None:
    """Check the exit code, and the fleet log against the logs of all runs."""
    fleet = FleetState()
    assert (code, read_log(log, fleet.apply_record).verdict) == (0, Verdict.WHOLE), output.read_text()
    assert fleet.finished is not None
    assert fleet.finished.counts == {"settled": 10 * len(NAMES)}
    ends = {end.workspace: end for end in fleet.finished.runs}
    assert set(ends) == set(NAMES)
    for name, end in ends.items():
        verdict, state = read(folder / "state" / "runs" / f"{end.run_id}.jsonl")
        assert (verdict, state.started.workspace_name, state.started.fleet) == (Verdict.WHOLE, name, log.stem)
        assert state.finished is not None
        assert state.finished.hash == end.hash


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_fleet_run_is_resumed_without_losing_or_repeating_a_stop(tmp_path: Path, seed: int) -> None:
    crash_and_resume_fleet(tmp_path, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3, 103))
def test_a_hundred_more_moments_of_fleet_runs(tmp_path: Path, seed: int) -> None:
    crash_and_resume_fleet(tmp_path, seed)
