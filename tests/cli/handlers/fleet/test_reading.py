"""The commands that read a fleet run."""

import json
from pathlib import Path

import pytest

from orchestrator.errors import OrchestratorError, UsageError
from tests.cli.handlers.fleet.conftest import FLEET_ID, Invoke, write_fleet
from tests.logs import START, LogBuilder


def test_show_prints_the_outcome_of_every_workspace(state: Path, invoke: Invoke) -> None:
    write_fleet(state)
    text = invoke("show", FLEET_ID).output
    assert "completed with problems: 1 of 2 CVMs as planned in 2 workspaces (exit 6)" in text
    document = json.loads(invoke("show", FLEET_ID[:12], "--json").output)
    assert document["fleet_id"] == FLEET_ID
    assert [run["workspace"] for run in document["workspaces"]] == ["prod-0", "prod-1"]


def test_show_names_the_resume_of_an_unfinished_fleet_run(state: Path, invoke: Invoke) -> None:
    write_fleet(state, finished=False)
    assert f"orchestrator resume {FLEET_ID}" in invoke("show", FLEET_ID).output


@pytest.mark.parametrize("form", ["text", "json", "html", "csv", "md"])
def test_report_has_every_workspace_in_every_format(state: Path, invoke: Invoke, form: str) -> None:
    write_fleet(state)
    out = state.parent / "report"
    invoke("report", FLEET_ID, "--format", form, "--out", str(out))
    text = out.read_text()
    assert "prod-0" in text
    assert "prod-1" in text


def test_audit_show_tells_all_runs_in_the_order_of_time(state: Path, invoke: Invoke) -> None:
    write_fleet(state)
    text = invoke("audit", "show", FLEET_ID).output
    assert "started by me@here: playbook nightly, in 2 workspaces" in text
    assert "planned: 2 runs with 2 targets" in text
    assert "prod-1: " in text
    assert "Workspace prod-1" in invoke("audit", "show", FLEET_ID, "--cvm", "web-1").output
    with pytest.raises(UsageError, match="no CVM 'web-9'"):
        invoke("audit", "show", FLEET_ID, "--cvm", "web-9")


def test_audit_export_has_the_fleet_log_and_the_logs_of_all_runs(state: Path, invoke: Invoke) -> None:
    write_fleet(state)
    out = state.parent / "out.txt"
    invoke("audit", "export", FLEET_ID, "--format", "jsonl", "--out", str(out))
    ids = {json.loads(line)["run_id"] for line in out.read_text().splitlines()}
    assert ids == {FLEET_ID, "20261123T080000Z-0000", "20261123T080000Z-0001"}
    for form in ("ecs", "csv"):
        assert invoke("audit", "export", FLEET_ID, "--format", form, "--out", str(out)).return_value == 0


def test_audit_verify_accepts_a_fleet_log_that_agrees_with_its_runs(state: Path, invoke: Invoke) -> None:
    write_fleet(state)
    ended = invoke("audit", "verify", FLEET_ID)
    assert (ended.return_value, ended.output.splitlines()[-1]) == (
        0,
        f"{FLEET_ID}: agrees with the logs of its runs",
    )
    assert json.loads(invoke("audit", "verify", "--all", "--json").output)["fleets"] == [
        {"fleet_id": FLEET_ID, "agrees": True, "faults": [], "pruned": []}
    ]


def test_audit_verify_finds_a_missing_and_a_replaced_run(state: Path, invoke: Invoke) -> None:
    first, second = write_fleet(state)
    (state / "runs" / f"{first.run_id}.jsonl").unlink()
    second.lines[-1:] = []
    second.finish(0)
    second.write(state)
    ended = invoke("audit", "verify", FLEET_ID, "--json")
    assert ended.return_value == 6
    (fleet,) = json.loads(ended.output)["fleets"]
    assert fleet["faults"][0]["reason"] == "the log is missing"
    assert len(fleet["faults"]) == 2


def test_an_unknown_fleet_run_is_named(state: Path, invoke: Invoke) -> None:
    write_fleet(state)
    with pytest.raises(UsageError, match="there is no fleet run 'fleet-2020'"):
        invoke("show", "fleet-2020")


def test_runs_lists_the_runs_of_a_fleet_run_and_its_resume_once(state: Path, invoke: Invoke) -> None:
    write_fleet(state)
    for log in (state / "runs").glob("*.jsonl"):
        log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    other = LogBuilder.start(START, suffix="ffff")
    other.write(state)
    assert len(json.loads(invoke("runs", "--json").output)) == 3
    rows = json.loads(invoke("runs", "--fleet", FLEET_ID, "--json").output)
    assert [row["fleet"] for row in rows] == [FLEET_ID] * 2
    with pytest.raises(UsageError, match="there is no fleet run 'fleet-2025'"):
        invoke("runs", "--fleet", "fleet-2025")
    assert invoke("runs", "--fleet", FLEET_ID, "--exit-code", "8").output.startswith("No runs with these options")
    assert invoke("runs").output.count(f"orchestrator resume {FLEET_ID}") == 1
    assert f"orchestrator resume {FLEET_ID}" in invoke("show", rows[0]["run_id"]).output


