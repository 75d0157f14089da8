"""The rate budget of a workspace, shared by all runs of the machine."""

import fcntl
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.rate.gcra import Gcra
from orchestrator.runs.shared_budget import FileGcra, SharedBudget, budget_path
from orchestrator.times import boot_seconds

BOOT = b"b" * 16
TINY = 1e-6


class PlainClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Warnings(list[tuple[str, dict[str, Any]]]):
    def __call__(self, event: str, /, **facts: object) -> None:
        self.append((event, facts))


def open_gcra(folder: Path, clock: PlainClock, rate: float = 10, burst: int = 3, **options: Any) -> FileGcra:  # noqa: ANN401 - as the class takes them
    path = budget_path(folder, "https://cloud.test/api/v1", "key")
    return FileGcra(path, Gcra(rate, burst), clock=clock, **{"boot_id": BOOT, **options})


def open_budget(folder: Path, clock: PlainClock, rate: float = 10, burst: int = 3) -> SharedBudget:
    return SharedBudget(Gcra(rate, burst), open_gcra(folder, clock, rate, burst), max_rate=rate)


def take_all(gcra: FileGcra) -> int:
    """Take turns until none is left."""
    count = 0
    while gcra.take_turn() <= 0:
        count += 1
    return count


@given(
    runs=st.integers(2, 3),
    rate=st.floats(0.5, 200) | st.floats(200, 20_000),
    burst=st.integers(1, 10),
    steps=st.lists(st.tuples(st.integers(0, 2), st.floats(0, 1)), min_size=1, max_size=120),
)
def test_several_runs_never_exceed_burst_plus_rate_in_any_window(
    tmp_path_factory: pytest.TempPathFactory, runs: int, rate: float, burst: int, steps: list[tuple[int, float]]
) -> None:
    folder, clock = tmp_path_factory.mktemp("state"), PlainClock()
    budgets, went = [open_budget(folder, clock, rate, burst) for _ in range(runs)], list[float]()
    for which, gap in steps:
        clock.now += gap
        while budgets[which % runs].take_turn(clock.now - 500) <= 0:  # the clock of a run has another origin
            went.append(clock.now)
    for budget in budgets:
        budget.workspace.close()
    for first, start in enumerate(went):
        for last in range(first, len(went)):
            assert last - first + 1 <= burst + rate * (went[last] - start) + TINY * (1 + rate * went[-1])


@given(rate=st.floats(1, 100), burst=st.integers(2, 10), runs=st.integers(2, 3))
def test_several_runs_together_use_nearly_the_whole_rate(
    tmp_path_factory: pytest.TempPathFactory, rate: float, burst: int, runs: int
) -> None:
    folder, clock = tmp_path_factory.mktemp("state"), PlainClock()
    budgets, went, number = [open_budget(folder, clock, rate, burst) for _ in range(runs)], 0, 0
    while clock.now < 1000 + 50 / rate:
        number += 1
        wait = budgets[number % runs].take_turn(clock.now)
        went += wait <= 0
        clock.now += max(0.0, wait)
    for budget in budgets:
        budget.workspace.close()
    assert went >= 0.95 * 50


def test_a_run_alone_reserves_turns_and_another_run_waits_a_moment_at_most(tmp_path: Path) -> None:
    clock = PlainClock()
    first, second = open_gcra(tmp_path, clock, 1000, 5), open_gcra(tmp_path, clock, 1000, 5)
    assert first.take_turn() == 0
    content = first.path.read_bytes()
    for _ in range(10):
        clock.now += 0.001
        assert first.take_turn() == 0
    assert first.path.read_bytes() == content  # reserved turns need no file
    wait = second.take_turn()
    assert 0 < wait <= 0.02
    clock.now += wait
    assert second.take_turn() == 0
    clock.now += 0.02
    assert first.take_turn() == 0
    content = first.path.read_bytes()
    clock.now += 0.001
    assert first.take_turn() == 0
    assert first.path.read_bytes() != content  # beside another run, every turn is in the file
    first.close()
    second.close()


def test_commands_with_a_few_reads_reserve_no_turns(tmp_path: Path) -> None:
    clock = PlainClock()
    reader, other = open_gcra(tmp_path, clock, 1000, 5, counts_as_run=False), open_gcra(tmp_path, clock, 1000, 5)
    assert reader.take_turn() == 0
    assert other.take_turn() == 0


