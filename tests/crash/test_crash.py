"""`kill -9` at any moment, and `resume`: nothing is lost, nothing is stopped twice, the log stays whole."""

import signal
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from orchestrator.audit.replay import RunState
from orchestrator.audit.verify import Verdict, read_log
from orchestrator.outcome import Outcome
from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings
from tests.crash.victim import Moment, Where, run

PLAYBOOK = """
name: crash
limits: {requests_per_second: RATE, burst: 10, max_in_flight: 8, per_teepod: 8, dispatch: DISPATCH}
steps:
  - action: ACTION
    select: {all: true}
"""
PULLED = """
name: crash
limits: {requests_per_second: 300, burst: 10, max_in_flight: 8, per_teepod: 8}
steps:
  - {name: ask, action: shutdown, select: {all: true}, settle: {timeout: 0.8}, ESCALATE}
  - {name: pull, action: stop, select: {result: {step: ask}}}
"""
KILLED = -signal.SIGKILL
WHERES: tuple[Where, ...] = ("before_write", "in_write", "before_sync", "after_sync", "after_seconds")


def moments(seed: int) -> list[Moment]:
    """When the run dies, and when up to two of its resumes die."""
    rng = Random(seed)
    where = WHERES[seed % len(WHERES)]
    first = Moment(where, rng.randint(1, 14), rng.uniform(0.05, 0.9))
    return [first] + [Moment(rng.choice(WHERES), rng.randint(1, 8), rng.random()) for _ in range(rng.randint(0, 2))]


def read(log: Path) -> tuple[Verdict, RunState]:
    """What a log is, and what it adds up to."""
    state = RunState()
    return read_log(log, state.apply_record).verdict, state


def crash_and_resume(folder: Path, seed: int, action: str = "stop") -> None:
    playbook = folder / "crash.yaml"
    dispatch = "batch" if seed % 2 and action == "stop" else "single"
    rate = "auto" if seed % 4 == 3 else "300"
    text = PLAYBOOK.replace("DISPATCH", dispatch).replace("ACTION", action).replace("RATE", rate)
    playbook.write_text(text)
    output = folder / "output.txt"
    fleet = {"cvms": 24, "seed": seed, "stopped_share": 0, "gpu_share": 0}
    timing = {key: [0.05, 0.4] for key in ("stop_seconds", "shutdown_seconds", "start_seconds")}
    timing |= {"latency": [0.0, 0.02]}
    with BackgroundSimulator(parse_settings({"fleet": fleet, "timing": {**timing, "read_lag": 0.1}})) as simulator:
        for cvm in simulator.world.cvms if action == "start" else ():
            simulator.world.set_status(cvm, "stopped", -10.0)
        code, log, planned = killed_and_resumed(simulator, playbook, seed, output)
        if not planned:
            assert not [r for r in simulator.requests if r.method == "POST" and r.operation == f"{action}_cvm"]
            resume = ["resume", log.stem, "--yes"] if log else []
            assert not resume or run(resume, environment_of(simulator, folder), None, output) == 3
            return
        assert log is not None
        assert code == 0, output.read_text()
        _hold_to_the_promises(simulator, log, action, batched=dispatch == "batch")


def crash_and_pull(folder: Path, seed: int) -> None:
    """Shutdowns that take too long, followed by stops: by each CVM's own escalation, or by a step for all of them."""
    playbook = folder / "crash.yaml"
    playbook.write_text(PULLED.replace("ESCALATE", "escalate: {after: 0.6}" if seed % 2 else "on_failure: continue"))
    output = folder / "output.txt"
    settings = {
        "fleet": {"cvms": 24, "seed": seed, "stopped_share": 0, "gpu_share": 0},
        "timing": {"stop_seconds": [0.05, 0.4], "shutdown_seconds": [0.1, 2], "latency": [0, 0.02], "read_lag": 0.1},
    }
    with BackgroundSimulator(parse_settings(settings)) as simulator:
        code, log, planned = killed_and_resumed(simulator, playbook, seed, output)
        if not planned or log is None:
            return
        verdict, state = read(log)
        cvms = simulator.world.cvms
        now = simulator.now()
        assert {cvm.phase_at(now).status for cvm in cvms} == {"stopped"}
        assert Counter(cvm.effective_stops for cvm in cvms) == {1: len(cvms)}
        for cvm in cvms:
            assert max(Counter(operation.type for operation in cvm.operations).values()) == 1
        # Who went down by itself while the run was dead is found so by the step that takes it up.
        assert set(state.counts) <= {Outcome.SETTLED, Outcome.SKIPPED}, output.read_text()
        assert (code, verdict, sum(state.counts.values())) == (0, Verdict.WHOLE, len(cvms))


