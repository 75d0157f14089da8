"""Runs of the team store under kills, pauses, restarts and outages: nothing lost, nothing twice, nothing late."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.crash.store_trial import BURST, PLAYBOOK, Fault, Kind, Terms, Trial, carry_out, carry_out_by_a_person
from tests.postgres.cluster import Cluster, find_binaries, start_cluster, start_standby
from tests.postgres.conftest import give_up_without_server

SHORT = Terms(cvms=16)
MIDDLE = Terms()
ASKING = """
name: ask
limits: {requests_per_second: RATE, burst: BURST, max_in_flight: 8, per_teepod: 8}
steps:
  - {name: first, action: stop, select: {name: "a-*"}}
  - {name: look, action: pause, question: "Go on?", timeout: 2m}
  - {name: rest, action: stop, select: {name: "b-*"}}
"""
ESCALATING = PLAYBOOK.replace("- action: stop", "- action: shutdown\n    escalate: {after: 0.8}")
FLEET = PLAYBOOK + "workspaces: ['*']\n"
KINDS: tuple[Kind, ...] = ("kill", "pause", "restart", "down")
LONG = Terms(cvms=60, workspaces=4, workers=3, rate=10, lease=4.0, timeout=1.8)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A server of these tests alone, because the tests stop and restart the server."""
    binaries = find_binaries()
    if binaries is None:
        give_up_without_server()
    with start_cluster(binaries, durable=True) as running:
        yield running


def test_a_kill_a_pause_and_a_restart_of_the_database_lose_and_repeat_nothing(cluster: Cluster, tmp_path: Path) -> None:
    carry_out(cluster, tmp_path, 2, SHORT, [Fault(0.5, "kill", 0), Fault(0.1, "pause_and_restart", 1)])


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(200, 212))
def test_more_runs_of_a_person(cluster: Cluster, tmp_path: Path, seed: int) -> None:
    carry_out_by_a_person(cluster, tmp_path, seed, MIDDLE, MIDDLE.plan_faults(seed, KINDS, 5))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(24))
def test_more_kills_pauses_and_restarts(cluster: Cluster, tmp_path: Path, seed: int) -> None:
    carry_out(cluster, tmp_path, seed, LONG, LONG.plan_faults(seed, ("kill", "pause", "restart"), 6))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1100, 1104))
def test_no_worker_ends_by_itself_while_the_database_restarts_again_and_again(
    cluster: Cluster, tmp_path: Path, seed: int
) -> None:
    carry_out(cluster, tmp_path, seed, LONG, [Fault(rng.uniform(0.0, 0.6), "restart") for rng in [Random(seed)] * 30])


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 108))
def test_outages_longer_than_a_lease_with_kills_and_pauses(cluster: Cluster, tmp_path: Path, seed: int) -> None:
    carry_out(cluster, tmp_path, seed, LONG, LONG.plan_faults(seed, ("down", "kill", "pause"), 6))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(300, 308))