_PROCESS = """
import json, sys, time
from pathlib import Path
from orchestrator.engine.rate.gcra import Gcra
from orchestrator.runs.shared_budget import FileGcra
from orchestrator.times import boot_seconds
gcra, went = FileGcra(Path(sys.argv[1]), Gcra(100, 5)), []
end = boot_seconds() + 1.5
while boot_seconds() < end:
    wait = gcra.take_turn()
    if wait <= 0:
        went.append(boot_seconds())
    else:
        time.sleep(wait)
print(json.dumps(went))
"""


def test_three_processes_share_a_rate(tmp_path: Path) -> None:
    path = budget_path(tmp_path, "https://cloud.test", "key")
    command = [sys.executable, "-c", _PROCESS, str(path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    went = sorted(moment for output in outputs for moment in json.loads(output))
    # A process notes the moment a little after its turn, so windows get a tolerance; the total does not need any.
    assert len(went) <= 5 + 100 * (went[-1] - went[0]) + 1
    assert len(went) >= 0.8 * 100 * min(1.5, went[-1] - went[0])


def test_a_pause_holds_for_all_runs(tmp_path: Path) -> None:
    clock = PlainClock()
    first, second = open_budget(tmp_path, clock), open_budget(tmp_path, clock)
    assert second.take_turn(0) == 0
    first.pause(30, 0)
    assert second.take_turn(0) == pytest.approx(30)
    assert second.paused_for(0) == pytest.approx(30)
    clock.now += 30
    assert second.take_turn(30) == 0


def test_a_run_keeps_its_own_lower_rate_and_leaves_the_rest_to_others(tmp_path: Path) -> None:
    clock = PlainClock()
    slow = SharedBudget(Gcra(1, 1), open_gcra(tmp_path, clock, 10, 1), max_rate=10)
    fast = SharedBudget(Gcra(50, 1), open_gcra(tmp_path, clock, 10, 1), max_rate=10)
    counts = [0, 0]
    for step in range(1000):
        clock.now = 1000 + step / 100
        for index, budget in enumerate((slow, fast)):
            counts[index] += budget.take_turn(step / 100) <= 0
    assert (slow.rate, fast.rate) == (1, 10)
    assert 9 <= counts[0] <= 11
    assert 88 <= counts[1] <= 92


@pytest.mark.parametrize(
    "content",
    [b"", b"orcrate1", b"\0" * 200, b"x" * 100_000, os.urandom(68)],
    ids=["empty", "torn", "zeros", "foreign", "random"],
)
def test_unusable_content_starts_anew(tmp_path: Path, content: bytes) -> None:
    clock, warnings = PlainClock(), Warnings()
    gcra = open_gcra(tmp_path, clock, warn=warnings)
    gcra.path.parent.mkdir()
    gcra.path.write_bytes(content)
    assert (take_all(gcra), take_all(open_gcra(tmp_path, clock)), warnings) == (3, 0, [])


def test_the_state_of_an_earlier_boot_or_a_far_future_is_ignored(tmp_path: Path) -> None:
    clock = PlainClock()
    assert take_all(open_gcra(tmp_path, clock)) == 3
    assert take_all(open_gcra(tmp_path, clock, boot_id=b"c" * 16)) == 3
    open_gcra(tmp_path, clock).pause(10_000)
    assert take_all(open_gcra(tmp_path, clock)) == 3


def test_the_state_folder_is_never_created_and_later_used(tmp_path: Path) -> None:
    clock = PlainClock()
    first, second = open_gcra(tmp_path / "state", clock), open_gcra(tmp_path / "state", clock)
    assert first.take_turn() == 0
    assert not (tmp_path / "state").exists()
    (tmp_path / "state").mkdir()
    clock.now += 2
    assert (take_all(first), take_all(second)) == (3, 0)
    assert stat.S_IMODE(first.path.stat().st_mode) == 0o600


def test_an_unusable_folder_limits_each_run_alone_with_one_warning(tmp_path: Path) -> None:
    clock, warnings = PlainClock(), Warnings()
    (tmp_path / "rate").write_text("in the way")
    gcra = open_gcra(tmp_path, clock, warn=warnings)
    assert (take_all(gcra), take_all(gcra)) == (3, 0)
    assert [(event, list(facts)) for event, facts in warnings] == [("rate.not_shared", ["file", "reason"])]


def test_a_process_that_stopped_within_its_turn_holds_others_up_for_two_seconds_only(tmp_path: Path) -> None:
    clock, warnings = PlainClock(), Warnings()
    gcra = open_gcra(tmp_path, clock, warn=warnings)
    assert gcra.take_turn() == 0
    stopped = os.open(gcra.path, os.O_RDWR)
    fcntl.flock(stopped, fcntl.LOCK_EX)
    assert 0 < gcra.take_turn() < 0.1
    clock.now += 2.5
    assert (gcra.take_turn(), len(warnings)) == (0, 1)
    os.close(stopped)


def test_a_budget_counts_as_shared_only_beside_a_live_run(tmp_path: Path) -> None:
    clock = PlainClock()
    first, reader = open_gcra(tmp_path, clock), open_gcra(tmp_path, clock, counts_as_run=False)
    assert reader.take_turn() == 0
    assert not first.is_shared()
    assert first.take_turn() == 0
    second = open_gcra(tmp_path, clock)
    assert second.is_shared()
    assert second.take_turn() == 0
    assert (second.take_turn() > 0, first.take_turn() > 0, first.is_shared()) == (True, True, True)
    second.close()
    clock.now += 11
    assert first.take_turn() == 0
    assert not first.is_shared()
    first.close()
    assert not open_gcra(tmp_path, clock).is_shared()


def test_the_name_of_the_file_gives_neither_address_nor_key_away_and_differs_by_both(tmp_path: Path) -> None:
    paths = {budget_path(tmp_path, url, key) for url in ("https://a", "https://b") for key in ("k1", "k2")}
    assert len({path.name for path in paths}) == 4


def test_a_turn_costs_at_most_twenty_microseconds_of_processor_time(tmp_path: Path) -> None:
    import time  # noqa: PLC0415 - only here

    gcra = FileGcra(budget_path(tmp_path, "https://a", "k"), Gcra(1e9, 1000), counts_as_run=False)
    gcra.take_turn()
    best = min(_measure(gcra, time.process_time) for _ in range(20))
    assert best < 60e-6, "three times the target, for a busy machine"


def _measure(gcra: FileGcra, clock: Any) -> float:  # noqa: ANN401 - a function of `time`
    begun = clock()
    for _ in range(200):
        gcra.take_turn()
    return float(clock() - begun) / 200


def test_the_clock_is_the_same_for_all_processes() -> None:
    other = float(
        subprocess.check_output(
            [sys.executable, "-c", "from orchestrator.times import boot_seconds; print(boot_seconds())"]
        )
    )
    assert 0 <= boot_seconds() - other < 60


class OtherBudget:
    """A budget of other machines; counts its turns."""

    def __init__(self) -> None:
        self.turns, self.wait, self.paused = 0, 0.0, 0.0

    def take_turn(self) -> float:
        self.turns += self.wait == 0
        return self.wait

    def wait_seconds(self) -> float:
        return self.wait

    def pause(self, seconds: float) -> None:
        self.paused = seconds

    def paused_for(self) -> float:
        return self.paused

    def is_shared(self) -> bool:
        return True


def test_a_budget_of_other_machines_replaces_the_file_and_the_lower_own_limit_stays(tmp_path: Path) -> None:
    clock, other = PlainClock(), OtherBudget()
    budget = open_budget(tmp_path, clock, rate=10, burst=2)
    budget.share(other, 50.0, 5)
    assert [budget.take_turn(0.0) for _ in range(3)] == [0.0, 0.0, pytest.approx(0.1)]
    assert (other.turns, budget.rate, budget.is_shared(0.0)) == (2, 10, True)
    assert budget.workspace.gcra.arrival == float("-inf"), "no turn of the file was used"
    budget.pause(7.0, 0.0)
    assert (other.paused, budget.paused_for(0.0)) == (7.0, 7.0)


def test_an_own_limit_as_high_as_the_workspace_asks_other_machines_alone(tmp_path: Path) -> None:
    other = OtherBudget()
    budget = open_budget(tmp_path, PlainClock(), rate=10, burst=2)
    budget.share(other, 10.0, 2)
    assert [budget.take_turn(0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    other.wait = 0.3
    assert budget.take_turn(0.0) == 0.3
