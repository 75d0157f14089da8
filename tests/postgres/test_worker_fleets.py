"""Fleet orders over workers as processes: keys on different workers, a dead coordinator, refusal, cancelling."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings
from tests.e2e.site import STILL, until
from tests.postgres.cluster import Cluster
from tests.postgres.test_worker import Team
from tests.warm import WarmProcess

NAMES = ("blue", "green", "red")
ALL_DOWN = {name: [1] * 8 for name in NAMES}


class FleetTeam(Team):
    """A team over a cloud of three workspaces."""

    def __init__(self, folder: Path, sim: BackgroundSimulator, cluster: Cluster, database: str) -> None:
        super().__init__(folder, sim, cluster, database)
        settings = (folder / "worker.toml").read_text().partition("[workspaces.prod]")[0]
        sections = {}
        for name, app in sim.workspaces.by_name.items():
            key = folder / f"{name}.key"
            key.write_text(app.world.api_key)
            key.chmod(0o600)
            sections[name] = f'[workspaces.{name}]\napi_key_file = "{key}"\n'
        (folder / "all.toml").write_text(settings + "".join(sections.values()))
        for name, section in sections.items():
            (folder / f"{name}.toml").write_text(settings + section)

    def start_workers(self, *configs: str) -> list[WarmProcess]:
        """Start a worker for each settings file."""
        workers = [self.start("worker", "--config", f"{name}.toml", user="wes_worker") for name in configs]
        self.workers += workers
        until(lambda: self.query("SELECT count(*) FROM orchestrator.workers") >= [(len(configs),)])
        return workers

    def submit_fleet(self, *options: str, text: str = "") -> str:
        """Submit the playbook for all workspaces; return the id of the fleet run."""
        if text:
            with (self.folder / "demo.yaml").open("a") as file:
                file.write(text)
        given = ("--submit", "--workspace", "*", "--config", "all.toml", "--json", *options)
        return str(json.loads(self.call("run", "demo.yaml", *given))["fleet_id"])

    def members(self) -> dict[str, str]:
        """The run of every workspace."""
        return dict(self.query("SELECT workspace, run_id FROM orchestrator.runs WHERE fleet_id IS NOT NULL"))

    def stops_by_workspace(self) -> dict[str, list[int]]:
        """Number of stops with an effect, of each CVM of each workspace."""
        now = self.sim.now()
        return {
            name: [cvm.effective_stops for cvm in app.world.visible_cvms(now)]
            for name, app in self.sim.workspaces.by_name.items()
        }


@pytest.fixture
def team(tmp_path: Path, durable: Cluster, database: str) -> Iterator[FleetTeam]:
    """A team over three workspaces of eight CVMs."""
    timing = {"stop_seconds": [0.1, 0.5], "latency": [0.01, 0.02]}
    workspaces = [{"workspace": {"name": name}} for name in NAMES]
    settings = parse_settings({**STILL, "timing": timing, "api": {"simulated_header": False}, "workspaces": workspaces})
    with BackgroundSimulator(settings) as sim:
        team = FleetTeam(tmp_path, sim, durable, database)
        yield team
        team.kill()


def test_workers_with_different_keys_carry_out_one_order_canary_first(team: FleetTeam) -> None:
    team.start_workers("blue", "green", "red")
    fleet_id = team.submit_fleet("--expect", "24", text="fleet: {first: green}\n")
    out = team.call("watch", fleet_id)
    assert f"Fleet run {fleet_id}  succeeded: 24 of 24 CVMs as planned in 3 workspaces (exit 0)" in out
    assert team.stops_by_workspace() == ALL_DOWN
    runs = {name: team.records(run_id) for name, run_id in team.members().items()}
    for name in ("blue", "red"):
        assert runs[name][0]["ts"] > runs["green"][-1]["ts"], "the canary workspace ended first"
    assert {run[0]["fleet"] for run in runs.values()} == {fleet_id}
    assert "agrees with the logs of its runs" in team.call("audit", "verify", fleet_id, user="vic_viewer")
    (fleet,) = team.query("SELECT state, exit_code FROM orchestrator.runs WHERE run_id = %s", [fleet_id])
    assert fleet == ("finished", 0)


def test_another_worker_continues_the_fleet_run_and_its_runs_after_a_kill(team: FleetTeam) -> None:
    (first,) = team.start_workers("all")
    fleet_id = team.submit_fleet("--var", "rate=3")
    until(lambda: all(team.is_under_way(run_id) for run_id in team.members().values()) and len(team.members()) == 3)
    first.kill()
    first.wait(10)
    team.start_workers("all")
    team.call("watch", fleet_id)
    assert team.stops_by_workspace() == ALL_DOWN
    assert team.events(fleet_id) == ["fleet.started", "fleet.planned", "fleet.resumed", "fleet.finished"]
    assert team.records(fleet_id)[2]["epoch"] == 2
    assert "agrees with the logs of its runs" in team.call("audit", "verify", fleet_id)


def test_an_order_refused_by_its_total_sends_nothing_in_any_workspace(team: FleetTeam) -> None:
    team.start_workers("all")
    fleet_id = team.submit_fleet("--expect", "23")
    document = json.loads(team.call("watch", fleet_id, "--json", code=3))
    assert document["reason"].startswith("--expect 23, but the plan has 24 targets")
    until(lambda: team.query("SELECT DISTINCT state FROM orchestrator.runs") == [("void",)])
    assert team.stops_by_workspace() == {name: [0] * 8 for name in NAMES}
    assert team.query("SELECT count(*) FROM orchestrator.records") == [(0,)]


def test_watch_ends_at_a_fleet_run_that_no_worker_continues(team: FleetTeam) -> None:
    fleet_id = team.submit_fleet()
    team.query("UPDATE orchestrator.runs SET adopt = false, epoch = 1")  # as after a kill of `run` without --submit
    for run_id in (fleet_id, team.members()["red"]):
        said = " ".join(team.call("watch", run_id, code=8).split())
        assert "no worker continues the" in said
        assert f"`orchestrator cancel {run_id}`, then submit again" in said  # there is no log to resume


def test_a_cancelled_order_ends_every_run_for_good(team: FleetTeam) -> None:
    team.start_workers("all")
    fleet_id = team.submit_fleet("--var", "rate=1")
    until(lambda: all(team.is_under_way(run_id) for run_id in team.members().values()) and len(team.members()) == 3)
    team.call("cancel", fleet_id)
    team.call("watch", fleet_id, code=8)
    ends = {name: team.records(run_id)[-1] for name, run_id in team.members().items()}
    assert {end["ending"] for end in ends.values()} == {"cancelled"}
    assert team.records(fleet_id)[-1]["ending"] == "cancelled"
