"""Runs of the team store under kills, pauses, restarts and outages: nothing lost, nothing twice, nothing late."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.store_trial import Fault, Kind, Terms, carry_out, carry_out_by_a_person
from tests.postgres.cluster import Cluster, find_binaries, start_cluster
from tests.postgres.conftest import give_up_without_server

SHORT = Terms(cvms=16)
MIDDLE = Terms()
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
    carry_out(cluster, tmp_path, 1, SHORT, [Fault(0.5, "kill", 0), Fault(0.1, "pause", 1), Fault(0.3, "restart")])


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(200, 212))
def test_more_runs_of_a_person(cluster: Cluster, tmp_path: Path, seed: int) -> None:
    carry_out_by_a_person(cluster, tmp_path, seed, MIDDLE, MIDDLE.plan_faults(seed, KINDS, 5))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(24))
def test_more_kills_pauses_and_restarts(cluster: Cluster, tmp_path: Path, seed: int) -> None:
    carry_out(cluster, tmp_path, seed, LONG, LONG.plan_faults(seed, ("kill", "pause", "restart"), 6))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 108))
def test_outages_longer_than_a_lease_with_kills_and_pauses(cluster: Cluster, tmp_path: Path, seed: int) -> None:
    carry_out(cluster, tmp_path, seed, LONG, LONG.plan_faults(seed, ("down", "kill", "pause"), 6))
