"""The installed command on several machines: state folders of their own, one team store, one simulated cloud."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings
from tests.e2e.site import NAMES, QUICK, STILL, Site, until
from tests.e2e.test_approve import playbook as with_question
from tests.postgres.cluster import PASSWORD, Cluster
from tests.postgres.test_turns import require_within_limit

OpenMachine = Callable[..., Site]


@pytest.fixture
def open_machine(durable: Cluster, database: str, tmp_path: Path) -> Iterator[OpenMachine]:
    """Open machines of one cloud, each with a user of the database."""
    limit = {"requests_per_second": 20, "burst": 6}
    settings = parse_settings({**STILL, "timing": QUICK, "api": {"simulated_header": False}, "limit": limit})
    with BackgroundSimulator(settings) as simulator:

        def open_site(name: str, user: str = "oli_operator") -> Site:
            folder = tmp_path / name
            folder.mkdir()
            site = Site(folder, simulator)
            site.environment |= {
                "ORCHESTRATOR_STORE__URL": durable.url(database, user),
                "ORCHESTRATOR_RATE__REQUESTS_PER_SECOND": "20",
                "ORCHESTRATOR_RATE__BURST": "6",
                "PGPASSWORD": PASSWORD,
            }
            return site

        yield open_site


def only(site: Site, *names: str) -> str:
    """A playbook for these CVMs, at any rate."""
    return site.playbook(f"{{name: [{', '.join(names)}]}}")


def test_two_machines_together_stay_within_the_rate_of_their_workspace(open_machine: OpenMachine) -> None:
    machines = [open_machine("a"), open_machine("b")]
    parts = NAMES[:4], NAMES[4:]
    processes = [each.start("run", only(each, *names), "--yes") for each, names in zip(machines, parts, strict=True)]
    ends = [each.end(process) for each, process in zip(machines, processes, strict=True)]
    assert [ended.code for ended in ends] == [0, 0], ends
    requests = machines[0].sim.requests
    assert [record.status for record in requests if record.status == 429] == []
    require_within_limit([record.at for record in requests], 20, 6)
    assert Counter(machines[0].effective.values()) == {1: 8}
    assert len(json.loads(machines[0].run("runs", "--json").out)) == 2


def test_approve_on_another_machine_reaches_a_waiting_run(open_machine: OpenMachine) -> None:
    runner, approver = open_machine("runner"), open_machine("approver")
    process = runner.start("run", with_question(runner), "--yes", "--json")
    runs: list[dict[str, Any]] = []

    def is_asked() -> bool:
        runs[:] = approver.run("runs", "--json").document
        return any(run.get("question") for run in runs)

    until(is_asked)
    answered = approver.run("approve", runs[0]["run_id"], "--comment", "from elsewhere", "--yes")
    assert answered.code == 0, answered.err
    ended = runner.end(process)
    assert ended.code == 0, ended.err
    assert "database user oli_operator" in approver.run("audit", "show", ended.document["run_id"]).out
