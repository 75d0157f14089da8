"""`kill -9` at any moment of a run in waves, and `resume`: no wave overtakes, no second stop, and survivors stay up."""

from collections import Counter
from pathlib import Path

import pytest

from orchestrator.audit.record import Record
from orchestrator.audit.verify import Verdict, read_log
from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings
from tests.crash.test_crash import killed_and_resumed, read

PLAYBOOK = """
name: crash
deadline: 1m
guards: {keep_running: {per: teepod, min: 1}}
limits: {requests_per_second: 300, burst: 10, max_in_flight: 8, per_teepod: 8, dispatch: DISPATCH}
steps:
  - {action: stop, select: {all: true}, order_by: name, waves: [1, "25%", 10]}
"""


def roll_out(folder: Path, seed: int) -> None:
    playbook = folder / "crash.yaml"
    playbook.write_text(PLAYBOOK.replace("DISPATCH", "batch" if seed % 2 else "single"))
    output = folder / "output.txt"
    settings = {
        "fleet": {"cvms": 24, "seed": seed, "stopped_share": 0, "gpu_share": 0},
        "timing": {"stop_seconds": [0.05, 0.2], "latency": [0.0, 0.02], "read_lag": 0.1},
    }
    with BackgroundSimulator(parse_settings(settings)) as simulator:
        code, log, planned = killed_and_resumed(simulator, playbook, seed, output)
        if not planned or log is None:
            return
        verdict, state = read(log)
        assert (code, verdict) == (0, Verdict.WHOLE), output.read_text()
        assert state.counts == {"settled": len(state.targets)}
        assert state.finished is not None
        deadline = state.finished.deadline
        assert deadline is not None
        assert deadline["met"]
        cvms = simulator.world.cvms
        kept = [cvm for cvm in cvms if not cvm.effective_stops]
        assert Counter(cvm.teepod.name for cvm in kept) == Counter({cvm.teepod.name for cvm in cvms})
        assert {cvm.effective_stops for cvm in cvms} == {0, 1}
        assert_no_wave_overtook(log)


def assert_no_wave_overtook(log: Path) -> None:
    """No request of a wave is announced before every target of the waves ahead has its outcome."""
    records: list[Record] = []
    read_log(log, records.append)
    planned = next(record for record in records if record["event"] == "run.planned")
    waves = {target["cvm"]["id"]: target["wave"] for target in planned["targets"]}
    open_ones = dict(waves)
    assert set(waves.values()) == {1, 2, 3, 4}
    for record in records:
        if record["event"] in {"target.settled", "target.failed"}:
            open_ones.pop(record["cvm"]["id"], None)
        elif record["event"] == "action.intent":
            assert waves[record["cvm"]["id"]] == min(open_ones.values())


@pytest.mark.parametrize("seed", range(40, 42))
def test_a_killed_roll_out_goes_on_wave_by_wave(tmp_path: Path, seed: int) -> None:
    roll_out(tmp_path, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [42, 43, 44, *range(500, 580)])
def test_eighty_more_moments_of_roll_outs(tmp_path: Path, seed: int) -> None:
    roll_out(tmp_path, seed)
