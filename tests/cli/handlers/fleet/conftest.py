"""A state folder with a finished fleet run of two workspaces, and its commands."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.main import group
from tests.logs import START, LogBuilder

LIMITS = {"max_failures": None, "requests_per_second": 10, "burst": 5, "max_in_flight": 20, "per_teepod": 10}
FLEET_ID = "fleet-20261123T080000Z-4f2a"

Invoke = Callable[..., Result]


def write_fleet(state: Path, *, finished: bool = True) -> list[LogBuilder]:
    """Write a fleet run of two workspaces; one CVM of the second is refused. Returns the logs of the runs."""
    logs = []
    for number, outcome in enumerate(("settled", "refused")):
        log = LogBuilder.start(
            START, suffix=f"000{number}", workspace_name=f"prod-{number}", fleet=FLEET_ID, vars={}, limits=LIMITS
        )
        log.plan((number, "stop", "running"), guards=[], warnings=[])
        log.end(number, outcome=outcome).finish(0 if outcome == "settled" else 6)
        log.write(state)
        logs.append(log)
    fleet = LogBuilder(START, FLEET_ID)
    names = [f"prod-{number}" for number in range(2)]
    fleet.record("fleet.started", actor="me@here", playbook={"name": "nightly"}, vars={}, workspaces=names, left_out=[])
    runs = [{"workspace": name, "run_id": log.run_id, "targets": 1} for name, log in zip(names, logs, strict=True)]
    fleet.record("fleet.planned", runs=runs, guards=[])
    if finished:
        ends = [
            {**run, "ending": "completed", "exit_code": code, "hash": log.records[-1]["hash"]}
            for run, log, code in zip(runs, logs, (0, 6), strict=True)
        ]
        fleet.record("fleet.finished", exit_code=6, counts={"settled": 1, "refused": 1}, runs=ends)
    (state / "fleets").mkdir()
    (state / "fleets" / f"{FLEET_ID}.jsonl").write_bytes(b"".join(fleet.lines))
    return logs


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty state folder, in use for the commands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    folder = tmp_path / "state"
    monkeypatch.setenv("ORCHESTRATOR_STATE_DIR", str(folder))
    return folder


@pytest.fixture
def invoke() -> Invoke:
    """Return a function to call the command line; errors of the program are raised."""

    def call(*args: str) -> Result:
        runner = CliRunner()
        return runner.invoke(group, args, standalone_mode=False, catch_exceptions=False)

    return call