def test_a_fleet_run_without_a_plan_names_its_abandonment_everywhere(state: Path, invoke: Invoke) -> None:
    first, second = write_fleet(state)
    for log in (first, second):
        del log.lines[-1:]
        log.write(state)
    fleet = state / "fleets" / f"{FLEET_ID}.jsonl"
    fleet.write_bytes(fleet.read_bytes().splitlines(keepends=True)[0])
    abandon = f"orchestrator abandon {FLEET_ID} --reason TEXT"
    for name in (FLEET_ID, first.run_id):
        text = invoke("show", name).output
        assert "nothing was sent: the fleet run ended before its plan" in text
        assert abandon in text
        assert "orchestrator resume" not in text
    rows = json.loads(invoke("runs", "--json").output)
    assert {(row["state"], row["next"]) for row in rows} == {("not_sent", abandon)}
    assert json.loads(invoke("runs", "--unfinished", "--json").output) == []


@pytest.mark.parametrize(
    "args",
    [
        ("show",),
        ("resume",),
        ("restore",),
        ("reconcile",),
        ("approve", "--yes"),
        ("report",),
        ("audit", "verify"),
        ("audit", "show"),
        ("abandon", "--reason", "x"),
    ],
)
def test_every_command_names_a_fleet_run_with_an_empty_log(state: Path, invoke: Invoke, args: tuple[str, ...]) -> None:
    write_fleet(state)
    (state / "fleets" / f"{FLEET_ID}.jsonl").write_bytes(b"")
    (state / "runs").rename(state / "elsewhere")
    try:
        text = invoke(*args, FLEET_ID).output
    except OrchestratorError as error:
        text = f"{error.message}; {error.hint}"
    assert FLEET_ID in text
    assert "orchestrator resume" not in text


def prune(invoke: Invoke, *options: str) -> dict[str, list[str]]:
    document = json.loads(invoke("audit", "prune", "--older-than", "1d", "--yes", "--json", *options).output)
    return {"removed": document["removed"], "kept": sorted({each["why"] for each in document["kept"]})}


def test_prune_removes_a_fleet_log_together_with_its_runs(state: Path, invoke: Invoke) -> None:
    runs = [log.run_id for log in write_fleet(state)]
    assert prune(invoke) == {"removed": [], "kept": ["unsealed"]}
    assert prune(invoke, "--unsealed") == {"removed": [*runs, FLEET_ID], "kept": []}
    with pytest.raises(UsageError, match=f"{FLEET_ID} was pruned at"):
        invoke("audit", "verify", FLEET_ID)


def test_prune_keeps_the_runs_of_a_fleet_run_with_a_log_to_keep(state: Path, invoke: Invoke) -> None:
    first, second = write_fleet(state, finished=False)
    assert prune(invoke, "--unsealed") == {"removed": [], "kept": ["fleet", "unfinished"]}
    assert prune(invoke, "--unsealed", "--unfinished")["removed"] == [first.run_id, second.run_id, FLEET_ID]


def test_verify_names_the_pruned_runs_of_a_fleet_run(state: Path, invoke: Invoke) -> None:
    first, _ = write_fleet(state)
    (state / "runs" / f"{first.run_id}.jsonl").unlink()
    pruned = {"event": "run.pruned", "run_id": first.run_id, "ts": "2026-12-01T00:00:00.000000Z"}
    (state / "pruned.jsonl").write_text(json.dumps(pruned) + "\n")
    ended = invoke("audit", "verify", FLEET_ID)
    assert ended.return_value == 0
    assert f"not compared: run {first.run_id} of workspace prod-0 was pruned at 2026-12-01" in ended.output


def test_seal_covers_the_fleet_log_and_the_logs_of_its_runs(state: Path, invoke: Invoke) -> None:
    runs = [log.run_id for log in write_fleet(state)]
    key = str(state.parent / "key.pem")
    invoke("audit", "keygen", "--out", key)
    sealed = json.loads(invoke("audit", "seal", FLEET_ID, "--key", key, "--json").output)
    assert {each["run_id"] for each in sealed["sealed"]} == {FLEET_ID, *runs}
    verify = ("audit", "verify", "--all", "--public-key", str(state.parent / "key.pub.pem"), "--json")
    assert invoke(*verify).return_value == 0
    (state / "fleets" / f"{FLEET_ID}.jsonl").unlink()
    assert [each["run_id"] for each in json.loads(invoke(*verify).output)["missing"]] == [FLEET_ID]