@pytest.mark.parametrize("more", [(), ("--at-once",)], ids=["gracefully", "at_once"])
def test_a_run_cancelled_under_kills_sends_nothing_more(
    cluster: Cluster, tmp_path: Path, seed: int, more: tuple[str, ...]
) -> None:
    trial = Trial(cluster, tmp_path, MIDDLE, seed)
    faults = MIDDLE.plan_faults(seed, ("kill", "pause", "restart", "terminate"), 4)
    with trial.running():
        run_ids = trial.submit_all()
        if seed % 2:  # otherwise some runs are cancelled before they begin
            for run_id in run_ids:
                trial.wait_for_event(run_id, "action.accepted")
        trial.inflict(faults[: seed % 3])
        for run_id in run_ids:
            trial.command("cancel", run_id, *more)
        trial.inflict(faults[seed % 3 :])
        trial.wait_for_the_end()
        ended = trial.check_runs(None)
        for name, state in zip(trial.names, ended, strict=True):
            cvms = trial.simulator.workspaces.by_name[name].world.cvms
            operations = Counter(len(cvm.operations) for cvm in cvms)
            assert operations[0] + operations[1] == len(cvms), "no CVM is stopped twice"
            assert state.finished is None or state.finished.ending in {"cancelled", "completed"}
            sent = sum(target.outcome not in {None, "not_sent"} for target in state.targets.values())
            assert operations[1] <= sent


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(400, 408))
def test_an_answer_under_kills_counts_once(cluster: Cluster, tmp_path: Path, seed: int) -> None:
    trial = Trial(cluster, tmp_path, MIDDLE, seed)
    faults = MIDDLE.plan_faults(seed, ("kill", "pause", "restart", "terminate"), 4)
    with trial.running():
        run_ids = [trial.submit(name, ASKING) for name in trial.names]
        for run_id in run_ids:
            trial.wait_for_event(run_id, "approval.requested")
        trial.inflict(faults[: seed % 3])
        for run_id in run_ids:
            trial.command("approve", run_id, "--yes")
        trial.inflict(faults[seed % 3 :])
        trial.wait_for_the_end()
        trial.check_promises()
        for run_id in run_ids:
            assert trial.count_records(run_id, "approval.answered") == 1


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(500, 504))
def test_two_runs_of_one_workspace_share_its_rate_under_kills(cluster: Cluster, tmp_path: Path, seed: int) -> None:
    terms = Terms(workspaces=1, runs=1)
    trial = Trial(cluster, tmp_path, terms, seed)
    with trial.running():
        for half in ("a-*", "b-*"):
            text = PLAYBOOK.replace("{all: true}", f'{{name: "{half}"}}')
            trial.submit("w0", text.replace("DISPATCH", "single"))  # no requests for CVMs of several runs
        trial.inflict(terms.plan_faults(seed, ("kill", "pause", "restart"), 4))
        trial.wait_for_the_end()
        trial.check_promises()
        times = [each.at for each in trial.simulator.requests]
        window, most = 3.0, BURST + terms.rate * 4  # a second more: requests bunch on a busy machine
        assert max(bisect_left(times, at + window) - number for number, at in enumerate(times)) <= most


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1000, 1008))
def test_a_shutdown_that_takes_too_long_is_followed_by_one_stop(cluster: Cluster, tmp_path: Path, seed: int) -> None:
    trial = Trial(cluster, tmp_path, MIDDLE, seed)
    with trial.running():
        for name in trial.names:
            trial.submit(name, ESCALATING)
        trial.inflict(MIDDLE.plan_faults(seed, ("kill", "pause", "restart", "down"), 5))
        trial.wait_for_the_end()
        trial.check_promises()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(800, 808))
def test_a_fleet_run_under_kills_loses_and_repeats_nothing(cluster: Cluster, tmp_path: Path, seed: int) -> None:
    terms = Terms(workspaces=3, runs=1 + seed % 2)  # too few places for all runs at once
    trial = Trial(cluster, tmp_path, terms, seed)
    with trial.running():
        trial.submit(None, FLEET)
        trial.inflict(terms.plan_faults(seed, ("kill", "pause", "restart", "terminate"), 5))
        trial.wait_for_the_end()
        trial.check_promises()


@pytest.mark.soak
def test_a_fleet_run_in_a_hundred_workspaces_survives_a_kill(cluster: Cluster, tmp_path: Path) -> None:
    trial = Trial(cluster, tmp_path, Terms(cvms=6, workspaces=100, workers=3, runs=20, lease=10, timeout=5), 900)
    with trial.running():
        trial.submit(None, FLEET)
        trial.inflict([Fault(6, "kill", 0), Fault(4, "pause", 1)])
        trial.wait_for_the_end()
        trial.check_promises()


@pytest.mark.soak
def test_a_killed_run_is_taken_over_within_the_default_lease(cluster: Cluster, tmp_path: Path) -> None:
    slowest_take = carry_out(cluster, tmp_path, 600, Terms(lease=60, timeout=30), [Fault(0.5, "kill", 0)])
    assert 30 < slowest_take <= 65


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(700, 703))
def test_a_failover_to_a_synchronous_standby_loses_nothing(tmp_path: Path, seed: int) -> None:
    binaries = find_binaries()
    if binaries is None:
        give_up_without_server()
    with start_cluster(binaries, durable=True) as primary, start_standby(primary) as standby:
        trial = Trial(primary, tmp_path, MIDDLE, seed, standby)
        with trial.running():
            trial.submit_all()
            trial.inflict([Fault(0.6, "kill", 0), Fault(0.5 + seed % 3 / 2, "failover")])
            trial.wait_for_the_end()
            trial.check_promises()