def killed_and_resumed(
    simulator: BackgroundSimulator, playbook: Path, seed: int, output: Path
) -> tuple[int, Path | None, bool]:
    """Run a playbook that dies at seeded moments, and resume it until it ends.

    Returns:
        The last exit code, the log if there is one, and whether the run came as far as its plan.
    """
    folder = playbook.parent
    environment = environment_of(simulator, folder)
    deaths = moments(seed)
    code = run(["run", str(playbook), "--yes"], environment, deaths[0], output)
    log = next((folder / "state" / "runs").glob("*.jsonl"), None)
    if code == KILLED and (log is None or not read(log)[1].has_plan):
        return code, log, False
    for death in [*deaths[1:], None]:
        if code == KILLED:
            assert log is not None
            assert read(log)[0] is not Verdict.ALTERED
            code = run(["resume", log.stem, "--yes"], environment, death, output)
    assert log is not None, output.read_text()
    return code, log, True


def environment_of(simulator: BackgroundSimulator, folder: Path) -> dict[str, str]:
    """What the command is told of the simulator, and where to write."""
    return {
        "PHALA_CLOUD_API_KEY": simulator.api_key,
        "PHALA_CLOUD_API_PREFIX": simulator.url,
        "ORCHESTRATOR_STATE_DIR": str(folder / "state"),
        "ORCHESTRATOR_SETTLE__RECHECK_AFTER": "0.3",
        "ORCHESTRATOR_SETTLE__POLL_MIN": "0.05",
        "ORCHESTRATOR_LOG__LEVEL": "error",
    }


def _hold_to_the_promises(simulator: BackgroundSimulator, log: Path, action: str, *, batched: bool) -> None:
    cvms = simulator.world.cvms
    assert Counter(len(cvm.operations) for cvm in cvms) == {1: len(cvms)}
    if action != "start":
        assert Counter(cvm.effective_stops for cvm in cvms) == {1: len(cvms)}
    verdict, state = read(log)
    assert verdict is Verdict.WHOLE
    assert state.counts == {"settled": len(cvms)}
    received = Counter(r.cvm_hashid for r in simulator.requests if r.operation == f"{action}_cvm")
    batches = [r for r in simulator.requests if r.operation == "batch_stop"]
    assert batched or not batches  # whoever is in doubt after a crash is stopped singly, which may be all
    assert len(batches) + received.total() <= state.requests
    for target in state.targets.values():
        # A request that was announced but whose process died before sending it is all that may be missing.
        assert received[target.ref.id] <= target.attempts
        assert batched or received[target.ref.id] >= 1
        assert target.billing is not None


@pytest.mark.parametrize("seed", range(5))
def test_a_killed_run_is_resumed_without_losing_or_repeating_a_stop(tmp_path: Path, seed: int) -> None:
    crash_and_resume(tmp_path, seed)


@pytest.mark.parametrize("seed", range(20, 22))
@pytest.mark.parametrize("action", ["shutdown", "start"])
def test_the_same_holds_of_shutdowns_and_starts(tmp_path: Path, action: str, seed: int) -> None:
    crash_and_resume(tmp_path, seed, action)


@pytest.mark.parametrize("seed", range(30, 33))
def test_what_did_not_go_down_by_itself_is_stopped_once_however_often_the_run_dies(tmp_path: Path, seed: int) -> None:
    crash_and_pull(tmp_path, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [33, 34, 35, *range(400, 500)])
def test_more_moments_of_shutdowns_that_take_too_long(tmp_path: Path, seed: int) -> None:
    crash_and_pull(tmp_path, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [22, 23, *range(300, 330)])
@pytest.mark.parametrize("action", ["shutdown", "start"])
def test_more_moments_of_shutdowns_and_starts(tmp_path: Path, action: str, seed: int) -> None:
    crash_and_resume(tmp_path, seed, action)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [*range(5, 10), *range(100, 300)])
def test_two_hundred_more_moments(tmp_path: Path, seed: int) -> None:
    crash_and_resume(tmp_path, seed)
